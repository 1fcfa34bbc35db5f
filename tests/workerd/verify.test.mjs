// Verifying keys: who is let through, who is refused, and that a refusal tells nothing.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  admin,
  createAccount,
  issueKey,
  revokeKey,
  send,
  sendRaw,
  takeLease,
  transcript,
  verify,
  whoami,
} from "./harness/client.mjs";
import { breakable, cut } from "./harness/connection.mjs";
import { allowed, constant401, eventually, onlyHeaders, problem } from "./harness/expect.mjs";
import { forgedKey, mintKey, withChecksum } from "./harness/mint.mjs";
import { otherPepper, secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

let server, account, key;
before(async () => {
  server = await startWorkerd({ edges: { edge: {}, other: {} }, env: { KEYGATE_LEASE_SECONDS: "1" } });
  account = await createAccount(server, { features: ["exports"] });
  key = await issueKey(server, account, {
    scopes: ["contacts:read", "jobs:*"],
    expires_at: "2999-01-01T00:00:00.000Z",
  });
});
after(() => server?.stop());

const inMilliseconds = (milliseconds) => new Date(Date.now() + milliseconds).toISOString();
const disable = (owner, { id }) => admin(server, "PATCH", `/accounts/${owner.id}/keys/${id}`, { disabled: true });
const scope = (...demanded) => demanded.map((one) => `scope=${encodeURIComponent(one)}`).join("&");

describe("an acceptable key", () => {
  test("is let through with an empty body and the identity headers, whatever the method", async () => {
    for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
      const answer = await verify(server, key.key, "", { method });
      allowed(answer, key, account);
      assert.equal(answer.text, "");
    }
  });

  test("verifies on the very next request after it was issued, at any edge", async () => {
    const { edge, other } = server.edges;
    for (let n = 0; n < 10; n += 1) {
      const issued = await issueKey(edge, account, { environment: n % 2 ? "live" : "test", scopes: ["a:b"] });
      for (const there of [other, edge]) allowed(await verify(there, issued.key, "scope=a:b"), issued, account);
    }
  });

  test("tells its holder who it is", async () => {
    const answer = await whoami(server, key.key);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["content-type"], "application/json");
    onlyHeaders(answer, []);
    assert.deepEqual(answer.json, {
      key_id: key.id,
      account_id: account.id,
      environment: "live",
      scopes: ["contacts:read", "jobs:*"],
      features: ["exports"],
      fields: {},
      workspaces: [],
      expires_at: "2999-01-01T00:00:00.000Z",
    });
    const unlimited = await issueKey(server, account);
    assert.equal((await whoami(server, unlimited.key)).json.expires_at, null);
    const head = await send(server, "HEAD", "/_keygate/whoami", { headers: { Authorization: `Bearer ${key.key}` } });
    assert.deepEqual([head.status, head.text], [200, ""]);
  });

  test("tells its holder where it may be used", async () => {
    const workspaces = (method, query = "") =>
      send(server, method, `/_keygate/workspaces${query}`, { headers: { Authorization: `Bearer ${key.key}` } });
    const answer = await workspaces("GET");
    assert.deepEqual([answer.status, answer.json], [200, { data: [] }]);
    onlyHeaders(answer, []);
    problem(await workspaces("POST"), 405, "method_not_allowed", { allow: "GET, HEAD" });
    problem(await workspaces("GET", "?x=1"), 400, "invalid_request", { field: "x" });
    problem(await send(server, "GET", "/_keygate/workspaces"), 401, "missing_credential");
  });

  test("is let in where its account has the feature, and elsewhere there is nothing", async () => {
    allowed(await verify(server, key.key, "feature=exports"), key, account);
    const off = await verify(server, key.key, "feature=imports");
    problem(off, 404, "not_found");
    const nowhere = await send(server, "GET", "/nowhere", { headers: { Authorization: `Bearer ${key.key}` } });
    assert.deepEqual([off.status, off.text], [nowhere.status, nowhere.text]);
    assert.deepEqual(Object.keys(off.headers).sort(), Object.keys(nowhere.headers).sort());
    problem(await verify(server, key.key, "feature=Exports"), 400, "invalid_request", { field: "feature" });
  });

  test("is let in where its environment is asked for, and is otherwise as unknown", async () => {
    allowed(await verify(server, key.key, "environment=live"), key, account);
    constant401(await verify(server, key.key, "environment=test"));
    problem(await verify(server, key.key, "environment=admin"), 400, "invalid_request", { field: "environment" });
  });

  test("needs a workspace where one is asked for, and never one that it does not have", async () => {
    const named = (id, query = "", path = `/_keygate/verify?${query}`) =>
      send(server, "GET", path, { headers: { Authorization: `Bearer ${key.key}`, "X-Workspace-ID": id } });
    const field = "X-Workspace-ID";
    problem(await verify(server, key.key, "workspace=required"), 400, "workspace_required", { field });
    for (const query of ["", "workspace=required"]) {
      problem(await named("ws_0123456789abcdef", query), 403, "workspace_forbidden", { field });
      for (const id of ["", "ws_1", "ws_0123456789ABCDEF", "ws_0123456789abcdef, ws_0123456789abcdef"])
        problem(await named(id, query), 400, "invalid_request", { field });
    }
    problem(await named("ws_0123456789abcdef", "", "/v1/contacts"), 403, "workspace_forbidden", { field });
    problem(await named("ws_0123456789abcdef", "", "/nowhere"), 404, "not_found");
    problem(await named("ws_1", "", "/nowhere"), 400, "invalid_request", { field });
    problem(await verify(server, key.key, "workspace=none"), 400, "invalid_request", { field: "workspace" });
  });

  test("is accepted under any case of the scheme", async () => {
    for (const scheme of ["bearer", "BEARER", "bEaReR"]) {
      allowed(await verify(server, null, "", { headers: { Authorization: `${scheme} ${key.key}` } }), key, account);
    }
  });

  test("from its not_before on, until its expires_at", async () => {
    const brief = await issueKey(server, account, {
      not_before: inMilliseconds(500),
      expires_at: inMilliseconds(1_500),
    });
    constant401(await verify(server, brief.key));
    await sleep(Date.parse(brief.not_before) - Date.now() + 5);
    allowed(await verify(server, brief.key), brief, account);
    await sleep(Date.parse(brief.expires_at) - Date.now() + 5);
    constant401(await verify(server, brief.key));
  });

  test("of any brand is accepted, also after the account's brand changed", async () => {
    const branded = await createAccount(server, { brand: "acme" });
    const issued = await issueKey(server, branded);
    await admin(server, "PATCH", `/accounts/${branded.id}`, { brand: "beta" });
    allowed(await verify(server, issued.key), issued, branded);
  });
});

describe("scopes", () => {
  const held = {
    none: [],
    exact: ["contacts:read"],
    resource: ["contacts:*"],
    action: ["*:read"],
    everything: ["*"],
    several: ["contacts:read", "jobs:write"],
  };
  // What each key has, of these demands.
  const demands = {
    "": ["none", "exact", "resource", "action", "everything", "several"],
    "contacts:read": ["exact", "resource", "action", "everything", "several"],
    "contacts:write": ["resource", "everything"],
    "jobs:read": ["action", "everything"],
    "contacts:*": ["resource", "everything"],
    "*:read": ["action", "everything"],
    "*": ["everything"],
    "*:*": ["everything"],
    "contacts:read jobs:write": ["everything", "several"],
  };
  const keys = {};
  before(async () => {
    for (const [name, scopes] of Object.entries(held)) keys[name] = await issueKey(server, account, { scopes });
  });

  for (const [demanded, sufficient] of Object.entries(demands)) {
    test(`"${demanded}" is held by: ${sufficient.join(", ")}`, async () => {
      for (const [name, issued] of Object.entries(keys)) {
        const answer = await verify(server, issued.key, demanded && scope(demanded));
        if (sufficient.includes(name)) allowed(answer, issued, account);
        else assert.equal(answer.status, 403, `${name}: ${answer.text}`);
      }
    });
  }

  test("that are demanded in one parameter or in several, all are needed, and the answer names the missing ones", async () => {
    const demanded = ["contacts:read", "jobs:write", "mail:send"];
    const expected = { demanded: demanded.join(" "), missing: ["mail:send"] };
    for (const query of [
      scope(...demanded),
      scope(demanded.join(" ")),
      scope("contacts:read jobs:write", "mail:send"),
      `scope=${demanded.join("+")}`,
    ]) {
      problem(await verify(server, keys.several.key, query), 403, "insufficient_scope", expected);
    }
    problem(await verify(server, keys.none.key, scope("a:b", "*:c")), 403, "insufficient_scope", {
      demanded: "a:b *:c",
      missing: ["a:b", "*:c"],
    });
  });

  test("that are not well-formed are the request's fault, and the answer says where", async () => {
    const wrong = {
      contacts: /8/,
      "Contacts:read": /0/,
      "contacts:": /9/,
      "contacts:read:all": /13/,
      "contacts:re*": /11/,
      "**": /1/,
    };
    for (const [text, place] of Object.entries(wrong)) {
      problem(await verify(server, key.key, scope(text)), 400, "invalid_request", { field: "scope", detail: place });
    }
    problem(await verify(server, key.key, scope("a:b", "contacts")), 400, "invalid_request", { field: "scope" });
    problem(await verify(server, key.key, "scope=a:b%ff"), 400, "invalid_request", { field: "scope" });
    problem(
      await verify(server, key.key, scope(Array.from({ length: 101 }, (_, n) => `r${n}:x`).join(" "))),
      400,
      "invalid_request",
      { field: "scope" },
    );
  });

  test("are the only thing that can be demanded: another parameter is refused by name", async () => {
    for (const query of ["scopes=a:b", "scope=jobs:read&Scope=a:b", "scope=jobs:read&workspace=1", "x"]) {
      const field = query.replace(/^scope=jobs:read&/, "").replace(/=.*/, "");
      problem(await verify(server, key.key, query), 400, "invalid_request", { field });
    }
  });
});

describe("the credential", () => {
  const withHeader = (header) => verify(server, null, "", { headers: { Authorization: header } });

  test("when missing, or of another scheme, is asked for with a bare challenge", async () => {
    problem(await verify(server, null), 401, "missing_credential");
    problem(await whoami(server, null), 401, "missing_credential");
    for (const header of [
      "",
      "Basic dXNlcjpwYXNz",
      "Digest x",
      "Bearers x",
      `Token ${key.key}`,
      key.key,
      `Bear er ${key.key}`,
    ]) {
      problem(await withHeader(header), 401, "missing_credential");
    }
  });

  test("when a malformed Bearer is the request's fault", async () => {
    const malformed = [
      "Bearer",
      "Bearer ",
      `Bearer  ${key.key}`,
      `Bearer\t${key.key}`,
      `Bearer ${key.key} x`,
      `Bearer ${key.key}, Bearer ${key.key}`,
      `Bearer ${key.key},`,
      `Bearer ${key.key}=x`,
      `Bearer "${key.key}"`,
      `Bearer realm="x"`,
      `Basic dXNlcjpwYXNz, Bearer ${key.key}`,
      `Bearer ${"x".repeat(4_097)}`,
      "Bearer kl\xfcssel",
    ];
    for (const header of malformed) {
      problem(await withHeader(header), 400, "invalid_request", { credentialFault: true });
    }
  });

  test("when sent twice is refused, though one alone would do", async () => {
    const [good, bad] = [`Authorization: Bearer ${key.key}`, "Authorization: Bearer x"];
    for (const lines of [
      [good, good],
      [good, bad],
      [bad, good],
      [good, "authorization: Basic eA=="],
      ["Authorization: Basic eA==", good],
    ]) {
      const answer = await sendRaw(server, ["GET /_keygate/verify HTTP/1.1", ...lines]);
      problem(answer, 400, "invalid_request", { credentialFault: true });
    }
  });

  test("is not taken from the query, a cookie or another header", async () => {
    const headers = {
      Cookie: `Authorization=Bearer ${key.key}`,
      "X-Api-Key": key.key,
      "Proxy-Authorization": `Bearer ${key.key}`,
    };
    problem(await verify(server, null, "", { headers }), 401, "missing_credential");
  });
});

describe("the constant 401", () => {
  test("is byte for byte the same for every key that will not do, on every route", async () => {
    const owner = await createAccount(server);
    const revoked = await issueKey(server, owner, { expires_at: inMilliseconds(3_600_000) });
    const { mirrored } = await revokeKey(server, owner, revoked);
    if (!mirrored) await eventually(async () => constant401(await verify(server, revoked.key)));
    const disabled = await issueKey(server, owner);
    await disable(owner, disabled);
    await eventually(async () => constant401(await verify(server, disabled.key)));
    const expired = await issueKey(server, owner, { expires_at: inMilliseconds(300) });
    const early = await issueKey(server, owner, { not_before: inMilliseconds(3_600_000) });
    const { id } = owner;
    await sleep(350);

    const tokens = {
      forged: forgedKey({ account: id }),
      unknown: mintKey({ account: id }).text,
      "of an unknown account": mintKey({ account: "acct_00fffffffe" }).text,
      revoked: revoked.key,
      disabled: disabled.key,
      expired: expired.key,
      "not yet valid": early.key,
      "of another pepper": mintKey({ account: id, pepper: otherPepper }).text,
      "of another pepper under this one's id": mintKey({ account: id, pepper: otherPepper, pepperId: 3 }).text,
      "of another format": mintKey({ account: id, format: 2 }).text,
      "an admin credential": mintKey({ account: id, environment: "admin" }).text,
      "of another environment": withChecksum(key.key.replace("_live_", "_test_").slice(0, -6)),
      "of another brand": withChecksum(key.key.replace("kg_", "acme_").slice(0, -6)),
      "with a wrong checksum": key.key.slice(0, -1) + (key.key.endsWith("0") ? "1" : "0"),
      "with one digit changed": withChecksum(
        key.key.slice(0, 20) + (key.key[20] === "0" ? "1" : "0") + key.key.slice(21, -6),
      ),
      "out of range": withChecksum(`kg_live_${"z".repeat(46)}`),
      "cut short": key.key.slice(0, -1),
      "too long": `${key.key}0`,
      "the root token": secrets.KEYGATE_ROOT_TOKEN,
      nonsense: "x",
      "of the greatest length": "x".repeat(4_096 - "Bearer ".length),
    };
    const seen = new Set();
    for (const [name, token] of Object.entries(tokens)) {
      for (const path of ["/_keygate/verify", "/_keygate/verify?scope=a:b", "/_keygate/whoami", "/anything"]) {
        const answer = await send(server, "GET", path, { headers: { Authorization: `Bearer ${token}` } });
        assert.equal(answer.status, 401, `${name} on ${path}: ${answer.text}`);
        constant401(answer);
        seen.add(transcript(answer));
      }
    }
    assert.equal(seen.size, 1);
  });

  test("is not for a genuine key of a slot that is not configured here: about that one nobody can say", async () => {
    const { text } = mintKey({ account: "acct_7700000001" });
    problem(await verify(server, text), 503, "indeterminate");
  });

  test("comes before any word about scopes or the account", async () => {
    const owner = await createAccount(server);
    const revoked = await issueKey(server, owner);
    await revokeKey(server, owner, revoked);
    await admin(server, "PATCH", `/accounts/${owner.id}`, { status: "suspended" });
    await eventually(async () => constant401(await verify(server, revoked.key, "scope=a:b")));
  });

  test("for a forged key costs neither KV nor Authority; for an unknown one it is their word", async () => {
    const own = await startWorkerd({ around: breakable });
    try {
      const owner = await createAccount(own);
      const known = await issueKey(own, owner);
      await takeLease(own);
      const genuine = transcript(await verify(own, mintKey({ account: owner.id }).text));
      const asked = own.kv.counts.get;
      assert.ok(asked > 0);
      const forged = await verify(own, forgedKey({ account: owner.id }));
      constant401(forged);
      assert.equal(transcript(forged), genuine);
      assert.equal(own.kv.counts.get, asked);

      // With the Authority gone, nobody can say anything about an unknown key; about a forged one everybody can, and
      // about a known one whoever has a lease.
      await takeLease(own);
      await cut(own);
      constant401(await verify(own, forgedKey({ account: owner.id })));
      problem(await verify(own, mintKey({ account: owner.id }).text), 503, "indeterminate");
      allowed(await verify(own, known.key), known, owner);
      await own.restart({ authority: "down" });
      constant401(await verify(own, forgedKey({ account: owner.id })));
      for (const { text } of [mintKey({ account: owner.id }), { text: known.key }])
        problem(await verify(own, text), 503, "indeterminate");
    } finally {
      await own.stop();
    }
  });
});

describe("a change by an administrator", { concurrency: true }, () => {
  test("revoking refuses the key: at once where it is new and the mirror has it, and everywhere for who waits", async () => {
    const { edge, other } = server.edges;
    const issued = await issueKey(server, account);
    // KV takes one write a second per key, so the revocation right after the issue has to wait.
    await sleep(1_100);
    allowed(await verify(edge, issued.key), issued, account);
    await takeLease(other);
    const reads = server.kv.counts.get;
    const { mirrored } = await revokeKey(server, account, issued);
    assert.equal(mirrored, true);
    constant401(await verify(other, issued.key));
    assert.ok(server.kv.counts.get > reads);
    await revokeKey(server, account, issued, { wait: "effective" });
    for (const there of [edge, other]) constant401(await verify(there, issued.key));
  });

  test("disabling refuses the key, enabling lets it through again", async () => {
    const issued = await issueKey(server, account);
    await disable(account, issued);
    await eventually(async () => constant401(await verify(server, issued.key)));
    await admin(server, "PATCH", `/accounts/${account.id}/keys/${issued.id}`, { disabled: false });
    await eventually(async () => allowed(await verify(server, issued.key), issued, account));
  });

  test("suspending the account refuses its keys, and says so to who holds one", async () => {
    const owner = await createAccount(server);
    const issued = await issueKey(server, owner);
    await admin(server, "PATCH", `/accounts/${owner.id}`, { status: "suspended" });
    await eventually(async () => problem(await verify(server, issued.key), 403, "account_inactive"));
    problem(await whoami(server, issued.key), 403, "account_inactive");
    problem(await verify(server, issued.key, "scope=a:b"), 403, "account_inactive");
    constant401(await verify(server, mintKey({ account: owner.id }).text));
    await admin(server, "PATCH", `/accounts/${owner.id}`, { status: "active" });
    await eventually(async () => allowed(await verify(server, issued.key), issued, owner));
  });

  test("switching an environment off refuses the keys of that environment only", async () => {
    const owner = await createAccount(server);
    const live = await issueKey(server, owner);
    const sandbox = await issueKey(server, owner, { environment: "test" });
    for (const access of ["off", "requested"]) {
      await admin(server, "PATCH", `/accounts/${owner.id}`, { api_access: { live: access, test: "active" } });
      await eventually(async () => problem(await verify(server, live.key), 403, "account_inactive"));
      allowed(await verify(server, sandbox.key), sandbox, owner);
    }
  });
});

describe("Keygate's own paths", () => {
  test("healthz answers anyone", async () => {
    for (const headers of [{}, { Authorization: "Bearer x, y" }]) {
      const answer = await send(server, "GET", "/_keygate/healthz", { headers });
      assert.equal(answer.status, 200);
      assert.equal(answer.headers["content-type"], "application/json");
      assert.deepEqual(answer.json, { status: "ok", version: "0.1.0", revocation_bound_ms: 1_051 });
      onlyHeaders(answer, []);
    }
    assert.deepEqual([(await send(server, "HEAD", "/_keygate/healthz")).status], [200]);
  });

  test("others do not exist", async () => {
    for (const path of [
      "/_keygate",
      "/_keygate/",
      "/_keygate/verify/",
      "/_keygate/who",
      "/_keygate/admin",
      "/_keygate/admin/v2/accounts",
    ]) {
      const answer = await send(server, "GET", path, { headers: { Authorization: `Bearer ${key.key}` } });
      problem(answer, 404, "not_found");
    }
  });

  test("have methods", async () => {
    for (const path of ["/_keygate/whoami", "/_keygate/healthz"]) {
      const answer = await send(server, "POST", path, { headers: { Authorization: `Bearer ${key.key}` } });
      problem(answer, 405, "method_not_allowed", { allow: "GET, HEAD" });
    }
  });
});

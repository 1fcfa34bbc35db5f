// Administrators of one account: what their credentials may do, how they end, and that nothing else administers.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, bearer, createAccount, issueKey, revokeKey, send, transcript, verify, whoami } from "./harness/client.mjs";
import { constant401, problem, success } from "./harness/expect.mjs";
import { forgedKey, mintKey } from "./harness/mint.mjs";
import { secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

// Counts what the Authority is asked, and tells it at /asked.
const COUNTING = `
  import worker, { Authority as Inner } from "./entry.js";

  let asked = 0;

  export class Authority {
    constructor(ctx, env) {
      this.inner = new Inner(ctx, env);
    }
    fetch(request) {
      asked += 1;
      return this.inner.fetch(request);
    }
    alarm() {
      return this.inner.alarm();
    }
  }

  export default {
    fetch(request, env, ctx) {
      if (new URL(request.url).pathname !== "/asked") return worker.fetch(request, env, ctx);
      return Response.json(asked);
    },
  };
`;

const JSON_TYPE = { "Content-Type": "application/json" };

let server, own, other;

before(async () => {
  server = await startWorkerd({ around: COUNTING, env: { KEYGATE_SLOTS: "0 1" } });
  own = await createAccount(server, { default_scopes: ["contacts:read"] });
  other = await createAccount(server);
});
after(() => server?.stop());

const credential = (role, fields = {}, account = own) =>
  issueKey(server, account, { environment: "admin", role, ...fields });

/** A call with the credential. */
const by = ({ key }, method, path, body, headers) => admin(server, method, path, body, { token: key, headers });

const mint = async (holder, fields = {}) =>
  success(await by(holder, "POST", `/accounts/${own.id}/sessions`, { actor: "alice", ...fields }), 201);

/** What reads, and what writes. */
function calls(account, key) {
  const path = `/accounts/${account.id}`;
  return {
    reads: [
      ["GET", path],
      ["GET", `${path}/keys`],
      ["GET", `${path}/keys?environment=admin`],
      ["GET", `${path}/keys/${key.id}`],
      ["GET", `${path}/audit`],
      ["POST", `${path}/keys/lookup`, { key: key.key }],
    ],
    writes: [
      ["PATCH", path, { name: "Renamed" }],
      ["POST", `${path}/keys`, { environment: "live" }],
      ["POST", `${path}/keys`, { environment: "admin", role: "viewer" }],
      ["PATCH", `${path}/keys/${key.id}`, { name: "renamed" }],
      ["POST", `${path}/keys/${key.id}/revoke`],
    ],
  };
}

describe("a credential", () => {
  test("is shown once, names its role, and appears in no list of keys", async () => {
    const made = await credential("viewer", { name: "support" });
    assert.match(made.key, /^kg_admin_/);
    assert.deepEqual(
      [made.environment, made.role, made.scopes, made.status, made.expires_at],
      ["admin", "viewer", ["*"], "active", null],
    );
    const { key, mirrored, ...shown } = made;
    const path = `/accounts/${own.id}/keys`;
    const read = { ...shown, scopes_last_used: { "*": null } };
    assert.deepEqual(success(await admin(server, "GET", `${path}/${made.id}`)), read);
    const ids = async (query) => (await admin(server, "GET", `${path}${query}`)).json.data.map(({ id }) => id);
    assert.ok((await ids("?environment=admin&limit=100")).includes(made.id));
    assert.ok(!(await ids("?limit=100")).includes(made.id));
    assert.ok(![...server.kv.records.keys()].some((name) => name.startsWith("grant:") && name.includes(made.id.slice(4))));
  });

  test("has a role, and keys have none", async () => {
    const path = `/accounts/${own.id}/keys`;
    problem(await admin(server, "POST", path, { environment: "admin" }), 400, "invalid_request", { field: "role" });
    for (const role of ["operator", "root", "Admin", null, 1]) {
      const answer = await admin(server, "POST", path, { environment: "admin", role });
      problem(answer, 400, "invalid_request", { field: "role", detail: /"viewer" or "admin"/ });
    }
    const answer = await admin(server, "POST", path, { environment: "live", role: "admin" });
    problem(answer, 400, "invalid_request", { field: "role" });
  });

  for (const end of ["revoked", "disabled"]) {
    test(`that was ${end} fails at its next call, whatever that is`, async () => {
      const holder = await credential("admin");
      const key = await issueKey(server, own);
      const { reads, writes } = calls(own, key);
      const malformed = [["POST", `/accounts/${own.id}/keys`, { colour: 1 }], ["GET", "/nothing"], ["GET", "/accounts"]];
      for (const call of reads) assert.equal((await by(holder, ...call)).status, 200, call.join(" "));
      const path = `/accounts/${own.id}/keys/${holder.id}`;
      if (end === "revoked") success(await by(holder, "POST", `${path}/revoke`));
      else success(await admin(server, "PATCH", path, { disabled: true }));
      const forged = await by({ key: forgedKey() }, "GET", `/accounts/${own.id}`);
      constant401(forged);
      for (const call of [...reads, ...writes, ...malformed]) {
        const answer = await by(holder, ...call);
        constant401(answer);
        assert.equal(transcript(answer), transcript(forged), call.join(" "));
      }
      if (end === "disabled") {
        success(await admin(server, "PATCH", path, { disabled: false }));
        assert.equal((await by(holder, ...reads[0])).status, 200);
      }
    });
  }

  test("that nobody issued, though its MAC is genuine, gets the constant 401", async () => {
    const { text } = mintKey({ account: own.id, environment: "admin" });
    constant401(await by({ key: text }, "GET", `/accounts/${own.id}`));
  });

  test("that expires is refused from then on", async () => {
    const at = Date.now() + 700;
    const holder = await credential("viewer", { expires_at: new Date(at).toISOString() });
    assert.equal((await by(holder, "GET", `/accounts/${own.id}`)).status, 200);
    await new Promise((resume) => setTimeout(resume, at - Date.now() + 50));
    constant401(await by(holder, "GET", `/accounts/${own.id}`));
  });

  test("of a suspended account is told so", async () => {
    const account = await createAccount(server);
    const holder = await credential("admin", {}, account);
    success(await admin(server, "PATCH", `/accounts/${account.id}`, { status: "suspended" }));
    problem(await by(holder, "GET", `/accounts/${account.id}`), 403, "account_inactive");
    success(await admin(server, "PATCH", `/accounts/${account.id}`, { status: "active" }));
    success(await by(holder, "GET", `/accounts/${account.id}`));
  });
});

describe("roles", () => {
  test("a viewer reads, and writes nothing", async () => {
    const viewer = await credential("viewer");
    const { reads, writes } = calls(own, await issueKey(server, own));
    for (const call of reads) assert.equal((await by(viewer, ...call)).status, 200, call.join(" "));
    for (const call of writes) {
      problem(await by(viewer, ...call), 403, "insufficient_role", { detail: /needs the role admin.*has the role viewer/ });
    }
  });

  test("an admin writes, and what they made says so", async () => {
    const holder = await credential("admin");
    const { writes } = calls(own, await issueKey(server, own));
    for (const call of writes) assert.ok((await by(holder, ...call)).status < 300, call.join(" "));
    const path = `/accounts/${own.id}`;
    const key = success(await by(holder, "POST", `${path}/keys`, { environment: "test" }), 201);
    assert.equal(key.created_by, holder.id);
    const named = await by(holder, "POST", `${path}/keys`, { environment: "test" }, { "X-Keygate-Actor": "bob" });
    assert.equal(success(named, 201).created_by, "bob");
    const { data } = success(await by(holder, "GET", `${path}/audit?subject=${key.id}`));
    assert.deepEqual([data[0].credential, data[0].actor], [holder.id, null]);
  });

  test("the operator's is the operator's", async () => {
    const holder = await credential("admin");
    const path = `/accounts/${own.id}`;
    for (const call of [
      ["GET", "/accounts"],
      ["GET", `/accounts?external_id=x`],
      ["POST", "/accounts", { name: "Mine" }],
      ["PATCH", path, { external_id: "x" }],
      ["PATCH", path, { brand: "acme" }],
      ["PATCH", path, { status: "active" }],
      ["PATCH", path, { name: "x", max_active_keys: null }],
      ["PATCH", path, { api_access: { live: "active", test: "active" } }],
      ["PATCH", path, { features: ["beta"] }],
    ]) {
      problem(await by(holder, ...call), 403, "insufficient_role", { detail: /root token/ });
    }
    const health = await send(server, "GET", "/_keygate/healthz?verbose", { headers: bearer(holder.key) });
    constant401(health);
  });

  test("another account is as unknown as none, for reading and writing, in every slot", async () => {
    const foreign = [other];
    const slot = own.id.slice(5, 7);
    while (foreign.every(({ id }) => id.slice(5, 7) === slot)) foreign.push(await createAccount(server));
    while (foreign.every(({ id }) => id.slice(5, 7) !== slot)) foreign.push(await createAccount(server));
    for (const role of ["viewer", "admin"]) {
      const holder = await credential(role);
      for (const account of foreign) {
        const { reads, writes } = calls(account, await issueKey(server, account));
        const unknown = calls({ id: `acct_${slot}0badc0de` }, { id: "key_00000000000000000000", key: forgedKey() });
        const session = ["POST", `/accounts/${account.id}/sessions`, { actor: "alice" }];
        const none = await by(holder, ...unknown.reads[0]);
        for (const call of [...reads, ...writes, session, ...unknown.reads, ...unknown.writes]) {
          const answer = await by(holder, ...call);
          problem(answer, 404, "not_found");
          assert.equal(transcript(answer), transcript(none), call.join(" "));
        }
      }
    }
  });

  test("nobody grants what they do not hold", async () => {
    const holder = await credential("admin", { scopes: ["contacts:*"] });
    const path = `/accounts/${own.id}`;
    const beyond = { demanded: "contacts:read jobs:read", missing: ["jobs:read"] };
    const scopes = ["contacts:read", "jobs:read"];
    for (const [target, body] of [
      ["keys", { environment: "live", scopes }],
      ["keys", { environment: "admin", role: "viewer", scopes }],
      ["sessions", { actor: "alice", scopes }],
    ]) {
      problem(await by(holder, "POST", `${path}/${target}`, body), 403, "insufficient_scope", beyond);
      success(await by(holder, "POST", `${path}/${target}`, { ...body, scopes: ["contacts:read"] }), 201);
    }
    const defaults = await by(holder, "PATCH", path, { default_scopes: scopes });
    problem(defaults, 403, "insufficient_scope", beyond);
    const everything = await by(holder, "POST", `${path}/keys`, { environment: "admin", role: "viewer" });
    problem(everything, 403, "insufficient_scope", { demanded: "*", missing: ["*"] });
    const viewer = await credential("viewer");
    const role = await by(viewer, "POST", `${path}/sessions`, { actor: "alice", role: "admin" });
    problem(role, 403, "insufficient_role");
    const workspaces = ["ws_0000000000000001"];
    const unknown = await admin(server, "POST", `${path}/keys`, { environment: "admin", role: "viewer", workspaces });
    problem(unknown, 400, "invalid_request", { field: "workspaces", detail: /ws_0000000000000001/ });
  });
});

describe("a session", () => {
  test("administers for its actor, for 15 minutes", async () => {
    const holder = await credential("admin");
    const sent = Date.now();
    const session = await mint(holder, { scopes: ["contacts:*"] });
    const lasts = Date.parse(session.expires_at) - sent;
    assert.ok(lasts >= 900_000 - 1 && lasts <= 900_000 + 5_000, `${lasts} ms`);
    assert.deepEqual(
      [session.role, session.actor, session.parent, session.created_by, session.scopes],
      ["admin", "alice", holder.id, holder.id, ["contacts:*"]],
    );
    const path = `/accounts/${own.id}/keys`;
    const key = success(await by(session, "POST", path, { environment: "live" }), 201);
    assert.equal(key.created_by, "alice");
    const audit = success(await by(session, "GET", `/accounts/${own.id}/audit?subject=${key.id}`));
    assert.deepEqual([audit.data[0].actor, audit.data[0].credential], ["alice", session.id]);
    const minted = success(await admin(server, "GET", `/accounts/${own.id}/audit?action=session.create`));
    assert.equal(minted.data[0].subject, session.id);
    for (const [method, body] of [["GET"], ["POST", { environment: "live" }]]) {
      const answer = await by(session, method, path, body, { "X-Keygate-Actor": "bob" });
      problem(answer, 400, "invalid_request", { field: "X-Keygate-Actor", detail: /"alice"/ });
      assert.ok((await by(session, method, path, body, { "X-Keygate-Actor": "alice" })).status < 300);
    }
  });

  test("mints none, issues no credential, and cannot be extended", async () => {
    const session = await mint(await credential("admin"));
    const path = `/accounts/${own.id}`;
    problem(await by(session, "POST", `${path}/sessions`, { actor: "alice" }), 403, "insufficient_role");
    const longer = await by(session, "POST", `${path}/keys`, { environment: "admin", role: "viewer" });
    problem(longer, 403, "insufficient_role");
    const extended = await by(session, "PATCH", `${path}/keys/${session.id}`, { expires_at: "2040-01-01T00:00:00Z" });
    problem(extended, 400, "invalid_request", { field: "expires_at" });
    problem(await by(session, "POST", `${path}/sessions`, {}), 400, "invalid_request", { field: "actor" });
  });

  test("can be minted by a viewer and by the operator, and be revoked", async () => {
    const viewer = await credential("viewer");
    const ofViewer = await mint(viewer);
    assert.equal(ofViewer.role, "viewer");
    problem(await by(ofViewer, "POST", `/accounts/${own.id}/keys`, { environment: "live" }), 403, "insufficient_role");
    const ofRoot = await mint({ key: secrets.KEYGATE_ROOT_TOKEN }, { role: "viewer" });
    assert.deepEqual([ofRoot.role, ofRoot.parent, ofRoot.created_by], ["viewer", "root", null]);
    for (const session of [ofViewer, ofRoot]) {
      success(await by(session, "GET", `/accounts/${own.id}`));
      await revokeKey(server, own, session);
      constant401(await by(session, "GET", `/accounts/${own.id}`));
    }
    success(await by(viewer, "GET", `/accounts/${own.id}`));
  });

  test("ends with the credential that minted it", async () => {
    const holder = await credential("admin");
    const session = await mint(holder);
    const path = `/accounts/${own.id}`;
    success(await admin(server, "PATCH", `${path}/keys/${holder.id}`, { disabled: true }));
    constant401(await by(session, "GET", path));
    success(await admin(server, "PATCH", `${path}/keys/${holder.id}`, { disabled: false }));
    success(await by(session, "GET", path));
    await revokeKey(server, own, holder);
    constant401(await by(session, "GET", path));
  });
});

describe("what is for keys and what is for administrators", () => {
  /** What `promise` resolves to, which must have cost neither a question to the Authority nor one to KV. */
  async function withoutWork(promise) {
    const work = async () => [(await send(server, "GET", "/asked")).json, { ...server.kv.counts }];
    // Whatever else is still on its way.
    await new Promise((resume) => setTimeout(resume, 300));
    const earlier = await work();
    const answer = await promise();
    assert.deepEqual(await work(), earlier);
    return answer;
  }

  test("an API key on admin routes is the constant 401, without any I/O", async () => {
    const live = await issueKey(server, own, { scopes: ["*"] });
    const inTest = await issueKey(server, own, { environment: "test", scopes: ["*"] });
    const { reads, writes } = calls(own, live);
    for (const token of [live.key, inTest.key, forgedKey(), forgedKey().replace("_live_", "_admin_")]) {
      for (const call of [reads[0], writes[1]]) constant401(await withoutWork(() => by({ key: token }, ...call)));
    }
  });

  test("a credential or session on the API is the constant 401, without any I/O", async () => {
    const holder = await credential("admin");
    for (const { key } of [holder, await mint(holder)]) {
      const forged = await verify(server, forgedKey());
      for (const call of [
        () => verify(server, key),
        () => whoami(server, key),
        () => send(server, "GET", "/_keygate/workspaces", { headers: bearer(key) }),
        () => send(server, "GET", "/contacts", { headers: bearer(key) }),
      ]) {
        const answer = await withoutWork(call);
        constant401(answer);
        assert.equal(transcript(answer), transcript(forged));
      }
    }
  });

  test("the header by which the Worker says who calls is no caller's to set", async () => {
    const viewer = await credential("viewer");
    const holder = await credential("admin");
    const path = `/accounts/${own.id}/keys`;
    const digest = [...server.kv.records.keys()].find((name) => name.startsWith("grant:")).slice(6);
    for (const said of ["root", digest, holder.id]) {
      const headers = { ...JSON_TYPE, "X-Keygate-Caller": said };
      problem(await by(viewer, "POST", path, { environment: "live" }, headers), 403, "insufficient_role");
      problem(await by({ key: null }, "GET", path, undefined, headers), 401, "missing_credential");
      success(await admin(server, "GET", path, undefined, { headers }));
    }
  });
});

test("whatever becomes of credentials, the root token administers", async () => {
  const account = await createAccount(server);
  const holders = [await credential("admin", {}, account), await credential("viewer", {}, account)];
  for (const holder of holders) await revokeKey(server, account, holder);
  for (const holder of holders) constant401(await by(holder, "GET", `/accounts/${account.id}`));
  success(await admin(server, "GET", `/accounts/${account.id}`));
  const again = await credential("admin", {}, account);
  success(await by(again, "PATCH", `/accounts/${account.id}`, { name: "Back" }));
});

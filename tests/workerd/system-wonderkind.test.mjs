// Wonderkind NEXT: one account, and keys with all of its rights that Account Admins alone generate.
//
// Of its column this checks: who generates keys, what a key belongs to, its name, that it is shown once, its rights, the
// list, revocation for good, replacing a key by hand while both work, and by a successor: after 90 days or at once after
// suspected exposure; features of an organisation and of the platform, and the header.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, createAccount, issueKey, send, transcript, whoami } from "./harness/client.mjs";
import { constant401, eventually, problem, success } from "./harness/expect.mjs";
import {
  administrator,
  call,
  found,
  from,
  inDays,
  refusedOnceAnswered,
  rotate,
  rotated,
  rotateOwn,
  startProduct,
} from "./harness/product.mjs";

const ORGANISATION = { name_policy: "required", default_scopes: ["*"], rotation_days: 90 };
const DAY_MS = 24 * 60 * 60 * 1_000;

let server, acme, globex, accountAdmin, viewer, key;

before(async () => {
  server = await startProduct();
  [acme, globex] = await Promise.all(["Acme", "Globex"].map((name) => createAccount(server, { name, ...ORGANISATION })));
  const credential = (role) => issueKey(server, acme, { environment: "admin", role, name: `An ${role}'s` });
  [accountAdmin, viewer] = (await Promise.all(["admin", "viewer"].map(credential))).map((it) => administrator(server, it));
});
after(() => server?.stop());

const keys = (account = acme) => `/accounts/${account.id}/keys`;
const generate = (name, by = accountAdmin) => by("POST", keys(), { environment: "live", name });
const jobs = (holder, edge = server, headers = {}) => call(edge, holder, "GET", "/wonderkind/v1/jobs", headers);
const show = async (filter) => (await found(server, `/accounts/${acme.id}`, filter)).map(({ id }) => id);
const read = async ({ id }) => success(await viewer("GET", `${keys()}/${id}`));

describe("an Account Admin", () => {
  test("alone generates keys", async () => {
    key = success(await generate("Careers page"), 201);
    problem(await generate("Careers page", viewer), 403, "insufficient_role", { detail: /needs the role admin/ });
    constant401(await generate("Careers page", administrator(server, key)));
    problem(await generate("Careers page", administrator(server, { key: null })), 401, "missing_credential");
    problem(await accountAdmin("POST", keys(globex), { environment: "live", name: "x" }), 404, "not_found");
  });

  test("gives every key a descriptive name", async () => {
    for (const name of [undefined, null, "", " "]) {
      problem(await generate(name), 400, "invalid_request", { field: "name" });
    }
  });

  test("sees a key once, and never again", async () => {
    assert.match(key.key, /^kg_live_[0-9A-Za-z]{52}$/);
    const found = await accountAdmin("POST", `${keys()}/lookup`, { key: key.key });
    for (const later of [found, await accountAdmin("GET", `${keys()}/${key.id}`), await accountAdmin("GET", keys())]) {
      assert.equal(later.status, 200);
      assert.ok(!later.text.includes(key.key));
    }
  });
});

describe("a key", () => {
  test("belongs to the account and has all of its rights, without any of its own", async () => {
    const { account_id, scopes } = (await whoami(server, key.key)).json;
    assert.deepEqual([account_id, scopes], [acme.id, ["*"]]);
    for (const method of ["GET", "POST", "PATCH", "DELETE"]) {
      for (const path of ["/wonderkind/v1/jobs", "/wonderkind/v1/campaigns/1/candidates", "/wonderkind/v1/settings"]) {
        assert.equal((await call(server, key, method, path)).status, 200, `${method} ${path}`);
      }
    }
    const lesser = success(await accountAdmin("POST", keys(), { environment: "live", name: "Less", scopes: ["jobs:*"] }), 201);
    problem(await jobs(lesser), 403, "insufficient_scope", { demanded: "*", missing: ["*"] });
    success(await accountAdmin("POST", `${keys()}/${lesser.id}/revoke`));
  });

  test("is sent as a bearer token", async () => {
    problem(await jobs(null), 401, "missing_credential");
    for (const headers of [{ "X-Api-Key": key.key }, { Authorization: `Basic ${key.key}` }]) {
      problem(await send(server, "GET", "/wonderkind/v1/jobs", { headers }), 401, "missing_credential");
    }
  });

  test("is listed with its name, creation date, last used date and status", async () => {
    const unused = success(await generate("Not yet used"), 201);
    await eventually(async () => {
      const listed = success(await viewer("GET", keys())).data;
      const shown = listed.map(({ name, status, last_used_at }) => [name, status, last_used_at !== null]);
      assert.deepEqual(shown, [
        ["Not yet used", "active", false],
        ["Less", "revoked", false],
        ["Careers page", "active", true],
      ]);
      for (const { created_at, last_used_at } of listed) {
        assert.ok(Date.parse(created_at) <= Date.now());
        assert.ok(last_used_at === null || last_used_at >= created_at);
      }
    }, 20_000);
    success(await accountAdmin("POST", `${keys()}/${unused.id}/revoke`));
  });
});

describe("replacing a key by hand", () => {
  let old;

  test("both work until the new one is confirmed, and the old one is revoked", async () => {
    [old, key] = [key, success(await generate("Careers page"), 201)];
    assert.deepEqual([(await jobs(old)).status, (await jobs(key)).status], [200, 200]);
    const revoke = () => accountAdmin("POST", `${keys()}/${old.id}/revoke?wait=effective`);
    await refusedOnceAnswered(server, (edge) => jobs(old, edge), revoke);
    assert.equal((await jobs(key)).status, 200);
  });

  test("the revoked key cannot be restored", async () => {
    for (const change of [{ disabled: false }, { name: "Again" }]) {
      problem(await accountAdmin("PATCH", `${keys()}/${old.id}`, change), 409, "conflict", { detail: /final; issue a new one/ });
    }
    assert.equal(success(await accountAdmin("GET", `${keys()}/${old.id}`)).status, "revoked");
    constant401(await jobs(old));
  });
});

describe("replacing a key after 90 days", () => {
  let old, other;
  before(async () => {
    other = success(await generate("Intranet"), 201);
    old = key;
  });

  test("each says when it is due, and those that are, are listed then, and counted", async () => {
    for (const { created_at, rotation_due_at } of [await read(old), other]) {
      assert.equal(Date.parse(rotation_due_at) - Date.parse(created_at), 90 * DAY_MS);
    }
    const due = async () => [await show({ due: true }), success(await viewer("GET", `/accounts/${acme.id}`)).keys_due];
    assert.deepEqual(await due(), [[], 0]);
    assert.deepEqual(await inDays(server, 91, due), [[other.id, old.id], 2]);
  });

  test("a new one that turns out wrong is dropped, and the old one goes on as if there had been none", async () => {
    const wrong = await rotated(accountAdmin, `${keys()}/${old.id}`, { overlap: 14 * 86_400 });
    for (const edge of Object.values(server.edges)) assert.equal((await jobs(wrong, edge)).status, 200);
    const cancel = () => accountAdmin("POST", `${keys()}/${old.id}/rotate/cancel?wait=effective`);
    await refusedOnceAnswered(server, (edge) => jobs(wrong, edge), cancel);
    const { status, expires_at, rotated_to } = await read(old);
    assert.deepEqual([status, expires_at, rotated_to], ["active", null, null]);
    assert.equal((await jobs(old)).status, 200);
  });

  test("both work, under one name, until the new one is confirmed; then the old one is refused everywhere", async () => {
    problem(await rotate(viewer, `${keys()}/${old.id}`, { overlap: 1 }), 403, "insufficient_role");
    key = await rotated(accountAdmin, `${keys()}/${old.id}`, { overlap: 14 * 86_400 });
    const waiting = await read(old);
    assert.equal(waiting.expires_at, key.overlap_ends_at);
    assert.ok(Math.abs(Date.parse(key.overlap_ends_at) - Date.parse(key.created_at) - 14 * DAY_MS) < 1_000);
    assert.deepEqual([key.name, waiting.name, waiting.rotation_due_at], ["Careers page", "Careers page", null]);
    for (const edge of Object.values(server.edges)) {
      for (const holder of [old, key]) assert.equal((await jobs(holder, edge)).status, 200);
    }
    const confirm = () => accountAdmin("POST", `${keys()}/${old.id}/rotate/confirm?wait=effective`);
    const confirmed = await refusedOnceAnswered(server, (edge) => jobs(old, edge), confirm);
    assert.deepEqual([confirmed.status, confirmed.rotated_to], ["revoked", key.id]);
    assert.equal((await jobs(key)).status, 200);
    assert.equal(Date.parse(key.rotation_due_at) - Date.parse(key.created_at), 90 * DAY_MS, "it has its own 90 days");
  });

  test("an admin who goes through the list sees which of a name still work, and which have not been used lately", async () => {
    const named = (filter) => show({ name_contains: "careers", ...filter });
    assert.deepEqual(await named({ status: "active" }), [key.id]);
    assert.ok((await named({ status: "revoked" })).includes(old.id));
    const unused_since = (await read(key)).created_at;
    await eventually(async () => {
      assert.equal((await jobs(key)).status, 200);
      assert.deepEqual(await show({ status: "active", unused_since }), [other.id]);
      const { allowed, refused } = success(await viewer("GET", `${keys()}/${key.id}/usage`));
      assert.ok(allowed >= 3 && Object.keys(refused).length === 0, `${allowed}`);
    }, 20_000);
  });
});

describe("replacing a key at once, after suspected exposure", () => {
  const [ours, theirs] = [from("192.0.2.10"), from("203.0.113.66")];

  test("the old one is refused everywhere once the new one is shown, which works from our own servers alone", async () => {
    const exposed = key;
    const narrower = { overlap: 0, allowed_ips: ["192.0.2.0/28"] };
    const replace = () => rotate(accountAdmin, `${keys()}/${exposed.id}?wait=effective`, narrower);
    key = await refusedOnceAnswered(server, (edge) => jobs(exposed, edge, theirs), replace, { status: 201 });
    assert.equal((await read(exposed)).status, "revoked");
    assert.deepEqual([key.name, key.allowed_ips], ["Careers page", ["192.0.2.0/28"]]);
    for (const edge of Object.values(server.edges)) {
      constant401(await jobs(exposed, edge, ours));
      assert.equal((await jobs(key, edge, ours)).status, 200);
      problem(await jobs(key, edge, theirs), 403, "ip_not_allowed");
      problem(await jobs(key, edge), 403, "ip_not_allowed");
    }
  });

  test("whoever has the exposed one cannot have it succeeded in turn: Account Admins alone generate keys", async () => {
    problem(await rotateOwn(server, key, { overlap: 60 }, ours), 403, "insufficient_role", { detail: /holders_may_rotate/ });
    key = await rotated(accountAdmin, `${keys()}/${key.id}?wait=effective`, { overlap: 0, allowed_ips: null });
    assert.deepEqual([key.allowed_ips, (await jobs(key)).status], [null, 200]);
  });
});

describe("the platform's administrator", () => {
  let theirs;
  before(async () => {
    theirs = await issueKey(server, globex, { name: "Careers page" });
  });

  const enable = async (account, features) =>
    success(await admin(server, "PATCH", `/accounts/${account.id}?wait=effective`, { features }));
  const enableForAll = async (features) => success(await admin(server, "PUT", "/platform?wait=effective", { features }));

  /** Which of the two organisations a path is there for; for the others it looks like one that never was. */
  async function visible(path) {
    const seen = [];
    for (const [name, holder] of [["acme", key], ["globex", theirs]]) {
      const answer = await call(server, holder, "GET", path);
      if (answer.status === 200) seen.push(name);
      else assert.equal(transcript(answer), transcript(await call(server, holder, "GET", "/no-such-route")));
    }
    return seen;
  }

  test("rolls a beta out organisation by organisation; what is not enabled is not visible", async () => {
    const beta = "/wonderkind/beta/matching";
    for (const path of [beta, "/wonderkind/beta", "/wonderkind/beta/"]) assert.deepEqual(await visible(path), [], path);
    await enable(acme, ["beta"]);
    assert.deepEqual(await visible(beta), ["acme"]);
    await enable(globex, ["beta"]);
    assert.deepEqual(await visible(beta), ["acme", "globex"]);
    await enable(acme, []);
    assert.deepEqual(await visible(beta), ["globex"]);
  });

  test("switches features on and off for the whole platform", async () => {
    const [forms, iventa] = ["/wonderkind/lead-forms/1", "/wonderkind/iventa/campaigns"];
    assert.deepEqual([await visible(forms), await visible(iventa)], [[], []]);
    await enableForAll(["lead-forms"]);
    assert.deepEqual([await visible(forms), await visible(iventa)], [["acme", "globex"], []]);
    await enableForAll(["iventa-distribution", "lead-forms"]);
    assert.deepEqual(await visible(iventa), ["acme", "globex"]);
    await enableForAll([]);
    assert.deepEqual([await visible(forms), await visible(iventa)], [[], []]);
  });

  test("alone does so", async () => {
    const own = { features: ["beta"] };
    problem(await accountAdmin("PATCH", `/accounts/${acme.id}`, own), 403, "insufficient_role", { detail: /root token/ });
    problem(await accountAdmin("PUT", "/platform", own), 403, "insufficient_role");
    assert.deepEqual(await visible("/wonderkind/beta/matching"), ["globex"]);
  });
});

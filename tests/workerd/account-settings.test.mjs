// What an account is configured with: names of keys, access levels, a scope catalogue, activation; and upserts.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, createAccount, issueKey, revokeKey, verify } from "./harness/client.mjs";
import { effective, eventually, problem, success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

let server;
before(async () => {
  server = await startWorkerd({ env: { KEYGATE_LEASE_SECONDS: "1" } });
});
after(() => server?.stop());

const BOUND_MS = 1_051;
const account = (fields) => createAccount(server, fields);
const patch = ({ id }, changes) => admin(server, "PATCH", `/accounts/${id}`, changes);
const read = async ({ id }) => success(await admin(server, "GET", `/accounts/${id}`));
const issue = ({ id }, fields) => admin(server, "POST", `/accounts/${id}/keys`, { environment: "live", ...fields });
const patchKey = ({ id }, key, changes) => admin(server, "PATCH", `/accounts/${id}/keys/${key.id}`, changes);

const SETTINGS = {
  name_policy: "unique",
  access_levels: {
    "Full access": { scopes: ["*"] },
    "Nur lesen 👀": { description: "Sees everything", scopes: ["*:read"] },
  },
  access_level_required: true,
  scopes: [{ resource: "contacts", description: "People and companies", verbs: ["read", "write"] }],
  plan: "Connect",
  explain_refusals: true,
};

describe("settings", () => {
  test("are kept as they are given, and changed one by one", async () => {
    const created = await account(SETTINGS);
    const stored = await read(created);
    for (const [member, value] of Object.entries({ ...SETTINGS, access_note: null })) {
      assert.deepEqual(stored[member], value, member);
    }
    const changed = success(await patch(created, { scopes: null, plan: null, access_levels: {} }));
    const now = { ...SETTINGS, scopes: null, plan: null, access_levels: {} };
    for (const [member, value] of Object.entries(now)) assert.deepEqual(changed[member], value, member);
    const audit = success(await admin(server, "GET", `/accounts/${created.id}/audit`)).data[0];
    assert.deepEqual(Object.keys(audit.after), ["access_levels", "plan", "scopes"]);
    assert.deepEqual(audit.before.access_levels, SETTINGS.access_levels);
  });

  test("that are wrong are refused by name", async () => {
    const { id } = await account();
    for (const [field, value] of [
      ["name_policy", "any"],
      ["access_levels", []],
      ["access_levels", { " ": { scopes: [] } }],
      ["access_levels", { a: { scopes: ["a"] } }],
      ["access_levels", { a: { scopes: [], more: 1 } }],
      ["access_levels", Object.fromEntries(Array.from({ length: 51 }, (_, n) => [n, { scopes: [] }]))],
      ["access_level_required", null],
      ["scopes", []],
      ["scopes", [{ resource: "contacts", verbs: ["read"] }]],
      ["scopes", [...SETTINGS.scopes, ...SETTINGS.scopes]],
      ["plan", ""],
      ["explain_refusals", 1],
    ]) {
      problem(await patch({ id }, { [field]: value }), 400, "invalid_request", { field });
    }
  });
});

describe("names of keys", () => {
  test("are required where the account says so", async () => {
    const acme = await account({ name_policy: "required" });
    problem(await issue(acme, {}), 400, "invalid_request", { field: "name", detail: /name is missing/ });
    const key = success(await issue(acme, { name: "a" }), 201);
    success(await issue(acme, { name: "a" }), 201);
    problem(await patchKey(acme, key, { name: null }), 400, "invalid_request", { field: "name" });
  });

  test("are unique among active keys where the account says so", async () => {
    const acme = await account({ name_policy: "unique" });
    const key = success(await issue(acme, { name: "a" }), 201);
    problem(await issue(acme, { name: "a" }), 409, "conflict", { field: "name" });
    success(await issue(acme, { name: "a", environment: "test" }), 201);
    const other = success(await issue(acme, { name: "b" }), 201);
    problem(await patchKey(acme, other, { name: "a" }), 409, "conflict", { field: "name" });
    await revokeKey(server, acme, key);
    success(await patchKey(acme, other, { name: "a" }));
  });
});

test("a key gets the scopes of its access level, or its own beside it", async () => {
  const acme = await account({ access_levels: SETTINGS.access_levels, access_level_required: true });
  const key = success(await issue(acme, { access_level: "Nur lesen 👀" }), 201);
  assert.deepEqual([key.scopes, key.access_level], [["*:read"], "Nur lesen 👀"]);
  const custom = success(await issue(acme, { access_level: "Full access", scopes: ["jobs:run"] }), 201);
  assert.deepEqual([custom.scopes, custom.access_level], [["jobs:run"], "Full access"]);
  const listed = success(await admin(server, "GET", `/accounts/${acme.id}/keys`)).data;
  assert.deepEqual(listed.map(({ access_level }) => access_level), ["Full access", "Nur lesen 👀"]);
  const known = /"Full access", "Nur lesen 👀"/;
  for (const fields of [{ access_level: "Full" }, { scopes: ["jobs:run"] }]) {
    problem(await issue(acme, fields), 400, "invalid_request", { field: "access_level", detail: known });
  }
  assert.equal((await verify(server, key.key, "scope=jobs:read")).status, 200);
});

test("scopes stand in the account's catalogue, which anyone may read", async () => {
  const acme = await account();
  const scopes = async () => success(await admin(server, "GET", `/accounts/${acme.id}/scopes`));
  assert.deepEqual(await scopes(), { data: [], source: "none" });
  success(await patch(acme, { scopes: SETTINGS.scopes }));
  assert.deepEqual(await scopes(), { data: SETTINGS.scopes, source: "account" });
  const nearest = /no scope `contact:read`.*the nearest is `contacts:read`/;
  problem(await issue(acme, { scopes: ["contact:read"] }), 400, "invalid_request", { field: "scopes", detail: nearest });
  success(await issue(acme, { scopes: ["contacts:write", "*:read", "*"] }), 201);
  for (const [field, value] of [
    ["default_scopes", ["contact:read"]],
    ["access_levels", { "Read only": { scopes: ["contact:read"] } }],
  ]) {
    problem(await patch(acme, { [field]: value }), 400, "invalid_request", { field, detail: nearest });
  }
  problem(await admin(server, "GET", "/accounts/acct_00ffffffff/scopes"), 404, "not_found");
});

test("what a key is issued with cannot be changed", async () => {
  const acme = await account();
  const key = await issueKey(server, acme, { scopes: ["a:b"] });
  for (const [field, value] of [
    ["scopes", ["a:b"]],
    ["access_level", null],
    ["environment", "test"],
    ["workspaces", []],
    ["fields", {}],
  ]) {
    const detail = new RegExp(`^${field} cannot be changed after issue: issue a new key\\.$`);
    problem(await patchKey(acme, key, { name: "x", [field]: value }), 409, "conflict", { field, detail });
  }
  const unchanged = success(await admin(server, "GET", `/accounts/${acme.id}/keys/${key.id}`));
  assert.deepEqual([unchanged.name, unchanged.scopes], [null, ["a:b"]]);
});

test("access is asked for, approved, used, and taken back", async () => {
  const acme = await account({ api_access: { live: "off", test: "off" } });
  const ask = (fields) => admin(server, "POST", `/accounts/${acme.id}/access-requests`, fields);
  problem(await issue(acme, {}), 403, "account_inactive", { detail: /POST accounts\/acct_\w+\/access-requests/ });
  for (const [field, fields] of [
    ["environment", {}],
    ["environment", { environment: "admin" }],
    ["note", { environment: "live", note: "é".repeat(501) }],
  ]) {
    problem(await ask(fields), 400, "invalid_request", { field });
  }
  const sent = Date.now();
  const asked = effective(success(await ask({ environment: "live", note: "é".repeat(500) })), sent, BOUND_MS);
  assert.deepEqual([asked.api_access, asked.access_note.length], [{ live: "requested", test: "off" }, 500]);
  assert.equal(success(await ask({ environment: "live", note: "Please" })).access_note, "Please");
  problem(await issue(acme, {}), 403, "account_inactive", { detail: /wait until an operator approves it/ });

  const approve = { api_access: { live: "active", test: "off" }, plan: "Connect" };
  const approved = success(await admin(server, "PATCH", `/accounts/${acme.id}?wait=effective`, approve));
  assert.deepEqual([approved.plan, approved.access_note], ["Connect", "Please"]);
  const key = await issueKey(server, acme);
  assert.equal((await verify(server, key.key)).status, 200);
  problem(await ask({ environment: "live" }), 409, "conflict", { field: "environment" });
  success(await patch(acme, { api_access: { live: "off", test: "off" } }));
  await eventually(async () => problem(await verify(server, key.key), 403, "account_inactive"));
});

describe("putting an account under its external id", () => {
  const put = (id, fields, options) =>
    admin(server, "PUT", `/accounts/by-external-id/${encodeURIComponent(id)}`, fields, options);

  test("creates it once, and then changes what is given", async () => {
    const created = success(await put("crm:1/a_b?%+", { name: "Acme", features: ["beta"] }), 201);
    assert.deepEqual([created.external_id, created.features], ["crm:1/a_b?%+", ["beta"]]);
    const changed = success(await put("crm:1/a_b?%+", { name: "Acme Ltd", plan: "Connect" }));
    assert.deepEqual([changed.id, changed.name, changed.features, changed.plan], [created.id, "Acme Ltd", ["beta"], "Connect"]);
    const found = success(await admin(server, "GET", "/accounts?external_id=crm%3A1%2Fa_b%3F%25%2B")).data;
    assert.deepEqual(found.map(({ id }) => id), [created.id]);
  });

  test("needs a name and an id that can be one, and takes no other", async () => {
    problem(await put("crm:2", {}), 400, "invalid_request", { field: "name" });
    problem(await put("crm:2", { name: "Acme", external_id: "x" }), 400, "invalid_request", { field: "external_id" });
    for (const id of ["a b", "é", "x".repeat(129)]) {
      problem(await put(id, { name: "Acme" }), 400, "invalid_request", { field: "external_id" });
    }
    const path = "/accounts/by-external-id/crm:2";
    problem(await admin(server, "GET", path), 405, "method_not_allowed", { allow: "PUT" });
    assert.equal((await admin(server, "PUT", path, { name: "Acme" }, { token: "x" })).status, 401);
  });

  test("is safe when it is done twice at once, whatever slot has the account", async () => {
    const many = await startWorkerd({ env: { KEYGATE_SLOTS: "0 7 255" } });
    try {
      const send = (method, path, fields, options) => admin(many, method, path, fields, options);
      for (let round = 0; round < 5; round += 1) {
        const path = `/accounts/by-external-id/crm:${round}`;
        const answers = await Promise.all(
          Array.from({ length: 6 }, (_, n) => send("PUT", path, { name: `Acme ${n}` })),
        );
        assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 200, 200, 200, 200, 201]);
        assert.equal(new Set(answers.map(({ json }) => json.id)).size, 1);
      }
      // An account that another slot took, by its Idempotency-Key, is found there.
      const slots = new Set();
      for (let round = 0; round < 12; round += 1) {
        const headers = { "Idempotency-Key": `0123456789abcdefghij-${round}` };
        const created = await send("POST", "/accounts", { name: "Acme", external_id: `elsewhere-${round}` }, { headers });
        const again = await send("PUT", `/accounts/by-external-id/elsewhere-${round}`, { name: "Acme" });
        assert.deepEqual([again.status, again.json.id], [200, success(created, 201).id]);
        slots.add(created.json.id.slice(5, 7));
      }
      assert.equal(slots.size, 3);
    } finally {
      await many.stop();
    }
  });
});

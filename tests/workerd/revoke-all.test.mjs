// All keys of an environment, revoked at once: everywhere within B, and KV says so in the end.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { admin, createAccount, issueKey, issueMany, listAll, revokeKey, timed, verify } from "./harness/client.mjs";
import { allowed, BOUND_MS, constant401, effective, eventually, problem, success } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { grantRecord } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

/** How many keys the measurement is made with. */
const KEYS = Number(process.env.KEYGATE_KEYS ?? 300);

let server, edges;
before(async () => {
  server = await startWorkerd({ edges: { first: {}, second: {}, third: {} } });
  edges = Object.values(server.edges);
});
after(() => server?.stop());

const revokeAll = (account, body, query = "") =>
  admin(server, "POST", `/accounts/${account.id}/keys/revoke-all${query}`, body);
const get = async (account, key) => success(await admin(server, "GET", `/accounts/${account.id}/keys/${key.id}`));

const metadata = (key) => JSON.parse(server.kv.records.get(grantRecord(key.key))?.metadata ?? "{}");

test("it is answered with what was revoked, and when that counts", async () => {
  const account = await createAccount(server);
  const [live, inTest] = [await issueKey(server, account), await issueKey(server, account, { environment: "test" })];
  const sent = Date.now();
  const { mirrored, ...rest } = success(await revokeAll(account, { environment: "test" }));
  assert.equal(typeof mirrored, "boolean");
  const { revoked_at, ...members } = effective(rest, sent);
  assert.deepEqual(members, { account_id: account.id, environments: ["test"] });
  assert.deepEqual(await get(account, inTest), { ...(await get(account, inTest)), status: "revoked", revoked_at });
  assert.equal((await get(account, live)).status, "active");
  const both = success(await revokeAll(account));
  assert.deepEqual(both.environments, ["live", "test"]);
  assert.equal((await get(account, live)).status, "revoked");
  assert.equal((await get(account, inTest)).revoked_at, revoked_at, "no date changes");
  assert.equal(success(await revokeAll(account)).revoked_at, both.revoked_at, "repeating it is a success");
});

test("it is final, and a key that is issued later works", async () => {
  const account = await createAccount(server, { max_active_keys: 2 });
  const [one, two] = [await issueKey(server, account), await issueKey(server, account)];
  problem(await admin(server, "POST", `/accounts/${account.id}/keys`, { environment: "live" }), 409, "limit_reached");
  success(await revokeAll(account, undefined, "?wait=effective"));
  const later = await issueKey(server, account);
  for (const edge of edges) {
    for (const { key } of [one, two]) constant401(await verify(edge, key));
    allowed(await verify(edge, later.key), later, account);
  }
  problem(await admin(server, "PATCH", `/accounts/${account.id}/keys/${one.id}`, { disabled: false }), 409, "conflict");
  assert.equal((await revokeKey(server, account, one)).status, "revoked");
  const listed = async (status) => (await listAll(server, `/accounts/${account.id}/keys?status=${status}`)).map(({ id }) => id);
  assert.deepEqual(await listed("active"), [later.id]);
  assert.deepEqual(await listed("revoked"), [two.id, one.id]);
  const lookup = await admin(server, "POST", `/accounts/${account.id}/keys/lookup`, { key: two.key });
  assert.equal(success(lookup).status, "revoked");
});

test("it refuses what is not right, and names it", async () => {
  const account = await createAccount(server);
  problem(await revokeAll(account, { environment: "beta" }), 400, "invalid_request", { field: "environment" });
  problem(await revokeAll(account, { all: true }), 400, "invalid_request", { field: "all" });
  problem(await revokeAll({ id: "acct_0000000001" }), 404, "not_found");
  problem(await admin(server, "GET", `/accounts/${account.id}/keys/revoke-all`), 405, "method_not_allowed", { allow: "POST" });
});

test(`with ?wait=effective none of ${KEYS} keys is accepted anywhere once it is answered, whatever KV serves`, async (t) => {
  const account = await createAccount(server);
  const keys = await issueMany(server, account, KEYS);
  // What KV serves from now on is what was so before.
  await eventually(() => keys.forEach((key) => assert.ok(server.kv.records.has(grantRecord(key.key)))), 60_000);
  server.kv.onGet = faults.from(new Map(server.kv.records));
  const sample = keys.filter((_, at) => at % Math.ceil(KEYS / 50) === 0);
  for (const edge of edges) for (const { key } of sample) assert.equal((await verify(edge, key)).status, 200);

  const { answer, took } = await timed(revokeAll(account, { environment: "live" }, "?wait=effective"));
  success(answer);
  const refusals = edges.flatMap((edge) => sample.map(({ key }) => verify(edge, key)));
  for (const refusal of await Promise.all(refusals)) constant401(refusal);
  t.diagnostic(`revoking ${KEYS} keys took ${Math.round(took)} ms until it counted everywhere (B is ${BOUND_MS} ms)`);
  assert.ok(took <= BOUND_MS + 1_000, `${took} ms`);

  // And KV says so in the end, without holding up anything: a key that is issued meanwhile is there at once.
  server.kv.heal();
  const { mirrored } = await issueKey(server, account);
  assert.equal(mirrored, true);
  const begun = performance.now();
  await eventually(() => keys.forEach((key) => assert.equal(metadata(key).status, "revoked")), Math.max(120_000, 60 * KEYS));
  t.diagnostic(`KV had all ${KEYS} after ${Math.round((performance.now() - begun) / 1_000)} s more`);
});

test("what KV still has to be told survives a restart and an outage of KV", async () => {
  const account = await createAccount(server);
  const keys = await issueMany(server, account, 60);
  await eventually(() => keys.forEach((key) => assert.ok(server.kv.records.has(grantRecord(key.key)))), 60_000);
  server.kv.onPut = faults.fail;
  const { mirrored } = success(await revokeAll(account));
  assert.equal(mirrored, false);
  await server.restart();
  server.kv.heal();
  await eventually(() => keys.forEach((key) => assert.equal(metadata(key).status, "revoked")), 120_000);
});

// What KV serves may be of any age: no isolate that holds a lease takes a copy for true that a change has overtaken.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, createAccount, issueKey, revokeKey, verify } from "./harness/client.mjs";
import { breakable, manyEdges, takeCalls, unusedEdges } from "./harness/connection.mjs";
import { allowed, constant401, eventually, problem, success } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { accountRecord, grantRecord } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const BOUND_MS = 1_051;

let server, unused, account, other;
before(async () => {
  server = await startWorkerd({
    env: { KEYGATE_LEASE_SECONDS: "1" },
    edges: manyEdges(24),
    around: breakable,
  });
  unused = unusedEdges(server);
  account = await createAccount(server);
  other = await issueKey(server, account);
});
after(() => server?.stop());
afterEach(() => server?.kv.heal());

const keyPath = (key, owner = account) => `/accounts/${owner.id}/keys/${key.id}`;
const change = async (path, body) => success(await admin(server, "PATCH", path, body));

/** The record in KV once `fits` holds for its metadata. */
const mirrored = (name, fits) =>
  eventually(() => {
    const record = server.kv.records.get(name);
    assert.ok(record !== undefined && fits(JSON.parse(record.metadata)), name);
    return record;
  });

/** An isolate that knows nothing of any key but `other`, and that has a lease of now. */
async function leased(edge = unused()) {
  assert.equal((await verify(edge, other.key)).status, 200);
  return edge;
}

/** A key with every copy that there ever was of it, in their order: active, disabled, active, revoked. */
async function eventful() {
  const key = await issueKey(server, account);
  const name = grantRecord(key.key);
  const copies = [await mirrored(name, ({ status }) => status === "active")];
  await change(keyPath(key), { disabled: true });
  copies.push(await mirrored(name, ({ status }) => status === "disabled"));
  await change(keyPath(key), { disabled: false });
  copies.push(await mirrored(name, ({ status }) => status === "active"));
  return { key, name, copies };
}

describe("after a revocation", () => {
  let key, name, copies;
  before(async () => {
    ({ key, name, copies } = await eventful());
    await revokeKey(server, account, key, { wait: "effective" });
    copies.push(await mirrored(name, ({ status }) => status === "revoked"));
  });

  for (const [n, what] of ["the first", "the disabled", "the last active", "the right"].entries()) {
    test(`${what} copy, replayed, makes no new isolate accept the key`, async () => {
      server.kv.onGet = faults.from(new Map(server.kv.records).set(name, copies[n]));
      const edge = await leased();
      constant401(await verify(edge, key.key));
      constant401(await verify(edge, key.key));
      // Also where the first thing it is asked is this key.
      constant401(await verify(unused(), key.key));
    });
  }

  test("no record at all makes no new isolate accept the key", async () => {
    const records = new Map(server.kv.records);
    records.delete(name);
    server.kv.onGet = faults.from(records);
    constant401(await verify(await leased(), key.key));
  });

  test("another key's copy in its place makes no isolate accept the key", async () => {
    const good = await issueKey(server, account);
    const foreign = await mirrored(grantRecord(good.key), () => true);
    server.kv.onGet = faults.from(new Map(server.kv.records).set(name, foreign));
    constant401(await verify(await leased(), key.key));
  });
});

test("an isolate that slept through the revocation refuses the key, whatever KV has kept", async () => {
  const key = await issueKey(server, account);
  await mirrored(grantRecord(key.key), () => true);
  await mirrored(accountRecord(account.id), () => true);
  server.kv.onGet = faults.from(new Map(server.kv.records));
  const edge = await leased();
  assert.equal((await verify(edge, key.key)).status, 200);
  const { effective_by } = await revokeKey(server, account, key);
  await sleep(Math.max(0, Date.parse(effective_by) - Date.now()) + BOUND_MS);
  constant401(await verify(edge, key.key));
});

test("an isolate whose lease is fresh refuses a key that it has never seen, once its next sync has named the change", async () => {
  const key = await issueKey(server, account);
  await mirrored(grantRecord(key.key), () => true);
  server.kv.onGet = faults.from(new Map(server.kv.records));
  const edge = await leased();
  const { effective_by } = await revokeKey(server, account, key);
  // The lease is kept up by other keys.
  while (Date.now() <= Date.parse(effective_by)) {
    await leased(edge);
    await sleep(50);
  }
  constant401(await verify(edge, key.key));
});

test("a key that is enabled again is accepted within B, though KV says that it is disabled", async () => {
  const key = await issueKey(server, account, { scopes: ["a:b"] });
  await change(keyPath(key), { disabled: true });
  await mirrored(grantRecord(key.key), ({ status }) => status === "disabled");
  server.kv.onGet = faults.from(new Map(server.kv.records));
  const edge = await leased();
  constant401(await verify(edge, key.key));
  const { effective_by } = await change(keyPath(key), { disabled: false });
  while (Date.now() <= Date.parse(effective_by)) {
    await leased(edge);
    await sleep(50);
  }
  allowed(await verify(edge, key.key), key, account);
  assert.ok(Date.parse(effective_by) - Date.now() < BOUND_MS);
});

describe("an account", () => {
  test("that was suspended lets none of its keys in, though KV says that it is active", async () => {
    const owner = await createAccount(server);
    const keys = await Promise.all([issueKey(server, owner), issueKey(server, owner)]);
    for (const { key } of keys) await mirrored(grantRecord(key), () => true);
    const active = await mirrored(accountRecord(owner.id), ({ status }) => status === "active");
    const edge = await leased();
    assert.equal((await verify(edge, keys[0].key)).status, 200);
    success(await admin(server, "PATCH", `/accounts/${owner.id}?wait=effective`, { status: "suspended" }));
    await mirrored(accountRecord(owner.id), ({ status }) => status === "suspended");
    server.kv.onGet = faults.from(new Map(server.kv.records).set(accountRecord(owner.id), active));
    for (const place of [edge, await leased(), unused()]) {
      for (const { key } of keys) problem(await verify(place, key), 403, "account_inactive");
    }
  });

  test("cannot be another's in KV", async () => {
    const owner = await createAccount(server);
    const key = await issueKey(server, owner);
    await mirrored(grantRecord(key.key), () => true);
    const active = await mirrored(accountRecord(account.id), ({ status }) => status === "active");
    success(await admin(server, "PATCH", `/accounts/${owner.id}?wait=effective`, { status: "suspended" }));
    server.kv.onGet = faults.from(new Map(server.kv.records).set(accountRecord(owner.id), active));
    problem(await verify(await leased(), key.key), 403, "account_inactive");
  });
});

test("a stale copy costs one call of the Authority, not one per request", async () => {
  const key = await issueKey(server, account, { scopes: ["a:b"] });
  const old = await mirrored(grantRecord(key.key), () => true);
  const edge = await leased();
  await change(`${keyPath(key)}?wait=effective`, { name: "renamed" });
  server.kv.onGet = faults.from(new Map(server.kv.records).set(grantRecord(key.key), old));
  await leased(edge);
  await takeCalls(edge);
  const until = Date.now() + 300;
  let asked = 0;
  for (; Date.now() < until; asked += 1) allowed(await verify(edge, key.key), key, account);
  assert.ok(asked > 10);
  assert.ok((await takeCalls(edge, "/sync")).length <= 3);
});

// When a key was used last, and how often on which day: told behind the answers, at most once.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, createAccount, issueKey, listAll, revokeKey, timed, verify } from "./harness/client.mjs";
import { breakable, cut, disturb, heal, manyEdges, setClock, takeCalls, unusedEdges } from "./harness/connection.mjs";
import { databases } from "./harness/database.mjs";
import { allowed, eventually, success } from "./harness/expect.mjs";
import { digestOf, grantRecord, mintKey } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const LEASE_MS = 1_000;
/** After so long at most, the use of a key by an otherwise idle isolate is known. */
const KNOWN_MS = 13_000;
/** The Authority writes a key's usage once a minute at most, in rounds; it is made to believe that one has passed. */
const MINUTE_MS = 61_000;
const DAY_MS = 86_400_000;

let server, unused, account, other;
before(async () => {
  server = await startWorkerd({
    env: { KEYGATE_LEASE_SECONDS: `${LEASE_MS / 1_000}` },
    edges: manyEdges(24),
    around: breakable,
  });
  unused = unusedEdges(server);
  account = await createAccount(server);
  other = await issueKey(server, account);
});
after(() => server?.stop());

const read = async (key) => success(await admin(server, "GET", `/accounts/${account.id}/keys/${key.id}`));
const use = async (edge, key) => allowed(await verify(edge, key.key), key, account);

/** Has `edge` renew its lease by another key: a sync, with whatever there is to tell. */
async function sync(edge) {
  await takeCalls(edge);
  await eventually(async () => {
    assert.equal((await verify(edge, other.key)).status, 200);
    assert.ok((await takeCalls(edge, "/sync")).length > 0);
  });
  // It may have been made behind the answer.
  await sleep(200);
}

const rows = (key) =>
  databases(server)
    .flatMap(({ tables }) => tables.usage ?? [])
    .filter(({ digest }) => digest === digestOf(key.key));

/** How often `key` was used, once everything that `edges` and the Authority have in memory has been written. */
async function counted(key, edges) {
  for (const edge of edges) await sync(edge);
  await setClock(server.edges.home, MINUTE_MS);
  try {
    // A further use, a minute later as the Authority sees it, has all written that has waited.
    const last = unused();
    const at = Date.now() + MINUTE_MS;
    await use(last, key);
    await sync(last);
    await eventually(() => assert.ok(rows(key).some(({ last_at }) => last_at >= at)));
  } finally {
    await setClock(server.edges.home, 0);
  }
  return rows(key).reduce((sum, { count }) => sum + count, 0) - 1;
}

function near(time, from, until = from) {
  const at = Date.parse(time);
  assert.ok(at >= from - 100 && at <= until + 1_500, `${time}, ${at - from} ms after it`);
}

describe("scopes_last_used", () => {
  test("shows which scopes of a key served, and on which day last", async () => {
    const scopes = ["contacts:read", "jobs:*", "reports:read"];
    const key = await issueKey(server, account, { scopes });
    assert.equal(key.scopes_last_used, undefined);
    const edge = unused();
    const demanded = async (scope) => assert.equal((await verify(edge, key.key, `scope=${scope}`)).status, 200);
    assert.deepEqual((await read(key)).scopes_last_used, Object.fromEntries(scopes.map((scope) => [scope, null])));
    const today = () => new Date().toISOString().slice(0, 10);
    const before = today();
    await demanded("contacts:read");
    await demanded("jobs:write");
    assert.equal((await verify(edge, key.key, "scope=billing:read")).status, 403);
    await sync(edge);
    const { scopes_last_used: used } = await read(key);
    assert.ok([before, today()].includes(used["contacts:read"]), JSON.stringify(used));
    assert.ok([before, today()].includes(used["jobs:*"]), JSON.stringify(used));
    assert.deepEqual([Object.keys(used).sort(), used["reports:read"]], [[...key.scopes].sort(), null]);
    const [listed] = await listAll(server, `/accounts/${account.id}/keys`);
    assert.equal(listed.scopes_last_used, undefined, "in lists it is not looked for");
  });
});

describe("last_used_at", () => {
  test("is known within seconds though the isolate serves one request and falls idle, and the same everywhere", async () => {
    const key = await issueKey(server, account);
    const before = await admin(server, "GET", `/accounts/${account.id}/keys/${key.id}`);
    assert.equal(success(before).last_used_at, null);
    const from = Date.now();
    await use(unused(), key);
    const until = Date.now();
    const known = await eventually(async () => {
      const { last_used_at } = await read(key);
      assert.notEqual(last_used_at, null);
      return last_used_at;
    }, KNOWN_MS);
    near(known, from, until);
    const listed = (await listAll(server, `/accounts/${account.id}/keys`)).find(({ id }) => id === key.id);
    assert.equal(listed.last_used_at, known);
    const found = await admin(server, "POST", `/accounts/${account.id}/keys/lookup`, { key: key.key });
    assert.equal(success(found).last_used_at, known);
    // Using a key is no change of it: whoever edits it is not told that somebody was faster.
    const again = await admin(server, "GET", `/accounts/${account.id}/keys/${key.id}`);
    assert.equal(again.headers.etag, before.headers.etag);
  });

  test("follows a key in steady use to within a minute", async () => {
    const key = await issueKey(server, account);
    const edge = unused();
    const from = Date.now();
    for (let n = 0; n < 30; n += 1) {
      await use(edge, key);
      await sleep(100);
    }
    await sync(edge);
    const { last_used_at } = await read(key);
    assert.ok(Date.parse(last_used_at) >= from - 100 && Date.parse(last_used_at) <= Date.now());
    // Once a minute has passed, the newest.
    const last = Date.now();
    await use(edge, key);
    await setClock(server.edges.home, MINUTE_MS);
    try {
      await sync(edge);
    } finally {
      await setClock(server.edges.home, 0);
    }
    near((await read(key)).last_used_at, last + MINUTE_MS);
  });

  test("is right after an outage during which the key was used", async () => {
    const key = await issueKey(server, account);
    const edge = unused();
    await use(edge, other);
    await use(edge, key);
    const at = Date.now();
    await cut(edge);
    await sleep(LEASE_MS + 1_500);
    assert.equal((await verify(edge, key.key)).status, 503);
    await heal(edge);
    await eventually(async () => assert.equal((await verify(edge, other.key)).status, 200), 3_000);
    await sync(edge);
    near((await read(key)).last_used_at, at - 200, at);
  });

  test("stays null for keys that were refused", async () => {
    const owner = await createAccount(server);
    const make = (fields) => issueKey(server, owner, fields);
    const soon = new Date(Date.now() + 400).toISOString();
    const refused = [await make({ scopes: [] }), await make({}), await make({}), await make({ expires_at: soon })];
    const [, revoked, disabled] = refused;
    await revokeKey(server, owner, revoked);
    success(await admin(server, "PATCH", `/accounts/${owner.id}/keys/${disabled.id}`, { disabled: true }));
    await sleep(450);
    const edge = unused();
    for (const { key } of refused) assert.ok([401, 403].includes((await verify(edge, key, "scope=a:b")).status));
    const suspended = await createAccount(server);
    const theirs = await issueKey(server, suspended);
    success(await admin(server, "PATCH", `/accounts/${suspended.id}?wait=effective`, { status: "suspended" }));
    assert.equal((await verify(edge, theirs.key)).status, 403);
    assert.equal((await verify(edge, mintKey({ account: owner.id }).text)).status, 401);
    // Later than the use of a key is known that was used at the same time.
    const used = await issueKey(server, account);
    await use(edge, used);
    await eventually(async () => assert.notEqual((await read(used)).last_used_at, null), KNOWN_MS);
    await sync(edge);
    const keys = await Promise.all([owner, suspended].map(({ id }) => listAll(server, `/accounts/${id}/keys`)));
    assert.equal(keys.flat().length, 5);
    for (const { last_used_at } of keys.flat()) assert.equal(last_used_at, null);
    for (const key of [...refused, theirs]) assert.deepEqual(rows(key), []);
  });
});

describe("what is counted", () => {
  test("is every use on every isolate, by its day", async () => {
    const key = await issueKey(server, account);
    const edges = [unused(), unused(), unused()];
    const from = Date.now();
    await Promise.all(edges.flatMap((edge, n) => Array.from({ length: 20 + n }, () => use(edge, key))));
    assert.equal(await counted(key, edges), 63);
    for (const { day, last_at } of rows(key)) {
      assert.equal(day, Math.floor(last_at / DAY_MS));
      assert.ok(day >= Math.floor(from / DAY_MS) && day <= Math.floor((Date.now() + MINUTE_MS) / DAY_MS));
    }
  });

  for (const [what, fault, least] of [
    ["whose answer was lost is not counted twice", { fail: "after" }, 10],
    [
      "that is repeated, because the object was moved after it had heard it, is not counted twice",
      { fail: "after", marks: { retryable: true } },
      10,
    ],
    ["that was itself lost may miss, and is not made up", { fail: "before" }, 0],
    ["that was lost because the object was moved may miss, too", { fail: "before", marks: { retryable: true } }, 0],
  ]) {
    test(`a telling ${what}`, async () => {
      const key = await issueKey(server, account);
      await eventually(() => assert.ok(server.kv.records.has(grantRecord(key.key))));
      const edge = unused();
      await use(edge, other);
      await sync(edge);
      await Promise.all(Array.from({ length: 10 }, () => use(edge, key)));
      const at = Date.now();
      await disturb(edge, { ...fault, times: 1, only: "/sync" });
      await sync(edge);
      await heal(edge);
      // The isolate stays in use.
      await eventually(async () => {
        await use(edge, other);
        near((await read(key)).last_used_at, at - 500, at);
      }, KNOWN_MS);
      const count = await counted(key, [edge]);
      assert.ok(count >= least && count <= 10, `${count}`);
    });
  }
});

test("no verification waits for any of this", async () => {
  const keys = await Promise.all(Array.from({ length: 5 }, () => issueKey(server, account)));
  for (const { key } of keys) await eventually(() => assert.ok(server.kv.records.has(grantRecord(key))));
  const edge = unused();
  await use(edge, other);
  await disturb(edge, { delay: 700 });
  for (const key of keys) {
    for (let n = 0; n < 2; n += 1) {
      const { answer, took } = await timed(verify(edge, key.key));
      allowed(answer, key, account);
      assert.ok(took < 500, `${took} ms`);
    }
  }
  await heal(edge);
  await eventually(async () => {
    for (const key of keys) assert.notEqual((await read(key)).last_used_at, null);
  }, KNOWN_MS);
});

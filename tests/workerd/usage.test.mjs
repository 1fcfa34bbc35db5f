// When a key was used last, and how often it was used and refused when: told behind the answers, at most once.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, createAccount, issueKey, listAll, revokeKey, timed, verify } from "./harness/client.mjs";
import { breakable, cut, disturb, heal, manyEdges, setClock, takeCalls, unusedEdges } from "./harness/connection.mjs";
import { databases } from "./harness/database.mjs";
import { allowed, constant401, eventually, onlyHeaders, problem, success } from "./harness/expect.mjs";
import { digestOf, grantRecord, mintKey } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const LEASE_MS = 1_000;
/** After so long at most, the use of a key by an otherwise idle isolate is known. */
const KNOWN_MS = 13_000;
/** The Authority writes a key's usage once a minute at most, in rounds; it is made to believe that one has passed. */
const MINUTE_MS = 61_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

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
    // What there is of them knows of no use.
    for (const key of [...refused, theirs]) {
      for (const row of rows(key)) assert.deepEqual([row.count, row.last_at, row.scopes], [0, 0, ""]);
    }
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

describe("the usage of a key", () => {
  const path = (key, of = account) => `/accounts/${of.id}/keys/${key.id}/usage`;
  const usage = async (key, per) =>
    success(await admin(server, "GET", `${path(key)}${per === undefined ? "" : `?per=${per}`}`));
  const change = async (key, body, action = "") => {
    const of = `/accounts/${account.id}/keys/${key.id}${action}?wait=effective`;
    return success(await admin(server, action ? "POST" : "PATCH", of, body));
  };

  test("counts what was allowed and, apart by reason, what was refused; in numbers and as a picture", async () => {
    const key = await issueKey(server, account, { scopes: ["contacts:read"] });
    const edges = [unused(), unused()];
    const ask = async (times, status, scope = "contacts:read") => {
      for (const edge of edges) {
        for (let n = 0; n < times; n += 1) {
          assert.equal((await verify(edge, key.key, `scope=${scope}`)).status, status);
        }
      }
    };
    const none = await usage(key);
    assert.deepEqual([none.allowed, none.refused, none.buckets.length], [0, {}, 48]);
    const from = Date.now();
    await ask(3, 200);
    await ask(2, 403, "billing:read");
    await change(key, { disabled: true });
    await ask(4, 401);
    await change(key, { disabled: false });
    await ask(1, 200);
    await change(key, undefined, "/revoke");
    await ask(5, 401);
    // Nobody's key is in nobody's usage, and nobody's text in anybody's.
    constant401(await verify(edges[0], mintKey({ account: account.id }).text));
    constant401(await verify(edges[0], `${key.key.slice(0, -1)}${key.key.endsWith("0") ? "1" : "0"}`));
    for (const edge of edges) await sync(edge);
    const refused = { key_revoked: 10, key_disabled: 8, insufficient_scope: 4 };
    for (const per of [undefined, "hour", "day"]) {
      const { buckets, ...all } = await eventually(async () => {
        const now = await usage(key, per);
        assert.deepEqual([now.allowed, now.refused], [8, refused]);
        return now;
      });
      const length = per === "day" ? DAY_MS : HOUR_MS;
      const first = Date.parse(all.from);
      assert.deepEqual(all, {
        key_id: key.id,
        per: per ?? "hour",
        from: buckets[0].at,
        to: new Date(first + buckets.length * length).toISOString(),
        allowed: 8,
        refused,
      });
      assert.equal(buckets.length, per === "day" ? 90 : 48);
      assert.ok(Date.now() >= Date.parse(all.to) - length && Date.now() < Date.parse(all.to) + 60_000);
      const sum = { allowed: 0 };
      for (const [n, bucket] of buckets.entries()) {
        assert.equal(Date.parse(bucket.at), first + n * length);
        const happened = bucket.allowed > 0 || Object.keys(bucket.refused).length > 0;
        assert.ok(!happened || Date.parse(bucket.at) + length >= from, JSON.stringify(bucket));
        sum.allowed += bucket.allowed;
        for (const [reason, count] of Object.entries(bucket.refused)) sum[reason] = (sum[reason] ?? 0) + count;
      }
      assert.deepEqual(sum, { allowed: 8, ...refused });
    }
    const picture = await admin(server, "GET", `${path(key)}.svg?per=day`);
    assert.equal(picture.status, 200, picture.text);
    onlyHeaders(picture, ["content-security-policy", "x-content-type-options"]);
    assert.equal(picture.headers["content-type"], "image/svg+xml");
    assert.equal(picture.headers["content-security-policy"], "default-src 'none'; style-src 'unsafe-inline'");
    assert.equal(picture.headers["x-content-type-options"], "nosniff");
    assert.match(picture.text, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" .*<\/svg>$/);
    const said = "At least 8 calls allowed, 22 refused. key_revoked 10. key_disabled 8. insufficient_scope 4. Peak: ";
    assert.ok(picture.text.includes(`>${key.id}, 90 days to `) && picture.text.includes(said), picture.text);
    assert.ok(!/<script|javascript:|href/.test(picture.text));
    // Of what was refused nothing is a use.
    const { last_used_at } = await read(key);
    assert.ok(Date.parse(last_used_at) >= from - 100 && Date.parse(last_used_at) <= Date.now());
  });

  test("is told by an isolate that refuses one request and falls idle", async () => {
    const key = await issueKey(server, account, { scopes: [] });
    assert.equal((await verify(unused(), key.key, "scope=a:b")).status, 403);
    await eventually(async () => assert.deepEqual((await usage(key)).refused, { insufficient_scope: 1 }), KNOWN_MS);
    const { last_used_at } = await read(key);
    assert.equal(last_used_at, null);
    const never = await listAll(server, `/accounts/${account.id}/keys?never_used=true`);
    assert.ok(never.some(({ id }) => id === key.id));
  });

  test("is shown to who may read the key, and for a known length of time", async () => {
    const key = await issueKey(server, account);
    const stranger = await createAccount(server);
    const credential = (of, role) =>
      admin(server, "POST", `/accounts/${of.id}/keys`, { environment: "admin", role }).then(
        (answer) => success(answer, 201).key,
      );
    const [viewer, foreign] = [await credential(account, "viewer"), await credential(stranger, "admin")];
    for (const target of [path(key), `${path(key)}.svg`]) {
      const get = (token, of = target) => admin(server, "GET", of, undefined, { token });
      assert.equal((await get(viewer)).status, 200);
      problem(await get(foreign), 404, "not_found");
      problem(await get(null), 401, "missing_credential");
      constant401(await get(key.key));
      const wrong = { field: "per", detail: /"hour" or "day"/ };
      for (const per of ["week", "", "Hour", "hour&per=day"]) {
        const answer = await get(viewer, `${target}?per=${per}`);
        problem(answer, 400, "invalid_request", per.includes("&") ? { field: "per" } : wrong);
      }
      problem(await get(viewer, `${target}?days=3`), 400, "invalid_request", { field: "days" });
      problem(await admin(server, "POST", target, {}), 405, "method_not_allowed", { allow: "GET" });
      problem(await get(viewer, target.replace(key.id, "key_00000000000000000000")), 404, "not_found");
    }
  });
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

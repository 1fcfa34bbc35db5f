// The lease: for how long, and by what, an isolate decides without asking anybody.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, bearer, createAccount, issueKey, revokeKey, send, slots, timed, verify } from "./harness/client.mjs";
import { breakable, cut, disturb, heal, manyEdges, setClock, takeCalls, unusedEdges } from "./harness/connection.mjs";
import { allowed, constant401, eventually, problem, success } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { mintKey } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

// Of the servers with the shortest lease.
const LEASE_MS = 1_000;
const BOUND_MS = 1_051;
/** The Authority grants up to a tenth less than a lease, and an answer takes a while. */
const NEARLY_MS = LEASE_MS * 0.7;

const SCOPES = ["contacts:*"];
const verifyIt = (edge, key) => verify(edge, key.key, "scope=contacts:read");
/** A request of a route that is `strict` in routes.toml. */
const strictly = (edge, key) => send(edge, "DELETE", "/v1/contacts/1", { headers: bearer(key.key) });

/** Calls `ask` until `milliseconds` have passed: `[{sent, answer, took}…]`, by the wall clock. */
async function repeatedly(milliseconds, ask, everyMs = 25) {
  const all = [];
  for (const end = Date.now() + milliseconds; Date.now() < end; await sleep(everyMs)) {
    const sent = Date.now();
    all.push({ sent, ...(await timed(ask())) });
  }
  return all;
}

/** Has `edge` accept `key` with a lease that has just begun: when, at the latest, the sync for it was sent. */
async function freshLease(edge, key) {
  await takeCalls(edge);
  return eventually(async () => {
    assert.equal((await verifyIt(edge, key)).status, 200);
    const sync = (await takeCalls(edge, "/sync")).at(-1);
    assert.ok(sync !== undefined && Date.now() - sync.at < 200);
    return sync.at;
  });
}

describe("with a lease of five seconds", () => {
  let server, unused, account, key;
  before(async () => {
    server = await startWorkerd({ edges: manyEdges(6), around: breakable });
    unused = unusedEdges(server);
    account = await createAccount(server);
    key = await issueKey(server, account, { scopes: SCOPES });
  });
  after(() => server?.stop());
  afterEach(() => server?.kv.heal());

  test("an isolate that knows nothing asks the Authority once, and KV not at all", async () => {
    const edge = unused();
    const gets = server.kv.counts.get;
    allowed(await verifyIt(edge, key), key, account);
    assert.equal((await takeCalls(edge)).length, 1);
    assert.equal(server.kv.counts.get, gets);
  });

  test("a key that is new to an isolate with a lease costs one read of KV, and no call of the Authority", async () => {
    const edge = unused();
    const other = await issueKey(server, account, { scopes: SCOPES });
    await eventually(() => assert.ok(server.kv.records.size >= 3));
    allowed(await verifyIt(edge, key), key, account);
    await takeCalls(edge);
    await disturb(edge, { fail: "never" });
    allowed(await verifyIt(edge, other), other, account);
    await heal(edge);
  });

  test("what an isolate has seen it answers without KV and without the Authority", async () => {
    const disabled = await issueKey(server, account);
    success(await admin(server, "PATCH", `/accounts/${account.id}/keys/${disabled.id}`, { disabled: true }));
    const edge = unused();
    allowed(await verifyIt(edge, key), key, account);
    constant401(await verifyIt(edge, disabled));
    await takeCalls(edge);
    const gets = server.kv.counts.get;
    await disturb(edge, { fail: "never" });
    server.kv.onGet = faults.hang;
    const answers = await repeatedly(1_500, () => verifyIt(edge, key));
    assert.ok(answers.length > 10);
    for (const { answer } of answers) allowed(answer, key, account);
    constant401(await verifyIt(edge, disabled));
    assert.equal(server.kv.counts.get, gets);
    // The use of a key is told behind an answer, once a minute at most.
    assert.ok((await takeCalls(edge)).length <= 1);
    await heal(edge);
  });

  test("from half of it on, it is renewed behind an answer, which does not wait", async () => {
    const edge = unused();
    await verifyIt(edge, key);
    // By then half of the lease is nearly over.
    await sleep(2_300);
    const from = await freshLease(edge, key);
    await disturb(edge, { delay: 900 });
    const answers = await repeatedly(3_300, () => verifyIt(edge, key), 50);
    const renewals = await takeCalls(edge, "/sync");
    await heal(edge);
    for (const { answer, took } of answers) {
      allowed(answer, key, account);
      assert.ok(took < 800, `an answer took ${took} ms`);
    }
    assert.equal(renewals.length, 1);
    const age = renewals[0].at - from;
    assert.ok(age > 2_000 && age < 3_000, `renewed after ${age} ms`);
  });

  test("genuine keys that nobody issued do not drive out what is cached", async () => {
    const edge = unused();
    const known = await Promise.all(Array.from({ length: 20 }, () => issueKey(server, account, { scopes: SCOPES })));
    const warm = () => Promise.all(known.map(async (one) => allowed(await verifyIt(edge, one), one, account)));
    await warm();
    for (let round = 0; round < 20; round += 1) {
      const flood = Array.from({ length: 50 }, () => mintKey({ account: account.id }).text);
      for (const answer of await Promise.all(flood.map((text) => verify(edge, text)))) {
        assert.ok([401, 503].includes(answer.status));
      }
    }
    // Accounts that do not exist, too.
    const strangers = Array.from(
      { length: 50 },
      (_, n) => mintKey({ account: `acct_00${`${n}`.padStart(8, "0")}` }).text,
    );
    await Promise.all(strangers.map((text) => verify(edge, text)));
    await freshLease(edge, known[0]);
    await disturb(edge, { fail: "never" });
    server.kv.onGet = faults.hang;
    await warm();
    await heal(edge);
  });

  test("healthz says how long a revocation may take", async () => {
    assert.equal((await send(server, "GET", "/_keygate/healthz")).json.revocation_bound_ms, 5_055);
    const [slot] = await slots(server);
    assert.deepEqual(
      [slot.lease_ms, slot.grace_ms, slot.revocation_bound_ms, slot.accepted_in_grace],
      [5_000, 0, 5_055, 0],
    );
  });
});

describe("with KEYGATE_LEASE_SECONDS=1", () => {
  let server, unused, account, key;
  before(async () => {
    server = await startWorkerd({
      env: { KEYGATE_LEASE_SECONDS: "1" },
      edges: { ...manyEdges(7), patient: { KEYGATE_LEASE_SECONDS: "60" } },
      around: breakable,
    });
    unused = unusedEdges(server);
    account = await createAccount(server);
    key = await issueKey(server, account, { scopes: SCOPES });
  });
  after(() => server?.stop());

  const keyPath = () => `/accounts/${account.id}/keys/${key.id}`;

  /** An edge without the Authority accepts for the rest of its lease, and then says 503 and nothing else. */
  async function outlives(edge, fault) {
    let from = await freshLease(edge, key);
    await disturb(edge, fault);
    const answers = await repeatedly(2_000, () => verifyIt(edge, key));
    // One more may have been made just before.
    for (const { at, fail } of await takeCalls(edge, "/sync")) if (!fail) from = Math.max(from, at);
    for (const { answer, sent } of answers) {
      if (answer.status === 200)
        assert.ok(sent < from + LEASE_MS, `accepted ${sent - from} ms after the sync was sent`);
      else problem(answer, 503, "indeterminate");
    }
    const lastAccept = answers.findLast(({ answer }) => answer.status === 200);
    assert.ok(lastAccept.sent > from + NEARLY_MS, `the last accept came after ${lastAccept.sent - from} ms`);
    assert.ok(answers.some(({ answer }) => answer.status === 503));
    await heal(edge);
    await eventually(async () => allowed(await verifyIt(edge, key), key, account), 3_000);
  }

  // Most of the time passes in waiting.
  describe("each lease", { concurrency: true }, () => {
    test("without an Authority, its end is 503: not an accept, and not 401", () =>
      outlives(unused(), { fail: "before" }));

    test("with an Authority that does not answer, its end is 503: not an accept, and not 401", () =>
      outlives(unused(), { fail: "never" }));

    test("another setting where the Authority is not kept changes nothing: the lease is the Authority's word", () =>
      outlives(server.edges.patient, { fail: "before" }));

    test("a clock that goes back ends it", async () => {
      const edge = unused();
      await freshLease(edge, key);
      await cut(edge);
      await setClock(edge, -800);
      problem(await verifyIt(edge, key), 503, "indeterminate");
      await heal(edge);
      allowed(await verifyIt(edge, key), key, account);
      await setClock(edge, 0);
    });
  });

  test("healthz and effective_by say so", async () => {
    assert.equal((await send(server, "GET", "/_keygate/healthz")).json.revocation_bound_ms, BOUND_MS);
    const [slot] = await slots(server);
    assert.deepEqual([slot.lease_ms, slot.grace_ms, slot.revocation_bound_ms], [LEASE_MS, 0, BOUND_MS]);
    const edge = unused();
    const own = await issueKey(server, account, { scopes: SCOPES });
    const from = await freshLease(edge, own);
    const { revoked_at, effective_by } = await revokeKey(server, account, own);
    const [committed, effective] = [revoked_at, effective_by].map(Date.parse);
    assert.ok(effective >= from + LEASE_MS * 0.9, "the lease that was just granted counts");
    assert.ok(effective <= committed + BOUND_MS, `${effective - committed} ms`);
    const answers = await repeatedly(effective + 300 - Date.now(), () => verifyIt(edge, own));
    for (const { answer, sent } of answers) if (sent > effective) constant401(answer);
    constant401(answers.at(-1).answer);
  });

  test("every change of a key or account says when it counts everywhere, a repeated one, too", async () => {
    const changed = async (method, path, body) => success(await admin(server, method, path, body));
    const before = Date.now();
    for (const answer of [
      await changed("PATCH", keyPath(), { name: "other" }),
      await changed("PATCH", keyPath(), { name: "other" }),
      await changed("PATCH", `/accounts/${account.id}`, { name: "Other" }),
    ]) {
      assert.match(answer.effective_by, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      const effective = Date.parse(answer.effective_by);
      assert.ok(effective >= before && effective <= Date.now() + BOUND_MS, answer.effective_by);
    }
    const once = await issueKey(server, account);
    const first = await revokeKey(server, account, once);
    const again = await revokeKey(server, account, once);
    assert.equal(again.revoked_at, first.revoked_at);
    assert.ok(Date.parse(again.effective_by) >= before);
    for (const other of [await changed("GET", keyPath()), await changed("GET", `/accounts/${account.id}`)])
      assert.ok(!("effective_by" in other));
  });

  describe("a strict route", () => {
    test("asks the Authority in every request; another does not", async () => {
      const edge = unused();
      await freshLease(edge, key);
      await takeCalls(edge);
      for (let n = 1; n <= 5; n += 1) {
        allowed(await strictly(edge, key), key, account);
        assert.ok((await takeCalls(edge, "/sync")).length >= 1, `request ${n}`);
      }
      await freshLease(edge, key);
      allowed(await send(edge, "GET", "/v1/contacts", { headers: bearer(key.key) }), key, account);
      assert.equal((await takeCalls(edge, "/sync")).length, 0);
    });

    test("answers many at once, with few calls", async () => {
      const edge = unused();
      const answers = await Promise.all(Array.from({ length: 100 }, () => strictly(edge, key)));
      for (const answer of answers) allowed(answer, key, account);
      const calls = await takeCalls(edge, "/sync");
      assert.ok(Math.max(...calls.map(({ together }) => together)) <= 4);
      assert.ok(calls.length <= 20, `${calls.length}`);
    });

    test("refuses from the moment a revocation is answered, while another route may still accept", async () => {
      const edge = unused();
      for (let n = 0; n < 3; n += 1) {
        const own = await issueKey(server, account, { scopes: SCOPES });
        await freshLease(edge, own);
        allowed(await strictly(edge, own), own, account);
        await freshLease(edge, own);
        await revokeKey(server, account, own);
        constant401(await strictly(edge, own));
      }
    });

    test("refuses what was sent after the answer, whatever was under way then", async () => {
      const own = await issueKey(server, account, { scopes: SCOPES });
      const edges = [server.edges.home, server.edges.patient];
      let revoked = Infinity;
      const asking = Array.from({ length: 20 }, (_, n) => repeatedly(1_200, () => strictly(edges[n % 2], own), 5 + n));
      await sleep(500);
      await revokeKey(server, account, own);
      revoked = Date.now();
      const answers = (await Promise.all(asking)).flat();
      assert.ok(answers.some(({ answer }) => answer.status === 200));
      for (const { sent, answer } of answers) if (sent > revoked) constant401(answer);
    });

    test("is 503 without an Authority, though the lease is fresh", async () => {
      const edge = server.edges.patient;
      await freshLease(edge, key);
      await cut(edge);
      const [strict, other] = await Promise.all([strictly(edge, key), verifyIt(edge, key)]);
      problem(strict, 503, "indeterminate");
      allowed(other, key, account);
      await heal(edge);
    });
  });
});

test("a setting that is no length of a lease or grace is named, and nothing is decided with it", async () => {
  const wrong = [
    ...["0", "61", "-1", "1.5", "5s", "five", "1e1", "99999999999999999999"].map((text) => [
      "KEYGATE_LEASE_SECONDS",
      text,
    ]),
    ...["301", "-1", "0.5", "x"].map((text) => ["KEYGATE_OUTAGE_GRACE_SECONDS", text]),
  ];
  const edges = Object.fromEntries(wrong.map(([name, text], n) => [`edge-${n}`, { [name]: text }]));
  const server = await startWorkerd({ edges: { home: {}, ...edges } });
  try {
    const key = await issueKey(server, await createAccount(server));
    for (const [n, [name, text]] of wrong.entries()) {
      const edge = server.edges[`edge-${n}`];
      problem(await verify(edge, key.key), 503, "misconfigured", { detail: new RegExp(name) });
      problem(await admin(edge, "GET", "/accounts"), 503, "misconfigured", { detail: new RegExp(name) });
      const health = await send(edge, "GET", "/_keygate/healthz");
      assert.equal(health.status, 200, `${name}=${text}`);
      assert.ok(!("revocation_bound_ms" in health.json), `${name}=${text}`);
    }
  } finally {
    await server.stop();
  }
});

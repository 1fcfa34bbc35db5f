// KV or the Authority is down, slow, silent, overloaded or comes back: a valid key is accepted or told to try again, and
// nobody waits for a neighbour who has gone.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { abandon, admin, bearer, createAccount, issueKey, revokeKey, timed, verify } from "./harness/client.mjs";
import { breakable, cut, disturb, heal, manyEdges, takeCalls, unusedEdges } from "./harness/connection.mjs";
import { allowed, constant401, eventually, problem, success } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { forgedKey, grantRecord } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const LEASE_MS = 1_000;
/** How long anybody waits at most, whatever does not answer. */
const PATIENCE_MS = 5_500;

let server, unused, account, key, other;
before(async () => {
  // Default lease: it lasts for what a test does with an isolate that has one.
  server = await startWorkerd({ edges: manyEdges(40), around: breakable });
  unused = unusedEdges(server);
  account = await createAccount(server);
  [key, other] = [await issueKey(server, account, { scopes: ["a:b"] }), await issueKey(server, account)];
});
after(() => server?.stop());
afterEach(() => server?.kv.heal());

const many = (count, work) => Promise.all(Array.from({ length: count }, (_, n) => work(n)));

const mirrored = (issued) => eventually(() => assert.ok(server.kv.records.has(grantRecord(issued.key))));

/** An isolate with a lease that does not know `key`. */
async function leased() {
  const edge = unused();
  assert.equal((await verify(edge, other.key)).status, 200);
  return edge;
}

describe("KV", () => {
  let revoked, lies;
  before(async () => {
    revoked = await issueKey(server, account);
    for (const issued of [key, revoked]) await mirrored(issued);
    const records = new Map(server.kv.records);
    lies = faults.from(records);
    // The isolates of these tests get their leases later, and so hear of it.
    await revokeKey(server, account, revoked);
  });

  for (const [name, fault] of [
    ["is down", () => faults.fail],
    ["is slow", () => faults.slow(400)],
    ["never answers", () => faults.hang],
    ["has lost everything", () => async () => ({ status: 404 })],
    ["answers with what is no copy", () => async () => ({ status: 200, value: "null", metadata: null })],
    ["answers with what was true before the revocation", () => lies],
  ]) {
    test(`${name}: a good key is accepted and a revoked one refused, with a lease and without`, async () => {
      server.kv.onGet = fault();
      server.kv.onPut = faults.fail;
      const [some, cold] = [await leased(), unused()];
      const asked = [
        [some, key, (answer) => allowed(answer, key, account)],
        [some, revoked, constant401],
        [cold, key, (answer) => allowed(answer, key, account)],
        [cold, revoked, constant401],
      ];
      for (const [edge, { key: text }, check] of asked) {
        const { answer, took } = await timed(verify(edge, text, ""));
        check(answer);
        assert.ok(took < 3_000, `${took} ms`);
      }
    });
  }

  test("is slow: an isolate without a lease does not wait for it", async () => {
    server.kv.onGet = faults.hang;
    const { answer, took } = await timed(verify(unused(), key.key));
    allowed(answer, key, account);
    assert.ok(took < 500, `${took} ms`);
  });
});

describe("the Authority", () => {
  test("is slow: a new isolate waits for it and is right", async () => {
    const edge = unused();
    await disturb(edge, { delay: 400 });
    allowed(await verify(edge, key.key), key, account);
    assert.equal((await takeCalls(edge, "/sync")).length, 1);
    await heal(edge);
  });

  test("is down: a new isolate says 503, never 401, and at once; forged keys are still refused", async () => {
    const edge = unused();
    await cut(edge);
    for (let n = 0; n < 10; n += 1) {
      const { answer, took } = await timed(verify(edge, key.key));
      problem(answer, 503, "indeterminate");
      assert.ok(took < PATIENCE_MS, `${took} ms`);
      constant401(await verify(edge, forgedKey()));
    }
    problem(await admin(edge, "GET", "/accounts"), 503, "indeterminate");
    await heal(edge);
    await eventually(async () => allowed(await verify(edge, key.key), key, account), 2_000);
  });

  test("never answers: a new isolate says 503 within seconds, to many at once, and is right as soon as it answers", async () => {
    const edge = unused();
    await disturb(edge, { fail: "never" });
    const answers = await many(50, () => timed(verify(edge, key.key)));
    for (const { answer, took } of answers) {
      problem(answer, 503, "indeterminate");
      assert.ok(took < PATIENCE_MS, `${took} ms`);
    }
    await heal(edge);
    await eventually(async () => allowed(await verify(edge, key.key), key, account), 2_000);
  });

  test("is down, and so is KV: as without the Authority", async () => {
    server.kv.onGet = faults.fail;
    const [cold, warm] = [unused(), await leased()];
    allowed(await verify(warm, key.key), key, account);
    await many(2, (n) => cut([cold, warm][n]));
    problem(await verify(cold, key.key), 503, "indeterminate");
    allowed(await verify(warm, key.key), key, account);
    const unseen = await issueKey(server, account);
    problem(await verify(warm, unseen.key), 503, "indeterminate");
    constant401(await verify(warm, forgedKey()));
    await many(2, (n) => heal([cold, warm][n]));
  });

  test("loses an answer: the next request is right", async () => {
    const edge = unused();
    await disturb(edge, { fail: "after", times: 1 });
    const first = await verify(edge, key.key);
    if (first.status !== 200) problem(first, 503, "indeterminate");
    allowed(await verify(edge, key.key), key, account);
  });

  for (const marks of [{ overloaded: true }, { overloaded: true, retryable: true }]) {
    test(`is overloaded (${Object.keys(marks)}): it is asked once and not again`, async () => {
      const edge = unused();
      await disturb(edge, { fail: "before", marks });
      problem(await verify(edge, key.key), 503, "indeterminate");
      assert.equal((await takeCalls(edge)).length, 1);
      await heal(edge);
      await eventually(async () => allowed(await verify(edge, key.key), key, account), 2_000);
    });
  }

  test("was being moved: it is asked exactly once more, the same", async () => {
    const edge = unused();
    await disturb(edge, { fail: "before", marks: { retryable: true }, times: 1 });
    allowed(await verify(edge, key.key), key, account);
    const [first, second, ...more] = await takeCalls(edge);
    assert.equal(first.body, second.body);
    assert.deepEqual(more, []);
    const always = unused();
    await disturb(always, { fail: "before", marks: { retryable: true } });
    problem(await verify(always, key.key), 503, "indeterminate");
    assert.equal((await takeCalls(always)).length, 2);
  });

  for (const fail of ["before", "after"]) {
    test(`was being moved, ${fail} it carried out a command: the command is repeated under its id, and is done once`, async () => {
      const edge = unused();
      await disturb(edge, { fail, marks: { retryable: true }, times: 1 });
      const named = { name: `moved ${fail}`, environment: "live" };
      const issued = success(await admin(edge, "POST", `/accounts/${account.id}/keys`, named), 201);
      const calls = await takeCalls(edge);
      assert.equal(calls.length, 2);
      assert.equal(calls[0].body, calls[1].body);
      assert.ok(calls[0].commandId);
      assert.equal(calls[0].commandId, calls[1].commandId);
      const { data } = success(await admin(server, "GET", `/accounts/${account.id}/keys?limit=100`));
      assert.deepEqual(
        data.filter(({ name }) => name === named.name).map(({ id }) => id),
        [issued.id],
      );
    });
  }
});

describe("nobody waits for a neighbour", () => {
  const authorization = () => ({ headers: bearer(key.key) });

  for (const [delay, withinMs] of [
    [100, 1_000],
    [300, 1_000],
    [900, 2_000],
  ]) {
    test(`clients that go away while the Authority takes ${delay} ms leave the next one a right answer in time`, async () => {
      const edge = unused();
      await disturb(edge, { delay });
      await many(50, () => abandon(edge, "GET", "/_keygate/verify", authorization(), 80));
      const { answer, took } = await timed(verify(edge, key.key));
      allowed(answer, key, account);
      assert.ok(took < withinMs, `${took} ms`);
      await heal(edge);
    });
  }

  test("with the first of 50 at once gone, the other 49 are right", async () => {
    const edge = unused();
    await disturb(edge, { delay: 300 });
    const gone = abandon(edge, "GET", "/_keygate/verify", authorization(), 100);
    await sleep(30);
    const answers = await many(49, () => timed(verify(edge, key.key)));
    await gone;
    for (const { answer, took } of answers) {
      allowed(answer, key, account);
      assert.ok(took < 3_000, `${took} ms`);
    }
    await heal(edge);
  });

  test("clients that come and go all the time keep nobody from an answer, with a strict route, too", async () => {
    const edge = unused();
    const strict = await issueKey(server, account, { scopes: ["contacts:delete"] });
    await disturb(edge, { delay: 150 });
    let over = false;
    const noise = many(5, async () => {
      while (!over) {
        await abandon(edge, "DELETE", "/v1/contacts/1", { headers: bearer(strict.key) }, 40 + Math.random() * 60);
      }
    });
    for (let n = 0; n < 8; n += 1) {
      const { answer, took } = await timed(verify(edge, key.key));
      allowed(answer, key, account);
      assert.ok(took < 2_000, `${took} ms`);
    }
    over = true;
    await noise;
    await heal(edge);
  });
});

describe("after an outage nobody storms the Authority", () => {
  let keys;
  before(async () => {
    keys = await many(20, () => issueKey(server, account));
    for (const issued of keys) await mirrored(issued);
  });

  async function stampede(edge) {
    await takeCalls(edge);
    const answers = await many(200, (n) => verify(edge, keys[n % keys.length].key));
    for (const { status, text } of answers) assert.equal(status, 200, text);
    return (await takeCalls(edge, "/sync")).map(({ together }) => together);
  }

  test("200 requests for 20 keys at once on an isolate that knows nothing: at most 4 syncs at a time, few in all", async () => {
    const together = await stampede(unused());
    assert.ok(Math.max(...together) <= 4, `${together}`);
    assert.ok(together.length <= 10, `${together.length}`);
  });

  test("the same while the Authority is slow and KV does not answer", async () => {
    const edge = unused();
    server.kv.onGet = faults.hang;
    await disturb(edge, { delay: 200 });
    const together = await stampede(edge);
    assert.ok(Math.max(...together) <= 4, `${together}`);
    assert.ok(together.length <= 24, `${together.length}`);
    await heal(edge);
  });
});

describe("with the shortest lease", () => {
  let brief, take, owner, held;
  before(async () => {
    brief = await startWorkerd({ env: { KEYGATE_LEASE_SECONDS: "1" }, edges: manyEdges(6), around: breakable });
    take = unusedEdges(brief);
    owner = await createAccount(brief);
    held = await many(20, () => issueKey(brief, owner));
  });
  after(() => brief?.stop());

  test("an isolate under load says 503 from its lease's end on, and comes back without a storm", async () => {
    const edge = take();
    await many(20, (n) => verify(edge, held[n].key));
    await cut(edge);
    const from = Date.now();
    const seen = [];
    while (Date.now() < from + LEASE_MS + 1_500) {
      const sent = Date.now();
      const answers = await many(50, (n) => verify(edge, held[n % 20].key));
      for (const answer of answers) {
        if (answer.status !== 200) problem(answer, 503, "indeterminate");
        else assert.ok(sent <= from + LEASE_MS, `accepted ${sent - from} ms after the connection was cut`);
        seen.push(answer.status);
      }
      await sleep(20);
    }
    assert.deepEqual([seen[0], seen.at(-1)], [200, 503]);
    // Those that fail are not called for each request.
    const failed = (await takeCalls(edge, "/sync")).filter(({ fail }) => fail);
    assert.ok(failed.length < seen.length / 10, `${failed.length} calls for ${seen.length} requests`);
    await heal(edge);
    await sleep(1_100);
    await takeCalls(edge);
    const answers = await many(200, (n) => verify(edge, held[n % 20].key));
    for (const { status, text } of answers) assert.equal(status, 200, text);
    const together = (await takeCalls(edge, "/sync")).map((call) => call.together);
    assert.ok(Math.max(...together) <= 4 && together.length <= 10, `${together}`);
  });
});

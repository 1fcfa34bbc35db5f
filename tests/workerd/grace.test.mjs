// KEYGATE_OUTAGE_GRACE_SECONDS: while the Authority cannot be reached, what an isolate has at hand goes on past the end
// of its lease, for a while, visibly, and as a part of how long a revocation may take.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, bearer, createAccount, issueKey, revokeKey, send, slots, timed, verify } from "./harness/client.mjs";
import { breakable, cut, disturb, heal, manyEdges, takeCalls, unusedEdges } from "./harness/connection.mjs";
import { allowed, constant401, eventually, problem, success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const LEASE_MS = 1_000;
const GRACE_MS = 2_000;
const BOUND_MS = 3_053;

let server, unused, account, key, upstream, seenUpstream;
/** Requests that were marked, in all. */
let marks = 0;
before(async () => {
  upstream = createServer((request, response) => {
    seenUpstream = request.headers;
    if (seenUpstream["x-keygate-grace"] === "1") marks += 1;
    response.end();
  });
  await new Promise((listening) => upstream.listen(0, "127.0.0.1", listening));
  upstream.unref();
  server = await startWorkerd({
    env: { KEYGATE_LEASE_SECONDS: "1", KEYGATE_OUTAGE_GRACE_SECONDS: "2" },
    edges: { ...manyEdges(5), behind: { UPSTREAM: `http://127.0.0.1:${upstream.address().port}` } },
    around: breakable,
  });
  unused = unusedEdges(server);
  account = await createAccount(server);
  key = await issueKey(server, account, { scopes: ["contacts:*"] });
});
after(async () => {
  await server?.stop();
  upstream?.closeAllConnections();
  upstream?.close();
});

async function ask(edge, issued) {
  const answer = await verify(edge, issued.key);
  if (answer.headers["x-keygate-grace"] === "1") marks += 1;
  return answer;
}

const strictly = (edge) => send(edge, "DELETE", "/v1/contacts/1", { headers: bearer(key.key) });

/** Has `edge` accept `key` by a lease that has just begun, and breaks its connection: when that lease's sync was sent. */
async function breakAfterRenewal(edge, issued, fault) {
  await takeCalls(edge);
  const at = await eventually(async () => {
    assert.equal((await ask(edge, issued)).status, 200);
    const sync = (await takeCalls(edge, "/sync")).at(-1);
    assert.ok(sync !== undefined && Date.now() - sync.at < 200);
    return sync.at;
  });
  await sleep(50);
  await disturb(edge, fault);
  assert.deepEqual(await takeCalls(edge, "/sync"), []);
  return at;
}

/** Asks until nothing is accepted any more: `[{sent, status, grace}…]`, all of them accepted or 503. */
async function untilItEnds(edge, issued, from) {
  const all = [];
  while (Date.now() < from + LEASE_MS + GRACE_MS + 700) {
    const sent = Date.now();
    const { answer, took } = await timed(ask(edge, issued));
    const grace = answer.headers["x-keygate-grace"] === "1";
    if (answer.status === 200) allowed(answer, issued, account, { grace });
    else problem(answer, 503, "indeterminate");
    assert.ok(took < 3_000, `${took} ms`);
    all.push({ sent, status: answer.status, grace });
    await sleep(20);
  }
  return all;
}

test("healthz shows it, and B with it", async () => {
  assert.equal((await send(server, "GET", "/_keygate/healthz")).json.revocation_bound_ms, BOUND_MS);
  const [slot] = await slots(server);
  assert.deepEqual(
    [slot.lease_ms, slot.grace_ms, slot.revocation_bound_ms, slot.accepted_in_grace],
    [LEASE_MS, GRACE_MS, BOUND_MS, 0],
  );
});

// Most of the time passes in waiting.
describe("in an outage", { concurrency: true }, () => {
  for (const [what, fail] of [
    ["fails", "before"],
    ["does not answer", "never"],
  ]) {
    test(`a key at hand is accepted past the lease's end while the Authority ${what}, marked, and not for longer`, async () => {
      const edge = unused();
      const from = await breakAfterRenewal(edge, key, { fail });
      const all = await untilItEnds(edge, key, from);
      for (const { sent, status, grace } of all) {
        if (status !== 200) continue;
        assert.ok(sent < from + LEASE_MS + GRACE_MS, `accepted ${sent - from} ms after the sync was sent`);
        // An answer that was sent for within the lease may have been decided after it.
        if (sent > from + LEASE_MS) assert.ok(grace, `not marked, ${sent - from} ms after the sync was sent`);
      }
      const marked = all.filter(({ grace }) => grace);
      assert.ok(marked.length > 0);
      assert.ok(marked.at(-1).sent > from + LEASE_MS + GRACE_MS * 0.7, "grace lasts");
      assert.ok(marked[0].sent >= from + LEASE_MS * 0.7, "none before the lease's end");
      assert.equal(all.at(-1).status, 503);
      await heal(edge);
      await eventually(async () => allowed(await ask(edge, key), key, account), 3_000);
    });
  }

  test("it holds neither for strict routes, nor for keys that an isolate has not seen, nor for admins", async () => {
    const edge = unused();
    const unseen = await issueKey(server, account);
    const disabled = await issueKey(server, account);
    success(await admin(server, "PATCH", `/accounts/${account.id}/keys/${disabled.id}`, { disabled: true }));
    constant401(await ask(edge, disabled));
    const from = await breakAfterRenewal(edge, key, { fail: "before" });
    problem(await strictly(edge), 503, "indeterminate");
    await sleep(from + LEASE_MS + 100 - Date.now());
    await eventually(async () => allowed(await ask(edge, key), key, account, { grace: true }), 1_000);
    for (let n = 0; n < 3; n += 1) {
      problem(await strictly(edge), 503, "indeterminate");
      problem(await ask(edge, unseen), 503, "indeterminate");
      problem(await admin(edge, "GET", "/accounts"), 503, "indeterminate");
      const answer = await ask(edge, disabled);
      if (answer.status !== 503) constant401(answer);
    }
    await heal(edge);
  });

  test("effective_by counts it, and nothing is accepted afterwards", async () => {
    const edge = unused();
    const own = await issueKey(server, account);
    const from = await breakAfterRenewal(edge, own, { fail: "before" });
    const { revoked_at, effective_by } = await revokeKey(server, account, own);
    const effective = Date.parse(effective_by);
    assert.ok(effective >= from + LEASE_MS * 0.9 + GRACE_MS);
    assert.ok(effective <= Date.parse(revoked_at) + BOUND_MS);
    const all = await untilItEnds(edge, own, from);
    const last = all.findLast(({ status }) => status === 200);
    assert.ok(last.grace && last.sent <= effective, `${last.sent - effective} ms`);
    await heal(edge);
    await eventually(async () => constant401(await ask(edge, own)), 3_000);
  });

  test("?wait=effective waits for it, too", async () => {
    const own = await issueKey(server, account);
    const edge = unused();
    assert.equal((await ask(edge, own)).status, 200);
    await cut(edge);
    const { answer, took } = await timed(
      admin(server, "POST", `/accounts/${account.id}/keys/${own.id}/revoke?wait=effective`),
    );
    success(answer);
    assert.ok(took > BOUND_MS / 2 && took < BOUND_MS + 1_000, `${took} ms`);
    problem(await ask(edge, own), 503, "indeterminate");
    await heal(edge);
  });

  test("the API behind Keygate is told", async () => {
    const edge = server.edges.behind;
    const headers = { ...bearer(key.key), "X-Keygate-Grace": "1" };
    const read = () => send(edge, "GET", "/v1/contacts", { headers });
    const from = await breakAfterRenewal(edge, key, { fail: "before" });
    assert.equal((await read()).status, 200);
    assert.equal(seenUpstream["x-keygate-grace"], undefined, "and not by the caller");
    await sleep(from + LEASE_MS + 100 - Date.now());
    await eventually(async () => {
      assert.equal((await read()).status, 200);
      assert.equal(seenUpstream["x-keygate-grace"], "1");
    }, 1_000);
    assert.equal(seenUpstream["x-keygate-key-id"], key.id);
    await heal(edge);
  });
});

test("what was accepted by it is counted, once the Authority is there again and the isolates are in use", async () => {
  assert.ok(marks > 0);
  await eventually(async () => {
    for (const edge of Object.values(server.edges)) await ask(edge, key);
    assert.equal((await slots(server))[0].accepted_in_grace, marks);
  });
});

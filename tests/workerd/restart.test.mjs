// Isolates outlive the Authority: it is killed, started anew with other settings, or put back to a backup, while they
// hold leases of before.

import assert from "node:assert/strict";
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createAccount, issueKey, revokeKey, slots, verify } from "./harness/client.mjs";
import { breakable, connect, cut, heal, manyEdges, takeCalls, unusedEdges } from "./harness/connection.mjs";
import { databases } from "./harness/database.mjs";
import { constant401, eventually, problem } from "./harness/expect.mjs";
import { temporaryDirectory } from "./harness/guard.mjs";
import { faults } from "./harness/kv.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

/**
 * An Authority in a process of its own, and isolates in another one, which see its KV: `{home, unused, reconnect()}`. They end with the test `t`.
 * After a restart of `home`, `reconnect` has all isolates find it again.
 */
async function apart(t, leaseSeconds) {
  const home = await startWorkerd({ env: lease(leaseSeconds), around: breakable });
  t.after(() => home.stop());
  const far = await startWorkerd({ edges: manyEdges(4), around: breakable });
  t.after(() => far.stop());
  far.kv.onGet = faults.from(home.kv.records);
  const reconnect = () => Promise.all(Object.values(far.edges).map((edge) => connect(edge, home)));
  await reconnect();
  return { home, unused: unusedEdges(far), reconnect };
}

const lease = (seconds) => ({ KEYGATE_LEASE_SECONDS: `${seconds}` });
const boundMs = (seconds) => seconds * 1_001 + 50;

/** Has `edge` accept `key` by a lease that has just begun: when its sync was sent. The edge is then cut off. */
async function lastLease(edge, key) {
  await takeCalls(edge);
  const at = await eventually(async () => {
    assert.equal((await verify(edge, key.key)).status, 200);
    const sync = (await takeCalls(edge, "/sync")).at(-1);
    assert.ok(sync !== undefined && Date.now() - sync.at < 200);
    return sync.at;
  });
  await sleep(50);
  await cut(edge);
  assert.deepEqual(await takeCalls(edge, "/sync"), []);
  return at;
}

/** Asks until `effectiveBy` has passed: when the last accepted request was sent. Nothing may be accepted after it. */
async function lastAccept(edge, key, effectiveBy) {
  let last = 0;
  for (let over = false; !over; await sleep(20)) {
    const sent = Date.now();
    over = sent > effectiveBy + 200;
    const answer = await verify(edge, key.key);
    if (answer.status === 200) last = sent;
    else problem(answer, 503, "indeterminate");
  }
  assert.ok(last <= effectiveBy, `accepted ${last - effectiveBy} ms after effective_by`);
  return last;
}

// Most of the time passes in waiting.
describe("an isolate and another Authority than it knew", { concurrency: true }, () => {
  for (const [what, before, then] of [
    ["killed and started again", 3, 3],
    ["started again with a shorter lease", 3, 1],
  ]) {
    test(`effective_by counts the leases of an Authority that was ${what}`, async (t) => {
      const { home, unused, reconnect } = await apart(t, before);
      const account = await createAccount(home);
      const [key, other] = [await issueKey(home, account), await issueKey(home, account)];
      const edge = unused();
      const granted = await lastLease(edge, key);
      await home.kill9();
      await home.restart({ env: lease(then) });
      const begun = Date.now();
      const { effective_by } = await revokeKey(home, account, key);
      const effectiveBy = Date.parse(effective_by);
      assert.ok(effectiveBy >= granted + before * 900, "the lease of before is counted");
      assert.ok(effectiveBy <= begun + 1_000 + boundMs(before), `${effectiveBy - begun} ms`);
      const last = await lastAccept(edge, key, effectiveBy);
      assert.ok(last >= granted + before * 800, "that lease was indeed used");
      await reconnect();
      await heal(edge);
      await eventually(async () => constant401(await verify(edge, key.key)), 3_000);

      // In the end only what this Authority grants itself counts, and is said.
      await eventually(async () => {
        assert.equal((await verify(edge, other.key)).status, 200);
        const [slot] = await slots(home);
        assert.deepEqual([slot.lease_ms, slot.revocation_bound_ms], [then * 1_000, boundMs(then)]);
      });
      const one = await issueKey(home, account);
      const { revoked_at, effective_by: by } = await revokeKey(home, account, one);
      assert.ok(Date.parse(by) - Date.parse(revoked_at) <= boundMs(then));
    });
  }

  test("a longer lease is said and counted from the start", async (t) => {
    const { home, unused, reconnect } = await apart(t, 1);
    const account = await createAccount(home);
    const key = await issueKey(home, account);
    const edge = unused();
    assert.equal((await verify(edge, key.key)).status, 200);
    await home.restart({ env: lease(3) });
    await reconnect();
    const [slot] = await slots(home);
    assert.deepEqual([slot.lease_ms, slot.revocation_bound_ms], [3_000, boundMs(3)]);
    const granted = await lastLease(edge, key);
    const { effective_by } = await revokeKey(home, account, key);
    const effectiveBy = Date.parse(effective_by);
    assert.ok(effectiveBy >= granted + 2_700);
    assert.ok((await lastAccept(edge, key, effectiveBy)) >= granted + 2_400, "the longer lease was indeed used");
  });

  test("an isolate keeps deciding while the Authority is restarted, and what it had cached serves on afterwards", async (t) => {
    const { home, unused, reconnect } = await apart(t, 5);
    const account = await createAccount(home);
    const key = await issueKey(home, account);
    const edge = unused();
    assert.equal((await verify(edge, key.key)).status, 200);
    await home.kill9();
    for (let n = 0; n < 20; n += 1) assert.equal((await verify(edge, key.key)).status, 200);
    await home.restart();
    await reconnect();
    await takeCalls(edge);
    // The next renewal goes on from where it was: nothing is dropped, and no copy is asked for again.
    await eventually(async () => {
      assert.equal((await verify(edge, key.key)).status, 200);
      const sync = (await takeCalls(edge, "/sync")).at(-1);
      assert.ok(sync !== undefined);
      assert.doesNotMatch(sync.body, /^want /m);
    });
  });

  // Only Keygate's own command may restore an object, and it draws a new epoch. Somebody who puts an old database in place
  // all the same is found out as soon as one isolate asks that knows more.
  test("a database put back to a backup is noticed by what an isolate knows, and gets a new epoch", async (t) => {
    const { home, unused, reconnect } = await apart(t, 1);
    const account = await createAccount(home);
    const [kept, revoked] = [await issueKey(home, account), await issueKey(home, account)];
    const backup = join(temporaryDirectory("backup"), "objects");
    const meta = () => databases(home).find(({ tables }) => tables.accounts?.length > 0).tables.meta[0];

    await home.kill9();
    cpSync(home.objects, backup, { recursive: true });
    await home.restart();
    await reconnect();
    const edge = unused();
    for (const { key } of [kept, revoked]) assert.equal((await verify(edge, key)).status, 200);
    await revokeKey(home, account, revoked, { wait: "effective" });
    const lost = await issueKey(home, account);
    assert.equal((await verify(edge, lost.key)).status, 200);
    constant401(await verify(edge, revoked.key));
    // Its copy is in KV, genuine and not revoked.
    await eventually(async () => assert.equal((await slots(home))[0].unmirrored, 0));

    await home.kill9();
    const past = meta();
    rmSync(home.objects, { recursive: true });
    cpSync(backup, home.objects, { recursive: true });
    await home.restart();
    await reconnect();
    await eventually(async () => {
      assert.equal((await verify(edge, kept.key)).status, 200);
      // What came after the backup never was, as far as the Authority knows. A key that it does not know is refused,
      // whatever was cached and whatever KV has; a revocation has to be repeated.
      constant401(await verify(edge, lost.key));
    });
    for (const place of [edge, unused()]) {
      assert.equal((await verify(place, kept.key)).status, 200);
      constant401(await verify(place, lost.key));
      assert.equal((await verify(place, revoked.key)).status, 200);
    }
    await revokeKey(home, account, revoked, { wait: "effective" });
    for (const place of [edge, unused()]) constant401(await verify(place, revoked.key));

    await home.kill9();
    const present = meta();
    assert.notEqual(present.epoch, past.epoch);
    assert.ok(present.sequence > past.sequence, "no sequence of before is given again");
  });
});

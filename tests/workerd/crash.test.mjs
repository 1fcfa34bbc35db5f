// workerd is killed (SIGKILL) again and again in the middle of 200 concurrent commands, on one state folder. What was
// acknowledged is there, what was not is absent or whole, and the mirror converges.

import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { test } from "node:test";
import { auditOf } from "./harness/audit.mjs";
import { admin, createAccount, listAll, slots, verify } from "./harness/client.mjs";
import { allowed, constant401, eventually, success } from "./harness/expect.mjs";
import { accountRecord, copyParts, grantRecord, signCopy } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const CRASHES = 20;
const CALLS = 200;
const ACCOUNTS = 4;

const newId = () => randomBytes(16).toString("hex");

test(`${CRASHES} kills, each in the middle of ${CALLS} calls`, async (t) => {
  const server = await startWorkerd();
  try {
    const accounts = await Promise.all(Array.from({ length: ACCOUNTS }, () => createAccount(server)));
    /**
     * Every key ever ordered: `{account, issue, key?, revoke?, revoked?}`. `issue` and `revoke` are the ids by which
     * the two commands can be repeated, `key` and `revoked` what was acknowledged.
     */
    const orders = [];
    let acknowledged, killAt, enough;

    /** What a call was answered; undefined when the runtime was gone before. */
    async function asked(method, path, body, id) {
      try {
        const answer = await admin(server, method, path, body, { headers: { "Idempotency-Key": id } });
        // Too slow is no acknowledgement, either.
        if (answer.status === 503) return undefined;
        acknowledged += 1;
        if (acknowledged === killAt) enough();
        return answer;
      } catch (error) {
        if (error.code === undefined) throw error;
        return undefined;
      }
    }

    function order() {
      orders.push({ account: accounts[orders.length % ACCOUNTS], issue: newId() });
      return orders.at(-1);
    }

    async function issue(order) {
      const body = { environment: "live", scopes: ["a:b"], name: order.issue.slice(0, 8) };
      const answer = await asked("POST", `/accounts/${order.account.id}/keys`, body, order.issue);
      if (answer) order.key = success(answer, 201);
    }

    async function revoke(order) {
      order.revoke ??= newId();
      const path = `/accounts/${order.account.id}/keys/${order.key.id}/revoke`;
      const answer = await asked("POST", path, undefined, order.revoke);
      if (answer) order.revoked = success(answer).revoked_at;
    }

    /** Every key that there is, by its id. */
    async function listed() {
      const lists = await Promise.all(accounts.map(({ id }) => listAll(server, `/accounts/${id}/keys`)));
      return new Map(lists.flat().map((key) => [key.id, key]));
    }

    /** What was acknowledged is there; what was not may be. */
    function holds(keys) {
      const issued = orders.filter(({ key }) => key);
      for (const { key, revoke, revoked } of issued) {
        const now = keys.get(key.id) ?? assert.fail(`${key.id} was acknowledged and is gone`);
        if (revoked) assert.deepEqual([now.status, now.revoked_at], ["revoked", revoked]);
        else if (!revoke) assert.deepEqual([now.status, now.revoked_at], ["active", null]);
        else assert.equal(now.status === "revoked", now.revoked_at !== null);
      }
      assert.ok(keys.size <= orders.length, "there is a key that nobody ordered");
    }

    /** Does the same with each, a few at a time. */
    async function inTurns(orders, work) {
      const waiting = [...orders];
      const next = async () => {
        while (waiting.length > 0) await work(waiting.pop());
      };
      await Promise.all(Array.from({ length: 20 }, next));
    }

    const cutOff = { issues: 0, committed: 0, revocations: 0 };
    for (let crash = 1; crash <= CRASHES; crash += 1) {
      // What was cut off before is repeated, as its callers would.
      const revocable = orders.filter(({ key, revoked }) => key && !revoked).slice(0, CALLS / 2);
      const issuable = orders.filter(({ key }) => !key);
      while (revocable.length + issuable.length < CALLS) issuable.push(order());
      acknowledged = 0;
      killAt = randomInt(1, CALLS * 0.25);
      const reached = new Promise((resolve) => {
        enough = resolve;
      });
      const calls = Array.from({ length: CALLS }, (_, n) =>
        revocable.length > 0 && (n % 2 === 1 || issuable.length === 0)
          ? revoke(revocable.pop())
          : issue(issuable.pop()),
      );
      await Promise.race([reached, Promise.all(calls)]);
      await server.kill9();
      await Promise.all(calls);
      await server.restart();
      const keys = await listed();
      holds(keys);
      cutOff.issues += orders.filter(({ key }) => !key).length;
      cutOff.committed += keys.size - orders.filter(({ key }) => key).length;
      cutOff.revocations += orders.filter(({ revoke, revoked }) => revoke && !revoked).length;
    }
    t.diagnostic(`cut off: ${JSON.stringify(cutOff)}`);
    assert.ok(cutOff.issues > 0 && cutOff.revocations > 0);

    // What was cut off is absent or whole: repeated, it is carried out once in all. And life goes on.
    killAt = undefined;
    const more = Array.from({ length: CALLS / 2 }, order);
    const old = orders.filter(({ key, revoked }) => key && !revoked).slice(0, CALLS / 2);
    await inTurns(orders.filter(({ key }) => !key), issue);
    await inTurns(new Set([...old, ...orders.filter(({ revoke }) => revoke)]), revoke);
    assert.ok(more.every(({ key }) => key) && old.every(({ revoked }) => revoked));
    const keys = await listed();
    holds(keys);
    assert.deepEqual([...keys.keys()].sort(), orders.map(({ key }) => key.id).sort());
    t.diagnostic(`${orders.length} keys, ${orders.filter(({ revoked }) => revoked).length} of them revoked`);

    // The audit has each of them once.
    for (const account of accounts) {
      const said = (await auditOf(server, account)).map(({ action, subject }) => `${action} ${subject}`).sort();
      const done = [...keys.values()]
        .filter(({ account_id }) => account_id === account.id)
        .flatMap(({ id, status }) => [`key.issue ${id}`, ...(status === "revoked" ? [`key.revoke ${id}`] : [])]);
      assert.deepEqual(said, [`account.create ${account.id}`, ...done].sort());
    }

    // The mirror says what the Authority says.
    await eventually(async () => {
      for (const slot of await slots(server)) assert.deepEqual([slot.unmirrored, slot.oldest_unmirrored_at], [0, null]);
    }, 60_000);
    assert.equal(server.kv.records.size, accounts.length + orders.length);
    for (const account of accounts) {
      const { value } = server.kv.records.get(accountRecord(account.id));
      const { json } = copyParts(value);
      assert.equal(value, signCopy(accountRecord(account.id), json));
      assert.equal(JSON.parse(json).account.status, "active");
    }
    for (const { key, account } of orders) {
      const { value, metadata } = server.kv.records.get(grantRecord(key.key));
      const { json } = copyParts(value);
      const { name, status } = keys.get(key.id);
      assert.equal(value, signCopy(grantRecord(key.key), json));
      const { grant } = JSON.parse(json);
      assert.deepEqual([grant.id, grant.account, grant.status], [key.id, account.id, status]);
      assert.deepEqual(JSON.parse(metadata), { id: key.id, account: account.id, name, status });
    }
    await inTurns(orders, async ({ key, account, revoked }) => {
      const answer = await verify(server, key.key);
      if (revoked) constant401(answer);
      else allowed(answer, key, account);
    });
  } finally {
    await server.stop();
  }
});

// What was acknowledged is there after a crash: workerd is killed (SIGKILL) in the middle of work and started again.

import assert from "node:assert/strict";
import { test } from "node:test";
import { admin, createAccount, issueKey, revokeKey, verify } from "./harness/client.mjs";
import { allowed, constant401, eventually, success } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { accountRecord, grantRecord } from "./harness/mint.mjs";
import { startMiniflare } from "./harness/miniflare.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const WORKERS = 8;
const CRASHES = 4;

test("every key and revocation that was acknowledged before a kill -9 holds after it", async () => {
  const server = await startWorkerd();
  try {
    const account = await createAccount(server);
    const issued = [];
    const revoked = new Set();

    /** Issues keys and revokes every second one, until the server is gone. */
    async function work() {
      for (let n = 0; ; n += 1) {
        try {
          const key = await issueKey(server, account);
          issued.push(key);
          if (n % 2 === 0) continue;
          await revokeKey(server, account, key);
          revoked.add(key.id);
        } catch (error) {
          if (error.code === undefined) throw error;
          return;
        }
      }
    }

    for (let crash = 1; crash <= CRASHES; crash += 1) {
      const workers = Promise.all(Array.from({ length: WORKERS }, work));
      const done = revoked.size;
      await eventually(() => assert.ok(revoked.size >= done + WORKERS));
      await server.kill9();
      await workers;
      await server.restart();
    }

    const listed = new Map();
    for (let cursor = ""; cursor !== null;) {
      const page = success(
        await admin(server, "GET", `/accounts/${account.id}/keys?limit=100${cursor && `&cursor=${cursor}`}`),
      );
      for (const key of page.data) listed.set(key.id, key);
      cursor = page.next_cursor;
    }
    for (const key of issued) {
      const now = listed.get(key.id) ?? assert.fail(`${key.id} was acknowledged and is gone`);
      if (revoked.has(key.id)) assert.equal(now.status, "revoked", `${key.id} was revoked and is not any more`);
    }
    // A command that was cut off is wholly there or not at all, so at most one more per worker and crash.
    assert.ok(listed.size <= issued.length + WORKERS * CRASHES);

    await eventually(async () => {
      for (const key of issued.slice(-20)) {
        const answer = await verify(server, key.key);
        if (listed.get(key.id).status === "revoked") constant401(answer);
        else allowed(answer, key, account);
      }
    });
  } finally {
    await server.stop();
  }
});

test("a mirror that was behind at the crash catches up after it, without any request", async () => {
  const server = await startWorkerd();
  try {
    server.kv.onPut = faults.fail;
    const account = await createAccount(server);
    const key = await issueKey(server, account);
    await revokeKey(server, account, key);
    assert.equal(server.kv.records.size, 0);
    await server.kill9();
    server.kv.heal();
    await server.restart();
    await eventually(() => {
      assert.ok(server.kv.records.has(accountRecord(account.id)));
      assert.match(server.kv.records.get(grantRecord(key.key))?.value ?? "", /"status":"revoked"/);
    }, 20_000);
  } finally {
    await server.stop();
  }
});

test("in Miniflare, too, keys outlive a kill -9 and a restart", async () => {
  const server = await startMiniflare();
  try {
    const account = await createAccount(server, { external_id: "kept" });
    const kept = await issueKey(server, account);
    const revoked = await issueKey(server, account);
    await revokeKey(server, account, revoked);
    for (const end of [server.kill9, server.stop]) {
      await end();
      await server.restart();
      allowed(await verify(server, kept.key), kept, account);
      await eventually(async () => constant401(await verify(server, revoked.key)));
      assert.equal(success(await admin(server, "GET", "/accounts")).data.length, 1);
    }
  } finally {
    await server.stop();
  }
});

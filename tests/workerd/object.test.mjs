// What an object leaves behind, which lives for days. In workerd a timer that was cleared stays in the object's context for
// as long as that lives, some 250 bytes each; with thirty questions a second that was 600 MB a day. An alarm that fails is
// repeated, and after six times never again.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createAccount, issueKey, send } from "./harness/client.mjs";
import { eventually } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { grantRecord } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

// Counts the timers that are set and cleared in the isolate, and the alarms; and asks the object past the Worker, which
// clears timers of its own.
const COUNTING = `
  import worker, { Authority as Inner } from "./entry.js";

  const counts = { set: 0, cleared: 0, alarms: 0, failed: [] };

  export class Authority extends Inner {
    async alarm() {
      try {
        await super.alarm();
        counts.alarms += 1;
      } catch (error) {
        counts.failed.push(String(error));
        throw error;
      }
    }
  }

  const { setTimeout, clearTimeout } = globalThis;
  globalThis.setTimeout = (...all) => {
    counts.set += 1;
    return setTimeout(...all);
  };
  globalThis.clearTimeout = (timer) => {
    counts.cleared += 1;
    clearTimeout(timer);
  };

  export default {
    async fetch(request, env, ctx) {
      const { pathname } = new URL(request.url);
      if (pathname === "/counts") return Response.json(counts);
      if (pathname !== "/object") return worker.fetch(request, env, ctx);
      const answer = await env.KEYGATE_AUTHORITY.getByName("slot-0").fetch("https://authority/condition");
      return new Response(await answer.text(), answer);
    },
  };
`;

let server, account;
before(async () => {
  server = await startWorkerd({ around: COUNTING });
  account = await createAccount(server);
});
after(() => server?.stop());

const counts = async () => (await send(server, "GET", "/counts")).json;

test("an object that answers a hundred questions clears no timer, and sets few", async () => {
  const earlier = await counts();
  for (let n = 0; n < 100; n += 1) assert.equal((await send(server, "GET", "/object")).status, 200);
  const later = await counts();
  assert.equal(later.cleared, earlier.cleared);
  assert.ok(later.set - earlier.set < 50, `${later.set - earlier.set} were set`);
});

test("an object that puts copies into KV by its alarm clears no timer, and its alarms do not fail", async () => {
  server.kv.onPut = faults.fail;
  const keys = [];
  for (let n = 0; n < 20; n += 1) keys.push(await issueKey(server, account));
  const earlier = await counts();
  server.kv.heal();
  await eventually(() => assert.ok(keys.every(({ key }) => server.kv.records.has(grantRecord(key)))), 20_000);
  const later = await counts();
  assert.equal(later.cleared, earlier.cleared);
  assert.ok(later.set > earlier.set);
  assert.ok(later.alarms > earlier.alarms);
  assert.deepEqual(later.failed, []);
});

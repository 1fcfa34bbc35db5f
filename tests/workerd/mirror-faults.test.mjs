// A mirror that misbehaves: what operators see of it while it lasts, that no copy holds up another, that nobody needs
// to ask for it to be mended, and that what somebody else lost or wrote over there is put anew.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, createAccount, issueKey, revokeKey, slots, takeLease, verify } from "./harness/client.mjs";
import { breakable, cut, manyEdges, unusedEdges } from "./harness/connection.mjs";
import { allowed, constant401, eventually, success } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { accountRecord, copyParts, grantRecord, mintKey, signCopy } from "./harness/mint.mjs";
import { otherSigningKey } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

/** Runs `body` with a Keygate of its own. */
async function withServer(body, options) {
  const server = await startWorkerd(options);
  try {
    await body(server);
  } finally {
    await server.stop();
  }
}

/** With leases so short that waiting for their end takes no time. */
const quick = { env: { KEYGATE_LEASE_SECONDS: "1" } };

/** With a connection to the Authority that can be cut. */
const controlled = { around: breakable };

async function backlog(server) {
  const [{ unmirrored, oldest_unmirrored_at }] = await slots(server);
  return { unmirrored, oldest: oldest_unmirrored_at };
}

const nothingWaits = (server) =>
  eventually(async () => assert.deepEqual(await backlog(server), { unmirrored: 0, oldest: null }), 20_000);

/** The record is genuine, and says this status. */
function says(server, name, status) {
  const { value } = server.kv.records.get(name) ?? assert.fail(`${name} is missing`);
  const { json } = copyParts(value);
  assert.equal(value, signCopy(name, json));
  const { grant, account } = JSON.parse(json);
  assert.equal((grant ?? account).status, status);
}

// Most of the time they wait.
describe("a mirror that misbehaves", { concurrency: 6 }, () => {
  test("the alarm goes on through more failing rounds than the runtime forgives, and needs no request to mend the mirror", () =>
    withServer(async (server) => {
      // An alarm that throws is repeated six times, and then never again.
      const ROUNDS = 7;
      const GAP_MS = 300;
      const rounds = [];
      let commanding = true;
      server.kv.onPut = async () => {
        // A command tries by itself what is due. What comes between commands comes from the alarm.
        if (!commanding && !(Date.now() - rounds.at(-1) < GAP_MS)) rounds.push(Date.now());
        return { status: 500 };
      };
      const account = await createAccount(server);
      const keys = [];
      // Each copy is tried again after 1, 2, 4, … seconds of its own.
      while (rounds.length < ROUNDS) {
        assert.ok(keys.length < 4 * ROUNDS, `${rounds.length} rounds`);
        commanding = true;
        keys.push(await issueKey(server, account));
        commanding = false;
        await sleep(1_300);
      }
      assert.equal(server.kv.records.size, 0);
      server.kv.heal();
      await eventually(() => {
        says(server, accountRecord(account.id), "active");
        for (const { key } of keys) says(server, grantRecord(key), "active");
      }, 35_000);
      assert.deepEqual(await backlog(server), { unmirrored: 0, oldest: null });
    }));

  describe("while KV is behind, the operator sees how many changes wait, and since when", () => {
    const modes = {
      "puts fail": faults.fail,
      "puts are stored but seem to fail": faults.failAfterStoring,
      "puts are too many": faults.tooMany,
      "puts are refused as too large": faults.tooLarge,
      "puts hang": faults.hang,
      "puts are slow": faults.slow(3_000),
    };
    for (const [name, fault] of Object.entries(modes)) {
      test(name, () =>
        withServer(async (server) => {
          const account = await createAccount(server);
          const early = await issueKey(server, account);
          await nothingWaits(server);
          server.kv.onPut = fault;
          const key = await issueKey(server, account);
          await sleep(20);
          await revokeKey(server, account, early);
          assert.deepEqual(await backlog(server), { unmirrored: 2, oldest: key.created_at });
          // Another change of the same thing is not another copy, and makes it no younger.
          await revokeKey(server, account, key);
          assert.deepEqual(await backlog(server), { unmirrored: 2, oldest: key.created_at });
          server.kv.heal();
          await nothingWaits(server);
          for (const { key: text } of [early, key]) says(server, grantRecord(text), "revoked");
        }),
      );
    }
  });

  test("copies that KV never takes, each for a reason of its own, hold up no other", () =>
    withServer(async (server) => {
      const account = await createAccount(server);
      const reasons = [faults.fail, faults.tooMany, faults.tooLarge, faults.hang, faults.failAfterStoring];
      const poisoned = await Promise.all(reasons.map(() => issueKey(server, account)));
      const faultOf = new Map(poisoned.map(({ key }, n) => [grantRecord(key), reasons[n]]));
      server.kv.onPut = (perform, name) => (faultOf.get(name) ?? ((put) => put()))(perform, name);
      const since = Date.now();
      for (const key of poisoned) await revokeKey(server, account, key);

      // As many changes as a round has places, several times over, while the others are tried again and again.
      for (let round = 0; round < 3; round += 1) {
        const issued = await Promise.all(Array.from({ length: 12 }, () => issueKey(server, account)));
        await eventually(() => issued.forEach(({ key }) => says(server, grantRecord(key), "active")));
        await revokeKey(server, account, issued[0]);
        await eventually(() => says(server, grantRecord(issued[0].key), "revoked"));
      }
      const { unmirrored, oldest } = await backlog(server);
      assert.equal(unmirrored, poisoned.length);
      assert.ok(Math.abs(Date.parse(oldest) - since) < 1_000);
      server.kv.heal();
      await nothingWaits(server);
      for (const { key } of poisoned) says(server, grantRecord(key), "revoked");
    }));

  test("a KV that serves old records keeps no command from working, and is right once it serves the new", () =>
    withServer(async (server) => {
      const account = await createAccount(server);
      const [first, second] = [await issueKey(server, account), await issueKey(server, account)];
      server.kv.onGet = faults.from(new Map(server.kv.records));
      const path = (key) => `/accounts/${account.id}/keys/${key.id}`;
      await revokeKey(server, account, first);
      success(await admin(server, "PATCH", path(second), { disabled: true }));
      await takeLease(server);
      const reads = server.kv.counts.get;
      const third = await issueKey(server, account, { scopes: ["a:b"] });
      assert.equal(success(await admin(server, "GET", path(first))).status, "revoked");
      assert.equal(success(await admin(server, "GET", path(second))).status, "disabled");
      // Issued since, so missing in what KV serves: the Authority answers.
      allowed(await verify(server, third.key, "scope=a:b"), third, account);
      assert.ok(server.kv.counts.get > reads);
      await revokeKey(server, account, third, { wait: "effective" });
      constant401(await verify(server, third.key));
      await nothingWaits(server);
      server.kv.heal();
      for (const key of [first, second, third]) constant401(await verify(server, key.key));
    }, quick));

  describe("a record that somebody else lost or wrote over", () => {
    const ways = {
      "is missing": () => undefined,
      "is empty": () => "",
      "is garbage": () => "\u0000garbage",
      "was edited": ({ value }) => value.replace('"active"', '"revoked"').replace('"suspended"', '"active"'),
      "has a foreign signature": ({ value }, name) => signCopy(name, copyParts(value).json, otherSigningKey),
      "is another's": ({ value }, name) => signCopy(`${name}0`, copyParts(value).json),
      "is of a version that nobody knows": ({ value }) => value.replace("v1.", "v9."),
    };
    for (const [name, write] of Object.entries(ways)) {
      test(`and ${name}: a verify that needed the Authority has it put anew`, () =>
        withServer(async (server) => {
          const account = await createAccount(server);
          const key = await issueKey(server, account);
          const revoked = await issueKey(server, account);
          await revokeKey(server, account, revoked);
          await nothingWaits(server);
          const records = [accountRecord(account.id), grantRecord(key.key), grantRecord(revoked.key)];
          // The Authority remembers for a minute what it has put; what happens to a copy then is met a minute later.
          await server.restart();
          const expected = new Map(server.kv.records);
          for (const record of records) {
            const present = server.kv.records.get(record);
            const value = write(present, record);
            if (value === undefined) server.kv.records.delete(record);
            else server.kv.records.set(record, { ...present, value });
          }
          await takeLease(server);
          const reads = server.kv.counts.get;
          allowed(await verify(server, key.key), key, account);
          constant401(await verify(server, revoked.key));
          assert.ok(server.kv.counts.get > reads);
          await eventually(() => {
            says(server, records[0], "active");
            says(server, records[1], "active");
            says(server, records[2], "revoked");
          });
          assert.deepEqual([...server.kv.records.keys()].sort(), [...expected.keys()].sort());
          for (const record of records) {
            assert.equal(server.kv.records.get(record).metadata, expected.get(record).metadata);
          }
          // It was no change, and is not counted as one.
          assert.deepEqual(await backlog(server), { unmirrored: 0, oldest: null });

          // From now on KV is enough again.
          await server.restart();
          await takeLease(server);
          await cut(server);
          allowed(await verify(server, key.key), key, account);
          constant401(await verify(server, revoked.key));
        }, controlled));
    }

    test("and is an old copy of a revoked key: revoking again puts it right", () =>
      withServer(async (server) => {
        const account = await createAccount(server);
        const key = await issueKey(server, account);
        const name = grantRecord(key.key);
        const old = server.kv.records.get(name);
        await revokeKey(server, account, key);
        await eventually(() => says(server, name, "revoked"));
        server.kv.records.set(name, old);
        await revokeKey(server, account, key);
        await eventually(() => says(server, name, "revoked"));
        constant401(await verify(server, key.key));
      }));

    test("over and over: every request is answered right, and KV is not flooded with repairs", () =>
      withServer(async (server) => {
        const account = await createAccount(server);
        const key = await issueKey(server, account, { scopes: ["a:b"] });
        await nothingWaits(server);
        // In each round another isolate, which reads them for the first time.
        await server.restart({ edges: manyEdges(4) });
        const unused = unusedEdges(server);
        const before = server.kv.counts.put;
        const vandal = async (perform) => ({ ...(await perform()), value: "mine" });
        server.kv.onGet = vandal;
        for (let round = 0; round < 4; round += 1) {
          const edge = unused();
          await takeLease(edge);
          const reads = server.kv.counts.get;
          const answers = await Promise.all(Array.from({ length: 25 }, () => verify(edge, key.key, "scope=a:b")));
          for (const answer of answers) allowed(answer, key, account);
          assert.ok(server.kv.counts.get > reads);
          const other = await issueKey(server, account);
          allowed(await verify(edge, other.key), other, account);
          await sleep(700);
        }
        // One repair of each of the two records, and one put for each new key.
        const puts = server.kv.counts.put - before;
        assert.ok(puts <= 2 + 4, `${puts} puts`);
        server.kv.heal();
        says(server, grantRecord(key.key), "active");
      }));

    test("a key that nobody issued has nothing put for it", () =>
      withServer(async (server) => {
        const account = await createAccount(server);
        await nothingWaits(server);
        await server.restart();
        await takeLease(server);
        const before = server.kv.counts.put;
        for (let n = 0; n < 5; n += 1) constant401(await verify(server, mintKey({ account: account.id }).text));
        await sleep(1_500);
        assert.equal(server.kv.counts.put, before);
      }));
  });

  test("a KV that is down is not asked to put anew what it holds", () =>
    withServer(async (server) => {
      const account = await createAccount(server);
      const key = await issueKey(server, account);
      await nothingWaits(server);
      await server.restart();
      await takeLease(server);
      const before = server.kv.counts.put;
      const reads = server.kv.counts.get;
      server.kv.onGet = faults.fail;
      allowed(await verify(server, key.key), key, account);
      assert.ok(server.kv.counts.get > reads);
      await sleep(1_500);
      assert.equal(server.kv.counts.put, before);
    }));
});

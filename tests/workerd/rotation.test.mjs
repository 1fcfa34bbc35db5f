// Replacing the pepper and the signing key without a moment in which a valid key is refused. A new value goes through
// three steps, each of which is a deploy that reaches the isolates one by one, so that at every step isolates of before
// and after it answer side by side, and the Authority is one of either.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  admin,
  createAccount,
  issueKey,
  listAll,
  revokeKey,
  slots,
  takeLease,
  transcript,
  verify,
} from "./harness/client.mjs";
import { breakable, cut, heal } from "./harness/connection.mjs";
import { allowed, constant401, eventually, problem, success } from "./harness/expect.mjs";
import { accountRecord, copyParts, grantRecord, mintKey, signCopy } from "./harness/mint.mjs";
import { otherPepper, otherSigningKey, secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const STEPS = ["add the new one second", "swap the two", "remove the old one"];

/** What an isolate has before the first step and after each. */
function states(name, old, fresh) {
  return [
    { [name]: old },
    { [name]: old, [`${name}_2`]: fresh },
    { [name]: fresh, [`${name}_2`]: old },
    { [name]: fresh },
  ];
}

/** The isolates while step `n` (from 0) is rolled out: some before it, some after, and the Authority either. */
function moments(all, n) {
  const [earlier, later] = [all[n], all[n + 1]];
  return {
    "the Authority not yet there": { authority: earlier, earlier, later },
    "the Authority there already": { authority: later, earlier, later },
  };
}

const idOf = (secret) => secret.split(":")[0];

describe("the pepper", () => {
  const all = states("KEYGATE_PEPPER", secrets.KEYGATE_PEPPER, otherPepper);
  const [oldId, newId] = [secrets.KEYGATE_PEPPER, otherPepper].map(idOf);
  let server, account;
  /** Keys that must work, with the pepper they were minted with. */
  const valid = [];
  const revoked = [];

  before(async () => {
    server = await startWorkerd({ edges: { authority: all[0] }, env: { KEYGATE_LEASE_SECONDS: "1" } });
    account = await createAccount(server);
    for (let n = 0; n < 2; n += 1) valid.push({ ...(await issueKey(server, account)), pepper: secrets.KEYGATE_PEPPER });
  });
  after(() => server?.stop());

  const record = ({ key, pepper }) => grantRecord(key, pepper);
  const countedBy = async () => (await slots(server))[0].keys_by_pepper;
  const listedBy = async (pepper) =>
    (await listAll(server, `/accounts/${account.id}/keys?pepper=${pepper}`)).map(({ id }) => id).sort();

  /** Every isolate, none of which has seen a key, accepts every valid one, from its copy and from the Authority. */
  async function everywhere() {
    for (const edge of Object.values(server.edges)) {
      // One of the two is worth a question to the Authority, and gives the isolate a lease.
      constant401(await verify(edge, mintKey({ account: account.id }).text));
      constant401(await verify(edge, mintKey({ account: account.id, pepper: otherPepper }).text));
      const reads = server.kv.counts.get;
      for (const key of valid) allowed(await verify(edge, key.key), key, account);
      for (const key of revoked) constant401(await verify(edge, key.key));
      assert.ok(server.kv.counts.get > reads);
    }
    const records = new Map(server.kv.records);
    for (const key of valid) server.kv.records.delete(record(key));
    // So that they have not seen any again.
    await server.restart();
    for (const edge of Object.values(server.edges)) {
      for (const key of valid) allowed(await verify(edge, key.key), key, account);
    }
    for (const [name, present] of records) server.kv.records.set(name, present);
  }

  /** Who has which pepper, as the operator sees it, is what is known here. */
  async function accountedFor() {
    const by = (pepper) => valid.filter((key) => key.pepper === pepper).map(({ id }) => id);
    const expected = { [oldId]: by(secrets.KEYGATE_PEPPER), [newId]: by(otherPepper) };
    const counts = Object.entries(expected).filter(([, ids]) => ids.length > 0);
    assert.deepEqual(await countedBy(), Object.fromEntries(counts.map(([id, ids]) => [id, ids.length])));
    for (const [id, ids] of Object.entries(expected)) {
      const gone = revoked.filter((key) => idOf(key.pepper) === id).map(({ id }) => id);
      assert.deepEqual(await listedBy(id), [...ids, ...gone].sort());
      const active = await listAll(server, `/accounts/${account.id}/keys?pepper=${id}&status=active`);
      assert.deepEqual(active.map(({ id }) => id).sort(), ids.sort());
    }
    assert.deepEqual(await listedBy(0), []);
  }

  const commandId = "rotation-of-the-pepper-1";
  let first;
  const repeated = () =>
    admin(
      server,
      "POST",
      `/accounts/${account.id}/keys`,
      { environment: "live" },
      { headers: { "Idempotency-Key": commandId } },
    );

  for (const [n, step] of STEPS.entries()) {
    for (const [moment, edges] of Object.entries(moments(all, n))) {
      test(`step ${n + 1}, ${step}: ${moment}`, async () => {
        await server.restart({ edges });
        const issued = await issueKey(server, account);
        valid.push({ ...issued, pepper: edges.authority.KEYGATE_PEPPER });
        assert.ok(server.kv.records.has(record(valid.at(-1))), "it was minted with another pepper than expected");
        await everywhere();
        await accountedFor();

        // The answer to a command that is repeated is the same, key included, as long as its pepper is there.
        const answer = await repeated();
        if (first === undefined) {
          first = answer;
          valid.push({ ...success(answer, 201), pepper: secrets.KEYGATE_PEPPER });
        }
        if ("KEYGATE_PEPPER_2" in edges.authority || n === 0) assert.equal(transcript(answer), transcript(first));
        else problem(answer, 409, "conflict", { field: "Idempotency-Key" });
      });
    }

    if (n === 1) {
      test("before step 3 the holders of old keys are found, given new ones, and the old ones are revoked", async () => {
        assert.ok((await countedBy())[oldId] > 0);
        for (const { id } of await listAll(server, `/accounts/${account.id}/keys?pepper=${oldId}&status=active`)) {
          const old = valid.find((key) => key.id === id);
          valid.push({ ...(await issueKey(server, account)), pepper: otherPepper });
          await revokeKey(server, account, old);
          valid.splice(valid.indexOf(old), 1);
          revoked.push(old);
        }
        await eventually(async () => {
          for (const key of revoked) constant401(await verify(server, key.key));
        });
        assert.deepEqual(await countedBy(), { [newId]: valid.length });
        await server.restart();
        await everywhere();
        await accountedFor();
      });
    }
  }

  test("afterwards nobody knows the old one any more", async () => {
    await server.restart({ edges: { authority: all[3], other: all[3] } });
    await everywhere();
    await accountedFor();
    const path = `/accounts/${account.id}/keys/lookup`;
    problem(await admin(server, "POST", path, { key: revoked[0].key }), 404, "not_found");
    success(await admin(server, "POST", path, { key: valid[0].key }));
  });

  test("what the waiting is for: an isolate that step 1 has not reached does not know a key minted after step 2", async () => {
    await server.restart({ edges: { authority: all[2], late: all[0] } });
    const key = await issueKey(server, account);
    allowed(await verify(server.edges.authority, key.key), key, account);
    constant401(await verify(server.edges.late, key.key));
  });

  test("a pepper that is none is refused by name", async () => {
    for (const pepper of ["", "16", "-1", "x", "1.5"]) {
      problem(await admin(server, "GET", `/accounts/${account.id}/keys?pepper=${pepper}`), 400, "invalid_request", {
        field: "pepper",
      });
    }
  });
});

describe("the signing key", () => {
  const all = states("KEYGATE_SIGNING_KEY", secrets.KEYGATE_SIGNING_KEY, otherSigningKey);
  let server, account;
  const valid = [];
  before(async () => {
    server = await startWorkerd({ edges: { authority: all[0] }, around: breakable });
    account = await createAccount(server);
    for (let n = 0; n < 2; n += 1) valid.push(await issueKey(server, account));
  });
  after(() => server?.stop());

  const signedWith = (name) => copyParts(server.kv.records.get(name).value).signingKeyId;

  /**
   * Every isolate accepts every valid key, and asks KV for those that it has not seen yet; with `alone`, without the
   * Authority.
   */
  async function everywhere({ alone = false } = {}) {
    for (const edge of Object.values(server.edges)) {
      await takeLease(edge);
      if (alone) await cut(edge);
      const reads = server.kv.counts.get;
      for (const key of valid) allowed(await verify(edge, key.key), key, account);
      assert.ok(server.kv.counts.get > reads);
    }
  }

  for (const [n, step] of STEPS.entries()) {
    for (const [moment, edges] of Object.entries(moments(all, n))) {
      test(`step ${n + 1}, ${step}: ${moment}`, async () => {
        await server.restart({ edges });
        await everywhere();
        const key = await issueKey(server, account);
        valid.push(key);
        assert.equal(signedWith(grantRecord(key.key)), idOf(edges.authority.KEYGATE_SIGNING_KEY));
        await everywhere();
        // The Authority's word itself is believed, too.
        const records = new Map(server.kv.records);
        server.kv.records.clear();
        await server.restart();
        await everywhere();
        for (const [name, present] of records) server.kv.records.set(name, present);
      });
    }

    if (n < 2) {
      test(`step ${n + 1}, ${step}: copies signed before it are believed without the Authority`, async () => {
        await server.restart({ edges: moments(all, n)["the Authority there already"] });
        await everywhere({ alone: true });
      });
    }
  }

  test("afterwards a copy signed with the old one is not believed, but put anew for whoever needed it", async () => {
    // As they lay there before the rotation, for a key that was not used since. Nothing is about to be put over it.
    await eventually(async () => (await slots(server)).forEach(({ unmirrored }) => assert.equal(unmirrored, 0)));
    const [key] = valid;
    const names = [grantRecord(key.key), accountRecord(account.id)];
    for (const name of names) {
      const { json } = copyParts(server.kv.records.get(name).value);
      server.kv.records.set(name, { ...server.kv.records.get(name), value: signCopy(name, json) });
    }
    await server.restart({ edges: { authority: all[3], other: all[3] } });
    await takeLease(server.edges.other);
    await cut(server.edges.other);
    problem(await verify(server.edges.other, key.key), 503, "indeterminate");
    await heal(server.edges.other);
    allowed(await verify(server.edges.other, key.key), key, account);
    await eventually(() => assert.deepEqual(names.map(signedWith), [idOf(otherSigningKey), idOf(otherSigningKey)]));
    await server.restart();
    await takeLease(server.edges.other);
    await cut(server.edges.other);
    allowed(await verify(server.edges.other, key.key), key, account);
  });

  test("what the waiting is for: an isolate that step 1 has not reached cannot say, but never calls a key invalid", async () => {
    await server.restart({ edges: { authority: all[2], late: all[0] } });
    const key = await issueKey(server, account);
    allowed(await verify(server.edges.authority, key.key), key, account);
    problem(await verify(server.edges.late, key.key), 503, "indeterminate");
    await server.restart({ edges: { authority: all[2], late: all[1] } });
    allowed(await verify(server.edges.late, key.key), key, account);
  });
});

// The mirror: what Workers KV holds, that nobody can edit it to any effect, and that nothing depends on it.

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, createAccount, issueKey, revokeKey, takeLease, verify, whoami } from "./harness/client.mjs";
import { breakable, disturb, heal } from "./harness/connection.mjs";
import { allowed, constant401, eventually, problem } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { accountRecord, copyParts, grantRecord, mintKey, signCopy } from "./harness/mint.mjs";
import { startMiniflare } from "./harness/miniflare.mjs";
import { otherSigningKey, secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

describe("what KV holds", () => {
  let server, account, key;
  before(async () => {
    server = await startMiniflare();
    account = await createAccount(server, { name: "Acme", features: ["exports"] });
    key = await issueKey(server, account, {
      name: "Export",
      scopes: ["contacts:read"],
      expires_at: "2999-01-01T00:00:00.000Z",
    });
  });
  after(() => server?.stop());

  test("is a signed copy of each key, with the epoch and sequence it was read at", async () => {
    const name = grantRecord(key.key);
    const value = await server.kv.get(name);
    const { version, signingKeyId, json } = copyParts(value);
    assert.deepEqual([version, signingKeyId], ["v1", "7"]);
    assert.equal(value, signCopy(name, json));
    const { epoch, as_of, grant } = JSON.parse(json);
    assert.match(epoch, /^[0-9a-f]{32}$/);
    assert.ok(Number.isSafeInteger(as_of) && as_of >= grant.issued_at);
    assert.deepEqual(
      { ...grant, issued_at: undefined },
      {
        id: key.id,
        account: account.id,
        environment: "live",
        scopes: ["contacts:read"],
        status: "active",
        expires_at: Date.parse(key.expires_at),
        issued_at: undefined,
      },
    );
  });

  test("is a signed copy of each account", async () => {
    const name = accountRecord(account.id);
    const value = await server.kv.get(name);
    const { json } = copyParts(value);
    assert.equal(value, signCopy(name, json));
    assert.deepEqual(JSON.parse(json).account, {
      id: account.id,
      status: "active",
      api_access: { live: "active", test: "active" },
      features: ["exports"],
    });
  });

  test("shows an administrator whose key it is, in the metadata", async () => {
    const { keys } = await server.kv.list({ prefix: "grant:" });
    assert.deepEqual(keys, [
      { name: grantRecord(key.key), metadata: { id: key.id, account: account.id, name: "Export", status: "active" } },
    ]);
    const { keys: accounts } = await server.kv.list({ prefix: "account:" });
    assert.deepEqual(accounts, [{ name: accountRecord(account.id), metadata: { name: "Acme", status: "active" } }]);
  });

  test("follows every change, metadata too", async () => {
    const metadata = async (name) => (await server.kv.getWithMetadata(name)).metadata;
    await admin(server, "PATCH", `/accounts/${account.id}/keys/${key.id}`, { name: "Renamed", disabled: true });
    await admin(server, "PATCH", `/accounts/${account.id}`, { name: "Acme 2", status: "suspended" });
    await eventually(async () => {
      assert.deepEqual(await metadata(grantRecord(key.key)), {
        id: key.id,
        account: account.id,
        name: "Renamed",
        status: "disabled",
      });
      assert.deepEqual(await metadata(accountRecord(account.id)), { name: "Acme 2", status: "suspended" });
    });
    await revokeKey(server, account, key);
    await eventually(async () => assert.equal((await metadata(grantRecord(key.key))).status, "revoked"));
  });

  test("is never too large, whatever the names", async () => {
    const name = "🏗".repeat(128);
    const owner = await createAccount(server, { name, external_id: "x".repeat(128) });
    assert.equal(owner.mirrored, true);
    const issued = await issueKey(server, owner, {
      name,
      scopes: Array.from({ length: 100 }, (_, n) => `r${n}:${"x".repeat(32)}`),
    });
    assert.equal(issued.mirrored, true);
    allowed(await verify(server, issued.key), issued, owner);
  });

  test("verifies keys without the Authority's help, also after a restart", async () => {
    const owner = await createAccount(server);
    const issued = await issueKey(server, owner);
    await server.kill9();
    await server.restart();
    await takeLease(server);
    allowed(await verify(server, issued.key), issued, owner);
  });
});

describe("a record that was not written by the Authority is never believed", () => {
  let server, account, key, otherAccount, otherKey, original, originalAccount;
  before(async () => {
    server = await startWorkerd();
    otherAccount = await createAccount(server);
    otherKey = await issueKey(server, otherAccount, { scopes: ["*"] });
  });
  // What was seen once is not read again, so each test has a key and an account of its own.
  const another = async () => {
    account = await createAccount(server);
    key = await issueKey(server, account, { scopes: ["contacts:read"] });
    original = server.kv.records.get(grantRecord(key.key));
    originalAccount = server.kv.records.get(accountRecord(account.id));
  };
  beforeEach(another);
  after(() => server?.stop());

  /** Puts `value` in the place of a record for as long as `check` runs, which has to read it. */
  async function replaced(name, value, check) {
    const present = server.kv.records.get(name);
    server.kv.records.set(name, { ...present, value });
    await takeLease(server);
    let read = false;
    server.kv.onGet = (perform, asked) => {
      read ||= asked === name;
      return perform();
    };
    try {
      await check();
      assert.ok(read, "KV was not asked for it");
    } finally {
      server.kv.heal();
      server.kv.records.set(name, present);
    }
  }

  /** The key is answered by what the Authority knows: it holds contacts:read and nothing else. */
  async function truthful() {
    allowed(await verify(server, key.key, "scope=contacts:read"), key, account);
    problem(await verify(server, key.key, "scope=contacts:write"), 403, "insufficient_scope", {
      demanded: "contacts:write",
      missing: ["contacts:write"],
    });
    assert.equal((await whoami(server, key.key)).json.key_id, key.id);
  }

  const edited = (value, edit) => {
    const { json } = copyParts(value);
    return value.slice(0, -json.length) + JSON.stringify(edit(JSON.parse(json)));
  };
  const widened = (copy) => ({ ...copy, grant: { ...copy.grant, scopes: ["*"] } });

  test("unless it is signed with the signing key (so these tests test something)", async () => {
    const forged = signCopy(grantRecord(key.key), JSON.stringify(widened(JSON.parse(copyParts(original.value).json))));
    await replaced(grantRecord(key.key), forged, async () => {
      assert.equal((await verify(server, key.key, "scope=contacts:write")).status, 200);
    });
  });

  const grantForgeries = {
    "with wider scopes": (value) => edited(value, widened),
    "with another status": (value) =>
      edited(value, (copy) => ({ ...copy, grant: { ...copy.grant, status: "revoked" } })),
    "with another account": (value) =>
      edited(value, (copy) => ({ ...copy, grant: { ...copy.grant, account: otherAccount.id } })),
    "of another key": () => server.kv.records.get(grantRecord(otherKey.key)).value,
    "of an account": () => originalAccount.value,
    "signed with a foreign key": (value) =>
      signCopy(grantRecord(key.key), JSON.stringify(widened(JSON.parse(copyParts(value).json))), otherSigningKey),
    "signed with a foreign key under the known id": (value) =>
      signCopy(
        grantRecord(key.key),
        JSON.stringify(widened(JSON.parse(copyParts(value).json))),
        otherSigningKey.replace(/^\d+/, "7"),
      ),
    "signed for another key's place": (value) =>
      signCopy(grantRecord(otherKey.key), JSON.stringify(widened(JSON.parse(copyParts(value).json)))),
    "signed, with a member that this version does not know": (value) =>
      signCopy(grantRecord(key.key), JSON.stringify({ ...widened(JSON.parse(copyParts(value).json)), note: "" })),
    "signed, of another account's key": (value) => {
      const copy = widened(JSON.parse(copyParts(value).json));
      copy.grant.account = otherAccount.id;
      return signCopy(grantRecord(key.key), JSON.stringify(copy));
    },
    "of another version": (value) => value.replace(/^v1\./, "v2."),
    "signed as another version": (value) =>
      signCopy(grantRecord(key.key), copyParts(value).json, secrets.KEYGATE_SIGNING_KEY, "v2"),
    "cut short": (value) => value.slice(0, -1),
    "without a MAC": (value) => `v1.7..${copyParts(value).json}`,
    "with its MAC in capitals, scopes widened": (value) =>
      edited(value, widened).replace(/[0-9a-f]{64}/, (mac) => mac.toUpperCase()),
    "that is empty": () => "",
    "that is bare JSON": (value) => copyParts(value).json,
    "of a megabyte": (value) => value + " ".repeat(1024 * 1024),
    "of bytes": () => "\u0000\uFFFD\u0001",
  };
  for (const [name, forge] of Object.entries(grantForgeries)) {
    test(`a key's record ${name}`, () => replaced(grantRecord(key.key), forge(original.value), truthful));
  }

  test("a record in the place of a key that nobody issued", async () => {
    for (const value of [
      original.value,
      server.kv.records.get(grantRecord(otherKey.key)).value,
      edited(original.value, widened),
    ]) {
      const { text, digest } = mintKey({ account: account.id });
      await replaced(`grant:${digest}`, value, async () => constant401(await verify(server, text)));
    }
  });

  test("an account's record that was edited or is another's", async () => {
    const suspended = (copy) => ({
      ...copy,
      account: { ...copy.account, status: "suspended", features: ["everything"] },
    });
    const forgeries = [
      () => edited(originalAccount.value, suspended),
      () => server.kv.records.get(accountRecord(otherAccount.id)).value,
      () =>
        signCopy(
          accountRecord(account.id),
          JSON.stringify(suspended(JSON.parse(copyParts(originalAccount.value).json))),
          otherSigningKey,
        ),
      () => original.value,
      () => "",
    ];
    for (const forge of forgeries) {
      await another();
      await replaced(accountRecord(account.id), forge(), async () => {
        await truthful();
        assert.deepEqual((await whoami(server, key.key)).json.features, []);
      });
    }
  });

  test("a suspended account's record set back to active", async () => {
    const owner = await createAccount(server);
    const issued = await issueKey(server, owner);
    await admin(server, "PATCH", `/accounts/${owner.id}`, { status: "suspended" });
    const name = accountRecord(owner.id);
    await eventually(async () => assert.match(server.kv.records.get(name).value, /suspended/));
    const { value } = server.kv.records.get(name);
    await replaced(name, value.replace("suspended", "active"), async () => {
      problem(await verify(server, issued.key), 403, "account_inactive");
    });
  });

  test("a revoked key's record set back to active", async () => {
    const issued = await issueKey(server, account);
    await revokeKey(server, account, issued);
    const name = grantRecord(issued.key);
    await eventually(async () => assert.match(server.kv.records.get(name).value, /revoked/));
    const { value } = server.kv.records.get(name);
    await replaced(name, value.replace("revoked", "active"), async () => constant401(await verify(server, issued.key)));
  });

  test("no record at all", async () => {
    server.kv.records.clear();
    await takeLease(server);
    const reads = server.kv.counts.get;
    await truthful();
    assert.ok(server.kv.counts.get > reads);
  });
});

describe(
  "with KV failing, issuing, verifying and revoking go on, and the mirror catches up",
  { concurrency: true },
  () => {
    // Per fault: what puts meet, and how an administrator's answer reads meanwhile.
    const modes = {
      "puts fail": { onPut: faults.fail, mirrored: false },
      "puts are stored but seem to fail": { onPut: faults.failAfterStoring, mirrored: false },
      "puts are too many": { onPut: faults.tooMany, mirrored: false },
      "puts are refused as too large": { onPut: faults.tooLarge, mirrored: false },
      "puts hang": { onPut: faults.hang, mirrored: false },
      "puts take two seconds": { onPut: faults.slow(2_000), mirrored: false },
      "puts and gets fail": { onPut: faults.fail, onGet: faults.fail, mirrored: false },
      "gets fail": { onGet: faults.fail, mirrored: true },
      "gets hang": { onGet: faults.hang, mirrored: true },
      "puts are lost and gets find nothing": { onPut: faults.lose, mirrored: true, lost: true },
    };
    for (const [name, { onPut, onGet, mirrored, lost }] of Object.entries(modes)) {
      test(name, async () => {
        const server = await startWorkerd();
        try {
          await takeLease(server);
          Object.assign(server.kv, { onPut, onGet });
          const account = await createAccount(server);
          assert.equal(account.mirrored, mirrored);
          const asked = Date.now();
          const kept = await issueKey(server, account, { scopes: ["a:b"] });
          assert.ok(Date.now() - asked < 1_500, "issuing waits for KV");
          assert.equal(kept.mirrored, mirrored);
          allowed(await verify(server, kept.key, "scope=a:b"), kept, account);
          assert.ok(server.kv.counts.get > 0);

          const revoked = await issueKey(server, account);
          await revokeKey(server, account, revoked);
          assert.equal(
            (await admin(server, "GET", `/accounts/${account.id}/keys/${revoked.id}`)).json.status,
            "revoked",
          );
          if (onPut === faults.fail) constant401(await verify(server, revoked.key));

          server.kv.heal();
          if (lost) return;
          await eventually(() => {
            for (const record of [accountRecord(account.id), grantRecord(kept.key), grantRecord(revoked.key)]) {
              const { value } = server.kv.records.get(record) ?? assert.fail(`${record} is missing`);
              assert.equal(value, signCopy(record, copyParts(value).json));
            }
            assert.match(server.kv.records.get(grantRecord(revoked.key)).value, /"status":"revoked"/);
          }, 20_000);
          allowed(await verify(server, kept.key), kept, account);
          constant401(await verify(server, revoked.key));
        } finally {
          await server.stop();
        }
      });
    }

    test("one record that KV never takes does not hold up the others", async () => {
      const server = await startWorkerd();
      try {
        const account = await createAccount(server);
        const poisoned = await issueKey(server, account);
        const name = grantRecord(poisoned.key);
        server.kv.onPut = (perform, put) => (put === name ? faults.tooLarge() : perform());
        await admin(server, "PATCH", `/accounts/${account.id}/keys/${poisoned.id}`, { name: "poisoned" });
        const issued = await Promise.all(Array.from({ length: 10 }, () => issueKey(server, account)));
        await eventually(() => {
          for (const { key } of issued) assert.ok(server.kv.records.has(grantRecord(key)));
        });
      } finally {
        await server.stop();
      }
    });

    test("a backlog of many records drains", async () => {
      const server = await startWorkerd();
      try {
        server.kv.onPut = faults.fail;
        const account = await createAccount(server);
        const issued = await Promise.all(Array.from({ length: 60 }, () => issueKey(server, account)));
        assert.equal(server.kv.records.size, 0);
        server.kv.heal();
        await eventually(() => {
          for (const { key } of issued) assert.ok(server.kv.records.has(grantRecord(key)));
        }, 20_000);
      } finally {
        await server.stop();
      }
    });

    test("puts of one record are a second apart, as KV wants it, and the last state wins", async () => {
      const server = await startWorkerd();
      try {
        const account = await createAccount(server);
        const key = await issueKey(server, account);
        const name = grantRecord(key.key);
        const times = [];
        server.kv.onPut = (perform, put) => {
          if (put === name) times.push(Date.now());
          return perform();
        };
        for (let n = 0; n < 30; n += 1) {
          await admin(server, "PATCH", `/accounts/${account.id}/keys/${key.id}`, { name: `name ${n}` });
          await sleep(50);
        }
        await eventually(() => assert.equal(JSON.parse(server.kv.records.get(name).metadata).name, "name 29"));
        assert.ok(times.length >= 2);
        for (const [n, time] of times.slice(1).entries()) assert.ok(time - times[n] > 950, `${time - times[n]} ms`);
      } finally {
        await server.stop();
      }
    });

    test("a mirror that was wiped or rolled back still gives no wrong answer to a key issued since", async () => {
      const server = await startWorkerd();
      try {
        const account = await createAccount(server);
        const earlier = new Map(server.kv.records);
        await takeLease(server);
        for (const records of [earlier, new Map()]) {
          const issued = await issueKey(server, account);
          server.kv.onGet = faults.from(records);
          const reads = server.kv.counts.get;
          allowed(await verify(server, issued.key), issued, account);
          assert.ok(server.kv.counts.get > reads);
        }
      } finally {
        await server.stop();
      }
    });
  },
);

describe("when neither KV nor the Authority can say", { concurrency: true }, () => {
  /** The answer to these keys, and to an administrator, is 503. */
  async function undecided(server, account, keys) {
    const answers = await Promise.all([
      ...keys.map(({ key }) => verify(server, key)),
      admin(server, "GET", `/accounts/${account.id}`),
      admin(server, "POST", `/accounts/${account.id}/keys`, { environment: "live" }),
    ]);
    for (const answer of answers) problem(answer, 503, "indeterminate");
  }

  for (const [authority, fail] of Object.entries({ down: "before", hung: "never" })) {
    test(`with the Authority ${authority}, the answer is 503 and never a guess`, async () => {
      const server = await startWorkerd({ around: breakable });
      try {
        const account = await createAccount(server);
        const edited = async (perform) => {
          const { value, ...rest } = await perform();
          return { ...rest, value: `${value} ` };
        };
        const ways = [faults.fail, faults.from(new Map()), faults.hang, edited];
        const keys = await Promise.all(ways.map(() => issueKey(server, account)));
        const whole = await issueKey(server, account);
        await takeLease(server);
        await disturb(server, { fail });
        allowed(await verify(server, whole.key), whole, account);
        const faultOf = new Map(keys.map(({ key }, n) => [grantRecord(key), ways[n]]));
        server.kv.onGet = (perform, name) => faultOf.get(name)?.(perform, name) ?? perform();
        await undecided(server, account, keys);
        server.kv.heal();
        await heal(server);
        await eventually(async () => {
          for (const key of keys) allowed(await verify(server, key.key), key, account);
        });
      } finally {
        await server.stop();
      }
    });

    test(`with the Authority ${authority} and no lease, the same, whatever KV has`, async () => {
      const server = await startWorkerd();
      try {
        const account = await createAccount(server);
        const keys = await Promise.all([1, 2, 3].map(() => issueKey(server, account)));
        await server.restart({ authority });
        await undecided(server, account, keys);
        await server.restart({ authority: "own" });
        for (const key of keys) allowed(await verify(server, key.key), key, account);
      } finally {
        await server.stop();
      }
    });
  }
});

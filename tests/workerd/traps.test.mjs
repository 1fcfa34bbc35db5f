// A panic in Rust ends its own request, and every other one in flight in the instance, with 503 within a second; the
// next request is right, and a half-done command has left nothing. Needs the build with the cargo feature `trap`.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { admin, bearer, createAccount, issueKey, revokeKey, send, timed, verify, whoami } from "./harness/client.mjs";
import { mustBeBuilt, released, trapping } from "./harness/bundle.mjs";
import { breakable, cut, heal } from "./harness/connection.mjs";
import { allowed, constant401, eventually, problem, success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

mustBeBuilt(trapping);

const IN_FLIGHT = 20;
const WITHIN_MS = 1_000;

let server, account, key;
before(async () => {
  server = await startWorkerd({ bundle: trapping, around: breakable });
  account = await createAccount(server);
  key = await issueKey(server, account, { scopes: ["a:b"] });
});
after(() => server?.stop());
afterEach(() => server?.kv.heal());

const trap = (kind) => ({ "X-Keygate-Trap": kind });

/** Holds every KV operation until it is released, so that requests stay in flight. */
function heldKv() {
  const held = { gets: 0, puts: 0, release: undefined };
  const gate = new Promise((resolve) => {
    held.release = resolve;
  });
  const hold = (operation) => async (perform) => {
    held[operation] += 1;
    await gate;
    return perform();
  };
  server.kv.onGet = hold("gets");
  server.kv.onPut = hold("puts");
  return held;
}

// Which requests can trap where.
const traps = {
  sync: () => verify(server, key.key, "scope=a:b", { headers: trap("sync") }),
  async: () => verify(server, key.key, "scope=a:b", { headers: trap("async") }),
  authority: () => admin(server, "POST", "/accounts", { name: "Trapped" }, { headers: trap("authority") }),
  "authority-mid-command": () =>
    admin(
      server,
      "POST",
      "/accounts",
      { name: "Trapped", external_id: "trapped" },
      { headers: trap("authority-mid-command") },
    ),
};

for (const [kind, trapped] of Object.entries(traps)) {
  describe(`a trap, ${kind}`, () => {
    test("ends its own request with 503 within a second", async () => {
      const { answer, took } = await timed(trapped());
      problem(answer, 503, "indeterminate");
      assert.ok(took < WITHIN_MS, `${took} ms`);
    });

    test("leaves the next requests right", async () => {
      for (let n = 0; n < 3; n += 1) {
        problem(await trapped(), 503, "indeterminate");
        allowed(await verify(server, key.key, "scope=a:b"), key, account);
        assert.equal(success(await admin(server, "GET", `/accounts/${account.id}`)).id, account.id);
        assert.equal((await whoami(server, key.key)).json.key_id, key.id);
      }
    });

    test(`ends ${IN_FLIGHT} others in flight within a second, with 503 or the right answer`, async () => {
      // Keys that this isolate has not seen yet, so that it waits for KV; for that it needs a lease.
      const unseen = [];
      while (unseen.length < IN_FLIGHT / 2) unseen.push(await issueKey(server, account, { scopes: ["a:b"] }));
      allowed(await verify(server, key.key, "scope=a:b"), key, account);
      const held = heldKv();
      const verifies = unseen.map(({ key }) => verify(server, key, "scope=a:b"));
      const commands = Array.from({ length: IN_FLIGHT / 2 }, (_, n) =>
        admin(server, "POST", `/accounts/${account.id}/keys`, { environment: "live", name: `in flight ${n}` }),
      );
      // Of the commands, at least one waits for KV; some may have answered by then that the mirror is behind.
      await eventually(() => assert.ok(held.gets >= verifies.length && held.puts > 0));
      const start = performance.now();
      const answers = await Promise.all([trapped(), ...verifies, ...commands]);
      const took = performance.now() - start;
      held.release();
      problem(answers[0], 503, "indeterminate");
      for (const [n, answer] of answers.slice(1).entries()) {
        if (answer.status === 503) problem(answer, 503, "indeterminate");
        else if (n < verifies.length) allowed(answer, unseen[n], account);
        else assert.match(success(answer, 201).key, /^kg_live_/);
      }
      assert.ok(took < WITHIN_MS, `${took} ms`);
      server.kv.heal();
      allowed(await verify(server, key.key, "scope=a:b"), key, account);

      // What was committed by then counts, whatever its caller heard, and reaches the mirror.
      const { data } = success(await admin(server, "GET", `/accounts/${account.id}/keys?limit=100`));
      await eventually(() => {
        const mirrored = [...server.kv.records.values()].map(({ metadata }) => JSON.parse(metadata).id);
        for (const { id } of data) assert.ok(mirrored.includes(id), `${id} is not in the mirror`);
      });
    });

    test("drops the lease and all that was at hand, and the next request is right", async () => {
      const revoked = await issueKey(server, account, { scopes: ["a:b"] });
      const accepted = async () => {
        for (const one of [key, revoked]) allowed(await verify(server, one.key, "scope=a:b"), one, account);
      };
      await accepted();
      await cut(server);
      await accepted();
      await heal(server);
      await revokeKey(server, account, revoked);
      problem(await trapped(), 503, "indeterminate");
      // What this isolate could say without the Authority is gone.
      await cut(server);
      problem(await verify(server, key.key, "scope=a:b"), 503, "indeterminate");
      await heal(server);
      constant401(await verify(server, revoked.key, "scope=a:b"));
      allowed(await verify(server, key.key, "scope=a:b"), key, account);
    });

    test("several at once are survived", async () => {
      const answers = await Promise.all(Array.from({ length: 10 }, trapped));
      for (const answer of answers) problem(answer, 503, "indeterminate");
      allowed(await verify(server, key.key, "scope=a:b"), key, account);
    });
  });
}

describe("a trap inside a command's transaction", () => {
  const headers = trap("authority-mid-command");
  const listed = async (owner) => success(await admin(server, "GET", `/accounts/${owner.id}/keys`)).data;

  test("leaves no account", async () => {
    const body = { name: "Half", external_id: "half" };
    problem(await admin(server, "POST", "/accounts", body, { headers }), 503, "indeterminate");
    success(await admin(server, "POST", "/accounts", body), 201);
    const { data } = success(await admin(server, "GET", "/accounts?limit=100"));
    assert.equal(data.filter(({ name }) => name === "Half").length, 1);
  });

  test("leaves no key", async () => {
    const owner = await createAccount(server, { max_active_keys: 1 });
    problem(
      await admin(server, "POST", `/accounts/${owner.id}/keys`, { environment: "live" }, { headers }),
      503,
      "indeterminate",
    );
    assert.deepEqual(await listed(owner), []);
    await issueKey(server, owner);
  });

  test("leaves a key and an account as they were", async () => {
    const owner = await createAccount(server);
    const issued = await issueKey(server, owner);
    const before = [await listed(owner), success(await admin(server, "GET", `/accounts/${owner.id}`))];
    const path = `/accounts/${owner.id}/keys/${issued.id}`;
    problem(await admin(server, "POST", `${path}/revoke`, undefined, { headers }), 503, "indeterminate");
    problem(await admin(server, "PATCH", path, { name: "half", disabled: true }, { headers }), 503, "indeterminate");
    problem(await admin(server, "PATCH", `/accounts/${owner.id}`, { name: "half" }, { headers }), 503, "indeterminate");
    assert.deepEqual([await listed(owner), success(await admin(server, "GET", `/accounts/${owner.id}`))], before);
    allowed(await verify(server, issued.key), issued, owner);
  });
});

test("the released build knows no X-Keygate-Trap", async () => {
  const plain = await startWorkerd({ bundle: released });
  try {
    for (const kind of Object.keys(traps)) {
      assert.equal((await send(plain, "GET", "/_keygate/healthz", { headers: trap(kind) })).status, 200);
      const headers = { ...bearer(key.key), ...trap(kind) };
      assert.equal((await send(plain, "GET", "/_keygate/verify", { headers })).status, 401);
    }
  } finally {
    await plain.stop();
  }
});

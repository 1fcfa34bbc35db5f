// healthz?verbose: what an operator is told about the slots.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { admin, bearer, createAccount, issueKey, listAll, revokeKey, send, sendRaw, slots } from "./harness/client.mjs";
import { BOUND_MS, constant401, eventually, onlyHeaders, problem, success } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { forgedKey } from "./harness/mint.mjs";
import { secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const ROOT = secrets.KEYGATE_ROOT_TOKEN;
const PEPPER = secrets.KEYGATE_PEPPER.split(":")[0];

let server;
before(async () => {
  server = await startWorkerd({
    env: { KEYGATE_SLOTS: "0 1 2" },
    edges: { edge: {}, misconfigured: { KEYGATE_PEPPER: undefined } },
  });
});
after(() => server?.stop());
afterEach(() => server?.kv.heal());

const slotOf = ({ id }) => parseInt(id.slice(5, 7), 16);

/** An account in each slot. */
async function oneInEachSlot() {
  const found = [];
  while (found.filter(Boolean).length < 3) {
    const created = await createAccount(server);
    found[slotOf(created)] ??= created;
  }
  return found;
}

describe("healthz?verbose", () => {
  const health = (query = "?verbose", headers = bearer(ROOT), there = server) =>
    send(there, "GET", `/_keygate/healthz${query}`, { headers });

  test("is for the operator only", async () => {
    problem(await health("?verbose", {}), 401, "missing_credential");
    problem(await health("?verbose", { Authorization: `Basic ${ROOT}` }), 401, "missing_credential");
    problem(await health("?verbose", { Authorization: `Bearer  ${ROOT}` }), 400, "invalid_request", {
      credentialFault: true,
    });
    const owned = await issueKey(server, await createAccount(server), { scopes: ["*"] });
    for (const token of [owned.key, forgedKey(), "x", ROOT.slice(1)])
      constant401(await health("?verbose", bearer(token)));
    const twice = [`Authorization: Bearer ${ROOT}`, `Authorization: Bearer ${ROOT}`];
    const raw = await sendRaw(server, ["GET /_keygate/healthz?verbose HTTP/1.1", ...twice]);
    problem(raw, 400, "invalid_request", { credentialFault: true });
  });

  test("knows no other parameter, and no other method", async () => {
    for (const field of ["x", "Verbose", "verbos"]) {
      problem(await health(`?${field}`), 400, "invalid_request", { field });
      problem(await health(`?verbose&${field}=1`), 400, "invalid_request", { field });
    }
    problem(await health("?verbose&verbose"), 400, "invalid_request", { field: "verbose" });
    const posted = await send(server, "POST", "/_keygate/healthz?verbose", { headers: bearer(ROOT) });
    problem(posted, 405, "method_not_allowed", { allow: "GET, HEAD" });
  });

  test("tells of each slot how many accounts it has, and keys by pepper that are not revoked", async () => {
    const before = await slots(server);
    assert.deepEqual(
      before.map(({ slot }) => slot),
      [0, 1, 2],
    );
    const owners = await oneInEachSlot();
    const created = await listAll(server, "/accounts");
    for (const [n, owner] of owners.entries()) {
      for (let more = 0; more <= n; more += 1) await issueKey(server, owner);
      const disabled = await issueKey(server, owner);
      success(await admin(server, "PATCH", `/accounts/${owner.id}/keys/${disabled.id}`, { disabled: true }));
      await revokeKey(server, owner, await issueKey(server, owner));
    }
    const answer = await eventually(async () => {
      const answer = await health();
      assert.deepEqual(
        answer.json.slots.map(({ unmirrored }) => unmirrored),
        [0, 0, 0],
      );
      return answer;
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["content-type"], "application/json");
    onlyHeaders(answer, []);
    const expected = before.map(({ slot, keys_by_pepper }) => ({
      slot,
      accounts: created.filter((account) => slotOf(account) === slot).length,
      unmirrored: 0,
      oldest_unmirrored_at: null,
      keys_by_pepper: { [PEPPER]: (keys_by_pepper[PEPPER] ?? 0) + slot + 2 },
      lease_ms: 5_000,
      grace_ms: 0,
      revocation_bound_ms: BOUND_MS,
      accepted_in_grace: 0,
    }));
    assert.deepEqual(answer.json, {
      status: "ok",
      version: "0.1.0",
      revocation_bound_ms: BOUND_MS,
      slots: expected,
    });
    assert.equal((await health("?verbose=1")).text, answer.text);
    assert.equal((await health("?verbose=")).text, answer.text);
  });

  test("tells how long KV has been behind, and forgets it when KV has caught up", async () => {
    const [owner] = await oneInEachSlot();
    await eventually(async () => (await slots(server)).forEach(({ unmirrored }) => assert.equal(unmirrored, 0)));
    server.kv.onPut = faults.fail;
    const from = Date.now();
    await issueKey(server, owner);
    const until = Date.now();
    await issueKey(server, owner);
    const [behind, ...others] = await slots(server);
    assert.equal(behind.unmirrored, 2);
    const oldest = Date.parse(behind.oldest_unmirrored_at);
    assert.ok(oldest >= from - 1 && oldest <= until + 1, behind.oldest_unmirrored_at);
    for (const { unmirrored, oldest_unmirrored_at } of others)
      assert.deepEqual([unmirrored, oldest_unmirrored_at], [0, null]);
    server.kv.heal();
    await eventually(async () => {
      const [{ unmirrored, oldest_unmirrored_at }] = await slots(server);
      assert.deepEqual([unmirrored, oldest_unmirrored_at], [0, null]);
    }, 20_000);
  });

  test("says which secret is missing; without verbose, healthz is well", async () => {
    problem(await health("?verbose", bearer(ROOT), server.edges.misconfigured), 503, "misconfigured", {
      detail: /KEYGATE_PEPPER/,
    });
    assert.equal((await health("", {}, server.edges.misconfigured)).json.status, "ok");
  });

  test("names a slot that does not answer", async () => {
    const down = await startWorkerd({ authority: "down", env: { KEYGATE_SLOTS: "0 7" } });
    try {
      const answer = await health("?verbose", bearer(ROOT), down);
      assert.equal(answer.status, 200);
      const unreachable = [0, 7].map((slot) => ({ slot, status: "unreachable" }));
      assert.deepEqual(answer.json, {
        status: "degraded",
        version: "0.1.0",
        revocation_bound_ms: BOUND_MS,
        slots: unreachable,
      });
      assert.equal((await health("", {}, down)).json.status, "ok");
    } finally {
      await down.stop();
    }
  });
});

// `?wait=effective`: the answer to a change comes when nobody decides by what was before.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { abandon, admin, bearer, createAccount, issueKey, send, timed, verify } from "./harness/client.mjs";
import { breakable, manyEdges, takeCalls } from "./harness/connection.mjs";
import { allowed, constant401, eventually, problem, success } from "./harness/expect.mjs";
import { hammer, verifying } from "./harness/hammer.mjs";
import { secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const BOUND_MS = 1_051;
/** What an answer may take beside. */
const SLACK_MS = 1_000;
/** What an answer takes that waits for nothing. */
const AT_ONCE_MS = 500;

let server, edge;
before(async () => {
  server = await startWorkerd({ env: { KEYGATE_LEASE_SECONDS: "1" }, edges: manyEdges(1), around: breakable });
  edge = server.edges["edge-0"];
});
after(() => server?.stop());

const accountPath = (key) => `/accounts/${key.account_id}`;
const keyPath = (key) => `${accountPath(key)}/keys/${key.id}`;
const allows = (answer, key) => allowed(answer, key, { id: key.account_id });
const idempotent = () => ({ headers: { "Idempotency-Key": randomBytes(16).toString("hex") } });

/** A key of an account of its own that `edge` has just accepted, by a lease that is just being used. */
async function used() {
  const key = await issueKey(server, await createAccount(server), { scopes: ["a:b"] });
  allows(await verify(edge, key.key), key);
  return key;
}

/** Waits until every lease granted so far has run out. The use of a key is told some seconds later, and that is a sync. */
async function quiet() {
  for (let last = Date.now(); Date.now() < last + BOUND_MS + 100; await sleep(50)) {
    for (const place of Object.values(server.edges)) {
      for (const { at } of await takeCalls(place, "/sync")) last = Math.max(last, at + 50);
    }
  }
}

// Each change that can be waited for, of a key or its account, and what becomes of the key.
const changes = {
  "revoking a key": {
    call: (key, query, options) => admin(server, "POST", `${keyPath(key)}/revoke${query}`, undefined, options),
    refused: constant401,
  },
  "disabling a key": {
    call: (key, query, options) => admin(server, "PATCH", `${keyPath(key)}${query}`, { disabled: true }, options),
    refused: constant401,
  },
  "suspending an account": {
    call: (key, query, options) =>
      admin(server, "PATCH", `${accountPath(key)}${query}`, { status: "suspended" }, options),
    refused: (answer) => problem(answer, 403, "account_inactive"),
  },
};

// Most of the time passes in waiting.
for (const [name, { call, refused }] of Object.entries(changes)) {
  describe(name, { concurrency: true }, () => {
    test("answers not before it is effective, and soon after", async () => {
      const key = await used();
      const { answer, took } = await timed(call(key, "?wait=effective"));
      const now = Date.now();
      const { effective_by } = success(answer);
      assert.ok(now >= Date.parse(effective_by), `answered at ${now}, effective by ${effective_by}`);
      assert.ok(took > BOUND_MS / 4, `${took} ms: the lease that was just granted counts`);
      assert.ok(took < BOUND_MS + SLACK_MS, `${took} ms`);
      refused(await verify(edge, key.key));
      assert.ok(!("x-keygate-wait-ms" in answer.headers));
    });

    test("nothing that is sent after the answer is accepted, under load", async () => {
      const key = await used();
      const hammers = [edge, server].map((place) => hammer(place, verifying(key.key, "scope=a:b"), 5));
      await sleep(300);
      success(await call(key, "?wait=effective"));
      const answered = performance.now();
      await sleep(300);
      for (const { answers, stop } of hammers) {
        await stop();
        const later = answers.filter(({ sent }) => sent > answered);
        assert.ok(answers.some(({ status }) => status === 200) && later.length > 10);
        assert.deepEqual(
          later.filter(({ status }) => status !== 401 && status !== 403),
          [],
        );
      }
    });

    test("answers at once without it", async () => {
      const { answer, took } = await timed(call(await used(), ""));
      success(answer);
      assert.ok(took < AT_ONCE_MS, `${took} ms`);
    });

    test("a change that changes nothing waits, too", async () => {
      const key = await used();
      success(await call(key, ""));
      await eventually(async () => refused(await verify(edge, key.key)));
      const { answer, took } = await timed(call(key, "?wait=effective"));
      assert.ok(Date.now() >= Date.parse(success(answer).effective_by));
      assert.ok(took < BOUND_MS + SLACK_MS, `${took} ms`);
      refused(await verify(edge, key.key));
    });

    test("stays in force when the caller goes away in the middle of it", async () => {
      const key = await used();
      const method = name === "revoking a key" ? "POST" : "PATCH";
      const [path, body] = {
        "revoking a key": [`${keyPath(key)}/revoke`, ""],
        "disabling a key": [keyPath(key), '{"disabled": true}'],
        "suspending an account": [accountPath(key), '{"status": "suspended"}'],
      }[name];
      const headers = {
        ...bearer(secrets.KEYGATE_ROOT_TOKEN),
        ...(method === "PATCH" ? { "If-Match": "*", "Content-Type": "application/json" } : {}),
      };
      const target = `/_keygate/admin/v1${path}?wait=effective`;
      await abandon(server, method, target, { headers, body }, 300);
      await sleep(BOUND_MS);
      refused(await verify(edge, key.key));
    });

    test("repeated under its Idempotency-Key, has the same bytes and waits for what is left", async () => {
      const key = await used();
      const once = idempotent();
      const first = call(key, "?wait=effective", once);
      await sleep(200);
      const { answer: second, took } = await timed(call(key, "?wait=effective", once));
      const answered = Date.now();
      const { effective_by } = success(second);
      assert.ok(answered >= Date.parse(effective_by), "the repeat waits, too");
      assert.ok(took < BOUND_MS + SLACK_MS, `${took} ms`);
      refused(await verify(edge, key.key));
      const { answer: third, took: again } = await timed(call(key, "?wait=effective", once));
      assert.ok(again < AT_ONCE_MS, `${again} ms: nothing is left to wait for`);
      for (const answer of [second, third]) {
        assert.equal(answer.text, (await first).text);
        assert.equal(answer.headers.etag, (await first).headers.etag);
      }
      // To wait or not is part of the request.
      problem(await call(key, "", once), 422, "idempotency_conflict", { field: "Idempotency-Key" });
    });

    test("knows no other value", async () => {
      const key = await used();
      for (const query of ["wait", "wait=", "wait=yes", "wait=Effective", "wait=effective,effective", "wait=1"])
        problem(await call(key, `?${query}`), 400, "invalid_request", { field: "wait" });
      problem(await call(key, "?wait=effective&wait=effective"), 400, "invalid_request", { field: "wait" });
      problem(await call(key, "?wait=effective&x=1"), 400, "invalid_request", { field: "x" });
      allows(await verify(edge, key.key), key);
    });
  });
}

test("when nobody can have decided lately, the answer comes at once", async () => {
  for (const { call, refused } of Object.values(changes)) {
    const key = await used();
    await quiet();
    const { answer, took } = await timed(call(key, "?wait=effective"));
    assert.ok(Date.parse(success(answer).effective_by) <= Date.now());
    assert.ok(took < AT_ONCE_MS, `${took} ms`);
    refused(await verify(edge, key.key));
  }
});

test("what is refused is refused at once", async () => {
  const key = await used();
  for (const [expected, work] of [
    [404, () => admin(server, "POST", `${accountPath(key)}/keys/key_00000000000000000000/revoke?wait=effective`)],
    [412, () => admin(server, "PATCH", `${keyPath(key)}?wait=effective`, {}, { headers: { "If-Match": '"999999"' } })],
    [428, () => admin(server, "PATCH", `${keyPath(key)}?wait=effective`, {}, { headers: { "If-Match": undefined } })],
    [400, () => admin(server, "PATCH", `${keyPath(key)}?wait=effective`, { unheard_of: true })],
    [401, () => admin(server, "POST", `${keyPath(key)}/revoke?wait=effective`, undefined, { token: "wrong" })],
  ]) {
    const { answer, took } = await timed(work());
    assert.equal(answer.status, expected, answer.text);
    assert.ok(took < AT_ONCE_MS, `${expected}: ${took} ms`);
  }
});

test("other routes know no wait", async () => {
  const key = await used();
  for (const [method, path, body] of [
    ["GET", accountPath(key)],
    ["GET", "/accounts"],
    ["POST", "/accounts", { name: "Other" }],
    ["GET", keyPath(key)],
    ["GET", `${accountPath(key)}/keys`],
    ["POST", `${accountPath(key)}/keys`, { environment: "live" }],
    ["POST", `${accountPath(key)}/keys/lookup`, { key: key.key }],
    ["GET", `${accountPath(key)}/audit`],
  ]) {
    const answer = await admin(server, method, `${path}?wait=effective`, body);
    problem(answer, 400, "invalid_request", { field: "wait" });
  }
  for (const path of ["/_keygate/verify?wait=effective", "/_keygate/whoami?wait=effective"])
    problem(await send(edge, "GET", path, { headers: bearer(key.key) }), 400, "invalid_request", { field: "wait" });
});

test("many wait at once, each for its own time, and nobody else waits for them", async () => {
  const keys = await Promise.all(Array.from({ length: 20 }, used));
  const bystander = await used();
  const revoking = keys.map(async (key, n) => {
    await sleep(n * 20);
    const { answer, took } = await timed(changes["revoking a key"].call(key, "?wait=effective"));
    const now = Date.now();
    assert.ok(now >= Date.parse(success(answer).effective_by));
    assert.ok(took < BOUND_MS + SLACK_MS, `${took} ms`);
  });
  let over = false;
  const all = Promise.all(revoking).finally(() => {
    over = true;
  });
  for (let n = 0; !over; n += 1, await sleep(20)) {
    const { answer, took } = await timed(verify(edge, bystander.key));
    allows(answer, bystander);
    assert.ok(took < AT_ONCE_MS, `verify: ${took} ms`);
    const read = await timed(admin(server, "GET", keyPath(keys[n % keys.length])));
    success(read.answer);
    assert.ok(read.took < AT_ONCE_MS, `admin: ${read.took} ms`);
  }
  await all;
  for (const { key } of keys) constant401(await verify(edge, key));
});

test("the Authority is restarted while somebody waits: the change stays, and a repeat waits for what is left", async () => {
  const key = await used();
  const once = idempotent();
  const { call } = changes["revoking a key"];
  const broken = call(key, "?wait=effective", once).then(
    ({ status }) => assert.ok([200, 503].includes(status)),
    () => {},
  );
  await sleep(300);
  await server.kill9();
  await broken;
  await server.restart();
  edge = server.edges["edge-0"];
  const { answer, took } = await timed(call(key, "?wait=effective", once));
  assert.ok(Date.now() >= Date.parse(success(answer).effective_by));
  assert.ok(took < BOUND_MS + SLACK_MS, `${took} ms`);
  constant401(await verify(edge, key.key));
});

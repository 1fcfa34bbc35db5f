// Cleaning up: keys are planned to be revoked, and exactly those are, over restarts; and which keys are stale.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, createAccount, issueKey, issueMany, listAll, revokeKey, timed, verify } from "./harness/client.mjs";
import { allowed, BOUND_MS, constant401, eventually, onlyHeaders, problem, success } from "./harness/expect.mjs";
import { grantRecord } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const KEYS = 250;

let server, edges;
before(async () => {
  server = await startWorkerd({ edges: { first: {}, second: {} } });
  edges = () => Object.values(server.edges);
});
after(() => server?.stop());

const plans = (account, path = "") => `/accounts/${account.id}/keys/plans${path}`;
const post = (path, body, options) => admin(server, "POST", path, body, options);
const make = async (account, filter) => planOf(await post(plans(account), { filter }), 201);
const read = async (account, { id }) => planOf(await admin(server, "GET", plans(account, `/${id}`)));

/** The plan that is answered. It has no version: nobody changes it. */
function planOf(answer, status = 200) {
  assert.equal(answer.status, status, answer.text);
  onlyHeaders(answer, []);
  return answer.json;
}

const done = (account, plan) =>
  eventually(async () => {
    const now = await read(account, plan);
    assert.equal(now.state, "done", JSON.stringify(now.progress));
    return now;
  }, 60_000);

test(`exactly the ${KEYS} keys of a plan are revoked, over a kill in the middle, and others work`, async (t) => {
  const account = await createAccount(server);
  const old = await issueMany(server, account, KEYS, { tags: ["old"] });
  const kept = await issueKey(server, account, { tags: ["new"] });
  const plan = await make(account, { tag: "old", environment: "live" });
  const { id, created_at, expires_at, sequence, ...members } = plan;
  assert.match(id, /^plan_[0-9a-f]{16}$/);
  assert.equal(Date.parse(expires_at) - Date.parse(created_at), 24 * 60 * 60 * 1_000);
  assert.ok(sequence > 0);
  assert.deepEqual(members, {
    account_id: account.id,
    state: "planned",
    filter: { environment: "live", tag: "old" },
    counts: {
      total: KEYS,
      by_environment: { live: KEYS, test: 0 },
      by_status: { active: KEYS, disabled: 0, expired: 0 },
    },
    truncated: false,
    progress: { revoked: 0, skipped: 0, remaining: KEYS },
    created_by: null,
    started_at: null,
    finished_at: null,
  });
  const ids = (keys) => keys.map((key) => key.id).sort();
  const listed = await listAll(server, plans(account, `/${id}/keys`));
  assert.deepEqual(ids(listed), ids(old));
  assert.deepEqual(listed[0], success(await admin(server, "GET", `/accounts/${account.id}/keys?tag=old&limit=1`)).data[0]);
  const later = await issueKey(server, account, { tags: ["old"] });
  await revokeKey(server, account, old[0]);
  for (const edge of edges()) allowed(await verify(edge, old[7].key), old[7], account);

  const headers = { "Idempotency-Key": "the-execution-of-this-one-plan" };
  const running = planOf(await post(plans(account, `/${id}/execute`), undefined, { headers }), 202);
  assert.equal(running.state, "running");
  // It is killed as soon as a chunk is done.
  const partly = await eventually(async () => {
    const now = await read(account, plan);
    assert.ok(now.progress.revoked > 0);
    return now.progress;
  });
  await server.kill9();
  await server.restart();
  t.diagnostic(`killed after ${partly.revoked} of ${KEYS} keys`);
  const again = planOf(await post(plans(account, `/${id}/execute`), undefined, { headers }), 202);
  assert.deepEqual(again, running, "the same request has the same answer");
  const over = await done(account, plan);
  assert.deepEqual(over.progress, { revoked: KEYS - 1, skipped: 1, remaining: 0 });
  assert.ok(Date.parse(over.finished_at) >= Date.parse(over.started_at));
  assert.equal(planOf(await post(plans(account, `/${id}/execute`))).state, "done");

  await sleep(BOUND_MS);
  for (const edge of edges()) {
    for (const { key } of old) constant401(await verify(edge, key));
    for (const key of [kept, later]) allowed(await verify(edge, key.key), key, account);
  }
  const left = await listAll(server, `/accounts/${account.id}/keys?status=active`);
  assert.deepEqual(ids(left), ids([kept, later]));
  const audit = await listAll(server, `/accounts/${account.id}/audit?action=key.revoke`);
  assert.equal(new Set(audit.map((entry) => entry.subject)).size, KEYS);
  assert.equal(audit.length, KEYS, "each once");
  const [ordered] = await listAll(server, `/accounts/${account.id}/audit?subject=${id}`);
  assert.deepEqual([ordered.action, ordered.after.keys], ["plan.execute", KEYS]);
  // And KV says so in the end.
  const metadata = (key) => JSON.parse(server.kv.records.get(grantRecord(key.key))?.metadata ?? "{}");
  await eventually(() => old.forEach((key) => assert.equal(metadata(key).status, "revoked")), 120_000);
});

test("what the Authority is asked while it executes a plan does not wait for it", async (t) => {
  const account = await createAccount(server);
  await issueMany(server, account, 400, { owner: "bob" });
  const plan = await make(account, { owner: "bob" });
  const alone = await timed(read(account, plan));
  planOf(await post(plans(account, `/${plan.id}/execute`)), 202);
  let slowest = 0;
  for (let state; state !== "done"; ) {
    const { answer, took } = await timed(read(account, plan));
    slowest = Math.max(slowest, took);
    state = answer.state;
  }
  t.diagnostic(`the slowest answer took ${Math.round(slowest)} ms, and ${Math.round(alone.took)} ms before`);
  assert.ok(slowest < 1_000, `${slowest} ms`);
});

test("a plan can be cancelled, and what it lists stays", async () => {
  const account = await createAccount(server);
  const key = await issueKey(server, account, { owner: "alice" });
  const plan = await make(account, { owner: "alice" });
  assert.equal(planOf(await post(plans(account, `/${plan.id}/cancel`))).state, "cancelled");
  assert.equal(planOf(await post(plans(account, `/${plan.id}/cancel`))).state, "cancelled");
  problem(await post(plans(account, `/${plan.id}/execute`)), 409, "conflict", { detail: /is cancelled/ });
  allowed(await verify(server, key.key), key, account);
  const other = await make(account, { owner: "alice" });
  planOf(await post(plans(account, `/${other.id}/execute`)), 202);
  await done(account, other);
  problem(await post(plans(account, `/${other.id}/cancel`)), 409, "conflict", { detail: /is done/ });
  const states = (await listAll(server, plans(account))).map(({ id, state }) => [id, state]);
  assert.deepEqual(states, [[other.id, "done"], [plan.id, "cancelled"]]);
  assert.equal((await listAll(server, plans(account, `/${plan.id}/keys`)))[0].status, "revoked");
});

test("what is not right is refused by name, and changes nothing", async () => {
  const account = await createAccount(server);
  const refused = async (body, field) => problem(await post(plans(account), body), 400, "invalid_request", { field });
  await refused(undefined, "filter");
  await refused({ filter: null }, "filter");
  await refused({ filter: "tag" }, "filter");
  await refused({ filter: {} }, "filter");
  await refused({ filter: { tag: ["x"] } }, "filter");
  await refused({ filter: { tag: 5 } }, "filter");
  await refused({ filter: { pepper: "1" } }, "filter");
  await refused({ filter: { never_used: "true" } }, "filter");
  await refused({ filter: { colour: "red" } }, "filter");
  await refused({ filter: { limit: "5" } }, "filter");
  await refused({ filter: { never_used: false } }, "filter");
  await refused({ filter: { unused_since: "yesterday" } }, "filter");
  await refused({ filter: { environment: "admin" } }, "filter");
  await refused({ filter: { status: "revoked" } }, "filter");
  await refused({ filter: { name_contains: "x".repeat(9_000) } }, "filter");
  await refused({ filter: { tag: "x" }, expect: 3 }, "expect");
  problem(await post(plans(account, "?wait=effective"), { filter: { tag: "x" } }), 400, "invalid_request", { field: "wait" });
  assert.deepEqual(await listAll(server, plans(account)), []);
  const unknown = "/plan_0000000000000000";
  for (const path of [unknown, `${unknown}/keys`, "/key_00000000000000000000", "/x"]) {
    problem(await admin(server, "GET", plans(account, path)), 404, "not_found");
  }
  for (const path of [`${unknown}/execute`, `${unknown}/cancel`, "/x/execute"]) {
    problem(await post(plans(account, path)), 404, "not_found");
  }
  problem(await post(plans({ id: "acct_0000000001" }), { filter: { tag: "x" } }), 404, "not_found");
  problem(await admin(server, "DELETE", plans(account)), 405, "method_not_allowed", { allow: "GET, POST" });
  problem(await admin(server, "GET", plans(account, `${unknown}/execute`)), 405, "method_not_allowed", { allow: "POST" });
  for (let count = 0; count < 20; count += 1) await make(account, { tag: "x", pepper: 1, never_used: true });
  problem(await post(plans(account), { filter: { tag: "x" } }), 409, "conflict", { detail: /Execute or cancel one/ });
});

test("who may revoke keys may plan it, and who may read them may read plans", async () => {
  const account = await createAccount(server);
  const credential = async (role) => (await issueKey(server, account, { environment: "admin", role, scopes: undefined })).key;
  const [mighty, viewer] = [await credential("admin"), await credential("viewer")];
  await issueKey(server, account, { tags: ["old"] });
  const filter = { tag: "old" };
  problem(await post(plans(account), { filter }, { token: viewer }), 403, "insufficient_role");
  const plan = planOf(await post(plans(account), { filter }, { token: mighty }), 201);
  assert.equal((await admin(server, "GET", plans(account, `/${plan.id}`), undefined, { token: viewer })).status, 200);
  problem(await post(plans(account, `/${plan.id}/execute`), undefined, { token: viewer }), 403, "insufficient_role");
  const other = await createAccount(server);
  problem(await post(plans(other), { filter }, { token: mighty }), 404, "not_found");
  planOf(await post(plans(account, `/${plan.id}/execute`), undefined, { token: mighty }), 202);
  await done(account, plan);
});

test("a report counts the keys that nobody seems to need, and its filters show them", async () => {
  const account = await createAccount(server);
  const path = `/accounts/${account.id}/keys/stale`;
  await issueMany(server, account, 3);
  const end = new Date(Date.now() + 1_500).toISOString();
  await issueMany(server, account, 2, { expires_at: end });
  await sleep(2_000);
  const report = success(await admin(server, "GET", path));
  const { as_of, unused_since, ...rest } = report;
  assert.equal(Date.parse(as_of) - Date.parse(unused_since), 90 * 24 * 60 * 60 * 1_000);
  assert.deepEqual(rest, {
    unused_days: 90,
    never_used: { count: 0, at_least: false, filter: { status: "active", never_used: true, created_before: unused_since } },
    unused: { count: 0, at_least: false, filter: { status: "active", unused_since, created_before: unused_since } },
    expired: { count: 2, at_least: false, filter: { status: "expired" } },
  });
  for (const { count, filter } of [report.never_used, report.unused, report.expired]) {
    const query = new URLSearchParams(filter);
    assert.equal((await listAll(server, `/accounts/${account.id}/keys?${query}`)).length, count);
    assert.equal((await make(account, filter)).counts.total, count);
  }
  assert.equal(success(await admin(server, "GET", `${path}?unused_days=3650`)).unused_days, 3_650);
  for (const days of ["0", "3651", "x", "-1", "1.5", "090"]) {
    problem(await admin(server, "GET", `${path}?unused_days=${days}`), 400, "invalid_request", { field: "unused_days" });
  }
  problem(await post(path), 405, "method_not_allowed", { allow: "GET" });
  problem(await admin(server, "GET", "/accounts/acct_0000000001/keys/stale"), 404, "not_found");
});

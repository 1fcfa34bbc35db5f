// Rotation: a key gets a successor, and whoever switches in time is never refused.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, createAccount, issueKey, revokeKey, verify } from "./harness/client.mjs";
import { allowed, constant401, effective, eventually, problem, success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

let server, edges;
before(async () => {
  server = await startWorkerd({ edges: { first: {}, second: {}, third: {}, cold: {} } });
  edges = Object.values(server.edges);
});
after(() => server?.stop());

const path = (account, key, end = "") => `/accounts/${account.id}/keys/${key.id}${end}`;
const rotate = (account, key, body, { version = "*", query = "" } = {}) =>
  admin(server, "POST", path(account, key, `/rotate${query}`), body, { headers: { "If-Match": version } });
const end = (account, key, how, query = "") => admin(server, "POST", path(account, key, `/rotate/${how}${query}`));
const get = async (account, key) => success(await admin(server, "GET", path(account, key)));

test("a client that switches within the overlap is never refused, on warm isolates and on a cold one", async () => {
  const OVERLAP_S = 4;
  const account = await createAccount(server);
  const old = await issueKey(server, account, { scopes: ["contacts:read"] });
  const [, , , cold] = edges;
  const warm = edges.slice(0, 3);
  let using = old.key;
  let stopped = false;
  const answers = new Map();
  // Each asks with the key that the client has at that moment.
  const clients = warm.flatMap((edge) =>
    Array.from({ length: 3 }, async () => {
      while (!stopped) {
        const key = using;
        const { status } = await verify(edge, key, "scope=contacts:read");
        const which = `${key === old.key ? "old" : "new"} ${status}`;
        answers.set(which, (answers.get(which) ?? 0) + 1);
      }
    }),
  );
  await sleep(500);
  const successor = success(await rotate(account, old, { overlap: OVERLAP_S }), 201);
  const ends = Date.parse(successor.overlap_ends_at);
  await sleep(500);
  // For a while some use the one, and some the other.
  for (let switched = 0; switched < 10; switched += 1) {
    using = switched % 2 === 0 ? successor.key : old.key;
    await sleep(100);
  }
  for (const key of [old.key, successor.key]) assert.equal((await verify(cold, key)).status, 200, "an isolate that knew neither");
  using = successor.key;
  await sleep(Math.max(0, ends - Date.now()) + 200);
  for (const edge of edges) constant401(await verify(edge, old.key));
  await sleep(200);
  stopped = true;
  await Promise.all(clients);
  assert.deepEqual([...answers.keys()].sort(), ["new 200", "old 200"], JSON.stringify([...answers]));
  assert.ok([...answers.values()].every((count) => count > 20), JSON.stringify([...answers]));
});

test("a successor is the key but for its text and its id, and both know of each other", async () => {
  const account = await createAccount(server);
  const old = await issueKey(server, account, { name: "deploy", scopes: ["contacts:read", "jobs:read"], fields: { jobs: ["title"] } });
  const { mirrored, effective_by, overlap_ends_at, ...successor } = success(await rotate(account, old, { overlap: 3_600 }), 201);
  assert.equal(typeof mirrored, "boolean");
  assert.ok(Date.parse(effective_by) >= Date.now() - 60_000);
  const { key, ...rest } = successor;
  assert.notEqual(key, old.key);
  assert.deepEqual(await get(account, successor), { ...rest, scopes_last_used: { "contacts:read": null, "jobs:read": null } });
  const now = await get(account, old);
  assert.deepEqual([now.rotated_from, now.rotated_to, now.expires_at], [null, successor.id, overlap_ends_at]);
  assert.deepEqual([successor.rotated_from, successor.rotated_to, successor.expires_at], [old.id, null, null]);
  const same = ["name", "environment", "scopes", "workspaces", "fields", "access_level", "status"];
  for (const name of same) assert.deepEqual(successor[name], old[name], name);
  for (const edge of edges) {
    allowed(await verify(edge, key), successor, account);
    allowed(await verify(edge, old.key), old, account);
  }
});

test("without an overlap the old key is refused as one that was revoked", async () => {
  const account = await createAccount(server);
  const old = await issueKey(server, account);
  const successor = success(await rotate(account, old, { overlap: 0 }, { query: "?wait=effective" }), 201);
  for (const edge of edges) {
    constant401(await verify(edge, old.key));
    allowed(await verify(edge, successor.key), successor, account);
  }
  assert.equal((await get(account, old)).status, "revoked");
});

test("confirming ends the overlap, cancelling drops the successor", async () => {
  const account = await createAccount(server, { max_active_keys: 1 });
  const old = await issueKey(server, account);
  const dropped = success(await rotate(account, old, { overlap: 3_600 }), 201);
  problem(await rotate(account, old, { overlap: 3_600 }), 409, "conflict", { detail: /has a successor already/ });
  const sent = Date.now();
  const { mirrored, ...cancelled } = success(await end(account, old, "cancel", "?wait=effective"));
  assert.equal(typeof mirrored, "boolean");
  const { expires_at, rotated_to, status } = effective(cancelled, sent);
  assert.deepEqual([expires_at, rotated_to, status], [null, null, "active"]);
  for (const edge of edges) {
    constant401(await verify(edge, dropped.key));
    allowed(await verify(edge, old.key), old, account);
  }
  const successor = success(await rotate(account, old, { overlap: 3_600 }), 201);
  assert.equal(success(await end(account, old, "confirm", "?wait=effective")).status, "revoked");
  for (const edge of edges) {
    constant401(await verify(edge, old.key));
    allowed(await verify(edge, successor.key), successor, account);
  }
  assert.equal(success(await end(account, old, "confirm")).status, "revoked", "repeating it is a success");
  problem(await end(account, old, "cancel"), 409, "conflict", { detail: /no longer works/ });
});

test("a revoked key has no successor, and a rotation that is repeated with its Idempotency-Key is one", async () => {
  const account = await createAccount(server);
  const [gone, old] = [await issueKey(server, account), await issueKey(server, account)];
  await revokeKey(server, account, gone);
  problem(await rotate(account, gone, { overlap: 0 }), 409, "conflict", { detail: /revoked/ });
  const headers = { "If-Match": "*", "Idempotency-Key": `rotate-${"x".repeat(30)}` };
  const ask = () => admin(server, "POST", path(account, old, "/rotate"), { overlap: 60 }, { headers });
  const [first, second] = [success(await ask(), 201), success(await ask(), 201)];
  assert.deepEqual([second.id, second.key], [first.id, first.key]);
});

test("it refuses what is not right, and names it", async () => {
  const account = await createAccount(server);
  const old = await issueKey(server, account, { scopes: ["contacts:read"] });
  const wrong = async (body, field) => problem(await rotate(account, old, body), 400, "invalid_request", { field });
  await wrong({}, "overlap");
  await wrong({ overlap: -1 }, "overlap");
  await wrong({ overlap: 90 * 86_400 + 1 }, "overlap");
  await wrong({ overlap: "60" }, "overlap");
  await wrong({ overlap: 60, environment: "test" }, "environment");
  await wrong({ overlap: 60, expires_at: "2020-01-01T00:00:00Z" }, "expires_at");
  await wrong({ overlap: 60, fields: { jobs: ["title"] } }, "fields");
  const unconditional = await admin(server, "POST", path(account, old, "/rotate"), { overlap: 60 });
  problem(unconditional, 428, "precondition_required", { field: "If-Match" });
  problem(await rotate(account, old, { overlap: 60 }, { version: '"1"' }), 412, "precondition_failed", { field: "If-Match" });
  problem(await rotate(account, { id: "key_00000000000000000000" }, { overlap: 60 }), 404, "not_found");
  problem(await end(account, old, "confirm"), 409, "conflict", { detail: /no successor/ });
  for (const way of ["/rotate", "/rotate/confirm", "/rotate/cancel"]) {
    problem(await admin(server, "GET", path(account, old, way)), 405, "method_not_allowed", { allow: "POST" });
  }
  problem(await admin(server, "POST", path(account, old, "/rotate/undo")), 404, "not_found");
  assert.equal((await get(account, old)).rotated_to, null, "nothing has changed");
  await eventually(async () => allowed(await verify(server, old.key), old, account));
});

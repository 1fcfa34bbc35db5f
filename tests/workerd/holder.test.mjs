// The holder of a key has it succeeded, with the key itself; and the first use of a successor.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, bearer, createAccount, issueKey, revokeKey, send, verify } from "./harness/client.mjs";
import { allowed, constant401, eventually, problem, success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

let server, account;
before(async () => {
  server = await startWorkerd();
  account = await createAccount(server, { holders_may_rotate: true, rotation_days: 90 });
});
after(() => server?.stop());

const DAY_MS = 24 * 60 * 60 * 1_000;
const rotate = (key, body, { method = "POST", query = "", headers = {} } = {}) =>
  send(server, method, `/_keygate/rotate${query}`, {
    headers: { "Content-Type": "application/json", ...bearer(key), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
const path = (key) => `/accounts/${account.id}/keys/${key.id}`;
const get = async (key) => success(await admin(server, "GET", path(key)));
const patchAccount = async (of, change) => success(await admin(server, "PATCH", `/accounts/${of.id}`, change));

test("a holder gets a successor for their own key, and both work", async () => {
  const old = await issueKey(server, account, { name: "ci", scopes: ["contacts:read", "jobs:read"] });
  const { mirrored, effective_by, overlap_ends_at, key, ...successor } = success(await rotate(old.key, { overlap: 3_600 }), 201);
  assert.equal(typeof mirrored, "boolean");
  assert.ok(effective_by);
  assert.deepEqual([successor.name, successor.scopes, successor.created_by], ["ci", old.scopes, old.id]);
  assert.equal(successor.rotated_from, old.id);
  allowed(await verify(server, key), successor, account);
  allowed(await verify(server, old.key), old, account);
  assert.equal((await get(old)).expires_at, overlap_ends_at);
  problem(await rotate(old.key, { overlap: 3_600 }), 409, "conflict", { detail: /has a successor already/ });
  problem(await rotate(key, { overlap: 3_600 }), 409, "conflict", { detail: new RegExp(old.id) });
  const entries = success(await admin(server, "GET", `/accounts/${account.id}/audit?action=key.rotate`)).data;
  assert.deepEqual([entries[0].credential, entries[0].subject], [old.id, old.id]);
});

test("a successor can have fewer scopes than the key, and no others", async () => {
  const old = await issueKey(server, account, { scopes: ["contacts:read", "jobs:read"] });
  problem(await rotate(old.key, { overlap: 60, scopes: ["*"] }), 403, "insufficient_scope", { demanded: "*", missing: ["*"] });
  const successor = success(await rotate(old.key, { overlap: 60, scopes: ["jobs:read"] }), 201);
  assert.deepEqual(successor.scopes, ["jobs:read"]);
});

test("with fewer scopes go the fields of what they reached", async () => {
  const fields = { contacts: ["name"], jobs: ["title"] };
  const old = await issueKey(server, account, { scopes: ["contacts:read", "jobs:read"], fields });
  const successor = success(await rotate(old.key, { overlap: 60, scopes: ["jobs:read"] }), 201);
  assert.deepEqual(successor.fields, { jobs: ["title"] });
});

test("an answer that was lost is given again with the same Idempotency-Key", async () => {
  const old = await issueKey(server, account);
  const headers = { "Idempotency-Key": `holder-${"x".repeat(30)}` };
  const ask = () => rotate(old.key, { overlap: 60 }, { headers });
  const [first, second] = [success(await ask(), 201), success(await ask(), 201)];
  assert.deepEqual([second.id, second.key], [first.id, first.key]);
});

test("it is refused where the account does not let holders rotate, and to whom the key would not be accepted from", async () => {
  const [limited, gone] = [
    await issueKey(server, account, { allowed_ips: ["192.0.2.0/24"] }),
    await issueKey(server, account),
  ];
  const other = await createAccount(server);
  const closed = await issueKey(server, other);
  problem(await rotate(closed.key, { overlap: 60 }), 403, "insufficient_role", { detail: /holders_may_rotate/ });
  problem(await rotate(limited.key, { overlap: 60 }), 403, "ip_not_allowed");
  success(await rotate(limited.key, { overlap: 60 }, { headers: { "CF-Connecting-IP": "192.0.2.1" } }), 201);
  await revokeKey(server, account, gone);
  constant401(await rotate(gone.key, { overlap: 60 }));
  problem(await rotate(null, { overlap: 60 }), 401, "missing_credential");
  await patchAccount(other, { holders_may_rotate: true });
  success(await rotate(closed.key, { overlap: 60 }), 201);
  const suspended = await issueKey(server, other);
  await patchAccount(other, { status: "suspended" });
  problem(await rotate(suspended.key, { overlap: 60 }), 403, "account_inactive");
});

test("what is not right is named, and changes nothing", async () => {
  const old = await issueKey(server, account, { scopes: ["contacts:read"] });
  const wrong = async (body, field) => problem(await rotate(old.key, body), 400, "invalid_request", { field });
  await wrong({}, "overlap");
  await wrong({ overlap: 59 }, "overlap");
  await wrong({ overlap: 0 }, "overlap");
  await wrong({ overlap: 60, overlap_from: "now" }, "overlap_from");
  for (const name of ["allowed_ips", "fields", "workspaces", "expires_at"]) await wrong({ overlap: 60, [name]: null }, name);
  problem(await rotate(old.key, { overlap: 60 }, { query: "?wait=effective" }), 400, "invalid_request", { field: "wait" });
  problem(await rotate(old.key, undefined, { method: "GET" }), 405, "method_not_allowed", { allow: "POST" });
  const text = await send(server, "POST", "/_keygate/rotate", { headers: { ...bearer(old.key), "Content-Type": "text/plain" }, body: "{}" });
  problem(text, 415, "unsupported_media_type");
  assert.equal((await get(old)).rotated_to, null);
});

test("an overlap from the first use begins when the successor is used, and until then the old key goes on", async () => {
  const old = await issueKey(server, account, { scopes: ["contacts:read"] });
  const successor = success(await rotate(old.key, { overlap: 3_600, overlap_from: "first_use" }), 201);
  assert.equal(successor.overlap_ends_at, null);
  await sleep(1_000);
  const waiting = await get(old);
  assert.deepEqual([waiting.expires_at, waiting.overlap_from], [null, "first_use"]);
  const used = Date.now();
  allowed(await verify(server, successor.key), successor, account);
  // Told ten seconds later, unless another sync is due before.
  const begun = await eventually(async () => {
    const now = await get(old);
    assert.notEqual(now.expires_at, null);
    return now;
  }, 20_000);
  const ends = Date.parse(begun.expires_at);
  assert.ok(ends >= used + 3_600_000 - 100 && ends <= used + 3_600_000 + 1_000, `${ends - used - 3_600_000} ms`);
  assert.equal(begun.overlap_from, undefined);
  allowed(await verify(server, old.key), begun, account);
});

test("a list shows what is due for a successor, and an account says how much that is", async () => {
  const now = success(await admin(server, "GET", `/accounts/${account.id}`));
  assert.deepEqual([now.rotation_days, now.keys_due], [90, 0]);
  const key = await issueKey(server, account);
  assert.equal(Date.parse(key.rotation_due_at), Date.parse(key.created_at) + 90 * DAY_MS);
  assert.deepEqual(success(await admin(server, "GET", `/accounts/${account.id}/keys?due=true`)).data, []);
  problem(await admin(server, "GET", `/accounts/${account.id}/keys?due=no`), 400, "invalid_request", { field: "due" });
  problem(await admin(server, "PATCH", `/accounts/${account.id}`, { rotation_days: 0 }), 400, "invalid_request", { field: "rotation_days" });
});

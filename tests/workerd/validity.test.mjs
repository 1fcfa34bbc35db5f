// The time of a key where the clocks of two isolates are a second ahead of the Authority's and a second behind.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, createAccount, issueKey, verify } from "./harness/client.mjs";
import { breakable, setClock } from "./harness/connection.mjs";
import { allowed, constant401, effective, success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const EVERY_MS = 10;
/** All clocks are this machine's, in whole milliseconds. */
const ROUNDING_MS = 2;
/** How far each isolate's clock is ahead. `home` has the Authority. */
const AHEAD_MS = { home: 0, fast: 1_000, slow: -1_000 };

let server, account;
before(async () => {
  const edges = Object.fromEntries(Object.keys(AHEAD_MS).map((name) => [name, {}]));
  server = await startWorkerd({ edges, around: breakable });
  account = await createAccount(server);
  for (const [name, ahead] of Object.entries(AHEAD_MS)) await setClock(server.edges[name], ahead);
});
after(() => server?.stop());

const path = (key, end = "") => `/accounts/${account.id}/keys/${key.id}${end}`;

/**
 * Each isolate, asked all the time, answers with `earlier` until its own clock says `instant`, and then with `status`. When
 * it looked at its clock is not known, but that it was between question and answer.
 */
async function eachTurns(key, instant, status, earlier) {
  const turns = Object.entries(AHEAD_MS).map(async ([name, ahead]) => {
    const due = Date.parse(instant) - ahead;
    for (let turned = 0; turned < 5; await sleep(EVERY_MS)) {
      const asked = Date.now();
      const answer = await verify(server.edges[name], key.key);
      if (answer.status === status) {
        assert.ok(Date.now() >= due - ROUNDING_MS, `${name}: ${due - Date.now()} ms too early`);
        turned += 1;
      } else {
        assert.equal(answer.status, earlier, answer.text);
        assert.ok(asked <= due + ROUNDING_MS, `${name}: ${asked - due} ms too late`);
        assert.equal(turned, 0);
      }
    }
  });
  await Promise.all(turns);
}

const inMilliseconds = (milliseconds) => new Date(Date.now() + milliseconds).toISOString();

test("a key begins and ends in each isolate by that isolate's clock", async () => {
  const key = await issueKey(server, account, { not_before: inMilliseconds(2_000), expires_at: inMilliseconds(5_000) });
  await eachTurns(key, key.not_before, 200, 401);
  await eachTurns(key, key.expires_at, 401, 200);
});

test("so does a key that was replaced, at the end of its overlap; what replaces it works at once everywhere", async () => {
  const old = await issueKey(server, account);
  const answer = await admin(server, "POST", path(old, "/rotate"), { overlap: 3 }, { headers: { "If-Match": "*" } });
  const successor = success(answer, 201);
  for (const edge of Object.values(server.edges)) {
    allowed(await verify(edge, successor.key), successor, account);
    allowed(await verify(edge, old.key), old, account);
  }
  await eachTurns(old, successor.overlap_ends_at, 401, 200);
});

test("an admin credential ends by the Authority's clock, whichever isolate it is brought to", async () => {
  const fields = { environment: "admin", role: "viewer", scopes: undefined, expires_at: inMilliseconds(1_500) };
  const holder = await issueKey(server, account, fields);
  const ask = (edge) => admin(edge, "GET", `/accounts/${account.id}`, undefined, { token: holder.key });
  const end = Date.parse(holder.expires_at);
  const edges = Object.values(server.edges).map(async (edge) => {
    for (let refused = 0; refused < 5; await sleep(EVERY_MS)) {
      const asked = Date.now();
      const answer = await ask(edge);
      if (answer.status === 200) {
        assert.ok(asked <= end + ROUNDING_MS && refused === 0);
      } else {
        constant401(answer);
        assert.ok(Date.now() >= end - ROUNDING_MS);
        refused += 1;
      }
    }
  });
  await Promise.all(edges);
});

test("a revocation is as fast as ever, and effective when it says so", async () => {
  const key = await issueKey(server, account);
  for (const edge of Object.values(server.edges)) allowed(await verify(edge, key.key), key, account);
  const sent = Date.now();
  const revoked = success(await admin(server, "POST", path(key, "/revoke?wait=effective")));
  effective(revoked, sent);
  for (const edge of Object.values(server.edges)) constant401(await verify(edge, key.key));
});

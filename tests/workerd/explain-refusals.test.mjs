// `explain_refusals`: the holder of a genuine key learns that it was revoked, is disabled or has expired; nobody else does.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, bearer, createAccount, issueKey, revokeKey, send, transcript, verify, whoami } from "./harness/client.mjs";
import { constant401, eventually, problem, success } from "./harness/expect.mjs";
import { forgedKey, mintKey, withChecksum } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

let server, open, silent;
before(async () => {
  // `cold` is an isolate that sees each key for the first time when it is no longer accepted.
  server = await startWorkerd({ env: { KEYGATE_LEASE_SECONDS: "1" }, edges: { warm: {}, cold: {} } });
  [open, silent] = [await createAccount(server, { explain_refusals: true }), await createAccount(server)];
});
after(() => server?.stop());

const place = (account, key) => `/accounts/${account.id}/keys/${key.id}`;

/** Each way in which a key ends, its code, and how it is brought about; no answer comes before it counts everywhere. */
const ENDS = {
  revoked: (account, key) => revokeKey(server, account, key, { wait: "effective" }),
  "revoked with all others": async (account) =>
    success(await admin(server, "POST", `/accounts/${account.id}/keys/revoke-all?wait=effective`)),
  disabled: async (account, key) =>
    success(await admin(server, "PATCH", `${place(account, key)}?wait=effective`, { disabled: true })),
  expired: async (account, { expires_at }) =>
    new Promise((resume) => setTimeout(resume, Date.parse(expires_at) - Date.now() + 50)),
};
const CODES = {
  revoked: "key_revoked",
  "revoked with all others": "key_revoked",
  disabled: "key_disabled",
  expired: "key_expired",
};

/** A key of the account that is accepted; one that is to expire does so in a second. */
async function used(account, end) {
  const expires_at = end === "expired" ? new Date(Date.now() + 1_000).toISOString() : null;
  const key = await issueKey(server, account, { scopes: ["contacts:*"], expires_at });
  assert.equal((await verify(server, key.key)).status, 200);
  return key;
}

/** Everything that a key's holder can ask. */
const questions = (edge, key) => [
  verify(edge, key),
  verify(edge, key, "scope=jobs:read"), // which it lacks
  verify(edge, key, "feature=nothing&workspace=required"),
  whoami(edge, key),
  send(edge, "GET", "/_keygate/workspaces", { headers: bearer(key) }),
  send(edge, "GET", "/v1/contacts", { headers: bearer(key) }),
  send(edge, "DELETE", "/v1/contacts/1", { headers: bearer(key) }), // strict
  send(edge, "GET", "/v1/no-such-route", { headers: bearer(key) }),
];
const ask = (edge, key) => Promise.all(questions(edge, key));

/** No question, on no isolate, is answered otherwise than one of a key that was never issued. */
async function tellsNothing(key) {
  const unknown = await ask(server, forgedKey());
  for (const edge of Object.values(server.edges)) {
    for (const [at, answer] of (await ask(edge, key)).entries()) {
      constant401(answer);
      assert.equal(transcript(answer), transcript(unknown[at]));
    }
  }
}

describe("the holder of a genuine key", () => {
  for (const [end, bring] of Object.entries(ENDS)) {
    test(`learns \`${CODES[end]}\` when it is ${end}, whatever is asked`, async () => {
      const account = await createAccount(server, { explain_refusals: true });
      const key = await used(account, end);
      await bring(account, key);
      for (const edge of Object.values(server.edges)) {
        for (const answer of await ask(edge, key.key)) problem(answer, 401, CODES[end], { detail: /^This key / });
      }
    });
  }

  test("learns nothing where the account does not say so", async () => {
    for (const [end, bring] of Object.entries(ENDS)) {
      const account = await createAccount(server);
      const key = await used(account, end);
      await bring(account, key);
      await tellsNothing(key.key);
    }
  });

  test("learns it from when the account says so, and no longer when it does not", async () => {
    const account = await createAccount(server);
    const key = await used(account);
    await ENDS.revoked(account, key);
    const set = async (explain_refusals) =>
      success(await admin(server, "PATCH", `/accounts/${account.id}?wait=effective`, { explain_refusals }));
    await tellsNothing(key.key);
    await set(true);
    problem(await verify(server, key.key), 401, "key_revoked");
    await set(false);
    await tellsNothing(key.key);
  });

  test("learns that it was revoked, and not that the account is suspended as well", async () => {
    const account = await createAccount(server, { explain_refusals: true });
    const key = await used(account);
    await revokeKey(server, account, key);
    success(await admin(server, "PATCH", `/accounts/${account.id}?wait=effective`, { status: "suspended" }));
    problem(await verify(server, key.key), 401, "key_revoked");
  });

  test("learns nothing of a key that works: not of another environment, nor of one whose time has not begun", async () => {
    const inTest = await issueKey(server, open, { environment: "test" });
    constant401(await verify(server, inTest.key, "environment=live"));
    const not_before = new Date(Date.now() + 3_600_000).toISOString();
    await tellsNothing((await issueKey(server, open, { not_before })).key);
  });
});

describe("nobody else", () => {
  test("learns anything by a key that is forged, unknown or nearly right", async () => {
    const key = await used(open);
    await revokeKey(server, open, key, { wait: "effective" });
    problem(await verify(server, key.key), 401, "key_revoked");
    const body = key.key.slice(0, -6);
    const other = body.endsWith("A") ? "B" : "A";
    for (const text of [
      forgedKey({ account: open.id }),
      mintKey({ account: open.id }).text, // its MAC is genuine, but nobody issued it
      `${key.key.slice(0, -1)}${key.key.endsWith("A") ? "B" : "A"}`, // another checksum
      withChecksum(body.slice(0, -1) + other), // another MAC
      withChecksum(body.slice(0, 8) + (body[8] === "1" ? "2" : "1") + body.slice(9)),
      withChecksum(body.replace("kg_live_", "kg_test_")),
      withChecksum(body.replace("kg_live_", "ab_live_")),
      body,
    ]) {
      await tellsNothing(text);
    }
  });

  test("learns anything by the id of a key", async () => {
    const key = await used(open);
    await revokeKey(server, open, key, { wait: "effective" });
    await tellsNothing(key.id);
    problem(await verify(server, null), 401, "missing_credential");
  });

  test("learns of one account's keys by another's setting", async () => {
    const key = await used(silent);
    await revokeKey(server, silent, key, { wait: "effective" });
    await tellsNothing(key.key);
  });

  test("learns of an admin credential, at the API or the admin routes", async () => {
    const credential = await issueKey(server, open, { environment: "admin", role: "admin" });
    const path = `/accounts/${open.id}`;
    const by = (token) => admin(server, "GET", path, undefined, { token });
    success(await by(credential.key));
    await revokeKey(server, open, credential);
    await eventually(async () => constant401(await by(credential.key)));
    assert.equal(transcript(await by(credential.key)), transcript(await by(forgedKey({ environment: "admin" }))));
    await tellsNothing(credential.key);
    const key = await used(open);
    await revokeKey(server, open, key, { wait: "effective" });
    assert.equal(transcript(await by(key.key)), transcript(await by(forgedKey())));
  });
});

// Many requests at once get only right answers.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { admin, createAccount, issueKey, revokeKey, takeLease, transcript, verify } from "./harness/client.mjs";
import { allowed, constant401, eventually, problem } from "./harness/expect.mjs";
import { forgedKey, mintKey } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const REQUESTS = 1_000;

let server, kinds;
before(async () => {
  server = await startWorkerd({ edges: { edge: {}, other: {} } });
  const account = await createAccount(server);
  const suspended = await createAccount(server);
  const keys = await Promise.all(
    Array.from({ length: 20 }, (_, n) => issueKey(server, account, { scopes: [`r${n}:read`] })),
  );
  const orphan = await issueKey(server, suspended);
  const revoked = await Promise.all(Array.from({ length: 5 }, () => issueKey(server, account, { scopes: ["*"] })));
  await Promise.all(revoked.map((key) => revokeKey(server, account, key)));
  await admin(server, "PATCH", `/accounts/${suspended.id}`, { status: "suspended" });

  // For the n-th request of a kind: what is sent, and what the answer must be.
  kinds = [
    {
      key: (n) => keys[n % 20].key,
      query: (n) => `scope=r${n % 20}:read`,
      check: (answer, n) => allowed(answer, keys[n % 20], account),
    },
    {
      key: (n) => keys[n % 20].key,
      query: () => "scope=other:read",
      check: (answer) =>
        problem(answer, 403, "insufficient_scope", { demanded: "other:read", missing: ["other:read"] }),
    },
    { key: () => forgedKey({ account: account.id }), query: () => "scope=a:b", check: constant401 },
    { key: () => mintKey({ account: account.id }).text, query: () => "scope=a:b", check: constant401 },
    { key: (n) => revoked[n % 5].key, query: () => "scope=a:b", check: constant401 },
    { key: () => orphan.key, query: () => "", check: (answer) => problem(answer, 403, "account_inactive") },
    { key: () => null, query: () => "", check: (answer) => problem(answer, 401, "missing_credential") },
    {
      key: (n) => keys[n % 20].key,
      query: () => "scope=oops",
      check: (answer) => problem(answer, 400, "invalid_request", { field: "scope" }),
    },
  ];
  await eventually(async () => {
    for (const { key } of revoked) constant401(await verify(server, key));
    problem(await verify(server, orphan.key), 403, "account_inactive");
  });
});
after(() => server?.stop());

const all = () =>
  Array.from({ length: REQUESTS }, (_, n) => ({ ...kinds[n % kinds.length], n: Math.floor(n / kinds.length) }));

async function answered(t, edge, requests) {
  const start = performance.now();
  const answers = await Promise.all(requests.map(({ key, query, n }) => verify(edge, key(n), query(n))));
  t.diagnostic(`${requests.length} requests in ${Math.round(performance.now() - start)} ms`);
  requests.forEach(({ check, n }, index) => check(answers[index], n));
  return answers;
}

test(`${REQUESTS} concurrent verifies of every kind`, async (t) => {
  const answers = await answered(t, server, all());
  const refusals = answers.filter(({ text }) => text.includes("invalid_token"));
  assert.equal(new Set(refusals.map(transcript)).size, 1);
});

test("the same while KV holds nothing, so that the Authority answers them all", async (t) => {
  // An isolate that has seen none of them, and looks for them in KV.
  const { other } = server.edges;
  await takeLease(other);
  const records = new Map(server.kv.records);
  server.kv.records.clear();
  const reads = server.kv.counts.get;
  await answered(t, other, all());
  assert.ok(server.kv.counts.get > reads);
  for (const [name, record] of records) server.kv.records.set(name, record);
});

test("keys issued, used and revoked at the same time do not disturb each other", async () => {
  const account = await createAccount(server);
  await Promise.all(
    Array.from({ length: 100 }, async (_, n) => {
      const scopes = [`r${n}:write`];
      const key = await issueKey(server, account, { scopes });
      allowed(await verify(server, key.key, `scope=r${n}:write`), key, account);
      await revokeKey(server, account, key);
      await eventually(async () => constant401(await verify(server, key.key)), 20_000);
    }),
  );
});

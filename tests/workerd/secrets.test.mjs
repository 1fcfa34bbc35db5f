// Without its secrets Keygate decides nothing, says which one is missing or wrong, and never shows a value.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, createAccount, issueKey, revokeKey, send, takeLease, verify, whoami } from "./harness/client.mjs";
import { breakable, cut, heal } from "./harness/connection.mjs";
import { allowed, constant401, eventually, problem, success } from "./harness/expect.mjs";
import { grantRecord, mintKey } from "./harness/mint.mjs";
import { otherPepper, otherSigningKey, secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const HEX = "abcdef0123456789".repeat(4);

// By variable, values that will not do.
const WRONG = {
  KEYGATE_PEPPER: [
    undefined,
    "",
    HEX,
    `16:${HEX}`,
    `-1:${HEX}`,
    `x:${HEX}`,
    `:${HEX}`,
    `3:${HEX.slice(2)}`,
    `3:${HEX.slice(1)}`,
    `3:${HEX}zz`,
    `3:${HEX.repeat(3)}`,
  ],
  KEYGATE_PEPPER_2: [HEX, secrets.KEYGATE_PEPPER, "9:"],
  KEYGATE_SIGNING_KEY: [undefined, "", HEX, `7:${HEX.slice(2)}`, `x:${HEX}`],
  KEYGATE_SIGNING_KEY_2: [HEX, secrets.KEYGATE_SIGNING_KEY, "9:"],
  KEYGATE_ROOT_TOKEN: [undefined, "", "a".repeat(31), `${"a".repeat(31)} `, "ä".repeat(40)],
};

const cases = Object.entries(WRONG).flatMap(([variable, values]) =>
  values.map((value, n) => ({ edge: `${variable}-${n}`, variable, value })),
);

describe("a missing or malformed secret", () => {
  let server, key;
  before(async () => {
    const wrong = Object.fromEntries(cases.map(({ edge, variable, value }) => [edge, { [variable]: value }]));
    server = await startWorkerd({ edges: { right: {}, ...wrong } });
    key = await issueKey(server, await createAccount(server));
  });
  after(() => server?.stop());

  for (const { edge, variable, value } of cases) {
    test(`${variable} = ${JSON.stringify(value) ?? "(absent)"}`, async () => {
      const there = server.edges[edge];
      const answers = [
        await verify(there, key.key, "scope=a:b"),
        await verify(there, null),
        await whoami(there, key.key),
        await send(there, "GET", "/anything", { headers: { Authorization: `Bearer ${key.key}` } }),
        await admin(there, "GET", "/accounts"),
        await admin(there, "POST", "/accounts", { name: "Acme" }),
        await admin(there, "GET", "/accounts", undefined, { token: null }),
      ];
      for (const answer of answers) {
        problem(answer, 503, "misconfigured", { detail: new RegExp(`\\b${variable}\\b`) });
        for (const secret of [value, ...Object.values(secrets)].filter((text) => text?.length > 10)) {
          assert.ok(!answer.text.includes(secret) && !answer.text.includes(secret.split(":").at(-1)));
        }
      }
      const health = await send(there, "GET", "/_keygate/healthz");
      assert.deepEqual([health.status, health.json.status], [200, "ok"]);
    });
  }

  test("is no obstacle to the others: a right one answers", async () => {
    assert.equal((await verify(server.edges.right, key.key)).status, 200);
  });
});

describe("settings", () => {
  test("KEYGATE_SLOTS and KEYGATE_PREFIX that make no sense are named", async () => {
    const wrong = {
      KEYGATE_SLOTS: ["x", "256", "-1", "0 0", "0=", "0=weur 0=eeur", "0,1"],
      KEYGATE_PREFIX: ["/", "_keygate", "/_keygate/", "/a b", "/a//b", "/a/../b", "/a%2fb"],
      UPSTREAM: [
        "api.example.com",
        "ftp://example.com",
        "/api",
        "https://",
        "https://user:password@example.com",
        "https://example.com/?x=1",
      ],
      // Never without UPSTREAM, whatever it is.
      KEYGATE_UPSTREAM_TEST: ["api.example.com", "https://sandbox.example.com"],
    };
    const all = Object.entries(wrong).flatMap(([variable, values]) =>
      values.map((value, n) => ({ edge: `${variable}-${n}`, variable, value })),
    );
    const server = await startWorkerd({
      edges: {
        right: {},
        ...Object.fromEntries(all.map(({ edge, variable, value }) => [edge, { [variable]: value }])),
      },
    });
    try {
      for (const { edge, variable, value } of all) {
        const answer = await verify(server.edges[edge], null);
        assert.equal(answer.status, 503, `${variable}=${value}: ${answer.status} ${answer.text}`);
        problem(answer, 503, "misconfigured", { detail: new RegExp(`\\b${variable}\\b`) });
      }
    } finally {
      await server.stop();
    }
  });

  test("KEYGATE_PREFIX moves every path of Keygate's own", async () => {
    const server = await startWorkerd({ env: { KEYGATE_PREFIX: "/auth/gate" } });
    try {
      const headers = { Authorization: `Bearer ${secrets.KEYGATE_ROOT_TOKEN}` };
      assert.equal((await send(server, "GET", "/auth/gate/healthz")).status, 200);
      assert.deepEqual(success(await send(server, "GET", "/auth/gate/admin/v1/accounts", { headers })).data, []);
      constant401(await send(server, "GET", "/_keygate/admin/v1/accounts", { headers }));
    } finally {
      await server.stop();
    }
  });
});

describe("rotating", () => {
  test("the pepper: old keys go on, new ones are minted with the first", async () => {
    const server = await startWorkerd();
    try {
      const account = await createAccount(server);
      const old = await issueKey(server, account);
      await server.restart({ env: { KEYGATE_PEPPER: otherPepper, KEYGATE_PEPPER_2: secrets.KEYGATE_PEPPER } });
      allowed(await verify(server, old.key), old, account);
      const fresh = await issueKey(server, account);
      allowed(await verify(server, fresh.key), fresh, account);
      await server.restart({ env: { KEYGATE_PEPPER: otherPepper } });
      constant401(await verify(server, old.key));
      allowed(await verify(server, fresh.key), fresh, account);
      constant401(await verify(server, mintKey({ account: account.id }).text));
    } finally {
      await server.stop();
    }
  });

  test("the signing key: copies under either are believed, and under neither the Authority answers", async () => {
    const server = await startWorkerd({ around: breakable });
    // It has a lease, and of the key only what KV has.
    const alone = async () => {
      await takeLease(server);
      await cut(server);
    };
    try {
      const account = await createAccount(server);
      const key = await issueKey(server, account);
      const both = { KEYGATE_SIGNING_KEY: otherSigningKey, KEYGATE_SIGNING_KEY_2: secrets.KEYGATE_SIGNING_KEY };
      await server.restart({ env: both });
      await alone();
      allowed(await verify(server, key.key), key, account);
      await server.restart({ env: { KEYGATE_SIGNING_KEY: otherSigningKey } });
      await alone();
      problem(await verify(server, key.key), 503, "indeterminate");
      await heal(server);
      allowed(await verify(server, key.key), key, account);
    } finally {
      await server.stop();
    }
  });
});

test("neither a key nor a secret is ever logged", async () => {
  const server = await startWorkerd();
  try {
    const account = await createAccount(server);
    const key = await issueKey(server, account, { scopes: ["a:b"] });
    await verify(server, key.key, "scope=a:b");
    await verify(server, key.key, "scope=c:d");
    await verify(server, `${key.key}x`);
    await admin(server, "POST", `/accounts/${account.id}/keys/lookup`, { key: key.key });
    await admin(server, "POST", "/accounts", { name: 7 });
    await revokeKey(server, account, key);
    await eventually(() => assert.match(server.kv.records.get(grantRecord(key.key)).value, /revoked/));
    await server.restart({ authority: "down" });
    await admin(server, "GET", "/accounts");
    await server.stop();
    for (const secret of [key.key, ...Object.values(secrets)]) {
      assert.ok(!server.log.includes(secret.split(":").at(-1)), server.log);
    }
  } finally {
    await server.stop();
  }
});

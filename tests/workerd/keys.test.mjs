// Keys in the admin API: issued, listed, read, looked up, changed, revoked.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, createAccount, issueKey, revokeKey, transcript } from "./harness/client.mjs";
import { effective, problem, success } from "./harness/expect.mjs";
import { digestOf, forgedKey, mintKey, withChecksum } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const UNKNOWN_KEY = "key_00000000000000000000";
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

let server, account;
before(async () => {
  server = await startWorkerd();
  account = await createAccount(server);
});
after(() => server?.stop());

const keysPath = (owner, rest = "") => `/accounts/${owner.id}/keys${rest}`;
const issue = (owner, fields) => admin(server, "POST", keysPath(owner), fields);
const get = (owner, key) => admin(server, "GET", keysPath(owner, `/${key.id}`));
const patch = (owner, key, changes) => admin(server, "PATCH", keysPath(owner, `/${key.id}`), changes);
const revoke = (owner, key, body) => admin(server, "POST", keysPath(owner, `/${key.id}/revoke`), body);
const lookup = (owner, text) => admin(server, "POST", keysPath(owner, "/lookup"), { key: text });

/** A key as a change of it shows it, from the answer that issued it. */
function asChanged({ key, mirrored, ...issued }, owner = account) {
  return { ...issued, account_id: owner.id, revoked_at: null };
}

/** A key as read that was never used, from the answer that issued it. */
function asRead(issued, owner = account) {
  const scopes_last_used = Object.fromEntries(issued.scopes.map((scope) => [scope, null]));
  return { ...asChanged(issued, owner), scopes_last_used };
}

const inMilliseconds = (milliseconds) => new Date(Date.now() + milliseconds).toISOString();

describe("issuing", () => {
  test("needs an environment only, and shows the key", async () => {
    const sent = Date.now();
    const { id, key, hint, created_at, mirrored, ...rest } = success(
      await issue(account, { environment: "live" }),
      201,
    );
    assert.match(id, /^key_[0-9a-f]{20}$/);
    assert.match(key, /^kg_live_[0-9A-Za-z]{52}$/);
    assert.equal(withChecksum(key.slice(0, -6)), key);
    assert.equal(hint, `kg_live_...${key.slice(-4)}`);
    assert.match(created_at, RFC_3339);
    assert.ok(Math.abs(Date.parse(created_at) - sent) < 5_000);
    assert.equal(mirrored, true);
    const { account_id, revoked_at, ...fields } = rest;
    assert.deepEqual(fields, {
      name: null,
      environment: "live",
      scopes: [],
      access_level: null,
      workspaces: null,
      fields: {},
      allowed_ips: null,
      description: null,
      owner: null,
      tags: [],
      metadata: {},
      status: "active",
      created_by: null,
      not_before: null,
      expires_at: null,
      last_used_at: null,
      rotated_from: null,
      rotated_to: null,
      rotation_due_at: null,
    });
  });

  test("keeps everything it is given", async () => {
    const given = {
      name: "Nightly export 🌙",
      environment: "test",
      scopes: ["contacts:read", "*:list", "jobs:*"],
      not_before: "2026-01-01T00:00:00.000Z",
      expires_at: "2999-01-01T00:00:00.000Z",
    };
    const issued = success(await issue(account, given), 201);
    assert.match(issued.key, /^kg_test_/);
    for (const [member, value] of Object.entries(given)) assert.deepEqual(issued[member], value, member);
    assert.deepEqual(success(await get(account, issued)), asRead(issued));
  });

  test("the key's text is what the published format says", async () => {
    const issued = await issueKey(server, account);
    const { text } = mintKey({ account: account.id });
    assert.equal(issued.key.length, text.length);
    assert.match(digestOf(issued.key), /^[0-9a-f]{48}$/);
  });

  test("times of any offset become UTC", async () => {
    const issued = success(
      await issue(account, { environment: "live", expires_at: "2999-01-01T02:30:00.5+02:00" }),
      201,
    );
    assert.equal(issued.expires_at, "2999-01-01T00:30:00.500Z");
  });

  test("begins with the account's brand, and with the new one after a change", async () => {
    const branded = await createAccount(server, { brand: "acme" });
    assert.match((await issueKey(server, branded)).key, /^acme_live_/);
    success(await admin(server, "PATCH", `/accounts/${branded.id}`, { brand: "beta2" }));
    assert.match((await issueKey(server, branded)).key, /^beta2_live_/);
  });

  test("without scopes takes the account's defaults; an empty list is none", async () => {
    const defaulting = await createAccount(server, { default_scopes: ["contacts:read", "jobs:read"] });
    assert.deepEqual((await issueKey(server, defaulting)).scopes, ["contacts:read", "jobs:read"]);
    assert.deepEqual((await issueKey(server, defaulting, { scopes: [] })).scopes, []);
    assert.deepEqual((await issueKey(server, defaulting, { scopes: ["a:b", "*:*", "a:b"] })).scopes, ["a:b", "*"]);
  });

  test("never gives the same key or id twice", async () => {
    const issued = await Promise.all(Array.from({ length: 30 }, () => issueKey(server, account)));
    assert.equal(new Set(issued.map(({ key }) => key)).size, 30);
    assert.equal(new Set(issued.map(({ id }) => id)).size, 30);
  });

  test("a value that is not acceptable is refused by its member's name", async (t) => {
    const wrong = {
      name: ["", "  ", "x".repeat(129), "a\tb", 7, []],
      environment: ["prod", "Admin", "Live", "", null, 1],
      scopes: [
        "contacts:read",
        ["contacts"],
        ["contacts:read:all"],
        ["contacts:re*"],
        [null],
        Array.from({ length: 101 }, (_, n) => `r${n}:x`),
      ],
      expires_at: ["tomorrow", "2999-01-01", 4102444800, "2999-02-30T00:00:00Z", true, "2999-01-01T00:00:00"],
      not_before: ["now", 0, "2026-13-01T00:00:00Z", {}],
    };
    for (const [field, values] of Object.entries(wrong)) {
      await t.test(field, async () => {
        for (const value of values) {
          problem(await issue(account, { environment: "live", [field]: value }), 400, "invalid_request", {
            field,
            detail: /./,
          });
        }
      });
    }
    problem(await issue(account, { name: "no environment" }), 400, "invalid_request", { field: "environment" });
    problem(await issue(account, { environment: "live", expires_at: inMilliseconds(-1000) }), 400, "invalid_request", {
      field: "expires_at",
    });
    problem(
      await issue(account, {
        environment: "live",
        not_before: "2998-01-01T00:00:00Z",
        expires_at: "2997-01-01T00:00:00Z",
      }),
      400,
      "invalid_request",
      { field: "not_before" },
    );
  });

  test("for an account that is suspended, or whose environment is not active, is 403", async () => {
    const off = await createAccount(server, { api_access: { live: "off", test: "requested" } });
    for (const environment of ["live", "test"]) problem(await issue(off, { environment }), 403, "account_inactive");
    success(await admin(server, "PATCH", `/accounts/${off.id}`, { api_access: { live: "active", test: "requested" } }));
    success(await issue(off, { environment: "live" }), 201);
    problem(await issue(off, { environment: "test" }), 403, "account_inactive");
    success(await admin(server, "PATCH", `/accounts/${off.id}`, { status: "suspended" }));
    problem(await issue(off, { environment: "live" }), 403, "account_inactive");
  });

  test("for an account that does not exist is 404", async () => {
    problem(await issue({ id: "acct_00ffffffff" }, { environment: "live" }), 404, "not_found");
  });

  test("stops at max_active_keys, which disabled keys count in and revoked and expired ones do not", async () => {
    const limited = await createAccount(server, { max_active_keys: 2 });
    const first = await issueKey(server, limited);
    const expiring = await issueKey(server, limited, { expires_at: inMilliseconds(1_000) });
    problem(await issue(limited, { environment: "live" }), 409, "limit_reached");
    success(await patch(limited, first, { disabled: true }));
    problem(await issue(limited, { environment: "live" }), 409, "limit_reached");
    await revokeKey(server, limited, first);
    await issueKey(server, limited);
    problem(await issue(limited, { environment: "live" }), 409, "limit_reached");
    await sleep(Date.parse(expiring.expires_at) - Date.now() + 20);
    await issueKey(server, limited);
    problem(await issue(limited, { environment: "live" }), 409, "limit_reached");
    success(await admin(server, "PATCH", `/accounts/${limited.id}`, { max_active_keys: null }));
    await issueKey(server, limited);
  });

  test("the limit holds when many ask at once", async () => {
    const limited = await createAccount(server, { max_active_keys: 3 });
    const answers = await Promise.all(Array.from({ length: 12 }, () => issue(limited, { environment: "live" })));
    assert.equal(answers.filter(({ status }) => status === 201).length, 3);
    assert.equal(answers.filter(({ status }) => status === 409).length, 9);
  });
});

describe("a key's text", () => {
  test("is in the answer that issues it and in no other", async () => {
    const issued = await issueKey(server, account);
    const answers = [
      await get(account, issued),
      await lookup(account, issued.key),
      await patch(account, issued, { name: "named" }),
      await admin(server, "GET", keysPath(account, "?limit=100")),
      await revoke(account, issued),
    ];
    for (const answer of answers) {
      assert.equal(answer.status, 200);
      assert.ok(!answer.text.includes(issued.key));
      assert.ok(!answer.text.includes(digestOf(issued.key)));
    }
  });

  test("is nowhere in the mirror", async () => {
    const issued = await issueKey(server, account);
    const everything = JSON.stringify([...server.kv.records]);
    assert.ok(everything.includes(issued.id));
    assert.ok(!everything.includes(issued.key.slice(8, 40)));
  });
});

describe("listing", () => {
  const list = (owner, query = "") => admin(server, "GET", keysPath(owner, query));

  test("an account without keys has an empty list; one that does not exist is 404", async () => {
    assert.deepEqual(success(await list(await createAccount(server))), { data: [], next_cursor: null });
    problem(await list({ id: "acct_00ffffffff" }), 404, "not_found");
  });

  test("pages hold every key once, newest first", async () => {
    const owner = await createAccount(server);
    const issued = [];
    for (let n = 0; n < 5; n += 1) issued.unshift(asChanged(await issueKey(server, owner, { name: `key ${n}` }), owner));
    const seen = [];
    for (let cursor = ""; cursor !== null;) {
      const page = success(await list(owner, `?limit=2${cursor && `&cursor=${encodeURIComponent(cursor)}`}`));
      assert.ok(page.data.length <= 2);
      seen.push(...page.data);
      cursor = page.next_cursor;
    }
    assert.deepEqual(seen, issued);
  });

  test("filters by status and environment, also across pages", async () => {
    const owner = await createAccount(server);
    const names = ["active", "disabled", "revoked", "expired"];
    const expected = {};
    for (const environment of ["live", "test"]) {
      for (const name of names) {
        const expires_at = name === "expired" ? inMilliseconds(700) : undefined;
        expected[`${environment} ${name}`] = await issueKey(server, owner, { name, environment, expires_at });
      }
      success(await patch(owner, expected[`${environment} disabled`], { disabled: true }));
      await revokeKey(server, owner, expected[`${environment} revoked`]);
    }
    await sleep(750);
    for (const status of names) {
      const both = success(await list(owner, `?status=${status}`)).data;
      assert.deepEqual(
        both.map((key) => [key.environment, key.status]),
        [
          ["test", status],
          ["live", status],
        ],
      );
      const live = success(await list(owner, `?status=${status}&environment=live&limit=1`));
      assert.deepEqual(
        live.data.map(({ id }) => id),
        [expected[`live ${status}`].id],
      );
      assert.equal(live.next_cursor, null);
    }
    assert.equal(success(await list(owner, "?environment=test")).data.length, 4);
  });

  test("a wrong parameter is refused by name", async () => {
    const wrong = { status: "gone", environment: "prod", limit: "0", cursor: "x", colour: "red" };
    for (const [field, value] of Object.entries(wrong)) {
      problem(await list(account, `?${field}=${value}`), 400, "invalid_request", { field });
    }
  });
});

describe("another account's key", () => {
  test("is answered byte for byte as one that does not exist", async () => {
    const other = await createAccount(server);
    const theirs = await issueKey(server, other);
    const unknown = { id: UNKNOWN_KEY };
    const malformed = { id: "key_0" };
    const requests = [
      (key) => get(account, key),
      (key) => patch(account, key, { name: "mine" }),
      (key) => patch(account, key, { disabled: true }),
      (key) => revoke(account, key),
    ];
    for (const request of requests) {
      const answers = [await request(theirs), await request(unknown), await request(malformed)];
      for (const answer of answers) problem(answer, 404, "not_found");
      assert.equal(new Set(answers.map(transcript)).size, 1);
    }
    assert.deepEqual(success(await get(other, theirs)), asRead(theirs, other));
  });
});

describe("looking up a pasted key", () => {
  test("tells which one it is, whatever its status", async () => {
    const issued = await issueKey(server, account, { name: "pasted" });
    assert.deepEqual(success(await lookup(account, issued.key)), asRead(issued));
    await revokeKey(server, account, issued);
    assert.equal(success(await lookup(account, issued.key)).status, "revoked");
  });

  test("is the same 404 for another account's, a forged, an unknown and a malformed key", async () => {
    const other = await createAccount(server);
    const theirs = await issueKey(server, other);
    const texts = [
      theirs.key,
      forgedKey({ account: account.id }),
      mintKey({ account: account.id }).text,
      mintKey({ account: account.id, environment: "admin" }).text,
      "kg_live_",
      "",
      "x".repeat(5_000),
      "ключ",
    ];
    const answers = await Promise.all(texts.map((text) => lookup(account, text)));
    for (const answer of answers) problem(answer, 404, "not_found");
    assert.equal(new Set(answers.map(transcript)).size, 1);
  });

  test("needs the key, as text", async () => {
    problem(await admin(server, "POST", keysPath(account, "/lookup"), {}), 400, "invalid_request", { field: "key" });
    problem(await lookup(account, 7), 400, "invalid_request", { field: "key" });
  });
});

describe("changing", () => {
  test("a name, and disabling and enabling", async () => {
    const issued = await issueKey(server, account);
    const sent = Date.now();
    const change = async (changes) => effective(success(await patch(account, issued, changes)), sent);
    assert.equal((await change({ name: "renamed" })).name, "renamed");
    assert.equal((await change({ disabled: true })).status, "disabled");
    assert.equal(success(await get(account, issued)).status, "disabled");
    const enabled = await change({ disabled: false, name: "back" });
    assert.deepEqual([enabled.status, enabled.name], ["active", "back"]);
    assert.deepEqual(success(await get(account, issued)), { ...asRead(issued), name: "back" });
  });

  test("scopes, environment and times never change", async () => {
    const issued = await issueKey(server, account);
    for (const [field, value] of Object.entries({ scopes: ["*"], environment: "test" })) {
      problem(await patch(account, issued, { [field]: value }), 409, "conflict", { field });
    }
    const changes = {
      expires_at: null,
      not_before: null,
      status: "active",
      id: UNKNOWN_KEY,
    };
    for (const [field, value] of Object.entries(changes)) {
      problem(await patch(account, issued, { [field]: value }), 400, "invalid_request", { field });
    }
    assert.deepEqual(success(await get(account, issued)), asRead(issued));
  });

  test("a wrong value is refused by name", async () => {
    const issued = await issueKey(server, account);
    for (const disabled of ["true", 1, null])
      problem(await patch(account, issued, { disabled }), 400, "invalid_request", { field: "disabled" });
    for (const name of ["", "x".repeat(129), 7])
      problem(await patch(account, issued, { name }), 400, "invalid_request", { field: "name" });
  });

  test("a revoked key is a conflict", async () => {
    const issued = await issueKey(server, account);
    await revokeKey(server, account, issued);
    for (const changes of [{ name: "x" }, { disabled: false }, { disabled: true }]) {
      const answer = await patch(account, issued, changes);
      assert.equal(answer.json.code, "conflict");
      assert.equal(answer.status, 409);
    }
    assert.equal(success(await get(account, issued)).status, "revoked");
  });
});

describe("revoking", () => {
  test("says when, and repeating it says the same", async () => {
    const issued = await issueKey(server, account);
    const sent = Date.now();
    const { mirrored, ...revoked } = effective(success(await revoke(account, issued)), sent);
    assert.match(revoked.revoked_at, RFC_3339);
    assert.ok(Math.abs(Date.parse(revoked.revoked_at) - sent) < 5_000);
    assert.deepEqual(revoked, { ...asChanged(issued), status: "revoked", revoked_at: revoked.revoked_at });
    assert.equal(typeof mirrored, "boolean");
    await sleep(5);
    const again = Date.now();
    const { mirrored: _, ...repeated } = effective(success(await revoke(account, issued, {})), again);
    assert.deepEqual(repeated, revoked);
    assert.deepEqual(success(await get(account, issued)), { ...revoked, scopes_last_used: {} });
  });

  test("works for a disabled and for an expired key", async () => {
    const disabled = await issueKey(server, account);
    success(await patch(account, disabled, { disabled: true }));
    assert.equal(success(await revoke(account, disabled)).status, "revoked");
    const expired = await issueKey(server, account, { expires_at: inMilliseconds(300) });
    await sleep(350);
    assert.equal(success(await get(account, expired)).status, "expired");
    assert.equal(success(await revoke(account, expired)).status, "revoked");
  });

  test("works for a suspended account", async () => {
    const suspended = await createAccount(server);
    const issued = await issueKey(server, suspended);
    success(await admin(server, "PATCH", `/accounts/${suspended.id}`, { status: "suspended" }));
    assert.equal(success(await revoke(suspended, issued)).status, "revoked");
  });
});

// The audit: one entry per change, in a chain per account.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { auditOf } from "./harness/audit.mjs";
import { admin, createAccount, issueKey, listAll, revokeKey } from "./harness/client.mjs";
import { problem, success } from "./harness/expect.mjs";
import { digestOf } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const by = (actor) => ({ headers: { "X-Keygate-Actor": actor } });

describe("the audit", () => {
  let server;
  before(async () => {
    server = await startWorkerd({ env: { KEYGATE_SLOTS: "0 1" } });
  });
  after(() => server?.stop());

  const patch = (account, changes, options) => admin(server, "PATCH", `/accounts/${account.id}`, changes, options);
  const keys = (account, rest = "") => `/accounts/${account.id}/keys${rest}`;
  const list = (account, query = "") => admin(server, "GET", `/accounts/${account.id}/audit${query}`);
  const length = async (account) => (await auditOf(server, account)).length;

  test("has one entry per change: who, when, what, before and after", async () => {
    const sent = Date.now();
    const fields = { name: "Acme 🏗", external_id: "audited", features: ["exports"] };
    const account = success(await admin(server, "POST", "/accounts", fields, by("alice")), 201);
    success(
      await patch(account, { name: 'Acme \\ "2"\u2028', brand: "kg", max_active_keys: 7, features: [] }, by("bob")),
    );
    success(await patch(account, { status: "suspended" }));
    success(await patch(account, { status: "active", external_id: null }));
    const issue = { environment: "test", scopes: ["a:b", "c:*"], expires_at: "2999-01-01T00:00:00Z" };
    const key = success(await admin(server, "POST", keys(account), issue, by("carol")), 201);
    success(await admin(server, "PATCH", keys(account, `/${key.id}`), { name: "nightly", disabled: true }, by("dave")));
    success(await admin(server, "POST", keys(account, `/${key.id}/revoke`), undefined, by("erin")));

    const entries = await auditOf(server, account);
    for (const { at, credential } of entries) {
      assert.match(at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      assert.ok(Date.parse(at) >= sent - 1 && Date.parse(at) <= Date.now() + 1);
      assert.equal(credential, "root");
    }
    const told = entries.map(({ actor, action, subject, before, after }) => ({
      actor,
      action,
      subject,
      before,
      after,
    }));
    const [created, ...changes] = told;
    const [issued] = changes.splice(3, 1);
    for (const [member, value] of Object.entries({ ...fields, brand: "kg", status: "active", max_active_keys: null })) {
      assert.deepEqual(created.after[member], value, member);
    }
    assert.deepEqual(
      { ...created, after: {} },
      { actor: "alice", action: "account.create", subject: account.id, before: null, after: {} },
    );
    for (const member of ["environment", "scopes", "status", "not_before", "expires_at", "name"]) {
      assert.deepEqual(issued.after[member], key[member], member);
    }
    assert.deepEqual(
      { ...issued, after: {} },
      { actor: "carol", action: "key.issue", subject: key.id, before: null, after: {} },
    );
    assert.deepEqual(changes, [
      {
        actor: "bob",
        action: "account.change",
        subject: account.id,
        before: { features: ["exports"], max_active_keys: null, name: "Acme 🏗" },
        after: { features: [], max_active_keys: 7, name: 'Acme \\ "2"\u2028' },
      },
      {
        actor: null,
        action: "account.change",
        subject: account.id,
        before: { status: "active" },
        after: { status: "suspended" },
      },
      {
        actor: null,
        action: "account.change",
        subject: account.id,
        before: { external_id: "audited", status: "suspended" },
        after: { external_id: null, status: "active" },
      },
      {
        actor: "dave",
        action: "key.change",
        subject: key.id,
        before: { name: null, status: "active" },
        after: { name: "nightly", status: "disabled" },
      },
      {
        actor: "erin",
        action: "key.revoke",
        subject: key.id,
        before: { status: "disabled" },
        after: { status: "revoked" },
      },
    ]);
  });

  test("has none for what changes nothing", async () => {
    const account = await createAccount(server, { name: "Acme", features: ["a", "b"] });
    const key = await issueKey(server, account, { name: "kept" });
    const revoked = await issueKey(server, account);
    await revokeKey(server, account, revoked);
    const before = await auditOf(server, account);
    success(await patch(account, {}));
    success(await patch(account, { name: "Acme", features: ["b", "a", "b"], external_id: null, status: "active" }));
    success(await admin(server, "PATCH", keys(account, `/${key.id}`), {}));
    success(await admin(server, "PATCH", keys(account, `/${key.id}`), { name: "kept", disabled: false }));
    await revokeKey(server, account, revoked);
    await revokeKey(server, account, revoked);
    success(await admin(server, "POST", keys(account, "/lookup"), { key: key.key }));
    success(await admin(server, "GET", keys(account)));
    assert.deepEqual(await auditOf(server, account), before);
  });

  test("has none for what is refused", async () => {
    await createAccount(server, { external_id: "in-use" });
    const account = await createAccount(server, { max_active_keys: 1 });
    const key = await issueKey(server, account);
    const other = await createAccount(server);
    const before = [await auditOf(server, account), await auditOf(server, other)];
    const path = keys(account, `/${key.id}`);
    const refused = [
      [400, patch(account, { name: "" })],
      [400, patch(account, { colour: "red" })],
      [401, patch(account, { name: "x" }, { token: "wrong" })],
      [401, patch(account, { name: "x" }, { token: key.key })],
      [404, admin(server, "PATCH", keys(other, `/${key.id}`), { name: "x" })],
      [404, admin(server, "POST", keys(other, `/${key.id}/revoke`))],
      [409, patch(account, { name: "Other", external_id: "in-use" })],
      [409, admin(server, "POST", keys(account), { environment: "live" })],
      [412, patch(account, { name: "x" }, { headers: { "If-Match": '"0"' } })],
      [412, admin(server, "PATCH", path, { name: "x" }, { headers: { "If-Match": '"0"' } })],
      [415, patch(account, { name: "x" }, { headers: { "Content-Type": "text/plain" } })],
      [428, patch(account, { name: "x" }, { headers: { "If-Match": undefined } })],
    ];
    for (const [status, answer] of refused) assert.equal((await answer).status, status, (await answer).text);
    assert.deepEqual([await auditOf(server, account), await auditOf(server, other)], before);
  });

  test("has none for what is repeated under its Idempotency-Key", async () => {
    const repeated = () => ({ headers: { "Idempotency-Key": `audited-${Math.random()}-${Math.random()}` } });
    const options = repeated();
    const creating = await admin(server, "POST", "/accounts", { name: "Once" }, options);
    const account = success(creating, 201);
    assert.equal((await admin(server, "POST", "/accounts", { name: "Once" }, options)).text, creating.text);
    assert.equal(await length(account), 1);
    const commands = [
      (options) => admin(server, "POST", keys(account), { environment: "live" }, options),
      (options) => patch(account, { name: "Twice" }, options),
      (options) => admin(server, "POST", keys(account), { environment: "test" }, options),
    ];
    for (const [n, command] of commands.entries()) {
      const same = repeated();
      for (let times = 0; times < 3; times += 1) assert.ok((await command(same)).status < 300);
      assert.equal(await length(account), n + 2);
    }
    const [key] = await listAll(server, keys(account));
    const same = repeated();
    for (let times = 0; times < 3; times += 1) {
      success(await admin(server, "POST", keys(account, `/${key.id}/revoke`), undefined, same));
    }
    assert.equal(await length(account), commands.length + 2);
  });

  test("is whole when many change the account at once", async () => {
    const account = await createAccount(server);
    await Promise.all(
      Array.from({ length: 30 }, async (_, n) => {
        if (n % 3 === 0) return success(await patch(account, { name: `Acme ${n}` }));
        const key = await issueKey(server, account, { name: `key ${n}` });
        return n % 3 === 1 ? revokeKey(server, account, key) : key;
      }),
    );
    assert.equal(await length(account), 1 + 30 + 10);
  });

  test("never tells a secret", async () => {
    const account = await createAccount(server);
    const key = await issueKey(server, account);
    await revokeKey(server, account, key);
    const { text } = await list(account);
    for (const secret of [key.key, digestOf(key.key), key.key.slice(-4), key.hint])
      assert.ok(!text.includes(secret), secret);
  });

  test("is each account's own, and 404 for one that does not exist", async () => {
    const [first, second] = [await createAccount(server), await createAccount(server)];
    const key = await issueKey(server, first);
    assert.equal(await length(first), 2);
    assert.equal(await length(second), 1);
    assert.deepEqual(success(await list(second, `?subject=${key.id}`)).data, []);
    problem(await list({ id: "acct_00fffffffe" }), 404, "not_found");
    problem(await list({ id: "x" }), 404, "not_found");
  });

  test("has its head in the account, in every answer that shows it", async () => {
    const created = await createAccount(server);
    const heads = [created.audit_head];
    heads.push(success(await patch(created, { name: "Headed" })).audit_head);
    success(await admin(server, "POST", keys(created), { environment: "live" }), 201);
    heads.push(success(await admin(server, "GET", `/accounts/${created.id}`)).audit_head);
    const inList = await listAll(server, "/accounts");
    assert.deepEqual(inList.find(({ id }) => id === created.id).audit_head, heads[2]);
    const entries = await auditOf(server, created);
    assert.deepEqual(
      heads,
      entries.map(({ number, hash }) => ({ number, hash })),
    );
  });

  describe("as a list", () => {
    let account, entries, key;
    before(async () => {
      account = success(await admin(server, "POST", "/accounts", { name: "Listed" }, by("alice")), 201);
      key = success(await admin(server, "POST", keys(account), { environment: "live" }, by("bob")), 201);
      for (let n = 0; n < 4; n += 1) {
        success(await patch(account, { name: `Listed ${n}` }, by(n % 2 ? "alice" : "bob/builder+co@example.com")));
        await issueKey(server, account);
      }
      success(await admin(server, "PATCH", keys(account, `/${key.id}`), { name: "named" }, by("alice")));
      await revokeKey(server, account, key);
      entries = await auditOf(server, account);
    });

    test("is newest first, and pages hold every entry once, however many come in between", async () => {
      const seen = [];
      for (let cursor = ""; cursor !== null;) {
        const page = success(await list(account, `?limit=3${cursor && `&cursor=${encodeURIComponent(cursor)}`}`));
        assert.ok(page.data.length <= 3);
        seen.push(...page.data);
        cursor = page.next_cursor;
        success(await patch(account, { name: `Later ${seen.length}` }));
      }
      assert.deepEqual(seen, entries.toReversed());
      entries = await auditOf(server, account);
      assert.equal(success(await list(account, `?limit=${entries.length}`)).next_cursor, null);
      assert.deepEqual(success(await list(account)).data, entries.toReversed());
    });

    test("is filtered by action, actor and subject, also all at once and across pages", async () => {
      const filters = [
        { action: "key.issue" },
        { action: "account.create" },
        { actor: "alice" },
        { actor: "bob/builder+co@example.com" },
        { actor: "nobody" },
        { subject: key.id },
        { subject: account.id },
        { subject: "key_00000000000000000000" },
        { action: "account.change", actor: "alice" },
        { action: "key.change", actor: "alice", subject: key.id },
        { action: "key.revoke", actor: "alice", subject: key.id },
      ];
      for (const filter of filters) {
        const expected = entries.filter((entry) =>
          Object.entries(filter).every(([member, value]) => entry[member] === value),
        );
        const query = new URLSearchParams(filter);
        for (const limit of [1, 2, 100]) {
          const seen = await listAll(server, `/accounts/${account.id}/audit?${query}`, { limit });
          assert.deepEqual(seen, expected.toReversed(), `${query} ${limit}`);
        }
      }
    });

    test("refuses a wrong parameter by name", async () => {
      const wrong = {
        action: ["key.created", "", "KEY.ISSUE", "key.%25"],
        limit: ["0", "101", "x", ""],
        cursor: ["x", "", "-1"],
        colour: ["red"],
        Actor: ["alice"],
      };
      for (const [field, values] of Object.entries(wrong)) {
        for (const value of values) {
          problem(await list(account, `?${field}=${value}`), 400, "invalid_request", { field, detail: /./ });
        }
      }
      for (const field of ["action", "actor", "subject"]) {
        const twice = `?${field}=key.issue&${field}=key.issue`;
        problem(await list(account, twice), 400, "invalid_request", { field });
      }
    });
  });
});

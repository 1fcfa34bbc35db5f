// What spares an operator trouble: lost updates are refused, lists are filtered and gone through in pages, an account is
// found by the id it has elsewhere, and a refusal says what would be right.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, createAccount, issueKey, listAll, revokeKey } from "./harness/client.mjs";
import { effective, problem, success } from "./harness/expect.mjs";
import { secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const PEPPER = secrets.KEYGATE_PEPPER.split(":")[0];

let server, account, key;
before(async () => {
  server = await startWorkerd({ env: { KEYGATE_SLOTS: "0 1 2" } });
});
after(() => server?.stop());

const keysPath = (owner, rest = "") => `/accounts/${owner.id}/keys${rest}`;
const slotOf = ({ id }) => parseInt(id.slice(5, 7), 16);
const etag = ({ headers }) => headers.etag;

/** An account in each slot. */
async function oneInEachSlot(fields) {
  const found = [];
  while (found.filter(Boolean).length < 3) {
    const created = await createAccount(server, fields);
    found[slotOf(created)] ??= created;
  }
  return found;
}

describe("ETag and If-Match", () => {
  before(async () => {
    account = await createAccount(server);
    key = await issueKey(server, account);
  });

  // What can be changed, and where it is.
  const things = {
    "an account": () => `/accounts/${account.id}`,
    "a key": () => keysPath(account, `/${key.id}`),
  };
  let counter = 0;
  const another = () => ({ name: `changed ${(counter += 1)}` });
  const read = (path) => admin(server, "GET", path);
  const patch = (path, changes, match) => admin(server, "PATCH", path, changes, { headers: { "If-Match": match } });

  for (const [thing, where] of Object.entries(things)) {
    describe(`of ${thing}`, () => {
      test("an ETag is the same in every answer until something changes, and then another", async () => {
        const path = where();
        const first = await read(path);
        success(first);
        assert.equal(etag(await read(path)), etag(first));
        assert.equal(etag(await patch(path, {}, etag(first))), etag(first));
        assert.equal(etag(await patch(path, { name: first.json.name ?? undefined }, "*")), etag(first));
        const changed = await patch(path, another(), etag(first));
        success(changed);
        assert.notEqual(etag(changed), etag(first));
        assert.equal(etag(await read(path)), etag(changed));
        assert.notEqual(etag(await patch(path, another(), etag(changed))), etag(changed));
      });

      test("a change without If-Match is 428 and changes nothing", async () => {
        const path = where();
        const before = await read(path);
        for (const changes of [another(), {}]) {
          const answer = await patch(path, changes, undefined);
          problem(answer, 428, "precondition_required", { field: "If-Match", detail: /If-Match.*ETag/ });
        }
        assert.deepEqual([(await read(path)).text, etag(await read(path))], [before.text, etag(before)]);
      });

      test("a change of a version that is no more is 412 and changes nothing, and right after reading again", async () => {
        const path = where();
        const stale = etag(await read(path));
        success(await patch(path, another(), stale));
        const before = await read(path);
        for (const changes of [another(), {}]) {
          problem(await patch(path, changes, stale), 412, "precondition_failed", {
            field: "If-Match",
            detail: /again/,
          });
        }
        assert.deepEqual([(await read(path)).text, etag(await read(path))], [before.text, etag(before)]);
        success(await patch(path, another(), etag(before)));
      });

      test("of many changes of one version, one comes to pass", async () => {
        const path = where();
        const version = etag(await read(path));
        const names = Array.from({ length: 10 }, another);
        const answers = await Promise.all(names.map((changes) => patch(path, changes, version)));
        const [winner, ...others] = answers.filter(({ status }) => status === 200);
        assert.deepEqual(others, []);
        for (const answer of answers.filter((answer) => answer !== winner)) {
          problem(answer, 412, "precondition_failed", { field: "If-Match" });
        }
        assert.equal((await read(path)).json.name, winner.json.name);
      });

      test("a list of tags matches by any of them, * always", async () => {
        const path = where();
        const lists = [
          () => "*",
          (tag) => tag,
          (tag) => `"0", ${tag}`,
          (tag) => `${tag},"0"`,
          (tag) => `"some-other" , \t${tag} ,"x"`,
          (tag) => `W/${tag}, ${tag}`,
          (tag) => [`"0"`, tag],
        ];
        for (const list of lists) success(await patch(path, another(), list(etag(await read(path)))));
      });

      test("a tag that is written otherwise, or is weak, does not match", async () => {
        const path = where();
        const tag = etag(await read(path));
        const digits = tag.slice(1, -1);
        const others = [
          `W/${tag}`,
          `W/"0", W/${tag}`,
          `"0${digits}"`,
          `"+${digits}"`,
          `"${digits}.0"`,
          `"${digits}-gzip"`,
          '""',
          '"*"',
        ];
        for (const other of others) {
          assert.equal((await patch(path, another(), other)).status, 412, other);
        }
        assert.equal(etag(await read(path)), tag);
      });

      test("a tag is no other's", async () => {
        const path = where();
        const others = Object.values(things)
          .map((elsewhere) => elsewhere())
          .filter((elsewhere) => elsewhere !== path);
        const strange = etag(await read(others[0]));
        problem(await patch(path, another(), strange), 412, "precondition_failed", { field: "If-Match" });
      });
    });
  }

  test("an ETag comes with the answers that create, issue, look up and revoke", async () => {
    const created = await admin(server, "POST", "/accounts", { name: "Tagged" });
    const owner = success(created, 201);
    assert.equal(etag(created), etag(await read(`/accounts/${owner.id}`)));
    const issued = await admin(server, "POST", keysPath(owner), { environment: "live" });
    const { id, key: text } = success(issued, 201);
    const path = keysPath(owner, `/${id}`);
    assert.equal(etag(issued), etag(await read(path)));
    assert.equal(etag(issued), etag(await admin(server, "POST", keysPath(owner, "/lookup"), { key: text })));
    const revoked = await admin(server, "POST", `${path}/revoke`);
    assert.notEqual(etag(revoked), etag(issued));
    assert.equal(etag(revoked), etag(await read(path)));
  });

  test("an account's ETag is not its keys'", async () => {
    const before = etag(await read(`/accounts/${account.id}`));
    await issueKey(server, account);
    await revokeKey(server, account, await issueKey(server, account));
    success(await patch(`/accounts/${account.id}`, another(), before));
  });

  test("revoking never needs an If-Match, and creating and issuing need none", async () => {
    const owner = success(await admin(server, "POST", "/accounts", { name: "Unconditional" }), 201);
    const issued = success(await admin(server, "POST", keysPath(owner), { environment: "live" }), 201);
    success(await admin(server, "POST", keysPath(owner, `/${issued.id}/revoke`)));
  });
});

describe("lists", () => {
  test("of keys are filtered by pepper, with the other filters and across pages", async () => {
    const owner = await createAccount(server);
    const issued = [];
    for (let n = 0; n < 5; n += 1)
      issued.unshift(await issueKey(server, owner, { environment: n % 2 ? "live" : "test" }));
    await revokeKey(server, owner, issued[0]);
    const ids = async (query, limit) => (await listAll(server, keysPath(owner, query), { limit })).map(({ id }) => id);
    const all = issued.map(({ id }) => id);
    assert.deepEqual(await ids(`?pepper=${PEPPER}`, 2), all);
    assert.deepEqual(await ids("?pepper=9", 2), []);
    assert.deepEqual(await ids(`?pepper=${PEPPER}&status=active&environment=live`, 1), [issued[1].id, issued[3].id]);
    assert.deepEqual(await ids(`?pepper=${PEPPER}&status=revoked`), [issued[0].id]);
    assert.deepEqual(await ids("?pepper=9&status=revoked"), []);
  });

  test("have cursors that stay where they are, whatever is issued, changed or revoked meanwhile", async () => {
    const owner = await createAccount(server);
    const issued = [];
    for (let n = 0; n < 7; n += 1) issued.unshift(await issueKey(server, owner, { name: `key ${n}` }));
    const seen = [];
    for (let cursor = ""; cursor !== null;) {
      const query = `?limit=2${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
      const page = success(await admin(server, "GET", keysPath(owner, query)));
      // The same cursor gives the same page again.
      if (cursor) assert.deepEqual(success(await admin(server, "GET", keysPath(owner, query))), page);
      seen.push(...page.data.map(({ id }) => id));
      cursor = page.next_cursor;
      const [newest] = page.data;
      await issueKey(server, owner, { name: "later" });
      success(await admin(server, "PATCH", keysPath(owner, `/${newest.id}`), { name: "renamed" }));
      await revokeKey(server, owner, issued[3]);
    }
    assert.deepEqual(
      seen,
      issued.map(({ id }) => id),
    );
  });

  test("of accounts, over all slots, have them too", async () => {
    await oneInEachSlot();
    const before = (await listAll(server, "/accounts")).map(({ id }) => id);
    const seen = [];
    for (let cursor = ""; cursor !== null;) {
      const page = success(
        await admin(server, "GET", `/accounts?limit=2${cursor && `&cursor=${encodeURIComponent(cursor)}`}`),
      );
      seen.push(...page.data.map(({ id }) => id));
      cursor = page.next_cursor;
      success(await admin(server, "PATCH", `/accounts/${seen[0]}`, { name: `renamed ${seen.length}` }));
      await createAccount(server, { name: "later" });
    }
    assert.equal(new Set(seen).size, seen.length);
    // What is created meanwhile may be seen in a slot that was not reached yet; what was there is.
    assert.deepEqual(
      seen.filter((id) => before.includes(id)),
      before,
    );
  });

  test("refuse a cursor of another kind, and every parameter that stands twice", async () => {
    const owner = await createAccount(server);
    for (const path of ["/accounts", keysPath(owner), `/accounts/${owner.id}/audit`]) {
      for (const cursor of ["x", "0", "%20", "1.2.3", "-1", "9".repeat(30), "é", "a".repeat(5_000), `${owner.id}`]) {
        const answer = await admin(server, "GET", `${path}?cursor=${encodeURIComponent(cursor)}`);
        problem(answer, 400, "invalid_request", { field: "cursor" });
      }
      for (const field of ["limit", "cursor"]) {
        problem(await admin(server, "GET", `${path}?${field}=1&${field}=1`), 400, "invalid_request", { field });
      }
    }
    for (const [path, field] of [
      ["/accounts", "external_id"],
      [keysPath(owner), "status"],
      [keysPath(owner), "pepper"],
      [keysPath(owner), "environment"],
    ]) {
      problem(await admin(server, "GET", `${path}?${field}=${PEPPER}&${field}=${PEPPER}`), 400, "invalid_request", {
        field,
      });
    }
  });
});

describe("a key's hint", () => {
  test("is its beginning and its last four characters, wherever the key is shown, so that its holder finds it", async () => {
    const owner = await createAccount(server, { brand: "acme" });
    const issued = await issueKey(server, owner, { environment: "test" });
    await issueKey(server, owner);
    const expected = `acme_test_...${issued.key.slice(-4)}`;
    assert.equal(issued.hint, expected);
    const path = keysPath(owner, `/${issued.id}`);
    assert.equal((await admin(server, "GET", path)).json.hint, expected);
    assert.equal((await admin(server, "POST", keysPath(owner, "/lookup"), { key: issued.key })).json.hint, expected);
    assert.equal((await admin(server, "PATCH", path, { name: "named" })).json.hint, expected);
    assert.equal((await revokeKey(server, owner, issued)).hint, expected);
    const found = (await listAll(server, keysPath(owner))).filter(({ hint }) => hint === expected);
    assert.deepEqual(
      found.map(({ id }) => id),
      [issued.id],
    );
  });
});

describe("external_id", () => {
  const find = (external_id) => admin(server, "GET", `/accounts?external_id=${encodeURIComponent(external_id)}`);
  const found = async (external_id) => success(await find(external_id)).data.map(({ id }) => id);

  test("finds the account, in whichever slot", async () => {
    const owners = await oneInEachSlot();
    for (const [n, owner] of owners.entries()) {
      const external_id = `crm:47${n}1/eu?a=1&b=%20#~!*'();:@$,[]"`;
      const sent = Date.now();
      const changed = success(await admin(server, "PATCH", `/accounts/${owner.id}`, { external_id }));
      const { mirrored, ...stored } = effective(changed, sent);
      assert.deepEqual(success(await find(external_id)).data, [stored]);
      const path = `/accounts?external_id=${encodeURIComponent(external_id)}`;
      for (const limit of [1, 100]) assert.deepEqual(await listAll(server, path, { limit }), [stored]);
    }
  });

  test("that no account has finds nothing, nor does a part of one or another case", async () => {
    await createAccount(server, { external_id: "Whole_id" });
    for (const other of ["none", "Whole", "whole_id", "Whole_i_", "Whole%", "*", "Whole_id ", " Whole_id"]) {
      assert.deepEqual(success(await find(other)), { data: [], next_cursor: null }, other);
    }
  });

  test("follows every change", async () => {
    const owner = await createAccount(server, { external_id: "first-id" });
    assert.deepEqual(await found("first-id"), [owner.id]);
    success(await admin(server, "PATCH", `/accounts/${owner.id}`, { external_id: "second-id" }));
    assert.deepEqual([await found("first-id"), await found("second-id")], [[], [owner.id]]);
    const next = await createAccount(server, { external_id: "first-id" });
    assert.deepEqual(await found("first-id"), [next.id]);
    success(await admin(server, "PATCH", `/accounts/${owner.id}`, { external_id: null }));
    assert.deepEqual(await found("second-id"), []);
    success(await admin(server, "PATCH", `/accounts/${next.id}`, { external_id: "second-id" }));
    assert.deepEqual(await found("second-id"), [next.id]);
  });

  test("is one account's, over all slots", async () => {
    const owners = await oneInEachSlot();
    for (const owner of owners) {
      const external_id = `unique-${owner.id}`;
      success(await admin(server, "PATCH", `/accounts/${owner.id}`, { external_id }));
      for (const other of owners.filter(({ id }) => id !== owner.id)) {
        const answer = await admin(server, "PATCH", `/accounts/${other.id}`, { external_id });
        problem(answer, 409, "conflict", { field: "external_id" });
      }
      for (let n = 0; n < 6; n += 1) {
        const answer = await admin(server, "POST", "/accounts", { name: "Second", external_id });
        problem(answer, 409, "conflict", { field: "external_id" });
      }
      success(await admin(server, "PATCH", `/accounts/${owner.id}`, { external_id, name: "its own" }));
      assert.deepEqual(await found(external_id), [owner.id]);
    }
  });

  test("of another account, where it does not belong, is refused as any other would be", async () => {
    const [first, second] = await oneInEachSlot();
    const external_id = `taken-${first.id}`;
    success(await admin(server, "PATCH", `/accounts/${first.id}`, { external_id }));
    const issued = await issueKey(server, second);
    const unknown = `/accounts/${second.id.slice(0, 7)}fffffffe`;
    const paths = ["", `/${issued.id}/revoke`, "/lookup"].map((rest) => keysPath(second, rest));
    for (const path of paths) {
      const body = { environment: "live", key: issued.key, external_id };
      assert.equal((await admin(server, "POST", path, body)).status, 400, path);
    }
    const ofKey = await admin(server, "PATCH", keysPath(second, `/${issued.id}`), { external_id });
    problem(ofKey, 400, "invalid_request", { field: "external_id" });
    problem(await admin(server, "PATCH", unknown, { external_id }), 404, "not_found");
    const unconditional = { headers: { "If-Match": undefined } };
    const answer = await admin(server, "PATCH", `/accounts/${second.id}`, { external_id }, unconditional);
    problem(answer, 428, "precondition_required", { field: "If-Match" });
  });

  test("is one account's, too, when many are created with it at once", async () => {
    const body = { name: "Raced", external_id: "raced" };
    const answers = await Promise.all(Array.from({ length: 12 }, () => admin(server, "POST", "/accounts", body)));
    const [winner, ...others] = answers.filter(({ status }) => status === 201);
    assert.deepEqual(others, []);
    for (const answer of answers.filter((answer) => answer !== winner))
      problem(answer, 409, "conflict", { field: "external_id" });
    assert.deepEqual(await found("raced"), [winner.json.id]);
  });
});

describe("a refusal says what would be right", () => {
  let owner, issued;
  before(async () => {
    owner = await createAccount(server, { external_id: "taken-id", max_active_keys: 1 });
    issued = await issueKey(server, owner);
  });
  const create = (fields) => admin(server, "POST", "/accounts", { name: "Acme", ...fields });
  const issue = (fields) => admin(server, "POST", keysPath(owner), { environment: "live", ...fields });
  const change = (fields, headers) => admin(server, "PATCH", keysPath(owner, `/${issued.id}`), fields, { headers });
  const list = (path, query) => admin(server, "GET", `${path}?${query}`);
  const header = (name, value) => admin(server, "POST", "/accounts", { name: "Acme" }, { headers: { [name]: value } });

  // By the name that the answer must give: the request, and what the explanation must say.
  const of400 = [
    ["name", () => create({ name: "" }), /1 to 128 characters/],
    ["name", () => create({ name: undefined }), /missing/],
    ["external_id", () => create({ external_id: "a b" }), /1 to 128 visible ASCII/],
    ["brand", () => create({ brand: "K" }), /2 to 8 characters/],
    ["max_active_keys", () => create({ max_active_keys: 0 }), /whole number from 1 to 10000.*null/],
    ["api_access", () => create({ api_access: "off" }), /live.*test/],
    ["features", () => create({ features: ["A"] }), /at most 50/],
    ["default_scopes", () => create({ default_scopes: ["contacts"] }), /contacts|resource:action/],
    ["status", () => admin(server, "PATCH", `/accounts/${owner.id}`, { status: "off" }), /"active".*"suspended"/],
    ["colour", () => create({ colour: 1 }), /"colour".*name, external_id, brand/],
    ["colour", () => issue({ colour: 1 }), /"colour".*environment/],
    ["status", () => change({ status: "revoked" }), /"status".*name, disabled/],
    ["environment", () => issue({ environment: "prod" }), /"live", "test" or "admin"/],
    ["environment", () => issue({ environment: undefined }), /missing/],
    ["scopes", () => issue({ scopes: "a:b" }), /list/],
    ["expires_at", () => issue({ expires_at: "tomorrow" }), /RFC 3339.*"\d{4}-/],
    ["expires_at", () => issue({ expires_at: "2001-01-01T00:00:00Z" }), /future/],
    ["not_before", () => issue({ not_before: 1 }), /RFC 3339/],
    ["disabled", () => change({ disabled: "yes" }), /true or false/],
    ["key", () => admin(server, "POST", keysPath(owner, "/lookup"), { key: 1 }), /text/],
    ["limit", () => list("/accounts", "limit=1000"), /1 to 100/],
    ["cursor", () => list("/accounts", "cursor=x"), /next_cursor|list/],
    ["page", () => list("/accounts", "page=1"), /"page".*limit, cursor, external_id/],
    ["page", () => list(keysPath(owner), "page=1"), /"page".*limit, cursor, environment, status, pepper/],
    ["status", () => list(keysPath(owner), "status=gone"), /"active", "disabled", "expired" or "revoked"/],
    ["environment", () => list(keysPath(owner), "environment=prod"), /"live", "test" or "admin"/],
    ["pepper", () => list(keysPath(owner), "pepper=16"), /0 to 15/],
    ["pepper", () => list(keysPath(owner), "pepper=-1"), /0 to 15/],
    ["pepper", () => list(keysPath(owner), "pepper="), /0 to 15/],
    ["page", () => list(`/accounts/${owner.id}/audit`, "page=1"), /"page".*limit, cursor, action, actor, subject/],
    ["action", () => list(`/accounts/${owner.id}/audit`, "action=key.delete"), /key\.revoke/],
    ["verbose", () => list(`/accounts/${owner.id}`, "verbose"), /"verbose"/],
    ["X-Keygate-Actor", () => header("X-Keygate-Actor", "a b"), /1 to 128 visible ASCII/],
    ["Idempotency-Key", () => header("Idempotency-Key", "short"), /22 to 255 visible ASCII/],
    ["If-Match", () => change({}, { "If-Match": "1" }), /ETag.*"\d+".*\*/],
  ];
  for (const [field, ask, detail] of of400) {
    test(`${field}: ${detail.source}`, async () => problem(await ask(), 400, "invalid_request", { field, detail }));
  }

  test("also when it is not the request's form that is wrong", async () => {
    problem(await create({ external_id: "taken-id" }), 409, "conflict", { field: "external_id", detail: /taken-id/ });
    problem(await issue({}), 409, "limit_reached", { detail: /1 keys.*max_active_keys.*Revoke/s });
    problem(await change({ name: "x" }, { "If-Match": '"0"' }), 412, "precondition_failed", {
      field: "If-Match",
      detail: /ETag is now "\d+"/,
    });
    problem(await change({ name: "x" }, { "If-Match": undefined }), 428, "precondition_required", {
      field: "If-Match",
      detail: /\*/,
    });
    const repeated = { headers: { "Idempotency-Key": "comfort-0123456789-0123456789" } };
    success(await admin(server, "POST", "/accounts", { name: "One" }, repeated), 201);
    const other = await admin(server, "POST", "/accounts", { name: "Two" }, repeated);
    problem(other, 422, "idempotency_conflict", { field: "Idempotency-Key", detail: /24 hours.*new one/ });
    await revokeKey(server, owner, issued);
    problem(await change({ name: "x" }), 409, "conflict", { detail: /revoked/ });
  });
});

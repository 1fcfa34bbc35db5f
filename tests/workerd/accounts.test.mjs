// Accounts in the admin API.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, createAccount, issueKey, transcript } from "./harness/client.mjs";
import { effective, problem, success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const UNKNOWN = "acct_00ffffffff";

let server;
before(async () => {
  server = await startWorkerd();
});
after(() => server?.stop());

const create = (fields) => admin(server, "POST", "/accounts", fields);
const get = (id) => admin(server, "GET", `/accounts/${id}`);
const patch = (id, changes) => admin(server, "PATCH", `/accounts/${id}`, changes);

/** An account as read, from the answer that created or changed it. */
const stored = ({ mirrored, ...account }) => account;

/** An account as read, from the answer to a change, which says besides when that counts. */
async function changed(id, changes) {
  const sent = Date.now();
  return stored(effective(success(await patch(id, changes)), sent));
}

describe("creating", () => {
  test("needs a name only; everything else has its default", async () => {
    const sent = Date.now();
    const { id, created_at, audit_head, mirrored, ...rest } = success(await create({ name: "Acme" }), 201);
    assert.equal(audit_head.number, 1);
    assert.match(audit_head.hash, /^[0-9a-f]{64}$/);
    assert.match(id, /^acct_00[0-9a-f]{8}$/);
    assert.match(created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.ok(Math.abs(Date.parse(created_at) - sent) < 5_000);
    assert.equal(mirrored, true);
    assert.deepEqual(rest, {
      name: "Acme",
      external_id: null,
      brand: "kg",
      status: "active",
      max_active_keys: null,
      api_access: { live: "active", test: "active" },
      features: [],
      default_scopes: [],
      name_policy: "optional",
      access_levels: {},
      access_level_required: false,
      scopes: null,
      plan: null,
      access_note: null,
      explain_refusals: false,
      holders_may_rotate: false,
      max_key_days: null,
      rotation_days: null,
      created_by: null,
    });
  });

  test("keeps everything it is given", async () => {
    const given = {
      name: "Müller & Söhne 🏗 GmbH",
      external_id: "crm:4711/eu",
      brand: "acme9",
      max_active_keys: 5,
      api_access: { live: "requested", test: "off" },
      features: ["bulk-import_2", "exports"],
      default_scopes: ["contacts:read", "*:list"],
    };
    const created = success(await create(given), 201);
    for (const [member, value] of Object.entries(given)) assert.deepEqual(created[member], value, member);
    assert.deepEqual(success(await get(created.id)), stored(created));
  });

  test("takes null for what may be absent", async () => {
    const created = success(await create({ name: "Acme", external_id: null, max_active_keys: null }), 201);
    assert.equal(created.external_id, null);
    assert.equal(created.max_active_keys, null);
  });

  test("takes values up to their limits", async () => {
    const widest = {
      name: "🏗".repeat(128),
      external_id: "~".repeat(128),
      max_active_keys: 10_000,
      features: Array.from({ length: 50 }, (_, n) => `f${n}`.padEnd(64, "_")).sort(),
      default_scopes: Array.from({ length: 100 }, (_, n) => `r${n}:${"x".repeat(32)}`),
    };
    const created = success(await create(widest), 201);
    for (const [member, value] of Object.entries(widest)) assert.deepEqual(created[member], value, member);
  });

  test("without a name is refused by that name", async () => {
    problem(await create({}), 400, "invalid_request", { field: "name" });
  });

  test("with an external_id that another account has is a conflict", async () => {
    await createAccount(server, { external_id: "taken" });
    problem(await create({ name: "Second", external_id: "taken" }), 409, "conflict", { field: "external_id" });
  });
});

const WRONG = {
  name: ["", "   ", "x".repeat(129), "two\nlines", "nul\u0000", "\u0085", 7, null, ["Acme"]],
  external_id: ["", "x".repeat(129), "with space", "größe", 7, {}],
  brand: [
    "",
    "k",
    "9kg",
    "Acme",
    "acme-1",
    "brand-too-long",
    "abcdefghi",
    "ghp",
    "npm",
    "sk",
    "acct",
    "bearer",
    "live",
    7,
    null,
  ],
  max_active_keys: [0, -1, 1.5, 10_001, 1e300, "5", true],
  api_access: [
    "active",
    { live: "on", test: "on" },
    { live: "active" },
    { live: "active", test: "off", staging: "off" },
    { live: null, test: null },
    [],
  ],
  features: [
    "exports",
    ["Exports"],
    [""],
    ["9x"],
    ["x".repeat(65)],
    ["a b"],
    [7],
    Array(51)
      .fill("x")
      .map((x, n) => x + n),
  ],
  default_scopes: [
    "contacts:read",
    ["contacts"],
    ["Contacts:read"],
    ["contacts:"],
    ["a:b c:d"],
    [""],
    [7],
    Array(101)
      .fill("r")
      .map((r, n) => `${r}${n}:x`),
  ],
};

describe("a value that is not acceptable is refused by its member's name, with what would be right", () => {
  let account;
  before(async () => {
    account = await createAccount(server);
  });
  for (const [field, values] of Object.entries({ ...WRONG, status: ["closed", "Active", 1, null, true] })) {
    test(field, async () => {
      for (const value of values) {
        const answers = [await patch(account.id, { [field]: value })];
        if (field !== "status") answers.push(await create({ name: "Acme", [field]: value }));
        for (const answer of answers) problem(answer, 400, "invalid_request", { field, detail: /./ });
      }
    });
  }

  test("nothing of it was stored", async () => {
    assert.deepEqual(success(await get(account.id)), stored(account));
  });

  test("a status is not for a new account to choose", async () => {
    problem(await create({ name: "Acme", status: "active" }), 400, "invalid_request", { field: "status" });
  });
});

describe("reading", () => {
  test("an account that does not exist is 404, as is an id that is none", async () => {
    const unknown = [
      UNKNOWN,
      "acct_01ffffffff",
      "acct_",
      "acct_00FFFFFFFF",
      "acct_00ffffffff0",
      "key_00000000000000000000",
      "x",
    ];
    const answers = await Promise.all(unknown.map(get));
    for (const answer of answers) problem(answer, 404, "not_found");
    assert.equal(new Set(answers.map(transcript)).size, 1);
  });
});

describe("changing", () => {
  test("changes what it names and nothing else", async () => {
    const changes = {
      name: "Renamed",
      external_id: "renamed-1",
      brand: "other",
      max_active_keys: 3,
      api_access: { live: "off", test: "active" },
      features: ["exports"],
      default_scopes: ["contacts:read"],
      status: "suspended",
    };
    let expected = stored(await createAccount(server));
    for (const [member, value] of Object.entries(changes)) {
      const answer = await changed(expected.id, { [member]: value });
      const { number, hash } = answer.audit_head;
      assert.equal(number, expected.audit_head.number + 1);
      assert.notEqual(hash, expected.audit_head.hash);
      expected = { ...expected, [member]: value, audit_head: { number, hash } };
      assert.deepEqual(answer, expected);
    }
    assert.deepEqual(success(await get(expected.id)), expected);
  });

  test("null clears external_id and max_active_keys", async () => {
    const account = await createAccount(server, { external_id: "cleared", max_active_keys: 3 });
    const { external_id, max_active_keys } = await changed(account.id, { external_id: null, max_active_keys: null });
    assert.deepEqual([external_id, max_active_keys], [null, null]);
    success(await create({ name: "Next", external_id: "cleared" }), 201);
  });

  test("an empty change is a success that changes nothing", async () => {
    const account = await createAccount(server);
    assert.deepEqual(await changed(account.id, {}), stored(account));
  });

  test("an external_id that another account has is a conflict; its own is none", async () => {
    await createAccount(server, { external_id: "first" });
    const second = await createAccount(server, { external_id: "second" });
    problem(await patch(second.id, { external_id: "first" }), 409, "conflict", { field: "external_id" });
    success(await patch(second.id, { external_id: "second" }));
  });

  test("an account that does not exist is 404", async () => {
    problem(await patch(UNKNOWN, { name: "x" }), 404, "not_found");
  });
});

describe("listing", () => {
  let own;
  before(async () => {
    own = await startWorkerd();
  });
  after(() => own.stop());
  const list = (query = "") => admin(own, "GET", `/accounts${query}`);

  test("an empty Authority has an empty list", async () => {
    assert.deepEqual(success(await list()), { data: [], next_cursor: null });
  });

  test("pages hold every account once, newest first, however many come in between", async () => {
    const created = [];
    for (let n = 0; n < 5; n += 1) created.unshift(stored(await createAccount(own, { name: `Acme ${n}` })));
    const first = success(await list("?limit=2"));
    assert.deepEqual(first.data, created.slice(0, 2));
    await createAccount(own, { name: "Newer" });
    const second = success(await list(`?limit=2&cursor=${encodeURIComponent(first.next_cursor)}`));
    assert.deepEqual(second.data, created.slice(2, 4));
    const third = success(await list(`?limit=2&cursor=${encodeURIComponent(second.next_cursor)}`));
    assert.deepEqual(third, { data: created.slice(4), next_cursor: null });
  });

  test("a page that ends with the last account has no next", async () => {
    const { data } = success(await list());
    assert.equal(success(await list(`?limit=${data.length}`)).next_cursor, null);
  });

  test("50 come at a time unless said, 100 at most", async () => {
    const { data } = success(await list());
    await Promise.all(Array.from({ length: 101 - data.length }, () => createAccount(own)));
    assert.equal(success(await list()).data.length, 50);
    assert.equal(success(await list("?limit=100")).data.length, 100);
  });

  test("a wrong limit, cursor or parameter is refused by name", async () => {
    for (const limit of ["0", "101", "-1", "1.5", "ten", ""]) {
      problem(await list(`?limit=${limit}`), 400, "invalid_request", { field: "limit" });
    }
    for (const cursor of ["", "x", "-1", "%00"]) {
      problem(await list(`?cursor=${cursor}`), 400, "invalid_request", { field: "cursor" });
    }
    problem(await list("?page=2"), 400, "invalid_request", { field: "page" });
    problem(await list("?limit=1&limit=2"), 400, "invalid_request", { field: "limit" });
  });
});

test("an account of another slot's number is not this one's", async () => {
  const account = await createAccount(server);
  const key = await issueKey(server, account);
  const elsewhere = account.id.replace("acct_00", "acct_01");
  problem(await get(elsewhere), 404, "not_found");
  problem(await admin(server, "GET", `/accounts/${elsewhere}/keys/${key.id}`), 404, "not_found");
});

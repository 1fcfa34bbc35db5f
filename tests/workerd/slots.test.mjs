// Several Authorities: accounts lie in different slots, and nobody but the operator notices.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  admin,
  createAccount,
  issueKey,
  listAll,
  revokeKey,
  send,
  slots,
  takeLease,
  verify,
} from "./harness/client.mjs";
import { databases } from "./harness/database.mjs";
import { allowed, constant401, eventually, problem, success } from "./harness/expect.mjs";
import { accountRecord, grantRecord, mintKey } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const SLOTS = ["00", "07", "ff"];

// Stands before the Worker and tells, on request, with which hints it asked for which objects.
const RECORDER = `
  import worker, { Authority } from "./entry.js";
  export { Authority };
  const asked = {};
  export default {
    fetch(request, env, ctx) {
      if (new URL(request.url).pathname === "/recorded") return Response.json(asked);
      const getByName = (name, options) => {
        (asked[name] ??= []).push(options?.locationHint ?? null);
        return env.KEYGATE_AUTHORITY.getByName(name, options);
      };
      return worker.fetch(request, { ...env, KEYGATE_AUTHORITY: { getByName } }, ctx);
    },
  };
`;

let server, accounts;
before(async () => {
  server = await startWorkerd({
    env: { KEYGATE_SLOTS: " 0=weur  7=enam 255=apac ", KEYGATE_LEASE_SECONDS: "1" },
    around: RECORDER,
  });
  accounts = await Promise.all(
    Array.from({ length: 60 }, (_, n) => createAccount(server, { name: `Acme ${n}`, external_id: `crm:${n}` })),
  );
});
after(() => server?.stop());

const slotOf = ({ id }) => id.slice("acct_".length, "acct_".length + 2);
const numberOf = ({ id }) => parseInt(id.slice("acct_00".length), 16);
const oneOfEach = () => SLOTS.map((slot) => accounts.find((account) => slotOf(account) === slot));
const ids = (list) => list.map(({ id }) => id);

test("new accounts spread over the slots that are configured", () => {
  assert.deepEqual([...new Set(accounts.map(slotOf))].sort(), SLOTS);
});

test("each slot is one object, asked for with its own location hint, every time", async () => {
  for (const account of oneOfEach()) {
    const key = await issueKey(server, account);
    server.kv.records.delete(grantRecord(key.key));
    allowed(await verify(server, key.key), key, account);
  }
  await slots(server);
  const asked = (await send(server, "GET", "/recorded")).json;
  const hints = Object.fromEntries(Object.entries(asked).map(([name, given]) => [name, [...new Set(given)]]));
  assert.deepEqual(hints, { "slot-0": ["weur"], "slot-7": ["enam"], "slot-255": ["apac"] });
});

test("each slot has a database of its own, with its own accounts and keys and no others", async () => {
  const keys = await Promise.all(oneOfEach().map((account) => issueKey(server, account)));
  const found = databases(server).map(({ tables }) => tables);
  assert.equal(found.length, SLOTS.length);
  assert.equal(new Set(found.map(({ meta }) => meta[0].epoch)).size, SLOTS.length);
  const sorted = (numbers) => numbers.toSorted((a, b) => a - b);
  for (const [n, slot] of SLOTS.entries()) {
    const own = sorted(accounts.filter((account) => slotOf(account) === slot).map(numberOf));
    const tables = found.find(({ accounts }) => accounts.some(({ number }) => number === own[0]));
    assert.deepEqual(sorted(tables.accounts.map(({ number }) => number)), own);
    assert.ok(tables.keys.some(({ digest }) => `grant:${digest}` === grantRecord(keys[n].key)));
    for (const { account } of tables.keys) assert.ok(own.includes(account));
  }
});

test("the operator sees each slot by itself", async () => {
  const shown = await slots(server);
  assert.deepEqual(
    shown.map(({ slot, accounts }) => [slot, accounts]),
    SLOTS.map((slot) => [parseInt(slot, 16), accounts.filter((account) => slotOf(account) === slot).length]),
  );
});

describe("a list of all accounts", () => {
  test("goes through all slots and holds every account once, whatever the page size", async () => {
    for (const limit of [1, 7, 60, 100]) {
      const seen = [];
      for (let cursor = ""; cursor !== null;) {
        const page = success(
          await admin(server, "GET", `/accounts?limit=${limit}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`),
        );
        assert.ok(page.data.length <= limit);
        seen.push(...page.data.map(({ id }) => id));
        cursor = page.next_cursor;
      }
      assert.deepEqual(seen.toSorted(), ids(accounts).toSorted());
    }
  });

  test("neither repeats nor leaves out an account while others are created", async () => {
    let listing = true;
    const created = [];
    const creating = (async () => {
      while (listing) created.push(await createAccount(server, { name: "Meanwhile" }));
    })();
    const lists = await Promise.all([1, 3, 20].map((limit) => listAll(server, "/accounts", { limit })));
    listing = false;
    await creating;
    assert.ok(created.length > 0);
    const possible = new Set(ids([...accounts, ...created]));
    for (const list of lists) {
      const seen = new Set(ids(list));
      assert.equal(seen.size, list.length, "an account was repeated");
      for (const id of ids(accounts)) assert.ok(seen.has(id), `${id} was left out`);
      for (const id of seen) assert.ok(possible.has(id));
    }
    accounts.push(...created);
  });

  test("goes on from a cursor after a restart", async () => {
    const first = success(await admin(server, "GET", "/accounts?limit=10"));
    const rest = (cursor) => listAll(server, `/accounts?cursor=${encodeURIComponent(cursor)}`).then(ids);
    const next = success(
      await admin(server, "GET", `/accounts?limit=10&cursor=${encodeURIComponent(first.next_cursor)}`),
    );
    await server.restart();
    assert.deepEqual(
      success(await admin(server, "GET", `/accounts?limit=10&cursor=${encodeURIComponent(first.next_cursor)}`)),
      next,
    );
  });
});

test("a key works and is revoked in every slot", async () => {
  for (const account of oneOfEach()) {
    const key = await issueKey(server, account, { scopes: ["a:b"] });
    const unmirrored = await issueKey(server, account, { scopes: ["a:b"] });
    assert.ok(server.kv.records.has(grantRecord(key.key)) && server.kv.records.has(accountRecord(account.id)));
    server.kv.records.delete(grantRecord(unmirrored.key));
    await takeLease(server, { account: account.id });
    for (const one of [key, unmirrored]) {
      const reads = server.kv.counts.get;
      allowed(await verify(server, one.key, "scope=a:b"), one, account);
      assert.ok(server.kv.counts.get > reads);
    }
    constant401(await verify(server, mintKey({ account: account.id }).text));
    await revokeKey(server, account, key);
    await eventually(async () => constant401(await verify(server, key.key)));
  }
});

test("a key is found in its own account's slot only", async () => {
  const [first, second] = oneOfEach();
  const key = await issueKey(server, first);
  const path = (account) => `/accounts/${account.id}/keys/${key.id}`;
  assert.equal(success(await admin(server, "GET", path(first))).id, key.id);
  problem(await admin(server, "GET", path(second)), 404, "not_found");
  problem(await admin(server, "POST", `${path(second)}/revoke`), 404, "not_found");
  problem(await admin(server, "POST", `/accounts/${second.id}/keys/lookup`, { key: key.key }), 404, "not_found");
});

describe("an external_id, over all slots", () => {
  const find = async (id) => ids(success(await admin(server, "GET", `/accounts?external_id=${id}`)).data);
  const taken = (answer) => problem(answer, 409, "conflict", { field: "external_id" });

  test("finds its account, whichever slot that is in", async () => {
    for (const account of oneOfEach()) assert.deepEqual(await find(account.external_id), [account.id]);
    assert.deepEqual(await find("crm:nobody"), []);
  });

  test("that is none is refused by name, with several slots as with one", async () => {
    for (const external_id of ["", "with space", "größe", "x".repeat(129), 7]) {
      problem(await admin(server, "POST", "/accounts", { name: "x", external_id }), 400, "invalid_request", {
        field: "external_id",
      });
    }
    // Of a key, it is no member at all.
    const [{ id }, { external_id }] = oneOfEach();
    const issue = { environment: "live", external_id };
    problem(await admin(server, "POST", `/accounts/${id}/keys`, issue), 400, "invalid_request", {
      field: "external_id",
    });
    const unknown = id.replace(/.{8}$/, "00000000");
    problem(await admin(server, "PATCH", `/accounts/${unknown}`, { external_id }), 404, "not_found");
  });

  test("belongs to one account only, whichever slot the next is drawn for", async () => {
    for (const { external_id } of oneOfEach()) {
      const answers = await Promise.all(
        Array.from({ length: 8 }, () => admin(server, "POST", "/accounts", { name: "Second", external_id })),
      );
      answers.forEach(taken);
    }
    const [first, second, third] = oneOfEach();
    taken(await admin(server, "PATCH", `/accounts/${first.id}`, { external_id: second.external_id }));
    taken(await admin(server, "PATCH", `/accounts/${second.id}`, { external_id: third.external_id }));
    success(await admin(server, "PATCH", `/accounts/${third.id}`, { external_id: third.external_id }));
    for (const account of [first, second, third]) assert.deepEqual(await find(account.external_id), [account.id]);
  });

  test("belongs to one account only, too, when many ask for it at once", async () => {
    for (let round = 0; round < 5; round += 1) {
      const external_id = `race:${round}`;
      const answers = await Promise.all(
        Array.from({ length: 12 }, () => admin(server, "POST", "/accounts", { name: "Race", external_id })),
      );
      const [winner, ...more] = answers.filter(({ status }) => status === 201);
      assert.ok(winner && more.length === 0, answers.map(({ status }) => status).join(" "));
      answers.filter((answer) => answer !== winner).forEach(taken);
      assert.deepEqual(await find(external_id), [winner.json.id]);
      accounts.push(winner.json);
    }
  });

  test("is free again once it is cleared or another is put in its place", async () => {
    const [, , account] = oneOfEach();
    const before = "crm:before";
    const change = (external_id) => admin(server, "PATCH", `/accounts/${account.id}`, { external_id });
    success(await change(before));
    success(await change("crm:moved"));
    assert.deepEqual([await find(before), await find("crm:moved")], [[], [account.id]]);
    const next = await createAccount(server, { external_id: before });
    assert.deepEqual(await find(before), [next.id]);
    taken(await change(before));
    success(await change(null));
    assert.deepEqual(await find("crm:moved"), []);
    accounts.push(next, await createAccount(server, { external_id: "crm:moved" }));
  });
});

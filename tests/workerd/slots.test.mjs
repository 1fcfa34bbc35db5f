// Several Authorities: accounts lie in different slots, and nobody but the operator notices.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { admin, createAccount, issueKey, revokeKey, verify } from "./harness/client.mjs";
import { allowed, constant401, eventually, problem, success } from "./harness/expect.mjs";
import { accountRecord, grantRecord, mintKey } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const SLOTS = ["00", "07", "ff"];

let server, accounts;
before(async () => {
  server = await startWorkerd({ env: { KEYGATE_SLOTS: " 0  7=weur 255 " } });
  accounts = await Promise.all(Array.from({ length: 60 }, (_, n) => createAccount(server, { name: `Acme ${n}` })));
});
after(() => server?.stop());

const slotOf = ({ id }) => id.slice("acct_".length, "acct_".length + 2);
const oneOfEach = () => SLOTS.map((slot) => accounts.find((account) => slotOf(account) === slot));

test("new accounts spread over the slots that are configured", () => {
  assert.deepEqual([...new Set(accounts.map(slotOf))].sort(), SLOTS);
});

test("a list goes through all slots and holds every account once, whatever the page size", async () => {
  for (const limit of [1, 7, 100]) {
    const seen = [];
    for (let cursor = ""; cursor !== null;) {
      const page = success(
        await admin(server, "GET", `/accounts?limit=${limit}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`),
      );
      assert.ok(page.data.length <= limit);
      seen.push(...page.data.map(({ id }) => id));
      cursor = page.next_cursor;
    }
    assert.equal(seen.length, accounts.length);
    assert.deepEqual(seen.toSorted(), accounts.map(({ id }) => id).toSorted());
  }
});

test("a key works and is revoked in every slot", async () => {
  for (const account of oneOfEach()) {
    const key = await issueKey(server, account, { scopes: ["a:b"] });
    allowed(await verify(server, key.key, "scope=a:b"), key, account);
    assert.ok(server.kv.records.has(grantRecord(key.key)) && server.kv.records.has(accountRecord(account.id)));
    server.kv.records.delete(grantRecord(key.key));
    allowed(await verify(server, key.key, "scope=a:b"), key, account);
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

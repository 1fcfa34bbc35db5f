// Keys that work from some addresses only.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { admin, bearer, createAccount, issueKey, send, verify } from "./harness/client.mjs";
import { allowed, constant401, problem, success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

let server, account;
before(async () => {
  server = await startWorkerd();
  account = await createAccount(server);
});
after(() => server?.stop());

/** Cloudflare sets this header, and no client can. */
const from = (address) => (address === undefined ? {} : { "CF-Connecting-IP": address });
const verifyFrom = (key, address, query = "") => verify(server, key, query, { headers: from(address) });

test("a key is accepted from its blocks, however an address is written, and from nowhere else", async () => {
  const blocks = ["192.0.2.0/24", "198.51.100.7", "2001:DB8:1::/48"];
  const key = await issueKey(server, account, { scopes: ["contacts:read"], allowed_ips: blocks });
  assert.deepEqual(key.allowed_ips, ["192.0.2.0/24", "198.51.100.7", "2001:db8:1::/48"]);
  // In turns, so that no answer to one is the answer to another.
  for (let times = 0; times < 2; times += 1) {
    for (const address of ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.9", "198.51.100.7", "2001:db8:1:ffff::1"]) {
      allowed(await verifyFrom(key.key, address), key, account);
    }
    for (const address of ["192.0.3.0", "198.51.100.8", "2001:db8:2::1", "::1", "192.0.2.1, 192.0.2.2", "unknown", "", undefined]) {
      problem(await verifyFrom(key.key, address), 403, "ip_not_allowed");
    }
  }
  for (const path of ["/_keygate/whoami", "/v1/contacts", "/v1/nothing"]) {
    problem(await send(server, "GET", path, { headers: { ...bearer(key.key), ...from("192.0.3.0") } }), 403, "ip_not_allowed");
    const inside = await send(server, "GET", path, { headers: { ...bearer(key.key), ...from("192.0.2.1") } });
    assert.equal(inside.status, path === "/v1/nothing" ? 404 : 200);
  }
});

test("from elsewhere nobody learns what a key could do, and a key that does not work is refused as everywhere", async () => {
  const key = await issueKey(server, account, { scopes: ["contacts:read"], allowed_ips: ["192.0.2.0/24"] });
  problem(await verifyFrom(key.key, "192.0.3.0", "scope=jobs:write"), 403, "ip_not_allowed");
  await admin(server, "POST", `/accounts/${account.id}/keys/${key.id}/revoke?wait=effective`);
  for (const address of ["192.0.2.1", "192.0.3.0"]) constant401(await verifyFrom(key.key, address));
});

test("a key without blocks works from everywhere, and a successor has the blocks of the old key unless others are said", async () => {
  const free = await issueKey(server, account);
  assert.equal(free.allowed_ips, null);
  for (const address of ["192.0.2.1", undefined]) allowed(await verifyFrom(free.key, address), free, account);
  const old = await issueKey(server, account, { allowed_ips: ["192.0.2.0/24"] });
  const rotate = async (key, body) =>
    success(await admin(server, "POST", `/accounts/${account.id}/keys/${key.id}/rotate`, body, { headers: { "If-Match": "*" } }), 201);
  const same = await rotate(old, { overlap: 60 });
  assert.deepEqual(same.allowed_ips, ["192.0.2.0/24"]);
  problem(await verifyFrom(same.key, "192.0.3.0"), 403, "ip_not_allowed");
  const narrower = await rotate(same, { overlap: 0, allowed_ips: ["192.0.2.7"] });
  problem(await verifyFrom(narrower.key, "192.0.2.8"), 403, "ip_not_allowed");
  allowed(await verifyFrom(narrower.key, "192.0.2.7"), narrower, account);
});

test("what is no list of blocks is refused, and named", async () => {
  const issue = (allowed_ips) => admin(server, "POST", `/accounts/${account.id}/keys`, { environment: "live", allowed_ips });
  const wrong = [
    [[], /1 to 64/],
    ["192.0.2.0/24", /1 to 64/],
    [[7], /1 to 64/],
    [["192.0.2.0/33"], /"192.0.2.0\/33" is none/],
    [["example.com"], /is none/],
    [["192.0.2.1/24"], /bits behind its length/],
    [["192.0.2.7", "192.0.2.7/32"], /twice/],
  ];
  for (const [value, detail] of wrong) problem(await issue(value), 400, "invalid_request", { field: "allowed_ips", detail });
  const key = await issueKey(server, account, { allowed_ips: ["192.0.2.0/24"] });
  const change = await admin(server, "PATCH", `/accounts/${account.id}/keys/${key.id}`, { allowed_ips: null });
  problem(change, 409, "conflict", { field: "allowed_ips" });
});

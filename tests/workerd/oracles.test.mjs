// Nothing that Keygate refuses tells why: not by a byte on the wire, not by the work that it does.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { mustBeBuilt, trapping } from "./harness/bundle.mjs";
import {
  admin,
  createAccount,
  issueKey,
  listAll,
  revokeKey,
  send,
  sendRaw,
  slots,
  takeLease,
} from "./harness/client.mjs";
import { allowed, constant401, eventually, problem } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { forgedKey, mintKey } from "./harness/mint.mjs";
import { otherPepper, secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

mustBeBuilt(trapping);

const ROOT = secrets.KEYGATE_ROOT_TOKEN;
const UNKNOWN_KEY = "key_00000000000000000000";

// Notes what the Authority is asked, and tells it at /asked. It leaves out that an isolate tells which keys were used:
// that comes some time after the answer.
const NOTING = `
  import worker, { Authority as Inner } from "./entry.js";

  let asked = [];

  export class Authority {
    constructor(ctx, env) {
      this.inner = new Inner(ctx, env);
    }
    async fetch(request) {
      const text = await request.clone().text();
      const telling = /^used /m.test(text) && !/^want /m.test(text);
      if (!telling) asked.push(request.method + " " + new URL(request.url).pathname);
      return this.inner.fetch(request);
    }
    alarm() {
      return this.inner.alarm();
    }
  }

  export default {
    fetch(request, env, ctx) {
      if (new URL(request.url).pathname !== "/asked") return worker.fetch(request, env, ctx);
      const all = asked;
      asked = [];
      return Response.json(all);
    },
  };
`;

// Isolates that have not seen a key yet, for a test each.
const UNUSED = ["without KV", "with wrong records", "with KV down", "counted"];

let server, owner, other, otherSlots, theirs, keys, unacceptable;
before(async () => {
  const edges = Object.fromEntries(["edge", ...UNUSED].map((name) => [name, {}]));
  server = await startWorkerd({ around: NOTING, env: { KEYGATE_SLOTS: "0 1" }, edges });
  owner = await createAccount(server);
  other = await inSlot(owner.id.slice(5, 7));
  otherSlots = await inSlot(owner.id.slice(5, 7) === "00" ? "01" : "00");
  theirs = await issueKey(server, other);
  const later = (milliseconds) => new Date(Date.now() + milliseconds).toISOString();
  keys = {
    good: await issueKey(server, owner, { scopes: ["contacts:read"] }),
    expired: await issueKey(server, owner, { scopes: ["*"], expires_at: later(300) }),
    "not yet valid": await issueKey(server, owner, { scopes: ["*"], not_before: later(3_600_000) }),
    revoked: await issueKey(server, owner, { scopes: ["*"] }),
    disabled: await issueKey(server, owner, { scopes: ["*"] }),
  };
  await revokeKey(server, owner, keys.revoked);
  await admin(server, "PATCH", `/accounts/${owner.id}/keys/${keys.disabled.id}`, { disabled: true });
  await sleep(Math.max(0, Date.parse(keys.expired.expires_at) - Date.now() + 5));
  await quiet();
  unacceptable = {
    forged: forgedKey({ account: owner.id }),
    unknown: mintKey({ account: owner.id }).text,
    revoked: keys.revoked.key,
    expired: keys.expired.key,
    "not yet valid": keys["not yet valid"].key,
    disabled: keys.disabled.key,
    "of the admin environment": mintKey({ account: owner.id, environment: "admin" }).text,
    "of an unknown account": mintKey({ account: `acct_${owner.id.slice(5, 7)}fffffffe` }).text,
    "of another pepper": mintKey({ account: owner.id, pepper: otherPepper }).text,
    "the root token": ROOT,
    nonsense: "x",
  };
});
after(() => server?.stop());

/** A new account in this slot. */
async function inSlot(slot) {
  for (;;) {
    const account = await createAccount(server);
    if (account.id.slice(5, 7) === slot) return account;
  }
}

/** Until KV has everything. */
const quiet = () =>
  eventually(async () => {
    for (const { unmirrored } of await slots(server)) assert.equal(unmirrored, 0);
  });

/** What `promise` resolves to, and what it took: reads and writes of KV, and what the Authority was asked. */
async function worked(act) {
  const asked = async () => (await send(server, "GET", "/asked")).json;
  await asked();
  const { get, put } = server.kv.counts;
  const answer = await act();
  const work = { gets: server.kv.counts.get - get, puts: server.kv.counts.put - put, asked: await asked() };
  return { answer, work };
}

describe("a credential that is not valid", () => {
  const requests = [
    "GET /_keygate/verify",
    "POST /_keygate/verify?scope=contacts:read",
    "GET /_keygate/whoami",
    "GET /v1/contacts",
    "DELETE /no/such/route",
  ];
  const refused = (line, token, edge = server) =>
    sendRaw(edge, [`${line} HTTP/1.1`, `Authorization: Bearer ${token}`]);

  /** An isolate that has a lease for the keys of this account, and has not seen any. */
  async function unused(name) {
    const edge = server.edges[name];
    await takeLease(edge, { account: owner.id });
    return edge;
  }

  /** All of them on every route: one answer, to the byte. */
  async function oneAnswer(tokens, edge) {
    const seen = new Map();
    for (const [name, token] of Object.entries(tokens)) {
      for (const line of requests) {
        const answer = await refused(line, token, edge);
        assert.equal(answer.status, 401, `${name}, ${line}: ${answer.text}`);
        constant401(answer);
        seen.set(answer.wire, `${name}, ${line}`);
      }
    }
    assert.deepEqual([...seen.values()].length, 1, [...seen].flat().join("\n"));
  }

  test("is answered by the same bytes, whatever is wrong with it", async () => {
    await oneAnswer(unacceptable);
    allowed(await refused("GET /_keygate/verify", keys.good.key), keys.good, owner);
  });

  test("is so too when KV has nothing, or nothing that can be believed, and the Authority answers", async () => {
    const records = new Map(server.kv.records);
    const faulty = {
      "without KV": async () => ({ status: 404 }),
      "with wrong records": async () => ({ status: 200, value: "v1.7.00.{}", metadata: null }),
      "with KV down": faults.fail,
    };
    try {
      for (const [name, fault] of Object.entries(faulty)) {
        const edge = await unused(name);
        server.kv.onGet = fault;
        const reads = server.kv.counts.get;
        await oneAnswer(unacceptable, edge);
        assert.ok(server.kv.counts.get > reads, name);
      }
    } finally {
      server.kv.heal();
      await quiet();
    }
    assert.deepEqual([...server.kv.records.keys()].sort(), [...records.keys()].sort());
  });

  test("costs no work if it could be made up, and the same whatever the state of the key that it once was", async () => {
    const made = ["forged", "of another pepper", "of the admin environment", "the root token", "nonsense"];
    const states = ["revoked", "expired", "not yet valid", "disabled"];
    const edge = await unused("counted");
    const verify = (name) => worked(() => refused("GET /_keygate/verify", unacceptable[name], edge));
    for (const name of made) {
      const { work } = await verify(name);
      // An admin key could only be made with the pepper.
      if (name !== "of the admin environment") assert.deepEqual(work, { gets: 0, puts: 0, asked: [] }, name);
    }
    // Where it is new (the account is at hand, for it came with the lease), and where it was seen before.
    for (const gets of [1, 0]) {
      for (const name of states) assert.deepEqual((await verify(name)).work, { gets, puts: 0, asked: [] }, name);
      const unknown = (await verify("unknown")).work;
      assert.equal(unknown.gets, gets);
      // Its account is at no isolate's hand. No such key can be made without the pepper, so nobody learns from it.
      assert.deepEqual((await verify("of an unknown account")).work, { ...unknown, gets: 2 * gets });
    }
  });

  test("is answered by the same bytes on every admin route, without any work unless it is minted as an admin credential", async () => {
    const { "the root token": _, ...wrong } = unacceptable;
    const tokens = {
      ...wrong,
      "a good key": keys.good.key,
      "part of the root token": ROOT.slice(0, -1),
      "more than it": `${ROOT}x`,
    };
    const lines = [
      "GET /_keygate/admin/v1/accounts",
      "POST /_keygate/admin/v1/accounts",
      `GET /_keygate/admin/v1/accounts/${owner.id}`,
      `GET /_keygate/admin/v1/accounts/${owner.id}/audit`,
      `PATCH /_keygate/admin/v1/accounts/${owner.id}/keys/${keys.good.id}`,
      `POST /_keygate/admin/v1/accounts/${owner.id}/keys/${UNKNOWN_KEY}/revoke`,
      "GET /_keygate/admin/v1/no/such/route",
      "GET /_keygate/healthz?verbose",
    ];
    const seen = new Set([(await refused("GET /_keygate/verify", unacceptable.forged)).wire]);
    for (const [name, token] of Object.entries(tokens)) {
      for (const line of lines) {
        const { answer, work } = await worked(() => refused(line, token));
        assert.equal(answer.status, 401, `${name}, ${line}: ${answer.text}`);
        // Only the shard of its account knows which admin credentials there are.
        const asks = name === "of the admin environment" && line.includes("/admin/");
        assert.deepEqual({ ...work, asked: work.asked.length }, { gets: 0, puts: 0, asked: asks ? 1 : 0 }, `${name}, ${line}`);
        seen.add(answer.wire);
      }
    }
    assert.equal(seen.size, 1);
  });
});

describe("an id that the account does not have", () => {
  /** The headers of a JSON request of the operator, as lines. */
  const withJson = (body, ...more) => [
    [`Authorization: Bearer ${ROOT}`, "Content-Type: application/json", `Content-Length: ${body.length}`, ...more],
    body,
  ];
  const call = (line, [lines, body] = withJson("")) => sendRaw(server, [`${line} HTTP/1.1`, ...lines], body);
  const path = (account, id, rest = "") => `/_keygate/admin/v1/accounts/${account}/keys/${id}${rest}`;

  /** What can be asked about a key, by its id. */
  const ofKey = {
    "reading it": (id) => call(`GET ${path(owner.id, id)}`),
    "renaming it": (id) => call(`PATCH ${path(owner.id, id)}`, withJson('{"name":"x"}', "If-Match: *")),
    "renaming it at a version": (id) => call(`PATCH ${path(owner.id, id)}`, withJson('{"name":"x"}', 'If-Match: "1"')),
    "changing nothing of it": (id) => call(`PATCH ${path(owner.id, id)}`, withJson("{}", "If-Match: *")),
    "disabling it": (id) => call(`PATCH ${path(owner.id, id)}`, withJson('{"disabled":true}', "If-Match: *")),
    "revoking it": (id) => call(`POST ${path(owner.id, id, "/revoke")}`),
    "revoking it, and again": (id) =>
      call(`POST ${path(owner.id, id, "/revoke")}`, withJson("", `Idempotency-Key: ${id.padEnd(30, "x")}`)),
  };

  test("is answered alike, to the byte, and by the same work, whether another account has it or none", async (t) => {
    const revoked = await issueKey(server, other);
    await revokeKey(server, other, revoked);
    const elsewhere = await issueKey(server, otherSlots);
    await quiet();
    const before = await listAll(server, `/accounts/${other.id}/audit`);
    for (const [name, ask] of Object.entries(ofKey)) {
      await t.test(name, async () => {
        const seen = new Set();
        const works = [];
        for (const id of [theirs.id, revoked.id, elsewhere.id, UNKNOWN_KEY, "key_ffffffffffffffffffff"]) {
          const { answer, work } = await worked(() => ask(id));
          problem(answer, 404, "not_found");
          seen.add(answer.wire);
          works.push({ ...work, asked: work.asked.map((line) => line.replace(id, "key")) });
        }
        assert.equal(seen.size, 1);
        for (const work of works) assert.deepEqual(work, works[0]);
        assert.deepEqual([works[0].gets, works[0].puts, works[0].asked.length], [0, 0, 1]);
        for (const id of [
          "key_",
          "key_0",
          theirs.id.toUpperCase(),
          `${theirs.id}0`,
          theirs.id.slice(4),
          other.id,
          "..",
          "%6bey",
        ]) {
          const { answer, work } = await worked(() => ask(id));
          problem(answer, 404, "not_found");
          seen.add(answer.wire);
          assert.deepEqual([work.gets, work.puts], [0, 0]);
        }
        assert.equal(seen.size, 1);
      });
    }
    assert.deepEqual(await listAll(server, `/accounts/${other.id}/audit`), before);
  });

  test("of an account is answered alike on every route, to the byte, as one that is none", async () => {
    const unknown = ["fffffffe", "00000000"].map((number) => `${owner.id.slice(0, 7)}${number}`);
    const malformed = [
      "acct_",
      "acct_00",
      owner.id.toUpperCase(),
      `${owner.id}0`,
      owner.id.slice(5),
      theirs.id,
      "x",
      "acct_7700000001",
    ];
    const ofAccount = [
      (id) => call(`GET /_keygate/admin/v1/accounts/${id}`),
      (id) => call(`PATCH /_keygate/admin/v1/accounts/${id}`, withJson('{"name":"x"}', "If-Match: *")),
      (id) => call(`GET /_keygate/admin/v1/accounts/${id}/audit`),
      (id) => call(`GET /_keygate/admin/v1/accounts/${id}/keys`),
      (id) => call(`POST /_keygate/admin/v1/accounts/${id}/keys`, withJson('{"environment":"live"}')),
      (id) => call(`POST ${path(id, "lookup")}`, withJson(JSON.stringify({ key: theirs.key }))),
      (id) => call(`GET ${path(id, theirs.id)}`),
      (id) => call(`PATCH ${path(id, theirs.id)}`, withJson('{"name":"x"}', "If-Match: *")),
      (id) => call(`POST ${path(id, theirs.id, "/revoke")}`),
    ];
    const seen = new Set();
    for (const ask of ofAccount) {
      for (const id of [...unknown, ...malformed]) {
        const { answer, work } = await worked(() => ask(id));
        problem(answer, 404, "not_found");
        seen.add(answer.wire);
        assert.deepEqual([work.gets, work.puts], [0, 0]);
      }
    }
    assert.equal(seen.size, 1);
  });

  test("of a pasted key is answered alike, by the same work, whether another account has it or none", async () => {
    const lookup = (text) => call(`POST ${path(owner.id, "lookup")}`, withJson(JSON.stringify({ key: text })));
    const texts = [
      theirs.key,
      mintKey({ account: owner.id }).text,
      mintKey({ account: other.id }).text,
      forgedKey(),
      "x",
    ];
    const found = [];
    for (const text of texts) found.push(await worked(() => lookup(text)));
    for (const { answer, work } of found) {
      problem(answer, 404, "not_found");
      assert.equal(answer.wire, found[0].answer.wire);
      assert.deepEqual(work, found[0].work);
    }
  });

  test("takes the Authority as many statements of SQL, whether another account has it or none", async () => {
    const trap = await startWorkerd({ bundle: trapping });
    try {
      const [mine, another] = [await createAccount(trap), await createAccount(trap)];
      const { id: theirId } = await issueKey(trap, another);
      const keyPath = (id) => `/accounts/${mine.id}/keys/${id}`;
      const commands = [
        (id, headers) => admin(trap, "PATCH", keyPath(id), { name: "x" }, { headers }),
        (id, headers) =>
          admin(trap, "PATCH", keyPath(id), { disabled: true }, { headers: { ...headers, "If-Match": '"1"' } }),
        (id, headers) => admin(trap, "POST", `${keyPath(id)}/revoke`, undefined, { headers }),
      ];
      for (const command of commands) {
        const statements = async (id) => {
          for (let n = 0; ; n += 1) {
            const answer = await command(id, { "X-Keygate-Trap": `authority-fail-${n}` });
            if (answer.status !== 503) return problem(answer, 404, "not_found") ?? n;
          }
        };
        const unknown = await statements(UNKNOWN_KEY);
        assert.ok(unknown > 0);
        assert.equal(await statements(theirId), unknown);
      }
    } finally {
      await trap.stop();
    }
  });
});

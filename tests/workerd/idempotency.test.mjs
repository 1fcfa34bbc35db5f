// Every command can be repeated: with the caller's Idempotency-Key for a day, and by the Worker itself when an answer
// was lost on its way from the Authority. Nothing is done twice, and the answer is the same, byte for byte.

import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, afterEach, before, describe, test } from "node:test";
import { mustBeBuilt, trapping } from "./harness/bundle.mjs";
import { admin, createAccount, issueKey, listAll, send, transcript, verify } from "./harness/client.mjs";
import { databaseFiles, databases, edit } from "./harness/database.mjs";
import { allowed, eventually, problem, success } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { digestOf, mintKey } from "./harness/mint.mjs";
import { secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

mustBeBuilt(trapping);

const DAY_MS = 24 * 60 * 60 * 1_000;

const newId = () => randomBytes(16).toString("base64url");
const withId = (id) => ({ headers: { "Idempotency-Key": id } });
const keysOf = (server, account) => listAll(server, `/accounts/${account.id}/keys`);
const tablesOf = (server) => databases(server).map(({ tables }) => tables);

let server, account;
before(async () => {
  server = await startWorkerd();
  account = await createAccount(server);
});
after(() => server?.stop());
afterEach(() => server?.kv.heal());

const issue = (id, fields = {}, there = server, owner = account) =>
  admin(there, "POST", `/accounts/${owner.id}/keys`, { environment: "live", ...fields }, withId(id));

/** All answers say the same, in the same bytes; the result is that answer. */
function same(answers) {
  const different = new Set(answers.map(transcript));
  assert.equal(different.size, 1, [...different].join("\n"));
  return answers[0];
}

/** The answer to a request for which another one's Idempotency-Key was used. */
function conflicts(answer) {
  problem(answer, 422, "idempotency_conflict", { field: "Idempotency-Key" });
}

describe("the same key and the same request", () => {
  // Each gives a call, and the status of its answer.
  const commands = {
    "creating an account": async () => {
      const body = { name: "Repeated", external_id: newId() };
      return { call: (options) => admin(server, "POST", "/accounts", body, options), status: 201 };
    },
    "changing an account": async () => {
      const owner = await createAccount(server);
      return { call: (options) => admin(server, "PATCH", `/accounts/${owner.id}`, { name: "Changed" }, options) };
    },
    "issuing a key": async () => ({
      call: (options) => admin(server, "POST", `/accounts/${account.id}/keys`, { environment: "test" }, options),
      status: 201,
    }),
    "changing a key": async () => {
      const key = await issueKey(server, account);
      const path = `/accounts/${account.id}/keys/${key.id}`;
      return { call: (options) => admin(server, "PATCH", path, { name: "Changed" }, options) };
    },
    "changing a key of a certain version": async () => {
      const key = await issueKey(server, account);
      const path = `/accounts/${account.id}/keys/${key.id}`;
      const { etag } = (await admin(server, "GET", path)).headers;
      return {
        call: ({ headers }) =>
          admin(server, "PATCH", path, { disabled: true }, { headers: { ...headers, "If-Match": etag } }),
      };
    },
    "revoking a key": async () => {
      const key = await issueKey(server, account);
      const path = `/accounts/${account.id}/keys/${key.id}/revoke`;
      return { call: (options) => admin(server, "POST", path, undefined, options) };
    },
  };
  for (const [name, prepare] of Object.entries(commands)) {
    test(`${name}: the same answer, and nothing is done twice`, async () => {
      const { call, status = 200 } = await prepare();
      const options = withId(newId());
      const first = await call(options);
      success(first, status);
      const tables = tablesOf(server);
      same([first, await call(options), await call(options)]);
      assert.deepEqual(tablesOf(server), tables);
    });
  }

  test("the answer stays as it was, whatever has become of the key or of KV since", async () => {
    server.kv.onPut = faults.fail;
    const id = newId();
    const first = await issue(id, { name: "before" });
    const key = success(first, 201);
    assert.equal(key.mirrored, false);
    server.kv.heal();
    const path = `/accounts/${account.id}/keys/${key.id}`;
    success(await admin(server, "PATCH", path, { name: "after" }));
    success(await admin(server, "POST", `${path}/revoke`));
    await eventually(() => assert.ok(server.kv.records.has(`grant:${digestOf(key.key)}`)));
    same([first, await issue(id, { name: "before" })]);
    assert.equal(success(await admin(server, "GET", path)).status, "revoked");
  });

  test("after a kill -9 and a restart, too", async () => {
    const owner = await createAccount(server);
    const id = newId();
    const first = await issue(id, {}, server, owner);
    await server.kill9();
    await server.restart();
    const key = success(same([first, await issue(id, {}, server, owner)]), 201);
    assert.equal((await keysOf(server, owner)).length, 1);
    allowed(await verify(server, key.key), key, owner);
  });

  const mirrors = { "a quick KV": undefined, "a slow KV": faults.slow(150), "no KV": faults.fail };
  for (const [name, fault] of Object.entries(mirrors)) {
    test(`20 at once, with ${name}: one key, one account, and 20 equal answers`, async () => {
      server.kv.onPut = fault;
      const owner = await createAccount(server);
      const id = newId();
      const key = success(same(await Promise.all(Array.from({ length: 20 }, () => issue(id, {}, server, owner)))), 201);
      assert.deepEqual((await keysOf(server, owner)).map(({ id }) => id), [key.id]);
      allowed(await verify(server, key.key), key, owner);

      const [before, another] = [await listAll(server, "/accounts"), newId()];
      const creating = () => admin(server, "POST", "/accounts", { name: "Twenty" }, withId(another));
      const created = success(same(await Promise.all(Array.from({ length: 20 }, creating))), 201);
      const more = (await listAll(server, "/accounts")).length - before.length;
      assert.equal(more, 1);
      assert.equal(success(await admin(server, "GET", `/accounts/${created.id}`)).name, "Twenty");
    });
  }

  test("another caller's word for who acts makes no other request of it", async () => {
    const id = newId();
    const call = (actor) =>
      admin(
        server,
        "POST",
        `/accounts/${account.id}/keys`,
        { environment: "live" },
        { headers: { "Idempotency-Key": id, "X-Keygate-Actor": actor } },
      );
    assert.equal(success(same([await call("alice"), await call("bob")]), 201).created_by, "alice");
  });
});

describe("the same key and another request", () => {
  test("is a conflict that does nothing, whatever differs", async () => {
    const owner = await createAccount(server);
    const other = await createAccount(server);
    const id = newId();
    const first = await issue(id, { name: "first" }, server, owner);
    const key = success(first, 201);
    const path = `/accounts/${owner.id}`;
    const others = [
      ["POST", `${path}/keys`, { environment: "live", name: "second" }],
      ["POST", `${path}/keys`, { environment: "test", name: "first" }],
      ["POST", `/accounts/${other.id}/keys`, { environment: "live", name: "first" }],
      ["POST", `${path}/keys/${key.id}/revoke`, undefined],
      ["POST", "/accounts", { name: "first" }],
      ["PATCH", `${path}/keys/${key.id}`, { name: "second" }],
      ["PATCH", path, { name: "second" }],
    ];
    const tables = tablesOf(server);
    for (const [method, target, body] of others) {
      conflicts(await admin(server, method, target, body, withId(id)));
    }
    assert.deepEqual(tablesOf(server), tables);
    same([first, await issue(id, { name: "first" }, server, owner)]);
  });

  test("is a conflict in every spelling of the body", async () => {
    const id = newId();
    const call = (body) =>
      send(server, "POST", `/_keygate/admin/v1/accounts/${account.id}/keys`, {
        headers: {
          Authorization: `Bearer ${secrets.KEYGATE_ROOT_TOKEN}`,
          "Content-Type": "application/json",
          "Idempotency-Key": id,
        },
        body,
      });
    success(await call('{"environment":"live"}'), 201);
    conflicts(await call('{"environment": "live"}'));
  });
});

describe("with several slots", () => {
  let several;
  before(async () => {
    several = await startWorkerd({ env: { KEYGATE_SLOTS: "0 1 2" } });
  });
  after(() => several?.stop());
  const create = (id, body) => admin(several, "POST", "/accounts", body, withId(id));
  const count = async () => (await listAll(several, "/accounts")).length;

  for (const [what, external] of [
    ["an account", () => ({})],
    ["an account with an external_id", () => ({ external_id: `crm:${newId()}` })],
  ]) {
    test(`${what} is created once, and another with the same key is a conflict`, async () => {
      const [id, body, before] = [newId(), { name: "Once", ...external() }, await count()];
      const first = await create(id, body);
      success(first, 201);
      for (let n = 0; n < 4; n += 1) same([first, await create(id, body)]);
      for (let n = 0; n < 8; n += 1) {
        const other = { name: `Other ${n}`, ...external() };
        conflicts(await create(id, other));
      }
      assert.equal(await count(), before + 1);
    });

    test(`${what} is created once when 20 ask for it at once`, async () => {
      const [id, body, before] = [newId(), { name: "Once", ...external() }, await count()];
      success(same(await Promise.all(Array.from({ length: 20 }, () => create(id, body)))), 201);
      assert.equal(await count(), before + 1);
    });
  }

  test("the answer stays as it was, though the external_id has moved to another account since", async () => {
    const accounts = await Promise.all(Array.from({ length: 12 }, () => createAccount(several)));
    const first = accounts[0];
    const second = accounts.find(({ id }) => id.slice(0, 7) !== first.id.slice(0, 7));
    const options = withId(newId());
    const take = () => admin(several, "PATCH", `/accounts/${first.id}`, { external_id: "crm:moving" }, options);
    const answer = await take();
    success(answer);
    success(await admin(several, "PATCH", `/accounts/${first.id}`, { external_id: null }));
    success(await admin(several, "PATCH", `/accounts/${second.id}`, { external_id: "crm:moving" }));
    same([answer, await take()]);
    assert.equal(success(await admin(several, "GET", `/accounts/${first.id}`)).external_id, null);
  });
});

describe("what is not remembered", () => {
  test("a refusal: once its reason is gone, the same request is carried out", async () => {
    const owner = await createAccount(server, { max_active_keys: 1 });
    const kept = await issueKey(server, owner);
    const id = newId();
    problem(await issue(id, {}, server, owner), 409, "limit_reached");
    problem(await issue(id, { environment: "staging" }, server, owner), 400, "invalid_request", {
      field: "environment",
    });
    success(await admin(server, "POST", `/accounts/${owner.id}/keys/${kept.id}/revoke`));
    success(await issue(id, {}, server, owner), 201);
    assert.equal((await keysOf(server, owner)).length, 2);
  });

  test("a question", async () => {
    const id = newId();
    const lookup = (key) => admin(server, "POST", `/accounts/${account.id}/keys/lookup`, { key }, withId(id));
    const [first, second] = [await issueKey(server, account), await issueKey(server, account)];
    assert.equal(success(await lookup(first.key)).id, first.id);
    assert.equal(success(await lookup(second.key)).id, second.id);
    success(await admin(server, "GET", `/accounts/${account.id}`, undefined, withId("short")));
  });

  test("anything for longer than a day, and nothing is left of it then", async () => {
    const own = await startWorkerd();
    try {
      const owner = await createAccount(own);
      const [early, late] = [newId(), newId()];
      const first = success(await issue(early, {}, own, owner), 201);
      const second = await issue(late, {}, own, owner);
      await own.stop();
      // As if the one had been a little more than a day ago, and the other a little less.
      const [path] = databaseFiles(own);
      const nonces = edit(path, (database) => {
        const rows = database.prepare("SELECT id, nonce FROM commands WHERE nonce IS NOT NULL ORDER BY at").all();
        assert.equal(rows.length, 2);
        const moved = database.prepare("UPDATE commands SET at = at - ? WHERE nonce = ?");
        moved.run(DAY_MS + 1_000, rows[0].nonce);
        moved.run(DAY_MS - 60_000, rows[1].nonce);
        return rows.map(({ nonce }) => nonce);
      });
      await own.restart();
      same([second, await issue(late, {}, own, owner)]);
      const again = success(await issue(early, {}, own, owner), 201);
      assert.notEqual(again.id, first.id);
      assert.equal((await keysOf(own, owner)).length, 3);
      await eventually(() => {
        const left = databases(own)[0].tables.commands.map(({ nonce }) => nonce);
        assert.ok(!left.includes(nonces[0]) && left.includes(nonces[1]));
      });
    } finally {
      await own.stop();
    }
  });
});

test("a key that is too short, too long or not visible ASCII is refused by name", async () => {
  const x = (times) => "x".repeat(times);
  const wrong = ["", x(21), x(256), `${x(20)} ${x(20)}`, "ä".repeat(30), "x\t".repeat(15)];
  const before = await keysOf(server, account);
  for (const id of wrong) {
    const header = Buffer.from(id).toString("latin1");
    problem(await issue(header), 400, "invalid_request", { field: "Idempotency-Key", detail: /22/ });
    problem(await admin(server, "POST", "/accounts", { name: "x" }, withId(header)), 400, "invalid_request", {
      field: "Idempotency-Key",
    });
  }
  assert.deepEqual(await keysOf(server, account), before);
  for (const id of [x(22), "~".repeat(255)]) success(await issue(id), 201);
});

describe("when the Authority's answer is lost", () => {
  let own, owner;
  before(async () => {
    own = await startWorkerd({ bundle: trapping });
    owner = await createAccount(own);
  });
  after(() => own?.stop());
  const lost = { "X-Keygate-Trap": "authority-lose-answer" };

  for (const [name, id] of Object.entries({ with: newId(), without: undefined })) {
    test(`${name} an Idempotency-Key, the Worker's own repeat gives the answer to what was done`, async () => {
      const headers = { ...lost, "Idempotency-Key": id };
      const earlier = await keysOf(own, owner);
      const answer = await admin(own, "POST", `/accounts/${owner.id}/keys`, { environment: "live" }, { headers });
      const key = success(answer, 201);
      assert.deepEqual(
        (await keysOf(own, owner)).map(({ id }) => id),
        [key.id, ...earlier.map(({ id }) => id)],
      );
      allowed(await verify(own, key.key), key, owner);
      if (id !== undefined) same([answer, await issue(id, {}, own, owner)]);

      const accounts = (await listAll(own, "/accounts")).length;
      const other = { ...lost, "Idempotency-Key": id && newId() };
      const created = success(await admin(own, "POST", "/accounts", { name: "Lost" }, { headers: other }), 201);
      assert.equal((await listAll(own, "/accounts")).length, accounts + 1);
      assert.equal(success(await admin(own, "GET", `/accounts/${created.id}`)).name, "Lost");
    });
  }
});

describe("the Worker's own repeat", () => {
  // Stands before the Worker. The header `fail` has that many calls of the Authority fail behind its back, as the
  // runtime says it: after they were carried out.
  const FAILING = `
    import worker, { Authority } from "./entry.js";
    export { Authority };
    let calls = 0;
    export default {
      fetch(request, env, ctx) {
        if (new URL(request.url).pathname === "/calls") return Response.json(calls);
        let left = Number(request.headers.get("fail"));
        const marks = JSON.parse(request.headers.get("marks") ?? "{}");
        const getByName = (name, options) => {
          const stub = env.KEYGATE_AUTHORITY.getByName(name, options);
          return {
            async fetch(question) {
              // A sync is no command: it may still come behind the answer to an earlier request.
              if (new URL(question.url).pathname !== "/sync") calls += 1;
              const answer = await stub.fetch(question);
              if (left-- > 0) throw Object.assign(new Error("lost"), marks);
              return answer;
            },
          };
        };
        return worker.fetch(request, { ...env, KEYGATE_AUTHORITY: { getByName } }, ctx);
      },
    };
  `;
  let own, owner;
  before(async () => {
    own = await startWorkerd({ around: FAILING });
    owner = await createAccount(own);
  });
  after(() => own?.stop());

  const calls = async () => (await send(own, "GET", "/calls")).json;

  /** Issues a key while calls fail: the answer, how many calls there were, and how many keys there are more. */
  async function failing(fail, marks) {
    const keysBefore = (await keysOf(own, owner)).length;
    const callsBefore = await calls();
    const headers = { fail: String(fail), marks: JSON.stringify(marks) };
    const answer = await admin(own, "POST", `/accounts/${owner.id}/keys`, { environment: "live" }, { headers });
    const needed = (await calls()) - callsBefore;
    return { answer, needed, issued: (await keysOf(own, owner)).length - keysBefore };
  }

  test("comes once after a failure that the runtime calls retryable", async () => {
    const { answer, needed, issued } = await failing(1, { retryable: true });
    const key = success(answer, 201);
    assert.deepEqual({ needed, issued }, { needed: 2, issued: 1 });
    allowed(await verify(own, key.key), key, owner);
  });

  test("comes once and no more", async () => {
    const { answer, needed, issued } = await failing(2, { retryable: true });
    problem(answer, 503, "indeterminate");
    assert.deepEqual({ needed, issued }, { needed: 2, issued: 1 });
  });

  for (const marks of [{}, { retryable: false }, { retryable: true, overloaded: true }]) {
    test(`does not come after ${JSON.stringify(marks)}`, async () => {
      const { answer, needed, issued } = await failing(1, marks);
      problem(answer, 503, "indeterminate");
      assert.deepEqual({ needed, issued }, { needed: 1, issued: 1 });
    });
  }
});

describe("a copy of the database, with the pepper, but without the caller's Idempotency-Key", () => {
  let id, key, tables, row;
  before(async () => {
    id = newId();
    key = success(await issue(id), 201);
    [{ tables }] = databases(server);
    const digest = digestOf(key.key);
    assert.ok(tables.keys.some((row) => row.digest === digest));
    const ours = tables.commands.filter(({ body }) => body.includes(key.id));
    assert.equal(ours.length, 1);
    [row] = ours;
  });

  /** The key's secret, as it is derived from the nonce and something else. */
  const secretFrom = (nonce, ...parts) =>
    parts
      .reduce((mac, part) => mac.update(part), createHmac("sha256", Buffer.from(nonce, "hex")))
      .digest()
      .subarray(0, 20);

  const keyFrom = (secret) => mintKey({ account: account.id, secret }).text;

  test("holds neither the key nor the Idempotency-Key, in any column of any table nor anywhere in the file", () => {
    const [, , digits] = key.key.split("_");
    const secret = secretFrom(row.nonce, "key secret", `chosen ${id}`);
    assert.equal(keyFrom(secret), key.key);
    const traces = [
      key.key,
      digits.slice(0, 46),
      digits,
      id,
      Buffer.from(id).toString("hex"),
      secret.toString("hex"),
      secret.toString("base64").slice(0, 26),
      secret.toString("latin1"),
      secrets.KEYGATE_PEPPER.split(":")[1],
      secrets.KEYGATE_ROOT_TOKEN,
    ];
    for (const [table, rows] of Object.entries(tables)) {
      const values = rows.flatMap((row) => Object.values(row).map(String));
      for (const trace of traces) {
        assert.ok(!values.some((value) => value.toLowerCase().includes(trace.toLowerCase())), `${table} has ${trace}`);
      }
    }
    const files = databaseFiles(server).flatMap((path) => [path, `${path}-wal`]);
    const bytes = files.map((file) => readFileSync(file, "latin1"));
    for (const trace of traces) assert.ok(!bytes.some((text) => text.includes(trace)), `the file has ${trace}`);
    // So that this test looks at the right place.
    assert.ok(bytes.some((text) => text.includes(digestOf(key.key)) && text.includes(row.nonce)));
  });

  test("does not yield the key from what it has", () => {
    assert.match(row.nonce, /^[0-9a-f]{64}$/);
    const known = Object.values(row).filter((value) => typeof value === "string");
    const guesses = [
      [],
      ["key secret"],
      ["key secret", "chosen "],
      ...known.flatMap((value) => [
        [value],
        ["key secret", value],
        ["key secret", `chosen ${value}`],
        ["key secret", Buffer.from(value, "hex")],
      ]),
    ];
    for (const parts of guesses) assert.notEqual(keyFrom(secretFrom(row.nonce, ...parts)), key.key);
  });

  test("yields it together with the Idempotency-Key", () => {
    assert.equal(keyFrom(secretFrom(row.nonce, "key secret", `chosen ${id}`)), key.key);
    assert.notEqual(keyFrom(secretFrom(row.nonce, "key secret", `chosen ${newId()}`)), key.key);
  });

  test("has as little of a key that was issued without one", async () => {
    const plain = await issueKey(server, account);
    const [{ tables }] = databases(server);
    const [kept] = tables.commands.filter(({ body }) => body.includes(plain.id));
    assert.match(kept.nonce, /^[0-9a-f]{64}$/);
    assert.notEqual(keyFrom(secretFrom(kept.nonce, "key secret")), plain.key);
    const digits = plain.key.split("_")[2].slice(0, 46);
    for (const value of Object.values(kept).map(String)) assert.ok(!value.includes(digits));
  });
});

// scripts/audit: whoever edits the audit in the database is found out, and the first wrong entry is named.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { auditOf } from "./harness/audit.mjs";
import { repository } from "./harness/bundle.mjs";
import { admin, createAccount, issueKey, revokeKey } from "./harness/client.mjs";
import { databaseFiles, edit } from "./harness/database.mjs";
import { success } from "./harness/expect.mjs";
import { secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const NOTHING = "0".repeat(64);
const by = (actor) => ({ headers: { "X-Keygate-Actor": actor } });
const ids = (entries) => entries.map(({ number }) => number);

/** Runs scripts/audit, or with `bare` the program behind it, which takes half the time: `{code, stdout, stderr}`. */
function scriptsAudit(options, { token = secrets.KEYGATE_ROOT_TOKEN, bare = false } = {}) {
  const env = { ...process.env, KEYGATE_ROOT_TOKEN: token };
  const [program, ...first] = bare ? [process.execPath, "scripts/lib/audit.mjs"] : [join(repository, "scripts/audit")];
  return new Promise((resolve) => {
    execFile(program, [...first, ...options], { env, cwd: repository }, (error, stdout, stderr) => {
      assert.ok(!`${stdout}${stderr}`.includes(secrets.KEYGATE_ROOT_TOKEN), "the root token was shown");
      resolve({ code: error?.code ?? 0, stdout, stderr });
    });
  });
}

describe("scripts/audit verify", { concurrency: 3 }, () => {
  let server;
  before(async () => {
    server = await startWorkerd();
  });
  after(() => server?.stop());

  const verify = (account, ...more) => scriptsAudit(["verify", "--url", server.url, "--account", account.id, ...more]);
  const head = ({ stdout }) => /^head (\d+:[0-9a-f]{64})$/m.exec(stdout)[1];

  function right(result, account, entries) {
    assert.equal(result.stderr, "");
    assert.equal(result.code, 0);
    const count = entries === 1 ? "1 entry is right" : `${entries} entries are right`;
    assert.match(result.stdout, new RegExp(`^${account.id}: ${count}\\.\nhead ${entries}:[0-9a-f]{64}\n$`));
  }

  test("says how many entries are right, and the head", async () => {
    const account = await createAccount(server);
    const first = await verify(account);
    right(first, account, 1);
    await issueKey(server, account);
    const second = await verify(account, "--head", head(first));
    right(second, account, 2);
    const { audit_head } = success(await admin(server, "GET", `/accounts/${account.id}`));
    assert.equal(head(second), `${audit_head.number}:${audit_head.hash}`);
    right(await scriptsAudit(["verify", "--url", `${server.url}/_keygate/`, "--account", account.id]), account, 2);
  });

  test("goes through all pages, also while the audit grows", async () => {
    const account = await createAccount(server);
    for (let batch = 0; batch < 7; batch += 1) {
      await Promise.all(
        Array.from({ length: 30 }, (_, n) =>
          admin(server, "PATCH", `/accounts/${account.id}`, { name: `${batch} ${n}` }),
        ),
      );
    }
    right(await verify(account), account, 211);
    let growing = true;
    const growth = (async () => {
      for (let n = 0; growing; n += 1) await admin(server, "PATCH", `/accounts/${account.id}`, { name: `grown ${n}` });
    })();
    const result = await verify(account);
    growing = false;
    await growth;
    assert.equal(result.code, 0, result.stderr);
  });

  test("says in a sentence, and with another exit code, why it could not find out", async () => {
    const account = await createAccount(server);
    const of = (...options) => scriptsAudit(["verify", ...options]);
    const cases = [
      [/Usage/, scriptsAudit([])],
      [/Usage/, of("--url", server.url)],
      [/Usage/, scriptsAudit(["repair", "--url", server.url, "--account", account.id])],
      [/Usage/, verify(account, "--colour")],
      [/--account/, of("--url", server.url, "--account", "acct_1")],
      [/--head/, verify(account, "--head", "12")],
      [/--url/, of("--url", "example.com", "--account", account.id)],
      [/reached/, of("--url", "http://127.0.0.1:9", "--account", account.id)],
      [/404/, verify({ id: "acct_00fffffffe" })],
      [/401/, of("--url", `${server.url}/elsewhere`, "--account", account.id)],
      [/401/, scriptsAudit(["verify", "--url", server.url, "--account", account.id], { token: "wrong" })],
      [/visible ASCII/, scriptsAudit(["verify", "--url", server.url, "--account", account.id], { token: "a b" })],
    ];
    for (const [sentence, running] of cases) {
      const { code, stdout, stderr } = await running;
      assert.match(stderr, sentence);
      assert.match(stderr, /^keygate: .+\n$/);
      assert.deepEqual([code, stdout], [2, ""]);
    }
  });
});

describe("scripts/audit verify names the first wrong entry", { concurrency: 3 }, () => {
  const ENTRIES = 6;
  const hashOf = (text) => createHash("sha256").update(text).digest("hex");

  /** The rows of one account's audit in an opened database, and what a forger does to them. */
  function rowsOf(database, account) {
    const number = parseInt(account.id.slice(7), 16);
    const rows = {
      get: (n) => database.prepare("SELECT * FROM audit WHERE account = ? AND number = ?").get(number, n),
      remove: (...numbers) => {
        for (const n of numbers) database.prepare("DELETE FROM audit WHERE account = ? AND number = ?").run(number, n);
      },
      set: (n, column, value) =>
        database.prepare(`UPDATE audit SET ${column} = ? WHERE account = ? AND number = ?`).run(value, number, n),
      setText: (n, change) => {
        const entry = JSON.parse(rows.get(n).text);
        rows.set(n, "text", JSON.stringify(change(entry) ?? entry));
      },
      /** Edits an entry as `change` says, and gives it the hash that it then has. */
      forge: (n, change) => {
        rows.setText(n, change);
        rows.set(n, "hash", hashOf(rows.get(n).text));
      },
      /** Edits an entry, and then all that follow, so that the chain is right again. */
      rewrite: (n, change) => {
        rows.forge(n, change);
        for (let next = n + 1; rows.get(next); next += 1) {
          rows.forge(next, (entry) => void (entry.previous = rows.get(next - 1).hash));
        }
      },
      add: (n, text) =>
        database
          .prepare("INSERT INTO audit (account, number, text, hash) VALUES (?, ?, ?, ?)")
          .run(number, n, text, hashOf(text)),
      swap: (one, other) => {
        for (const [from, to] of [
          [one, 1_000],
          [other, one],
          [1_000, other],
        ])
          rows.set(from, "number", to);
      },
      head: (n, hash) =>
        database.prepare("UPDATE accounts SET audit_number = ?, audit_hash = ? WHERE number = ?").run(n, hash, number),
    };
    return rows;
  }

  const member = (name, value) => (entry) => void (entry[name] = value);

  // By what is done: the number of the entry that must be named, and how. `given` is the head that the caller has kept:
  // the number of one of the entries, as it was before.
  const tampered = {
    "an entry deleted": { entry: 3, why: /missing/, act: (rows) => rows.remove(3) },
    "several deleted": { entry: 2, why: /missing.* to entry 4/, act: (rows) => rows.remove(2, 3, 4) },
    "two gaps": { entry: 2, why: /missing/, act: (rows) => rows.remove(2, 5) },
    "the first deleted": { entry: 1, why: /missing/, act: (rows) => rows.remove(1) },
    "the newest deleted": { entry: 6, why: /cut off/, act: (rows) => rows.remove(6) },
    "the newest three deleted": { entry: 4, why: /cut off/, act: (rows) => rows.remove(4, 5, 6) },
    "all deleted": { entry: 1, why: /cut off/, act: (rows) => rows.remove(1, 2, 3, 4, 5, 6) },
    "the newest deleted, and the head put back": {
      entry: 5,
      why: /cut off/,
      given: 6,
      act: (rows) => {
        rows.remove(5, 6);
        rows.head(4, rows.get(4).hash);
      },
    },
    "all deleted, and the head put back": {
      entry: 1,
      why: /cut off/,
      given: 3,
      act: (rows) => {
        rows.remove(1, 2, 3, 4, 5, 6);
        rows.head(0, NOTHING);
      },
    },
    ...Object.fromEntries(
      Object.entries({
        before: { name: "Other" },
        after: { name: "Other" },
        actor: "mallory",
        at: "2020-01-01T00:00:00.000Z",
        sequence: 1,
        credential: "someone",
        action: "key.revoke",
        subject: "key_00000000000000000000",
        number: 7,
        account: "acct_0000000000",
        previous: NOTHING,
      }).map(([name, value]) => [
        `${name} edited`,
        { entry: 2, why: /edited/, act: (rows) => rows.setText(2, member(name, value)) },
      ]),
    ),
    "two entries edited": {
      entry: 2,
      why: /edited/,
      act: (rows) => [5, 2].forEach((n) => rows.setText(n, member("actor", "mallory"))),
    },
    "the first edited": { entry: 1, why: /edited/, act: (rows) => rows.setText(1, member("actor", "mallory")) },
    "the newest edited": { entry: 6, why: /edited/, act: (rows) => rows.setText(6, member("actor", "mallory")) },
    "a hash edited": { entry: 3, why: /edited/, act: (rows) => rows.set(3, "hash", "f".repeat(64)) },
    "a member dropped": {
      entry: 3,
      why: /edited.*actor/,
      act: (rows) => rows.forge(3, (entry) => void delete entry.actor),
    },
    "a member added": { entry: 3, why: /edited.*note/, act: (rows) => rows.forge(3, member("note", "x")) },
    "a member written twice": {
      entry: 3,
      why: /edited/,
      act: (rows) => rows.set(3, "text", rows.get(3).text.replace('"actor"', '"actor":"mallory","actor"')),
    },
    "white space put in": {
      entry: 3,
      why: /edited/,
      act: (rows) => rows.set(3, "text", rows.get(3).text.replace(",", ", ")),
    },
    "an entry made no JSON": { entry: 4, why: /edited/, act: (rows) => rows.set(4, "text", "{nonsense}") },
    "an entry's hash computed anew": {
      entry: 4,
      why: /entry 3/,
      act: (rows) => rows.forge(3, member("actor", "mallory")),
    },
    "the newest edited, and its hash computed anew": {
      entry: 6,
      why: /head/,
      act: (rows) => rows.forge(6, member("actor", "mallory")),
    },
    "all from one on rewritten": { entry: 6, why: /head/, act: (rows) => rows.rewrite(2, member("actor", "mallory")) },
    "all from one on rewritten, and the head": {
      entry: 4,
      why: /rewritten/,
      given: 4,
      act: (rows) => {
        rows.rewrite(2, member("actor", "mallory"));
        rows.head(6, rows.get(6).hash);
      },
    },
    "two entries in each other's place": { entry: 3, why: /out of order/, act: (rows) => rows.swap(3, 4) },
    "the ends in each other's place": { entry: 1, why: /out of order/, act: (rows) => rows.swap(1, 6) },
    "all in reverse": {
      entry: 1,
      why: /out of order/,
      act: (rows) =>
        [
          [1, 6],
          [2, 5],
          [3, 4],
        ].forEach(([one, other]) => rows.swap(one, other)),
    },
    "two entries in each other's place, rewritten": {
      entry: 6,
      why: /head/,
      act: (rows) => {
        rows.swap(3, 4);
        rows.forge(3, member("number", 3));
        rows.forge(4, member("number", 4));
        rows.rewrite(3, (entry) => void (entry.previous = rows.get(2).hash));
      },
    },
    "an entry added behind the head": {
      entry: 7,
      why: /added/,
      act: (rows) => {
        const last = JSON.parse(rows.get(6).text);
        rows.add(7, JSON.stringify({ ...last, number: 7, previous: rows.get(6).hash }));
      },
    },
    "an entry there twice": { entry: 7, why: /entry 3|added/, act: (rows) => rows.add(7, rows.get(3).text) },
    "the head's number raised": { entry: 7, why: /cut off/, act: (rows) => rows.head(9, rows.get(6).hash) },
    "the head's number lowered": { entry: 6, why: /added/, act: (rows) => rows.head(5, rows.get(5).hash) },
    "the head's hash edited": { entry: 6, why: /head/, act: (rows) => rows.head(6, "f".repeat(64)) },
  };
  const untouched = {
    "nothing at all": { act: () => {} },
    "nothing, with the newest head given": { given: 6, act: () => {} },
    "what comes after the head that is given, with all hashes": {
      given: 2,
      act: (rows) => {
        rows.rewrite(3, member("actor", "mallory"));
        rows.head(6, rows.get(6).hash);
      },
    },
  };

  let server;
  const cases = new Map();
  before(async () => {
    server = await startWorkerd();
    const all = Object.entries({ ...tampered, ...untouched });
    await Promise.all(
      all.map(async ([name, { given }]) => {
        const account = success(await admin(server, "POST", "/accounts", { name }, by("alice")), 201);
        success(await admin(server, "PATCH", `/accounts/${account.id}`, { name: `${name}.` }, by("bob")));
        const key = success(
          await admin(server, "POST", `/accounts/${account.id}/keys`, { environment: "live" }, by("carol")),
          201,
        );
        success(await admin(server, "PATCH", `/accounts/${account.id}/keys/${key.id}`, { name: "named" }));
        await revokeKey(server, account, key);
        await issueKey(server, account);
        const entries = await auditOf(server, account);
        assert.deepEqual(ids(entries), [1, 2, 3, 4, 5, ENTRIES]);
        cases.set(name, { account, head: given && `${given}:${entries[given - 1].hash}` });
      }),
    );
    await server.kill9();
    const [path, ...others] = databaseFiles(server);
    assert.deepEqual(others, []);
    edit(path, (database) => {
      for (const [name, { act }] of all) act(rowsOf(database, cases.get(name).account));
    });
    await server.restart();
  });
  after(() => server?.stop());

  const verify = (name) => {
    const { account, head } = cases.get(name);
    const options = ["verify", "--url", server.url, "--account", account.id, ...(head ? ["--head", head] : [])];
    return scriptsAudit(options, { bare: true });
  };

  for (const [name, { entry, why }] of Object.entries(tampered)) {
    test(`${name}: entry ${entry}`, async () => {
      const { code, stdout, stderr } = await verify(name);
      const expected = `keygate: entry ${entry} of ${cases.get(name).account.id} is wrong: `;
      assert.equal(stderr.slice(0, expected.length), expected, stderr);
      assert.match(stderr.slice(expected.length), why);
      assert.deepEqual([code, stdout], [1, ""]);
    });
  }

  for (const name of Object.keys(untouched)) {
    test(`${name}: none`, async () => {
      const { code, stdout, stderr } = await verify(name);
      assert.deepEqual([code, stderr], [0, ""]);
      assert.match(stdout, new RegExp(`: ${ENTRIES} entries are right`));
    });
  }
});

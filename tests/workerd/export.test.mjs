// All keys of an account in one answer, as NDJSON and as CSV: every key once and as a list shows it, however many there
// are and whatever happens meanwhile; and what is not whole does not look whole.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, bearer, createAccount, issueKey, issueMany, listAll, revokeKey, send, transcript } from "./harness/client.mjs";
import { breakable, connect, cut, disturb, heal, manyEdges, takeCalls, unusedEdges } from "./harness/connection.mjs";
import { constant401, eventually, onlyHeaders, problem, success } from "./harness/expect.mjs";
import { forgedKey } from "./harness/mint.mjs";
import { secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

/** Keys of one page. */
const PAGE = 100;

const COLUMNS =
  "id,account_id,name,environment,scopes,access_level,workspaces,fields,allowed_ips,description,owner,tags,metadata," +
  "status,hint,not_before,expires_at,created_at,created_by,last_used_at,revoked_at,rotated_from,rotated_to," +
  "rotation_due_at,overlap_from,role,actor,parent";

let server, unused;
before(async () => {
  server = await startWorkerd({ edges: manyEdges(20), around: breakable });
  unused = unusedEdges(server);
});
after(() => server?.stop());

const keysOf = ({ id }) => `/accounts/${id}/keys`;
const path = (account, query = "format=ndjson") => `${keysOf(account)}/export?${query}`;
const exported = (account, query, options) => admin(server, "GET", path(account, query), undefined, options);

/** The objects of an answer in NDJSON. */
function objects(answer) {
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.headers["content-type"], "application/x-ndjson");
  onlyHeaders(answer, ["content-disposition"]);
  assert.ok(answer.text === "" || answer.text.endsWith("\n"));
  return answer.text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
}

/** The rows of an answer in CSV, by the names of the columns. */
function rows(answer) {
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.headers["content-type"], "text/csv; charset=utf-8; header=present");
  onlyHeaders(answer, ["content-disposition"]);
  const [header, ...records] = readCsv(answer.text);
  assert.equal(header.join(","), COLUMNS);
  return records.map((record) => {
    assert.equal(record.length, header.length);
    return Object.fromEntries(header.map((name, place) => [name, record[place]]));
  });
}

/** RFC 4180, to the letter: every line ends in CR LF, a field is quoted whole or not at all. */
function readCsv(text) {
  const FIELD = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/y;
  const records = [];
  let record = [];
  while (FIELD.lastIndex < text.length) {
    const at = FIELD.lastIndex;
    const match = FIELD.exec(text);
    assert.ok(match, `no CSV at ${at}: ${JSON.stringify(text.slice(at, at + 80))}`);
    record.push(match[1] === undefined ? match[2] : match[1].replaceAll('""', '"'));
    if (match[3] === "\r\n") records.push(record.splice(0));
  }
  assert.deepEqual(record, [], "the last line does not end");
  return records;
}

/** What stands in the row of `key`. */
function rowOf(key) {
  const cell = (name) => {
    const value = key[name] ?? "";
    const text =
      name === "tags" || (typeof value === "object" && !Array.isArray(value))
        ? JSON.stringify(value)
        : Array.isArray(value)
          ? value.join(" ")
          : String(value);
    return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  };
  return Object.fromEntries(COLUMNS.split(",").map((name) => [name, cell(name)]));
}

describe("an export", () => {
  let account, workspace;
  const odd = [
    "plain",
    "a, b",
    'say "hi"',
    '"',
    "=1+1",
    '=HYPERLINK("https://attacker.example", "click")',
    "+49 30",
    "-1",
    "@SUM(A1:A9)",
    "'=quoted",
    "é 🔑; ,",
    " spaces, around ",
  ];
  before(async () => {
    account = await createAccount(server, { access_levels: { "=Level, \"one\"": { scopes: ["a:b"] } }, rotation_days: 30 });
    workspace = success(await admin(server, "POST", `/accounts/${account.id}/workspaces`, { name: "W" }), 201).id;
    await issueMany(server, account, 2 * PAGE + 30, (n) => ({
      name: `${odd[n % odd.length]}${n < odd.length ? "" : ` ${n}`}`,
      environment: n % 3 ? "live" : "test",
      scopes: n % 5 ? ["contacts:read", "*:list"] : [],
      tags: n % 7 ? [] : ["two words", "-x", 'a,"b"'],
      owner: n % 11 ? undefined : "=cmd",
    }));
    await issueKey(server, account, {
      name: "with all",
      description: "-2+3, \"as text\"",
      owner: "@alice",
      tags: ["=1", "b"],
      metadata: { "=a": 'x,"y"\r\n\t', n: [1.5, null, { b: true }] },
      fields: { contacts: ["id", "name"] },
      allowed_ips: ["192.0.2.0/24", "2001:db8::/32"],
      workspaces: [workspace],
      access_level: "=Level, \"one\"",
      scopes: ["contacts:read"],
      not_before: "2020-01-01T00:00:00Z",
      expires_at: "2090-01-01T00:00:00Z",
    });
    const [last] = await listAll(server, keysOf(account));
    const rotated = await admin(server, "POST", `${keysOf(account)}/${last.id}/rotate`, { overlap: 0 }, { headers: { "If-Match": "*" } });
    success(rotated, 201);
    const some = await listAll(server, keysOf(account));
    for (const key of some.slice(20, 30)) await revokeKey(server, account, key);
    await admin(server, "PATCH", `${keysOf(account)}/${some[31].id}`, { disabled: true });
    for (const role of ["viewer", "admin"]) await issueKey(server, account, { environment: "admin", role, name: "+admin" });
    const session = await admin(server, "POST", `/accounts/${account.id}/sessions`, { actor: "-alice" });
    success(session, 201);
  });

  for (const filter of ["", "status=revoked", "status=active&environment=test", "tag=two+words", "owner=%3Dcmd",
    "name_contains=SAY", "scope=contacts:read", "environment=admin", "status=disabled", "owner=nobody", "pepper=15"]) {
    test(`has every key once, as the list shows it (${filter || "all"})`, async () => {
      const listed = await listAll(server, `${keysOf(account)}?${filter}`);
      if (!filter) assert.ok(listed.length > 2 * PAGE);
      if (!filter.startsWith("owner=nobody") && !filter.startsWith("pepper")) assert.ok(listed.length > 0);
      assert.deepEqual(objects(await exported(account, `format=ndjson&${filter}`)), listed);
      assert.deepEqual(rows(await exported(account, `${filter}&format=csv`)), listed.map(rowOf));
    });
  }

  test("has nothing but a header line, or nothing at all, where there are no keys", async () => {
    const empty = await createAccount(server);
    assert.equal((await exported(empty, "format=csv")).text, `${COLUMNS}\r\n`);
    assert.deepEqual(objects(await exported(empty)), []);
  });

  for (const count of [PAGE, PAGE + 1]) {
    test(`of ${count} keys has each of them`, async () => {
      const owner = await createAccount(server);
      const issued = await issueMany(server, owner, count);
      const ids = objects(await exported(owner)).map(({ id }) => id);
      assert.deepEqual(ids.toSorted(), issued.map(({ id }) => id).sort());
      assert.equal(rows(await exported(owner, "format=csv")).length, count);
    });
  }

  test("has every member that a list shows in a column, and no part of a key's secret", async () => {
    const known = COLUMNS.split(",");
    for (const filter of ["", "&environment=admin"]) {
      for (const key of objects(await exported(account, `format=ndjson${filter}`))) {
        assert.deepEqual(Object.keys(key).filter((name) => !known.includes(name)), []);
      }
    }
    const owner = await createAccount(server);
    const { key } = await issueKey(server, owner);
    for (const format of ["ndjson", "csv"]) {
      const { text } = await exported(owner, `format=${format}`);
      assert.ok(!text.includes(key) && !text.includes(key.slice(-20)));
      assert.doesNotMatch(text, /[0-9a-f]{21}/);
    }
  });

  test("is a file to be kept, with the account in its name, and by nobody else", async () => {
    for (const format of ["ndjson", "csv"]) {
      for (const owner of [account, await createAccount(server)]) {
        const answer = await exported(owner, `format=${format}`);
        assert.equal(answer.headers["content-disposition"], `attachment; filename="${owner.id}-keys.${format}"`);
        assert.equal(answer.headers["cache-control"], "no-store");
      }
    }
  });

  test("is whole when the pages come from afar, each with its length", async () => {
    const edge = unused();
    await connect(edge, server);
    const listed = await listAll(server, keysOf(account));
    assert.deepEqual(objects(await admin(edge, "GET", path(account))), listed);
    assert.deepEqual(rows(await admin(edge, "GET", path(account, "format=csv"))), listed.map(rowOf));
  });

  test("asks the Authority for no more than a list does at a time, and for nothing twice", async () => {
    const edge = unused();
    await takeCalls(edge);
    const all = objects(await admin(edge, "GET", path(account)));
    const calls = await takeCalls(edge, `/admin${keysOf(account)}/export`);
    assert.equal(calls.length, Math.ceil(all.length / PAGE));
    assert.ok(calls.every(({ together }) => together === 1));
  });
});

describe("while it is read", () => {
  /** Milliseconds that every call of the Authority takes here: time to do something before the next. */
  const SLOW = 400;

  let account, issued, edge;
  before(async () => {
    account = await createAccount(server);
    issued = await issueMany(server, account, 4 * PAGE + 1, () => ({ environment: "live" }));
  });

  /** Begins an export over an edge of its own, and does `meanwhile` when the first of it is there. */
  async function disturbed(meanwhile, { query, token } = {}) {
    edge = unused();
    await disturb(edge, { delay: SLOW });
    return read(edge, path(account, query), meanwhile, token);
  }

  test("what is issued then is not in it, and nothing is lost of what was there", async () => {
    const ids = issued.map(({ id }) => id);
    let late;
    const { error, text } = await disturbed(async () => {
      late = await issueMany(server, account, 5);
      await revokeKey(server, account, late[0]);
      // The newest and the oldest of them.
      for (const key of (await listAll(server, keysOf(account))).slice(5).filter((_, n, { length }) => n % (length - 1) === 0)) {
        await admin(server, "PATCH", `${keysOf(account)}/${key.id}`, { name: "renamed meanwhile" });
      }
    });
    assert.equal(error, undefined);
    const found = text.trimEnd().split("\n").map((line) => JSON.parse(line));
    assert.deepEqual(found.map(({ id }) => id).sort(), ids.toSorted());
    assert.equal(found.at(-1).name, "renamed meanwhile");
    issued.push(...late);
  });

  for (const [what, break_] of [
    ["the Authority cannot be reached any more", () => cut(edge)],
    ["the Authority no longer answers", () => disturb(edge, { fail: "never" })],
    ["the Authority is overloaded", () => disturb(edge, { fail: "before", marks: { retryable: true, overloaded: true } })],
  ]) {
    for (const format of ["ndjson", "csv"]) {
      test(`${what}: it breaks off in the middle (${format})`, async () => {
        const { status, error, text } = await disturbed(break_, { query: `format=${format}` });
        assert.equal(status, 200);
        assert.ok(error, "it looks whole");
        const lines = text.trimEnd().split("\n").length;
        assert.ok(lines >= PAGE && lines <= 3 * PAGE, `${lines}`);
        // The next one is as it should be.
        await heal(edge);
        assert.equal(objects(await admin(edge, "GET", path(account))).length, issued.length);
      });
    }
  }

  test("the credential is revoked: it breaks off in the middle", async () => {
    const viewer = await issueKey(server, account, { environment: "admin", role: "viewer" });
    const { status, error, text } = await disturbed(() => revokeKey(server, account, viewer), { token: viewer.key });
    assert.equal(status, 200);
    assert.ok(error, "it looks whole");
    assert.ok(text.trimEnd().split("\n").length <= 3 * PAGE);
    constant401(await exported(account, "format=ndjson", { token: viewer.key }));
  });

  test("the Authority is moved: it goes on", async () => {
    const { error, text } = await disturbed(() => disturb(edge, { fail: "before", marks: { retryable: true }, times: 1 }));
    assert.equal(error, undefined);
    assert.equal(text.trimEnd().split("\n").length, issued.length);
    assert.ok((await takeCalls(edge)).some(({ fail }) => fail === "before"));
  });
});

describe("what nobody takes", () => {
  /** Of a mebibyte each: far more than what stands between a Worker and a reader. */
  const PAGES = 100;
  const BYTES = 1_048_576;

  // In place of the Authority: pages without end, or that many. It counts what it is asked, and tells it at /asked.
  const ENDLESS = `
    import worker, { Authority } from "./entry.js";
    export { Authority };

    let asked = 0;
    const page = "x".repeat(${BYTES - 1}) + "\\n";

    function answer() {
      asked += 1;
      const next = asked < ${PAGES} ? { "x-keygate-next": String(asked) } : {};
      return new Response(page, { headers: { "content-type": "application/x-ndjson", "content-length": page.length, ...next } });
    }

    export default {
      fetch(request, env, ctx) {
        if (new URL(request.url).pathname === "/asked") return Response.json(asked);
        return worker.fetch(request, { ...env, KEYGATE_AUTHORITY: { getByName: () => ({ fetch: async () => answer() }) } }, ctx);
      },
    };
  `;

  let endless;
  before(async () => {
    endless = await startWorkerd({ around: ENDLESS });
  });
  after(() => endless?.stop());
  const asked = async () => (await send(endless, "GET", "/asked")).json;

  /** How often the Authority was asked once it is no longer asked. */
  const settled = () =>
    eventually(async () => {
      const before = await asked();
      await sleep(500);
      assert.equal(await asked(), before);
      return before;
    });

  for (const end of ["goes away", "reads on"]) {
    test(`is not asked for; and then the reader ${end}`, async () => {
      await endless.restart();
      const { reader, whole, leave } = await idleReader(endless, path({ id: "acct_0000000001" }));
      const before = await settled();
      assert.ok(before >= 1 && before < PAGES / 2, `${before} of ${PAGES} pages`);
      if (end === "reads on") {
        reader.resume();
        assert.equal(await whole, PAGES * BYTES);
        assert.equal(await asked(), PAGES);
      } else {
        leave();
        // One page may have been on its way.
        assert.ok((await settled()) <= before + 1);
      }
    });
  }
});

/**
 * Reads an export to its end, whole or not, and does `meanwhile` as soon as something of it is there: `{status, text,
 * error}`.
 */
function read(edge, target, meanwhile, token = secrets.KEYGATE_ROOT_TOKEN) {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(edge.url);
    const options = { hostname, port, path: `/_keygate/admin/v1${target}`, headers: bearer(token), agent: false };
    request(options, (incoming) => {
      let text = "";
      let done;
      incoming.setEncoding("utf8").on("data", (part) => {
        text += part;
        done ??= Promise.resolve(meanwhile()).catch(reject);
      });
      const end = (error) => Promise.resolve(done).then(() => resolve({ status: incoming.statusCode, text, error }));
      incoming.on("end", () => end(incoming.complete ? undefined : new Error("not complete")));
      incoming.on("error", end);
    })
      .on("error", reject)
      .end();
  });
}

/** An answer that nobody reads yet; `whole` is how many bytes it has. */
function idleReader(edge, target) {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(edge.url);
    const headers = bearer(secrets.KEYGATE_ROOT_TOKEN);
    const outgoing = request({ hostname, port, path: `/_keygate/admin/v1${target}`, headers, agent: false }, (reader) => {
      let length = 0;
      const whole = new Promise((resolve, reject) => {
        reader.on("data", (part) => (length += part.length)).on("end", () => resolve(length)).on("error", reject);
      });
      whole.catch(() => {});
      reader.pause();
      resolve({ reader, whole, leave: () => outgoing.destroy() });
    });
    outgoing.on("error", reject).end();
  });
}

describe("who may", () => {
  let account, other, key;
  before(async () => {
    [account, other] = [await createAccount(server), await createAccount(server)];
    key = await issueKey(server, account);
  });

  const credential = (role, owner = account) => issueKey(server, owner, { environment: "admin", role });

  test("list keys may export them, over the session, too", async () => {
    const viewer = await credential("viewer");
    const session = success(
      await admin(server, "POST", `/accounts/${account.id}/sessions`, { actor: "alice" }, { token: viewer.key }),
      201,
    );
    for (const token of [viewer.key, (await credential("admin")).key, session.key, secrets.KEYGATE_ROOT_TOKEN]) {
      const ids = objects(await exported(account, "format=ndjson", { token })).map(({ id }) => id);
      assert.deepEqual(ids, [key.id]);
    }
    const asBob = { token: session.key, headers: { "X-Keygate-Actor": "bob" } };
    const [list, all] = [await admin(server, "GET", keysOf(account), undefined, asBob), await exported(account, undefined, asBob)];
    assert.equal(list.status, 400);
    assert.equal(transcript(all), transcript(list));
  });

  test("not list keys is told the same, byte for byte, whether there is such an account or not", async () => {
    const revoked = await credential("viewer");
    await revokeKey(server, account, revoked);
    const [stranger, own] = [await credential("admin", other), await credential("viewer")];
    const unknown = { id: `${account.id.slice(0, -8)}ffffffff` };
    const tokens = [null, "x", key.key, revoked.key, forgedKey(), stranger.key, own.key, secrets.KEYGATE_ROOT_TOKEN];
    for (const token of tokens) {
      for (const { id } of [account, unknown, { id: "acct_x" }]) {
        const list = await admin(server, "GET", `/accounts/${id}/keys`, undefined, { token });
        const answer = await admin(server, "GET", `/accounts/${id}/keys/export?format=csv`, undefined, { token });
        if (list.status === 200) assert.equal(answer.status, 200);
        else assert.equal(transcript(answer), transcript(list), `${token} ${id}`);
      }
    }
    for (const query of ["", "?format=pdf", "?cursor=x"]) {
      constant401(await admin(server, "GET", `${keysOf(account)}/export${query}`, undefined, { token: revoked.key }));
      const answers = [account, unknown].map(({ id }) =>
        admin(server, "GET", `/accounts/${id}/keys/export${query}`, undefined, { token: stranger.key }));
      const [known, not] = await Promise.all(answers);
      assert.equal(transcript(known), transcript(not));
    }
  });

  test("what a caller says of pages is not heard", async () => {
    const headers = { "X-Keygate-Next": "1" };
    assert.equal(objects(await exported(account, "format=ndjson", { headers })).length, 1);
  });
});

describe("a wrong request", () => {
  let account;
  before(async () => {
    account = await createAccount(server);
  });

  for (const [query, field, detail] of [
    ["", "format", /"ndjson" or "csv"/],
    ["format=", "format", /"ndjson" or "csv"/],
    ["format=json", "format", /"ndjson" or "csv"/],
    ["format=CSV", "format", /"ndjson" or "csv"/],
    ["format=csv&format=csv", "format", /only once/],
    ["format=csv&limit=10", "limit", /it takes environment, .*format\.$/],
    ["format=csv&cursor=0-1", "cursor", /it takes environment, .*format\.$/],
    ["format=ndjson&zzz=1", "zzz", /it takes environment, .*format\.$/],
    ["format=csv&status=gone", "status", /"active"/],
    ["format=csv&environment=prod", "environment", /"live"/],
    ["format=csv&pepper=16", "pepper", /0 to 15/],
    ["format=csv&scope=x", "scope", /contacts:read/],
    ["format=csv&workspace=x", "workspace", /id of a workspace/],
    ["format=csv&never_used=false", "never_used", /"true"/],
    ["format=csv&due=1", "due", /"true"/],
    ["format=csv&unused_since=now", "unused_since", /RFC 3339/],
    ["format=csv&expires_before=now", "expires_before", /RFC 3339/],
    ["format=csv&created_before=now", "created_before", /RFC 3339/],
    ["format=csv&tag=a&tag=b", "tag", /only once/],
  ]) {
    test(`is 400 and names the field (${query || "no format"})`, async () => {
      problem(await exported(account, query), 400, "invalid_request", { field, detail });
    });
  }

  test("by another method is 405, and the list and plans take no format", async () => {
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      problem(await admin(server, method, path(account)), 405, "method_not_allowed", { allow: "GET" });
    }
    assert.equal((await admin(server, "HEAD", path(account))).status, 405);
    problem(await admin(server, "GET", `${keysOf(account)}?format=csv`), 400, "invalid_request", { field: "format" });
    const plan = await admin(server, "POST", `${keysOf(account)}/plans`, { filter: { format: "csv" } });
    assert.equal(plan.status, 400, plan.text);
    problem(await admin(server, "GET", `${keysOf(account)}/export/x?format=csv`), 404, "not_found");
  });

  test("an Authority that cannot be reached at the start is a 503", async () => {
    const edge = unused();
    await cut(edge);
    problem(await admin(edge, "GET", path(account)), 503, "indeterminate");
    await heal(edge);
    await eventually(async () => assert.equal((await admin(edge, "GET", path(account))).status, 200));
  });
});

// No secret is written anywhere: keys are issued and every route and failure is driven, and then everything that Keygate
// has said, logged or stored is searched for every secret there was.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { mustBeBuilt, trapping } from "./harness/bundle.mjs";
import { admin, bearer, createAccount, send, sendRaw, slots, takeLease } from "./harness/client.mjs";
import { breakable, takeCalls } from "./harness/connection.mjs";
import { databaseFiles, edit } from "./harness/database.mjs";
import { eventually } from "./harness/expect.mjs";
import { faults } from "./harness/kv.mjs";
import { accountRecord, forgedKey, grantRecord, mintKey } from "./harness/mint.mjs";
import { otherPepper, otherSigningKey, secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

mustBeBuilt(trapping);

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Every form in which a key could be written down, by name. */
function formsOfKey(text) {
  const digits = text.split("_")[2];
  const number = [...digits.slice(0, 46)].reduce((sum, digit) => sum * 62n + BigInt(DIGITS.indexOf(digit)), 0n);
  const bytes = Buffer.from(number.toString(16).padStart(68, "0"), "hex");
  const secret = bytes.subarray(6, 26);
  return {
    "the key": text,
    "its digits": digits.slice(0, 46),
    ...formsOfBytes("its secret", secret),
    ...formsOfBytes("its bytes", bytes),
  };
}

function formsOfBytes(name, bytes) {
  return {
    [`${name} in hex`]: bytes.toString("hex"),
    [`${name} in base64`]: bytes.toString("base64").replace(/=+$/, ""),
    [`${name} in base64url`]: bytes.toString("base64url"),
    [name]: bytes.toString("latin1"),
    // As Rust's {:?} and JavaScript's join show bytes.
    [`${name} in decimal`]: [...bytes].join(", "),
    [`${name} in decimal, close`]: [...bytes].join(","),
  };
}

/** A numbered secret, `id:hex`. */
function formsOfSecret(value) {
  const hex = value.split(":").at(-1);
  return { "the secret": value, ...formsOfBytes("its bytes", Buffer.from(hex, "hex")) };
}

/** Everything in `places` (`{name: latin1 text}`) that holds one of `secrets` (`{name: {form: latin1 text}}`). */
function findings(places, secrets) {
  const found = [];
  for (const [place, text] of Object.entries(places)) {
    const lower = text.toLowerCase();
    for (const [name, forms] of Object.entries(secrets)) {
      for (const [form, value] of Object.entries(forms)) {
        // Hex may be in either case; of the rest, no other case is a secret.
        const there = form.endsWith("in hex") ? lower.includes(value) : text.includes(value);
        if (there) found.push(`${place}: ${form} of ${name}`);
      }
    }
  }
  return found;
}

const bytesOf = (text) => Buffer.from(text).toString("latin1");

describe("no secret is written anywhere", { timeout: 60_000 }, () => {
  let server, upstream;

  /** What was said, to callers and to the API behind, and what KV was given. */
  const answers = {};
  const forwarded = {};
  const stored = {};

  /** What isolates asked the Authority behind the scenes: to be brought up to date, and telling which keys were used. */
  const synced = {};

  /** What must be nowhere. */
  const secret = {};

  /** Key text → the number of its issue answer, which alone may have it. */
  const issued = new Map();

  /** Notes an answer, all of it. */
  function note(what, answer) {
    // A key may stand in the path, but not in the name of a finding.
    const name = `answer ${Object.keys(answers).length} (${what.slice(0, 40)}: ${answer.status})`;
    answers[name] = answer.wire ?? `${answer.rawHeaders.join("\n")}\n\n${answer.bytes.toString("latin1")}`;
    return { name, status: answer.status, json: answer.text.startsWith("{") ? answer.json : undefined };
  }

  /** A call of the admin API. A key that it issues is a secret, and its own answer is not searched for it. */
  async function call(method, path, body, options) {
    const answer = note(`${method} ${path}`, await admin(server, method, path, body, options));
    const text = answer.json?.key;
    if (answer.status === 201 && text) {
      issued.set(text, [...(issued.get(text) ?? []), answer.name]);
      secret[`key ${answer.json.id}`] = formsOfKey(text);
      answers[answer.name] = answers[answer.name].replace(text, "(the key)");
    }
    return answer;
  }

  const get = async (path, headers, there = server, method = "GET") =>
    note(`${method} ${path}`, await send(there, method, path, { headers }));
  const raw = async (lines, body, options) => note(lines[0], await sendRaw(server, lines, body, options));

  const edges = {
    edge: {},
    rotating: {
      KEYGATE_PEPPER: otherPepper,
      KEYGATE_PEPPER_2: secrets.KEYGATE_PEPPER,
      KEYGATE_SIGNING_KEY: otherSigningKey,
    },
    "no root": { KEYGATE_ROOT_TOKEN: undefined },
  };
  // Settings that will not do, and are secrets all the same.
  const hex = () => randomBytes(32).toString("hex");
  const broken = {
    KEYGATE_PEPPER: [hex(), `16:${hex()}`],
    KEYGATE_PEPPER_2: [`3:${hex()}`],
    KEYGATE_SIGNING_KEY: [`7:${hex().slice(2)}`],
    KEYGATE_SIGNING_KEY_2: [`x:${hex()}`],
    KEYGATE_ROOT_TOKEN: [`${hex()} ${hex()}`],
    KEYGATE_LEASE_SECONDS: [hex()],
    KEYGATE_OUTAGE_GRACE_SECONDS: [hex()],
  };

  before(async () => {
    upstream = createServer(async (incoming, response) => {
      const body = Buffer.concat(await incoming.toArray()).toString("latin1");
      const name = `forwarded ${Object.keys(forwarded).length}`;
      forwarded[name] = `${incoming.method} ${incoming.url}\n${incoming.rawHeaders.join("\n")}\n\n${body}`;
      response.end("upstream");
    });
    await new Promise((listening) => upstream.listen(0, "127.0.0.1", listening));
    edges.proxy = { UPSTREAM: `http://127.0.0.1:${upstream.address().port}` };
    edges.nowhere = { UPSTREAM: "http://127.0.0.1:1" };
    for (const [variable, values] of Object.entries(broken)) {
      for (const [n, value] of values.entries()) {
        edges[`${variable}-${n}`] = { [variable]: value };
        const longest = value.split(/[^0-9a-f]+/).sort((one, other) => other.length - one.length)[0];
        secret[`the broken ${variable} ${n}`] = {
          "the value": value,
          ...formsOfBytes("its bytes", Buffer.from(longest, "hex")),
        };
      }
    }
    for (const [name, value] of Object.entries({ ...secrets, otherPepper, otherSigningKey })) {
      secret[name] = name === "KEYGATE_ROOT_TOKEN" ? { "the token": value } : formsOfSecret(value);
    }
    server = await startWorkerd({
      bundle: trapping,
      around: breakable,
      env: { KEYGATE_LEASE_SECONDS: "1" },
      edges,
    });
    const { records } = server.kv;
    const set = records.set.bind(records);
    records.set = (name, record) => {
      const { value, metadata } = record;
      stored[`KV ${name} (${Object.keys(stored).length})`] = bytesOf(`${name}\n${value}\n${metadata}`);
      return set(name, record);
    };
  });
  after(async () => {
    await server?.stop();
    upstream?.closeAllConnections();
    upstream?.close();
  });

  /** Issues keys, and does to them all that can be done. */
  async function administer() {
    const account = await createAccount(server, { external_id: `of-${hex()}`, max_active_keys: 500 });
    const path = `/accounts/${account.id}`;
    const once = (name) => {
      const id = `${name}-${hex()}`;
      secret[`the Idempotency-Key ${name}`] = { "the value": id };
      return { headers: { "Idempotency-Key": id } };
    };
    const again = once("issue");
    const key = (await call("POST", `${path}/keys`, { environment: "live", name: "first", scopes: ["*"] }, again)).json;
    for (let times = 0; times < 2; times += 1) {
      await call("POST", `${path}/keys`, { environment: "live", name: "first", scopes: ["*"] }, again);
      await call("POST", `${path}/keys`, { environment: "test" }, again);
    }
    const keyPath = `${path}/keys/${key.id}`;
    const disabled = (await call("POST", `${path}/keys`, { environment: "test" })).json;
    await call("PATCH", `${path}/keys/${disabled.id}`, { disabled: true }, once("disable"));
    const expired = (
      await call("POST", `${path}/keys`, { environment: "live", expires_at: new Date(Date.now() + 200).toISOString() })
    ).json;
    const revoked = (await call("POST", `${path}/keys`, { environment: "live" })).json;
    await call("POST", `${path}/keys/${revoked.id}/revoke`, undefined, once("revoke"));
    await call("POST", `${path}/keys/${revoked.id}/revoke?wait=effective`, undefined, once("revoke and wait"));
    await call("PATCH", `${path}/keys/${disabled.id}?wait=effective`, { disabled: true }, once("disable and wait"));
    const creating = once("create");
    for (let times = 0; times < 2; times += 1) await call("POST", "/accounts", { name: "Again" }, creating);
    await call("PATCH", path, { name: "Renamed", features: ["exports"] }, once("rename"));
    await call("PATCH", keyPath, { name: "renamed" }, { headers: { "If-Match": '"0"' } });
    await call("PATCH", keyPath, { name: "renamed" }, { headers: { "If-Match": undefined } });
    for (const list of [
      "/accounts",
      path,
      `${path}/keys`,
      `${path}/keys?pepper=3`,
      keyPath,
      `${path}/audit`,
      `${path}/audit?actor=x`,
    ]) {
      await call("GET", list);
    }
    return { account, path, key, disabled, expired, revoked, keyPath };
  }

  /** Puts credentials where they belong, and where they do not. */
  async function present({ path, key, disabled, expired, revoked, keyPath }) {
    const root = secrets.KEYGATE_ROOT_TOKEN;
    const tokens = [key, disabled, expired, revoked].map(({ key }) => key);
    const wrong = [
      root,
      secrets.KEYGATE_PEPPER,
      secrets.KEYGATE_SIGNING_KEY,
      key.key.slice(0, -1),
      `${key.key}x`,
      forgedKey(),
    ];
    wrong.push(mintKey({ account: "acct_0000000001" }).text, secrets.KEYGATE_PEPPER.split(":")[1]);
    for (const token of [...tokens, ...wrong]) {
      await get("/_keygate/verify?scope=contacts:read", bearer(token));
      await get("/_keygate/whoami", bearer(token));
      await get("/v1/contacts", bearer(token));
      await get("/v1/contacts?page=2", bearer(token), server.edges.proxy);
      if (token !== root) await call("GET", "/accounts", undefined, { token });
      if (token !== root) await get("/_keygate/healthz?verbose", bearer(token));
    }
    for (const credential of [key.key, root]) {
      for (const header of [
        `Basic ${credential}`,
        credential,
        `Bearer  ${credential}`,
        `Bearer ${credential}, Bearer ${credential}`,
      ]) {
        await get("/_keygate/verify", { Authorization: header });
        await get("/_keygate/admin/v1/accounts", { Authorization: header });
      }
      await get(`/_keygate/verify?scope=${credential}`, bearer(key.key));
      await get(`/${credential}`, bearer(key.key));
      await get(`/_keygate/${credential}`, bearer(key.key));
      await get("/_keygate/verify", { Cookie: credential, "X-Api-Key": credential });
      await call("GET", `${path}/keys/${credential}`);
      await call("POST", `${path}/keys/${credential}/revoke`);
      await call("POST", `${keyPath}/revoke?wait=${credential}`);
      await call("PATCH", `${path}?wait=${credential}`, { name: "Acme" });
      await call("GET", `/accounts/${credential}`);
      await call("GET", `/accounts?cursor=${credential}`);
      await call("GET", `/accounts?external_id=${credential}`);
      await call("GET", `${path}/keys?status=${credential}`);
      await call("GET", `${path}/keys?pepper=${credential}`);
      await call("GET", `${path}/audit?action=${credential}`);
      await call("POST", `${path}/keys/lookup`, { key: credential });
      await call("POST", `${path}/keys/lookup`, { key: [credential] });
      await call("POST", `${path}/keys`, { environment: credential });
      await call("POST", `${path}/keys`, { environment: "live", expires_at: credential });
      await call("POST", `${path}/keys`, { environment: "live", scopes: credential });
      await call("PATCH", path, { brand: credential });
      await call("PATCH", path, { max_active_keys: credential });
      await call("PATCH", keyPath, { disabled: credential }, { headers: { "If-Match": credential } });
      await call("POST", "/accounts", { name: "Acme" }, { headers: { "Idempotency-Key": `${credential} x` } });
      await call(
        "POST",
        "/accounts",
        { name: "Acme" },
        { headers: { "X-Keygate-Actor": `${credential} ${credential}` } },
      );
      await call("POST", "/accounts", { name: "Acme" }, { headers: { "Content-Type": credential } });
      const lines = [
        `POST /_keygate/admin/v1${path}/keys/lookup HTTP/1.1`,
        `Authorization: Bearer ${root}`,
        "Content-Type: application/json",
      ];
      for (const body of [
        `{"key":"${credential}"`,
        `{"key":"${credential}"} x`,
        `{"key":${credential}}`,
        `{"key":"\xff${credential}"}`,
      ]) {
        await raw([...lines, `Content-Length: ${body.length}`], body);
      }
      await raw([...lines, "Content-Length: 1000"], `{"key":"${credential}"}`, { cutOff: true });
      await raw([`GET /_keygate/verify HTTP/9.9`, `Authorization: Bearer ${credential}`]);
      await raw(["GET /_keygate/verify HTTP/1.1", `Authorization: Bearer ${credential}\xff`]);
      await raw(["GET /_keygate/verify HTTP/1.1", `Authorization: Bearer ${credential}${"x".repeat(70_000)}`]);
    }
    await get("/v1/contacts", bearer(key.key), server.edges.nowhere);
    await get("/_keygate/openapi.json", bearer(key.key));
    for (const there of Object.values(server.edges)) {
      await get("/_keygate/verify", bearer(key.key), there);
      await get("/_keygate/admin/v1/accounts", bearer(secrets.KEYGATE_ROOT_TOKEN), there);
      await get("/_keygate/healthz?verbose", bearer(secrets.KEYGATE_ROOT_TOKEN), there);
    }
  }

  /** Makes Rust panic, statements fail and answers get lost. */
  async function trap({ path, key, keyPath }) {
    const kinds = ["sync", "async", "authority", "authority-mid-command", "authority-lose-answer"];
    kinds.push(...[0, 1, 2, 3, 5, 8, 13].map((n) => `authority-fail-${n}`));
    for (const [n, kind] of kinds.entries()) {
      const id = `trapped-${n}-${hex()}`;
      secret[`the Idempotency-Key of ${kind}`] = { "the value": id };
      const options = { headers: { "X-Keygate-Trap": kind, "Idempotency-Key": id } };
      await call("POST", `${path}/keys`, { environment: "live" }, options);
      await call("POST", `${path}/keys`, { environment: "live" }, { headers: { "X-Keygate-Trap": kind } });
      await call("POST", `${path}/keys/lookup`, { key: key.key }, options);
      await call("PATCH", keyPath, { name: `renamed ${n}` }, options);
      await get("/_keygate/verify", { ...bearer(key.key), "X-Keygate-Trap": kind });
      await get("/v1/contacts", { ...bearer(key.key), "X-Keygate-Trap": kind }, server.edges.proxy);
    }
  }

  /** Notes what the isolates have asked. The answers hold what KV does. */
  async function noteSyncs() {
    for (const [name, edge] of Object.entries(server.edges)) {
      for (const { body } of await takeCalls(edge, "/sync")) {
        synced[`sync ${Object.keys(synced).length} of ${name}`] = bytesOf(body);
      }
    }
  }

  /** Has KV fail in every way, with records that others wrote among them. */
  async function failKv({ account, path, key, keyPath }) {
    const puts = { ...faults, slow: faults.slow(400), from: undefined, hang: undefined };
    for (const [name, fault] of Object.entries(puts).filter(([, fault]) => fault)) {
      server.kv.onPut = fault;
      await call("POST", `${path}/keys`, { environment: "live", name });
      await call("PATCH", keyPath, { name });
      server.kv.heal();
    }
    const { proxy, rotating } = server.edges;
    /** A key that no isolate has seen, so that those with a lease read KV. */
    const unseen = async () => {
      const { key } = (await call("POST", `${path}/keys`, { environment: "live", scopes: ["*"] })).json;
      for (const edge of [server, proxy, rotating]) await takeLease(edge);
      return key;
    };
    const reads = server.kv.counts.get;
    for (const fault of [faults.fail, faults.tooMany, async () => ({ status: 200, value: key.key, metadata: null })]) {
      const one = await unseen();
      server.kv.onGet = fault;
      await get("/_keygate/verify", bearer(one));
      await get("/v1/contacts", bearer(one), proxy);
      server.kv.heal();
    }
    for (const wrong of [() => "", () => "nonsense", () => `v1.7.${"0".repeat(64)}.{}`, (value) => `${value} `]) {
      const one = await unseen();
      for (const record of [grantRecord(one), accountRecord(account.id)]) {
        const kept = server.kv.records.get(record);
        server.kv.records.set(record, { metadata: null, value: wrong(kept?.value) });
      }
      await get("/_keygate/verify", bearer(one));
      await get("/_keygate/verify", bearer(one), rotating);
    }
    assert.ok(server.kv.counts.get > reads);
  }

  /** All that was written anywhere. */
  function everywhere() {
    const places = { ...answers, ...forwarded, ...stored, ...synced, log: bytesOf(server.log) };
    for (const name of readdirSync(server.objects, { recursive: true })) {
      const path = join(server.objects, name);
      if (statSync(path).isFile()) places[`file ${name}`] = readFileSync(path, "latin1");
    }
    return places;
  }

  test("not in a log line, a KV record, a database file or an answer, whatever happens", async (t) => {
    const world = await administer();
    await sleep(200);
    await present(world);
    await trap(world);
    await failKv(world);
    await eventually(
      async () => (await slots(server)).forEach(({ unmirrored }) => assert.equal(unmirrored, 0)),
      15_000,
    );
    await noteSyncs();
    // The write-ahead log as a crash leaves it, and then as an orderly end does.
    await server.kill9();
    const crashed = everywhere();
    await server.restart({ authority: "down" });
    await present(world);
    await server.restart({ authority: "own" });
    await call("GET", `${world.path}/keys`);
    await call("POST", `${world.path}/keys`, { environment: "live" });
    await server.restart();
    const places = everywhere();
    t.diagnostic(`${Object.keys(places).length} places, ${Object.keys(secret).length} secrets, ${issued.size} keys`);

    // All of it took place.
    assert.ok(issued.size >= 12, `${issued.size} keys`);
    assert.ok(
      [...issued.values()].some((names) => names.length > 1),
      "no key was told again",
    );
    const statuses = new Set(Object.keys(answers).map((name) => / (\d+)\)$/.exec(name)[1]));
    for (const status of [200, 201, 400, 401, 404, 412, 415, 422, 428, 502, 503]) {
      assert.ok(statuses.has(String(status)), `no answer was ${status}`);
    }
    assert.match(server.log, /failed on purpose/);
    assert.match(server.log, /panicked/);
    assert.ok(Object.keys(forwarded).length > 0);
    const messages = Object.values(synced);
    for (const line of [/^want /m, /^used /m]) assert.ok(messages.some((body) => line.test(body)), String(line));
    assert.ok(Object.keys(crashed).some((name) => name.endsWith(".sqlite-wal")));

    assert.deepEqual(findings(crashed, secret), []);
    assert.deepEqual(findings(places, secret), []);
  });

  test("and one that is written is found, wherever it is", async () => {
    const [[text]] = issued;
    const forms = Object.entries(formsOfKey(text));
    const planted = { key: formsOfKey(text) };
    for (const [form, value] of forms) {
      assert.deepEqual(findings({ log: `a line\n${value}\n` }, planted).length > 0, true, form);
    }
    const root = secrets.KEYGATE_ROOT_TOKEN;
    // A key and a token as an operator could put them in: a name, which is kept and mirrored.
    const account = await createAccount(server, { name: `by ${root}` });
    const answer = await call("POST", `/accounts/${account.id}/keys`, { environment: "live", name: text });
    await call("GET", `/accounts/${account.id}/keys`);
    await eventually(() => assert.ok(server.kv.records.has(grantRecord(answer.json.key))));
    await server.kill9();
    server.log += `thrown: ${secrets.KEYGATE_PEPPER.split(":")[1].toUpperCase()}\n`;
    const places = everywhere();
    const found = findings(places, secret);
    const inFiles = Object.keys(places).filter((name) => name.startsWith("file "));
    const kinds = [
      /^answer .*the key of key/,
      /^KV grant:.*the key of key/,
      /^KV account:.*the token of/,
      /^file .*the key of key/,
    ];
    kinds.push(/^file .*the token of KEYGATE_ROOT_TOKEN/, /^log: its bytes in hex of KEYGATE_PEPPER$/);
    for (const kind of kinds)
      assert.ok(
        found.some((line) => kind.test(line)),
        `${kind} in\n${found.join("\n")}`,
      );
    assert.ok(inFiles.length >= 2);

    // Also when it has been written out of the log into the database.
    const [path] = databaseFiles(server);
    edit(path, (database) => database.exec("PRAGMA wal_checkpoint(TRUNCATE)"));
    const settled = findings({ database: readFileSync(path, "latin1") }, secret);
    assert.ok(
      settled.some((line) => line.includes("the key of key")),
      settled.join("\n"),
    );
    await server.restart();
  });
});

// Who is measured, with which requests. Every pair of a Worker and a case has a process of its own, for what one case
// leaves in an isolate's memory changes the next.

import assert from "node:assert/strict";
import { join } from "node:path";
import { bearer, send } from "../workerd/harness/client.mjs";
import { asFastAsPossible, requestBytes } from "./load.mjs";
import { keygateWorker, plainWorker, rustWorker, startWorker } from "./worker.mjs";

const VERIFY = "/_keygate/verify?scope=contacts:read";
const BEYOND = "/_keygate/verify?scope=jobs:write";

/** How many rules the table of the case `routes` has; the request is for the last one. */
export const RULES = 200;

/** So many slots leave little room for each, so that a few thousand keys are more than an isolate keeps. */
export const MANY_SLOTS = Array.from({ length: 64 }, (_, slot) => slot).join(" ");

const PEERS = ["js-kv", "js-map", "hono"];

/** `[[worker, case]…]` in the order of the table. */
export const PAIRS = [
  ["floor", "warm"],
  ["floor-rust", "warm"],
  ...["warm", "forged", "revoked", "wrong-scope", "routes", "zipf", "kv", "authority"].map((name) => ["keygate", name]),
  ...["warm", "forged", "revoked", "wrong-scope", "zipf", "kv"].map((name) => ["js-map", name]),
  ...["warm", "forged", "kv"].map((name) => ["js-kv", name]),
  ...["warm", "forged"].map((name) => ["hono", name]),
  ...["warm", "forged"].map((name) => ["oauth", name]),
];

/** Starts a Worker for each pair, and looks at its answers. `bundle`: that of Keygate, if not the usual one. */
export async function startPairs(pairs, { keys, kv, build, bundle, v8Flags }) {
  const peersKv = await kv.open(keys.peers);
  const started = [];
  for (const [worker, name] of pairs) {
    const running = await startPair(worker, name, { keys, kv, build, peersKv, bundle, v8Flags });
    started.push(running);
    await takeLease(running);
    await check(running, keys);
  }
  return started;
}

/**
 * Keygate asks KV for a key only while it holds a lease, and renews that only while it is used. What KV has of a minted
 * key the Authority does not know.
 */
export async function takeLease({ server, first }) {
  if (first !== undefined) await asFastAsPossible(server.port, 1, () => first, 200);
}

/** A table of rules, none of which but the last fits the request of the case `routes`. */
export function manyRules() {
  const rule = (path) => `[[route]]\nmethod = "GET"\npath = "${path}"\nscopes = ["contacts:read"]\n`;
  return Array.from({ length: RULES }, (_, n) => rule(`/v1/resource-${n}/{id}`)).join("\n");
}

async function startPair(worker, name, { keys, kv, build, peersKv, bundle = "keygate", v8Flags }) {
  const start = (one) => startWorker(one, v8Flags);
  const { status, texts, path, next } = requestsOf(name, keys);
  const pair = { worker, name, status, path, texts };
  if (worker === "floor") {
    pair.server = await start(plainWorker(join(build, "floor.js")));
    pair.status = 200;
  } else if (worker === "floor-rust") {
    pair.server = await start(rustWorker(join(build, "floor-rust")));
  } else if (worker === "keygate") {
    // The Authority puts what was missing into KV, so for the case `authority` KV loses what it is given.
    const empty = name === "authority";
    const mirror = ["zipf", "kv"].includes(name) ? [...keys.mirror, ...keys.copies] : keys.mirror;
    pair.kvPort = await kv.open(empty ? [] : mirror, { lossy: empty });
    const env = empty ? { KEYGATE_SLOTS: MANY_SLOTS } : {};
    const folder = join(build, name === "routes" ? "keygate-routes" : bundle);
    pair.server = await start(keygateWorker(folder, pair.kvPort, { env, objects: keys.objects }));
  } else if (worker === "oauth") {
    pair.kvPort = await kv.open([]);
    pair.server = await start(plainWorker(join(build, "oauth.js"), pair.kvPort));
    pair.texts = await tokens(pair.server, keys, name);
  } else {
    assert.ok(PEERS.includes(worker));
    pair.kvPort = peersKv;
    pair.server = await start(plainWorker(join(build, `${worker}.js`), peersKv));
  }
  const requests = pair.texts.map((key) => requestBytes(key, path));
  // Rounds go on where the one before ended: a cold key is one that was not asked for lately.
  let at = 0;
  if (worker === "keygate") pair.first = requestBytes(keys.warm[0], VERIFY);
  pair.next = () => requests[next(at++, requests.length)];
  return pair;
}

const inTurn = (n, length) => n % length;

function requestsOf(name, keys) {
  const same = { status: 200, path: VERIFY, next: inTurn };
  switch (name) {
    case "warm":
      return { ...same, texts: keys.warm };
    case "forged":
      return { ...same, texts: keys.forged, status: 401 };
    case "revoked":
      return { ...same, texts: keys.revoked, status: 401 };
    case "wrong-scope":
      return { ...same, texts: keys.warm, path: BEYOND, status: 403 };
    case "routes":
      return { ...same, texts: keys.warm, path: `/v1/resource-${RULES - 1}/17` };
    case "zipf":
      return { ...same, texts: keys.minted, next: zipf(keys.minted.length) };
    case "kv":
      return { ...same, texts: keys.minted };
    case "authority":
      return { ...same, texts: keys.issued };
  }
  throw new Error(`no case ${name}`);
}

/** Ranks by Zipf's law with exponent 1, the same for everyone. */
function zipf(count) {
  const sums = new Float64Array(count);
  for (let rank = 0, sum = 0; rank < count; rank += 1) sums[rank] = sum += 1 / (rank + 1);
  const total = sums[count - 1];
  return (n) => {
    // A sequence without a period that matters, and without state: the fractional parts of multiples of √5 − 2, mixed.
    const draw = total * unit(n);
    let [low, high] = [0, count - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle] < draw) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

/** A number from 0 to 1 that is random for all that matters here (Murmur's finisher). */
function unit(n) {
  let mixed = Math.imul(n ^ (n >>> 16) ^ 0x9e3779b9, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
}

/** As many tokens of the OAuth library as there are warm keys; forged ones differ in their secret. */
async function tokens(server, keys, name) {
  const props = (n) => ({ id: `key_${n}`, account: keys.account.id, environment: "live", scopes: keys.scopes });
  const { status, json, text } = await send(server, "POST", "/seed", { body: JSON.stringify(keys.warm.map((_, n) => props(n))) });
  if (status !== 200) throw new Error(`no tokens: ${status} ${text} ${server.log()}`);
  return name === "forged" ? json.map((token) => token.replace(/[^:]*$/, (secret) => [...secret].reverse().join(""))) : json;
}

/** Everyone does the same job: the answers are looked at before they are timed. */
async function check({ worker, name, server, status, path, texts }, keys) {
  for (const key of [texts[0], texts[texts.length - 1]]) {
    const answer = await send(server, "GET", path, {
      headers: { ...bearer(key), Host: "bench.example", "X-Forwarded-Proto": "https" },
    });
    const where = `${worker}, ${name}: ${answer.text} ${server.log()}`;
    assert.equal(answer.status, status, where);
    if (worker.startsWith("floor")) {
      assert.equal(answer.text, "ok", where);
    } else if (status === 200) {
      assert.equal(answer.headers["cache-control"], "no-store", where);
      assert.match(answer.headers["x-keygate-key-id"], /^key_/, where);
      assert.equal(answer.headers["x-keygate-account-id"], keys.account.id, where);
      assert.equal(answer.headers["x-keygate-environment"], "live", where);
      assert.equal(answer.headers["x-keygate-scopes"], keys.scopes.join(" "), where);
    } else {
      const error = status === 401 ? "invalid_token" : "insufficient_scope";
      assert.ok(answer.headers["www-authenticate"].includes(`error="${error}"`), where);
    }
  }
}

// JavaScript by hand: SHA-256 and a Map in front of KV. What is in the Map counts for a minute, whatever is revoked
// meanwhile. What KV does not have is not kept: a forger would fill the memory with it.

import { decided, demands, digest, isGood, refused } from "./verdict.js";

const KEPT_MS = 60_000;
const kept = new Map();

async function find(env, key) {
  const name = await digest(key);
  const now = Date.now();
  const found = kept.get(name);
  if (found !== undefined && now < found.until) return found.record;
  const record = await env.KEYS.get(name, "json");
  if (record !== null) kept.set(name, { record, until: now + KEPT_MS });
  return record;
}

export default {
  async fetch(request, env) {
    const [, key] = /^Bearer ([^\s,]+)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
    if (key === undefined) return refused();
    const record = await find(env, key);
    return isGood(record) ? decided(record, demands(request)) : refused();
  },
};

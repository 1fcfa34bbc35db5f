// JavaScript by hand: SHA-256 and one read of KV per request.

import { decided, demands, digest, isGood, refused } from "./verdict.js";

export default {
  async fetch(request, env) {
    const [, key] = /^Bearer ([^\s,]+)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
    if (key === undefined) return refused();
    const record = await env.KEYS.get(await digest(key), "json");
    return isGood(record) ? decided(record, demands(request)) : refused();
  },
};

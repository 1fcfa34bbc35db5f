// What is measured, in words.

/** What a Worker is called. */
export const WORKERS = {
  floor: "JavaScript, `new Response(\"ok\")`",
  "floor-rust": "Rust, `#[event(fetch)]`, \"ok\"",
  keygate: "**Keygate**",
  "js-map": "JavaScript, SHA-256, `Map` before KV",
  "js-kv": "JavaScript, SHA-256, KV",
  hono: "Hono `bearerAuth`, SHA-256, KV",
  oauth: "workers-oauth-provider",
};

/** What a case is called. */
export const CASES = {
  warm: "key in use",
  forged: "forged key",
  revoked: "revoked key",
  "wrong-scope": "scope missing",
  routes: "last of 200 routes, whoami as JSON",
  zipf: "many keys, Zipf",
  kv: "key new to the isolate, from KV",
  authority: "the same, KV empty: from the Authority",
};

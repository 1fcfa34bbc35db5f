// Features that are on for every account: set by the operator in all slots, and gone everywhere within the bound.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, bearer, createAccount, issueKey, send, transcript, verify, whoami } from "./harness/client.mjs";
import { constant401, effective, eventually, problem, success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const LEASE_MS = 1_000;
const BOUND_MS = 1_051;

// Stands before the Worker: an object that is named can be kept out of reach, or told to refuse.
const BREAKABLE_SLOTS = `
  import worker, { Authority } from "./entry.js";
  export { Authority };
  let broken = null;
  export default {
    fetch(request, env, ctx) {
      const { pathname } = new URL(request.url);
      if (pathname.startsWith("/break/")) {
        broken = pathname.slice("/break/".length);
        return new Response();
      }
      const getByName = (name, options) => {
        if (name === broken) return { fetch: () => Promise.reject(new Error("it cannot be reached")) };
        return env.KEYGATE_AUTHORITY.getByName(name, options);
      };
      return worker.fetch(request, { ...env, KEYGATE_AUTHORITY: { getByName } }, ctx);
    },
  };
`;

let server, keys;
before(async () => {
  server = await startWorkerd({
    env: { KEYGATE_SLOTS: "0 7 255", KEYGATE_LEASE_SECONDS: `${LEASE_MS / 1_000}` },
    around: BREAKABLE_SLOTS,
  });
  const bySlot = new Map();
  for (let n = 0; bySlot.size < 3; n++) {
    const account = await createAccount(server, { name: `Acme ${n}` });
    bySlot.set(account.id.slice(5, 7), account);
  }
  keys = await Promise.all([...bySlot.values()].map((account) => issueKey(server, account, { scopes: ["*"] })));
});
after(() => server?.stop());

const read = async () => success(await admin(server, "GET", "/platform"));
const set = (features, { query = "", headers } = {}) =>
  admin(server, "PUT", `/platform${query}`, { features }, { headers });
const broken = (name) => send(server, "GET", `/break/${name}`);
const wait = (features) => set(features, { query: "?wait=effective" });
const exported = (key) => send(server, "GET", "/v1/exports/x", { headers: bearer(key.key) });

describe("the platform's features", () => {
  test("are none at first, and then those that were set, in order, each once", async () => {
    assert.deepEqual(await read(), { features: [], consistent: true });
    const sent = Date.now();
    const answer = success(await set(["exports", "beta", "exports"]));
    assert.deepEqual(effective(answer, sent, BOUND_MS), { features: ["beta", "exports"], consistent: true });
    assert.deepEqual(await read(), { features: ["beta", "exports"], consistent: true });
    success(await set([]));
  });

  test("are on for the accounts of every slot, and off again, within the bound; with wait=effective at once", async () => {
    for (const key of keys) problem(await verify(server, key.key, "feature=beta"), 404, "not_found");
    success(await wait(["beta"]));
    for (const key of keys) {
      const answer = await verify(server, key.key, "feature=beta");
      assert.deepEqual([answer.status, answer.headers["x-keygate-features"]], [200, "beta"]);
      assert.deepEqual((await whoami(server, key.key)).json.features, ["beta"]);
    }
    success(await wait([]));
    for (const key of keys) problem(await verify(server, key.key, "feature=beta"), 404, "not_found");
  });

  test("come on top of an account's own, which alone its record shows", async () => {
    const account = await createAccount(server, { features: ["exports"] });
    const key = await issueKey(server, account);
    success(await wait(["alpha", "exports"]));
    assert.deepEqual((await whoami(server, key.key)).json.features.sort(), ["alpha", "exports"]);
    assert.deepEqual(success(await admin(server, "GET", `/accounts/${account.id}`)).features, ["exports"]);
    success(await wait([]));
  });

  test("decide whether a route is there; where it is not, it looks like one that never was", async () => {
    const [key] = keys;
    const headers = bearer(key.key);
    const off = await exported(key);
    problem(off, 404, "not_found");
    assert.equal(transcript(off), transcript(await send(server, "GET", "/v1/no-such-route", { headers })));
    success(await wait(["exports"]));
    const on = await exported(key);
    assert.deepEqual([on.status, on.headers["x-keygate-features"]], [200, "exports"]);
    success(await wait([]));
    assert.equal(transcript(await exported(key)), transcript(off));
  });
});

describe("a change of them", () => {
  test("that does not come to every slot is 503, says so, and counts when it is repeated", async () => {
    success(await wait([]));
    await broken("slot-7");
    problem(await set(["beta"]), 503, "indeterminate", { detail: /Repeating the request is safe, and needed/ });
    problem(await admin(server, "GET", "/platform"), 503, "indeterminate");
    await broken("");
    assert.deepEqual(await read(), { features: [], consistent: false });
    assert.deepEqual((({ features, consistent }) => [features, consistent])(success(await wait(["beta"]))), [["beta"], true]);
    assert.deepEqual(await read(), { features: ["beta"], consistent: true });
    for (const key of keys) assert.equal((await verify(server, key.key, "feature=beta")).status, 200);
    success(await wait([]));
  });

  test("can be repeated under its Idempotency-Key, and has the same answer", async () => {
    const headers = { "Idempotency-Key": "platform-0123456789-abcdefghij" };
    const first = await set(["beta"], { headers });
    success(first);
    assert.equal((await set(["beta"], { headers })).text, first.text);
    problem(await set(["other"], { headers }), 422, "idempotency_conflict", { field: "Idempotency-Key" });
    assert.deepEqual((await read()).features, ["beta"]);
    success(await wait([]));
  });

  test("is understood strictly, and nothing is changed by one that is not", async () => {
    problem(await set(["Beta"]), 400, "invalid_request", { field: "features" });
    problem(await set("beta"), 400, "invalid_request", { field: "features" });
    problem(await admin(server, "PUT", "/platform", {}), 400, "invalid_request", { field: "features" });
    problem(await admin(server, "PUT", "/platform", { features: [], x: 1 }), 400, "invalid_request", { field: "x" });
    problem(await admin(server, "POST", "/platform", { features: [] }), 405, "method_not_allowed", { allow: "GET, PUT" });
    problem(await admin(server, "GET", "/platform/x"), 404, "not_found");
    assert.deepEqual(await read(), { features: [], consistent: true });
  });

  test("is the operator's alone", async () => {
    for (const token of [keys[0].key, "x".repeat(40)]) {
      constant401(await admin(server, "PUT", "/platform", { features: ["beta"] }, { token }));
      constant401(await admin(server, "GET", "/platform", undefined, { token }));
    }
    await eventually(async () => assert.deepEqual(await read(), { features: [], consistent: true }));
  });
});

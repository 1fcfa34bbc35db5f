// What the tests of whole products share: each is configured as its recipe in the README says, on the build whose route
// table has the products' routes, and used through two isolates.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { admin, bearer, send } from "./client.mjs";
import { mustBeBuilt, trapping } from "./bundle.mjs";
import { constant401, success } from "./expect.mjs";
import { startWorkerd } from "./workerd.mjs";

mustBeBuilt(trapping);

/** Keygate with the routes of tests/workerd/routes.toml. `upstreams` are variables of each edge, such as UPSTREAM. */
export function startProduct(upstreams = {}) {
  const edges = { here: upstreams, there: upstreams };
  return startWorkerd({ bundle: trapping, env: { KEYGATE_LEASE_SECONDS: "1" }, edges });
}

/** Calls of the admin API by the holder of a credential: `(method, path, body?) => answer`. */
export function administrator(server, { key }) {
  return (method, path, body) => admin(server, method, path, body, { token: key });
}

/** A request of the product's API with a key, or with none where it is null. */
export function call(edge, key, method, path, headers = {}) {
  return send(edge, method, path, { headers: { ...bearer(key?.key ?? key), ...headers } });
}

const EVERY_MS = 5;
const AROUND_MS = 200;

/**
 * Once `change` is answered, `request(edge)` is refused in every isolate. All let it in before, and are asked all the time
 * from before the change until after the answer. The result is the answer's body.
 */
export async function refusedOnceAnswered(server, request, change) {
  const edges = Object.values(server.edges);
  for (const edge of edges) assert.equal((await request(edge)).status, 200);
  let over = false;
  const asked = [];
  const users = edges.map(async (edge) => {
    for (; !over; await sleep(EVERY_MS)) asked.push({ at: performance.now(), answer: await request(edge) });
  });
  let answered, body;
  try {
    await sleep(AROUND_MS);
    body = success(await change());
    answered = performance.now();
    await sleep(AROUND_MS);
  } finally {
    over = true;
    await Promise.all(users);
  }
  const later = asked.filter(({ at }) => at > answered);
  assert.ok(later.length >= edges.length);
  for (const { answer } of later) constant401(answer);
  return body;
}

// What the tests of whole products share: each is configured as its recipe in the README says, on the build whose route
// table has the products' routes, and used through two isolates.
//
// What becomes of a key is checked by each in its own way; all replace keys, limit them to addresses and find them in lists:
//
//              replaced                                addresses                      found by
//   Wonderkind after 90 days (due), confirmed or       narrowed after suspected       due, status, name, unused since
//              cancelled; at once after exposure       exposure
//   Kenjo      within a year (max_key_days), alias     the company's network, kept    environment, status, name, scope,
//              and place kept; cancelled; confirmed    by what replaces it            end
//   recruiting every quarter (due), by its holder,     a pipeline's own address,      due, tag, scope, never used, status,
//              from its first use on, with less        also for replacing itself      counts of stale ones
//   HRWize     by an Administrator, fields kept or     the company's network          owner, created by, scope, status
//              narrowed; confirmed by another
//   WallJobs   by its holder, in live and test,        a partner's old and new        workspace, environment, tag, name,
//              workspaces kept; answer lost            network while they move        status
//
// Plans clear up what was never used (recruiting), what somebody added who has left (HRWize), and what belonged to a
// workspace (WallJobs); usage is shown by Wonderkind, recruiting (with refusals) and HRWize (as a picture, too).

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { mustBeBuilt, trapping } from "./bundle.mjs";
import { admin, bearer, listAll, send } from "./client.mjs";
import { breakable, setClock } from "./connection.mjs";
import { constant401, eventually, onlyHeaders, success } from "./expect.mjs";
import { startWorkerd } from "./workerd.mjs";

mustBeBuilt(trapping);

/** Keygate with the routes of tests/workerd/routes.toml. `upstreams` are variables of each edge, such as UPSTREAM. */
export function startProduct(upstreams = {}) {
  const edges = { here: upstreams, there: upstreams };
  return startWorkerd({ bundle: trapping, env: { KEYGATE_LEASE_SECONDS: "1" }, edges, around: breakable });
}

/** Calls of the admin API by the holder of a credential: `(method, path, body?, headers?) => answer`. */
export function administrator(server, { key }) {
  return (method, path, body, headers) => admin(server, method, path, body, { token: key, headers });
}

/** A request of the product's API with a key, or with none where it is null. */
export function call(edge, key, method, path, headers = {}) {
  return send(edge, method, path, { headers: { ...bearer(key?.key ?? key), ...headers } });
}

/** Where a request comes from. Cloudflare says it in this header, which no client can set. */
export const from = (address) => ({ "CF-Connecting-IP": address });

/** Has a successor issued for the key at `path`, which may end in a query. */
export function rotate(by, path, body) {
  const [key, query] = path.split("?");
  return by("POST", `${key}/rotate${query === undefined ? "" : `?${query}`}`, body, { "If-Match": "*" });
}

/** The same; the result is the successor. */
export async function rotated(by, path, body) {
  return success(await rotate(by, path, body), 201);
}

/** The holder of a key asks for its successor. */
export function rotateOwn(edge, key, body, headers = {}) {
  const all = { "Content-Type": "application/json", ...bearer(key.key), ...headers };
  return send(edge, "POST", "/_keygate/rotate", { headers: all, body: JSON.stringify(body) });
}

/** The keys of the account at `path` that a filter shows, newest first. */
export function found(server, path, filter) {
  return listAll(server, `${path}/keys?${new URLSearchParams(filter)}`);
}

/** What `look` sees when the Authority believes that so many days have passed. */
export async function inDays(server, days, look) {
  await setClock(server.edges.here, days * 24 * 60 * 60 * 1_000);
  try {
    return await look();
  } finally {
    await setClock(server.edges.here, 0);
  }
}

/** A plan of `by` to revoke what a filter finds: `{plan, keys}`. Nothing is revoked yet. */
export async function planned(server, by, path, filter) {
  const plan = planOf(await by("POST", `${path}/keys/plans`, { filter }), 201);
  return { plan, keys: await listAll(server, `${path}/keys/plans/${plan.id}/keys`) };
}

/** Has a plan executed. The result is the plan as it is when all is done. */
export async function executed(by, path, { id }) {
  planOf(await by("POST", `${path}/keys/plans/${id}/execute`), 202);
  return eventually(async () => {
    const plan = planOf(await by("GET", `${path}/keys/plans/${id}`));
    assert.equal(plan.state, "done");
    return plan;
  });
}

/** A plan is changed by nobody, and so has no version. */
function planOf(answer, status = 200) {
  assert.equal(answer.status, status, answer.text);
  onlyHeaders(answer, []);
  return answer.json;
}

const EVERY_MS = 5;
const AROUND_MS = 200;

/**
 * Once `change` is answered, `request(edge)` is refused in every isolate. All let it in before, and are asked all the time
 * from before the change until after the answer, which has the status `status`. The result is the answer's body.
 */
export async function refusedOnceAnswered(server, request, change, { status = 200 } = {}) {
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
    body = success(await change(), status);
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

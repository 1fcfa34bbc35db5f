// What a decision asks of others: how many calls a refusal costs, and how many round trips, one after the other, a key
// that is new to an isolate. A round trip is what takes a tenth of a second here.

import { createAccount, issueKey, send, bearer, slots, takeLease, timed, verify } from "../workerd/harness/client.mjs";
import { breakable, disturb, heal, manyEdges, takeCalls, unusedEdges } from "../workerd/harness/connection.mjs";
import { faults } from "../workerd/harness/kv.mjs";
import { forgedKey } from "../workerd/harness/mint.mjs";
import { startWorkerd } from "../workerd/harness/workerd.mjs";
import { setTimeout as sleep } from "node:timers/promises";
import { median } from "./rounds.mjs";

const TRIP_MS = 100;
const TIMES = 5;
const FORGED = 1_000;
const QUERY = "scope=contacts:read";

/**
 * `{forged_kv_calls, forged_authority_calls}` of a thousand forged keys, and `{first_ms, kv_ms, authority_ms}`, the medians of how long a
 * decision takes where KV and the Authority are a tenth of a second away: for the first key of an isolate, for one
 * more that KV has, and for one that it does not have.
 */
export async function measureTrips() {
  const server = await startWorkerd({ edges: manyEdges(2 + 2 * TIMES), around: breakable });
  try {
    const unused = unusedEdges(server);
    const account = await createAccount(server);
    const issue = () => issueKey(server, account, { scopes: ["contacts:*"] });
    const keys = [];
    for (let n = 0; n < 2 + 4 * TIMES; n += 1) keys.push((await issue()).key);
    while ((await slots(server)).some((slot) => slot.unmirrored > 0)) await sleep(50);

    const calls = await callsOfForged(server, unused(), account);
    const near = server.kv;
    const slowKv = () => (near.onGet = faults.slow(TRIP_MS));
    const slowAuthority = (edge) => disturb(edge, { delay: TRIP_MS });
    const took = async (edge, key) => {
      const { answer, took: milliseconds } = await timed(verify(edge, key, QUERY));
      if (answer.status !== 200) throw new Error(`${answer.status} ${answer.text}`);
      return milliseconds;
    };
    const [first, kv, authority] = [[], [], []];
    for (let n = 0; n < TIMES; n += 1) {
      const edge = unused();
      slowKv();
      await slowAuthority(edge);
      first.push(await took(edge, keys.pop()));
      await heal(edge);
      near.heal();
      await takeLease(edge);
      slowKv();
      kv.push(await took(edge, keys.pop()));
      near.heal();
      const name = unused();
      await takeLease(name);
      near.onGet = async () => ({ status: 404 });
      await slowAuthority(name);
      authority.push(await took(name, keys.pop()));
      await heal(name);
      near.heal();
    }
    return { ...calls, first_ms: median(first), kv_ms: median(kv), authority_ms: median(authority) };
  } finally {
    await server.stop();
  }
}

async function callsOfForged(server, edge, account) {
  // So that the isolate is up, and what its first request does is done.
  await send(edge, "GET", "/_keygate/verify", { headers: bearer(forgedKey({ account: account.id })) });
  await takeCalls(edge);
  const before = server.kv.counts.get + server.kv.counts.put;
  for (let n = 0; n < FORGED; n += 1) {
    const answer = await verify(edge, forgedKey({ account: account.id }), QUERY);
    if (answer.status !== 401) throw new Error(`${answer.status} ${answer.text}`);
  }
  return {
    forged_kv_calls: server.kv.counts.get + server.kv.counts.put - before,
    forged_authority_calls: (await takeCalls(edge)).length,
  };
}

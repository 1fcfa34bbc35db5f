// What "immediately" means: isolates that have just accepted a key accept it no more once `?wait=effective` is answered.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { hammer } from "./hammer.mjs";

const EVERY_MS = 10;
const AROUND_MS = 300;

/**
 * Carries out `change`, which revokes `keys` with `?wait=effective`, while each edge is sent `GET path` with each of them
 * all the time. All were accepted before, and from the answer on each is refused with 401.
 */
export async function immediately(server, keys, path, change) {
  const requests = keys.map(({ key }) => [`GET ${path} HTTP/1.1`, `Authorization: Bearer ${key}`]);
  const hammers = Object.values(server.edges).flatMap((edge) => requests.map((lines) => hammer(edge, lines, EVERY_MS)));
  let answer, answered;
  try {
    await sleep(AROUND_MS);
    answer = await change();
    answered = performance.now();
    await sleep(AROUND_MS);
  } finally {
    await Promise.all(hammers.map(({ stop }) => stop()));
  }
  for (const { answers } of hammers) {
    assert.equal(answers[0].status, 200, "accepted before");
    const later = answers.filter(({ sent }) => sent > answered);
    assert.ok(later.length > 5, `${later.length} requests after the answer`);
    assert.deepEqual(later.filter(({ status }) => status !== 401), [], "accepted after the answer");
  }
  return answer;
}

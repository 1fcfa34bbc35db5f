// The budgets. Ratios are to the floor of the same run.

import { CASES } from "./names.mjs";

/** What a decision may take of the CPU, by case. */
const RATIOS = { warm: 1.15, forged: 1.15, "wrong-scope": 1.2, revoked: 1.2 };

/** Where a round trip takes 100 ms, two take 200. */
const ONE_TRIP_MS = 160;

/** Of CPU time, more than the empty Worker takes. */
const COLD_START_MS = 50;

/** A sentence for each budget that was exceeded. */
export function exceeded(results, { trips, cold_start, scale }) {
  const found = (worker, name) => results.find((result) => result.worker === worker && result.case === name);
  const over = [];
  const check = (fits, sentence) => {
    if (!fits) over.push(sentence);
  };
  for (const [name, budget] of Object.entries(RATIOS)) {
    const { ratio } = found("keygate", name);
    check(ratio <= budget, `${CASES[name]} takes ${ratio} times the empty Worker, at most ${budget} are allowed`);
  }
  const [own, peer] = [found("keygate", "kv"), found("js-kv", "kv")];
  check(own.ratio <= peer.ratio, `${CASES.kv} takes ${own.ratio} times the empty Worker, hand-written JavaScript ${peer.ratio}`);
  const calls = trips.forged_kv_calls + trips.forged_authority_calls;
  check(calls === 0, `forged keys made ${calls} calls of KV and the Authority`);
  for (const name of ["first_ms", "kv_ms", "authority_ms"]) {
    check(trips[name] < ONE_TRIP_MS, `more than one round trip: ${name} is ${trips[name]}`);
  }
  const more = cold_start.keygate_cpu_ms - cold_start.floor_cpu_ms;
  check(more <= COLD_START_MS, `a cold start takes ${more.toFixed(1)} ms of CPU, at most ${COLD_START_MS} are allowed`);
  const sizes = [...new Set(scale.map(({ keys }) => keys))];
  for (const { operation, rows_read, rows_written } of scale.filter(({ keys }) => keys === sizes[0])) {
    for (const other of scale.filter((one) => one.operation === operation)) {
      const same = other.rows_read === rows_read && other.rows_written === rows_written;
      check(same, `${operation} reads and writes other rows with ${other.keys} keys than with ${sizes[0]}`);
    }
  }
  return over;
}

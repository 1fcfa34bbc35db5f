// The measurement: rounds in which everyone has a turn, so that what the machine does meanwhile hits all alike.

import { takeLease } from "./cases.mjs";
import { asFastAsPossible, atARate } from "./load.mjs";

const PER_SECOND = 1_000;
/** So much longer it takes until a cache has what a Zipf distribution asks for most. */
const FILLING = 5;
/** Before each turn: so many requests. */
const WARM_UP = 300;
/** A case that takes more than this of what it can do at the usual rate is asked at a lower one. */
const FARTHEST = 0.4;

/**
 * `[{worker, case, cpu_us, cpu_us_low, cpu_us_high, ratio, rps, busy, per_second, p50_ms, p99_ms, p999_ms, rounds}…]`, where
 * `busy` is how much of one core workerd used while requests came as fast as they were answered, and `per_second` the
 * rate at which latency was measured. Everyone runs for `warmUpMs` first; a turn takes about `turnMs`; latency is measured
 * for `seconds` each. `say` is told what is done.
 */
export async function measure(pairs, { rounds, turnMs, warmUpMs, seconds, say }) {
  const turns = new Map(pairs.map((pair) => [pair, []]));
  for (const pair of pairs) {
    await takeLease(pair);
    const { port } = pair.server;
    const begun = performance.now();
    let took;
    do took = (await asFastAsPossible(port, 500, pair.next, pair.status)).seconds;
    while (performance.now() < begun + warmUpMs * (pair.name === "zipf" ? FILLING : 1));
    pair.count = Math.max(500, Math.round((500 / took) * (turnMs / 1_000)));
    say(`warmed up: ${pair.worker}, ${pair.name}`);
  }
  for (let round = 1; round <= rounds; round += 1) {
    for (const pair of shuffled(pairs)) turns.get(pair).push(await turn(pair));
    say(`round ${round} of ${rounds}`);
  }
  const results = pairs.map((pair) => {
    const all = turns.get(pair);
    const cpu = all.map(({ micros }) => micros).sort((left, right) => left - right);
    return {
      worker: pair.worker,
      case: pair.name,
      cpu_us: quantile(cpu, 0.5),
      cpu_us_low: cpu[0],
      cpu_us_high: cpu[cpu.length - 1],
      rps: median(all.map(({ rps }) => rps)),
      busy: median(all.map(({ busy }) => busy)),
      rounds: all.length,
    };
  });
  const floor = results.find(({ worker }) => worker === "floor").cpu_us;
  for (const [n, pair] of pairs.entries()) {
    const result = results[n];
    result.ratio = result.cpu_us / floor;
    result.per_second = Math.min(PER_SECOND, Math.floor((result.rps * FARTHEST) / 50) * 50);
    await takeLease(pair);
    await asFastAsPossible(pair.server.port, WARM_UP, pair.next, pair.status);
    const times = await atARate(pair.server.port, result.per_second, seconds, pair.next, pair.status);
    result.p50_ms = quantile(times, 0.5);
    result.p99_ms = quantile(times, 0.99);
    result.p999_ms = quantile(times, 0.999);
    say(`latency: ${pair.worker}, ${pair.name}`);
  }
  return results.map(rounded);
}

async function turn(pair) {
  const { server, count, next, status } = pair;
  await takeLease(pair);
  await asFastAsPossible(server.port, WARM_UP, next, status);
  const before = server.cpuMicros();
  const { seconds } = await asFastAsPossible(server.port, count, next, status);
  const used = server.cpuMicros() - before;
  return { micros: used / count, rps: count / seconds, busy: used / (seconds * 1_000_000) };
}

function shuffled(list) {
  const all = [...list];
  for (let n = all.length - 1; n > 0; n -= 1) {
    const other = Math.floor(Math.random() * (n + 1));
    [all[n], all[other]] = [all[other], all[n]];
  }
  return all;
}

/** The value below which so much of the sorted `values` lies. */
export function quantile(values, part) {
  return values[Math.min(values.length - 1, Math.floor(part * values.length))];
}

/** The one in the middle. */
export function median(values) {
  return quantile([...values].sort((left, right) => left - right), 0.5);
}

const DIGITS = { ratio: 2, busy: 2, p50_ms: 2, p99_ms: 2, p999_ms: 2, rps: 0, rounds: 0, per_second: 0 };

function rounded(result) {
  const entries = ["worker", "case", "cpu_us", "cpu_us_low", "cpu_us_high", "ratio", "rps", "busy", "per_second", "p50_ms", "p99_ms", "p999_ms", "rounds"];
  const digits = (name) => DIGITS[name] ?? 1;
  return Object.fromEntries(
    entries.map((name) => [name, typeof result[name] === "number" ? Number(result[name].toFixed(digits(name))) : result[name]]),
  );
}

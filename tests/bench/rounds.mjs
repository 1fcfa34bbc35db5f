// The measurement: everyone has a short turn, with one of the floor between any two, over and over. What else the machine does
// meanwhile makes all requests dearer, by half and more, for seconds; and now and then it stands still for half a second. So
// a ratio is that of the turns of a round to the floor's just before and after them, without those that fell into such a halt.

import { takeLease } from "./cases.mjs";
import { asFastAsPossible, atARate } from "./load.mjs";

const PER_SECOND = 1_000;
/** So many turns of everyone are a round. */
const TURNS = 6;
/** A turn that took so many times the round's median fell into a halt. */
const HALT = 2;
/** So much longer it takes until a cache has what a Zipf distribution asks for most. */
const FILLING = 5;
/** Before each turn: so many requests. */
const WARM_UP = 100;
/** A case that takes more than this of what it can do at the usual rate is asked at a lower one. */
const FARTHEST = 0.4;

/**
 * `[{worker, case, cpu_us, cpu_us_low, cpu_us_high, ratio, ratio_low, ratio_high, rps, busy, per_second, p50_ms, p99_ms, p999_ms, rounds}…]`,
 * medians of the rounds with lowest and highest; the first of `pairs` is the floor;
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
    pair.count = Math.max(20, Math.round((500 / took) * (turnMs / 1_000)));
    say(`warmed up: ${pair.worker}, ${pair.name}`);
  }
  const [floor, ...others] = pairs;
  for (let round = 1; round <= rounds; round += 1) {
    const all = new Map(others.map((pair) => [pair, { own: [], around: [] }]));
    for (let n = 0; n < TURNS; n += 1) {
      let before = await turn(floor);
      for (const pair of shuffled(others)) {
        const { own, around } = all.get(pair);
        own.push(await turn(pair));
        const after = await turn(floor);
        around.push(before, after);
        before = after;
      }
    }
    for (const [pair, { own, around }] of all) {
      const [its, floors] = [steady(own), steady(around)];
      turns.get(pair).push({ ...its, ratio: its.micros / floors.micros });
      turns.get(floor).push({ ...floors, ratio: 1 });
    }
    say(`round ${round} of ${rounds}`);
  }
  const results = [];
  for (const pair of pairs) {
    const all = turns.get(pair);
    const of = (name) => all.map((one) => one[name]);
    const result = {
      worker: pair.worker,
      case: pair.name,
      cpu_us: median(of("micros")),
      cpu_us_low: Math.min(...of("micros")),
      cpu_us_high: Math.max(...of("micros")),
      ratio: median(of("ratio")),
      ratio_low: Math.min(...of("ratio")),
      ratio_high: Math.max(...of("ratio")),
      rps: median(of("rps")),
      busy: median(of("busy")),
      rounds,
    };
    result.per_second = Math.min(PER_SECOND, Math.floor((result.rps * FARTHEST) / 50) * 50);
    await warm(pair);
    const times = await atARate(pair.server.port, result.per_second, seconds, pair.next, pair.status);
    result.p50_ms = quantile(times, 0.5);
    result.p99_ms = quantile(times, 0.99);
    result.p999_ms = quantile(times, 0.999);
    results.push(rounded(result));
    say(`latency: ${pair.worker}, ${pair.name}`);
  }
  return results;
}

async function warm(pair) {
  await takeLease(pair);
  await asFastAsPossible(pair.server.port, WARM_UP, pair.next, pair.status);
}

async function turn(pair) {
  const { server, count, next, status } = pair;
  await warm(pair);
  const before = server.cpuMicros();
  const { seconds } = await asFastAsPossible(server.port, count, next, status);
  const used = server.cpuMicros() - before;
  return { micros: used / count, rps: count / seconds, busy: used / (seconds * 1_000_000) };
}

/** The mean of the turns, for garbage is collected in some of them only. */
function steady(turns) {
  const most = HALT * median(turns.map(({ micros }) => micros));
  const kept = turns.filter(({ micros }) => micros < most);
  const mean = (name) => kept.reduce((sum, one) => sum + one[name], 0) / kept.length;
  return { micros: mean("micros"), rps: mean("rps"), busy: mean("busy") };
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

/** What stands in results.json, and with how many digits behind the point. */
const DIGITS = {
  cpu_us: 1,
  cpu_us_low: 1,
  cpu_us_high: 1,
  ratio: 2,
  ratio_low: 2,
  ratio_high: 2,
  rps: 0,
  busy: 2,
  per_second: 0,
  p50_ms: 2,
  p99_ms: 2,
  p999_ms: 2,
  rounds: 0,
};

function rounded({ worker, case: name, ...numbers }) {
  const entries = Object.entries(DIGITS).map(([number, digits]) => [number, Number(numbers[number].toFixed(digits))]);
  return { worker, case: name, ...Object.fromEntries(entries) };
}

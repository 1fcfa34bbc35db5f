// The measurement: a few Workers and the floor alternate in short turns until all have had their rounds of them, then the next
// few and the floor, all of them started for it. So all have the same company and the same part of the time, and none is idle for
// long: V8 gives memory back then, and is slower for thousands of requests. What else the machine does makes all requests
// dearer for seconds; turns differ in order and length, lest they keep step with it. A ratio is that of the means, not of
// medians: V8's large collections fall into few turns and are a part of what a request costs.

import { takeLease } from "./cases.mjs";
import { asFastAsPossible, atARate } from "./load.mjs";

const PER_SECOND = 1_000;
/** So many Workers alternate with the floor. */
const TOGETHER = 6;
/** So many turns of each are a round. */
const TURNS = 30;
/** So much longer it takes until a cache has what a Zipf distribution asks for most. */
const FILLING = 5;
/** Before latency is measured: so many requests. */
const WARM_UP = 100;
/** A case that takes more than this of what it can do at the usual rate is asked at a lower one. */
const FARTHEST = 0.4;

/**
 * `[{worker, case, cpu_us, cpu_us_low, cpu_us_high, ratio, ratio_low, ratio_high, rps, busy, per_second, p50_ms, p99_ms, p999_ms, rounds}…]`
 * of the `[worker, case]` in `pairs`, means of the rounds with lowest and highest; the first of `pairs` is the floor;
 * `busy` is how much of one core workerd used while requests came as fast as they were answered, and `per_second` the
 * rate at which latency was measured. `start` starts those it is given; everyone runs for `warmUpMs` first; a turn takes
 * about `turnMs`; latency is measured for `seconds` each. `say` is told what is done.
 */
export async function measure(pairs, { start, rounds, turnMs, warmUpMs, seconds, say }) {
  const [first, ...rest] = pairs;
  const others = byCase(rest);
  const taken = new Map(pairs.map((pair) => [pair, []]));
  const times = new Map();
  for (let from = 0; from < others.length; from += TOGETHER) {
    const members = [first, ...others.slice(from, from + TOGETHER)];
    say(`starting, checking and warming up: ${members.map((pair) => pair.join(" ")).join(", ")}`);
    const group = await start(members);
    for (const running of group) await warmUp(running, { warmUpMs, turnMs });
    for (let n = 1; n <= rounds; n += 1) {
      const sums = await round(group, TURNS);
      for (const [at, sum] of sums.entries()) taken.get(members[at]).push({ ...sum, floor: sums[0] });
      say(`round ${n} of ${rounds}`);
    }
    say("latency");
    for (const [at, running] of group.entries()) times.set(members[at], await latency(running, taken.get(members[at]), seconds));
    for (const { server } of group) await server.stop();
  }
  return pairs.map((pair) => {
    const [worker, name] = pair;
    return rounded({ worker, case: name, ...usage(taken.get(pair)), rounds, ...times.get(pair) });
  });
}

/** Those that are compared with one another stand together. */
function byCase(pairs) {
  const cases = [...new Set(pairs.map(([, name]) => name))];
  return cases.flatMap((one) => pairs.filter(([, name]) => name === one));
}

/** Sends requests for a while, and finds out how many are a turn. */
async function warmUp(pair, { warmUpMs, turnMs }) {
  await takeLease(pair);
  const begun = performance.now();
  let took;
  do took = (await asFastAsPossible(pair.server.port, 500, pair.next, pair.status)).seconds;
  while (performance.now() < begun + warmUpMs * (pair.name === "zipf" ? FILLING : 1));
  pair.count = Math.max(20, Math.round((500 / took) * (turnMs / 1_000)));
}

/** What so many turns of each of the group, of about `count` requests each, took together: `[{micros, rps, busy}…]`. */
export async function round(group, turns) {
  const sums = new Map(group.map((pair) => [pair, { requests: 0, used: 0, seconds: 0 }]));
  for (let n = 0; n < turns; n += 1) {
    for (const pair of shuffled(group)) await turn(pair, sums.get(pair));
  }
  return [...sums.values()].map(({ requests, used, seconds }) => {
    return { micros: used / requests, rps: requests / seconds, busy: used / (seconds * 1_000_000) };
  });
}

async function turn(pair, sum) {
  const { server, count, next, status } = pair;
  await takeLease(pair);
  const requests = Math.ceil(count * (0.5 + Math.random()));
  const before = server.cpuMicros();
  const { seconds } = await asFastAsPossible(server.port, requests, next, status);
  sum.used += server.cpuMicros() - before;
  sum.requests += requests;
  sum.seconds += seconds;
}

function usage(rounds) {
  const of = (what) => rounds.map((one) => one[what]);
  const ratios = rounds.map(({ micros, floor }) => micros / floor.micros);
  return {
    cpu_us: mean(of("micros")),
    cpu_us_low: Math.min(...of("micros")),
    cpu_us_high: Math.max(...of("micros")),
    ratio: mean(of("micros")) / mean(rounds.map(({ floor }) => floor.micros)),
    ratio_low: Math.min(...ratios),
    ratio_high: Math.max(...ratios),
    rps: mean(of("rps")),
    busy: mean(of("busy")),
  };
}

async function latency(pair, rounds, seconds) {
  const { server, next, status } = pair;
  const rps = mean(rounds.map((one) => one.rps));
  const perSecond = Math.min(PER_SECOND, Math.floor((rps * FARTHEST) / 50) * 50);
  await takeLease(pair);
  await asFastAsPossible(server.port, WARM_UP, next, status);
  const times = await atARate(server.port, perSecond, seconds, next, status);
  return { per_second: perSecond, p50_ms: quantile(times, 0.5), p99_ms: quantile(times, 0.99), p999_ms: quantile(times, 0.999) };
}

function mean(values) {
  return values.reduce((sum, one) => sum + one, 0) / values.length;
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

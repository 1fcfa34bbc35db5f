// What scripts/bench runs once everything is built. Tells on standard error what it is doing, prints tables, and with
// --write changes results.json, measured.json, speed.svg and README.md. Fails if a budget is exceeded.

import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import workerd from "workerd";
import { execFileSync } from "node:child_process";
import { exceeded } from "./budgets.mjs";
import { PAIRS, startPairs } from "./cases.mjs";
import { chart } from "./chart.mjs";
import { measureColdStart } from "./cold-start.mjs";
import { makeKeys } from "./keys.mjs";
import { tables, updateReadme } from "./report.mjs";
import { measure } from "./rounds.mjs";
import { measureScale } from "./scale.mjs";
import { measureTrips } from "./trips.mjs";
import { startKvProcess } from "./worker.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const build = join(here, "build");

const options = new Set(process.argv.slice(2));
const quick = options.has("--quick");
const plan = quick
  ? { keys: { warm: 100, issued: 600, minted: 30_000 }, rounds: 3, turnMs: 15, warmUpMs: 500, seconds: 1, starts: 5, sizes: [1_000, 100_000] }
  : { keys: { warm: 100, issued: 600, minted: 100_000 }, rounds: 7, turnMs: 50, warmUpMs: 2_500, seconds: 3, starts: 11, sizes: [1_000, 100_000, 1_000_000] };

const begun = performance.now();
const say = (what) => console.error(`keygate: ${String(Math.round((performance.now() - begun) / 1_000)).padStart(4)} s  ${what}`);

const kv = startKvProcess();
say("issuing and minting keys");
const keys = await makeKeys(plan.keys);
say("round trips");
const trips = await measureTrips();
say("cold starts");
const cold = await measureColdStart({ keys, kv, build, times: plan.starts });
say("rows by the number of keys");
const scale = await measureScale(plan.sizes, say);
const start = (pairs) => startPairs(pairs, { keys, kv, build });
const results = await measure(PAIRS, { ...plan, start, say });
kv.stop();

const machine = {
  cpu: cpus()[0].model.trim(),
  cores: cpus().length,
  workerd: execFileSync(workerd.default, ["--version"], { encoding: "utf8" }).trim().replace(/^workerd /, ""),
  node: process.version,
  date: new Date().toISOString().slice(0, 10),
  quick,
};
const measured = { machine, trips, cold_start: cold, scale };

console.log(tables(results, measured, ""));
if (options.has("--write")) {
  const json = (value) => `${JSON.stringify(value, null, 2)}\n`;
  // A line for each, so that a change shows as one.
  const list = `[\n${results.map((result) => `  ${JSON.stringify(result)}`).join(",\n")}\n]\n`;
  writeFileSync(join(here, "results.json"), list);
  writeFileSync(join(here, "measured.json"), json(measured));
  writeFileSync(join(here, "speed.svg"), chart(results));
  updateReadme();
  say("wrote tests/bench/results.json, measured.json and speed.svg, and the tables of README.md");
}
process.exit(exceeded(results, measured).length === 0 ? 0 : 1);

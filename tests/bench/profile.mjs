// Where the CPU time of a request goes: takes samples of workerd's stacks with perf, in which V8 names what it has compiled,
// and tells them apart by the innermost frame that says something. Everyone has short turns, as in
// rounds.mjs. Called as: profile.mjs [--write] CASE... (of Keygate, or of a peer: `js-kv:kv`).

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startPairs } from "./cases.mjs";
import { makeKeys } from "./keys.mjs";
import { temporaryDirectory } from "../workerd/harness/guard.mjs";
import { updateReadme } from "./report.mjs";
import { round } from "./rounds.mjs";
import { startKvProcess } from "./worker.mjs";

const REQUESTS_A_TURN = 500;
const WARM_UP_TURNS = 40;
const TURNS = 40;
const SAMPLES_PER_SECOND = 1_999;

/** The first pattern that a frame fits, from the innermost frame on, says what the sample is. */
const PARTS = [
  ["garbage collection", /^v8::internal::(Heap|Scaveng|MinorGC|MarkCompact|CppHeap|GCTracer)|^cppgc::internal::(?!Make)|HeapTracer/],
  ["V8: compiling", /^v8::internal::(compiler::|OptimizingCompile|Compiler|wasm::.*[Cc]ompil)/],
  ["KV: the call", /api::KvNamespace/],
  ["timers", /TimeoutManager|::(setTimeout|clearTimeout)\(|GlobalScope::(set|clear)Timeout/],
  ["making the answer: Response and its headers", /api::Response::(constructor|clone)|api::Blob|api::Response,? .*ConstructorCallback|ConstructorCallback<.*api::Response,/],
  ["making headers", /api::Headers::constructor|ConstructorCallback<.*api::Headers,/],
  ["reading URL and headers", /3api7(Headers|Request)15registerMembers|api::(Headers|Request)::(get|url)/],
  ["Keygate: SHA-256", /^JS:.*(sha2|compress256)/],
  ["Keygate: Rust", /^JS:.*-(turbofan|liftoff)$/],
  ["between JavaScript and WASM", /^Stub:|wasm-to-js|^Builtins_(Wasm|JSToWasm)/],
  ["Keygate: JavaScript", /^JS:[*+^~' ]/],
  ["workerd: sending the answer", /api::Response::send|encode_headers|__GI___writev|do_writev/],
];
const REST = "workerd and the kernel: everything else";

const [write, cases] = process.argv[2] === "--write" ? [true, process.argv.slice(3)] : [false, process.argv.slice(2)];
const kv = startKvProcess();
const keys = await makeKeys({ warm: 100, issued: 600, minted: cases.some((name) => name.endsWith("kv")) ? 30_000 : 100 });
const build = join(import.meta.dirname, "build");
const directory = temporaryDirectory("profile");
const table = new Map();
const inside = new Map();
const totals = [];
const ours = (name) => ["keygate", name, "keygate-names"];
const pairs = cases.map((name) => (name.includes(":") ? name.split(":") : ours(name)));
const started = [];
for (const [worker, name, bundle] of [["floor", "warm"], ...pairs]) {
  started.push(...(await startPairs([[worker, name]], { keys, kv, build, bundle, v8Flags: ["--perf-basic-prof"] })));
}
for (const pair of started) pair.count = REQUESTS_A_TURN;
await round(started, WARM_UP_TURNS);
const file = join(directory, "samples");
const pids = started.map(({ server }) => server.pid);
const perf = spawn("perf", ["record", "-q", "-g", "-F", String(SAMPLES_PER_SECOND), "-p", pids.join(","), "-o", file]);
while (!existsSync(file)) await sleep(10);
await sleep(200);
const took = await round(started, TURNS);
perf.kill("SIGINT");
await once(perf, "exit");
for (const [n, { worker, name, server }] of started.entries()) {
  await server.stop();
  const { micros } = took[n];
  totals.push([worker, name, micros]);
  const script = ["script", "-i", file, "--pid", String(server.pid), "-F", "ip,sym"];
  count(execFileSync("perf", script, { encoding: "utf8", maxBuffer: 2 ** 30, stdio: ["ignore", "pipe", "ignore"] }), micros, n);
  rmSync(`/tmp/perf-${server.pid}.map`, { force: true });
  console.error(`keygate: ${worker}, ${name}: ${micros.toFixed(1)} µs a request`);
}
kv.stop();

function count(stacks, micros, column) {
  const samples = stacks.split("\n\n").map((stack) => stack.trim().split("\n").map((frame) => frame.trim().replace(/^[0-9a-f]+ /, "")));
  const each = micros / samples.length;
  const add = (map, what) => {
    const row = map.get(what) ?? map.set(what, []).get(what);
    row[column] = (row[column] ?? 0) + each;
  };
  for (const frames of samples) {
    let part = REST;
    for (const frame of frames) {
      const found = PARTS.find(([, pattern]) => pattern.test(frame));
      if (found === undefined) continue;
      [part] = found;
      break;
    }
    add(table, part);
    const own = frames.find((frame) => frame.startsWith("JS:"));
    if (part.startsWith("Keygate: ") && own !== undefined) {
      add(inside, own.replace(/^JS:[*+^~]?|(::h[0-9a-f]{16})?-\d+-\w+$| file:.*\//g, ""));
    }
  }
}

/** From each part to its share of each column, in µs, the largest first. */
function rowsOf(map) {
  const rows = [...map].map(([what, values]) => [what, totals.map((_, column) => values[column] ?? 0)]);
  return rows.sort((left, right) => Math.max(...right[1]) - Math.max(...left[1]));
}

function print(title, rows) {
  console.log(`\n${title.padEnd(60)}${totals.map(([worker, name]) => `${worker} ${name}`.padStart(22)).join("")}`);
  const floor = totals[0][2];
  for (const [what, values] of rows) {
    console.log(what.slice(0, 59).padEnd(60) + values.map((micros) => `${micros.toFixed(1)} µs ${(micros / floor).toFixed(2)} ×`.padStart(22)).join(""));
  }
}

const parts = rowsOf(new Map([...table, ["in all", totals.map(([, , micros]) => micros)]]));
print("µs a request, and as a part of the floor", parts);
print("Keygate's own functions, without what they call", rowsOf(inside).slice(0, 15));
if (write) {
  const profile = {
    machine: { cpu: cpus()[0].model.trim(), date: new Date().toISOString().slice(0, 10) },
    columns: totals.map(([worker, name]) => ({ worker, case: name })),
    parts: parts.map(([part, values]) => ({ part, cpu_us: values.map((micros) => Number(micros.toFixed(1))) })),
  };
  writeFileSync(join(import.meta.dirname, "profile.json"), `${JSON.stringify(profile, null, 2)}\n`);
  updateReadme();
}

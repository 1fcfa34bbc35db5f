// Where the CPU time of a request goes: takes samples of workerd's stacks with perf, in which V8 names what it has compiled,
// and tells them apart by the innermost frame that says something. Everyone has short turns, so that what the machine does
// meanwhile befalls all of them. Called as: profile.mjs CASE... (of Keygate, or of a peer: `js-kv:kv`).

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startPairs, takeLease } from "./cases.mjs";
import { makeKeys } from "./keys.mjs";
import { asFastAsPossible } from "./load.mjs";
import { temporaryDirectory } from "../workerd/harness/guard.mjs";
import { startKvProcess } from "./worker.mjs";

const WARM_UP = 20_000;
/** Requests between two looks at the lease. */
const AT_ONCE = 2_000;
const TURNS = 40;
const REQUESTS_A_TURN = 500;
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

const cases = process.argv.slice(2);
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
/** The CPU time that `count` requests take. */
const ask = async (pair, count) => {
  await takeLease(pair);
  const before = pair.server.cpuMicros();
  await asFastAsPossible(pair.server.port, count, pair.next, pair.status);
  return pair.server.cpuMicros() - before;
};
for (const pair of started) for (let sent = 0; sent < WARM_UP; sent += AT_ONCE) await ask(pair, AT_ONCE);
const file = join(directory, "samples");
const pids = started.map(({ server }) => server.pid);
const perf = spawn("perf", ["record", "-q", "-g", "-F", String(SAMPLES_PER_SECOND), "-p", pids.join(","), "-o", file]);
while (!existsSync(file)) await sleep(10);
await sleep(200);
const used = started.map(() => 0);
for (let turn = 0; turn < TURNS; turn += 1) {
  for (const [n, pair] of started.entries()) used[n] += await ask(pair, REQUESTS_A_TURN);
}
perf.kill("SIGINT");
await once(perf, "exit");
const script = ["script", "-i", file, "-F", "pid,ip,sym"];
const stacks = execFileSync("perf", script, { encoding: "utf8", maxBuffer: 2 ** 30, stdio: ["ignore", "pipe", "ignore"] })
  .split("\n\n")
  .map((stack) => stack.trim().split("\n"));
for (const [n, { worker, name, server }] of started.entries()) {
  await server.stop();
  rmSync(`/tmp/perf-${server.pid}.map`, { force: true });
  const micros = used[n] / (TURNS * REQUESTS_A_TURN);
  totals.push([worker, name, micros]);
  count(stacks.filter(([pid]) => Number(pid) === server.pid).map(([, ...frames]) => frames), micros, n);
  console.error(`keygate: ${worker}, ${name}: ${micros.toFixed(1)} µs a request`);
}
kv.stop();

function count(stacks, micros, column) {
  const samples = stacks.map((frames) => frames.map((frame) => frame.trim().replace(/^[0-9a-f]+ /, "")));
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

function print(title, map, most) {
  const rows = [...map].map(([what, values]) => [what, totals.map((_, column) => values[column] ?? 0)]);
  rows.sort((left, right) => Math.max(...right[1]) - Math.max(...left[1]));
  console.log(`\n${title.padEnd(60)}${totals.map(([worker, name]) => `${worker} ${name}`.padStart(22)).join("")}`);
  const floor = totals[0][2];
  for (const [what, values] of rows.slice(0, most)) {
    console.log(what.slice(0, 59).padEnd(60) + values.map((micros) => `${micros.toFixed(1)} µs ${(micros / floor).toFixed(2)} ×`.padStart(22)).join(""));
  }
}

print("µs a request, and as a part of the floor", new Map([...table, ["in all", totals.map(([, , micros]) => micros)]]), 40);
print("Keygate's own functions, without what they call", inside, 15);

// Sends very many requests with mixed outcomes, and looks at the memory: of the WASM instance after the first ten thousand
// and at the end, of workerd after a fifth and at the end. (Before that V8 lets its heap grow: with the empty Worker workerd has
// three times as much after 80,000 requests as after 10,000, and keeps it.) Before each look V8 has to collect its garbage, of
// which there are 20 MB more or less otherwise. Called as: leak.mjs REQUESTS

import { join } from "node:path";
import { send } from "../workerd/harness/client.mjs";
import { mintKey } from "../workerd/harness/mint.mjs";
import { MANY_SLOTS } from "./cases.mjs";
import { makeKeys } from "./keys.mjs";
import { asFastAsPossible, requestBytes } from "./load.mjs";
import { keygateWorker, startKvProcess, startWorker } from "./worker.mjs";

const EARLY = 10_000;
const STEP = 10_000;
const SETTLED = 0.2;
const RESIDENT_MORE = 1.05;
const SAID_EVERY = 5;

// Evaluated before Keygate, so that it sees the instance come to be.
const memory = `
  const { Instance } = WebAssembly;
  WebAssembly.Instance = class extends Instance {
    constructor(...all) {
      super(...all);
      globalThis.instances = [...(globalThis.instances ?? []), this];
    }
  };
`;

const around = `
  import "./memory.js";
  import worker, { Authority } from "./entry.js";
  export { Authority };
  export default {
    fetch(request, env, ctx) {
      if (!request.url.endsWith("/-/memory")) return worker.fetch(request, env, ctx);
      gc();
      return Response.json(instances.map(({ exports }) => exports.memory.buffer.byteLength));
    },
  };
`;

/** Requests and their statuses. Of ten, three are for keys in use, and three for keys that the isolate has no room to keep. */
function mixed(keys) {
  const status = new Map();
  const kinds = [
    [keys.warm, "/_keygate/verify?scope=contacts:read", 200],
    [keys.issued, "/_keygate/verify?scope=reports:read", 200],
    [keys.forged, "/_keygate/verify", 401],
    [keys.issued, "/v1/contacts", 200],
    [keys.revoked, "/_keygate/verify", 401],
    [keys.warm, "/_keygate/verify?scope=jobs:write", 403],
    [keys.issued, "/_keygate/whoami", 200],
    [[null, "two words", "short"], "/_keygate/verify", (key) => (key === "two words" ? 400 : 401)],
    [keys.warm, "/v1/nothing/here", 404],
    [Array.from({ length: 300 }, () => mintKey({ account: keys.account.id }).text), "/_keygate/verify", 401],
    [keys.warm, "/_keygate/verify?scope=oops", 400],
    [[null], "/_keygate/healthz", 200],
  ].map(([texts, path, expected]) =>
    texts.map((key) => {
      const bytes = requestBytes(key, path);
      status.set(bytes, typeof expected === "function" ? expected(key) : expected);
      return bytes;
    }),
  );
  let at = 0;
  const next = () => {
    const kind = kinds[at % kinds.length];
    return kind[Math.floor(at++ / kinds.length) % kind.length];
  };
  return { next, status };
}

const requests = Number(process.argv[2]);
const kv = startKvProcess();
const keys = await makeKeys({ warm: 100, issued: 600, minted: 0 });
const modules = [
  { name: "around.js", text: around },
  { name: "memory.js", text: memory },
];
const options = { env: { KEYGATE_SLOTS: MANY_SLOTS }, objects: keys.objects, around: modules };
const server = await startWorker(
  keygateWorker(join(import.meta.dirname, "build", "keygate"), await kv.open(keys.mirror), options),
  ["--expose-gc"],
);
const { next, status } = mixed(keys);
const begun = performance.now();
let early, settled, last;
for (let sent = 0, steps = 1; sent < requests; steps += 1) {
  const count = Math.min(STEP, requests - sent);
  await asFastAsPossible(server.port, count, next, status);
  sent += count;
  last = { sent, wasm: (await send(server, "GET", "/-/memory")).text, resident: server.residentBytes() };
  if (sent <= EARLY) early = last;
  if (sent <= Math.max(STEP, requests * SETTLED)) settled = last;
  if (steps % SAID_EVERY === 1 || sent === requests) {
    const seconds = (performance.now() - begun) / 1_000;
    const left = Math.round((seconds / sent) * (requests - sent));
    const resident = (last.resident / 2 ** 20).toFixed(0);
    console.error(`keygate: ${sent} of ${requests}, WASM ${last.wasm} bytes, workerd ${resident} MiB, ${left} s left`);
  }
}
await server.stop();
kv.stop();

const grown = last.resident / settled.resident;
const percent = `${grown < 1 ? "" : "+"}${((grown - 1) * 100).toFixed(1)} %`;
console.log(`WASM memory from request ${early.sent} to ${last.sent}: ${early.wasm} to ${last.wasm} bytes`);
console.log(`workerd from request ${settled.sent} to ${last.sent}: ${percent}`);
const failed = [];
if (last.wasm !== early.wasm) failed.push("leak: the WASM memory grew");
if (grown > RESIDENT_MORE) failed.push("leak: workerd grew");
for (const line of failed) console.log(line);
process.exit(failed.length > 0 ? 1 : 0);

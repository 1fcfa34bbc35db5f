// Sends very many requests with mixed outcomes, and looks at the memory of the WASM instance and of workerd after the first
// ten thousand and at the end. Called as: leak.mjs REQUESTS

import { join } from "node:path";
import { send } from "../workerd/harness/client.mjs";
import { mintKey } from "../workerd/harness/mint.mjs";
import { MANY_SLOTS } from "./cases.mjs";
import { makeKeys } from "./keys.mjs";
import { asFastAsPossible, requestBytes } from "./load.mjs";
import { keygateWorker, startKvProcess, startWorker } from "./worker.mjs";

const EARLY = 10_000;
const STEP = 10_000;
const RESIDENT_MORE = 1.05;

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
);
const { next, status } = mixed(keys);
const begun = performance.now();
let early;
for (let sent = 0; sent < requests; ) {
  const count = Math.min(STEP, requests - sent);
  await asFastAsPossible(server.port, count, next, status);
  sent += count;
  const now = { wasm: JSON.stringify((await send(server, "GET", "/-/memory")).json), resident: server.residentBytes() };
  if (sent <= EARLY) early = now;
  const seconds = (performance.now() - begun) / 1_000;
  const [mega, left] = [(now.resident / 2 ** 20).toFixed(1), (seconds / sent) * (requests - sent)];
  console.error(`keygate: ${sent} of ${requests}  WASM ${now.wasm} bytes  workerd ${mega} MiB  ${Math.round(left)} s left`);
  if (sent === requests) report(early, now);
}
await server.stop();
kv.stop();

function report(first, last) {
  const grown = last.resident / first.resident;
  const failed = [];
  if (last.wasm !== first.wasm) failed.push(`the WASM memory grew from ${first.wasm} to ${last.wasm} bytes`);
  if (grown > RESIDENT_MORE) failed.push(`workerd grew by ${((grown - 1) * 100).toFixed(1)} %`);
  const change = `${grown < 1 ? "" : "+"}${((grown - 1) * 100).toFixed(1)} %`;
  console.log(`from request ${EARLY} to ${requests}: WASM memory ${first.wasm} to ${last.wasm} bytes, workerd ${change}`);
  for (const line of failed) console.log(`leak: ${line}`);
  if (failed.length > 0) process.exitCode = 1;
}

// From the start of a workerd to its Worker's first answer: for the empty one, and for Keygate. What Keygate takes more is
// what compiling and instantiating its WASM and answering for the first time cost.

import { join } from "node:path";
import { asFastAsPossible, requestBytes } from "./load.mjs";
import { median } from "./rounds.mjs";
import { keygateWorker, plainWorker, startWorker } from "./worker.mjs";

/** `{floor_ms, keygate_ms, floor_cpu_ms, keygate_cpu_ms}`, medians of `times` starts each, in turns. */
export async function measureColdStart({ keys, kv, build, times }) {
  const kvPort = await kv.open([]);
  const forged = requestBytes(keys.forged[0], "/_keygate/verify");
  const floor = { worker: plainWorker(join(build, "floor.js")), status: 200, times: [], cpu: [] };
  const keygate = { worker: keygateWorker(join(build, "keygate"), kvPort), status: 401, times: [], cpu: [] };
  for (let n = 0; n < times; n += 1) {
    for (const one of n % 2 === 0 ? [floor, keygate] : [keygate, floor]) {
      const begun = performance.now();
      const server = await startWorker(one.worker);
      await asFastAsPossible(server.port, 1, () => forged, one.status);
      one.times.push(performance.now() - begun);
      one.cpu.push(server.cpuMicros() / 1_000);
      await server.stop();
    }
  }
  return {
    floor_ms: median(floor.times),
    keygate_ms: median(keygate.times),
    floor_cpu_ms: median(floor.cpu),
    keygate_cpu_ms: median(keygate.cpu),
  };
}

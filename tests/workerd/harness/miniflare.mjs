// Keygate in Miniflare, the simulator `wrangler dev` runs on, with its KV namespace and SQLite Durable Object.

import { readFileSync } from "node:fs";
import { Miniflare, NoOpLog } from "miniflare";
import { compatibility, modules, mustBeBuilt, released } from "./bundle.mjs";
import { guardedWorkerd, temporaryDirectory } from "./guard.mjs";
import { secrets } from "./secrets.mjs";

// Before any test, not once in each.
mustBeBuilt(released);

/**
 * Starts Keygate. `env`: variables beside the run's secrets; `bundle`: the directory of the built Worker; `persist`:
 * where KV and objects are kept (a temporary directory unless said).
 *
 * `kv` is the namespace itself: `get(name)`, `getWithMetadata(name)`, `put(name, value, {metadata}?)`, `list({prefix}?)`,
 * `delete(name)`. `restart` keeps KV and objects and takes a new port.
 */
export async function startMiniflare({ env = {}, bundle = released, persist = temporaryDirectory("miniflare") } = {}) {
  const executable = guardedWorkerd();
  const server = { url: undefined, kv: undefined };
  let running;

  async function start() {
    process.env.MINIFLARE_WORKERD_PATH = executable.path;
    running = new Miniflare({
      host: "127.0.0.1",
      port: 0,
      log: new NoOpLog(),
      enableDevRegistry: false,
      resourcePersistencePath: persist,
      workers: [{ config: configuration(env, bundle) }],
    });
    server.url = (await running.ready).origin;
    server.kv = await running.getKVNamespace("KEYGATE_KV", "keygate");
  }

  server.stop = async () => {
    await running.dispose();
    executable.forget();
  };
  server.kill9 = async () => {
    for (const pid of executable.processes()) process.kill(pid, "SIGKILL");
    await server.stop();
  };
  server.restart = async () => {
    await server.stop();
    await start();
  };
  await start();
  return server;
}

function configuration(env, bundle) {
  const { date, flags } = compatibility();
  const parts = modules(bundle);
  const variables = Object.entries({ ...secrets, ...env }).filter(([, value]) => value !== undefined);
  return {
    name: "keygate",
    compatibilityDate: date,
    compatibilityFlags: flags,
    manifest: {
      mainModule: parts[0].name,
      modules: Object.fromEntries(
        parts.map(({ name, path, wasm }) => [
          name,
          wasm
            ? { type: "wasm", contents: new Uint8Array(readFileSync(path)) }
            : { type: "esm", contents: readFileSync(path, "utf8") },
        ]),
      ),
    },
    env: {
      KEYGATE_KV: { type: "kv", id: "keygate" },
      KEYGATE_AUTHORITY: { type: "durable-object", worker: "keygate", exportName: "Authority" },
      ...Object.fromEntries(variables.map(([name, value]) => [name, { type: "text", value }])),
    },
    exports: { Authority: { type: "durable-object", storage: "sqlite" } },
  };
}

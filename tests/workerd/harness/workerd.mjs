// Keygate on plain `workerd serve`: one or more edge services that share one Authority, as Workers whose binding names
// the first one's `script_name` do, and a KV namespace that can be made to misbehave.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";
import { compatibility, modules, mustBeBuilt, released } from "./bundle.mjs";
import { guardedWorkerd, temporaryDirectory } from "./guard.mjs";
import { startKv } from "./kv.mjs";
import { secrets } from "./secrets.mjs";

// Before any test, not once in each.
mustBeBuilt(released);

const STOP_MS = 3_000;

/**
 * Starts Keygate.
 *
 * - `env`: variables of every edge, beside the run's secrets; `undefined` leaves one out.
 * - `edges`: name → variables of that edge alone. The first one owns the Authority. One edge, `edge`, unless said.
 * - `bundle`: the directory of the built Worker.
 * - `authority`: `"own"`, `"down"` (every call fails) or `"hung"` (no call is ever answered).
 * - `around`: the text of a module that stands between the runtime and the Worker (`./entry.js`), and exports what it
 *   does.
 *
 * The result's `url` is the first edge's; `edges.<name>.url` each one's. Addresses change with every `restart`, which
 * takes the same options and keeps what it is not given; the Authority's storage (`objects` is its folder) and the KV
 * records stay.
 */
export async function startWorkerd(options = {}) {
  const directory = temporaryDirectory("workerd");
  const executable = guardedWorkerd();
  const objects = join(directory, "objects");
  mkdirSync(objects);
  const server = { kv: await startKv(), objects, log: "", url: undefined, edges: {} };
  let settings = { env: {}, edges: { edge: {} }, bundle: released, authority: "own", ...options };
  let running;

  async function start() {
    const config = join(directory, "config.capnp");
    writeFileSync(config, capnp({ ...settings, directory, kvPort: server.kv.port }));
    running = spawn(executable.path, ["serve", "--control-fd=3", config], {
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    for (const stream of [running.stdout, running.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => (server.log += text));
    }
    const ports = await listening(running, Object.keys(settings.edges), () => server.log);
    server.edges = Object.fromEntries(ports.map(([name, port]) => [name, { url: `http://127.0.0.1:${port}` }]));
    server.url = server.edges[ports[0][0]].url;
  }

  async function end(signal) {
    if (running.exitCode === null && running.signalCode === null) {
      const exited = once(running, "exit");
      running.kill(signal);
      const impatience = setTimeout(() => running.kill("SIGKILL"), STOP_MS);
      await exited;
      clearTimeout(impatience);
    }
    executable.forget();
  }

  server.kill9 = () => end("SIGKILL");
  server.restart = async (changes = {}) => {
    await end("SIGTERM");
    settings = { ...settings, ...changes };
    await start();
  };
  server.stop = async () => {
    await end("SIGTERM");
    await server.kv.close();
  };
  await start();
  return server;
}

/** Waits until every named socket listens: `[[name, port]…]` in the order of `names`. */
async function listening(workerd, names, log) {
  const ports = new Map();
  const lines = createInterface({ input: workerd.stdio[3] });
  for await (const line of lines) {
    const { event, socket, port } = JSON.parse(line);
    if (event === "listen") ports.set(socket, port);
    if (names.every((name) => ports.has(name))) break;
  }
  lines.close();
  if (ports.size < names.length) throw new Error(`workerd ended before it listened:\n${log()}`);
  return names.map((name) => [name, ports.get(name)]);
}

// A Durable Object class in place of the Authority.
const STAND_INS = {
  down: 'fetch() { throw new Error("the Authority is down"); }',
  hung: "fetch() { return new Promise((resolve) => setTimeout(resolve, 3_600_000)); }",
};

function capnp({ env, edges, bundle, authority, around, directory, kvPort }) {
  const names = Object.keys(edges);
  const standIn = STAND_INS[authority];
  const services = [
    // Nothing but this machine can be reached, so that no test depends on a network.
    `(name = "internet", network = (allow = ["local"]))`,
    `(name = "kv", external = (address = "127.0.0.1:${kvPort}", http = ()))`,
    `(name = "disk", disk = (path = ${text(join(directory, "objects"))}, writable = true))`,
    ...names.map((name) => {
      const owner = name === names[0];
      const variables = { ...secrets, ...env, ...edges[name] };
      return `(name = ${text(name)}, worker = (
        ${worker(bundle, around, directory)},
        bindings = [
          (name = "KEYGATE_KV", kvNamespace = "kv"),
          (name = "KEYGATE_AUTHORITY", durableObjectNamespace = (className = "Authority", serviceName = ${text(standIn ? "stand-in" : names[0])})),
          ${Object.entries(variables)
            .filter(([, value]) => value !== undefined)
            .map(([variable, value]) => `(name = ${text(variable)}, text = ${text(value)})`)
            .join(",\n          ")}
        ]${owner ? `,\n        ${objects("keygate", 'localDisk = "disk"')}` : ""}
      ))`;
    }),
  ];
  if (standIn) {
    services.push(`(name = "stand-in", worker = (
      modules = [(name = "stand-in.js", esModule = ${text(`export class Authority { ${standIn} }\nexport default {};`)})],
      compatibilityDate = ${text(compatibility().date)},
      ${objects("stand-in", "inMemory = void")}
    ))`);
  }
  const sockets = names.map(
    (name) => `(name = ${text(name)}, address = "127.0.0.1:0", http = (), service = ${text(name)})`,
  );
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    ${services.join(",\n    ")}
  ],
  sockets = [
    ${sockets.join(",\n    ")}
  ]
);
`;
}

function worker(bundle, around, directory) {
  const { date, flags } = compatibility();
  const list = modules(bundle).map(
    ({ name, path, wasm }) =>
      `(name = ${text(name)}, ${wasm ? "wasm" : "esModule"} = embed ${text(relative(directory, path))})`,
  );
  // The first module is the main one.
  if (around !== undefined) list.unshift(`(name = "around.js", esModule = ${text(around)})`);
  return `modules = [${list.join(", ")}],
        compatibilityDate = ${text(date)},
        compatibilityFlags = [${flags.map(text).join(", ")}]`;
}

function objects(uniqueKey, storage) {
  return `durableObjectNamespaces = [(className = "Authority", uniqueKey = ${text(uniqueKey)}, enableSql = true)],
        durableObjectStorage = (${storage})`;
}

/** A Cap'n Proto string literal: its escapes are those of JSON, but for the characters that tests do not need. */
function text(value) {
  return JSON.stringify(value);
}

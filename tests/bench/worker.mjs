// One Worker on a workerd of its own, so that the CPU time of that process is what its requests cost.

import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { compatibility, modules } from "../workerd/harness/bundle.mjs";
import { guardedWorkerd, temporaryDirectory } from "../workerd/harness/guard.mjs";
import { secrets } from "../workerd/harness/secrets.mjs";

/** Starts the process that serves KV: `{open(records), counts(port), stop()}`. */
export function startKvProcess() {
  const child = fork(fileURLToPath(new URL("kv-process.mjs", import.meta.url)));
  const ask = async (question) => {
    child.send(question);
    return (await once(child, "message"))[0];
  };
  return {
    async open(records, { lossy = false } = {}) {
      const file = join(temporaryDirectory("kv"), "records.json");
      writeFileSync(file, JSON.stringify(records));
      return (await ask({ open: file, lossy })).port;
    },
    counts: async (port) => (await ask({ counts: port })).counts,
    stop: () => child.disconnect(),
  };
}

/** A Worker of one JavaScript module. With `kvPort` it has that namespace as `KEYS` and `OAUTH_KV`. */
export function plainWorker(path, kvPort) {
  const kv = (name) => `(name = ${text(name)}, kvNamespace = "kv")`;
  return {
    modules: [{ name: "worker.js", path, wasm: false }],
    kvPort,
    bindings: kvPort === undefined ? [] : [kv("KEYS"), kv("OAUTH_KV")],
  };
}

/** A Worker that worker-build made in `directory`. */
export function rustWorker(directory) {
  return {
    modules: [
      { name: "index.js", path: join(directory, "index.js"), wasm: false },
      { name: "index_bg.wasm", path: join(directory, "index_bg.wasm"), wasm: true },
    ],
    bindings: [],
  };
}

/**
 * Keygate from `bundle`, with this KV. `objects`: a folder with a database, of which the Worker gets a copy. `around`:
 * modules `{name, text}`, the first of which stands before it.
 */
export function keygateWorker(bundle, kvPort, { env = {}, objects, around = [] } = {}) {
  const list = [...around, ...modules(bundle)];
  const variables = Object.entries({ ...secrets, ...env });
  return {
    modules: list,
    kvPort,
    objects,
    authority: true,
    bindings: [
      `(name = "KEYGATE_KV", kvNamespace = "kv")`,
      `(name = "KEYGATE_AUTHORITY", durableObjectNamespace = "Authority")`,
      ...variables.map(([name, value]) => `(name = ${text(name)}, text = ${text(value)})`),
    ],
  };
}

/** Starts a Worker: `{url, port, pid, cpuMicros(), residentBytes(), stop()}`. */
export async function startWorker(worker, v8Flags = []) {
  const directory = temporaryDirectory("bench");
  const executable = guardedWorkerd();
  const objects = join(directory, "objects");
  cpSync(worker.objects ?? temporaryDirectory("objects"), objects, { recursive: true });
  const config = join(directory, "config.capnp");
  writeFileSync(config, capnp(worker, directory, objects, v8Flags));
  // There, for with some flags V8 leaves files where it runs.
  const options = { cwd: directory, stdio: ["ignore", "pipe", "pipe", "pipe"] };
  const running = spawn(executable.path, ["serve", "--control-fd=3", config], options);
  let log = "";
  for (const stream of [running.stdout, running.stderr]) stream.setEncoding("utf8").on("data", (said) => (log += said));
  const port = await listening(running, () => log);
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    pid: running.pid,
    log: () => log,
    cpuMicros: () => cpuMicros(running.pid),
    residentBytes: () => 1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${running.pid}/status`, "utf8"))[1]),
    async stop() {
      if (running.exitCode === null && running.signalCode === null) {
        const exited = once(running, "exit");
        running.kill("SIGKILL");
        await exited;
      }
      executable.forget();
    },
  };
}

/** The CPU time of all threads of a process. The kernel counts it in nanoseconds; where it does not say, in ticks. */
function cpuMicros(pid) {
  try {
    let nanos = 0;
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      nanos += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
    }
    if (nanos > 0) return nanos / 1_000;
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

async function listening(running, log) {
  const lines = createInterface({ input: running.stdio[3] });
  for await (const line of lines) {
    const { event, port } = JSON.parse(line);
    if (event === "listen") {
      lines.close();
      return port;
    }
  }
  throw new Error(`workerd ended before it listened:\n${log()}`);
}

function capnp({ modules: list, bindings, kvPort, authority }, directory, objects, v8Flags) {
  const { date, flags } = compatibility();
  const embedded = list.map(({ name, path, wasm, text: code }) => {
    if (code !== undefined) return `(name = ${text(name)}, esModule = ${text(code)})`;
    return `(name = ${text(name)}, ${wasm ? "wasm" : "esModule"} = embed ${text(relative(directory, path))})`;
  });
  const services = [`(name = "internet", network = (allow = ["local"]))`];
  if (kvPort !== undefined) services.push(`(name = "kv", external = (address = "127.0.0.1:${kvPort}", http = ()))`);
  if (authority) services.push(`(name = "disk", disk = (path = ${text(objects)}, writable = true))`);
  services.push(`(name = "worker", worker = (
      modules = [${embedded.join(", ")}],
      compatibilityDate = ${text(date)},
      compatibilityFlags = [${flags.map(text).join(", ")}],
      bindings = [${bindings.join(", ")}]${
        authority
          ? `,
      durableObjectNamespaces = [(className = "Authority", uniqueKey = "keygate", enableSql = true)],
      durableObjectStorage = (localDisk = "disk")`
          : ""
      }
    ))`);
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  v8Flags = [${v8Flags.map(text).join(", ")}],
  services = [
    ${services.join(",\n    ")}
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (forwardedProtoHeader = "X-Forwarded-Proto"), service = "worker")]
);
`;
}

function text(value) {
  return JSON.stringify(value);
}

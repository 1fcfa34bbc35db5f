// What scripts/dev does once Node.js and the tools are there: secrets, build, wrangler, demo key, printed requests.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { startDemoApi } from "./demo-api.mjs";

const STATE = ".wrangler/state";
const DEMO = ".wrangler/demo.json";
const SECRETS = ".dev.vars";

/** How long the Worker may take until it answers: the first start on a slow machine takes some seconds. */
const START_MS = 60_000;

/** How long the processes may take to end when asked to, and how long what they leave behind. */
const STOP_MS = 5_000;
const LEFTOVERS_MS = 500;

/** How far wrangler's log may be behind an answer. */
const LOG_MS = 300;

/** A message for the user that needs no stack trace. */
class Sentence extends Error {}

/** Every process started here leads a process group, so that whatever it starts in turn can be stopped with it. */
const groups = new Map();
let demoApi;
let stopping;

for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]]) {
  process.on(signal, () => stop(code));
}

try {
  await main();
} catch (error) {
  if (!stopping) {
    say(error instanceof Sentence ? error.message : error.stack);
    await stop(1);
  }
}

async function main() {
  const options = readOptions();
  await mustBeFree(options.port);
  if (options.fresh) for (const path of [STATE, DEMO]) rmSync(path, { recursive: true, force: true });
  const root = secrets().KEYGATE_ROOT_TOKEN;

  await finished(start("scripts/build", [], "inherit"), "scripts/build");

  const base = `http://127.0.0.1:${options.port}`;
  const worker = await startWorker(options, base);
  const demo = await demoKey(base, root).catch(async (error) => {
    await sleep(LOG_MS);
    worker.showStart();
    throw error;
  });
  print(base, root, demo, options.upstream);
  worker.follow();
  const code = await worker.ended;
  if (!stopping) {
    say(`wrangler has ended (${code}).`);
    await stop(1);
  }
}

function say(message) {
  console.error(`keygate: ${message}`);
}

function readOptions() {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        port: { type: "string", default: "8787" },
        fresh: { type: "boolean", default: false },
        upstream: { type: "boolean", default: false },
      },
    }));
  } catch (error) {
    throw new Sentence(`${error.message.split("\n")[0]} Options are --port N, --fresh and --upstream.`);
  }
  const port = Number(values.port);
  if (!/^\d+$/.test(values.port) || port < 1 || port > 65_535) {
    throw new Sentence(`--port takes a number from 1 to 65535, not '${values.port}'.`);
  }
  return { ...values, port };
}

async function mustBeFree(port) {
  const probe = createServer();
  try {
    await new Promise((resolve, reject) => {
      probe.once("error", reject);
      probe.listen(port, "127.0.0.1", resolve);
    });
  } catch (error) {
    const why = error.code === "EADDRINUSE" ? "is in use" : `cannot be used (${error.code})`;
    throw new Sentence(`Port ${port} ${why}: choose another one, such as scripts/dev --port ${port === 8788 ? 8789 : 8788}.`);
  }
  await new Promise((resolve) => probe.close(resolve));
}

/** The secrets of the local Worker. Those that are missing in the file are made up and added. */
function secrets() {
  const text = existsSync(SECRETS) ? readFileSync(SECRETS, "utf8") : "";
  const found = Object.fromEntries(
    [...text.matchAll(/^\s*(\w+)\s*=\s*(.*?)\s*$/gm)].map(([, name, value]) => [name, value.replace(/^(["'])(.*)\1$/, "$2")]),
  );
  const hex = () => randomBytes(32).toString("hex");
  const made = { KEYGATE_PEPPER: `1:${hex()}`, KEYGATE_SIGNING_KEY: `1:${hex()}`, KEYGATE_ROOT_TOKEN: hex() };
  const missing = Object.keys(made).filter((name) => !found[name]);
  if (missing.length > 0) {
    const head = text === "" ? "# Secrets of the local Worker, made by scripts/dev. Production has its own: `wrangler secret put NAME`.\n" : "";
    const gap = text === "" || text.endsWith("\n") ? "" : "\n";
    const lines = missing.map((name) => `${name}=${made[name]}\n`).join("");
    writeFileSync(SECRETS, `${head}${text}${gap}${lines}`, { mode: 0o600 });
    say(`made random secrets in ${SECRETS}: ${missing.join(", ")}`);
  }
  return { ...made, ...found };
}

function start(program, parameters, output) {
  const child = spawn(program, parameters, {
    stdio: ["ignore", output, output],
    detached: true,
    // Else wrangler asks Cloudflare for an example of `request.cf`, and complains where there is no network.
    env: { ...process.env, CLOUDFLARE_CF_FETCH_ENABLED: "false" },
  });
  child.ended = new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ?? code));
  });
  if (child.pid !== undefined) groups.set(child.pid, child);
  return child;
}

async function finished(child, name) {
  const code = await child.ended;
  groups.delete(child.pid);
  if (stopping) await new Promise(() => {});
  if (code !== 0) throw new Sentence(`${name} failed (${code}).`);
}

/** Starts wrangler and waits until the Worker answers; its output is shown only when that fails, or by `follow()`. */
async function startWorker(options, base) {
  const parameters = ["dev", "--ip", "127.0.0.1", "--port", String(options.port), "--inspector-port", "0"];
  parameters.push("--persist-to", STATE, "--show-interactive-dev-session=false");
  if (options.upstream) {
    demoApi = await startDemoApi();
    // The demo key is a test key.
    parameters.push("--var", `UPSTREAM:${demoApi.url}`, "--var", `KEYGATE_UPSTREAM_TEST:${demoApi.url}`);
  }
  say("starting the Worker");
  const wrangler = start("node_modules/.bin/wrangler", parameters, "pipe");
  let shown = false;
  const held = [];
  for (const stream of [wrangler.stdout, wrangler.stderr]) {
    stream.on("data", (chunk) => (shown ? process.stdout.write(chunk) : held.push(chunk)));
  }
  const showStart = () => process.stderr.write(Buffer.concat(held));
  let over = false;
  wrangler.ended.then(() => {
    over = true;
  });
  const giveUp = Date.now() + START_MS;
  while (!(await answers(`${base}/_keygate/healthz`))) {
    if (stopping) await new Promise(() => {});
    if (over || Date.now() > giveUp) {
      showStart();
      throw new Sentence(over ? "wrangler could not start the Worker (see above)." : `The Worker does not answer after ${START_MS / 1000} s.`);
    }
    await sleep(100);
  }
  return {
    ended: wrangler.ended,
    showStart,
    follow() {
      shown = true;
    },
  };
}

async function answers(url) {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(2_000) })).ok;
  } catch {
    return false;
  }
}

/** `{account, id, key}` of a key that works: the one of the last start, or else a new one. */
async function demoKey(base, root) {
  let demo = existsSync(DEMO) ? JSON.parse(readFileSync(DEMO, "utf8")) : {};
  if (demo.key) {
    const verify = await fetch(`${base}/_keygate/verify`, { headers: { Authorization: `Bearer ${demo.key}` } });
    if (verify.status === 200) return demo;
    if (verify.status !== 401) throw new Sentence(`The demo key could not be verified: ${await reason(verify)}`);
    say("the last demo key no longer works; making another one");
  }
  const admin = async (method, path, body) => {
    const answer = await fetch(`${base}/_keygate/admin/v1/accounts${path}`, {
      method,
      headers: { Authorization: `Bearer ${root}`, "Content-Type": "application/json", "X-Keygate-Actor": "scripts/dev" },
      body: body && JSON.stringify(body),
    });
    if (answer.ok) return answer.json();
    if (answer.status !== 404) throw new Sentence(`The demo key could not be made: ${await reason(answer)}`);
  };
  const known = demo.account && (await admin("GET", `/${demo.account}`));
  const account = known ?? (await admin("POST", "", { name: "Demo" }));
  const key = await admin("POST", `/${account.id}/keys`, { name: "demo", environment: "test", scopes: ["contacts:read"] });
  demo = { account: account.id, id: key.id, key: key.key };
  writeFileSync(DEMO, `${JSON.stringify(demo)}\n`, { mode: 0o600 });
  return demo;
}

async function reason(answer) {
  const problem = await answer.json().catch(() => ({}));
  return `${answer.status} ${problem.detail ?? ""} (The log is above; --fresh starts without the accounts and keys so far.)`;
}

function print(base, root, demo, upstream) {
  const holder = `-H 'Authorization: Bearer ${demo.key}'`;
  const operator = `-H 'Authorization: Bearer ${root}'`;
  const keys = `${base}/_keygate/admin/v1/accounts/${demo.account}/keys`;
  const requests = [
    ["Verify the demo key: 200, and who it is in the headers", `curl -i '${base}/_keygate/verify?scope=contacts:read' ${holder}`],
    ["Ask for a scope it lacks: 403", `curl -i '${base}/_keygate/verify?scope=contacts:delete' ${holder}`],
    ["List the account's keys", `curl '${keys}' ${operator}`],
    ["Revoke it: within six seconds the first line gives 401", `curl -X POST '${keys}/${demo.id}/revoke' ${operator}`],
  ];
  if (upstream) requests.splice(2, 0, ["Reach the API behind Keygate", `curl -i '${base}/v1/contacts' ${holder}`]);
  const lines = requests.map(([what, line]) => `# ${what}\n${line}\n`);
  console.log(`\nKeygate runs on ${base}. Ctrl-C stops it.\n\n${lines.join("\n")}\n--- log`);
}

/** Ends everything that was started, and then this process. */
async function stop(code) {
  if (stopping) return;
  stopping = true;
  demoApi?.close();
  // wrangler stops what it has started itself. Only what is left then is stopped from here.
  for (const child of groups.values()) child.kill("SIGTERM");
  await Promise.race([Promise.all([...groups.values()].map((child) => child.ended)), sleep(STOP_MS)]);
  signal("SIGTERM");
  if (groups.size > 0) await sleep(LEFTOVERS_MS);
  signal("SIGKILL");
  process.exit(code);
}

/** Sends a signal to all process groups, and forgets those that are empty. */
function signal(which) {
  for (const group of groups.keys()) {
    try {
      process.kill(-group, which);
    } catch {
      groups.delete(group);
    }
  }
}

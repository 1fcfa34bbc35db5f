// What a new user does: scripts/dev in a fresh copy, the printed requests pasted, Ctrl-C, and a second start.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { createServer } from "node:net";
import { join, relative } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { repository } from "./harness/bundle.mjs";
import { eventually } from "./harness/expect.mjs";
import { guarded, temporaryDirectory } from "./harness/guard.mjs";

const run = promisify(execFile);
const START_MS = 180_000;

// State, and what is large and the same everywhere. build/ is copied: the Worker need not be compiled once more.
const LEFT_OUT = [".git", ".wrangler", ".dev.vars", "node_modules", "target", "dist", "dist-trap", "build-trap"];

/** In the environment of everything that scripts/dev starts, so that it can be found. */
const MARK = `KEYGATE_DEV_TEST=${process.pid}-${Date.now()}`;

let clone, executable, port, first;
before(async () => {
  clone = temporaryDirectory("clone");
  cpSync(repository, clone, { recursive: true, filter: (source) => !LEFT_OUT.includes(relative(repository, source)) });
  symlinkSync(join(repository, "node_modules"), join(clone, "node_modules"));
  executable = guarded(join(clone, "scripts/dev"));
  port = await freePort();
});
after(async () => {
  for (const pid of executable?.processes() ?? []) await interrupt({ pid });
});

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port: free } = probe.address();
  probe.close();
  await once(probe, "close");
  return free;
}

const environment = () => {
  const [name, value] = MARK.split("=");
  return { CARGO_TARGET_DIR: join(repository, "target"), ...process.env, [name]: value };
};

/** Starts scripts/dev with nothing on its standard input: `{child, took, output(), requests}` once it is ready. */
async function start(...options) {
  const begun = Date.now();
  const child = spawn(executable.path, ["--port", String(port), ...options], {
    cwd: clone,
    env: environment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const ready = new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        output += text;
        if (/^--- log$/m.test(output)) resolve();
      });
    }
    child.on("exit", () => reject(new Error(`scripts/dev has ended:\n${output}`)));
    setTimeout(() => reject(new Error(`scripts/dev is not ready:\n${output}`)), START_MS).unref();
  });
  await ready;
  return { child, took: Date.now() - begun, output: () => output, requests: output.match(/^curl .+$/gm) };
}

/** Ctrl-C. */
async function interrupt({ pid }) {
  process.kill(pid, "SIGINT");
  await eventually(() => assert.throws(() => process.kill(pid, 0)), 20_000);
  executable.forget();
}

/** What a pasted line prints. */
async function paste(line) {
  const { stdout } = await run("bash", ["-c", line]);
  return stdout;
}

/** The commands of the README's blocks that are marked `<!-- name -->`, as one script. */
function readme(name) {
  const text = readFileSync(join(repository, "README.md"), "utf8");
  const blocks = [...text.matchAll(new RegExp(`<!-- ${name} -->\\s*\`\`\`sh\\n(.*?)\`\`\``, "gs"))];
  assert.ok(blocks.length > 0, `the README has no block ${name}`);
  return blocks.map(([, block]) => block.replace(/^ {3}/gm, "")).join("\n");
}

/** The processes with our mark in their environment. */
function survivors() {
  if (!existsSync("/proc/self/environ")) return [];
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(MARK);
      } catch {
        return false;
      }
    });
}

test("the first start prints requests that work when pasted", async (t) => {
  first = await start();
  t.diagnostic(`first start: ${first.took} ms`);
  const [verified, refused, listed] = await Promise.all(first.requests.slice(0, 3).map(paste));
  assert.match(verified, /^HTTP\/1\.1 200 /);
  assert.match(verified, /^x-keygate-scopes: contacts:read\r$/im);
  assert.match(refused, /^HTTP\/1\.1 403 /);
  assert.match(refused, /"code":"insufficient_scope"/);
  assert.deepEqual(
    JSON.parse(listed).data.map(({ name, status }) => [name, status]),
    [["demo", "active"]],
  );
  assert.equal(first.requests.length, 4);
});

test("a second one in the same checkout is refused in a sentence", async () => {
  const second = run(join(clone, "scripts/dev"), ["--port", String(port)], { cwd: clone, env: environment() });
  await assert.rejects(second, ({ code, stderr }) => code === 1 && /^keygate: .+\.$/m.test(stderr));
});

test("Ctrl-C leaves no process behind", async () => {
  assert.equal(first.child.exitCode, null);
  await interrupt(first.child);
  await eventually(() => assert.deepEqual(survivors(), []), 2_000);
});

test("`wrangler kv key list` shows an administrator whose the keys are", async () => {
  const wrangler = join(clone, "node_modules/.bin/wrangler");
  const { stdout } = await run(wrangler, ["kv", "key", "list", "--prefix", "grant:", "--binding", "KEYGATE_KV"], {
    cwd: clone,
    env: environment(),
  });
  const [{ name, metadata }, ...others] = JSON.parse(stdout.slice(stdout.indexOf("[")));
  assert.match(name, /^grant:[0-9a-f]{48}$/);
  assert.deepEqual([metadata.name, metadata.status], ["demo", "active"]);
  assert.match(metadata.id, /^key_/);
  assert.match(metadata.account, /^acct_/);
  assert.deepEqual(others, []);
});

test("the README's first deploy takes the secrets that it makes", async () => {
  const script = readme("secrets").replace("wrangler deploy", "wrangler deploy --dry-run");
  const { stdout } = await run("bash", ["-ec", script], { cwd: clone, env: environment() });
  assert.match(stdout, /--dry-run: exiting now/);
  const made = JSON.parse(readFileSync(join(clone, "secrets.json"), "utf8"));
  for (const name of ["KEYGATE_PEPPER", "KEYGATE_SIGNING_KEY"]) assert.match(made[name], /^1:[0-9a-f]{64}$/);
  assert.match(made.KEYGATE_ROOT_TOKEN, /^[0-9a-f]{64}$/);
});

test("the second start is quick, keeps the key, and lets it be revoked", async (t) => {
  const second = await start();
  t.diagnostic(`second start: ${second.took} ms`);
  assert.ok(second.took < 20_000);
  assert.deepEqual(second.requests, first.requests);
  const [verify, , list, revoke] = second.requests;
  assert.match(await paste(verify), /^HTTP\/1\.1 200 /);

  const tour = await run("bash", ["-ec", readme("tour").replaceAll("8787", String(port))], { cwd: clone });
  const statuses = [...tour.stdout.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => status);
  assert.deepEqual(statuses, ["200", "403", "200", "401"], "the README's tour");

  const [account] = /acct_[0-9a-f]{10}/.exec(list);
  const url = `http://127.0.0.1:${port}`;
  const audit = await run(join(clone, "scripts/audit"), ["verify", "--url", url, "--account", account], {
    env: { ...environment(), KEYGATE_ROOT_TOKEN: "" },
  });
  assert.match(audit.stdout, new RegExp(`^${account}: 2 entries are right\\.\nhead 2:[0-9a-f]{64}\n$`));

  assert.equal(JSON.parse(await paste(revoke)).status, "revoked");
  await eventually(async () => assert.match(await paste(verify), /^HTTP\/1\.1 401 /));
  const { data } = JSON.parse(await paste(list));
  assert.deepEqual(
    data.map(({ status }) => status),
    ["revoked"],
  );
  await interrupt(second.child);
});

test("--fresh forgets, and --upstream puts an API behind it", async () => {
  const fresh = await start("--fresh", "--upstream");
  assert.equal(fresh.requests.length, 5);
  const [verified, , reached, listed] = await Promise.all(fresh.requests.slice(0, 4).map(paste));
  assert.match(verified, /^HTTP\/1\.1 200 /);
  assert.match(reached, /^HTTP\/1\.1 200 /);
  assert.match(reached, /"x-keygate-scopes": "contacts:read"/);
  assert.deepEqual(
    JSON.parse(listed).data.map(({ status }) => status),
    ["active"],
  );
  await interrupt(fresh.child);
  await eventually(() => assert.deepEqual(survivors(), []), 2_000);
});

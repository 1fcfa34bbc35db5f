// The description of the API, as the Worker gives it out: it is there for anyone, and true. What it says is tried by
// schemathesis, which makes requests from it, right and wrong ones, and checks every answer against it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { repository } from "./harness/bundle.mjs";
import { admin, bearer, createAccount, issueKey, send } from "./harness/client.mjs";
import { onlyHeaders, problem, success } from "./harness/expect.mjs";
import { guarded, temporaryDirectory } from "./harness/guard.mjs";
import { secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const DOCUMENT = "/_keygate/openapi.json";

let server, account, key;

before(async () => {
  server = await startWorkerd();
  account = await createAccount(server);
  key = await issueKey(server, account);
});
after(() => server?.stop());

test("anyone can read the document, with GET and HEAD alone", async () => {
  const answer = await send(server, "GET", DOCUMENT);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-type"], "application/json");
  onlyHeaders(answer, []);
  assert.equal(answer.json.openapi, "3.1.0");
  assert.equal((await send(server, "HEAD", DOCUMENT)).status, 200);
  problem(await send(server, "POST", DOCUMENT), 405, "method_not_allowed", { allow: "GET, HEAD" });
  problem(await send(server, "GET", `${DOCUMENT}?x=1`), 400, "invalid_request", { field: "x" });
});

test("it is there before anything is configured, and names the prefix", async () => {
  const nothing = Object.fromEntries(Object.keys(secrets).map((name) => [name, undefined]));
  const other = await startWorkerd({ env: { ...nothing, KEYGATE_PREFIX: "/other/prefix" } });
  try {
    const answer = await send(other, "GET", "/other/prefix/openapi.json");
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.json.servers, [{ url: "/other/prefix" }]);
  } finally {
    await other.stop();
  }
});

/** A parameter is refused before anything is looked for. */
const UNKNOWN_WORKSPACE = "ws_0000000000000000";

test("every operation refuses a parameter that the document does not have, and names those that it has", async (t) => {
  const document = (await send(server, "GET", DOCUMENT)).json;
  const resolved = (part) =>
    part.$ref ? part.$ref.slice(2).split("/").reduce((whole, name) => whole[name], document) : part;
  for (const [path, { parameters: shared = [], ...operations }] of Object.entries(document.paths)) {
    for (const [method, { operationId, security, parameters = [] }] of Object.entries(operations)) {
      if (method === "head") continue;
      await t.test(operationId, async () => {
        const ids = { "{account_id}": account.id, "{key_id}": key.id, "{workspace_id}": UNKNOWN_WORKSPACE, "{plan_id}": "plan_0000000000000000", "{external_id}": "crm:1" };
        const concrete = path.replace(/\{\w+\}/g, (name) => ids[name]);
        const token = "apiKey" in security[0] ? key.key : secrets.KEYGATE_ROOT_TOKEN;
        const headers = { ...bearer(token), "If-Match": "*" };
        const answer = await send(server, method.toUpperCase(), `/_keygate${concrete}?zzz=1`, { headers });
        problem(answer, 400, "invalid_request", { field: "zzz" });
        const names = [...shared, ...parameters].map(resolved).filter((it) => it.in === "query").map((it) => it.name);
        assert.equal(/it takes (.*)\.$/.exec(answer.json.detail)[1], names.join(", ") || "none");
      });
    }
  }
});

const skip = !process.env.SCHEMATHESIS && "scripts/test installs schemathesis";

test("schemathesis finds nothing", { skip }, async () => {
  // The key that verifies, those that are changed all the time, and the account that is: each is another account's.
  const holder = await createAccount(server, { access_levels: { "Read only": { scopes: ["*:read"] } } });
  const changed = await createAccount(server);
  const keys = [];
  for (let count = 0; count < 16; count++) keys.push(await issueKey(server, holder));
  const workspaces = [];
  for (let count = 0; count < 8; count++) {
    const made = await admin(server, "POST", `/accounts/${holder.id}/workspaces`, { name: `Workspace ${count}` });
    workspaces.push(success(made, 201).id);
  }
  const plans = [];
  for (let count = 0; count < 16; count++) {
    const made = await admin(server, "POST", `/accounts/${changed.id}/keys/plans`, { filter: { tag: "old" } });
    plans.push(made.json.id);
  }
  const settings = join(repository, "tests/workerd/schemathesis");
  const { status, output } = await run(
    process.env.SCHEMATHESIS,
    ["--config-file", join(settings, "schemathesis.toml"), "run", `${server.url}${DOCUMENT}`, "--no-color"],
    {
      cwd: temporaryDirectory("schemathesis"), // it leaves caches there
      env: {
        ...process.env,
        KEYGATE_TEST_HOOKS: join(settings, "hooks.py"),
        KEYGATE_TEST_ROOT_TOKEN: secrets.KEYGATE_ROOT_TOKEN,
        KEYGATE_TEST_KEY: key.key,
        KEYGATE_TEST_ACCOUNT: holder.id,
        KEYGATE_TEST_CHANGED_ACCOUNT: changed.id,
        KEYGATE_TEST_KEYS: keys.map(({ id }) => id).join(" "),
        KEYGATE_TEST_KEY_TEXT: keys.at(-1).key,
        KEYGATE_TEST_WORKSPACES: workspaces.join(" "),
        KEYGATE_TEST_PLANS: plans.join(" "),
        PYTHONDONTWRITEBYTECODE: "1",
      },
    },
  );
  assert.equal(status, 0, output);
  assert.match(output, /No issues found/);
  // It did not only knock: each of these was done more than once. (What changes nothing succeeds without an entry.)
  const done = await Promise.all(
    [
      [changed, "account.change"],
      [holder, "key.issue"],
      [holder, "key.change"],
      [holder, "key.revoke"],
      [holder, "workspace.change"],
      [holder, "workspace.archive"],
      [changed, "plan.execute"],
    ].map(async ([{ id }, action]) => {
      const { json } = await admin(server, "GET", `/accounts/${id}/audit?action=${action}&limit=100`);
      return [action, json.data.length - (action === "key.issue" ? keys.length : 0)];
    }),
  );
  for (const [action, count] of done) assert.ok(count >= 2, `${action}: ${count}`);
  assert.ok(done.reduce((sum, [, count]) => sum + count, 0) >= 40, done.join("; "));
});

/** Runs a program to its end, which comes with the end of this process at the latest. */
function run(command, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(guarded(command).path, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => (output += text));
    }
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, output }));
  });
}

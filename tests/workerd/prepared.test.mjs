// An isolate keeps the answers that it has given. Nobody can tell: each is what it would have been without that, byte for
// byte, and says what is so now.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { admin, bearer, createAccount, issueKey, revokeKey, send, transcript, verify } from "./harness/client.mjs";
import { success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

let server, account, keys;
before(async () => {
  server = await startWorkerd();
  account = await createAccount(server, { features: ["exports"] });
  const workspaces = [];
  for (const name of ["North", "South"]) {
    workspaces.push(success(await admin(server, "POST", `/accounts/${account.id}/workspaces`, { name }), 201).id);
  }
  const issue = (fields) => issueKey(server, account, fields);
  keys = {
    wide: await issue({ scopes: ["*"] }),
    narrow: await issue({ scopes: ["contacts:read", "jobs:read"], fields: { contacts: ["name"], jobs: ["title"] } }),
    north: await issue({ scopes: ["contacts:read"], workspaces: [workspaces[0]] }),
    test: await issue({ scopes: ["contacts:read"], environment: "test" }),
    revoked: await issue({ scopes: ["contacts:read"] }),
  };
  await revokeKey(server, account, keys.revoked, { wait: "effective" });
  keys.forged = { key: keys.wide.key.replace(/.$/, (last) => (last === "0" ? "1" : "0")) };
  requests = Object.values(keys).flatMap(({ key }) => [
    ...["", "?scope=contacts:read", "?scope=jobs:read", "?scope=contacts:read+jobs:read", "?scope=contacts:write"].map((query) => () => verify(server, key, query)),
    ...["?feature=exports", "?feature=beta", "?workspace=required", "?environment=live"].map((query) => () => verify(server, key, query)),
    ...workspaces.map((id) => () => verify(server, key, "", { headers: { "X-Workspace-ID": id } })),
    ...["/_keygate/whoami", "/_keygate/workspaces", "/v1/contacts", "/v1/me", "/v1/nothing"].map((path) => () => send(server, "GET", path, { headers: bearer(key) })),
    () => send(server, "HEAD", "/v1/contacts", { headers: bearer(key) }),
  ]);
});
after(() => server?.stop());

/** Every kind of answer, for several keys. */
let requests;

/** Asked in another order each time. */
async function again(answers) {
  const order = requests.map((_, n) => n);
  for (const stride of [1, 7, 11, 1]) {
    for (const n of order) {
      const at = (n * stride) % order.length;
      assert.equal(transcript(await requests[at]()), answers[at], `request ${at}, every ${stride}th`);
    }
  }
}

test("an answer that was given before is the same, byte for byte, and no other key's", async () => {
  const first = [];
  for (const request of requests) first.push(transcript(await request()));
  assert.ok(new Set(first).size > 30, "the answers are many");
  await again(first);
  await server.restart();
  for (const [at, request] of requests.entries()) assert.equal(transcript(await request()), first[at], `request ${at}`);
});

test("after each change the answers are new ones, and again the same as in an isolate without any", async () => {
  const path = `/accounts/${account.id}`;
  const headers = { "If-Match": "*" };
  for (const change of [{ features: ["beta"] }, { explain_refusals: true }, { status: "suspended" }, { status: "active" }]) {
    const before = [];
    for (const request of requests) before.push(transcript(await request()));
    success(await admin(server, "PATCH", `${path}?wait=effective`, change, { headers }));
    const now = [];
    for (const request of requests) now.push(transcript(await request()));
    assert.notDeepEqual(now, before, JSON.stringify(change));
    await again(now);
    await server.restart();
    for (const [at, request] of requests.entries()) {
      assert.equal(transcript(await request()), now[at], `${JSON.stringify(change)}, request ${at}`);
    }
  }
});

test("what stands around Keygate cannot change an answer that others get, too", async () => {
  const around = `
    import keygate, { Authority } from "./entry.js";
    export { Authority };
    export default {
      async fetch(request, env, ctx) {
        const answer = await keygate.fetch(request, env, ctx);
        if (!request.headers.has("x-spoil")) return answer;
        const spoil = [
          (headers) => headers.set("x-keygate-account-id", "acct_0000000000"),
          (headers) => headers.append("x-keygate-scopes", "*"),
          (headers) => headers.delete("cache-control"),
        ];
        const refused = spoil.filter((one) => {
          try {
            one(answer.headers);
          } catch (error) {
            return error instanceof TypeError;
          }
        });
        return new Response(refused.length);
      },
    };
  `;
  const own = await startWorkerd({ around });
  try {
    const { key } = await issueKey(own, await createAccount(own), { scopes: ["contacts:read"] });
    const first = await verify(own, key);
    assert.equal(first.headers["x-keygate-scopes"], "contacts:read");
    for (let times = 0; times < 3; times += 1) {
      assert.equal((await verify(own, key, "", { headers: { "X-Spoil": "1" } })).text, "3");
      assert.equal(transcript(await verify(own, key)), transcript(first));
    }
  } finally {
    await own.stop();
  }
});

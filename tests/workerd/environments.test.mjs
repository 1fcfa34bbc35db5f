// Live and test are worlds of their own: a test key never reaches what is live.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startApi } from "./harness/api.mjs";
import { bearer, createAccount, issueKey, send, transcript } from "./harness/client.mjs";
import { constant401, problem } from "./harness/expect.mjs";
import { forgedKey } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

let live, sandbox, server, account, liveKey, testKey;
before(async () => {
  [live, sandbox] = await Promise.all([startApi("live"), startApi("sandbox")]);
  server = await startWorkerd({
    edges: {
      both: { UPSTREAM: live.url, KEYGATE_UPSTREAM_TEST: `${sandbox.url}/base/` },
      one: { UPSTREAM: live.url },
      none: {},
    },
  });
  account = await createAccount(server);
  [liveKey, testKey] = await Promise.all(
    ["live", "test"].map((environment) => issueKey(server, account, { environment, scopes: ["*"] })),
  );
});
after(async () => {
  await server?.stop();
  await Promise.all([live, sandbox].map((api) => api?.close()));
});

const call = (edge, key, method = "GET", path = "/v1/contacts", headers = {}) =>
  send(server.edges[edge], method, path, { headers: { ...bearer(key?.key ?? key), ...headers } });

async function reaches(answer, api, environment) {
  const { status, json } = await answer;
  assert.deepEqual([status, json.api, json.headers["x-keygate-environment"]], [200, api, environment]);
  return json;
}

describe("with an upstream for test keys", () => {
  test("each key reaches the API of its environment, and no other", async () => {
    await reaches(call("both", liveKey), "live", "live");
    const { url } = await reaches(call("both", testKey), "sandbox", "test");
    assert.equal(url, "/base/v1/contacts");
    await reaches(call("both", testKey, "POST", "/v1/sandbox/x"), "sandbox", "test");
    constant401(await call("both", liveKey, "POST", "/v1/sandbox/x"));
  });
});

describe("without one", () => {
  test("a test key passes only where a rule is for test keys", async () => {
    await reaches(call("one", liveKey), "live", "live");
    await reaches(call("one", testKey, "POST", "/v1/sandbox/x"), "live", "test");
    const refused = await call("one", testKey);
    constant401(refused);
    for (const path of ["/v1/me", "/v1/exports/x", "/v1/reports/a/b", "/v1/no-such-route"]) {
      assert.equal(transcript(await call("one", testKey, "GET", path)), transcript(refused), path);
    }
  });

  test("nor does it say what is there: no-route is 404 for live keys alone", async () => {
    problem(await call("one", liveKey, "GET", "/v1/no-such-route"), 404, "not_found");
  });
});

test("without any upstream, a test key is told who its holder is", async () => {
  const answer = await call("none", testKey);
  assert.deepEqual([answer.status, answer.json.environment], [200, "test"]);
});

test("a public route is one of the live API, whatever credential comes with it, and nobody is named there", async () => {
  for (const edge of ["both", "one"]) {
    for (const key of [null, testKey, liveKey, forgedKey(), "rubbish", "a b c"]) {
      const spoofed = { "X-Keygate-Key-Id": "spoofed", X_Keygate_Account_Id: "spoofed", "X-Keygate-Fields": "{}" };
      const answer = await call(edge, key, "GET", "/v1/status", spoofed);
      assert.deepEqual([answer.status, answer.json.api], [200, "live"]);
      const names = Object.keys(answer.json.headers);
      assert.deepEqual(names.filter((name) => /^x[-_]keygate/.test(name) || name === "authorization"), []);
    }
  }
});

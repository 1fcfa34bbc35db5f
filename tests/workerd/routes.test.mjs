// Every path that is not Keygate's own, against the route table that was compiled in from routes.toml.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { repository } from "./harness/bundle.mjs";
import { bearer, createAccount, issueKey, send, sendRaw } from "./harness/client.mjs";
import { allowed, constant401, problem } from "./harness/expect.mjs";
import { forgedKey } from "./harness/mint.mjs";
import { rulesOf } from "./harness/routes.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const all = rulesOf(readFileSync(join(repository, "routes.toml"), "utf8"));
const rules = all.filter((rule) => !rule.public);
const open = all.filter((rule) => rule.public);

/** A path that the rule's pattern covers. */
const example = ({ path }) => path.replace(/\{\w+\.\.\.\}/, "a/b.c/d").replace(/\{\w+\}/g, "x-1");

let server, account, everything;
before(async () => {
  server = await startWorkerd();
  account = await createAccount(server, { features: rules.flatMap(({ feature }) => feature ?? []) });
  everything = await issueKey(server, account, { scopes: ["*"] });
});
after(() => server?.stop());

const call = (method, path, key = everything) => send(server, method, path, { headers: bearer(key.key) });

describe("each rule", () => {
  assert.ok(rules.length > 0);
  for (const rule of rules) {
    for (const method of rule.methods.map((name) => (name === "*" ? "PROPFIND" : name))) {
      test(`${method} ${rule.path} needs ${rule.scopes.join(" ") || "a valid key"}`, async () => {
        const path = example(rule);
        const fitting = await issueKey(server, account, {
          scopes: rule.scopes,
          environment: rule.environment ?? "live",
        });
        const answer = await call(method, path, fitting);
        allowed(answer, fitting, account);
        assert.equal(answer.json.key_id, fitting.id);
        assert.equal((await call(method, `${path}?q=1`, fitting)).status, 200);
        const environment = rule.environment ?? "live";
        const without = await call(method, path, await issueKey(server, account, { scopes: [], environment }));
        if (rule.scopes.length === 0) assert.equal(without.status, 200);
        else problem(without, 403, "insufficient_scope", { demanded: rule.scopes.join(" "), missing: rule.scopes });
      });
    }
  }

  test("for GET covers HEAD", async () => {
    const rule = rules.find(({ methods }) => methods.includes("GET"));
    const answer = await call("HEAD", example(rule));
    assert.deepEqual([answer.status, answer.text], [200, ""]);
    assert.equal(answer.headers["x-keygate-key-id"], everything.id);
  });
});

describe("a public rule", () => {
  assert.ok(open.length > 0);
  for (const rule of open) {
    test(`lets anybody in to ${rule.path}, whatever credential is with it`, async () => {
      for (const authorization of [null, `Bearer ${everything.key}`, `Bearer ${forgedKey()}`, "Bearer a, Bearer b", "Basic eDp5"]) {
        const headers = { "X-Workspace-ID": "none", ...(authorization && { Authorization: authorization }) };
        const answer = await send(server, rule.methods.at(0), example(rule), { headers });
        assert.deepEqual([answer.status, answer.json], [200, { public: true }], authorization);
        assert.equal(answer.headers["x-keygate-key-id"], undefined);
      }
    });
  }
});

describe("what no rule covers", () => {
  test("is 404 for who holds a valid key", async () => {
    for (const path of [
      "/",
      "/v1",
      "/v1/contacts/",
      "/v1/contacts/1/2",
      "/v1/Contacts",
      "/v1/reports",
      "/v1/reports/",
      "/_keygatex",
      "/x/_keygate/verify",
    ]) {
      problem(await call("GET", path), 404, "not_found");
    }
    for (const method of ["PUT", "OPTIONS", "DELETE", "PROPFIND"])
      problem(await call(method, "/v1/contacts"), 404, "not_found");
  });

  test("is 401 for anyone else: nobody without a key learns which paths exist", async () => {
    for (const path of ["/v1/contacts", "/v1/unknown", "/"]) {
      problem(await send(server, "GET", path), 401, "missing_credential");
      constant401(await send(server, "GET", path, { headers: bearer(forgedKey({ account: account.id })) }));
    }
  });
});

describe("a path with more than one spelling is 400, before any rule", () => {
  const raw = (path, key = everything.key) => sendRaw(server, [`GET ${path} HTTP/1.1`, `Authorization: Bearer ${key}`]);
  const spellings = [
    "/v1/contacts/../reports/x",
    "/v1/./contacts",
    "/v1/contacts/.",
    "/v1/contacts/..",
    "/..",
    "/v1//contacts",
    "//v1/contacts",
    "/v1/contacts//",
    "/v1\\contacts",
    "/v1/contacts;a=b",
    "/v1/contacts;",
    "/v1%2fcontacts",
    "/v1%2Fcontacts",
    "/v1%5ccontacts",
    "/v1/%2e%2e/contacts",
    "/v1/%2E/contacts",
    "/v1/contacts/%00",
    "/v1/contacts/%0a",
    "/v1/contacts/%7f",
    "/v1/contacts/%25",
    "/v1/contacts/%252e",
    "/v1/contacts/%3b",
    "/v1/contacts/%41",
    "/v1/contacts/%",
    "/v1/contacts/%4",
    "/v1/contacts/%zz",
    "/v1/contacts/%ff",
    "/v1/contacts/%c0%ae",
    "/v1/contacts/\xc3\xbc",
    "/v1/contacts/\x7f",
  ];
  for (const path of spellings) {
    test(JSON.stringify(path), async () => {
      const answer = await raw(path);
      // workerd itself refuses control characters in the request line.
      if (path.endsWith("\x7f")) assert.equal(answer.status, 400);
      else problem(answer, 400, "invalid_request", { field: "path" });
    });
  }

  test("but only who holds a valid key is told", async () => {
    const lines = (path) => [`GET ${path} HTTP/1.1`];
    problem(await sendRaw(server, lines("/v1//contacts")), 401, "missing_credential");
    constant401(await raw("/v1//contacts", forgedKey({ account: account.id })));
  });

  test("and a misspelt path of Keygate's own is none of them", async () => {
    for (const path of [
      "//_keygate/verify",
      "/_keygate//verify",
      "/x/../_keygate/verify",
      "/_keygate/%76erify",
      "/%5fkeygate/verify",
      "/_keygate/admin/v1//accounts",
    ]) {
      const answer = await raw(path);
      assert.ok([400, 401, 404].includes(answer.status), `${path}: ${answer.status} ${answer.text}`);
    }
  });
});

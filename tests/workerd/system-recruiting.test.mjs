// A recruiting API with scoped keys: any number of them, each with the scopes that it was created with.
//
// Of its column this checks: what a key belongs to, that it is shown once, all scopes, that none need be given and none
// can be changed, that there is no limit, revocation "instantly", the errors, and the header. To come: the quarter after
// which a key is replaced, which needs rotation; that keys have no expiry is checked.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, createAccount, issueKey, listAll, transcript, whoami } from "./harness/client.mjs";
import { constant401, problem, success } from "./harness/expect.mjs";
import { forgedKey, mintKey } from "./harness/mint.mjs";
import { administrator, call, refusedOnceAnswered, startProduct } from "./harness/product.mjs";

const entry = (resource, description, verbs = ["read", "write"]) => ({ resource, description, verbs });

const CATALOGUE = [
  entry("interviews", "Read interviews and their details; create and update them"),
  entry("candidates", "Read the profiles of candidates; create and update them"),
  entry("jobs", "Read job postings; create and manage them"),
  entry("campaigns", "Read hiring processes; create and manage them"),
  entry("stages", "Read the stages of a hiring process; manage them"),
  entry("tests", "Read technical tests; create and manage them"),
  entry("reports", "Read the results of tests and interviews", ["read"]),
  entry("agents", "Read the configuration, voice and tone of agents; create and update them"),
];
const SCOPES = CATALOGUE.flatMap(({ resource, verbs }) => verbs.map((verb) => `${resource}:${verb}`));

/** The requests of the API: method, path, and the scope that it needs. */
const REQUESTS = CATALOGUE.flatMap(({ resource, verbs }) => {
  const path = `/recruiting/v1/${resource}`;
  const reads = [["GET", path], ["GET", `${path}/1`]].map((it) => [...it, `${resource}:read`]);
  const writes = [["POST", path], ["PATCH", `${path}/1`]].map((it) => [...it, `${resource}:write`]);
  return verbs.includes("write") ? [...reads, ...writes] : reads;
});

let server, organisation, by, other;

before(async () => {
  server = await startProduct();
  organisation = await createAccount(server, { name: "Acme", scopes: CATALOGUE });
  by = administrator(server, await issueKey(server, organisation, { environment: "admin", role: "admin" }));
  other = await createAccount(server, { name: "Globex", scopes: CATALOGUE });
});
after(() => server?.stop());

const keys = () => `/accounts/${organisation.id}/keys`;
const post = (fields) => by("POST", keys(), { environment: "live", ...fields });
const create = async (scopes) => success(await post({ scopes }), 201);
const jobs = (key, edge = server) => call(edge, key, "GET", "/recruiting/v1/jobs");
const without = (answer, scope) => problem(answer, 403, "insufficient_scope", { demanded: scope, missing: [scope] });

describe("scopes", () => {
  test("are listed, each with what it is for", async () => {
    assert.deepEqual(success(await by("GET", `/accounts/${organisation.id}/scopes`)), { data: CATALOGUE, source: "account" });
    assert.equal(SCOPES.length, 15);
  });

  for (const scope of SCOPES) {
    test(`${scope} opens what it says, and nothing else`, async () => {
      const key = await create([scope]);
      assert.deepEqual(key.scopes, [scope]);
      const opened = REQUESTS.filter(([, , needed]) => needed === scope);
      assert.equal(opened.length, 2);
      for (const [method, path, needed] of REQUESTS) {
        const answer = await call(server, key, method, path);
        if (needed === scope) assert.equal(answer.status, 200, `${method} ${path}`);
        else without(answer, needed);
      }
    });
  }

  test("are each optional: a key has those that it is given, or none", async () => {
    const some = await create(["jobs:read", "candidates:write"]);
    assert.equal((await jobs(some)).status, 200);
    assert.equal((await call(server, some, "POST", "/recruiting/v1/candidates")).status, 200);
    without(await call(server, some, "GET", "/recruiting/v1/candidates"), "candidates:read");
    for (const scopes of [[], undefined]) {
      const none = await create(scopes);
      assert.deepEqual([none.scopes, (await whoami(server, none.key)).status], [[], 200]);
      for (const [method, path, needed] of REQUESTS) without(await call(server, none, method, path), needed);
    }
  });

  test("that there are not are refused: reports can only be read", async () => {
    for (const [scope, nearest] of [["reports:write", "reports:read"], ["candidate:read", "candidates:read"]]) {
      const detail = new RegExp(`the nearest is \`${nearest}\``);
      problem(await post({ scopes: [scope] }), 400, "invalid_request", { field: "scopes", detail });
    }
    const all = await create(SCOPES);
    problem(await call(server, all, "POST", "/recruiting/v1/reports"), 404, "not_found");
  });

  test("cannot be changed after creation: another key is needed", async () => {
    const key = await create(["jobs:read"]);
    for (const scopes of [["jobs:read", "jobs:write"], [], ["jobs:read"]]) {
      const answer = await by("PATCH", `${keys()}/${key.id}`, { scopes });
      problem(answer, 409, "conflict", { field: "scopes", detail: /cannot be changed after issue: issue a new key/ });
    }
    without(await call(server, key, "POST", "/recruiting/v1/jobs"), "jobs:write");
    assert.deepEqual((await whoami(server, key.key)).json.scopes, ["jobs:read"]);
  });
});

describe("a key", () => {
  test("belongs to its organisation, and is no other's", async () => {
    const key = await create(["jobs:read"]);
    assert.equal((await whoami(server, key.key)).json.account_id, organisation.id);
    problem(await admin(server, "GET", `/accounts/${other.id}/keys/${key.id}`), 404, "not_found");
  });

  test("is one of as many as the organisation likes", async () => {
    assert.equal(organisation.max_active_keys, null);
    const before = (await listAll(server, `${keys()}?status=active`)).length;
    const many = await Promise.all(Array.from({ length: 120 }, () => create(["jobs:read"])));
    assert.equal((await listAll(server, `${keys()}?status=active`)).length, before + 120);
    for (const key of [many[0], many.at(-1)]) assert.equal((await jobs(key)).status, 200);
  });

  test("is shown once, at its creation, and has no expiry", async () => {
    const key = await create(["jobs:read"]);
    assert.match(key.key, /^kg_live_[0-9A-Za-z]{52}$/);
    for (const path of [keys(), `${keys()}/${key.id}`]) {
      const { status, text } = await by("GET", path);
      assert.deepEqual([status, text.includes(key.id), text.includes(key.key)], [200, true, false]);
    }
    assert.equal(key.expires_at, null);
  });

  test("that is revoked is refused instantly, in every isolate; the others work on", async () => {
    const [key, sibling] = [await create(["jobs:read"]), await create(["jobs:read"])];
    const revoke = () => by("POST", `${keys()}/${key.id}/revoke?wait=effective`);
    await refusedOnceAnswered(server, (edge) => jobs(key, edge), revoke);
    for (const edge of Object.values(server.edges)) assert.equal((await jobs(sibling, edge)).status, 200);
  });
});

describe("errors", () => {
  test("401 where the key is missing, invalid or revoked", async () => {
    problem(await jobs(null), 401, "missing_credential");
    const revoked = await create(["jobs:read"]);
    success(await by("POST", `${keys()}/${revoked.id}/revoke?wait=effective`));
    const answers = await Promise.all(
      [revoked.key, forgedKey({ account: organisation.id }), mintKey({ account: organisation.id }).text, "rubbish"].map((key) => jobs(key)),
    );
    for (const answer of answers) {
      constant401(answer);
      assert.equal(transcript(answer), transcript(answers[0]));
    }
  });

  test("403 where the key is valid and lacks the scope, which is named", async () => {
    const key = await create(["jobs:read"]);
    without(await call(server, key, "POST", "/recruiting/v1/jobs"), "jobs:write");
  });
});

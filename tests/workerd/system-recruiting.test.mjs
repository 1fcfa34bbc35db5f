// A recruiting API with scoped keys: any number of them, each with the scopes that it was created with.
//
// Of its column this checks: what a key belongs to, that it is shown once, all scopes, that none need be given and none
// can be changed, that there is no limit, revocation "instantly", the errors, and the header; that a key has no expiry, and
// is replaced every quarter, which with any number of keys their holders do themselves; and how keys that nobody needs are
// found and revoked.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, createAccount, issueKey, listAll, transcript, whoami } from "./harness/client.mjs";
import { constant401, eventually, problem, success } from "./harness/expect.mjs";
import { forgedKey, mintKey } from "./harness/mint.mjs";
import {
  administrator,
  call,
  executed,
  found,
  from,
  inDays,
  planned,
  refusedOnceAnswered,
  rotateOwn,
  startProduct,
} from "./harness/product.mjs";

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

const QUARTER_DAYS = 91;

let server, organisation, by, viewer, other;

before(async () => {
  server = await startProduct();
  const policy = { rotation_days: QUARTER_DAYS, holders_may_rotate: true };
  organisation = await createAccount(server, { name: "Acme", scopes: CATALOGUE, ...policy });
  const holder = async (role) => administrator(server, await issueKey(server, organisation, { environment: "admin", role }));
  [by, viewer] = [await holder("admin"), await holder("viewer")];
  other = await createAccount(server, { name: "Globex", scopes: CATALOGUE });
});
after(() => server?.stop());

const account = () => `/accounts/${organisation.id}`;
const keys = () => `${account()}/keys`;
const post = (fields) => by("POST", keys(), { environment: "live", ...fields });
const create = async (scopes) => success(await post({ scopes }), 201);
const jobs = (key, edge = server, headers = {}) => call(edge, key, "GET", "/recruiting/v1/jobs", headers);
const read = async ({ id }) => success(await viewer("GET", `${keys()}/${id}`));
const show = async (filter) => (await found(server, account(), filter)).map(({ id }) => id);
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

describe("every quarter", () => {
  const [runner, elsewhere] = [from("198.51.100.7"), from("198.51.100.8")];
  const fields = { scopes: ["jobs:read", "jobs:write", "candidates:read"], tags: ["ci"], allowed_ips: ["198.51.100.7"] };
  let pipeline, successor, bystander;
  before(async () => {
    bystander = await create(["jobs:read"]);
    pipeline = success(await post({ name: "Nightly sync", ...fields }), 201);
  });

  test("each key is due for a successor, and none before", async () => {
    const seen = async () => {
      const due = await show({ due: true, tag: "ci" });
      return [due, success(await viewer("GET", account())).keys_due];
    };
    const active = (await show({ status: "active" })).length;
    assert.deepEqual(await inDays(server, QUARTER_DAYS - 1, seen), [[], 0]);
    assert.deepEqual(await inDays(server, QUARTER_DAYS + 1, seen), [[pipeline.id], active]);
    assert.ok(active > 120, "as many as the organisation likes");
  });

  test("a pipeline has its own key succeeded, from its own address alone, and with no more than it may itself", async () => {
    const usual = { overlap: 86_400, overlap_from: "first_use" };
    const ask = (body, headers = runner) => rotateOwn(server, pipeline, { ...usual, ...body }, headers);
    for (const headers of [elsewhere, {}]) problem(await ask({}, headers), 403, "ip_not_allowed");
    const wider = { demanded: "jobs:read reports:read", missing: ["reports:read"] };
    problem(await ask({ scopes: ["jobs:read", "reports:read"] }), 403, "insufficient_scope", wider);
    problem(await ask({ allowed_ips: null }), 400, "invalid_request", { field: "allowed_ips" });
    assert.equal((await read(pipeline)).rotated_to, null);
    // It no longer writes, and has not for a while.
    successor = success(await ask({ scopes: ["jobs:read", "candidates:read"] }), 201);
    assert.deepEqual([successor.name, successor.tags, successor.allowed_ips], ["Nightly sync", ["ci"], fields.allowed_ips]);
    assert.deepEqual([successor.scopes, successor.created_by], [["jobs:read", "candidates:read"], pipeline.id]);
    assert.deepEqual(await inDays(server, QUARTER_DAYS - 1, () => show({ due: true })), []);
  });

  test("the old one goes on until the new one is used, and then for a day", async () => {
    const waiting = await read(pipeline);
    assert.deepEqual([waiting.expires_at, waiting.overlap_from, successor.overlap_ends_at], [null, "first_use", null]);
    for (const edge of Object.values(server.edges)) assert.equal((await jobs(pipeline, edge, runner)).status, 200);
    const used = Date.now();
    assert.equal((await jobs(successor, server, runner)).status, 200);
    problem(await jobs(successor, server, elsewhere), 403, "ip_not_allowed");
    without(await call(server, successor, "POST", "/recruiting/v1/jobs", runner), "jobs:write");
    const { expires_at } = await eventually(async () => {
      const now = await read(pipeline);
      assert.notEqual(now.expires_at, null);
      return now;
    }, 20_000);
    const overlap = Date.parse(expires_at) - used;
    assert.ok(overlap >= 86_400_000 - 100 && overlap <= 86_400_000 + 2_000, `${overlap} ms`);
    assert.equal((await jobs(pipeline, server, runner)).status, 200);
    problem(await rotateOwn(server, successor, { overlap: 60 }, runner), 409, "conflict", { detail: new RegExp(pipeline.id) });
  });

  test("how often each was used, and refused for want of a scope or from another address, is there to be seen", async () => {
    await eventually(async () => {
      // An isolate tells what it has seen with the next lease that it needs.
      assert.equal((await jobs(bystander)).status, 200);
      const { allowed, refused } = success(await viewer("GET", `${keys()}/${successor.id}/usage`));
      assert.deepEqual([allowed, refused], [1, { ip_not_allowed: 1, insufficient_scope: 1 }]);
    }, 20_000);
  });
});

describe("keys that nobody needs", () => {
  const tag = "experiment";
  let unused, used, writer;
  before(async () => {
    const issue = async (scopes) => success(await post({ scopes, tags: [tag] }), 201);
    unused = await Promise.all(Array.from({ length: 5 }, () => issue(["jobs:read"])));
    [used, writer] = [await issue(["jobs:read"]), await issue(["jobs:*"])];
    for (const key of [used, writer]) assert.equal((await jobs(key)).status, 200);
  });

  test("are found by their tag, what they may do, and that they were never used", async () => {
    const ids = (all) => all.map(({ id }) => id).sort();
    assert.deepEqual((await show({ tag })).sort(), ids([...unused, used, writer]));
    assert.deepEqual(await show({ tag, scope: "jobs:write" }), [writer.id]);
    await eventually(async () => {
      assert.deepEqual((await show({ tag, never_used: true })).sort(), ids(unused));
    }, 20_000);
    const { never_used, unused: stale } = success(await viewer("GET", `${keys()}/stale?unused_days=1`));
    assert.deepEqual([never_used.count, stale.count], [0, 0], "all are of today");
    const tomorrow = await inDays(server, 2, () => viewer("GET", `${keys()}/stale?unused_days=1`));
    assert.ok(success(tomorrow).never_used.count >= unused.length);
  });

  test("are planned to be revoked, looked through, and revoked; one that is in use after all goes on", async () => {
    const filter = { tag, never_used: true };
    const forbidden = await viewer("POST", `${keys()}/plans`, { filter });
    problem(forbidden, 403, "insufficient_role");
    const { plan, keys: listed } = await planned(server, by, account(), filter);
    assert.deepEqual([plan.counts.total, listed.length, plan.truncated], [unused.length, unused.length, false]);
    // Somebody looks through them, and knows one that is needed.
    assert.equal((await by("POST", `${keys()}/plans/${plan.id}/cancel`)).json.state, "cancelled");
    const [kept, ...gone] = unused;
    assert.equal((await jobs(kept)).status, 200);
    await eventually(async () => assert.ok(!(await show(filter)).includes(kept.id)), 20_000);
    const next = await planned(server, by, account(), filter);
    assert.deepEqual(next.keys.map(({ id }) => id).sort(), gone.map(({ id }) => id).sort());
    const { progress } = await executed(by, account(), next.plan);
    assert.deepEqual(progress, { revoked: gone.length, skipped: 0, remaining: 0 });
    await eventually(async () => {
      for (const edge of Object.values(server.edges)) for (const key of gone) constant401(await jobs(key, edge));
    });
    for (const key of [kept, used, writer]) assert.equal((await jobs(key)).status, 200);
    assert.deepEqual((await show({ tag, status: "revoked" })).sort(), gone.map(({ id }) => id).sort());
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

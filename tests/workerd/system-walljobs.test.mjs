// WallJobs AI on Keygate: configured as in the README's recipe, administered, used, revoked.
//
// Of what WallJobs says of its keys, this is checked here:
// - `wj_live_…`, and beside it `wj_test_…` if available; a descriptive name; shown once; `Authorization: Bearer`.
// - A key belongs to an organisation, and is limited to scopes (contacts, searches, shortlists, sequences, webhooks) and to
//   chosen workspaces.
// - `X-Workspace-ID: ws_…` on most endpoints; optional when the key has a single workspace, which is then used; ids from
//   their `GET /v1/workspaces`, which is `GET /_keygate/workspaces` here.
// - Revoking one key: immediately invalidated, requests get 401.
// Of rotation and of where keys may be used from it says nothing. Its keys lie in other companies' systems, which here
// replace them without anybody's help, and use them from networks that are known; and keys go with a workspace's end.
// Later: JWTs (e-mail and password for `access_token` and `refresh_token`, for acting on behalf of a user), and OAuth.

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { startApi } from "./harness/api.mjs";
import { admin, bearer, createAccount, issueKey, listAll, send, transcript } from "./harness/client.mjs";
import { constant401, problem, success } from "./harness/expect.mjs";
import { forgedKey } from "./harness/mint.mjs";
import {
  administrator,
  call as callAt,
  executed,
  found,
  from,
  planned,
  refusedOnceAnswered,
  rotated,
  rotateOwn,
  startProduct,
} from "./harness/product.mjs";

const API = "/walljobs/v1";
const CONTACTS = `${API}/contacts`;
const WEBHOOKS = `${API}/webhooks`;
const UNKNOWN = "ws_0000000000000000";

const CATALOGUE = [
  { resource: "contacts", description: "Contact data; create and update", verbs: ["read", "write"] },
  { resource: "searches", description: "Results; AI searches", verbs: ["read", "execute"] },
  { resource: "shortlists", description: "Shortlists and pipelines", verbs: ["read", "write"] },
  { resource: "sequences", description: "Sequences", verbs: ["read", "write"] },
  { resource: "webhooks", description: "Webhooks", verbs: ["manage"] },
];

/** A request for each scope. */
const REQUESTS = {
  "contacts:read": ["GET", CONTACTS],
  "contacts:write": ["POST", CONTACTS],
  "searches:read": ["GET", `${API}/searches/7`],
  "searches:execute": ["POST", `${API}/searches`],
  "shortlists:read": ["GET", `${API}/shortlists`],
  "shortlists:write": ["POST", `${API}/shortlists`],
  "sequences:read": ["GET", `${API}/sequences`],
  "sequences:write": ["POST", `${API}/sequences`],
  "webhooks:manage": ["POST", WEBHOOKS],
};
const SCOPES = Object.keys(REQUESTS);

let live, sandbox, server, organisation, path, foreign;
/** Workspaces of the organisation. */
let berlin, lisbon, oslo;
before(async () => {
  [live, sandbox] = await Promise.all([startApi("live"), startApi("sandbox")]);
  server = await startProduct({ UPSTREAM: live.url, KEYGATE_UPSTREAM_TEST: sandbox.url });
});
after(async () => {
  await server?.stop();
  await Promise.all([live, sandbox].map((api) => api?.close()));
});
beforeEach(() => [live, sandbox].forEach((api) => (api.seen.length = 0)));

const issue = (fields) =>
  admin(server, "POST", `${path}/keys`, { environment: "live", name: "ATS connector", scopes: SCOPES, ...fields });
const add = async (fields) => success(await issue(fields), 201);
const addWorkspace = async (place, name) =>
  success(await admin(server, "POST", `${place}/workspaces?wait=effective`, { name }), 201).id;

/** A request with the key, about the workspace if there is one. */
const call = (key, [method, target], workspace, headers) =>
  callAt(server, key, method, target, workspace === undefined ? headers : { "X-Workspace-ID": workspace, ...headers });

/** The workspace that the API is told of; the request is let in. */
async function workspaceOf(answer) {
  const { status, json, text } = await answer;
  assert.equal(status, 200, text);
  return json.headers["x-keygate-workspace-id"];
}

describe("configuring it", () => {
  test("the operator gives an organisation its brand, scopes, and names that are required", async () => {
    organisation = await createAccount(server, {
      name: "Example Ltd",
      external_id: "walljobs-1",
      brand: "wj",
      name_policy: "required",
      scopes: CATALOGUE,
      api_access: { live: "active", test: "off" },
      holders_may_rotate: true,
    });
    path = `/accounts/${organisation.id}`;
    assert.deepEqual(success(await admin(server, "GET", `${path}/scopes`)).data, CATALOGUE);
  });

  test("the organisation has workspaces", async () => {
    const other = await createAccount(server, { brand: "wj" });
    foreign = await addWorkspace(`/accounts/${other.id}`, "Elsewhere");
    berlin = await addWorkspace(path, "Berlin");
    lisbon = await addWorkspace(path, "Lisbon");
    oslo = await addWorkspace(path, "Oslo");
    for (const id of [berlin, lisbon, oslo, foreign]) assert.match(id, /^ws_[0-9a-f]{16}$/);
  });
});

describe("administering keys", () => {
  test("a live key begins with wj_live_", async () => {
    assert.match((await add({})).key, /^wj_live_[0-9A-Za-z]{52}$/);
  });

  test("a test key begins with wj_test_, if available: not before the operator has switched it on", async () => {
    problem(await issue({ environment: "test" }), 403, "account_inactive");
    const api_access = { live: "active", test: "active" };
    success(await admin(server, "PATCH", `${path}?wait=effective`, { api_access }));
    assert.match((await add({ environment: "test" })).key, /^wj_test_[0-9A-Za-z]{52}$/);
  });

  test("a key has a descriptive name", async () => {
    for (const name of [undefined, null, "", " "]) {
      problem(await issue({ name }), 400, "invalid_request", { field: "name" });
    }
    assert.equal((await add({ name: "Sync with our ATS" })).name, "Sync with our ATS");
  });

  test("a key is shown once", async () => {
    const { key, id } = await add({});
    for (const target of [`${path}/keys/${id}`, `${path}/keys?limit=100`, `${path}/audit?subject=${id}`]) {
      const answer = await admin(server, "GET", target);
      assert.ok(answer.status === 200 && answer.text.includes(id));
      assert.ok(!answer.text.includes(key) && !answer.text.includes(key.slice(-52, -6)));
    }
  });

  test("a key is limited to chosen workspaces of its organisation, and to scopes that there are", async () => {
    const key = await add({ scopes: ["contacts:read"], workspaces: [berlin, lisbon] });
    assert.deepEqual([key.scopes, key.workspaces], [["contacts:read"], [berlin, lisbon]]);
    for (const wrong of [foreign, UNKNOWN]) {
      const refusal = { field: "workspaces", detail: new RegExp(wrong) };
      problem(await issue({ workspaces: [berlin, wrong] }), 400, "invalid_request", refusal);
    }
    for (const [scope, nearest] of [["webhooks:read", "webhooks:manage"], ["contact:write", "contacts:write"]]) {
      const detail = new RegExp(`no scope \`${scope}\`.*the nearest is \`${nearest}\``);
      problem(await issue({ scopes: [scope] }), 400, "invalid_request", { field: "scopes", detail });
    }
  });
});

describe("using keys", () => {
  for (const scope of SCOPES) {
    test(`the scope ${scope} opens its own request, and none of the eight others`, async () => {
      const key = await add({ scopes: [scope], workspaces: [berlin] });
      for (const [other, request] of Object.entries(REQUESTS)) {
        const answer = await call(key, request);
        if (other === scope) assert.equal(answer.status, 200, answer.text);
        else problem(answer, 403, "insufficient_scope", { demanded: other, missing: [other] });
      }
      assert.equal(live.seen.length, 1);
    });
  }

  test("a test key reaches the sandbox, a live key the live API, and none the other's", async () => {
    for (const environment of ["live", "test"]) {
      const { json } = await call(await add({ environment }), REQUESTS["contacts:read"], berlin);
      assert.equal(json.api, environment === "live" ? "live" : "sandbox");
      assert.equal(json.headers["x-keygate-environment"], environment);
    }
    assert.deepEqual([live.seen.length, sandbox.seen.length], [1, 1]);
  });

  test("a request without a key, or with one that is forged, gets 401", async () => {
    problem(await call(null, REQUESTS["contacts:read"], berlin), 401, "missing_credential");
    const forged = forgedKey({ account: organisation.id, brand: "wj" });
    constant401(await call({ key: forged }, REQUESTS["contacts:read"], berlin));
  });
});

describe("X-Workspace-ID", () => {
  let one, two, all;
  before(async () => {
    [one, two, all] = [
      await add({ workspaces: [berlin] }),
      await add({ workspaces: [berlin, lisbon] }),
      await add({ workspaces: null }),
    ];
  });

  const list = async (key) =>
    success(await send(server, "GET", "/_keygate/workspaces", { headers: bearer(key.key) })).data;

  test("takes ids from the list of workspaces, which has those of the key and no others", async () => {
    const [inBerlin, inLisbon, inOslo] = [
      { id: berlin, name: "Berlin" },
      { id: lisbon, name: "Lisbon" },
      { id: oslo, name: "Oslo" },
    ];
    assert.deepEqual(await list(one), [inBerlin]);
    assert.deepEqual(await list(two), [inBerlin, inLisbon]);
    assert.deepEqual(await list(all), [inBerlin, inLisbon, inOslo]);
    for (const { id } of await list(all)) assert.equal(await workspaceOf(call(all, REQUESTS["contacts:read"], id)), id);
  });

  test("is needed on every endpoint of a workspace where the key has several: 400 without it", async () => {
    for (const [scope, request] of Object.entries(REQUESTS).filter(([scope]) => scope !== "webhooks:manage")) {
      for (const key of [two, all]) {
        const answer = await call(key, request);
        problem(answer, 400, "workspace_required", { field: "X-Workspace-ID" });
        assert.equal(await workspaceOf(call(key, request, lisbon)), lisbon, scope);
      }
    }
  });

  test("is optional where the key has a single one, which is then used", async () => {
    for (const scope of ["contacts:read", "searches:execute", "sequences:write"]) {
      assert.equal(await workspaceOf(call(one, REQUESTS[scope])), berlin);
      assert.equal(await workspaceOf(call(one, REQUESTS[scope], berlin)), berlin);
    }
  });

  test("is 403 for any workspace that is not the key's, and says no more of another organisation's than of none", async () => {
    const refusals = [];
    for (const [key, id] of [[one, lisbon], [two, oslo], [one, foreign], [all, foreign], [all, UNKNOWN]]) {
      for (const scope of SCOPES) {
        const answer = await call(key, REQUESTS[scope], id);
        problem(answer, 403, "workspace_forbidden", { field: "X-Workspace-ID" });
        refusals.push(transcript(answer));
      }
    }
    assert.equal(new Set(refusals).size, 1);
    assert.deepEqual(live.seen, []);
  });

  test("is 400 where it is no workspace id", async () => {
    for (const wrong of ["", "berlin", berlin.toUpperCase(), berlin.slice(0, -1), `${berlin}0`, `${berlin}, ${lisbon}`]) {
      for (const key of [one, two]) {
        const answer = await call(key, REQUESTS["contacts:read"], wrong);
        problem(answer, 400, "invalid_request", { field: "X-Workspace-ID" });
      }
    }
    assert.deepEqual(live.seen, []);
  });

  test("says nothing to someone without a key that works", async () => {
    const forged = { key: forgedKey({ account: organisation.id, brand: "wj" }) };
    const answers = [undefined, berlin, lisbon, foreign].map((id) => call(forged, REQUESTS["contacts:read"], id));
    const seen = (await Promise.all(answers)).map(transcript);
    constant401(await call(forged, REQUESTS["contacts:read"]));
    assert.equal(new Set(seen).size, 1);
  });

  test("is not needed for webhooks, which are the organisation's, but checked where it is sent", async () => {
    assert.equal(await workspaceOf(call(all, REQUESTS["webhooks:manage"])), undefined);
    assert.equal(await workspaceOf(call(two, REQUESTS["webhooks:manage"], lisbon)), lisbon);
  });

  test("is told to the API by Keygate alone", async () => {
    for (const name of ["X-Keygate-Workspace-Id", "x_keygate_workspace_id"]) {
      assert.equal(await workspaceOf(call(one, REQUESTS["contacts:read"], undefined, { [name]: lisbon })), berlin);
      assert.equal(await workspaceOf(call(all, REQUESTS["webhooks:manage"], undefined, { [name]: lisbon })), undefined);
      const names = live.seen.map(({ headers }) => Object.keys(headers).filter((header) => /^x[-_]keygate[-_]w/.test(header)));
      assert.deepEqual(names.splice(-2), [["x-keygate-workspace-id"], []]);
    }
  });

  test("of an archived workspace is 403 from then on, and what is left is used where it is a single one", async () => {
    success(await admin(server, "POST", `${path}/workspaces/${lisbon}/archive?wait=effective`));
    for (const key of [two, all]) {
      problem(await call(key, REQUESTS["contacts:read"], lisbon), 403, "workspace_forbidden", { field: "X-Workspace-ID" });
    }
    assert.deepEqual(await list(two), [{ id: berlin, name: "Berlin" }]);
    assert.equal(await workspaceOf(call(two, REQUESTS["contacts:read"])), berlin);
    problem(await call(all, REQUESTS["contacts:read"]), 400, "workspace_required", { field: "X-Workspace-ID" });
    problem(await issue({ workspaces: [lisbon] }), 400, "invalid_request", { field: "workspaces" });
  });

  test("of nothing is left to a key whose only workspace is archived: 400, and 403 for any that it names", async () => {
    const lost = await add({ workspaces: [oslo] });
    success(await admin(server, "POST", `${path}/workspaces/${oslo}/archive?wait=effective`));
    assert.deepEqual(await list(lost), []);
    problem(await call(lost, REQUESTS["contacts:read"]), 400, "workspace_required", { field: "X-Workspace-ID" });
    for (const id of [oslo, berlin]) {
      problem(await call(lost, REQUESTS["contacts:read"], id), 403, "workspace_forbidden", { field: "X-Workspace-ID" });
    }
  });
});

describe("revoking", () => {
  test("a key is immediately invalidated: every request gets 401, everywhere, and other keys go on", async () => {
    const [key, other] = [await add({ workspaces: [berlin] }), await add({ workspaces: [berlin] })];
    const revoke = () => admin(server, "POST", `${path}/keys/${key.id}/revoke?wait=effective`);
    const use = (edge) => callAt(edge, key, "GET", CONTACTS);
    assert.equal((await refusedOnceAnswered(server, use, revoke)).status, "revoked");
    live.seen.length = 0;
    for (const request of Object.values(REQUESTS)) {
      for (const workspace of [undefined, berlin, foreign]) constant401(await call(key, request, workspace));
    }
    constant401(await send(server, "GET", "/_keygate/workspaces", { headers: bearer(key.key) }));
    assert.deepEqual(live.seen, []);
    assert.equal(await workspaceOf(call(other, REQUESTS["contacts:read"])), berlin);
    const revoked = await listAll(server, `${path}/keys?status=revoked`);
    assert.deepEqual(revoked.map(({ id }) => id), [key.id]);
  });
});

describe("a partner's key", () => {
  const [ats, moved, elsewhere] = [from("198.51.100.20"), from("2001:db8:a75::7"), from("203.0.113.9")];
  let porto, janes, viewer;
  before(async () => {
    porto = await addWorkspace(path, "Porto");
    const holder = async (role) =>
      administrator(server, await issueKey(server, organisation, { environment: "admin", role, name: role }));
    [janes, viewer] = [await holder("admin"), await holder("viewer")];
  });

  const show = async (filter) => (await found(server, path, filter)).map(({ id }) => id);
  const named = (name, fields) => add({ name, scopes: ["contacts:read"], ...fields });

  test("is replaced by the partner, without anybody's help: brand, name and workspaces stay", async () => {
    const cases = [["live", [berlin]], ["live", [berlin, porto]], ["test", [porto]]];
    for (const [environment, workspaces] of cases) {
      const old = await named("Partner sync", { environment, workspaces });
      const next = success(await rotateOwn(server, old, { overlap: 86_400 }), 201);
      assert.match(next.key, new RegExp(`^wj_${environment}_[0-9A-Za-z]{52}$`));
      assert.deepEqual([next.name, next.workspaces, next.created_by], ["Partner sync", workspaces, old.id]);
      for (const key of [old, next]) {
        for (const id of workspaces) assert.equal(await workspaceOf(call(key, REQUESTS["contacts:read"], id)), id);
        problem(await call(key, REQUESTS["contacts:write"], workspaces[0]), 403, "insufficient_scope", {
          demanded: "contacts:write",
          missing: ["contacts:write"],
        });
      }
      const reached = environment === "live" ? live : sandbox;
      assert.ok(reached.seen.length > 0 && reached.seen.every(({ headers }) => headers.authorization === undefined));
      const beyond = await rotateOwn(server, old, { overlap: 86_400, workspaces: [lisbon] });
      problem(beyond, 400, "invalid_request", { field: "workspaces" });
    }
  });

  test("is replaced once though the answer was lost, and by the organisation alone where it wants that", async () => {
    const [old, other] = [await named("Lost answer"), await named("Closed")];
    const headers = { "Idempotency-Key": `partner-${"7".repeat(24)}` };
    const ask = async () => success(await rotateOwn(server, old, { overlap: 3_600 }, headers), 201);
    const [first, again] = [await ask(), await ask()];
    assert.deepEqual([again.id, again.key], [first.id, first.key]);
    success(await janes("PATCH", path, { holders_may_rotate: false }));
    problem(await rotateOwn(server, other, { overlap: 60 }), 403, "insufficient_role", { detail: /holders_may_rotate/ });
    success(await janes("PATCH", path, { holders_may_rotate: true }));
  });

  test("works from the partner's network alone; while they move, the old one from the old and the new one from the new", async () => {
    const old = await named("ATS", { allowed_ips: ["198.51.100.16/28"], workspaces: [berlin] });
    const at = (key, headers) => call(key, REQUESTS["contacts:read"], undefined, headers);
    assert.equal(await workspaceOf(at(old, ats)), berlin);
    problem(await rotateOwn(server, old, { overlap: 3_600 }, elsewhere), 403, "ip_not_allowed");
    const next = await rotated(janes, `${path}/keys/${old.id}`, { overlap: 3_600, allowed_ips: ["2001:db8:a75::/48"] });
    assert.equal(await workspaceOf(at(old, ats)), berlin);
    assert.equal(await workspaceOf(at(next, moved)), berlin);
    live.seen.length = 0;
    for (const [key, headers] of [[old, moved], [next, ats], [old, elsewhere], [next, elsewhere], [next, {}]]) {
      problem(await at(key, headers), 403, "ip_not_allowed");
      const lists = await send(server, "GET", "/_keygate/workspaces", { headers: { ...bearer(key.key), ...headers } });
      problem(lists, 403, "ip_not_allowed");
    }
    assert.deepEqual(live.seen, []);
    const confirm = () => janes("POST", `${path}/keys/${old.id}/rotate/confirm?wait=effective`);
    await refusedOnceAnswered(server, (edge) => callAt(edge, old, "GET", CONTACTS, ats), confirm);
    assert.equal(await workspaceOf(at(next, moved)), berlin);
  });

  test("is found by its workspace, environment, tag and name; one for all workspaces is in none of these lists", async () => {
    const tags = ["campus"];
    const [both, one] = [
      await named("Campus both", { workspaces: [porto, berlin], tags }),
      await named("Campus one", { workspaces: [porto], tags }),
    ];
    const [trial, all] = [
      await named("Campus trial", { environment: "test", workspaces: [porto], tags }),
      await named("Campus everywhere", { tags }),
    ];
    assert.deepEqual(await show({ workspace: porto, tag: "campus" }), [trial.id, one.id, both.id]);
    assert.deepEqual(await show({ workspace: porto, tag: "campus", environment: "live" }), [one.id, both.id]);
    assert.deepEqual(await show({ workspace: berlin, tag: "campus" }), [both.id]);
    assert.deepEqual(await show({ name_contains: "campus ", environment: "live" }), [all.id, one.id, both.id]);
    problem(await janes("GET", `${path}/keys?workspace=campus`), 400, "invalid_request", { field: "workspace" });
  });

  test("goes when its workspace is wound up, and what is not of that alone stays", async () => {
    const [one] = await found(server, path, { name_contains: "campus one" });
    const [both] = await found(server, path, { name_contains: "campus both" });
    const filter = { workspace: porto, name_contains: "campus one" };
    problem(await viewer("POST", `${path}/keys/plans`, { filter }), 403, "insufficient_role");
    const { plan, keys } = await planned(server, janes, path, filter);
    assert.deepEqual(keys.map(({ id }) => id), [one.id]);
    assert.deepEqual(plan.counts.by_environment, { live: 1, test: 0 });
    const { progress } = await executed(janes, path, plan);
    assert.deepEqual(progress, { revoked: 1, skipped: 0, remaining: 0 });
    success(await janes("POST", `${path}/workspaces/${porto}/archive?wait=effective`));
    const left = await show({ workspace: porto, tag: "campus", status: "active", environment: "live" });
    assert.deepEqual(left, [both.id], "it still names it, and can use the other alone");
    problem(await rotateOwn(server, { key: "wj_live_none" }, { overlap: 60 }), 401, "invalid_token");
  });
});

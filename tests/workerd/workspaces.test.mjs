// Workspaces: the admin API for them, keys that are limited to some, and X-Workspace-ID.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, bearer, createAccount, issueKey, listAll, send, transcript, verify } from "./harness/client.mjs";
import { allowed, effective, eventually, problem, success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const UNKNOWN = "ws_0000000000000000";

let server;
before(async () => {
  server = await startWorkerd();
});
after(() => server?.stop());

const path = (account, rest = "") => `/accounts/${account.id}/workspaces${rest}`;
const post = (account, body, query = "") => admin(server, "POST", path(account, query), body);
const archive = (account, id, query = "") => admin(server, "POST", path(account, `/${id}/archive${query}`));

/** A new workspace that counts everywhere: `{id, …}`. */
const create = async (account, name) => success(await post(account, { name }, "?wait=effective"), 201);

const named = (id) => ({ "X-Workspace-ID": id });
const inWorkspace = (key, id, query = "") =>
  verify(server, key.key, query, { headers: id === undefined ? {} : named(id) });

/** Sends a request that is let through, and gives the workspace that the API is told of. */
async function workspaceOf(answer) {
  const { status, headers, text } = await answer;
  assert.equal(status, 200, text);
  return headers["x-keygate-workspace-id"];
}

describe("the admin API", () => {
  test("creates, reads, lists, renames and archives", async () => {
    const account = await createAccount(server);
    const sent = Date.now();
    const answer = await admin(server, "POST", path(account), { name: "Nord ❄" }, { headers: { "X-Keygate-Actor": "alice" } });
    const { mirrored, ...rest } = success(answer, 201);
    // The account itself was put into KV just now, and is not put twice within a second.
    assert.equal(typeof mirrored, "boolean");
    const { id, created_at, ...members } = effective(rest, sent);
    assert.match(id, /^ws_[0-9a-f]{16}$/);
    assert.match(created_at, RFC_3339);
    const read = { account_id: account.id, name: "Nord ❄", status: "active", created_by: "alice", archived_at: null };
    assert.deepEqual(members, read);
    const got = await admin(server, "GET", path(account, `/${id}`));
    assert.deepEqual(success(got), { id, created_at, ...read });
    assert.equal(got.headers.etag, answer.headers.etag);

    problem(await admin(server, "PATCH", path(account, `/${id}`), { name: "X" }, { headers: { "If-Match": '"0"' } }), 412, "precondition_failed", { field: "If-Match" });
    problem(await admin(server, "PATCH", path(account, `/${id}`), { name: "X" }, { headers: { "If-Match": undefined } }), 428, "precondition_required", { field: "If-Match" });
    const renamed = success(
      await admin(server, "PATCH", path(account, `/${id}`), { name: "North" }, { headers: { "If-Match": got.headers.etag } }),
    );
    assert.equal(renamed.name, "North");

    const south = await create(account, "South");
    const ids = async (query = "") => (await listAll(server, path(account, query), { limit: 1 })).map(({ id }) => id);
    assert.deepEqual(await ids(), [south.id, id]);
    const first = success(await archive(account, id));
    assert.equal(first.status, "archived");
    const again = success(await archive(account, id));
    assert.equal(again.archived_at, first.archived_at);
    problem(await admin(server, "PATCH", path(account, `/${id}`), { name: "X" }), 409, "conflict");
    assert.deepEqual(await ids("?status=active"), [south.id]);
    assert.deepEqual(await ids("?status=archived"), [id]);
    const actions = (await listAll(server, `/accounts/${account.id}/audit?subject=${id}`)).map(({ action }) => action);
    assert.deepEqual(actions, ["workspace.archive", "workspace.change", "workspace.create"]);
  });

  test("does a repeated command once", async () => {
    const account = await createAccount(server);
    const headers = { "Idempotency-Key": "a workspace, only once".replaceAll(" ", "-") };
    const make = () => admin(server, "POST", path(account), { name: "Once" }, { headers });
    const [first, again] = [success(await make(), 201), success(await make(), 201)];
    assert.deepEqual(again, first);
    assert.equal((await listAll(server, path(account))).length, 1);
  });

  test("refuses what is not right, and names it", async () => {
    const account = await createAccount(server);
    const other = await createAccount(server);
    const { id } = await create(other, "Elsewhere");
    problem(await post(account, {}), 400, "invalid_request", { field: "name" });
    problem(await post(account, { name: " " }), 400, "invalid_request", { field: "name" });
    problem(await post(account, { name: "x", colour: 1 }), 400, "invalid_request", { field: "colour" });
    problem(await admin(server, "GET", path(account, "?status=gone")), 400, "invalid_request", { field: "status" });
    for (const unknown of [id, UNKNOWN, "ws_1", id.toUpperCase()]) {
      problem(await admin(server, "GET", path(account, `/${unknown}`)), 404, "not_found");
      problem(await archive(account, unknown), 404, "not_found");
    }
    problem(await admin(server, "DELETE", path(account)), 405, "method_not_allowed", { allow: "GET, POST" });
    problem(await admin(server, "DELETE", path(account, `/${id}`)), 405, "method_not_allowed", { allow: "GET, PATCH" });
    problem(await admin(server, "GET", path(account, `/${id}/archive`)), 405, "method_not_allowed", { allow: "POST" });
  });
});

describe("a key", () => {
  test("is issued for workspaces in use of its own account, and shows them", async () => {
    const account = await createAccount(server);
    const [north, gone] = [await create(account, "North"), await create(account, "Gone")];
    success(await archive(account, gone.id));
    const foreign = await create(await createAccount(server), "Foreign");
    const issue = (workspaces) =>
      admin(server, "POST", `/accounts/${account.id}/keys`, { environment: "live", workspaces });
    for (const wrong of [gone.id, foreign.id, UNKNOWN]) {
      problem(await issue([north.id, wrong]), 400, "invalid_request", { field: "workspaces", detail: new RegExp(wrong) });
    }
    for (const wrong of [[], [north.id, north.id], ["ws_1"], "all", [null], Array(101).fill(north.id)]) {
      problem(await issue(wrong), 400, "invalid_request", { field: "workspaces" });
    }
    assert.equal(success(await issue(null), 201).workspaces, null);
    const limited = success(await issue([north.id]), 201);
    assert.deepEqual(limited.workspaces, [north.id]);
    const listed = await listAll(server, `/accounts/${account.id}/keys`);
    assert.deepEqual(listed.find(({ id }) => id === limited.id).workspaces, [north.id]);
  });

  test("is limited to fields of what it reaches, and the API is told of those of the request", async () => {
    const account = await createAccount(server);
    const issue = (fields) =>
      admin(server, "POST", `/accounts/${account.id}/keys`, { environment: "live", scopes: ["contacts:read", "jobs:*"], fields });
    for (const wrong of [{ notes: ["id"] }, { contacts: [] }, { contacts: ["a b"] }, { contacts: "id" }, [], null, { "*": ["id"] }]) {
      problem(await issue(wrong), 400, "invalid_request", { field: "fields" });
    }
    const many = Object.fromEntries([["contacts", Array.from({ length: 200 }, (_, at) => `field-${at}`)]]);
    problem(await issue(many), 400, "invalid_request", { field: "fields", detail: /2048 bytes/ });
    const fields = { contacts: ["name", "e-mail"], jobs: ["id"] };
    const key = success(await issue(fields), 201);
    assert.deepEqual(key.fields, fields);
    const { headers } = await verify(server, key.key, "scope=contacts:read");
    assert.equal(headers["x-keygate-fields"], '{"contacts":["name","e-mail"]}');
    const whoami = await send(server, "GET", "/_keygate/whoami", { headers: bearer(key.key) });
    assert.deepEqual(whoami.json.fields, fields);
  });
});

describe("X-Workspace-ID", () => {
  let account, north, south, both, one, all;
  before(async () => {
    account = await createAccount(server);
    [north, south] = [await create(account, "North"), await create(account, "South")];
    const issue = (workspaces) => issueKey(server, account, { scopes: ["contacts:read"], workspaces });
    [both, one, all] = [await issue([south.id, north.id]), await issue([south.id]), await issue(null)];
  });

  const REQUIRED = "scope=contacts:read&workspace=required";

  test("is needed where there are several, and implied where there is one", async () => {
    for (const key of [both, all]) {
      problem(await inWorkspace(key, undefined, REQUIRED), 400, "workspace_required", { field: "X-Workspace-ID" });
      assert.equal(await workspaceOf(inWorkspace(key, north.id, REQUIRED)), north.id);
      assert.equal(await workspaceOf(inWorkspace(key, south.id, REQUIRED)), south.id);
    }
    assert.equal(await workspaceOf(inWorkspace(one, undefined, REQUIRED)), south.id);
    assert.equal(await workspaceOf(inWorkspace(one, undefined)), undefined, "not where none is needed");
  });

  test("is 403 for any other, wherever it is named", async () => {
    const foreign = await create(await createAccount(server), "Foreign");
    const refusals = [];
    for (const query of [REQUIRED, "scope=contacts:read", ""]) {
      for (const [key, id] of [[one, north.id], [all, foreign.id], [all, UNKNOWN]]) {
        const answer = await inWorkspace(key, id, query);
        problem(answer, 403, "workspace_forbidden", { field: "X-Workspace-ID" });
        refusals.push(transcript(answer));
      }
    }
    assert.equal(new Set(refusals).size, 1, "another account's is as unknown as none");
  });

  test("is 400 where it is no workspace id", async () => {
    for (const wrong of ["", "north", north.id.toUpperCase(), `${north.id}, ${south.id}`]) {
      problem(await inWorkspace(both, wrong, REQUIRED), 400, "invalid_request", { field: "X-Workspace-ID" });
    }
  });

  test("counts on routes, too", async () => {
    const call = (key, id) => send(server, "GET", "/v1/contacts", { headers: { ...bearer(key.key), ...named(id) } });
    assert.equal(await workspaceOf(call(both, north.id)), north.id);
    problem(await call(one, north.id), 403, "workspace_forbidden", { field: "X-Workspace-ID" });
  });

  test("lists of a key's holder have those that the key may use", async () => {
    const list = async (key) => success(await send(server, "GET", "/_keygate/workspaces", { headers: bearer(key.key) })).data;
    assert.deepEqual(await list(one), [{ id: south.id, name: "South" }]);
    assert.deepEqual(await list(all), [{ id: north.id, name: "North" }, { id: south.id, name: "South" }]);
  });
});

test("a new workspace and an archived one count everywhere once it is said", async () => {
  const account = await createAccount(server);
  const north = await create(account, "North");
  const all = await issueKey(server, account);
  const bound = await issueKey(server, account, { workspaces: [north.id] });
  const REQUIRED = "workspace=required";
  assert.equal(await workspaceOf(inWorkspace(all, undefined, REQUIRED)), north.id, "implied");
  const south = await create(account, "South");
  problem(await inWorkspace(all, undefined, REQUIRED), 400, "workspace_required", { field: "X-Workspace-ID" });
  assert.equal(await workspaceOf(inWorkspace(all, south.id)), south.id);
  success(await archive(account, north.id, "?wait=effective"));
  assert.equal(await workspaceOf(inWorkspace(all, undefined, REQUIRED)), south.id, "implied again");
  for (const key of [all, bound]) {
    problem(await inWorkspace(key, north.id), 403, "workspace_forbidden", { field: "X-Workspace-ID" });
  }
  problem(await inWorkspace(bound, undefined, REQUIRED), 400, "workspace_required", { field: "X-Workspace-ID" });
  allowed(await verify(server, bound.key), bound, account);
  assert.deepEqual(
    success(await admin(server, "GET", `/accounts/${account.id}/keys/${bound.id}`)).workspaces,
    [north.id],
    "the key stays what it was",
  );
});

test("a hundred workspaces with the longest names decide, and are too many for one more", async () => {
  const account = await createAccount(server);
  const ids = [];
  for (let count = 0; count < 100; count++) {
    ids.push(success(await post(account, { name: "\u{1F511}".repeat(128) }), 201).id);
  }
  problem(await post(account, { name: "one more" }), 409, "limit_reached");
  const key = await issueKey(server, account, { workspaces: ids });
  await eventually(async () => assert.equal(await workspaceOf(inWorkspace(key, ids[99])), ids[99]));
});

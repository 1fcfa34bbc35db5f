// HRWize's "API V2" on Keygate: configured as in the README's recipe, administered, used, revoked.
//
// Of what HRWize says of its keys, all is checked here:
// - Only Administrator-level users add and administer keys; a key belongs to the company; keys have no names; a key is
//   shown in the success message.
// - Rights are endpoint x {create, read, update, delete, download}. For each endpoint there may be a choice of the fields
//   that the key may see; no choice means ALL fields. Rows cannot be limited. The example: Employee time off, Read, only
//   employee name, start date and end date, for a calendar.
// - The list shows the current keys, and which fields each has.
// - One key is revoked, or ALL keys, immediately; that cannot be undone.
// It says nothing of a sandbox, limits, rotation, errors, feature flags or headers, so nothing is left for later. What a
// company needs with keys that have no names is checked, too: to find one by whose it is and who added it, to replace it
// without losing its choice of fields, to see what it is used for, and to clear up behind an Administrator who has left.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startApi } from "./harness/api.mjs";
import { admin, createAccount, issueKey, listAll, transcript } from "./harness/client.mjs";
import { constant401, eventually, problem, success } from "./harness/expect.mjs";
import {
  administrator as holderOf,
  call as callAt,
  executed,
  found,
  from,
  planned,
  refusedOnceAnswered,
  rotate,
  rotated,
  startProduct,
} from "./harness/product.mjs";

const API = "/hrwize/api/v2";
const VERBS = ["create", "read", "update", "delete", "download"];
const CATALOGUE = [
  { resource: "employees", description: "Employees", verbs: VERBS },
  { resource: "employee_time_off", description: "Employee time off", verbs: VERBS },
];

/** The requests of each right. */
const REQUESTS = [
  ["employees", "employees"],
  ["employee_time_off", "employee-time-off"],
].flatMap(([resource, path]) => [
  { right: `${resource}:create`, method: "POST", path: `${API}/${path}` },
  { right: `${resource}:read`, method: "GET", path: `${API}/${path}` },
  { right: `${resource}:update`, method: "PATCH", path: `${API}/${path}/7` },
  { right: `${resource}:delete`, method: "DELETE", path: `${API}/${path}/7` },
  { right: `${resource}:download`, method: "GET", path: `${API}/${path}/7/download` },
]);
const EMPLOYEES = `${API}/employees`;
const TIME_OFF = `${API}/employee-time-off`;

// What HRWize itself has.
const ROWS = {
  employees: [
    { id: 1, employee_name: "Ada", salary: 90_000 },
    { id: 2, employee_name: "Boris", salary: 60_000 },
  ],
  employee_time_off: [
    { employee_name: "Ada", start_date: "2027-03-01", end_date: "2027-03-05", reason: "surgery" },
    { employee_name: "Boris", start_date: "2027-04-12", end_date: "2027-04-12", reason: "moving" },
  ],
};

/** HRWize's part: of the resource it answers with the fields that `X-Keygate-Fields` has, or with all. */
function hrwize({ url, headers }) {
  const [, resource, id] = /^\/hrwize\/api\/v2\/([a-z-]+)(?:\/(\w+))?/.exec(url);
  const name = resource.replaceAll("-", "_");
  const only = JSON.parse(headers["x-keygate-fields"] ?? "{}")[name];
  const seen = ([field]) => only === undefined || only.includes(field);
  return ROWS[name]
    .filter((row) => id === undefined || row.id === Number(id))
    .map((row) => Object.fromEntries(Object.entries(row).filter(seen)));
}

let api, server, company, path;
/** Calls of the admin API by users of the company. */
let administrator, employee, colleague;
before(async () => {
  api = await startApi("hrwize", hrwize);
  server = await startProduct({ UPSTREAM: api.url });
});
after(async () => {
  await server?.stop();
  await api?.close();
});

const issue = (fields) => administrator("POST", `${path}/keys`, { environment: "live", ...fields });
const add = async (fields) => success(await issue(fields), 201);
const current = () => listAll(server, `${path}/keys?status=active`);
const call = (key, method, target, headers) => callAt(server, key, method, target, headers);

/** A call that is let in: what the API answered, and the fields that it was told of. */
async function lets(key, target, headers) {
  const answer = await call(key, "GET", target, headers);
  assert.equal(answer.status, 200, answer.text);
  return { rows: answer.json, told: api.seen.at(-1).headers["x-keygate-fields"] };
}

describe("configuring it", () => {
  test("the operator gives a company its endpoints, each with create, read, update, delete and download", async () => {
    company = await createAccount(server, { name: "Example GmbH", external_id: "hrwize-1", scopes: CATALOGUE });
    path = `/accounts/${company.id}`;
    const { data, source } = success(await admin(server, "GET", `${path}/scopes`));
    assert.deepEqual([data, source], [CATALOGUE, "account"]);
  });

  test("HRWize's settings page acts for whoever is logged in: as admin for Administrator-level users, else as viewer", async () => {
    const page = await issueKey(server, company, { environment: "admin", role: "admin", name: "settings page API V2" });
    const session = async (role, actor) =>
      holderOf(server, success(await holderOf(server, page)("POST", `${path}/sessions`, { role, actor }), 201));
    administrator = await session("admin", "ada");
    colleague = await session("admin", "carla");
    employee = await session("viewer", "boris");
  });
});

describe("administering keys", () => {
  test("only Administrator-level users add and administer keys", async () => {
    const key = await add({ scopes: ["employees:read"] });
    const changes = [
      ["POST", `${path}/keys`, { environment: "live", scopes: ["employees:read"] }],
      ["PATCH", `${path}/keys/${key.id}`, { disabled: true }],
      ["POST", `${path}/keys/${key.id}/revoke`],
      ["POST", `${path}/keys/revoke-all`],
    ];
    for (const [method, target, body] of changes) {
      problem(await employee(method, target, body), 403, "insufficient_role", { detail: /needs the role admin/ });
      constant401(await holderOf(server, key)(method, target, body)); // a key is no user
      problem(await holderOf(server, { key: null })(method, target, body), 401, "missing_credential");
    }
    assert.deepEqual((await current()).map(({ id, created_by }) => [id, created_by]), [[key.id, "ada"]]);
    success(await administrator("POST", `${path}/keys/${key.id}/revoke`));
  });

  test("a key belongs to the company, and no other company's Administrator sees it", async () => {
    const key = await add({ scopes: ["employees:read"] });
    assert.equal(key.account_id, company.id);
    const other = await createAccount(server);
    const stranger = holderOf(server, await issueKey(server, other, { environment: "admin", role: "admin" }));
    problem(await stranger("GET", `${path}/keys/${key.id}`), 404, "not_found");
    problem(await stranger("POST", `${path}/keys/revoke-all`), 404, "not_found");
    assert.equal((await call(key, "GET", EMPLOYEES)).status, 200);
  });

  test("keys have no names", async () => {
    const [one, two] = [await add({ scopes: ["employees:read"] }), await add({ scopes: ["employees:read"] })];
    assert.deepEqual([one.name, two.name], [null, null]);
    assert.notEqual(one.id, two.id);
  });

  test("a key is shown in the success message, and in no other answer", async () => {
    const { key, id } = await add({ scopes: ["employees:read"] });
    assert.match(key, /^kg_live_[0-9A-Za-z]{52}$/);
    for (const target of [`${path}/keys/${id}`, `${path}/keys?limit=100`, `${path}/audit?subject=${id}`]) {
      const answer = await administrator("GET", target);
      assert.ok(answer.status === 200 && answer.text.includes(id));
      assert.ok(!answer.text.includes(key) && !answer.text.includes(key.slice(-52, -6)));
    }
  });

  test("a right that there is not is refused, and the nearest named", async () => {
    for (const [scope, nearest] of [
      ["employees:export", "employees:"],
      ["employees_time_off:read", "employee_time_off:read"],
    ]) {
      const detail = new RegExp(`no scope \`${scope}\`.*the nearest is \`${nearest}`);
      problem(await issue({ scopes: [scope] }), 400, "invalid_request", { field: "scopes", detail });
    }
  });
});

describe("using keys", () => {
  for (const { right } of REQUESTS) {
    test(`the right ${right} opens its own request, and none of the nine others`, async () => {
      const key = await add({ scopes: [right] });
      for (const request of REQUESTS) {
        const answer = await call(key, request.method, request.path);
        if (request.right === right) assert.equal(answer.status, 200, answer.text);
        else {
          const expected = { demanded: request.right, missing: [request.right] };
          problem(answer, 403, "insufficient_scope", expected);
        }
      }
    });
  }

  test("an endpoint that HRWize has not is 404, whatever the key has", async () => {
    const key = await add({ scopes: ["*"] });
    problem(await call(key, "GET", `${API}/payroll`), 404, "not_found");
    problem(await call(key, "PUT", EMPLOYEES), 404, "not_found");
  });

  test("Employee time off, Read, only employee name, start date and end date: the calendar sees these, and no more", async () => {
    const fields = { employee_time_off: ["employee_name", "start_date", "end_date"] };
    const calendar = await add({ scopes: ["employee_time_off:read"], fields });
    assert.deepEqual(calendar.fields, fields);
    const { rows, told } = await lets(calendar, TIME_OFF);
    assert.equal(told, '{"employee_time_off":["employee_name","start_date","end_date"]}');
    assert.deepEqual(rows, [
      { employee_name: "Ada", start_date: "2027-03-01", end_date: "2027-03-05" },
      { employee_name: "Boris", start_date: "2027-04-12", end_date: "2027-04-12" },
    ]);
    for (const { right, method, path: target } of REQUESTS.filter(({ right }) => right !== "employee_time_off:read")) {
      problem(await call(calendar, method, target), 403, "insufficient_scope", { demanded: right, missing: [right] });
    }
  });

  test("nobody widens or lifts a choice of fields by sending X-Keygate-Fields", async () => {
    const calendar = await add({ scopes: ["employee_time_off:read"], fields: { employee_time_off: ["end_date"] } });
    for (const name of ["X-Keygate-Fields", "x-keygate-fields", "X_Keygate_Fields", "X-KEYGATE_FIELDS"]) {
      for (const value of ["{}", '{"employee_time_off":["reason"]}', ""]) {
        const { rows, told } = await lets(calendar, TIME_OFF, { [name]: value });
        assert.equal(told, '{"employee_time_off":["end_date"]}', `${name}: ${value}`);
        assert.deepEqual(rows, [{ end_date: "2027-03-05" }, { end_date: "2027-04-12" }]);
        const ours = Object.keys(api.seen.at(-1).headers).filter((header) => /fields/.test(header));
        assert.deepEqual(ours, ["x-keygate-fields"]);
      }
    }
  });

  test("no choice of fields means ALL fields, and the choice is one for each endpoint", async () => {
    const all = await add({ scopes: ["employees:read", "employee_time_off:read"] });
    assert.deepEqual(all.fields, {});
    const some = await add({
      scopes: ["employees:read", "employee_time_off:read"],
      fields: { employee_time_off: ["employee_name"] },
    });
    for (const key of [all, some]) {
      assert.deepEqual(await lets(key, EMPLOYEES), { rows: ROWS.employees, told: undefined });
    }
    assert.deepEqual(await lets(all, TIME_OFF), { rows: ROWS.employee_time_off, told: undefined });
    assert.equal((await lets(some, TIME_OFF)).told, '{"employee_time_off":["employee_name"]}');
    const spoofed = await lets(all, EMPLOYEES, { "X-Keygate-Fields": '{"employees":["id"]}' });
    assert.deepEqual(spoofed, { rows: ROWS.employees, told: undefined });
  });

  test("fields of an endpoint that the key does not have, and no field at all, are refused", async () => {
    for (const fields of [{ employees: ["salary"] }, { employee_time_off: [] }]) {
      problem(await issue({ scopes: ["employee_time_off:read"], fields }), 400, "invalid_request", { field: "fields" });
    }
  });

  test("rows cannot be limited: a key with Employees sees all employees", async () => {
    problem(await issue({ scopes: ["employees:read"], rows: [1] }), 400, "invalid_request", { field: "rows" });
    const key = await add({ scopes: ["employees:read"], fields: { employees: ["id"] } });
    assert.deepEqual((await lets(key, EMPLOYEES)).rows, [{ id: 1 }, { id: 2 }]);
    for (const { id } of ROWS.employees) assert.deepEqual((await lets(key, `${EMPLOYEES}/${id}`)).rows, [{ id }]);
  });
});

test("the list shows the current keys, and which fields each may see", async () => {
  const limited = await add({ scopes: ["employees:*"], fields: { employees: ["id", "employee_name"] } });
  const gone = await add({ scopes: ["employees:read"] });
  success(await administrator("POST", `${path}/keys/${gone.id}/revoke`));
  const { data } = success(await administrator("GET", `${path}/keys?status=active&limit=1`));
  assert.deepEqual(
    data.map(({ id, scopes, fields, status }) => ({ id, scopes, fields, status })),
    [{ id: limited.id, scopes: ["employees:*"], fields: { employees: ["id", "employee_name"] }, status: "active" }],
  );
  const keys = await current();
  assert.ok(keys.some(({ fields }) => Object.keys(fields).length === 0), "and those that see all");
  assert.ok(keys.every(({ id, status }) => status === "active" && id !== gone.id));
});

describe("keeping keys that have no names", () => {
  const CHOICE = { employees: ["id", "employee_name"] };
  const show = async (filter) => (await found(server, path, filter)).map(({ id }) => id);
  const ids = (keys) => keys.map(({ id }) => id);
  let payroll, calendar;
  before(async () => {
    payroll = await add({ scopes: ["employees:read"], fields: CHOICE, owner: "payroll" });
    calendar = await add({ scopes: ["employee_time_off:read"], owner: "front-desk", description: "Calendar in the lobby" });
  });

  test("they are found by whose they are, who added them, and what they may do", async () => {
    const fields = { environment: "live", scopes: ["employees:*"], owner: "payroll" };
    const theirs = success(await colleague("POST", `${path}/keys`, fields), 201);
    assert.deepEqual(await show({ owner: "payroll" }), [theirs.id, payroll.id]);
    assert.deepEqual(await show({ owner: "payroll", created_by: "ada" }), [payroll.id]);
    assert.deepEqual(await show({ owner: "payroll", scope: "employees:delete" }), [theirs.id]);
    assert.deepEqual(await show({ created_by: "carla" }), [theirs.id]);
    assert.deepEqual(await show({ created_by: "boris" }), []);
    // A department that has another name now, or hands a key over.
    success(await colleague("PATCH", `${path}/keys/${theirs.id}`, { owner: "people-team" }));
    assert.deepEqual([await show({ owner: "payroll" }), await show({ owner: "people-team" })], [[payroll.id], [theirs.id]]);
    success(await colleague("POST", `${path}/keys/${theirs.id}/revoke`));
    assert.deepEqual(await show({ owner: "people-team", status: "active" }), []);
  });

  test("an Administrator replaces one, and another confirms it: its rights and its choice of fields stay", async () => {
    problem(await rotate(employee, `${path}/keys/${payroll.id}`, { overlap: 60 }), 403, "insufficient_role");
    const beyond = { overlap: 60, fields: { employee_time_off: ["reason"] } };
    const unreached = await rotate(administrator, `${path}/keys/${payroll.id}`, beyond);
    problem(unreached, 400, "invalid_request", { field: "fields" });
    const next = await rotated(administrator, `${path}/keys/${payroll.id}`, { overlap: 86_400 });
    assert.deepEqual([next.fields, next.scopes, next.owner], [CHOICE, ["employees:read"], "payroll"]);
    for (const key of [payroll, next]) {
      const { rows, told } = await lets(key, EMPLOYEES);
      assert.deepEqual([rows[0], JSON.parse(told)], [{ id: 1, employee_name: "Ada" }, CHOICE]);
    }
    const confirm = () => colleague("POST", `${path}/keys/${payroll.id}/rotate/confirm?wait=effective`);
    await refusedOnceAnswered(server, (edge) => callAt(edge, payroll, "GET", EMPLOYEES), confirm);
    await lets(next, EMPLOYEES);
    const entries = success(await admin(server, "GET", `${path}/audit?subject=${payroll.id}`)).data;
    assert.deepEqual(entries.map(({ action, actor }) => [action, actor]), [
      ["key.confirm", "carla"],
      ["key.rotate", "ada"],
      ["key.issue", "ada"],
    ]);
    payroll = next;
  });

  test("a wider or narrower choice of fields is a matter of the next key, never of this one", async () => {
    problem(await administrator("PATCH", `${path}/keys/${payroll.id}`, { fields: {} }), 409, "conflict", { field: "fields" });
    const choice = { overlap: 60, fields: { employees: ["id"] } };
    const narrower = await rotated(administrator, `${path}/keys/${payroll.id}`, choice);
    assert.deepEqual((await lets(narrower, EMPLOYEES)).rows, [{ id: 1 }, { id: 2 }]);
    assert.deepEqual((await lets(payroll, EMPLOYEES)).told, JSON.stringify(CHOICE), "as it was");
    success(await administrator("POST", `${path}/keys/${payroll.id}/rotate/cancel?wait=effective`));
    constant401(await call(narrower, "GET", EMPLOYEES));
  });

  test("salaries are read from the company's own network alone, however an address is written", async () => {
    const wages = await add({ scopes: ["employees:read"], allowed_ips: ["192.0.2.0/25"], owner: "payroll" });
    for (const inside of ["192.0.2.127", "::ffff:192.0.2.1"]) {
      assert.deepEqual((await lets(wages, EMPLOYEES, from(inside))).rows, ROWS.employees);
    }
    const arrived = api.seen.length;
    for (const outside of ["192.0.2.128", "::ffff:192.0.3.1", "2001:db8::1"]) {
      problem(await call(wages, "GET", EMPLOYEES, from(outside)), 403, "ip_not_allowed");
    }
    problem(await call(wages, "GET", EMPLOYEES), 403, "ip_not_allowed");
    assert.equal(api.seen.length, arrived, "HRWize hears of none");
  });

  test("who may only look sees how a key is used, and why it was refused, in numbers and as a picture", async () => {
    for (let n = 0; n < 3; n += 1) await lets(calendar, TIME_OFF);
    for (let n = 0; n < 2; n += 1) assert.equal((await call(calendar, "GET", EMPLOYEES)).status, 403);
    await eventually(async () => {
      // An isolate tells what it has seen with the next lease that it needs.
      await lets(payroll, EMPLOYEES);
      const { allowed, refused, buckets } = success(await employee("GET", `${path}/keys/${calendar.id}/usage?per=day`));
      assert.deepEqual([allowed, refused, buckets.length], [3, { insufficient_scope: 2 }, 90]);
    }, 20_000);
    const picture = await employee("GET", `${path}/keys/${calendar.id}/usage.svg?per=day`);
    assert.deepEqual([picture.status, picture.headers["content-type"]], [200, "image/svg+xml"]);
    assert.match(picture.text, /At least 3 calls allowed, 2 refused\. insufficient_scope 2\./);
    const { last_used_at, scopes_last_used } = success(await employee("GET", `${path}/keys/${calendar.id}`));
    assert.deepEqual(scopes_last_used, { "employee_time_off:read": last_used_at.slice(0, 10) });
  });

  test("what an Administrator added who has left is planned, shown, and revoked in the name of who orders it", async () => {
    const issue = () => colleague("POST", `${path}/keys`, { environment: "live", scopes: ["employees:read"] });
    const theirs = [];
    for (let n = 0; n < 3; n += 1) theirs.push(success(await issue(), 201));
    const filter = { created_by: "carla", status: "active" };
    problem(await employee("POST", `${path}/keys/plans`, { filter }), 403, "insufficient_role");
    const { plan, keys } = await planned(server, administrator, path, filter);
    assert.deepEqual(ids(keys).sort(), ids(theirs).sort());
    for (const key of theirs) await lets(key, EMPLOYEES);
    const { progress, created_by } = await executed(administrator, path, plan);
    assert.deepEqual([progress, created_by], [{ revoked: 3, skipped: 0, remaining: 0 }, "ada"]);
    await eventually(async () => {
      for (const edge of Object.values(server.edges)) {
        for (const key of theirs) constant401(await callAt(edge, key, "GET", EMPLOYEES));
      }
    });
    await lets(payroll, EMPLOYEES);
    const entries = await listAll(server, `${path}/audit?action=key.revoke&actor=ada`);
    for (const { id } of theirs) assert.ok(entries.some(({ subject }) => subject === id));
  });
});

describe("revoking", () => {
  test("one key is refused everywhere immediately, and is gone from the list; the others go on", async () => {
    const [key, other] = [await add({ scopes: ["employees:read"] }), await add({ scopes: ["employees:read"] })];
    const revoke = () => administrator("POST", `${path}/keys/${key.id}/revoke?wait=effective`);
    const use = (edge) => callAt(edge, key, "GET", EMPLOYEES);
    assert.equal((await refusedOnceAnswered(server, use, revoke)).status, "revoked");
    await lets(other, EMPLOYEES);
    const ids = (await current()).map(({ id }) => id);
    assert.deepEqual([ids.includes(key.id), ids.includes(other.id)], [false, true]);
  });

  test("ALL keys are refused everywhere immediately, and other companies' are not", async () => {
    const other = await createAccount(server, { name: "Another company" });
    const theirs = await issueKey(server, other, { scopes: ["employees:read"] });
    const keys = await Promise.all(Array.from({ length: 5 }, () => add({ scopes: ["employees:read"] })));
    const revokeAll = () => administrator("POST", `${path}/keys/revoke-all?wait=effective`);
    const before = (await current()).length;
    for (const edge of Object.values(server.edges)) {
      for (const key of keys) assert.equal((await callAt(edge, key, "GET", EMPLOYEES)).status, 200);
    }
    let uses = 0;
    const use = (edge) => callAt(edge, keys[uses++ % keys.length], "GET", EMPLOYEES);
    const { environments } = await refusedOnceAnswered(server, use, revokeAll);
    assert.deepEqual(environments, ["live", "test"]);
    for (const key of keys) constant401(await call(key, "GET", EMPLOYEES));
    assert.ok(before > keys.length);
    assert.deepEqual(await current(), []);
    await lets(theirs, EMPLOYEES);
    const [entry] = success(await admin(server, "GET", `${path}/audit?limit=1`)).data;
    assert.equal(entry.actor, "ada", "the audit says who did it");
  });

  test("that cannot be undone: not by enabling, changing, repeating or a new key", async () => {
    const before = await listAll(server, `${path}/keys`);
    assert.ok(before.length > 20 && before.every(({ status }) => status === "revoked"));
    const [{ id }] = before;
    for (const change of [{ disabled: false }, { name: "again" }]) {
      problem(await administrator("PATCH", `${path}/keys/${id}`, change), 409, "conflict");
      problem(await admin(server, "PATCH", `${path}/keys/${id}`, change), 409, "conflict");
    }
    success(await administrator("POST", `${path}/keys/${id}/revoke`));
    const key = await add({ scopes: ["employees:read"] });
    await lets(key, EMPLOYEES);
    const after = await listAll(server, `${path}/keys`);
    assert.deepEqual(after.map(({ id, status }) => [id, status]), [
      [key.id, "active"],
      ...before.map((old) => [old.id, "revoked"]),
    ]);
  });

  test("a revoked key is refused as one that never was", async () => {
    const key = await add({ scopes: ["employees:read"] });
    success(await administrator("POST", `${path}/keys/${key.id}/revoke?wait=effective`));
    const unknown = await call({ key: `${key.key.slice(0, -1)}${key.key.endsWith("0") ? "1" : "0"}` }, "GET", EMPLOYEES);
    assert.equal(transcript(await call(key, "GET", EMPLOYEES)), transcript(unknown));
  });
});

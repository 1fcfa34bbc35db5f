// Kenjo: an API that a company asks for, first in the sandbox, and then for production; a handful of keys, each with an
// alias and an access level.
//
// Of its column this checks: who administers, what a key belongs to, the activation from the request to the approval with
// a plan, the sandbox, the alias, that a key is shown once, access levels with permissions and restrictions of a key's
// own, how many keys there can be, and the public API beside the keys. Of how long keys live and how they are replaced its
// pages say nothing; here none lives longer than a year, and what replaces one has its alias, its access level and its
// place among the five. To come: that support is told of a request by itself, which needs webhooks; until then it reads
// the list of accounts.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startApi } from "./harness/api.mjs";
import { admin, createAccount, issueKey, listAll } from "./harness/client.mjs";
import { constant401, eventually, problem, success } from "./harness/expect.mjs";
import { forgedKey } from "./harness/mint.mjs";
import { administrator, call, found, from, rotate, rotated, startProduct } from "./harness/product.mjs";

/** Each resource of the default access level, and where it is. */
const PATHS = {
  company: "/kenjo/company",
  office: "/kenjo/offices",
  department: "/kenjo/departments",
  employee: "/kenjo/employees",
  team: "/kenjo/teams",
  area: "/kenjo/areas",
  calendar: "/kenjo/calendars",
  "custom-field": "/kenjo/custom-fields",
};
const RESOURCES = Object.keys(PATHS);
const DAY_MS = 24 * 60 * 60 * 1_000;

const COMPANY = {
  name: "Acme",
  api_access: { live: "off", test: "off" },
  name_policy: "unique",
  max_active_keys: 5,
  max_key_days: 365,
  access_level_required: true,
  access_levels: {
    Default: { description: "Reads and writes everything", scopes: RESOURCES.map((resource) => `${resource}:*`) },
    "Org chart": { description: "Who works where", scopes: ["department:read", "employee:read", "team:read"] },
  },
  scopes: RESOURCES.map((resource) => ({ resource, description: `The company's ${resource}`, verbs: ["read", "write"] })),
};

let production, sandbox, server, company, accountAdmin, viewer;

before(async () => {
  [production, sandbox] = await Promise.all([startApi("production"), startApi("sandbox")]);
  server = await startProduct({ UPSTREAM: production.url, KEYGATE_UPSTREAM_TEST: sandbox.url });
  company = await createAccount(server, COMPANY);
  const credential = (role) => issueKey(server, company, { environment: "admin", role, name: role });
  const [ofAdmin, ofViewer] = [await credential("admin"), await credential("viewer")];
  [accountAdmin, viewer] = [administrator(server, ofAdmin), administrator(server, ofViewer)];
});
after(async () => {
  await server?.stop();
  await Promise.all([production, sandbox].map((api) => api?.close()));
});

const account = () => `/accounts/${company.id}`;
const generate = (environment, name, fields, by = accountAdmin) =>
  by("POST", `${account()}/keys`, { environment, name, access_level: "Default", ...fields });
const revoke = async (key) => success(await accountAdmin("POST", `${account()}/keys/${key.id}/revoke`));
const ask = (environment, note, by = accountAdmin) => by("POST", `${account()}/access-requests`, { environment, note });
const approve = async (api_access) =>
  success(await admin(server, "PATCH", `${account()}?wait=effective`, { api_access, plan: "Connect" }));

/** The request is let in, and arrives at that API. */
async function reaches(api, key, method, path) {
  const { status, json } = await call(server, key, method, path);
  assert.deepEqual([status, json.api, json.url], [200, api, path]);
  return json;
}

describe("before the API is switched on", () => {
  test("there are no keys", async () => {
    for (const environment of ["test", "live"]) {
      problem(await generate(environment, "HR portal"), 403, "account_inactive", { detail: /access-requests/ });
    }
  });

  test("an account admin asks for it, on any plan, and a viewer does not", async () => {
    problem(await ask("test", "Please", viewer), 403, "insufficient_role");
    const asked = success(await ask("test", "We sync our org chart"));
    assert.deepEqual([asked.api_access, asked.plan], [{ live: "off", test: "requested" }, null]);
  });

  test("support sees who asks, with the note, and asking alone gives no keys", async () => {
    const waiting = (await listAll(server, "/accounts")).filter(({ api_access }) => Object.values(api_access).includes("requested"));
    assert.deepEqual(waiting.map(({ id, access_note }) => [id, access_note]), [[company.id, "We sync our org chart"]]);
    problem(await generate("test", "HR portal"), 403, "account_inactive", { detail: /until an operator approves/ });
  });

  test("nobody approves their own request, or puts themselves on a plan", async () => {
    for (const change of [{ api_access: { live: "active", test: "active" } }, { plan: "Connect" }]) {
      problem(await accountAdmin("PATCH", account(), change), 403, "insufficient_role", { detail: /root token/ });
    }
  });
});

describe("approved for the sandbox, with the plan Connect", () => {
  let key;

  test("there are keys for the sandbox, and none for production", async () => {
    const approved = await approve({ live: "off", test: "active" });
    assert.deepEqual([approved.api_access, approved.plan], [{ live: "off", test: "active" }, "Connect"]);
    key = success(await generate("test", "HR portal"), 201);
    assert.match(key.key, /^kg_test_/);
    problem(await generate("live", "HR portal"), 403, "account_inactive", { detail: /access-requests/ });
  });

  test("such a key reaches the sandbox alone", async () => {
    for (const path of Object.values(PATHS)) await reaches("sandbox", key, "GET", path);
    constant401(await call(server, key.key.replace("_test_", "_live_"), "GET", PATHS.company));
  });

  test("going to production is asked for on its own", async () => {
    problem(await ask("test", "Again"), 409, "conflict", { field: "environment" });
    const asked = success(await ask("live", "Tested, and ready"));
    assert.deepEqual(asked.api_access, { live: "requested", test: "active" });
    problem(await generate("live", "HR portal"), 403, "account_inactive", { detail: /until an operator approves/ });
    await approve({ live: "active", test: "active" });
    const live = success(await generate("live", "HR portal"), 201);
    await reaches("production", live, "GET", PATHS.company);
    await reaches("sandbox", key, "GET", PATHS.company);
    await revoke(live);
  });
});

describe("a key", () => {
  let portal;

  test("has an alias, which no other has", async () => {
    for (const alias of [undefined, null, ""]) {
      problem(await generate("live", alias), 400, "invalid_request", { field: "name" });
    }
    portal = success(await generate("live", "HR portal"), 201);
    problem(await generate("live", "HR portal"), 409, "conflict", { field: "name" });
    await revoke(portal);
    portal = success(await generate("live", "HR portal"), 201);
  });

  test("is the company account's, and generated by its admins alone", async () => {
    assert.deepEqual([portal.account_id, portal.access_level], [company.id, "Default"]);
    problem(await generate("live", "Mine", {}, viewer), 403, "insufficient_role");
    constant401(await generate("live", "Mine", {}, administrator(server, portal)));
  });

  test("is shown before it is saved, and never again", async () => {
    for (const path of [`${account()}/keys/${portal.id}`, `${account()}/keys`]) {
      const { status, text } = await accountAdmin("GET", path);
      assert.deepEqual([status, text.includes(portal.key), text.includes(portal.hint)], [200, false, true]);
    }
  });

  test("needs an access level, and one that there is", async () => {
    for (const access_level of [undefined, null, "Everything"]) {
      const fields = { access_level, scopes: access_level === "Everything" ? undefined : ["company:read"] };
      problem(await generate("live", "New", fields), 400, "invalid_request", { field: "access_level", detail: /"Default"/ });
    }
  });

  test("of the default access level opens company, office, department, employee, team, area, calendar and custom field", async () => {
    assert.deepEqual([...portal.scopes].sort(), RESOURCES.map((resource) => `${resource}:*`).sort());
    for (const path of Object.values(PATHS)) {
      for (const method of ["GET", "POST"]) await reaches("production", portal, method, path);
    }
  });

  test("of another level opens what that says", async () => {
    const chart = success(await generate("live", "Org chart", { access_level: "Org chart" }), 201);
    await reaches("production", chart, "GET", PATHS.team);
    problem(await call(server, chart, "POST", PATHS.team), 403, "insufficient_scope", {
      demanded: "team:write",
      missing: ["team:write"],
    });
    await revoke(chart);
  });

  test("may have permissions and restrictions of its own", async () => {
    const unknown = await generate("live", "Birthdays", { scopes: ["employees:read"] });
    problem(unknown, 400, "invalid_request", { field: "scopes", detail: /the nearest is `employee:read`/ });
    const own = { scopes: ["employee:read", "calendar:read"], fields: { employee: ["name", "birthday"] } };
    const birthdays = success(await generate("live", "Birthdays", own), 201);
    assert.deepEqual([birthdays.access_level, birthdays.scopes.toSorted()], ["Default", own.scopes.toSorted()]);
    const { headers } = await reaches("production", birthdays, "GET", PATHS.employee);
    assert.deepEqual(JSON.parse(headers["x-keygate-fields"]), own.fields);
    assert.equal((await reaches("production", birthdays, "GET", PATHS.calendar)).headers["x-keygate-fields"], undefined);
    for (const [method, resource, scope] of [["GET", "office", "office:read"], ["POST", "employee", "employee:write"]]) {
      const refused = await call(server, birthdays, method, PATHS[resource]);
      problem(refused, 403, "insufficient_scope", { demanded: scope, missing: [scope] });
    }
    await revoke(birthdays);
  });

  test("is one of five at most in production, with different levels, and of five in the sandbox", async () => {
    const levels = ["Default", "Org chart", "Default", "Org chart"];
    const others = [];
    for (const [n, access_level] of levels.entries()) {
      others.push(success(await generate("live", `Key ${n}`, { access_level }), 201));
    }
    problem(await generate("live", "One more"), 409, "limit_reached", { detail: /5/ });
    success(await generate("test", "One more"), 201);
    await revoke(others[0]);
    success(await generate("live", "One more"), 201);
    problem(await generate("live", "Two more"), 409, "limit_reached");
  });

  test("no longer works when the API is switched off", async () => {
    await approve({ live: "off", test: "active" });
    problem(await call(server, portal, "GET", PATHS.company), 403, "account_inactive");
    await approve({ live: "active", test: "active" });
    await reaches("production", portal, "GET", PATHS.company);
  });
});

describe("how long a key lives", () => {
  const OFFICE = "2001:db8:77::/48";
  const inDays = (days) => new Date(Date.now() + days * DAY_MS).toISOString();
  const aliases = async (filter) => (await found(server, account(), filter)).map(({ name }) => name);
  const read = async ({ id }) => success(await viewer("GET", `${account()}/keys/${id}`));
  let payroll, trial;
  before(async () => {
    for (const key of await found(server, account(), { status: "active" })) await revoke(key);
    payroll = success(await generate("live", "Payroll"), 201);
  });

  test("is a year at most, also where nothing is said", async () => {
    assert.equal(Date.parse(payroll.expires_at) - Date.parse(payroll.created_at), 365 * DAY_MS);
    const longer = await generate("live", "For ever", { expires_at: inDays(366) });
    problem(longer, 400, "invalid_request", { field: "expires_at", detail: /at most 365 days ahead/ });
    trial = success(await generate("test", "Trial", { expires_at: inDays(30), access_level: "Org chart" }), 201);
    assert.ok(Math.abs(Date.parse(trial.expires_at) - Date.now() - 30 * DAY_MS) < 60_000);
  });

  test("ends by itself: then it is refused, its alias is free, and it is not one of the five", async () => {
    const brief = success(await generate("live", "Import", { expires_at: inDays(1_500 / DAY_MS) }), 201);
    await reaches("production", brief, "GET", PATHS.company);
    problem(await generate("live", "Import"), 409, "conflict", { field: "name" });
    await eventually(async () => constant401(await call(server, brief, "GET", PATHS.company)));
    assert.ok(Date.now() >= Date.parse(brief.expires_at));
    assert.deepEqual(await aliases({ status: "expired" }), ["Import"]);
    for (const alias of ["Import", "Two", "Three", "Four"]) success(await generate("live", alias), 201);
    problem(await generate("live", "Six"), 409, "limit_reached");
  });

  test("begins anew with what replaces it, which has its alias, level and place though all five are taken", async () => {
    problem(await rotate(viewer, `${account()}/keys/${payroll.id}`, { overlap: 0 }), 403, "insufficient_role");
    const beyond = await rotate(accountAdmin, `${account()}/keys/${payroll.id}`, { overlap: 60, expires_at: inDays(366) });
    problem(beyond, 400, "invalid_request", { field: "expires_at" });
    const next = await rotated(accountAdmin, `${account()}/keys/${payroll.id}`, { overlap: 7 * 86_400 });
    assert.deepEqual([next.name, next.access_level, next.scopes], ["Payroll", "Default", payroll.scopes]);
    assert.equal(Date.parse(next.expires_at) - Date.parse(next.created_at), 365 * DAY_MS);
    for (const key of [payroll, next]) await reaches("production", key, "POST", PATHS.calendar);
    assert.deepEqual(await aliases({ name_contains: "PAYROLL", status: "active" }), ["Payroll", "Payroll"]);
    problem(await generate("live", "Six"), 409, "limit_reached", { detail: /5/ });
    success(await accountAdmin("POST", `${account()}/keys/${payroll.id}/rotate/confirm?wait=effective`));
    constant401(await call(server, payroll, "GET", PATHS.company));
    problem(await generate("live", "Payroll"), 409, "conflict", { field: "name" });
    payroll = next;
  });

  test("is not changed by a replacement that was dropped, in the sandbox as in production", async () => {
    const tried = await rotated(accountAdmin, `${account()}/keys/${trial.id}`, { overlap: 86_400 });
    assert.match(tried.key, /^kg_test_/);
    await reaches("sandbox", tried, "GET", PATHS.team);
    assert.equal((await read(trial)).expires_at, tried.overlap_ends_at);
    success(await accountAdmin("POST", `${account()}/keys/${trial.id}/rotate/cancel?wait=effective`));
    constant401(await call(server, tried, "GET", PATHS.team));
    assert.equal((await read(trial)).expires_at, trial.expires_at, "its own end again");
    await reaches("sandbox", trial, "GET", PATHS.team);
  });

  test("can be restricted to the company's own network, and what replaces it is", async () => {
    await revoke((await found(server, account(), { name_contains: "four" }))[0]);
    const [office, home] = [from("2001:db8:77:4::1"), from("2001:db8:78::1")];
    const inside = success(await generate("live", "Office", { allowed_ips: [OFFICE] }), 201);
    const next = await rotated(accountAdmin, `${account()}/keys/${inside.id}`, { overlap: 3_600 });
    for (const key of [inside, next]) {
      assert.deepEqual(key.allowed_ips, [OFFICE]);
      assert.equal((await call(server, key, "GET", PATHS.employee, office)).status, 200);
      problem(await call(server, key, "GET", PATHS.employee, home), 403, "ip_not_allowed");
      problem(await call(server, key, "GET", PATHS.employee), 403, "ip_not_allowed");
    }
  });

  test("and what it may do, is how its admins find one among the others", async () => {
    assert.deepEqual(await aliases({ environment: "test", status: "active" }), ["Trial"]);
    assert.deepEqual(await aliases({ expires_before: inDays(31), status: "active", environment: "test" }), ["Trial"]);
    const soon = await aliases({ expires_before: inDays(31), environment: "live", status: "active" });
    assert.deepEqual(soon, ["Office"], "the old one, while it is replaced");
    const writers = await aliases({ scope: "employee:write", status: "active", environment: "live" });
    assert.deepEqual(writers, ["Office", "Office", "Payroll", "Three", "Two", "Import"]);
    assert.deepEqual(await aliases({ scope: "employee:write", environment: "test", status: "active" }), []);
    assert.deepEqual(await aliases({ scope: "employee:read", environment: "test", status: "active" }), ["Trial"]);
  });
});

describe("the career site's API", () => {
  test("stays outside the keys: anyone reads it, and no credential is passed on", async () => {
    for (const key of [null, forgedKey(), "rubbish"]) {
      const { headers } = await reaches("production", key, "GET", "/kenjo/career-site/positions");
      assert.deepEqual(Object.keys(headers).filter((name) => /^x-keygate|authorization/.test(name)), []);
    }
  });

  test("is only read, and opens nothing beside it", async () => {
    problem(await call(server, null, "POST", "/kenjo/career-site/positions"), 401, "missing_credential");
    problem(await call(server, null, "GET", PATHS.company), 401, "missing_credential");
  });
});

// Wonderkind NEXT: one account, and keys with all of its rights that Account Admins alone generate.
//
// Of its column this checks: who generates keys, what a key belongs to, its name, that it is shown once, its rights, the
// list, revocation for good, replacing a key by hand while both work, features of an organisation and of the platform,
// and the header. To come: the 90 days after which a key is replaced, which need expiry and rotation.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, createAccount, issueKey, send, transcript, whoami } from "./harness/client.mjs";
import { constant401, eventually, problem, success } from "./harness/expect.mjs";
import { administrator, call, refusedOnceAnswered, startProduct } from "./harness/product.mjs";

const ORGANISATION = { name_policy: "required", default_scopes: ["*"] };

let server, acme, globex, accountAdmin, viewer, key;

before(async () => {
  server = await startProduct();
  [acme, globex] = await Promise.all(["Acme", "Globex"].map((name) => createAccount(server, { name, ...ORGANISATION })));
  const credential = (role) => issueKey(server, acme, { environment: "admin", role, name: `An ${role}'s` });
  [accountAdmin, viewer] = (await Promise.all(["admin", "viewer"].map(credential))).map((it) => administrator(server, it));
});
after(() => server?.stop());

const keys = (account = acme) => `/accounts/${account.id}/keys`;
const generate = (name, by = accountAdmin) => by("POST", keys(), { environment: "live", name });
const jobs = (holder, edge = server) => call(edge, holder, "GET", "/wonderkind/v1/jobs");

describe("an Account Admin", () => {
  test("alone generates keys", async () => {
    key = success(await generate("Careers page"), 201);
    problem(await generate("Careers page", viewer), 403, "insufficient_role", { detail: /needs the role admin/ });
    constant401(await generate("Careers page", administrator(server, key)));
    problem(await generate("Careers page", administrator(server, { key: null })), 401, "missing_credential");
    problem(await accountAdmin("POST", keys(globex), { environment: "live", name: "x" }), 404, "not_found");
  });

  test("gives every key a descriptive name", async () => {
    for (const name of [undefined, null, "", " "]) {
      problem(await generate(name), 400, "invalid_request", { field: "name" });
    }
  });

  test("sees a key once, and never again", async () => {
    assert.match(key.key, /^kg_live_[0-9A-Za-z]{52}$/);
    const found = await accountAdmin("POST", `${keys()}/lookup`, { key: key.key });
    for (const later of [found, await accountAdmin("GET", `${keys()}/${key.id}`), await accountAdmin("GET", keys())]) {
      assert.equal(later.status, 200);
      assert.ok(!later.text.includes(key.key));
    }
  });
});

describe("a key", () => {
  test("belongs to the account and has all of its rights, without any of its own", async () => {
    const { account_id, scopes } = (await whoami(server, key.key)).json;
    assert.deepEqual([account_id, scopes], [acme.id, ["*"]]);
    for (const method of ["GET", "POST", "PATCH", "DELETE"]) {
      for (const path of ["/wonderkind/v1/jobs", "/wonderkind/v1/campaigns/1/candidates", "/wonderkind/v1/settings"]) {
        assert.equal((await call(server, key, method, path)).status, 200, `${method} ${path}`);
      }
    }
    const lesser = success(await accountAdmin("POST", keys(), { environment: "live", name: "Less", scopes: ["jobs:*"] }), 201);
    problem(await jobs(lesser), 403, "insufficient_scope", { demanded: "*", missing: ["*"] });
    success(await accountAdmin("POST", `${keys()}/${lesser.id}/revoke`));
  });

  test("is sent as a bearer token", async () => {
    problem(await jobs(null), 401, "missing_credential");
    for (const headers of [{ "X-Api-Key": key.key }, { Authorization: `Basic ${key.key}` }]) {
      problem(await send(server, "GET", "/wonderkind/v1/jobs", { headers }), 401, "missing_credential");
    }
  });

  test("is listed with its name, creation date, last used date and status", async () => {
    const unused = success(await generate("Not yet used"), 201);
    await eventually(async () => {
      const listed = success(await viewer("GET", keys())).data;
      const shown = listed.map(({ name, status, last_used_at }) => [name, status, last_used_at !== null]);
      assert.deepEqual(shown, [
        ["Not yet used", "active", false],
        ["Less", "revoked", false],
        ["Careers page", "active", true],
      ]);
      for (const { created_at, last_used_at } of listed) {
        assert.ok(Date.parse(created_at) <= Date.now());
        assert.ok(last_used_at === null || last_used_at >= created_at);
      }
    }, 20_000);
    success(await accountAdmin("POST", `${keys()}/${unused.id}/revoke`));
  });
});

describe("replacing a key by hand", () => {
  let old;

  test("both work until the new one is confirmed, and the old one is revoked", async () => {
    [old, key] = [key, success(await generate("Careers page"), 201)];
    assert.deepEqual([(await jobs(old)).status, (await jobs(key)).status], [200, 200]);
    const revoke = () => accountAdmin("POST", `${keys()}/${old.id}/revoke?wait=effective`);
    await refusedOnceAnswered(server, (edge) => jobs(old, edge), revoke);
    assert.equal((await jobs(key)).status, 200);
  });

  test("the revoked key cannot be restored", async () => {
    for (const change of [{ disabled: false }, { name: "Again" }]) {
      problem(await accountAdmin("PATCH", `${keys()}/${old.id}`, change), 409, "conflict", { detail: /final; issue a new one/ });
    }
    assert.equal(success(await accountAdmin("GET", `${keys()}/${old.id}`)).status, "revoked");
    constant401(await jobs(old));
  });
});

describe("the platform's administrator", () => {
  let theirs;
  before(async () => {
    theirs = await issueKey(server, globex, { name: "Careers page" });
  });

  const enable = async (account, features) =>
    success(await admin(server, "PATCH", `/accounts/${account.id}?wait=effective`, { features }));
  const enableForAll = async (features) => success(await admin(server, "PUT", "/platform?wait=effective", { features }));

  /** Which of the two organisations a path is there for; for the others it looks like one that never was. */
  async function visible(path) {
    const seen = [];
    for (const [name, holder] of [["acme", key], ["globex", theirs]]) {
      const answer = await call(server, holder, "GET", path);
      if (answer.status === 200) seen.push(name);
      else assert.equal(transcript(answer), transcript(await call(server, holder, "GET", "/no-such-route")));
    }
    return seen;
  }

  test("rolls a beta out organisation by organisation; what is not enabled is not visible", async () => {
    const beta = "/wonderkind/beta/matching";
    for (const path of [beta, "/wonderkind/beta", "/wonderkind/beta/"]) assert.deepEqual(await visible(path), [], path);
    await enable(acme, ["beta"]);
    assert.deepEqual(await visible(beta), ["acme"]);
    await enable(globex, ["beta"]);
    assert.deepEqual(await visible(beta), ["acme", "globex"]);
    await enable(acme, []);
    assert.deepEqual(await visible(beta), ["globex"]);
  });

  test("switches features on and off for the whole platform", async () => {
    const [forms, iventa] = ["/wonderkind/lead-forms/1", "/wonderkind/iventa/campaigns"];
    assert.deepEqual([await visible(forms), await visible(iventa)], [[], []]);
    await enableForAll(["lead-forms"]);
    assert.deepEqual([await visible(forms), await visible(iventa)], [["acme", "globex"], []]);
    await enableForAll(["iventa-distribution", "lead-forms"]);
    assert.deepEqual(await visible(iventa), ["acme", "globex"]);
    await enableForAll([]);
    assert.deepEqual([await visible(forms), await visible(iventa)], [[], []]);
  });

  test("alone does so", async () => {
    const own = { features: ["beta"] };
    problem(await accountAdmin("PATCH", `/accounts/${acme.id}`, own), 403, "insufficient_role", { detail: /root token/ });
    problem(await accountAdmin("PUT", "/platform", own), 403, "insufficient_role");
    assert.deepEqual(await visible("/wonderkind/beta/matching"), ["globex"]);
  });
});

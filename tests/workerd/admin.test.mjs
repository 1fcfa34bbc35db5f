// What holds for every admin route alike: who may call it, which bodies it reads, how it refuses.

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { after, before, describe, test } from "node:test";
import { admin, bearer, createAccount, issueKey, send, sendRaw, transcript } from "./harness/client.mjs";
import { constant401, problem, success } from "./harness/expect.mjs";
import { forgedKey } from "./harness/mint.mjs";
import { secrets } from "./harness/secrets.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const ROOT = secrets.KEYGATE_ROOT_TOKEN;
const PREFIX = "/_keygate/admin/v1";
const BODY_CAP = 64 * 1024;
const JSON_TYPE = { "Content-Type": "application/json" };
// What a PATCH needs; other methods do not mind.
const ANY_VERSION = { "If-Match": "*" };

let server, account, key, routes;

before(async () => {
  server = await startWorkerd();
  account = await createAccount(server);
  key = await issueKey(server, account);
  const keys = `/accounts/${account.id}/keys`;
  routes = [
    { method: "POST", path: "/accounts", body: { name: "Another" } },
    { method: "GET", path: "/accounts" },
    { method: "GET", path: `/accounts/${account.id}` },
    { method: "PATCH", path: `/accounts/${account.id}`, body: { name: "Acme" } },
    { method: "GET", path: `/accounts/${account.id}/audit` },
    { method: "POST", path: keys, body: { environment: "live" } },
    { method: "GET", path: keys },
    { method: "GET", path: `${keys}/${key.id}` },
    { method: "PATCH", path: `${keys}/${key.id}`, body: { name: "a key" } },
    { method: "POST", path: `${keys}/lookup`, body: { key: key.key } },
    { method: "POST", path: `${keys}/${key.id}/revoke`, body: {} },
  ];
});
after(() => server?.stop());

/** Runs `check` for each route, with the route in the name of the subtest. */
async function onEachRoute(t, chosen, check) {
  for (const route of chosen) await t.test(`${route.method} ${route.path}`, () => check(route));
}

const readingBodies = () => routes.filter(({ body }) => body !== undefined);

describe("credentials", () => {
  test("no route answers without one", (t) =>
    onEachRoute(t, routes, async ({ method, path, body }) => {
      problem(await admin(server, method, path, body, { token: null }), 401, "missing_credential");
    }));

  test("another scheme is no credential", (t) =>
    onEachRoute(t, routes, async ({ method, path }) => {
      const headers = { Authorization: `Basic ${btoa(`root:${ROOT}`)}` };
      problem(await send(server, method, PREFIX + path, { headers }), 401, "missing_credential");
    }));

  test("a wrong token, part of the token, an API key and a forged one get the constant 401", (t) =>
    onEachRoute(t, routes, async ({ method, path, body }) => {
      const wrong = ["wrong", ROOT.slice(0, -1), `${ROOT}x`, ROOT.toUpperCase(), key.key, forgedKey()];
      const answers = await Promise.all(wrong.map((token) => admin(server, method, path, body, { token })));
      answers.forEach(constant401);
      assert.equal(new Set(answers.map(transcript)).size, 1);
    }));

  test("a malformed or repeated Bearer is the request's fault", (t) =>
    onEachRoute(t, routes, async ({ method, path }) => {
      for (const header of [`Bearer  ${ROOT}`, `Bearer ${ROOT}, Bearer ${ROOT}`, "Bearer ", "Bearer"]) {
        const answer = await send(server, method, PREFIX + path, { headers: { Authorization: header } });
        problem(answer, 400, "invalid_request", { credentialFault: true });
      }
    }));

  test("the scheme's case does not matter", async () => {
    success(await send(server, "GET", `${PREFIX}/accounts`, { headers: { Authorization: `bEARER ${ROOT}` } }));
  });
});

describe("paths and methods", () => {
  test("a method that a path does not have is 405 and the answer lists those it has", async () => {
    const keys = `/accounts/${account.id}/keys`;
    const offered = [
      ["/accounts", "GET, POST"],
      [`/accounts/${account.id}`, "GET, PATCH"],
      [keys, "GET, POST"],
      [`${keys}/${key.id}`, "GET, PATCH"],
      [`${keys}/${key.id}/revoke`, "POST"],
      [`${keys}/lookup`, "POST"],
      [`/accounts/${account.id}/audit`, "GET"],
    ];
    for (const [path, allow] of offered) {
      for (const method of ["DELETE", "PUT"]) {
        problem(await admin(server, method, path), 405, "method_not_allowed", { allow });
      }
    }
  });

  test("a path that does not exist is 404", async () => {
    const paths = [
      "",
      "/",
      "/account",
      "/accounts/",
      `/accounts/${account.id}/`,
      `/accounts/${account.id}/keys/${key.id}/restore`,
    ];
    for (const path of paths) problem(await admin(server, "GET", path), 404, "not_found");
  });

  test("a query changes nothing about which route it is", async () => {
    assert.equal(success(await admin(server, "GET", `/accounts/${account.id}?`)).id, account.id);
  });
});

describe("bodies", () => {
  test("a body that is not JSON by its content type is 415", (t) =>
    onEachRoute(t, readingBodies(), async ({ method, path, body }) => {
      for (const type of [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/json-patch+json",
      ]) {
        const headers = { ...bearer(ROOT), ...ANY_VERSION, "Content-Type": type };
        problem(
          await send(server, method, PREFIX + path, { headers, body: JSON.stringify(body) }),
          415,
          "unsupported_media_type",
        );
      }
      const headers = { ...bearer(ROOT), ...ANY_VERSION };
      const untyped = await send(server, method, PREFIX + path, { headers, body: JSON.stringify(body) });
      problem(untyped, 415, "unsupported_media_type");
    }));

  test("a content type may have parameters and any case", async () => {
    const headers = { ...bearer(ROOT), "Content-Type": "Application/JSON; charset=UTF-8" };
    success(await send(server, "POST", `${PREFIX}/accounts`, { headers, body: '{"name":"Acme"}' }), 201);
  });

  test("a body that is no JSON object is 400", (t) =>
    onEachRoute(t, readingBodies(), async ({ method, path }) => {
      for (const body of ["{", "[]", "null", '"x"', "1", '{"name":"a"} x', "\xff\xfe", '{"name":"a","name":"b"}']) {
        const answer = await send(server, method, PREFIX + path, {
          headers: { ...bearer(ROOT), ...JSON_TYPE, ...ANY_VERSION },
          body: Buffer.from(body, "latin1"),
        });
        assert.equal(answer.status, 400, `${body}: ${answer.text}`);
        assert.equal(answer.json.code, "invalid_request");
      }
    }));

  test("a member that the route does not know is refused by name", (t) =>
    onEachRoute(t, readingBodies(), async ({ method, path, body }) => {
      const answer = await admin(server, method, path, { ...body, colour: "red" });
      problem(answer, 400, "invalid_request", { field: "colour" });
    }));

  test("64 KiB are read, one byte more is 413, declared or not", async () => {
    const post = (body) =>
      send(server, "POST", `${PREFIX}/accounts`, { headers: { ...bearer(ROOT), ...JSON_TYPE }, body });
    const padded = (length) => '{"name":"Acme"}'.padEnd(length, " ");
    const inPieces = (length) => Readable.from(padded(length).match(/.{1,16384}/gs));
    success(await post(padded(BODY_CAP)), 201);
    success(await post(inPieces(BODY_CAP)), 201);
    for (const body of [padded(BODY_CAP + 1), inPieces(BODY_CAP + 1)])
      problem(await post(body), 413, "payload_too_large");
  });

  test("a body far beyond that is not read to its end", async () => {
    let sent = 0;
    const endless = Readable.from(
      (async function* () {
        for (; sent < 1024; sent += 1) yield " ".repeat(BODY_CAP);
      })(),
    );
    // The answer may come while the body is being sent, and the connection close under it.
    const answer = await send(server, "POST", `${PREFIX}/accounts`, {
      headers: { ...bearer(ROOT), ...JSON_TYPE },
      body: endless,
    }).catch((error) => error);
    if (answer instanceof Error) assert.match(answer.code, /^(EPIPE|ECONNRESET)$/);
    else problem(answer, 413, "payload_too_large");
    assert.ok(sent < 1024, "all of it was taken");
  });

  test("a refused body has changed nothing", async () => {
    const before = success(await admin(server, "GET", `/accounts/${account.id}`));
    await admin(server, "PATCH", `/accounts/${account.id}`, { name: "Other", colour: "red" });
    assert.deepEqual(success(await admin(server, "GET", `/accounts/${account.id}`)), before);
  });
});

describe("X-Keygate-Actor", () => {
  const create = (actor) =>
    admin(server, "POST", "/accounts", { name: "Acted" }, { headers: { "X-Keygate-Actor": actor } });

  test("is kept as created_by of accounts and keys", async () => {
    const actor = "user:42/anna@example.com";
    const created = success(await create(actor), 201);
    assert.equal(created.created_by, actor);
    assert.equal(success(await admin(server, "GET", `/accounts/${created.id}`)).created_by, actor);
    const headers = { "X-Keygate-Actor": "~".repeat(128) };
    const issued = success(
      await admin(server, "POST", `/accounts/${created.id}/keys`, { environment: "live" }, { headers }),
      201,
    );
    assert.equal(issued.created_by, "~".repeat(128));
    assert.equal(
      success(await admin(server, "GET", `/accounts/${created.id}/keys/${issued.id}`)).created_by,
      "~".repeat(128),
    );
  });

  test("of more than 128 characters, or other than visible ASCII, is refused", async () => {
    for (const actor of ["a".repeat(129), "two words", ""]) {
      problem(await create(actor), 400, "invalid_request", { field: "X-Keygate-Actor" });
    }
    const raw = await sendRaw(
      server,
      [
        `POST ${PREFIX}/accounts HTTP/1.1`,
        `Authorization: Bearer ${ROOT}`,
        "Content-Type: application/json",
        "Content-Length: 12",
        "X-Keygate-Actor: Zo\xc3\xab",
      ],
      '{"name":"x"}',
    );
    problem(raw, 400, "invalid_request", { field: "X-Keygate-Actor" });
  });
});

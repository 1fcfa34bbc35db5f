// The Authorization header as literal bytes: whatever is wrong with it has one right status and problem, wherever a
// credential is read.
//
// Some of it the runtime refuses before Keygate sees the request. Then the answer is the runtime's own text.

import { after, before, describe, test } from "node:test";
import { createAccount, issueKey, sendRaw } from "./harness/client.mjs";
import { allowed, problem } from "./harness/expect.mjs";
import { secrets } from "./harness/secrets.mjs";
import { each, everythingButUses, runtimes } from "./harness/unchanged.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const ROOT = secrets.KEYGATE_ROOT_TOKEN;
const ADMIN = "/_keygate/admin/v1";
const KB = 1024;

let server, account, key;
before(async () => {
  server = await startWorkerd();
  account = await createAccount(server);
  key = await issueKey(server, account, { scopes: ["contacts:read"] });
});
after(() => server?.stop());

describe("the Authorization header", () => {
  /** Where a credential is read, and what it is there. */
  const doors = () => [
    ["GET /_keygate/verify", key.key],
    ["POST /_keygate/verify?scope=contacts:read", key.key],
    ["GET /_keygate/whoami", key.key],
    ["GET /v1/contacts", key.key],
    [`GET ${ADMIN}/accounts`, ROOT],
    [`POST ${ADMIN}/accounts`, ROOT],
    [`PATCH ${ADMIN}/accounts/${account.id}`, ROOT],
    [`GET ${ADMIN}/no/such/route`, ROOT],
  ];

  /** `write` makes the header lines of a credential; `check` is for the answer. */
  function everywhere(write, check) {
    const asking = doors().map(async ([target, credential]) =>
      check(await sendRaw(server, [`${target} HTTP/1.1`, ...write(credential)])),
    );
    return Promise.all(asking);
  }

  test("that holds no bearer credential is like none", (t) =>
    each(
      t,
      server,
      [
        ["none", () => []],
        ["empty", () => ["Authorization:"]],
        ["blank", () => ["Authorization: \t "]],
        ["the credential alone", (credential) => [`Authorization: ${credential}`]],
        ["another scheme", (credential) => [`Authorization: Basic ${credential}`]],
        ["a scheme that begins like it", (credential) => [`Authorization: Bearers ${credential}`]],
        ["a longer scheme", (credential) => [`Authorization: X-Bearer ${credential}`]],
        ["a parameter of another scheme", (credential) => [`Authorization: Digest bearer="${credential}"`]],
        ["a header of another name", (credential) => [`Authorisation: Bearer ${credential}`]],
        ["64 KB of another scheme", () => [`Authorization: Basic ${"x".repeat(64 * KB)}`]],
      ],
      (write) => everywhere(write, (answer) => problem(answer, 401, "missing_credential")),
    ));

  test("that holds anything but one well-formed credential is malformed", (t) =>
    each(
      t,
      server,
      [
        ["no token", () => ["Authorization: Bearer"]],
        ["two spaces", (credential) => [`Authorization: Bearer  ${credential}`]],
        ["a tab", (credential) => [`Authorization: Bearer\t${credential}`]],
        ["a space and a tab", (credential) => [`Authorization: Bearer \t${credential}`]],
        ["a vertical tab", (credential) => [`Authorization: Bearer\x0b${credential}`]],
        ["a no-break space, Latin-1", (credential) => [`Authorization: Bearer\xa0${credential}`]],
        ["a no-break space, UTF-8", (credential) => [`Authorization: Bearer\xc2\xa0${credential}`]],
        ["a space in the token", (credential) => [`Authorization: Bearer ${credential} x`]],
        ["a colon for the space", (credential) => [`Authorization: Bearer:${credential}`]],
        ["quotes", (credential) => [`Authorization: Bearer "${credential}"`]],
        ["a parameter", (credential) => [`Authorization: Bearer token=${credential}`]],
        ["a control character", (credential) => [`Authorization: Bearer ${credential}\x01`]],
        ["a delete character", (credential) => [`Authorization: Bearer ${credential}\x7f`]],
        ["a Latin-1 byte behind", (credential) => [`Authorization: Bearer ${credential}\xe4`]],
        ["a Latin-1 byte within", (credential) => [`Authorization: Bearer \xff${credential}`]],
        ["a UTF-8 letter", (credential) => [`Authorization: Bearer ${credential}\xc3\xa4`]],
        ["a byte order mark", (credential) => [`Authorization: Bearer \xef\xbb\xbf${credential}`]],
        ["padding in the middle", (credential) => [`Authorization: Bearer ${credential}=x`]],
        ["a byte more than is read", () => [`Authorization: Bearer ${"x".repeat(4_096 - "Bearer ".length + 1)}`]],
        ["64 KB", () => [`Authorization: Bearer ${"x".repeat(64 * KB)}`]],
        ["64 KB behind the credential", (credential) => [`Authorization: Bearer ${credential}${"x".repeat(64 * KB)}`]],
        ["64 KB of commas", () => [`Authorization: Bearer ${",".repeat(64 * KB)}`]],
      ],
      (write) => everywhere(write, (answer) => problem(answer, 400, "invalid_request", { credentialFault: true })),
    ));

  test("with several credentials, or repeated, is malformed, though each alone would do", (t) =>
    each(
      t,
      server,
      [
        ["one header", (credential) => [`Authorization: Bearer ${credential}, Bearer ${credential}`]],
        ["one header, without a space", (credential) => [`Authorization: Bearer ${credential},Bearer ${credential}`]],
        ["a comma behind", (credential) => [`Authorization: Bearer ${credential},`]],
        ["a comma before", (credential) => [`Authorization: , Bearer ${credential}`]],
        ["another scheme first", (credential) => [`Authorization: Basic eA==, Bearer ${credential}`]],
        ["another scheme last", (credential) => [`Authorization: Bearer ${credential}, Basic eA==`]],
        ["two headers", (credential) => Array(2).fill(`Authorization: Bearer ${credential}`)],
        ["three headers", (credential) => Array(3).fill(`Authorization: Bearer ${credential}`)],
        ["a hundred headers", (credential) => Array(100).fill(`Authorization: Bearer ${credential}`)],
        ["a wrong one first", (credential) => ["Authorization: Bearer x", `Authorization: Bearer ${credential}`]],
        ["a wrong one last", (credential) => [`Authorization: Bearer ${credential}`, "Authorization: Bearer x"]],
        ["names in two cases", (credential) => [`authorization: Bearer ${credential}`, "AUTHORIZATION: Bearer x"]],
        [
          "another scheme's header first",
          (credential) => ["Authorization: Basic eA==", `Authorization: Bearer ${credential}`],
        ],
        ["an empty header last", (credential) => [`Authorization: Bearer ${credential}`, "Authorization:"]],
      ],
      (write) => everywhere(write, (answer) => problem(answer, 400, "invalid_request", { credentialFault: true })),
    ));

  test("that is no header at all is refused by the runtime", (t) =>
    each(
      t,
      server,
      [
        ["folded", 400, (credential) => ["Authorization: Bearer", ` ${credential}`]],
        ["a space before the colon", 400, (credential) => [`Authorization : Bearer ${credential}`]],
        ["a space before the name", 400, (credential) => [` Authorization: Bearer ${credential}`]],
        ["no colon", 400, (credential) => [`Authorization Bearer ${credential}`]],
        ["a NUL", 400, (credential) => [`Authorization: Bearer ${credential}\0`]],
        ["a bare carriage return", 400, (credential) => [`Authorization: Bearer ${credential}\rX: y`]],
        ["a name that is not ASCII", 400, (credential) => [`Authorization: Bearer ${credential}`, "X-\xe4: y"]],
        ["1 MB", 431, () => [`Authorization: Bearer ${"x".repeat(KB * KB)}`]],
      ],
      (status, write) => everywhere(write, (answer) => runtimes(answer, status)),
    ));

  test("is read whatever the case and the white space that HTTP allows, and beside however large a header", async (t) => {
    const spellings = [
      ["no space", () => [`Authorization:Bearer ${key.key}`]],
      ["tabs and spaces around", () => [`Authorization:\t Bearer ${key.key} \t `]],
      ["another case", () => [`aUTHORIZATION: bEARER ${key.key}`]],
      // The runtime joins repeated headers by a comma, but leaves out an empty beginning.
      ["an empty header before it", () => ["Authorization:", `Authorization: Bearer ${key.key}`]],
      ["64 KB beside it", () => [`X-Padding: ${"x".repeat(64 * KB)}`, `Authorization: Bearer ${key.key}`]],
    ];
    const check = async (write) =>
      allowed(await sendRaw(server, ["GET /_keygate/verify HTTP/1.1", ...write()]), key, account);
    await each(t, server, spellings, check, everythingButUses);
  });
});

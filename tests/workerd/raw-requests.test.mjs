// Requests as literal bytes: whatever is wrong with a body or with a header of the admin API has one right status and
// problem, on every route that reads it, and changes nothing.
//
// Some of it the runtime refuses before Keygate sees the request. Then the answer is the runtime's own text.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { admin, createAccount, issueKey, sendRaw } from "./harness/client.mjs";
import { problem } from "./harness/expect.mjs";
import { secrets } from "./harness/secrets.mjs";
import { each, everything, runtimes } from "./harness/unchanged.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const ROOT = secrets.KEYGATE_ROOT_TOKEN;
const ADMIN = "/_keygate/admin/v1";
const JSON_TYPE = "Content-Type: application/json";
const KB = 1024;
const BODY_CAP = 64 * KB;

let server, account, key, untouched;
before(async () => {
  server = await startWorkerd();
  account = await createAccount(server);
  key = await issueKey(server, account, { scopes: ["contacts:read"] });
  untouched = await everything(server);
});
after(() => server?.stop());

/** The routes that read a body, with a body that is right. */
const routes = () => {
  const keys = `/accounts/${account.id}/keys`;
  return [
    { method: "POST", path: "/accounts", right: '{"name":"Other"}' },
    { method: "PATCH", path: `/accounts/${account.id}`, right: '{"name":"Other"}' },
    { method: "POST", path: keys, right: '{"environment":"live"}' },
    { method: "PATCH", path: `${keys}/${key.id}`, right: '{"disabled":true}' },
    { method: "POST", path: `${keys}/${key.id}/revoke`, right: "{}" },
    { method: "POST", path: `${keys}/lookup`, right: JSON.stringify({ key: key.key }) },
  ];
};

/** Sends these bytes as the body of an admin request; `lines` are its headers beside the usual ones. */
function sendBody({ method, path }, lines, body, options) {
  const usual = [`Authorization: Bearer ${ROOT}`, ...(method === "PATCH" ? ["If-Match: *"] : [])];
  return sendRaw(server, [`${method} ${ADMIN}${path} HTTP/1.1`, ...usual, ...lines], body, options);
}

const sized = (body) => [JSON_TYPE, `Content-Length: ${body.length}`];

/** `body` in chunks of `size` bytes. */
function chunked(body, size = 1) {
  let chunks = "";
  for (let at = 0; at < body.length; at += size) {
    const chunk = body.slice(at, at + size);
    chunks += `${chunk.length.toString(16)}\r\n${chunk}\r\n`;
  }
  return `${chunks}0\r\n\r\n`;
}

describe("a body", () => {
  const onEachRoute = (check) => Promise.all(routes().map(check));

  test("that is not JSON is 400, on every route that reads one", (t) =>
    each(
      t,
      server,
      [
        ["white space only", " \n"],
        ["cut short", '{"name":"Other"'],
        ["followed by more", '{"name":"Other"} x'],
        ["followed by another", "{}{}"],
        ["followed by a NUL", "{}\0"],
        ["with a byte order mark", "\xef\xbb\xbf{}"],
        ["in UTF-16", Buffer.from('{"name":"Other"}', "utf16le").toString("latin1")],
        ["with a byte that is no UTF-8", '{"name":"\xff"}'],
        ["with a sequence that is cut short", '{"name":"\xf0\x9f\x8f"}'],
        ["with an overlong slash", '{"name":"\xc0\xaf"}'],
        ["with a surrogate in UTF-8", '{"name":"\xed\xa0\xbd"}'],
        ["with the first half of a surrogate pair", '{"name":"\\ud83d"}'],
        ["with the second half of a surrogate pair", '{"name":"\\udfd7 x"}'],
        ["with the halves of a pair swapped", '{"name":"\\udfd7\\ud83d"}'],
        ["with a NUL in a text", '{"name":"a\0b"}'],
        ["with a line feed in a text", '{"name":"a\nb"}'],
        ["with a wrong escape", '{"name":"\\x41"}'],
        ["with a comment", '{"name":"Other"/**/}'],
        ["with a comma too many", '{"name":"Other",}'],
        ["with single quotes", "{'name':'Other'}"],
        ["with a name without quotes", '{name:"Other"}'],
        ["with a leading zero", '{"max_active_keys":05}'],
        ["with a plus sign", '{"max_active_keys":+5}'],
        ["with a hexadecimal number", '{"max_active_keys":0x5}'],
        ["with NaN", '{"max_active_keys":NaN}'],
        ["with Infinity", '{"max_active_keys":-Infinity}'],
        ["200 lists deep", `{"name":${"[".repeat(200)}${"]".repeat(200)}}`],
        ["200 objects deep", `{"name":${'{"a":'.repeat(200)}1${"}".repeat(201)}`],
        ["60,000 lists deep", `{"name":${"[".repeat(60_000)}`],
        ["60,000 lists deep from the start", "[".repeat(60_000)],
        ["that has a member twice", '{"name":"Other","name":"Other"}'],
        ["that has a member twice, once escaped", '{"disabled":true,"d\\u0069sabled":true}'],
        ["that has a member twice, further down", '{"api_access":{"live":"off","live":"active","test":"off"}}'],
        ["that has an unknown member twice", '{"colour":1,"colour":1}'],
        ["that is a list", '[{"name":"Other"}]'],
        ["that is a text", '"name"'],
        ["that is a number", "1"],
        ["that is null", "null"],
        ["that is a form", "name=Other"],
      ],
      (body) => onEachRoute(async (route) => problem(await sendBody(route, sized(body), body), 400, "invalid_request")),
    ));

  test("with a number beyond all bounds is 400 and the answer names the member", (t) =>
    each(
      t,
      server,
      ["1e400", "-1e400", "9".repeat(400), "1.5", "1e-400"].map((number) => [number.slice(0, 8), number]),
      (number) =>
        onEachRoute(async (route) => {
          const more = `"max_active_keys":${number}}`;
          const body = route.right === "{}" ? `{${more}` : route.right.replace(/}$/, `,${more}`);
          problem(await sendBody(route, sized(body), body), 400, "invalid_request", { field: "max_active_keys" });
        }),
    ));

  test("that has an unknown member is 400 and the answer names it", (t) =>
    each(
      t,
      server,
      ["colour", "Name", "name ", "__proto__", "constructor", "", "größe", "id", "a\u0000b", "x".repeat(10_000)].map(
        (name) => [JSON.stringify(name.slice(0, 20)), name],
      ),
      (name) =>
        onEachRoute(async (route) => {
          const more = `${JSON.stringify(name)}:null}`;
          const body = route.right === "{}" ? `{${more}` : route.right.replace(/}$/, `,${more}`);
          const bytes = Buffer.from(body).toString("latin1");
          problem(await sendBody(route, sized(bytes), bytes), 400, "invalid_request", { field: name });
        }),
    ));

  test("of another content type is 415", (t) =>
    each(
      t,
      server,
      [
        ["none", []],
        ["empty", ["Content-Type:"]],
        ["text", ["Content-Type: text/plain"]],
        ["text of JSON", ["Content-Type: text/json"]],
        ["a problem", ["Content-Type: application/problem+json"]],
        ["a patch", ["Content-Type: application/merge-patch+json"]],
        ["a form", ["Content-Type: application/x-www-form-urlencoded"]],
        ["parts", ["Content-Type: multipart/form-data; boundary=x"]],
        ["a list of types", ["Content-Type: application/json, text/plain"]],
        ["a space within", ["Content-Type: application /json"]],
        ["not ASCII", ["Content-Type: application/json\xe4"]],
        ["repeated", [JSON_TYPE, JSON_TYPE]],
      ],
      (lines) =>
        onEachRoute(async (route) => {
          const answer = await sendBody(route, [...lines, `Content-Length: ${route.right.length}`], route.right);
          problem(answer, 415, "unsupported_media_type");
        }),
    ));

  test("that is too long is 413, declared or chunked, whatever it holds", (t) =>
    each(
      t,
      server,
      [
        ["declared", (right) => ({ lines: sized(right), body: right })],
        ["chunked", (right) => ({ lines: [JSON_TYPE, "Transfer-Encoding: chunked"], body: chunked(right, 16 * KB) })],
        ["in one chunk", (right) => ({ lines: [JSON_TYPE, "Transfer-Encoding: chunked"], body: chunked(right, 1e9) })],
        ["of another type", (right) => ({ lines: [`Content-Length: ${right.length}`], body: right })],
      ],
      (write) =>
        onEachRoute(async (route) => {
          for (const long of [
            route.right.padEnd(BODY_CAP + 1, " "),
            "[".repeat(BODY_CAP + 1),
            "\xff".repeat(BODY_CAP + 1),
          ]) {
            const { lines, body } = write(long);
            problem(await sendBody(route, lines, body), 413, "payload_too_large");
          }
        }),
    ));

  test("whose connection ends before it does is 400, though what came is right", (t) =>
    each(
      t,
      server,
      [
        ["nothing came", () => [sized("{}"), ""]],
        ["part of it came", ({ right }) => [sized(right), right.slice(0, -1)]],
        ["JSON came, white space did not", ({ right }) => [sized(`${right} `), right]],
        ["much more was announced", ({ right }) => [[JSON_TYPE, "Content-Length: 99999999999"], right]],
        [
          "the last chunk is missing",
          ({ right }) => [[JSON_TYPE, "Transfer-Encoding: chunked"], chunked(right).slice(0, -5)],
        ],
        ["a chunk is cut short", ({ right }) => [[JSON_TYPE, "Transfer-Encoding: chunked"], `ff\r\n${right}`]],
        [
          "a chunk has no size",
          ({ right }) => [[JSON_TYPE, "Transfer-Encoding: chunked"], `\r\n${right}\r\n0\r\n\r\n`],
        ],
      ],
      (write) =>
        onEachRoute(async (route) => {
          const answer = await sendBody(route, ...write(route), { cutOff: true });
          problem(answer, 400, "invalid_request", { field: "body" });
        }),
    ));

  test("whose length makes no sense is refused by the runtime", (t) =>
    each(
      t,
      server,
      [
        ["negative", ["Content-Length: -1"]],
        ["no number", ["Content-Length: x"]],
        ["two lengths", ["Content-Length: 2", "Content-Length: 3"]],
        ["a list of lengths", ["Content-Length: 2, 3"]],
        ["another transfer encoding", ["Transfer-Encoding: gzip"]],
      ],
      (lines) =>
        onEachRoute(async (route) =>
          runtimes(await sendBody(route, [JSON_TYPE, ...lines], route.right, { cutOff: true }), 400),
        ),
    ));

  test("that does not come counts as {}", async () => {
    const required = { "/accounts": "name", [`/accounts/${account.id}/keys`]: "environment" };
    for (const lines of [[], ["Content-Length: 0"], [JSON_TYPE, "Content-Length: 0"], ["Transfer-Encoding: chunked"]]) {
      const body = lines.includes("Transfer-Encoding: chunked") ? "0\r\n\r\n" : "";
      for (const [path, field] of Object.entries(required)) {
        const answer = await sendBody({ method: "POST", path }, lines, body);
        problem(answer, 400, "invalid_request", { field });
      }
    }
    assert.deepEqual(await everything(server), untouched);
  });

  test("that comes without a length is no body", async () => {
    for (const route of routes().filter(({ method, path }) => method === "POST" && !path.endsWith("/revoke"))) {
      problem(await sendBody(route, [JSON_TYPE], route.right), 400, "invalid_request", {
        field: /\w+/.exec(route.right)[0],
      });
    }
    assert.deepEqual(await everything(server), untouched);
  });
});

describe("a member", () => {
  const NUMBERS = [
    "0",
    "-0",
    "-0.0",
    "-1",
    "1.5",
    "1e-400",
    "1e300",
    "10001",
    "4294967296",
    "4294967301",
  ];
  const HUGE = ["9007199254740993", "9223372036854775808", "18446744073709551615", "18446744073709551616", "1e19"];
  const NO_TEXT = ["true", "0", "-0", "18446744073709551616", "[]", "{}", '["a"]'];
  const NO_LIST = ["null", "true", "1", '"a:b"', "{}", "[1]", "[null]", "[[]]", '[{"a":1}]', '["a:b",1]'];

  /** By route, the member and JSON texts that will not do. */
  const wrong = () => {
    const [create, change, issue, changeKey, , lookup] = routes();
    const ofAccount = {
      name: [...NO_TEXT, "null", '"a\\u0000b"', '"\\u2028\\n"'],
      external_id: [...NO_TEXT, '"a\\u0000"', '"\\ud83c\\udfd7"'],
      brand: [...NO_TEXT, "null", '"kg\\u0000"'],
      max_active_keys: [...NUMBERS, ...HUGE, "true", '"5"', "[5]", "{}"],
      api_access: [
        "null",
        "true",
        "1",
        '"active"',
        "[]",
        '{"live":1,"test":"off"}',
        '{"live":"off","test":"off","x":"off"}',
      ],
      features: NO_LIST,
      default_scopes: NO_LIST,
    };
    return [
      [create, ofAccount],
      [change, { ...ofAccount, status: [...NO_TEXT, "null", '"ACTIVE"'] }],
      [
        issue,
        {
          name: [...NO_TEXT, '"a\\u0000b"'],
          environment: [...NO_TEXT, "null", '"live\\u0000"', '"Admin"'],
          scopes: NO_LIST,
          not_before: [...NO_TEXT, "1e18", '"2999-01-01T00:00:00Z\\u0000"', '"99999-01-01T00:00:00Z"'],
          expires_at: [...NO_TEXT, "1e18", '"2999-01-01T24:00:01Z"', '"+999999-01-01T00:00:00Z"'],
        },
      ],
      [changeKey, { name: [...NO_TEXT, '"a\\u007fb"'], disabled: ["null", "0", "1", '"true"', "[]", "{}", "-0"] }],
      [lookup, { key: [...NO_TEXT, "null"] }],
    ];
  };

  test("of a wrong type or out of range is 400 and the answer names it", async (t) => {
    for (const [route, members] of wrong()) {
      const cases = Object.entries(members).map(([field, values]) => [field, field, values]);
      await t.test(`${route.method} ${route.path}`, (t) =>
        each(t, server, cases, async (field, values) => {
          for (const value of values) {
            const others = Object.entries(JSON.parse(route.right)).filter(([member]) => member !== field);
            const texts = [...others.map(([member, right]) => [member, JSON.stringify(right)]), [field, value]];
            const body = `{${texts.map(([member, text]) => `"${member}":${text}`).join()}}`;
            problem(await sendBody(route, sized(body), body), 400, "invalid_request", { field, detail: /./ });
          }
        }),
      );
    }
  });
});

describe("a header of the admin API", () => {
  const headers = {
    "Idempotency-Key": [
      ["empty", [""]],
      ["too short", ["x".repeat(21)]],
      ["too long", ["x".repeat(256)]],
      ["64 KB", ["x".repeat(64 * KB)]],
      ["a space", [`${"x".repeat(22)} y`]],
      ["a tab", [`${"x".repeat(22)}\ty`]],
      ["a control character", [`${"x".repeat(22)}\x01`]],
      ["Latin-1", [`${"x".repeat(22)}\xe4`]],
      ["UTF-8", [`${"x".repeat(22)}\xc3\xa4`]],
      ["repeated", ["x".repeat(22), "x".repeat(22)]],
    ],
    "X-Keygate-Actor": [
      ["empty", [""]],
      ["too long", ["x".repeat(129)]],
      ["64 KB", ["x".repeat(64 * KB)]],
      ["a space", ["two words"]],
      ["Latin-1", ["Zo\xeb"]],
      ["UTF-8", ["Zo\xc3\xab"]],
      ["repeated", ["alice", "alice"]],
    ],
  };
  const ifMatch = [
    ["no quotes", ["1"]],
    ["one quote", ['"1']],
    ["text behind", ['"1"x']],
    ["a tag and an asterisk", ['"1", *']],
    ["no comma", ['"1" "2"']],
    ["a space in the tag", ['"1 2"']],
    ["a lower-case weakness", ['w/"1"']],
    ["Latin-1 for the quotes", ["\xab1\xbb"]],
    ["an asterisk twice", ["*", "*"]],
  ];

  /** The answers to changes that would be right but for their If-Match. */
  const changed = (values) =>
    Promise.all(
      routes()
        .filter(({ method }) => method === "PATCH")
        .map(({ method, path, right }) => {
          const ifMatch = values.map((value) => `If-Match: ${value}`);
          const lines = [`Authorization: Bearer ${ROOT}`, ...ifMatch, ...sized(right)];
          return sendRaw(server, [`${method} ${ADMIN}${path} HTTP/1.1`, ...lines], right);
        }),
    );

  for (const [field, cases] of Object.entries(headers)) {
    test(`${field}, when it is not as it should be, is 400 and the answer names it`, (t) =>
      each(t, server, cases, async (values) => {
        const commands = routes().filter(({ path }) => !path.endsWith("/lookup"));
        const lines = values.map((value) => `${field}: ${value}`);
        for (const route of commands) {
          const answer = await sendBody(route, [...lines, ...sized(route.right)], route.right);
          problem(answer, 400, "invalid_request", { field });
        }
      }));
  }

  test("If-Match, when it is not as it should be, is 400 and the answer names it", (t) =>
    each(t, server, ifMatch, async (values) => {
      for (const answer of await changed(values)) problem(answer, 400, "invalid_request", { field: "If-Match" });
    }));

  test("If-Match, when it is empty, is like none", (t) =>
    each(
      t,
      server,
      [
        ["empty", [""]],
        ["blank", [" \t"]],
        ["repeated", ["", ""]],
      ],
      async (values) => {
        for (const answer of await changed(values))
          problem(answer, 428, "precondition_required", { field: "If-Match" });
      },
    ));
});

test("a request line that is none is refused by the runtime", (t) =>
  each(
    t,
    server,
    [
      ["an unknown method", 501, `BREW ${ADMIN}/accounts HTTP/1.1`],
      ["a method in lower case", 501, `post ${ADMIN}/accounts HTTP/1.1`],
      ["another version", 400, `POST ${ADMIN}/accounts HTTP/2.0`],
      ["no version", 400, `POST ${ADMIN}/accounts`],
      ["a path that is not ASCII", 400, `POST ${ADMIN}/acc\xf6unts HTTP/1.1`],
      ["a NUL in the path", 400, `POST ${ADMIN}/accounts\0 HTTP/1.1`],
      ["nothing but noise", 400, "\x16\x03\x01\x02"],
    ],
    async (status, line) => {
      const body = '{"name":"Other"}';
      runtimes(await sendRaw(server, [line, `Authorization: Bearer ${ROOT}`, ...sized(body)], body), status);
    },
  ));

test("what was sent all the time would have been right", async () => {
  for (const route of routes().filter(({ path }) => !path.endsWith("/revoke"))) {
    const lines = [JSON_TYPE, "Transfer-Encoding: chunked"];
    const answer = await sendBody(route, lines, chunked(route.right));
    assert.ok([200, 201].includes(answer.status), answer.text);
  }
  const body = '{"name":"Twice"}';
  const again = await sendBody(routes()[0], [...sized(body), `Content-Length: ${body.length}`], body);
  assert.equal(again.status, 201, again.text);
  assert.notDeepEqual(await everything(server), untouched);
  assert.equal((await admin(server, "GET", `/accounts/${account.id}`)).json.name, "Other");
});

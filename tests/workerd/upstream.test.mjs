// With UPSTREAM set, an allowed request goes on to the API behind Keygate, and its answer comes back unchanged.

import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { after, before, beforeEach, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { bearer, createAccount, issueKey, send, sendRaw } from "./harness/client.mjs";
import { constant401, problem } from "./harness/expect.mjs";
import { forgedKey } from "./harness/mint.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

const PATH = "/v1/contacts";
const MEBIBYTE = 1024 * 1024;

let upstream, server, account, key;
before(async () => {
  upstream = await startUpstream();
  server = await startWorkerd({
    edges: {
      edge: { UPSTREAM: upstream.url },
      based: { UPSTREAM: `${upstream.url}/internal/api` },
      slashed: { UPSTREAM: `${upstream.url}/internal/api/` },
      nowhere: { UPSTREAM: "http://127.0.0.1:1" },
    },
  });
  account = await createAccount(server);
  key = await issueKey(server, account, { scopes: ["*"] });
});
after(async () => {
  await server.stop();
  await upstream.close();
});
beforeEach(() => {
  upstream.seen.length = 0;
  upstream.handle = (incoming, response) => incoming.resume().on("end", () => response.end("upstream"));
});

/** A server that notes what arrives, and answers by `handle`. */
async function startUpstream() {
  const api = { seen: [], handle: undefined, url: undefined };
  const listener = createServer((incoming, response) => {
    const { method, url, headers, rawHeaders } = incoming;
    api.seen.push({ method, url, headers, rawHeaders });
    api.handle(incoming, response);
  });
  await new Promise((listening) => listener.listen(0, "127.0.0.1", listening));
  api.url = `http://127.0.0.1:${listener.address().port}`;
  api.close = () => {
    listener.closeAllConnections();
    return new Promise((closed) => listener.close(closed));
  };
  return api;
}

const call = (method = "GET", path = PATH, { headers = {}, body, edge = server } = {}) =>
  send(edge, method, path, { headers: { ...bearer(key.key), ...headers }, body });

describe("what the API receives", () => {
  test("is the caller's request: method, path, query, headers and body", async () => {
    const body = JSON.stringify({ name: "Zoë" });
    await call("POST", `${PATH}?q=a%20b&q=%C3%BC&empty=&z`, {
      headers: {
        "Content-Type": "application/json",
        "X-Request-Id": "42",
        Accept: "text/csv",
        Cookie: "a=b; c=d",
        "If-Match": '"x"',
      },
      body,
    });
    const [{ method, url, headers }] = upstream.seen;
    assert.deepEqual([method, url], ["POST", `${PATH}?q=a%20b&q=%C3%BC&empty=&z`]);
    assert.deepEqual(
      [headers["content-type"], headers["x-request-id"], headers.accept, headers.cookie, headers["if-match"]],
      ["application/json", "42", "text/csv", "a=b; c=d", '"x"'],
    );
  });

  test("is the body to the byte", async () => {
    const received = new Promise((resolve) => {
      upstream.handle = async (incoming, response) => {
        resolve(Buffer.concat(await incoming.toArray()));
        response.end();
      };
    });
    const body = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    await call("POST", PATH, { body });
    assert.deepEqual(await received, body);
  });

  test("names the holder in Keygate's headers, and not the credential", async () => {
    await call();
    const [{ headers, rawHeaders }] = upstream.seen;
    assert.deepEqual(Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith("x-keygate"))), {
      "x-keygate-key-id": key.id,
      "x-keygate-account-id": account.id,
      "x-keygate-environment": "live",
      "x-keygate-scopes": "*",
    });
    assert.equal(headers.authorization, undefined);
    assert.ok(!rawHeaders.join("\n").includes(key.key));
  });

  test("has none of the caller's own X-Keygate headers, however they are written", async () => {
    const spoofed = [
      "X-Keygate-Key-Id",
      "x-keygate-account-id",
      "X-KEYGATE-SCOPES",
      "X_Keygate_Scopes",
      "x_keygate-Environment",
      "X-Keygate-Features",
      "X-Keygate-Fields",
      "X-Keygate-Workspace-Id",
      "X-Keygate-Anything",
      "X_KEYGATE_ACTOR",
    ];
    const answer = await sendRaw(server, [
      `GET ${PATH} HTTP/1.1`,
      `Authorization: Bearer ${key.key}`,
      ...spoofed.map((name) => `${name}: spoofed`),
    ]);
    assert.equal(answer.status, 200);
    const [{ rawHeaders }] = upstream.seen;
    assert.ok(!rawHeaders.includes("spoofed"));
    const ours = rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
    assert.deepEqual(ours.filter((name) => /^x[-_]keygate/.test(name)).sort(), [
      "x-keygate-account-id",
      "x-keygate-environment",
      "x-keygate-key-id",
      "x-keygate-scopes",
    ]);
  });

  test("has the fields that the key may see of what is asked for, and never those that the caller names", async () => {
    const scopes = ["contacts:*", "exports:read", "reports:read"];
    const fields = { exports: ["id"], contacts: ["name", "e-mail"], jobs: ["id"] };
    const wide = await issueKey(server, account, { scopes });
    const narrow = await issueKey(server, account, { scopes: [...scopes, "jobs:read"], fields });
    const contacts = '{"contacts":["name","e-mail"]}';
    for (const [{ key }, method, path, told] of [
      [narrow, "GET", PATH, contacts],
      [narrow, "POST", PATH, contacts],
      [narrow, "DELETE", `${PATH}/1`, contacts], // strict
      [narrow, "GET", "/v1/reports/all", undefined],
      [narrow, "GET", "/v1/me", undefined],
      [wide, "GET", PATH, undefined],
    ]) {
      for (const spoofed of [[], ["X-Keygate-Fields", "x_keygate_fields", "X-KEYGATE-Fields"]]) {
        const lines = [`${method} ${path} HTTP/1.1`, `Authorization: Bearer ${key}`];
        const answer = await sendRaw(server, [...lines, ...spoofed.map((name) => `${name}: {"contacts":["secret"]}`)]);
        assert.equal(answer.status, 200, answer.text);
        const { rawHeaders } = upstream.seen.pop();
        const at = rawHeaders.flatMap((name, index) => (index % 2 === 0 && /fields/i.test(name) ? [index] : []));
        const got = at.map((index) => [rawHeaders[index].toLowerCase(), rawHeaders[index + 1]]);
        assert.deepEqual(got, told === undefined ? [] : [["x-keygate-fields", told]]);
      }
    }
  });

  test("keeps the upstream's base path in front", async () => {
    for (const edge of ["based", "slashed"]) {
      await call("GET", `${PATH}?a=b`, { edge: server.edges[edge] });
      assert.equal(upstream.seen.pop().url, `/internal/api${PATH}?a=b`);
    }
  });

  test("keeps the query as it was written", async () => {
    for (const query of ["q=a+b&q=%2B", "a=%zz&b=%", "a=[1]|{2}^`()", "a=%ff", "?a=??", "=", "&&"]) {
      const answer = await sendRaw(server, [`GET ${PATH}?${query} HTTP/1.1`, `Authorization: Bearer ${key.key}`]);
      assert.equal(answer.status, 200, answer.text);
      assert.equal(upstream.seen.pop().url, `${PATH}?${query}`);
    }
  });

  test("keeps the path as it was written", async () => {
    for (const path of [
      "/v1/contacts/jane@example.com",
      "/v1/contacts/a%20b",
      "/v1/contacts/%C3%BC",
      "/v1/contacts/a+b!$&'()*,=:~",
    ]) {
      await call("GET", path);
      assert.equal(upstream.seen.pop().url, path);
    }
  });

  test("is nothing at all when the request is refused", async () => {
    const narrow = await issueKey(server, account, { scopes: ["contacts:read"] });
    constant401(await send(server, "GET", PATH, { headers: bearer(forgedKey()) }));
    problem(await send(server, "GET", PATH), 401, "missing_credential");
    problem(await send(server, "POST", PATH, { headers: bearer(narrow.key), body: "x" }), 403, "insufficient_scope", {
      demanded: "contacts:write",
      missing: ["contacts:write"],
    });
    problem(await call("GET", "/v1/unknown"), 404, "not_found");
    assert.equal((await call("GET", "/_keygate/whoami")).status, 200);
    assert.deepEqual(upstream.seen, []);
  });
});

describe("what the caller receives", () => {
  test("is the API's status, headers and body", async () => {
    upstream.handle = (incoming, response) => {
      response.writeHead(
        418,
        "I'm a teapot",
        [
          ["Content-Type", "text/plain; charset=utf-8"],
          ["Set-Cookie", "a=1"],
          ["Set-Cookie", "b=2"],
          ["ETag", '"x"'],
          ["Cache-Control", "public, max-age=60"],
          ["WWW-Authenticate", 'Custom realm="api"'],
          ["X-Custom", "kept"],
        ].flat(),
      );
      response.end("short and stout");
    };
    const { status, headers, text } = await call();
    assert.deepEqual([status, text], [418, "short and stout"]);
    assert.deepEqual(
      ["content-type", "set-cookie", "etag", "cache-control", "www-authenticate", "x-custom"].map(
        (name) => headers[name],
      ),
      ["text/plain; charset=utf-8", ["a=1", "b=2"], '"x"', "public, max-age=60", 'Custom realm="api"', "kept"],
    );
    assert.ok(!Object.keys(headers).some((name) => name.startsWith("x-keygate")));
  });

  test("is a compressed body as the API compressed it", async () => {
    const compressed = gzipSync("x".repeat(100_000));
    upstream.handle = (incoming, response) => response.writeHead(200, { "Content-Encoding": "gzip" }).end(compressed);
    const { headers, bytes } = await call("GET", PATH, { headers: { "Accept-Encoding": "gzip" } });
    assert.equal(upstream.seen.pop().headers["accept-encoding"], "gzip");
    assert.equal(headers["content-encoding"], "gzip");
    assert.deepEqual(bytes, compressed);
  });

  test("is a redirect as it is, not what lies behind it", async () => {
    for (const status of [301, 302, 303, 307, 308]) {
      upstream.handle = (incoming, response) =>
        response.writeHead(status, { Location: `${upstream.url}/elsewhere` }).end();
      const answer = await call();
      assert.deepEqual([answer.status, answer.headers.location], [status, `${upstream.url}/elsewhere`]);
    }
    assert.equal(upstream.seen.length, 5);
  });

  test("is an answer without a body where there is none", async () => {
    for (const status of [204, 304]) {
      upstream.handle = (incoming, response) => response.writeHead(status, { ETag: '"x"' }).end();
      const answer = await call();
      assert.deepEqual([answer.status, answer.text, answer.headers.etag], [status, "", '"x"']);
    }
    upstream.handle = (incoming, response) => response.writeHead(200, { "Content-Length": "7", ETag: '"x"' }).end();
    const head = await call("HEAD");
    assert.deepEqual([head.status, head.text, head.headers.etag], [200, "", '"x"']);
  });

  test("is also the API's own failure, or its own 401", async () => {
    for (const status of [400, 401, 403, 404, 429, 500, 502, 503]) {
      upstream.handle = (incoming, response) =>
        response.writeHead(status, { "Content-Type": "text/plain" }).end("the API says so");
      const answer = await call();
      assert.deepEqual([answer.status, answer.text], [status, "the API says so"]);
    }
  });

  test("is 502 when the API cannot be reached or breaks off before it answers", async () => {
    problem(await call("GET", PATH, { edge: server.edges.nowhere }), 502, "upstream_unreachable");
    upstream.handle = (incoming) => incoming.socket.destroy();
    problem(await call(), 502, "upstream_unreachable");
  });
});

describe("streams", () => {
  test("an answer arrives piece by piece, as the API sends it", async () => {
    let next;
    upstream.handle = (incoming, response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      next = (piece) => (piece === undefined ? response.end() : response.write(piece));
      next("first");
    };
    const { hostname, port } = new URL(server.url);
    const incoming = await new Promise((resolve, reject) => {
      request({ hostname, port, path: PATH, headers: bearer(key.key), agent: false }, resolve)
        .on("error", reject)
        .end();
    });
    const pieces = incoming.setEncoding("utf8")[Symbol.asyncIterator]();
    // Each piece is sent only after the one before has arrived: a buffering Keygate would wait for ever.
    assert.equal((await pieces.next()).value, "first");
    next("second");
    assert.equal((await pieces.next()).value, "second");
    next();
    assert.equal((await pieces.next()).done, true);
  });

  test("a request body arrives piece by piece, as the caller sends it", async () => {
    const arrived = [];
    let arrival;
    const nextArrival = () => new Promise((resolve) => (arrival = resolve));
    upstream.handle = async (incoming, response) => {
      for await (const piece of incoming.setEncoding("utf8")) {
        arrived.push(piece);
        arrival();
      }
      response.end(arrived.join("|"));
    };
    const { hostname, port } = new URL(server.url);
    const outgoing = request({ hostname, port, path: PATH, method: "POST", headers: bearer(key.key), agent: false });
    const answered = new Promise((resolve, reject) => outgoing.on("response", resolve).on("error", reject));
    for (const piece of ["first", "second", "third"]) {
      const arrives = nextArrival();
      outgoing.write(piece);
      await arrives;
    }
    outgoing.end();
    assert.equal(Buffer.concat(await (await answered).toArray()).toString(), "first|second|third");
  });

  test("an answer may take longer to begin than a decision may take", async () => {
    upstream.handle = (incoming, response) => setTimeout(() => response.end("late"), 6_000);
    const answer = await call();
    assert.deepEqual([answer.status, answer.text], [200, "late"]);
  });

  test("bodies of many megabytes pass both ways", async () => {
    upstream.handle = (incoming, response) => incoming.pipe(response);
    const body = Buffer.alloc(32 * MEBIBYTE, "0123456789abcdef");
    const answer = await call("POST", PATH, { body });
    assert.equal(answer.bytes.length, body.length);
    assert.ok(answer.bytes.equals(body));
  });
});

test("without UPSTREAM the answer is who the holder is", async () => {
  const alone = await startWorkerd();
  try {
    const owner = await createAccount(alone);
    const own = await issueKey(alone, owner, { scopes: ["contacts:read"] });
    const answer = await send(alone, "GET", PATH, { headers: bearer(own.key) });
    assert.equal(answer.status, 200);
    assert.equal(answer.json.key_id, own.id);
    assert.equal(answer.headers["x-keygate-key-id"], own.id);
  } finally {
    await alone.stop();
  }
});

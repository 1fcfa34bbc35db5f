// A caller of Keygate. Paths and headers are sent as they are given, redirects are not followed, and an answer is read
// whole: `{status, headers, rawHeaders, text, json}`.

import { request } from "node:http";
import { connect } from "node:net";
import { mintKey } from "./mint.mjs";
import { secrets } from "./secrets.mjs";

const ANSWER_MS = 30_000;

/** Sends one request to `server.url`. `body` is text, bytes or a stream. */
export function send(server, method, path, { headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(server.url);
    const options = { hostname, port, method, path, headers, agent: false, timeout: ANSWER_MS };
    const outgoing = request(options, async (incoming) => {
      try {
        resolve(await answer(incoming));
      } catch (error) {
        reject(error);
      }
    });
    outgoing.on("timeout", () => outgoing.destroy(new Error(`no answer to ${method} ${path} in ${ANSWER_MS} ms`)));
    outgoing.on("error", reject);
    if (typeof body?.pipe === "function") body.pipe(outgoing);
    else outgoing.end(body);
  });
}

async function answer(incoming) {
  const bytes = Buffer.concat(await incoming.toArray());
  return {
    status: incoming.statusCode,
    headers: incoming.headers,
    rawHeaders: incoming.rawHeaders,
    bytes,
    text: bytes.toString(),
    get json() {
      return JSON.parse(this.text);
    },
  };
}

/** Everything in an answer that a caller could tell two refusals apart by, as one string. */
export function transcript({ status, rawHeaders, text }) {
  return JSON.stringify([status, rawHeaders, text]);
}

/** `Authorization: Bearer <credential>`; no header when the credential is null. */
export function bearer(credential) {
  return credential === null ? {} : { Authorization: `Bearer ${credential}` };
}

/**
 * A call of the admin API, by default with the root token. `body` is sent as JSON. A PATCH is for any version unless a
 * header says for which; a header that is undefined is not sent.
 */
export function admin(server, method, path, body, { token = secrets.KEYGATE_ROOT_TOKEN, headers = {} } = {}) {
  const all = {
    ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    ...(method === "PATCH" ? { "If-Match": "*" } : {}),
    ...bearer(token),
    ...headers,
  };
  return send(server, method, `/_keygate/admin/v1${path}`, {
    headers: Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
}

/** Every entry of a list of the admin API, page by page. */
export async function listAll(server, path, { limit = 100 } = {}) {
  const entries = [];
  const target = `${path}${path.includes("?") ? "&" : "?"}limit=${limit}`;
  for (let cursor = null; ;) {
    const page = await admin(
      server,
      "GET",
      cursor === null ? target : `${target}&cursor=${encodeURIComponent(cursor)}`,
    );
    if (page.status !== 200) throw new Error(`list: ${page.status} ${page.text}`);
    entries.push(...page.json.data);
    cursor = page.json.next_cursor;
    if (cursor === null) return entries;
  }
}

/** What the operator is told about every slot. */
export async function slots(server) {
  const answer = await send(server, "GET", "/_keygate/healthz?verbose", {
    headers: bearer(secrets.KEYGATE_ROOT_TOKEN),
  });
  if (answer.status !== 200) throw new Error(`healthz?verbose: ${answer.status} ${answer.text}`);
  return answer.json.slots;
}

/** What `promise` resolves to, and after how many milliseconds: `{answer, took}`. */
export async function timed(promise) {
  const start = performance.now();
  const answer = await promise;
  return { answer, took: performance.now() - start };
}

/** Sends a request and goes away `afterMs` milliseconds later, whether or not it was answered. */
export function abandon(server, method, path, { headers = {}, body = "" } = {}, afterMs = 100) {
  const { hostname, port } = new URL(server.url);
  const fields = { Host: hostname, "Content-Length": Buffer.byteLength(body), ...headers };
  const lines = [`${method} ${path} HTTP/1.1`, ...Object.entries(fields).map(([name, value]) => `${name}: ${value}`)];
  return new Promise((resolve, reject) => {
    const socket = connect({ port: Number(port), host: hostname }, () => {
      socket.write(`${lines.join("\r\n")}\r\n\r\n${body}`);
      setTimeout(() => {
        socket.destroy();
        resolve();
      }, afterMs);
    });
    socket.on("error", reject);
  });
}

/** Asks whether `key` may do what the query demands, such as `scope=contacts:read`. */
export function verify(server, key, query = "", { method = "GET", headers = {} } = {}) {
  return send(server, method, `/_keygate/verify${query && `?${query}`}`, { headers: { ...bearer(key), ...headers } });
}

/**
 * Has an isolate ask for a lease, as it does for a key that nobody issued. While that is fresh, it reads from KV what
 * it sees for the first time; without one it would ask the Authority, and not look at KV at all.
 */
export async function takeLease(edge, { account, pepper } = {}) {
  const answer = await verify(edge, mintKey({ account, pepper }).text);
  if (answer.status !== 401) throw new Error(`no lease: ${answer.status} ${answer.text}`);
}

export function whoami(server, key) {
  return send(server, "GET", "/_keygate/whoami", { headers: bearer(key) });
}

/** Creates an account and returns the answer's body. */
export async function createAccount(server, fields = {}) {
  return created(await admin(server, "POST", "/accounts", { name: "Acme", ...fields }));
}

/** Issues a key and returns the answer's body. */
export async function issueKey(server, account, fields = {}) {
  return created(await admin(server, "POST", `/accounts/${account.id}/keys`, { environment: "live", ...fields }));
}

/** Issues `count` keys, a few at a time; `fields` for all of them, or a function that gives those of the n-th. */
export async function issueMany(server, account, count, fields) {
  const keys = [];
  while (keys.length < count) {
    const batch = Array.from({ length: Math.min(20, count - keys.length) }, (_, n) =>
      issueKey(server, account, typeof fields === "function" ? fields(keys.length + n) : fields),
    );
    keys.push(...(await Promise.all(batch)));
  }
  return keys;
}

/** Revokes a key and returns the answer's body. With `wait: "effective"` once nobody accepts it any more. */
export async function revokeKey(server, account, key, { wait } = {}) {
  const query = wait === undefined ? "" : `?wait=${wait}`;
  const revoked = await admin(server, "POST", `/accounts/${account.id}/keys/${key.id}/revoke${query}`);
  if (revoked.status !== 200) throw new Error(`revoke: ${revoked.status} ${revoked.text}`);
  return revoked.json;
}

function created(answer) {
  if (answer.status !== 201) throw new Error(`not created: ${answer.status} ${answer.text}`);
  return answer.json;
}

/**
 * Sends a request as literal bytes, for what an HTTP library would refuse to send or would repair. `lines` are the
 * request line and the headers; `Host` and `Connection: close` are added. With `cutOff` the connection is closed for
 * sending behind the body, whatever length was announced.
 */
export function sendRaw(server, lines, body = "", { cutOff = false } = {}) {
  const { hostname, port } = new URL(server.url);
  const head = [...lines, `Host: ${hostname}:${port}`, "Connection: close", "", ""].join("\r\n");
  const bytes = Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body, "latin1")]);
  return new Promise((resolve, reject) => {
    const received = [];
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true }, () => {
      if (cutOff) socket.end(bytes);
      else socket.write(bytes);
    });
    socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error(`no answer to ${lines[0]} in ${ANSWER_MS} ms`)));
    socket.on("data", (chunk) => received.push(chunk));
    // An answer may come before all of the request was taken, and the connection break under the rest.
    socket.on("error", (error) => (received.length > 0 ? answered() : reject(error)));
    socket.on("end", () => {
      socket.end();
      answered();
    });
    const answered = () => resolve(parse(Buffer.concat(received).toString("latin1")));
  });
}

/** An HTTP/1.1 answer read to the end of its connection; `wire` is all of it, a character per byte. */
function parse(received) {
  const end = received.indexOf("\r\n\r\n");
  const [statusLine, ...fields] = received.slice(0, end).split("\r\n");
  const pairs = fields.map((field) => /^([^:]+):\s*(.*)$/.exec(field).slice(1));
  const headers = Object.fromEntries(pairs.map(([name, value]) => [name.toLowerCase(), value]));
  const body = received.slice(end + 4);
  const text = Buffer.from(headers["transfer-encoding"] === "chunked" ? unchunk(body) : body, "latin1").toString();
  return {
    wire: received,
    status: Number(statusLine.split(" ")[1]),
    headers,
    rawHeaders: pairs.flat(),
    text,
    get json() {
      return JSON.parse(text);
    },
  };
}

function unchunk(body) {
  const size = parseInt(body, 16);
  if (!size) return "";
  const start = body.indexOf("\r\n") + 2;
  return body.slice(start, start + size) + unchunk(body.slice(start + size + 2));
}

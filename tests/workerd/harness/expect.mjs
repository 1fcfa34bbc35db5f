// What every answer of Keygate's own must look like.

import assert from "node:assert/strict";

const REALM = 'Bearer realm="keygate"';

// Any other header would be a leak or an accident.
const ALWAYS_ALLOWED = ["cache-control", "content-length", "content-type", "transfer-encoding", "connection", "date"];
const IDENTITY = ["x-keygate-key-id", "x-keygate-account-id", "x-keygate-environment", "x-keygate-scopes"];

// RFC 6750 section 3: how the answer says which credential it wants, by problem code.
const CHALLENGES = {
  missing_credential: () => REALM,
  invalid_token: () => `${REALM}, error="invalid_token"`,
  key_revoked: () => `${REALM}, error="invalid_token"`,
  key_expired: () => `${REALM}, error="invalid_token"`,
  key_disabled: () => `${REALM}, error="invalid_token"`,
  insufficient_scope: ({ demanded }) => `${REALM}, error="insufficient_scope", scope="${demanded}"`,
  invalid_request: ({ credentialFault }) => (credentialFault ? `${REALM}, error="invalid_request"` : undefined),
};

/**
 * `answer` is the problem (RFC 9457) with this status and code, and says nothing else. What it must say beside:
 *
 * - `field`: the member, parameter or header at fault; no field is named unless given.
 * - `detail`: a pattern of the explanation.
 * - `demanded`, `missing`: the scopes of an `insufficient_scope`: the challenge's text, the missing ones as a list.
 * - `credentialFault`: this `invalid_request` is the credential's: its field is `Authorization`, and it is challenged.
 * - `allow`: the methods of a `method_not_allowed`.
 */
export function problem(answer, status, code, expected = {}) {
  const field = expected.credentialFault ? "Authorization" : expected.field;
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.headers["content-type"], "application/problem+json");
  const { title, detail, ...rest } = answer.json;
  assert.equal(typeof title, "string");
  assert.ok(title.length > 0);
  assert.equal(typeof detail, "string");
  if (expected.detail) assert.match(detail, expected.detail);
  assert.deepEqual(rest, {
    type: `urn:keygate:problem:${code}`,
    status,
    code,
    ...(field === undefined ? {} : { field }),
    ...(code === "insufficient_scope" ? { missing_scopes: expected.missing } : {}),
  });
  assert.equal(answer.headers["www-authenticate"], CHALLENGES[code]?.(expected));
  assert.equal(answer.headers["retry-after"], code === "indeterminate" ? "1" : undefined);
  assert.equal(answer.headers.allow, expected.allow);
  onlyHeaders(answer, ["www-authenticate", "retry-after", "allow"]);
}

/** The answer that every unacceptable credential gets. */
export function constant401(answer) {
  problem(answer, 401, "invalid_token");
}

/**
 * `answer` is a success of the admin API with this status; the result is its body. If that is one account or key, its
 * version is in the ETag.
 */
export function success(answer, status = 200) {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.headers["content-type"], "application/json");
  const body = answer.json;
  if (body.id === undefined) assert.equal(answer.headers.etag, undefined);
  else assert.match(answer.headers.etag, /^"[1-9][0-9]*"$/);
  onlyHeaders(answer, ["etag"]);
  return body;
}

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** After how many milliseconds a change counts everywhere, as the settings are unless said. */
export const BOUND_MS = 5_055;

/**
 * What a change was answered with beside `effective_by`. That is when the change counts everywhere: not before `sent`,
 * when it was asked for, nor later than the bound after now.
 */
export function effective({ effective_by, ...rest }, sent, boundMs = BOUND_MS) {
  assert.match(effective_by, RFC_3339);
  const at = Date.parse(effective_by);
  // The runtime's clock may be a little behind.
  assert.ok(at >= sent - 1 && at <= Date.now() + boundMs + 1_000, `asked for at ${sent}, effective by ${effective_by}`);
  return rest;
}

/**
 * `answer` lets the request of `key` through and names its holder in the identity headers. With `grace` it says that it
 * was decided while the Authority could not be reached.
 */
export function allowed(answer, key, account, { grace = false } = {}) {
  assert.equal(answer.status, 200, answer.text);
  const { headers } = answer;
  assert.deepEqual(
    IDENTITY.map((name) => headers[name]),
    [key.id, account.id, key.environment, key.scopes.join(" ")],
  );
  assert.equal(headers["x-keygate-features"], account.features?.join(" ") || undefined);
  assert.equal(headers["x-keygate-grace"], grace ? "1" : undefined);
  onlyHeaders(answer, [...IDENTITY, "x-keygate-features", "x-keygate-grace"]);
}

/** Nothing but the usual headers and `more`, and never to be stored by a cache. */
export function onlyHeaders(answer, more) {
  assert.equal(answer.headers["cache-control"], "no-store");
  const unexpected = Object.keys(answer.headers).filter((name) => ![...ALWAYS_ALLOWED, ...more].includes(name));
  assert.deepEqual(unexpected, [], "unexpected headers");
}

/** Repeats `check` until it no longer throws; after `milliseconds` its last error is the test's. */
export async function eventually(check, milliseconds = 10_000) {
  for (const end = Date.now() + milliseconds; ;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resume) => setTimeout(resume, 50));
    }
  }
}

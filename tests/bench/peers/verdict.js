// What the hand-written peers have in common: the job that Keygate does for `verify`, as one would write it in
// JavaScript. A record is `{id, account, environment, scopes, status, expires_at}`.

/** The hexadecimal SHA-256 of a key, under which its record is kept. */
export async function digest(key) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key)));
  let hex = "";
  for (const byte of hash) hex += (byte < 16 ? "0" : "") + byte.toString(16);
  return hex;
}

/** True for the record of a key that counts now. */
export function isGood(record) {
  return record?.status === "active" && (record.expires_at === null || record.expires_at > Date.now());
}

/** True if the scopes of a key cover the demanded one. */
export function covers(scopes, demanded) {
  const [resource] = demanded.split(":");
  return scopes.includes(demanded) || scopes.includes(`${resource}:*`) || scopes.includes("*");
}

/** The scopes that a request demands. */
export function demands(request) {
  return new URL(request.url).searchParams.getAll("scope");
}

/** 200 with who it is, or 403 where a demanded scope is missing. */
export function decided(record, demanded) {
  const missing = demanded.filter((scope) => !covers(record.scopes, scope));
  if (missing.length > 0) {
    const challenge = `Bearer realm="keygate", error="insufficient_scope", scope="${demanded.join(" ")}"`;
    return problem(403, "insufficient_scope", "Forbidden", challenge, { missing_scopes: missing });
  }
  return new Response(null, {
    headers: {
      "cache-control": "no-store",
      "x-keygate-key-id": record.id,
      "x-keygate-account-id": record.account,
      "x-keygate-environment": record.environment,
      "x-keygate-scopes": record.scopes.join(" "),
    },
  });
}

/** 401 for whatever does not count. */
export function refused() {
  return problem(401, "invalid_token", "Unauthorized", 'Bearer realm="keygate", error="invalid_token"');
}

function problem(status, code, title, challenge, more) {
  const body = { type: `urn:keygate:problem:${code}`, title, status, code, ...more };
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      "cache-control": "no-store",
      "content-type": "application/problem+json",
      "www-authenticate": challenge,
    },
  });
}

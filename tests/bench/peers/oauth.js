// Cloudflare's library for OAuth. Keys are access tokens of its own making, for it takes no others without a second
// look-up; each has the scopes of one of the run's keys. Of its two roles only that of the resource server is measured.

import { OAuthProvider } from "@cloudflare/workers-oauth-provider";
import { decided, demands } from "./verdict.js";

const ORIGIN = "https://bench.example";
const RESOURCE = `${ORIGIN}/_keygate`;
const REDIRECT = `${ORIGIN}/callback`;

const apiHandler = {
  fetch(request, env, ctx) {
    return decided({ ...ctx.props, scopes: ctx.auth.scope }, demands(request));
  },
};

/** Takes `{records}` and answers with a token for each. */
async function seed(request, env, ctx) {
  const oauth = env.OAUTH_PROVIDER;
  const client = await oauth.createClient({ redirectUris: [REDIRECT], tokenEndpointAuthMethod: "none" });
  const verifier = "v".repeat(64);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)));
  const challenge = btoa(String.fromCharCode(...hash)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
  const tokens = [];
  for (const [n, { scopes, ...props }] of (await request.json()).entries()) {
    const asked = new URLSearchParams({
      response_type: "code",
      client_id: client.clientId,
      redirect_uri: REDIRECT,
      scope: scopes.join(" "),
      code_challenge: challenge,
      code_challenge_method: "S256",
      resource: RESOURCE,
    });
    const { redirectTo } = await oauth.completeAuthorization({
      request: await oauth.parseAuthRequest(new Request(`${ORIGIN}/authorize?${asked}`)),
      userId: `user-${n}`,
      scope: scopes,
      props,
      revokeExistingGrants: false,
    });
    const exchanged = await worker.fetch(
      new Request(`${ORIGIN}/token`, {
        method: "POST",
        body: new URLSearchParams({
          grant_type: "authorization_code",
          code: new URL(redirectTo).searchParams.get("code"),
          client_id: client.clientId,
          redirect_uri: REDIRECT,
          code_verifier: verifier,
          resource: RESOURCE,
        }),
      }),
      env,
      ctx,
    );
    if (exchanged.status !== 200) throw new Error(await exchanged.text());
    tokens.push((await exchanged.json()).access_token);
  }
  return Response.json(tokens);
}

const worker = new OAuthProvider({
  apiRoute: "/_keygate",
  apiHandler,
  defaultHandler: { fetch: seed },
  authorizeEndpoint: "/authorize",
  tokenEndpoint: "/token",
  accessTokenTTL: 86_400,
  resourceMetadata: { resource: RESOURCE, authorization_servers: [ORIGIN] },
});

export default worker;

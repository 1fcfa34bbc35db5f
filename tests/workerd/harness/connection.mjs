// What stands between each edge and the Authority, so that a test can cut, slow or break one edge's connection while
// everything runs, and can see every call. It is a module around the Worker, and takes orders over HTTP under `/-/`.

import { send } from "./client.mjs";

/** The text of the module, for `startWorkerd({ around: breakable })`. */
export const breakable = `
  import worker, { Authority } from "./entry.js";
  export { Authority };

  const now = Date.now;
  let ahead = 0;
  Date.now = () => now() + ahead;

  let fault = {};
  let remote;
  let calls = [];
  let underWay = 0;
  let wrapped;

  const pause = (milliseconds) => new Promise((resume) => setTimeout(resume, milliseconds));

  async function ask(env, name, options, question) {
    const { pathname, search } = new URL(question.url);
    const { fail, delay, marks, times = Infinity, only = pathname } = fault;
    const applies = only === pathname && times > 0;
    if (applies) fault.times = times - 1;
    const commandId = question.headers.get("x-keygate-command-id");
    const call = { path: pathname, at: now(), name, commandId, fail: (applies && fail) || null };
    calls.push(call);
    underWay += 1;
    call.together = underWay;
    try {
      call.body = await question.clone().text();
      if (applies && delay) await pause(delay);
      if (applies && fail === "never") await pause(3_600_000);
      if (applies && fail === "before") throw Object.assign(new Error("unreachable"), marks);
      const answer = await (remote
        ? fromAfar(question, name + pathname + search, call.body)
        : env.KEYGATE_AUTHORITY.getByName(name, options).fetch(question));
      if (applies && fail === "after") throw Object.assign(new Error("the answer is lost"), marks);
      return answer;
    } finally {
      underWay -= 1;
    }
  }

  async function fromAfar({ method, headers }, target, body) {
    const answer = await fetch(remote + "/-/objects/" + target, { method, headers, body: body || undefined });
    if (answer.status === 599) throw new Error(await answer.text());
    return answer;
  }

  async function relay(request, env, name, target) {
    try {
      const question = new Request("https://authority" + target, request);
      return await env.KEYGATE_AUTHORITY.getByName(name).fetch(question);
    } catch (error) {
      return new Response(String(error), { status: 599 });
    }
  }

  async function ordered(request, env, { pathname, search }) {
    const [, name, target] = /^\\/-\\/objects\\/([^/]+)(\\/.*)$/.exec(pathname) ?? [];
    if (name) return relay(request, env, name, target + search);
    if (request.method === "POST") {
      const orders = await request.json();
      if ("fault" in orders) fault = orders.fault;
      if ("remote" in orders) remote = orders.remote;
      if ("ahead" in orders) ahead = orders.ahead;
      return new Response();
    }
    const made = calls;
    calls = [];
    return Response.json(made);
  }

  export default {
    fetch(request, env, ctx) {
      const url = new URL(request.url);
      if (url.pathname.startsWith("/-/")) return ordered(request, env, url);
      const getByName = (name, options) => ({ fetch: (question) => ask(env, name, options, question) });
      wrapped ??= { ...env, KEYGATE_AUTHORITY: { getByName } };
      return worker.fetch(request, wrapped, ctx);
    },
  };
`;

async function order(edge, orders) {
  const { status, text } = await send(edge, "POST", "/-/connection", { body: JSON.stringify(orders) });
  if (status !== 200) throw new Error(`connection: ${status} ${text}`);
}

/**
 * What happens to this edge's calls of the Authority from now on:
 *
 * - `fail`: `"before"` (they fail and never arrive), `"after"` (they are carried out, and the answer is lost) or `"never"`
 *   (they never arrive and are never answered).
 * - `marks`: what the runtime says of such a failure, such as `{retryable: true}`.
 * - `delay`: milliseconds before they arrive.
 * - `times`: how many calls this happens to; all unless said. `only`: the path of those it happens to.
 */
export const disturb = (edge, fault) => order(edge, { fault });

/** This edge cannot reach the Authority, and knows at once. */
export const cut = (edge) => disturb(edge, { fail: "before" });

/** The connection of this edge is as it should be. */
export const heal = (edge) => disturb(edge, {});

/** This edge's Authority is the one of another server, which has this module, too, and may be restarted under it. */
export const connect = (edge, server) => order(edge, { remote: server.url });

/** What is said to be the time in this isolate is that many milliseconds ahead of it. */
export const setClock = (edge, ahead) => order(edge, { ahead });

/**
 * This edge's calls of the Authority since it was asked last, those with `path`:
 * `[{path, at, name, body, commandId, fail, together}…]`, where `fail` is what was done to it, and `together` counts
 * those under way then, itself included.
 */
export async function takeCalls(edge, path) {
  const calls = (await send(edge, "GET", "/-/calls")).json;
  return path === undefined ? calls : calls.filter((call) => call.path === path);
}

/** Variables for `count` edges beside `home`, the owner of the Authority. Each edge is an isolate of its own. */
export function manyEdges(count) {
  return Object.fromEntries(
    ["home", ...Array.from({ length: count }, (_, n) => `edge-${n}`)].map((name) => [name, {}]),
  );
}

/** A function that gives one edge after the other: isolates that have not seen a request yet. */
export function unusedEdges(server) {
  const names = Object.keys(server.edges).filter((name) => name.startsWith("edge-"));
  return () => {
    const name = names.shift();
    if (name === undefined) throw new Error("this test needs more edges");
    return server.edges[name];
  };
}

// The module that the Workers runtime loads. It hands every request to the Rust function `fetch` and sees to it that a
// WASM trap (a panic, exhausted memory or stack, a JavaScript exception thrown through Rust frames) ends in an answer.
//
// A trap kills the whole WASM instance, and with it every Rust future that waits in it: none of them will ever settle,
// and no one is told. So whoever waits for a Rust promise here also waits for two other things: the report of a trap,
// and a deadline. A dead instance refuses every further call; the next request replaces it.
//
// What Rust exports for this file (src/cloudflare/):
//   decide(…)   a Response; a Request to be sent upstream; a list: a Response and how many milliseconds it has to wait; a
//               text: the names of copies that are to be read from KV, with which it is to be called again; or a promise
//               of one of these
//   arm()       makes every trap of the current instance call `__keygate_trapped`
//   Authority   the Durable Object class

import Entry, { Authority as Shard } from "../../build/index.js";

/** How long a decision, or a call of the Authority, may take. The time an upstream takes is not part of it. */
const DEADLINE_MS = 5_000;

/**
 * How long a decision waits for KV before it asks the Authority. KV's own p99 is about 250 ms (Cloudflare changelog,
 * 2025-08-22).
 */
const KV_DEADLINE_MS = 500;

/** How late an object may notice that a deadline has passed. */
const TICK_MS = 250;

/** How long an alarm may take. Past it the alarm counts as failed and the runtime repeats it. */
const ALARM_DEADLINE_MS = 60_000;

/** The header by which the Authority has an answer wait; nobody else's business. */
const WAIT = "x-keygate-wait-ms";

// worker-build's own record. While `criticalError` is set, constructing an exported class first starts a fresh WASM
// instance; `instanceId` changes when it does.
const wasm = globalThis.__worker_init_state;

// The Rust functions themselves: a call through an instance of `Entry` would cost three proxies per request.
const { decide, arm } = Entry.prototype;

/** For each Rust promise that has not settled, the function that ends the wait for it. */
const waiting = new Set();

function trapped() {
  wasm.criticalError = true;
  for (const end of waiting) end();
  waiting.clear();
}

globalThis.__keygate_trapped = trapped;

// For a trap whose own report fails, as it may when memory is exhausted.
addEventListener("error", (event) => {
  if (event.error instanceof WebAssembly.RuntimeError) trapped();
});

arm();

export default {
  fetch(request, env, ctx) {
    const { url, headers } = request;
    const authorization = text(headers, "authorization");
    const workspace = text(headers, "x-workspace-id");
    const answer = decided(request, env, ctx, url, authorization, workspace);
    // Texts are kept, for to ask the request for them again takes longer.
    return answer instanceof Response ? answer : later(answer, [request, env, ctx, url, authorization, workspace]);
  },
};

/** What Rust says to a request, and to what KV has of its key once that was read. */
function decided(request, env, ctx, url, authorization, workspace, mirrored) {
  try {
    if (wasm.criticalError) {
      new Entry(ctx, env);
      arm();
    }
    return decide(request, env, ctx, url, authorization, workspace, mirrored);
  } catch (error) {
    return died(error);
  }
}

/** What comes of an answer that is none yet. */
async function later(answer, asked) {
  const by = Date.now() + DEADLINE_MS;
  if (answer instanceof Promise) answer = await settled(answer, DEADLINE_MS);
  if (typeof answer === "string") {
    answer = decided(...asked, await mirrored(asked[1], answer.split(" ")));
    if (answer instanceof Promise) answer = await settled(answer, by - Date.now());
  }
  return delivered(answer);
}

/** The texts that KV has under `names`, null where there is none. An empty list if it fails or is slow. */
function mirrored({ KEYGATE_KV: kv }, names) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, KV_DEADLINE_MS, []);
    const read = (found) => {
      clearTimeout(timer);
      resolve(found);
    };
    try {
      const reading = names.length > 1 ? kv.get(names) : kv.get(names[0]);
      const failed = () => read([]);
      reading.then((found) => read(names.length > 1 ? names.map((name) => found.get(name)) : [found]), failed);
    } catch {
      read([]);
    }
  });
}

/** A header; several of one name come joined by a comma and a space. What is no text becomes one that nobody accepts. */
function text(headers, name) {
  try {
    return headers.get(name);
  } catch {
    return "\ufffd";
  }
}

/** The Durable Object. It holds the Rust object, and makes a new one after each change of the WASM instance. */
export class Authority {
  #ctx;
  #env;
  #limit = ticker();
  #shard;
  #madeIn;

  constructor(ctx, env) {
    this.#ctx = ctx;
    this.#env = env;
  }

  fetch(request) {
    let answer;
    try {
      answer = this.#current().fetch(request);
    } catch (error) {
      return died(error);
    }
    return settled(answer, DEADLINE_MS, this.#limit).then(delivered);
  }

  /** Throws unless the work is known to be done: then the runtime repeats the alarm. */
  async alarm() {
    let done;
    try {
      done = this.#current().alarm();
    } catch (error) {
      died(error);
      throw error;
    }
    if (!(await inTime(done, ALARM_DEADLINE_MS, this.#limit))) throw new Error("the alarm was cut short");
  }

  #current() {
    if (wasm.criticalError || this.#madeIn !== wasm.instanceId) {
      this.#shard = new Shard(this.#ctx, this.#env, this.#limit);
      this.#madeIn = wasm.instanceId;
      arm();
    }
    return this.#shard;
  }
}

/** What `promise` resolves to, or undefined once an instance has trapped or `ms` milliseconds have passed. */
function inTime(promise, ms, limit = timer) {
  let end;
  const ended = new Promise((resolve) => {
    end = resolve;
  });
  const stop = limit(ms, end);
  waiting.add(end);
  return Promise.race([promise, ended]).finally(() => {
    stop();
    waiting.delete(end);
  });
}

/**
 * Calls `end` after `ms` milliseconds, unless what is returned is called before. The timer is the request's own, so that the
 * runtime does not take a request whose future is dead for a hung one.
 */
function timer(ms, end) {
  const set = setTimeout(end, ms);
  return () => clearTimeout(set);
}

/**
 * The same for all who wait in an object, up to TICK_MS late. A timer that is cleared leaves some 250 bytes in the object's
 * context, which lives for days (workerd, io-context.c++, `clearTimeout`). One that has rung does not, so one rings for all.
 */
function ticker() {
  const deadlines = new Map();
  let ticking = false;
  const tick = () => {
    for (const [end, by] of deadlines) {
      if (by > Date.now()) continue;
      deadlines.delete(end);
      end();
    }
    ticking = deadlines.size > 0;
    if (ticking) setTimeout(tick, TICK_MS);
  };
  return (ms, end) => {
    deadlines.set(end, Date.now() + ms);
    if (!ticking) setTimeout(tick, TICK_MS);
    ticking = true;
    return () => deadlines.delete(end);
  };
}

/** What `promise` resolves to within `ms` milliseconds; undefined if it does not. */
async function settled(promise, ms, limit) {
  try {
    return await inTime(promise, ms, limit);
  } catch (error) {
    console.error("rejected", error);
  }
}

function delivered(answer) {
  if (answer instanceof Response) return answer;
  if (answer instanceof Request) return forwarded(answer);
  if (Array.isArray(answer)) return delayed(...answer);
  return indeterminate();
}

// No part of the WASM instance, and no deadline: it may be minutes until what was changed counts everywhere.
async function delayed(response, milliseconds) {
  // Read at once: whoever sends it need not keep it until then.
  const body = await response.arrayBuffer();
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  const { status, headers } = response;
  return new Response(body, { status, headers: [...headers].filter(([name]) => name !== WAIT) });
}

// No deadline and no part of the WASM instance: an upstream takes the time it takes, and its answer survives a trap.
async function forwarded(request) {
  try {
    return await fetch(request);
  } catch (error) {
    console.error("upstream", error);
    return problem(502, "upstream_unreachable", "Upstream unreachable", "The API behind Keygate could not be reached.");
  }
}

/** For an exception that a call into WASM threw: whatever it is, it has passed through Rust frames. */
function died(error) {
  console.error("trap", error);
  trapped();
  return indeterminate();
}

function indeterminate() {
  return problem(503, "indeterminate", "Not decided", "The request could not be decided. Try again.", {
    "Retry-After": "1",
  });
}

function problem(status, code, title, detail, headers) {
  return new Response(JSON.stringify({ type: `urn:keygate:problem:${code}`, title, status, detail, code }), {
    status,
    headers: { "Content-Type": "application/problem+json", "Cache-Control": "no-store", ...headers },
  });
}

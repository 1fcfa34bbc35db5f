// What Rust would otherwise say in many calls: each one, and each text that crosses, takes longer than what is done here.
// Nothing here decides anything. Every promise settles, for whoever waits in Rust for one that does not is never freed.

/** An answer. Without `body` it has none. */
export function respond(status, lines, body = null) {
  return new Response(body, { status, headers: headers(lines) });
}

/** One without a body that is given to many requests, so its headers refuse to be changed, as those of `fetch` do. */
export function bareResponse(status, lines) {
  const response = respond(status, lines);
  Object.setPrototypeOf(response.headers, shared);
  return response;
}

const refusing = {
  value() {
    throw new TypeError("The headers of this answer are shared, and cannot be changed. Make a new one of it.");
  },
};
const shared = Object.create(Headers.prototype, { append: refusing, delete: refusing, set: refusing });

/** A body for many requests. None of them copies a `Blob`, as it would a text. */
export function sharedBody(text) {
  return new Blob([text]);
}

/** An answer with a body. */
export function withBody(body, response) {
  return new Response(body, response);
}

/** `Headers` from lines: a name, a colon, a value. */
function headers(lines) {
  const headers = new Headers();
  for (const line of lines === "" ? [] : lines.split("\n")) {
    const at = line.indexOf(":");
    headers.append(line.slice(0, at), line.slice(at + 1));
  }
  return headers;
}

/** What `promise` resolves to within `ms` milliseconds. `limit`: what ends the wait, see the entry. */
function within(ms, promise, limit = timer) {
  return new Promise((resolve, reject) => {
    const stop = limit(ms, () => reject(new Error("no answer in time")));
    promise.then(resolve, reject).finally(stop);
  });
}

function timer(ms, end) {
  const set = setTimeout(end, ms);
  return () => clearTimeout(set);
}

/** Resolves after `ms` milliseconds. */
export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves when all of `promises` have, or after `ms` milliseconds: to true if they have. For an object. */
export function allWithin(limit, ms, promises) {
  return within(ms, Promise.all(promises), limit).then(
    () => true,
    () => false,
  );
}

/** The body of a request, up to one chunk more than `most` bytes. */
export async function bodyOf(request, most) {
  const chunks = [];
  let length = 0;
  const reader = request.body?.getReader();
  while (reader !== undefined && length <= most) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    length += value.length;
  }
  const body = new Uint8Array(length);
  for (const chunk of chunks.reverse()) body.set(chunk, (length -= chunk.length));
  return body;
}

/** The names of a request's headers, in lines. */
export function headerNames(request) {
  return [...request.headers.keys()].join("\n");
}

/** `request` for another URL: without the headers in the lines `dropped`, with those in the lines `set`. */
export function redirected(request, url, dropped, set) {
  const { method, body } = request;
  const sent = new Headers(request.headers);
  for (const name of dropped.split("\n")) sent.delete(name);
  for (const [name, value] of headers(set)) sent.set(name, value);
  return new Request(url, { method, headers: sent, body, redirect: "manual" });
}

/**
 * Asks a Durable Object. `object`: its name, and behind a space where it is to be created, if that is said. `head`: method, a
 * space and the target, and then lines of headers.
 */
export function ask(namespace, object, head, body, ms) {
  const [name, locationHint] = object.split(" ");
  const [first, lines] = cut(head, "\n");
  const [method, target] = cut(first, " ");
  // A stub is broken after an exception, so each call makes its own.
  const stub = namespace.getByName(name, { locationHint });
  return within(ms, stub.fetch(new Request(`https://authority${target}`, { method, headers: headers(lines), body })));
}

/** Status and body of the answer that `asking` brings, both within `ms` milliseconds. */
export function textOf(asking, ms) {
  return within(
    ms,
    asking.then((response) => response.text().then((text) => [response.status, text])),
  );
}

/** How the Authority says where the next page begins, and is asked for it. */
const NEXT = "x-keygate-next";

/**
 * The answer that the page `first` begins, with all pages: each is asked for, as `ask` does, when the one before it was read.
 * Where one is missing it breaks off, for it would look whole.
 */
export function withNextPages(namespace, object, head, first, ms) {
  const headers = new Headers(first.headers);
  // The length is that of one page.
  for (const name of [NEXT, "content-length"]) headers.delete(name);
  return new Response(ReadableStream.from(pages(first)), { headers });

  async function* pages(page) {
    for (;;) {
      yield new Uint8Array(await within(ms, page.arrayBuffer()));
      const next = page.headers.get(NEXT);
      if (next === null) return;
      const again = () => ask(namespace, object, `${head}\n${NEXT}:${next}`, undefined, ms);
      page = await again().catch((error) => (error.retryable && !error.overloaded ? again() : Promise.reject(error)));
      if (page.status !== 200) throw new Error(`an export breaks off: ${page.status}`);
    }
  }
}

/** Puts a value into KV. `metadata` is JSON. For an object. */
export function put(limit, namespace, name, value, metadata, ms) {
  return within(ms, namespace.put(name, value, { metadata: JSON.parse(metadata) }), limit);
}

/** The rows of a statement. */
export function rows(sql, statement, parameters) {
  return [...sql.exec(statement, ...parameters).raw()];
}

function cut(text, by) {
  const at = text.indexOf(by);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

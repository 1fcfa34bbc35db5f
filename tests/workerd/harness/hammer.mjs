// Many requests at a steady rate, cheaply: one connection that is kept, and of each answer only what says how it was
// decided.

import { connect } from "node:net";

/**
 * Sends `request` (lines without the end of line) to `edge` every `everyMs` milliseconds, whether or not earlier ones
 * have been answered. `{answers, stop()}`: `answers` has `{sent, received, status, grace}` in the order of sending, in
 * milliseconds of `performance.now()`; `stop` waits for those outstanding.
 */
export function hammer(edge, request, everyMs) {
  const { hostname, port } = new URL(edge.url);
  const bytes = Buffer.from([...request, `Host: ${hostname}`, "", ""].join("\r\n"), "latin1");
  const answers = [];
  const sent = [];
  let unread = "";
  let idle;
  let failure;
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  const shoot = () => {
    sent.push(performance.now());
    socket.write(bytes);
  };
  // Hammers that begin together do not strike together.
  let timer = setTimeout(() => {
    shoot();
    timer = setInterval(shoot, everyMs);
  }, Math.random() * everyMs);
  socket.setEncoding("latin1").on("data", (text) => {
    const received = performance.now();
    unread += text;
    for (let end; (end = endOfAnswer(unread)) !== undefined; unread = unread.slice(end)) {
      const head = unread.slice(0, end);
      answers.push({
        sent: sent[answers.length],
        received,
        status: Number(head.slice(9, 12)),
        grace: /\r\nx-keygate-grace: 1\r\n/i.test(head),
      });
    }
    if (answers.length === sent.length) idle?.();
  });
  socket.on("error", (error) => {
    failure = error;
    idle?.();
  });
  socket.on("close", () => idle?.());
  return {
    answers,
    async stop() {
      clearTimeout(timer);
      clearInterval(timer);
      if (answers.length < sent.length && !socket.destroyed) {
        await new Promise((resolve) => {
          idle = resolve;
          setTimeout(resolve, 10_000).unref();
        });
      }
      socket.destroy();
      if (failure || answers.length < sent.length) {
        throw new Error(`${sent.length - answers.length} requests were not answered`, { cause: failure });
      }
    },
  };
}

/** Where the first answer in `text` ends; undefined when it is not whole yet. */
function endOfAnswer(text) {
  const body = text.indexOf("\r\n\r\n") + 4;
  if (body < 4) return undefined;
  const head = text.slice(0, body);
  const [, length] = /\r\ncontent-length: (\d+)\r\n/i.exec(head) ?? [];
  if (length !== undefined) return text.length >= body + Number(length) ? body + Number(length) : undefined;
  if (!/\r\ntransfer-encoding: chunked\r\n/i.test(head)) return body;
  const end = text.indexOf("0\r\n\r\n", body);
  return end < 0 ? undefined : end + 5;
}

/** The request lines of a verify. */
export function verifying(key, query = "") {
  return [`GET /_keygate/verify${query && `?${query}`} HTTP/1.1`, `Authorization: Bearer ${key}`];
}

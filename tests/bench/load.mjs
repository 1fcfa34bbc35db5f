// Load, cheaply made: connections that are kept, requests that are bytes already, and of each answer only its status and
// where it ends.

import { connect } from "node:net";

/** How many connections are open at once, one request under way on each. */
export const CONNECTIONS = 8;

/** More where requests come at their own pace, so that a slow answer delays no other request. */
const CONNECTIONS_AT_A_RATE = 64;

/** The bytes of a request, without a credential if `key` is null. The last lines are what any client would send, too. */
export function requestBytes(key, path) {
  return Buffer.from(
    [
      `GET ${path} HTTP/1.1`,
      "Host: bench.example",
      ...(key === null ? [] : [`Authorization: Bearer ${key}`]),
      "X-Forwarded-Proto: https",
      "User-Agent: curl/8.5.0",
      "Accept: */*",
      "",
      "",
    ].join("\r\n"),
    "latin1",
  );
}

/**
 * Sends `count` requests as fast as they are answered: `{seconds}`. `next(n)` gives the bytes of the n-th, `status` is that of every
 * answer, or a map from the bytes of a request to it.
 */
export async function asFastAsPossible(port, count, next, status) {
  let sent = 0;
  const begun = performance.now();
  await Promise.all(
    Array.from({ length: Math.min(CONNECTIONS, count) }, async () => {
      const connection = await open(port, status);
      while (sent < count) await connection.ask(next(sent++));
      connection.close();
    }),
  );
  return { seconds: (performance.now() - begun) / 1_000 };
}

/**
 * Sends `perSecond` requests a second for so many seconds, whether or not earlier ones were answered: the times in
 * milliseconds, sorted. A request that finds no free connection waits for one, and that counts.
 */
export async function atARate(port, perSecond, seconds, next, status) {
  const connections = await Promise.all(Array.from({ length: CONNECTIONS_AT_A_RATE }, () => open(port, status)));
  const free = [...connections];
  const times = [];
  const waiting = [];
  const total = Math.floor(perSecond * seconds);
  let sent = 0;
  let failure;
  await new Promise((done) => {
    const fail = (error) => {
      failure ??= error;
      done();
    };
    const send = async (connection, due, n) => {
      await connection.ask(next(n));
      times.push(performance.now() - due);
      const first = waiting.shift();
      if (first !== undefined) send(connection, ...first).catch(fail);
      else free.push(connection);
      if (times.length === total) done();
    };
    const begun = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      const due = Math.min(total, Math.floor(((now - begun) / 1_000) * perSecond));
      for (; sent < due; sent += 1) {
        const connection = free.pop();
        if (connection === undefined) waiting.push([now, sent]);
        else send(connection, now, sent).catch(fail);
      }
      if (sent === total) clearInterval(timer);
    }, 1);
  });
  for (const connection of connections) connection.close();
  if (failure) throw failure;
  return times.sort((left, right) => left - right);
}

/** A connection: `ask(bytes)` resolves when the answer is whole, and rejects when its status is another. */
function open(port, status) {
  const beginning = (number) => `HTTP/1.1 ${number} `;
  const always = typeof status === "number" ? beginning(status) : undefined;
  return new Promise((opened, failed) => {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true });
    let begin = always;
    let unread = "";
    let resolve, reject;
    socket.setEncoding("latin1");
    socket.on("data", (text) => {
      unread = unread === "" ? text : unread + text;
      const length = answerLength(unread);
      if (length === undefined) return;
      const answer = unread;
      unread = "";
      if (length !== answer.length) reject?.(new Error(`more than one answer:\n${answer}`));
      else if (answer.startsWith(begin)) resolve();
      else reject?.(new Error(`${begin}was expected, not\n${answer}`));
    });
    socket.on("error", (error) => (reject ?? failed)(error));
    socket.on("close", () => reject?.(new Error("the connection was closed")));
    socket.on("connect", () =>
      opened({
        ask: (bytes) =>
          new Promise((yes, no) => {
            [resolve, reject] = [yes, no];
            begin = always ?? beginning(status.get(bytes));
            socket.write(bytes);
          }),
        close() {
          [resolve, reject] = [];
          socket.destroy();
        },
      }),
    );
  });
}

/** The length of the answer that `text` begins with; undefined while it is not whole. */
function answerLength(text) {
  const head = text.indexOf("\r\n\r\n") + 4;
  if (head < 4) return undefined;
  const at = text.search(/\r\ncontent-length: /i);
  if (at >= 0 && at < head) {
    const length = head + parseInt(text.slice(at + 18, at + 28), 10);
    return text.length >= length ? length : undefined;
  }
  if (!/\r\ntransfer-encoding: chunked\r\n/i.test(text)) return head;
  const end = text.indexOf("0\r\n\r\n", head);
  return end < 0 ? undefined : end + 5;
}

// An API behind Keygate.

import { createServer } from "node:http";

/**
 * An API that answers with its name and what arrived: `{api, method, url, headers}`, or with what `answer` makes of what
 * arrived. `seen` has everything that arrived.
 */
export async function startApi(name, answer = (arrived) => ({ api: name, ...arrived })) {
  const api = { seen: [] };
  const listener = createServer((incoming, response) => {
    const { method, url, headers } = incoming;
    api.seen.push({ method, url, headers });
    incoming.resume().on("end", () => response.end(JSON.stringify(answer({ method, url, headers }))));
  });
  await new Promise((listening) => listener.listen(0, "127.0.0.1", listening));
  api.url = `http://127.0.0.1:${listener.address().port}`;
  api.close = () => {
    listener.closeAllConnections();
    return new Promise((closed) => listener.close(closed));
  };
  return api;
}

// An API behind Keygate.

import { createServer } from "node:http";

/** An API that answers with its name and what arrived: `{api, method, url, headers}`. */
export async function startApi(name) {
  const listener = createServer(({ method, url, headers }, response) =>
    response.end(JSON.stringify({ api: name, method, url, headers })),
  );
  await new Promise((listening) => listener.listen(0, "127.0.0.1", listening));
  const close = () => {
    listener.closeAllConnections();
    return new Promise((closed) => listener.close(closed));
  };
  return { url: `http://127.0.0.1:${listener.address().port}`, close };
}

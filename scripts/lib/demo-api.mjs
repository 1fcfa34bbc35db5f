// A stand-in for the API behind Keygate: it answers every request with what reached it.

import { createServer } from "node:http";

/** Starts it on a free port of 127.0.0.1; gives `{url, close}`. */
export async function startDemoApi() {
  const server = createServer((request, response) => {
    let bytes = 0;
    request.on("data", (chunk) => {
      bytes += chunk.length;
    });
    request.on("end", () => {
      const { method, url, headers } = request;
      const identity = Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith("x-keygate-")));
      response.writeHead(200, { "Content-Type": "application/json", Server: "demo-api" });
      response.end(`${JSON.stringify({ method, url, body_bytes: bytes, identity }, null, 2)}\n`);
    });
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

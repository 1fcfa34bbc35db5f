// A KV namespace in the test's own process. It speaks the HTTP protocol between workerd and a KV service, outlives
// the runtime (so a restarted one finds its records), counts what is asked of it, and misbehaves on request.

import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const METADATA = "cf-kv-metadata";

/**
 * What can be put in `kv.onGet` and `kv.onPut`: each takes the honest operation and returns `{status, value?, metadata?}`,
 * with or without having performed it.
 */
export const faults = {
  /** The service is down. */
  fail: async () => ({ status: 500 }),
  /** The record is stored, and the answer says that it was not. */
  failAfterStoring: async (perform) => {
    await perform();
    return { status: 500 };
  },
  /** More than one write a second to this key. */
  tooMany: async () => ({ status: 429 }),
  /** Metadata or value over the limit: no retry will help. */
  tooLarge: async () => ({ status: 413 }),
  /** Acknowledged and lost. */
  lose: async () => ({ status: 200 }),
  /** Never answered. */
  hang: () => new Promise(() => {}),
  /** Answered after so many milliseconds. */
  slow: (milliseconds) => async (perform) => {
    await sleep(milliseconds);
    return perform();
  },
  /** Reads answered from records as they were: `kv.onGet = faults.from(new Map(kv.records))`. */
  from: (records) => async (_, name) => read(records, name),
};

/** Starts an empty namespace: `{port, records, counts, onGet, onPut, heal(), close()}`. */
export async function startKv() {
  const kv = {
    /** Name → `{value, metadata}`; metadata is the JSON text or null. Tests read and edit it as they like. */
    records: new Map(),
    /** How many keys have been asked for, and how many puts have arrived, since the start. */
    counts: { get: 0, put: 0 },
    onGet: undefined,
    onPut: undefined,
    heal() {
      kv.onGet = kv.onPut = undefined;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };

  const get = (name) => {
    kv.counts.get += 1;
    const honest = async () => read(kv.records, name);
    return kv.onGet ? kv.onGet(honest, name) : honest();
  };
  const put = (name, value, metadata) => {
    kv.counts.put += 1;
    const honest = async () => {
      kv.records.set(name, { value, metadata });
      return { status: 200 };
    };
    return kv.onPut ? kv.onPut(honest, name) : honest();
  };

  async function answer(request, response) {
    const body = Buffer.concat(await request.toArray()).toString();
    const path = new URL(request.url, "http://kv").pathname;
    const name = decodeURIComponent(path.slice(1));
    if (request.method === "GET") {
      const { status, value, metadata } = await get(name);
      response.writeHead(status, metadata ? { [METADATA]: Buffer.from(metadata).toString("latin1") } : {}).end(value);
    } else if (request.method === "PUT") {
      // Header text is bytes to Node, and UTF-8 to workerd.
      const metadata = METADATA in request.headers ? Buffer.from(request.headers[METADATA], "latin1").toString() : null;
      const { status } = await put(name, body, metadata);
      response.writeHead(status).end();
    } else if (request.method === "DELETE") {
      kv.records.delete(name);
      response.writeHead(200).end();
    } else if (request.method === "POST" && path === "/bulk/get") {
      const { status, body: found } = await bulk(JSON.parse(body), get);
      response.writeHead(status).end(found);
    } else {
      response.writeHead(400).end();
    }
  }

  // A request that a killed runtime broke off is nobody's error.
  const server = createServer((request, response) => answer(request, response).catch(() => response.destroy()));
  // workerd keeps its connections: one closed for idling would look like a fault of the namespace.
  server.keepAliveTimeout = 0;
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  server.unref();
  kv.port = server.address().port;
  return kv;
}

function read(records, name) {
  const record = records.get(name);
  return record === undefined ? { status: 404 } : { status: 200, ...record };
}

async function bulk({ keys, type, withMetadata }, get) {
  const found = {};
  // At once, so that a slow namespace is as slow for many keys as it is for one.
  const records = await Promise.all(keys.map((name) => get(name)));
  for (const [n, name] of keys.entries()) {
    const { status, value, metadata } = records[n];
    if (status !== 200 && status !== 404) return { status };
    if (value === undefined) {
      found[name] = null;
      continue;
    }
    const parsed = type === "json" ? JSON.parse(value) : value;
    found[name] = withMetadata ? { value: parsed, metadata: metadata && JSON.parse(metadata) } : parsed;
  }
  return { status: 200, body: JSON.stringify(found) };
}

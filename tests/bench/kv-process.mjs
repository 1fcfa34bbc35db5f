// A process that serves KV namespaces, so that what they cost is nobody's CPU time that is measured. Told `{open: file,
// lossy}` (a JSON text `[[name, value]…]`), it answers with the port of a new namespace that holds them; a lossy one acknowledges
// what is put into it, and has nothing more. Told `{counts: port}`, it
// answers with how often that one was asked.

import { readFileSync } from "node:fs";
import { faults, startKv } from "../workerd/harness/kv.mjs";

const namespaces = new Map();

process.on("message", async ({ open, lossy, counts }) => {
  if (open !== undefined) {
    const kv = await startKv();
    for (const [name, value] of JSON.parse(readFileSync(open, "utf8"))) kv.records.set(name, { value, metadata: null });
    if (lossy) kv.onPut = faults.lose;
    namespaces.set(kv.port, kv);
    process.send({ port: kv.port });
  } else {
    process.send({ counts: namespaces.get(counts).counts });
  }
});
process.on("disconnect", () => process.exit());
// A namespace alone keeps no process alive.
setInterval(() => {}, 1 << 30);

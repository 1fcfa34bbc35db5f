// What the Authority's operations cost with few keys in a slot and with very many: the rows that SQLite reads and writes
// as Cloudflare counts them (the cursors' own `rowsRead` and `rowsWritten`), on a database on disk.

import { setTimeout as sleep } from "node:timers/promises";
import { admin, createAccount, issueKey, revokeKey, send, slots, timed, verify } from "../workerd/harness/client.mjs";
import { databaseFiles, edit } from "../workerd/harness/database.mjs";
import { startWorkerd } from "../workerd/harness/workerd.mjs";
import { median } from "./rounds.mjs";

/** Adds up what the cursors say that each of the object's answers cost. */
const counting = `
  import worker, { Authority as Shard } from "./entry.js";

  let cursors = [];
  let bills = [];

  export class Authority extends Shard {
    constructor(ctx, env) {
      const sql = Object.getPrototypeOf(ctx.storage.sql);
      if (!sql.counted) {
        const exec = sql.exec;
        sql.exec = function (...all) {
          const cursor = exec.apply(this, all);
          cursors.push(cursor);
          return cursor;
        };
        sql.counted = true;
      }
      super(ctx, env);
    }

    async fetch(request) {
      const { pathname } = new URL(request.url);
      cursors = [];
      const answer = await super.fetch(request);
      const sum = (name) => cursors.reduce((all, cursor) => all + cursor[name], 0);
      bills.push({ path: pathname, rows_read: sum("rowsRead"), rows_written: sum("rowsWritten") });
      return answer;
    }
  }

  export default {
    fetch(request, env, ctx) {
      if (new URL(request.url).pathname !== "/-/bills") return worker.fetch(request, env, ctx);
      const all = bills;
      bills = [];
      return Response.json(all);
    },
  };
`;

const TIMES = 5;

/** `[{operation, keys, rows_read, rows_written, ms}…]` for each number of keys; medians of a few of each operation. */
export async function measureScale(sizes, say) {
  const results = [];
  for (const size of sizes) {
    results.push(...(await measureAt(size)));
    say(`with ${size} keys`);
  }
  return results;
}

async function measureAt(size) {
  const names = Array.from({ length: TIMES }, (_, n) => `edge-${n}`);
  const edges = Object.fromEntries(["home", ...names].map((name) => [name, {}]));
  const server = await startWorkerd({ edges, around: counting });
  try {
    const account = await createAccount(server);
    await issueKey(server, account, { scopes: ["contacts:*"] });
    while ((await slots(server)).some((slot) => slot.unmirrored > 0)) await sleep(50);
    await server.kill9();
    const [path] = databaseFiles(server);
    edit(path, (database) => multiply(database, size));
    await server.restart();
    return await operations(server, account, names, size);
  } finally {
    await server.stop();
  }
}

/** Makes as many keys of the one that is there, each with a name and a day of use. */
function multiply(database, size) {
  const columns = database.prepare("SELECT name FROM pragma_table_info('keys')").all();
  const values = { digest: "lower(hex(randomblob(24)))", issued: "keys.issued + i", name: "'key ' || i" };
  const list = columns.map(({ name }) => values[name] ?? `keys.${name}`);
  database.exec(`BEGIN;
    INSERT INTO keys SELECT ${list.join(", ")} FROM keys,
      (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${size - 1}) SELECT i FROM n);
    INSERT INTO usage (digest, day, count, last_at) SELECT digest, created_at / 86400000, 1, created_at FROM keys;
    UPDATE meta SET sequence = sequence + ${size};
    COMMIT;
    PRAGMA wal_checkpoint(TRUNCATE)`);
}

async function operations(server, account, names, size) {
  const path = `/accounts/${account.id}/keys`;
  const bills = async () => JSON.parse((await send(server, "GET", "/-/bills")).text);
  const results = [];
  const measure = async (operation, work, { of = (bill) => bill.path !== "/sync", times = TIMES } = {}) => {
    const taken = [];
    for (let n = 0; n < times; n += 1) {
      await bills();
      const { took } = await timed(work(n));
      // Of its own calls: an alarm or a sync of another isolate may be among them.
      const own = (await bills()).filter(of);
      const sum = (name) => own.reduce((all, bill) => all + bill[name], 0);
      taken.push({ ms: took, rows_read: sum("rows_read"), rows_written: sum("rows_written") });
    }
    const middle = (name) => median(taken.map((one) => one[name]));
    const [rows_read, rows_written, ms] = [middle("rows_read"), middle("rows_written"), middle("ms")];
    results.push({ operation, keys: size, rows_read, rows_written, ms: Number(ms.toFixed(1)) });
  };

  const ok = (answer) => {
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.text}`);
  };
  const issued = [];
  // The first answer of an object also opens its database.
  issued.push(await issueKey(server, account, { scopes: ["contacts:*"] }));
  await measure("issue", async () => issued.push(await issueKey(server, account, { scopes: ["contacts:*"] })));
  await measure("list 100", async () => ok(await admin(server, "GET", `${path}?limit=100`)));
  await measure("list 100 active", async () => ok(await admin(server, "GET", `${path}?limit=100&status=active`)));
  const isSync = (bill) => bill.path === "/sync";
  await measure("sync", async (n) => ok(await verify(server.edges[names[n]], issued[0].key)), { of: isSync });
  await measure("revoke", (n) => revokeKey(server, account, issued[n]));
  await measure("revoke all", async () => ok(await admin(server, "POST", `${path}/revoke-all`)), { times: 1 });
  return results;
}

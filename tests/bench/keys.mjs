// The keys of a run: the same for Keygate and for its peers, each of which finds them in its own form.

import { createHash, randomBytes } from "node:crypto";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createAccount, issueKey, revokeKey, slots } from "../workerd/harness/client.mjs";
import { temporaryDirectory } from "../workerd/harness/guard.mjs";
import { copyParts, forgedKey, grantRecord, mintKey, signCopy } from "../workerd/harness/mint.mjs";
import { startWorkerd } from "../workerd/harness/workerd.mjs";

const SCOPES = ["contacts:*", "reports:read"];
const AT_ONCE = 16;

/**
 * Issues and revokes keys with Keygate itself, and mints as many more as are asked for, whose signed copies are in KV
 * alone: `{account, warm, revoked, issued, minted, forged, objects, mirror, copies, peers}`. `objects` is a folder with the
 * Authority's database, `mirror`, `copies` (of those minted) and `peers` are records of KV, `[[name, value]…]`, the others texts of keys.
 */
export async function makeKeys({ warm, issued, minted }) {
  const server = await startWorkerd();
  try {
    const account = await createAccount(server);
    const issue = (count) => inParallel(count, () => issueKey(server, account, { scopes: SCOPES }));
    const all = { warm: await issue(warm), revoked: await issue(20), issued: await issue(issued) };
    for (const key of all.revoked) await revokeKey(server, account, key);
    while ((await slots(server)).some((slot) => slot.unmirrored > 0)) await sleep(100);

    const model = server.kv.records.get(grantRecord(all.warm[0].key));
    const copies = Array.from({ length: minted }, () => copyOf(model.value, all.warm[0].id, account.id));
    const mirror = [...server.kv.records].map(([name, { value }]) => [name, value]);
    const record = (key, id, status) => [
      createHash("sha256").update(key).digest("hex"),
      JSON.stringify({ id, account: account.id, environment: "live", scopes: SCOPES, status, expires_at: null }),
    ];
    const peers = [
      ...all.warm.map(({ key, id }) => record(key, id, "active")),
      ...all.revoked.map(({ key, id }) => record(key, id, "revoked")),
      ...copies.map(({ key, id }) => record(key, id, "active")),
    ];
    await server.restart(); // so that the database is whole in its folder
    const objects = join(temporaryDirectory("keys"), "objects");
    await server.stop();
    cpSync(server.objects, objects, { recursive: true });
    const texts = (keys) => keys.map(({ key }) => key);
    return {
      account,
      warm: texts(all.warm),
      revoked: texts(all.revoked),
      issued: texts(all.issued),
      minted: texts(copies),
      forged: Array.from({ length: 100 }, () => forgedKey({ account: account.id })),
      objects,
      mirror,
      copies: copies.map(({ record, value }) => [record, value]),
      peers,
      scopes: SCOPES,
    };
  } finally {
    await server.stop();
  }
}

/** A key that nobody issued, with a copy that says that somebody did. */
function copyOf(model, modelId, account) {
  const { text, digest } = mintKey({ account });
  const id = `key_${randomBytes(10).toString("hex")}`;
  const record = `grant:${digest}`;
  return { key: text, id, record, value: signCopy(record, copyParts(model).json.replace(modelId, id)) };
}

async function inParallel(count, make) {
  const made = [];
  let left = count;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (left-- > 0) made.push(await make());
    }),
  );
  return made;
}

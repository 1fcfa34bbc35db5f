// The audit of an account, checked from its published format, independently of Keygate's own code.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { admin, listAll } from "./client.mjs";

const MEMBERS = [
  "account",
  "number",
  "at",
  "sequence",
  "credential",
  "actor",
  "action",
  "subject",
  "before",
  "after",
  "previous",
  "hash",
];

/** The hash that an entry must have. */
export function hashOf({ hash, ...entry }) {
  return createHash("sha256").update(JSON.stringify(entry)).digest("hex");
}

/** All entries of an account, oldest first, after making sure that they are a whole chain up to the head. */
export async function auditOf(server, account) {
  const entries = (await listAll(server, `/accounts/${account.id}/audit`)).reverse();
  let previous = "0".repeat(64);
  for (const [n, entry] of entries.entries()) {
    assert.deepEqual(Object.keys(entry), MEMBERS);
    assert.deepEqual(
      { account: entry.account, number: entry.number, previous: entry.previous, hash: entry.hash },
      { account: account.id, number: n + 1, previous, hash: hashOf(entry) },
    );
    if (n > 0) assert.ok(entry.sequence > entries[n - 1].sequence);
    previous = entry.hash;
  }
  const { audit_head } = (await admin(server, "GET", `/accounts/${account.id}`)).json;
  assert.deepEqual(audit_head, { number: entries.length, hash: previous });
  return entries;
}

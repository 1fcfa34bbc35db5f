// For many requests that must all be refused: what the runtime refuses by itself, and that nothing has changed.

import assert from "node:assert/strict";
import { listAll } from "./client.mjs";

/** All that an operator can see. */
export async function everything(server) {
  const accounts = await listAll(server, "/accounts");
  const owned = accounts.flatMap(({ id }) => [`/accounts/${id}/keys`, `/accounts/${id}/audit`]);
  return [accounts, ...(await Promise.all(owned.map((path) => listAll(server, path))))];
}

/** The same without when keys were last used: that is told some seconds after their use. */
export async function everythingButUses(server) {
  const lists = await everything(server);
  return lists.map((list) => list.map(({ last_used_at, ...entry }) => entry));
}

/**
 * Runs each case, `[name, ...arguments of check]`, as a subtest of `t`, and then looks whether everything is as it was
 * before.
 */
export async function each(t, server, cases, check, look = everything) {
  const before = await look(server);
  for (const [name, ...rest] of cases) await t.test(name, () => check(...rest));
  assert.deepEqual(await look(server), before);
}

/** The runtime has answered, not Keygate. */
export function runtimes(answer, status) {
  assert.equal(answer.status, status, answer.text);
  assert.notEqual(answer.headers["content-type"], "application/problem+json");
}

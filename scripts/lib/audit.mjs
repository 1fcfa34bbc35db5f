// What scripts/audit does: reads an account's audit over HTTP and verifies its hash chain.

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

const USAGE = "scripts/audit verify --url URL --account acct_… [--head NUMBER:HASH]";
const SECRETS = ".dev.vars";

/** What an entry's hash covers, in this order. */
const COVERED = [
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
];

/** What stands for the hash of the entry before the first one. */
const NOTHING = "0".repeat(64);

const PAGE = 100;
const ANSWER_MS = 30_000;
const TRIES = 3;
const PAUSE_MS = 1_000;

/** A message for the user that needs no stack trace. */
class Sentence extends Error {}

try {
  await main();
} catch (error) {
  console.error(`keygate: ${error instanceof Sentence ? error.message : error.stack}`);
  process.exitCode = 2;
}

async function main() {
  const { base, account, anchor } = readOptions();
  const ask = asking(base, rootToken());
  // The audit may grow while it is read. It then ends somewhere between the two heads.
  const before = await auditHead(ask, account);
  const rows = await listed(ask, account);
  const after = await auditHead(ask, account);
  const wrong = [inChain(rows), atHead(rows, before, after), atAnchor(rows, anchor)].filter(Boolean);
  if (wrong.length > 0) {
    const { number, why } = wrong.reduce((first, next) => (next.number < first.number ? next : first));
    console.error(`keygate: entry ${number} of ${account} is wrong: ${why}.`);
    process.exitCode = 1;
    return;
  }
  console.log(`${account}: ${rows.length} ${rows.length === 1 ? "entry is" : "entries are"} right.`);
  console.log(`head ${rows.length}:${rows.at(-1)?.hash ?? NOTHING}`);
}

function readOptions() {
  let options;
  try {
    options = parseArgs({
      allowPositionals: true,
      options: { url: { type: "string" }, account: { type: "string" }, head: { type: "string" } },
    });
  } catch (error) {
    throw new Sentence(`${error.message.split("\n")[0]} Usage: ${USAGE}`);
  }
  const { positionals, values } = options;
  if (positionals.join(" ") !== "verify" || !values.url || !values.account) throw new Sentence(`Usage: ${USAGE}`);
  if (!/^acct_[0-9a-f]{10}$/.test(values.account))
    throw new Sentence(`--account takes the id of an account, not '${values.account}'.`);
  return { base: prefix(values.url), account: values.account, anchor: values.head && head(values.head) };
}

/** Where Keygate's own routes are. */
function prefix(text) {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!/^https?:$/.test(url?.protocol) || url.search || url.hash || url.username) {
    throw new Sentence(`--url takes an address such as https://api.example.com, not '${text}'.`);
  }
  const path = url.pathname.replace(/\/+$/, "");
  return `${url.origin}${path || "/_keygate"}`;
}

function head(text) {
  const [, number, hash] = /^([1-9][0-9]{0,14}):([0-9a-f]{64})$/.exec(text) ?? [];
  if (!number) throw new Sentence(`--head takes a number and a hash as this program prints them, not '${text}'.`);
  return { number: Number(number), hash };
}

function rootToken() {
  const vars = existsSync(SECRETS) ? readFileSync(SECRETS, "utf8") : "";
  const [, kept] = /^\s*KEYGATE_ROOT_TOKEN\s*=\s*(.*?)\s*$/m.exec(vars) ?? [];
  const token = process.env.KEYGATE_ROOT_TOKEN || kept?.replace(/^(["'])(.*)\1$/, "$2");
  if (!token) throw new Sentence(`KEYGATE_ROOT_TOKEN is needed, in the environment or in ${SECRETS}.`);
  // Whatever else would be an exception that shows it.
  if (!/^[!-~]+$/.test(token)) throw new Sentence("KEYGATE_ROOT_TOKEN is not visible ASCII.");
  return token;
}

/** A function that gets the text of a path of the admin API. A 503 is asked again. */
function asking(base, token) {
  return async function ask(path) {
    for (let tries = 1; ; tries += 1) {
      let status, text;
      try {
        const answer = await fetch(`${base}/admin/v1${path}`, {
          headers: { Authorization: `Bearer ${token}` },
          redirect: "error",
          signal: AbortSignal.timeout(ANSWER_MS),
        });
        [status, text] = [answer.status, await answer.text()];
      } catch (error) {
        throw new Sentence(`${base} cannot be reached: ${error.cause?.message || error.message}.`);
      }
      if (status === 200) return text;
      if (status !== 503 || tries === TRIES) {
        const detail = canonical(text)?.detail;
        throw new Sentence(`${base} answered ${status} to ${path}${detail ? `: ${detail}` : "."}`);
      }
      await sleep(PAUSE_MS);
    }
  };
}

/** The value of a JSON text that is written as this program would write it, and so has no member twice. */
function canonical(text) {
  try {
    const value = JSON.parse(text);
    return JSON.stringify(value) === text ? value : undefined;
  } catch {
    return undefined;
  }
}

async function auditHead(ask, account) {
  const { audit_head: head } = canonical(await ask(`/accounts/${account}`)) ?? {};
  if (!Number.isSafeInteger(head?.number)) throw new Sentence("The answer is not an account with an audit.");
  return head;
}

/** What the chain is made of, oldest first: `{number, hash, previous, fault}` of each entry. */
async function listed(ask, account) {
  const rows = [];
  for (let cursor = "", limit = PAGE; cursor !== null;) {
    const text = await ask(
      `/accounts/${account}/audit?limit=${limit}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`,
    );
    const page = canonical(text);
    if (page === undefined && limit > 1) {
      // An entry is written otherwise than it was: one by one, it can be told which.
      limit = 1;
      continue;
    }
    const next = page?.next_cursor ?? /"next_cursor":"([^"]*)"}$/.exec(text)?.[1] ?? null;
    const entries = page === undefined ? [{}] : page.data;
    if (!Array.isArray(entries) || (entries.length === 0 && next !== null)) {
      throw new Sentence("The answer is not a page of an audit.");
    }
    for (const entry of entries) {
      const { number, previous, hash } = entry;
      rows.push({ number, previous, hash, fault: fault(entry, account) });
    }
    cursor = next;
  }
  return rows.reverse();
}

/** What is wrong with an entry taken by itself. */
function fault(entry, account) {
  const members = Object.keys(entry);
  if (members.length === 0) return "edited: it is not the JSON that was hashed";
  const unknown = members.find((member) => member !== "hash" && !COVERED.includes(member));
  if (unknown !== undefined) return `edited: its hash does not cover the member ${JSON.stringify(unknown)}`;
  const missing = [...COVERED, "hash"].find((member) => !members.includes(member));
  if (missing !== undefined) return `edited: it has no ${missing}`;
  const covered = JSON.stringify(Object.fromEntries(COVERED.map((member) => [member, entry[member]])));
  if (createHash("sha256").update(covered).digest("hex") !== entry.hash)
    return "edited: its content does not have its hash";
  if (entry.account !== account) return `edited: it belongs to ${entry.account}`;
  return undefined;
}

/** The first entry that does not follow on the one before it: `{number, why}`. */
function inChain(rows) {
  let previous = NOTHING;
  for (const [index, row] of rows.entries()) {
    const expected = index + 1;
    const why = misplaced(rows, index) ?? row.fault ?? (row.previous === previous ? undefined : broken(expected));
    if (why) return { number: expected, why };
    previous = row.hash;
  }
  return undefined;
}

/** What is wrong with the place of an entry, those before it being in theirs. */
function misplaced(rows, index) {
  const expected = index + 1;
  const { number, fault } = rows[index];
  if (number === expected) return undefined;
  const numbers = rows.map(({ number }) => number);
  if (numbers.includes(expected)) return `out of order: entry ${number} stands in its place`;
  // The entry itself, with its number changed, if the next one is where it should be.
  if (fault && (index + 1 === rows.length || numbers[index + 1] === expected + 1)) return fault;
  const next = Math.min(...numbers.filter((number) => number > expected));
  if (next === Infinity) return `edited: its place is taken by another entry ${number}`;
  return next === expected + 1 ? "missing" : `missing, and so are all up to entry ${next - 1}`;
}

function broken(number) {
  if (number === 1) return "edited: it names an entry before it";
  return `edited, or entry ${number - 1} was: it names another hash for entry ${number - 1} than that one has`;
}

/** Whether the audit ends where the account says. */
function atHead(rows, before, after) {
  const count = rows.length;
  if (count < before.number) return { number: count + 1, why: `cut off: the account has ${before.number} entries` };
  if (count > after.number) return { number: after.number + 1, why: `added: the account has ${after.number} entries` };
  const heads = [before, after].filter(({ number }) => number > 0 && number <= count);
  const wrong = heads.find(({ number, hash }) => rows[number - 1].hash !== hash);
  return wrong && { number: wrong.number, why: "edited: it is not the head that the account has" };
}

/** Whether the head that was kept is still in the chain. */
function atAnchor(rows, anchor) {
  if (anchor === undefined) return undefined;
  const found = rows[anchor.number - 1];
  if (found === undefined) return { number: rows.length + 1, why: `cut off: entry ${anchor.number} was once the head` };
  if (found.hash === anchor.hash) return undefined;
  return {
    number: anchor.number,
    why: "rewritten: it is not the head that was given, so it or one before it was edited",
  };
}

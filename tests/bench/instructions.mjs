// Reads `name instructions` lines and says by how many per cent each has changed since tests/bench/instructions.json was
// written. Called as: instructions.mjs "rustc …" [--write]

import { existsSync, readFileSync, writeFileSync } from "node:fs";

const [compiler, option] = process.argv.slice(2);
const file = new URL("instructions.json", import.meta.url);
const before = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { compiler, functions: {} };

const functions = {};
for (const line of readFileSync(0, "utf8").trim().split("\n")) {
  const [name, count] = line.split(" ");
  functions[name] = Number(count);
  const known = before.functions[name];
  const change = known === undefined ? "new" : `${((100 * (functions[name] - known)) / known).toFixed(1)} %`;
  console.log(`${name.padEnd(16)} ${count.padStart(8)} instructions  ${change.padStart(8)}`);
}
if (before.compiler !== compiler) console.log(`The last time it was ${before.compiler}, now ${compiler}: some of this is its doing.`);
if (option === "--write") writeFileSync(file, `${JSON.stringify({ compiler, functions }, null, 2)}\n`);

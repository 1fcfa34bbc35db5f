// The tables, in the terminal and in README.md, where they stand between two marks.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../workerd/harness/bundle.mjs";
import { exceeded } from "./budgets.mjs";
import { CASES, WORKERS } from "./names.mjs";

const BEGIN = "<!-- bench: written by scripts/bench -->";
const END = "<!-- /bench -->";

/** The table of results.json. */
function table(results, bold) {
  const name = (worker) => WORKERS[worker].replaceAll("**", bold);
  const rows = results.map((result) => [
    name(result.worker),
    result.worker.startsWith("floor") ? "" : CASES[result.case],
    `${result.cpu_us} (${result.cpu_us_low} to ${result.cpu_us_high})`,
    ratio(result, result.worker === "keygate" ? bold : ""),
    thousands(result.rps),
    [result.p50_ms, result.p99_ms, result.p999_ms].join(", "),
  ]);
  return markdown(["Worker", "request", "CPU µs (range)", "ratio (range)", "requests/s", "ms: p50, p99, p99.9"], rows);
}

function ratio({ worker, ratio: middle, ratio_low, ratio_high }, bold) {
  const range = worker === "floor" ? "" : ` (${ratio_low.toFixed(2)} to ${ratio_high.toFixed(2)})`;
  return bold + middle.toFixed(2) + bold + range;
}

/** Rows and time by the number of keys. */
function scaleTable(scale) {
  const sizes = [...new Set(scale.map(({ keys }) => keys))];
  const operations = [...new Set(scale.map(({ operation }) => operation))];
  const rows = operations.map((operation) => {
    const of = sizes.map((size) => scale.find((one) => one.operation === operation && one.keys === size));
    return [operation, ...of.map((one) => `${one.rows_read}, ${one.rows_written}, ${one.ms}`)];
  });
  return markdown(["rows read, written, ms", ...sizes.map((size) => `${thousands(size)} keys`)], rows);
}

/** What stands in README.md. */
export function inReadme(results, measured, profile) {
  return `${BEGIN}
![CPU time per request as a multiple of the empty Worker's](tests/bench/speed.svg)

${tables(results, measured)}

${profileTable(profile)}
${END}`;
}

/** What was measured, for the terminal without `bold`. */
export function tables(results, measured, bold = "**") {
  const { machine, trips, cold_start, scale } = measured;
  const { rounds } = results[0];
  const ms = (value) => value.toFixed(0);
  return `${table(results, bold)}

${rounds} rounds${machine.quick ? " (a quick run)" : ""} on ${machine.cores} cores of ${machine.cpu}, workerd ${machine.workerd}, ${machine.date}.

- ${trips.forged_kv_calls} calls of KV and ${trips.forged_authority_calls} of the Authority for 1,000 forged keys. Where KV and the Authority are 100 ms away, an isolate's first decision takes ${ms(trips.first_ms)} ms, one by KV ${ms(trips.kv_ms)} ms, and where
  KV has nothing, one by the Authority, then 100 ms away, ${ms(trips.authority_ms)} ms.
- ${budgets(exceeded(results, measured))}
- From the start of workerd to the first answer: ${ms(cold_start.keygate_ms)} ms, of it ${ms(cold_start.keygate_cpu_ms)} ms of CPU; for the empty Worker ${ms(cold_start.floor_ms)} ms and ${ms(cold_start.floor_cpu_ms)} ms.
- What the Authority's operations cost does not depend on the number of keys in its slot:

${scaleTable(scale)}`;
}

function budgets(over) {
  return over.length === 0 ? "Every budget is kept." : `Over budget: ${over.join("; ")}.`;
}

/** Where the time of a request goes, as profile.json says. */
function profileTable({ machine, columns, parts }) {
  const name = ({ worker, case: one }) => (worker === "floor" ? WORKERS.floor : `${WORKERS[worker]}, ${CASES[one]}`);
  const rows = parts.map(({ part, cpu_us }) => [part, ...cpu_us.map(String)]);
  const what = `What the CPU does meanwhile, in µs a request (\`scripts/bench --profile\`, ${machine.cpu}, ${machine.date}):`;
  return `${what}\n\n${markdown(["", ...columns.map(name)], rows)}`;
}

/** Writes into README.md what the files say that were written last. */
export function updateReadme() {
  const json = (file) => JSON.parse(readFileSync(join(repository, "tests", "bench", file), "utf8"));
  const readme = join(repository, "README.md");
  const text = inReadme(json("results.json"), json("measured.json"), json("profile.json"));
  writeFileSync(readme, readmeWith(readFileSync(readme, "utf8"), text));
}

function readmeWith(readme, text) {
  const [from, to] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (from < 0 || to < from) throw new Error("README.md lacks the marks between which the tables stand");
  return readme.slice(0, from) + text + readme.slice(to + END.length);
}

/** What stands between the marks, and the marks. */
export function partOf(readme) {
  return readme.slice(readme.indexOf(BEGIN), readme.indexOf(END) + END.length);
}

function markdown(head, rows) {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column].length)));
  const line = (cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column])).join(" | ")} |`;
  return [line(head), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...rows.map(line)].join("\n");
}

function thousands(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

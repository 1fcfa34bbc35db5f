// The tables, in the terminal and in README.md, where they stand between two marks.

const BEGIN = "<!-- bench: written by scripts/bench -->";
const END = "<!-- /bench -->";

/** What a Worker is called. */
export const WORKERS = {
  floor: "JavaScript, `new Response(\"ok\")`",
  "floor-rust": "Rust, `#[event(fetch)]`, \"ok\"",
  keygate: "**Keygate**",
  "js-map": "JavaScript, SHA-256, `Map` before KV",
  "js-kv": "JavaScript, SHA-256, KV",
  hono: "Hono `bearerAuth`, SHA-256, KV",
  oauth: "workers-oauth-provider",
};

/** What a case is called. */
export const CASES = {
  warm: "key in use",
  forged: "forged key",
  revoked: "revoked key",
  "wrong-scope": "scope missing",
  routes: "last of 200 routes, whoami as JSON",
  zipf: "many keys, Zipf",
  kv: "key new to the isolate, from KV",
  authority: "the same, KV empty: from the Authority",
};

/** The table of results.json. */
export function table(results, bold = "**") {
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
export function scaleTable(scale) {
  const sizes = [...new Set(scale.map(({ keys }) => keys))];
  const operations = [...new Set(scale.map(({ operation }) => operation))];
  const rows = operations.map((operation) => {
    const of = sizes.map((size) => scale.find((one) => one.operation === operation && one.keys === size));
    return [operation, ...of.map((one) => `${one.rows_read}, ${one.rows_written}, ${one.ms}`)];
  });
  return markdown(["rows read, written, ms", ...sizes.map((size) => `${thousands(size)} keys`)], rows);
}

/** What stands in README.md. */
export function inReadme(results, { machine, trips, cold_start, scale }) {
  const { rounds } = results[0];
  const ms = (value) => value.toFixed(0);
  return `${BEGIN}
![CPU time per request as a multiple of the empty Worker's](tests/bench/speed.svg)

${table(results)}

${rounds} rounds${machine.quick ? " (a quick run)" : ""} on ${machine.cores} cores of ${machine.cpu}, workerd ${machine.workerd}, ${machine.date}.

- ${trips.forged_kv_calls} calls of KV and ${trips.forged_authority_calls} of the Authority for 1,000 forged keys. Where KV and the Authority are 100 ms away, an isolate's first decision takes ${ms(trips.first_ms)} ms, one by KV ${ms(trips.kv_ms)} ms, and where
  KV has nothing, one by the Authority, then 100 ms away, ${ms(trips.authority_ms)} ms.
- From the start of workerd to the first answer: ${ms(cold_start.keygate_ms)} ms, of it ${ms(cold_start.keygate_cpu_ms)} ms of CPU; for the empty Worker ${ms(cold_start.floor_ms)} ms and ${ms(cold_start.floor_cpu_ms)} ms.
- What the Authority's operations cost does not depend on the number of keys in its slot:

${scaleTable(scale)}
${END}`;
}

/** README.md with `text` between the marks. */
export function readmeWith(readme, text) {
  const [from, to] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (from < 0 || to < from) throw new Error("README.md lacks the marks between which the tables stand");
  return readme.slice(0, from) + text + readme.slice(to + END.length);
}

/** What stands between the marks, and the marks. */
export function partOf(readme) {
  return readme.slice(readme.indexOf(BEGIN), readme.indexOf(END) + END.length);
}

/** All of it for the terminal. */
export function plain(results, measured) {
  const [, , ...rest] = inReadme(results, measured).replace(END, "").split("\n\n");
  return [table(results, ""), ...rest].join("\n\n");
}

function markdown(head, rows) {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column].length)));
  const line = (cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column])).join(" | ")} |`;
  return [line(head), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...rows.map(line)].join("\n");
}

function thousands(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

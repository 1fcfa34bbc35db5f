// The chart of README.md: how many times the CPU time of the empty Worker a request takes.

import { CASES, WORKERS } from "./names.mjs";

const BARS = [
  ["floor", "warm"],
  ["keygate", "warm"],
  ["keygate", "forged"],
  ["keygate", "revoked"],
  ["keygate", "wrong-scope"],
  ["js-map", "warm"],
  ["floor-rust", "warm"],
  ["keygate", "kv"],
  ["js-kv", "kv"],
  ["hono", "warm"],
  ["oauth", "warm"],
];

const WIDTH = 860;
const LEFT = 340;
const RIGHT = 60;
const BAR = 20;
const GAP = 8;
const TOP = 44;

/** An SVG that reads on light and dark pages. */
export function chart(results) {
  const bars = BARS.map(([worker, name]) => results.find((result) => result.worker === worker && result.case === name));
  const most = Math.max(...bars.map(({ ratio }) => ratio));
  const scale = (WIDTH - LEFT - RIGHT) / most;
  const height = TOP + bars.length * (BAR + GAP) + 12;
  const rows = bars.map((bar, n) => {
    const y = TOP + n * (BAR + GAP);
    const fill = bar.worker === "keygate" ? "#f38020" : "#8a94a6";
    const width = (bar.ratio * scale).toFixed(1);
    return `  <text x="${LEFT - 10}" y="${y + 15}" text-anchor="end">${label(bar)}</text>
  <rect x="${LEFT}" y="${y}" width="${width}" height="${BAR}" rx="2" fill="${fill}"/>
  <text x="${(LEFT + bar.ratio * scale + 8).toFixed(1)}" y="${y + 15}" font-weight="600">${bar.ratio.toFixed(2)}</text>`;
  });
  const one = (LEFT + scale).toFixed(1);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" font-family="system-ui, sans-serif" font-size="13" fill="#24292f">
  <title>CPU time per request as a multiple of the empty Worker's</title>
  <rect width="100%" height="100%" rx="6" fill="#ffffff"/>
  <text x="16" y="26" font-size="15" font-weight="600">CPU time per request, as a multiple of an empty Worker's</text>
${rows.join("\n")}
  <line x1="${one}" x2="${one}" y1="${TOP - 6}" y2="${height - 10}" stroke="#24292f" stroke-dasharray="3 3" stroke-opacity="0.6"/>
</svg>
`;
}

function label({ worker, case: name }) {
  const text = WORKERS[worker].replace(/[*`]/g, "") + (worker.startsWith("floor") ? "" : `: ${SHORT[name] ?? CASES[name]}`);
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

const SHORT = { kv: "new key, from KV" };

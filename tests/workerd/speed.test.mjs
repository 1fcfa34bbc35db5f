// What README.md says of speed is what was measured.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { chart } from "../bench/chart.mjs";
import { inReadme, partOf } from "../bench/report.mjs";
import { repository } from "./harness/bundle.mjs";

const text = (...path) => readFileSync(join(repository, ...path), "utf8");
const results = JSON.parse(text("tests", "bench", "results.json"));

test("the tables of README.md are those of the last measurement", () => {
  const measured = JSON.parse(text("tests", "bench", "measured.json"));
  const profile = JSON.parse(text("tests", "bench", "profile.json"));
  assert.equal(partOf(text("README.md")), inReadme(results, measured, profile));
});

test("the chart is that of the last measurement", () => {
  assert.equal(text("tests", "bench", "speed.svg"), chart(results));
});

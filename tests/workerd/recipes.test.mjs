// The README's recipes do what they say: their commands are run as they stand, with their routes, against Keygate at
// another address than http://127.0.0.1:8787, and with that one's .dev.vars.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { repository } from "./harness/bundle.mjs";
import { temporaryDirectory } from "./harness/guard.mjs";
import { startProduct } from "./harness/product.mjs";
import { rulesOf } from "./harness/routes.mjs";
import { secrets } from "./harness/secrets.mjs";

const SCREENFUL = 60;

const file = (name) => readFileSync(join(repository, name), "utf8");
const block = (text, language) => [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map(([, it]) => it).join("\n");

const [setUp, ...recipes] = /^## Recipes\n(.*?)(?=^## )/ms.exec(file("README.md"))[1].split(/^### /m);
const served = rulesOf(file("tests/workerd/routes.toml"));

let server, directory;
before(async () => {
  server = await startProduct();
  directory = temporaryDirectory("recipes");
  writeFileSync(join(directory, ".dev.vars"), `KEYGATE_ROOT_TOKEN=${secrets.KEYGATE_ROOT_TOKEN}\n`);
});
after(() => server?.stop());

/** The rules stand in the table of the tests, in this order. */
function servedInOrder(rules) {
  assert.ok(rules.length > 0);
  const places = rules.map((rule) => served.findIndex((other) => JSON.stringify(other) === JSON.stringify(rule)));
  for (const [n, place] of places.entries()) assert.ok(place > (places[n - 1] ?? -1), JSON.stringify(rules[n]));
}

/** The statuses that a script's `curl -i` were answered with. */
async function run(script) {
  const here = script.replaceAll("http://127.0.0.1:8787", server.url);
  const { stdout } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", here], { cwd: directory });
  return [...stdout.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => status);
}

test("the table of these tests has all routes of the project's", () => {
  servedInOrder(rulesOf(file("routes.toml")));
});

test("there is a recipe for each product that a test is named after", () => {
  const known = ["Wonderkind NEXT", "Kenjo", "A recruiting API", "HRWize", "WallJobs AI"];
  assert.deepEqual(recipes.map((recipe) => recipe.split("\n")[0]), known);
});

for (const recipe of recipes) {
  describe(recipe.split("\n")[0], () => {
    test("fits on a screen", () => assert.ok(recipe.trim().split("\n").length <= SCREENFUL));

    test("has routes that are served", () => servedInOrder(rulesOf(block(recipe, "toml"))));

    test("lets in and refuses as it says, and ends with one of each", async () => {
      const commands = block(recipe, "sh");
      const said = [...commands.matchAll(/^curl -i .* # (\d{3})\b/gm)].map(([, status]) => status);
      assert.equal(said.length, commands.match(/curl -i/g).length, "each curl -i says what comes of it");
      assert.deepEqual(await run(`${block(setUp, "sh")}\n${commands}`), said);
      const [letIn, refused] = said.slice(-2);
      assert.equal(letIn, "200");
      assert.match(refused, /^40[134]$/);
    });
  });
}

// The Worker under test: the output of `wrangler deploy --dry-run --outdir`, and the settings of wrangler.toml that
// decide how the runtime treats it.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's top directory. */
export const repository = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

/** The directory of the Worker as it is deployed. */
export const released = resolve(repository, process.env.KEYGATE_BUNDLE || "dist");

/** The directory of the build whose Rust panics on request (cargo feature `trap`). */
export const trapping = resolve(repository, process.env.KEYGATE_TRAP_BUNDLE || "dist-trap");

/** Throws a sentence unless there is a Worker in `directory`. */
export function mustBeBuilt(directory) {
  if (existsSync(join(directory, "entry.js"))) return;
  throw new Error(`There is no built Worker in ${directory}: scripts/test builds what these tests need and runs them.`);
}

/** The modules of a bundle directory, the main one first: `[{name, path, wasm}]`. */
export function modules(directory) {
  const wasm = readdirSync(directory).filter((name) => name.endsWith(".wasm"));
  return [
    { name: "entry.js", path: join(directory, "entry.js"), wasm: false },
    ...wasm.map((name) => ({ name, path: join(directory, name), wasm: true })),
  ];
}

/** `{date, flags}` of wrangler.toml. */
export function compatibility() {
  const settings = readFileSync(join(repository, "wrangler.toml"), "utf8");
  const date = /^compatibility_date\s*=\s*"([^"]+)"/m.exec(settings)?.[1];
  if (date === undefined) throw new Error("wrangler.toml names no compatibility_date");
  const flags = /^compatibility_flags\s*=\s*\[([^\]]*)\]/m.exec(settings)?.[1] ?? "";
  return { date, flags: [...flags.matchAll(/"([^"]+)"/g)].map((match) => match[1]) };
}

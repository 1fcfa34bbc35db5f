// Everything a test process leaves on the machine lives in one temporary directory, and one small shell process
// outlives the test process, however that ends (a crash, a timeout, SIGKILL): when its standard input closes, it ends
// every recorded process and removes the directory.

import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import workerd from "workerd";

const root = mkdtempSync(join(tmpdir(), "keygate-test-"));

// Asks first: scripts/dev has processes of its own to stop.
const CLEAN_UP = `
  signalled() { for pid in "$root"/*/pids/[0-9]*; do kill "-$1" "\${pid##*/}"; done; }
  alive() { for pid in "$root"/*/pids/[0-9]*; do kill -0 "\${pid##*/}" && return; done; return 1; }
  root=$1
  read -r end
  signalled TERM
  tries=0
  while alive && [ $tries -lt 80 ]; do sleep 0.1; tries=$((tries + 1)); done
  signalled KILL
  sleep 0.1
  rm -rf "$root"
`;

const guard = spawn("/bin/sh", ["-c", CLEAN_UP, "keygate-test-guard", root], {
  stdio: ["pipe", "ignore", "ignore"],
  // A process group of its own: an interrupt from the terminal ends the tests, and the guard then cleans up.
  detached: true,
});
guard.unref();
guard.stdin.unref();

/** A new empty directory, removed when the test process ends. */
export function temporaryDirectory(name = "directory") {
  return mkdtempSync(join(root, `${name}-`));
}

/**
 * An executable that runs `command` and is ended with the test process: `{path, processes(), forget()}`, where
 * `processes()` lists those started that have not been forgotten. Forget the ended: a number is soon another's.
 */
export function guarded(command) {
  const directory = temporaryDirectory("guarded");
  const path = join(directory, "run");
  const pids = join(directory, "pids");
  mkdirSync(pids);
  writeFileSync(path, `#!/bin/sh\n: > "${pids}/$$"\nexec "${command}" "$@"\n`);
  chmodSync(path, 0o755);
  return {
    path,
    processes: () => readdirSync(pids).map(Number),
    forget: () => {
      for (const pid of readdirSync(pids)) rmSync(join(pids, pid));
    },
  };
}

/** The runtime itself, guarded. */
export function guardedWorkerd() {
  return guarded(workerd.default);
}

// The Authority's databases as they lie on disk: for what the admin API does not show, and for what must not be there.

import { copyFileSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { temporaryDirectory } from "./guard.mjs";

/**
 * A copy of each object's database: `[{path, tables}]`, where `tables` maps a table's name to its rows. Taken while
 * nothing is being written, the copy is the state as acknowledged: SQLite's log of writes is copied with it.
 */
export function databases(server) {
  return databaseFiles(server).map((path) => {
    const copy = join(temporaryDirectory("database"), "copy.sqlite");
    for (const suffix of ["", "-wal"]) {
      if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
    }
    return { path, tables: edit(copy, read) };
  });
}

/** The paths of the objects' databases. */
export function databaseFiles({ objects }) {
  return readdirSync(objects, { recursive: true })
    .filter((name) => name.endsWith(".sqlite") && !name.endsWith("metadata.sqlite"))
    .map((name) => join(objects, name))
    .sort();
}

/** What `work` gives for the opened database at `path`. To change a server's own, stop it first. */
export function edit(path, work) {
  const database = new DatabaseSync(path);
  try {
    return work(database);
  } finally {
    database.close();
  }
}

function read(database) {
  // What begins with an underscore is the runtime's own.
  const names = database
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    .all()
    .map(({ name }) => name)
    .filter((name) => !name.startsWith("_"));
  return Object.fromEntries(
    names.map((name) => [
      name,
      database
        .prepare(`SELECT * FROM ${name}`)
        .all()
        .map((row) => ({ ...row })),
    ]),
  );
}

//! Tables, and how they came to be.
//!
//! `meta.schema` counts the migrations that ran; each runs once, all in one transaction with the first request that
//! an object serves after a deploy. A migration that has shipped is never edited: add the next one.

use super::sql::{Sql, SqlError, Value, only};

/// Brings the database to the newest schema. On an empty one, `epoch` becomes its epoch (32 hex digits, random).
///
/// # Errors
/// Trouble with SQLite, or a database written by a newer Keygate than this one.
pub fn migrate(sql: &impl Sql, epoch: &str) -> Result<(), SqlError> {
    sql.atomically(|| {
        let version = current(sql)?;
        if version > MIGRATIONS.len() {
            return Err(SqlError(format!(
                "the database has schema {version}, this Keygate knows {}: deploy a newer one",
                MIGRATIONS.len()
            )));
        }
        for statements in MIGRATIONS.iter().skip(version) {
            for statement in *statements {
                sql.run(statement, &[])?;
            }
        }
        if version == 0 {
            sql.run(
                "INSERT INTO meta (singleton, schema, epoch, sequence, feed_position, feed_rows, feed_low, feed_cut)
                 VALUES (1, ?1, ?2, 0, 0, 0, 0, 0)",
                &[schema_number(), epoch.into()],
            )?;
        } else if version < MIGRATIONS.len() {
            sql.run("UPDATE meta SET schema = ?1", &[schema_number()])?;
        }
        Ok(())
    })
}

fn schema_number() -> Value {
    Value::from(MIGRATIONS.len() as u64)
}

fn current(sql: &impl Sql) -> Result<usize, SqlError> {
    let tables = sql.run("SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'meta'", &[])?;
    if tables.is_empty() {
        return Ok(0);
    }
    let version = only(sql.run("SELECT schema FROM meta", &[])?)?.number()?;
    usize::try_from(version).map_err(|_| SqlError("the schema number is out of range".into()))
}

/// Every migration, oldest first.
const MIGRATIONS: &[&[&str]] = &[FIRST, AUDIT_AND_COMMANDS, LEASES_AND_USAGE, RIGHTS, LIFETIME, PLANNING];

const FIRST: &[&str] = &[
    // One row. `sequence` counts commands; `feed_*` are explained in the module `feed`.
    "CREATE TABLE meta (
        singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
        schema INTEGER NOT NULL,
        epoch TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        feed_position INTEGER NOT NULL,
        feed_rows INTEGER NOT NULL,
        feed_low INTEGER NOT NULL,
        feed_cut INTEGER NOT NULL
    ) STRICT",
    // `created` (a sequence) orders lists; `version` is the sequence of the last change.
    "CREATE TABLE accounts (
        number INTEGER PRIMARY KEY,
        created INTEGER NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        external_id TEXT UNIQUE,
        brand TEXT NOT NULL,
        status TEXT NOT NULL,
        max_active_keys INTEGER,
        api_access TEXT NOT NULL,
        features TEXT NOT NULL,
        default_scopes TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        created_by TEXT
    ) STRICT",
    // A key's id is the beginning of its digest, so the primary key serves both.
    "CREATE TABLE keys (
        digest TEXT PRIMARY KEY,
        account INTEGER NOT NULL REFERENCES accounts (number),
        issued INTEGER NOT NULL,
        version INTEGER NOT NULL,
        name TEXT,
        environment TEXT NOT NULL,
        scopes TEXT NOT NULL,
        status TEXT NOT NULL,
        hint TEXT NOT NULL,
        pepper INTEGER NOT NULL,
        not_before INTEGER,
        expires_at INTEGER,
        created_at INTEGER NOT NULL,
        created_by TEXT,
        revoked_at INTEGER
    ) STRICT, WITHOUT ROWID",
    "CREATE UNIQUE INDEX keys_of_account ON keys (account, issued)",
    // What the limit on active keys counts: revoked keys pile up, these do not.
    "CREATE INDEX keys_in_use ON keys (account, environment) WHERE status <> 'revoked'",
    "CREATE TABLE feed (
        position INTEGER PRIMARY KEY,
        subject TEXT NOT NULL UNIQUE,
        sequence INTEGER NOT NULL
    ) STRICT",
    "CREATE TABLE outbox (
        kv_key TEXT PRIMARY KEY,
        sequence INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        due_at INTEGER NOT NULL,
        since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX outbox_due ON outbox (priority, due_at)",
];

const AUDIT_AND_COMMANDS: &[&str] = &[
    // The head of each account's chain; 64 zeros stand before the first entry.
    "ALTER TABLE accounts ADD COLUMN audit_number INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE accounts ADD COLUMN audit_hash TEXT NOT NULL
        DEFAULT '0000000000000000000000000000000000000000000000000000000000000000'",
    "CREATE TABLE audit (
        account INTEGER NOT NULL REFERENCES accounts (number),
        number INTEGER NOT NULL,
        text TEXT NOT NULL,
        hash TEXT NOT NULL,
        PRIMARY KEY (account, number)
    ) STRICT, WITHOUT ROWID",
    "CREATE TABLE commands (
        id TEXT PRIMARY KEY,
        fingerprint TEXT NOT NULL,
        status INTEGER NOT NULL,
        version INTEGER NOT NULL,
        body TEXT NOT NULL,
        nonce TEXT,
        mint TEXT,
        outdated TEXT NOT NULL,
        mirrored INTEGER,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX commands_by_age ON commands (at)",
];

const LEASES_AND_USAGE: &[&str] = &[
    // When an instance last wrote for the sake of writing; the longest lease with grace that anyone may hold, in
    // milliseconds; requests that caches accepted in grace. See the module `lease`.
    "ALTER TABLE meta ADD COLUMN heartbeat INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE meta ADD COLUMN granted INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE meta ADD COLUMN graced INTEGER NOT NULL DEFAULT 0",
    // When the change counts everywhere, as it was answered.
    "ALTER TABLE commands ADD COLUMN effective_at INTEGER",
    "CREATE TABLE usage (
        digest TEXT NOT NULL,
        day INTEGER NOT NULL,
        count INTEGER NOT NULL,
        last_at INTEGER NOT NULL,
        PRIMARY KEY (digest, day)
    ) STRICT, WITHOUT ROWID",
];

const RIGHTS: &[&str] = &[
    // What administrators set besides, as JSON: the module `settings`. Up to which sequence all keys of an environment
    // are revoked, and since when: the module `revoke_all`.
    "ALTER TABLE accounts ADD COLUMN settings TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE accounts ADD COLUMN revoked_live INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE accounts ADD COLUMN revoked_live_at INTEGER",
    "ALTER TABLE accounts ADD COLUMN revoked_test INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE accounts ADD COLUMN revoked_test_at INTEGER",
    "ALTER TABLE accounts ADD COLUMN revoked_admin INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE accounts ADD COLUMN revoked_admin_at INTEGER",
    // Limits of a key (no workspaces = all), and the access level that its scopes come from.
    "ALTER TABLE keys ADD COLUMN workspaces TEXT",
    "ALTER TABLE keys ADD COLUMN fields TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE keys ADD COLUMN access_level TEXT",
    // Of admin credentials: the role; of sessions also who acts, and the digest of the credential that minted it, or
    // `root`.
    "ALTER TABLE keys ADD COLUMN role TEXT",
    "ALTER TABLE keys ADD COLUMN actor TEXT",
    "ALTER TABLE keys ADD COLUMN parent TEXT",
    "CREATE INDEX keys_sessions ON keys (expires_at) WHERE parent IS NOT NULL",
    // What the limit on active keys counts, without walking over those that were revoked all at once.
    "DROP INDEX keys_in_use",
    "CREATE INDEX keys_in_use ON keys (account, environment, issued) WHERE status <> 'revoked'",
    "CREATE INDEX keys_by_name ON keys (account, environment, name, issued) WHERE status <> 'revoked' AND name IS NOT NULL",
    "CREATE TABLE workspaces (
        id TEXT PRIMARY KEY,
        account INTEGER NOT NULL REFERENCES accounts (number),
        created INTEGER NOT NULL,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        created_by TEXT,
        archived_at INTEGER
    ) STRICT, WITHOUT ROWID",
    "CREATE UNIQUE INDEX workspaces_of_account ON workspaces (account, created)",
    "CREATE INDEX workspaces_in_use ON workspaces (account, created) WHERE archived_at IS NULL",
    // Keys that were revoked all at once and whose copies in KV do not say so yet: those issued from `next` to `upto`.
    "CREATE TABLE sweeps (
        account INTEGER NOT NULL REFERENCES accounts (number),
        environment TEXT NOT NULL,
        next INTEGER NOT NULL,
        upto INTEGER NOT NULL,
        PRIMARY KEY (account, environment)
    ) STRICT, WITHOUT ROWID",
    // Which of a key's scopes served on that day: bit i = the i-th, as hexadecimal digits.
    "ALTER TABLE usage ADD COLUMN scopes TEXT NOT NULL DEFAULT ''",
    // Features that are on for every account.
    "ALTER TABLE meta ADD COLUMN features TEXT NOT NULL DEFAULT '[]'",
];

const LIFETIME: &[&str] = &[
    // The digests of the key that this one succeeds, and of its own successor; when it would have expired without that.
    "ALTER TABLE keys ADD COLUMN rotated_from TEXT",
    "ALTER TABLE keys ADD COLUMN rotated_to TEXT",
    "ALTER TABLE keys ADD COLUMN unrotated_expires_at INTEGER",
    // How long it works on once its successor is used; none = it does not wait for that.
    "ALTER TABLE keys ADD COLUMN waiting_overlap_ms INTEGER",
    "CREATE INDEX keys_waiting ON keys (rotated_to) WHERE waiting_overlap_ms IS NOT NULL",
    // The addresses it may be used from; none = all.
    "ALTER TABLE keys ADD COLUMN allowed_ips TEXT",
    // The module `labels`.
    "ALTER TABLE keys ADD COLUMN description TEXT",
    "ALTER TABLE keys ADD COLUMN owner TEXT",
    "ALTER TABLE keys ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE keys ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}'",
    // How often the key was used and refused in each hour of that day: the module `hours`.
    "ALTER TABLE usage ADD COLUMN hours TEXT NOT NULL DEFAULT ''",
    // What keys are found by. A key without an owner, tags or an end costs no row.
    "CREATE INDEX keys_by_owner ON keys (account, owner, issued) WHERE owner IS NOT NULL",
    "CREATE INDEX keys_by_creator ON keys (account, created_by, issued) WHERE created_by IS NOT NULL",
    "CREATE INDEX keys_by_end ON keys (account, expires_at) WHERE expires_at IS NOT NULL",
    // The module `due`.
    "CREATE INDEX keys_due ON keys (account, issued)
        WHERE status <> 'revoked' AND rotated_to IS NULL AND environment <> 'admin'",
    "CREATE TABLE key_tags (
        of_account INTEGER NOT NULL REFERENCES accounts (number),
        tag TEXT NOT NULL,
        issued_at INTEGER NOT NULL,
        key TEXT NOT NULL,
        PRIMARY KEY (of_account, tag, issued_at)
    ) STRICT, WITHOUT ROWID",
    // The module `plans`. Of the keys of a plan, those issued at `next` and later have had their turn.
    "CREATE TABLE plans (
        sequence INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        account INTEGER NOT NULL REFERENCES accounts (number),
        filter TEXT NOT NULL,
        total INTEGER NOT NULL,
        live INTEGER NOT NULL,
        disabled INTEGER NOT NULL,
        expired INTEGER NOT NULL,
        truncated INTEGER NOT NULL,
        state TEXT NOT NULL,
        next INTEGER NOT NULL,
        revoked INTEGER NOT NULL DEFAULT 0,
        skipped INTEGER NOT NULL DEFAULT 0,
        created_at INTEGER NOT NULL,
        created_by TEXT,
        credential TEXT,
        actor TEXT,
        started_at INTEGER,
        finished_at INTEGER,
        gone_at INTEGER
    ) STRICT",
    "CREATE INDEX plans_of_account ON plans (account)",
    "CREATE INDEX plans_open ON plans (account) WHERE finished_at IS NULL",
    "CREATE INDEX plans_running ON plans (started_at) WHERE state = 'running'",
    "CREATE INDEX plans_by_end ON plans (gone_at) WHERE gone_at IS NOT NULL",
    // A key's account and the sequence it was issued at name it as well as its digest, in a fraction of the space.
    "CREATE TABLE plan_keys (
        of_plan INTEGER NOT NULL,
        issued_at INTEGER NOT NULL,
        PRIMARY KEY (of_plan, issued_at)
    ) STRICT, WITHOUT ROWID",
];

const PLANNING: &[&str] = &[
    // Of a plan that looks for its keys, those issued at `next` and later have been looked at.
    "CREATE INDEX plans_planning ON plans (sequence) WHERE state = 'planning'",
];

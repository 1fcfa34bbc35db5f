//! The audit: what was changed, by whom, in a chain per account.
//!
//! Each change appends one entry, in its own transaction; there is no change without one. An entry's hash covers its
//! text and the hash before it, and the account's own row holds the newest, the head. Who has written down a head can
//! later show that nothing up to it was edited, dropped or put in another order, whoever holds the database.

use sha2::{Digest as _, Sha256};

use crate::{credential::AccountRef, json::ObjectWriter, planted::planted, policy::UnixMillis};

use super::{
    query::Page,
    sql::{Sql, SqlError, each, only},
};

/// The hash before the first entry.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Everything that is done to accounts and keys, as the audit names it.
pub const ACTIONS: [&str; 16] = [
    "account.create",
    "account.change",
    "key.issue",
    "key.change",
    "key.rotate",
    "key.overlap",
    "key.confirm",
    "key.cancel",
    "key.revoke",
    "key.revoke_all",
    "plan.execute",
    "plan.cancel",
    "session.create",
    "workspace.create",
    "workspace.change",
    "workspace.archive",
];

/// Members of a description, in alphabetical order, each as JSON text.
pub(super) type Members = Vec<(&'static str, String)>;

/// Who ordered a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct By<'a> {
    /// The credential, by its public name; never its text.
    pub(super) credential: &'a str,
    /// Who, in the caller's own product.
    pub(super) actor: Option<&'a str>,
    /// When.
    pub(super) now: UnixMillis,
}

/// One change.
pub(super) struct Change {
    pub(super) account: AccountRef,
    pub(super) sequence: u64,
    pub(super) action: &'static str,
    /// The id of the account, key, workspace or plan.
    pub(super) subject: String,
    /// All members as they were; none for something new. The entry has those that are others now.
    pub(super) before: Option<Members>,
    /// All members as they are.
    pub(super) after: Members,
}

/// The newest entry of an account's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// How many entries there are.
    pub number: u64,
    /// The hash of the newest, 64 hex digits.
    pub hash: String,
}

/// Which entries a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only this action, such as `key.revoke`.
    pub action: Option<String>,
    /// Only what this actor ordered.
    pub actor: Option<String>,
    /// Only this account or key.
    pub subject: Option<String>,
}

/// One entry as it is given out: its text is what was hashed, so nobody has to guess how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place in the chain, from 1.
    pub number: u64,
    /// The JSON object that the hash covers, compact.
    pub text: String,
    /// SHA-256 of `text`, 64 hex digits.
    pub hash: String,
}

/// Appends an entry to the account's chain and moves its head.
pub(super) fn append(sql: &impl Sql, by: By<'_>, change: Change) -> Result<AuditHead, SqlError> {
    let mut head = only(sql.run(
        "UPDATE accounts SET audit_number = audit_number + 1 WHERE number = ?1 RETURNING audit_number, audit_hash",
        &[change.account.number.into()],
    )?)?;
    let (number, previous) = (head.number()?, head.text()?);
    if planted!(RevokeNotInAudit) && change.action == "key.revoke" {
        return Ok(AuditHead { number, hash: previous });
    }
    let (before, after) = match change.before {
        None => ("null".into(), change.after),
        Some(before) => {
            let (before, after) = difference(before, change.after);
            (written(&before), after)
        }
    };
    // What is hashed. The order of the members is part of the format.
    let text = ObjectWriter::new()
        .text("account", &change.account.to_string())
        .number("number", number)
        .text("at", &by.now.to_rfc3339())
        .number("sequence", change.sequence)
        .text("credential", by.credential)
        .value("actor", &by.actor)
        .text("action", change.action)
        .text("subject", &change.subject)
        .raw("before", &before)
        .raw("after", &written(&after))
        .text("previous", &previous)
        .end();
    let hash = hex::encode(Sha256::digest(text.as_bytes()));
    sql.run(
        "INSERT INTO audit (account, number, text, hash) VALUES (?1, ?2, ?3, ?4)",
        &[change.account.number.into(), number.into(), text.into(), hash.as_str().into()],
    )?;
    let parameters = [change.account.number.into(), hash.as_str().into()];
    sql.run("UPDATE accounts SET audit_hash = ?2 WHERE number = ?1", &parameters)?;
    Ok(AuditHead { number, hash })
}

/// Reads up to one entry more than `page` asks for, newest first.
pub(super) fn list(
    sql: &impl Sql,
    account: AccountRef,
    filter: &AuditFilter,
    page: Page,
) -> Result<Vec<AuditEntry>, SqlError> {
    // Filtered by what the hash covers: nothing beside it could hide an entry.
    let rows = sql.run(
        "SELECT number, text, hash FROM audit
         WHERE account = ?1 AND number < ?2 AND (?4 IS NULL OR json_extract(text, '$.action') = ?4)
            AND (?5 IS NULL OR json_extract(text, '$.actor') = ?5)
            AND (?6 IS NULL OR json_extract(text, '$.subject') = ?6)
         ORDER BY number DESC LIMIT ?3",
        &[
            account.number.into(),
            page.start().into(),
            page.rows().into(),
            filter.action.clone().into(),
            filter.actor.clone().into(),
            filter.subject.clone().into(),
        ],
    )?;
    each(rows, |mut row| Ok(AuditEntry { number: row.number()?, text: row.text()?, hash: row.text()? }))
}

/// The members in the order of their names. They are few, and `sort` is 4 KB of code for each type.
pub(super) fn in_order(members: Members) -> Members {
    let mut sorted = Members::with_capacity(members.len());
    for member in members {
        sorted.insert(sorted.partition_point(|(name, _)| *name < member.0), member);
    }
    sorted
}

/// Adds those members that there are.
pub(super) fn add_some(members: &mut Members, some: &mut [(&'static str, Option<String>)]) {
    for (name, json) in some {
        if let Some(json) = json.take() {
            members.push((*name, json));
        }
    }
}

/// Of two descriptions, the members in which they differ.
fn difference(before: Members, after: Members) -> (Members, Members) {
    let others = |mut these: Members, those: &Members| {
        these.retain(|one| !those.contains(one));
        these
    };
    (others(before.clone(), &after), others(after, &before))
}

fn written(members: &Members) -> String {
    let mut object = ObjectWriter::new();
    for (name, json) in members {
        object.raw(name, json);
    }
    object.end()
}

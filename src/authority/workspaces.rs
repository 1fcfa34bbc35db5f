//! Workspaces: parts of an account that keys can be limited to.
//!
//! Those in use are in their account's copy, so each change of one is a change of the account: a key for all of them may
//! use a new one at once, and none can name an archived one. Keys are not touched.

use crate::credential::{AccountRef, WorkspaceId};
use crate::policy::{UnixMillis, WORKSPACES_MAX};

use super::{
    accounts,
    audit::{self, Change, Members},
    command::{Answer, Failure, Refusal, Work, WorkspaceChange, derive},
    feed::{self, FeedSubject},
    meta,
    outbox::KvKey,
    record::WorkspaceRecord,
    sql::{Columns, Sql, SqlError, Value, Wide, at_most_one, each},
};

/// Which workspaces a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkspaceFilter {
    /// All of them.
    #[default]
    All,
    /// Those in use.
    Active,
    /// Those that were archived.
    Archived,
}

impl WorkspaceFilter {
    /// The filter with the name of a status.
    #[must_use]
    pub fn parse(status: &str) -> Option<Self> {
        match status {
            "active" => Some(WorkspaceFilter::Active),
            "archived" => Some(WorkspaceFilter::Archived),
            _ => None,
        }
    }
}

/// Creates a workspace.
pub(super) fn create<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    name: &str,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let owner = accounts::named(sql, account)?;
    if owner.workspaces.len() >= WORKSPACES_MAX {
        return Err(Refusal::WorkspaceLimitReached.into());
    }
    let [a, b, c, d, e, f, g, h, ..] = derive(&work.circumstances.nonce, &[b"workspace id"])?;
    let sequence = meta::next_sequence(sql)?;
    let record = WorkspaceRecord {
        id: WorkspaceId::from_bytes([a, b, c, d, e, f, g, h]),
        account,
        created: sequence,
        version: sequence,
        name: name.to_owned(),
        created_at: work.now(),
        created_by: work.created_by(),
        archived_at: None,
    };
    // An id that is taken already, one time in 10¹³ with a million of them, is a constraint's to refuse.
    sql.run(
        "INSERT INTO workspaces (id, account, created, version, name, created_at, created_by)
         VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)",
        &[
            record.id.to_string().into(),
            account.number.into(),
            sequence.into(),
            record.name.as_str().into(),
            record.created_at.as_millis().into(),
            record.created_by.clone().into(),
        ],
    )?;
    note(work, &record, "workspace.create", None)?;
    Ok((Answer::WorkspaceCreated(record.clone()), changed(sql, &record, sequence)?))
}

/// Renames a workspace. An archived one stays as it was.
pub(super) fn change<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    id: WorkspaceId,
    change: &WorkspaceChange,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let mut record = get(sql, account, id)?.ok_or(Refusal::NotFound)?;
    work.order.precondition.check(record.version)?;
    if record.archived_at.is_some() {
        let detail = "The workspace is archived, which is final; create a new one.".into();
        return Err(Refusal::Conflict { field: None, detail }.into());
    }
    let described = record.described();
    if !change.name.clone().apply(&mut record.name) {
        return Ok((Answer::Workspace(record), Vec::new()));
    }
    record.version = meta::next_sequence(sql)?;
    store_change(sql, &record)?;
    note(work, &record, "workspace.change", Some(described))?;
    let outdated = changed(sql, &record, record.version)?;
    Ok((Answer::Workspace(record), outdated))
}

/// Archives a workspace. Repeating it is a success that changes nothing of it, but has the feed and the mirror say it
/// again.
pub(super) fn archive<S: Sql>(
    work: &Work<'_, S>,
    account: AccountRef,
    id: WorkspaceId,
) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    let mut record = get(sql, account, id)?.ok_or(Refusal::NotFound)?;
    let sequence = meta::next_sequence(sql)?;
    if record.archived_at.is_none() {
        let described = record.described();
        record.archived_at = Some(work.now());
        record.version = sequence;
        store_change(sql, &record)?;
        note(work, &record, "workspace.archive", Some(described))?;
    }
    let outdated = changed(sql, &record, sequence)?;
    Ok((Answer::Workspace(record), outdated))
}

/// Reads one workspace of an account; another account's is as unknown as none.
pub(super) fn get(sql: &impl Sql, account: AccountRef, id: WorkspaceId) -> Result<Option<WorkspaceRecord>, SqlError> {
    let rows = sql.run(
        &format!("SELECT {COLUMNS} FROM workspaces WHERE id = ?1 AND account = ?2"),
        &[id.to_string().into(), account.number.into()],
    )?;
    at_most_one(rows)?.map(|row| read(row, account.slot)).transpose()
}

/// Reads up to `limit` workspaces of an account created before sequence `before`, newest first.
pub(super) fn list(
    sql: &impl Sql,
    account: AccountRef,
    filter: WorkspaceFilter,
    before: u64,
    limit: u32,
) -> Result<Vec<WorkspaceRecord>, SqlError> {
    let condition = match filter {
        WorkspaceFilter::All => "true",
        WorkspaceFilter::Active => "archived_at IS NULL",
        WorkspaceFilter::Archived => "archived_at IS NOT NULL",
    };
    let rows = sql.run(
        &format!(
            "SELECT {COLUMNS} FROM workspaces WHERE account = ?1 AND created < ?2 AND {condition}
             ORDER BY created DESC LIMIT ?3"
        ),
        &[account.number.into(), before.into(), limit.into()],
    )?;
    each(rows, |row| read(row, account.slot))
}

const COLUMNS: &str = "id, account, created, version, name, created_at, created_by, archived_at";

fn read(row: Columns, slot: u8) -> Result<WorkspaceRecord, SqlError> {
    Wide::read(row, |row| {
        Ok(WorkspaceRecord {
            id: row.columns.parsed("workspace id", WorkspaceId::parse)?,
            account: AccountRef { slot, number: row.narrow() },
            created: row.number(),
            version: row.number(),
            name: row.text(),
            created_at: row.instant(),
            created_by: row.optional_text(),
            archived_at: row.optional_instant(),
        })
    })
}

fn store_change(sql: &impl Sql, record: &WorkspaceRecord) -> Result<(), SqlError> {
    let archived_at: Value = record.archived_at.map(UnixMillis::as_millis).into();
    sql.run(
        "UPDATE workspaces SET version = ?2, name = ?3, archived_at = ?4 WHERE id = ?1",
        &[record.id.to_string().into(), record.version.into(), record.name.as_str().into(), archived_at],
    )?;
    Ok(())
}

/// The account's copy is another one now.
fn changed(sql: &impl Sql, record: &WorkspaceRecord, sequence: u64) -> Result<Vec<KvKey>, SqlError> {
    feed::record(sql, &FeedSubject::account(record.account), sequence)?;
    Ok(vec![KvKey::account(record.account)])
}

/// Puts a change of a workspace into its account's audit.
fn note<S: Sql>(
    work: &Work<'_, S>,
    record: &WorkspaceRecord,
    action: &'static str,
    before: Option<Members>,
) -> Result<(), SqlError> {
    let change = Change {
        account: record.account,
        sequence: record.version,
        action,
        subject: record.id.to_string(),
        before,
        after: record.described(),
    };
    audit::append(work.sql, work.by(), change)?;
    Ok(())
}

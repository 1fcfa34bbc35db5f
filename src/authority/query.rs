//! Questions to the Authority. Each is answered from SQLite in the event that asks it, never from memory: only
//! touching the storage tells a superseded object that it is no longer the one.

use crate::{
    credential::{AccountRef, Digest, KeyId, PlanId, WorkspaceId},
    policy::{Catalogue, UnixMillis},
};

use super::{
    accounts,
    audit::{self, AuditEntry, AuditFilter},
    due,
    key_filter::KeyFilter,
    keys, outbox,
    plans::{self, PlanRecord},
    platform,
    record::{AccountRecord, KeyRecord, WorkspaceRecord},
    scopes_used::ScopesLastUsed,
    sql::{Sql, SqlError, each, narrow, only},
    stale::{self, StaleKeys},
    usage_picture::{Per, UsagePicture},
    workspaces::{self, WorkspaceFilter},
};

/// What administrators ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// One account.
    Account(AccountRef),
    /// The accounts of this slot, newest first; with an external id, the one that has it.
    Accounts(Option<String>, Page),
    /// The scope catalogue of one account.
    Scopes(AccountRef),
    /// One key.
    Key(AccountRef, KeyId),
    /// How often one key was used and refused lately.
    Usage(AccountRef, KeyId, Per),
    /// The key with this digest, if it belongs to that account.
    KeyByDigest(AccountRef, Digest),
    /// The keys of one account, newest first.
    Keys(AccountRef, KeyFilter, Page),
    /// One plan to revoke keys.
    Plan(AccountRef, PlanId),
    /// The plans of one account, newest first.
    Plans(AccountRef, Page),
    /// The keys of one plan, newest first.
    PlanKeys(AccountRef, PlanId, Page),
    /// The keys of one account that were not used for so many days.
    StaleKeys(AccountRef, u32),
    /// One workspace.
    Workspace(AccountRef, WorkspaceId),
    /// The workspaces of one account, newest first.
    Workspaces(AccountRef, WorkspaceFilter, Page),
    /// The audit of one account, newest first.
    Audit(AccountRef, AuditFilter, Page),
    /// The features that are on for every account.
    Platform,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only what was created before this sequence; none = from the newest on.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// The answer to a [`Query`]; none = there is no such account or key.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// One account.
    Account(AccountRecord),
    /// Accounts, and where the next page begins.
    Accounts(Vec<AccountRecord>, Option<u64>),
    /// The account's own scope catalogue; none = the deployment's is in force.
    Scopes(Option<Catalogue>),
    /// One key.
    Key(KeyRecord),
    /// How often one key was used and refused lately.
    Usage(UsagePicture),
    /// Keys, and where the next page begins. There may be fewer than were asked for, or none, though more follow: a page
    /// looks at [`WALK_MAX`](super::WALK_MAX) keys at most.
    Keys(Vec<KeyRecord>, Option<u64>),
    /// One plan to revoke keys.
    Plan(PlanRecord),
    /// Plans, and where the next page begins.
    Plans(Vec<PlanRecord>, Option<u64>),
    /// Which keys nobody seems to need.
    StaleKeys(StaleKeys),
    /// One workspace.
    Workspace(WorkspaceRecord),
    /// Workspaces, and where the next page begins.
    Workspaces(Vec<WorkspaceRecord>, Option<u64>),
    /// Audit entries, and where the next page begins.
    Audit(Vec<AuditEntry>, Option<u64>),
    /// The features that are on for every account.
    Platform(Vec<String>),
}

/// How a shard is, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Accounts in the slot.
    pub accounts: u64,
    /// Changes that KV does not have yet.
    pub unmirrored: u64,
    /// When the oldest of them was made.
    pub oldest_unmirrored_at: Option<UnixMillis>,
    /// For each pepper id, the keys minted with it that are not revoked.
    pub keys_by_pepper: Vec<(u8, u64)>,
    /// Requests that caches accepted in grace, as they told.
    pub accepted_in_grace: u64,
}

/// Answers `query`.
///
/// # Errors
/// Trouble with SQLite.
pub fn answer(sql: &impl Sql, slot: u8, query: &Query, now: UnixMillis) -> Result<Option<Found>, SqlError> {
    // A list of nothing is not what is said of no account.
    if let Query::Keys(account, ..)
    | Query::Plans(account, _)
    | Query::Workspaces(account, ..)
    | Query::Audit(account, ..) = query
        && !is_account(sql, *account)?
    {
        return Ok(None);
    }
    Ok(match query {
        Query::Account(id) => {
            let Some(mut record) = accounts::get(sql, *id)? else { return Ok(None) };
            record.keys_due = due::count(sql, *id, now)?;
            Some(Found::Account(record))
        }
        Query::Scopes(id) => accounts::get(sql, *id)?.map(|mut record| Found::Scopes(record.settings.catalogue.take())),
        Query::Key(account, id) => with_scopes(sql, keys::get(sql, *account, *id)?)?,
        Query::KeyByDigest(account, digest) => with_scopes(sql, keys::get_by_digest(sql, *account, digest)?)?,
        Query::Usage(account, id, per) => usage(sql, keys::get(sql, *account, *id)?, *per, now)?,
        Query::Accounts(external_id, page) => {
            let (mut listed, created) = accounts::list(sql, slot, external_id.as_deref(), page.start(), page.rows())?;
            let (created, next) = page.cut(created, |created| *created);
            listed.truncate(created.len());
            Some(Found::Accounts(listed, next))
        }
        Query::Keys(account, filter, page) => {
            let (listed, next) = keys::list(sql, *account, filter, *page, now)?;
            Some(Found::Keys(listed, next))
        }
        Query::Plan(account, id) => plans::get(sql, *account, *id, now)?.map(Found::Plan),
        Query::Plans(account, page) => {
            let listed = plans::list(sql, *account, page.start(), page.rows(), now)?;
            let (listed, next) = page.cut(listed, |record| record.sequence);
            Some(Found::Plans(listed, next))
        }
        Query::PlanKeys(account, id, page) => {
            let listed = plans::keys_of(sql, *account, *id, page.start(), page.rows(), now)?;
            let Some(listed) = listed else { return Ok(None) };
            let (listed, next) = page.cut(listed, |record| record.issued);
            Some(Found::Keys(listed, next))
        }
        Query::StaleKeys(account, days) => stale::report(sql, *account, *days, now)?.map(Found::StaleKeys),
        Query::Workspace(account, id) => workspaces::get(sql, *account, *id)?.map(Found::Workspace),
        Query::Workspaces(account, filter, page) => {
            let listed = workspaces::list(sql, *account, *filter, page.start(), page.rows())?;
            let (listed, next) = page.cut(listed, |record| record.created);
            Some(Found::Workspaces(listed, next))
        }
        Query::Audit(account, filter, page) => {
            let (listed, next) = page.cut(audit::list(sql, *account, filter, *page)?, |entry| entry.number);
            Some(Found::Audit(listed, next))
        }
        Query::Platform => Some(Found::Platform(platform::features(sql)?)),
    })
}

fn is_account(sql: &impl Sql, id: AccountRef) -> Result<bool, SqlError> {
    Ok(!sql.run("SELECT 1 FROM accounts WHERE number = ?1", &[id.number.into()])?.is_empty())
}

/// A key that was asked for alone comes with the use of its scopes.
fn with_scopes(sql: &impl Sql, record: Option<KeyRecord>) -> Result<Option<Found>, SqlError> {
    let Some(mut record) = record else { return Ok(None) };
    record.scopes_last_used = Some(Box::new(ScopesLastUsed::read(sql, &record)?));
    Ok(Some(Found::Key(record)))
}

fn usage(sql: &impl Sql, record: Option<KeyRecord>, per: Per, now: UnixMillis) -> Result<Option<Found>, SqlError> {
    let Some(record) = record else { return Ok(None) };
    Ok(Some(Found::Usage(UsagePicture::read(sql, record.digest, per, now)?)))
}

/// How the shard is.
///
/// # Errors
/// Trouble with SQLite.
pub fn condition(sql: &impl Sql) -> Result<Condition, SqlError> {
    let (unmirrored, oldest_unmirrored_at) = outbox::backlog(sql)?;
    // These two read every row; operators ask seldom.
    let accounts = only(sql.run("SELECT count(*) FROM accounts", &[])?)?.number()?;
    let peppers = sql.run(
        "SELECT pepper, count(*) FROM keys JOIN accounts ON accounts.number = keys.account
         WHERE keys.status <> 'revoked' AND issued > CASE environment
            WHEN 'live' THEN revoked_live WHEN 'test' THEN revoked_test ELSE revoked_admin END
         GROUP BY pepper ORDER BY pepper",
        &[],
    )?;
    let keys_by_pepper = each(peppers, |mut row| Ok((narrow(row.number()?)?, row.number()?)))?;
    let accepted_in_grace = only(sql.run("SELECT graced FROM meta", &[])?)?.number()?;
    Ok(Condition { accounts, unmirrored, oldest_unmirrored_at, keys_by_pepper, accepted_in_grace })
}

impl Page {
    pub(super) fn start(self) -> u64 {
        self.before.unwrap_or(super::sql::INTEGER_MAX.unsigned_abs())
    }

    /// One more than the page can have.
    pub(super) fn rows(self) -> u32 {
        self.limit.saturating_add(1)
    }

    /// Drops the row read beyond the limit, which only shows that there is a next page.
    pub(super) fn cut<T>(self, mut rows: Vec<T>, sequence: impl Fn(&T) -> u64) -> (Vec<T>, Option<u64>) {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(sequence);
        (rows, next)
    }
}

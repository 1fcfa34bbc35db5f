//! Keys that nobody seems to need: a report, before somebody plans to revoke them.

use crate::{
    credential::{AccountRef, Environment},
    policy::{DAY_MS, UnixMillis},
};

use super::{
    accounts,
    sql::{Sql, SqlError, only},
};

/// Keys that a report looks at, per environment, oldest first: three rows are read for each, so 60,000 at most.
pub const LOOKED_AT_MAX: u32 = 10_000;

/// What a report says.
#[derive(Clone, Debug, PartialEq)]
pub struct StaleKeys {
    /// Without a use for so many days.
    pub unused_days: u32,
    /// As of when.
    pub as_of: UnixMillis,
    /// There are more keys than were looked at: there may be more of each kind.
    pub at_least: bool,
    /// Active, issued before that, and no use is known.
    pub never_used: u64,
    /// Active, issued before that, and no use is known since; those that were never used are among them.
    pub unused: u64,
    /// Not revoked, but their time is over.
    pub expired: u64,
}

impl StaleKeys {
    /// From when on a key that is not stale was used.
    #[must_use]
    pub fn since(&self) -> UnixMillis {
        UnixMillis::from_millis(self.as_of.as_millis().saturating_sub(u64::from(self.unused_days) * DAY_MS))
    }
}

/// Looks at the keys of an account that are not revoked; none where there is no such account.
pub(super) fn report(
    sql: &impl Sql,
    account: AccountRef,
    unused_days: u32,
    now: UnixMillis,
) -> Result<Option<StaleKeys>, SqlError> {
    let Some(owner) = accounts::get(sql, account)? else { return Ok(None) };
    let mut report = StaleKeys { unused_days, as_of: now, at_least: false, never_used: 0, unused: 0, expired: 0 };
    for environment in [Environment::Live, Environment::Test] {
        let mut row = only(sql.run(
            "SELECT count(*), coalesce(sum(old AND last_at IS NULL), 0),
                coalesce(sum(old AND (last_at IS NULL OR last_at < ?4)), 0), coalesce(sum(status = 'active' AND over), 0)
             FROM (SELECT status, coalesce(expires_at <= ?5, false) AS over,
                    status = 'active' AND created_at < ?4 AND NOT coalesce(expires_at <= ?5, false) AS old,
                    (SELECT last_at FROM usage WHERE usage.digest = keys.digest ORDER BY day DESC LIMIT 1) AS last_at
                FROM keys WHERE account = ?1 AND environment = ?2 AND issued > ?3 AND status <> 'revoked'
                ORDER BY issued LIMIT ?6)",
            &[
                account.number.into(),
                environment.as_str().into(),
                owner.revoked_all.upto(environment).into(),
                report.since().as_millis().into(),
                now.as_millis().into(),
                LOOKED_AT_MAX.into(),
            ],
        )?)?;
        report.at_least |= row.number()? >= LOOKED_AT_MAX.into();
        report.never_used = report.never_used.saturating_add(row.number()?);
        report.unused = report.unused.saturating_add(row.number()?);
        report.expired = report.expired.saturating_add(row.number()?);
    }
    Ok(Some(report))
}

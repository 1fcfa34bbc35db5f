//! The rotation policy: for how long the keys of an account go on before they are due for a successor.
//!
//! It is the account's, so changing it changes when each of its keys is due. A key is due until it has a successor, is
//! revoked or expires. Nothing happens to a key that is due; people look for it.

use crate::{
    credential::{AccountRef, Environment},
    policy::{DAY_MS, KeyStatus, UnixMillis},
};

use super::{
    accounts,
    key_filter::{KeyFilter, Part, WALK_MAX},
    record::{KeyRecord, RevokedAll},
    sql::{INTEGER_MAX, Sql, SqlError, at_most_one, only},
};

/// Keys that are due are counted up to here, so that the cost does not grow with the account.
pub const DUE_COUNTED: u32 = 1_000;

/// What an account says about all of its keys.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OverKeys {
    /// Whether all that it had were revoked, and when.
    pub(super) revoked_all: RevokedAll,
    /// After how many days a key is due.
    pub(super) rotation_days: Option<u32>,
}

/// Which keys are due: these, and no others, are in the index `keys_due`, in the order of lists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// None was issued later than this sequence.
    pub(super) upto: u64,
    /// None was issued later than this.
    pub(super) issued_by: UnixMillis,
}

/// What the index `keys_due` has.
pub(super) const MAY_BE_DUE: &str = "status <> 'revoked' AND rotated_to IS NULL AND environment <> 'admin'";

impl KeyRecord {
    /// When the key is due for a successor; none = the account has no policy, or the key is past that.
    #[must_use]
    pub fn rotation_due_at(&self) -> Option<UnixMillis> {
        let is_past = self.status == KeyStatus::Revoked || self.rotated_to.is_some();
        let days = self.rotation_days.filter(|_| !is_past && self.environment != Environment::Admin)?;
        Some(self.created_at.saturating_add_millis(u64::from(days).saturating_mul(DAY_MS)))
    }
}

/// Which keys of `account` are due at `now`; none of them where it has no policy.
pub(super) fn due(
    sql: &impl Sql,
    account: AccountRef,
    over: OverKeys,
    now: UnixMillis,
) -> Result<Option<Due>, SqlError> {
    let Some(days) = over.rotation_days else { return Ok(None) };
    let ago = u64::from(days).saturating_mul(DAY_MS);
    let Some(issued_by) = now.as_millis().checked_sub(ago).map(UnixMillis::from_millis) else { return Ok(None) };
    Ok(Some(Due { upto: last_issued_by(sql, account, issued_by)?, issued_by }))
}

/// How many keys of `account` are due, up to [`DUE_COUNTED`], of as many of the newest ones that old as a page looks at;
/// none where it has no policy.
pub(super) fn count(sql: &impl Sql, account: AccountRef, now: UnixMillis) -> Result<Option<u64>, SqlError> {
    let over = accounts::over_keys(sql, account.number)?;
    let due = due(sql, account, over, now)?;
    if due.is_none() {
        return Ok(over.rotation_days.map(|_| 0));
    }
    let filter = KeyFilter { due: true, ..KeyFilter::default() };
    let part = Part { before: INTEGER_MAX.unsigned_abs(), limit: DUE_COUNTED, walk: WALK_MAX, due, only_left: true };
    let found = filter.select(sql, account, &part, over.revoked_all, now)?;
    let counted = sql.run(&format!("SELECT count(*) FROM (SELECT 1 FROM {})", found.from), &found.parameters)?;
    Ok(Some(only(counted)?.number()?))
}

/// The sequence of the last key that was issued by then, of those that may be due; 0 = none was. Sequences grow with time,
/// so it is found by halving, and whoever lists what is due neither walks over what is not nor sorts. Where the clock was
/// set back between two issues, the one may be due a little after its time.
fn last_issued_by(sql: &impl Sql, account: AccountRef, instant: UnixMillis) -> Result<u64, SqlError> {
    let statement = format!(
        "SELECT issued, created_at FROM keys INDEXED BY keys_due WHERE account = ?1 AND {MAY_BE_DUE} AND issued <= ?2
         ORDER BY issued DESC LIMIT 1"
    );
    let (mut low, mut high) = (0, INTEGER_MAX.unsigned_abs());
    // Every key issued up to `low` was by then, and none beyond `high`.
    while low < high {
        let middle = high.saturating_sub(high.saturating_sub(low) / 2);
        let Some(mut row) = at_most_one(sql.run(&statement, &[account.number.into(), middle.into()])?)? else {
            low = middle;
            continue;
        };
        let (issued, created_at) = (row.number()?, row.number()?);
        if created_at <= instant.as_millis() {
            low = middle;
        } else {
            high = issued.saturating_sub(1);
        }
    }
    Ok(low)
}

//! The rows of usage: what is known of one day of one key.
//!
//! They are kept for [`DAYS_KEPT`] days besides the current one, and somewhat longer, for only about once in
//! [`FORGET_EVERY`] days a key's old rows are looked for: when it gets a row of a new day. Those that alone say when the key
//! or one of its scopes was last used stay.

use crate::{credential::Digest, policy::UnixMillis};

use super::{
    hours::Hours,
    scopes_used,
    sql::{Columns, Sql, SqlError, at_most_one},
};

/// Days before the current one whose rows are kept.
pub(super) const DAYS_KEPT: u64 = 90;

/// A key's old rows are looked for when this many days, counted from another one for each key, have gone by: to keep one,
/// all later ones are read, so not every day, and not of all keys on the same.
const FORGET_EVERY: u64 = 30;

/// A row.
pub(super) struct Stored {
    /// Which day (UTC), counted from 1970.
    pub(super) day: u64,
    /// Uses, at least.
    pub(super) count: u64,
    /// The last of them; [`UnixMillis::EPOCH`] where there was none.
    pub(super) last_at: UnixMillis,
    /// Which scopes served.
    pub(super) scopes: u128,
    /// Uses and refusals by the hour. Rows of old have none.
    pub(super) hours: Hours,
}

impl Stored {
    /// Of a day of which nothing is known.
    pub(super) fn new(day: u64) -> Self {
        Stored { day, count: 0, last_at: UnixMillis::EPOCH, scopes: 0, hours: Hours::default() }
    }

    /// The row of `day`, or else the last one before.
    pub(super) fn newest(sql: &impl Sql, digest: &Digest, day: u64) -> Result<Option<Self>, SqlError> {
        let rows = sql.run(
            "SELECT day, count, last_at, scopes, hours FROM usage WHERE digest = ?1 AND day <= ?2 ORDER BY day DESC LIMIT 1",
            &[digest.to_hex().into(), day.into()],
        )?;
        at_most_one(rows)?.map(Stored::read).transpose()
    }

    fn read(mut row: Columns) -> Result<Self, SqlError> {
        Ok(Stored {
            day: row.number()?,
            count: row.number()?,
            last_at: UnixMillis::from_millis(row.number()?),
            scopes: row.parsed("set of scopes", scopes_used::stored)?,
            hours: Hours::read(&row.text()?),
        })
    }

    /// Puts it in its place. False, and nothing is written, if nobody knows the key.
    pub(super) fn write(&self, sql: &impl Sql, digest: &Digest) -> Result<bool, SqlError> {
        let scopes = if self.scopes == 0 { String::new() } else { scopes_used::text(self.scopes) };
        let written = sql.run(
            "INSERT INTO usage (digest, day, count, last_at, scopes, hours)
                SELECT digest, ?2, ?3, ?4, ?5, ?6 FROM keys WHERE digest = ?1
             ON CONFLICT (digest, day) DO UPDATE SET count = excluded.count, last_at = excluded.last_at,
                    scopes = excluded.scopes, hours = excluded.hours
             RETURNING day",
            &[
                digest.to_hex().into(),
                self.day.into(),
                self.count.into(),
                self.last_at.as_millis().into(),
                scopes.into(),
                self.hours.text().into(),
            ],
        )?;
        Ok(!written.is_empty())
    }
}

/// Forgets old rows of a key that got one of `day`, where that is due; the last one before was of the day `before`. A row
/// goes that knows of no use, and one whose very scopes served again on a later day: so it says nothing more of them.
pub(super) fn forget_old(sql: &impl Sql, digest: &Digest, day: u64, before: u64) -> Result<(), SqlError> {
    let [offset, ..] = *digest.as_bytes();
    let period = |day: u64| day.saturating_add(offset.into()) / FORGET_EVERY;
    if period(day) == period(before) {
        return Ok(());
    }
    sql.run(
        "DELETE FROM usage WHERE digest = ?1 AND day < ?2 AND (last_at = 0 OR EXISTS (
            SELECT 1 FROM usage AS later WHERE later.digest = usage.digest AND later.day > usage.day
                AND later.scopes = usage.scopes AND later.last_at > 0))",
        &[digest.to_hex().into(), day.saturating_sub(DAYS_KEPT).into()],
    )?;
    Ok(())
}

//! The feed: which subjects changed, complete for every sequence after `low`.
//!
//! A cache that applies the feed learns of every change it may have missed. There is one row per subject, the newest;
//! a row's `position` grows with every change and is the reader's cursor (the sequence cannot be: one command may
//! change many subjects). The feed is bounded: what no longer fits moves `low` up to the sequence of the newest row
//! left out, and `cut` to its position. A reader whose cursor is below the cut must start anew; a copy older than
//! `low` cannot be judged by the feed and is not believable. Issuing a key is no change: nothing older can exist.

use crate::credential::{AccountRef, Digest};

use super::sql::{Sql, SqlError, Value, at_most_one, only};

/// Rows kept. 8,192 rows of about 40 bytes are 330 KB, what one reset may cost.
pub const FEED_ROWS_MAX: u64 = 8_192;

/// A key or an account, as the feed names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedSubject(String);

impl FeedSubject {
    /// A key, by the first 8 bytes of its digest: a prefix that two keys share evicts both, which is harmless.
    #[must_use]
    pub fn key(digest: &Digest) -> Self {
        FeedSubject(format!("key:{}", digest.prefix_hex()))
    }

    /// An account, by its number in the slot.
    #[must_use]
    pub fn account(account: AccountRef) -> Self {
        FeedSubject(format!("account:{}", account.number))
    }

    /// The stored form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Notes that `subject` changed in command `sequence`. Belongs in the command's transaction.
///
/// # Errors
/// Trouble with SQLite.
pub fn record(sql: &impl Sql, subject: &FeedSubject, sequence: u64) -> Result<(), SqlError> {
    record_bounded(sql, subject, sequence, FEED_ROWS_MAX)
}

fn record_bounded(sql: &impl Sql, subject: &FeedSubject, sequence: u64, rows_max: u64) -> Result<(), SqlError> {
    let replaced =
        at_most_one(sql.run("DELETE FROM feed WHERE subject = ?1 RETURNING position", &[subject.as_str().into()])?)?
            .is_some();
    let mut counters = only(sql.run(
        "UPDATE meta SET feed_position = feed_position + 1, feed_rows = feed_rows + ?1
         RETURNING feed_position, feed_rows",
        &[(!replaced).into()],
    )?)?;
    let (position, rows) = (counters.number()?, counters.number()?);
    sql.run(
        "INSERT INTO feed (position, subject, sequence) VALUES (?1, ?2, ?3)",
        &[position.into(), subject.as_str().into(), sequence.into()],
    )?;
    if rows > rows_max { cut_oldest(sql) } else { Ok(()) }
}

fn cut_oldest(sql: &impl Sql) -> Result<(), SqlError> {
    let mut oldest = only(sql.run(
        "DELETE FROM feed WHERE position = (SELECT min(position) FROM feed) RETURNING position, sequence",
        &[],
    )?)?;
    let (position, sequence) = (oldest.number()?, oldest.number()?);
    sql.run(
        "UPDATE meta SET feed_rows = feed_rows - 1, feed_low = max(feed_low, ?1), feed_cut = max(feed_cut, ?2)",
        &[Value::from(sequence), Value::from(position)],
    )?;
    Ok(())
}

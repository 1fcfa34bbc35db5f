//! The feed: which subjects changed, complete for every sequence after `low`.
//!
//! A cache that applies the feed learns of every change it may have missed. There is one row per subject, the newest;
//! a row's `position` grows with every change and is the reader's cursor (the sequence cannot be: one command may
//! change many subjects). The feed is bounded: what no longer fits moves `low` up to the sequence of the newest row
//! left out, and `cut` to its position. A reader whose cursor is below the cut must start anew; a copy older than
//! `low` cannot be judged by the feed and is not believable. Issuing a key is no change: nothing older can exist.

use crate::{
    credential::{AccountRef, Digest},
    planted::{feed_rows, planted},
};

use super::{
    sql::{Sql, SqlError, Value, at_most_one, only},
    sync::Known,
};

/// Rows kept. 8,192 rows of about 40 bytes are 330 KB, what one reset may cost.
pub const FEED_ROWS_MAX: u64 = 8_192;

/// The subject of which there is only one.
pub(super) const PLATFORM: &str = "platform";

/// A key, an account or the platform, as the feed names it.
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

    /// What is on for every account.
    #[must_use]
    pub fn platform() -> Self {
        FeedSubject(PLATFORM.into())
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
    record_bounded(sql, subject, sequence, feed_rows(FEED_ROWS_MAX))
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

/// Where a shard's history and its feed stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FeedState {
    pub(super) epoch: String,
    pub(super) sequence: u64,
    /// The position of the newest row.
    pub(super) position: u64,
    /// The feed is complete for every later sequence.
    pub(super) low: u64,
    /// The position of the newest row that was left out.
    pub(super) cut: u64,
}

/// Reads where the feed stands.
pub(super) fn state(sql: &impl Sql) -> Result<FeedState, SqlError> {
    let mut row = only(sql.run("SELECT epoch, sequence, feed_position, feed_low, feed_cut FROM meta", &[])?)?;
    Ok(FeedState {
        epoch: row.text()?,
        sequence: row.number()?,
        position: row.number()?,
        low: row.number()?,
        cut: row.number()?,
    })
}

/// The rows behind `position`, oldest first: a line each, subject and sequence with a space between them. None = there
/// are none.
pub(super) fn after(sql: &impl Sql, position: u64) -> Result<Option<String>, SqlError> {
    // One text instead of thousands of rows: at its longest, 290 KB, far below SQLite's limit here of 2 MB.
    let rows = sql.run(
        "SELECT group_concat(change, char(10)) FROM
            (SELECT subject || ' ' || sequence AS change FROM feed WHERE position > ?1 ORDER BY position)",
        &[position.into()],
    )?;
    only(rows)?.optional_text()
}

/// Starts a new epoch. An isolate knows more of this one than the database does, which was therefore set back to an earlier
/// state. What was told in between is void, and so is every copy and every position; the new history begins behind both.
pub(super) fn begin_anew(sql: &impl Sql, known: &Known, epoch: &str) -> Result<(), SqlError> {
    sql.atomically(|| {
        sql.run("DELETE FROM feed", &[])?;
        sql.run(
            "UPDATE meta SET epoch = ?3, sequence = max(sequence, ?1) + 1, feed_position = max(feed_position, ?2) + 1,
                feed_rows = 0, feed_low = max(sequence, ?1) + 1, feed_cut = max(feed_position, ?2) + 1",
            &[known.sequence.into(), known.cursor.into(), epoch.into()],
        )?;
        Ok(())
    })
}

fn cut_oldest(sql: &impl Sql) -> Result<(), SqlError> {
    let mut oldest = only(sql.run(
        "DELETE FROM feed WHERE position = (SELECT min(position) FROM feed) RETURNING position, sequence",
        &[],
    )?)?;
    let (mut position, mut sequence) = (oldest.number()?, oldest.number()?);
    if planted!(LowStays) {
        sequence = 0;
    }
    if planted!(CutStays) {
        position = 0;
    }
    sql.run(
        "UPDATE meta SET feed_rows = feed_rows - 1, feed_low = max(feed_low, ?1), feed_cut = max(feed_cut, ?2)",
        &[Value::from(sequence), Value::from(position)],
    )?;
    Ok(())
}

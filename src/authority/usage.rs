//! Usage: which keys were used and refused lately, and about how often.
//!
//! Caches tell it with their syncs, each use and refusal at most once; what a failed sync or the end of an instance loses
//! is not told again. So counts are lower bounds. Rows written are the dearest thing here: what a key's row is to be told
//! waits in memory for a minute since that was last written, and then for the next round, which many rows share.
//!
//! A key has one row for each day (UTC) on which it was used or refused, in which every hour is counted apart. A refusal
//! is no use: a row that knows of refusals alone has 0 for the time of its last use. Old rows go: the module
//! `usage_rows`.
//!
//! With a use comes which of the key's scopes served it. That is kept by the day (UTC), and is a lower bound, too.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::{
    credential::Digest,
    policy::{Reason, UnixMillis},
};

use super::{
    hours::{Calls, Hours},
    query::Found,
    record::KeyRecord,
    sql::{Sql, SqlError},
    usage_rows::{self, Stored},
};

/// How long a row stays as it is, in milliseconds.
pub const WRITE_INTERVAL_MS: u64 = 60_000;

/// Rounds of writing are so far apart at least, in milliseconds: each is an alarm, which costs two rows itself.
pub const WRITE_ROUND_MS: u64 = 10_000;

/// Rows that one round writes; there is another a second later while there are more. In their minute it gets round to all
/// of [`ROWS_MAX`], and no answer waits long behind one round's commit.
pub const ROWS_PER_ROUND: usize = 2_000;

/// Rows in memory, about 150 bytes each. Where there is no room, a use is written at once.
pub const ROWS_MAX: usize = 65_536;

/// What a cache tells of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Which key.
    pub digest: Digest,
    /// How often it was used; 0 where only the time counts, because the count was told before and may have arrived.
    pub count: u32,
    /// How long ago the last use was, in milliseconds.
    pub age_ms: u64,
    /// Which of the key's scopes served on the day of the last use, bit *i* for its *i*-th; as far as it is known.
    pub scopes: u128,
}

/// What a cache tells of a key besides: calls of one hour that ended in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Which key.
    pub digest: Digest,
    /// Why they were refused; none: they were uses, and there are later ones.
    pub reason: Option<Reason>,
    /// How many there were.
    pub count: u32,
    /// How long ago the last one was, in milliseconds.
    pub age_ms: u64,
}

/// What is not written yet, and what was written within the last minute. All of it may be lost.
#[derive(Debug, Default)]
pub struct Tally {
    /// The rows of each key, few: one a day.
    keys: HashMap<Digest, Vec<Row>, BuildHasherDefault<OfDigest>>,
    rows: usize,
    /// The round before which nothing is to be written; none = nothing waits.
    next_due: Option<UnixMillis>,
    /// When room was last looked for.
    swept_at: Option<UnixMillis>,
}

/// Digests come from a keyed hash, so nobody can choose them to collide.
#[derive(Debug, Default)]
struct OfDigest(u64);

/// What is to be told to a row of the table.
#[derive(Debug)]
struct Row {
    /// Which one: of which day (UTC, counted from 1970).
    day: u64,
    /// Uses and refusals that are to be added.
    hours: Hours,
    /// The last use that is known of; [`UnixMillis::EPOCH`] = none.
    last_at: UnixMillis,
    /// Which scopes served. All that are known of once it was written, and until then those that are to be added.
    scopes: u128,
    /// When it was last written; none = never, by this instance.
    written_at: Option<UnixMillis>,
    /// There is something that is not written.
    waits: bool,
}

impl Tally {
    /// Takes uses that a sync brought, and writes those whose row was not written within the last minute. True when
    /// anything was written.
    ///
    /// # Errors
    /// Trouble with SQLite; the uses that were not written wait, where there is room for them.
    pub fn take(&mut self, sql: &impl Sql, uses: &[Use], now: UnixMillis) -> Result<bool, SqlError> {
        let mut wrote = false;
        for Use { digest, count, age_ms, scopes } in uses {
            let counted = Counted { digest: *digest, reason: None, count: *count, age_ms: *age_ms };
            wrote |= self.note(sql, &counted, *scopes, now)?;
        }
        Ok(wrote)
    }

    /// The same with what else a sync told.
    ///
    /// # Errors
    /// Trouble with SQLite, as with [`Tally::take`].
    pub fn take_counted(&mut self, sql: &impl Sql, counted: &[Counted], now: UnixMillis) -> Result<bool, SqlError> {
        let mut wrote = false;
        for counted in counted {
            wrote |= self.note(sql, counted, 0, now)?;
        }
        Ok(wrote)
    }

    fn note(&mut self, sql: &impl Sql, told: &Counted, scopes: u128, now: UnixMillis) -> Result<bool, SqlError> {
        let Counted { digest, reason, count, age_ms } = told;
        let at = UnixMillis::from_millis(now.as_millis().saturating_sub(*age_ms));
        let mut passing = Row::new(at.day());
        let row = self.row(digest, at.day(), now).unwrap_or(&mut passing);
        row.hours.add(&Calls::at(at, *reason, (*count).into()));
        row.waits |= *count > 0;
        if reason.is_none() {
            row.waits |= at > row.last_at || scopes & !row.scopes != 0;
            row.scopes |= scopes;
            row.last_at = row.last_at.max(at);
        }
        let outcome = row.write_if_due(sql, digest, now);
        if row.waits {
            let round = row.round();
            self.next_due = Some(self.next_due.map_or(round, |next| next.min(round)));
        }
        outcome
    }

    /// Writes what has waited for a minute since its row was last written, up to [`ROWS_PER_ROUND`] of it. True when
    /// anything was written.
    ///
    /// # Errors
    /// Trouble with SQLite; what was not written waits.
    pub fn write_due(&mut self, sql: &impl Sql, now: UnixMillis) -> Result<bool, SqlError> {
        let mut wrote = false;
        let rows = self.keys.iter_mut().flat_map(|(digest, rows)| rows.iter_mut().map(move |row| (digest, row)));
        for (digest, row) in rows.filter(|(_, row)| row.waits && row.is_due(now)).take(ROWS_PER_ROUND) {
            wrote |= row.write_if_due(sql, digest, now)?;
        }
        self.sweep(now);
        self.next_due = self.keys.values().flatten().filter(|row| row.waits).map(Row::round).min();
        Ok(wrote)
    }

    /// The row of that key and day; none if there is no room for it.
    fn row(&mut self, digest: &Digest, day: u64, now: UnixMillis) -> Option<&mut Row> {
        let is_there = self.keys.get(digest).is_some_and(|rows| rows.iter().any(|row| row.day == day));
        if !is_there {
            if !self.has_room(now) {
                return None;
            }
            self.keys.entry(*digest).or_insert_with(|| Vec::with_capacity(1)).push(Row::new(day));
            self.rows = self.rows.saturating_add(1);
        }
        self.keys.get_mut(digest)?.iter_mut().find(|row| row.day == day)
    }

    /// True if a further row fits.
    fn has_room(&mut self, now: UnixMillis) -> bool {
        let is_full = self.rows >= ROWS_MAX;
        // It takes a look at every row, so not for each use.
        if is_full && self.swept_at.is_none_or(|at| at > now || at.saturating_add_millis(WRITE_ROUND_MS) <= now) {
            self.sweep(now);
        }
        self.rows < ROWS_MAX
    }

    /// A row that rests is known to the database alone.
    fn sweep(&mut self, now: UnixMillis) {
        self.keys.retain(|_, rows| {
            rows.retain(|row| row.waits || !row.is_due(now));
            !rows.is_empty()
        });
        self.rows = self.keys.values().map(Vec::len).sum();
        self.swept_at = Some(now);
    }

    /// Adds to what was found in the database what is not written yet.
    pub fn add_to(&self, found: &mut Found) {
        match found {
            Found::Key(record) => self.add_to_record(record),
            Found::Keys(records, _) => records.iter_mut().for_each(|record| self.add_to_record(record)),
            Found::Usage(picture) => {
                let digest = picture.digest;
                for row in self.waiting(&digest) {
                    picture.add_day(row.day, row.uses(), &row.hours);
                }
            }
            Found::Account(_)
            | Found::Accounts(..)
            | Found::Scopes(_)
            | Found::Audit(..)
            | Found::Plan(_)
            | Found::Plans(..)
            | Found::StaleKeys(_)
            | Found::Platform(_)
            | Found::Workspace(_)
            | Found::Workspaces(..) => {}
        }
    }

    fn add_to_record(&self, record: &mut KeyRecord) {
        for row in self.waiting(&record.digest) {
            record.last_used_at = record.last_used_at.max(Some(row.last_at).filter(|at| *at > UnixMillis::EPOCH));
            if let Some(scopes) = &mut record.scopes_last_used {
                scopes.add(row.day, row.scopes);
            }
        }
    }

    fn waiting(&self, digest: &Digest) -> impl Iterator<Item = &Row> {
        self.keys.get(digest).into_iter().flatten().filter(|row| row.waits)
    }

    /// When there is something to write: a multiple of [`WRITE_ROUND_MS`], so that many rows share one alarm. None while
    /// nothing waits. Every sync asks, so it is kept, and not looked for.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.next_due
    }
}

impl Hasher for OfDigest {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Row {
    fn new(day: u64) -> Self {
        Row { day, hours: Hours::default(), last_at: UnixMillis::EPOCH, scopes: 0, written_at: None, waits: false }
    }

    /// Uses that are to be added.
    fn uses(&self) -> u64 {
        let calls = self.hours.calls().iter();
        calls.fold(0, |sum, calls| sum.saturating_add(if calls.reason.is_none() { calls.count } else { 0 }))
    }

    /// The first round that writes it.
    fn round(&self) -> UnixMillis {
        UnixMillis::from_millis(self.due_at().as_millis().div_ceil(WRITE_ROUND_MS).saturating_mul(WRITE_ROUND_MS))
    }

    fn due_at(&self) -> UnixMillis {
        self.written_at.map_or(UnixMillis::EPOCH, |at| at.saturating_add_millis(WRITE_INTERVAL_MS))
    }

    fn is_due(&self, now: UnixMillis) -> bool {
        // A time of writing that is yet to come: the clock was set back.
        now >= self.due_at() || self.written_at.is_some_and(|at| at > now)
    }

    /// True when the database has changed: a use of a key that nobody knows, or one told before, changes nothing.
    fn write_if_due(&mut self, sql: &impl Sql, digest: &Digest, now: UnixMillis) -> Result<bool, SqlError> {
        if !self.waits || !self.is_due(now) {
            return Ok(false);
        }
        // What another instance, or this one, wrote earlier is not in memory.
        let newest = Stored::newest(sql, digest, self.day)?;
        let (stored, before) = match newest {
            Some(row) if row.day == self.day => (Some(row), None),
            other => (None, other.map(|row| row.day)),
        };
        let mut sum = stored.unwrap_or_else(|| Stored::new(self.day));
        let news = !self.hours.calls().is_empty() || self.last_at > sum.last_at || self.scopes & !sum.scopes != 0;
        self.scopes |= sum.scopes;
        (sum.last_at, sum.scopes) = (sum.last_at.max(self.last_at), self.scopes);
        sum.count = sum.count.saturating_add(self.uses());
        for calls in self.hours.calls() {
            sum.hours.add(calls);
        }
        let written = news && sum.write(sql, digest)?;
        self.hours = Hours::default();
        self.waits = false;
        self.written_at = Some(now);
        if let (true, Some(before)) = (written, before) {
            usage_rows::forget_old(sql, digest, self.day, before)?;
        }
        Ok(written)
    }
}

//! Usage: which keys were used lately, and about how often.
//!
//! Caches tell it with their syncs, each use at most once; what a failed sync or the end of an instance loses is not told
//! again. So counts are lower bounds. Rows written are the dearest thing here: what a key's row is to be told waits in
//! memory for a minute since that was last written.

use crate::{credential::Digest, policy::UnixMillis};

use super::{
    query::Found,
    record::KeyRecord,
    sql::{Sql, SqlError},
};

/// How long a row stays as it is, in milliseconds.
pub const WRITE_INTERVAL_MS: u64 = 60_000;

/// What a cache tells of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Which key.
    pub digest: Digest,
    /// How often it was used; 0 where only the time counts, because the count was told before and may have arrived.
    pub count: u32,
    /// How long ago the last use was, in milliseconds.
    pub age_ms: u64,
}

/// What is not written yet, and what was written within the last minute. All of it may be lost.
#[derive(Debug, Default)]
pub struct Tally {
    /// In the order of digest and day.
    rows: Vec<Row>,
    /// Nothing is to be written before.
    next_due: Option<UnixMillis>,
}

/// What is to be told to a row of the table: a key's, of one day (UTC, counted from 1970).
#[derive(Debug)]
struct Row {
    digest: Digest,
    day: u64,
    count: u64,
    last_at: UnixMillis,
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
    /// Trouble with SQLite; the uses that were not written wait.
    pub fn take(&mut self, sql: &impl Sql, uses: &[Use], now: UnixMillis) -> Result<bool, SqlError> {
        let mut wrote = false;
        for Use { digest, count, age_ms } in uses {
            let at = UnixMillis::from_millis(now.as_millis().saturating_sub(*age_ms));
            let day = at.as_millis() / DAY_MS;
            let found = self.rows.binary_search_by(|row| row.digest.cmp(digest).then(row.day.cmp(&day)));
            let place = found.unwrap_or_else(|place| {
                let row =
                    Row { digest: *digest, day, count: 0, last_at: UnixMillis::EPOCH, written_at: None, waits: false };
                self.rows.insert(place, row);
                place
            });
            let Some(row) = self.rows.get_mut(place) else { continue };
            row.waits |= *count > 0 || at > row.last_at;
            row.count = row.count.saturating_add((*count).into());
            row.last_at = row.last_at.max(at);
            let outcome = row.write_if_due(sql, now);
            if row.waits {
                let due_at = row.due_at();
                self.next_due = Some(self.next_due.map_or(due_at, |next| next.min(due_at)));
            }
            wrote |= outcome?;
        }
        Ok(wrote)
    }

    /// Writes what has waited for a minute since its row was last written. True when anything was written.
    ///
    /// # Errors
    /// Trouble with SQLite; what was not written waits.
    pub fn write_due(&mut self, sql: &impl Sql, now: UnixMillis) -> Result<bool, SqlError> {
        let mut wrote = false;
        for row in &mut self.rows {
            wrote |= row.write_if_due(sql, now)?;
        }
        // A row that rests is known to the database alone.
        self.rows.retain(|row| row.waits || !row.is_due(now));
        self.next_due = self.rows.iter().filter(|row| row.waits).map(Row::due_at).min();
        Ok(wrote)
    }

    /// Adds to what was found in the database what is not written yet.
    pub fn add_to(&self, found: &mut Found) {
        match found {
            Found::Key(record) => self.add_to_record(record),
            Found::Keys(records, _) => records.iter_mut().for_each(|record| self.add_to_record(record)),
            Found::Account(_) | Found::Accounts(..) | Found::Audit(..) => {}
        }
    }

    fn add_to_record(&self, record: &mut KeyRecord) {
        let waiting = self.rows.iter().filter(|row| row.waits && row.digest == record.digest);
        record.last_used_at = waiting.map(|row| Some(row.last_at)).fold(record.last_used_at, Option::max);
    }

    /// When there is something to write; none while nothing waits. Every sync asks, so it is kept, and not looked for.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.next_due
    }
}

impl Row {
    fn due_at(&self) -> UnixMillis {
        self.written_at.map_or(UnixMillis::EPOCH, |at| at.saturating_add_millis(WRITE_INTERVAL_MS))
    }

    fn is_due(&self, now: UnixMillis) -> bool {
        // A time of writing that is yet to come: the clock was set back.
        now >= self.due_at() || self.written_at.is_some_and(|at| at > now)
    }

    /// True when the database has changed: a use of a key that nobody knows, or one told before, changes nothing.
    fn write_if_due(&mut self, sql: &impl Sql, now: UnixMillis) -> Result<bool, SqlError> {
        if !self.waits || !self.is_due(now) {
            return Ok(false);
        }
        let written = sql.run(
            "INSERT INTO usage (digest, day, count, last_at) SELECT digest, ?2, ?3, ?4 FROM keys WHERE digest = ?1
             ON CONFLICT (digest, day) DO UPDATE SET count = count + excluded.count, last_at = max(last_at, excluded.last_at)
                WHERE excluded.count > 0 OR excluded.last_at > last_at
             RETURNING day",
            &[self.digest.to_hex().into(), self.day.into(), self.count.into(), self.last_at.as_millis().into()],
        )?;
        self.count = 0;
        self.waits = false;
        self.written_at = Some(now);
        Ok(!written.is_empty())
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

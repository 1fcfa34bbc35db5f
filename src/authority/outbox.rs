//! The outbox: which copies in KV are behind, and when each is to be put again.
//!
//! A command enqueues, in its own transaction, the KV keys that it made outdated; one row per KV key. The value is
//! built when it is sent, from what the tables say then, so that a put never carries an old state on purpose. A row
//! goes only when a put of its own sequence or a later one has succeeded. A row that fails is due again after a time
//! of its own and stands in no other's way.

use crate::{
    credential::{AccountRef, Digest},
    json::ObjectWriter,
    planted::planted,
    policy::{KeyStatus, UnixMillis},
};

use super::{
    accounts,
    copy::{AccountCopy, GrantCopy, SigningKeys},
    keys, meta,
    sql::{Columns, Sql, SqlError, Value, at_most_one, only},
};

/// The least time between two puts of one KV key. KV takes one write per second and key and answers a second one
/// with 429 (Cloudflare Workers KV, limits).
pub const PUT_INTERVAL_MS: u64 = 1_000;

/// The least time between a put and a refresh of the same KV key. KV caches, a missing key included, for 60 s by
/// default, so that a location may report for as long what has been mended already.
pub const REFRESH_INTERVAL_MS: u64 = 60_000;

/// The longest pause between two attempts. KV outages have lasted hours; a minute loses little.
const BACKOFF_MAX_MS: u64 = 60_000;

/// Puts that one round begins. A Worker may have six connections open; the rest would only queue.
pub const PUTS_PER_ROUND: u32 = 6;

/// Puts of a sweep that may be under way. The connections that are left are for everything else.
const SWEPT_AT_ONCE: usize = 3;

/// A sweep adds so many rows at once, while no more than that wait.
pub(super) const SHORT: u32 = 18;

/// True where a sweep has to wait.
pub(super) fn is_long(sql: &impl Sql) -> Result<bool, SqlError> {
    let beyond = sql.run("SELECT 1 FROM outbox WHERE priority >= 0 LIMIT 1 OFFSET ?1", &[SHORT.into()])?;
    Ok(!beyond.is_empty())
}

/// The name of a copy in KV.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvKey {
    /// `grant:<digest>`.
    Grant(Digest),
    /// `account:<slot>.<number>`.
    Account(AccountRef),
}

impl KvKey {
    /// Where the copy of a key lies.
    #[must_use]
    pub fn grant(digest: &Digest) -> Self {
        KvKey::Grant(*digest)
    }

    /// Where the copy of an account lies.
    #[must_use]
    pub fn account(account: AccountRef) -> Self {
        KvKey::Account(account)
    }

    /// The key's text in KV.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            KvKey::Grant(digest) => format!("grant:{}", digest.to_hex()),
            KvKey::Account(account) => format!("account:{}.{}", account.slot, account.number),
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(hex) = text.strip_prefix("grant:") {
            return Digest::parse_hex(hex).map(KvKey::Grant);
        }
        let (slot, number) = text.strip_prefix("account:")?.split_once('.')?;
        Some(KvKey::Account(AccountRef { slot: slot.parse().ok()?, number: number.parse().ok()? }))
    }
}

/// What goes first when many are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A change that an administrator made.
    Command = 0,
    /// A copy that KV lost or no longer has right.
    Refresh = 1,
    /// A key that was revoked with others: its copy decides nothing any more, but does not say so yet.
    Sweep = 2,
}

/// Notes that KV is behind on `kv_key`, as of the running command. An earlier row of the same key keeps its age.
///
/// # Errors
/// Trouble with SQLite.
pub fn enqueue(sql: &impl Sql, kv_key: &KvKey, now: UnixMillis) -> Result<(), SqlError> {
    sql.run(
        "INSERT INTO outbox (kv_key, sequence, priority, attempts, due_at, since)
         SELECT ?1, sequence, ?2, 0, ?3, ?3 FROM meta WHERE true
         ON CONFLICT (kv_key) DO UPDATE SET sequence = excluded.sequence, priority = excluded.priority, attempts = 0,
            due_at = excluded.due_at",
        &[kv_key.text().into(), Value::Integer(Priority::Command as i64), now.as_millis().into()],
    )?;
    Ok(())
}

/// Notes that a copy does not say yet what its account's, or the feed, says already.
pub(super) fn enqueue_swept(sql: &impl Sql, kv_key: &KvKey, now: UnixMillis) -> Result<(), SqlError> {
    enqueue_behind(sql, kv_key, Priority::Sweep, now)
}

/// An earlier row keeps its turn, but outlasts a put that is under way: that one says what was so before.
fn enqueue_behind(sql: &impl Sql, kv_key: &KvKey, priority: Priority, now: UnixMillis) -> Result<(), SqlError> {
    if planted!(SweepPassesPuts) && waits(sql, kv_key)? {
        return Ok(());
    }
    sql.run(
        "INSERT INTO outbox (kv_key, sequence, priority, attempts, due_at, since)
         SELECT ?1, sequence, ?2, 0, ?3, ?3 FROM meta WHERE true
         ON CONFLICT (kv_key) DO UPDATE SET sequence = excluded.sequence",
        &[kv_key.text().into(), Value::Integer(priority as i64), now.as_millis().into()],
    )?;
    Ok(())
}

/// How many changes wait for KV, and since when the oldest.
///
/// # Errors
/// Trouble with SQLite.
pub(super) fn backlog(sql: &impl Sql) -> Result<(u64, Option<UnixMillis>), SqlError> {
    let mut row = only(sql.run("SELECT count(*), min(since) FROM outbox WHERE priority = 0", &[])?)?;
    Ok((row.number()?, row.optional_number()?.map(UnixMillis::from_millis)))
}

/// True while a change of `kv_key` waits for KV.
///
/// # Errors
/// Trouble with SQLite.
pub fn waits(sql: &impl Sql, kv_key: &KvKey) -> Result<bool, SqlError> {
    Ok(!sql.run("SELECT 1 FROM outbox WHERE kv_key = ?1", &[kv_key.text().into()])?.is_empty())
}

/// When there is something to put, or a plan to go on with or to forget; none when the outbox is empty, no sweep is under
/// way and there is no plan.
///
/// # Errors
/// Trouble with SQLite.
pub fn next_due(sql: &impl Sql) -> Result<Option<UnixMillis>, SqlError> {
    // One look into the index per priority. A sweep goes on as soon as there is room, a plan at once. A Durable Object
    // takes five parts of a UNION at most.
    let rows = sql.run(
        "SELECT min(due_at) FROM (SELECT (SELECT min(due_at) FROM outbox WHERE priority = 0) AS due_at
            UNION ALL SELECT (SELECT min(due_at) FROM outbox WHERE priority = 1)
            UNION ALL SELECT (SELECT min(due_at) FROM outbox WHERE priority = 2)
            UNION ALL SELECT (SELECT 0 FROM sweeps
                WHERE (SELECT 1 FROM outbox WHERE priority >= 0 LIMIT 1 OFFSET ?1) IS NULL LIMIT 1)
            UNION ALL SELECT coalesce((SELECT 0 FROM plans WHERE state = 'running' LIMIT 1),
                (SELECT 0 FROM plans WHERE state = 'planning' LIMIT 1),
                (SELECT min(gone_at) FROM plans WHERE gone_at IS NOT NULL)))",
        &[SHORT.into()],
    )?;
    let due = at_most_one(rows)?.map(|mut row| row.optional_number()).transpose()?.flatten();
    Ok(due.map(UnixMillis::from_millis))
}

/// A put that KV should get now.
#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    /// Which copy.
    pub kv_key: KvKey,
    /// The signed copy.
    pub value: String,
    /// What `wrangler kv key list` shows; never read by Keygate. JSON of at most 1,024 bytes (Workers KV, limits).
    pub metadata: String,
    /// The sequence that the copy contains.
    pub as_of: u64,
}

/// Hands out the puts that are due, at most one in flight per KV key and none sooner than [`PUT_INTERVAL_MS`] after
/// the last. What it remembers is only pace: forgetting it, as a restart does, costs at worst a 429.
#[derive(Debug, Default)]
pub struct Courier {
    /// Those of the last minute: a few thousand at most. A search through them is less code than a map.
    paces: Vec<Pace>,
}

#[derive(Debug)]
struct Pace {
    kv_key: KvKey,
    in_flight: bool,
    swept: bool,
    last_put_at: UnixMillis,
}

impl Pace {
    fn next_put_at(&self) -> UnixMillis {
        self.last_put_at.saturating_add_millis(PUT_INTERVAL_MS)
    }

    /// Worth remembering: after [`REFRESH_INTERVAL_MS`] it has no effect any more.
    fn is_recent(&self, now: UnixMillis) -> bool {
        self.in_flight || self.last_put_at.saturating_add_millis(REFRESH_INTERVAL_MS) > now
    }
}

impl Courier {
    /// Notes that a location found KV without a copy it could believe, so that it is put again; not more often than
    /// every [`REFRESH_INTERVAL_MS`], for KV may go on serving what it had.
    ///
    /// # Errors
    /// Trouble with SQLite.
    pub fn refresh(&mut self, sql: &impl Sql, kv_key: &KvKey, now: UnixMillis) -> Result<(), SqlError> {
        if self.pace(kv_key).is_some_and(|pace| pace.is_recent(now)) {
            return Ok(());
        }
        enqueue_behind(sql, kv_key, Priority::Refresh, now)
    }

    /// Takes the rows due at `now` and builds their copies. Each must be given back by [`Courier::finished`].
    ///
    /// # Errors
    /// Trouble with SQLite.
    pub fn take_due(
        &mut self,
        sql: &impl Sql,
        signing: &SigningKeys,
        slot: u8,
        now: UnixMillis,
    ) -> Result<Vec<Put>, SqlError> {
        self.paces.retain(|pace| pace.is_recent(now));
        let rows = sql.run(
            "SELECT kv_key, priority FROM outbox WHERE due_at <= ?1 ORDER BY priority, due_at LIMIT ?2",
            &[now.as_millis().into(), PUTS_PER_ROUND.into()],
        )?;
        let mut puts = Vec::new();
        let mut others = false;
        for row in rows {
            let mut row = Columns::of(row);
            let kv_key = row.parsed("KV key", KvKey::parse)?;
            let swept = row.number()? == Priority::Sweep as u64;
            others |= !swept;
            // Whoever waits for a change to be put does not wait for a sweep.
            if swept && (others || self.swept_in_flight() >= SWEPT_AT_ONCE) {
                break;
            }
            if let Some(pace) = self.pace(&kv_key)
                && (pace.in_flight || pace.next_put_at() > now)
                && !planted!(PutsWithoutPace)
            {
                postpone(sql, &kv_key, pace.next_put_at().max(now))?;
                continue;
            }
            let Some(put) = build(sql, signing, slot, &kv_key)? else {
                settle(sql, &kv_key, u64::MAX >> 11)?;
                continue;
            };
            if planted!(OutboxForgetsAtOnce) {
                settle(sql, &kv_key, put.as_of)?;
            }
            self.paces.retain(|pace| pace.kv_key != kv_key);
            self.paces.push(Pace { kv_key, in_flight: true, swept, last_put_at: now });
            puts.push(put);
        }
        Ok(puts)
    }

    /// True while a put of `kv_key` has not come back.
    #[must_use]
    pub fn is_in_flight(&self, kv_key: &KvKey) -> bool {
        self.pace(kv_key).is_some_and(|pace| pace.in_flight)
    }

    fn swept_in_flight(&self) -> usize {
        self.paces.iter().filter(|pace| pace.in_flight && pace.swept).count()
    }

    fn pace(&self, kv_key: &KvKey) -> Option<&Pace> {
        self.paces.iter().find(|pace| pace.kv_key == *kv_key)
    }

    /// Takes a put back. One that succeeded settles its row unless a later change waits there; one that failed makes
    /// it due again, later each time.
    ///
    /// # Errors
    /// Trouble with SQLite.
    pub fn finished(&mut self, sql: &impl Sql, put: &Put, stored: bool, now: UnixMillis) -> Result<(), SqlError> {
        if let Some(pace) = self.paces.iter_mut().find(|pace| pace.kv_key == put.kv_key) {
            pace.in_flight = false;
            pace.last_put_at = now;
        }
        if stored { settle(sql, &put.kv_key, put.as_of) } else { retry_later(sql, &put.kv_key, now) }
    }
}

fn settle(sql: &impl Sql, kv_key: &KvKey, as_of: u64) -> Result<(), SqlError> {
    sql.run("DELETE FROM outbox WHERE kv_key = ?1 AND sequence <= ?2", &[kv_key.text().into(), as_of.into()])?;
    Ok(())
}

fn postpone(sql: &impl Sql, kv_key: &KvKey, due_at: UnixMillis) -> Result<(), SqlError> {
    sql.run(
        "UPDATE outbox SET due_at = ?2 WHERE kv_key = ?1",
        &[kv_key.text().into(), due_at.saturating_add_millis(1).as_millis().into()],
    )?;
    Ok(())
}

fn retry_later(sql: &impl Sql, kv_key: &KvKey, now: UnixMillis) -> Result<(), SqlError> {
    if planted!(FailedPutsRest) {
        return postpone(sql, kv_key, now.saturating_add_millis(3_600_000));
    }
    // Doubles from one second: 1, 2, 4, … 60.
    sql.run(
        "UPDATE outbox SET attempts = min(attempts + 1, 30),
            due_at = ?2 + min(?3 * (1 << min(attempts, 10)), ?4)
         WHERE kv_key = ?1",
        &[kv_key.text().into(), now.as_millis().into(), PUT_INTERVAL_MS.into(), BACKOFF_MAX_MS.into()],
    )?;
    Ok(())
}

fn build(sql: &impl Sql, signing: &SigningKeys, slot: u8, kv_key: &KvKey) -> Result<Option<Put>, SqlError> {
    let moment = meta::moment(sql)?;
    let as_of = moment.sequence;
    let (value, metadata) = match kv_key {
        KvKey::Grant(digest) => {
            let Some(record) = keys::get_by_digest_alone(sql, slot, digest)? else { return Ok(None) };
            if planted!(RevokedIsDeleted) && record.status == KeyStatus::Revoked {
                return Ok(None);
            }
            let metadata = ObjectWriter::new()
                .text("account", &record.account.to_string())
                .text("id", &record.id().to_string())
                .value("name", &record.name)
                .text("status", record.status.as_str())
                .end();
            (GrantCopy::of(&record, &moment).sign(signing, digest)?, metadata)
        }
        KvKey::Account(account) => {
            let Some(record) = accounts::get(sql, *account)? else { return Ok(None) };
            let metadata = ObjectWriter::new().text("name", &record.name).text("status", record.status.as_str()).end();
            (AccountCopy::of(&record, &moment).sign(signing)?, metadata)
        }
    };
    Ok(Some(Put { kv_key: kv_key.clone(), value, metadata, as_of }))
}

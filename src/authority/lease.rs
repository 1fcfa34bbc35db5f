//! Leases: for how long a cache may decide by itself, and when a change is known to count everywhere.
//!
//! A cache that synchronises may decide alone until its lease ends. So a change counts everywhere once all leases that
//! were granted before it have run out. What an instance of the object has granted, it keeps in memory; of those before
//! it, it assumes that they granted the longest lease there may be (`meta.granted`) just before its own first write.
//!
//! An instance that was superseded does not notice, and reads on in its old database; but nothing that it writes
//! becomes durable, and no answer goes out before what was written until then is. So a lease counts from the instance's
//! last durable write, and a new one writes before it answers: all leases of the old one have ended when the new one
//! says so, whatever the old one still does. Each of these writes changes the row: of an `UPDATE` that leaves all as it
//! was SQLite writes no page, and then there is nothing that would have to become durable.
//!
//! Assumed of clocks: an object's is not set forward, nor set back unseen. What happened in the future by a clock that was
//! set back is taken for having happened now, which makes every wait longer and none shorter. Where nothing happened in
//! between, setting back is not seen: a superseded instance may then grant as much longer.

use crate::{planted::planted, policy::UnixMillis};

use super::sql::{Sql, SqlError, only};

/// For how long a cache may decide by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// In milliseconds, from the sending of a sync.
    pub lease_ms: u64,
    /// In milliseconds, past the lease's end: while the Authority cannot be reached, cached allows may be used so long.
    pub grace_ms: u64,
}

impl Terms {
    fn total_ms(self) -> u64 {
        if planted!(GraceUncounted) {
            return self.lease_ms;
        }
        self.lease_ms.saturating_add(self.grace_ms)
    }

    /// The milliseconds after which nothing granted on these terms is in use.
    #[must_use]
    pub fn bound_ms(self) -> u64 {
        bound_ms(self.total_ms())
    }
}

/// The milliseconds after which what was granted for `granted_ms` is no longer in use: the cache's clock may run slow by
/// 1 in 1,000, and a decision that has begun ends within 50 ms.
#[must_use]
pub const fn bound_ms(granted_ms: u64) -> u64 {
    granted_ms.saturating_add(granted_ms.div_ceil(1_000)).saturating_add(50)
}

/// For how long a write proves that the instance which made it was the current one.
const PROOF_MS: u64 = 500;

/// What this instance knows of leases granted by itself and by those before it.
#[derive(Clone, Debug)]
pub struct Leases {
    terms: Terms,
    /// When the first write was durable; before that, the end of time.
    born: UnixMillis,
    /// When the last write that became durable, or will before the next answer, was issued.
    written_at: UnixMillis,
    granted_at: UnixMillis,
    /// As in `meta`: the longest lease, with grace, that anyone may hold.
    granted_ms: u64,
}

impl Leases {
    /// The instance's first write, which also notes that leases on these terms will be granted. The caller has it made
    /// durable and then calls [`Leases::born`]; before that it answers nothing.
    ///
    /// # Errors
    /// Trouble with SQLite.
    pub fn begin(sql: &impl Sql, terms: Terms, now: UnixMillis) -> Result<Leases, SqlError> {
        let written = sql.run(
            "UPDATE meta SET heartbeat = ?1 + (heartbeat = ?1), granted = max(granted, ?2) RETURNING granted",
            &[now.as_millis().into(), terms.total_ms().into()],
        )?;
        let granted_ms = only(written)?.number()?;
        Ok(Leases { terms, born: UnixMillis::MAX, written_at: now, granted_at: UnixMillis::EPOCH, granted_ms })
    }

    /// The first write is durable.
    pub fn born(&mut self, now: UnixMillis) {
        self.born = now;
    }

    /// A write was issued that will be durable before anything is answered: a command that committed.
    pub fn wrote(&mut self, now: UnixMillis) {
        self.written_at = now;
    }

    /// The lease for a sync that is answered now, in milliseconds. Writes first where the last write is older than a
    /// tenth of a lease, where the clock was set back, and once nothing longer than this instance's leases can be in use.
    ///
    /// # Errors
    /// Trouble with SQLite; then nothing is granted.
    pub fn grant(&mut self, sql: &impl Sql, now: UnixMillis) -> Result<u64, SqlError> {
        let mut age = now.saturating_millis_since(self.written_at);
        let set_back = now < self.written_at.max(self.granted_at);
        let total_ms = self.terms.total_ms();
        let outlived = self.granted_ms > total_ms && now > self.born.saturating_add_millis(self.bound_ms());
        if planted!(NoFence) {
            (self.granted_at, age) = (now, 0);
        } else if set_back || outlived || age > self.terms.lease_ms / 10 {
            let granted_ms = if outlived { total_ms } else { self.granted_ms };
            sql.run(
                "UPDATE meta SET heartbeat = ?1 + (heartbeat = ?1), granted = ?2",
                &[now.as_millis().into(), granted_ms.into()],
            )?;
            self.granted_ms = granted_ms;
            self.written_at = now;
            age = 0;
        }
        self.granted_at = now;
        Ok(self.terms.lease_ms.saturating_sub(age))
    }

    /// Before an answer to administrators goes out that nothing was written for: a superseded instance would tell them what
    /// was so once, and know a revoked credential as good. So something is written, unless that was done just now.
    ///
    /// # Errors
    /// Trouble with SQLite; then nothing may be answered.
    pub fn prove(&mut self, sql: &impl Sql, now: UnixMillis) -> Result<(), SqlError> {
        if now < self.written_at || now.saturating_millis_since(self.written_at) > PROOF_MS {
            confirm(sql)?;
            self.written_at = now;
        }
        Ok(())
    }

    /// When nothing that was granted before `committed_at` can be in use any more; at most [`Leases::bound_ms`] later.
    #[must_use]
    pub fn effective_at(&self, committed_at: UnixMillis) -> UnixMillis {
        let own = self.granted_at.min(committed_at).saturating_add_millis(self.terms.bound_ms());
        let others = self.born.min(committed_at).saturating_add_millis(self.bound_ms());
        if planted!(LeasesOfOthersForgotten) {
            return committed_at.max(own);
        }
        committed_at.max(own).max(others)
    }

    /// How many milliseconds from now on an answer has to wait for what counts everywhere at `effective_at`. An instance
    /// that is younger than the command, which is a repeated one then, goes by its own clock.
    #[must_use]
    pub fn wait_ms(&self, effective_at: UnixMillis, now: UnixMillis) -> u64 {
        let born_until = self.born.saturating_add_millis(self.bound_ms());
        let until = if planted!(LeasesOfOthersForgotten) { effective_at } else { born_until.max(effective_at) };
        let wait_ms = until.saturating_millis_since(now);
        // Whoever waits has a clock of its own, which may be fast.
        wait_ms.saturating_add(wait_ms.div_ceil(1_000))
    }

    /// The milliseconds after which a change counts everywhere at the latest, as it is now.
    #[must_use]
    pub fn bound_ms(&self) -> u64 {
        bound_ms(self.granted_ms)
    }

    /// What this instance grants.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }
}

/// A write for its own sake: the answer goes out only if this instance has not been superseded.
///
/// # Errors
/// Trouble with SQLite.
pub(super) fn confirm(sql: &impl Sql) -> Result<(), SqlError> {
    sql.run("UPDATE meta SET heartbeat = heartbeat + 1", &[])?;
    Ok(())
}

/// Counts requests that caches accepted in grace, as they tell.
///
/// # Errors
/// Trouble with SQLite.
pub fn note_graced(sql: &impl Sql, count: u64) -> Result<(), SqlError> {
    sql.run("UPDATE meta SET graced = graced + ?1", &[count.into()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_five_seconds_is_5055_ms() {
        assert_eq!(bound_ms(5_000), 5_055);
        assert_eq!(Terms { lease_ms: 5_000, grace_ms: 0 }.bound_ms(), 5_055);
        assert_eq!(Terms { lease_ms: 60_000, grace_ms: 300_000 }.bound_ms(), 360_410);
        assert_eq!(bound_ms(1), 52, "a part of a millisecond counts as one");
        assert_eq!(bound_ms(0), 50);
    }
}

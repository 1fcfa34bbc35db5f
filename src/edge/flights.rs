//! Syncs under way. Each is plain data with a deadline: nobody waits for another request's I/O, which may die with it,
//! but looks here now and then, and begins a sync of its own when the others take too long.

use crate::{
    authority::sync::{SyncRequest, Want},
    planted::planted,
    policy::UnixMillis,
};

/// Syncs of one shard that an isolate has under way at most.
const FLIGHTS_MAX: usize = 4;

/// A sync may take a quarter of the lease, within these bounds: creating an object far away takes about a second.
const DEADLINE_MS: std::ops::RangeInclusive<u64> = 1_000..=2_500;

/// The pause after two failures in a row; it doubles with each further one up to [`PAUSE_MAX_MS`].
const PAUSE_MS: u64 = 100;

/// The longest pause. Then one more sync is tried.
const PAUSE_MAX_MS: u64 = 1_000;

/// Wants that are kept for the next sync. Who finds no room asks for itself later.
const WAITING_MAX: usize = 256;

/// One sync, from its sending to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is asked.
    pub request: SyncRequest,
    /// How long the answer may take, in milliseconds.
    pub deadline_ms: u64,
    pub(super) number: u64,
    pub(super) sent_at: UnixMillis,
    /// How often everything had been dropped then.
    pub(super) drops: u64,
}

impl Call {
    /// True if it tells which keys were used or refused.
    #[must_use]
    pub fn tells(&self) -> bool {
        !self.request.uses.is_empty() || !self.request.counted.is_empty() || self.request.graced > 0
    }
}

#[derive(Debug)]
pub(super) struct Flights {
    under_way: Vec<Flight>,
    last: u64,
    waiting: Vec<Want>,
    deadline_ms: u64,
    failures: u64,
    failures_in_a_row: u32,
    /// The last sync that had been begun when one failed. Those failed together, if they do.
    failed_up_to: u64,
    /// Until when no sync is begun.
    pause_until: UnixMillis,
    random: u64,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    /// After this it counts as lost.
    until: UnixMillis,
}

impl Flights {
    pub(super) fn new(seed: u64) -> Self {
        Flights {
            under_way: Vec::new(),
            last: 0,
            waiting: Vec::new(),
            deadline_ms: *DEADLINE_MS.end(),
            failures: 0,
            failures_in_a_row: 0,
            failed_up_to: 0,
            pause_until: UnixMillis::EPOCH,
            random: seed | 1,
        }
    }

    /// The number of the sync that was begun last.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// How many have failed so far.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// True if the last one that ended has failed.
    pub(super) fn are_failing(&self) -> bool {
        self.failures_in_a_row > 0
    }

    pub(super) fn are_pausing(&self, now: UnixMillis) -> bool {
        now < self.pause_until
    }

    /// True while any is under way.
    pub(super) fn any(&mut self, now: UnixMillis) -> bool {
        self.under_way.retain(|flight| now < flight.until);
        !self.under_way.is_empty()
    }

    pub(super) fn may_begin(&mut self, now: UnixMillis) -> bool {
        self.any(now);
        (self.under_way.len() < FLIGHTS_MAX || planted!(AnyNumberOfFlights)) && !self.are_pausing(now)
    }

    /// Notes a want for the next sync.
    pub(super) fn wait(&mut self, want: Want) {
        if self.waiting.len() < WAITING_MAX && self.waiting.iter().all(|other| other.digest != want.digest) {
            self.waiting.push(want);
        }
    }

    /// Takes up to `limit` wants that wait.
    pub(super) fn take_waiting(&mut self, limit: usize) -> Vec<Want> {
        let left = self.waiting.split_off(limit.min(self.waiting.len()));
        std::mem::replace(&mut self.waiting, left)
    }

    pub(super) fn begin(&mut self, request: SyncRequest, drops: u64, now: UnixMillis) -> Call {
        self.last = self.last.saturating_add(1);
        let deadline_ms = self.deadline_ms;
        self.under_way.push(Flight { number: self.last, until: now.saturating_add_millis(deadline_ms) });
        Call { request, deadline_ms, number: self.last, sent_at: now, drops }
    }

    pub(super) fn succeeded(&mut self, call: &Call, lease_ms: u64) {
        self.end(call);
        self.failures_in_a_row = 0;
        self.pause_until = UnixMillis::EPOCH;
        self.deadline_ms = (lease_ms / 4).clamp(*DEADLINE_MS.start(), *DEADLINE_MS.end());
    }

    pub(super) fn failed(&mut self, call: &Call, now: UnixMillis) {
        self.end(call);
        self.failures = self.failures.saturating_add(1);
        if call.number <= self.failed_up_to {
            return;
        }
        self.failed_up_to = self.last;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        // The first failure may have been the object's being moved; who comes next tries again at once.
        if let Some(doublings) = self.failures_in_a_row.checked_sub(2) {
            let pause = (PAUSE_MS << doublings.min(4)).min(PAUSE_MAX_MS);
            // Half of it by chance, so that isolates do not come back together.
            self.pause_until = now.saturating_add_millis(pause / 2 + self.random() % (pause / 2));
        }
    }

    /// Forgets what is under way, and any pause: their ends were measured with a clock that has been set.
    pub(super) fn forget(&mut self) {
        self.under_way.clear();
        self.pause_until = UnixMillis::EPOCH;
    }

    fn end(&mut self, call: &Call) {
        self.under_way.retain(|flight| flight.number != call.number);
    }

    /// Xorshift (Marsaglia 2003): spreads, and is no secret.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

//! An isolate's view of a shard, as an onlooker has it: what the rules say of its lease, of what it knows and of what it
//! tells. The real one must not do otherwise.

use std::collections::BTreeMap;

use keygate::{
    authority::sync::{Known, SyncAnswer, SyncRequest},
    credential::Digest,
    edge::View,
    policy::UnixMillis,
};

use super::{coverage::Point, world::World};

/// An isolate's view of a shard, with what an onlooker knows of it.
pub struct Lens {
    pub view: View,
    /// The latest time it was told.
    pub seen: u64,
    /// Until when, by its own clock, it holds a lease; with grace, longer.
    pub lease_end: u64,
    pub grace_end: u64,
    pub known: Option<(String, u64, u64)>,
    pub low: u64,
    pub used: bool,
    /// As of the last answer that was applied: epoch, cursor, and how often everything was dropped.
    pub applied: Option<(String, u64)>,
    pub drops: u64,
    /// How often each key was accepted, or refused for a reason, and how much of that was told.
    pub told: BTreeMap<(Digest, Option<usize>), (u64, u64)>,
}

impl Lens {
    pub fn new(view: View) -> Self {
        Lens {
            view,
            seen: 0,
            lease_end: 0,
            grace_end: 0,
            known: None,
            low: 0,
            used: false,
            applied: None,
            drops: 0,
            told: BTreeMap::new(),
        }
    }
}

impl World {
    /// Notes what the view is told of time, as it does itself; gives the time it goes by.
    pub fn tick(&mut self, isolate: usize, shard: usize, now: UnixMillis) -> u64 {
        let lens = &mut self.isolates[isolate].lenses[shard];
        lens.used = true;
        if lens.seen.saturating_sub(now.as_millis()) > 50 {
            (lens.lease_end, lens.grace_end) = (0, 0);
            lens.drops += 1;
            lens.seen = now.as_millis();
        }
        lens.seen = lens.seen.max(now.as_millis());
        lens.seen
    }

    /// What an answer does to the lease, by the rules: nothing if all was dropped since it was asked for; and a reset that
    /// is news leaves nothing of an earlier lease.
    pub fn note_answer(
        &mut self,
        isolate: usize,
        shard: usize,
        (sent, drops): (UnixMillis, u64),
        answer: &SyncAnswer<'_>,
        knew: Option<&Known>,
    ) {
        let lens = &mut self.isolates[isolate].lenses[shard];
        if drops != lens.drops {
            return;
        }
        let now = &answer.now;
        let same = lens.applied.as_ref().is_some_and(|(epoch, _)| *epoch == now.epoch);
        let mut cursor = lens.applied.as_ref().map_or(0, |(_, cursor)| *cursor);
        if answer.reset && !(same && now.cursor <= cursor) {
            if lens.lease_end > sent.as_millis() + answer.lease_ms {
                self.coverage.met(Point::ResetShortens);
            }
            lens.drops += 1;
            (lens.lease_end, lens.grace_end, lens.low) = (0, 0, 0);
            cursor = 0;
            self.coverage.met(if knew.is_some() { Point::ResetApplied } else { Point::ResetOfNothing });
        } else if !same || now.cursor < knew.map_or(0, |known| known.cursor) {
            return;
        }
        lens.applied = Some((now.epoch.clone(), now.cursor.max(cursor)));
        let end = sent.as_millis() + answer.lease_ms;
        if end > lens.lease_end {
            (lens.lease_end, lens.grace_end) = (end, end + answer.grace_ms);
        }
        if answer.low > lens.low && lens.low > 0 {
            self.coverage.met(Point::LowMoved);
        }
        if answer.low < lens.low {
            self.coverage.met(Point::LateLow);
        }
        lens.low = lens.low.max(answer.low);
    }

    /// Any message may arrive, so each use and each refusal is told in one at most.
    pub fn check_told(&mut self, isolate: usize, shard: usize, request: &SyncRequest) {
        let uses = request.uses.iter().map(|used| (used.digest, None, used.count));
        let besides =
            request.counted.iter().map(|told| (told.digest, told.reason.map(|reason| reason as usize), told.count));
        for (digest, reason, count) in uses.chain(besides) {
            let (happened, told) = self.isolates[isolate].lenses[shard].told.entry((digest, reason)).or_default();
            *told += u64::from(count);
            if told > happened {
                let what = if reason.is_none() { "accepted" } else { "refused" };
                let detail = format!("isolate {isolate} {what} a key {happened} times and tells of {told}");
                return self.violate("usage", detail);
            }
        }
    }

    /// Within an epoch an isolate never knows less than before.
    pub fn check_known(&mut self, isolate: usize, shard: usize, request: &SyncRequest) {
        let known = request.known.as_ref().map(|known| (known.epoch.clone(), known.sequence, known.cursor));
        let lens = &mut self.isolates[isolate].lenses[shard];
        let before = std::mem::replace(&mut lens.known, known.clone());
        let back = match (&before, &known) {
            (Some(_), None) => true,
            (Some((epoch, sequence, cursor)), Some(now)) => *epoch == now.0 && (now.1 < *sequence || now.2 < *cursor),
            (None, _) => false,
        };
        if back {
            self.violate("I21", format!("isolate {isolate} knew {before:?} of slot {shard}, and now {known:?}"));
        }
    }
}

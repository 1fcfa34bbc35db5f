//! What an isolate knows of one shard, and for how long it may decide by that.
//!
//! **The one rule.** A copy is *believable* when its MAC verifies, its epoch is the view's, and it was read at or after
//! both the last change of its subject in the feed and `low`. A copy read at sequence *a* contains every change up to
//! *a*; any later change of its subject is in the feed, or at most `low`. So a stale, replayed or rolled-back copy of any
//! age is recognised, whoever serves it.
//!
//! **The lease.** It runs from the *sending* of the last applied sync. Every change committed before the Authority
//! answered that sync has been applied here; so what is decided within the lease lags behind by no more than it.

use std::rc::Rc;

use crate::{
    authority::{
        copy::{AccountCopy, GrantCopy, SigningKeys},
        sync::{Known, Subject, SyncAnswer, SyncRequest, WANTS_MAX, Want},
    },
    credential::{AccountRef, Digest, RecognisedKey},
    planted::planted,
    policy::{Account, Grant, Reason, RevokedBefore, UnixMillis},
};

use super::{
    cache::{BySubject, Cache, Copy, Limit},
    flights::Flights,
    uses::Uses,
};

pub use super::{flights::Call, uses::TELL_AFTER_MS};

/// A clock that goes back by more than this has been set, and the lease that was measured with it counts as over. Less
/// is what interleaved requests may see; within it the latest time seen counts.
const CLOCK_STEP_MS: u64 = 50;

/// Copies at hand in all shards of an isolate together, in each of two generations. An isolate has 128 MB (Cloudflare
/// Workers, limits); a copy takes about 1 KB.
const ENTRIES_MAX: usize = 8_192;

/// The same in bytes.
const BYTES_MAX: usize = 16 << 20;

/// One shard, as an isolate knows it. Everything here can be lost at any time.
#[derive(Debug)]
pub struct View {
    slot: u8,
    /// None: nothing is known, and nothing believable.
    epoch: Option<String>,
    sequence: u64,
    cursor: u64,
    low: u64,
    feed: BySubject<u64>,
    cache: Cache,
    lease: Lease,
    /// The features that every account has, as of `sequence`.
    platform: Vec<String>,
    /// The latest time seen.
    clock: UnixMillis,
    /// How often everything above was dropped, or the clock set: an answer to what was asked before counts no more.
    drops: u64,
    flights: Flights,
    uses: Uses,
    /// While somebody is about to tell the uses of an otherwise idle isolate: until when that is to be believed.
    teller_until: UnixMillis,
    graced: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    /// When the sync was sent that reaches furthest; none = there is no lease.
    until: Option<UnixMillis>,
    /// From when on it is to be renewed behind an answer.
    renew_at: Option<UnixMillis>,
    grace_ms: u64,
    /// The number of the latest sync that was applied.
    flight: u64,
}

/// Copies that are not at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// That of the grant. The account of a key is often known by other keys of its.
    Grant,
    /// Those of the grant and of its account.
    Both,
}

/// A decision's evidence.
pub(super) enum Found {
    /// The copies that decide.
    Both(Rc<Grant>, Rc<Account>),
    /// The Authority has said that there is no such key.
    Unknown,
    /// Not at hand.
    Missing(Missing),
}

impl View {
    /// Knows nothing of the shard of `slot`; one of `shards` that this isolate has to do with. `seed` spreads retries.
    #[must_use]
    pub fn new(slot: u8, shards: usize, seed: u64) -> Self {
        let shards = shards.max(1);
        // What one answer may bring always fits.
        let limit =
            Limit { entries: (ENTRIES_MAX / shards).max(4 * WANTS_MAX), bytes: (BYTES_MAX / shards).max(128 << 10) };
        View {
            slot,
            epoch: None,
            sequence: 0,
            cursor: 0,
            low: 0,
            feed: BySubject::default(),
            cache: Cache::new(limit),
            lease: Lease::default(),
            platform: Vec::new(),
            clock: UnixMillis::EPOCH,
            drops: 0,
            flights: Flights::new(seed),
            uses: Uses::default(),
            teller_until: UnixMillis::EPOCH,
            graced: 0,
        }
    }

    /// Which shard this is.
    #[must_use]
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// Notes the time, and gives the one to go by.
    pub(super) fn tick(&mut self, now: UnixMillis) -> UnixMillis {
        if self.clock.saturating_millis_since(now) > CLOCK_STEP_MS && planted!(ClockStepKeepsLease) {
            self.clock = now;
        }
        if self.clock.saturating_millis_since(now) > CLOCK_STEP_MS {
            // How much time has passed is not known, neither since what was answered nor since what is still asked.
            (self.lease.until, self.lease.renew_at) = (None, None);
            self.drops = self.drops.saturating_add(1);
            self.cache.forget_unknown();
            self.flights.forget();
            self.teller_until = UnixMillis::EPOCH;
            self.clock = now;
        }
        self.clock = self.clock.max(now);
        self.clock
    }

    /// True while this isolate may decide by itself; with `after`, only on a sync that was sent later than that one.
    pub(super) fn is_leased(&self, now: UnixMillis, after: Option<u64>) -> bool {
        self.lease.until.is_some_and(|until| now < until) && after.is_none_or(|after| self.lease.flight > after)
    }

    /// True while decisions go on past the end of the lease, because the Authority cannot be reached.
    pub(super) fn is_in_grace(&self, now: UnixMillis) -> bool {
        self.flights.are_failing()
            && self.lease.until.is_some_and(|until| now < until.saturating_add_millis(self.lease.grace_ms))
    }

    /// The features that every account has. They count with a lease or in grace.
    pub(super) fn platform(&self) -> &[String] {
        &self.platform
    }

    /// What is at hand about `key`. It counts only with a lease or in grace.
    pub(super) fn find(&mut self, key: &RecognisedKey, now: UnixMillis) -> Found {
        let account = self.cache.account(key.account.number);
        let missing = if account.is_some() { Missing::Grant } else { Missing::Both };
        if let Some(grant) = self.cache.grant(&key.digest)
            && let Some(account) = account
        {
            let fit = grant.account == key.account && grant.environment == key.environment && account.id == key.account;
            let fit = fit || planted!(CopiesOfOthersFit);
            return if fit { Found::Both(grant, account) } else { Found::Missing(Missing::Both) };
        }
        if self.cache.is_unknown(&key.digest, now) { Found::Unknown } else { Found::Missing(missing) }
    }

    /// True if the copy of an account is at hand.
    pub(super) fn has_account(&mut self, number: u32) -> bool {
        self.cache.account(number).is_some()
    }

    /// Takes a signed grant from wherever; true if it is believable.
    pub(super) fn offer_grant(&mut self, signing: &SigningKeys, digest: &Digest, text: &str) -> bool {
        let Ok(copy) = GrantCopy::verify(signing, digest, text) else { return false };
        let kept = Copy::Grant(*digest, Rc::new(copy.grant));
        self.offer(Subject::key(digest), &copy.epoch, copy.as_of, text, kept)
    }

    /// Takes a signed account from wherever; true if it is believable.
    pub(super) fn offer_account(&mut self, signing: &SigningKeys, number: u32, text: &str) -> bool {
        let id = AccountRef { slot: self.slot, number };
        let Ok(mut copy) = AccountCopy::verify(signing, id, text) else { return false };
        if planted!(RevokeAllForgottenAtEdge) {
            copy.account.revoked_before = RevokedBefore::default();
        }
        let kept = Copy::Account(Rc::new(copy.account));
        self.offer(Subject::account(number), &copy.epoch, copy.as_of, text, kept)
    }

    fn offer(&mut self, subject: Subject, epoch: &str, as_of: u64, text: &str, copy: Copy) -> bool {
        let changed_at = self.feed.get(&subject.number()).copied().unwrap_or(0);
        let other_epoch = self.epoch.as_deref() != Some(epoch) && !planted!(CopiesWithoutEpoch);
        let outdated = as_of < changed_at.max(self.low) && !planted!(CopiesWithoutAsOf);
        if other_epoch || outdated {
            return false;
        }
        self.cache.keep(subject, as_of, text.len(), copy);
        true
    }

    /// The number of the sync that was sent last.
    pub(super) fn last_flight(&self) -> u64 {
        self.flights.last()
    }

    /// The syncs of this shard that have failed so far.
    pub(super) fn failures(&self) -> u64 {
        self.flights.failures()
    }

    /// Begins a sync that wants the copies of `want`, and those that others wait for. None when four are under way, or
    /// while failures call for a pause.
    pub(super) fn ask(&mut self, want: Option<Want>, now: UnixMillis) -> Option<Call> {
        self.flights.may_begin(now).then(|| self.begin(want, now))
    }

    /// Has the next sync want what `want` does.
    pub(super) fn wait(&mut self, want: Want) {
        self.flights.wait(want);
    }

    /// True while so many syncs have failed that no further one may be begun.
    pub(super) fn is_pausing(&self, now: UnixMillis) -> bool {
        self.flights.are_pausing(now)
    }

    /// A sync to be made behind an answer: the lease is half over, and nobody renews it yet.
    pub fn renewal(&mut self, now: UnixMillis) -> Option<Call> {
        let now = self.tick(now);
        let due = self.lease.renew_at.is_some_and(|at| at <= now) && !self.flights.any(now);
        if due { self.ask(None, now) } else { None }
    }

    /// Notes that `digest` was accepted, by those of its scopes whose bits are in `scopes`. True if somebody has to see to it
    /// that the Authority hears of it: call [`View::tell`] after [`TELL_AFTER_MS`].
    pub fn used(&mut self, digest: &Digest, scopes: u128, in_grace: bool, now: UnixMillis) -> bool {
        let now = self.tick(now);
        self.graced = self.graced.saturating_add(in_grace.into());
        let soon = self.uses.note(digest, scopes, now) || self.graced > 0;
        self.needs_teller(soon, now)
    }

    /// Notes that the key of `digest`, which is genuine and whose grant is known, was refused. True as with [`View::used`].
    pub fn refused(&mut self, digest: &Digest, reason: Reason, now: UnixMillis) -> bool {
        let now = self.tick(now);
        let soon = self.uses.note_refused(digest, reason, now);
        self.needs_teller(soon, now)
    }

    /// True if there is something to tell soon, and nobody yet who will.
    fn needs_teller(&mut self, soon: bool, now: UnixMillis) -> bool {
        let needed = soon && self.teller_until <= now;
        if needed {
            self.teller_until = now.saturating_add_millis(2 * TELL_AFTER_MS);
        }
        needed
    }

    /// A sync that tells what was used and refused, if none has meanwhile and it shall not wait for one.
    pub fn tell(&mut self, now: UnixMillis) -> Option<Call> {
        let now = self.tick(now);
        self.teller_until = UnixMillis::EPOCH;
        if self.uses.any_soon(now) || self.graced > 0 { self.ask(None, now) } else { None }
    }

    fn begin(&mut self, want: Option<Want>, now: UnixMillis) -> Call {
        let mut wants = self.flights.take_waiting(WANTS_MAX - 1);
        if let Some(want) = want {
            wants.retain(|other| other.digest != want.digest);
            wants.push(want);
        }
        let known = self.epoch.as_ref().map(|epoch| Known {
            epoch: epoch.clone(),
            sequence: self.sequence,
            cursor: self.cursor,
        });
        // What is told is told once. During an outage it would be lost, so it is kept for afterwards.
        let mut request = SyncRequest { known, wants, ..SyncRequest::default() };
        if !self.flights.are_failing() {
            request.uses = self.uses.take(now);
            request.counted = self.uses.take_apart(now);
            request.graced = std::mem::take(&mut self.graced);
        }
        self.flights.begin(request, self.drops, now)
    }

    /// Ends a sync with what the Authority said; false if that was not understood, which counts as a failure.
    pub fn answered(&mut self, call: &Call, text: &str, signing: &SigningKeys, now: UnixMillis) -> bool {
        let now = self.tick(now);
        let Some(answer) = SyncAnswer::parse(text) else {
            self.failed(call, now);
            return false;
        };
        self.flights.succeeded(call, answer.lease_ms);
        let applied = self.apply(call, &answer, now);
        let until = call.sent_at.saturating_add_millis(answer.lease_ms);
        let mut kept = None;
        if planted!(AnswersExempt) {
            kept = Some((std::mem::take(&mut self.feed), std::mem::take(&mut self.low)));
        }
        for (digest, copy) in &answer.grants {
            match copy {
                Some(text) => {
                    self.offer_grant(signing, digest, text);
                }
                // Only as long as the lease, for issuing is in no feed; and not without one.
                None if applied || planted!(UnknownWithoutLease) => self.cache.keep_unknown(*digest, until),
                None => {}
            }
        }
        for (number, copy) in &answer.accounts {
            if let Some(text) = copy {
                self.offer_account(signing, *number, text);
            }
        }
        if let Some((feed, low)) = kept {
            (self.feed, self.low) = (feed, low);
        }
        true
    }

    /// Ends a sync that brought no answer.
    pub fn failed(&mut self, call: &Call, now: UnixMillis) {
        let now = self.tick(now);
        self.uses.lost(&call.request.uses, call.sent_at);
        self.flights.failed(call, now);
    }

    /// Applies changes and lease, if the answer fits what is known now; true if it does.
    fn apply(&mut self, call: &Call, answer: &SyncAnswer<'_>, now: UnixMillis) -> bool {
        let sent_cursor = call.request.known.as_ref().map_or(0, |known| known.cursor);
        if self.drops != call.drops && !planted!(LateAnswerApplied) {
            // Meanwhile everything was dropped: whether the changes are complete is not known any more.
            return false;
        }
        let same = self.epoch.as_ref() == Some(&answer.now.epoch);
        // Who has come further since misses nothing of a reset.
        if answer.reset && !(same && answer.now.cursor <= self.cursor) {
            let keeps = same && !planted!(ResetForgetsNewer);
            self.drop_all(&answer.now.epoch, if keeps { answer.now.sequence } else { u64::MAX });
        } else if !same || answer.now.cursor < sent_cursor {
            return false;
        }
        for (subject, sequence) in &answer.changes {
            let known = self.feed.entry(subject.number()).or_insert(0);
            *known = (*sequence).max(*known);
            if !planted!(ChangeEvictsNothing) {
                self.cache.drop_older(*subject, *sequence);
            }
        }
        if answer.low > self.low || planted!(LowGoesDown) {
            // Copies at hand have had every change that is left out from now on: it was in the feed, and applied.
            self.low = answer.low;
            self.feed.retain(|_, sequence| *sequence > answer.low);
        }
        let stays = planted!(PlatformStaysOn) && answer.features.is_empty();
        if (answer.now.sequence >= self.sequence || planted!(LatePlatformApplied)) && !stays {
            // What was told last may have been said before. Within an epoch, one sequence is one list.
            self.platform = answer.features.iter().map(|name| (*name).to_owned()).collect();
        }
        self.sequence = self.sequence.max(answer.now.sequence);
        self.cursor = self.cursor.max(answer.now.cursor);
        self.lease.flight = self.lease.flight.max(call.number);
        let half = call.sent_at.saturating_add_millis(answer.lease_ms / 2);
        self.lease.renew_at = self.lease.renew_at.max(Some(half));
        let from = if planted!(LeaseFromReceipt) { now } else { call.sent_at };
        let until = from.saturating_add_millis(answer.lease_ms);
        if self.lease.until.is_none_or(|earlier| until > earlier) {
            self.lease.until = Some(until);
            self.lease.grace_ms = answer.grace_ms;
        }
        true
    }

    /// Forgets everything but the copies that were read at or after sequence `since` of the same epoch: what they say is no
    /// older than what comes now, and a key that was refused by one must not come back.
    fn drop_all(&mut self, epoch: &str, since: u64) {
        self.drops = self.drops.saturating_add(1);
        self.epoch = Some(epoch.to_owned());
        (self.sequence, self.cursor, self.low) = (0, 0, 0);
        self.feed = BySubject::default();
        self.cache.drop_before(since);
        self.platform = Vec::new();
        if !planted!(ResetKeepsLease) {
            self.lease = Lease::default();
        }
    }
}

//! Which keys were used, and which refused and why, until the Authority has been told.
//!
//! A use is told at most once: one whose telling may have been lost is told again with its time and its scopes alone, and
//! a refusal not at all. So counts are lower bounds, in every hour, and the time of the last use is right to within a
//! minute: a use waits for a sync that is made anyway, but where none of this key's last minute was told, no longer than
//! [`TELL_AFTER_MS`]. So does a refusal, where no refusal of any key was told within the last minute.
//!
//! Only what a genuine key's grant and account say is a refusal: a forged text costs nothing here, and fills nothing.

use crate::{
    authority::{
        sync::{COUNTED_MAX, Subject, USES_MAX},
        usage::{Counted, Use},
    },
    credential::Digest,
    planted::planted,
    policy::{Reason, UnixMillis},
};

use super::cache::BySubject;

/// Keys whose use is noted at a time; beyond that, uses of further keys go uncounted until some have been told.
const KEYS_MAX: usize = 4_096;

/// For so long after a use that was told, a key's further uses wait for a sync that is made anyway.
const TOLD_FOR_MS: u64 = 60_000;

/// How long the uses of an isolate wait for a sync that is made anyway. Longer than the half of a usual lease, after which
/// an isolate in use renews it; and the runtime ends what goes on for 30 s after an answer (Cloudflare Workers,
/// `waitUntil`), of which two syncs may take 2.5 s each.
pub const TELL_AFTER_MS: u64 = 10_000;

/// The uses of one shard's keys in this isolate.
#[derive(Debug, Default)]
pub(super) struct Uses {
    keys: BySubject<Noted>,
    /// How many of those with something to tell were passed over or told last time, where there were more than fit.
    passed: usize,
    /// What is told in a line of its own, each key, reason and hour apart: few, for every sync tells all of it.
    apart: Vec<Apart>,
    /// The last refusal that was told.
    refusal_told_at: Option<UnixMillis>,
}

/// Refusals; or uses of an hour before that of the key's last one, so that they do not count for that.
#[derive(Debug)]
struct Apart {
    digest: Digest,
    /// None: they were uses.
    reason: Option<Reason>,
    count: u32,
    last_at: UnixMillis,
}

#[derive(Debug)]
struct Noted {
    digest: Digest,
    count: u32,
    last_at: UnixMillis,
    /// Which of the key's scopes served on the day of that and were not told.
    scopes: u128,
    /// There is something to tell.
    untold: bool,
    /// The last use that was told.
    told_at: Option<UnixMillis>,
}

impl Noted {
    /// Of this key's last minute something was told.
    fn is_fresh(&self, now: UnixMillis) -> bool {
        is_fresh(self.told_at, now)
    }
}

fn is_fresh(told_at: Option<UnixMillis>, now: UnixMillis) -> bool {
    // What is yet to come: the clock was set back.
    told_at.is_some_and(|at| at <= now && at.saturating_add_millis(TOLD_FOR_MS) > now)
}

impl Uses {
    /// Notes a use. True if it is to be told soon: nothing of this key's last minute was.
    pub(super) fn note(&mut self, digest: &Digest, scopes: u128, now: UnixMillis) -> bool {
        let subject = Subject::key(digest).number();
        if self.keys.len() >= KEYS_MAX && !self.keys.contains_key(&subject) {
            return false;
        }
        let noted = self.keys.entry(subject).or_insert(Noted {
            digest: *digest,
            count: 0,
            last_at: now,
            scopes: 0,
            untold: true,
            told_at: None,
        });
        if noted.count > 0 && noted.last_at.hour() != now.hour() {
            let (count, last_at) = (std::mem::take(&mut noted.count), noted.last_at);
            set_apart(&mut self.apart, Apart { digest: *digest, reason: None, count, last_at });
        }
        noted.count = noted.count.saturating_add(1);
        // Told with the time of the last use, they count for its day. What is left of the day before is lost.
        let earlier = if noted.last_at.day() == now.day() { noted.scopes } else { 0 };
        noted.scopes = earlier | scopes;
        noted.last_at = now;
        noted.untold = true;
        !noted.is_fresh(now)
    }

    /// Notes a refusal. True if it is to be told soon: none was within the last minute.
    pub(super) fn note_refused(&mut self, digest: &Digest, reason: Reason, now: UnixMillis) -> bool {
        set_apart(&mut self.apart, Apart { digest: *digest, reason: Some(reason), count: 1, last_at: now });
        !is_fresh(self.refusal_told_at, now)
    }

    /// True if there is something to tell that shall not wait for a sync that is made anyway.
    pub(super) fn any_soon(&self, now: UnixMillis) -> bool {
        let refused = !self.apart.is_empty() && !is_fresh(self.refusal_told_at, now);
        refused || self.keys.values().any(|noted| noted.untold && !noted.is_fresh(now))
    }

    /// Takes what is to be told now.
    pub(super) fn take(&mut self, now: UnixMillis) -> Vec<Use> {
        self.keys.retain(|_, noted| noted.untold || noted.is_fresh(now));
        // Begun where it ended last time, or keys that come first and are always in use would be all that is ever told.
        let untold = self.keys.values().filter(|noted| noted.untold).count();
        let skip = if self.passed < untold { self.passed } else { 0 };
        self.passed = if untold > USES_MAX { skip.saturating_add(USES_MAX) } else { 0 };
        let untold = self.keys.values_mut().filter(|noted| noted.untold).skip(skip).take(USES_MAX);
        untold
            .map(|noted| {
                noted.untold = false;
                noted.told_at = Some(noted.last_at);
                let count = std::mem::take(&mut noted.count);
                let scopes = std::mem::take(&mut noted.scopes);
                Use { digest: noted.digest, count, age_ms: now.saturating_millis_since(noted.last_at), scopes }
            })
            .collect()
    }

    /// Takes what is to be told now in lines of their own.
    pub(super) fn take_apart(&mut self, now: UnixMillis) -> Vec<Counted> {
        let mut counted = Vec::new();
        for Apart { digest, reason, count, last_at } in std::mem::take(&mut self.apart) {
            if reason.is_some() {
                self.refusal_told_at = Some(last_at);
            }
            counted.push(Counted { digest, reason, count, age_ms: now.saturating_millis_since(last_at) });
        }
        counted
    }

    /// Takes back what was told at `sent_at` and may not have been heard, to be told again without its counts. A scope can be
    /// told twice.
    pub(super) fn lost(&mut self, uses: &[Use], sent_at: UnixMillis) {
        for lost in uses {
            if let Some(noted) = self.keys.get_mut(&Subject::key(&lost.digest).number()) {
                noted.untold = true;
                noted.told_at = None;
                let was = UnixMillis::from_millis(sent_at.as_millis().saturating_sub(lost.age_ms));
                if was.day() == noted.last_at.day() {
                    noted.scopes |= lost.scopes;
                }
                if planted!(LostUsesCountTwice) {
                    noted.count = noted.count.saturating_add(lost.count);
                }
            }
        }
    }
}

/// Where there is no room, it goes uncounted.
fn set_apart(all: &mut Vec<Apart>, new: Apart) {
    let subject = Subject::key(&new.digest);
    for other in all.iter_mut() {
        // Digests are compared in constant time, which for all of them would take longer than the decision.
        let may_be = Subject::key(&other.digest) == subject;
        if may_be
            && other.digest == new.digest
            && other.reason == new.reason
            && other.last_at.hour() == new.last_at.hour()
        {
            other.count = other.count.saturating_add(new.count);
            other.last_at = new.last_at;
            return;
        }
    }
    if all.len() < COUNTED_MAX {
        all.push(new);
    }
}

//! The state machine behind a decision.

use std::rc::Rc;

use crate::{
    authority::{copy::SigningKeys, sync::Want},
    credential::RecognisedKey,
    planted::planted,
    policy::{Account, Address, Decision, Demand, Grant, UnixMillis, decide},
};

use super::view::{Call, Found, Missing, View};

/// A request in the middle of being decided.
#[derive(Debug)]
pub struct Verification {
    key: RecognisedKey,
    demand: Rc<Demand>,
    /// None: not asked yet. `Some(None)`: it is not known.
    address: Option<Option<Address>>,
    /// None until the first step.
    began: Option<Began>,
    /// KV has been read: whether it answered with something that was not to be believed.
    mirror: Option<bool>,
    /// The syncs that had failed when this one first needed the Authority.
    failures: Option<u64>,
    syncs: u8,
    waits: u8,
}

#[derive(Clone, Copy, Debug)]
struct Began {
    at: UnixMillis,
    /// The last sync that was sent before.
    flight: u64,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Nothing: this is the verdict.
    Done(Verdict),
    /// Find out where the request comes from, say so with [`Verification::comes_from`], and go on with
    /// [`Verification::next`].
    ReadAddress,
    /// Read from KV what is missing, then go on with [`Verification::mirror_read`].
    ReadMirror(Missing),
    /// Ask the Authority, end that with [`View::answered`] or [`View::failed`], and go on with [`Verification::next`].
    Sync(Box<Call>),
    /// Wait for so many milliseconds, then go on with [`Verification::next`]: others are asking the Authority.
    Wait(u32),
}

/// How a request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On evidence.
    Decided(Decision),
    /// On evidence that is older than it should be, because the Authority cannot be reached.
    InGrace(Decision),
    /// The Authority has no such key. For the caller, one more reason for the constant 401.
    Unknown,
    /// Nobody could say.
    Undetermined,
}

/// What stands in KV about one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// The signed copy of the grant.
    pub grant: Option<&'a str>,
    /// The signed copy of the account; not needed where it was not missing.
    pub account: Option<&'a str>,
}

/// Syncs that one request makes at most. The first is enough, unless everything was dropped or the key changed while it
/// was under way.
const SYNCS_MAX: u8 = 2;

/// How long a request waits for the syncs of others. One of its own may follow, and all of it must end within the five
/// seconds that the entry gives a decision.
const PATIENCE_MS: u64 = 2_000;

/// The first wait; the next ones are twice as long each, up to [`WAIT_MAX_MS`].
const WAIT_MS: u32 = 4;

/// The longest wait.
const WAIT_MAX_MS: u32 = 32;

impl Verification {
    /// A request with a recognised key. Nothing has been looked at yet.
    #[must_use]
    pub fn new(key: RecognisedKey, demand: impl Into<Rc<Demand>>) -> Self {
        let demand = demand.into();
        Verification { key, demand, address: None, began: None, mirror: None, failures: None, syncs: 0, waits: 0 }
    }

    /// The key that is being decided about.
    #[must_use]
    pub fn key(&self) -> &RecognisedKey {
        &self.key
    }

    /// Where the request comes from; none = that is not known.
    pub fn comes_from(&mut self, address: Option<Address>) {
        self.address = Some(address);
    }

    /// Goes on by what is known now; also the first step.
    pub fn next(&mut self, view: &mut View, now: UnixMillis) -> Step {
        let now = view.tick(now);
        let began = *self.began.get_or_insert(Began { at: now, flight: view.last_flight() });
        let after = (self.demand.strict && !planted!(StrictFromCache)).then_some(began.flight);
        if planted!(StaleWhileRevalidate)
            && !self.demand.strict
            && let Found::Both(grant, account) = view.find(&self.key, now)
        {
            return self.decided(Verdict::Decided, view, &grant, &account, now);
        }
        if view.is_leased(now, after) {
            match view.find(&self.key, now) {
                Found::Both(grant, account) => {
                    return self.decided(Verdict::Decided, view, &grant, &account, now);
                }
                // Issuing is in no feed, so an earlier word does not do where the Authority itself must be asked.
                Found::Unknown if !self.demand.strict || self.syncs > 0 => return Step::Done(Verdict::Unknown),
                Found::Missing(missing) if self.mirror.is_none() => return Step::ReadMirror(missing),
                Found::Unknown | Found::Missing(_) => {}
            }
        } else if (!self.demand.strict || planted!(GraceForStrict))
            && view.is_in_grace(now)
            && let Found::Both(grant, account) = view.find(&self.key, now)
        {
            return self.decided(Verdict::InGrace, view, &grant, &account, now);
        }
        self.ask(view, began, now)
    }

    /// Goes on with what KV has; `None` when KV failed.
    pub fn mirror_read(
        &mut self,
        view: &mut View,
        signing: &SigningKeys,
        evidence: Option<Evidence<'_>>,
        now: UnixMillis,
    ) -> Step {
        let mut believed = true;
        if let Some(Evidence { grant, account }) = evidence {
            believed &= grant.is_some_and(|text| view.offer_grant(signing, &self.key.digest, text));
            believed &= account.is_some_and(|text| view.offer_account(signing, self.key.account.number, text))
                || view.has_account(self.key.account.number);
        }
        self.mirror = Some(!believed);
        self.next(view, now)
    }

    /// Decides, once everything that matters is known.
    fn decided(
        &self,
        verdict: impl FnOnce(Decision) -> Verdict,
        view: &View,
        grant: &Grant,
        account: &Account,
        now: UnixMillis,
    ) -> Step {
        if grant.allowed_ips.is_some() && self.address.is_none() {
            return Step::ReadAddress;
        }
        let address = self.address.flatten();
        Step::Done(verdict(decide(grant, account, view.platform(), &self.demand, address, now)))
    }

    /// Only the Authority can say. Who asked it in vain, or saw others do so, gives up: a request asks once.
    fn ask(&mut self, view: &mut View, began: Began, now: UnixMillis) -> Step {
        let waited = now.saturating_millis_since(began.at);
        let failures = *self.failures.get_or_insert(view.failures());
        if self.syncs >= SYNCS_MAX || view.failures() > failures || view.is_pausing(now) || waited >= PATIENCE_MS {
            return Step::Done(Verdict::Undetermined);
        }
        let want =
            Want { digest: self.key.digest, account: self.key.account.number, refresh: self.mirror.unwrap_or(false) };
        if let Some(call) = view.ask(Some(want), now) {
            self.syncs += 1;
            return Step::Sync(Box::new(call));
        }
        if self.waits == 0 {
            view.wait(want);
        }
        let length = WAIT_MS << self.waits.min(3);
        self.waits = self.waits.saturating_add(1);
        Step::Wait(length.min(WAIT_MAX_MS))
    }
}

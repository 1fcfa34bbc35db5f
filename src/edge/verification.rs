//! The state machine behind a decision.

use crate::{
    authority::{
        copy::{AccountCopy, GrantCopy, SigningKeys},
        query::{Copies, Want},
    },
    credential::RecognisedKey,
    policy::{Decision, Demand, UnixMillis, decide},
};

/// A request in the middle of being decided.
#[derive(Debug)]
pub struct Verification<'k> {
    key: RecognisedKey,
    demand: Demand,
    signing: &'k SigningKeys,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Nothing: this is the verdict.
    Done(Verdict),
    /// Ask the Authority for the copies of this key and its account.
    AskAuthority(Want),
}

/// How a request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On evidence.
    Decided(Decision),
    /// The Authority has no such key. For the caller, one more reason for the constant 401.
    Unknown,
    /// Nobody could say.
    Undetermined,
}

/// What stands in KV, or what the Authority said, about one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// The signed copy of the grant.
    pub grant: Option<&'a str>,
    /// The signed copy of the account.
    pub account: Option<&'a str>,
}

impl<'k> Verification<'k> {
    /// Begins with a recognised key. Next comes the read of KV.
    #[must_use]
    pub fn begin(key: RecognisedKey, demand: Demand, signing: &'k SigningKeys) -> Self {
        Verification { key, demand, signing }
    }

    /// The key that is being decided about.
    #[must_use]
    pub fn key(&self) -> &RecognisedKey {
        &self.key
    }

    /// Goes on with what KV has; `None` when KV failed. A KV that answered with nothing to be believed needs the copies
    /// anew.
    #[must_use]
    pub fn mirror_read(&self, evidence: Option<Evidence<'_>>, now: UnixMillis) -> Step {
        match evidence.and_then(|evidence| self.judge(evidence, now)) {
            Some(decision) => Step::Done(Verdict::Decided(decision)),
            None => Step::AskAuthority(Want {
                digest: self.key.digest,
                account: self.key.account,
                refresh: evidence.is_some(),
            }),
        }
    }

    /// Ends with what the Authority said; `None` when it could not be asked.
    #[must_use]
    pub fn authority_answered(&self, copies: Option<&Copies>, now: UnixMillis) -> Verdict {
        let Some(copies) = copies else { return Verdict::Undetermined };
        if copies.grant.is_none() {
            return Verdict::Unknown;
        }
        let evidence = Evidence { grant: copies.grant.as_deref(), account: copies.account.as_deref() };
        self.judge(evidence, now).map_or(Verdict::Undetermined, Verdict::Decided)
    }

    /// Decides, if both copies are there, are genuine, and speak of this key and this account.
    fn judge(&self, evidence: Evidence<'_>, now: UnixMillis) -> Option<Decision> {
        let grant = GrantCopy::verify(self.signing, &self.key.digest, evidence.grant?).ok()?;
        let account = AccountCopy::verify(self.signing, self.key.account, evidence.account?).ok()?;
        let fits = grant.epoch == account.epoch
            && grant.grant.account == self.key.account
            && grant.grant.environment == self.key.environment
            && account.account.id == self.key.account;
        fits.then(|| decide(&grant.grant, &account.account, &self.demand, now))
    }
}

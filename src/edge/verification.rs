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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        credential::{AccountRef, Brand, Digest, Environment, KeyId, NumberedSecret},
        policy::{Access, Account, AccountStatus, ApiAccess, Grant, KeyStatus, ScopeSet},
    };

    const NOW: UnixMillis = UnixMillis::from_millis(1_000);
    const ACCOUNT: AccountRef = AccountRef { slot: 0, number: 7 };

    fn signing(byte: &str) -> SigningKeys {
        SigningKeys::new(NumberedSecret::parse(&format!("1:{}", byte.repeat(32))).unwrap(), None).unwrap()
    }

    fn key() -> RecognisedKey {
        RecognisedKey {
            digest: Digest::from_bytes([9; 24]),
            account: ACCOUNT,
            brand: Brand::default(),
            environment: Environment::Live,
            pepper_id: 1,
        }
    }

    fn grant() -> GrantCopy {
        let grant = Grant {
            id: KeyId::of(&key().digest),
            account: ACCOUNT,
            environment: Environment::Live,
            scopes: ScopeSet::default(),
            status: KeyStatus::Active,
            not_before: None,
            expires_at: None,
            issued_at: 1,
        };
        GrantCopy { epoch: "e".into(), as_of: 1, grant }
    }

    fn account() -> AccountCopy {
        let api_access = ApiAccess { live: Access::Active, test: Access::Active };
        let account = Account { id: ACCOUNT, status: AccountStatus::Active, api_access, features: Vec::new() };
        AccountCopy { epoch: "e".into(), as_of: 1, account }
    }

    /// The step after KV gave these copies, signed as they are.
    fn after(grant: &GrantCopy, account: &AccountCopy) -> Step {
        let keys = signing("aa");
        let texts = (grant.sign(&keys, &key().digest).unwrap(), account.sign(&keys).unwrap());
        let evidence = Evidence { grant: Some(&texts.0), account: Some(&texts.1) };
        Verification::begin(key(), Demand::default(), &keys).mirror_read(Some(evidence), NOW)
    }

    fn asks(refresh: bool) -> Step {
        Step::AskAuthority(Want { digest: key().digest, account: ACCOUNT, refresh })
    }

    #[test]
    fn two_genuine_copies_that_agree_decide_without_the_authority() {
        assert!(matches!(after(&grant(), &account()), Step::Done(Verdict::Decided(Decision::Allow(_)))));
    }

    #[test]
    fn genuine_copies_that_do_not_belong_together_are_not_believed() {
        let other_epoch = AccountCopy { epoch: "f".into(), ..account() };
        assert_eq!(after(&grant(), &other_epoch), asks(true));
        let mut other_account = grant();
        other_account.grant.account = AccountRef { slot: 0, number: 8 };
        assert_eq!(after(&other_account, &account()), asks(true));
        let mut other_environment = grant();
        other_environment.grant.environment = Environment::Test;
        assert_eq!(after(&other_environment, &account()), asks(true));
    }

    #[test]
    fn half_of_the_evidence_is_none_and_a_silent_mirror_is_not_to_be_mended() {
        let keys = signing("aa");
        let grant = grant().sign(&keys, &key().digest).unwrap();
        let verification = Verification::begin(key(), Demand::default(), &keys);
        let half = Evidence { grant: Some(&grant), account: None };
        assert_eq!(verification.mirror_read(Some(half), NOW), asks(true));
        assert_eq!(verification.mirror_read(Some(Evidence::default()), NOW), asks(true));
        assert_eq!(verification.mirror_read(None, NOW), asks(false));
    }

    #[test]
    fn the_authoritys_own_copies_face_the_same_checks() {
        let (keys, foreign) = (signing("aa"), signing("bb"));
        let verification = Verification::begin(key(), Demand::default(), &keys);
        let copies = |keys: &SigningKeys| Copies {
            grant: Some(grant().sign(keys, &key().digest).unwrap()),
            account: Some(account().sign(keys).unwrap()),
        };
        let answered = |copies: &Copies| verification.authority_answered(Some(copies), NOW);
        assert!(matches!(answered(&copies(&keys)), Verdict::Decided(Decision::Allow(_))));
        assert_eq!(answered(&copies(&foreign)), Verdict::Undetermined);
        assert_eq!(answered(&Copies { account: None, ..copies(&keys) }), Verdict::Undetermined);
    }

    #[test]
    fn only_the_authority_can_say_that_a_genuine_key_is_unknown() {
        let keys = signing("aa");
        let verification = Verification::begin(key(), Demand::default(), &keys);
        let nothing = Copies { grant: None, account: None };
        assert_eq!(verification.authority_answered(Some(&nothing), NOW), Verdict::Unknown);
        assert_eq!(verification.authority_answered(None, NOW), Verdict::Undetermined);
    }
}

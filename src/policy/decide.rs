//! The decision: may this key do what the request demands?

use super::account::{Account, AccountFault};
use super::demand::Demand;
use super::grant::{EffectiveStatus, Grant};
use super::scope::{Scope, ScopeSet};
use super::time::UnixMillis;
use crate::{
    credential::{AccountRef, Environment, KeyId},
    planted::planted,
};

/// Decides on local evidence: `grant` and `account` are believable copies, `now` the time of the decision.
///
/// The order is part of the contract: what is wrong with the key comes first, so that nobody learns of an account through
/// a key that no longer works; then the account; then the rights.
pub fn decide(grant: &Grant, account: &Account, demand: &Demand, now: UnixMillis) -> Decision {
    if let Some(fault) = token_fault(grant, account, demand, now) {
        return Decision::Deny(Denial::InvalidToken(fault));
    }
    if let Some(fault) = account.fault_in(grant.environment) {
        return Decision::Deny(Denial::AccountInactive(fault));
    }
    if !grant.scopes.covers_all(&demand.scopes) {
        return Decision::Deny(Denial::InsufficientScope {
            required: demand.scopes.to_vec(),
            missing: grant.scopes.missing(&demand.scopes).into_iter().cloned().collect(),
        });
    }
    Decision::Allow(Principal {
        key_id: grant.id,
        account: if planted!(AccountNumberCut) {
            AccountRef { number: account.id.number & 0xffff, ..account.id }
        } else {
            account.id
        },
        environment: grant.environment,
        scopes: grant.scopes.clone(),
        features: account.features.clone(),
        expires_at: grant.expires_at,
    })
}

/// What was decided. A denial is a value, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request may go on, as this principal.
    Allow(Principal),
    /// The request ends here.
    Deny(Denial),
}

/// Who makes an allowed request, and with what rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The key that was presented.
    pub key_id: KeyId,
    /// The account that owns it.
    pub account: AccountRef,
    /// Live or test.
    pub environment: Environment,
    /// All scopes of the key, not only those demanded.
    pub scopes: ScopeSet,
    /// The feature flags of the account.
    pub features: Vec<String>,
    /// When the key stops working by itself.
    pub expires_at: Option<UnixMillis>,
}

/// Why a request may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The key itself is not accepted. The fault is for logs and the owner of the key; the caller learns nothing of it.
    InvalidToken(TokenFault),
    /// The key is good, but its account may not use the API now.
    AccountInactive(AccountFault),
    /// The key lacks rights.
    InsufficientScope {
        /// All demanded scopes.
        required: Vec<Scope>,
        /// Those of them that the key does not have.
        missing: Vec<Scope>,
    },
}

/// What is wrong with a key, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// Revoked for ever.
    Revoked,
    /// Disabled until enabled again.
    Disabled,
    /// Its time has not begun.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// The request demands a key of another environment.
    WrongEnvironment,
    /// The grant and the account at hand do not belong together.
    ForeignAccount,
    /// An admin credential, which is never an API key.
    AdminCredential,
}

fn token_fault(grant: &Grant, account: &Account, demand: &Demand, now: UnixMillis) -> Option<TokenFault> {
    match grant.status_at(now) {
        EffectiveStatus::Revoked => return Some(TokenFault::Revoked),
        EffectiveStatus::Disabled => return Some(TokenFault::Disabled),
        EffectiveStatus::NotYetValid => return Some(TokenFault::NotYetValid),
        EffectiveStatus::Expired => return Some(TokenFault::Expired),
        EffectiveStatus::Active => {}
    }
    if demand.environment.is_some_and(|demanded| demanded != grant.environment) {
        return Some(TokenFault::WrongEnvironment);
    }
    if grant.account != account.id {
        return Some(TokenFault::ForeignAccount);
    }
    if grant.environment == Environment::Admin {
        return Some(TokenFault::AdminCredential);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Digest;
    use crate::policy::{Access, AccountStatus, ApiAccess, KeyStatus};

    const NOW: UnixMillis = UnixMillis::from_millis(1_000);

    struct Case {
        grant: Grant,
        account: Account,
        demand: Demand,
    }

    impl Case {
        fn good() -> Self {
            let id = AccountRef { slot: 0, number: 1 };
            Self {
                grant: Grant {
                    id: KeyId::of(&Digest::from_bytes([1; 24])),
                    account: id,
                    environment: Environment::Live,
                    scopes: ScopeSet::parse(["contacts:*", "jobs:read"]).unwrap(),
                    status: KeyStatus::Active,
                    not_before: Some(UnixMillis::from_millis(1_000)),
                    expires_at: Some(UnixMillis::from_millis(1_001)),
                    issued_at: 1,
                },
                account: Account {
                    id,
                    status: AccountStatus::Active,
                    api_access: ApiAccess { live: Access::Active, test: Access::Off },
                    features: vec!["beta".to_owned()],
                },
                demand: Demand {
                    scopes: vec![Scope::parse("contacts:read").unwrap(), Scope::parse("jobs:read").unwrap()].into(),
                    environment: Some(Environment::Live),
                    strict: false,
                },
            }
        }

        fn decide(&self) -> Decision {
            decide(&self.grant, &self.account, &self.demand, NOW)
        }
    }

    #[test]
    fn a_good_key_is_allowed_as_its_principal() {
        let case = Case::good();
        let Decision::Allow(principal) = case.decide() else { panic!("{:?}", case.decide()) };
        assert_eq!(principal.key_id, case.grant.id);
        assert_eq!(principal.account, case.account.id);
        assert_eq!(principal.environment, Environment::Live);
        assert_eq!(principal.scopes.to_string(), "contacts:* jobs:read");
        assert_eq!(principal.features, ["beta"]);
        assert_eq!(principal.expires_at, case.grant.expires_at);
    }

    /// One fault: how to bring it about in a good case, and what it then comes to.
    type Fault = (&'static str, fn(&mut Case), fn(&Denial) -> bool);

    /// In the order of the contract. Some exclude each other (a key has one status): the later one is brought about first,
    /// so the earlier one overwrites it.
    const FAULTS: [Fault; 10] = [
        ("revoked", |c| c.grant.status = KeyStatus::Revoked, |d| is_token(d, TokenFault::Revoked)),
        ("disabled", |c| c.grant.status = KeyStatus::Disabled, |d| is_token(d, TokenFault::Disabled)),
        (
            "not yet valid",
            |c| c.grant.not_before = Some(UnixMillis::from_millis(1_001)),
            |d| is_token(d, TokenFault::NotYetValid),
        ),
        ("expired", |c| c.grant.expires_at = Some(NOW), |d| is_token(d, TokenFault::Expired)),
        (
            "wrong environment",
            |c| c.demand.environment = Some(Environment::Test),
            |d| is_token(d, TokenFault::WrongEnvironment),
        ),
        ("foreign account", |c| c.account.id.number += 1, |d| is_token(d, TokenFault::ForeignAccount)),
        (
            "admin credential",
            |c| {
                c.grant.environment = Environment::Admin;
                c.demand.environment = None;
            },
            |d| is_token(d, TokenFault::AdminCredential),
        ),
        (
            "suspended",
            |c| c.account.status = AccountStatus::Suspended,
            |d| *d == Denial::AccountInactive(AccountFault::Suspended),
        ),
        (
            "no access",
            |c| c.account.api_access.live = Access::Requested,
            |d| {
                let (environment, access) = (Environment::Live, Access::Requested);
                *d == Denial::AccountInactive(AccountFault::NoAccess { environment, access })
            },
        ),
        (
            "scope",
            |c| c.grant.scopes = ScopeSet::parse(["contacts:write", "jobs:read"]).unwrap(),
            |d| match d {
                Denial::InsufficientScope { required, missing } => {
                    required.len() == 2 && missing.len() == 1 && missing[0].as_str() == "contacts:read"
                }
                _ => false,
            },
        ),
    ];

    fn is_token(denial: &Denial, fault: TokenFault) -> bool {
        *denial == Denial::InvalidToken(fault)
    }

    #[test]
    fn every_fault_denies_and_wins_over_every_later_one() {
        for (index, (name, bring_about, is_expected)) in FAULTS.iter().enumerate() {
            for (other, bring_about_other, _) in &FAULTS[index..] {
                let mut case = Case::good();
                bring_about_other(&mut case);
                bring_about(&mut case);
                let Decision::Deny(denial) = case.decide() else { panic!("{name} with {other}: allowed") };
                assert!(is_expected(&denial), "{name} with {other}: {denial:?}");
            }
            let mut all = Case::good();
            FAULTS[index..].iter().rev().for_each(|(_, bring_about, _)| bring_about(&mut all));
            let Decision::Deny(denial) = all.decide() else { panic!("{name} with all later: allowed") };
            assert!(is_expected(&denial), "{name} with all later: {denial:?}");
        }
    }

    #[test]
    fn an_admin_credential_is_refused_whatever_is_demanded() {
        for environment in [None, Some(Environment::Live), Some(Environment::Test), Some(Environment::Admin)] {
            let mut case = Case::good();
            case.grant.environment = Environment::Admin;
            case.grant.scopes = ScopeSet::parse(["*"]).unwrap();
            case.demand = Demand { environment, ..Demand::default() };
            assert!(matches!(case.decide(), Decision::Deny(Denial::InvalidToken(_))), "{environment:?}");
        }
    }

    #[test]
    fn a_demand_of_nothing_takes_a_key_without_scopes() {
        let mut case = Case::good();
        case.grant.scopes = ScopeSet::default();
        case.demand = Demand::default();
        assert!(matches!(case.decide(), Decision::Allow(_)));
    }
}

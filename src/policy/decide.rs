//! The decision: may this key do what the request demands?

use super::account::{Account, AccountFault, Workspace};
use super::address::Address;
use super::demand::Demand;
use super::fields::Fields;
use super::grant::{EffectiveStatus, Grant};
use super::scope::{Scope, ScopeSet};
use super::time::UnixMillis;
use crate::{
    credential::{AccountRef, Environment, KeyId, WorkspaceId},
    planted::planted,
};

/// Decides on local evidence: `grant` and `account` are believable copies, `platform` the features that every account
/// has, `address` where the request comes from, as far as that is known, `now` the time of the decision.
///
/// The order is part of the contract: what is wrong with the key comes first, so that nobody learns of an account through
/// a key that no longer works; then the account; then whether what is demanded is there at all; then the rights.
pub fn decide(
    grant: &Grant,
    account: &Account,
    platform: &[String],
    demand: &Demand,
    address: Option<Address>,
    now: UnixMillis,
) -> Decision {
    if let Some(fault) = token_fault(grant, account, demand, now) {
        return Decision::Deny(Denial::InvalidToken { fault, explain: explains(grant, account, fault) });
    }
    if grant.allowed_ips.as_ref().is_some_and(|allowed| !allowed.contain(address)) && !planted!(AddressIgnored) {
        return Decision::Deny(Denial::AddressForbidden);
    }
    if let Some(fault) = account.fault_in(grant.environment) {
        return Decision::Deny(Denial::AccountInactive(fault));
    }
    if demand.feature.as_deref().is_some_and(|feature| !has_feature(account, platform, feature)) {
        return Decision::Deny(Denial::FeatureDisabled);
    }
    let workspace = match workspace(grant, account, demand) {
        Ok(workspace) => workspace,
        Err(denial) => return Decision::Deny(denial),
    };
    let Some(scopes_used) = scopes_used(grant, demand) else {
        return Decision::Deny(Denial::InsufficientScope {
            required: demand.scopes.to_vec(),
            missing: grant.scopes.missing(&demand.scopes).into_iter().cloned().collect(),
        });
    };
    let new = platform.iter().filter(|feature| !account.features.contains(feature));
    Decision::Allow(Principal {
        key_id: grant.id,
        account: if planted!(AccountNumberCut) {
            AccountRef { number: account.id.number & 0xffff, ..account.id }
        } else {
            account.id
        },
        environment: grant.environment,
        scopes: grant.scopes.clone(),
        features: account.features.iter().chain(new).cloned().collect(),
        workspace,
        workspaces: if demand.describe { usable(grant, account).cloned().collect() } else { Vec::new() },
        fields: if demand.describe { grant.fields.clone() } else { grant.fields.for_resources(&demand.scopes) },
        scopes_used,
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
    /// The feature flags of the account, and those of the platform that it does not have itself.
    pub features: Vec<String>,
    /// The workspace of the request: the one that it names, or where one is needed the only one that the key may use.
    pub workspace: Option<WorkspaceId>,
    /// All workspaces that the key may use, where [`Demand::describe`] asks for them.
    pub workspaces: Vec<Workspace>,
    /// The only fields that the key may see of the resources that were demanded; where [`Demand::describe`] asks for it,
    /// of all resources.
    pub fields: Fields,
    /// Which scopes of the key served the demand, bit *i* for its *i*-th: of each demanded scope the same one if the key
    /// has it, or else the first that covers it.
    pub scopes_used: u128,
    /// When the key stops working by itself.
    pub expires_at: Option<UnixMillis>,
}

/// Why a request may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The key itself is not accepted.
    InvalidToken {
        /// Why. For logs and the owner of the key.
        fault: TokenFault,
        /// Whether the caller learns it, too, because the account of the key has it so. Otherwise nothing.
        explain: bool,
    },
    /// The key may not be used from where the request comes from, or that is not known.
    AddressForbidden,
    /// The key is good, but its account may not use the API now.
    AccountInactive(AccountFault),
    /// What is demanded is not there for this account. The caller does not learn that it is for others.
    FeatureDisabled,
    /// A workspace is needed, none is named, and the key may use none or several.
    WorkspaceRequired,
    /// The workspace that is named is not one of the account's, or archived, or not among those of the key.
    WorkspaceForbidden,
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
    match grant.effective_status(account.revoked_before, now) {
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

/// Only of a key of this account that once worked: the text of the key proves that the caller is its holder.
fn explains(grant: &Grant, account: &Account, fault: TokenFault) -> bool {
    account.explain_refusals
        && matches!(fault, TokenFault::Revoked | TokenFault::Disabled | TokenFault::Expired)
        && grant.account == account.id
        && grant.environment != Environment::Admin
}

fn has_feature(account: &Account, platform: &[String], feature: &str) -> bool {
    account.features.iter().chain(platform).any(|on| on == feature)
}

/// The workspaces of the account that the key may use.
fn usable<'a>(grant: &'a Grant, account: &'a Account) -> impl Iterator<Item = &'a Workspace> {
    let may = |id| grant.workspaces.as_ref().is_none_or(|only| only.contains(id));
    account.workspaces.iter().filter(move |workspace| may(&workspace.id))
}

fn workspace(grant: &Grant, account: &Account, demand: &Demand) -> Result<Option<WorkspaceId>, Denial> {
    if let Some(named) = demand.workspace {
        let may = usable(grant, account).any(|workspace| workspace.id == named);
        return if may { Ok(Some(named)) } else { Err(Denial::WorkspaceForbidden) };
    }
    if !demand.workspace_required {
        return Ok(None);
    }
    let mut usable = usable(grant, account);
    match (usable.next(), usable.next()) {
        (Some(only), None) => Ok(Some(only.id)),
        _ => Err(Denial::WorkspaceRequired),
    }
}

/// None where a demanded scope is not held.
fn scopes_used(grant: &Grant, demand: &Demand) -> Option<u128> {
    demand.scopes.iter().try_fold(0, |used, needed| {
        let place = u32::try_from(grant.scopes.serving(needed)?).ok()?;
        Some(used | 1_u128.checked_shl(place)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Digest;
    use crate::policy::{Access, AccountStatus, AllowedIps, ApiAccess, KeyStatus, RevokedBefore};

    const NOW: UnixMillis = UnixMillis::from_millis(1_000);

    struct Case {
        grant: Grant,
        account: Account,
        platform: Vec<String>,
        demand: Demand,
        address: Option<Address>,
    }

    const NORTH: WorkspaceId = WorkspaceId::from_bytes([1; 8]);
    const SOUTH: WorkspaceId = WorkspaceId::from_bytes([2; 8]);
    const GONE: WorkspaceId = WorkspaceId::from_bytes([3; 8]);

    impl Case {
        fn good() -> Self {
            let id = AccountRef { slot: 0, number: 1 };
            Self {
                grant: Grant {
                    id: KeyId::of(&Digest::from_bytes([1; 24])),
                    account: id,
                    environment: Environment::Live,
                    scopes: ScopeSet::parse(["contacts:*", "jobs:read"]).unwrap(),
                    workspaces: Some(vec![NORTH, GONE]),
                    fields: Fields::new([("contacts", vec!["name"]), ("notes", vec!["id"])]).unwrap(),
                    allowed_ips: Some(AllowedIps::parse(["192.0.2.0/24"]).unwrap()),
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
                    workspaces: [(NORTH, "North"), (SOUTH, "South")]
                        .map(|(id, name)| Workspace { id, name: name.to_owned() })
                        .into(),
                    revoked_before: RevokedBefore { live: 0, test: 9 },
                    explain_refusals: false,
                },
                platform: vec!["beta".to_owned(), "export".to_owned()],
                demand: Demand {
                    scopes: vec![Scope::parse("contacts:read").unwrap(), Scope::parse("jobs:read").unwrap()].into(),
                    environment: Some(Environment::Live),
                    workspace_required: true,
                    feature: Some("export".into()),
                    ..Demand::default()
                },
                address: Address::parse("192.0.2.7"),
            }
        }

        fn decide(&self) -> Decision {
            decide(&self.grant, &self.account, &self.platform, &self.demand, self.address, NOW)
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
        assert_eq!(principal.features, ["beta", "export"]);
        assert_eq!(principal.workspace, Some(NORTH));
        assert_eq!(principal.workspaces, []);
        assert_eq!(principal.fields.to_string(), r#"{"contacts":["name"]}"#);
        assert_eq!(principal.scopes_used, 0b11);
        assert_eq!(principal.expires_at, case.grant.expires_at);
    }

    /// One fault: how to bring it about in a good case, and what it then comes to.
    type Fault = (&'static str, fn(&mut Case), fn(&Denial) -> bool);

    /// In the order of the contract. Some exclude each other (a key has one status): the later one is brought about first,
    /// so the earlier one overwrites it.
    const FAULTS: [Fault; 16] = [
        (
            "all revoked",
            |c| {
                c.grant.environment = Environment::Live;
                c.account.revoked_before.live = 1;
            },
            |d| is_token(d, TokenFault::Revoked),
        ),
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
        ("another address", |c| c.address = Address::parse("192.0.3.7"), |d| *d == Denial::AddressForbidden),
        ("no address", |c| c.address = None, |d| *d == Denial::AddressForbidden),
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
        ("feature off", |c| c.platform.clear(), |d| *d == Denial::FeatureDisabled),
        (
            "no workspace named",
            |c| {
                c.grant.workspaces = None;
                c.demand.workspace = None;
            },
            |d| *d == Denial::WorkspaceRequired,
        ),
        (
            "workspace of another",
            |c| c.demand.workspace = Some(WorkspaceId::from_bytes([4; 8])),
            |d| *d == Denial::WorkspaceForbidden,
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
        *denial == Denial::InvalidToken { fault, explain: false }
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
    fn a_workspace_is_one_that_account_and_key_both_have() {
        let case = |only: Option<&[WorkspaceId]>, named, required| {
            let mut case = Case::good();
            case.grant.workspaces = only.map(<[WorkspaceId]>::to_vec);
            (case.demand.workspace, case.demand.workspace_required) = (named, required);
            match case.decide() {
                Decision::Allow(principal) => Ok(principal.workspace),
                Decision::Deny(denial) => Err(denial),
            }
        };
        for required in [true, false] {
            assert_eq!(case(None, Some(SOUTH), required), Ok(Some(SOUTH)));
            assert_eq!(case(Some(&[NORTH]), Some(NORTH), required), Ok(Some(NORTH)));
            assert_eq!(case(Some(&[NORTH]), Some(SOUTH), required), Err(Denial::WorkspaceForbidden));
            assert_eq!(case(Some(&[]), Some(NORTH), required), Err(Denial::WorkspaceForbidden));
            // Archived: the key still names it, the account no longer does.
            assert_eq!(case(Some(&[GONE]), Some(GONE), required), Err(Denial::WorkspaceForbidden));
            assert_eq!(case(None, Some(GONE), required), Err(Denial::WorkspaceForbidden));
        }
        assert_eq!(case(None, None, true), Err(Denial::WorkspaceRequired));
        assert_eq!(case(Some(&[GONE]), None, true), Err(Denial::WorkspaceRequired));
        assert_eq!(case(Some(&[]), None, true), Err(Denial::WorkspaceRequired));
        assert_eq!(case(Some(&[GONE, SOUTH]), None, true), Ok(Some(SOUTH)));
        for only in [None, Some(&[][..]), Some(&[SOUTH])] {
            assert_eq!(case(only, None, false), Ok(None));
        }
    }

    #[test]
    fn who_asks_about_the_key_is_given_all_of_its_workspaces_and_fields() {
        let mut case = Case::good();
        case.demand = Demand { describe: true, ..Demand::default() };
        let Decision::Allow(principal) = case.decide() else { panic!("{:?}", case.decide()) };
        assert_eq!(principal.workspaces, case.account.workspaces[..1]);
        assert_eq!(principal.fields, case.grant.fields);
        case.grant.workspaces = None;
        let Decision::Allow(principal) = case.decide() else { panic!("{:?}", case.decide()) };
        assert_eq!(principal.workspaces, case.account.workspaces);
    }

    #[test]
    fn a_scope_of_the_same_name_serves_before_one_that_covers() {
        let mut case = Case::good();
        case.grant.scopes = ScopeSet::parse(["*:read", "contacts:*", "contacts:read"]).unwrap();
        for (demanded, used) in
            [("contacts:read", 0b100), ("jobs:read", 0b1), ("contacts:write", 0b10), ("contacts:*", 0b10)]
        {
            case.demand.scopes = vec![Scope::parse(demanded).unwrap()].into();
            let Decision::Allow(principal) = case.decide() else { panic!("{demanded}: {:?}", case.decide()) };
            assert_eq!(principal.scopes_used, used, "{demanded}");
        }
        case.grant.scopes = ScopeSet::new((0..100).map(|n| Scope::parse(&format!("r{n}:read")).unwrap())).unwrap();
        case.demand.scopes = vec![Scope::parse("r99:read").unwrap()].into();
        let Decision::Allow(principal) = case.decide() else { panic!("{:?}", case.decide()) };
        assert_eq!(principal.scopes_used, 1 << 99);
    }

    #[test]
    fn the_reason_is_told_only_to_the_holder_of_a_key_whose_account_has_it_so() {
        let explained =
            |case: &Case| matches!(case.decide(), Decision::Deny(Denial::InvalidToken { explain: true, .. }));
        let told = ["all revoked", "revoked", "disabled", "expired"];
        for (name, bring_about, _) in FAULTS {
            let mut case = Case::good();
            bring_about(&mut case);
            assert!(!explained(&case), "{name}");
            case.account.explain_refusals = true;
            assert_eq!(explained(&case), told.contains(&name), "{name}");
            case.account.id.number += 1;
            assert!(!explained(&case), "{name}, by another account");
            case.account.id.number -= 1;
            case.grant.environment = Environment::Admin;
            assert!(!explained(&case), "{name}, of an admin credential");
        }
    }

    #[test]
    fn an_admin_credential_is_refused_whatever_is_demanded() {
        for environment in [None, Some(Environment::Live), Some(Environment::Test), Some(Environment::Admin)] {
            let mut case = Case::good();
            case.grant.environment = Environment::Admin;
            case.grant.scopes = ScopeSet::parse(["*"]).unwrap();
            case.demand = Demand { environment, ..Demand::default() };
            assert!(matches!(case.decide(), Decision::Deny(Denial::InvalidToken { .. })), "{environment:?}");
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

//! Properties of the policy: each compares the code with a second, independent statement of the same rule.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "clippy.toml lets `#[test]` functions panic, but not the functions they share"
)]

use keygate::credential::{AccountRef, Digest, Environment, KeyId, WorkspaceId};
use keygate::policy::{
    Access, Account, AccountStatus, Address, AllowedIps, ApiAccess, CanonicalPath, Decision, Demand, Denial, Fields,
    Grant, KeyStatus, Methods, Pattern, RevokedBefore, RouteTable, Rule, Scope, ScopeSet, UnixMillis, Workspace,
    decide, parse_demand,
};
use proptest::prelude::*;
use proptest::sample::select;

const NAMES: [&str; 3] = ["contacts", "jobs", "x-1_y"];

fn part() -> impl Strategy<Value = &'static str> {
    select(vec!["*", NAMES[0], NAMES[1], NAMES[2]])
}

fn scope() -> impl Strategy<Value = Scope> {
    (part(), part()).prop_map(|(resource, action)| Scope::parse(&format!("{resource}:{action}")).unwrap())
}

/// What a scope means: the pairs of concrete names it grants. One name beyond `NAMES` stands for all others.
fn meaning(scope: &Scope) -> Vec<(&'static str, &'static str)> {
    let text = if scope.as_str() == "*" { "*:*" } else { scope.as_str() };
    let (resource, action) = text.split_once(':').unwrap();
    let all = NAMES.into_iter().chain(["other"]);
    let pairs = all.clone().flat_map(|first| all.clone().map(move |second| (first, second)));
    pairs
        .filter(|(first, second)| (resource == "*" || resource == *first) && (action == "*" || action == *second))
        .collect()
}

fn environment() -> impl Strategy<Value = Environment> {
    prop_oneof![8 => Just(Environment::Live), 8 => Just(Environment::Test), 1 => Just(Environment::Admin)]
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![8 => Just(Access::Active), 1 => Just(Access::Off), 1 => Just(Access::Requested)]
}

/// Few times, so that they meet.
fn time() -> impl Strategy<Value = UnixMillis> {
    (0_u64..4).prop_map(UnixMillis::from_millis)
}

fn account_ref() -> impl Strategy<Value = AccountRef> {
    prop_oneof![8 => Just(1_u32), 1 => Just(2)].prop_map(|number| AccountRef { slot: 0, number })
}

fn grant() -> impl Strategy<Value = Grant> {
    let status =
        prop_oneof![8 => Just(KeyStatus::Active), 1 => Just(KeyStatus::Disabled), 1 => Just(KeyStatus::Revoked)];
    let time = || prop::option::weighted(0.4, time());
    let workspaces = prop::option::of(prop::collection::vec(workspace_id(), 0..3));
    let fields =
        select(vec![vec![], vec![("contacts", vec!["name"])], vec![("contacts", vec!["name"]), ("jobs", vec!["id"])]]);
    let allowed_ips =
        prop::option::weighted(0.3, select(vec!["192.0.2.0/24", "::ffff:192.0.2.0/121", "2001:db8::/32"]));
    let limits = (workspaces, fields, 1..5_u64, allowed_ips);
    (account_ref(), environment(), prop::collection::vec(scope(), 0..4), status, time(), time(), limits).prop_map(
        |(
            account,
            environment,
            scopes,
            status,
            not_before,
            expires_at,
            (workspaces, fields, issued_at, allowed_ips),
        )| Grant {
            id: KeyId::of(&Digest::from_bytes([7; 24])),
            account,
            environment,
            scopes: ScopeSet::new(scopes).unwrap(),
            workspaces,
            fields: Fields::new(fields).unwrap(),
            allowed_ips: allowed_ips.map(|block| AllowedIps::parse([block]).unwrap()),
            status,
            not_before,
            expires_at,
            issued_at,
        },
    )
}

/// In some of the blocks above, in none, or not known.
fn address() -> impl Strategy<Value = Option<Address>> {
    select(vec!["192.0.2.1", "192.0.2.200", "198.51.100.1", "2001:db8::1", "unknown"]).prop_map(Address::parse)
}

fn account() -> impl Strategy<Value = Account> {
    let status = prop_oneof![8 => Just(AccountStatus::Active), 1 => Just(AccountStatus::Suspended)];
    let workspaces = prop::sample::subsequence(WORKSPACES.to_vec(), 0..=WORKSPACES.len());
    let before = || prop_oneof![4 => Just(0_u64), 1 => 0..5_u64];
    let rights = (features(), workspaces, before(), before(), any::<bool>());
    (account_ref(), status, access(), access(), rights).prop_map(
        |(id, status, live, test, (features, workspaces, live_before, test_before, explain_refusals))| Account {
            id,
            status,
            api_access: ApiAccess { live, test },
            features,
            workspaces: workspaces.into_iter().map(|id| Workspace { id, name: id.to_string() }).collect(),
            revoked_before: RevokedBefore { live: live_before, test: test_before },
            explain_refusals,
        },
    )
}

const WORKSPACES: [WorkspaceId; 3] =
    [WorkspaceId::from_bytes([1; 8]), WorkspaceId::from_bytes([2; 8]), WorkspaceId::from_bytes([3; 8])];

/// Of the account, archived, or of another account.
fn workspace_id() -> impl Strategy<Value = WorkspaceId> {
    select(WORKSPACES.to_vec())
}

fn features() -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(vec!["beta".to_owned(), "export".to_owned()], 0..=2)
}

fn demand() -> impl Strategy<Value = Demand> {
    let rights = (
        any::<bool>(),
        prop::option::weighted(0.4, workspace_id()),
        prop::option::weighted(0.4, select(vec!["beta", "export"])),
        any::<bool>(),
    );
    (prop::collection::vec(scope(), 0..3), prop::option::weighted(0.4, environment()), rights).prop_map(
        |(scopes, environment, (workspace_required, workspace, feature, describe))| Demand {
            scopes: scopes.into(),
            environment,
            strict: false,
            workspace_required,
            workspace,
            feature: feature.map(Into::into),
            describe,
        },
    )
}

/// Demands more of the key than `demand` does, in one way.
fn widened(demand: &Demand, by: (u8, Scope, WorkspaceId, &'static str)) -> Demand {
    let (way, scope, workspace, feature) = by;
    let mut wider = demand.clone();
    match way {
        0 => wider.scopes.to_mut().push(scope),
        1 => wider.workspace_required = true,
        2 => wider.workspace = wider.workspace.or(Some(workspace)),
        3 => wider.feature = wider.feature.or(Some(feature.into())),
        _ => wider.environment = wider.environment.or(Some(Environment::Live)),
    }
    wider
}

fn key_is_good(grant: &Grant, account: &Account, demand: &Demand, now: UnixMillis) -> bool {
    grant.status == KeyStatus::Active
        && grant.not_before.unwrap_or(UnixMillis::EPOCH) <= now
        && now < grant.expires_at.unwrap_or(UnixMillis::MAX)
        && [None, Some(grant.environment)].contains(&demand.environment)
        && account.id == grant.account
        && grant.environment != Environment::Admin
        && match grant.environment {
            Environment::Live => grant.issued_at > account.revoked_before.live,
            _ => grant.issued_at > account.revoked_before.test,
        }
}

/// Those that the account has and the key may use.
fn usable(grant: &Grant, account: &Account) -> Vec<WorkspaceId> {
    let mut ids: Vec<WorkspaceId> = account.workspaces.iter().map(|workspace| workspace.id).collect();
    ids.retain(|id| grant.workspaces.clone().unwrap_or(WORKSPACES.to_vec()).contains(id));
    ids
}

fn feature_is_on(account: &Account, platform: &[String], demand: &Demand) -> bool {
    let on = [&account.features, platform].concat();
    demand.feature.as_ref().is_none_or(|feature| on.iter().any(|name| name == feature))
}

/// Byte by byte.
fn address_is_allowed(grant: &Grant, address: Option<Address>) -> bool {
    let is = |text: &str| address == Address::parse(text) && address.is_some();
    let Some(allowed) = &grant.allowed_ips else { return true };
    match allowed.iter().next() {
        Some("192.0.2.0/24") => is("192.0.2.1") || is("192.0.2.200"),
        Some("::ffff:192.0.2.0/121") => is("192.0.2.1"),
        Some("2001:db8::/32") => is("2001:db8::1"),
        other => panic!("{other:?}"),
    }
}

/// The workspace that counts, or what is wrong with it.
fn workspace_of(grant: &Grant, account: &Account, demand: &Demand) -> Result<Option<WorkspaceId>, Denial> {
    let usable = usable(grant, account);
    match demand.workspace {
        Some(id) if usable.contains(&id) => Ok(Some(id)),
        Some(_) => Err(Denial::WorkspaceForbidden),
        None if !demand.workspace_required => Ok(None),
        None if usable.len() == 1 => Ok(Some(usable[0])),
        None => Err(Denial::WorkspaceRequired),
    }
}

fn account_is_active(grant: &Grant, account: &Account) -> bool {
    let ApiAccess { live, test } = account.api_access;
    account.status == AccountStatus::Active
        && [(Environment::Live, live), (Environment::Test, test)].contains(&(grant.environment, Access::Active))
}

/// A demanded scope must be within one scope of the key.
fn rights_suffice(grant: &Grant, demand: &Demand) -> bool {
    let within = |needed: &Scope, held: &Scope| meaning(needed).iter().all(|pair| meaning(held).contains(pair));
    demand.scopes.iter().all(|needed| grant.scopes.iter().any(|held| within(needed, held)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn allows_exactly_what_all_conditions_allow(
        (grant, account, platform, demand, address, now) in
            (grant(), account(), features(), demand(), address(), time())
    ) {
        let good = key_is_good(&grant, &account, &demand, now);
        let active = account_is_active(&grant, &account);
        let on = feature_is_on(&account, &platform, &demand);
        let workspace = workspace_of(&grant, &account, &demand);
        let sufficient = rights_suffice(&grant, &demand);
        let here = address_is_allowed(&grant, address);
        match decide(&grant, &account, &platform, &demand, address, now) {
            Decision::Allow(principal) => {
                prop_assert!(good && here && active && on && sufficient);
                prop_assert_eq!(principal.key_id, grant.id);
                prop_assert_eq!(principal.account, grant.account);
                prop_assert_eq!(principal.environment, grant.environment);
                prop_assert_eq!(&principal.scopes, &grant.scopes);
                prop_assert_eq!(Ok(principal.workspace), workspace);
                let mut features = [account.features.clone(), platform].concat();
                features.sort();
                features.dedup();
                let mut given = principal.features;
                given.sort();
                prop_assert_eq!(given, features);
                prop_assert_eq!(principal.expires_at, grant.expires_at);
                let described: Vec<WorkspaceId> = principal.workspaces.iter().map(|workspace| workspace.id).collect();
                prop_assert_eq!(described, if demand.describe { usable(&grant, &account) } else { Vec::new() });
                for (resource, names) in grant.fields.iter() {
                    let demanded = demand.describe
                        || demand.scopes.iter().any(|scope| meaning(scope).iter().any(|(name, _)| *name == resource));
                    prop_assert_eq!(principal.fields.iter().any(|given| given == (resource, names)), demanded);
                }
                for (index, scope) in grant.scopes.iter().enumerate() {
                    let used = principal.scopes_used >> index & 1 == 1;
                    prop_assert!(!used || demand.scopes.iter().any(|needed| scope.covers(needed)));
                    prop_assert!(used || !demand.scopes.contains(scope));
                }
                prop_assert_eq!(principal.scopes_used == 0, demand.scopes.is_empty());
            }
            Decision::Deny(Denial::InvalidToken { explain, .. }) => {
                prop_assert!(!good);
                prop_assert!(!explain || account.explain_refusals);
            }
            Decision::Deny(Denial::AddressForbidden) => prop_assert!(good && !here),
            Decision::Deny(Denial::AccountInactive(_)) => prop_assert!(good && here && !active),
            Decision::Deny(Denial::FeatureDisabled) => prop_assert!(good && here && active && !on),
            Decision::Deny(denial @ (Denial::WorkspaceRequired | Denial::WorkspaceForbidden)) => {
                prop_assert!(good && here && active && on);
                prop_assert_eq!(workspace, Err(denial));
            }
            Decision::Deny(Denial::InsufficientScope { required, missing }) => {
                prop_assert!(good && here && active && on && workspace.is_ok() && !sufficient);
                prop_assert_eq!(&required[..], &demand.scopes[..]);
                prop_assert!(!missing.is_empty());
                let rest = required.into_iter().filter(|scope| !missing.contains(scope)).collect::<Vec<_>>();
                let rest = Demand { scopes: rest.into(), ..Demand::default() };
                prop_assert!(rights_suffice(&grant, &rest));
            }
        }
    }

    /// Naming a workspace answers a demand for one, so it is no widening where one is needed.
    #[test]
    fn who_is_denied_less_is_denied_more(
        (grant, account, platform, demand, address, now) in
            (grant(), account(), features(), demand(), address(), time()),
        by in (0..5_u8, scope(), workspace_id(), select(vec!["beta", "export"])),
    ) {
        prop_assume!(!(by.0 == 2 && demand.workspace_required));
        let is_allowed = |demand: &Demand| matches!(decide(&grant, &account, &platform, demand, address, now), Decision::Allow(_));
        let wider = widened(&demand, by);
        prop_assert!(is_allowed(&demand) || !is_allowed(&wider), "{:?}", wider);
    }

    #[test]
    fn an_archived_or_foreign_workspace_never_passes(
        (grant, account, platform, demand, address, now) in
            (grant(), account(), features(), demand(), address(), time())
    ) {
        if let Decision::Allow(principal) = decide(&grant, &account, &platform, &demand, address, now)
            && let Some(id) = principal.workspace
        {
            prop_assert!(account.workspaces.iter().any(|workspace| workspace.id == id));
            prop_assert!(grant.workspaces.is_none_or(|only| only.contains(&id)));
        }
    }

    #[test]
    fn a_scope_covers_what_it_means(held in scope(), needed in scope()) {
        let within = meaning(&needed).iter().all(|pair| meaning(&held).contains(pair));
        prop_assert_eq!(held.covers(&needed), within, "{} over {}", held, needed);
    }

    #[test]
    fn a_scope_survives_its_text(text in "[a-z*:_ 0-9-]{0,12}|[a-z]{1,3}:[a-z*]{1,3}|\\PC{0,8}") {
        match Scope::parse(&text) {
            Ok(scope) => {
                prop_assert_eq!(&Scope::parse(scope.as_str()), &Ok(scope.clone()));
                prop_assert_eq!(scope.as_str(), if text == "*:*" { "*" } else { &text });
                prop_assert_eq!(&parse_demand([text.as_str()]), &Ok(vec![scope]));
            }
            Err(error) => {
                prop_assert!(error.at <= text.len() && text.is_char_boundary(error.at));
                prop_assert!(parse_demand([text.as_str()]).is_err() || text.contains(' '));
            }
        }
    }

    #[test]
    fn a_time_survives_its_text(millis in 0..253_402_300_800_000_u64) {
        let time = UnixMillis::from_millis(millis);
        prop_assert_eq!(UnixMillis::parse_rfc3339(&time.to_rfc3339()), Ok(time));
    }

    #[test]
    fn reading_a_time_never_panics(text in "[0-9TZtz:.+ -]{0,32}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})|\\PC*") {
        if let Ok(time) = UnixMillis::parse_rfc3339(&text) {
            prop_assert!(time.as_millis() < 253_402_300_800_000);
        }
    }

    /// What an upstream may make of an admitted path: decode it (twice, even), drop matrix parameters, resolve dots, merge
    /// slashes. None of this may lead to another resource than the one whose rule was applied.
    #[test]
    fn an_admitted_path_means_one_thing(path in "/([/.a;%\\\\]|%2[eEfF5]|%[0-9a-fA-F]{2}|\\PC){0,12}") {
        if let Ok(admitted) = CanonicalPath::parse(&path) {
            prop_assert_eq!(admitted.as_str(), &path);
            let once = decoded(&path);
            prop_assert!(String::from_utf8(once.clone()).is_ok());
            prop_assert!(!once.contains(&b'%') && !once.contains(&b'\\') && !once.contains(&b';'));
            prop_assert!(!once.iter().any(u8::is_ascii_control));
            let once = String::from_utf8(once).unwrap();
            let segments = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(segments(&once).len(), segments(&path).len());
            prop_assert!(!segments(&once).iter().any(|segment| segment == "." || segment == ".."));
            prop_assert!(!once.contains("//"));
            // Letters, digits and dots are spelled as themselves, so literals of the table see them.
            let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).count();
            let escapes = path.matches('%').count();
            let in_escapes = path.match_indices('%').map(|(at, _)| plain(&path[at + 1..at + 3])).sum::<usize>();
            prop_assert_eq!(in_escapes, 2 * escapes);
            prop_assert_eq!(plain(&once), plain(&path) - in_escapes);
        }
    }
}

fn decoded(path: &str) -> Vec<u8> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let digits = if byte == b'%' { (bytes.next(), bytes.next()) } else { (None, None) };
        decoded.push(match digits {
            (Some(high), Some(low)) => u8::from_str_radix(&format!("{}{}", high as char, low as char), 16).unwrap(),
            _ => byte,
        });
    }
    decoded
}

/// A large table answers from its last rule as from its first.
#[test]
fn two_hundred_rules_are_found_in_order() {
    let rule = |number: usize| {
        let scope = Scope::parse(&format!("r{number}:read")).unwrap();
        let pattern = Pattern::parse(&format!("/v1/resource{number}/{{id}}")).unwrap();
        Rule::new(Methods::parse(["GET"]).unwrap(), pattern, Demand { scopes: vec![scope].into(), ..Demand::default() })
    };
    let table = RouteTable::new((0..200).map(rule).collect());
    for number in 0..200 {
        let path = format!("/v1/resource{number}/1");
        let found = table.find("GET", CanonicalPath::parse(&path).unwrap()).unwrap();
        assert_eq!(found.demand().unwrap().scopes[0].as_str(), format!("r{number}:read"));
        assert!(table.find("POST", CanonicalPath::parse(&path).unwrap()).is_none());
    }
}

//! Properties of the policy: each compares the code with a second, independent statement of the same rule.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "clippy.toml lets `#[test]` functions panic, but not the functions they share"
)]

use keygate::credential::{AccountRef, Digest, Environment, KeyId};
use keygate::policy::{
    Access, Account, AccountStatus, ApiAccess, CanonicalPath, Decision, Demand, Denial, Grant, KeyStatus, Methods,
    Pattern, RouteTable, Rule, Scope, ScopeSet, UnixMillis, decide, parse_demand,
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
    (account_ref(), environment(), prop::collection::vec(scope(), 0..4), status, time(), time()).prop_map(
        |(account, environment, scopes, status, not_before, expires_at)| Grant {
            id: KeyId::of(&Digest::from_bytes([7; 24])),
            account,
            environment,
            scopes: ScopeSet::new(scopes).unwrap(),
            status,
            not_before,
            expires_at,
            issued_at: 1,
        },
    )
}

fn account() -> impl Strategy<Value = Account> {
    let status = prop_oneof![8 => Just(AccountStatus::Active), 1 => Just(AccountStatus::Suspended)];
    (account_ref(), status, access(), access()).prop_map(|(id, status, live, test)| Account {
        id,
        status,
        api_access: ApiAccess { live, test },
        features: vec!["beta".to_owned()],
    })
}

fn demand() -> impl Strategy<Value = Demand> {
    (prop::collection::vec(scope(), 0..3), prop::option::weighted(0.4, environment()))
        .prop_map(|(scopes, environment)| Demand { scopes: scopes.into(), environment, strict: false })
}

fn key_is_good(grant: &Grant, account: &Account, demand: &Demand, now: UnixMillis) -> bool {
    grant.status == KeyStatus::Active
        && grant.not_before.unwrap_or(UnixMillis::EPOCH) <= now
        && now < grant.expires_at.unwrap_or(UnixMillis::MAX)
        && [None, Some(grant.environment)].contains(&demand.environment)
        && account.id == grant.account
        && grant.environment != Environment::Admin
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
        (grant, account, demand, now) in (grant(), account(), demand(), time())
    ) {
        let good = key_is_good(&grant, &account, &demand, now);
        let active = account_is_active(&grant, &account);
        let sufficient = rights_suffice(&grant, &demand);
        match decide(&grant, &account, &demand, now) {
            Decision::Allow(principal) => {
                prop_assert!(good && active && sufficient);
                prop_assert_eq!(principal.key_id, grant.id);
                prop_assert_eq!(principal.account, grant.account);
                prop_assert_eq!(principal.environment, grant.environment);
                prop_assert_eq!(principal.scopes, grant.scopes);
                prop_assert_eq!(principal.features, account.features);
                prop_assert_eq!(principal.expires_at, grant.expires_at);
            }
            Decision::Deny(Denial::InvalidToken(_)) => prop_assert!(!good),
            Decision::Deny(Denial::AccountInactive(_)) => prop_assert!(good && !active),
            Decision::Deny(Denial::InsufficientScope { required, missing }) => {
                prop_assert!(good && active && !sufficient);
                prop_assert_eq!(&required[..], &demand.scopes[..]);
                prop_assert!(!missing.is_empty());
                let rest = required.into_iter().filter(|scope| !missing.contains(scope)).collect::<Vec<_>>();
                let rest = Demand { scopes: rest.into(), environment: None, strict: false };
                prop_assert!(rights_suffice(&grant, &rest));
            }
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
        Rule::new(
            Methods::parse(["GET"]).unwrap(),
            pattern,
            Demand { scopes: vec![scope].into(), environment: None, strict: false },
        )
    };
    let table = RouteTable::new((0..200).map(rule).collect());
    for number in 0..200 {
        let path = format!("/v1/resource{number}/1");
        let found = table.find("GET", CanonicalPath::parse(&path).unwrap()).unwrap();
        assert_eq!(found.demand().scopes[0].as_str(), format!("r{number}:read"));
        assert!(table.find("POST", CanonicalPath::parse(&path).unwrap()).is_none());
    }
}

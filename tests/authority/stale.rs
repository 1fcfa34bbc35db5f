//! The report on keys that nobody seems to need.

use keygate::{
    authority::{
        KeyFilter,
        admins::Caller,
        command::{Command, NewKey},
        query::{Found, Query},
        stale::{LOOKED_AT_MAX, StaleKeys},
        usage::{Tally, Use},
    },
    credential::{AccountRef, Environment, Peppers},
    http::admin::{self, AdminRequest, Facts},
    policy::{DAY_MS, KeyStatus, UnixMillis},
};

use super::{
    shorthand::shard_with_account,
    support::{SLOT, Shard, new_credential, new_key, pepper},
};

fn stale(shard: &Shard, account: AccountRef, days: u32) -> StaleKeys {
    match shard.ask(Query::StaleKeys(account, days)) {
        Some(Found::StaleKeys(report)) => report,
        other => panic!("no report: {other:?}"),
    }
}

/// The filter that a list takes in its query.
fn filter_in(object: &serde_json::Value) -> KeyFilter {
    let account = AccountRef { slot: SLOT, number: 1 };
    let members = object.as_object().unwrap().iter();
    let query: Vec<String> =
        members.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or("true"))).collect();
    let facts = Facts {
        method: "GET",
        path: &format!("accounts/{account}/keys"),
        query: &query.join("&"),
        content_type: None,
        caller: Caller::Root,
        actor: None,
        idempotency_key: None,
        command_id: "",
        if_match: None,
        taken_elsewhere: false,
        body: b"",
        from: None,
        now: UnixMillis::EPOCH,
        slot: SLOT,
    };
    match admin::parse(&facts, &Peppers::new(pepper(1), None).unwrap()) {
        Ok(AdminRequest::Ask(asked)) => match *asked {
            Query::Keys(_, filter, _) => filter,
            other => panic!("{query:?}: {other:?}"),
        },
        other => panic!("{query:?}: {other:?}"),
    }
}

#[test]
fn the_report_counts_exactly_what_its_filters_show() {
    let (shard, account) = shard_with_account();
    let mut tally = Tally::default();
    for number in 0..40_u64 {
        let expires_at = (number % 7 == 0).then(|| shard.now().saturating_add_millis((number + 3) * DAY_MS));
        let environment = if number % 3 == 0 { Environment::Test } else { Environment::Live };
        let (key, _) = shard.issue(account, NewKey { environment, expires_at, ..new_key() });
        if number % 4 != 0 {
            let used = Use { digest: key.digest, count: 1, age_ms: 0, scopes: 0 };
            tally.take(&shard.sql, &[used], shard.now().saturating_add_millis(number * DAY_MS)).unwrap();
        }
        match number % 10 {
            8 => drop(shard.revoke(&key)),
            9 => {
                shard.set_disabled(&key, true);
            }
            _ => {}
        }
        if number == 5 {
            shard.execute(Command::RevokeAllKeys { account, environments: vec![Environment::Test] }).unwrap();
        }
        shard.advance(DAY_MS);
    }
    shard.issue_credential(account, new_credential(keygate::policy::Role::Viewer));
    for days in [1, 10, 20, 35, 90, 3_650] {
        let before = shard.sql.dump();
        let report = stale(&shard, account, days);
        assert_eq!(shard.sql.dump(), before, "it only reads");
        assert!(!report.at_least);
        let said: serde_json::Value =
            serde_json::from_str(&admin::found(&Found::StaleKeys(report), SLOT, shard.now()).body).unwrap();
        for name in ["never_used", "unused", "expired"] {
            let shown = shard.listed(account, filter_in(&said[name]["filter"]));
            assert_eq!(said[name]["count"], shown.len(), "{name} of {days} days: {said}");
            assert!(shown.iter().all(|key| key.environment != Environment::Admin && key.status != KeyStatus::Revoked));
        }
    }
    let report = stale(&shard, account, 10);
    assert!(report.never_used > 0 && report.unused > report.never_used && report.expired > 0, "{report:?}");
    assert_eq!(stale(&shard, account, 90).unused, 0, "no key is as old");
}

#[test]
fn the_report_reads_a_bounded_number_of_rows() {
    let steps = |count: u32| {
        let (shard, account) = shard_with_account();
        shard.many_keys(account, count);
        let before = shard.sql.steps();
        let report = stale(&shard, account, 90);
        (shard.sql.steps() - before, report)
    };
    let (few, complete) = steps(19_000);
    assert_eq!((complete.at_least, complete.never_used), (false, 15_200));
    let (many, bounded) = steps(100_000);
    assert!(bounded.at_least);
    assert!(bounded.never_used >= 15_200 && bounded.never_used <= u64::from(2 * LOOKED_AT_MAX), "{bounded:?}");
    assert!(many < few * 11 / 10, "{few} and {many} steps");
}

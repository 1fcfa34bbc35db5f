//! Plans of any filter over any keys, held against a model.

use std::collections::BTreeSet;

use keygate::{
    authority::{
        KeyFilter, ListedStatus,
        command::{Answer, Command, NewKey, Order},
        labels::Labels,
        plans::PlanCounts,
        query::Query,
        record::KeyRecord,
        usage::{Tally, Use},
    },
    credential::{AccountRef, Environment, KeyId},
    policy::{Scope, ScopeSet, UnixMillis},
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    plans::{execute, left, planned, run},
    shorthand::{ALL, HOUR_MS, ids, shard_with_account},
    support::{Shard, new_key},
};

/// What a key is in the model, apart from its record.
#[derive(Clone, Debug)]
struct Drawn {
    test: bool,
    tag: Option<&'static str>,
    owner: Option<&'static str>,
    maker: &'static str,
    name: Option<&'static str>,
    scope: &'static str,
    /// Ends so many hours after it is issued.
    ends: Option<u64>,
    /// Used so many hours after it is issued.
    used: Option<u64>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    None,
    Disabled,
    Revoked,
    /// Together with all others of its environment that there are then.
    WithAll,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let first = (
        any::<bool>(),
        select(vec![None, Some("a"), Some("b")]),
        select(vec![None, Some("alice"), Some("bob")]),
        select(vec!["alice", "bob"]),
        select(vec![None, Some("Nightly"), Some("deploy")]),
    );
    let second = (
        select(vec!["contacts:read", "jobs:read", "contacts:*"]),
        select(vec![None, None, Some(3), Some(30), Some(300)]),
        select(vec![None, Some(0), Some(2), Some(20)]),
        select(vec![Fate::None, Fate::None, Fate::None, Fate::None, Fate::Disabled, Fate::Revoked, Fate::WithAll]),
    );
    (first, second).prop_map(|((test, tag, owner, maker, name), (scope, ends, used, fate))| Drawn {
        test,
        tag,
        owner,
        maker,
        name,
        scope,
        ends,
        used,
        fate,
    })
}

/// Hours after the beginning, and what is filtered by.
type Filtered = (
    Option<bool>,
    Option<ListedStatus>,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
    (Option<u64>, bool, Option<u64>, Option<u64>),
);

fn filtered() -> impl Strategy<Value = Filtered> {
    let text = |words: [&'static str; 2]| select(vec![None, None, None, Some(words[0]), Some(words[1])]);
    let hours = || select(vec![None, None, None, Some(1), Some(5), Some(25), Some(50)]);
    (
        select(vec![None, Some(true), Some(false)]),
        select(vec![None, None, Some(ListedStatus::Active), Some(ListedStatus::Disabled), Some(ListedStatus::Expired)]),
        text(["a", "b"]),
        text(["alice", "bob"]),
        text(["alice", "bob"]),
        text(["NIGHT", "loy"]),
        text(["contacts:read", "jobs:*"]),
        (hours(), prop::bool::weighted(0.2), hours(), hours()),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_what_its_filter_says_and_its_execution_is_the_plan(
        before in vec(drawn(), 0..14),
        after in vec(drawn(), 0..4),
        filter in filtered(),
    ) {
        let (shard, account) = shard_with_account();
        let start = shard.now.get();
        let mut tally = Tally::default();
        let mut all = Vec::new();
        for key in &before {
            let issued_at = shard.now.get();
            let record = issue(&shard, account, key);
            if let Some(hours) = key.used {
                let used = Use { digest: record.digest, count: 1, age_ms: 0, scopes: 0 };
                tally.take(&shard.sql, &[used], UnixMillis::from_millis(issued_at + hours * HOUR_MS)).unwrap();
            }
            all.push((key.clone(), record, issued_at, false));
            match key.fate {
                Fate::None => {}
                Fate::Disabled => drop(shard.set_disabled(&all.last().unwrap().1, true)),
                Fate::Revoked => {
                    let last = all.last_mut().unwrap();
                    shard.revoke(&last.1);
                    last.3 = true;
                }
                Fate::WithAll => {
                    let environments = vec![if key.test { Environment::Test } else { Environment::Live }];
                    shard.execute(Command::RevokeAllKeys { account, environments }).unwrap();
                    all.iter_mut().filter(|it| it.0.test == key.test).for_each(|it| it.3 = true);
                }
            }
            shard.advance(HOUR_MS);
        }
        let now = shard.now.get();
        let (test, status, tag, owner, maker, part, scope, (unused, never, ends, created)) = filter;
        let at = |hours: u64| UnixMillis::from_millis(start + hours * HOUR_MS);
        let asked = KeyFilter {
            environment: test.map(|test| if test { Environment::Test } else { Environment::Live }),
            status,
            tag: tag.map(str::to_owned),
            owner: owner.map(str::to_owned),
            created_by: maker.map(str::to_owned),
            name_contains: part.map(str::to_owned),
            scope: scope.map(|scope| Scope::parse(scope).unwrap()),
            unused_since: unused.map(at),
            never_used: never,
            expires_before: ends.map(at),
            created_before: created.map(at),
            ..KeyFilter::default()
        };
        let fits = |(key, _, issued_at, gone): &&(Drawn, KeyRecord, u64, bool)| {
            let end = key.ends.map(|hours| issued_at + hours * HOUR_MS);
            let used = key.used.map(|hours| issued_at + hours * HOUR_MS);
            let is = match key.fate {
                Fate::Disabled => ListedStatus::Disabled,
                _ if end.is_some_and(|end| end <= now) => ListedStatus::Expired,
                _ => ListedStatus::Active,
            };
            let covers = |wanted: &str| key.scope == wanted || key.scope.ends_with('*') && wanted.starts_with("contacts");
            let in_name = |part: &str| key.name.is_some_and(|name| name.to_lowercase().contains(&part.to_lowercase()));
            !gone
                && test.is_none_or(|test| test == key.test)
                && status.is_none_or(|status| status == is)
                && tag.is_none_or(|tag| key.tag == Some(tag))
                && owner.is_none_or(|owner| key.owner == Some(owner))
                && maker.is_none_or(|maker| key.maker == maker)
                && part.is_none_or(in_name)
                && scope.is_none_or(covers)
                && unused.is_none_or(|hours| used.is_none_or(|used| used < at(hours).as_millis()))
                && (!never || used.is_none())
                && ends.is_none_or(|hours| end.is_some_and(|end| end < at(hours).as_millis()))
                && created.is_none_or(|hours| *issued_at < at(hours).as_millis())
        };
        if asked == KeyFilter::default() {
            shard.refused(Command::PlanRevocation { account, filter: asked });
            return Ok(());
        }
        let expected: BTreeSet<KeyId> = all.iter().filter(fits).map(|it| it.1.id()).collect();
        let left_before = left(&shard, account);
        let made = planned(&shard, account, asked);
        let listed: BTreeSet<KeyId> = ids(&shard.keys(Query::PlanKeys(account, made.id, ALL))).into_iter().collect();
        prop_assert_eq!(&listed, &expected);
        let count = |fits: &dyn Fn(&Drawn, u64) -> bool| {
            all.iter().filter(|it| expected.contains(&it.1.id()) && fits(&it.0, it.2)).count() as u64
        };
        let over = |key: &Drawn, issued_at: u64| key.ends.is_some_and(|hours| issued_at + hours * HOUR_MS <= now);
        prop_assert_eq!(made.counts, PlanCounts {
            total: expected.len() as u64,
            live: count(&|key, _| !key.test),
            disabled: count(&|key, _| key.fate == Fate::Disabled),
            expired: count(&|key, at| key.fate != Fate::Disabled && over(key, at)),
        });
        let later: BTreeSet<KeyId> = after.iter().map(|key| issue(&shard, account, key).id()).collect();
        execute(&shard, &made);
        run(&shard);
        let survivors: BTreeSet<KeyId> = left_before.difference(&expected).chain(&later).copied().collect();
        prop_assert_eq!(left(&shard, account), survivors);
    }
}

fn issue(shard: &Shard, account: AccountRef, key: &Drawn) -> KeyRecord {
    let new = NewKey {
        name: key.name.map(str::to_owned),
        environment: if key.test { Environment::Test } else { Environment::Live },
        scopes: Some(ScopeSet::parse([key.scope]).unwrap()),
        expires_at: key.ends.map(|hours| shard.now().saturating_add_millis(hours * HOUR_MS)),
        labels: Labels {
            tags: key.tag.iter().map(|tag| (*tag).to_owned()).collect(),
            owner: key.owner.map(str::to_owned),
            ..Labels::default()
        },
        ..new_key()
    };
    let order = shard.order_of(Command::IssueKey { account, key: new });
    match shard.order(Order { actor: Some(key.maker.into()), ..order }).unwrap().answer {
        Some(Answer::Issued { record, .. }) => *record,
        other => panic!("no key: {other:?}"),
    }
}

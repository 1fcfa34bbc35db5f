//! Pages of any filter over more keys than one page looks at, held against all of the account's keys.

use keygate::{
    authority::{
        KeyFilter, ListedStatus, WALK_MAX,
        record::KeyRecord,
        sql::{Sql, Value},
    },
    credential::{AccountRef, Environment, WorkspaceId},
    policy::{DAY_MS, Scope, UnixMillis},
};
use proptest::{option, prelude::*, sample::select, test_runner::TestRunner};

use super::{shorthand::shard_with_account, support::Shard};

const KEYS: u32 = 25_000;
const FIRST: u64 = 1_000;
const NOW: u64 = 1_800_000_000_000;
/// The first key is so old, and each later one younger by [`APART_MS`].
const OLDEST_MS: u64 = 200 * DAY_MS;
const APART_MS: u64 = OLDEST_MS / KEYS as u64;

/// Each attribute has a period of its own, so that any two of them meet, and some values are rare.
pub fn filled() -> (Shard, AccountRef) {
    let (shard, account) = shard_with_account();
    let run = |statement: &str, parameters: &[Value]| {
        shard.sql.run(statement, parameters).unwrap();
    };
    run(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
         INSERT INTO keys (digest, account, issued, version, name, environment, role, scopes, status, hint, pepper,
            created_at, owner, created_by, expires_at, tags, workspaces, rotated_to)
         SELECT printf('%048x', i * 48271 % 65537), ?1, ?3 + i, ?3 + i, iif(i % 997 = 5, 'Nightly export', 'other'),
            CASE i % 11 WHEN 0 THEN 'test' WHEN 1 THEN 'admin' ELSE 'live' END, iif(i % 11 = 1, 'viewer', NULL),
            CASE i % 5 WHEN 0 THEN '[\"contacts:read\"]' WHEN 1 THEN '[\"contacts:*\"]' ELSE '[\"jobs:read\"]' END,
            CASE i % 7 WHEN 0 THEN 'revoked' WHEN 1 THEN 'disabled' ELSE 'active' END, 'kg_live_',
            iif(i % 601 = 2, 2, 1), ?4 + i * ?5,
            CASE WHEN i % 5003 = 1 THEN 'bob' WHEN i % 3 = 0 THEN 'alice' END, iif(i % 4 = 0, 'maker', NULL),
            iif(i % 2 = 0, ?4 + i * ?5 * 2, NULL),
            CASE WHEN i % 4999 = 2 THEN '[\"rare\"]' WHEN i % 2 = 1 THEN '[\"common\"]' ELSE '[]' END,
            iif(i % 53 = 0, ?6, NULL), iif(i % 9 = 0, printf('%048x', 65538), NULL) FROM n",
        &[
            account.number.into(),
            KEYS.into(),
            FIRST.into(),
            (NOW - OLDEST_MS).into(),
            APART_MS.into(),
            format!("[\"{}\"]", workspace()).into(),
        ],
    );
    run(
        "INSERT INTO key_tags (of_account, tag, issued_at, key)
         SELECT account, value, issued, digest FROM keys JOIN json_each(tags)",
        &[],
    );
    run(
        "INSERT INTO usage (digest, day, count, last_at) SELECT digest, 1, 1, iif(issued % 3 = 0, 0, created_at) FROM keys
         WHERE issued % 13 <> 0",
        &[],
    );
    run(
        "UPDATE accounts SET settings = '{\"rotation_days\":90}', revoked_live = ?1 + 2000, revoked_live_at = 1,
            revoked_test = ?1 + 12000, revoked_test_at = 1",
        &[FIRST.into()],
    );
    run("UPDATE meta SET sequence = ?1", &[(FIRST + u64::from(KEYS)).into()]);
    (shard, account)
}

fn workspace() -> WorkspaceId {
    WorkspaceId::from_bytes([7; 8])
}

fn ago(days: u64) -> UnixMillis {
    UnixMillis::from_millis(NOW - days * DAY_MS)
}

pub fn filters() -> impl Strategy<Value = KeyFilter> {
    let seldom = |strategy| option::weighted(0.15, strategy);
    let first = (
        option::weighted(0.3, select(vec![Environment::Live, Environment::Test, Environment::Admin])),
        option::weighted(
            0.3,
            select(vec![ListedStatus::Active, ListedStatus::Disabled, ListedStatus::Expired, ListedStatus::Revoked]),
        ),
        seldom(select(vec![1, 2, 3])),
        option::weighted(0.15, select(vec!["contacts:read", "jobs:*", "jobs:read"])),
        prop::bool::weighted(0.1),
        option::weighted(0.25, select(vec!["alice", "bob", "nobody"])),
        option::weighted(0.25, select(vec!["common", "rare", "none"])),
    );
    let second = (
        option::weighted(0.15, select(vec!["NIGHT", "other"])),
        option::weighted(0.15, select(vec!["maker", "nobody"])),
        option::weighted(0.15, 0_u64..200),
        prop::bool::weighted(0.15),
        option::weighted(0.25, 0_u64..200),
        prop::bool::weighted(0.2),
        option::weighted(0.2, 0_u64..200),
    );
    (first, second).prop_map(
        |(
            (environment, status, pepper, scope, in_workspace, owner, tag),
            (name, maker, unused, never_used, ends, due, created),
        )| KeyFilter {
            environment,
            status,
            pepper,
            scope: scope.map(|scope| Scope::parse(scope).unwrap()),
            workspace: in_workspace.then(workspace),
            owner: owner.map(str::to_owned),
            tag: tag.map(str::to_owned),
            name_contains: name.map(str::to_owned),
            created_by: maker.map(str::to_owned),
            unused_since: unused.map(ago),
            never_used,
            expires_before: ends.map(ago),
            due,
            created_before: created.map(ago),
        },
    )
}

/// What the filter says of one key.
fn shows(filter: &KeyFilter, key: &KeyRecord, now: UnixMillis) -> bool {
    let status = ListedStatus::of(key, now);
    let is = |wanted: &Option<String>, text: Option<&str>| wanted.is_none() || wanted.as_deref() == text;
    let within =
        |part: &String| key.name.as_ref().is_some_and(|name| name.to_lowercase().contains(&part.to_lowercase()));
    filter.environment.map_or(key.environment != Environment::Admin, |environment| key.environment == environment)
        && filter.status.is_none_or(|wanted| status == wanted)
        && filter.pepper.is_none_or(|pepper| key.pepper == pepper)
        && filter.scope.as_ref().is_none_or(|scope| key.scopes.covers(scope))
        && filter.workspace.is_none_or(|id| key.workspaces.as_ref().is_some_and(|all| all.contains(&id)))
        && is(&filter.owner, key.labels.owner.as_deref())
        && filter.tag.as_ref().is_none_or(|tag| key.labels.tags.contains(tag))
        && filter.name_contains.as_ref().is_none_or(within)
        && is(&filter.created_by, key.created_by.as_deref())
        && filter.unused_since.is_none_or(|since| used_at(key).is_none_or(|at| at < since))
        && !(filter.never_used && used_at(key).is_some())
        && filter
            .expires_before
            .is_none_or(|end| status != ListedStatus::Revoked && key.expires_at.is_some_and(|at| at < end))
        && (!filter.due
            || key.rotation_due_at().is_some_and(|at| at <= now) && key.expires_at.is_none_or(|end| end > now))
        && filter.created_before.is_none_or(|end| key.created_at < end)
}

fn used_at(key: &KeyRecord) -> Option<UnixMillis> {
    key.last_used_at.filter(|at| at.as_millis() > 0)
}

#[test]
fn whatever_the_filter_its_pages_are_all_of_its_keys_newest_first() {
    let (shard, account) = filled();
    let admins = KeyFilter { environment: Some(Environment::Admin), ..KeyFilter::default() };
    let mut all = shard.listed(account, KeyFilter::default());
    all.extend(shard.listed(account, admins));
    all.sort_by_key(|key| std::cmp::Reverse(key.issued));
    assert_eq!(all.len(), KEYS as usize);
    let most = (KEYS / WALK_MAX + 1) as usize;
    let mut runner = TestRunner::new(ProptestConfig::with_cases(60));
    let outcome = runner.run(&(filters(), select(vec![100, 1_000])), |(filter, limit)| {
        let expected: Vec<u64> =
            all.iter().filter(|key| shows(&filter, key, shard.now())).map(|key| key.issued).collect();
        let pages = shard.pages(account, &filter, limit);
        let found: Vec<u64> = pages.iter().flatten().map(|key| key.issued).collect();
        prop_assert!(found == expected, "{} keys, and not {}", found.len(), expected.len());
        let full = pages.iter().filter(|page| page.len() == limit as usize).count();
        prop_assert!(pages.iter().all(|page| page.len() <= limit as usize));
        prop_assert!(pages.len() - full <= most, "{} pages, {full} of them full", pages.len());
        Ok(())
    });
    outcome.unwrap();
}

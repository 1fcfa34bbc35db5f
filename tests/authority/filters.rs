//! Lists of keys by what they are: what each filter shows of very many, in which order, and by which index it is found.

use keygate::{
    authority::{
        KeyFilter, ListedStatus, WALK_MAX,
        query::{Found, Page, Query},
        sql::Sql,
    },
    credential::{AccountRef, Environment, WorkspaceId},
    policy::{Scope, UnixMillis},
};

use super::{
    shorthand::{HOUR_MS, shard_with_account},
    support::Shard,
};

const KEYS: u64 = 100_000;
const FIRST: u64 = 1_000;
/// The first of them were made long ago, the others just now.
const OLD: u64 = 500;

/// Of the i-th key: each another one of every 1,000 has an owner, a tag, a maker, another pepper, another
/// environment, an end to come or past, or no use.
struct Attributes {
    account: AccountRef,
    shard: Shard,
}

fn workspace(number: u64) -> WorkspaceId {
    WorkspaceId::from_bytes([u8::try_from(number).unwrap(); 8])
}

impl Attributes {
    fn new() -> Self {
        let (shard, account) = shard_with_account();
        shard.sql.run(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
             INSERT INTO keys (digest, account, issued, version, name, environment, scopes, status, hint, pepper, created_at,
                owner, created_by, expires_at, tags, workspaces)
             SELECT printf('%048x', i), ?1, ?3 + i, ?3 + i, iif(i % 1000 = 5, 'Nightly export', 'other ' || i),
                iif(i % 1000 = 15, 'test', 'live'),
                CASE i % 1000 WHEN 6 THEN '[\"contacts:read\"]' WHEN 7 THEN '[\"contacts:*\"]' WHEN 8 THEN '[\"*\"]' ELSE '[\"jobs:read\"]' END,
                CASE i % 10 WHEN 9 THEN 'revoked' WHEN 8 THEN 'disabled' ELSE 'active' END, 'kg_live_',
                iif(i % 1000 = 13, 2, 1), iif(i <= ?6, 1, ?4),
                iif(i % 1000 = 1, 'alice', NULL), iif(i % 1000 = 2, 'bob', NULL),
                CASE i % 1000 WHEN 3 THEN ?4 + i WHEN 14 THEN i END,
                iif(i % 1000 = 4, '[\"billing\"]', '[]'), iif(i % 1000 = 11, ?5, NULL) FROM n",
            &[
                account.number.into(),
                KEYS.into(),
                FIRST.into(),
                (shard.now().as_millis() + HOUR_MS).into(),
                format!("[\"{}\",\"{}\"]", workspace(1), workspace(2)).into(),
                OLD.into(),
            ],
        )
        .unwrap();
        shard
            .sql
            .run(
                "INSERT INTO key_tags (of_account, tag, issued_at, key)
             SELECT account, 'billing', issued, digest FROM keys WHERE tags <> '[]'",
                &[],
            )
            .unwrap();
        shard.sql.run(
            "INSERT INTO usage (digest, day, count, last_at) SELECT digest, 1, 1, ?1 + (issued - ?2) FROM keys WHERE (issued - ?2) % 1000 <> 12",
            &[HOUR_MS.into(), FIRST.into()],
        )
        .unwrap();
        let policy = "UPDATE accounts SET settings = '{\"rotation_days\":90}'";
        shard.sql.run(policy, &[]).unwrap();
        shard.sql.run("UPDATE meta SET sequence = ?1", &[(FIRST + KEYS).into()]).unwrap();
        Attributes { account, shard }
    }

    /// The numbers of all keys that a filter shows, page by page.
    fn listed(&self, filter: &KeyFilter, limit: u32) -> Vec<u64> {
        let pages = self.shard.pages(self.account, filter, limit);
        pages.concat().iter().map(|key| key.issued - FIRST).collect()
    }
}

/// A filter, which keys it shows by their number, and what its plan must say.
type Case = (KeyFilter, fn(u64) -> bool, &'static str);

fn filters(now: UnixMillis) -> Vec<Case> {
    let none = KeyFilter::default;
    let end = UnixMillis::from_millis(now.as_millis() + HOUR_MS + 50_000);
    let text = |text: &str| Some(text.to_owned());
    vec![
        (
            KeyFilter { owner: text("alice"), ..none() },
            |i| i % 1_000 == 1,
            "USING COVERING INDEX keys_by_owner (account=? AND owner=? AND issued<?)",
        ),
        (
            KeyFilter { created_by: text("bob"), ..none() },
            |i| i % 1_000 == 2,
            "USING COVERING INDEX keys_by_creator (account=? AND created_by=? AND issued<?)",
        ),
        (
            KeyFilter { expires_before: Some(end), ..none() },
            |i| i % 1_000 == 3 && i < 50_000 || i % 1_000 == 14,
            "USING COVERING INDEX keys_by_end (account=? AND expires_at<?)",
        ),
        (
            KeyFilter { tag: text("billing"), ..none() },
            |i| i % 1_000 == 4,
            "USING PRIMARY KEY (of_account=? AND tag=? AND issued_at<?)",
        ),
        (KeyFilter { environment: Some(Environment::Test), ..none() }, |i| i % 1_000 == 15, WALK),
        (KeyFilter { status: Some(ListedStatus::Disabled), ..none() }, |i| i % 10 == 8, WALK_OF_LEFT),
        (KeyFilter { status: Some(ListedStatus::Expired), ..none() }, |i| i % 1_000 == 14, WALK_OF_LEFT),
        (KeyFilter { status: Some(ListedStatus::Revoked), ..none() }, |i| i % 10 == 9, WALK),
        (KeyFilter { pepper: Some(2), ..none() }, |i| i % 1_000 == 13, WALK),
        (KeyFilter { pepper: Some(3), ..none() }, |_| false, WALK),
        (KeyFilter { created_before: Some(UnixMillis::from_millis(2)), ..none() }, |i| i <= OLD, WALK),
        (KeyFilter { name_contains: text("IGHTLY"), ..none() }, |i| i % 1_000 == 5, WALK),
        (
            KeyFilter { scope: Some(Scope::parse("contacts:read").unwrap()), ..none() },
            |i| (6..=8).contains(&(i % 1_000)),
            WALK,
        ),
        (
            KeyFilter { scope: Some(Scope::parse("contacts:*").unwrap()), ..none() },
            |i| (7..=8).contains(&(i % 1_000)),
            WALK,
        ),
        (KeyFilter { workspace: Some(workspace(2)), ..none() }, |i| i % 1_000 == 11, WALK),
        (KeyFilter { never_used: true, ..none() }, |i| i % 1_000 == 12, WALK),
        (
            KeyFilter { unused_since: Some(UnixMillis::from_millis(HOUR_MS + 2_000)), ..none() },
            |i| i < 2_000 || i % 1_000 == 12,
            WALK,
        ),
        (
            KeyFilter {
                owner: text("alice"),
                environment: Some(Environment::Live),
                status: Some(ListedStatus::Active),
                ..none()
            },
            |i| i % 1_000 == 1,
            "USING COVERING INDEX keys_by_owner",
        ),
        (
            KeyFilter { tag: text("billing"), environment: Some(Environment::Test), ..none() },
            |_| false,
            "USING PRIMARY KEY (of_account=?",
        ),
        (
            KeyFilter { owner: text("alice"), tag: text("billing"), ..none() },
            |_| false,
            "USING PRIMARY KEY (of_account=?",
        ),
        (KeyFilter { owner: text("nobody"), ..none() }, |_| false, "USING COVERING INDEX keys_by_owner"),
        (
            KeyFilter { due: true, ..none() },
            |i| i <= OLD && i % 10 != 9 && i != 14,
            "USING INDEX keys_due (account=? AND issued>? AND issued<?)",
        ),
        (
            KeyFilter {
                due: true,
                environment: Some(Environment::Live),
                status: Some(ListedStatus::Disabled),
                ..none()
            },
            |i| i <= OLD && i % 10 == 8,
            "USING INDEX keys_due (account=? AND issued>? AND issued<?)",
        ),
        (KeyFilter { due: true, owner: text("alice"), ..none() }, |i| i == 1, "USING COVERING INDEX keys_by_owner"),
    ]
}

/// What stands in no index is looked for among the keys of the account, newest first, and no further than a page needs or
/// may look: an index of its own would cost each key that is issued a row.
const WALK: &str = "USING COVERING INDEX keys_of_account (account=? AND issued<?)";

/// The same without those that were revoked with all others.
const WALK_OF_LEFT: &str = "USING COVERING INDEX keys_of_account (account=? AND issued>? AND issued<?)";

/// All members, and whether a filter has them. With a new one it does not compile until that is here, and has a case.
fn members(filter: &KeyFilter) -> [(&'static str, bool); 14] {
    let KeyFilter {
        environment,
        status,
        pepper,
        scope,
        workspace,
        owner,
        tag,
        name_contains,
        created_by,
        unused_since,
        never_used,
        expires_before,
        due,
        created_before,
    } = filter;
    [
        ("environment", environment.is_some()),
        ("status", status.is_some()),
        ("pepper", pepper.is_some()),
        ("scope", scope.is_some()),
        ("workspace", workspace.is_some()),
        ("owner", owner.is_some()),
        ("tag", tag.is_some()),
        ("name_contains", name_contains.is_some()),
        ("created_by", created_by.is_some()),
        ("unused_since", unused_since.is_some()),
        ("never_used", *never_used),
        ("expires_before", expires_before.is_some()),
        ("due", *due),
        ("created_before", created_before.is_some()),
    ]
}

#[test]
fn each_member_of_a_filter_has_a_case_of_its_own() {
    let cases: Vec<_> = filters(UnixMillis::EPOCH).iter().map(|(filter, ..)| members(filter)).collect();
    for (name, _) in members(&KeyFilter::default()) {
        let alone = |members: &[(&str, bool); 14]| members.iter().all(|(other, is_set)| *is_set == (*other == name));
        assert!(cases.iter().any(alone), "{name}");
    }
}

#[test]
fn each_filter_shows_exactly_its_keys_newest_first_and_by_its_index() {
    let all = Attributes::new();
    for (filter, expected, plan) in filters(all.shard.now()) {
        let expected: Vec<u64> = (1..=KEYS).rev().filter(|number| expected(*number)).collect();
        all.shard.sql.statements.take();
        assert_eq!(all.listed(&filter, 37), expected, "{filter:?}");
        let statements = all.shard.sql.statements.take();
        let statement = statements
            .iter()
            .find(|statement| statement.contains("FROM key") && statement.ends_with("LIMIT ?"))
            .unwrap();
        let explained = all.shard.explain(statement);
        // Only what the walk hands over is taken one by one.
        let scans = explained.replace("SCAN (subquery-", "").contains("SCAN");
        assert!(explained.contains(plan) && !scans, "{filter:?}: {explained}");
        assert!(!explained.contains("MATERIALIZE"), "a page ends as soon as it is full: {filter:?}: {explained}");
        // Those that end are in the order of their ends.
        let sorts = filter.expires_before.is_some();
        assert_eq!(explained.contains("TEMP B-TREE"), sorts, "{filter:?}: {explained}");
    }
}

/// Steps of SQLite's machine that looking at one key takes, at most.
const STEPS_PER_KEY: u64 = 30;

/// The same where it has no index: what does not depend on the keys.
const STEPS_BESIDES: u64 = 20_000;

#[test]
fn a_page_costs_what_lies_before_its_end_and_no_more_than_a_walk_however_many_keys_there_are() {
    const PAGE: usize = 10;
    let all = Attributes::new();
    for (filter, expected, plan) in filters(all.shard.now()) {
        let walks = plan == WALK || plan == WALK_OF_LEFT;
        // How far it is from the newest key to the end of the page.
        let last = (1..=KEYS).rev().filter(|number| expected(*number)).nth(PAGE - 1);
        let walked = last.map_or(KEYS, |last| KEYS + 1 - last).min(WALK_MAX.into());
        let most = STEPS_BESIDES + if walks { walked * STEPS_PER_KEY } else { 0 };
        let mut before = None;
        loop {
            let steps = all.shard.sql.steps();
            let page = Page { before, limit: u32::try_from(PAGE).unwrap() };
            let Some(Found::Keys(_, next)) = all.shard.ask(Query::Keys(all.account, filter.clone(), page)) else {
                panic!("no list")
            };
            let steps = u64::try_from(all.shard.sql.steps() - steps).unwrap();
            let most = if before.is_none() { most } else { STEPS_BESIDES + u64::from(WALK_MAX) * STEPS_PER_KEY };
            assert!(steps < most, "{filter:?}: {steps} steps for {walked} keys, {plan}");
            let Some(next) = next else { break };
            before = Some(next);
        }
    }
}

#[test]
fn a_page_may_be_short_or_empty_though_more_follow_and_the_last_one_says_that_it_is() {
    let all = Attributes::new();
    let sizes = |filter: &KeyFilter, limit| -> Vec<usize> {
        all.shard.pages(all.account, filter, limit).iter().map(Vec::len).collect()
    };
    let nothing = KeyFilter { pepper: Some(3), ..KeyFilter::default() };
    assert_eq!(sizes(&nothing, 100), [0; 10], "a tenth of the account each, and none for nothing at the end");
    let first = KeyFilter { created_before: Some(UnixMillis::from_millis(2)), ..KeyFilter::default() };
    assert_eq!(sizes(&first, 500), [0, 0, 0, 0, 0, 0, 0, 0, 0, 500]);
    let rare = KeyFilter { pepper: Some(2), ..KeyFilter::default() };
    assert_eq!(sizes(&rare, 37), [10; 10]);
    let full = sizes(&rare, 7);
    assert_eq!((&full[..14], &full[14..]), (&[7; 14][..], &[2][..]), "a full page goes on behind its last key");
    assert_eq!(sizes(&KeyFilter { owner: Some("alice".into()), ..KeyFilter::default() }, 37), [37, 37, 26]);
}

//! Lists of keys by what they are: what each filter shows of very many, in which order, and by which index it is found.

use keygate::{
    authority::{
        KeyFilter, ListedStatus,
        query::{Found, Page, Query},
        sql::Sql,
    },
    credential::{AccountRef, Environment, WorkspaceId},
    policy::{Scope, UnixMillis},
};

use super::support::{Shard, new_account};

const KEYS: u64 = 100_000;
const FIRST: u64 = 1_000;
/// The first of them were made long ago, the others just now.
const OLD: u64 = 500;
const HOUR_MS: u64 = 3_600_000;

/// Of the i-th key: every 1,000th has an owner, a tag, a maker, an end and a use, each another one.
struct Attributes {
    account: AccountRef,
    shard: Shard,
}

fn workspace(number: u64) -> WorkspaceId {
    WorkspaceId::from_bytes([u8::try_from(number).unwrap(); 8])
}

impl Attributes {
    fn new() -> Self {
        let shard = Shard::new();
        let account = shard.account(new_account("Acme")).id;
        shard.sql.run(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
             INSERT INTO keys (digest, account, issued, version, name, environment, scopes, status, hint, pepper, created_at,
                owner, created_by, expires_at, tags, workspaces)
             SELECT printf('%048x', i), ?1, ?3 + i, ?3 + i, iif(i % 1000 = 5, 'Nightly export', 'other ' || i),
                iif(i % 2, 'live', 'test'),
                CASE i % 1000 WHEN 6 THEN '[\"contacts:read\"]' WHEN 7 THEN '[\"contacts:*\"]' WHEN 8 THEN '[\"*\"]' ELSE '[\"jobs:read\"]' END,
                CASE i % 10 WHEN 9 THEN 'revoked' WHEN 8 THEN 'disabled' ELSE 'active' END, 'kg_live_', 1, iif(i <= ?6, 1, ?4),
                iif(i % 1000 = 1, 'alice', NULL), iif(i % 1000 = 2, 'bob', NULL), iif(i % 1000 = 3, ?4 + i, NULL),
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
        let mut numbers = Vec::new();
        let mut before = None;
        loop {
            let page = Page { before, limit };
            let Some(Found::Keys(keys, next)) = self.shard.ask(Query::Keys(self.account, filter.clone(), page)) else {
                panic!("no list")
            };
            numbers.extend(keys.iter().map(|key| key.issued - FIRST));
            match next {
                Some(next) => before = Some(next),
                None => return numbers,
            }
        }
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
            "USING INDEX keys_by_owner (account=? AND owner=? AND issued<?)",
        ),
        (
            KeyFilter { created_by: text("bob"), ..none() },
            |i| i % 1_000 == 2,
            "USING INDEX keys_by_creator (account=? AND created_by=? AND issued<?)",
        ),
        (
            KeyFilter { expires_before: Some(end), ..none() },
            |i| i % 1_000 == 3 && i < 50_000,
            "USING INDEX keys_by_end (account=? AND expires_at<?)",
        ),
        (
            KeyFilter { tag: text("billing"), ..none() },
            |i| i % 1_000 == 4,
            "USING PRIMARY KEY (of_account=? AND tag=? AND issued_at<?)",
        ),
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
            "USING INDEX keys_by_owner",
        ),
        (
            KeyFilter { tag: text("billing"), environment: Some(Environment::Live), ..none() },
            |_| false,
            "USING PRIMARY KEY (of_account=?",
        ),
        (
            KeyFilter { owner: text("alice"), tag: text("billing"), ..none() },
            |_| false,
            "USING PRIMARY KEY (of_account=?",
        ),
        (KeyFilter { owner: text("nobody"), ..none() }, |_| false, "USING INDEX keys_by_owner"),
        (
            KeyFilter { due: true, ..none() },
            |i| i <= OLD && i % 10 != 9,
            "USING INDEX keys_due (account=? AND issued>? AND issued<?)",
        ),
        (
            KeyFilter {
                due: true,
                environment: Some(Environment::Test),
                status: Some(ListedStatus::Disabled),
                ..none()
            },
            |i| i <= OLD && i % 10 == 8,
            "USING INDEX keys_due (account=? AND issued>? AND issued<?)",
        ),
        (KeyFilter { due: true, owner: text("alice"), ..none() }, |i| i == 1, "USING INDEX keys_by_owner"),
    ]
}

/// What stands in no index is looked for among the keys of the account, newest first, and no further than a page needs.
const WALK: &str = "USING INDEX keys_of_account (account=? AND issued<?)";

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
        let parameters = vec![keygate::authority::sql::Value::Null; statement.matches('?').count()];
        let explained =
            format!("{:?}", all.shard.sql.run(&format!("EXPLAIN QUERY PLAN {statement}"), &parameters).unwrap());
        assert!(explained.contains(plan) && !explained.contains("SCAN"), "{filter:?}: {explained}");
    }
}

#[test]
fn what_stands_in_an_index_is_found_without_a_walk() {
    let all = Attributes::new();
    for (filter, _, plan) in filters(all.shard.now()).into_iter().filter(|(.., plan)| *plan != WALK) {
        let before = all.shard.sql.steps();
        let page = Page { before: None, limit: 10 };
        all.shard.ask(Query::Keys(all.account, filter.clone(), page)).unwrap();
        let steps = all.shard.sql.steps() - before;
        assert!(steps < 20_000, "{filter:?}: {steps} steps, {plan}");
    }
}

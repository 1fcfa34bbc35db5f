//! Plans over more keys than are looked at at a time: they find their keys step by step, whatever happens meanwhile.

use std::collections::BTreeSet;

use keygate::{
    authority::{
        KeyFilter, ListedStatus,
        audit::AuditFilter,
        command::Command,
        outbox, plan_run,
        plans::{PLAN_EXECUTABLE_MS, PLAN_KEPT_MS, PLAN_KEYS_MAX, PlanCounts, PlanRecord, PlanState},
        query::{Found, Query},
        record::KeyRecord,
        sql::Sql,
    },
    credential::{AccountRef, Environment},
    json,
    policy::UnixMillis,
};
use proptest::{prelude::*, sample::select, test_runner::TestRunner};

use super::{
    plans::{execute, left, ordered, plan, planned, run},
    shorthand::{ALL, shard_with_account},
    support::{SLOT, Shard, new_account},
    walks,
};

/// A rare key in every ten thousand, the first of them the oldest of all.
const KEYS: u32 = 25_000;
const RARE: [u64; 3] = [1_001, 11_001, 21_001];

fn many() -> (Shard, AccountRef) {
    let (shard, account) = shard_with_account();
    shard.many_keys(account, KEYS);
    shard.sql.run("UPDATE keys SET pepper = 2 WHERE issued % 10000 = 1001", &[]).unwrap();
    (shard, account)
}

fn rare() -> KeyFilter {
    KeyFilter { pepper: Some(2), ..KeyFilter::default() }
}

fn step(shard: &Shard) {
    assert_eq!(plan_run::advance(&shard.sql, SLOT, shard.now()).unwrap(), Some(Vec::new()), "nothing is revoked");
}

fn issued(shard: &Shard, plan: &PlanRecord) -> Vec<u64> {
    let keys = shard.keys(Query::PlanKeys(plan.account, plan.id, ALL));
    keys.iter().map(|key| key.issued).rev().collect()
}

#[test]
fn a_plan_finds_its_keys_in_steps_over_restarts_and_can_be_executed_when_it_has_them_all() {
    let (mut shard, account) = many();
    let made = planned(&shard, account, rare());
    assert_eq!((made.state, made.counts.total, made.truncated), (PlanState::Planning, 1, false));
    shard.sql.run("DELETE FROM outbox", &[]).unwrap();
    assert_eq!(outbox::next_due(&shard.sql).unwrap(), Some(UnixMillis::EPOCH), "the alarm is to ring");
    for (state, total) in [(PlanState::Planning, 2), (PlanState::Planned, 3)] {
        let detail = shard.conflict(Command::ExecutePlan { account, plan: made.id });
        assert!(detail.contains("still looking for its keys"), "{detail}");
        // An instance fails at any statement, and another one finds the database.
        shard.fail_at_each_statement(|| {
            let advanced = plan_run::advance(&shard.sql, SLOT, shard.now());
            assert!(advanced.as_ref().is_ok_and(|keys| keys == &Some(Vec::new())) || advanced.is_err());
            advanced
        });
        shard.sql = shard.sql.reopened();
        let so_far = plan(&shard, &made);
        assert_eq!((so_far.state, so_far.counts.total), (state, total));
        assert_eq!(so_far.counts.live, total, "those are live");
    }
    assert_eq!(plan_run::advance(&shard.sql, SLOT, shard.now()).unwrap(), None);
    assert_eq!(
        outbox::next_due(&shard.sql).unwrap(),
        Some(made.created_at.saturating_add_millis(PLAN_EXECUTABLE_MS + PLAN_KEPT_MS))
    );
    assert_eq!(issued(&shard, &made), RARE);
    let whole = plan(&shard, &made);
    assert_eq!(whole, PlanRecord { counts: whole.counts, state: PlanState::Planned, ..made.clone() });
    execute(&shard, &made);
    run(&shard);
    let done = plan(&shard, &made);
    assert_eq!((done.state, done.revoked, done.skipped), (PlanState::Done, 3, 0));
    assert_eq!(left(&shard, account).len(), KEYS as usize - 3);
}

#[test]
fn what_is_no_more_than_one_look_is_planned_at_once() {
    for (count, state) in [(PLAN_KEYS_MAX + 1, PlanState::Planned), (PLAN_KEYS_MAX + 2, PlanState::Planning)] {
        let (shard, account) = shard_with_account();
        shard.many_keys(account, count);
        let filter = KeyFilter { pepper: Some(3), ..KeyFilter::default() };
        assert_eq!(planned(&shard, account, filter).state, state);
        // What has an index is not looked for.
        let owned = KeyFilter { owner: Some("nobody".into()), ..KeyFilter::default() };
        assert_eq!(planned(&shard, account, owned).state, PlanState::Planned);
    }
}

#[test]
fn a_plan_that_has_as_many_keys_as_it_holds_looks_no_further() {
    let (shard, account) = many();
    let made = planned(&shard, account, KeyFilter { status: Some(ListedStatus::Active), ..KeyFilter::default() });
    assert_eq!((made.state, made.counts.total), (PlanState::Planning, 8_000));
    step(&shard);
    let made = plan(&shard, &made);
    assert_eq!((made.state, made.counts.total, made.truncated), (PlanState::Planned, 10_000, true));
    assert_eq!(made.counts, PlanCounts { total: 10_000, live: 5_000, disabled: 0, expired: 0 });
    assert_eq!(issued(&shard, &made).first(), Some(&(1_000 + 12_501)), "the newest");
}

#[test]
fn a_plan_that_is_cancelled_while_it_looks_for_its_keys_looks_no_further() {
    let (shard, account) = many();
    let made = planned(&shard, account, rare());
    step(&shard);
    let cancel = || ordered(&shard, Command::CancelPlan { account, plan: made.id });
    shard.advance(5);
    let over = cancel();
    assert_eq!((over.state, over.counts.total, over.finished_at), (PlanState::Cancelled, 2, Some(shard.now())));
    assert_eq!(run(&shard), 0);
    assert_eq!(cancel(), over, "repeating it is a success");
    let detail = shard.conflict(Command::ExecutePlan { account, plan: made.id });
    assert!(detail.contains("is cancelled"), "{detail}");
    assert_eq!(left(&shard, account).len(), KEYS as usize);
    let audit = shard.audit(account, AuditFilter { action: Some("plan.cancel".into()), ..AuditFilter::default() });
    let entry: serde_json::Value = serde_json::from_str(&audit[0].text).unwrap();
    assert_eq!((audit.len(), &entry["after"]["keys"]), (1, &serde_json::json!(2)), "as many as it had then");
    shard.advance(PLAN_KEPT_MS);
    plan_run::forget(&shard.sql, shard.now()).unwrap();
    assert_eq!(shard.numbers("SELECT (SELECT count(*) FROM plans) + (SELECT count(*) FROM plan_keys)"), [0]);
}

#[test]
fn what_happens_while_a_plan_looks_for_its_keys_counts_where_it_has_not_looked_yet() {
    let (shard, account) = many();
    let keys = shard.listed(account, rare());
    let [third, second, first] = <[KeyRecord; 3]>::try_from(keys).unwrap();
    let made = planned(&shard, account, rare());
    shard.revoke(&third);
    shard.revoke(&second);
    // A key that is issued now is none of it, however old those are that it still looks for.
    shard.issue(account, super::support::new_key());
    assert_eq!(run(&shard), 2);
    let made = plan(&shard, &made);
    assert_eq!((made.state, made.counts.total), (PlanState::Planned, 2), "the first had been found already");
    assert_eq!(issued(&shard, &made), [first.issued, third.issued]);
    execute(&shard, &made);
    run(&shard);
    let done = plan(&shard, &made);
    assert_eq!((done.revoked, done.skipped), (1, 1));
}

#[test]
fn what_was_ordered_goes_before_what_is_only_planned_and_plans_are_made_in_turn() {
    let (shard, account) = many();
    let other = shard.account(new_account("B")).id;
    let small =
        planned(&shard, account, KeyFilter { owner: Some("alice".into()), pepper: Some(2), ..KeyFilter::default() });
    assert_eq!(small.state, PlanState::Planning, "an index alone is no bound");
    run(&shard);
    let (first, second) = (planned(&shard, account, rare()), planned(&shard, account, rare()));
    assert_eq!(planned(&shard, other, rare()).state, PlanState::Planned);
    execute(&shard, &small);
    let revoked = plan_run::advance(&shard.sql, SLOT, shard.now()).unwrap().unwrap();
    assert_eq!(revoked.len(), 3);
    let states = || [plan(&shard, &first).state, plan(&shard, &second).state];
    step(&shard);
    step(&shard);
    assert_eq!(states(), [PlanState::Planned, PlanState::Planning]);
    step(&shard);
    step(&shard);
    assert_eq!(states(), [PlanState::Planned, PlanState::Planned]);
    assert_eq!(run(&shard), 0);
}

#[test]
fn a_step_costs_as_much_however_many_keys_there_are() {
    let steps = |count: u32| {
        let (shard, account) = shard_with_account();
        shard.many_keys(account, count);
        planned(&shard, account, KeyFilter { pepper: Some(3), ..KeyFilter::default() });
        let before = shard.sql.steps();
        step(&shard);
        shard.sql.steps() - before
    };
    let (few, many) = (steps(25_000), steps(100_000));
    assert!((few - many).abs() < 100 && few < i64::from(PLAN_KEYS_MAX) * 30, "{few} and {many} steps");
}

#[test]
fn what_a_plan_looks_for_is_kept_as_it_was_said() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(300));
    let read = |filter: KeyFilter| {
        use json::ToJson;
        let written = filter.to_json();
        prop_assert_eq!(json::read::<KeyFilter>(&written), Some(filter), "{}", written);
        Ok(())
    };
    runner.run(&walks::filters(), read).unwrap();
}

#[test]
fn whatever_the_filter_a_plan_is_what_a_list_of_all_its_pages_shows() {
    let (shard, account) = walks::filled();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(40));
    let outcome = runner.run(&(walks::filters(), select(vec![false, true])), |(mut filter, is_rare)| {
        filter.environment = filter.environment.filter(|environment| *environment != Environment::Admin);
        filter.status = filter.status.filter(|status| *status != ListedStatus::Revoked);
        if is_rare || filter == KeyFilter::default() {
            filter.pepper = Some(2);
        }
        let is_left = |key: &KeyRecord| ListedStatus::of(key, shard.now()) != ListedStatus::Revoked;
        let listed = shard.listed(account, filter.clone());
        let expected: BTreeSet<u64> = listed.iter().filter(|key| is_left(key)).map(|key| key.issued).collect();
        let made = planned(&shard, account, filter);
        run(&shard);
        let made = plan(&shard, &made);
        prop_assert_eq!(made.state, PlanState::Planned);
        let Some(Found::Keys(held, None)) = shard.ask(Query::PlanKeys(account, made.id, ALL)) else {
            panic!("no keys")
        };
        let held: BTreeSet<u64> = held.iter().map(|key| key.issued).collect();
        prop_assert_eq!(made.truncated, expected.len() > 10_000);
        let is_right = if made.truncated { held.is_subset(&expected) } else { held == expected };
        prop_assert!(is_right, "{} keys, and not {}", held.len(), expected.len());
        prop_assert_eq!(made.counts.total, held.len() as u64);
        // There is room for the next one.
        ordered(&shard, Command::CancelPlan { account, plan: made.id });
        Ok(())
    });
    outcome.unwrap();
}

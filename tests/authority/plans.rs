//! Plans: what one is, how many there are, how long they last and what they cost.

use std::collections::BTreeSet;

use keygate::{
    authority::{
        KeyFilter, ListedStatus,
        command::{Answer, Command, NewKey, Refusal},
        labels::Labels,
        outbox, plan_run,
        plans::{OPEN_PLANS_MAX, PLAN_EXECUTABLE_MS, PLAN_KEPT_MS, PLAN_KEYS_MAX, PlanRecord, PlanState},
        query::{Found, Page, Query},
        record::KeyRecord,
        sql::Sql,
    },
    credential::{AccountRef, Environment, KeyId, PlanId},
    policy::KeyStatus,
};

use super::{
    shorthand::{ALL, shard_with_account},
    support::{SLOT, Shard, new_account, new_credential, new_key},
};

pub fn tagged(tag: &str) -> NewKey {
    NewKey { labels: Labels { tags: vec![tag.into()], ..Labels::default() }, ..new_key() }
}

pub fn by_tag(tag: &str) -> KeyFilter {
    KeyFilter { tag: Some(tag.into()), ..KeyFilter::default() }
}

pub fn planned(shard: &Shard, account: AccountRef, filter: KeyFilter) -> PlanRecord {
    match shard.execute(Command::PlanRevocation { account, filter }).unwrap().answer {
        Some(Answer::Planned(record)) => record,
        other => panic!("no plan: {other:?}"),
    }
}

pub fn ordered(shard: &Shard, command: Command) -> PlanRecord {
    match shard.execute(command).unwrap().answer {
        Some(Answer::Plan(record)) => record,
        other => panic!("no plan: {other:?}"),
    }
}

pub fn execute(shard: &Shard, plan: &PlanRecord) -> PlanRecord {
    ordered(shard, Command::ExecutePlan { account: plan.account, plan: plan.id })
}

pub fn plan(shard: &Shard, plan: &PlanRecord) -> PlanRecord {
    match shard.ask(Query::Plan(plan.account, plan.id)) {
        Some(Found::Plan(record)) => record,
        other => panic!("no plan: {other:?}"),
    }
}

pub fn left(shard: &Shard, account: AccountRef) -> BTreeSet<KeyId> {
    let all = shard.listed(account, KeyFilter::default());
    all.iter().filter(|key| key.status != KeyStatus::Revoked).map(KeyRecord::id).collect()
}

/// Runs chunks until nothing runs any more. How many there were.
pub fn run(shard: &Shard) -> usize {
    std::iter::from_fn(|| plan_run::advance(&shard.sql, SLOT, shard.now()).unwrap()).count()
}

#[test]
fn what_is_no_plan_is_refused_and_what_is_anothers_is_unknown() {
    let shard = Shard::new();
    let (account, other) = (shard.account(new_account("A")).id, shard.account(new_account("B")).id);
    shard.issue_credential(account, new_credential(keygate::policy::Role::Viewer));
    let before = shard.sql.dump();
    let admins = KeyFilter { environment: Some(Environment::Admin), ..KeyFilter::default() };
    let revoked = KeyFilter { status: Some(ListedStatus::Revoked), ..KeyFilter::default() };
    for filter in [KeyFilter::default(), admins, revoked] {
        let refused = shard.refused(Command::PlanRevocation { account, filter });
        assert!(matches!(&refused, Refusal::Invalid { field, .. } if field == "filter"), "{refused:?}");
    }
    let nobody = AccountRef { number: 1, ..account };
    assert_eq!(shard.refused(Command::PlanRevocation { account: nobody, filter: by_tag("x") }), Refusal::NotFound);
    assert_eq!(shard.sql.dump(), before);
    let pepper = KeyFilter { pepper: Some(1), ..KeyFilter::default() };
    assert_eq!(planned(&shard, account, pepper).counts.total, 0, "an admin credential is in no plan");
    let made = planned(&shard, account, by_tag("old"));
    for (account, plan) in [(other, made.id), (nobody, made.id), (account, PlanId::from_bytes([1; 8]))] {
        assert_eq!(shard.refused(Command::ExecutePlan { account, plan }), Refusal::NotFound);
        assert_eq!(shard.refused(Command::CancelPlan { account, plan }), Refusal::NotFound);
        assert_eq!(shard.ask(Query::Plan(account, plan)), None);
        assert_eq!(shard.ask(Query::PlanKeys(account, plan, ALL)), None);
    }
    assert_eq!(shard.ask(Query::Plans(nobody, ALL)), None);
    assert_eq!(shard.ask(Query::StaleKeys(nobody, 90)), None);
}

#[test]
fn an_account_has_a_bounded_number_of_open_plans() {
    let shard = Shard::new();
    let (account, other) = (shard.account(new_account("A")).id, shard.account(new_account("B")).id);
    let plans: Vec<PlanRecord> = (0..OPEN_PLANS_MAX).map(|_| planned(&shard, account, by_tag("old"))).collect();
    let one_more = || Command::PlanRevocation { account, filter: by_tag("old") };
    let detail = shard.conflict(one_more());
    assert!(detail.contains("Execute or cancel one"), "{detail}");
    planned(&shard, other, by_tag("old"));
    execute(&shard, &plans[0]);
    shard.refused(one_more());
    run(&shard);
    shard.execute(one_more()).unwrap();
    shard.refused(one_more());
    ordered(&shard, Command::CancelPlan { account, plan: plans[1].id });
    shard.execute(one_more()).unwrap();
    shard.refused(one_more());
    shard.advance(PLAN_EXECUTABLE_MS);
    shard.execute(one_more()).unwrap();
    let Some(Found::Plans(listed, Some(next))) = shard.ask(Query::Plans(account, Page { before: None, limit: 2 }))
    else {
        panic!("no list")
    };
    assert_eq!((listed.len(), listed[0].state, listed[1].state), (2, PlanState::Planned, PlanState::Expired));
    let rest = Query::Plans(account, Page { before: Some(next), limit: 100 });
    let Some(Found::Plans(rest, None)) = shard.ask(rest) else { panic!("no list") };
    assert_eq!(listed.len() + rest.len(), 23);
}

#[test]
fn a_plan_holds_so_many_keys_and_says_when_there_are_more() {
    let owned = || KeyFilter { owner: Some("alice".into()), ..KeyFilter::default() };
    for (count, truncated) in [(PLAN_KEYS_MAX, false), (PLAN_KEYS_MAX + 1, true)] {
        let (shard, account) = shard_with_account();
        shard.many_keys(account, count);
        let made = planned(&shard, account, owned());
        assert_eq!((made.counts.total, made.truncated), (PLAN_KEYS_MAX.into(), truncated));
        assert_eq!((made.counts.live, made.counts.disabled), (5_000, 2_000));
        let listed = shard.keys(Query::PlanKeys(account, made.id, ALL));
        assert_eq!(listed[0].issued, u64::from(1_000 + count), "the newest");
        if truncated {
            execute(&shard, &made);
            assert_eq!(run(&shard), 101, "the last one finds that nothing is left");
            assert_eq!(left(&shard, account).len(), 1);
            assert_eq!(planned(&shard, account, owned()).counts.total, 1);
        }
    }
}

#[test]
fn a_plan_expires_after_a_day_and_is_forgotten_a_week_after_its_end() {
    let (shard, account) = shard_with_account();
    for _ in 0..3 {
        shard.issue(account, tagged("old"));
    }
    let (expiring, executed) = (planned(&shard, account, by_tag("old")), planned(&shard, account, by_tag("old")));
    shard.advance(PLAN_EXECUTABLE_MS - 1);
    assert_eq!(plan(&shard, &expiring).state, PlanState::Planned);
    execute(&shard, &executed);
    run(&shard);
    shard.advance(1);
    assert_eq!(plan(&shard, &expiring).state, PlanState::Expired);
    for command in
        [Command::ExecutePlan { account, plan: expiring.id }, Command::CancelPlan { account, plan: expiring.id }]
    {
        shard.conflict(command);
    }
    shard.sql.run("DELETE FROM outbox", &[]).unwrap();
    let due = outbox::next_due(&shard.sql).unwrap().unwrap();
    assert_eq!(due, executed.created_at.saturating_add_millis(PLAN_EXECUTABLE_MS - 1 + PLAN_KEPT_MS));
    shard.advance(PLAN_KEPT_MS - 2);
    plan_run::forget(&shard.sql, shard.now()).unwrap();
    assert_eq!(plan(&shard, &executed).state, PlanState::Done);
    shard.advance(1);
    plan_run::forget(&shard.sql, shard.now()).unwrap();
    assert_eq!(shard.ask(Query::Plan(account, executed.id)), None);
    assert_eq!(shard.ask(Query::PlanKeys(account, executed.id, ALL)), None);
    assert_eq!(plan(&shard, &expiring).state, PlanState::Expired);
    shard.advance(1);
    plan_run::forget(&shard.sql, shard.now()).unwrap();
    assert_eq!(shard.ask(Query::Plan(account, expiring.id)), None);
    assert_eq!(shard.numbers("SELECT (SELECT count(*) FROM plans) + (SELECT count(*) FROM plan_keys)"), [0]);
    assert_eq!(outbox::next_due(&shard.sql).unwrap(), None);
}

#[test]
fn a_plan_costs_a_row_per_key_and_a_chunk_as_many_as_single_revocations() {
    let cost = |count: u32| {
        let (shard, account) = shard_with_account();
        shard.many_keys(account, 200);
        let filter = KeyFilter { created_before: Some(shard.now()), ..KeyFilter::default() };
        shard
            .sql
            .run("UPDATE keys SET created_at = 9999999999999 WHERE issued > ?1", &[(1_000 + count).into()])
            .unwrap();
        let rows = |body: &dyn Fn()| {
            let before = shard.sql.changes();
            body();
            shard.sql.changes() - before
        };
        let before = shard.sql.changes();
        let made = planned(&shard, account, filter);
        let planning = shard.sql.changes() - before;
        assert_eq!(made.counts.total, u64::from(count));
        let executing = rows(&|| drop(execute(&shard, &made)));
        let running = rows(&|| drop(plan_run::advance(&shard.sql, SLOT, shard.now()).unwrap()));
        let one = shard.listed(account, KeyFilter::default())[0].id();
        let alone = rows(&|| drop(shard.key(Command::RevokeKey { account, key: one })));
        shard.advance(2 * PLAN_KEPT_MS);
        let forgetting = rows(&|| plan_run::forget(&shard.sql, shard.now()).unwrap());
        [planning, executing, running, alone, forgetting]
    };
    // Without rows of indexes. Those of a plan itself, of the sequence and of the kept command come on top.
    assert_eq!(cost(40), [40 + 3, 6, 40 * 8 + 2, 9, 40 + 1]);
    assert_eq!(cost(99), [99 + 3, 6, 99 * 8 + 2, 9, 99 + 1]);
}

#[test]
fn what_the_alarm_asks_for_is_found_by_an_index() {
    let (shard, account) = shard_with_account();
    for _ in 0..3 {
        shard.issue(account, tagged("old"));
    }
    let made = planned(&shard, account, by_tag("old"));
    execute(&shard, &made);
    shard.sql.statements.take();
    outbox::next_due(&shard.sql).unwrap();
    run(&shard);
    plan_run::forget(&shard.sql, shard.now()).unwrap();
    planned(&shard, account, by_tag("old"));
    shard.ask(Query::Plan(account, made.id)).unwrap();
    shard.ask(Query::Plans(account, ALL)).unwrap();
    shard.ask(Query::PlanKeys(account, made.id, ALL)).unwrap();
    shard.ask(Query::StaleKeys(account, 90)).unwrap();
    for statement in shard.sql.statements.take().iter().filter(|statement| statement.contains("plan")) {
        let explained = shard.explain(statement);
        let scans = explained.matches("SCAN").count() - explained.matches("SCAN CONSTANT ROW").count();
        let bare = explained.matches("SCAN plans USING COVERING INDEX plans_running").count()
            + explained.matches("SCAN plans USING INDEX plans_running").count()
            + explained.matches("SCAN plans USING COVERING INDEX plans_planning").count()
            + explained.matches("SCAN plans USING INDEX plans_planning").count()
            + explained.matches("SCAN (subquery").count()
            + explained.matches("SCAN sweeps").count();
        assert!(scans <= bare, "{statement}: {explained}");
    }
}

//! Plans: exactly the keys that were written down are revoked, chunk by chunk, whatever happens meanwhile.

use std::collections::BTreeSet;

use keygate::{
    authority::{
        KeyFilter, ListedStatus,
        admins::Caller,
        audit::AuditFilter,
        command::{Answer, Command, Edit, KeyChange, NewKey, Order, Refusal},
        feed,
        labels::{Labels, LabelsChange},
        lease::Terms,
        outbox,
        plan_run::{self, CHUNK},
        plans::{OPEN_PLANS_MAX, PLAN_EXECUTABLE_MS, PLAN_KEPT_MS, PLAN_KEYS_MAX, PlanCounts, PlanRecord, PlanState},
        query::{Found, Page, Query},
        record::KeyRecord,
        sql::Sql,
        stale::{LOOKED_AT_MAX, StaleKeys},
        sync::{SyncAnswer, SyncRequest},
        usage::{Tally, Use},
    },
    credential::{AccountRef, Environment, KeyId, Peppers, PlanId},
    http::admin::{self, AdminRequest, Facts},
    policy::{KeyStatus, Scope, ScopeSet, UnixMillis},
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::support::{SLOT, Shard, new_account, new_credential, new_key, pepper};

const ALL: Page = Page { before: None, limit: 20_000 };
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn tagged(tag: &str) -> NewKey {
    NewKey { labels: Labels { tags: vec![tag.into()], ..Labels::default() }, ..new_key() }
}

fn by_tag(tag: &str) -> KeyFilter {
    KeyFilter { tag: Some(tag.into()), ..KeyFilter::default() }
}

fn planned(shard: &Shard, account: AccountRef, filter: KeyFilter) -> PlanRecord {
    match shard.execute(Command::PlanRevocation { account, filter }).unwrap().answer {
        Some(Answer::Planned(record)) => record,
        other => panic!("no plan: {other:?}"),
    }
}

fn ordered(shard: &Shard, command: Command) -> PlanRecord {
    match shard.execute(command).unwrap().answer {
        Some(Answer::Plan(record)) => record,
        other => panic!("no plan: {other:?}"),
    }
}

fn execute(shard: &Shard, plan: &PlanRecord) -> PlanRecord {
    ordered(shard, Command::ExecutePlan { account: plan.account, plan: plan.id })
}

fn plan(shard: &Shard, plan: &PlanRecord) -> PlanRecord {
    match shard.ask(Query::Plan(plan.account, plan.id)) {
        Some(Found::Plan(record)) => record,
        other => panic!("no plan: {other:?}"),
    }
}

fn keys(shard: &Shard, query: Query) -> Vec<KeyRecord> {
    match shard.ask(query) {
        Some(Found::Keys(keys, None)) => keys,
        other => panic!("no list: {other:?}"),
    }
}

fn ids(keys: &[KeyRecord]) -> Vec<KeyId> {
    keys.iter().map(KeyRecord::id).collect()
}

fn left(shard: &Shard, account: AccountRef) -> BTreeSet<KeyId> {
    let all = keys(shard, Query::Keys(account, KeyFilter::default(), ALL));
    all.iter().filter(|key| key.status != KeyStatus::Revoked).map(KeyRecord::id).collect()
}

/// Runs chunks until nothing runs any more. How many there were.
fn run(shard: &Shard) -> usize {
    std::iter::from_fn(|| plan_run::advance(&shard.sql, SLOT, shard.now()).unwrap()).count()
}

/// The actions of the audit with their subjects, oldest first.
fn audited(shard: &Shard, account: AccountRef) -> Vec<serde_json::Value> {
    let Some(Found::Audit(entries, None)) = shard.ask(Query::Audit(account, AuditFilter::default(), ALL)) else {
        panic!("no audit")
    };
    entries.iter().rev().map(|entry| serde_json::from_str(&entry.text).unwrap()).collect()
}

#[test]
fn exactly_the_keys_of_the_plan_are_revoked_whatever_changes_meanwhile() {
    let shard = Shard::new();
    let (account, other) = (shard.account(new_account("A")).id, shard.account(new_account("B")).id);
    let old: Vec<KeyRecord> = (0..3).map(|_| shard.issue(account, tagged("old")).0).collect();
    let (bystander, _) = shard.issue(account, tagged("new"));
    let (foreign, _) = shard.issue(other, tagged("old"));
    let (gone, _) = shard.issue(account, tagged("old"));
    shard.key(Command::RevokeKey { account, key: gone.id() });
    let made = planned(&shard, account, by_tag("old"));
    assert_eq!(made.counts, PlanCounts { total: 3, live: 3, disabled: 0, expired: 0 });
    assert_eq!((made.state, made.truncated, made.filter.as_str()), (PlanState::Planned, false, r#"{"tag":"old"}"#));
    let mut listed = ids(&old);
    listed.reverse();
    assert_eq!(ids(&keys(&shard, Query::PlanKeys(account, made.id, ALL))), listed, "newest first");
    assert_eq!(run(&shard), 0, "nothing was ordered yet");
    assert_eq!(outbox::next_due(&shard.sql).unwrap(), Some(shard.now()), "only what was issued waits for KV");

    // Now one leaves the filter, another enters it, one is revoked and one is issued.
    let relabel = |key: &KeyRecord, tag: &str| {
        let labels = LabelsChange { tags: Edit::Set(vec![tag.into()]), ..LabelsChange::default() };
        shard.key(Command::ChangeKey { account, key: key.id(), change: KeyChange { labels, ..KeyChange::default() } });
    };
    relabel(&old[0], "new");
    relabel(&bystander, "old");
    shard.key(Command::RevokeKey { account, key: old[1].id() });
    let (later, _) = shard.issue(account, tagged("old"));
    shard.advance(1_000);
    let running = execute(&shard, &made);
    assert_eq!((running.state, running.started_at), (PlanState::Running, Some(shard.now())));
    assert_eq!(outbox::next_due(&shard.sql).unwrap(), Some(UnixMillis::EPOCH), "the alarm is to ring");
    shard.advance(1_000);
    assert_eq!(run(&shard), 1);
    let done = plan(&shard, &made);
    assert_eq!((done.state, done.revoked, done.skipped), (PlanState::Done, 2, 1));
    assert_eq!(done.finished_at, Some(shard.now()));
    assert_eq!(left(&shard, account), [bystander.id(), later.id()].into());
    assert_eq!(left(&shard, other), [foreign.id()].into());
    let shown = keys(&shard, Query::PlanKeys(account, made.id, ALL));
    assert_eq!(ids(&shown), listed, "the plan still says what it did");
    assert!(shown.iter().all(|key| key.status == KeyStatus::Revoked));
    assert_eq!(shown[0].revoked_at, Some(shard.now()));
}

#[test]
fn each_key_is_revoked_as_by_a_command_of_its_own() {
    let shard = Shard::new();
    let account = shard.account(new_account("A")).id;
    let (record, _) = shard.issue(account, tagged("old"));
    let (alone, _) = shard.issue(account, new_key());
    let made = planned(&shard, account, by_tag("old"));
    let order =
        Order { actor: Some("alice".into()), ..shard.order_of(Command::ExecutePlan { account, plan: made.id }) };
    shard.order(order).unwrap();
    run(&shard);
    shard.key(Command::RevokeKey { account, key: alone.id() });
    let audit = audited(&shard, account);
    let [.., execution, by_plan, by_itself] = &audit[..] else { panic!("{audit:?}") };
    assert_eq!((&execution["action"], &execution["actor"]), (&"plan.execute".into(), &"alice".into()));
    assert_eq!(execution["subject"], made.id.to_string());
    assert_eq!(execution["after"], serde_json::json!({ "filter": { "tag": "old" }, "keys": 1, "state": "running" }));
    for (entry, key, actor) in [(by_plan, &record, "alice"), (by_itself, &alone, "u-1")] {
        assert_eq!((&entry["action"], &entry["actor"]), (&"key.revoke".into(), &actor.into()));
        assert_eq!((&entry["subject"], &entry["credential"]), (&key.id().to_string().into(), &"root".into()));
        assert_eq!(entry["before"], serde_json::json!({ "status": "active" }));
        assert_eq!(entry["after"], serde_json::json!({ "status": "revoked" }));
        let sequence = entry["sequence"].as_u64().unwrap();
        let Some(Found::Key(now)) = shard.ask(Query::Key(account, key.id())) else { panic!("no key") };
        assert_eq!(now.version, sequence);
        let subject = feed::FeedSubject::key(&key.digest);
        let told = shard.numbers(&format!("SELECT sequence FROM feed WHERE subject = '{}'", subject.as_str()));
        assert_eq!(told, [i64::try_from(sequence).unwrap()]);
    }
    let priorities = shard.numbers("SELECT priority FROM outbox WHERE kv_key LIKE 'grant:%' ORDER BY priority");
    assert_eq!(priorities, [0, 0], "a change that waits for KV already keeps its turn");
    assert_eq!(shard.numbers("SELECT max(sequence) FROM audit, meta"), shard.numbers("SELECT sequence FROM meta"));
}

#[test]
fn chunk_after_chunk_each_key_has_its_turn_once_whenever_an_instance_ends() {
    let mut shard = Shard::new();
    let account = shard.account(new_account("A")).id;
    let (kept, _) = shard.issue(account, tagged("new"));
    for _ in 0..250 {
        shard.issue(account, tagged("old"));
    }
    let made = planned(&shard, account, by_tag("old"));
    execute(&shard, &made);
    for (chunk, revoked) in [(1, 100), (2, 200), (3, 250)] {
        // An instance fails at any statement, and another one finds the database.
        for statement in [0, 1, 3, 20, 400] {
            let before = shard.sql.dump();
            shard.sql.fail_after(Some(statement));
            assert!(plan_run::advance(&shard.sql, SLOT, shard.now()).is_err(), "at {statement}");
            shard.sql.fail_after(None);
            assert_eq!(shard.sql.dump(), before, "at {statement}");
        }
        shard = Shard::on(shard.sql.reopened());
        let chunk_of = plan_run::advance(&shard.sql, SLOT, shard.now()).unwrap().unwrap();
        assert_eq!(chunk_of.len() as u64, if chunk < 3 { CHUNK.into() } else { 50 });
        let so_far = plan(&shard, &made);
        assert_eq!((so_far.revoked, so_far.skipped), (revoked, 0));
        assert_eq!(so_far.state, if chunk < 3 { PlanState::Running } else { PlanState::Done });
        assert_eq!(left(&shard, account).len() as u64, 251 - revoked);
    }
    assert_eq!(run(&shard), 0);
    assert_eq!(left(&shard, account), [kept.id()].into());
    let audit = audited(&shard, account);
    let subjects = audit.iter().filter(|entry| entry["action"] == "key.revoke").map(|entry| entry["subject"].clone());
    let subjects: Vec<String> = subjects.map(|subject| subject.as_str().unwrap().into()).collect();
    assert_eq!(subjects.iter().collect::<BTreeSet<_>>().len(), 250);
    assert_eq!(subjects.len(), 250, "each once");
}

#[test]
fn a_sync_between_two_chunks_is_told_of_what_was_revoked_until_then() {
    let shard = Shard::new();
    let account = shard.account(new_account("A")).id;
    for _ in 0..150 {
        shard.issue(account, tagged("old"));
    }
    let made = planned(&shard, account, by_tag("old"));
    let terms = Terms { lease_ms: 5_000, grace_ms: 0 };
    let told = |known: Option<_>| {
        let text = shard.sync(&SyncRequest { known, ..SyncRequest::default() }, terms).text;
        let answer = SyncAnswer::parse(&text).unwrap();
        (Some(answer.now.clone()), answer.changes.len(), answer.reset)
    };
    let (known, ..) = told(None);
    execute(&shard, &made);
    plan_run::advance(&shard.sql, SLOT, shard.now()).unwrap();
    let (known, changes, reset) = told(known);
    assert_eq!((changes, reset), (100, false));
    plan_run::advance(&shard.sql, SLOT, shard.now()).unwrap();
    assert_eq!(told(known).1, 50);
}

#[test]
fn a_plan_can_be_cancelled_before_and_while_it_runs() {
    let shard = Shard::new();
    let account = shard.account(new_account("A")).id;
    for _ in 0..150 {
        shard.issue(account, tagged("old"));
    }
    let cancel = |plan: &PlanRecord| Command::CancelPlan { account, plan: plan.id };
    let first = planned(&shard, account, by_tag("old"));
    assert_eq!(ordered(&shard, cancel(&first)).state, PlanState::Cancelled);
    assert_eq!(ordered(&shard, cancel(&first)).state, PlanState::Cancelled, "repeating it is a success");
    let refused = shard.refused(Command::ExecutePlan { account, plan: first.id });
    assert!(matches!(refused, Refusal::Conflict { .. }), "{refused:?}");
    let second = planned(&shard, account, by_tag("old"));
    execute(&shard, &second);
    plan_run::advance(&shard.sql, SLOT, shard.now()).unwrap();
    ordered(&shard, cancel(&second));
    assert_eq!(run(&shard), 0);
    let over = plan(&shard, &second);
    assert_eq!((over.state, over.revoked, over.skipped), (PlanState::Cancelled, 100, 0));
    assert_eq!(over.finished_at, Some(shard.now()));
    assert_eq!(left(&shard, account).len(), 50);
    let refused = shard.refused(Command::ExecutePlan { account, plan: second.id });
    assert!(matches!(refused, Refusal::Conflict { .. }), "{refused:?}");
    // What is left is another plan's.
    let third = planned(&shard, account, by_tag("old"));
    assert_eq!(third.counts.total, 50);
    execute(&shard, &third);
    run(&shard);
    assert_eq!(left(&shard, account), BTreeSet::new());
    let refused = shard.refused(cancel(&third));
    assert!(matches!(refused, Refusal::Conflict { .. }), "{refused:?}");
    let audit = audited(&shard, account);
    let actions: Vec<&str> =
        audit.iter().filter_map(|it| it["action"].as_str()).filter(|it| it.starts_with("plan.")).collect();
    assert_eq!(actions, ["plan.cancel", "plan.execute", "plan.cancel", "plan.execute"]);
}

#[test]
fn an_execution_that_is_ordered_again_changes_nothing() {
    let shard = Shard::new();
    let account = shard.account(new_account("A")).id;
    shard.issue(account, tagged("old"));
    let made = planned(&shard, account, by_tag("old"));
    let order = shard.order_of(Command::ExecutePlan { account, plan: made.id });
    let first = shard.order(order.clone()).unwrap();
    let entries = audited(&shard, account).len();
    let again = shard.order(order).unwrap();
    assert!(!again.committed.wrote, "the same request");
    assert_eq!(again.committed.answer, first.committed.answer);
    shard.advance(5);
    assert_eq!(execute(&shard, &made).state, PlanState::Running, "another request");
    assert_eq!(audited(&shard, account).len(), entries);
    run(&shard);
    let done = execute(&shard, &made);
    assert_eq!((done.state, done.revoked), (PlanState::Done, 1));
    assert_eq!(run(&shard), 0);
    assert_eq!(audited(&shard, account).len(), entries + 1);
}

#[test]
fn a_plan_without_keys_is_done_at_once() {
    let shard = Shard::new();
    let account = shard.account(new_account("A")).id;
    let made = planned(&shard, account, by_tag("none"));
    assert_eq!(made.counts, PlanCounts::default());
    execute(&shard, &made);
    assert_eq!(run(&shard), 1);
    assert_eq!(plan(&shard, &made).state, PlanState::Done);
}

#[test]
fn a_plan_expires_after_a_day_and_is_forgotten_a_week_after_its_end() {
    let shard = Shard::new();
    let account = shard.account(new_account("A")).id;
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
        let refused = shard.refused(command);
        assert!(matches!(refused, Refusal::Conflict { .. }), "{refused:?}");
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
fn an_account_has_a_bounded_number_of_open_plans() {
    let shard = Shard::new();
    let (account, other) = (shard.account(new_account("A")).id, shard.account(new_account("B")).id);
    let plans: Vec<PlanRecord> = (0..OPEN_PLANS_MAX).map(|_| planned(&shard, account, by_tag("old"))).collect();
    let one_more = || Command::PlanRevocation { account, filter: by_tag("old") };
    let Refusal::Conflict { detail, .. } = shard.refused(one_more()) else { panic!("not refused") };
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

/// Rows of keys as they would be after so many were issued, every second in `test`, every fifth disabled.
fn many_keys(shard: &Shard, account: AccountRef, count: u32) {
    shard
        .sql
        .run(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
             INSERT INTO keys (digest, account, issued, version, name, environment, scopes, status, hint, pepper,
                created_at, owner)
             SELECT printf('%08x%040x', i, 0), ?1, 1000 + i, 1000 + i, NULL, iif(i % 2, 'live', 'test'), '[]',
                iif(i % 5, 'active', 'disabled'), 'kg_live_', 1, 1, 'alice' FROM n",
            &[account.number.into(), count.into()],
        )
        .unwrap();
    shard.sql.run("UPDATE meta SET sequence = 1000 + ?1", &[count.into()]).unwrap();
}

#[test]
fn a_plan_holds_so_many_keys_and_says_when_there_are_more() {
    let owned = || KeyFilter { owner: Some("alice".into()), ..KeyFilter::default() };
    for (count, truncated) in [(PLAN_KEYS_MAX, false), (PLAN_KEYS_MAX + 1, true)] {
        let shard = Shard::new();
        let account = shard.account(new_account("A")).id;
        many_keys(&shard, account, count);
        let made = planned(&shard, account, owned());
        assert_eq!((made.counts.total, made.truncated), (PLAN_KEYS_MAX.into(), truncated));
        assert_eq!((made.counts.live, made.counts.disabled), (5_000, 2_000));
        let listed = keys(&shard, Query::PlanKeys(account, made.id, ALL));
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
fn a_plan_costs_a_row_per_key_and_a_chunk_as_many_as_single_revocations() {
    let cost = |count: u32| {
        let shard = Shard::new();
        let account = shard.account(new_account("A")).id;
        many_keys(&shard, account, 200);
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
        let one = keys(&shard, Query::Keys(account, KeyFilter::default(), ALL))[0].id();
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
    let shard = Shard::new();
    let account = shard.account(new_account("A")).id;
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
        let count = (1..30).rev().find(|number| statement.contains(&format!("?{number}")));
        let count = count.unwrap_or_else(|| statement.matches('?').count());
        let parameters = vec![keygate::authority::sql::Value::Null; count];
        let explained = shard.sql.run(&format!("EXPLAIN QUERY PLAN {statement}"), &parameters).unwrap();
        let explained = format!("{explained:?}");
        let scans = explained.matches("SCAN").count() - explained.matches("SCAN CONSTANT ROW").count();
        let bare = explained.matches("SCAN plans USING COVERING INDEX plans_running").count()
            + explained.matches("SCAN plans USING INDEX plans_running").count()
            + explained.matches("SCAN (subquery").count()
            + explained.matches("SCAN sweeps").count();
        assert!(scans <= bare, "{statement}: {explained}");
    }
}

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

const HOUR_MS: u64 = 3_600_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_what_its_filter_says_and_its_execution_is_the_plan(
        before in vec(drawn(), 0..14),
        after in vec(drawn(), 0..4),
        filter in filtered(),
    ) {
        let shard = Shard::new();
        let account = shard.account(new_account("A")).id;
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
                Fate::Disabled => {
                    let change = KeyChange { disabled: Edit::Set(true), ..KeyChange::default() };
                    let id = all.last().unwrap().1.id();
                    shard.key(Command::ChangeKey { account, key: id, change });
                }
                Fate::Revoked => {
                    let last = all.last_mut().unwrap();
                    shard.key(Command::RevokeKey { account, key: last.1.id() });
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
        let listed: BTreeSet<KeyId> = ids(&keys(&shard, Query::PlanKeys(account, made.id, ALL))).into_iter().collect();
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
    let shard = Shard::new();
    let account = shard.account(new_account("A")).id;
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
            8 => drop(shard.key(Command::RevokeKey { account, key: key.id() })),
            9 => {
                let change = KeyChange { disabled: Edit::Set(true), ..KeyChange::default() };
                shard.key(Command::ChangeKey { account, key: key.id(), change });
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
            let shown = keys(&shard, Query::Keys(account, filter_in(&said[name]["filter"]), ALL));
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
        let shard = Shard::new();
        let account = shard.account(new_account("A")).id;
        many_keys(&shard, account, count);
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

//! The execution of plans: exactly the keys that were written down are revoked, chunk by chunk, whatever happens
//! meanwhile.

use std::collections::BTreeSet;

use keygate::{
    authority::{
        audit::AuditFilter,
        command::{Command, Edit, KeyChange, Order},
        feed,
        labels::LabelsChange,
        lease::Terms,
        outbox,
        plan_run::{self, CHUNK},
        plans::{PlanCounts, PlanRecord, PlanState},
        query::Query,
        record::KeyRecord,
        sync::{SyncAnswer, SyncRequest},
    },
    credential::AccountRef,
    policy::{KeyStatus, UnixMillis},
};

use super::{
    plans::{by_tag, execute, left, ordered, plan, planned, run, tagged},
    shorthand::{ALL, ids, shard_with_account},
    support::{SLOT, Shard, new_account, new_key},
};

/// The actions of the audit with their subjects, oldest first.
fn audited(shard: &Shard, account: AccountRef) -> Vec<serde_json::Value> {
    shard
        .audit(account, AuditFilter::default())
        .iter()
        .map(|entry| serde_json::from_str(&entry.text).unwrap())
        .collect()
}

#[test]
fn exactly_the_keys_of_the_plan_are_revoked_whatever_changes_meanwhile() {
    let shard = Shard::new();
    let (account, other) = (shard.account(new_account("A")).id, shard.account(new_account("B")).id);
    let old: Vec<KeyRecord> = (0..3).map(|_| shard.issue(account, tagged("old")).0).collect();
    let (bystander, _) = shard.issue(account, tagged("new"));
    let (foreign, _) = shard.issue(other, tagged("old"));
    let (gone, _) = shard.issue(account, tagged("old"));
    shard.revoke(&gone);
    let made = planned(&shard, account, by_tag("old"));
    assert_eq!(made.counts, PlanCounts { total: 3, live: 3, disabled: 0, expired: 0 });
    assert_eq!((made.state, made.truncated, made.filter.as_str()), (PlanState::Planned, false, r#"{"tag":"old"}"#));
    let mut listed = ids(&old);
    listed.reverse();
    assert_eq!(ids(&shard.keys(Query::PlanKeys(account, made.id, ALL))), listed, "newest first");
    assert_eq!(run(&shard), 0, "nothing was ordered yet");
    assert_eq!(outbox::next_due(&shard.sql).unwrap(), Some(shard.now()), "only what was issued waits for KV");

    // Now one leaves the filter, another enters it, one is revoked and one is issued.
    let relabel = |key: &KeyRecord, tag: &str| {
        let labels = LabelsChange { tags: Edit::Set(vec![tag.into()]), ..LabelsChange::default() };
        shard.key(Command::ChangeKey { account, key: key.id(), change: KeyChange { labels, ..KeyChange::default() } });
    };
    relabel(&old[0], "new");
    relabel(&bystander, "old");
    shard.revoke(&old[1]);
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
    let shown = shard.keys(Query::PlanKeys(account, made.id, ALL));
    assert_eq!(ids(&shown), listed, "the plan still says what it did");
    assert!(shown.iter().all(|key| key.status == KeyStatus::Revoked));
    assert_eq!(shown[0].revoked_at, Some(shard.now()));
}

#[test]
fn each_key_is_revoked_as_by_a_command_of_its_own() {
    let (shard, account) = shard_with_account();
    let (record, _) = shard.issue(account, tagged("old"));
    let (alone, _) = shard.issue(account, new_key());
    let made = planned(&shard, account, by_tag("old"));
    let order =
        Order { actor: Some("alice".into()), ..shard.order_of(Command::ExecutePlan { account, plan: made.id }) };
    shard.order(order).unwrap();
    run(&shard);
    shard.revoke(&alone);
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
        assert_eq!(shard.read(key).version, sequence);
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
    let (shard, account) = shard_with_account();
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
    let (shard, account) = shard_with_account();
    for _ in 0..150 {
        shard.issue(account, tagged("old"));
    }
    let cancel = |plan: &PlanRecord| Command::CancelPlan { account, plan: plan.id };
    let first = planned(&shard, account, by_tag("old"));
    assert_eq!(ordered(&shard, cancel(&first)).state, PlanState::Cancelled);
    assert_eq!(ordered(&shard, cancel(&first)).state, PlanState::Cancelled, "repeating it is a success");
    shard.conflict(Command::ExecutePlan { account, plan: first.id });
    let second = planned(&shard, account, by_tag("old"));
    execute(&shard, &second);
    plan_run::advance(&shard.sql, SLOT, shard.now()).unwrap();
    ordered(&shard, cancel(&second));
    assert_eq!(run(&shard), 0);
    let over = plan(&shard, &second);
    assert_eq!((over.state, over.revoked, over.skipped), (PlanState::Cancelled, 100, 0));
    assert_eq!(over.finished_at, Some(shard.now()));
    assert_eq!(left(&shard, account).len(), 50);
    shard.conflict(Command::ExecutePlan { account, plan: second.id });
    // What is left is another plan's.
    let third = planned(&shard, account, by_tag("old"));
    assert_eq!(third.counts.total, 50);
    execute(&shard, &third);
    run(&shard);
    assert_eq!(left(&shard, account), BTreeSet::new());
    shard.conflict(cancel(&third));
    let audit = audited(&shard, account);
    let actions: Vec<&str> =
        audit.iter().filter_map(|it| it["action"].as_str()).filter(|it| it.starts_with("plan.")).collect();
    assert_eq!(actions, ["plan.cancel", "plan.execute", "plan.cancel", "plan.execute"]);
}

#[test]
fn an_execution_that_is_ordered_again_changes_nothing() {
    let (shard, account) = shard_with_account();
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
    let (shard, account) = shard_with_account();
    let made = planned(&shard, account, by_tag("none"));
    assert_eq!(made.counts, PlanCounts::default());
    execute(&shard, &made);
    assert_eq!(run(&shard), 1);
    assert_eq!(plan(&shard, &made).state, PlanState::Done);
}

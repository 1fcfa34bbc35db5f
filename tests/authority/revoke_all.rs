//! All keys of an environment, revoked at once.

use keygate::{
    authority::{
        KeyFilter, ListedStatus,
        audit::AuditFilter,
        command::{Answer, Command, Edit, KeyChange, NewAccount, NewKey, Refusal},
        outbox::{self, Courier, KvKey, PUT_INTERVAL_MS},
        query::{Found, Page, Query},
        record::KeyRecord,
        revoke_all,
        sql::{Sql, Value},
    },
    credential::{AccountRef, Environment},
    policy::{KeyStatus, RevokedBefore},
};

use super::{
    mirror::{drain, due, settle},
    shorthand::{ids, shard_with_account},
    support::{Shard, new_account, new_key},
};

const BOTH: [Environment; 2] = [Environment::Live, Environment::Test];

fn in_test() -> NewKey {
    NewKey { environment: Environment::Test, ..new_key() }
}

fn all(account: AccountRef, environments: &[Environment]) -> Command {
    Command::RevokeAllKeys { account, environments: environments.to_vec() }
}

#[test]
fn every_key_that_there_is_is_revoked_and_none_that_is_issued_later() {
    let shard = Shard::new();
    let (account, other) = (shard.account(new_account("A")).id, shard.account(new_account("B")).id);
    let (live, _) = shard.issue(account, new_key());
    let (test, _) = shard.issue(account, in_test());
    let (foreign, _) = shard.issue(other, new_key());
    shard.advance(1_000);
    shard.execute(all(account, &[Environment::Live])).unwrap();
    let revoked = shard.read(&live);
    assert_eq!((revoked.status, revoked.revoked_at), (KeyStatus::Revoked, Some(shard.now())));
    assert_eq!(revoked.grant().status, KeyStatus::Revoked, "its copy says so, too");
    assert_eq!(revoked.version, live.version, "nobody changed this key");
    assert_eq!(shard.read(&test).status, KeyStatus::Active, "another environment");
    assert_eq!(shard.read(&foreign).status, KeyStatus::Active, "another account");
    let (later, _) = shard.issue(account, new_key());
    assert_eq!(shard.read(&later).status, KeyStatus::Active);
    assert_eq!(shard.read_by_digest(&live).status, KeyStatus::Revoked, "whoever looks it up");
    shard.execute(all(account, &BOTH)).unwrap();
    for key in [&test, &later] {
        assert_eq!(shard.read(key).status, KeyStatus::Revoked);
    }
}

#[test]
fn the_edge_is_told_of_it_as_of_one_change_of_the_account() {
    let (shard, account) = shard_with_account();
    for _ in 0..3 {
        shard.issue(account, new_key());
    }
    let rows = shard.numbers("SELECT count(*) FROM feed");
    let committed = shard.execute(all(account, &BOTH)).unwrap().committed;
    assert_eq!(committed.outdated, [KvKey::account(account)]);
    assert_eq!(shard.numbers("SELECT count(*) FROM feed"), [rows[0] + 1]);
    let sequence = u64::try_from(shard.numbers("SELECT sequence FROM meta")[0]).unwrap();
    assert_eq!(shard.read_account(account).account().revoked_before, RevokedBefore { live: sequence, test: sequence });
    let told = shard.sql.run("SELECT subject, sequence FROM feed ORDER BY position DESC LIMIT 1", &[]).unwrap();
    assert_eq!(told, [vec![Value::Text(format!("account:{}", account.number)), Value::from(sequence)]]);
}

#[test]
fn repeating_it_changes_no_date_but_is_said_again() {
    let (shard, account) = shard_with_account();
    let (first, _) = shard.issue(account, new_key());
    let (disabled, _) = shard.issue(account, new_key());
    shard.set_disabled(&disabled, true);
    let at = shard.now();
    shard.execute(all(account, &BOTH)).unwrap();
    let entries = |shard: &Shard| shard.numbers("SELECT count(*) FROM audit");
    let before = entries(&shard);
    shard.advance(5_000);
    let again = shard.execute(all(account, &BOTH)).unwrap();
    let Some(Answer::AllRevoked { revoked_all, .. }) = again.answer else { panic!("{again:?}") };
    assert_eq!(revoked_all.live.unwrap().at, at);
    assert_eq!(shard.read(&first).revoked_at, Some(at));
    assert_eq!(entries(&shard), before, "nothing was changed");
    assert_eq!(again.committed.outdated, [KvKey::account(account)]);
    let told = shard.numbers("SELECT max(sequence) FROM feed");
    assert_eq!(told, shard.numbers("SELECT sequence FROM meta"));
    // With a new key it is another one, of that environment.
    shard.issue(account, new_key());
    let third = shard.execute(all(account, &BOTH)).unwrap();
    let Some(Answer::AllRevoked { revoked_all, .. }) = third.answer else { panic!("{third:?}") };
    assert_eq!((revoked_all.live.unwrap().at, revoked_all.test.unwrap().at), (shard.now(), at));
    assert_eq!(entries(&shard), [before[0] + 2]);
}

#[test]
fn it_is_final_for_each_of_them() {
    let (shard, account) = shard_with_account();
    let (record, _) = shard.issue(account, new_key());
    shard.execute(all(account, &BOTH)).unwrap();
    let at = shard.now();
    shard.advance(1);
    for change in [
        KeyChange { disabled: Edit::Set(false), ..KeyChange::default() },
        KeyChange { name: Edit::Set(None), ..KeyChange::default() },
    ] {
        shard.conflict(Command::ChangeKey { account, key: record.id(), change });
    }
    let again = shard.revoke(&record);
    assert_eq!((again.status, again.revoked_at), (KeyStatus::Revoked, Some(at)), "revoking it again is a success");
    assert_eq!(shard.refused(all(AccountRef { number: 1, ..account }, &BOTH)), Refusal::NotFound);
}

#[test]
fn lists_limits_and_counts_follow() {
    let shard = Shard::new();
    let account = shard.account(NewAccount { max_active_keys: Some(2), ..new_account("A") }).id;
    let (one, _) = shard.issue(account, new_key());
    let (two, _) = shard.issue(account, new_key());
    let (test, _) = shard.issue(account, in_test());
    shard.set_disabled(&two, true);
    shard.refused(Command::IssueKey { account, key: new_key() });
    shard.execute(all(account, &[Environment::Live])).unwrap();
    let (three, _) = shard.issue(account, new_key());
    let expires_at = Some(shard.now().saturating_add_millis(1));
    let (four, _) = shard.issue(account, NewKey { expires_at, ..new_key() });
    assert!(matches!(
        shard.refused(Command::IssueKey { account, key: new_key() }),
        Refusal::LimitReached { limit: 2, environment: Environment::Live }
    ));
    shard.advance(1);
    let by = |status, environment| {
        ids(&shard.listed(account, KeyFilter { status: Some(status), environment, ..KeyFilter::default() }))
    };
    assert_eq!(by(ListedStatus::Active, None), [three.id(), test.id()]);
    assert_eq!(by(ListedStatus::Active, Some(Environment::Live)), [three.id()]);
    assert_eq!(by(ListedStatus::Expired, None), [four.id()]);
    assert_eq!(by(ListedStatus::Disabled, None), []);
    assert_eq!(by(ListedStatus::Revoked, None), [two.id(), one.id()]);
    assert_eq!(by(ListedStatus::Revoked, Some(Environment::Test)), []);
    shard.revoke(&three);
    assert_eq!(by(ListedStatus::Revoked, None), [three.id(), two.id(), one.id()]);
    let whole = ids(&shard.listed(account, KeyFilter::default()));
    assert_eq!(whole, [four.id(), three.id(), test.id(), two.id(), one.id()]);
    assert_eq!(shard.condition().keys_by_pepper, [(1, 2)], "the one in test, and the expired one");
}

#[test]
fn it_is_in_the_audit_once() {
    let (shard, account) = shard_with_account();
    shard.issue(account, new_key());
    shard.execute(all(account, &BOTH)).unwrap();
    let filter = AuditFilter { action: Some("key.revoke_all".into()), ..AuditFilter::default() };
    let entries = shard.audit(account, filter);
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert!(entry.text.contains(r#""before":null,"after":{"environments":["live","test"]}"#), "{}", entry.text);
    assert!(entry.text.contains(&format!(r#""subject":"{account}""#)), "{}", entry.text);
}

/// What KV has at the end, after alarms that each begin with a sweep.
fn swept(shard: &Shard, courier: &mut Courier, alarms: usize) -> Vec<(String, String)> {
    let mut stored = Vec::new();
    for _ in 0..alarms {
        revoke_all::sweep(&shard.sql, shard.now()).unwrap();
        stored.extend(drain(shard, courier).into_iter().map(|put| (put.kv_key.text(), put.metadata)));
        shard.advance(PUT_INTERVAL_MS);
    }
    stored
}

#[test]
fn every_copy_in_kv_says_so_in_the_end() {
    let shard = Shard::new();
    let mut courier = Courier::default();
    let account = shard.account(new_account("A")).id;
    let keys: Vec<KeyRecord> = (0..100).map(|_| shard.issue(account, new_key()).0).collect();
    let (test, _) = shard.issue(account, in_test());
    shard.revoke(&keys[7]);
    swept(&shard, &mut courier, 20);
    shard.advance(PUT_INTERVAL_MS);
    shard.execute(all(account, &[Environment::Live])).unwrap();
    let (later, _) = shard.issue(account, new_key());
    assert_eq!(outbox::next_due(&shard.sql).unwrap().unwrap().as_millis(), 0, "an alarm is set");
    let mut stored = swept(&shard, &mut courier, 1);
    // A second one while the first sweep is under way.
    shard.execute(all(account, &[Environment::Live])).unwrap();
    stored.extend(swept(&shard, &mut courier, 30));
    for (number, record) in keys.iter().enumerate() {
        let name = KvKey::grant(&record.digest).text();
        let puts: Vec<_> = stored.iter().filter(|(stored, _)| *stored == name).collect();
        assert_eq!(puts.len(), usize::from(number != 7), "each once, and not what was revoked alone");
        assert!(puts.iter().all(|(_, metadata)| metadata.contains(r#""status":"revoked""#)), "{puts:?}");
    }
    let of_later = stored.iter().rfind(|(name, _)| *name == KvKey::grant(&later.digest).text()).unwrap();
    assert!(of_later.1.contains(r#""status":"revoked""#), "{of_later:?}");
    assert!(!stored.iter().any(|(name, _)| *name == KvKey::grant(&test.digest).text()));
    assert_eq!(outbox::next_due(&shard.sql).unwrap(), None);
    assert_eq!(shard.numbers("SELECT count(*) FROM sweeps"), [0]);
}

#[test]
fn a_sweep_waits_while_much_else_does_and_stands_behind_it() {
    let shard = Shard::new();
    let mut courier = Courier::default();
    let account = shard.account(new_account("A")).id;
    for _ in 0..40 {
        shard.issue(account, new_key());
    }
    shard.execute(all(account, &BOTH)).unwrap();
    let waiting = shard.numbers("SELECT count(*) FROM outbox");
    revoke_all::sweep(&shard.sql, shard.now()).unwrap();
    assert_eq!(shard.numbers("SELECT count(*) FROM outbox"), waiting, "the outbox is long");
    assert!(outbox::next_due(&shard.sql).unwrap().unwrap() >= shard.now(), "nothing rings for the sweep alone");
    shard.sql.run("DELETE FROM outbox", &[]).unwrap();
    revoke_all::sweep(&shard.sql, shard.now()).unwrap();
    let moved = shard.numbers("SELECT count(*) FROM outbox WHERE priority = 2")[0];
    assert!((1..40).contains(&moved), "{moved}");
    assert_eq!(shard.condition().unmirrored, 0, "it is no change that waits");
    let first = Command::CreateAccount(new_account("B"));
    let outdated = shard.execute(first).unwrap().committed.outdated;
    let take = |courier: &mut Courier| due(&shard, courier).into_iter().map(|put| put.kv_key).collect::<Vec<_>>();
    assert_eq!(take(&mut courier), outdated, "nobody who waits for a change waits for a sweep");
    shard.sql.run("DELETE FROM outbox WHERE priority = 0", &[]).unwrap();
    assert_eq!(take(&mut courier).len(), 3, "the other connections stay free");
    assert_eq!(take(&mut courier).len(), 0, "however slow KV is");
}

/// The simulation's seed 13,310: the copy in KV said "active" for good.
#[test]
fn a_sweep_reaches_a_key_whose_earlier_put_is_still_under_way() {
    let shard = Shard::new();
    let mut courier = Courier::default();
    let account = shard.account(new_account("A")).id;
    let (record, _) = shard.issue(account, new_key());
    let puts = due(&shard, &mut courier);
    shard.execute(all(account, &BOTH)).unwrap();
    revoke_all::sweep(&shard.sql, shard.now()).unwrap();
    for put in puts {
        settle(&shard, &mut courier, &put, true);
    }
    shard.advance(PUT_INTERVAL_MS);
    let stored = swept(&shard, &mut courier, 3);
    let last = stored.iter().rfind(|(name, _)| *name == KvKey::grant(&record.digest).text());
    assert!(last.is_some_and(|(_, metadata)| metadata.contains(r#""status":"revoked""#)), "{stored:?}");
    assert_eq!(outbox::next_due(&shard.sql).unwrap(), None);
}

#[test]
fn a_sweep_that_fails_at_any_statement_leaves_the_database_as_it_was() {
    let (shard, account) = shard_with_account();
    for _ in 0..3 {
        shard.issue(account, new_key());
    }
    shard.execute(all(account, &BOTH)).unwrap();
    shard.sql.run("DELETE FROM outbox", &[]).unwrap();
    let statements = shard.fail_at_each_statement(|| revoke_all::sweep(&shard.sql, shard.now()));
    assert!(statements > 4, "{statements}");
}

#[test]
fn it_costs_the_same_however_many_keys_there_are() {
    let cost = |count: u32| {
        let shard = Shard::new();
        let account = shard.account(NewAccount { max_active_keys: Some(5), ..new_account("A") }).id;
        shard.many_keys(account, count);
        let work = |body: &dyn Fn()| {
            let before = (shard.sql.changes(), shard.sql.steps());
            body();
            (shard.sql.changes() - before.0, shard.sql.steps() - before.1)
        };
        let revoking = work(&|| {
            shard.execute(all(account, &BOTH)).unwrap();
        });
        let issuing = work(&|| {
            shard.issue(account, new_key());
        });
        let again = work(&|| {
            shard.execute(all(account, &BOTH)).unwrap();
        });
        let listing = work(&|| {
            let filter = KeyFilter { status: Some(ListedStatus::Active), ..KeyFilter::default() };
            let filter = KeyFilter { environment: Some(Environment::Live), ..filter };
            assert_eq!(shard.listed(account, filter), []);
        });
        let filter = KeyFilter { status: Some(ListedStatus::Revoked), ..KeyFilter::default() };
        let page = Page { before: None, limit: 100 };
        assert!(
            matches!(shard.ask(Query::Keys(account, filter, page)), Some(Found::Keys(keys, Some(_))) if keys.len() == 100)
        );
        [revoking, issuing, again, listing]
    };
    let (few, many) = (cost(1_000), cost(100_000));
    println!("rows written and steps of SQLite to revoke all, issue, revoke all again, list: {few:?} {many:?}");
    for (few, many) in few.into_iter().zip(many) {
        assert_eq!(few.0, many.0, "rows written");
        // A deeper tree takes a few steps more, a walk over the keys thousands.
        assert!(many.1.abs_diff(few.1) <= 100, "steps: {} and {}", few.1, many.1);
    }
}

//! Rotation: a successor, and both keys for a while.

use keygate::{
    authority::{
        KeyFilter,
        admins::{self, Caller},
        audit::AuditFilter,
        command::{
            AccountChange, Answer, Command, Edit, Failure, NewCredential, NewKey, NewRotation, Order, OverlapFrom,
            Precondition, Refusal,
        },
        outbox::KvKey,
        query::Query,
        record::KeyRecord,
        rotation,
        settings::{NamePolicy, Settings, SettingsChange},
        usage::Use,
    },
    credential::{AccountRef, Environment, KeyId, KeyText},
    policy::{AccountStatus, DAY_MS, EffectiveStatus, Fields, KeyStatus, Role},
};

use super::{
    plans::planned,
    shorthand::{ids, scopes, shard_with_account},
    support::{Shard, new_account, new_credential, new_key},
};

const OVERLAP_MS: u64 = 3_600_000;

fn overlap(overlap_ms: u64) -> NewRotation {
    NewRotation { overlap_ms, ..NewRotation::default() }
}

fn rotate(account: AccountRef, key: KeyId, rotation: NewRotation) -> Command {
    Command::RotateKey { account, key, rotation }
}

/// The successor, its text, and the old key as it is now.
fn rotated(shard: &Shard, key: &KeyRecord, rotation: NewRotation) -> (KeyRecord, KeyText, KeyRecord) {
    match shard.execute(rotate(key.account, key.id(), rotation)).unwrap().answer {
        Some(Answer::Rotated { record, text, old, .. }) => (*record, text, *old),
        other => panic!("{other:?}"),
    }
}

fn status(shard: &Shard, key: &KeyRecord) -> EffectiveStatus {
    shard.read(key).grant().status_at(shard.now())
}

#[test]
fn a_successor_has_the_rights_of_the_old_key_and_both_work_until_the_overlap_ends() {
    let (shard, account) = shard_with_account();
    let scopes = scopes(&["contacts:read", "jobs:read"]);
    let (old, text) = shard.issue(account, NewKey { scopes: Some(scopes.clone()), ..new_key() });
    shard.advance(1_000);
    let (successor, new_text, now_old) = rotated(&shard, &old, overlap(OVERLAP_MS));
    assert_ne!(new_text.expose(), text.expose());
    assert_eq!((&successor.name, &successor.scopes, successor.environment), (&old.name, &scopes, old.environment));
    assert_eq!((successor.rotated_from, successor.rotated_to), (Some(old.digest), None));
    assert_eq!((now_old.rotated_from, now_old.rotated_to), (None, Some(successor.digest)));
    assert_eq!(shard.read(&old), now_old);
    assert_eq!(shard.read(&successor), successor);
    assert_eq!(successor.created_at, shard.now());
    shard.advance(OVERLAP_MS - 1);
    assert_eq!(status(&shard, &old), EffectiveStatus::Active);
    shard.advance(1);
    assert_eq!(status(&shard, &old), EffectiveStatus::Expired);
    assert_eq!(status(&shard, &successor), EffectiveStatus::Active);
}

#[test]
fn without_an_overlap_the_old_key_is_revoked_at_once() {
    let (shard, account) = shard_with_account();
    let (old, _) = shard.issue(account, new_key());
    let (successor, _, old) = rotated(&shard, &old, overlap(0));
    assert_eq!((old.status, old.revoked_at), (KeyStatus::Revoked, Some(shard.now())));
    assert_eq!(status(&shard, &successor), EffectiveStatus::Active);
    assert!(shard.conflict(Command::CancelRotation { account, key: old.id() }).contains("no longer works"));
}

#[test]
fn a_successor_lives_as_long_again_unless_something_else_is_said_and_an_overlap_lengthens_no_life() {
    let (shard, account) = shard_with_account();
    let life = 10 * OVERLAP_MS;
    let (old, _) =
        shard.issue(account, NewKey { expires_at: Some(shard.now().saturating_add_millis(life)), ..new_key() });
    shard.advance(life - 5_000);
    let (successor, _, old) = rotated(&shard, &old, overlap(OVERLAP_MS));
    assert_eq!(successor.expires_at, Some(shard.now().saturating_add_millis(life)));
    assert_eq!(old.expires_at, Some(shard.now().saturating_add_millis(5_000)));
    let (unlimited, _, _) = rotated(&shard, &successor, NewRotation { expires_at: Edit::Set(None), ..overlap(0) });
    assert_eq!(unlimited.expires_at, None);
}

#[test]
fn everybody_is_told_of_the_end_of_the_old_key() {
    let (shard, account) = shard_with_account();
    let (old, _) = shard.issue(account, new_key());
    let executed = shard.execute(rotate(account, old.id(), overlap(OVERLAP_MS))).unwrap();
    let Some(Answer::Rotated { record, .. }) = &executed.answer else { panic!("{executed:?}") };
    assert_eq!(executed.committed.outdated, [KvKey::grant(&old.digest), KvKey::grant(&record.digest)]);
    let sequence = i64::try_from(record.version).unwrap();
    assert_eq!(shard.numbers("SELECT sequence FROM feed WHERE subject LIKE 'key:%'"), [sequence], "the old key alone");
}

#[test]
fn a_key_with_a_successor_counts_neither_against_the_limit_nor_for_its_name() {
    let shard = Shard::new();
    let settings = Settings { name_policy: NamePolicy::Unique, ..Settings::default() };
    let limited = keygate::authority::command::NewAccount { max_active_keys: Some(1), settings, ..new_account("Acme") };
    let account = shard.account(limited).id;
    let (old, _) = shard.issue(account, new_key());
    let (successor, ..) = rotated(&shard, &old, overlap(OVERLAP_MS));
    let more = Command::IssueKey { account, key: new_key() };
    assert!(matches!(shard.refused(more.clone()), Refusal::Conflict { .. }), "the successor has the name");
    let other = Command::IssueKey { account, key: NewKey { name: Some("other".into()), ..new_key() } };
    assert!(matches!(shard.refused(other), Refusal::LimitReached { limit: 1, .. }), "and counts");
    shard.revoke(&successor);
    assert!(
        matches!(shard.refused(more.clone()), Refusal::Conflict { .. }),
        "the old key, which is left, has the name"
    );
    let other = Command::IssueKey { account, key: NewKey { name: Some("other".into()), ..new_key() } };
    assert!(matches!(shard.refused(other), Refusal::LimitReached { limit: 1, .. }), "and counts");
    shard.advance(OVERLAP_MS);
    shard.execute(more).unwrap();
}

#[test]
fn a_rotation_is_confirmed_or_cancelled_before_the_next() {
    let (shard, account) = shard_with_account();
    let end = Some(shard.now().saturating_add_millis(100 * OVERLAP_MS));
    let (old, _) = shard.issue(account, NewKey { expires_at: end, ..new_key() });
    let (confirm, cancel) =
        (Command::ConfirmRotation { account, key: old.id() }, Command::CancelRotation { account, key: old.id() });
    for command in [&confirm, &cancel] {
        assert!(shard.conflict(command.clone()).contains("has no successor"));
    }
    let (first, ..) = rotated(&shard, &old, overlap(OVERLAP_MS));
    assert!(shard.conflict(rotate(account, old.id(), overlap(0))).contains("has a successor already"));
    shard.advance(1_000);

    let executed = shard.execute(cancel.clone()).unwrap();
    let Some(Answer::Unrotated { record, successor }) = executed.answer else { panic!("{:?}", executed.answer) };
    assert_eq!((record.expires_at, record.rotated_to, record.unrotated_expires_at), (end, None, None));
    assert_eq!((successor.id(), successor.revoked_at), (first.id(), Some(shard.now())));
    assert_eq!(executed.committed.outdated, [KvKey::grant(&old.digest), KvKey::grant(&first.digest)]);
    assert_eq!(status(&shard, &first), EffectiveStatus::Revoked);
    assert!(shard.conflict(cancel).contains("has no successor"));

    let (second, ..) = rotated(&shard, &old, overlap(OVERLAP_MS));
    let confirmed = shard.key(confirm.clone());
    assert_eq!((confirmed.status, confirmed.revoked_at), (KeyStatus::Revoked, Some(shard.now())));
    let before = shard.sql.dump();
    assert_eq!(shard.key(confirm), confirmed, "repeating it is a success");
    assert_eq!(before.contains("key.confirm"), shard.sql.dump().contains("key.confirm"));
    assert_eq!(status(&shard, &second), EffectiveStatus::Active);
}

#[test]
fn a_rotation_whose_successor_was_rotated_is_not_cancelled() {
    let (shard, account) = shard_with_account();
    let (old, _) = shard.issue(account, new_key());
    let (successor, ..) = rotated(&shard, &old, overlap(OVERLAP_MS));
    rotated(&shard, &successor, overlap(0));
    let cancel = Command::CancelRotation { account, key: old.id() };
    assert!(shard.conflict(cancel).contains("has been rotated itself"));
}

#[test]
fn what_no_longer_works_has_no_successor() {
    let (shard, account) = shard_with_account();
    let [revoked, disabled] = [0, 1].map(|_| shard.issue(account, new_key()).0);
    let end = shard.now().saturating_add_millis(1_000);
    let (expired, _) = shard.issue(account, NewKey { expires_at: Some(end), ..new_key() });
    shard.revoke(&revoked);
    shard.set_disabled(&disabled, true);
    shard.advance(1_000);
    for (key, word) in [(revoked, "revoked"), (disabled, "disabled"), (expired, "expired")] {
        let before = shard.sql.dump();
        assert!(shard.conflict(rotate(account, key.id(), overlap(0))).contains(word));
        assert_eq!(shard.sql.dump(), before);
    }
    let (admin, _) = shard.issue_credential(account, new_credential(Role::Admin));
    assert!(shard.conflict(rotate(account, admin.id(), overlap(0))).contains("credentials"));
    let (used, _) = shard.issue(account, new_key());
    shard.execute(Command::RevokeAllKeys { account, environments: vec![Environment::Live] }).unwrap();
    assert!(shard.conflict(rotate(account, used.id(), overlap(0))).contains("revoked"));
}

#[test]
fn rights_are_narrowed_on_the_way_and_not_widened_beyond_the_callers_own() {
    let (shard, account) = shard_with_account();
    let wide = NewKey { scopes: Some(scopes(&["contacts:read", "jobs:read"])), ..new_key() };
    let (old, _) = shard.issue(account, wide);
    let own = NewCredential { scopes: Some(scopes(&["contacts:read"])), ..new_credential(Role::Admin) };
    let (credential, _) = shard.issue_credential(account, own);
    let by = |rotation| {
        let caller = Caller::Credential(credential.digest);
        shard.order(Order { caller, ..shard.order_of(rotate(account, old.id(), rotation)) })
    };
    let beyond = by(overlap(0)).unwrap_err();
    assert!(matches!(beyond, Failure::Refused(Refusal::ScopesBeyondOwn { .. })), "{beyond:?}");
    let narrow = NewRotation { scopes: Some(scopes(&["contacts:read"])), ..overlap(0) };
    let Some(Answer::Rotated { record, .. }) = by(narrow).unwrap().answer else { panic!("not rotated") };
    assert_eq!(record.scopes, scopes(&["contacts:read"]));
}

#[test]
fn fields_of_what_a_successor_does_not_reach_go_with_the_scopes_and_the_others_stay() {
    let (shard, account) = shard_with_account();
    let both = Fields::new([("contacts", vec!["name"]), ("jobs", vec!["title"])]).unwrap();
    let (old, _) = shard.issue(
        account,
        NewKey { scopes: Some(scopes(&["contacts:read", "jobs:read"])), fields: both.clone(), ..new_key() },
    );
    let narrowed = |names: &[&str]| NewRotation { scopes: Some(scopes(names)), ..overlap(0) };
    let said = NewRotation { fields: Some(both.clone()), ..narrowed(&["jobs:read"]) };
    let refused = shard.refused(rotate(account, old.id(), said));
    assert!(matches!(&refused, Refusal::Invalid { field, .. } if field == "fields"), "{refused:?}");
    let (same, _, _) = rotated(&shard, &old, overlap(0));
    assert_eq!(same.fields, both);
    let (jobs, _, _) = rotated(&shard, &same, narrowed(&["jobs:read"]));
    assert_eq!(jobs.fields, Fields::new([("jobs", ["title"].to_vec())]).unwrap());
    let (nothing, _, _) = rotated(&shard, &jobs, narrowed(&[]));
    assert!(nothing.fields.is_empty());
}

#[test]
fn a_rotation_is_meant_for_a_version_and_a_repeated_one_gives_the_same_key() {
    let (shard, account) = shard_with_account();
    let (old, _) = shard.issue(account, new_key());
    let order = |version| Order {
        precondition: Precondition::Versions(vec![version]),
        ..shard.order_of(rotate(account, old.id(), overlap(OVERLAP_MS)))
    };
    let stale = shard.order(order(old.version + 1)).unwrap_err();
    assert_eq!(stale, Failure::Refused(Refusal::PreconditionFailed { version: old.version }));
    let order = order(old.version);
    let first = shard.order(order.clone()).unwrap();
    let again = shard.order(order).unwrap();
    assert!(again.answer.is_none(), "nothing was done");
    assert_eq!(again.committed.text, first.committed.text);
    assert!(first.committed.text.is_some());
}

#[test]
fn the_audit_tells_of_both_keys() {
    let (shard, account) = shard_with_account();
    let (old, _) = shard.issue(account, new_key());
    let (successor, ..) = rotated(&shard, &old, overlap(OVERLAP_MS));
    let entries = shard.audit(account, AuditFilter::default());
    let [.., issue, rotate] = &entries[..] else { panic!("{entries:?}") };
    assert!(issue.text.contains(r#""action":"key.issue""#), "{}", issue.text);
    assert!(issue.text.contains(&format!(r#""rotated_from":"{}""#, old.id())), "{}", issue.text);
    assert!(rotate.text.contains(r#""action":"key.rotate""#), "{}", rotate.text);
    assert!(rotate.text.contains(&format!(r#""rotated_to":"{}""#, successor.id())), "{}", rotate.text);
}

#[test]
fn no_key_and_no_successor_outlives_the_longest_life() {
    let shard = Shard::new();
    let days = |days: u64| Some(shard.now().saturating_add_millis(days * DAY_MS));
    let set = |account, max_key_days| {
        let settings = SettingsChange { max_key_days: Edit::Set(max_key_days), ..SettingsChange::default() };
        shard.change_settings(account, settings);
    };
    let account = shard.account(new_account("Acme")).id;
    let (forever, _) = shard.issue(account, new_key());
    assert_eq!(forever.expires_at, None);
    // The shorter of the two counts.
    for (deployment, own, longest) in
        [(Some(30), None, 30), (Some(30), Some(60), 30), (Some(30), Some(7), 7), (None, Some(7), 7)]
    {
        shard.max_key_days.set(deployment);
        set(account, own);
        assert_eq!(shard.issue(account, new_key()).0.expires_at, days(longest));
        assert_eq!(shard.issue(account, NewKey { expires_at: days(1), ..new_key() }).0.expires_at, days(1));
        let beyond = Some(days(longest).unwrap().saturating_add_millis(1));
        let refused = shard.refused(Command::IssueKey { account, key: NewKey { expires_at: beyond, ..new_key() } });
        assert!(
            matches!(&refused, Refusal::Invalid { field, detail } if field == "expires_at" && detail.contains("days ahead")),
            "{refused:?}"
        );
        let (key, _) = shard.issue(account, new_key());
        assert_eq!(rotated(&shard, &key, overlap(0)).0.expires_at, days(longest));
        let refused =
            shard.refused(rotate(account, forever.id(), NewRotation { expires_at: Edit::Set(beyond), ..overlap(0) }));
        assert!(matches!(refused, Refusal::Invalid { .. }), "{refused:?}");
    }
    assert_eq!(rotated(&shard, &forever, overlap(0)).0.expires_at, days(7));
    assert_eq!(shard.read(&forever).expires_at, None, "nothing is done to what there was");
}

/// What a cache tells of a key that was used `age_ms` ago.
fn used(shard: &Shard, key: &KeyRecord, age_ms: u64) -> bool {
    let used = Use { digest: key.digest, count: 1, age_ms, scopes: 0 };
    !rotation::used(&shard.sql, key.account.slot, &[used], shard.now()).unwrap().is_empty()
}

#[test]
fn an_overlap_from_the_first_use_begins_with_it_and_until_then_nothing_changes_for_the_old_key() {
    let (shard, account) = shard_with_account();
    let end = Some(shard.now().saturating_add_millis(1_000 * OVERLAP_MS));
    let (old, _) = shard.issue(account, NewKey { expires_at: end, ..new_key() });
    let (other, _) = shard.issue(account, new_key());
    let from_first_use = NewRotation { overlap_from: OverlapFrom::FirstUse, ..overlap(OVERLAP_MS) };
    let (successor, _, old) = rotated(&shard, &old, from_first_use.clone());
    assert_eq!((old.expires_at, old.waiting_overlap_ms), (end, Some(OVERLAP_MS)));
    shard.advance(100 * OVERLAP_MS);
    assert!(!used(&shard, &old, 0) && !used(&shard, &other, 0), "neither its own use nor another's");
    assert_eq!(shard.read(&old).version, old.version);

    // It was used a second before the Authority hears of it.
    assert!(used(&shard, &successor, 1_000));
    let begun = shard.read(&old);
    let ends = shard.now().saturating_add_millis(OVERLAP_MS - 1_000);
    assert_eq!((begun.expires_at, begun.waiting_overlap_ms), (Some(ends), None));
    assert!(begun.version > old.version);
    let sequence = i64::try_from(begun.version).unwrap();
    let feed = format!("SELECT sequence FROM feed WHERE subject = 'key:{}'", old.digest.prefix_hex());
    assert_eq!(shard.numbers(&feed), [sequence], "everybody is told");
    let outbox = format!("SELECT sequence FROM outbox WHERE kv_key = 'grant:{}'", old.digest.to_hex());
    assert_eq!(shard.numbers(&outbox), [sequence], "the mirror, too");
    let audit = shard.audit(account, AuditFilter::default());
    let told = &audit.last().unwrap().text;
    assert!(told.contains(r#""action":"key.overlap""#), "{told}");
    assert!(told.contains(&format!(r#""credential":"{}""#, successor.id())), "{told}");

    assert!(!used(&shard, &successor, 0), "it begins once");
    assert_eq!(shard.read(&old), begun);
    shard.advance(OVERLAP_MS);
    assert_eq!(status(&shard, &old), EffectiveStatus::Expired);
}

#[test]
fn without_an_overlap_the_first_use_of_the_successor_revokes_the_old_key() {
    let (shard, account) = shard_with_account();
    let (old, _) = shard.issue(account, new_key());
    let at_once = NewRotation { overlap_from: OverlapFrom::FirstUse, ..overlap(0) };
    let (successor, ..) = rotated(&shard, &old, at_once);
    assert_eq!(status(&shard, &old), EffectiveStatus::Active);
    assert!(used(&shard, &successor, 0));
    assert_eq!(status(&shard, &old), EffectiveStatus::Revoked);
}

#[test]
fn a_rotation_that_waits_for_the_first_use_is_cancelled_or_confirmed_as_any_other() {
    let (shard, account) = shard_with_account();
    let end = Some(shard.now().saturating_add_millis(OVERLAP_MS));
    let (old, _) = shard.issue(account, NewKey { expires_at: end, ..new_key() });
    let waits = || NewRotation { overlap_from: OverlapFrom::FirstUse, ..overlap(5_000) };
    let (dropped, ..) = rotated(&shard, &old, waits());
    shard.execute(Command::CancelRotation { account, key: old.id() }).unwrap();
    let cancelled = shard.read(&old);
    assert_eq!((cancelled.expires_at, cancelled.waiting_overlap_ms, cancelled.rotated_to), (end, None, None));
    assert!(!used(&shard, &dropped, 0));
    assert_eq!(status(&shard, &old), EffectiveStatus::Active);

    let (successor, ..) = rotated(&shard, &old, waits());
    let confirmed = shard.key(Command::ConfirmRotation { account, key: old.id() });
    assert_eq!((confirmed.status, confirmed.waiting_overlap_ms), (KeyStatus::Revoked, None));
    assert!(!used(&shard, &successor, 0));

    // Revoked alone meanwhile: the first use ends nothing more.
    let (old, _) = shard.issue(account, new_key());
    let (successor, ..) = rotated(&shard, &old, waits());
    let revoked = shard.revoke(&old);
    shard.advance(1_000);
    assert!(!used(&shard, &successor, 0));
    assert_eq!(shard.read(&old), KeyRecord { waiting_overlap_ms: None, ..revoked });
}

#[test]
fn a_first_use_that_could_not_be_noted_begins_nothing_and_the_next_one_does() {
    let (shard, account) = shard_with_account();
    let (old, _) = shard.issue(account, new_key());
    let waits = NewRotation { overlap_from: OverlapFrom::FirstUse, ..overlap(OVERLAP_MS) };
    let (successor, ..) = rotated(&shard, &old, waits);
    let used = [Use { digest: successor.digest, count: 1, age_ms: 0, scopes: 0 }];
    let statements = shard.fail_at_each_statement(|| rotation::used(&shard.sql, account.slot, &used, shard.now()));
    assert!(statements > 5, "{statements}");
    assert!(shard.read(&old).expires_at.is_some());
}

#[test]
fn there_are_never_three_keys_in_place_of_one() {
    let (shard, account) = shard_with_account();
    let (first, _) = shard.issue(account, new_key());
    let (second, ..) = rotated(&shard, &first, overlap(OVERLAP_MS));
    for third in [overlap(1_000), NewRotation { overlap_from: OverlapFrom::FirstUse, ..overlap(0) }] {
        let refused = shard.conflict(rotate(account, second.id(), third));
        assert!(refused.contains(&first.id().to_string()), "{refused}");
    }
    // In an emergency it goes at once.
    let (third, ..) = rotated(&shard, &second, overlap(0));
    // And when the first has ended, as any other.
    shard.advance(OVERLAP_MS);
    rotated(&shard, &third, overlap(OVERLAP_MS));
}

#[test]
fn keys_are_due_after_the_days_that_their_account_sets_and_until_they_have_a_successor() {
    let (shard, account) = shard_with_account();
    let due = |account| {
        let filter = KeyFilter { due: true, ..KeyFilter::default() };
        let keys = shard.listed(account, filter);
        let record = shard.read_account(account);
        let days = record.settings.rotation_days;
        assert_eq!(record.keys_due, days.map(|_| keys.len() as u64));
        assert!(keys.iter().all(|key| key.rotation_due_at().is_some_and(|at| at <= shard.now())));
        ids(&keys)
    };
    let policy = |days| {
        let settings = SettingsChange { rotation_days: Edit::Set(days), ..SettingsChange::default() };
        shard.change_settings(account, settings);
    };
    let (old, _) = shard.issue(account, new_key());
    shard.advance(89 * DAY_MS);
    let (young, _) = shard.issue(account, new_key());
    shard.issue_credential(account, new_credential(Role::Admin));
    assert_eq!((due(account), shard.read(&old).rotation_due_at()), (vec![], None), "no policy");
    policy(Some(90));
    assert_eq!(due(account), []);
    assert_eq!(shard.read(&old).rotation_due_at(), Some(old.created_at.saturating_add_millis(90 * DAY_MS)));
    shard.advance(DAY_MS - 1);
    assert_eq!(due(account), []);
    shard.advance(1);
    assert_eq!(due(account), [old.id()], "at that instant");
    policy(Some(1));
    assert_eq!(due(account), [young.id(), old.id()], "newest first");
    let plan = planned(&shard, account, KeyFilter { due: true, ..KeyFilter::default() });
    assert_eq!((plan.counts.total, plan.filter.as_str()), (2, r#"{"due":true}"#), "a plan says that, too");

    let (successor, _, old) = rotated(&shard, &old, overlap(OVERLAP_MS));
    assert_eq!(old.rotation_due_at(), None);
    assert_eq!(successor.rotation_due_at(), Some(shard.now().saturating_add_millis(DAY_MS)));
    assert_eq!(due(account), [young.id()]);
    shard.execute(Command::CancelRotation { account, key: old.id() }).unwrap();
    assert_eq!(due(account), [young.id(), old.id()]);
    shard.revoke(&young);
    assert_eq!(due(account), [old.id()]);
    shard.advance(2 * DAY_MS);
    shard.execute(Command::RevokeAllKeys { account, environments: vec![Environment::Live] }).unwrap();
    assert_eq!(due(account), []);
    let end = Some(shard.now().saturating_add_millis(DAY_MS));
    shard.issue(account, NewKey { expires_at: end, ..new_key() });
    let (ours, _) = shard.issue(account, NewKey { environment: Environment::Test, ..new_key() });
    shard.advance(DAY_MS);
    assert_eq!(due(account), [ours.id()], "an expired key is due no more");
    policy(None);
    assert_eq!(due(account), []);
}

#[test]
fn holders_rotate_their_own_keys_where_the_account_lets_them_and_nothing_else() {
    let (shard, account) = shard_with_account();
    let wide = || NewKey { scopes: Some(scopes(&["contacts:read", "jobs:read"])), ..new_key() };
    let [mine, other] = [0, 1].map(|_| shard.issue(account, wide()).0);
    let (credential, _) = shard.issue_credential(account, new_credential(Role::Admin));
    let by = |key: &KeyRecord, command| {
        let order = Order { caller: Caller::Holder(key.digest), actor: None, ..shard.order_of(command) };
        shard.order(order).map_err(|failure| match failure {
            Failure::Refused(refusal) => refusal,
            trouble => panic!("{trouble:?}"),
        })
    };
    let mine_rotated = |rotation| by(&mine, rotate(account, mine.id(), rotation));
    let before = shard.sql.dump();
    assert!(matches!(mine_rotated(overlap(OVERLAP_MS)), Err(Refusal::InsufficientRole { .. })));
    assert_eq!(shard.sql.dump(), before);
    let settings = SettingsChange { holders_may_rotate: Edit::Set(true), ..SettingsChange::default() };
    shard.change_settings(account, settings);

    let before = shard.sql.dump();
    for command in [
        rotate(account, other.id(), overlap(OVERLAP_MS)),
        Command::RevokeKey { account, key: mine.id() },
        Command::ConfirmRotation { account, key: mine.id() },
        Command::IssueKey { account, key: new_key() },
        Command::RevokeAllKeys { account, environments: vec![Environment::Live] },
    ] {
        assert_eq!(by(&mine, command).unwrap_err(), Refusal::NotFound);
    }
    let wider = NewRotation { scopes: Some(scopes(&["*"])), ..overlap(OVERLAP_MS) };
    assert!(matches!(mine_rotated(wider), Err(Refusal::ScopesBeyondOwn { .. })));
    let of_admins = by(&credential, rotate(account, credential.id(), overlap(0)));
    assert_eq!(of_admins.unwrap_err(), Refusal::Unauthenticated, "an admin credential is no API key");
    let asked =
        admins::ask(&shard.sql, account.slot, Caller::Holder(mine.digest), None, &Query::Account(account), shard.now());
    assert_eq!(asked, Err(Failure::Refused(Refusal::NotFound)));
    assert_eq!(shard.sql.dump(), before);

    let narrow = NewRotation { scopes: Some(scopes(&["jobs:read"])), ..overlap(OVERLAP_MS) };
    let Some(Answer::Rotated { record, .. }) = mine_rotated(narrow).unwrap().answer else { panic!("not rotated") };
    assert_eq!((record.scopes, record.created_by), (scopes(&["jobs:read"]), Some(mine.id().to_string())));

    shard.advance(OVERLAP_MS);
    assert_eq!(mine_rotated(overlap(OVERLAP_MS)).unwrap_err(), Refusal::Unauthenticated, "it no longer works");
    let status = AccountChange { status: Edit::Set(AccountStatus::Suspended), ..AccountChange::default() };
    shard.change_account(account, status);
    let suspended = by(&other, rotate(account, other.id(), overlap(OVERLAP_MS)));
    assert!(matches!(suspended, Err(Refusal::AccountInactive { .. })), "{suspended:?}");
}

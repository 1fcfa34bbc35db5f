//! Applying answers: in whatever order they come, nothing that is known is lost.

use keygate::{
    authority::{
        feed::{self, FEED_ROWS_MAX, FeedSubject},
        lease::Terms,
        sql::{Sql, SqlError},
        sync::SyncAnswer,
    },
    credential::Digest,
    edge::{Missing, Step},
};

use super::{
    isolate::{Isolate, LEASE_MS, Tenant, is_allowed, is_denied, unknown},
    support::Shard,
};

/// Leaves the whole feed out, as many later changes would.
fn cut_feed(shard: &Shard) {
    shard.sql.run("DELETE FROM feed", &[]).unwrap();
    shard.sql.run("UPDATE meta SET feed_rows = 0, feed_cut = feed_position, feed_low = sequence", &[]).unwrap();
}

#[test]
fn an_applied_sync_evicts_what_it_names_and_nothing_else() {
    let shard = Shard::new();
    let tenants = ["A", "B", "C", "D"].map(|name| Tenant::new(&shard, name));
    let mut isolate = Isolate::synced(&shard);
    for tenant in &tenants {
        assert!(is_allowed(&isolate.decide(&tenant.key)));
    }
    tenants[0].revoke(&shard);
    tenants[1].suspend(&shard, true);
    isolate.sync();
    let at_hand = tenants.map(|tenant| isolate.at_hand(&tenant.key).is_some());
    assert_eq!(at_hand, [false, false, true, true]);
    for (tenant, allowed) in tenants.iter().zip([false, false, true, true]) {
        assert_eq!(is_allowed(&isolate.decide(&tenant.key)), allowed);
    }
}

#[test]
fn a_copy_that_had_the_change_already_is_not_evicted_by_it() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::synced(&shard);
    let early = isolate.call();
    tenant.disable(&shard, true);
    let early_answer = isolate.answer(&early);
    let late = isolate.call_for(&tenant.key);
    let late_answer = isolate.answer(&late);
    isolate.land(&late, &late_answer);
    isolate.land(&early, &early_answer);
    assert!(is_denied(&isolate.at_hand(&tenant.key).unwrap()));
}

#[test]
fn answers_out_of_order_take_nothing_back() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::synced(&shard);
    let first = isolate.call_for(&tenant.key);
    let first_answer = isolate.answer(&first);
    shard.advance(1_000);
    let second = isolate.call();
    tenant.revoke(&shard);
    let second_answer = isolate.answer(&second);
    isolate.land(&second, &second_answer);
    let known = isolate.known();
    assert_eq!(isolate.at_hand(&tenant.key), None);
    isolate.land(&first, &first_answer);
    assert_eq!(isolate.known(), known);
    assert_eq!(isolate.at_hand(&tenant.key), None, "the copy from before the change did not enter");
    // The lease is that of the second.
    shard.advance(LEASE_MS - 1);
    assert_eq!(isolate.ask(&tenant.key), Step::ReadMirror(Missing::Grant));
}

#[test]
fn a_late_answer_does_not_make_an_outdated_copy_believable_again() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::synced(&shard);
    let (first, second) = (isolate.call(), isolate.call());
    tenant.disable(&shard, true);
    let disabled = tenant.copies(&shard);
    let first_answer = isolate.answer(&first);
    tenant.disable(&shard, false);
    let second_answer = isolate.answer(&second);
    isolate.land(&second, &second_answer);
    isolate.land(&first, &first_answer);
    assert_eq!(isolate.believes(&tenant.key, (&disabled.0, &disabled.1)), None);
}

/// No Authority that is still the one says this; one that was superseded might.
#[test]
fn an_answer_that_stands_behind_what_was_asked_from_brings_no_lease() {
    for word in ["on", "reset"] {
        let shard = Shard::new();
        let tenant = Tenant::new(&shard, "Acme");
        let mut isolate = Isolate::synced(&shard);
        tenant.disable(&shard, true);
        isolate.sync();
        let known = isolate.known();
        shard.advance(LEASE_MS);
        let call = isolate.call();
        isolate.land(&call, &format!("sync 1 v1 {} 2 0 0 {LEASE_MS} 0 {word}\nend", known.0));
        assert!(matches!(isolate.ask(&tenant.key), Step::Sync(_)), "{word}");
        assert_eq!(isolate.known(), known, "{word}");
    }
}

#[test]
fn an_answer_from_before_a_reset_brings_neither_changes_nor_a_lease_but_its_copies_face_the_one_rule() {
    let shard = Shard::new();
    let (tenant, other) = (Tenant::new(&shard, "Acme"), Tenant::new(&shard, "Other"));
    let mut isolate = Isolate::synced(&shard);
    let resetting = isolate.call();
    shard.advance(1_000);
    let overtaken = isolate.call_for(&tenant.key);
    let of_changed = isolate.call_for(&other.key);
    let overtaken_answer = isolate.answer(&overtaken);
    let of_changed_answer = isolate.answer(&of_changed);
    other.revoke(&shard);
    shard.sql.run("UPDATE meta SET feed_cut = feed_position", &[]).unwrap();
    let reset = isolate.answer(&resetting);
    assert!(SyncAnswer::parse(&reset).unwrap().reset);
    isolate.land(&resetting, &reset);
    let known = isolate.known();
    isolate.land(&overtaken, &overtaken_answer);
    isolate.land(&of_changed, &of_changed_answer);
    assert_eq!(isolate.known(), known);
    assert!(is_allowed(&isolate.at_hand(&tenant.key).unwrap()));
    assert_eq!(isolate.at_hand(&other.key), None, "its key has changed");
    // The lease is that of the reset, which was sent a second earlier.
    shard.advance(LEASE_MS - 1_001);
    assert!(isolate.at_hand(&tenant.key).is_some());
    shard.advance(1);
    assert_eq!(isolate.at_hand(&tenant.key), None);
}

#[test]
fn a_reset_drops_copies_lease_and_grace() {
    let shard = Shard::new();
    let (tenant, other) = (Tenant::new(&shard, "Acme"), Tenant::new(&shard, "Other"));
    let mut isolate = Isolate::new(&shard);
    isolate.granted = Terms { lease_ms: LEASE_MS, grace_ms: 60_000 };
    isolate.sync();
    assert!(is_allowed(&isolate.decide(&tenant.key)));
    other.revoke(&shard);
    cut_feed(&shard);
    isolate.granted = Terms { lease_ms: 0, grace_ms: 0 };
    isolate.sync();
    assert_eq!(isolate.at_hand(&tenant.key), None, "neither copies nor a lease");
    let call = isolate.call();
    isolate.fail(&call);
    assert!(matches!(isolate.ask(&tenant.key), Step::Sync(_)), "no grace either");
}

/// The simulation's seed 181,116: KV was ahead of a reset on its way, which brought a revoked key back for the rest of the
/// lease.
#[test]
fn a_reset_does_not_bring_back_a_key_that_kv_has_shown_to_be_revoked_since() {
    let shard = Shard::new();
    let (tenant, other) = (Tenant::new(&shard, "Acme"), Tenant::new(&shard, "Other"));
    let mut isolate = Isolate::synced(&shard);
    other.revoke(&shard);
    cut_feed(&shard);
    let call = isolate.call_for(&tenant.key);
    let answer = isolate.answer(&call);
    assert!(SyncAnswer::parse(&answer).unwrap().reset);
    tenant.revoke(&shard);
    let since = tenant.copies(&shard);
    assert!(is_denied(&isolate.believes(&tenant.key, (&since.0, &since.1)).unwrap()));
    isolate.land(&call, &answer);
    assert!(is_denied(&isolate.at_hand(&tenant.key).unwrap()));
}

#[test]
fn a_reset_begins_with_the_whole_feed() {
    let shard = Shard::new();
    let (tenant, other) = (Tenant::new(&shard, "Acme"), Tenant::new(&shard, "Other"));
    let mut isolate = Isolate::synced(&shard);
    let before = tenant.copies(&shard);
    other.revoke(&shard);
    shard.sql.run("UPDATE meta SET feed_cut = feed_position", &[]).unwrap();
    tenant.revoke(&shard);
    isolate.sync();
    assert_eq!(isolate.believes(&tenant.key, (&before.0, &before.1)), None);
}

#[test]
fn a_cursor_below_the_cut_is_reset_and_one_at_the_cut_goes_on() {
    let shard = Shard::new();
    let tenants = ["A", "B"].map(|name| Tenant::new(&shard, name));
    let mut behind = Isolate::synced(&shard);
    tenants[0].revoke(&shard);
    let mut there = Isolate::synced(&shard);
    cut_feed(&shard);
    tenants[1].revoke(&shard);
    for (isolate, reset) in [(&mut behind, true), (&mut there, false)] {
        let call = isolate.call();
        assert_eq!(SyncAnswer::parse(&isolate.answer(&call)).unwrap().reset, reset);
    }
}

/// A reset that was answered long before what has been applied since, and comes after it.
#[test]
fn a_reset_that_comes_late_takes_nothing_back() {
    let shard = Shard::new();
    let (tenant, other) = (Tenant::new(&shard, "Acme"), Tenant::new(&shard, "Other"));
    let mut isolate = Isolate::synced(&shard);
    let before = tenant.copies(&shard);
    let (first, late) = (isolate.call(), isolate.call());
    other.disable(&shard, true);
    let first_answer = isolate.answer(&first);
    cut_feed(&shard);
    let late_answer = isolate.answer(&late);
    assert!(SyncAnswer::parse(&late_answer).unwrap().reset);
    isolate.land(&first, &first_answer);
    tenant.revoke(&shard);
    isolate.sync();
    let known = isolate.known();
    isolate.land(&late, &late_answer);
    assert_eq!(isolate.known(), known);
    assert_eq!(isolate.believes(&tenant.key, (&before.0, &before.1)), None, "its revocation was known");
}

/// How many subjects the view knows a change of. It tells nobody but a debugger.
fn feed_entries(isolate: &Isolate<'_>) -> usize {
    let shown = format!("{:?}", isolate.view);
    let feed = shown.split_once("feed: {").unwrap().1.split_once('}').unwrap().0;
    feed.split(',').filter(|entry| !entry.is_empty()).count()
}

fn subject(number: u64) -> FeedSubject {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    FeedSubject::key(&Digest::from_bytes(bytes))
}

#[test]
fn changes_beyond_the_feeds_bound_raise_low_and_an_isolate_that_keeps_up_loses_nothing() {
    let shard = Shard::new();
    let (tenant, revoked) = (Tenant::new(&shard, "Acme"), Tenant::new(&shard, "Revoked"));
    let before = tenant.copies(&shard);
    revoked.revoke(&shard);
    let of_revoked = revoked.copies(&shard);
    let mut left_behind = Isolate::synced(&shard);
    let mut isolate = Isolate::synced(&shard);
    assert!(is_allowed(&isolate.decide(&tenant.key)));
    assert!(is_allowed(&left_behind.decide(&tenant.key)));
    for part in 0..8 {
        shard
            .sql
            .atomically(|| {
                for number in 0..FEED_ROWS_MAX / 4 {
                    let sequence = keygate::authority::meta::next_sequence(&shard.sql)?;
                    feed::record(&shard.sql, &subject(part * FEED_ROWS_MAX + number), sequence)?;
                }
                Ok::<_, SqlError>(())
            })
            .unwrap();
        isolate.sync();
    }
    assert!(is_allowed(&isolate.at_hand(&tenant.key).unwrap()), "never reset, and its copies are as good as ever");
    let entries = feed_entries(&isolate);
    assert!(entries <= usize::try_from(FEED_ROWS_MAX).unwrap(), "{entries}");
    assert!(entries + 1 >= usize::try_from(FEED_ROWS_MAX).unwrap(), "{entries}: the test no longer counts them");
    left_behind.sync();
    assert_eq!(left_behind.at_hand(&tenant.key), None, "reset");
    // Whether these have changed since nobody can tell.
    assert_eq!(left_behind.believes(&tenant.key, (&before.0, &before.1)), None);
    assert_eq!(isolate.believes(&revoked.key, (&of_revoked.0, &of_revoked.1)), None);
    let fresh = tenant.copies(&shard);
    assert!(is_allowed(&left_behind.believes(&tenant.key, (&fresh.0, &fresh.1)).unwrap()));
}

#[test]
fn what_is_not_understood_changes_nothing_and_counts_as_a_failure() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::synced(&shard);
    let call = isolate.call_for(&tenant.key);
    let known = isolate.known();
    let text = isolate.answer(&call);
    let now = isolate.now();
    assert!(!isolate.view.answered(&call, &text[..text.len() - 1], &shard.signing, now));
    assert_eq!(isolate.known(), known);
    assert_eq!(isolate.at_hand(&tenant.key), None);
    assert_eq!(isolate.decide(&unknown(1)), keygate::edge::Verdict::Unknown);
}

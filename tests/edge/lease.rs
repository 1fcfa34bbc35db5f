//! The lease: for how long an isolate decides by itself.

use keygate::{
    authority::lease::Terms,
    edge::{Missing, Step, Verdict},
};

use super::{
    isolate::{Isolate, LEASE_MS, Tenant, is_allowed, unknown},
    support::Shard,
};

/// The time of the shard is that of the isolate, too.
fn back(shard: &Shard, millis: u64) {
    shard.now.set(shard.now.get() - millis);
}

#[test]
fn the_lease_runs_from_the_sending_of_the_question() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    let call = isolate.call_for(&tenant.key);
    shard.advance(300);
    let answer = isolate.answer(&call);
    shard.advance(700);
    isolate.land(&call, &answer);
    shard.advance(LEASE_MS - 1_001);
    assert!(is_allowed(&isolate.at_hand(&tenant.key).unwrap()));
    shard.advance(1);
    assert!(matches!(isolate.ask(&tenant.key), Step::Sync(_)));
}

#[test]
fn an_answer_that_comes_after_its_lease_has_ended_grants_nothing() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    let call = isolate.call_for(&tenant.key);
    let answer = isolate.answer(&call);
    shard.advance(LEASE_MS);
    isolate.land(&call, &answer);
    assert!(matches!(isolate.ask(&tenant.key), Step::Sync(_)));
}

#[test]
fn how_long_the_lease_is_the_authority_says_and_a_shorter_one_takes_nothing_from_an_earlier_one() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    isolate.granted.lease_ms = 60_000;
    assert!(is_allowed(&isolate.decide(&tenant.key)));
    isolate.granted.lease_ms = 1_000;
    isolate.sync();
    shard.advance(59_999);
    assert!(isolate.at_hand(&tenant.key).is_some());
    shard.advance(1);
    isolate.sync();
    shard.advance(999);
    assert!(isolate.at_hand(&tenant.key).is_some());
    shard.advance(1);
    assert_eq!(isolate.at_hand(&tenant.key), None);
}

#[test]
fn without_a_lease_nothing_is_decided_but_what_the_answer_itself_says_is_not_forgotten() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    isolate.granted = Terms { lease_ms: 0, grace_ms: 0 };
    assert_eq!(isolate.decide(&tenant.key), Verdict::Undetermined);
    isolate.granted.lease_ms = LEASE_MS;
    isolate.sync();
    assert!(is_allowed(&isolate.at_hand(&tenant.key).unwrap()));
}

#[test]
fn a_clock_that_goes_back_by_more_than_50_ms_ends_the_lease() {
    for (step, leased) in [(50, true), (51, false), (3_600_000, false)] {
        let shard = Shard::new();
        let tenant = Tenant::new(&shard, "Acme");
        let mut isolate = Isolate::new(&shard);
        isolate.decide(&tenant.key);
        shard.advance(1_000);
        assert!(isolate.at_hand(&tenant.key).is_some());
        back(&shard, step);
        assert_eq!(isolate.at_hand(&tenant.key).is_some(), leased, "{step}");
    }
}

#[test]
fn a_clock_that_goes_back_by_less_does_not_extend_it() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    isolate.decide(&tenant.key);
    shard.advance(LEASE_MS);
    assert_eq!(isolate.at_hand(&tenant.key), None);
    back(&shard, 1);
    assert_eq!(isolate.at_hand(&tenant.key), None, "it was over once");
    back(&shard, 49);
    assert_eq!(isolate.at_hand(&tenant.key), None);
}

/// What was sent by the old clock would have its lease end by the old clock, too: an hour late.
#[test]
fn a_question_from_before_the_clock_was_set_brings_no_lease() {
    for cold in [true, false] {
        let shard = Shard::new();
        let tenant = Tenant::new(&shard, "Acme");
        let mut isolate = if cold { Isolate::new(&shard) } else { Isolate::synced(&shard) };
        let call = isolate.call_for(&tenant.key);
        let answer = isolate.answer(&call);
        back(&shard, 3_600_000);
        // Somebody looks at the clock.
        assert_eq!(isolate.at_hand(&tenant.key), None);
        isolate.land(&call, &answer);
        assert_eq!(isolate.at_hand(&tenant.key), None);
        assert!(is_allowed(&isolate.decide(&tenant.key)));
        shard.advance(LEASE_MS);
        assert_eq!(isolate.at_hand(&tenant.key), None);
    }
}

#[test]
fn nor_when_it_is_the_answer_that_finds_the_clock_set() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    let call = isolate.call_for(&tenant.key);
    let answer = isolate.answer(&call);
    back(&shard, 3_600_000);
    isolate.land(&call, &answer);
    shard.advance(LEASE_MS);
    assert_eq!(isolate.at_hand(&tenant.key), None);
}

#[test]
fn after_the_clock_was_set_back_syncs_that_died_before_hold_up_nobody() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    for number in 0..4 {
        isolate.call_for(&unknown(number));
    }
    back(&shard, 3_600_000);
    assert!(is_allowed(&isolate.decide(&tenant.key)));
    for _ in 0..3 {
        let call = isolate.call();
        isolate.fail(&call);
        shard.advance(1_000);
    }
    let call = isolate.call();
    isolate.fail(&call);
    back(&shard, 3_600_000);
    assert!(matches!(isolate.ask(&tenant.key), Step::Sync(_)), "no pause of an hour");
}

#[test]
fn that_a_key_is_unknown_is_believed_until_the_lease_ends_that_came_with_it() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    assert_eq!(isolate.decide(&unknown(1)), Verdict::Unknown);
    shard.advance(LEASE_MS - 1);
    assert_eq!(isolate.at_hand(&unknown(1)), Some(Verdict::Unknown));
    isolate.sync();
    assert_eq!(isolate.at_hand(&unknown(1)), Some(Verdict::Unknown));
    shard.advance(1);
    assert_eq!(isolate.ask(&unknown(1)), Step::ReadMirror(Missing::Both), "the lease goes on, the evidence does not");
}

#[test]
fn that_a_key_is_unknown_is_not_believed_any_more_once_the_clock_was_set() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    assert_eq!(isolate.decide(&unknown(1)), Verdict::Unknown);
    back(&shard, 3_600_000);
    assert_eq!(isolate.at_hand(&unknown(1)), None);
    isolate.sync();
    assert_eq!(isolate.ask(&unknown(1)), Step::ReadMirror(Missing::Both));
}

#[test]
fn from_half_of_the_lease_on_it_is_renewed_behind_an_answer_by_one_sync_at_a_time() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    let renewal = |isolate: &mut Isolate<'_>| {
        let now = isolate.now();
        isolate.view.renewal(now)
    };
    assert_eq!(renewal(&mut isolate), None, "there is nothing to be renewed");
    isolate.decide(&tenant.key);
    shard.advance(LEASE_MS / 2 - 1);
    assert_eq!(renewal(&mut isolate), None);
    shard.advance(1);
    let call = renewal(&mut isolate).unwrap();
    assert!(call.request.wants.is_empty());
    assert_eq!(renewal(&mut isolate), None);
    shard.advance(100);
    let answer = isolate.answer(&call);
    isolate.land(&call, &answer);
    assert_eq!(renewal(&mut isolate), None);
    shard.advance(LEASE_MS - 101);
    assert!(isolate.at_hand(&tenant.key).is_some());
    shard.advance(1);
    assert_eq!(isolate.at_hand(&tenant.key), None);
}

/// As when an operator makes the lease shorter: or every isolate would ask as fast as it is answered until the last long
/// lease is over.
#[test]
fn a_renewal_that_brings_a_shorter_lease_is_not_repeated_at_once() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    isolate.granted.lease_ms = 60_000;
    isolate.sync();
    isolate.granted.lease_ms = LEASE_MS;
    shard.advance(30_000);
    for _ in 0..3 {
        let now = isolate.now();
        let call = isolate.view.renewal(now).unwrap();
        let answer = isolate.answer(&call);
        isolate.land(&call, &answer);
        assert_eq!(isolate.view.renewal(now), None);
        shard.advance(LEASE_MS / 2 - 1);
        let now = isolate.now();
        assert_eq!(isolate.view.renewal(now), None);
        shard.advance(1);
    }
}

#[test]
fn a_renewal_that_died_is_made_up_for_after_its_deadline() {
    let shard = Shard::new();
    let mut isolate = Isolate::synced(&shard);
    shard.advance(LEASE_MS / 2);
    let now = isolate.now();
    let call = isolate.view.renewal(now).unwrap();
    shard.advance(call.deadline_ms - 1);
    let now = isolate.now();
    assert_eq!(isolate.view.renewal(now), None);
    shard.advance(1);
    let now = isolate.now();
    assert!(isolate.view.renewal(now).is_some());
}

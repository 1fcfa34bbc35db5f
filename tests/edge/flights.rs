//! Syncs under way: few, never waited for beyond their deadline, and not hurried after failures.

use keygate::edge::{Call, Step, Verdict};

use super::{
    isolate::{Isolate, LEASE_MS, Tenant, is_allowed, plain, unknown},
    support::Shard,
};

/// Four requests of a cold isolate.
fn four(isolate: &mut Isolate<'_>) -> Vec<Call> {
    (0..4).map(|number| isolate.call_for(&unknown(number))).collect()
}

#[test]
fn the_fifth_waits_and_what_it_wants_rides_with_the_next_sync() {
    let shard = Shard::new();
    let (tenant, other) = (Tenant::new(&shard, "Acme"), Tenant::new(&shard, "Other"));
    let mut isolate = Isolate::new(&shard);
    let calls = four(&mut isolate);
    let mut fifth = plain(&tenant.key);
    assert_eq!(fifth.next(&mut isolate.view, shard.now()), Step::Wait(4));
    let mut waits = Vec::new();
    for _ in 0..5 {
        match fifth.next(&mut isolate.view, shard.now()) {
            Step::Wait(millis) => waits.push(millis),
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(waits, [8, 16, 32, 32, 32]);
    isolate.void(&calls[0]);
    let call = isolate.call_for(&other.key);
    let wants: Vec<_> = call.request.wants.iter().map(|want| want.digest).collect();
    assert_eq!(wants, [tenant.key.digest, other.key.digest]);
    let answer = isolate.answer(&call);
    isolate.land(&call, &answer);
    for key in [&tenant.key, &other.key] {
        assert!(is_allowed(&isolate.at_hand(key).unwrap()));
    }
    assert!(matches!(fifth.next(&mut isolate.view, shard.now()), Step::Done(verdict) if is_allowed(&verdict)));
}

#[test]
fn one_sync_wants_no_more_than_it_may_and_the_rest_rides_with_the_one_after() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    let calls = four(&mut isolate);
    for number in 100..400 {
        assert!(matches!(isolate.ask(&unknown(number)), Step::Wait(_)));
    }
    isolate.void(&calls[0]);
    let mut wanted = Vec::new();
    for number in 0..10 {
        let call = isolate.call_for(&unknown(number));
        assert!(call.request.wants.len() <= keygate::authority::sync::WANTS_MAX);
        wanted.extend(call.request.wants.iter().map(|want| want.digest));
        isolate.void(&call);
    }
    let waited = (100..400).filter(|number| wanted.contains(&unknown(*number).digest)).count();
    assert_eq!(waited, 256, "so many are kept; the others ask for themselves");
}

#[test]
fn a_sync_that_died_frees_its_place_at_its_deadline() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    let calls = four(&mut isolate);
    shard.advance(calls[0].deadline_ms - 1);
    assert!(matches!(isolate.ask(&tenant.key), Step::Wait(_)));
    shard.advance(1);
    assert!(is_allowed(&isolate.decide(&tenant.key)));
}

#[test]
fn who_has_waited_for_two_seconds_gives_up() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    four(&mut isolate);
    let mut fifth = plain(&tenant.key);
    assert!(matches!(fifth.next(&mut isolate.view, shard.now()), Step::Wait(_)));
    shard.advance(1_999);
    assert!(matches!(fifth.next(&mut isolate.view, shard.now()), Step::Wait(_)));
    shard.advance(1);
    assert_eq!(fifth.next(&mut isolate.view, shard.now()), Step::Done(Verdict::Undetermined));
}

#[test]
fn who_sees_a_failure_while_waiting_gives_up() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    let calls = four(&mut isolate);
    let mut fifth = plain(&tenant.key);
    assert!(matches!(fifth.next(&mut isolate.view, shard.now()), Step::Wait(_)));
    isolate.fail(&calls[2]);
    assert_eq!(fifth.next(&mut isolate.view, shard.now()), Step::Done(Verdict::Undetermined));
}

#[test]
fn the_deadline_is_a_quarter_of_the_lease_within_bounds() {
    let shard = Shard::new();
    for (lease_ms, deadline_ms) in [(0, 1_000), (LEASE_MS, 1_250), (8_000, 2_000), (60_000, 2_500)] {
        let mut isolate = Isolate::new(&shard);
        isolate.granted.lease_ms = lease_ms;
        assert_eq!(isolate.call().deadline_ms, 2_500, "the object may have to be created");
        isolate.sync();
        assert_eq!(isolate.call().deadline_ms, deadline_ms, "{lease_ms}");
    }
}

/// How long nobody asks after the last failure.
fn pause(isolate: &mut Isolate<'_>) -> u64 {
    for millis in 0..2_000 {
        if let Step::Sync(call) = isolate.ask(&unknown(0)) {
            // It goes on: whoever looks at the view next sees it under way.
            isolate.fail(&call);
            return millis;
        }
        isolate.shard.advance(1);
    }
    panic!("for ever");
}

#[test]
fn after_the_second_failure_in_a_row_there_are_pauses_that_grow_up_to_a_second() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    let call = isolate.call();
    isolate.fail(&call);
    let pauses: Vec<u64> = (0..9).map(|_| pause(&mut isolate)).collect();
    assert_eq!(pauses[0], 0, "who comes next tries again at once");
    for (pause, longest) in pauses[1..].iter().zip([100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000]) {
        assert!((longest / 2..=longest).contains(pause), "{pauses:?}");
    }
}

#[test]
fn during_a_pause_requests_give_up_at_once_and_a_success_ends_it() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    let slow = isolate.call();
    for _ in 0..2 {
        let call = isolate.call();
        isolate.fail(&call);
    }
    assert_eq!(isolate.ask(&tenant.key), Step::Done(Verdict::Undetermined));
    let answer = isolate.answer(&slow);
    isolate.land(&slow, &answer);
    assert!(is_allowed(&isolate.decide(&tenant.key)));
}

#[test]
fn syncs_that_fail_together_count_as_one_failure() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    for call in four(&mut isolate) {
        isolate.fail(&call);
    }
    assert!(matches!(isolate.ask(&unknown(0)), Step::Sync(_)));
}

//! What is told of the use of keys: no use twice, the last time in the end.

use keygate::{
    authority::{sync::USES_MAX, usage::Use},
    edge::{Call, TELL_AFTER_MS},
};

use super::{
    isolate::{Isolate, unknown},
    support::Shard,
};

/// Notes a use of the key with this number; true if somebody has to see to it that it is told.
fn used(isolate: &mut Isolate<'_>, number: u64) -> bool {
    let now = isolate.now();
    isolate.view.used(&unknown(number).digest, 0, false, now)
}

fn told(call: &Call, number: u64) -> Option<(u32, u64)> {
    let mut uses = call.request.uses.iter().filter(|told| told.digest == unknown(number).digest);
    let told = uses.next().map(|Use { count, age_ms, .. }| (*count, *age_ms));
    assert!(uses.next().is_none());
    told
}

fn tell(isolate: &mut Isolate<'_>) -> Option<Call> {
    let now = isolate.now();
    isolate.view.tell(now)
}

#[test]
fn uses_ride_along_once_with_their_count_and_the_age_of_the_last() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    for _ in 0..3 {
        shard.advance(10);
        used(&mut isolate, 1);
    }
    used(&mut isolate, 2);
    shard.advance(100);
    let call = isolate.call();
    assert_eq!((told(&call, 1), told(&call, 2)), (Some((3, 100)), Some((1, 100))));
    let next = isolate.call();
    assert!(next.request.uses.is_empty(), "while the first is under way");
    isolate.void(&call);
    assert!(isolate.call().request.uses.is_empty(), "and after");
}

#[test]
fn what_may_have_been_lost_is_told_again_with_its_time_and_without_its_count() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    used(&mut isolate, 1);
    used(&mut isolate, 1);
    shard.advance(10);
    let lost = isolate.call();
    used(&mut isolate, 2);
    isolate.fail(&lost);
    shard.advance(10);
    let probe = isolate.call();
    assert!(probe.request.uses.is_empty(), "nothing is put at risk while syncs fail");
    isolate.void(&probe);
    let call = isolate.call();
    assert_eq!((told(&call, 1), told(&call, 2)), (Some((0, 20)), Some((1, 10))));
    isolate.void(&call);
    assert!(isolate.call().request.uses.is_empty());
}

#[test]
fn a_use_after_a_lost_telling_counts_alone() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    used(&mut isolate, 1);
    let lost = isolate.call();
    used(&mut isolate, 1);
    isolate.fail(&lost);
    used(&mut isolate, 1);
    let probe = isolate.call();
    isolate.void(&probe);
    assert_eq!(told(&isolate.call(), 1), Some((2, 0)));
}

#[test]
fn an_idle_isolate_tells_the_first_use_in_a_minute_by_itself() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    assert!(used(&mut isolate, 1));
    assert!(!used(&mut isolate, 1) && !used(&mut isolate, 2), "one teller is enough");
    shard.advance(TELL_AFTER_MS);
    let call = tell(&mut isolate).unwrap();
    assert_eq!((told(&call, 1), told(&call, 2)), (Some((2, TELL_AFTER_MS)), Some((1, TELL_AFTER_MS))));
    isolate.void(&call);
    assert!(!used(&mut isolate, 1), "told a moment ago");
    assert!(used(&mut isolate, 3));
    shard.advance(TELL_AFTER_MS);
    let call = tell(&mut isolate).unwrap();
    isolate.void(&call);
    assert_eq!(told(&call, 1), Some((1, TELL_AFTER_MS)), "it goes along");
    shard.advance(60_000 - TELL_AFTER_MS - 1);
    assert!(!used(&mut isolate, 1));
    shard.advance(1);
    assert!(used(&mut isolate, 1), "a minute after the last use that was told");
}

#[test]
fn a_teller_that_finds_everything_told_asks_nothing() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    assert!(used(&mut isolate, 1));
    let call = isolate.call();
    isolate.void(&call);
    shard.advance(TELL_AFTER_MS);
    assert_eq!(tell(&mut isolate), None);
}

#[test]
fn a_teller_asks_nothing_for_a_key_of_whose_last_minute_something_was_told() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    assert!(used(&mut isolate, 1));
    shard.advance(1_000);
    let call = isolate.call();
    isolate.void(&call);
    used(&mut isolate, 1);
    shard.advance(TELL_AFTER_MS);
    assert_eq!(tell(&mut isolate), None);
    assert_eq!(told(&isolate.call(), 1), Some((1, TELL_AFTER_MS)), "it goes along with what is asked anyway");
}

#[test]
fn a_clock_that_was_set_back_holds_no_telling_up() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    used(&mut isolate, 1);
    let call = isolate.call();
    isolate.void(&call);
    shard.now.set(shard.now.get() - 3_600_000);
    assert!(used(&mut isolate, 1));
    shard.advance(TELL_AFTER_MS);
    assert_eq!(told(&tell(&mut isolate).unwrap(), 1), Some((1, TELL_AFTER_MS)));
}

/// Keys that are used more or less often, in an isolate that now and then asks anyway.
#[test]
fn of_every_use_older_than_ten_seconds_is_told_it_or_one_less_than_a_minute_before() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    let mut random = 1_u64;
    let mut chance = |one_in: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.is_multiple_of(one_in)
    };
    const KEYS: usize = 12;
    let (mut uses, mut last_told) = (vec![Vec::new(); KEYS], [None::<u64>; KEYS]);
    let (mut teller, mut told_alone) = (None, 0);
    for _ in 0..40_000 {
        shard.advance(100);
        let now = shard.now.get();
        for (key, uses) in (0..).zip(&mut uses) {
            if chance(1 << key) {
                uses.push(now);
                if used(&mut isolate, key) {
                    teller = Some(now + TELL_AFTER_MS);
                }
            }
        }
        let alone = if teller.is_some_and(|at| at <= now) { tell(&mut isolate) } else { None };
        teller = teller.filter(|at| *at > now);
        told_alone += u32::from(alone.is_some());
        if let Some(call) = alone.or_else(|| chance(200).then(|| isolate.call())) {
            for (key, last) in (0..).zip(&mut last_told) {
                *last = told(&call, key).map(|(_, age)| now - age).or(*last);
            }
            isolate.void(&call);
        }
        for (uses, last) in uses.iter_mut().zip(last_told) {
            uses.retain(|at| last.is_none_or(|last| *at >= last + 60_000));
            assert!(uses.iter().all(|at| now - at <= TELL_AFTER_MS), "a use is not told");
        }
    }
    assert!((20..400).contains(&told_alone), "{told_alone} syncs only to tell, in 4,000 s");
}

#[test]
fn a_teller_that_died_is_replaced() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    assert!(used(&mut isolate, 1));
    shard.advance(2 * TELL_AFTER_MS - 1);
    assert!(!used(&mut isolate, 1));
    shard.advance(1);
    assert!(used(&mut isolate, 1));
}

#[test]
fn many_keys_take_many_syncs_and_none_is_left_out_for_ever() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    let keys = 3 * u64::try_from(USES_MAX).unwrap();
    let mut heard = std::collections::HashSet::new();
    for _ in 0..30 {
        // All of them are in use all the time.
        for number in 0..keys {
            used(&mut isolate, number);
        }
        let call = isolate.call();
        assert_eq!(call.request.uses.len(), USES_MAX);
        heard.extend(call.request.uses.iter().map(|told| told.digest));
        isolate.void(&call);
        shard.advance(2_500);
    }
    assert_eq!(u64::try_from(heard.len()).unwrap(), keys);
}

#[test]
fn what_is_noted_is_bounded_and_there_is_room_again_once_it_was_told() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    for number in 0..5_000 {
        used(&mut isolate, number);
    }
    let mut told = 0;
    loop {
        let call = isolate.call();
        isolate.void(&call);
        if call.request.uses.is_empty() {
            break;
        }
        told += call.request.uses.len();
    }
    assert_eq!(told, 4_096);
    assert!(!used(&mut isolate, 5_000), "for a minute they are remembered as told");
    shard.advance(60_000);
    let call = isolate.call();
    isolate.void(&call);
    assert!(used(&mut isolate, 5_000));
}

#[test]
fn requests_in_grace_are_told_as_a_number() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    let now = isolate.now();
    for in_grace in [true, false, true] {
        isolate.view.used(&unknown(1).digest, 0, in_grace, now);
    }
    let call = isolate.call();
    assert_eq!(call.request.graced, 2);
    isolate.void(&call);
    assert_eq!(isolate.call().request.graced, 0);
}

#[test]
fn scopes_ride_along_together_and_are_told_again_if_they_may_have_been_lost() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    let digest = unknown(1).digest;
    let told = |call: &Call| call.request.uses.iter().map(|told| told.scopes).collect::<Vec<_>>();
    for scopes in [0b1, 0b100, 0b1] {
        isolate.view.used(&digest, scopes, false, shard.now());
    }
    let lost = isolate.call();
    assert_eq!(told(&lost), [0b101]);
    isolate.view.used(&digest, 0b10, false, shard.now());
    isolate.fail(&lost);
    let probe = isolate.call();
    isolate.void(&probe);
    let again = isolate.call();
    assert_eq!(told(&again), [0b111]);
    isolate.void(&again);
    isolate.view.used(&digest, 0b1000, false, shard.now());
    assert_eq!(told(&isolate.call()), [0b1000], "each once");
}

#[test]
fn a_scope_is_never_told_for_a_later_day_than_it_served_on() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    let digest = unknown(1).digest;
    let day = 24 * 60 * 60 * 1_000;
    shard.advance(day - shard.now().as_millis() % day - 1);
    isolate.view.used(&digest, 0b1, false, shard.now());
    let lost = isolate.call();
    isolate.view.used(&digest, 0b10, false, shard.now());
    shard.advance(1);
    isolate.view.used(&digest, 0b100, false, shard.now());
    isolate.fail(&lost);
    let probe = isolate.call();
    isolate.void(&probe);
    let told = isolate.call();
    assert_eq!(told.request.uses.iter().map(|told| (told.scopes, told.age_ms)).collect::<Vec<_>>(), [(0b100, 0)]);
}

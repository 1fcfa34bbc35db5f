//! What is told of the use of keys: no use twice, the last time in the end.

use std::collections::HashMap;

use keygate::{
    authority::{
        sync::{COUNTED_MAX, SyncRequest, USES_MAX},
        usage::{Counted, Use},
    },
    edge::{Call, TELL_AFTER_MS},
    policy::{Reason, UnixMillis},
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
    let uses = call.request.uses.iter().filter(|told| told.digest == unknown(number).digest);
    let told: Vec<(u32, u64)> = uses.map(|Use { count, age_ms, .. }| (*count, *age_ms)).collect();
    assert!(told.len() <= 1);
    Some((told.iter().map(|(count, _)| count).sum(), told.last()?.1))
}

/// Notes a refusal of the key with this number, as [`used`] does a use.
fn refused(isolate: &mut Isolate<'_>, number: u64, reason: Reason) -> bool {
    let now = isolate.now();
    isolate.view.refused(&unknown(number).digest, reason, now)
}

/// What a call tells of refusals of that key.
fn refusals(call: &Call, number: u64) -> Vec<(Reason, u32, u64)> {
    let own = call.request.counted.iter().filter(|told| told.digest == unknown(number).digest);
    own.filter_map(|Counted { reason, count, age_ms, .. }| Some(((*reason)?, *count, *age_ms))).collect()
}

const HOUR_MS: u64 = 60 * 60 * 1_000;

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

#[test]
fn a_use_counts_for_the_hour_in_which_it_was_though_a_later_one_is_told_with_it() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    shard.advance(HOUR_MS - shard.now().as_millis() % HOUR_MS - 2);
    for _ in 0..4 {
        used(&mut isolate, 1);
        shard.advance(1);
    }
    let call = isolate.call();
    assert_eq!(told(&call, 1), Some((2, 1)));
    assert_eq!(call.request.counted, [Counted { digest: unknown(1).digest, reason: None, count: 2, age_ms: 3 }]);
    isolate.void(&call);
    assert!(!isolate.call().tells());
}

#[test]
fn refusals_are_told_once_by_their_reason_and_are_no_uses() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    for reason in [Reason::KeyRevoked, Reason::InsufficientScope, Reason::KeyRevoked] {
        refused(&mut isolate, 1, reason);
        shard.advance(10);
    }
    let call = isolate.call();
    assert!(call.tells());
    assert_eq!(refusals(&call, 1), [(Reason::KeyRevoked, 2, 10), (Reason::InsufficientScope, 1, 20)]);
    assert!(call.request.uses.is_empty());
    refused(&mut isolate, 1, Reason::KeyRevoked);
    isolate.fail(&call);
    let probe = isolate.call();
    assert!(!probe.tells(), "nothing is put at risk while syncs fail");
    isolate.void(&probe);
    let next = isolate.call();
    assert_eq!(refusals(&next, 1), [(Reason::KeyRevoked, 1, 0)], "what may have been lost is not told again");
    assert!(next.request.uses.is_empty(), "nor is it a use, even then");
    isolate.void(&next);
    assert!(!isolate.call().tells());
}

#[test]
fn a_refusal_between_uses_changes_nothing_of_what_is_told_of_them() {
    let shard = Shard::new();
    let [mut with, mut without] = [Isolate::new(&shard), Isolate::new(&shard)];
    let digest = unknown(1).digest;
    for _ in 0..3 {
        with.view.used(&digest, 0b101, false, shard.now());
        without.view.used(&digest, 0b101, false, shard.now());
        shard.advance(70);
        refused(&mut with, 1, Reason::KeyDisabled);
        shard.advance(30);
        let [with, without] = [with.call(), without.call()];
        assert_eq!(with.request.uses, without.request.uses);
        assert_eq!(with.request.uses.len(), 1);
    }
}

#[test]
fn refusals_of_different_hours_are_told_apart() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    shard.advance(HOUR_MS - shard.now().as_millis() % HOUR_MS - 1);
    refused(&mut isolate, 1, Reason::KeyExpired);
    shard.advance(1);
    refused(&mut isolate, 1, Reason::KeyExpired);
    assert_eq!(refusals(&isolate.call(), 1), [(Reason::KeyExpired, 1, 1), (Reason::KeyExpired, 1, 0)]);
}

#[test]
fn an_idle_isolate_tells_the_first_refusal_in_a_minute_by_itself_and_a_use_no_later_for_it() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    assert!(refused(&mut isolate, 1, Reason::KeyRevoked));
    assert!(!refused(&mut isolate, 1, Reason::KeyRevoked), "one teller is enough");
    shard.advance(TELL_AFTER_MS);
    let call = tell(&mut isolate).unwrap();
    assert_eq!(refusals(&call, 1), [(Reason::KeyRevoked, 2, TELL_AFTER_MS)]);
    isolate.void(&call);
    assert!(!refused(&mut isolate, 2, Reason::KeyRevoked), "one was told a moment ago");
    assert!(used(&mut isolate, 1), "of uses, none was");
    shard.advance(TELL_AFTER_MS);
    let call = tell(&mut isolate).unwrap();
    assert_eq!((refusals(&call, 2).len(), told(&call, 1)), (1, Some((1, TELL_AFTER_MS))));
    isolate.void(&call);
    shard.advance(60_000 - TELL_AFTER_MS - 1);
    assert!(!refused(&mut isolate, 1, Reason::KeyRevoked));
    shard.advance(1);
    assert!(refused(&mut isolate, 1, Reason::KeyRevoked));
}

/// However often and for whatever reason, with syncs that arrive and syncs that fail.
#[test]
fn no_more_is_told_than_happened_and_what_is_noted_is_bounded() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    let mut random = 7_u64;
    let mut chance = |one_in: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.is_multiple_of(one_in)
    };
    let (mut happened, mut heard) = (HashMap::<_, u32>::new(), HashMap::<_, u32>::new());
    for round in 0..4_000_u64 {
        shard.advance(if chance(50) { HOUR_MS / 3 } else { 100 });
        for key in 0..if chance(100) { 60 } else { 3 } {
            let hour = shard.now().hour();
            for reason in Reason::ALL.into_iter().filter(|_| chance(3)) {
                refused(&mut isolate, key, reason);
                *happened.entry((key, hour, Some(reason as usize))).or_default() += 1;
            }
            if chance(2) {
                used(&mut isolate, key);
                *happened.entry((key, hour, None)).or_default() += 1;
            }
        }
        if round % 4 != 0 {
            continue;
        }
        let call = isolate.call();
        let SyncRequest { uses, counted, .. } = &call.request;
        assert!(uses.len() <= USES_MAX && counted.len() <= COUNTED_MAX);
        let uses = uses.iter().map(|told| (told.digest, None, told.count, told.age_ms));
        let besides = counted.iter().map(|told| (told.digest, told.reason, told.count, told.age_ms));
        for (digest, reason, count, age_ms) in uses.chain(besides) {
            let key = (0..60).find(|key| unknown(*key).digest == digest).unwrap();
            let hour = UnixMillis::from_millis(shard.now.get() - age_ms).hour();
            *heard.entry((key, hour, reason.map(|reason| reason as usize))).or_default() += count;
        }
        if chance(5) { isolate.fail(&call) } else { isolate.void(&call) }
    }
    assert!(heard.iter().all(|(what, count)| *count <= happened[what]));
    let sum = |counts: &HashMap<_, u32>| counts.values().sum::<u32>();
    assert!(sum(&heard) * 10 > sum(&happened) * 9, "{} of {}", sum(&heard), sum(&happened));
}

#[test]
fn a_question_with_refusals_is_read_as_it_was_written_and_nothing_else_is() {
    let digest = unknown(1).digest;
    let refused = Counted { digest, reason: Some(Reason::InsufficientScope), count: 3, age_ms: 1_500 };
    let earlier = Counted { reason: None, ..refused };
    let used = Use { digest, count: 2, age_ms: 7, scopes: 5 };
    let question = SyncRequest { uses: vec![used], counted: vec![refused, earlier], ..SyncRequest::default() };
    let hex = digest.to_hex();
    let told = format!("used {hex} 2 7 5\ncounted {hex} 3 1500 insufficient_scope\ncounted {hex} 3 1500 -");
    let text = format!("sync 1 v1\n{told}\nend");
    assert_eq!(question.text(), text);
    assert_eq!(SyncRequest::parse(&text), Some(question));
    for wrong in ["3 1500 key_lost", "3 1500", "03 1 -", "3 1 - 2", "4294967296 1 -", "3 1 "] {
        let text = format!("sync 1 v1\ncounted {hex} {wrong}\nend");
        assert_eq!(SyncRequest::parse(&text), None, "{wrong}");
    }
    for (line, most) in [("used # 1 0 0", USES_MAX), ("counted # 1 0 -", COUNTED_MAX)] {
        let many = |lines: usize| {
            let line = format!("{}\n", line.replace('#', &hex));
            SyncRequest::parse(&format!("sync 1 v1\n{}end", line.repeat(lines)))
        };
        assert!(many(most).is_some() && many(most + 1).is_none());
    }
}

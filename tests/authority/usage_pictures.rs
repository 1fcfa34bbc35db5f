//! Usage by hours and days: refusals are counted apart and are no uses, hours add up to days, old days go.

use keygate::{
    authority::{
        KeyFilter,
        query::{Found, Query},
        record::KeyRecord,
        sql::{Sql, Value},
        usage::{Counted, Tally, Use, WRITE_INTERVAL_MS},
        usage_picture::{Per, UsagePicture},
    },
    policy::{DAY_MS, Reason, UnixMillis},
};

use super::{
    shorthand::HOUR_MS,
    support::{Shard, new_account},
    usage::{day, rows, shard, take, used_at},
};

/// Tells of refusals.
fn refuse(shard: &Shard, tally: &mut Tally, key: &KeyRecord, reason: Reason, count: u32, age_ms: u64) -> bool {
    let told = Counted { digest: key.digest, reason: Some(reason), count, age_ms };
    tally.take_counted(&shard.sql, &[told], shard.now()).unwrap()
}

fn hours(shard: &Shard) -> Vec<String> {
    let rows = shard.sql.run("SELECT hours FROM usage ORDER BY day", &[]).unwrap();
    rows.into_iter().map(|row| if let Value::Text(hours) = &row[0] { hours.clone() } else { panic!() }).collect()
}

fn picture(shard: &Shard, tally: &Tally, key: &KeyRecord, per: Per) -> UsagePicture {
    let mut found = shard.ask(Query::Usage(key.account, key.id(), per)).unwrap();
    tally.add_to(&mut found);
    let Found::Usage(picture) = found else { panic!("no usage") };
    assert_eq!(picture.parts.len() as u64, per.parts());
    picture
}

/// The parts in which anything happened, counted back from that of now: how often allowed and how often refused.
fn lately(shard: &Shard, tally: &Tally, key: &KeyRecord, per: Per) -> Vec<(usize, u64, u64)> {
    let picture = picture(shard, tally, key, per);
    let parts = picture.parts.iter().rev().enumerate();
    parts.map(|(back, part)| (back, part.allowed(), part.refused_in_all())).filter(|part| part.1 + part.2 > 0).collect()
}

#[test]
fn a_refusal_is_no_use() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    assert!(refuse(&shard, &mut tally, &key, Reason::KeyRevoked, 2, 0));
    assert_eq!(rows(&shard), [day(shard.now()), 0, 0]);
    assert_eq!(hours(&shard), ["8a2"]);
    let never = || {
        [(true, None), (false, Some(0)), (false, Some(1_900_000_000_000))].map(|(never_used, since)| {
            let unused_since = since.map(UnixMillis::from_millis);
            let filter = KeyFilter { never_used, unused_since, ..KeyFilter::default() };
            shard.listed(key.account, filter).len()
        })
    };
    assert_eq!((used_at(&shard, &key), never()), (None, [1, 1, 1]));
    refuse(&shard, &mut tally, &key, Reason::KeyRevoked, 1, 0);
    let mut found = shard.ask(Query::Key(key.account, key.id())).unwrap();
    tally.add_to(&mut found);
    let Found::Key(read) = found else { panic!("no key") };
    assert_eq!(read.last_used_at, None, "nor while it is in memory alone");
    // A use, and on the next day refusals alone.
    let at = shard.now();
    shard.advance(WRITE_INTERVAL_MS);
    take(&shard, &mut tally, key.digest, 1, WRITE_INTERVAL_MS);
    shard.advance(DAY_MS);
    refuse(&shard, &mut tally, &key, Reason::KeyExpired, 1, 0);
    assert_eq!(rows(&shard)[3..], [day(shard.now()), 0, 0]);
    assert_eq!((used_at(&shard, &key), never()), (Some(at.as_millis()), [0, 0, 1]));
}

#[test]
fn hours_add_up_to_the_day_and_what_is_in_memory_is_shown_with_them() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    take(&shard, &mut tally, key.digest, 2, 0);
    refuse(&shard, &mut tally, &key, Reason::InsufficientScope, 3, 0);
    shard.advance(HOUR_MS);
    take(&shard, &mut tally, key.digest, 4, 0);
    refuse(&shard, &mut tally, &key, Reason::KeyDisabled, 5, 1);
    assert_eq!(hours(&shard), ["8+2 8k3 9+4"], "the rest waits for its minute");
    let shown = || (lately(&shard, &tally, &key, Per::Hour), lately(&shard, &tally, &key, Per::Day));
    let expected = (vec![(0, 4, 0), (1, 2, 8)], vec![(0, 6, 8)]);
    assert_eq!(shown(), expected);
    let sum = picture(&shard, &tally, &key, Per::Hour).sum();
    assert_eq!(sum, picture(&shard, &tally, &key, Per::Day).sum());
    assert_eq!((sum.refused(Reason::KeyDisabled), sum.refused(Reason::InsufficientScope)), (5, 3));
    assert_eq!(sum.refused_in_all(), 8);
    shard.advance(WRITE_INTERVAL_MS);
    assert!(tally.write_due(&shard.sql, shard.now()).unwrap());
    assert_eq!(hours(&shard), ["8+2 8k3 9+4 8b5"]);
    assert_eq!(rows(&shard)[1], 6);
    assert_eq!(lately(&shard, &Tally::default(), &key, Per::Hour), expected.0, "the same once it is written");
    assert_eq!(lately(&shard, &Tally::default(), &key, Per::Day), expected.1);
}

#[test]
fn a_day_and_an_hour_end_at_midnight_in_utc() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    let midnight = (shard.now().as_millis() / DAY_MS + 1) * DAY_MS;
    shard.now.set(midnight);
    take(&shard, &mut tally, key.digest, 1, 1);
    refuse(&shard, &mut tally, &key, Reason::KeyExpired, 2, 1);
    take(&shard, &mut tally, key.digest, 4, 0);
    refuse(&shard, &mut tally, &key, Reason::KeyExpired, 8, 0);
    shard.advance(WRITE_INTERVAL_MS);
    tally.write_due(&shard.sql, shard.now()).unwrap();
    assert_eq!(hours(&shard), ["23+1 23d2", "0+4 0d8"]);
    for per in [Per::Hour, Per::Day] {
        assert_eq!(lately(&shard, &tally, &key, per), [(0, 4, 8), (1, 1, 2)]);
    }
    let of_days = picture(&shard, &tally, &key, Per::Day);
    assert_eq!((of_days.begin(89).as_millis(), of_days.begin(90).as_millis()), (midnight, midnight + DAY_MS));
    // What is no longer in the picture is left out, and nothing else.
    shard.advance(47 * HOUR_MS - WRITE_INTERVAL_MS);
    assert_eq!(lately(&shard, &tally, &key, Per::Hour), [(47, 4, 8)]);
    assert_eq!(lately(&shard, &tally, &key, Per::Day), [(1, 4, 8), (2, 1, 2)]);
    shard.advance(HOUR_MS);
    assert_eq!(lately(&shard, &tally, &key, Per::Hour), []);
}

#[test]
fn refusals_cost_no_row_more_than_uses_do() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    let mut written = 0;
    for second in 0..600 {
        written += u32::from(take(&shard, &mut tally, key.digest, 5, 0));
        for reason in Reason::ALL.into_iter() {
            written += u32::from(refuse(&shard, &mut tally, &key, reason, 1, 0));
        }
        written += u32::from(tally.write_due(&shard.sql, shard.now()).unwrap());
        assert_eq!(shard.numbers("SELECT count(*) FROM usage"), [1], "{second}");
        shard.advance(1_000);
    }
    assert_eq!(written, 10);
}

#[test]
fn a_restart_loses_no_more_than_a_minute() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    let mut before = 0;
    for second in 0..200_u64 {
        take(&shard, &mut tally, key.digest, 1, 0);
        refuse(&shard, &mut tally, &key, Reason::KeyDisabled, 1, 0);
        tally.write_due(&shard.sql, shard.now()).unwrap();
        // What another instance would know.
        let sum = picture(&shard, &Tally::default(), &key, Per::Hour).sum();
        assert!(sum.allowed() <= second + 1 && sum.refused_in_all() <= second + 1, "lower bounds");
        assert!(sum.allowed() + 60 > second && sum.refused_in_all() + 61 > second, "{second}: {sum:?}");
        assert!(sum.allowed() >= before);
        before = sum.allowed();
        shard.advance(1_000);
    }
    // It goes on from what is written.
    let mut restarted = Tally::default();
    take(&shard, &mut restarted, key.digest, 7, 0);
    assert_eq!(picture(&shard, &restarted, &key, Per::Hour).sum().allowed(), before + 7);
}

#[test]
fn a_row_from_before_there_were_hours_counts_for_its_day() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    take(&shard, &mut tally, key.digest, 5, 0);
    shard.sql.run("UPDATE usage SET hours = ''", &[]).unwrap();
    shard.advance(WRITE_INTERVAL_MS);
    take(&shard, &mut tally, key.digest, 2, 0);
    assert_eq!(lately(&shard, &tally, &key, Per::Day), [(0, 7, 0)]);
    assert_eq!(lately(&shard, &tally, &key, Per::Hour), [(0, 2, 0)]);
}

#[test]
fn old_rows_go_and_what_they_alone_say_stays() {
    let (shard, key) = shard();
    let first = shard.now().as_millis() / DAY_MS;
    let mut most = 0;
    let mut written = 0;
    let mut use_of = |day: u64, scopes: u128, count: u32| {
        shard.now.set((first + day) * DAY_MS);
        let before = shard.numbers("SELECT count(*) FROM usage")[0];
        // Each day another instance.
        let told = Use { digest: key.digest, count, age_ms: 0, scopes };
        if count > 0 {
            Tally::default().take(&shard.sql, &[told], shard.now()).unwrap();
        } else {
            refuse(&shard, &mut Tally::default(), &key, Reason::KeyRevoked, 1, 0);
        }
        let rows = shard.numbers("SELECT count(*) FROM usage")[0];
        written += 1 + (before + 1 - rows);
        most = most.max(rows);
    };
    use_of(0, 0b10, 1);
    (1..300).for_each(|day| use_of(day, 0b01, 1));
    // From now on it is only refused.
    (300..700).for_each(|day| use_of(day, 0, 0));
    assert!(most <= 91 + 30 + 2, "{most} rows");
    assert!(written <= 2 * 700, "{written} rows written");
    let days = shard.numbers("SELECT day FROM usage ORDER BY day");
    let first = i64::try_from(first).unwrap();
    assert_eq!(days[..2], [first, first + 299], "the last of the second scope, and of the key and its first scope");
    assert!(days[2] >= first + 699 - 90 - 30 && days[2] <= first + 699 - 90);
    assert_eq!(days.len() as i64, 2 + first + 700 - days[2], "every day of the last 90");
    assert_eq!(used_at(&shard, &key), Some((first as u64 + 299) * DAY_MS));
    assert_eq!(picture(&shard, &Tally::default(), &key, Per::Day).sum().refused_in_all(), 90);
}

#[test]
fn a_key_that_is_used_now_and_then_keeps_no_more_rows_for_it() {
    for pause in [2, 7, 30, 31, 60, 91, 400] {
        let (shard, key) = shard();
        for _ in 0..200 {
            take(&shard, &mut Tally::default(), key.digest, 1, 0);
            shard.advance(pause * DAY_MS);
        }
        let rows = shard.numbers("SELECT count(*) FROM usage")[0].unsigned_abs();
        assert!(rows <= 121 / pause + 2, "{rows} rows at a use in {pause} days");
    }
}

#[test]
fn the_usage_of_a_key_is_its_accounts() {
    let (shard, key) = shard();
    let other = shard.account(new_account("Other"));
    assert_eq!(shard.ask(Query::Usage(other.id, key.id(), Per::Day)), None);
    assert_eq!(lately(&shard, &Tally::default(), &key, Per::Day), [], "nothing is known of it");
}

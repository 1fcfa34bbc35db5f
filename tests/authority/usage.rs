//! Usage: a key's row is written once a minute at most, many rows in one round, and its counts are lower bounds.

use keygate::{
    authority::{
        KeyFilter,
        command::NewKey,
        query::{Found, Query},
        record::KeyRecord,
        sql::Sql,
        usage::{ROWS_MAX, ROWS_PER_ROUND, Tally, Use, WRITE_INTERVAL_MS, WRITE_ROUND_MS},
    },
    credential::Digest,
    json::ToJson,
    policy::{DAY_MS, UnixMillis},
};

use super::{
    shorthand,
    support::{Shard, new_account, new_key},
};

#[test]
fn the_first_use_is_written_at_once_and_what_follows_within_a_minute_waits() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    let start = shard.now();
    assert!(take(&shard, &mut tally, key.digest, 2, 0));
    assert_eq!(rows(&shard), [day(start), 2, millis(start)]);
    assert_eq!(tally.next_due(), None);
    shard.advance(1_000);
    assert!(!take(&shard, &mut tally, key.digest, 3, 400));
    shard.advance(1_000);
    assert!(!take(&shard, &mut tally, key.digest, 1, 0));
    assert_eq!(rows(&shard), [day(start), 2, millis(start)]);
    assert_eq!(tally.next_due(), Some(start.saturating_add_millis(WRITE_INTERVAL_MS)));
    shard.advance(57_999);
    assert!(!tally.write_due(&shard.sql, shard.now()).unwrap());
    shard.advance(1);
    assert!(tally.write_due(&shard.sql, shard.now()).unwrap());
    assert_eq!(rows(&shard), [day(start), 6, millis(start) + 2_000]);
    assert_eq!(tally.next_due(), None);
    shard.advance(WRITE_INTERVAL_MS);
    assert!(take(&shard, &mut tally, key.digest, 1, 0), "a minute later at once again");
    assert_eq!(rows(&shard)[1], 7);
}

#[test]
fn a_busy_key_costs_one_row_a_minute() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    let mut written = 0;
    for _ in 0..600 {
        written += u32::from(take(&shard, &mut tally, key.digest, 5, 0));
        written += u32::from(tally.write_due(&shard.sql, shard.now()).unwrap());
        shard.advance(1_000);
    }
    assert_eq!(written, 10);
}

#[test]
fn rows_that_are_due_within_ten_seconds_are_written_in_one_round_and_none_waits_longer_than_that() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let keys: Vec<KeyRecord> = (0..60).map(|_| shard.issue(account.id, new_key()).0).collect();
    let mut tally = Tally::default();
    let (mut rounds, mut written) = (0, 0);
    let mut uses = Vec::new();
    // Every second another key, twice, and so each of them once a minute.
    for (number, key) in keys.iter().cycle().take(1_200).enumerate() {
        for pause in [500, 517] {
            uses.push((key.digest, shard.now.get()));
            written += u32::from(take(&shard, &mut tally, key.digest, 1, 0));
            shard.advance(pause);
        }
        if tally.next_due().is_some_and(|due| due <= shard.now()) {
            rounds += 1;
            tally.write_due(&shard.sql, shard.now()).unwrap();
        }
        if number % 10 == 0 {
            // This test looks about once a second.
            let until = shard.now.get() - WRITE_INTERVAL_MS - WRITE_ROUND_MS - 1_017;
            uses.retain(|(digest, at)| {
                let last_at = format!("SELECT last_at FROM usage WHERE digest = '{}'", digest.to_hex());
                assert!(*at > until || shard.numbers(&last_at).iter().any(|last| last.unsigned_abs() >= *at));
                *at > until
            });
        }
    }
    assert!((60..=20 * 60_000 / WRITE_ROUND_MS + 3).contains(&rounds), "{rounds} rounds in 20.3 minutes");
    assert!(written > 60);
}

#[test]
fn a_round_writes_a_bounded_number_of_rows_and_the_next_one_the_rest() {
    let shard = Shard::new();
    let mut tally = Tally::default();
    for _ in 0..2 {
        for number in 0..ROWS_PER_ROUND + 1 {
            take(&shard, &mut tally, nobody(number), 1, 0);
        }
        shard.advance(1);
    }
    shard.advance(WRITE_INTERVAL_MS);
    // A row is read before it is written.
    let rows_since = |before: usize| (shard.sql.statements.borrow().len() - before) / 2;
    let before = shard.sql.statements.borrow().len();
    tally.write_due(&shard.sql, shard.now()).unwrap();
    assert_eq!(rows_since(before), ROWS_PER_ROUND);
    assert!(tally.next_due().unwrap() <= shard.now(), "at once again");
    tally.write_due(&shard.sql, shard.now()).unwrap();
    assert_eq!(rows_since(before), ROWS_PER_ROUND + 1);
    assert_eq!(tally.next_due(), None);
}

#[test]
fn memory_is_bounded_and_where_there_is_no_room_a_use_is_written_at_once() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    take(&shard, &mut tally, nobody(0), 1, 0);
    // What the database does not take waits.
    shard.sql.fail_after(Some(0));
    for number in 1..ROWS_MAX {
        let told = [Use { digest: nobody(number), count: 1, age_ms: 0, scopes: 0 }];
        assert!(tally.take(&shard.sql, &told, shard.now()).is_err());
    }
    shard.sql.fail_after(None);
    for count in [1, 2, 3] {
        assert!(take(&shard, &mut tally, key.digest, 1, 0), "nothing is kept, and nothing lost");
        assert_eq!(rows(&shard)[1], count);
        shard.advance(1_000);
    }
    shard.advance(WRITE_INTERVAL_MS);
    assert!(take(&shard, &mut tally, key.digest, 1, 0));
    assert!(!take(&shard, &mut tally, key.digest, 1, 0), "one that rests has made room, without any round");
}

#[test]
fn a_use_told_again_without_its_count_counts_once_and_writes_nothing() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    take(&shard, &mut tally, key.digest, 4, 0);
    let before = shard.sql.dump();
    take(&shard, &mut tally, key.digest, 0, 0);
    assert_eq!(tally.next_due(), None, "there is nothing to write");
    shard.advance(WRITE_INTERVAL_MS);
    assert!(!take(&shard, &mut tally, key.digest, 0, WRITE_INTERVAL_MS), "the same time of use");
    let mut restarted = Tally::default();
    assert!(!take(&shard, &mut restarted, key.digest, 0, WRITE_INTERVAL_MS), "nor after a restart");
    assert_eq!(shard.sql.dump(), before);
    assert!(!take(&shard, &mut restarted, key.digest, 0, 0), "a later one waits for its minute");
    shard.advance(WRITE_INTERVAL_MS);
    restarted.write_due(&shard.sql, shard.now()).unwrap();
    let [_, count, last_at] = rows(&shard)[..] else { panic!("one row") };
    assert_eq!((count, last_at), (4, millis(shard.now()) - WRITE_INTERVAL_MS as i64));
}

#[test]
fn the_time_of_last_use_never_goes_back_and_never_lies_ahead() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    take(&shard, &mut tally, key.digest, 1, 0);
    shard.advance(WRITE_INTERVAL_MS);
    take(&shard, &mut tally, key.digest, 1, WRITE_INTERVAL_MS + 500);
    assert_eq!(rows(&shard)[1..], [2, millis(shard.now()) - WRITE_INTERVAL_MS as i64]);
    take(&shard, &mut tally, key.digest, 1, u64::MAX);
    assert_eq!(used_at(&shard, &key), Some(shard.now().as_millis() - WRITE_INTERVAL_MS));
}

#[test]
fn uses_count_for_the_day_on_which_they_were() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    let today = shard.now().as_millis() / DAY_MS;
    shard.now.set(today * DAY_MS + 500);
    take(&shard, &mut tally, key.digest, 2, 501);
    take(&shard, &mut tally, key.digest, 3, 500);
    let (before, after) = ((today - 1) as i64, today as i64);
    let midnight = (today * DAY_MS) as i64;
    assert_eq!(rows(&shard), [before, 2, midnight - 1, after, 3, midnight]);
    assert_eq!(used_at(&shard, &key), Some(today * DAY_MS));
}

#[test]
fn keys_that_nobody_knows_leave_nothing() {
    let (shard, _) = shard();
    let mut tally = Tally::default();
    let before = shard.sql.dump();
    assert!(!take(&shard, &mut tally, Digest::from_bytes([9; 24]), 5, 0));
    shard.advance(1_000);
    assert!(!take(&shard, &mut tally, Digest::from_bytes([9; 24]), 5, 0));
    shard.advance(WRITE_INTERVAL_MS);
    assert!(!tally.write_due(&shard.sql, shard.now()).unwrap());
    assert_eq!(shard.sql.dump(), before);
    assert_eq!(tally.next_due(), None);
}

#[test]
fn many_keys_are_told_apart() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let keys: Vec<KeyRecord> = (0..20).map(|_| shard.issue(account.id, new_key()).0).collect();
    let mut tally = Tally::default();
    for round in 0..2 {
        let told: Vec<Use> =
            keys.iter().zip(1..).map(|(key, count)| Use { digest: key.digest, count, age_ms: 0, scopes: 0 }).collect();
        assert_eq!(tally.take(&shard.sql, &told, shard.now()).unwrap(), round == 0);
        shard.advance(1);
    }
    shard.advance(WRITE_INTERVAL_MS);
    assert!(tally.write_due(&shard.sql, shard.now()).unwrap());
    for (key, count) in keys.iter().zip(1..) {
        let hex = key.digest.to_hex();
        assert_eq!(shard.numbers(&format!("SELECT count FROM usage WHERE digest = '{hex}'")), [2 * count]);
    }
}

#[test]
fn what_a_failing_database_did_not_take_is_written_later() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    shard.sql.fail_after(Some(0));
    let told = [Use { digest: key.digest, count: 2, age_ms: 0, scopes: 0 }];
    assert!(tally.take(&shard.sql, &told, shard.now()).is_err());
    assert!(tally.write_due(&shard.sql, shard.now()).is_err());
    shard.sql.fail_after(None);
    assert!(tally.next_due().unwrap() <= shard.now());
    assert!(tally.write_due(&shard.sql, shard.now()).unwrap());
    assert_eq!(rows(&shard)[1], 2);
}

#[test]
fn a_clock_that_was_set_back_holds_nothing_up() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    take(&shard, &mut tally, key.digest, 1, 0);
    shard.now.set(shard.now.get() - 3_600_000);
    assert!(take(&shard, &mut tally, key.digest, 1, 0));
    assert_eq!(rows(&shard)[1], 2);
}

#[test]
fn every_view_of_a_key_shows_its_last_use() {
    let (shard, key) = shard();
    assert_eq!(used_at(&shard, &key), None);
    take(&shard, &mut Tally::default(), key.digest, 1, 250);
    let used = Some(UnixMillis::from_millis(shard.now().as_millis() - 250));
    assert_eq!(shard.read_by_digest(&key).last_used_at, used);
    let listed = shard.listed(key.account, KeyFilter::default());
    assert_eq!(listed.iter().map(|key| key.last_used_at).collect::<Vec<_>>(), [used]);
    let revoked = shard.revoke(&key);
    assert_eq!(revoked.last_used_at, used);
    assert_eq!(used_at(&shard, &key), used.map(UnixMillis::as_millis));
}

/// What is written of the scopes of one day, day by day.
fn scopes(shard: &Shard) -> Vec<String> {
    let rows = shard.sql.run("SELECT scopes FROM usage ORDER BY day", &[]).unwrap();
    rows.into_iter().map(|row| format!("{:?}", row[0])).collect()
}

fn by_scope(shard: &Shard, tally: &Tally, key: &KeyRecord) -> String {
    let mut found = shard.ask(Query::Key(key.account, key.id())).unwrap();
    tally.add_to(&mut found);
    let Found::Key(key) = found else { panic!("no key") };
    key.scopes_last_used.unwrap().to_json()
}

#[test]
fn scopes_add_up_by_the_day_and_cost_no_row_more() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let scopes_of_key = shorthand::scopes(&["a:b", "c:d", "e:f"]);
    let (key, _) = shard.issue(account.id, NewKey { scopes: Some(scopes_of_key), ..new_key() });
    let mut tally = Tally::default();
    let told = |tally: &mut Tally, scopes: u128| {
        let told = Use { digest: key.digest, count: 1, age_ms: 0, scopes };
        tally.take(&shard.sql, &[told], shard.now()).unwrap()
    };
    let none = r#"{"a:b":null,"c:d":null,"e:f":null}"#;
    assert_eq!(by_scope(&shard, &tally, &key), none);
    assert!(told(&mut tally, 0));
    assert_eq!(by_scope(&shard, &tally, &key), none, "a use that no scope was needed for");
    shard.advance(1_000);
    assert!(!told(&mut tally, 0b001), "not within a minute");
    assert_eq!(scopes(&shard), [r#"Text("")"#]);
    assert_eq!(by_scope(&shard, &tally, &key), r#"{"a:b":"2027-01-15","c:d":null,"e:f":null}"#, "but known at once");
    shard.advance(WRITE_INTERVAL_MS);
    assert!(told(&mut tally, 0b010));
    assert_eq!(scopes(&shard), [r#"Text("3")"#]);
    // Another instance knows nothing of it.
    let mut tally = Tally::default();
    assert!(told(&mut tally, 0), "a use without scopes leaves them as they are");
    assert_eq!(scopes(&shard), [r#"Text("3")"#]);
    let mut tally = Tally::default();
    assert!(told(&mut tally, 0b100));
    assert_eq!(scopes(&shard), [r#"Text("7")"#]);
    shard.advance(DAY_MS);
    assert!(told(&mut tally, 0b010));
    assert_eq!(scopes(&shard), [r#"Text("7")"#, r#"Text("2")"#]);
    let expected = r#"{"a:b":"2027-01-15","c:d":"2027-01-16","e:f":"2027-01-15"}"#;
    assert_eq!(by_scope(&shard, &tally, &key), expected);
    assert_eq!(by_scope(&shard, &Tally::default(), &key), expected);
    let listed = shard.listed(account.id, KeyFilter::default());
    assert_eq!(listed[0].scopes_last_used, None, "lists do not look for it");
}

#[test]
fn a_scope_told_a_second_time_is_no_reason_to_write() {
    let (shard, key) = shard();
    let mut tally = Tally::default();
    let again = [Use { digest: key.digest, count: 0, age_ms: 0, scopes: 1 }];
    assert!(tally.take(&shard.sql, &again, shard.now()).unwrap());
    shard.advance(WRITE_INTERVAL_MS);
    let earlier = [Use { age_ms: WRITE_INTERVAL_MS, ..again[0] }];
    assert!(!tally.take(&shard.sql, &earlier, shard.now()).unwrap());
    assert_eq!(tally.next_due(), None);
    let more = [Use { scopes: 0b11, ..earlier[0] }];
    assert!(tally.take(&shard.sql, &more, shard.now()).unwrap());
    assert_eq!(scopes(&shard), [r#"Text("3")"#]);
    assert!(!Tally::default().take(&shard.sql, &more, shard.now()).unwrap(), "nor for another instance");
}

pub fn shard() -> (Shard, KeyRecord) {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    (shard, key)
}

/// A key that nobody knows.
fn nobody(number: usize) -> Digest {
    let mut digest = [9; 24];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    Digest::from_bytes(digest)
}

pub fn take(shard: &Shard, tally: &mut Tally, digest: Digest, count: u32, age_ms: u64) -> bool {
    tally.take(&shard.sql, &[Use { digest, count, age_ms, scopes: 0 }], shard.now()).unwrap()
}

/// Day, count and time of last use of each row.
pub fn rows(shard: &Shard) -> Vec<i64> {
    shard.numbers("SELECT day, count, last_at FROM usage ORDER BY day")
}

pub fn used_at(shard: &Shard, key: &KeyRecord) -> Option<u64> {
    shard.read(key).last_used_at.map(UnixMillis::as_millis)
}

pub fn day(at: UnixMillis) -> i64 {
    (at.as_millis() / DAY_MS) as i64
}

fn millis(at: UnixMillis) -> i64 {
    at.as_millis() as i64
}

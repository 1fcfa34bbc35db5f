//! The feed: complete above `low`, one row per subject, bounded.

use keygate::{
    authority::{
        command::{AccountChange, Command, Edit, KeyChange},
        feed::{self, FEED_ROWS_MAX, FeedSubject},
        sql::Sql,
    },
    credential::{AccountRef, Digest},
    policy::{Access, ApiAccess},
};

use super::support::{Shard, new_account, new_key};

fn rows(shard: &Shard) -> Vec<i64> {
    shard.numbers("SELECT position, sequence FROM feed ORDER BY position")
}

fn counters(shard: &Shard) -> [i64; 4] {
    shard.numbers("SELECT feed_position, feed_rows, feed_low, feed_cut FROM meta").try_into().unwrap()
}

#[test]
fn what_decides_is_in_the_feed_and_nothing_else() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    assert_eq!(rows(&shard), [0; 0], "creating and issuing are no changes");
    let change = KeyChange { name: Edit::Set(None), ..KeyChange::default() };
    shard.key(Command::ChangeKey { account: account.id, key: key.id(), change });
    let change = AccountChange { name: Edit::Set("Acme Ltd".into()), ..AccountChange::default() };
    shard.change_account(account.id, change);
    assert_eq!(rows(&shard), [0; 0], "names decide nothing");
    let disabled = shard.set_disabled(&key, true);
    assert_eq!(rows(&shard), [1, disabled.version as i64]);
    let off = ApiAccess { live: Access::Off, test: Access::Active };
    let change = AccountChange { api_access: Edit::Set(off), ..AccountChange::default() };
    shard.change_account(account.id, change);
    let revoked = shard.revoke(&key);
    assert_eq!(rows(&shard), [2, revoked.version as i64 - 1, 3, revoked.version as i64], "the newest row per subject");
    assert_eq!(counters(&shard), [3, 2, 0, 0]);
}

#[test]
fn widening_is_in_the_feed_as_shrinking_is() {
    let shard = Shard::new();
    let off = ApiAccess { live: Access::Off, test: Access::Off };
    let account = shard.account(keygate::authority::command::NewAccount { api_access: off, ..new_account("Acme") });
    let on = ApiAccess { live: Access::Active, test: Access::Off };
    let change = AccountChange { api_access: Edit::Set(on), ..AccountChange::default() };
    shard.change_account(account.id, change);
    assert_eq!(rows(&shard).len(), 2);
}

#[test]
fn what_no_longer_fits_moves_low_and_cut_to_the_newest_row_left_out() {
    let shard = Shard::new();
    let subject = |number: u64| {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        FeedSubject::key(&Digest::from_bytes(bytes))
    };
    shard
        .sql
        .atomically(|| {
            for number in 0..FEED_ROWS_MAX {
                feed::record(&shard.sql, &subject(number), 1_000 + number)?;
            }
            Ok::<_, keygate::authority::sql::SqlError>(())
        })
        .unwrap();
    let max = i64::try_from(FEED_ROWS_MAX).unwrap();
    assert_eq!(counters(&shard), [max, max, 0, 0], "full, nothing left out");
    // A subject that is there already takes no more room.
    feed::record(&shard.sql, &subject(0), 50_000).unwrap();
    assert_eq!(counters(&shard), [max + 1, max, 0, 0]);
    // The oldest is now subject 1, at position 2, with sequence 1,001.
    feed::record(&shard.sql, &FeedSubject::account(AccountRef { slot: 0, number: 9 }), 50_001).unwrap();
    assert_eq!(counters(&shard), [max + 2, max, 1_001, 2]);
    assert_eq!(shard.numbers("SELECT count(*), min(position) FROM feed"), [max, 3]);
}

//! The outbox and the copies it sends.

use keygate::{
    authority::{
        command::{AccountChange, Command, Edit, KeyChange},
        copy::{AccountCopy, CopyFault, GrantCopy, SigningKeys},
        outbox::{self, Courier, KvKey, PUT_INTERVAL_MS, PUTS_PER_ROUND, Put, REFRESH_INTERVAL_MS},
    },
    credential::{AccountRef, NumberedSecret},
    policy::{AccountStatus, KeyStatus},
};

use super::support::{EPOCH, SLOT, Shard, new_account, new_key};

pub fn due(shard: &Shard, courier: &mut Courier) -> Vec<Put> {
    courier.take_due(&shard.sql, &shard.signing, SLOT, shard.now()).unwrap()
}

pub fn settle(shard: &Shard, courier: &mut Courier, put: &Put, stored: bool) {
    courier.finished(&shard.sql, put, stored, shard.now()).unwrap();
}

/// Puts everything until nothing is due.
pub fn drain(shard: &Shard, courier: &mut Courier) -> Vec<Put> {
    let mut all = Vec::new();
    loop {
        let puts = due(shard, courier);
        if puts.is_empty() {
            return all;
        }
        for put in puts {
            settle(shard, courier, &put, true);
            all.push(put);
        }
    }
}

#[test]
fn every_change_reaches_the_mirror_as_a_believable_copy() {
    let shard = Shard::new();
    let mut courier = Courier::default();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    let puts = drain(&shard, &mut courier);
    assert_eq!(puts.len(), 2);
    let sent = AccountCopy::verify(&shard.signing, account.id, &puts[0].value).unwrap();
    assert_eq!((sent.epoch.as_str(), sent.account), (EPOCH, account.account()));
    let sent = GrantCopy::verify(&shard.signing, &key.digest, &puts[1].value).unwrap();
    assert_eq!((sent.as_of, sent.grant), (2, key.grant()));
    assert_eq!(
        puts[1].metadata,
        format!(r#"{{"account":"{}","id":"{}","name":"deploy","status":"active"}}"#, account.id, key.id())
    );
    assert_eq!(outbox::next_due(&shard.sql).unwrap(), None);
    shard.advance(PUT_INTERVAL_MS);
    shard.revoke(&key);
    let puts = drain(&shard, &mut courier);
    let sent = GrantCopy::verify(&shard.signing, &key.digest, &puts[0].value).unwrap();
    assert_eq!(sent.grant.status, KeyStatus::Revoked);
}

#[test]
fn a_change_during_a_put_keeps_its_row() {
    let shard = Shard::new();
    let mut courier = Courier::default();
    let account = shard.account(new_account("Acme"));
    let first = due(&shard, &mut courier).remove(0);
    let change = AccountChange { status: Edit::Set(AccountStatus::Suspended), ..AccountChange::default() };
    shard.change_account(account.id, change);
    assert_eq!(due(&shard, &mut courier), [], "one put per KV key at a time");
    settle(&shard, &mut courier, &first, true);
    assert!(outbox::waits(&shard.sql, &first.kv_key).unwrap());
    shard.advance(PUT_INTERVAL_MS - 1);
    assert_eq!(due(&shard, &mut courier), [], "not sooner than a second after the last");
    shard.advance(2);
    let second = due(&shard, &mut courier).remove(0);
    let sent = AccountCopy::verify(&shard.signing, account.id, &second.value).unwrap();
    assert_eq!(sent.account.status, AccountStatus::Suspended);
    settle(&shard, &mut courier, &second, true);
    assert!(!outbox::waits(&shard.sql, &first.kv_key).unwrap());
}

#[test]
fn a_row_that_fails_waits_longer_each_time_and_stands_in_no_others_way() {
    let shard = Shard::new();
    let mut courier = Courier::default();
    let poisoned = KvKey::account(shard.account(new_account("Poisoned")).id);
    let mut pauses = Vec::new();
    for round in 0..9 {
        let put = due(&shard, &mut courier).into_iter().find(|put| put.kv_key == poisoned).unwrap();
        settle(&shard, &mut courier, &put, false);
        pauses.push(outbox::next_due(&shard.sql).unwrap().unwrap().as_millis() - shard.now.get());
        let other = shard.account(new_account(&format!("Other {round}")));
        let puts = drain(&shard, &mut courier);
        assert_eq!(puts.iter().map(|put| put.kv_key.clone()).collect::<Vec<_>>(), [KvKey::account(other.id)]);
        shard.advance(pauses[pauses.len() - 1]);
    }
    assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
}

#[test]
fn a_round_is_bounded_and_the_next_takes_what_is_left() {
    let shard = Shard::new();
    let mut courier = Courier::default();
    let accounts: Vec<AccountRef> = (0..10).map(|n| shard.account(new_account(&format!("A{n}"))).id).collect();
    let first = due(&shard, &mut courier);
    assert_eq!(first.len(), usize::try_from(PUTS_PER_ROUND).unwrap());
    for put in &first {
        settle(&shard, &mut courier, put, true);
    }
    assert_eq!(drain(&shard, &mut courier).len(), accounts.len() - first.len());
}

#[test]
fn a_new_change_of_a_failing_row_is_tried_at_once_again() {
    let shard = Shard::new();
    let mut courier = Courier::default();
    let account = shard.account(new_account("Acme"));
    for _ in 0..5 {
        let put = due(&shard, &mut courier).remove(0);
        settle(&shard, &mut courier, &put, false);
        shard.now.set(outbox::next_due(&shard.sql).unwrap().unwrap().as_millis());
    }
    let change = AccountChange { name: Edit::Set("Acme Ltd".into()), ..AccountChange::default() };
    shard.change_account(account.id, change);
    assert_eq!(outbox::next_due(&shard.sql).unwrap(), Some(shard.now()));
}

#[test]
fn a_copy_counts_only_in_its_own_place_unedited_and_under_a_known_key() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    let (other, _) = shard.issue(account.id, new_key());
    let copy = shard.copies(&key.digest, account.id).0.unwrap();
    let verify = |digest, text: &str| GrantCopy::verify(&shard.signing, digest, text).map(|copy| copy.grant);
    assert_eq!(verify(&key.digest, &copy), Ok(key.grant()));
    assert_eq!(verify(&other.digest, &copy), Err(CopyFault::Mac), "swapped between keys");
    assert_eq!(verify(&key.digest, &copy.replace("contacts:read", "contacts:*")), Err(CopyFault::Mac));
    assert_eq!(verify(&key.digest, &copy.replace("v1.2.", "v1.3.")), Err(CopyFault::UnknownSigningKey));
    assert_eq!(verify(&key.digest, &copy.replace("v1.", "v2.")), Err(CopyFault::Form));
    assert_eq!(verify(&key.digest, &copy[..copy.len() - 1]), Err(CopyFault::Mac));
    for text in ["", "v1", "v1.2.00.{}", "v1.2", "{}"] {
        assert_eq!(verify(&key.digest, text), Err(CopyFault::Form), "{text}");
    }
    let (_, json) = copy.split_once(".{").unwrap();
    let mac = "0".repeat(64);
    assert_eq!(verify(&key.digest, &format!("v1.2.{mac}.{{{json}")), Err(CopyFault::Mac));
    let foreign = SigningKeys::new(NumberedSecret::parse(&format!("2:{}", "33".repeat(32))).unwrap(), None).unwrap();
    assert_eq!(GrantCopy::verify(&foreign, &key.digest, &copy), Err(CopyFault::Mac));
    // A grant under an account's name, and the reverse, are refused by the MAC as well.
    assert_eq!(AccountCopy::verify(&shard.signing, account.id, &copy), Err(CopyFault::Mac));
}

#[test]
fn a_signed_copy_with_a_member_that_is_not_known_is_not_believable() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    let copy = shard.copies(&key.digest, account.id).0.unwrap();
    let json = copy.splitn(4, '.').nth(3).unwrap().replace("\"as_of\"", "\"new\":1,\"as_of\"");
    let secret = NumberedSecret::parse(&format!("2:{}", "22".repeat(32))).unwrap();
    let name = KvKey::grant(&key.digest).text();
    let mac = secret.key.mac(&[b"v1\n", name.as_bytes(), b"\n", json.as_bytes()]);
    let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let verified = GrantCopy::verify(&shard.signing, &key.digest, &format!("v1.2.{mac}.{json}"));
    assert_eq!(verified, Err(CopyFault::Content));
}

#[test]
fn both_signing_keys_verify_and_the_first_signs() {
    let secret = |id: u8| NumberedSecret::parse(&format!("{id}:{}", format!("{id:02x}").repeat(32))).unwrap();
    let shard = Shard::new();
    let account = shard.account(new_account("Acme")).account();
    let copy = AccountCopy { epoch: EPOCH.into(), as_of: 1, account };
    let old = SigningKeys::new(secret(1), None).unwrap();
    let both = SigningKeys::new(secret(2), Some(secret(1))).unwrap();
    let id = copy.account.id;
    assert!(AccountCopy::verify(&both, id, &copy.sign(&old).unwrap()).is_ok());
    assert!(copy.sign(&both).unwrap().starts_with("v1.2."));
    assert_eq!(AccountCopy::verify(&old, id, &copy.sign(&both).unwrap()), Err(CopyFault::UnknownSigningKey));
    assert!(SigningKeys::new(secret(1), Some(secret(1))).is_err());
}

#[test]
fn the_authority_has_no_copy_of_what_it_does_not_have() {
    let shard = Shard::new();
    let (a, b) = (shard.account(new_account("A")), shard.account(new_account("B")));
    let (key, _) = shard.issue(a.id, new_key());
    assert!(matches!(shard.copies(&key.digest, a.id), (Some(_), Some(_))));
    assert!(matches!(shard.copies(&key.digest, b.id), (None, Some(_))), "another account's key");
    let nobody = AccountRef { slot: SLOT, number: 1 };
    assert_eq!(shard.copies(&key.digest, nobody), (None, None));
}

#[test]
fn the_longest_name_fits_into_the_metadata_of_kv() {
    let shard = Shard::new();
    let mut courier = Courier::default();
    let name = "\"".repeat(128);
    let account = shard.account(new_account(&"\u{1F511}".repeat(128)));
    let change = KeyChange { name: Edit::Set(Some(name)), ..KeyChange::default() };
    let (key, _) = shard.issue(account.id, new_key());
    shard.key(Command::ChangeKey { account: account.id, key: key.id(), change });
    for put in drain(&shard, &mut courier) {
        assert!(put.metadata.len() <= 1_024, "{}", put.metadata.len());
    }
}

#[test]
fn a_copy_that_kv_lost_is_put_anew_but_not_more_often_than_a_minute() {
    let shard = Shard::new();
    let mut courier = Courier::default();
    let account = shard.account(new_account("Acme"));
    let kv_key = KvKey::account(account.id);
    drain(&shard, &mut courier);
    let mut refreshed = || {
        courier.refresh(&shard.sql, &kv_key, shard.now()).unwrap();
        drain(&shard, &mut courier).len()
    };
    assert_eq!(refreshed(), 0, "KV has just been given it");
    shard.advance(REFRESH_INTERVAL_MS);
    assert_eq!(refreshed(), 1);
    assert_eq!(refreshed(), 0);
}

#[test]
fn a_refresh_stands_behind_changes_and_never_in_place_of_one() {
    let shard = Shard::new();
    let mut courier = Courier::default();
    let lost = KvKey::account(shard.account(new_account("Lost")).id);
    drain(&shard, &mut courier);
    shard.advance(REFRESH_INTERVAL_MS);
    courier.refresh(&shard.sql, &lost, shard.now()).unwrap();
    assert_eq!(shard.condition().unmirrored, 0, "a refresh is no change that waits");
    let changed = KvKey::account(shard.account(new_account("Changed")).id);
    let order: Vec<KvKey> = due(&shard, &mut courier).into_iter().map(|put| put.kv_key).collect();
    assert_eq!(order, [changed, lost]);
}

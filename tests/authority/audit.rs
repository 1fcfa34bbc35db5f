//! The audit: complete, in a chain, without secrets.

use keygate::authority::{
    audit::{AuditFilter, NO_HASH},
    command::{AccountChange, Command, Edit, KeyChange},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::support::{Shard, new_account, new_key};

#[test]
fn every_change_is_one_entry_in_a_chain_that_ends_at_the_accounts_head() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, text) = shard.issue(account.id, new_key());
    shard.set_disabled(&key, true);
    shard.revoke(&key);
    let change = AccountChange { name: Edit::Set("Acme Ltd".into()), ..AccountChange::default() };
    shard.change_account(account.id, change);

    let entries = shard.audit(account.id, AuditFilter::default());
    let read: Vec<Value> = entries.iter().map(|entry| serde_json::from_str(&entry.text).unwrap()).collect();
    let actions: Vec<&str> = read.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["account.create", "key.issue", "key.change", "key.revoke", "account.change"]);
    let mut previous = NO_HASH.to_owned();
    for (place, (entry, read)) in entries.iter().zip(&read).enumerate() {
        assert_eq!(read["number"], place + 1);
        assert_eq!(read["previous"], previous);
        assert_eq!(read["actor"], "u-1");
        assert_eq!(read["credential"], "root");
        let hash: String = Sha256::digest(entry.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(entry.hash, hash);
        assert!(!entry.text.contains(&text.expose()[8..]));
        previous = hash;
    }
    let account = shard.read_account(account.id);
    assert_eq!((account.audit_head.number, account.audit_head.hash), (5, previous));
    assert_eq!(read[2]["before"], serde_json::json!({ "status": "active" }));
    assert_eq!(read[2]["after"], serde_json::json!({ "status": "disabled" }));
    assert_eq!(read[1]["before"], Value::Null);
    assert_eq!(read[1]["after"]["scopes"], serde_json::json!(["contacts:read"]));
}

/// What hashes were made of, in every audit there is.
#[test]
fn the_text_of_an_entry_is_unchanged() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme \"é\""));
    let change = AccountChange { max_active_keys: Edit::Set(Some(7)), ..AccountChange::default() };
    shard.change_account(account.id, change);
    let entries = shard.audit(account.id, AuditFilter::default());
    let (id, at) = (account.id, account.created_at.to_rfc3339());
    let after = r#"{"access_level_required":false,"access_levels":{},"access_note":null,"api_access":{"live":"active","test":"active"},"brand":"kg","default_scopes":["contacts:read"],"explain_refusals":false,"external_id":null,"features":[],"max_active_keys":null,"name":"Acme \"é\"","name_policy":"optional","plan":null,"scopes":null,"status":"active"}"#;
    let text = format!(
        r#"{{"account":"{id}","number":1,"at":"{at}","sequence":1,"credential":"root","actor":"u-1","action":"account.create","subject":"{id}","before":null,"after":{after},"previous":"{NO_HASH}"}}"#
    );
    assert_eq!(entries[0].text, text);
    let change = r#""before":{"max_active_keys":null},"after":{"max_active_keys":7},"previous""#;
    assert!(entries[1].text.contains(change), "{}", entries[1].text);
}

#[test]
fn a_refused_or_empty_change_leaves_no_entry() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    shard.key(Command::ChangeKey { account: account.id, key: key.id(), change: KeyChange::default() });
    shard.revoke(&key);
    shard.refused(Command::ChangeKey { account: account.id, key: key.id(), change: KeyChange::default() });
    assert_eq!(shard.audit(account.id, AuditFilter::default()).len(), 3);
}

#[test]
fn chains_of_two_accounts_are_apart() {
    let shard = Shard::new();
    let (a, b) = (shard.account(new_account("A")), shard.account(new_account("B")));
    shard.issue(a.id, new_key());
    assert_eq!(shard.audit(a.id, AuditFilter::default()).len(), 2);
    assert_eq!(shard.audit(b.id, AuditFilter::default()).len(), 1);
}

#[test]
fn entries_can_be_filtered_by_action_actor_and_subject() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    shard.issue(account.id, new_key());
    let count = |filter| shard.audit(account.id, filter).len();
    assert_eq!(count(AuditFilter { action: Some("key.issue".into()), ..AuditFilter::default() }), 2);
    assert_eq!(count(AuditFilter { subject: Some(key.id().to_string()), ..AuditFilter::default() }), 1);
    assert_eq!(count(AuditFilter { actor: Some("u-1".into()), ..AuditFilter::default() }), 3);
    assert_eq!(count(AuditFilter { actor: Some("u-2".into()), ..AuditFilter::default() }), 0);
}

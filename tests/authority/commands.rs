//! Repeated commands, and commands on a condition.

use keygate::{
    authority::{
        admins::Caller,
        command::{AccountChange, Command, Edit, Failure, KeyChange, Order, Precondition, Refusal},
        journal::{self, CommandId, REPEATABLE_MS},
        sql::Sql,
    },
    credential::Peppers,
    policy::Role,
};

use super::support::{Shard, new_account, new_credential, new_key, pepper};

fn order(shard: &Shard, command: Command, id: &str) -> Order {
    let request = format!("{command:?}");
    Order { id: CommandId::new(id, true, &[request.as_bytes()]), ..shard.order_of(command) }
}

const ID: &str = "0123456789012345678901";

#[test]
fn a_repeated_command_is_carried_out_once_and_answered_alike() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let issue = Command::IssueKey { account: account.id, key: new_key() };
    let first = shard.order(order(&shard, issue.clone(), ID)).unwrap();
    let before = shard.sql.dump();
    shard.advance(REPEATABLE_MS - 1);
    let again = shard.order(order(&shard, issue, ID)).unwrap();
    assert_eq!(shard.sql.dump(), before);
    assert!(again.answer.is_none(), "nothing was done");
    assert!(first.committed.wrote && !again.committed.wrote);
    assert_eq!(again.committed.answer, first.committed.answer);
    assert_eq!(again.committed.text, first.committed.text);
    assert!(again.committed.text.is_some());
}

#[test]
fn a_repeated_change_counts_from_when_it_was_answered_first() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    let revoke = Command::RevokeKey { account: account.id, key: key.id() };
    let effective_at = Some(shard.now().saturating_add_millis(5_055));
    shard.effective_at.set(effective_at);
    shard.order(order(&shard, revoke.clone(), ID)).unwrap();
    shard.advance(3_600_000);
    shard.effective_at.set(Some(shard.now()));
    let again = shard.order(order(&shard, revoke, ID)).unwrap();
    assert_eq!(again.committed.answer.effective_at, effective_at);
}

#[test]
fn creating_an_account_twice_with_one_id_creates_one() {
    let shard = Shard::new();
    let create = Command::CreateAccount(new_account("Acme"));
    shard.order(order(&shard, create.clone(), ID)).unwrap();
    shard.order(order(&shard, create, ID)).unwrap();
    assert_eq!(shard.condition().accounts, 1);
}

#[test]
fn another_request_with_the_same_id_is_refused() {
    let shard = Shard::new();
    shard.order(order(&shard, Command::CreateAccount(new_account("Acme")), ID)).unwrap();
    let before = shard.sql.dump();
    let other = shard.order(order(&shard, Command::CreateAccount(new_account("Other")), ID));
    assert!(matches!(other, Err(Failure::Refused(Refusal::IdempotencyConflict))), "{other:?}");
    assert_eq!(shard.sql.dump(), before);
}

#[test]
fn a_refusal_is_not_remembered() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let suspend = |status| {
        let change = AccountChange { status: Edit::Set(status), ..AccountChange::default() };
        shard.change_account(account.id, change);
    };
    let issue = Command::IssueKey { account: account.id, key: new_key() };
    suspend(keygate::policy::AccountStatus::Suspended);
    assert!(shard.order(order(&shard, issue.clone(), ID)).is_err());
    suspend(keygate::policy::AccountStatus::Active);
    assert!(shard.order(order(&shard, issue, ID)).unwrap().committed.text.is_some());
}

#[test]
fn after_a_day_command_and_nonce_are_gone() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let issue = Command::IssueKey { account: account.id, key: new_key() };
    let first = shard.order(order(&shard, issue.clone(), ID)).unwrap();
    shard.advance(REPEATABLE_MS);
    let due = journal::next_due(&shard.sql).unwrap().unwrap();
    assert!(due <= shard.now(), "the alarm rings for it");
    journal::forget(&shard.sql, shard.now(), 100).unwrap();
    assert_eq!(shard.numbers("SELECT count(*) FROM commands"), [0]);
    assert_eq!(journal::next_due(&shard.sql).unwrap(), None);
    let again = shard.order(order(&shard, issue, ID)).unwrap();
    assert_ne!(again.committed.text, first.committed.text, "a new command");
}

#[test]
fn an_old_row_does_not_answer_even_before_it_is_removed() {
    let shard = Shard::new();
    let create = Command::CreateAccount(new_account("Acme"));
    shard.order(order(&shard, create.clone(), ID)).unwrap();
    shard.advance(REPEATABLE_MS);
    assert!(shard.order(order(&shard, create, ID)).unwrap().answer.is_some());
}

/// Two shards with the same nonces, peppers and commands differ only by the ids of the commands: what one of them has
/// stored does not tell the other's keys.
#[test]
fn nonce_and_pepper_without_the_command_id_do_not_yield_the_secret() {
    let issued_with = |id: &str| {
        let shard = Shard::new();
        let account = shard.account(new_account("Acme"));
        let issue = Command::IssueKey { account: account.id, key: new_key() };
        let text = shard.order(order(&shard, issue, id)).unwrap().committed.text.unwrap();
        let nonce = shard.sql.run("SELECT nonce FROM commands WHERE mint IS NOT NULL", &[]).unwrap();
        assert!(!shard.sql.dump().contains(id));
        (nonce, text)
    };
    let (nonce, text) = issued_with(ID);
    assert_eq!(issued_with(ID), (nonce.clone(), text.clone()));
    let (same_nonce, other_text) = issued_with("9876543210987654321098");
    assert_eq!(same_nonce, nonce);
    assert_ne!(other_text, text);
}

#[test]
fn ids_of_two_credentials_never_meet() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (credential, _) = shard.issue_credential(account.id, new_credential(Role::Admin));
    let issue = Command::IssueKey { account: account.id, key: new_key() };
    shard.order(order(&shard, issue.clone(), ID)).unwrap();
    let other = Order { caller: Caller::Credential(credential.digest), ..order(&shard, issue, ID) };
    assert!(shard.order(other.clone()).unwrap().answer.is_some());
    assert!(shard.order(other).unwrap().answer.is_none(), "repeated");
}

#[test]
fn a_key_is_given_again_after_the_pepper_was_changed_and_not_after_it_was_removed() {
    let mut shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let issue = Command::IssueKey { account: account.id, key: new_key() };
    let first = shard.order(order(&shard, issue.clone(), ID)).unwrap();
    shard.peppers = Peppers::new(pepper(2), Some(pepper(1))).unwrap();
    let again = shard.order(order(&shard, issue.clone(), ID)).unwrap();
    assert_eq!(again.committed.text, first.committed.text);
    shard.peppers = Peppers::new(pepper(2), None).unwrap();
    let refused = shard.order(order(&shard, issue, ID));
    assert!(matches!(refused, Err(Failure::Refused(Refusal::Conflict { .. }))), "{refused:?}");
}

#[test]
fn of_two_changes_meant_for_one_version_one_succeeds() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    let rename = |name: &str| {
        let change = KeyChange { name: Edit::Set(Some(name.into())), ..KeyChange::default() };
        let command = Command::ChangeKey { account: account.id, key: key.id(), change };
        shard.order(Order { precondition: Precondition::Versions(vec![key.version]), ..shard.order_of(command) })
    };
    assert!(rename("a").is_ok());
    let before = shard.sql.dump();
    let second = rename("b");
    assert!(matches!(second, Err(Failure::Refused(Refusal::PreconditionFailed { .. }))), "{second:?}");
    assert_eq!(shard.sql.dump(), before);
    let change = AccountChange { name: Edit::Set("x".into()), ..AccountChange::default() };
    let command = Command::ChangeAccount { account: account.id, change };
    let stale = Order { precondition: Precondition::Versions(vec![account.version + 9]), ..shard.order_of(command) };
    assert!(matches!(shard.order(stale), Err(Failure::Refused(Refusal::PreconditionFailed { .. }))));
}

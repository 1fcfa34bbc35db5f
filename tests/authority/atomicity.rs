//! A command counts as a whole or not at all.

use keygate::authority::command::{AccountChange, Command, Edit, Failure, KeyChange};

use super::support::{Shard, new_account, new_key};

#[test]
fn a_command_that_fails_at_any_statement_leaves_the_database_as_it_was() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    let commands = [
        Command::CreateAccount(new_account("Second")),
        Command::ChangeAccount {
            account: account.id,
            change: AccountChange { features: Edit::Set(vec!["beta".into()]), ..AccountChange::default() },
        },
        Command::IssueKey { account: account.id, key: new_key() },
        Command::ChangeKey {
            account: account.id,
            key: key.id(),
            change: KeyChange { disabled: Edit::Set(true), ..KeyChange::default() },
        },
        Command::RevokeKey { account: account.id, key: key.id() },
    ];
    for command in commands {
        let before = shard.sql.dump();
        let mut statements = 0;
        loop {
            shard.sql.fail_after(Some(statements));
            let result = shard.execute(command.clone());
            shard.sql.fail_after(None);
            match result {
                Err(Failure::Trouble(_)) => assert_eq!(shard.sql.dump(), before, "{command:?} at {statements}"),
                Err(Failure::Refused(refusal)) => panic!("{refusal:?}"),
                Ok(_) => break,
            }
            statements += 1;
        }
        assert!(statements > 3, "{command:?} ran only {statements} statements");
        assert_ne!(shard.sql.dump(), before);
    }
}

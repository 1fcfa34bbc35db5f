//! What many tests order and ask, in a word.

use std::fmt::Debug;

use keygate::{
    authority::{
        KeyFilter,
        audit::{AuditEntry, AuditFilter},
        command::{AccountChange, Answer, Command, Edit, KeyChange, Refusal},
        query::{Found, Page, Query},
        record::{AccountRecord, KeyRecord},
        settings::SettingsChange,
        sql::{Sql, Value},
    },
    credential::{AccountRef, KeyId},
    policy::ScopeSet,
};

use super::support::{Shard, new_account};

pub const HOUR_MS: u64 = 3_600_000;

/// A page that has everything.
pub const ALL: Page = Page { before: None, limit: 20_000 };

/// A shard with one account.
pub fn shard_with_account() -> (Shard, AccountRef) {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme")).id;
    (shard, account)
}

pub fn scopes(texts: &[&str]) -> ScopeSet {
    ScopeSet::parse(texts.iter().copied()).unwrap()
}

pub fn ids(keys: &[KeyRecord]) -> Vec<KeyId> {
    keys.iter().map(KeyRecord::id).collect()
}

impl Shard {
    /// What a refused command is in conflict with, in words.
    pub fn conflict(&self, command: Command) -> String {
        match self.refused(command) {
            Refusal::Conflict { detail, .. } => detail,
            other => panic!("no conflict: {other:?}"),
        }
    }

    pub fn change_account(&self, account: AccountRef, change: AccountChange) -> AccountRecord {
        match self.execute(Command::ChangeAccount { account, change }).unwrap().answer.unwrap() {
            Answer::Account(record) => record,
            other => panic!("no change of an account: {other:?}"),
        }
    }

    pub fn change_settings(&self, account: AccountRef, settings: SettingsChange) -> AccountRecord {
        self.change_account(account, AccountChange { settings, ..AccountChange::default() })
    }

    pub fn set_disabled(&self, key: &KeyRecord, disabled: bool) -> KeyRecord {
        let change = KeyChange { disabled: Edit::Set(disabled), ..KeyChange::default() };
        self.key(Command::ChangeKey { account: key.account, key: key.id(), change })
    }

    pub fn revoke(&self, key: &KeyRecord) -> KeyRecord {
        self.key(Command::RevokeKey { account: key.account, key: key.id() })
    }

    /// The account as it is now.
    pub fn read_account(&self, account: AccountRef) -> AccountRecord {
        match self.ask(Query::Account(account)) {
            Some(Found::Account(record)) => record,
            other => panic!("no account: {other:?}"),
        }
    }

    /// The key as it is now, as commands show it.
    pub fn read(&self, key: &KeyRecord) -> KeyRecord {
        match self.ask(Query::Key(key.account, key.id())) {
            Some(Found::Key(record)) => KeyRecord { scopes_last_used: None, ..record },
            other => panic!("no key: {other:?}"),
        }
    }

    /// The key as it is now, looked up as the edge names it.
    pub fn read_by_digest(&self, key: &KeyRecord) -> KeyRecord {
        match self.ask(Query::KeyByDigest(key.account, key.digest)) {
            Some(Found::Key(record)) => record,
            other => panic!("no key: {other:?}"),
        }
    }

    /// All keys that a query finds.
    pub fn keys(&self, query: Query) -> Vec<KeyRecord> {
        match self.ask(query) {
            Some(Found::Keys(keys, None)) => keys,
            other => panic!("no list: {other:?}"),
        }
    }

    /// All keys that a filter shows, newest first.
    pub fn listed(&self, account: AccountRef, filter: KeyFilter) -> Vec<KeyRecord> {
        self.pages(account, &filter, ALL.limit).concat()
    }

    /// The same, page by page.
    pub fn pages(&self, account: AccountRef, filter: &KeyFilter, limit: u32) -> Vec<Vec<KeyRecord>> {
        let mut pages = Vec::new();
        let mut page = Page { before: None, limit };
        loop {
            let Some(Found::Keys(keys, next)) = self.ask(Query::Keys(account, filter.clone(), page)) else {
                panic!("no list")
            };
            pages.push(keys);
            if next.is_none() {
                return pages;
            }
            page.before = next;
        }
    }

    /// All entries of an audit that a filter shows, oldest first.
    pub fn audit(&self, account: AccountRef, filter: AuditFilter) -> Vec<AuditEntry> {
        match self.ask(Query::Audit(account, filter, ALL)) {
            Some(Found::Audit(mut entries, None)) => {
                entries.reverse();
                entries
            }
            other => panic!("no audit: {other:?}"),
        }
    }

    /// How SQLite would carry out a statement.
    pub fn explain(&self, statement: &str) -> String {
        let parameters = (1..=40).filter(|number| statement.contains(&format!("?{number}"))).max();
        let parameters = parameters.unwrap_or_else(|| statement.matches('?').count());
        let plan = self.sql.run(&format!("EXPLAIN QUERY PLAN {statement}"), &vec![Value::Null; parameters]);
        format!("{:?}", plan.unwrap())
    }

    /// Rows of keys as they would be after so many were issued, every second in `test`, every fifth disabled.
    pub fn many_keys(&self, account: AccountRef, count: u32) {
        self.sql
            .run(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
                 INSERT INTO keys (digest, account, issued, version, name, environment, scopes, status, hint, pepper,
                    created_at, owner)
                 SELECT printf('%08x%040x', i, 0), ?1, 1000 + i, 1000 + i, NULL, iif(i % 2, 'live', 'test'), '[]',
                    iif(i % 5, 'active', 'disabled'), 'kg_live_', 1, 1, 'alice' FROM n",
                &[account.number.into(), count.into()],
            )
            .unwrap();
        self.sql.run("UPDATE meta SET sequence = 1000 + ?1", &[count.into()]).unwrap();
    }

    /// Does something again and again, each time with one statement more before one fails, until none does: whichever it
    /// is, the database is as it was. How many statements there were.
    pub fn fail_at_each_statement<T, E: Debug>(&self, body: impl Fn() -> Result<T, E>) -> u32 {
        let before = self.sql.dump();
        let mut statements = 0;
        loop {
            self.sql.fail_after(Some(statements));
            let outcome = body();
            self.sql.fail_after(None);
            if outcome.is_ok() {
                assert_ne!(self.sql.dump(), before);
                return statements;
            }
            assert_eq!(self.sql.dump(), before, "after {statements} statements: {:?}", outcome.err());
            statements += 1;
        }
    }
}

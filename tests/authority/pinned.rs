//! Stored formats. What is pinned here lies in KV and in databases: a change needs a new version of the copies, which
//! is written a deploy after it can be read, or a migration.

use keygate::{
    authority::{
        command::{Answer, Command, NewAccount, NewKey, Order},
        copy::{AccountCopy, GrantCopy},
        journal::CommandId,
        lease::{self, Leases, Terms},
        outbox::KvKey,
        query::{Found, Query},
        schema,
        sql::{Sql, Value},
        usage::{Counted, Tally, Use},
    },
    credential::{AccountRef, Digest, Environment, KeyId, PresentedKey},
    policy::{
        Access, Account, AccountStatus, ApiAccess, Fields, Grant, KeyStatus, Reason, RevokedBefore, ScopeSet,
        UnixMillis,
    },
};

use super::support::{EPOCH, SLOT, Shard, Sqlite, new_account, new_key, signing};

const GRANT: &str = include_str!("../vectors/grant-copy.txt");
const ACCOUNT: &str = include_str!("../vectors/account-copy.txt");

#[test]
fn the_copies_in_kv_are_written_as_ever() {
    let id = AccountRef { slot: 3, number: 0x0102_0304 };
    let digest = Digest::from_bytes(std::array::from_fn(|n| u8::try_from(n).unwrap()));
    let grant = Grant {
        id: KeyId::of(&digest),
        account: id,
        environment: Environment::Live,
        scopes: ScopeSet::parse(["contacts:read", "jobs:*"]).unwrap(),
        workspaces: None,
        fields: Fields::default(),
        allowed_ips: None,
        status: KeyStatus::Active,
        not_before: None,
        expires_at: Some(UnixMillis::from_millis(1_900_000_000_000)),
        issued_at: 41,
    };
    let copy = GrantCopy { epoch: EPOCH.into(), as_of: 42, grant };
    assert_eq!(copy.sign(&signing(), &digest).unwrap(), GRANT.trim_end());
    assert_eq!(GrantCopy::verify(&signing(), &digest, GRANT.trim_end()), Ok(copy));
    assert_eq!(KvKey::grant(&digest).text(), "grant:000102030405060708090a0b0c0d0e0f1011121314151617");

    let account = Account {
        id,
        status: AccountStatus::Active,
        api_access: ApiAccess { live: Access::Active, test: Access::Off },
        features: vec!["beta".into()],
        workspaces: Vec::new(),
        revoked_before: RevokedBefore::default(),
        explain_refusals: false,
    };
    let copy = AccountCopy { epoch: EPOCH.into(), as_of: 42, account };
    assert_eq!(copy.sign(&signing()).unwrap(), ACCOUNT.trim_end());
    assert_eq!(AccountCopy::verify(&signing(), id, ACCOUNT.trim_end()), Ok(copy));
    assert_eq!(KvKey::account(id).text(), "account:3.16909060");
}

#[test]
fn rows_are_written_as_ever() {
    let shard = Shard::new();
    let account = shard.account(NewAccount {
        external_id: Some("org-1".into()),
        max_active_keys: Some(5),
        features: vec!["beta".into()],
        ..new_account("Acme")
    });
    let (key, _) =
        shard.issue(account.id, NewKey { expires_at: Some(UnixMillis::from_millis(1_900_000_000_000)), ..new_key() });
    shard.effective_at.set(Some(shard.now().saturating_add_millis(5_055)));
    shard.revoke(&key);
    Leases::begin(&shard.sql, Terms { lease_ms: 5_000, grace_ms: 30_000 }, shard.now()).unwrap();
    lease::note_graced(&shard.sql, 2).unwrap();
    let used = Use { digest: key.digest, count: 3, age_ms: 1_000, scopes: 0 };
    let refused = Counted { digest: key.digest, reason: Some(Reason::KeyRevoked), count: 2, age_ms: 0 };
    Tally::default().take(&shard.sql, &[used], shard.now()).unwrap();
    Tally::default().take_counted(&shard.sql, &[refused], shard.now()).unwrap();
    let dump = shard
        .sql
        .dump()
        .replace(&key.digest.to_hex(), "<digest>")
        .replace(&key.digest.prefix_hex(), "<prefix>")
        .replace(&account.id.number.to_string(), "<number>")
        .replace(&key.hint, "<hint>");
    assert_eq!(dump, include_str!("../vectors/rows.txt"));
}

/// As Keygate wrote it before there were leases.
#[test]
fn a_database_of_schema_2_is_migrated_with_all_that_is_in_it() {
    let shard = Shard::on(Sqlite::of(include_str!("../vectors/schema-2.sql")));
    assert_eq!(shard.numbers("SELECT schema, sequence, heartbeat, granted, graced FROM meta"), [6, 4, 0, 0, 0]);
    let account = AccountRef { slot: SLOT, number: 243_063_039 };
    let record = shard.read_account(account);
    assert_eq!((record.external_id.as_deref(), record.audit_head.number), (Some("org-1"), 4));
    let carry_out = |id: &str, request: &str, command: Command| {
        let id = CommandId::new(id, true, &[request.as_bytes()]);
        shard.order(Order { id, ..shard.order_of(command) }).unwrap()
    };
    // What stands for the request in the fingerprint, as it was when the database was written.
    let issue = "IssueKey { account: AccountRef { slot: 3, number: 243063039 }, key: NewKey { name: Some(\"deploy\"), \
         environment: Live, scopes: None, not_before: None, expires_at: None } }";
    let repeated = carry_out("command 2", issue, Command::IssueKey { account, key: new_key() });
    assert!(repeated.answer.is_none(), "it was carried out before");
    assert_eq!(repeated.committed.answer.body, "answer to 3");
    assert_eq!(repeated.committed.answer.effective_at, None);
    let text = repeated.committed.text.unwrap();
    let digest = shard.peppers.recognise(&PresentedKey::parse(text.expose()).unwrap()).unwrap().digest;
    let Some(Found::Key(key)) = shard.ask(Query::KeyByDigest(account, digest)) else { panic!("no key") };
    assert_eq!((key.status, key.last_used_at), (KeyStatus::Active, None));
    Tally::default().take(&shard.sql, &[Use { digest, count: 1, age_ms: 0, scopes: 0 }], shard.now()).unwrap();
    let revoked = carry_out("another", "revoke", Command::RevokeKey { account, key: key.id() });
    let Some(Answer::Key(revoked)) = revoked.answer else { panic!("no key") };
    assert_eq!((revoked.status, revoked.last_used_at), (KeyStatus::Revoked, Some(shard.now())));
}

#[test]
fn a_database_is_migrated_once_and_a_newer_one_is_refused() {
    let sql = Sqlite::new();
    schema::migrate(&sql, EPOCH).unwrap();
    let before = sql.dump();
    schema::migrate(&sql, "ffffffffffffffffffffffffffffffff").unwrap();
    assert_eq!(sql.dump(), before, "the epoch stays what it was");
    sql.run("UPDATE meta SET schema = schema + ?1", &[Value::Integer(1)]).unwrap();
    assert!(schema::migrate(&sql, EPOCH).unwrap_err().0.contains("deploy a newer one"));
}

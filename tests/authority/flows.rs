//! Accounts and keys over their lives.

use keygate::{
    authority::{
        KeyFilter, ListedStatus,
        audit::AuditFilter,
        command::{AccountChange, Answer, Command, Edit, KeyChange, NewAccount, NewKey, Refusal},
        query::{Found, Page, Query},
        revoke_all,
        workspaces::WorkspaceFilter,
    },
    credential::{AccountRef, Digest, Environment, KeyId, PresentedKey},
    policy::{Access, AccountStatus, ApiAccess, KeyStatus, ScopeSet},
};

use super::{
    shorthand::ids,
    support::{SLOT, Shard, new_account, new_key},
};

#[test]
fn an_issued_key_is_recognised_and_names_its_record_and_account() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (record, text) = shard.issue(account.id, new_key());
    let recognised = shard.peppers.recognise(&PresentedKey::parse(text.expose()).unwrap()).unwrap();
    assert_eq!(recognised.digest, record.digest);
    assert_eq!(recognised.account, account.id);
    assert_eq!(account.id.slot, SLOT);
    assert!(record.digest.to_hex().starts_with(&record.id().digest_prefix_hex()));
    assert_eq!(record.created_by.as_deref(), Some("u-1"));
    assert_eq!(record.scopes, account.default_scopes, "no scopes named: the account's defaults");
}

#[test]
fn nothing_that_is_stored_contains_the_key() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (_, text) = shard.issue(account.id, new_key());
    let dump = shard.sql.dump();
    let digits = text.expose().strip_prefix("kg_live_").unwrap();
    for start in 0..digits.len() - 8 {
        assert!(!dump.contains(&digits[start..start + 8]), "{}", &digits[start..start + 8]);
    }
}

#[test]
fn two_keys_and_two_accounts_never_share_a_secret_or_a_number() {
    let shard = Shard::new();
    let (a, b) = (shard.account(new_account("A")), shard.account(new_account("B")));
    assert_ne!(a.id, b.id);
    let texts: Vec<String> = (0..50).map(|_| shard.issue(a.id, new_key()).1.expose().to_owned()).collect();
    let mut unique = texts.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), texts.len());
}

#[test]
fn an_empty_scope_list_is_no_scope_at_all() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (record, _) = shard.issue(account.id, NewKey { scopes: Some(ScopeSet::default()), ..new_key() });
    assert!(record.scopes.is_empty());
}

#[test]
fn another_accounts_key_is_as_unknown_as_none() {
    let shard = Shard::new();
    let (a, b) = (shard.account(new_account("A")), shard.account(new_account("B")));
    let (key, _) = shard.issue(a.id, new_key());
    let id = key.id();
    assert!(shard.ask(Query::Key(a.id, id)).is_some());
    assert_eq!(shard.ask(Query::Key(b.id, id)), None);
    assert_eq!(shard.ask(Query::KeyByDigest(b.id, key.digest)), None);
    assert_eq!(shard.refused(Command::RevokeKey { account: b.id, key: id }), Refusal::NotFound);
    let change = KeyChange { disabled: Edit::Set(true), ..KeyChange::default() };
    assert_eq!(shard.refused(Command::ChangeKey { account: b.id, key: id, change }), Refusal::NotFound);
    assert_eq!(shard.ask(Query::Key(a.id, KeyId::parse("key_00000000000000000000").unwrap())), None);
}

#[test]
fn revoking_is_final_and_repeating_it_changes_no_date() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    let revoke = || Command::RevokeKey { account: account.id, key: key.id() };
    let first = shard.key(revoke());
    assert_eq!((first.status, first.revoked_at), (KeyStatus::Revoked, Some(shard.now())));
    shard.advance(5_000);
    let again = shard.key(revoke());
    assert_eq!(again, first);
    let said_again = shard.numbers("SELECT sequence FROM feed");
    assert_eq!(said_again, [i64::try_from(first.version).unwrap() + 1], "it is said again, to whoever missed it");
    for change in [
        KeyChange { disabled: Edit::Set(false), ..KeyChange::default() },
        KeyChange { name: Edit::Set(None), ..KeyChange::default() },
    ] {
        shard.conflict(Command::ChangeKey { account: account.id, key: key.id(), change });
    }
}

#[test]
fn a_change_that_changes_nothing_takes_no_sequence() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    let before = shard.sql.dump();
    let same = KeyChange { name: Edit::Set(Some("deploy".into())), disabled: Edit::Set(false), ..KeyChange::default() };
    shard.execute(Command::ChangeKey { account: account.id, key: key.id(), change: same }).unwrap();
    let same = AccountChange { name: Edit::Set("Acme".into()), ..AccountChange::default() };
    shard.change_account(account.id, same);
    assert_eq!(without_commands(&shard.sql.dump()), without_commands(&before));
}

#[test]
fn a_key_can_be_disabled_enabled_and_renamed() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (key, _) = shard.issue(account.id, new_key());
    let change = |change| shard.key(Command::ChangeKey { account: account.id, key: key.id(), change });
    assert_eq!(change(KeyChange { disabled: Edit::Set(true), ..KeyChange::default() }).status, KeyStatus::Disabled);
    assert_eq!(change(KeyChange { disabled: Edit::Set(false), ..KeyChange::default() }).status, KeyStatus::Active);
    assert_eq!(change(KeyChange { name: Edit::Set(None), ..KeyChange::default() }).name, None);
}

#[test]
fn the_limit_counts_keys_in_use_in_each_environment_apart() {
    let shard = Shard::new();
    let account = shard.account(NewAccount { max_active_keys: Some(2), ..new_account("Acme") });
    let in_test = NewKey { environment: Environment::Test, ..new_key() };
    let (first, _) = shard.issue(account.id, new_key());
    let expires_at = Some(shard.now().saturating_add_millis(1_000));
    shard.issue(account.id, NewKey { expires_at, ..new_key() });
    shard.issue(account.id, in_test.clone());
    let refusal = shard.refused(Command::IssueKey { account: account.id, key: new_key() });
    assert_eq!(refusal, Refusal::LimitReached { limit: 2, environment: Environment::Live });
    // A disabled key still counts: it can be enabled at any time.
    shard.set_disabled(&first, true);
    shard.refused(Command::IssueKey { account: account.id, key: new_key() });
    shard.advance(1_000);
    shard.issue(account.id, new_key());
    shard.refused(Command::IssueKey { account: account.id, key: new_key() });
    shard.revoke(&first);
    shard.issue(account.id, new_key());
}

#[test]
fn issuing_needs_an_active_account_in_that_environment() {
    let shard = Shard::new();
    let access = ApiAccess { live: Access::Requested, test: Access::Active };
    let account = shard.account(NewAccount { api_access: access, ..new_account("Acme") });
    let refusal = shard.refused(Command::IssueKey { account: account.id, key: new_key() });
    assert!(matches!(refusal, Refusal::AccountInactive { .. }));
    shard.issue(account.id, NewKey { environment: Environment::Test, ..new_key() });
    let change = AccountChange { status: Edit::Set(AccountStatus::Suspended), ..AccountChange::default() };
    shard.change_account(account.id, change);
    let key = NewKey { environment: Environment::Test, ..new_key() };
    assert!(matches!(shard.refused(Command::IssueKey { account: account.id, key }), Refusal::AccountInactive { .. }));
}

#[test]
fn an_external_id_is_unique_and_can_move_on() {
    let shard = Shard::new();
    let named = |id: &str| NewAccount { external_id: Some(id.into()), ..new_account("Acme") };
    let a = shard.account(named("org-1"));
    let before = shard.sql.dump();
    let refusal = shard.refused(Command::CreateAccount(named("org-1")));
    assert!(matches!(&refusal, Refusal::Conflict { field: Some(field), .. } if field == "external_id"));
    assert_eq!(shard.sql.dump(), before);
    let change =
        |id: Option<&str>| AccountChange { external_id: Edit::Set(id.map(str::to_owned)), ..AccountChange::default() };
    shard.change_account(a.id, change(None));
    let b = shard.account(named("org-1"));
    shard.conflict(Command::ChangeAccount { account: a.id, change: change(Some("org-1")) });
    shard.change_account(b.id, change(Some("org-2")));
    shard.change_account(a.id, change(Some("org-1")));
}

#[test]
fn lists_are_newest_first_and_pages_neither_repeat_nor_skip() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let other = shard.account(new_account("Other"));
    let issued: Vec<KeyId> = (0..7)
        .map(|_| {
            shard.issue(other.id, new_key());
            shard.issue(account.id, new_key()).0.id()
        })
        .collect();
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let Some(Found::Keys(keys, next)) =
            shard.ask(Query::Keys(account.id, KeyFilter::default(), Page { before, limit: 3 }))
        else {
            panic!("no list")
        };
        seen.extend(keys.iter().map(|key| key.id()));
        // A key that is issued meanwhile does not disturb the pages that follow.
        shard.issue(account.id, new_key());
        let Some(next) = next else { break };
        before = Some(next);
    }
    seen.reverse();
    assert_eq!(seen, issued);
}

#[test]
fn a_list_shows_the_status_that_holds_now() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (active, _) = shard.issue(account.id, new_key());
    let (disabled, _) = shard.issue(account.id, NewKey { environment: Environment::Test, ..new_key() });
    let (revoked, _) = shard.issue(account.id, new_key());
    let expires_at = Some(shard.now().saturating_add_millis(10));
    let (expiring, _) = shard.issue(account.id, NewKey { expires_at, ..new_key() });
    shard.set_disabled(&disabled, true);
    shard.revoke(&revoked);
    let list = |filter: KeyFilter| ids(&shard.listed(account.id, filter));
    let status = |status| list(KeyFilter { status: Some(status), ..KeyFilter::default() });
    assert_eq!(status(ListedStatus::Active), [expiring.id(), active.id()]);
    shard.advance(10);
    assert_eq!(status(ListedStatus::Active), [active.id()]);
    assert_eq!(status(ListedStatus::Expired), [expiring.id()]);
    assert_eq!(status(ListedStatus::Disabled), [disabled.id()]);
    assert_eq!(status(ListedStatus::Revoked), [revoked.id()]);
    assert_eq!(list(KeyFilter { environment: Some(Environment::Test), ..KeyFilter::default() }), [disabled.id()]);
}

#[test]
fn an_unknown_account_is_refused_by_every_command_and_query() {
    let shard = Shard::new();
    let account = AccountRef { slot: SLOT, number: 1 };
    let key = KeyId::parse("key_00000000000000000000").unwrap();
    for command in [
        Command::ChangeAccount { account, change: AccountChange::default() },
        Command::IssueKey { account, key: new_key() },
        Command::ChangeKey { account, key, change: KeyChange::default() },
        Command::RevokeKey { account, key },
    ] {
        assert_eq!(shard.refused(command), Refusal::NotFound);
    }
    let page = Page { before: None, limit: 1 };
    assert_eq!(shard.ask(Query::Account(account)), None);
    assert_eq!(shard.ask(Query::Keys(account, KeyFilter::default(), page)), None);
    assert_eq!(shard.ask(Query::Key(account, key)), None);
}

#[test]
fn another_accounts_key_takes_the_same_statements_as_none() {
    let shard = Shard::new();
    let (own, other) = (shard.account(new_account("Own")).id, shard.account(new_account("Other")).id);
    shard.issue(own, new_key());
    let (theirs, _) = shard.issue(other, new_key());
    let statements = |ask: &dyn Fn()| {
        shard.sql.statements.borrow_mut().clear();
        ask();
        shard.sql.statements.take()
    };
    let of_key = |key: KeyId| {
        let change = KeyChange { disabled: Edit::Set(true), ..KeyChange::default() };
        [
            statements(&|| assert_eq!(shard.ask(Query::Key(own, key)), None)),
            statements(&|| {
                drop(shard.execute(Command::ChangeKey { account: own, key, change: change.clone() }).unwrap_err())
            }),
            statements(&|| drop(shard.execute(Command::RevokeKey { account: own, key }).unwrap_err())),
        ]
    };
    let unknown = of_key(KeyId::parse("key_00000000000000000000").unwrap());
    assert_eq!(of_key(theirs.id()), unknown);
    assert!(unknown.iter().all(|statements| !statements.is_empty()));
    let by_digest = |digest| statements(&|| assert_eq!(shard.ask(Query::KeyByDigest(own, digest)), None));
    assert_eq!(by_digest(theirs.digest), by_digest(Digest::from_bytes([7; 24])));
}

#[test]
fn finding_a_key_reads_by_index_however_many_there_are() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    shard.issue(account.id, new_key());
    shard.sql.statements.borrow_mut().clear();
    let (key, _) = shard.issue(account.id, NewKey { name: None, ..new_key() });
    shard.ask(Query::Key(account.id, key.id()));
    shard.revoke(&key);
    let page = Page { before: None, limit: 5 };
    shard.ask(Query::Keys(account.id, KeyFilter::default(), page));
    let active = KeyFilter { status: Some(ListedStatus::Active), ..KeyFilter::default() };
    shard.ask(Query::Keys(account.id, active, page));
    let create = Command::CreateWorkspace { account: account.id, name: "North".into() };
    let Some(Answer::WorkspaceCreated(north)) = shard.execute(create).unwrap().answer else { panic!("no workspace") };
    shard.execute(Command::ArchiveWorkspace { account: account.id, workspace: north.id }).unwrap();
    for filter in [WorkspaceFilter::All, WorkspaceFilter::Active, WorkspaceFilter::Archived] {
        shard.ask(Query::Workspaces(account.id, filter, page));
    }
    shard.execute(Command::RevokeAllKeys { account: account.id, environments: vec![Environment::Live] }).unwrap();
    revoke_all::sweep(&shard.sql, shard.now()).unwrap();
    shard.ask(Query::Audit(account.id, AuditFilter::default(), page));
    shard.ask(Query::Accounts(Some("org-1".into()), page));
    let statements = shard.sql.statements.take();
    for statement in statements {
        let explained = shard.explain(&statement);
        let scans = ["SCAN keys", "SCAN accounts", "SCAN audit", "SCAN commands", "SCAN outbox", "SCAN workspaces"];
        assert!(!scans.iter().any(|scan| explained.contains(scan)), "{statement}\n{explained}");
        // Not by its account, which may have many.
        let by_id = statement.contains("FROM keys WHERE digest >= ");
        assert!(!by_id || explained.contains("(digest>? AND digest<?)"), "{statement}\n{explained}");
    }
}

/// What the database holds besides the commands themselves.
fn without_commands(dump: &str) -> String {
    dump.lines().filter(|line| !line.starts_with("commands:")).collect::<Vec<_>>().join("\n")
}

//! Who may administer: what a credential may do is looked up where it is done, and nobody grants what they do not hold.

use keygate::{
    authority::{
        KeyFilter, ListedStatus,
        admins::{self, Caller},
        audit::AuditFilter,
        command::{
            AccountChange, Command, Edit, Failure, KeyChange, NewAccount, NewCredential, NewKey, NewSession, Order,
            Refusal,
        },
        outbox,
        query::{Found, Query},
        record::{AccountRecord, KeyRecord},
        settings::{AccessLevel, AccessLevels, SettingsChange},
        sql::Sql,
    },
    credential::{AccountRef, Digest, Environment, WorkspaceId},
    policy::{AccountStatus, KeyStatus, Role, UnixMillis},
};

use super::{
    shorthand::{ALL, scopes},
    support::{Executed, SLOT, Shard, new_account, new_credential, new_key},
};

/// A shard with an account and two credentials of it, and another account.
pub struct World {
    pub shard: Shard,
    pub own: AccountRecord,
    pub other: AccountRecord,
    pub admin: KeyRecord,
    pub viewer: KeyRecord,
}

impl World {
    pub fn new() -> Self {
        let shard = Shard::new();
        let (own, other) = (shard.account(new_account("Own")), shard.account(new_account("Other")));
        let (admin, _) = shard.issue_credential(own.id, new_credential(Role::Admin));
        let (viewer, _) = shard.issue_credential(own.id, new_credential(Role::Viewer));
        World { shard, own, other, admin, viewer }
    }

    /// What comes of a command that the credential orders.
    pub fn order(&self, by: &KeyRecord, command: Command) -> Result<Executed, Failure> {
        let order = self.shard.order_of(command);
        self.shard.order(Order { caller: Caller::Credential(by.digest), actor: None, ..order })
    }

    /// The refusal of a command that the credential orders; nothing has changed.
    pub fn refused(&self, by: &KeyRecord, command: Command) -> Refusal {
        let before = self.shard.sql.dump();
        match self.order(by, command) {
            Err(Failure::Refused(refusal)) => {
                assert_eq!(self.shard.sql.dump(), before);
                refusal
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    /// What the credential is told.
    pub fn ask(&self, by: &KeyRecord, query: &Query) -> Result<Option<Found>, Failure> {
        admins::ask(&self.shard.sql, SLOT, Caller::Credential(by.digest), None, query, self.shard.now())
    }

    /// Whether the credential may still do anything.
    pub fn works(&self, by: &KeyRecord) -> bool {
        let issued = self.order(by, self.issue());
        let read = self.ask(by, &Query::Account(self.own.id));
        let checked = admins::check(&self.shard.sql, SLOT, Caller::Credential(by.digest), self.shard.now());
        let unauthenticated = Failure::Refused(Refusal::Unauthenticated);
        match checked {
            Ok(()) => {
                assert!(matches!(read, Ok(Some(Found::Account(_)))));
                assert_ne!(issued.err(), Some(unauthenticated));
                true
            }
            Err(failure) => {
                assert_eq!(failure, unauthenticated);
                assert_eq!(read, Err(failure.clone()));
                assert_eq!(issued.err(), Some(failure));
                false
            }
        }
    }

    /// Issues a key with defaults.
    pub fn issue(&self) -> Command {
        Command::IssueKey { account: self.own.id, key: new_key() }
    }

    /// A session that the credential mints.
    pub fn session(&self, by: &KeyRecord) -> KeyRecord {
        issued(self.order(by, Command::MintSession { account: self.own.id, session: new_session() }).unwrap())
    }

    /// Revokes a key, a credential or a session.
    pub fn revoke(&self, key: &KeyRecord) -> Command {
        Command::RevokeKey { account: key.account, key: key.id() }
    }
}

/// A session with all that its credential has.
pub fn new_session() -> NewSession {
    NewSession { actor: "alice".into(), role: None, scopes: None, workspaces: None }
}

/// What was issued.
pub fn issued(executed: Executed) -> KeyRecord {
    match executed.answer.unwrap() {
        keygate::authority::command::Answer::Issued { record, .. } => *record,
        other => panic!("nothing issued: {other:?}"),
    }
}

/// The refusal says that the role is too small, and what was needed.
pub fn needs(refusal: &Refusal, what: &str) {
    let Refusal::InsufficientRole { detail } = refusal else { panic!("{refusal:?}") };
    assert!(detail.contains(what), "{detail}");
}

#[test]
fn a_revoked_disabled_expired_or_not_yet_valid_credential_is_none_and_an_enabled_one_is_one_again() {
    let world = World::new();
    assert!(world.works(&world.admin));
    world.shard.set_disabled(&world.admin, true);
    assert!(!world.works(&world.admin));
    world.shard.set_disabled(&world.admin, false);
    assert!(world.works(&world.admin));
    world.shard.key(world.revoke(&world.admin));
    assert!(!world.works(&world.admin));

    let timed = NewCredential {
        not_before: Some(world.shard.now().saturating_add_millis(10)),
        expires_at: Some(world.shard.now().saturating_add_millis(20)),
        ..new_credential(Role::Admin)
    };
    let (timed, _) = world.shard.issue_credential(world.own.id, timed);
    for (step, works) in [(9, false), (1, true), (9, true), (1, false)] {
        world.shard.advance(step);
        assert_eq!(world.works(&timed), works);
    }
}

#[test]
fn an_unknown_credential_and_an_api_key_administer_nothing() {
    let world = World::new();
    let unknown = KeyRecord { digest: Digest::from_bytes([9; 24]), ..world.admin.clone() };
    assert!(!world.works(&unknown));
    for environment in [Environment::Live, Environment::Test] {
        let (key, _) = world.shard.issue(world.own.id, NewKey { environment, ..new_key() });
        assert!(!world.works(&key));
        // Not even with what makes a credential one.
        world.shard.sql.run("UPDATE keys SET role = 'admin' WHERE digest = ?1", &[key.digest.to_hex().into()]).unwrap();
        assert!(!world.works(&key));
    }
}

#[test]
fn credentials_issued_up_to_where_all_were_revoked_are_none() {
    let world = World::new();
    let to = world.admin.issued;
    let session = world.session(&world.admin);
    world.shard.sql.run("UPDATE accounts SET revoked_admin = ?1, revoked_admin_at = 1", &[to.into()]).unwrap();
    assert!(!world.works(&world.admin));
    assert!(!world.works(&session), "it is younger, but what minted it is not");
    assert!(world.works(&world.viewer), "issued later");
}

#[test]
fn a_suspended_account_is_administered_by_the_operator_alone() {
    let world = World::new();
    let suspend = |status| {
        let change = AccountChange { status: Edit::Set(status), ..AccountChange::default() };
        world.shard.change_account(world.own.id, change);
    };
    suspend(AccountStatus::Suspended);
    assert!(matches!(world.refused(&world.admin, world.issue()), Refusal::AccountInactive { .. }));
    let read = world.ask(&world.viewer, &Query::Account(world.own.id));
    assert!(matches!(read, Err(Failure::Refused(Refusal::AccountInactive { .. }))));
    let credential = Command::IssueCredential { account: world.own.id, credential: new_credential(Role::Viewer) };
    assert!(matches!(world.shard.refused(credential), Refusal::AccountInactive { .. }));
    suspend(AccountStatus::Active);
    assert!(world.works(&world.admin));
}

#[test]
fn a_viewer_reads_everything_of_the_account_and_writes_nothing() {
    let world = World::new();
    let (key, _) = world.shard.issue(world.own.id, new_key());
    let account = world.own.id;
    for query in [
        Query::Account(account),
        Query::Key(account, key.id()),
        Query::KeyByDigest(account, key.digest),
        Query::Keys(account, KeyFilter::default(), ALL),
        Query::Audit(account, AuditFilter::default(), ALL),
    ] {
        assert!(matches!(world.ask(&world.viewer, &query), Ok(Some(_))), "{query:?}");
    }
    let renaming = AccountChange { name: Edit::Set("x".into()), ..AccountChange::default() };
    for command in [
        world.issue(),
        world.revoke(&key),
        world.revoke(&world.viewer),
        Command::ChangeKey { account, key: key.id(), change: KeyChange::default() },
        Command::ChangeAccount { account, change: renaming },
        Command::ChangeAccount { account, change: AccountChange::default() },
        Command::IssueCredential { account, credential: new_credential(Role::Viewer) },
    ] {
        needs(&world.refused(&world.viewer, command), "the role admin");
    }
}

#[test]
fn accounts_are_the_operators_and_so_is_most_of_what_they_are_configured_with() {
    let world = World::new();
    needs(&world.refused(&world.admin, Command::CreateAccount(new_account("x"))), "root token");
    let listed = world.ask(&world.admin, &Query::Accounts(None, ALL));
    let Err(Failure::Refused(refusal)) = listed else { panic!("{listed:?}") };
    needs(&refusal, "root token");
    let none = AccountChange::default;
    for (name, change) in [
        ("external_id", AccountChange { external_id: Edit::Set(None), ..none() }),
        ("brand", AccountChange { brand: Edit::Set(world.own.brand), ..none() }),
        ("status", AccountChange { status: Edit::Set(AccountStatus::Active), ..none() }),
        ("max_active_keys", AccountChange { max_active_keys: Edit::Set(None), ..none() }),
        ("api_access", AccountChange { api_access: Edit::Set(world.own.api_access), ..none() }),
        ("features", AccountChange { features: Edit::Set(Vec::new()), ..none() }),
    ] {
        let command = Command::ChangeAccount { account: world.own.id, change };
        needs(&world.refused(&world.admin, command.clone()), &format!("to set {name}"));
        assert!(world.shard.execute(command).is_ok(), "the operator may");
    }
    let change = AccountChange { name: Edit::Set("New".into()), default_scopes: Edit::Set(scopes(&["a:b"])), ..none() };
    assert!(world.order(&world.admin, Command::ChangeAccount { account: world.own.id, change }).is_ok());
}

#[test]
fn another_account_is_as_unknown_as_none_whatever_the_role() {
    let world = World::new();
    let (theirs, _) = world.shard.issue(world.other.id, new_key());
    for account in [world.other.id, AccountRef { slot: SLOT, number: 77 }] {
        for by in [&world.admin, &world.viewer] {
            for command in [
                Command::IssueKey { account, key: new_key() },
                Command::RevokeKey { account, key: theirs.id() },
                Command::ChangeKey { account, key: theirs.id(), change: KeyChange::default() },
                Command::ChangeAccount {
                    account,
                    change: AccountChange { brand: Edit::Set(world.own.brand), ..AccountChange::default() },
                },
                Command::IssueCredential { account, credential: new_credential(Role::Viewer) },
                Command::MintSession { account, session: new_session() },
            ] {
                assert_eq!(world.refused(by, command), Refusal::NotFound);
            }
            for query in [
                Query::Account(account),
                Query::Key(account, theirs.id()),
                Query::KeyByDigest(account, theirs.digest),
                Query::Keys(account, KeyFilter::default(), ALL),
                Query::Audit(account, AuditFilter::default(), ALL),
            ] {
                assert_eq!(world.ask(by, &query), Err(Failure::Refused(Refusal::NotFound)));
            }
        }
    }
}

#[test]
fn nobody_grants_scopes_or_a_role_that_they_do_not_hold() {
    let world = World::new();
    let limited = NewCredential { scopes: Some(scopes(&["contacts:*", "jobs:read"])), ..new_credential(Role::Admin) };
    let (limited, _) = world.shard.issue_credential(world.own.id, limited);
    let account = world.own.id;
    let key = |texts: &[&str]| Command::IssueKey { account, key: NewKey { scopes: Some(scopes(texts)), ..new_key() } };
    let credential = |texts: &[&str]| {
        let credential = NewCredential { scopes: Some(scopes(texts)), ..new_credential(Role::Admin) };
        Command::IssueCredential { account, credential }
    };
    let session = |texts: &[&str]| Command::MintSession {
        account,
        session: NewSession { scopes: Some(scopes(texts)), ..new_session() },
    };
    let defaults = |texts: &[&str]| {
        let change = AccountChange { default_scopes: Edit::Set(scopes(texts)), ..AccountChange::default() };
        Command::ChangeAccount { account, change }
    };
    let levels = |texts: &[&str]| {
        let level =
            |name: &str, texts: &[&str]| AccessLevel { name: name.into(), description: None, scopes: scopes(texts) };
        let levels = AccessLevels::new(vec![level("First", &["jobs:read"]), level("Second", texts)]).unwrap();
        let settings = SettingsChange { access_levels: Edit::Set(levels), ..SettingsChange::default() };
        Command::ChangeAccount { account, change: AccountChange { settings, ..AccountChange::default() } }
    };
    for of in [&key as &dyn Fn(&[&str]) -> Command, &credential, &session, &defaults, &levels] {
        assert!(world.order(&limited, of(&["contacts:read", "contacts:*", "jobs:read"])).is_ok());
        for beyond in ["*", "jobs:*", "jobs:write", "*:read"] {
            let Refusal::ScopesBeyondOwn { wanted, missing } = world.refused(&limited, of(&["contacts:read", beyond]))
            else {
                panic!("{beyond}")
            };
            assert_eq!(
                (wanted.len(), missing.iter().map(|scope| scope.as_str()).collect::<Vec<_>>()),
                (2, vec![beyond])
            );
        }
    }
    // Defaults are granted like what is named: by the account's, or everything.
    world.shard.execute(defaults(&["reports:read"])).unwrap();
    let by_default = Command::IssueKey { account, key: new_key() };
    assert!(matches!(world.refused(&limited, by_default), Refusal::ScopesBeyondOwn { .. }));
    let everything = Command::IssueCredential { account, credential: new_credential(Role::Viewer) };
    assert!(matches!(world.refused(&limited, everything), Refusal::ScopesBeyondOwn { .. }));
    // But a session without scopes has those of who mints it.
    assert_eq!(world.session(&limited).scopes, limited.scopes);

    let beyond = NewSession { role: Some(Role::Admin), ..new_session() };
    needs(&world.refused(&world.viewer, Command::MintSession { account, session: beyond }), "beyond their own");
}

#[test]
fn nobody_grants_workspaces_that_they_do_not_hold() {
    let world = World::new();
    let [a, b] = [1, 2].map(|last| WorkspaceId::from_bytes([0, 0, 0, 0, 0, 0, 0, last]));
    for (created, id) in [(1, a), (2, b)] {
        let values = [id.to_string().into(), world.own.id.number.into(), u64::into(created)];
        let insert =
            "INSERT INTO workspaces (id, account, created, version, name, created_at) VALUES (?1, ?2, ?3, 1, 'w', 1)";
        world.shard.sql.run(insert, &values).unwrap();
    }
    let account = world.own.id;
    let credential = |workspaces: Option<Vec<WorkspaceId>>| NewCredential { workspaces, ..new_credential(Role::Admin) };
    let (limited, _) = world.shard.issue_credential(account, credential(Some(vec![a])));
    let issue = |workspaces| Command::IssueCredential { account, credential: credential(workspaces) };
    assert!(world.order(&limited, issue(Some(vec![a]))).is_ok());
    for (workspaces, named) in [(None, "all workspaces"), (Some(vec![b]), "0002"), (Some(vec![a, b]), "0002")] {
        let Refusal::WorkspacesBeyondOwn { missing } = world.refused(&limited, issue(workspaces)) else { panic!() };
        assert!(missing.ends_with(named) || missing.starts_with(named), "{missing}");
    }
    assert_eq!(world.session(&limited).workspaces, Some(vec![a]));
    // An API key for all of them, too.
    let key = Command::IssueKey { account, key: new_key() };
    assert!(matches!(world.refused(&limited, key), Refusal::WorkspacesBeyondOwn { .. }));
    // Those that are granted must be there.
    world.shard.sql.run("UPDATE workspaces SET archived_at = 1 WHERE id = ?1", &[b.to_string().into()]).unwrap();
    for unknown in [b, WorkspaceId::from_bytes([9; 8])] {
        let refusal = world.shard.refused(issue(Some(vec![unknown])));
        assert!(
            matches!(&refusal, Refusal::Invalid { field, detail } if field == "workspaces" && detail.contains(&unknown.to_string()))
        );
    }
    let theirs = Command::IssueCredential { account: world.other.id, credential: credential(Some(vec![a])) };
    assert!(matches!(world.shard.refused(theirs), Refusal::Invalid { .. }));
}

#[test]
fn nobody_has_copies_of_credentials_and_no_limit_counts_them() {
    let world = World::new();
    let limited = NewAccount { max_active_keys: Some(1), ..new_account("Limited") };
    let limited = world.shard.account(limited);
    let closed = AccountChange {
        api_access: Edit::Set(keygate::policy::ApiAccess {
            live: keygate::policy::Access::Off,
            test: keygate::policy::Access::Active,
        }),
        ..AccountChange::default()
    };
    world.shard.change_account(limited.id, closed);
    let feed_rows = || world.shard.numbers("SELECT count(*) FROM feed")[0];
    let before = feed_rows();
    let credentials = [(); 3].map(|()| world.shard.issue_credential(limited.id, new_credential(Role::Admin)).0);
    let (key, _) = world.shard.issue(limited.id, NewKey { environment: Environment::Test, ..new_key() });
    let session = issued(
        world.order(&credentials[0], Command::MintSession { account: limited.id, session: new_session() }).unwrap(),
    );
    world.shard.set_disabled(&credentials[1], true);
    world.shard.key(world.revoke(&credentials[2]));
    world.shard.key(world.revoke(&session));
    assert_eq!(feed_rows(), before);
    for record in credentials.iter().chain([&session]) {
        assert!(!outbox::waits(&world.shard.sql, &outbox::KvKey::grant(&record.digest)).unwrap());
    }
    assert!(outbox::waits(&world.shard.sql, &outbox::KvKey::grant(&key.digest)).unwrap());
}

#[test]
fn lists_show_credentials_and_sessions_only_when_asked_for() {
    let world = World::new();
    let session = world.session(&world.admin);
    let (live, _) = world.shard.issue(world.own.id, new_key());
    let (test, _) = world.shard.issue(world.own.id, NewKey { environment: Environment::Test, ..new_key() });
    let listed = |environment, status| {
        let filter = KeyFilter { environment, status, ..KeyFilter::default() };
        match world.ask(&world.viewer, &Query::Keys(world.own.id, filter, ALL)) {
            Ok(Some(Found::Keys(records, None))) => records.iter().map(KeyRecord::id).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(listed(None, None), [test.id(), live.id()]);
    assert_eq!(listed(Some(Environment::Live), None), [live.id()]);
    let credentials = [session.id(), world.viewer.id(), world.admin.id()];
    assert_eq!(listed(Some(Environment::Admin), None), credentials);
    assert_eq!(listed(Some(Environment::Admin), Some(ListedStatus::Revoked)), []);
    let found = world.ask(&world.viewer, &Query::Key(world.own.id, session.id()));
    assert!(
        matches!(found, Ok(Some(Found::Key(record))) if record.id() == session.id() && record.admin == session.admin)
    );
}

#[test]
fn a_repeated_command_is_not_answered_to_a_credential_that_was_revoked_since() {
    let world = World::new();
    let order = Order { caller: Caller::Credential(world.admin.digest), ..world.shard.order_of(world.issue()) };
    assert!(world.shard.order(order.clone()).unwrap().committed.text.is_some());
    assert!(world.shard.order(order.clone()).unwrap().committed.text.is_some());
    world.shard.key(world.revoke(&world.admin));
    assert_eq!(world.shard.order(order).err(), Some(Failure::Refused(Refusal::Unauthenticated)));
}

#[test]
fn whatever_becomes_of_credentials_the_operator_administers() {
    let world = World::new();
    for record in [&world.admin, &world.viewer] {
        world.shard.key(world.revoke(record));
    }
    world.shard.sql.run("UPDATE accounts SET revoked_admin = 1000, revoked_admin_at = 1", &[]).unwrap();
    let (again, _) = world.shard.issue(world.own.id, new_key());
    assert_eq!(again.status, KeyStatus::Active);
    assert!(world.shard.ask(Query::Account(world.own.id)).is_some());
    let asked =
        admins::ask(&world.shard.sql, SLOT, Caller::Root, Some("x"), &Query::Accounts(None, ALL), UnixMillis::MAX);
    assert!(matches!(asked, Ok(Some(Found::Accounts(accounts, None))) if accounts.len() == 2));
}

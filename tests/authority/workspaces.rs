//! Workspaces over their lives, and what they and the lists of fields mean for keys.

use keygate::{
    authority::{
        audit::AuditFilter,
        command::{
            AccountChange, Answer, Command, Edit, Failure, NewKey, Order, Precondition, Refusal, WorkspaceChange,
        },
        outbox::KvKey,
        query::{Found, Page, Query},
        record::WorkspaceRecord,
        workspaces::WorkspaceFilter,
    },
    credential::{AccountRef, WorkspaceId},
    policy::{Account, Fields, WORKSPACES_MAX},
};

use super::{
    shorthand::{scopes, shard_with_account},
    support::{SLOT, Shard, new_account, new_key},
};

fn workspace(shard: &Shard, command: Command) -> WorkspaceRecord {
    match shard.execute(command).unwrap().answer.unwrap() {
        Answer::Workspace(record) | Answer::WorkspaceCreated(record) => record,
        other => panic!("no workspace: {other:?}"),
    }
}

fn create(shard: &Shard, account: AccountRef, name: &str) -> WorkspaceRecord {
    workspace(shard, Command::CreateWorkspace { account, name: name.into() })
}

fn archive(account: AccountRef, workspace: WorkspaceId) -> Command {
    Command::ArchiveWorkspace { account, workspace }
}

fn rename(account: AccountRef, workspace: WorkspaceId, name: &str) -> Command {
    Command::ChangeWorkspace { account, workspace, change: WorkspaceChange { name: Edit::Set(name.into()) } }
}

/// What the edge is told.
fn told(shard: &Shard, account: AccountRef) -> Account {
    shard.read_account(account).account()
}

fn ids(account: &Account) -> Vec<WorkspaceId> {
    account.workspaces.iter().map(|workspace| workspace.id).collect()
}

#[test]
fn those_in_use_are_in_the_accounts_copy_and_each_change_is_told() {
    let (shard, account) = shard_with_account();
    let other = shard.account(new_account("B")).id;
    let version = |shard: &Shard| shard.read_account(account).version;
    let before = version(&shard);
    let north = create(&shard, account, "North");
    assert_eq!((north.account, north.created_by.as_deref(), north.status()), (account, Some("u-1"), "active"));
    let south = create(&shard, account, "Süd \"2\"");
    create(&shard, other, "Elsewhere");
    assert_eq!(ids(&told(&shard, account)), [north.id, south.id], "oldest first");
    assert_eq!(told(&shard, account).workspaces[1].name, "Süd \"2\"");
    for command in [
        rename(account, north.id, "Nord"),
        archive(account, north.id),
        archive(account, north.id),
        Command::CreateWorkspace { account, name: "East".into() },
    ] {
        let committed = shard.execute(command.clone()).unwrap().committed;
        assert_eq!(committed.outdated, [KvKey::account(account)], "{command:?}");
        let newest = format!("SELECT sequence FROM feed WHERE subject = 'account:{}'", account.number);
        assert_eq!(shard.numbers(&newest), shard.numbers("SELECT sequence FROM meta"), "{command:?}");
    }
    assert_eq!(ids(&told(&shard, account)).len(), 2);
    assert!(!ids(&told(&shard, account)).contains(&north.id));
    assert_eq!(version(&shard), before, "the account itself is what it was");
}

#[test]
fn archiving_is_final_and_repeating_it_changes_nothing_of_it() {
    let (shard, account) = shard_with_account();
    let made = create(&shard, account, "North");
    shard.advance(1_000);
    let first = workspace(&shard, archive(account, made.id));
    assert_eq!((first.archived_at, first.status()), (Some(shard.now()), "archived"));
    let entries = shard.numbers("SELECT count(*) FROM audit");
    shard.advance(1_000);
    assert_eq!(workspace(&shard, archive(account, made.id)), first);
    assert_eq!(shard.numbers("SELECT count(*) FROM audit"), entries);
    shard.conflict(rename(account, made.id, "South"));
}

#[test]
fn a_change_is_for_the_version_it_was_meant_for_and_the_same_name_is_none() {
    let (shard, account) = shard_with_account();
    let made = create(&shard, account, "North");
    let order = |command, versions: &[u64]| Order {
        precondition: Precondition::Versions(versions.to_vec()),
        ..shard.order_of(command)
    };
    let stale = shard.order(order(rename(account, made.id, "South"), &[made.version + 1]));
    let expected = Refusal::PreconditionFailed { version: made.version };
    assert_eq!(stale.unwrap_err(), Failure::Refused(expected));
    let sequence = shard.numbers("SELECT sequence FROM meta");
    assert_eq!(workspace(&shard, rename(account, made.id, "North")), made);
    assert_eq!(shard.numbers("SELECT sequence FROM meta"), sequence);
    let renamed = shard.order(order(rename(account, made.id, "South"), &[made.version])).unwrap().answer;
    let Some(Answer::Workspace(renamed)) = renamed else { panic!("{renamed:?}") };
    assert_eq!((renamed.name.as_str(), renamed.version > made.version), ("South", true));
}

#[test]
fn another_accounts_workspace_is_as_unknown_as_none() {
    let shard = Shard::new();
    let (a, b) = (shard.account(new_account("A")).id, shard.account(new_account("B")).id);
    let made = create(&shard, a, "North").id;
    for (account, id) in [(b, made), (a, WorkspaceId::from_bytes([7; 8])), (AccountRef { slot: SLOT, number: 1 }, made)]
    {
        assert_eq!(shard.ask(Query::Workspace(account, id)), None);
        assert_eq!(shard.refused(archive(account, id)), Refusal::NotFound);
        assert_eq!(shard.refused(rename(account, id, "X")), Refusal::NotFound);
    }
    let nobody = AccountRef { slot: SLOT, number: 1 };
    let page = Page { before: None, limit: 1 };
    assert_eq!(shard.ask(Query::Workspaces(nobody, WorkspaceFilter::All, page)), None);
    assert_eq!(shard.refused(Command::CreateWorkspace { account: nobody, name: "X".into() }), Refusal::NotFound);
}

#[test]
fn a_list_is_newest_first_in_pages_and_by_status() {
    let (shard, account) = shard_with_account();
    let made: Vec<WorkspaceId> = (0..5).map(|n| create(&shard, account, &format!("W{n}")).id).collect();
    workspace(&shard, archive(account, made[1]));
    let list = |filter, before, limit| match shard.ask(Query::Workspaces(account, filter, Page { before, limit })) {
        Some(Found::Workspaces(listed, next)) => (listed.iter().map(|one| one.id).collect::<Vec<_>>(), next),
        other => panic!("no list: {other:?}"),
    };
    let (first, next) = list(WorkspaceFilter::All, None, 3);
    assert_eq!(first, [made[4], made[3], made[2]]);
    assert_eq!(list(WorkspaceFilter::All, next, 3), (vec![made[1], made[0]], None));
    assert_eq!(list(WorkspaceFilter::Active, None, 9).0, [made[4], made[3], made[2], made[0]]);
    assert_eq!(list(WorkspaceFilter::Archived, None, 9).0, [made[1]]);
}

#[test]
fn there_are_at_most_a_hundred_in_use() {
    let (shard, account) = shard_with_account();
    let made: Vec<WorkspaceId> =
        (0..WORKSPACES_MAX).map(|n| create(&shard, account, &format!("{n}{}", "\u{1F511}".repeat(120))).id).collect();
    let create_one = || Command::CreateWorkspace { account, name: "one more".into() };
    assert_eq!(shard.refused(create_one()), Refusal::WorkspaceLimitReached);
    workspace(&shard, archive(account, made[0]));
    workspace(&shard, create_one());
    assert_eq!(shard.refused(create_one()), Refusal::WorkspaceLimitReached);
    assert_eq!(told(&shard, account).workspaces.len(), WORKSPACES_MAX);
}

#[test]
fn each_change_is_in_the_audit() {
    let (shard, account) = shard_with_account();
    let made = create(&shard, account, "North").id;
    workspace(&shard, rename(account, made, "South"));
    workspace(&shard, archive(account, made));
    let filter = AuditFilter { subject: Some(made.to_string()), ..AuditFilter::default() };
    let entries = shard.audit(account, filter);
    let expected = [
        r#""action":"workspace.create","subject":"WS","before":null,"after":{"name":"North","status":"active"}"#,
        r#""action":"workspace.change","subject":"WS","before":{"name":"North"},"after":{"name":"South"}"#,
        r#""action":"workspace.archive","subject":"WS","before":{"status":"active"},"after":{"status":"archived"}"#,
    ];
    assert_eq!(entries.len(), expected.len());
    for (entry, expected) in entries.iter().zip(expected) {
        assert!(entry.text.contains(&expected.replace("WS", &made.to_string())), "{}", entry.text);
    }
}

#[test]
fn a_key_can_be_limited_to_workspaces_in_use_of_its_own_account() {
    let shard = Shard::new();
    let (a, b) = (shard.account(new_account("A")).id, shard.account(new_account("B")).id);
    let (north, gone) = (create(&shard, a, "North").id, create(&shard, a, "Gone").id);
    let foreign = create(&shard, b, "Foreign").id;
    let limited = |ids: &[WorkspaceId]| NewKey { workspaces: Some(ids.to_vec()), ..new_key() };
    let (key, _) = shard.issue(a, limited(&[gone, north]));
    assert_eq!(key.workspaces, Some(vec![gone, north]));
    assert_eq!(key.grant().workspaces, key.workspaces);
    workspace(&shard, archive(a, gone));
    assert_eq!(shard.read(&key).workspaces, key.workspaces, "the key stays what it was");
    let before = shard.sql.dump();
    for wrong in [gone, foreign, WorkspaceId::from_bytes([7; 8])] {
        match shard.refused(Command::IssueKey { account: a, key: limited(&[north, wrong]) }) {
            Refusal::Invalid { field, detail } if field == "workspaces" => {
                assert!(detail.contains(&wrong.to_string()), "{detail}")
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(shard.sql.dump(), before);
    assert_eq!(shard.issue(a, new_key()).0.workspaces, None, "none named: all");
}

#[test]
fn fields_are_of_resources_that_the_key_reaches() {
    let (shard, account) = shard_with_account();
    let fields = |resource: &str| Fields::new([(resource, vec!["name"])]).unwrap();
    let with = |resource: &str| NewKey { fields: fields(resource), ..new_key() };
    let (key, _) = shard.issue(account, with("contacts"));
    assert_eq!((key.fields.clone(), key.grant().fields), (fields("contacts"), fields("contacts")));
    let refused = |key: NewKey| match shard.refused(Command::IssueKey { account, key }) {
        Refusal::Invalid { field, detail } if field == "fields" => assert!(detail.contains("\"jobs\""), "{detail}"),
        other => panic!("{other:?}"),
    };
    refused(with("jobs"));
    refused(NewKey { scopes: Some(scopes(&["contacts:*"])), ..with("jobs") });
    shard.issue(account, NewKey { scopes: Some(scopes(&["jobs:read"])), ..with("jobs") });
    // What a key gets without naming scopes is what counts.
    let change = AccountChange { default_scopes: Edit::Set(scopes(&["jobs:read"])), ..AccountChange::default() };
    shard.change_account(account, change);
    shard.issue(account, with("jobs"));
}

#[test]
fn the_limits_of_a_key_are_in_the_audit_where_it_has_any() {
    let (shard, account) = shard_with_account();
    let north = create(&shard, account, "North").id;
    let fields = Fields::new([("contacts", vec!["name"])]).unwrap();
    shard.issue(account, new_key());
    shard.issue(account, NewKey { workspaces: Some(vec![north]), fields, ..new_key() });
    let filter = AuditFilter { action: Some("key.issue".into()), ..AuditFilter::default() };
    let entries = shard.audit(account, filter);
    let limits = |text: &str| {
        text.contains(r#""fields":{"contacts":["name"]},"name""#)
            && text.contains(&format!(r#""status":"active","workspaces":["{north}"]}}"#))
    };
    assert!(!entries[0].text.contains("workspaces") && !entries[0].text.contains("fields"), "{}", entries[0].text);
    assert!(limits(&entries[1].text), "{}", entries[1].text);
}

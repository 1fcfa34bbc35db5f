//! Sessions: whom they act for, and when they end.

use keygate::{
    authority::{
        SESSION_MS,
        admins::{self, Caller},
        audit::AuditFilter,
        command::{Command, Failure, NewCredential, Order, Refusal},
        query::{Found, Query},
    },
    policy::Role,
};

use super::{
    admins::{World, issued, needs, new_session},
    shorthand::ALL,
    support::{SLOT, new_credential},
};

#[test]
fn a_session_acts_for_its_actor_and_ends_after_15_minutes() {
    let world = World::new();
    let session = world.session(&world.viewer);
    assert_eq!(session.admin.as_ref().unwrap().role, Role::Viewer);
    assert_eq!(session.expires_at, Some(world.shard.now().saturating_add_millis(900_000)));
    assert_eq!(session.created_by, Some(world.viewer.id().to_string()));
    let session = world.session(&world.admin);
    let key = issued(world.order(&session, world.issue()).unwrap());
    assert_eq!(key.created_by.as_deref(), Some("alice"));
    let Some(Found::Audit(entries, _)) =
        world.ask(&session, &Query::Audit(world.own.id, AuditFilter::default(), ALL)).unwrap()
    else {
        panic!()
    };
    let entry: serde_json::Value = serde_json::from_str(&entries[0].text).unwrap();
    assert_eq!((&entry["actor"], &entry["credential"]), (&"alice".into(), &session.id().to_string().into()));
    let minted: serde_json::Value = serde_json::from_str(&entries[1].text).unwrap();
    assert_eq!((&minted["action"], &minted["after"]["actor"]), (&"session.create".into(), &"alice".into()));

    let said = |actor: &str| {
        let caller = Caller::Credential(session.digest);
        let order = Order { caller, actor: Some(actor.into()), ..world.shard.order_of(world.issue()) };
        let query = Query::Account(world.own.id);
        (
            world.shard.order(order).err(),
            admins::ask(&world.shard.sql, SLOT, caller, Some(actor), &query, world.shard.now()).err(),
        )
    };
    assert_eq!(said("alice"), (None, None));
    let (Some(ordered), Some(asked)) = said("bob") else { panic!("bob may") };
    assert_eq!(ordered, asked);
    assert!(matches!(ordered, Failure::Refused(Refusal::Invalid { field, .. }) if field == "X-Keygate-Actor"));

    world.shard.advance(SESSION_MS - 1);
    assert!(world.works(&session));
    world.shard.advance(1);
    assert!(!world.works(&session));
    assert!(world.works(&world.admin));
}

#[test]
fn a_session_mints_no_session_and_issues_nothing_that_administers_longer_than_it_works() {
    let world = World::new();
    let session = world.session(&world.admin);
    let account = world.own.id;
    for command in [
        Command::MintSession { account, session: new_session() },
        Command::IssueCredential { account, credential: new_credential(Role::Viewer) },
    ] {
        needs(&world.refused(&session, command), "no session");
    }
}

#[test]
fn a_session_dies_with_the_credential_that_minted_it() {
    let world = World::new();
    let session = world.session(&world.admin);
    world.shard.set_disabled(&world.admin, true);
    assert!(!world.works(&session));
    world.shard.set_disabled(&world.admin, false);
    assert!(world.works(&session));
    world.order(&world.admin, world.revoke(&session)).unwrap();
    assert!(!world.works(&session), "revoked like a key");
    assert!(world.works(&world.admin));
    let session = world.session(&world.admin);
    world.order(&world.admin, world.revoke(&world.admin)).unwrap();
    assert!(!world.works(&session) && !world.works(&world.admin), "a credential may revoke itself");

    let end = world.shard.now().saturating_add_millis(60_000);
    let short = NewCredential { expires_at: Some(end), ..new_credential(Role::Admin) };
    let (short, _) = world.shard.issue_credential(world.own.id, short);
    let session = world.session(&short);
    assert_eq!(session.expires_at, Some(end));
    // The operator's sessions have no parent that could end.
    let minted = world.shard.execute(Command::MintSession { account: world.own.id, session: new_session() });
    assert!(world.works(&issued(minted.unwrap())));
}

#[test]
fn sessions_that_ended_a_day_ago_go_a_few_with_each_new_one() {
    let world = World::new();
    for _ in 0..12 {
        world.session(&world.viewer);
    }
    let count = || world.shard.numbers("SELECT count(*) FROM keys WHERE parent IS NOT NULL")[0];
    world.shard.advance(SESSION_MS + 24 * 3_600_000 - 1);
    world.session(&world.viewer);
    assert_eq!(count(), 13);
    world.shard.advance(1);
    world.session(&world.viewer);
    assert_eq!(count(), 6);
    world.session(&world.viewer);
    assert_eq!(count(), 3);
    let plan = world
        .shard
        .explain("SELECT digest FROM keys WHERE parent IS NOT NULL AND expires_at <= 1 ORDER BY expires_at LIMIT 8");
    assert!(plan.contains("keys_sessions"), "{plan}");
}

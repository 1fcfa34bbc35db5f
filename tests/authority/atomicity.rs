//! A command counts as a whole or not at all.

use keygate::{
    authority::{
        KeyFilter, SESSION_MS,
        admins::Caller,
        command::{
            AccountChange, Answer, Command, Edit, Failure, KeyChange, NewAccount, NewKey, NewSession, Order,
            WorkspaceChange,
        },
        settings::{NamePolicy, SettingsChange},
    },
    credential::Environment,
    policy::{Access, ApiAccess, Role},
};

use super::support::{Shard, new_account, new_credential, new_key};

#[test]
fn a_command_that_fails_at_any_statement_leaves_the_database_as_it_was() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let (credential, _) = shard.issue_credential(account.id, new_credential(Role::Admin));
    let session = NewSession { actor: "alice".into(), role: None, scopes: None, workspaces: None };
    let session = Command::MintSession { account: account.id, session };
    let mut orders = vec![(Caller::Root, Command::CreateAccount(new_account("Second")))];
    for caller in [Caller::Root, Caller::Credential(credential.digest)] {
        // An old session, to be removed with the new one.
        shard.execute(session.clone()).unwrap();
        let (key, _) = shard.issue(account.id, new_key());
        let name = Edit::Set(format!("Renamed by {}", caller.name()));
        let change = KeyChange { disabled: Edit::Set(true), ..KeyChange::default() };
        let commands = [
            Command::ChangeAccount { account: account.id, change: AccountChange { name, ..AccountChange::default() } },
            Command::IssueKey { account: account.id, key: new_key() },
            Command::IssueCredential { account: account.id, credential: new_credential(Role::Viewer) },
            session.clone(),
            Command::ChangeKey { account: account.id, key: key.id(), change },
            Command::RevokeKey { account: account.id, key: key.id() },
        ];
        orders.extend(commands.map(|command| (caller, command)));
    }
    let change = AccountChange { features: Edit::Set(vec!["beta".into()]), ..AccountChange::default() };
    orders.push((Caller::Root, Command::ChangeAccount { account: account.id, change }));
    let (key, _) = shard.issue(account.id, new_key());
    let api_access = ApiAccess { live: Access::Off, test: Access::Off };
    let off = shard.account(NewAccount { api_access, ..new_account("Off") });
    let named = |name: &str| AccountChange {
        name: Edit::Set(name.into()),
        settings: SettingsChange { name_policy: Edit::Set(NamePolicy::Unique), ..SettingsChange::default() },
        ..AccountChange::default()
    };
    let create = Command::CreateWorkspace { account: account.id, name: "East".into() };
    let Some(Answer::WorkspaceCreated(workspace)) = shard.execute(create).unwrap().answer else {
        panic!("no workspace")
    };
    shard.advance(SESSION_MS + 24 * 3_600_000);
    let filter = KeyFilter { environment: Some(Environment::Live), ..KeyFilter::default() };
    let plan = Command::PlanRevocation { account: account.id, filter };
    let [first, second] = [(), ()].map(|()| match shard.execute(plan.clone()).unwrap().answer {
        Some(Answer::Planned(plan)) => plan.id,
        other => panic!("no plan: {other:?}"),
    });
    let commands = [
        plan,
        Command::ExecutePlan { account: account.id, plan: first },
        Command::CancelPlan { account: account.id, plan: second },
        Command::CreateAccount(new_account("Second")),
        Command::ChangeAccount {
            account: account.id,
            change: AccountChange { features: Edit::Set(vec!["beta".into()]), ..named("Acme Ltd") },
        },
        Command::PutAccount { external_id: "org-2".into(), change: named("Third") },
        Command::PutAccount { external_id: "org-2".into(), change: named("Fourth") },
        Command::RequestAccess { account: off.id, environment: Environment::Live, note: Some("please".into()) },
        Command::IssueKey { account: account.id, key: NewKey { name: Some("second".into()), ..new_key() } },
        Command::ChangeKey {
            account: account.id,
            key: key.id(),
            change: KeyChange {
                name: Edit::Set(Some("third".into())),
                disabled: Edit::Set(true),
                ..KeyChange::default()
            },
        },
        Command::RevokeKey { account: account.id, key: key.id() },
        Command::CreateWorkspace { account: account.id, name: "North".into() },
        Command::ChangeWorkspace {
            account: account.id,
            workspace: workspace.id,
            change: WorkspaceChange { name: Edit::Set("South".into()) },
        },
        Command::ArchiveWorkspace { account: account.id, workspace: workspace.id },
        Command::RevokeAllKeys { account: account.id, environments: vec![Environment::Live, Environment::Test] },
    ];
    orders.extend(commands.map(|command| (Caller::Root, command)));
    for (caller, command) in orders {
        let statements =
            shard.fail_at_each_statement(|| match shard.order(Order { caller, ..shard.order_of(command.clone()) }) {
                Err(Failure::Refused(refusal)) => panic!("{command:?}: {refusal:?}"),
                outcome => outcome,
            });
        assert!(statements > 3, "{command:?} ran only {statements} statements");
    }
}

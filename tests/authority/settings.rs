//! What an account is configured with, and what it demands of its keys.

use keygate::{
    authority::{
        command::{AccountChange, Answer, Command, Edit, KeyChange, NewAccount, NewKey, Refusal},
        query::{Found, Query},
        record::{AccountRecord, KeyRecord},
        settings::{AccessLevel, AccessLevels, NamePolicy, Settings, SettingsChange},
        sql::Sql,
    },
    credential::{AccountRef, Environment},
    policy::{Access, ApiAccess, Catalogue, CatalogueEntry},
};

use super::{
    shorthand::{scopes, shard_with_account},
    support::{Shard, new_account, new_key},
};

fn catalogue(entries: &[(&'static str, &[&'static str])]) -> Catalogue {
    let entries = entries.iter().map(|(resource, verbs)| CatalogueEntry {
        resource: (*resource).into(),
        description: "Some".into(),
        verbs: verbs.iter().map(|verb| (*verb).into()).collect(),
    });
    Catalogue::new(entries.collect()).unwrap()
}

fn levels(levels: &[(&str, &[&str])]) -> AccessLevels {
    let level = |(name, texts): &(&str, &[&str])| AccessLevel {
        name: (*name).into(),
        description: None,
        scopes: scopes(texts),
    };
    AccessLevels::new(levels.iter().map(level).collect()).unwrap()
}

fn with(settings: Settings) -> NewAccount {
    NewAccount { settings, ..new_account("Acme") }
}

fn naming(name_policy: NamePolicy) -> NewAccount {
    with(Settings { name_policy, ..Settings::default() })
}

fn setting(account: AccountRef, settings: SettingsChange) -> Command {
    Command::ChangeAccount { account, change: AccountChange { settings, ..AccountChange::default() } }
}

fn changed(shard: &Shard, command: Command) -> AccountRecord {
    match shard.execute(command).unwrap().answer.unwrap() {
        Answer::Account(record) => record,
        other => panic!("no change of an account: {other:?}"),
    }
}

fn named(name: &str) -> NewKey {
    NewKey { name: Some(name.into()), ..new_key() }
}

fn rename(account: AccountRef, key: &KeyRecord, name: Option<&str>) -> Command {
    let change = KeyChange { name: Edit::Set(name.map(str::to_owned)), ..KeyChange::default() };
    Command::ChangeKey { account, key: key.id(), change }
}

/// The field and the sentence of a refusal that is the request's fault.
fn invalid(refusal: Refusal) -> (String, String) {
    match refusal {
        Refusal::Invalid { field, detail } => (field, detail),
        other => panic!("another refusal: {other:?}"),
    }
}

fn conflict(refusal: Refusal) -> String {
    match refusal {
        Refusal::Conflict { field, .. } => field.unwrap_or_default(),
        other => panic!("no conflict: {other:?}"),
    }
}

#[test]
fn settings_are_kept_and_changed_one_by_one() {
    let shard = Shard::new();
    let all = Settings {
        name_policy: NamePolicy::Required,
        access_levels: levels(&[("Read only", &["contacts:read"])]),
        access_level_required: true,
        catalogue: Some(catalogue(&[("contacts", &["read"])])),
        plan: Some("Connect".into()),
        access_note: None,
        explain_refusals: true,
        max_key_days: Some(90),
        rotation_days: Some(30),
        holders_may_rotate: true,
    };
    let account = shard.account(with(all.clone()));
    let read = shard.read_account(account.id);
    assert_eq!((&read.settings, &read), (&all, &AccountRecord { keys_due: Some(0), ..account.clone() }));
    let plan = SettingsChange { plan: Edit::Set(None), ..SettingsChange::default() };
    assert_eq!(shard.change_settings(account.id, plan).settings, Settings { plan: None, ..all.clone() });
    let nothing = shard.execute(setting(account.id, SettingsChange::default())).unwrap();
    assert!(nothing.committed.outdated.is_empty());
    let Some(Found::Scopes(Some(own))) = shard.ask(Query::Scopes(account.id)) else { panic!("no scopes") };
    assert_eq!(Some(own), all.catalogue);
    assert_eq!(shard.ask(Query::Scopes(AccountRef { number: 1, ..account.id })), None);
}

#[test]
fn only_what_decisions_need_goes_into_the_feed() {
    let shard = Shard::new();
    let account = shard.account(new_account("Acme"));
    let rows = || shard.numbers("SELECT count(*) FROM feed");
    let plan = SettingsChange { plan: Edit::Set(Some("Connect".into())), ..SettingsChange::default() };
    assert!(!shard.change_settings(account.id, plan).account().explain_refusals);
    assert_eq!(rows(), [0]);
    let explain = SettingsChange { explain_refusals: Edit::Set(true), ..SettingsChange::default() };
    assert!(shard.change_settings(account.id, explain).account().explain_refusals);
    assert_eq!(rows(), [1]);
}

#[test]
fn a_required_name_is_required_of_new_keys_and_of_renamed_ones() {
    let shard = Shard::new();
    let account = shard.account(naming(NamePolicy::Required)).id;
    let nameless = Command::IssueKey { account, key: NewKey { name: None, ..new_key() } };
    assert_eq!(invalid(shard.refused(nameless)).0, "name");
    let (key, _) = shard.issue(account, named("a"));
    shard.issue(account, named("a"));
    assert_eq!(invalid(shard.refused(rename(account, &key, None))).0, "name");
    assert_eq!(shard.key(rename(account, &key, Some("b"))).name.as_deref(), Some("b"));
}

#[test]
fn a_unique_name_is_that_of_one_active_key_in_its_environment() {
    let shard = Shard::new();
    let account = shard.account(naming(NamePolicy::Unique)).id;
    let issue = |key: NewKey| Command::IssueKey { account, key };
    assert_eq!(invalid(shard.refused(issue(NewKey { name: None, ..new_key() }))).0, "name");
    let (first, _) = shard.issue(account, named("a"));
    assert_eq!(conflict(shard.refused(issue(named("a")))), "name");
    shard.issue(account, NewKey { environment: Environment::Test, ..named("a") });
    let other = shard.account(naming(NamePolicy::Unique)).id;
    shard.issue(other, named("a"));

    // One's own name is free, another's is not, nor that of a disabled key.
    let (second, _) = shard.issue(account, named("b"));
    assert_eq!(shard.key(rename(account, &first, Some("a"))).name.as_deref(), Some("a"));
    assert_eq!(conflict(shard.refused(rename(account, &second, Some("a")))), "name");
    shard.set_disabled(&first, true);
    assert_eq!(conflict(shard.refused(issue(named("a")))), "name");

    // Revoked and expired keys give their names back.
    shard.revoke(&first);
    let expires_at = Some(shard.now().saturating_add_millis(1_000));
    shard.issue(account, NewKey { expires_at, ..named("a") });
    assert_eq!(conflict(shard.refused(issue(named("a")))), "name");
    shard.advance(1_000);
    shard.issue(account, named("a"));

    // So do keys that were revoked all at once.
    let all = "UPDATE accounts SET revoked_live = (SELECT sequence FROM meta), revoked_live_at = 1 WHERE number = ?1";
    shard.sql.run(all, &[account.number.into()]).unwrap();
    shard.issue(account, named("a"));
    assert_eq!(conflict(shard.refused(issue(named("a")))), "name");
    let in_test = NewKey { environment: Environment::Test, ..named("a") };
    assert_eq!(conflict(shard.refused(issue(in_test))), "name", "only live keys were");
}

#[test]
fn whether_a_name_is_taken_is_answered_by_the_index_of_names() {
    let shard = Shard::new();
    let account = shard.account(naming(NamePolicy::Unique)).id;
    shard.sql.statements.borrow_mut().clear();
    shard.issue(account, named("a"));
    let statements = shard.sql.statements.borrow().clone();
    let asked: Vec<&String> = statements.iter().filter(|statement| statement.contains("name = ?3")).collect();
    let [asked] = asked[..] else { panic!("{asked:?}") };
    let said = shard.explain(asked);
    let index = "USING INDEX keys_by_name (account=? AND environment=? AND name=? AND issued>?)";
    // What has a successor is looked up by its digest.
    let successor = "SEARCH successor USING PRIMARY KEY (digest=?)";
    assert!(said.matches("Text(").count() == 3 && said.contains(index) && said.contains(successor), "{said}");
}

#[test]
fn a_key_gets_the_scopes_of_its_access_level_unless_it_names_its_own() {
    let shard = Shard::new();
    let access_levels = levels(&[("Read only", &["contacts:read"]), ("Full", &["*"])]);
    let settings = Settings { access_levels, ..Settings::default() };
    let account = shard.account(with(settings)).id;
    let key = |level: Option<&str>, own: Option<&[&str]>| NewKey {
        access_level: level.map(str::to_owned),
        scopes: own.map(scopes),
        ..new_key()
    };
    let (full, _) = shard.issue(account, key(Some("Full"), None));
    assert_eq!((full.scopes.to_string().as_str(), full.access_level.as_deref()), ("*", Some("Full")));
    assert_eq!(shard.read(&full), full);
    let (custom, _) = shard.issue(account, key(Some("Full"), Some(&["jobs:read"])));
    assert_eq!((custom.scopes.to_string().as_str(), custom.access_level.as_deref()), ("jobs:read", Some("Full")));
    let (plain, _) = shard.issue(account, key(None, None));
    assert_eq!((plain.scopes.to_string().as_str(), plain.access_level), ("contacts:read", None));

    let refused = |key: NewKey| invalid(shard.refused(Command::IssueKey { account, key }));
    let (field, detail) = refused(key(Some("full"), None));
    assert_eq!(field, "access_level");
    assert_eq!(detail, "There is no access level \"full\"; the account has \"Full\", \"Read only\".");
    let required = SettingsChange { access_level_required: Edit::Set(true), ..SettingsChange::default() };
    shard.change_settings(account, required);
    assert_eq!(refused(key(None, Some(&["jobs:read"]))).0, "access_level");
    shard.issue(account, key(Some("Full"), None));
}

#[test]
fn scopes_must_stand_in_the_catalogue_in_force() {
    let mut shard = Shard::new();
    shard.catalogue = catalogue(&[("contacts", &["read", "write"])]);
    let account = shard.account(new_account("Acme")).id;
    let key = |texts: &[&str]| NewKey { scopes: Some(scopes(texts)), ..new_key() };
    let refused = |shard: &Shard, key: NewKey| invalid(shard.refused(Command::IssueKey { account, key }));
    shard.issue(account, key(&["contacts:write", "*:read", "*"]));
    let unknown = refused(&shard, key(&["contacts:raed"]));
    assert_eq!(unknown.0, "scopes");
    assert_eq!(
        unknown.1,
        "scopes: there is no scope `contacts:raed` in the catalogue; the nearest is `contacts:read`."
    );

    // The account's own replaces it.
    let own = catalogue(&[("jobs", &["run"]), ("contacts", &["read"])]);
    let change = SettingsChange { catalogue: Edit::Set(Some(own)), ..SettingsChange::default() };
    shard.change_settings(account, change);
    shard.issue(account, key(&["jobs:run"]));
    assert_eq!(refused(&shard, key(&["contacts:write"])).0, "scopes");

    // After a deploy with another catalogue, what the account has may not be in it any longer.
    let back = SettingsChange { catalogue: Edit::Set(None), ..SettingsChange::default() };
    shard.change_settings(account, back);
    shard.catalogue = catalogue(&[("jobs", &["run"])]);
    assert!(
        refused(&shard, new_key()).1.starts_with("the account's default_scopes: there is no scope `contacts:read`")
    );
    let plan = SettingsChange { plan: Edit::Set(Some("Connect".into())), ..SettingsChange::default() };
    shard.change_settings(account, plan);
}

#[test]
fn default_scopes_and_access_levels_must_stand_in_the_catalogue() {
    let mut shard = Shard::new();
    shard.catalogue = catalogue(&[("contacts", &["read"])]);
    let unfit = NewAccount { default_scopes: scopes(&["contacts:raed"]), ..new_account("Acme") };
    let (field, detail) = invalid(shard.refused(Command::CreateAccount(unfit)));
    assert_eq!(field, "default_scopes");
    assert!(detail.contains("`contacts:raed`") && detail.contains("the nearest is `contacts:read`"), "{detail}");
    let account = shard.account(new_account("Acme")).id;
    let change = AccountChange { default_scopes: Edit::Set(scopes(&["jobs:run"])), ..AccountChange::default() };
    assert_eq!(invalid(shard.refused(Command::ChangeAccount { account, change })).0, "default_scopes");
    let access_levels = levels(&[("Full", &["*"]), ("Jobs", &["jobs:run"])]);
    let change = SettingsChange { access_levels: Edit::Set(access_levels), ..SettingsChange::default() };
    let (field, detail) = invalid(shard.refused(setting(account, change.clone())));
    assert_eq!(field, "access_levels");
    assert!(detail.starts_with("access_levels, \"Jobs\": there is no scope `jobs:run`"), "{detail}");
    // Neither may a new catalogue leave any of them behind.
    let own = catalogue(&[("jobs", &["run"])]);
    let own = SettingsChange { catalogue: Edit::Set(Some(own)), ..SettingsChange::default() };
    assert_eq!(invalid(shard.refused(setting(account, own.clone()))).0, "default_scopes");
    let change = AccountChange {
        default_scopes: Edit::Set(scopes(&["jobs:*"])),
        settings: SettingsChange { access_levels: change.access_levels, ..own },
        ..AccountChange::default()
    };
    shard.change_account(account, change);
}

#[test]
fn what_a_key_is_issued_with_never_changes() {
    let (shard, account) = shard_with_account();
    let (key, _) = shard.issue(account, new_key());
    let change = KeyChange { name: Edit::Set(Some("x".into())), fixed: Some("scopes"), ..KeyChange::default() };
    let before = shard.sql.dump();
    let refusal = shard.refused(Command::ChangeKey { account, key: key.id(), change });
    let detail = "scopes cannot be changed after issue: issue a new key.";
    assert_eq!(refusal, Refusal::Conflict { field: Some("scopes".into()), detail: detail.into() });
    assert_eq!(shard.sql.dump(), before);
}

#[test]
fn access_is_asked_for_and_approved() {
    let shard = Shard::new();
    let api_access = ApiAccess { live: Access::Off, test: Access::Active };
    let account = shard.account(NewAccount { api_access, ..new_account("Acme") }).id;
    let issue = || match shard.refused(Command::IssueKey { account, key: new_key() }) {
        Refusal::AccountInactive { detail } => detail,
        other => panic!("another refusal: {other:?}"),
    };
    let ask = |environment, note: &str| Command::RequestAccess { account, environment, note: Some(note.into()) };
    assert!(issue().contains(&format!("ask for it with POST accounts/{account}/access-requests")));
    let asked = changed(&shard, ask(Environment::Live, "for our CRM"));
    assert_eq!(asked.api_access, ApiAccess { live: Access::Requested, ..api_access });
    assert_eq!(asked.settings.access_note.as_deref(), Some("for our CRM"));
    assert!(issue().contains("wait until an operator approves it"));
    let again = changed(&shard, ask(Environment::Live, "for our CRM, please"));
    assert_eq!(again.api_access, asked.api_access);
    assert_eq!(again.settings.access_note.as_deref(), Some("for our CRM, please"));
    assert_eq!(conflict(shard.refused(ask(Environment::Test, "this too"))), "environment");

    let approve = AccountChange {
        api_access: Edit::Set(ApiAccess { live: Access::Active, ..api_access }),
        settings: SettingsChange { plan: Edit::Set(Some("Connect".into())), ..SettingsChange::default() },
        ..AccountChange::default()
    };
    shard.change_account(account, approve);
    shard.issue(account, new_key());
    let withdraw = AccountChange { api_access: Edit::Set(api_access), ..AccountChange::default() };
    shard.change_account(account, withdraw);
    issue();
    let elsewhere = AccountRef { number: 1, ..account };
    let unknown = Command::RequestAccess { account: elsewhere, environment: Environment::Live, note: None };
    assert_eq!(shard.refused(unknown), Refusal::NotFound);
}

#[test]
fn an_account_is_put_under_its_external_id_once() {
    let shard = Shard::new();
    let put = |change: AccountChange| {
        let change = AccountChange { name: Edit::Set("Acme".into()), ..change };
        shard.execute(Command::PutAccount { external_id: "org-1".into(), change }).unwrap().answer.unwrap()
    };
    let first = AccountChange { features: Edit::Set(vec!["beta".into()]), ..AccountChange::default() };
    let Answer::Created(created) = put(first.clone()) else { panic!("not created") };
    assert_eq!(
        (created.external_id.as_deref(), created.features.as_slice()),
        (Some("org-1"), &["beta".to_owned()][..])
    );
    assert_eq!(created.api_access, ApiAccess { live: Access::Active, test: Access::Active });
    // A second one with the same changes nothing, and what is not named stays.
    assert_eq!(put(first), Answer::Account(created.clone()));
    let plan = SettingsChange { plan: Edit::Set(Some("Connect".into())), ..SettingsChange::default() };
    let Answer::Account(changed) = put(AccountChange { settings: plan, ..AccountChange::default() }) else {
        panic!("not changed")
    };
    assert_eq!(
        (changed.id, changed.features, changed.settings.plan.as_deref()),
        (created.id, created.features, Some("Connect"))
    );
    assert_eq!(shard.numbers("SELECT count(*) FROM accounts"), [1]);
}

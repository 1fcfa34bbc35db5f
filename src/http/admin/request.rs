//! From an admin request to a question or an order for the Authority.

use std::str::FromStr;

use crate::{
    authority::{
        KeyFilter, ListedStatus,
        admins::Caller,
        audit::{ACTIONS, AuditFilter},
        command::{AccountChange, Command, Edit, KeyChange, NewAccount, NewKey, Order, Precondition},
        query::{Page, Query},
    },
    credential::{AccountRef, Environment, KeyId, NumberedSecret, Peppers, PresentedKey},
    policy::UnixMillis,
};

use super::{
    super::{json::Members, parameters::Parameters, problem::Problem, values},
    credentials::{new_credential, new_session},
    place::{Cursor, external_id_of, wrong_cursor},
    precondition::{command_id, if_match},
    settings, workspaces,
};

/// What an admin request consists of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `GET`, `POST`, ….
    pub method: &'a str,
    /// The path behind `<prefix>/admin/v1/`.
    pub path: &'a str,
    /// The query string, without `?`.
    pub query: &'a str,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// Whose request it is.
    pub caller: Caller,
    /// `X-Keygate-Actor`.
    pub actor: Option<&'a str>,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<&'a str>,
    /// What the Worker tells a repeated call by when the caller gives no `Idempotency-Key`.
    pub command_id: &'a str,
    /// `If-Match`.
    pub if_match: Option<&'a str>,
    /// An account of another shard has the external id in the body.
    pub taken_elsewhere: bool,
    /// The body.
    pub body: &'a [u8],
    /// The time of the request.
    pub now: UnixMillis,
    /// The slot of the shard that was asked. Accounts of other slots are unknown to it.
    pub slot: u8,
}

/// A request that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum AdminRequest {
    /// A question.
    Ask(Query),
    /// An order.
    Do(Box<Order>),
}

/// Understands an admin request.
///
/// # Errors
/// 400, 404, 405, 413 or 415, saying what would be right.
pub fn parse(facts: &Facts<'_>, peppers: &Peppers) -> Result<AdminRequest, Problem> {
    let segments: Vec<&str> = facts.path.split('/').collect();
    match (facts.method, segments.as_slice()) {
        ("POST", ["accounts"]) => command(facts, &new_account),
        ("GET", ["accounts"]) => accounts(facts),
        (_, ["accounts"]) => Err(Problem::method_not_allowed("GET, POST")),
        ("PUT", ["accounts", "by-external-id", id]) => {
            let id = external_id_of(id)?;
            order(facts, Precondition::Any, true, &|members| put_account(members, &id))
        }
        (_, ["accounts", "by-external-id", _]) => Err(Problem::method_not_allowed("PUT")),
        ("GET", ["platform"]) => ask(facts, Query::Platform),
        ("PUT", ["platform"]) => order(facts, Precondition::Any, true, &set_platform),
        (_, ["platform"]) => Err(Problem::method_not_allowed("GET, PUT")),
        (method, ["accounts", id, rest @ ..]) => {
            let account = AccountRef::parse(id).filter(|id| id.slot == facts.slot).ok_or_else(Problem::not_found)?;
            match (method, rest) {
                ("GET", []) => ask(facts, Query::Account(account)),
                ("PATCH", []) => change(facts, &|members| account_change(members, account)),
                (_, []) => Err(Problem::method_not_allowed("GET, PATCH")),
                ("POST", ["access-requests"]) => {
                    order(facts, Precondition::Any, true, &|members| access_request(members, account))
                }
                (_, ["access-requests"]) => Err(Problem::method_not_allowed("POST")),
                ("GET", ["scopes"]) => ask(facts, Query::Scopes(account)),
                (_, ["scopes"]) => Err(Problem::method_not_allowed("GET")),
                ("GET", ["audit"]) => audit(facts, account),
                (_, ["audit"]) => Err(Problem::method_not_allowed("GET")),
                ("POST", ["keys"]) => command(facts, &|members| new_key(members, account, facts.now)),
                ("GET", ["keys"]) => keys(facts, account),
                (_, ["keys"]) => Err(Problem::method_not_allowed("GET, POST")),
                ("POST", ["keys", "lookup"]) => lookup(facts, account, peppers),
                (_, ["keys", "lookup"]) => Err(Problem::method_not_allowed("POST")),
                ("POST", ["sessions"]) => command(facts, &|members| new_session(members, account)),
                (_, ["sessions"]) => Err(Problem::method_not_allowed("POST")),
                ("POST", ["keys", "revoke-all"]) => {
                    order(facts, Precondition::Any, true, &|members| revoke_all(members, account))
                }
                (_, ["keys", "revoke-all"]) => Err(Problem::method_not_allowed("POST")),
                (method, ["workspaces", rest @ ..]) => workspaces::parse(facts, account, method, rest),
                (method, ["keys", id, rest @ ..]) => {
                    let key = KeyId::parse(id).ok_or_else(Problem::not_found)?;
                    match (method, rest) {
                        ("GET", []) => ask(facts, Query::Key(account, key)),
                        ("PATCH", []) => change(facts, &|members| key_change(members, account, key)),
                        (_, []) => Err(Problem::method_not_allowed("GET, PATCH")),
                        ("POST", ["revoke"]) => order(facts, Precondition::Any, true, &|members| {
                            members.finish()?;
                            Ok(Command::RevokeKey { account, key })
                        }),
                        (_, ["revoke"]) => Err(Problem::method_not_allowed("POST")),
                        _ => Err(Problem::not_found()),
                    }
                }
                _ => Err(Problem::not_found()),
            }
        }
        _ => Err(Problem::not_found()),
    }
}

pub(super) fn ask(facts: &Facts<'_>, query: Query) -> Result<AdminRequest, Problem> {
    Parameters::parse(facts.query).finish(&[])?;
    Ok(AdminRequest::Ask(query))
}

pub(super) type Reading<'r> = &'r dyn Fn(Members<'_>) -> Result<Command, Problem>;

fn command(facts: &Facts<'_>, read: Reading<'_>) -> Result<AdminRequest, Problem> {
    order(facts, Precondition::Any, false, read)
}

/// A command on what is there already, which says which version it is meant for.
pub(super) fn change(facts: &Facts<'_>, read: Reading<'_>) -> Result<AdminRequest, Problem> {
    order(facts, if_match(facts.if_match)?, true, read)
}

pub(super) fn order(
    facts: &Facts<'_>,
    precondition: Precondition,
    may_wait: bool,
    read: Reading<'_>,
) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let effective = |text: &str| (text == "effective").then_some(());
    let wait = may_wait && choice(&mut parameters, "wait", "\"effective\"", effective)?.is_some();
    parameters.finish(if may_wait { &["wait"] } else { &[] })?;
    let actor = facts.actor.map(actor).transpose()?;
    let id = command_id(facts)?;
    let command = read(Members::read(facts.content_type, facts.body)?)?;
    Ok(AdminRequest::Do(Box::new(Order {
        command,
        id,
        caller: facts.caller,
        actor,
        precondition,
        wait,
        taken_elsewhere: facts.taken_elsewhere,
    })))
}

fn actor(text: &str) -> Result<String, Problem> {
    if values::is_reference(text) {
        return Ok(text.to_owned());
    }
    Err(Problem::field(
        "X-Keygate-Actor",
        format!("X-Keygate-Actor must be 1 to {} visible ASCII characters.", values::REFERENCE_BYTES_MAX),
    ))
}

fn new_account(mut members: Members<'_>) -> Result<Command, Problem> {
    let name = members.required("name", values::name)?;
    let external_id = members.nullable("external_id", values::reference);
    let change = of_account(&mut members);
    members.finish()?;
    Ok(Command::CreateAccount(NewAccount::with(name, external_id, change)))
}

/// What can be set when an account is created, and later.
fn of_account(members: &mut Members<'_>) -> AccountChange {
    AccountChange {
        brand: edit(members.optional("brand", values::brand)),
        max_active_keys: edit(members.optional("max_active_keys", values::or_null(values::max_active_keys))),
        api_access: edit(members.optional("api_access", values::api_access)),
        features: edit(members.optional("features", values::features)),
        default_scopes: edit(members.optional("default_scopes", values::scopes)),
        settings: settings::read(members),
        ..AccountChange::default()
    }
}

fn account_change(mut members: Members<'_>, account: AccountRef) -> Result<Command, Problem> {
    let change = AccountChange {
        name: edit(members.optional("name", values::name)),
        external_id: edit(members.optional("external_id", values::or_null(values::reference))),
        status: edit(members.optional("status", values::account_status)),
        ..of_account(&mut members)
    };
    members.finish()?;
    Ok(Command::ChangeAccount { account, change })
}

/// The name may be left out by nobody: the account may be new.
fn put_account(mut members: Members<'_>, external_id: &str) -> Result<Command, Problem> {
    let name = Edit::Set(members.required("name", values::name)?);
    let change = AccountChange { name, ..of_account(&mut members) };
    members.finish()?;
    Ok(Command::PutAccount { external_id: external_id.to_owned(), change })
}

fn access_request(mut members: Members<'_>, account: AccountRef) -> Result<Command, Problem> {
    let environment = members.required("environment", values::api_environment)?;
    let note = members.nullable("note", settings::note);
    members.finish()?;
    Ok(Command::RequestAccess { account, environment, note })
}

fn new_key(mut members: Members<'_>, account: AccountRef, now: UnixMillis) -> Result<Command, Problem> {
    let environment = members.required("environment", values::environment)?;
    if environment == Environment::Admin {
        return new_credential(members, account, now);
    }
    let key = NewKey {
        name: members.nullable("name", values::name),
        environment,
        scopes: members.optional("scopes", values::scopes),
        access_level: members.nullable("access_level", settings::access_level),
        not_before: members.nullable("not_before", values::instant),
        expires_at: members.nullable("expires_at", values::instant),
        workspaces: members.nullable("workspaces", values::workspaces),
        fields: members.optional("fields", values::fields).unwrap_or_default(),
    };
    members.finish()?;
    values::check_validity(key.not_before, key.expires_at, now)?;
    Ok(Command::IssueKey { account, key })
}

fn revoke_all(mut members: Members<'_>, account: AccountRef) -> Result<Command, Problem> {
    let environment = members.optional("environment", values::any_environment);
    members.finish()?;
    let environments = environment.map_or_else(|| vec![Environment::Live, Environment::Test], |one| vec![one]);
    Ok(Command::RevokeAllKeys { account, environments })
}

fn key_change(mut members: Members<'_>, account: AccountRef, key: KeyId) -> Result<Command, Problem> {
    let change = KeyChange {
        name: edit(members.optional("name", values::or_null(values::name))),
        disabled: edit(members.optional("disabled", values::flag)),
        fixed: members.first_of(&FIXED),
    };
    members.finish()?;
    Ok(Command::ChangeKey { account, key, change })
}

/// What a key is issued with, and keeps.
const FIXED: [&str; 5] = ["scopes", "access_level", "environment", "workspaces", "fields"];

fn set_platform(mut members: Members<'_>) -> Result<Command, Problem> {
    let features = members.required("features", values::features)?;
    members.finish()?;
    Ok(Command::SetPlatform { features })
}

pub(super) fn edit<T>(value: Option<T>) -> Edit<T> {
    value.map_or(Edit::Keep, Edit::Set)
}

/// Which key is this? What is no key of ours is as unknown as another account's key, or one that never was.
fn lookup(facts: &Facts<'_>, account: AccountRef, peppers: &Peppers) -> Result<AdminRequest, Problem> {
    Parameters::parse(facts.query).finish(&[])?;
    let mut members = Members::read(facts.content_type, facts.body)?;
    let text = members.required("key", values::text)?;
    members.finish()?;
    let recognised = PresentedKey::parse(&text).ok().and_then(|key| peppers.recognise(&key));
    let recognised = recognised.filter(|key| key.account == account).ok_or_else(Problem::not_found)?;
    Ok(AdminRequest::Ask(Query::KeyByDigest(account, recognised.digest)))
}

fn accounts(facts: &Facts<'_>) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let page = page(facts, &mut parameters)?;
    let external_id = parameters.once("external_id")?;
    parameters.finish(&["limit", "cursor", "external_id"])?;
    Ok(AdminRequest::Ask(Query::Accounts(external_id, page)))
}

fn audit(facts: &Facts<'_>, account: AccountRef) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let page = page(facts, &mut parameters)?;
    let filter = AuditFilter {
        action: choice(&mut parameters, "action", "an action, such as key.revoke", |text| {
            ACTIONS.contains(&text).then(|| text.to_owned())
        })?,
        actor: parameters.once("actor")?,
        subject: parameters.once("subject")?,
    };
    parameters.finish(&["limit", "cursor", "action", "actor", "subject"])?;
    Ok(AdminRequest::Ask(Query::Audit(account, filter, page)))
}

fn keys(facts: &Facts<'_>, account: AccountRef) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let page = page(facts, &mut parameters)?;
    let filter = KeyFilter {
        environment: choice(&mut parameters, "environment", values::ANY_ENVIRONMENT, |text| text.parse().ok())?,
        status: choice(
            &mut parameters,
            "status",
            "\"active\", \"disabled\", \"expired\" or \"revoked\"",
            ListedStatus::parse,
        )?,
        pepper: choice(&mut parameters, "pepper", "the id of a pepper, 0 to 15", |text| {
            plain(text).filter(|id| *id <= NumberedSecret::MAX_ID)
        })?,
    };
    parameters.finish(&["limit", "cursor", "environment", "status", "pepper"])?;
    Ok(AdminRequest::Ask(Query::Keys(account, filter, page)))
}

pub(super) fn choice<T>(
    parameters: &mut Parameters,
    name: &str,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let Some(text) = parameters.once(name)? else { return Ok(None) };
    match parse(&text) {
        Some(value) => Ok(Some(value)),
        None => Err(Problem::field(name, format!("{name} must be {expected}."))),
    }
}

/// Reads `limit` and `cursor`.
pub(super) fn page(facts: &Facts<'_>, parameters: &mut Parameters) -> Result<Page, Problem> {
    let limit = match parameters.once("limit")? {
        None => LIMIT_DEFAULT,
        Some(text) => plain(&text)
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| Problem::field("limit", format!("limit must be a whole number from 1 to {LIMIT_MAX}.")))?,
    };
    let before = match parameters.once("cursor")? {
        None => None,
        Some(text) => Cursor::parse(&text).filter(|cursor| cursor.slot == facts.slot).ok_or_else(wrong_cursor)?.before,
    };
    Ok(Page { before, limit })
}

/// A number written the one way it is written everywhere: no sign, no leading zeros.
fn plain<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|number| number.to_string() == text)
}

/// Accounts or keys per page when nothing is said.
const LIMIT_DEFAULT: u32 = 50;

/// Accounts or keys per page at most: some 100 KB of JSON.
const LIMIT_MAX: u32 = 100;

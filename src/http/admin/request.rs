//! From an admin request to a question or an order for the Authority.

use std::str::FromStr;

use crate::{
    authority::{
        KeyFilter, ListedStatus,
        audit::{ACTIONS, AuditFilter},
        command::{AccountChange, Command, Edit, KeyChange, NewAccount, NewKey, Order, Precondition},
        query::{Page, Query},
    },
    credential::{AccountRef, KeyId, NumberedSecret, Peppers, PresentedKey},
    json::Json,
    policy::{Access, ApiAccess, UnixMillis},
};

use super::{
    super::{json::Members, parameters::Parameters, problem::Problem, values},
    place::{Cursor, wrong_cursor},
    precondition::{command_id, if_match},
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
    Do(Order),
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
        (method, ["accounts", id, rest @ ..]) => {
            let account = AccountRef::parse(id).filter(|id| id.slot == facts.slot).ok_or_else(Problem::not_found)?;
            match (method, rest) {
                ("GET", []) => ask(facts, Query::Account(account)),
                ("PATCH", []) => change(facts, &|members| account_change(members, account)),
                (_, []) => Err(Problem::method_not_allowed("GET, PATCH")),
                ("GET", ["audit"]) => audit(facts, account),
                (_, ["audit"]) => Err(Problem::method_not_allowed("GET")),
                ("POST", ["keys"]) => command(facts, &|members| new_key(members, account, facts.now)),
                ("GET", ["keys"]) => keys(facts, account),
                (_, ["keys"]) => Err(Problem::method_not_allowed("GET, POST")),
                ("POST", ["keys", "lookup"]) => lookup(facts, account, peppers),
                (_, ["keys", "lookup"]) => Err(Problem::method_not_allowed("POST")),
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

fn ask(facts: &Facts<'_>, query: Query) -> Result<AdminRequest, Problem> {
    Parameters::parse(facts.query).finish(&[])?;
    Ok(AdminRequest::Ask(query))
}

type Reading<'r> = &'r dyn Fn(Members<'_>) -> Result<Command, Problem>;

fn command(facts: &Facts<'_>, read: Reading<'_>) -> Result<AdminRequest, Problem> {
    order(facts, Precondition::Any, false, read)
}

/// A command on what is there already, which says which version it is meant for.
fn change(facts: &Facts<'_>, read: Reading<'_>) -> Result<AdminRequest, Problem> {
    order(facts, if_match(facts.if_match)?, true, read)
}

fn order(
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
    Ok(AdminRequest::Do(Order {
        command,
        id,
        credential: "root",
        actor,
        precondition,
        wait,
        taken_elsewhere: facts.taken_elsewhere,
    }))
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
    let account = NewAccount {
        name: members.required("name", values::name)?,
        external_id: members.nullable("external_id", values::reference),
        brand: members.optional("brand", values::brand).unwrap_or_default(),
        max_active_keys: members.nullable("max_active_keys", values::max_active_keys),
        api_access: members
            .optional("api_access", values::api_access)
            .unwrap_or(ApiAccess { live: Access::Active, test: Access::Active }),
        features: members.optional("features", values::features).unwrap_or_default(),
        default_scopes: members.optional("default_scopes", values::scopes).unwrap_or_default(),
    };
    members.finish()?;
    Ok(Command::CreateAccount(account))
}

fn account_change(mut members: Members<'_>, account: AccountRef) -> Result<Command, Problem> {
    let change = AccountChange {
        name: edit(members.optional("name", values::name)),
        external_id: edit(members.optional("external_id", or_null(values::reference))),
        brand: edit(members.optional("brand", values::brand)),
        status: edit(members.optional("status", values::account_status)),
        max_active_keys: edit(members.optional("max_active_keys", or_null(values::max_active_keys))),
        api_access: edit(members.optional("api_access", values::api_access)),
        features: edit(members.optional("features", values::features)),
        default_scopes: edit(members.optional("default_scopes", values::scopes)),
    };
    members.finish()?;
    Ok(Command::ChangeAccount { account, change })
}

fn new_key(mut members: Members<'_>, account: AccountRef, now: UnixMillis) -> Result<Command, Problem> {
    let key = NewKey {
        name: members.nullable("name", values::name),
        environment: members.required("environment", values::environment)?,
        scopes: members.optional("scopes", values::scopes),
        not_before: members.nullable("not_before", values::instant),
        expires_at: members.nullable("expires_at", values::instant),
    };
    members.finish()?;
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(Problem::field("expires_at", "expires_at must lie in the future."));
    }
    if let (Some(start), Some(end)) = (key.not_before, key.expires_at)
        && start >= end
    {
        return Err(Problem::field("not_before", "not_before must lie before expires_at."));
    }
    Ok(Command::IssueKey { account, key })
}

fn key_change(mut members: Members<'_>, account: AccountRef, key: KeyId) -> Result<Command, Problem> {
    let change = KeyChange {
        name: edit(members.optional("name", or_null(values::name))),
        disabled: edit(members.optional("disabled", values::flag)),
    };
    members.finish()?;
    Ok(Command::ChangeKey { account, key, change })
}

fn edit<T>(value: Option<T>) -> Edit<T> {
    value.map_or(Edit::Keep, Edit::Set)
}

fn or_null<'a, T>(
    parse: impl FnOnce(Json<'a>) -> Result<T, String>,
) -> impl FnOnce(Json<'a>) -> Result<Option<T>, String> {
    |value| if value == Json::Null { Ok(None) } else { parse(value).map(Some) }
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
        environment: choice(&mut parameters, "environment", values::ENVIRONMENTS, values::environment_text)?,
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

fn choice<T>(
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
fn page(facts: &Facts<'_>, parameters: &mut Parameters) -> Result<Page, Problem> {
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

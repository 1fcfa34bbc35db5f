//! From an admin request to a question or an order for the Authority.

use std::str::FromStr;

use crate::{
    authority::{
        admins::Caller,
        audit::{ACTIONS, AuditFilter},
        command::{AccountChange, Command, Edit, KeyChange, NewAccount, NewKey, NewRotation, Order, Precondition},
        query::{Page, Query},
    },
    credential::{AccountRef, Environment, KeyId, Peppers, PresentedKey},
    policy::UnixMillis,
};

use super::{
    super::{
        json::{Members, Parse},
        parameters::Parameters,
        problem::Problem,
        values,
    },
    credentials::{new_credential, new_session},
    export::{self, Export},
    labels,
    place::{Cursor, external_id_of, wrong_cursor},
    plans,
    precondition::{command_id, if_match},
    settings, usage, workspaces,
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
    /// Where a page of an export begins, as the one before it said.
    pub from: Option<u64>,
    /// The time of the request.
    pub now: UnixMillis,
    /// The slot of the shard that was asked. Accounts of other slots are unknown to it.
    pub slot: u8,
}

/// A request that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum AdminRequest {
    /// A question.
    Ask(Box<Query>),
    /// A question whose answer is to be a picture.
    Draw(Box<Query>),
    /// A question for a page of an export.
    Export(Box<Query>, Export),
    /// An order.
    Do(Box<Order>),
}

/// Understands an admin request.
///
/// # Errors
/// 400, 404, 405, 413 or 415, saying what would be right.
pub fn parse(facts: &Facts<'_>, peppers: &Peppers) -> Result<AdminRequest, Problem> {
    match (facts.method, facts.path) {
        ("POST", "accounts") => return order(facts, Needs::Nothing, &new_account),
        ("GET", "accounts") => return accounts(facts),
        ("GET", "platform") => return ask(facts, Query::Platform),
        ("PUT", "platform") => return order(facts, Needs::Effect, &set_platform),
        _ => {}
    }
    let Some(rest) = facts.path.strip_prefix("accounts/") else {
        return nothing(facts.path, &[("accounts", "GET, POST"), ("platform", "GET, PUT")]);
    };
    if let Some(id) = rest.strip_prefix("by-external-id/").filter(|id| !id.contains('/')) {
        if facts.method != "PUT" {
            return Err(Problem::method_not_allowed("PUT"));
        }
        let id = external_id_of(id)?;
        return order(facts, Needs::Effect, &|members| put_account(members, &id));
    }
    let (id, rest) = behind_id(rest);
    let account = AccountRef::parse(id).filter(|id| id.slot == facts.slot).ok_or_else(Problem::not_found)?;
    match (facts.method, rest) {
        ("GET", "") => ask(facts, Query::Account(account)),
        ("PATCH", "") => order(facts, Needs::Version, &|members| account_change(members, account)),
        ("POST", "/access-requests") => order(facts, Needs::Effect, &|members| access_request(members, account)),
        ("GET", "/scopes") => ask(facts, Query::Scopes(account)),
        ("GET", "/audit") => audit(facts, account),
        ("POST", "/keys") => order(facts, Needs::Nothing, &|members| new_key(members, account, facts.now)),
        ("GET", "/keys") => keys(facts, account),
        ("POST", "/keys/lookup") => lookup(facts, account, peppers),
        ("POST", "/sessions") => order(facts, Needs::Nothing, &|members| new_session(members, account)),
        ("POST", "/keys/revoke-all") => order(facts, Needs::Effect, &|members| revoke_all(members, account)),
        ("GET", "/keys/export") => export::parse(facts, account),
        ("GET", "/keys/stale") => plans::stale(facts, account),
        ("GET", "/keys/plans") => plans::listed(facts, &|page| Query::Plans(account, page)),
        ("POST", "/keys/plans") => order(facts, Needs::Nothing, &|members| plans::new(members, account)),
        ("GET", "/workspaces") => workspaces::list(facts, account),
        ("POST", "/workspaces") => order(facts, Needs::Effect, &|members| workspaces::new(members, account)),
        _ => {
            if let Some(rest) = rest.strip_prefix("/workspaces/") {
                return workspaces::parse(facts, account, rest);
            }
            if let Some(rest) = rest.strip_prefix("/keys/plans/") {
                return plans::parse(facts, account, rest);
            }
            if let Some((id, rest)) = rest.strip_prefix("/keys/").map(behind_id)
                && let Some(key) = KeyId::parse(id)
            {
                return of_key(facts, account, key, rest);
            }
            nothing(
                rest,
                &[
                    ("", "GET, PATCH"),
                    ("/access-requests", "POST"),
                    ("/scopes", "GET"),
                    ("/audit", "GET"),
                    ("/keys", "GET, POST"),
                    ("/keys/lookup", "POST"),
                    ("/sessions", "POST"),
                    ("/keys/revoke-all", "POST"),
                    ("/keys/export", "GET"),
                    ("/keys/stale", "GET"),
                    ("/keys/plans", "GET, POST"),
                    ("/workspaces", "GET, POST"),
                ],
            )
        }
    }
}

/// Understands a request about one key; `rest` is the path behind its id.
fn of_key(facts: &Facts<'_>, account: AccountRef, key: KeyId, rest: &str) -> Result<AdminRequest, Problem> {
    let bare = |command: fn(AccountRef, KeyId) -> Command| bare(facts, Needs::Effect, &|| command(account, key));
    match (facts.method, rest) {
        ("GET", "") => ask(facts, Query::Key(account, key)),
        ("PATCH", "") => order(facts, Needs::Version, &|members| key_change(members, account, key)),
        ("GET", "/usage") => usage::parse(facts, account, key, false),
        ("GET", "/usage.svg") => usage::parse(facts, account, key, true),
        ("POST", "/revoke") => bare(|account, key| Command::RevokeKey { account, key }),
        ("POST", "/rotate") => order(facts, Needs::Version, &|members| match facts.caller {
            Caller::Holder(_) => own_rotation(members, account, key),
            Caller::Root | Caller::Credential(_) => rotation(members, account, key, facts.now),
        }),
        ("POST", "/rotate/confirm") => bare(|account, key| Command::ConfirmRotation { account, key }),
        ("POST", "/rotate/cancel") => bare(|account, key| Command::CancelRotation { account, key }),
        _ => nothing(
            rest,
            &[
                ("", "GET, PATCH"),
                ("/usage", "GET"),
                ("/usage.svg", "GET"),
                ("/revoke", "POST"),
                ("/rotate", "POST"),
                ("/rotate/confirm", "POST"),
                ("/rotate/cancel", "POST"),
            ],
        ),
    }
}

/// The answer where no method fits: 405 at the paths that are there, with the methods that would be right.
pub(super) fn nothing(path: &str, there: &[(&str, &'static str)]) -> Result<AdminRequest, Problem> {
    match there.iter().find(|(known, _)| *known == path) {
        Some((_, allow)) => Err(Problem::method_not_allowed(allow)),
        None => Err(Problem::not_found()),
    }
}

/// The id that a path begins with, and what stands behind it: nothing, or a slash and more.
pub(super) fn behind_id(path: &str) -> (&str, &str) {
    path.split_at_checked(path.bytes().take_while(|byte| *byte != b'/').count()).unwrap_or((path, ""))
}

pub(super) fn ask(facts: &Facts<'_>, query: Query) -> Result<AdminRequest, Problem> {
    Parameters::parse(facts.query).finish(&[])?;
    Ok(AdminRequest::Ask(Box::new(query)))
}

pub(super) type Reading<'r> = &'r dyn Fn(Members<'_>) -> Result<Command, Problem>;

/// What a command has beside its body.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Needs {
    /// Nothing.
    Nothing,
    /// It may wait until it counts everywhere.
    Effect,
    /// It is on what is there already: it may wait, too, and says which version it is meant for.
    Version,
}

/// A command that has no body.
pub(super) fn bare(facts: &Facts<'_>, needs: Needs, make: &dyn Fn() -> Command) -> Result<AdminRequest, Problem> {
    order(facts, needs, &|members| members.finish().map(|()| make()))
}

pub(super) fn order(facts: &Facts<'_>, needs: Needs, read: Reading<'_>) -> Result<AdminRequest, Problem> {
    let precondition = if needs == Needs::Version { if_match(facts.if_match)? } else { Precondition::Any };
    let may_wait = needs != Needs::Nothing;
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
    let mut change = AccountChange::default();
    of_account(&mut members, &mut change);
    members.finish()?;
    Ok(Command::CreateAccount(NewAccount::with(name, external_id, change)))
}

/// What can be set when an account is created, and later.
fn of_account(members: &mut Members<'_>, change: &mut AccountChange) {
    members.edit("brand", &mut change.brand, values::brand);
    members.edit_or_null("max_active_keys", &mut change.max_active_keys, values::max_active_keys);
    members.edit("api_access", &mut change.api_access, values::api_access);
    members.edit("features", &mut change.features, values::features);
    members.edit("default_scopes", &mut change.default_scopes, values::scopes);
    settings::read(members, &mut change.settings);
}

fn account_change(mut members: Members<'_>, account: AccountRef) -> Result<Command, Problem> {
    let mut change = AccountChange::default();
    members.edit("name", &mut change.name, values::name);
    members.edit_or_null("external_id", &mut change.external_id, values::reference);
    members.edit("status", &mut change.status, values::account_status);
    of_account(&mut members, &mut change);
    members.finish()?;
    Ok(Command::ChangeAccount { account, change })
}

/// The name may be left out by nobody: the account may be new.
fn put_account(mut members: Members<'_>, external_id: &str) -> Result<Command, Problem> {
    let name = Edit::Set(members.required("name", values::name)?);
    let mut change = AccountChange { name, ..AccountChange::default() };
    of_account(&mut members, &mut change);
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
        allowed_ips: members.nullable("allowed_ips", values::allowed_ips),
        labels: labels::read_new(&mut members),
    };
    members.finish()?;
    values::check_validity(key.not_before, key.expires_at, now)?;
    Ok(Command::IssueKey { account, key })
}

fn revoke_all(mut members: Members<'_>, account: AccountRef) -> Result<Command, Problem> {
    let environment = members.optional("environment", values::environment);
    members.finish()?;
    let environments = environment.map_or_else(|| vec![Environment::Live, Environment::Test], |one| vec![one]);
    Ok(Command::RevokeAllKeys { account, environments })
}

fn key_change(mut members: Members<'_>, account: AccountRef, key: KeyId) -> Result<Command, Problem> {
    let mut change = KeyChange::default();
    members.edit_or_null("name", &mut change.name, values::name);
    members.edit("disabled", &mut change.disabled, values::flag);
    labels::read(&mut members, &mut change.labels);
    change.fixed = members.first_of(&FIXED);
    members.finish()?;
    Ok(Command::ChangeKey { account, key, change })
}

/// What holders may say of the successor of their own key.
fn own_rotation(mut members: Members<'_>, account: AccountRef, key: KeyId) -> Result<Command, Problem> {
    let rotation = begun(&mut members, values::own_overlap)?;
    members.finish()?;
    Ok(Command::RotateKey { account, key, rotation })
}

fn rotation(mut members: Members<'_>, account: AccountRef, key: KeyId, now: UnixMillis) -> Result<Command, Problem> {
    let mut rotation = begun(&mut members, values::overlap)?;
    members.edit_or_null("workspaces", &mut rotation.workspaces, values::workspaces);
    rotation.fields = members.optional("fields", values::fields);
    members.edit_or_null("allowed_ips", &mut rotation.allowed_ips, values::allowed_ips);
    members.edit_or_null("expires_at", &mut rotation.expires_at, values::instant);
    members.finish()?;
    if let Edit::Set(expires_at) = &rotation.expires_at {
        values::check_validity(None, *expires_at, now)?;
    }
    Ok(Command::RotateKey { account, key, rotation })
}

/// What everyone may say of a successor.
fn begun<'a>(members: &mut Members<'a>, overlap: Parse<'a, u64>) -> Result<NewRotation, Problem> {
    Ok(NewRotation {
        overlap_ms: members.required("overlap", overlap)?.saturating_mul(1_000),
        overlap_from: members.optional("overlap_from", values::overlap_from).unwrap_or_default(),
        scopes: members.optional("scopes", values::scopes),
        ..NewRotation::default()
    })
}

/// What a key is issued with, and keeps.
const FIXED: [&str; 6] = ["scopes", "access_level", "environment", "workspaces", "fields", "allowed_ips"];

fn set_platform(mut members: Members<'_>) -> Result<Command, Problem> {
    let features = members.required("features", values::features)?;
    members.finish()?;
    Ok(Command::SetPlatform { features })
}

/// Which key is this? What is no key of ours is as unknown as another account's key, or one that never was.
fn lookup(facts: &Facts<'_>, account: AccountRef, peppers: &Peppers) -> Result<AdminRequest, Problem> {
    Parameters::parse(facts.query).finish(&[])?;
    let mut members = Members::read(facts.content_type, facts.body)?;
    let text = members.required("key", values::text)?;
    members.finish()?;
    let recognised = PresentedKey::parse(&text).ok().and_then(|key| peppers.recognise(&key));
    let recognised = recognised.filter(|key| key.account == account).ok_or_else(Problem::not_found)?;
    Ok(AdminRequest::Ask(Box::new(Query::KeyByDigest(account, recognised.digest))))
}

fn accounts(facts: &Facts<'_>) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let page = page(facts, &mut parameters)?;
    let external_id = parameters.once("external_id")?;
    parameters.finish(&["limit", "cursor", "external_id"])?;
    Ok(AdminRequest::Ask(Box::new(Query::Accounts(external_id, page))))
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
    Ok(AdminRequest::Ask(Box::new(Query::Audit(account, filter, page))))
}

fn keys(facts: &Facts<'_>, account: AccountRef) -> Result<AdminRequest, Problem> {
    let mut parameters = Parameters::parse(facts.query);
    let page = page(facts, &mut parameters)?;
    let filter = plans::filter(&mut parameters)?;
    parameters.finish(plans::LISTED)?;
    Ok(AdminRequest::Ask(Box::new(Query::Keys(account, filter, page))))
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
pub(super) fn plain<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|number| number.to_string() == text)
}

/// Accounts or keys per page when nothing is said.
const LIMIT_DEFAULT: u32 = 50;

/// Accounts or keys per page at most: some 100 KB of JSON.
pub(super) const LIMIT_MAX: u32 = 100;

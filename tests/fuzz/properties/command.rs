//! Admin requests: what is understood keeps the documented limits and means the same when it is written anew; what is
//! refused is a well-formed problem.

use keygate::{
    authority::{
        admins::Caller,
        audit::ACTIONS,
        command::{AccountChange, Command, Edit, NewAccount, NewCredential, NewKey, Order, Precondition},
        query::{Page, Query},
        settings::Settings,
    },
    credential::{Brand, Environment, PresentedKey, WorkspaceId},
    http::{
        Problem,
        admin::{self, AdminRequest, Export, Facts, Format, Place, query_for_slot},
    },
    policy::{FIELDS_BYTES_MAX, MAX_SCOPES, WORKSPACES_MAX},
};
use serde_json::Value;

use super::{
    anew::{account_path, address, key_path, plan_path, set, set_to, workspace_path, written},
    fixture::{NOW, PEPPERS},
};

/// The input is a request as text: `METHOD path?query` behind `/_keygate/admin/v1/`, headers one a line, an empty line,
/// the body.
pub fn check(input: &[u8]) {
    let Some(request) = Request::read(input) else { return };
    let place = Place::of(request.method, request.path, request.query);
    if let Err(problem) = &place {
        refused(problem);
    }
    match request.parse() {
        Ok(AdminRequest::Do(order)) => ordered(&request, &order, place),
        Ok(AdminRequest::Ask(query)) => asked(&request, &query, place),
        Ok(AdminRequest::Draw(query)) => {
            let path = request.path.strip_suffix(".svg").unwrap();
            asked(&Request { path, ..request }, &query, place);
        }
        Ok(AdminRequest::Export(query, export)) => exported(&request, &query, export, place),
        Err(problem) => refused(&problem),
    }
}

/// The slot of the shard that is asked.
const SLOT: u8 = 0;

#[derive(Clone, Copy)]
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    content_type: Option<&'a str>,
    actor: Option<&'a str>,
    idempotency_key: Option<&'a str>,
    if_match: Option<&'a str>,
    body: &'a [u8],
    slot: u8,
}

impl<'a> Request<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
        let (head, body) = input.split_at(end);
        let mut lines = std::str::from_utf8(head).ok()?.lines();
        let (method, target) = lines.next()?.split_once(' ')?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |wanted: &str| {
            lines
                .clone()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value)
        };
        let body = body.get(2..).unwrap_or_default();
        Some(Request {
            method,
            path,
            query,
            content_type: header("content-type"),
            actor: header("x-keygate-actor"),
            idempotency_key: header("idempotency-key"),
            if_match: header("if-match"),
            body,
            slot: SLOT,
        })
    }

    /// The only place that knows what the parser takes.
    fn parse(&self) -> Result<AdminRequest, Problem> {
        let Self { method, path, query, content_type, actor, idempotency_key, if_match, body, slot } = *self;
        let facts = Facts {
            method,
            path,
            query,
            content_type,
            caller: Caller::Root,
            actor,
            idempotency_key,
            command_id: "made by the Worker",
            if_match,
            taken_elsewhere: false,
            body,
            from: None,
            now: NOW,
            slot,
        };
        admin::parse(&facts, &PEPPERS)
    }

    fn order(&self) -> Order {
        match self.parse() {
            Ok(AdminRequest::Do(order)) => *order,
            other => panic!("no order, but {other:?}"),
        }
    }
}

fn refused(problem: &Problem) {
    let reply = problem.reply();
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert!([400, 404, 405, 413, 415, 428].contains(&reply.status), "{body}");
    assert_eq!(body["status"], reply.status);
    assert!(body["code"].is_string() && body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    assert!(body.get("field").is_none_or(|field| field.is_string() && [400, 428].contains(&reply.status)), "{body}");
    for (name, value) in &reply.headers {
        assert!(value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{name}: {value:?}");
    }
    let allow = reply.headers.iter().any(|(name, _)| *name == "allow");
    assert_eq!(allow, reply.status == 405);
}

fn ordered(request: &Request<'_>, order: &Order, place: Result<Place, Problem>) {
    assert!(request.query.bytes().all(|byte| byte == b'&'), "{:?}", request.query);
    assert_eq!(order.actor.as_deref(), request.actor);
    assert!(order.actor.as_deref().is_none_or(is_reference));
    // One request has one path, and it leads to the shard that understood it.
    let (method, path, account) = address(&order.command);
    assert_eq!(request.method, method);
    match &order.command {
        // An external id has many spellings in a path.
        Command::PutAccount { external_id, .. } => {
            assert!(request.path.starts_with("accounts/by-external-id/"));
            assert_eq!(place, Ok(Place::ExternalId(external_id.clone())));
        }
        _ => {
            assert_eq!(request.path, path);
            let without = if path == "platform" { Place::Everywhere } else { Place::NewAccount };
            assert_eq!(place, Ok(account.map_or(without, |account| Place::Slot(account.slot))));
        }
    }
    assert!(account.is_none_or(|account| account.slot == SLOT));

    match &order.command {
        Command::CreateAccount(account) => new_account(account),
        Command::ChangeAccount { change, .. } => account_change(change),
        Command::PutAccount { external_id, change } => {
            assert!(is_reference(external_id) && set(&change.name).is_some());
            assert!(change.external_id == Edit::Keep && change.status == Edit::Keep);
            account_change(change);
        }
        Command::RequestAccess { environment, note, .. } => {
            assert!(*environment != Environment::Admin && note.as_ref().is_none_or(|note| is_line(note, 500)));
        }
        Command::IssueKey { key, .. } => new_key(key),
        Command::IssueCredential { credential, .. } => new_credential(credential),
        Command::MintSession { session, .. } => {
            assert!(is_reference(&session.actor) && are_workspaces(session.workspaces.as_deref()));
        }
        Command::ChangeKey { change, .. } => {
            assert!(set_to(&change.name).is_none_or(is_name));
        }
        Command::RotateKey { rotation, .. } => {
            assert!(rotation.overlap_ms <= 90 * 86_400_000 && rotation.overlap_ms % 1_000 == 0);
            assert!(are_workspaces(set_to(&rotation.workspaces).map(Vec::as_slice)));
            assert!(set_to(&rotation.expires_at).is_none_or(|end| *end > NOW));
        }
        Command::RevokeKey { .. }
        | Command::ConfirmRotation { .. }
        | Command::CancelRotation { .. }
        | Command::PlanRevocation { .. }
        | Command::ExecutePlan { .. }
        | Command::CancelPlan { .. }
        | Command::ArchiveWorkspace { .. } => {}
        Command::RevokeAllKeys { environments, .. } => {
            let unique = environments.iter().enumerate().all(|(at, one)| !environments[..at].contains(one));
            assert!(unique && !environments.is_empty());
        }
        Command::CreateWorkspace { name, .. } => assert!(is_name(name)),
        Command::ChangeWorkspace { change, .. } => assert!(set(&change.name).is_none_or(is_name)),
        Command::SetPlatform { features } => assert!(are_features(features)),
    }
    conditional(request, &order.precondition);
    identified(request, order);
    let again = written(&order.command).to_string();
    if matches!(&order.command, Command::ChangeKey { change, .. } if change.fixed.is_some()) {
        return; // What it was to become is not kept.
    }
    let again = Request { body: again.as_bytes(), content_type: Some("application/json"), ..*request }.order();
    assert_eq!(again, Order { id: again.id.clone(), ..order.clone() });
}

/// A change is meant for the versions whose strong tags stand in `If-Match`, letter by letter (RFC 9110 §8.8.3.2).
fn conditional(request: &Request<'_>, precondition: &Precondition) {
    let versions = match precondition {
        Precondition::Any if request.method == "PATCH" || request.path.ends_with("/rotate") => {
            assert_eq!(request.if_match.map(str::trim), Some("*"));
            return;
        }
        Precondition::Any => return,
        Precondition::Versions(versions) => versions,
    };
    assert!(request.method == "PATCH" || request.path.ends_with("/rotate"));
    // Between quotes lies a tag, before it what is weak about it, and a comma there parts nothing.
    let pieces: Vec<&str> = request.if_match.unwrap().split('"').collect();
    let strong: Vec<&str> =
        pieces.chunks(2).filter(|two| !two[0].ends_with('/')).filter_map(|two| two.get(1).copied()).collect();
    let expected: Vec<u64> = strong
        .into_iter()
        .filter_map(|tag| tag.parse().ok().filter(|version: &u64| version.to_string() == tag))
        .collect();
    assert_eq!(*versions, expected, "{pieces:?}");
}

/// The same request under the same key is the same command, and no other request is.
fn identified(request: &Request<'_>, order: &Order) {
    assert!(request.idempotency_key.is_none_or(|key| {
        (22..=255).contains(&key.len()) && key.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
    }));
    assert_eq!(request.order(), *order);
    let longer = [request.body, b" "].concat();
    let content_type = request.content_type.or(Some("application/json"));
    if !request.body.is_empty() {
        let other = Request { body: &longer, content_type, ..*request }.order();
        assert!(other.command == order.command && other.id != order.id);
    }
    let chosen = Request { idempotency_key: Some("0123456789abcdef012345"), ..*request }.order();
    assert_eq!(chosen.id == order.id, request.idempotency_key == Some("0123456789abcdef012345"));
}

fn new_account(account: &NewAccount) {
    assert!(is_name(&account.name) && account.external_id.as_deref().is_none_or(is_reference));
    assert_eq!(Brand::parse(account.brand.as_str()), Ok(account.brand));
    assert!(account.max_active_keys.is_none_or(|limit| (1..=10_000).contains(&limit)));
    assert!(are_features(&account.features) && account.default_scopes.len() <= MAX_SCOPES);
    are_settings(&account.settings);
}

fn account_change(change: &AccountChange) {
    assert!(set(&change.name).is_none_or(is_name));
    assert!(set_to(&change.external_id).is_none_or(is_reference));
    assert!(set(&change.brand).is_none_or(|brand| Brand::parse(brand.as_str()) == Ok(*brand)));
    assert!(set_to(&change.max_active_keys).is_none_or(|limit| (1..=10_000).contains(limit)));
    assert!(set(&change.features).is_none_or(|features| are_features(features)));
    assert!(set(&change.default_scopes).is_none_or(|scopes| scopes.len() <= MAX_SCOPES));
    let mut settings = Settings::default();
    change.settings.clone().apply(&mut settings);
    are_settings(&settings);
}

fn are_settings(settings: &Settings) {
    assert!(settings.plan.as_ref().is_none_or(is_name));
    assert!(settings.catalogue.as_ref().is_none_or(|own| (1..=200).contains(&own.entries().len())));
    assert!(settings.access_levels.iter().count() <= 50);
    assert!(settings.access_levels.iter().all(|level| is_line(&level.name, 64) && level.scopes.len() <= MAX_SCOPES));
    assert_eq!(settings.access_note, None);
}

fn new_key(key: &NewKey) {
    assert!(key.name.as_ref().is_none_or(is_name) && key.environment != Environment::Admin);
    assert!(key.scopes.as_ref().is_none_or(|scopes| scopes.len() <= MAX_SCOPES));
    assert!(key.access_level.as_ref().is_none_or(|level| is_line(level, 64)));
    let unique = |ids: &Vec<WorkspaceId>| ids.iter().enumerate().all(|(at, id)| !ids[..at].contains(id));
    assert!(key.workspaces.as_ref().is_none_or(|ids| (1..=WORKSPACES_MAX).contains(&ids.len()) && unique(ids)));
    assert!(key.fields.to_string().len() <= FIELDS_BYTES_MAX);
    assert!(key.expires_at.is_none_or(|end| end > NOW && key.not_before.is_none_or(|start| start < end)));
}

fn new_credential(credential: &NewCredential) {
    let NewCredential { name, role: _, scopes, workspaces, not_before, expires_at } = credential;
    assert!(name.as_ref().is_none_or(is_name) && are_workspaces(workspaces.as_deref()));
    assert!(scopes.as_ref().is_none_or(|scopes| scopes.len() <= MAX_SCOPES));
    assert!(expires_at.is_none_or(|end| end > NOW && not_before.is_none_or(|start| start < end)));
}

/// In order, each once.
fn are_workspaces(ids: Option<&[WorkspaceId]>) -> bool {
    ids.is_none_or(|ids| (1..=WORKSPACES_MAX).contains(&ids.len()) && ids.windows(2).all(|two| two[0] < two[1]))
}

fn asked(request: &Request<'_>, query: &Query, place: Result<Place, Problem>) {
    let (path, account) = match query {
        Query::Account(account) => (account_path(account), Some(account)),
        Query::Scopes(account) => (format!("{}/scopes", account_path(account)), Some(account)),
        Query::Key(account, key) => (key_path(account, key), Some(account)),
        Query::Usage(account, key, _) => (format!("{}/usage", key_path(account, key)), Some(account)),
        Query::KeyByDigest(account, _) => (format!("{}/keys/lookup", account_path(account)), Some(account)),
        Query::Keys(account, ..) => (format!("{}/keys", account_path(account)), Some(account)),
        Query::StaleKeys(account, _) => (format!("{}/keys/stale", account_path(account)), Some(account)),
        Query::Plans(account, _) => (format!("{}/keys/plans", account_path(account)), Some(account)),
        Query::Plan(account, plan) => (plan_path(account, plan), Some(account)),
        Query::PlanKeys(account, plan, _) => (format!("{}/keys", plan_path(account, plan)), Some(account)),
        Query::Audit(account, ..) => (format!("{}/audit", account_path(account)), Some(account)),
        Query::Workspace(account, workspace) => (workspace_path(account, workspace), Some(account)),
        Query::Workspaces(account, ..) => (format!("{}/workspaces", account_path(account)), Some(account)),
        Query::Accounts(..) => ("accounts".into(), None),
        Query::Platform => ("platform".into(), None),
    };
    assert_eq!(request.path, path);
    assert_eq!(request.method, if path.ends_with("/lookup") { "POST" } else { "GET" });
    match (place, account) {
        (Ok(Place::Slot(slot)), Some(account)) => assert!(slot == SLOT && account.slot == SLOT),
        (Ok(Place::Everywhere), None) => assert_eq!(path, "platform"),
        (Ok(Place::All(first)), None) => assert!(first.is_none_or(|first| first == SLOT)),
        (place, _) => panic!("{path} is in {place:?}"),
    }
    match query {
        Query::KeyByDigest(account, digest) => {
            // Only the text of a key of ours, of this account, can be looked up.
            let body: Value = serde_json::from_slice(request.body).unwrap();
            let key = PEPPERS.recognise(&PresentedKey::parse(body["key"].as_str().unwrap()).unwrap()).unwrap();
            assert!(key.digest == *digest && key.account == *account);
        }
        Query::Accounts(external_id, page) => {
            listed(request, query, page);
            // Where the list goes on in the next slot, it begins with the newest there.
            let next = query_for_slot(request.query, SLOT + 1);
            let next = Request { query: &next, slot: SLOT + 1, ..*request };
            let begun = Query::Accounts(external_id.clone(), Page { before: None, ..*page });
            assert_eq!(next.parse(), Ok(AdminRequest::Ask(Box::new(begun))));
        }
        Query::Keys(_, filter, page) => {
            assert!(filter.pepper.is_none_or(|id| id < 16) && filter.environment != Some(Environment::Admin));
            listed(request, query, page);
        }
        Query::Audit(_, filter, page) => {
            assert!(filter.action.as_deref().is_none_or(|action| ACTIONS.contains(&action)));
            listed(request, query, page);
        }
        Query::Usage(_, _, per) => {
            let pairs: Vec<(String, String)> = form_urlencoded::parse(request.query.as_bytes()).into_owned().collect();
            let named = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            assert!(pairs.len() <= 1 && named.clone().all(|(name, value)| (name, value) == ("per", per.as_str())));
        }
        Query::Workspaces(_, _, page) | Query::Plans(_, page) | Query::PlanKeys(_, _, page) => {
            listed(request, query, page);
        }
        Query::StaleKeys(_, days) => assert!((1..=3_650).contains(days)),
        Query::Account(_)
        | Query::Platform
        | Query::Scopes(_)
        | Query::Key(..)
        | Query::Plan(..)
        | Query::Workspace(..) => {
            assert!(request.query.bytes().all(|byte| byte == b'&'))
        }
    }
}

/// All keys that a filter finds: it begins with the newest, and in the order of the names it is the same export.
fn exported(request: &Request<'_>, query: &Query, export: Export, place: Result<Place, Problem>) {
    let Query::Keys(account, _, page) = query else { panic!("an export of {query:?}") };
    assert_eq!((request.method, request.path), ("GET", format!("{}/keys/export", account_path(account)).as_str()));
    assert_eq!((page.before, export.account, export.first), (None, *account, true));
    assert!(matches!(place, Ok(Place::Slot(SLOT))));
    let format = if export.format == Format::Csv { "csv" } else { "ndjson" };
    let pairs = sorted_pairs(request);
    assert!(pairs.contains(&("format".into(), format.into())));
    assert!(!pairs.iter().any(|(name, _)| ["limit", "cursor"].contains(&name.as_str())));
    let respelt = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let again = Request { query: &respelt, ..*request };
    assert_eq!(again.parse(), Ok(AdminRequest::Export(Box::new(query.clone()), export)));
}

fn sorted_pairs(request: &Request<'_>) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(request.query.as_bytes()).into_owned().collect();
    pairs.sort();
    pairs
}

/// A list within its limits; asked for in the order of the names, it is the same list.
fn listed(request: &Request<'_>, query: &Query, page: &Page) {
    assert!((1..=100).contains(&page.limit));
    let respelt = form_urlencoded::Serializer::new(String::new()).extend_pairs(sorted_pairs(request)).finish();
    let again = Request { query: &respelt, ..*request };
    assert_eq!(again.parse(), Ok(AdminRequest::Ask(Box::new(query.clone()))));
}

/// 1 to 128 characters, not blank, without control characters.
fn is_name(name: impl AsRef<str>) -> bool {
    is_line(name, 128)
}

fn is_line(line: impl AsRef<str>, most: usize) -> bool {
    let line = line.as_ref();
    (1..=most).contains(&line.chars().count())
        && line.chars().any(|character| !character.is_whitespace())
        && !line.chars().any(char::is_control)
}

/// 1 to 128 visible ASCII characters.
fn is_reference(text: impl AsRef<str>) -> bool {
    let text = text.as_ref();
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
}

/// At most 50, each once, in order.
fn are_features(features: &[String]) -> bool {
    let right = |feature: &String| {
        let of_rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        (1..=64).contains(&feature.len()) && feature.as_bytes()[0].is_ascii_lowercase() && feature.bytes().all(of_rest)
    };
    features.len() <= 50 && features.iter().all(right) && features.is_sorted_by(|first, second| first < second)
}

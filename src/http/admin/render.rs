//! From the Authority's answers to what administrators see. Members may be added here, none renamed.

use crate::{
    authority::{
        ListedStatus,
        admins::Caller,
        audit::AuditEntry,
        command::{Answer, OverlapFrom},
        journal::StoredAnswer,
        lease::Terms,
        plans::PlanState,
        query::{Condition, Found},
        record::{AccountRecord, KeyRecord, WorkspaceRecord},
    },
    credential::{Environment, KeyId, KeyText},
    json::{ObjectWriter, array},
    planted::planted,
    policy::UnixMillis,
};

use super::{
    super::reply::{Reply, with_first_replaced},
    place::Cursor,
    plans,
    platform::platform,
    settings, usage,
};

/// The answer to a command, as it is kept for a repetition: with placeholders for what is not known yet, or must not be
/// stored. Nothing that a caller chooses can contain them, for no control character is accepted anywhere.
/// `effective_by` is when everything granted before it has run out.
#[must_use]
pub fn stored(answer: &Answer, now: UnixMillis, effective_by: UnixMillis) -> StoredAnswer {
    // What is new counts at once: nothing older can exist.
    // A new workspace changes its account: it may be one too many to be implied.
    let new = matches!(answer, Answer::Created(_) | Answer::Issued { .. });
    let created = new || matches!(answer, Answer::WorkspaceCreated(_) | Answer::Rotated { .. } | Answer::Planned(_));
    // What only the Authority decides about, counts as soon as it is there.
    let at_once = match answer {
        Answer::Key(record) => record.admin.is_some(),
        Answer::AllRevoked { environments, .. } => environments == &[Environment::Admin],
        _ => false,
    };
    // What is only planned changes nothing, and what is done chunk by chunk says itself how far it is.
    let planned = matches!(answer, Answer::Planned(_) | Answer::Plan(_));
    let effective_at = (!new && !planned).then_some(if at_once { now } else { effective_by });
    let (version, mut view) = match answer {
        Answer::Account(record) | Answer::Created(record) => (record.version, account(record)),
        Answer::Key(record) | Answer::Unrotated { record, .. } => (record.version, key(record, now, None)),
        Answer::Issued { record, text, .. } => {
            let shown = if planted!(KeyInJournal) { text.expose() } else { KEY };
            (record.version, key(record, now, Some(shown)))
        }
        Answer::Rotated { record, text, old, .. } => {
            let shown = if planted!(KeyInJournal) { text.expose() } else { KEY };
            let mut view = key(record, now, Some(shown));
            // Null where that depends on the first use of this one.
            view.value("overlap_ends_at", &old.revoked_at.or(old.expires_at).map(UnixMillis::to_rfc3339));
            (record.version, view)
        }
        Answer::Workspace(record) | Answer::WorkspaceCreated(record) => (record.version, workspace(record)),
        Answer::AllRevoked { account, environments, revoked_all } => {
            // Each may have been revoked at another time, and be said again now.
            let last =
                environments.iter().filter_map(|environment| revoked_all.of(*environment)).map(|all| all.at).max();
            let environments: Vec<&str> = environments.iter().map(|environment| environment.as_str()).collect();
            let mut view = ObjectWriter::new();
            view.text("account_id", &account.to_string())
                .value("environments", &environments)
                .value("revoked_at", &last.map(UnixMillis::to_rfc3339));
            (NO_VERSION, view)
        }
        Answer::Planned(record) | Answer::Plan(record) => (NO_VERSION, plans::view(record)),
        Answer::Platform(features) => (0, platform(features, true)),
    };
    let effective_by = effective_at.map(UnixMillis::to_rfc3339);
    if !planned && !matches!(answer, Answer::Platform(_)) {
        view.text("mirrored", MIRRORED);
    }
    let body = view.if_any("effective_by", effective_by).end();
    let goes_on = matches!(answer, Answer::Plan(record) if record.state == PlanState::Running);
    let status = if created {
        201
    } else if goes_on {
        202
    } else {
        200
    };
    StoredAnswer { status, version, body, effective_at }
}

/// The answer to a command. `mirrored` says whether KV has the change already.
#[must_use]
pub fn complete(answer: &StoredAnswer, text: Option<&KeyText>, mirrored: bool) -> Reply {
    let mut body = with_first_replaced(&answer.body, MIRRORED_JSON, if mirrored { "true" } else { "false" });
    if let Some(text) = text {
        // A key's text is ASCII without anything that JSON would escape.
        body = with_first_replaced(&body, KEY_JSON, &format!("\"{}\"", text.expose()));
    }
    let reply = Reply::of_json(answer.status, body);
    if answer.version == NO_VERSION { reply } else { with_version(reply, answer.version) }
}

/// Of an answer that is not about one thing.
const NO_VERSION: u64 = 0;

/// In place of a new key's text.
const KEY: &str = "\u{1}";
const KEY_JSON: &str = "\"\\u0001\"";

/// In place of whether KV has the change.
const MIRRORED: &str = "\u{2}";
const MIRRORED_JSON: &str = "\"\\u0002\"";

fn with_version(reply: Reply, version: u64) -> Reply {
    if version == 0 { reply } else { reply.with("etag", format!("\"{version}\"")) }
}

/// The answer to a question put to the shard of `slot`.
#[must_use]
pub fn found(found: &Found, slot: u8, now: UnixMillis) -> Reply {
    let next_cursor = |next: Option<u64>| next.map(|before| Cursor { slot, before: Some(before) }.text());
    match found {
        Found::Account(record) => with_version(Reply::of_json(200, account(record).end()), record.version),
        Found::Key(record) => with_version(Reply::of_json(200, key(record, now, None).end()), record.version),
        Found::Usage(picture) => usage::as_json(picture),
        Found::Scopes(own) => Reply::of_json(200, settings::scopes(own.as_ref())),
        Found::Accounts(records, next) => {
            list(array(records.iter().map(|record| account(record).end())), next_cursor(*next))
        }
        Found::Keys(records, next) => {
            list(array(records.iter().map(|record| key(record, now, None).end())), next_cursor(*next))
        }
        Found::Workspace(record) => with_version(Reply::of_json(200, workspace(record).end()), record.version),
        Found::Workspaces(records, next) => {
            list(array(records.iter().map(|record| workspace(record).end())), next_cursor(*next))
        }
        Found::Plan(record) => Reply::of_json(200, plans::view(record).end()),
        Found::Plans(records, next) => {
            list(array(records.iter().map(|record| plans::view(record).end())), next_cursor(*next))
        }
        Found::StaleKeys(report) => Reply::of_json(200, plans::stale_view(report)),
        Found::Platform(features) => Reply::of_json(200, platform(features, true).end()),
        Found::Audit(entries, next) => list(array(entries.iter().map(audit)), next_cursor(*next)),
    }
}

/// The answer to a question, as a picture where there is one of it.
#[must_use]
pub fn picture(of: &Found, slot: u8, now: UnixMillis) -> Reply {
    match of {
        Found::Usage(picture) => usage::as_svg(picture),
        _ => found(of, slot, now),
    }
}

/// How the shard of `slot` is: what it grants, and after how many milliseconds a change counts everywhere as it is now.
#[must_use]
pub fn condition(condition: &Condition, slot: u8, terms: Terms, bound_ms: u64) -> Reply {
    let mut keys_by_pepper = ObjectWriter::new();
    for (pepper, keys) in &condition.keys_by_pepper {
        keys_by_pepper.number(&pepper.to_string(), *keys);
    }
    let json = ObjectWriter::new()
        .number("slot", slot.into())
        .number("accounts", condition.accounts)
        .number("unmirrored", condition.unmirrored)
        .value("oldest_unmirrored_at", &condition.oldest_unmirrored_at.map(UnixMillis::to_rfc3339))
        .raw("keys_by_pepper", &keys_by_pepper.end())
        .number("lease_ms", terms.lease_ms)
        .number("grace_ms", terms.grace_ms)
        .number("revocation_bound_ms", bound_ms)
        .number("accepted_in_grace", condition.accepted_in_grace)
        .end();
    Reply::of_json(200, json)
}

fn list(data: String, next_cursor: Option<String>) -> Reply {
    Reply::of_json(200, ObjectWriter::new().raw("data", &data).value("next_cursor", &next_cursor).end())
}

/// Audit entries go out as the very text that was hashed, with the hash as their last member.
fn audit(entry: &AuditEntry) -> String {
    let members = entry.text.strip_suffix('}').unwrap_or(&entry.text);
    format!("{members},\"hash\":\"{}\"}}", entry.hash)
}

fn account(record: &AccountRecord) -> ObjectWriter {
    let head = &record.audit_head;
    let mut view = ObjectWriter::new();
    view.text("id", &record.id.to_string())
        .text("name", &record.name)
        .value("external_id", &record.external_id)
        .text("brand", record.brand.as_str())
        .text("status", record.status.as_str())
        .value("max_active_keys", &record.max_active_keys.map(u64::from))
        .value("api_access", &record.api_access)
        .value("features", &record.features)
        .value("default_scopes", &record.default_scopes);
    settings::write(&mut view, &record.settings);
    view.text("created_at", &record.created_at.to_rfc3339())
        .value("created_by", &record.created_by)
        .if_any("keys_due", record.keys_due)
        .raw("audit_head", &ObjectWriter::new().number("number", head.number).text("hash", &head.hash).end());
    view
}

fn workspace(record: &WorkspaceRecord) -> ObjectWriter {
    let mut view = ObjectWriter::new();
    view.text("id", &record.id.to_string())
        .text("account_id", &record.account.to_string())
        .text("name", &record.name)
        .text("status", record.status())
        .text("created_at", &record.created_at.to_rfc3339())
        .value("created_by", &record.created_by)
        .value("archived_at", &record.archived_at.map(UnixMillis::to_rfc3339));
    view
}

/// `text` is in the answer to its issue only.
pub(super) fn key(record: &KeyRecord, now: UnixMillis, text: Option<&str>) -> ObjectWriter {
    let mut view = ObjectWriter::new();
    view.text("id", &record.id().to_string())
        .if_any("key", text)
        .text("account_id", &record.account.to_string())
        .value("name", &record.name)
        .text("environment", record.environment.as_str())
        .value("scopes", &record.scopes)
        .value("access_level", &record.access_level)
        .value("workspaces", &record.workspaces)
        .value("fields", &record.fields)
        .value("allowed_ips", &record.allowed_ips)
        .value("description", &record.labels.description)
        .value("owner", &record.labels.owner)
        .value("tags", &record.labels.tags)
        .value("metadata", &record.labels.metadata)
        .text("status", ListedStatus::of(record, now).as_str())
        .text("hint", &record.hint)
        .value("not_before", &record.not_before.map(UnixMillis::to_rfc3339))
        .value("expires_at", &record.expires_at.map(UnixMillis::to_rfc3339))
        .text("created_at", &record.created_at.to_rfc3339())
        .value("created_by", &record.created_by)
        .value("last_used_at", &record.last_used_at.map(UnixMillis::to_rfc3339))
        .if_any("scopes_last_used", record.scopes_last_used.as_deref().cloned())
        .value("revoked_at", &record.revoked_at.map(UnixMillis::to_rfc3339))
        .value("rotated_from", &record.rotated_from.map(|digest| KeyId::of(&digest).to_string()))
        .value("rotated_to", &record.rotated_to.map(|digest| KeyId::of(&digest).to_string()))
        .value("rotation_due_at", &record.rotation_due_at().map(UnixMillis::to_rfc3339))
        .if_any("overlap_from", record.waiting_overlap_ms.map(|_| OverlapFrom::FirstUse.as_str()));
    if let Some(admin) = &record.admin {
        view.text("role", admin.role.as_str());
        if let Some(session) = &admin.session {
            let parent = session.parent.map_or(Caller::Root, Caller::Credential);
            view.text("actor", &session.actor).text("parent", &parent.name());
        }
    }
    view
}

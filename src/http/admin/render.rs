//! From the Authority's answers to what administrators see. Members may be added here, none renamed.

use serde::{Serialize, Serializer};

use crate::{
    authority::{
        ListedStatus,
        audit::{AuditEntry, AuditHead},
        command::{Answer, Command},
        journal::StoredAnswer,
        lease::Terms,
        query::{Condition, Found},
        record::{AccountRecord, KeyRecord},
    },
    credential::{AccountRef, KeyId, KeyText},
    policy::{ApiAccess, ScopeSet, UnixMillis},
};

use super::{super::reply::Reply, place::Cursor};

/// The answer to a command, as it is kept for a repetition: with placeholders for what is not known yet, or must not be
/// stored. Nothing that a caller chooses can contain them, for no control character is accepted anywhere.
/// `effective_by` is when everything granted before it has run out.
#[must_use]
pub fn stored(command: &Command, answer: &Answer, now: UnixMillis, effective_by: UnixMillis) -> StoredAnswer {
    let mirrored = Some(MIRRORED);
    // What is new counts at once: nothing older can exist.
    let new = matches!(command, Command::CreateAccount(_) | Command::IssueKey { .. });
    let effective_at = (!new).then_some(effective_by);
    let effective_by = effective_at.map(UnixMillis::to_rfc3339);
    let (status, version, body) = match answer {
        Answer::Account(record) => {
            let view = AccountView { mirrored, effective_by, ..AccountView::of(record) };
            (if new { 201 } else { 200 }, record.version, Reply::json(200, &view))
        }
        Answer::Key(record) => {
            (200, record.version, Reply::json(200, &KeyView { mirrored, effective_by, ..KeyView::of(record, now) }))
        }
        Answer::Issued { record, .. } => {
            let view = KeyView { key: Some(KEY), mirrored, ..KeyView::of(record, now) };
            (201, record.version, Reply::json(201, &view))
        }
    };
    StoredAnswer { status, version, body: body.body.into_owned(), effective_at }
}

/// The answer to a command. `mirrored` says whether KV has the change already.
#[must_use]
pub fn complete(answer: &StoredAnswer, text: Option<&KeyText>, mirrored: bool) -> Reply {
    let mut body = answer.body.replacen(MIRRORED_JSON, if mirrored { "true" } else { "false" }, 1);
    if let Some(text) = text {
        // A key's text is ASCII without anything that JSON would escape.
        body = body.replacen(KEY_JSON, &format!("\"{}\"", text.expose()), 1);
    }
    with_version(Reply::json(answer.status, &()), answer.version).with_body(body)
}

/// In place of a new key's text.
const KEY: &str = "\u{1}";
const KEY_JSON: &str = "\"\\u0001\"";

/// In place of whether KV has the change.
const MIRRORED: &str = "\u{2}";
const MIRRORED_JSON: &str = "\"\\u0002\"";

fn with_version(reply: Reply, version: u64) -> Reply {
    reply.with("etag", format!("\"{version}\""))
}

/// The answer to a question put to the shard of `slot`.
#[must_use]
pub fn found(found: &Found, slot: u8, now: UnixMillis) -> Reply {
    let next_cursor = |next: Option<u64>| next.map(|before| Cursor { slot, before: Some(before) }.text());
    match found {
        Found::Account(record) => with_version(Reply::json(200, &AccountView::of(record)), record.version),
        Found::Key(record) => with_version(Reply::json(200, &KeyView::of(record, now)), record.version),
        Found::Accounts(records, next) => {
            let data = records.iter().map(AccountView::of).collect();
            Reply::json(200, &ListView { data, next_cursor: next_cursor(*next) })
        }
        Found::Keys(records, next) => {
            let data = records.iter().map(|record| KeyView::of(record, now)).collect();
            Reply::json(200, &ListView { data, next_cursor: next_cursor(*next) })
        }
        Found::Audit(entries, next) => audit(entries, next_cursor(*next).as_deref()),
    }
}

/// How the shard of `slot` is: what it grants, and after how many milliseconds a change counts everywhere as it is now.
#[must_use]
pub fn condition(condition: &Condition, slot: u8, terms: Terms, bound_ms: u64) -> Reply {
    let view = ConditionView {
        slot,
        accounts: condition.accounts,
        unmirrored: condition.unmirrored,
        oldest_unmirrored_at: condition.oldest_unmirrored_at.map(UnixMillis::to_rfc3339),
        keys_by_pepper: &condition.keys_by_pepper,
        lease_ms: terms.lease_ms,
        grace_ms: terms.grace_ms,
        revocation_bound_ms: bound_ms,
        accepted_in_grace: condition.accepted_in_grace,
    };
    Reply::json(200, &view)
}

/// Audit entries go out as the very text that was hashed, with the hash as their last member.
fn audit(entries: &[AuditEntry], next_cursor: Option<&str>) -> Reply {
    let entries = entries.iter().map(|entry| {
        let members = entry.text.strip_suffix('}').unwrap_or(&entry.text);
        format!("{members},\"hash\":\"{}\"}}", entry.hash)
    });
    let data = entries.collect::<Vec<_>>().join(",");
    let next_cursor = next_cursor.map_or_else(|| "null".into(), |cursor| format!("\"{cursor}\""));
    Reply::json(200, &()).with_body(format!("{{\"data\":[{data}],\"next_cursor\":{next_cursor}}}"))
}

#[derive(Serialize)]
struct ConditionView<'a> {
    slot: u8,
    accounts: u64,
    unmirrored: u64,
    oldest_unmirrored_at: Option<String>,
    #[serde(serialize_with = "as_object")]
    keys_by_pepper: &'a [(u8, u64)],
    lease_ms: u64,
    grace_ms: u64,
    revocation_bound_ms: u64,
    accepted_in_grace: u64,
}

fn as_object<S: Serializer>(pairs: &&[(u8, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

#[derive(Serialize)]
struct ListView<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct AccountView<'a> {
    id: AccountRef,
    name: &'a str,
    external_id: Option<&'a str>,
    brand: &'a str,
    status: &'static str,
    max_active_keys: Option<u32>,
    api_access: ApiAccess,
    features: &'a [String],
    default_scopes: &'a ScopeSet,
    created_at: String,
    created_by: Option<&'a str>,
    audit_head: &'a AuditHead,
    /// In answers to commands only.
    #[serde(skip_serializing_if = "Option::is_none")]
    mirrored: Option<&'static str>,
    /// In answers to changes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_by: Option<String>,
}

impl<'a> AccountView<'a> {
    fn of(record: &'a AccountRecord) -> Self {
        AccountView {
            id: record.id,
            name: &record.name,
            external_id: record.external_id.as_deref(),
            brand: record.brand.as_str(),
            status: record.status.as_str(),
            max_active_keys: record.max_active_keys,
            api_access: record.api_access,
            features: &record.features,
            default_scopes: &record.default_scopes,
            created_at: record.created_at.to_rfc3339(),
            created_by: record.created_by.as_deref(),
            audit_head: &record.audit_head,
            mirrored: None,
            effective_by: None,
        }
    }
}

#[derive(Serialize)]
struct KeyView<'a> {
    id: KeyId,
    /// In the answer to its issue only.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    account_id: AccountRef,
    name: Option<&'a str>,
    environment: &'static str,
    scopes: &'a ScopeSet,
    status: &'static str,
    hint: &'a str,
    not_before: Option<String>,
    expires_at: Option<String>,
    created_at: String,
    created_by: Option<&'a str>,
    last_used_at: Option<String>,
    revoked_at: Option<String>,
    /// In answers to commands only.
    #[serde(skip_serializing_if = "Option::is_none")]
    mirrored: Option<&'static str>,
    /// In answers to changes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_by: Option<String>,
}

impl<'a> KeyView<'a> {
    fn of(record: &'a KeyRecord, now: UnixMillis) -> Self {
        KeyView {
            id: record.id(),
            key: None,
            account_id: record.account,
            name: record.name.as_deref(),
            environment: record.environment.as_str(),
            scopes: &record.scopes,
            status: ListedStatus::of(record, now).as_str(),
            hint: &record.hint,
            not_before: record.not_before.map(UnixMillis::to_rfc3339),
            expires_at: record.expires_at.map(UnixMillis::to_rfc3339),
            created_at: record.created_at.to_rfc3339(),
            created_by: record.created_by.as_deref(),
            last_used_at: record.last_used_at.map(UnixMillis::to_rfc3339),
            revoked_at: record.revoked_at.map(UnixMillis::to_rfc3339),
            mirrored: None,
            effective_by: None,
        }
    }
}

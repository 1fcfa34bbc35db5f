//! From the Authority's answers to what administrators see. Members may be added here, none renamed.

use serde::Serialize;

use crate::{
    authority::{
        ListedStatus,
        command::{Answer, Command},
        query::Found,
        record::{AccountRecord, KeyRecord},
    },
    credential::{AccountRef, KeyId},
    policy::{ApiAccess, ScopeSet, UnixMillis},
};

use super::{super::reply::Reply, place::Cursor};

/// The answer to a command that was carried out. `mirrored` says whether KV has the change already.
#[must_use]
pub fn answered(command: &Command, answer: &Answer, mirrored: bool, now: UnixMillis) -> Reply {
    let mirrored = Some(mirrored);
    match answer {
        Answer::Account(record) => {
            let created = matches!(command, Command::CreateAccount(_));
            Reply::json(if created { 201 } else { 200 }, &AccountView { mirrored, ..AccountView::of(record) })
        }
        Answer::Key(record) => Reply::json(200, &KeyView { mirrored, ..KeyView::of(record, now) }),
        Answer::Issued { record, text } => {
            Reply::json(201, &KeyView { key: Some(text.expose()), mirrored, ..KeyView::of(record, now) })
        }
    }
}

/// The answer to a question put to the shard of `slot`.
#[must_use]
pub fn found(found: &Found, slot: u8, now: UnixMillis) -> Reply {
    let next_cursor = |next: Option<u64>| next.map(|before| Cursor { slot, before: Some(before) }.text());
    match found {
        Found::Account(record) => Reply::json(200, &AccountView::of(record)),
        Found::Key(record) => Reply::json(200, &KeyView::of(record, now)),
        Found::Accounts(records, next) => {
            let data = records.iter().map(AccountView::of).collect();
            Reply::json(200, &ListView { data, next_cursor: next_cursor(*next) })
        }
        Found::Keys(records, next) => {
            let data = records.iter().map(|record| KeyView::of(record, now)).collect();
            Reply::json(200, &ListView { data, next_cursor: next_cursor(*next) })
        }
    }
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
    /// In answers to commands only.
    #[serde(skip_serializing_if = "Option::is_none")]
    mirrored: Option<bool>,
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
            mirrored: None,
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
    mirrored: Option<bool>,
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
            last_used_at: None,
            revoked_at: record.revoked_at.map(UnixMillis::to_rfc3339),
            mirrored: None,
        }
    }
}

//! From the Authority's answers to what administrators see.

use serde_json::{Map, Value, json};

use crate::{
    authority::{
        ListedStatus,
        command::{Answer, Command},
        query::Found,
        record::{AccountRecord, KeyRecord},
    },
    policy::UnixMillis,
};

use super::{super::reply::Reply, place::Cursor};

/// The answer to a command that was carried out. `mirrored` says whether KV has the change already.
#[must_use]
pub fn answered(command: &Command, answer: &Answer, mirrored: bool, now: UnixMillis) -> Reply {
    let (status, mut body) = match answer {
        Answer::Account(record) => {
            let created = matches!(command, Command::CreateAccount(_));
            (if created { 201 } else { 200 }, account(record))
        }
        Answer::Key(record) => (200, key(record, now)),
        Answer::Issued { record, text } => {
            let mut body = key(record, now);
            body.insert("key".into(), text.expose().into());
            (201, body)
        }
    };
    body.insert("mirrored".into(), mirrored.into());
    Reply::json(status, &body)
}

/// The answer to a question put to the shard of `slot`.
#[must_use]
pub fn found(found: &Found, slot: u8, now: UnixMillis) -> Reply {
    match found {
        Found::Account(record) => Reply::json(200, &account(record)),
        Found::Key(record) => Reply::json(200, &key(record, now)),
        Found::Accounts(records, next) => list(records.iter().map(account).collect(), slot, *next),
        Found::Keys(records, next) => list(records.iter().map(|record| key(record, now)).collect(), slot, *next),
    }
}

fn list(data: Vec<Map<String, Value>>, slot: u8, next: Option<u64>) -> Reply {
    let next_cursor = next.map(|before| Cursor { slot, before: Some(before) }.text());
    Reply::json(200, &json!({ "data": data, "next_cursor": next_cursor }))
}

fn account(record: &AccountRecord) -> Map<String, Value> {
    object(json!({
        "id": record.id,
        "name": record.name,
        "external_id": record.external_id,
        "brand": record.brand,
        "status": record.status,
        "max_active_keys": record.max_active_keys,
        "api_access": record.api_access,
        "features": record.features,
        "default_scopes": record.default_scopes,
        "created_at": record.created_at.to_rfc3339(),
        "created_by": record.created_by,
    }))
}

fn key(record: &KeyRecord, now: UnixMillis) -> Map<String, Value> {
    let time = |instant: Option<UnixMillis>| instant.map(UnixMillis::to_rfc3339);
    object(json!({
        "id": record.id(),
        "account_id": record.account,
        "name": record.name,
        "environment": record.environment,
        "scopes": record.scopes,
        "status": ListedStatus::of(record, now).as_str(),
        "hint": record.hint,
        "not_before": time(record.not_before),
        "expires_at": time(record.expires_at),
        "created_at": record.created_at.to_rfc3339(),
        "created_by": record.created_by,
        "last_used_at": Value::Null,
        "revoked_at": time(record.revoked_at),
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

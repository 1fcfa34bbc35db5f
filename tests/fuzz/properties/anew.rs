//! Admin requests once more: address and body as they follow from what was understood.

use keygate::{
    authority::command::{Command, Edit, KeyChange},
    credential::{AccountRef, KeyId, PlanId, WorkspaceId},
    json::ToJson,
    policy::UnixMillis,
};
use serde_json::{Map, Value, json};

/// Method and path behind `/_keygate/admin/v1/` of a command, and its account.
pub fn address(command: &Command) -> (&'static str, String, Option<AccountRef>) {
    match command {
        Command::CreateAccount(_) => ("POST", "accounts".into(), None),
        Command::ChangeAccount { account, .. } => ("PATCH", account_path(account), Some(*account)),
        Command::PutAccount { .. } => ("PUT", String::new(), None),
        Command::RequestAccess { account, .. } => {
            ("POST", format!("{}/access-requests", account_path(account)), Some(*account))
        }
        Command::IssueKey { account, .. } | Command::IssueCredential { account, .. } => {
            ("POST", format!("{}/keys", account_path(account)), Some(*account))
        }
        Command::MintSession { account, .. } => ("POST", format!("{}/sessions", account_path(account)), Some(*account)),
        Command::ChangeKey { account, key, .. } => ("PATCH", key_path(account, key), Some(*account)),
        Command::RotateKey { account, key, .. } => {
            ("POST", format!("{}/rotate", key_path(account, key)), Some(*account))
        }
        Command::ConfirmRotation { account, key } => {
            ("POST", format!("{}/rotate/confirm", key_path(account, key)), Some(*account))
        }
        Command::CancelRotation { account, key } => {
            ("POST", format!("{}/rotate/cancel", key_path(account, key)), Some(*account))
        }
        Command::RevokeKey { account, key } => ("POST", format!("{}/revoke", key_path(account, key)), Some(*account)),
        Command::RevokeAllKeys { account, .. } => {
            ("POST", format!("{}/keys/revoke-all", account_path(account)), Some(*account))
        }
        Command::PlanRevocation { account, .. } => {
            ("POST", format!("{}/keys/plans", account_path(account)), Some(*account))
        }
        Command::ExecutePlan { account, plan } => {
            ("POST", format!("{}/execute", plan_path(account, plan)), Some(*account))
        }
        Command::CancelPlan { account, plan } => {
            ("POST", format!("{}/cancel", plan_path(account, plan)), Some(*account))
        }
        Command::CreateWorkspace { account, .. } => {
            ("POST", format!("{}/workspaces", account_path(account)), Some(*account))
        }
        Command::ChangeWorkspace { account, workspace, .. } => {
            ("PATCH", workspace_path(account, workspace), Some(*account))
        }
        Command::ArchiveWorkspace { account, workspace } => {
            ("POST", format!("{}/archive", workspace_path(account, workspace)), Some(*account))
        }
        Command::SetPlatform { .. } => ("PUT", "platform".into(), None),
    }
}

pub fn plan_path(account: &AccountRef, plan: &PlanId) -> String {
    format!("{}/keys/plans/{plan}", account_path(account))
}

pub fn account_path(account: &AccountRef) -> String {
    format!("accounts/{account}")
}

pub fn key_path(account: &AccountRef, key: &KeyId) -> String {
    format!("accounts/{account}/keys/{key}")
}

pub fn workspace_path(account: &AccountRef, workspace: &WorkspaceId) -> String {
    format!("accounts/{account}/workspaces/{workspace}")
}

/// The same command as a body: written from what was understood, not from what was said.
pub fn written(command: &Command) -> Value {
    match command {
        Command::CreateAccount(account) => json!({
            "name": account.name,
            "external_id": account.external_id,
            "brand": account.brand.as_str(),
            "max_active_keys": account.max_active_keys,
            "api_access": stored(&account.api_access),
            "features": account.features,
            "default_scopes": stored(&account.default_scopes),
            "name_policy": account.settings.name_policy.as_str(),
            "access_levels": stored(&account.settings.access_levels),
            "access_level_required": account.settings.access_level_required,
            "scopes": stored(&account.settings.catalogue),
            "plan": account.settings.plan,
            "explain_refusals": account.settings.explain_refusals,
            "max_key_days": account.settings.max_key_days,
            "rotation_days": account.settings.rotation_days,
            "holders_may_rotate": account.settings.holders_may_rotate,
        }),
        Command::ChangeAccount { change, .. } | Command::PutAccount { change, .. } => object([
            ("name", set(&change.name).map(|name| json!(name))),
            ("external_id", set(&change.external_id).map(|id| json!(id))),
            ("brand", set(&change.brand).map(|brand| json!(brand.as_str()))),
            ("status", set(&change.status).map(|status| json!(status.as_str()))),
            ("max_active_keys", set(&change.max_active_keys).map(|limit| json!(limit))),
            ("api_access", set(&change.api_access).map(stored)),
            ("features", set(&change.features).map(|features| json!(features))),
            ("default_scopes", set(&change.default_scopes).map(stored)),
            ("name_policy", set(&change.settings.name_policy).map(|policy| json!(policy.as_str()))),
            ("access_levels", set(&change.settings.access_levels).map(stored)),
            ("access_level_required", set(&change.settings.access_level_required).map(|required| json!(required))),
            ("scopes", set(&change.settings.catalogue).map(stored)),
            ("plan", set(&change.settings.plan).map(|plan| json!(plan))),
            ("explain_refusals", set(&change.settings.explain_refusals).map(|explain| json!(explain))),
            ("max_key_days", set(&change.settings.max_key_days).map(|days| json!(days))),
            ("rotation_days", set(&change.settings.rotation_days).map(|days| json!(days))),
            ("holders_may_rotate", set(&change.settings.holders_may_rotate).map(|may| json!(may))),
        ]),
        Command::RequestAccess { environment, note, .. } => {
            json!({ "environment": environment.as_str(), "note": note })
        }
        Command::RotateKey { rotation, .. } => object([
            ("overlap", Some(json!(rotation.overlap_ms / 1_000))),
            ("overlap_from", Some(json!(rotation.overlap_from.as_str()))),
            ("scopes", rotation.scopes.as_ref().map(stored)),
            ("workspaces", set(&rotation.workspaces).map(|ids| ids.as_ref().map_or(Value::Null, stored))),
            ("fields", rotation.fields.as_ref().map(stored)),
            ("allowed_ips", set(&rotation.allowed_ips).map(|ips| ips.as_ref().map_or(Value::Null, stored))),
            ("expires_at", set(&rotation.expires_at).map(|end| json!(end.map(UnixMillis::to_rfc3339)))),
        ]),
        Command::IssueKey { key, .. } => object([
            ("name", Some(json!(key.name))),
            ("environment", Some(json!(key.environment.as_str()))),
            ("scopes", key.scopes.as_ref().map(stored)),
            ("access_level", Some(json!(key.access_level))),
            ("workspaces", Some(key.workspaces.as_ref().map_or(Value::Null, stored))),
            ("fields", Some(stored(&key.fields))),
            ("allowed_ips", Some(key.allowed_ips.as_ref().map_or(Value::Null, stored))),
            ("description", Some(json!(key.labels.description))),
            ("owner", Some(json!(key.labels.owner))),
            ("tags", Some(json!(key.labels.tags))),
            ("metadata", Some(stored(&key.labels.metadata))),
            ("not_before", Some(json!(key.not_before.map(UnixMillis::to_rfc3339)))),
            ("expires_at", Some(json!(key.expires_at.map(UnixMillis::to_rfc3339)))),
        ]),
        Command::IssueCredential { credential, .. } => object([
            ("name", Some(json!(credential.name))),
            ("environment", Some(json!("admin"))),
            ("role", Some(json!(credential.role.as_str()))),
            ("scopes", credential.scopes.as_ref().map(stored)),
            ("workspaces", credential.workspaces.as_ref().map(stored)),
            ("not_before", Some(json!(credential.not_before.map(UnixMillis::to_rfc3339)))),
            ("expires_at", Some(json!(credential.expires_at.map(UnixMillis::to_rfc3339)))),
        ]),
        Command::MintSession { session, .. } => object([
            ("actor", Some(json!(session.actor))),
            ("role", session.role.map(|role| json!(role.as_str()))),
            ("scopes", session.scopes.as_ref().map(stored)),
            ("workspaces", session.workspaces.as_ref().map(stored)),
        ]),
        Command::ChangeKey { change: KeyChange { name, disabled, labels, .. }, .. } => object([
            ("name", set(name).map(|name| json!(name))),
            ("disabled", set(disabled).map(|disabled| json!(disabled))),
            ("description", set(&labels.description).map(|text| json!(text))),
            ("owner", set(&labels.owner).map(|owner| json!(owner))),
            ("tags", set(&labels.tags).map(|tags| json!(tags))),
            ("metadata", set(&labels.metadata).map(stored)),
        ]),
        Command::RevokeKey { .. }
        | Command::ConfirmRotation { .. }
        | Command::CancelRotation { .. }
        | Command::ExecutePlan { .. }
        | Command::CancelPlan { .. }
        | Command::ArchiveWorkspace { .. } => json!({}),
        Command::PlanRevocation { filter, .. } => json!({ "filter": stored(filter) }),
        Command::RevokeAllKeys { environments, .. } => match environments[..] {
            [one] => json!({ "environment": one.as_str() }),
            _ => json!({}),
        },
        Command::CreateWorkspace { name, .. } => json!({ "name": name }),
        Command::ChangeWorkspace { change, .. } => object([("name", set(&change.name).map(|name| json!(name)))]),
        Command::SetPlatform { features } => json!({ "features": features }),
    }
}

fn stored(value: &(impl ToJson + ?Sized)) -> Value {
    serde_json::from_str(&value.to_json()).unwrap()
}

fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let present = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}

pub fn set<T>(edit: &Edit<T>) -> Option<&T> {
    match edit {
        Edit::Keep => None,
        Edit::Set(value) => Some(value),
    }
}

/// What is set, unless it is null.
pub fn set_to<T>(edit: &Edit<Option<T>>) -> Option<&T> {
    set(edit)?.as_ref()
}

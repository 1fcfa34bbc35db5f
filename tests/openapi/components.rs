//! What the document's operations refer to: schemas, and answers that several of them give.

use keygate::{
    authority::command::Refusal,
    credential::{AccountRef, Environment, KeyId, WorkspaceId},
    http::{self, Code, Problem},
    policy::{Denial, Fields, Principal, Scope, ScopeSet, UnixMillis, Workspace},
};
use serde_json::{Value, json};

use super::{
    answered::{self, object},
    document::PLATFORM,
    given,
    values::{self, reference_to, with},
    wire::Api,
};

/// Every code there is. A new one has no place here until it is listed: then this does not compile.
pub fn codes() -> Vec<Code> {
    let after = |code: Code| match code {
        Code::MissingCredential => Some(Code::InvalidRequest),
        Code::InvalidRequest => Some(Code::InvalidToken),
        Code::InvalidToken => Some(Code::KeyRevoked),
        Code::KeyRevoked => Some(Code::KeyExpired),
        Code::KeyExpired => Some(Code::KeyDisabled),
        Code::KeyDisabled => Some(Code::WorkspaceRequired),
        Code::WorkspaceRequired => Some(Code::WorkspaceForbidden),
        Code::WorkspaceForbidden => Some(Code::IpNotAllowed),
        Code::IpNotAllowed => Some(Code::InsufficientScope),
        Code::InsufficientScope => Some(Code::InsufficientRole),
        Code::InsufficientRole => Some(Code::AccountInactive),
        Code::AccountInactive => Some(Code::NotFound),
        Code::NotFound => Some(Code::MethodNotAllowed),
        Code::MethodNotAllowed => Some(Code::Conflict),
        Code::Conflict => Some(Code::LimitReached),
        Code::LimitReached => Some(Code::PreconditionFailed),
        Code::PreconditionFailed => Some(Code::PayloadTooLarge),
        Code::PayloadTooLarge => Some(Code::UnsupportedMediaType),
        Code::UnsupportedMediaType => Some(Code::IdempotencyConflict),
        Code::IdempotencyConflict => Some(Code::PreconditionRequired),
        Code::PreconditionRequired => Some(Code::Indeterminate),
        Code::Indeterminate => Some(Code::Misconfigured),
        Code::Misconfigured => Some(Code::UpstreamUnreachable),
        Code::UpstreamUnreachable => None,
    };
    std::iter::successors(Some(Code::MissingCredential), |code| after(*code)).collect()
}

/// What several operations answer; of refusals one per status, which names the codes that go with it.
pub fn responses() -> Value {
    let mut responses = json!({
        "Allowed": allowed(),
        "Bodiless": { "description": "As for GET, without a body.", "headers": no_store() },
    });
    for code in codes() {
        let (_, status, title) = code.parts();
        let same: Vec<&str> =
            codes().iter().map(|code| code.parts()).filter(|parts| parts.1 == status).map(|parts| parts.0).collect();
        let mut schema = reference_to("Problem");
        schema["properties"] = json!({ "code": { "enum": same }, "status": { "const": status } });
        let mut headers = no_store();
        match code {
            Code::MissingCredential | Code::InvalidToken => {
                headers["WWW-Authenticate"] = header(json!({ "type": "string" }), "The challenge (RFC 6750).");
            }
            Code::MethodNotAllowed => {
                headers["Allow"] = header(json!({ "type": "string" }), "The methods that would be right.");
            }
            _ => {}
        }
        responses[title.replace(' ', "")] = json!({
            "description": title,
            "headers": headers,
            "content": { "application/problem+json": { "schema": schema } },
        });
    }
    responses
}

/// The schemas, by name.
pub fn schemas() -> Value {
    let (api, account) = (
        Api::new(),
        json!({ "name": "Acme", "external_id": "cust-42", "rotation_days": 90, "max_key_days": 365, "holders_may_rotate": true }),
    );
    let created_account = api.sent("POST", "accounts", Some(account));
    let account_path = format!("accounts/{}", created_account["id"].as_str().unwrap());
    let keys_path = format!("{account_path}/keys");
    api.sent("PATCH", &account_path, Some(json!({ "status": "suspended" })));
    let changed_account = api.sent("PATCH", &account_path, Some(json!({ "status": "active" })));
    let issued = api.sent("POST", &keys_path, Some(json!({ "environment": "live" })));
    let key_path = format!("{keys_path}/{}", issued["id"].as_str().unwrap());
    let old = api.sent("POST", &keys_path, Some(json!({ "environment": "live" })));
    let old_path = format!("{keys_path}/{}", old["id"].as_str().unwrap());
    let rotation = json!({ "overlap": 86_400, "overlap_from": "first_use" });
    let rotated = api.sent("POST", &format!("{old_path}/rotate"), Some(rotation));
    let waiting = api.sent("GET", &old_path, None);
    let changed_key = api.sent("PATCH", &key_path, Some(json!({ "name": "deploy", "disabled": true })));
    api.sent("POST", &format!("{key_path}/revoke"), None);
    let all_revoked = api.sent("POST", &format!("{keys_path}/revoke-all"), None);
    let filter = json!({ "filter": { "environment": "live" } });
    let plan = api.sent("POST", &format!("{keys_path}/plans"), Some(filter));
    let plan_path = format!("{keys_path}/plans/{}", plan["id"].as_str().unwrap());
    let plans = api.sent("GET", &format!("{keys_path}/plans"), None);
    api.sent("POST", &format!("{plan_path}/execute"), None);
    api.sent("POST", &format!("{plan_path}/cancel"), None);
    let stale = api.sent("GET", &format!("{keys_path}/stale"), None);
    let workspaces_path = format!("{account_path}/workspaces");
    let created_workspace = api.sent("POST", &workspaces_path, Some(json!({ "name": "Vienna" })));
    let workspace_path = format!("{workspaces_path}/{}", created_workspace["id"].as_str().unwrap());
    let changed_workspace = api.sent("PATCH", &workspace_path, Some(json!({ "name": "Wien" })));
    let limited = json!({
        "environment": "live",
        "scopes": ["contacts:read"],
        "workspaces": [created_workspace["id"]],
        "fields": { "contacts": ["name"] },
        "allowed_ips": ["192.0.2.0/24"],
        "description": "Nightly export",
        "owner": "alice",
        "tags": ["billing"],
        "metadata": { "team": "export" },
    });
    api.sent("POST", &keys_path, Some(limited));
    let workspace = api.sent("GET", &workspace_path, None);
    let workspace_page = api.sent("GET", &workspaces_path, None);

    let credential = json!({ "environment": "admin", "role": "viewer" });
    let credential = api.sent("POST", &keys_path, Some(credential));
    let session = api.sent("POST", &format!("{account_path}/sessions"), Some(json!({ "actor": "alice" })));

    let account = api.sent("GET", &account_path, None);
    let scopes = api.sent("GET", &format!("{account_path}/scopes"), None);
    let accounts = api.sent("GET", "accounts", None);
    let key = api.sent("GET", &key_path, None);
    let keys = api.sent("GET", &keys_path, None);
    let usage = api.sent("GET", &format!("{key_path}/usage"), None);
    let audit = api.sent("GET", &format!("{account_path}/audit"), None);
    let changed_platform = api.sent("PUT", PLATFORM, Some(json!({ "features": ["beta"] })));
    let platform = api.sent("GET", PLATFORM, None);
    let entries: Vec<&Value> = audit["data"].as_array().unwrap().iter().collect();
    let both = entries.iter().flat_map(|entry| [&entry["before"], &entry["after"]]);
    let none = json!({});
    let changes: Vec<&Value> = both.filter(|change| change.is_object()).chain([&none]).collect();
    let whoami = Principal { workspace: None, ..principal() };
    let workspaces: Value = serde_json::from_str(&http::workspaces(&whoami).body).unwrap();
    let principal: Value = serde_json::from_str(&http::whoami(&whoami).body).unwrap();
    let brief: Value = serde_json::from_str(&http::health("GET", None).body).unwrap();
    let verbose: Value = serde_json::from_str(&http::verbose_health("ok", 5_055, Vec::new()).body).unwrap();
    let names: Vec<&str> = codes().iter().map(|code| code.parts().0).collect();
    let unreachable = json!({
        "type": "object",
        "properties": { "slot": answered::of_health("slot"), "status": { "const": "unreachable" } },
        "required": ["slot", "status"],
        "additionalProperties": false,
    });

    let mut head = object(&[&account["audit_head"]], answered::of_head);
    head["description"] = "The newest entry of the account's audit.".into();
    json!({
        "Account": object(&[&account, &changed_account], answered::of_account),
        "CreatedAccount": and_more("Account", &account, &created_account),
        "ChangedAccount": and_more("Account", &account, &changed_account),
        "AccountPage": object(&[&accounts], |name| answered::of_page(name, "Account")),
        "AccessLevel": given::access_level(),
        "CatalogueEntry": given::catalogue_entry(),
        "Scopes": object(&[&scopes], answered::of_scopes),
        "ApiAccess": answered::api_access(&account["api_access"]),
        "AuditHead": head,
        "AuditEntry": object(&entries, answered::of_entry),
        "AuditPage": object(&[&audit], |name| answered::of_page(name, "AuditEntry")),
        "Changed": object(&changes, answered::of_change),
        "Key": object(&[&key, &issued, &changed_key, &rotated, &waiting, &credential, &session], answered::of_key),
        "ChangedKey": and_more("Key", &key, &changed_key),
        "IssuedKey": and_more("Key", &key, &issued),
        "RotatedKey": and_more("Key", &key, &rotated),
        "KeyPage": object(&[&keys], |name| answered::of_page(name, "Key")),
        "Usage": object(&[&usage], answered::of_usage),
        "UsageBucket": object(&[&usage["buckets"][0]], answered::of_usage),
        "Platform": object(&[&platform, &changed_platform], answered::of_platform),
        "ChangedPlatform": and_more("Platform", &platform, &changed_platform),
        "Principal": object(&[&principal], answered::of_principal),
        "AllRevoked": object(&[&all_revoked], answered::of_revocation),
        "Plan": object(&[&plan], answered::of_plan),
        "PlanPage": object(&[&plans], |name| answered::of_page(name, "Plan")),
        "KeyFilter": given::key_filter(),
        "StaleKeys": object(&[&stale], answered::of_stale_keys),
        "AdminWorkspace": object(&[&workspace, &created_workspace, &changed_workspace], answered::of_admin_workspace),
        "CreatedWorkspace": and_more("AdminWorkspace", &workspace, &created_workspace),
        "ChangedWorkspace": and_more("AdminWorkspace", &workspace, &changed_workspace),
        "WorkspacePage": object(&[&workspace_page], |name| answered::of_page(name, "AdminWorkspace")),
        "Workspace": object(&[&workspaces["data"][0]], answered::of_workspace),
        "Workspaces": object(&[&workspaces], answered::of_workspaces),
        "Health": object(&[&brief, &verbose], answered::of_health),
        "Slot": { "oneOf": [object(&[&api.condition()], answered::of_health), unreachable] },
        "Problem": object(&problems().iter().collect::<Vec<_>>(), |name| answered::of_problem(name, &names)),
    })
}

/// A header that is always there.
pub fn header(schema: Value, description: &str) -> Value {
    json!({ "required": true, "description": description, "schema": schema })
}

/// A header of the document.
pub fn header_reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

/// The headers of every answer.
pub fn no_store() -> Value {
    json!({ "Cache-Control": header_reference("No-Store") })
}

/// Who the holder of a key is, as headers.
fn allowed() -> Value {
    let mut headers = no_store();
    for (name, _) in http::identity_headers(&principal()) {
        let value = match name {
            "x-keygate-key-id" => values::key_id(),
            "x-keygate-account-id" => values::account_id(),
            "x-keygate-environment" => given::member("environment"),
            "x-keygate-scopes" => with(json!({ "type": "string" }), "Space separated; empty where there is none."),
            "x-keygate-workspace-id" => values::workspace_id(),
            "x-keygate-features" => with(json!({ "type": "string" }), "Space separated."),
            "x-keygate-fields" => with(
                json!({ "type": "string" }),
                "JSON: of each resource that is limited, the only fields that the key may see.",
            ),
            _ => panic!("nothing is said of the header {name}"),
        };
        let optional = ["x-keygate-workspace-id", "x-keygate-features", "x-keygate-fields"].contains(&name);
        headers[name] = json!({ "required": !optional, "schema": value });
    }
    json!({ "description": "The key may do this.", "headers": headers })
}

/// What `schema` describes, with members that only this answer has.
fn and_more(schema: &str, usual: &Value, answer: &Value) -> Value {
    let more = answer.as_object().unwrap().keys().filter(|name| usual.get(name).is_none());
    let mut schema = reference_to(schema);
    schema["required"] = more.cloned().collect::<Vec<_>>().into();
    schema
}

/// Problems with all members that one can have.
fn problems() -> Vec<Value> {
    let denial = Denial::InsufficientScope {
        required: vec![Scope::parse("a:b").unwrap()],
        missing: vec![Scope::parse("a:b").unwrap()],
    };
    [Problem::not_found(), Problem::denial(&denial), Problem::refusal(Refusal::external_id_taken("x"))]
        .iter()
        .map(|problem| serde_json::from_str(&problem.reply().body).unwrap())
        .collect()
}

fn principal() -> Principal {
    Principal {
        key_id: KeyId::parse("key_c06af5216d9a4ed13f06").unwrap(),
        account: AccountRef { slot: 0, number: 1 },
        environment: Environment::Live,
        scopes: ScopeSet::default(),
        features: vec!["beta".to_owned()],
        workspace: Some(WorkspaceId::from_bytes([1; 8])),
        workspaces: vec![Workspace { id: WorkspaceId::from_bytes([1; 8]), name: "Vienna".to_owned() }],
        fields: Fields::new([("contacts", vec!["name"])]).unwrap(),
        scopes_used: 0,
        expires_at: Some(UnixMillis::EPOCH),
    }
}

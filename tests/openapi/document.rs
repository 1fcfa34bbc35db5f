//! The document: what the product says of itself, put together.

use keygate::{
    authority::admins::Caller,
    credential::{AccountRef, Digest},
    http::{self, Code},
};
use serde_json::{Value, json};

use super::{
    components::{self, header, header_reference, no_store},
    given,
    values::{self, reference_to},
    wire::{self, Api, Request},
};

/// An operation of the admin API.
struct Operation {
    method: &'static str,
    path: &'static str,
    name: &'static str,
    summary: &'static str,
    /// The schema of its answer.
    answer: &'static str,
    /// The refusals that are this operation's own.
    refusals: &'static [Code],
}

const ACCOUNT: &str = "accounts/{account_id}";
const BY_EXTERNAL_ID: &str = "accounts/by-external-id/{external_id}";
const ACCESS_REQUESTS: &str = "accounts/{account_id}/access-requests";
const SCOPES: &str = "accounts/{account_id}/scopes";
const AUDIT: &str = "accounts/{account_id}/audit";
const SESSIONS: &str = "accounts/{account_id}/sessions";
/// The path of the keys of an account.
pub const KEYS: &str = "accounts/{account_id}/keys";
const LOOKUP: &str = "accounts/{account_id}/keys/lookup";
const KEY: &str = "accounts/{account_id}/keys/{key_id}";
/// The path of the platform.
pub const PLATFORM: &str = "platform";
pub const ROTATE: &str = "accounts/{account_id}/keys/{key_id}/rotate";
const CONFIRM: &str = "accounts/{account_id}/keys/{key_id}/rotate/confirm";
const CANCEL: &str = "accounts/{account_id}/keys/{key_id}/rotate/cancel";
const USAGE: &str = "accounts/{account_id}/keys/{key_id}/usage";
const PICTURE: &str = "accounts/{account_id}/keys/{key_id}/usage.svg";
const REVOKE: &str = "accounts/{account_id}/keys/{key_id}/revoke";
const REVOKE_ALL: &str = "accounts/{account_id}/keys/revoke-all";
const EXPORT: &str = "accounts/{account_id}/keys/export";
const STALE: &str = "accounts/{account_id}/keys/stale";
const PLANS: &str = "accounts/{account_id}/keys/plans";
const PLAN: &str = "accounts/{account_id}/keys/plans/{plan_id}";
const PLAN_KEYS: &str = "accounts/{account_id}/keys/plans/{plan_id}/keys";
const EXECUTE: &str = "accounts/{account_id}/keys/plans/{plan_id}/execute";
const CANCEL_PLAN: &str = "accounts/{account_id}/keys/plans/{plan_id}/cancel";
const WORKSPACES: &str = "accounts/{account_id}/workspaces";
const WORKSPACE: &str = "accounts/{account_id}/workspaces/{workspace_id}";
const ARCHIVE: &str = "accounts/{account_id}/workspaces/{workspace_id}/archive";

#[rustfmt::skip]
const OPERATIONS: &[Operation] = &[
    Operation { method: "POST", path: "accounts", name: "createAccount", summary: "Create an account.", answer: "CreatedAccount", refusals: &[Code::Conflict] },
    Operation { method: "GET", path: "accounts", name: "listAccounts", summary: "List the accounts, newest first.", answer: "AccountPage", refusals: &[] },
    Operation { method: "GET", path: ACCOUNT, name: "getAccount", summary: "Read an account.", answer: "Account", refusals: &[Code::NotFound] },
    Operation { method: "PATCH", path: ACCOUNT, name: "changeAccount", summary: "Change an account. Absent members stay as they are.", answer: "ChangedAccount", refusals: &[Code::NotFound, Code::Conflict] },
    Operation { method: "PUT", path: BY_EXTERNAL_ID, name: "putAccount", summary: "Change the account with this external_id, absent members staying as they are; or create it.", answer: "ChangedAccount", refusals: &[] },
    Operation { method: "POST", path: ACCESS_REQUESTS, name: "requestAccess", summary: "Ask for the account to be active in an environment. An operator approves it by setting `api_access`.", answer: "ChangedAccount", refusals: &[Code::NotFound, Code::Conflict] },
    Operation { method: "GET", path: SCOPES, name: "listScopes", summary: "List the scopes that keys of the account can have.", answer: "Scopes", refusals: &[Code::NotFound] },
    Operation { method: "GET", path: AUDIT, name: "listAudit", summary: "List what was changed in an account, newest first.", answer: "AuditPage", refusals: &[Code::NotFound] },
    Operation { method: "POST", path: KEYS, name: "issueKey", summary: "Issue a key or an admin credential.", answer: "IssuedKey", refusals: &[Code::NotFound, Code::AccountInactive, Code::Conflict, Code::LimitReached] },
    Operation { method: "GET", path: KEYS, name: "listKeys", summary: "List the keys of an account, newest first. A page looks at 10,000 keys at most.", answer: "KeyPage", refusals: &[Code::NotFound] },
    Operation { method: "POST", path: SESSIONS, name: "createSession", summary: "Mint an admin credential that works for 15 minutes.", answer: "IssuedKey", refusals: &[Code::NotFound] },
    Operation { method: "POST", path: LOOKUP, name: "lookUpKey", summary: "Which key is this text?", answer: "Key", refusals: &[Code::NotFound] },
    Operation { method: "GET", path: KEY, name: "getKey", summary: "Read a key.", answer: "Key", refusals: &[Code::NotFound] },
    Operation { method: "PATCH", path: KEY, name: "changeKey", summary: "Change a key. Absent members stay as they are.", answer: "ChangedKey", refusals: &[Code::NotFound, Code::Conflict] },
    Operation { method: "GET", path: USAGE, name: "getKeyUsage", summary: "How often was a key used and refused lately? Every count is a lower bound.", answer: "Usage", refusals: &[Code::NotFound] },
    Operation { method: "GET", path: PICTURE, name: "getKeyUsagePicture", summary: "The same as a picture, in SVG.", answer: "", refusals: &[Code::NotFound] },
    Operation { method: "POST", path: ROTATE, name: "rotateKey", summary: "Issue a successor for a key. Both work until the overlap ends. Absent members are as with the key.", answer: "RotatedKey", refusals: &[Code::NotFound, Code::AccountInactive, Code::Conflict] },
    Operation { method: "POST", path: CONFIRM, name: "confirmRotation", summary: "Revoke a key that has a successor: its overlap ends now. Repeating it is a success.", answer: "ChangedKey", refusals: &[Code::NotFound, Code::Conflict] },
    Operation { method: "POST", path: CANCEL, name: "cancelRotation", summary: "Revoke the successor of a key, which goes on as if there had been none.", answer: "ChangedKey", refusals: &[Code::NotFound, Code::Conflict] },
    Operation { method: "POST", path: REVOKE_ALL, name: "revokeAllKeys", summary: "Revoke all keys that there are now, at once and for good. Repeating it is a success.", answer: "AllRevoked", refusals: &[Code::NotFound] },
    Operation { method: "GET", path: EXPORT, name: "exportKeys", summary: "All keys that were issued before and that a filter finds, newest first. An answer that breaks off is not whole.", answer: "", refusals: &[Code::NotFound] },
    Operation { method: "GET", path: STALE, name: "getStaleKeys", summary: "Count the keys that nobody seems to need. Uses of the last minute may not be known yet.", answer: "StaleKeys", refusals: &[Code::NotFound] },
    Operation { method: "POST", path: PLANS, name: "planRevocation", summary: "Write down which keys a filter finds now that are not revoked. Nothing is revoked yet. It looks at 10,000 keys at a time: where there are more, the plan is `planning` first.", answer: "Plan", refusals: &[Code::NotFound, Code::Conflict] },
    Operation { method: "GET", path: PLANS, name: "listPlans", summary: "List the plans of an account, newest first. A plan is kept for 7 days after its end.", answer: "PlanPage", refusals: &[Code::NotFound] },
    Operation { method: "GET", path: PLAN, name: "getPlan", summary: "Read a plan: what has become of it, and how far it has come.", answer: "Plan", refusals: &[Code::NotFound] },
    Operation { method: "GET", path: PLAN_KEYS, name: "listPlanKeys", summary: "List the keys of a plan, newest first, as they are now.", answer: "KeyPage", refusals: &[Code::NotFound] },
    Operation { method: "POST", path: EXECUTE, name: "executePlan", summary: "Revoke exactly the keys of a plan, for good, a hundred at a time: 202, and the plan says how far it has come. Repeating it is a success.", answer: "Plan", refusals: &[Code::NotFound, Code::Conflict] },
    Operation { method: "POST", path: CANCEL_PLAN, name: "cancelPlan", summary: "End a plan: what it has revoked stays revoked, the rest is left. Repeating it is a success.", answer: "Plan", refusals: &[Code::NotFound, Code::Conflict] },
    Operation { method: "POST", path: WORKSPACES, name: "createWorkspace", summary: "Create a workspace.", answer: "CreatedWorkspace", refusals: &[Code::NotFound, Code::LimitReached] },
    Operation { method: "GET", path: WORKSPACES, name: "listWorkspaces", summary: "List the workspaces of an account, newest first.", answer: "WorkspacePage", refusals: &[Code::NotFound] },
    Operation { method: "GET", path: WORKSPACE, name: "getWorkspace", summary: "Read a workspace.", answer: "AdminWorkspace", refusals: &[Code::NotFound] },
    Operation { method: "PATCH", path: WORKSPACE, name: "changeWorkspace", summary: "Change a workspace. Absent members stay as they are.", answer: "ChangedWorkspace", refusals: &[Code::NotFound, Code::Conflict] },
    Operation { method: "POST", path: ARCHIVE, name: "archiveWorkspace", summary: "Archive a workspace, for good: no key can name it any more. Repeating it is a success.", answer: "ChangedWorkspace", refusals: &[Code::NotFound] },
    Operation { method: "POST", path: REVOKE, name: "revokeKey", summary: "Revoke a key, for good. Repeating it is a success.", answer: "ChangedKey", refusals: &[Code::NotFound] },
    Operation { method: "GET", path: PLATFORM, name: "getPlatform", summary: "Which features are on for every account?", answer: "Platform", refusals: &[] },
    Operation { method: "PUT", path: PLATFORM, name: "setPlatform", summary: "Set the features that are on for every account. After a 503 repeating it is safe, and needed.", answer: "ChangedPlatform", refusals: &[] },
];

/// The whole document.
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Keygate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Verifies bearer API keys at the edge. Errors are problems (RFC 9457) with a stable `code`. \
                No answer may be cached.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/_keygate" }],
        "tags": [
            { "name": "keys", "description": "For holders of an API key, and proxies in front of an API." },
            { "name": "admin", "description": "For the operator, with the root token, and for administrators of one account." },
            { "name": "self", "description": "For anyone." },
        ],
        "paths": paths(),
        "components": {
            "securitySchemes": {
                "apiKey": { "type": "http", "scheme": "bearer", "description": "An API key." },
                "rootToken": { "type": "http", "scheme": "bearer", "description": "The operator's KEYGATE_ROOT_TOKEN." },
                "adminCredential": { "type": "http", "scheme": "bearer", "description": "An admin credential or a session of the account." },
            },
            "parameters": {
                "account_id": in_path("account_id", values::account_id()),
                "key_id": in_path("key_id", values::key_id()),
                "external_id": in_path("external_id", given::member("external_id")),
                "workspace_id": in_path("workspace_id", values::workspace_id()),
                "plan_id": in_path("plan_id", values::plan_id()),
                "X-Keygate-Actor": in_header("X-Keygate-Actor", false, values::actor(),
                    "Who, in your own product, orders this. Kept as `created_by` and in the audit."),
                "Idempotency-Key": in_header("Idempotency-Key", false, values::idempotency_key(),
                    "Random, hard to guess. Within 24 hours the same request with it has the same answer, and nothing \
                     is done twice; another request with it is refused."),
                "If-Match": in_header("If-Match", true, values::if_match(),
                    "The `ETag` that you read: the change is refused if there was another since. `*`: whatever it is now."),
            },
            "headers": {
                "No-Store": header(json!({ "const": "no-store" }), "Never to be cached."),
                "ETag": header(json!({ "type": "string", "pattern": "^\"[0-9]+\"$" }), "The version, for If-Match."),
            },
            "responses": components::responses(),
            "schemas": components::schemas(),
        },
    })
}

fn paths() -> Value {
    let api = Api::new();
    let mut paths = json!({});
    for operation in OPERATIONS {
        let path = &mut paths[format!("/admin/v1/{}", operation.path)];
        path[operation.method.to_lowercase()] = administer(&api, operation);
        let names = ["account_id", "key_id", "workspace_id", "plan_id", "external_id"]
            .into_iter()
            .filter(|name| operation.path.contains(&format!("{{{name}}}")));
        let parameters: Vec<Value> = names.map(parameter_reference).collect();
        if !parameters.is_empty() {
            path["parameters"] = parameters.into();
        }
    }
    paths["/rotate"]["post"] = rotate_own(&api);
    // Whatever the method of the request that a proxy asks about.
    for method in ["get", "head", "post", "put", "patch", "delete", "options"] {
        paths["/verify"][method] = verify(method);
    }
    let parameter = |name: &str, place: &str, description: &str, schema: Value| json!({ "name": name, "in": place, "description": description, "schema": schema });
    paths["/verify"]["parameters"] = json!([
        parameter(
            "scope",
            "query",
            "All of these are needed, and all of those that a space separates in one.",
            json!({ "type": "array", "items": values::demanded() }),
        ),
        parameter("feature", "query", "404 unless the account has this feature.", values::feature()),
        parameter(
            "workspace",
            "query",
            "A workspace is needed: the one that X-Workspace-ID names, or the only one that the key may use.",
            json!({ "type": "string", "enum": ["required"] }),
        ),
        parameter("environment", "query", "Only keys of this environment are accepted.", given::member("environment")),
        parameter(http::WORKSPACE_HEADER, "header", "The workspace of the request.", values::workspace_id()),
    ]);
    let own = |name: &str, summary: &str, answer: Value, codes: &[Code]| {
        let mut responses = all_refusals(codes);
        responses["200"] = answer;
        json!({ "operationId": name, "summary": summary, "tags": ["self"], "security": [{}], "responses": responses })
    };
    let mut whoami = own(
        "whoami",
        "Whom does this key stand for?",
        success("Principal"),
        &[&HOLDER[..], &[Code::AccountInactive]].concat(),
    );
    whoami["tags"] = json!(["keys"]);
    whoami["security"] = json!([{ "apiKey": [] }]);
    let mut workspaces = own(
        "workspaces",
        "Which workspaces may this key be used in?",
        success("Workspaces"),
        &[&HOLDER[..], &[Code::AccountInactive]].concat(),
    );
    workspaces["tags"] = json!(["keys"]);
    workspaces["security"] = json!([{ "apiKey": [] }]);
    let mut health = own(
        "health",
        "Does this Worker run? And how are its slots?",
        success("Health"),
        &[Code::InvalidRequest, Code::MissingCredential, Code::InvalidToken, Code::Indeterminate],
    );
    health["security"] = json!([{}, { "rootToken": [] }]);
    health["parameters"] = json!([{
        "name": "verbose",
        "in": "query",
        "description": "Also how each slot is; this needs the root token. Any value will do.",
        "allowEmptyValue": true,
        "schema": { "type": "string", "examples": [""] },
    }]);
    let described = json!({ "description": "OK", "headers": no_store(), "content": { "application/json": { "schema": { "type": "object" } } } });
    let openapi = own("openapi", "This document.", described, &[Code::InvalidRequest]);
    for (path, operation) in
        [("/whoami", whoami), ("/workspaces", workspaces), ("/healthz", health), ("/openapi.json", openapi)]
    {
        paths[path]["head"] = head(&operation);
        paths[path]["get"] = operation;
    }
    paths
}

/// What the holder of a key can be told.
const HOLDER: [Code; 4] = [Code::InvalidRequest, Code::MissingCredential, Code::InvalidToken, Code::Indeterminate];

fn verify(method: &str) -> Value {
    let mut responses =
        all_refusals(&[&HOLDER[..], &[Code::InsufficientScope, Code::AccountInactive, Code::NotFound]].concat());
    responses["200"] = json!({ "$ref": "#/components/responses/Allowed" });
    let operation = json!({
        "operationId": if method == "get" { "verify".into() } else { format!("verify_{method}") },
        "summary": "May the holder of this key do what these scopes name?",
        "tags": ["keys"],
        "security": [{ "apiKey": [] }],
        "responses": responses,
    });
    if method == "head" { without_content(operation) } else { operation }
}

fn administer(api: &Api, operation: &Operation) -> Value {
    let path = concrete(operation.path);
    let request = Request::new(operation.method, &path);
    let mut codes = vec![Code::InvalidRequest, Code::MissingCredential, Code::InvalidToken, Code::Indeterminate];
    codes.extend([Code::InsufficientRole, Code::InsufficientScope, Code::AccountInactive]);
    codes.extend(operation.refusals);
    // Accounts are the operator's.
    let callers = if operation.path == "accounts" {
        json!([{ "rootToken": [] }])
    } else {
        json!([{ "rootToken": [] }, { "adminCredential": [] }])
    };
    let mut described = json!({
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": ["admin"],
        "security": callers,
    });

    let mut parameters: Vec<Value> = wire::parameters(api, request)
        .iter()
        .map(|name| {
            let mut schema = given::parameter(operation.path, name);
            let description = schema.as_object_mut().unwrap().remove("description");
            let mut parameter = json!({ "name": name, "in": "query", "description": description, "schema": schema });
            if name == "format" {
                parameter["required"] = true.into();
            }
            parameter
        })
        .collect();
    if operation.method != "GET" {
        let members = wire::members(api, request, |name| values::example(&given::member_at(operation.path, name)));
        let required = members.iter().any(|member| member.required);
        let mut schema = given::body(operation.path, &members);
        if operation.name == "issueKey" {
            schema = json!({ "oneOf": [schema, of_credential(api, request)] });
        }
        described["requestBody"] =
            json!({ "required": required, "content": { "application/json": { "schema": schema } } });
        codes.extend([Code::PayloadTooLarge, Code::UnsupportedMediaType]);
    }
    // Where a header does not matter, it can be anything.
    let body = described["requestBody"]["content"]["application/json"]["schema"].as_object();
    let body = body.map(|schema| values::example(schema.get("oneOf").map_or(&json!(schema), |kinds| &kinds[0])));
    let query = if operation.path == EXPORT { "format=csv" } else { "" };
    let request = Request { body: body.as_ref(), query, ..request };
    let heeds = |request| api.parse(request).is_err_and(|problem| problem.reply().status == 400);
    if heeds(Request { actor: Some(""), ..request }) {
        parameters.push(parameter_reference("X-Keygate-Actor"));
    }
    if heeds(Request { idempotency_key: Some("short"), ..request }) {
        parameters.push(parameter_reference("Idempotency-Key"));
        codes.push(Code::IdempotencyConflict);
    }
    if heeds(Request { if_match: Some("unquoted"), ..request }) {
        parameters.push(parameter_reference("If-Match"));
        codes.extend([Code::PreconditionFailed, Code::PreconditionRequired]);
    }
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }

    let created = operation.method == "POST"
        && matches!(operation.answer, "CreatedAccount" | "IssuedKey" | "RotatedKey" | "CreatedWorkspace")
        || operation.name == "planRevocation";
    let mut responses = all_refusals(&codes);
    let mut answer = success(operation.answer);
    if operation.path == PICTURE {
        answer["content"] = json!({ "image/svg+xml": { "schema": { "type": "string" } } });
    }
    if operation.path == EXPORT {
        let columns = "RFC 4180. Columns are named as the members of Key. A cell that would begin like a formula begins with an apostrophe.";
        answer["content"] = json!({
            "application/x-ndjson": { "schema": { "type": "string", "description": "A Key on each line." } },
            "text/csv": { "schema": { "type": "string", "description": columns } },
        });
    }
    // What is about many things has no version.
    let unversioned = ["Scopes", "AllRevoked", "Plan", "StaleKeys", "Usage", ""];
    let many = unversioned.contains(&operation.answer) || operation.path == PLATFORM;
    if !operation.answer.ends_with("Page") && !many {
        answer["headers"]["ETag"] = header_reference("ETag");
    }
    responses[if created { "201" } else { "200" }] = answer;
    if operation.path == EXECUTE {
        responses["202"] = success(operation.answer);
        responses["202"]["description"] = "Its keys are being revoked.".into();
        responses["200"]["description"] = "It was done before.".into();
    }
    if operation.path == BY_EXTERNAL_ID {
        let mut created = success("CreatedAccount");
        created["headers"]["ETag"] = header_reference("ETag");
        responses["201"] = created;
    }
    described["responses"] = responses;
    described
}

/// What a holder may do with their own key.
fn rotate_own(api: &Api) -> Value {
    let path = concrete(ROTATE);
    let request = of_holder(&path);
    let members = wire::members(api, request, |name| values::example(&given::member_at("rotate", name)));
    let refusals = [
        Code::AccountInactive,
        Code::InsufficientRole,
        Code::Conflict,
        Code::IdempotencyConflict,
        Code::PayloadTooLarge,
        Code::UnsupportedMediaType,
    ];
    let mut responses = all_refusals(&[&HOLDER[..], &refusals].concat());
    responses["201"] = success("RotatedKey");
    responses["201"]["headers"]["ETag"] = header_reference("ETag");
    json!({
        "operationId": "rotate",
        "summary": "Issue a successor for the key that this request brings, where its account lets holders do that.",
        "tags": ["keys"],
        "security": [{ "apiKey": [] }],
        "parameters": [parameter_reference("Idempotency-Key")],
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": given::body("rotate", &members) } },
        },
        "responses": responses,
    })
}

/// What the Authority gets where a holder rotates their own key.
pub fn of_holder(path: &str) -> Request<'_> {
    Request { caller: Caller::Holder(Digest::from_bytes([0; 24])), ..Request::new("POST", path) }
}

/// The body of an issue in the environment `admin`.
fn of_credential(api: &Api, request: Request<'_>) -> Value {
    let admin = |name: &str| match name {
        "environment" => json!("admin"),
        _ => values::example(&given::member(name)),
    };
    let mut schema = given::body(KEYS, &wire::members(api, request, admin));
    schema["properties"]["environment"] = json!({ "type": "string", "enum": ["admin"] });
    schema["properties"]["scopes"]["description"] = "What it may grant. Absent: everything.".into();
    schema
}

/// A path with an account and a key in it.
pub fn concrete(path: &str) -> String {
    let account = AccountRef { slot: super::support::SLOT, number: 1 };
    path.replace("{account_id}", &account.to_string())
        .replace("{key_id}", "key_00000000000000000000")
        .replace("{workspace_id}", "ws_0000000000000000")
        .replace("{plan_id}", "plan_0000000000000000")
        .replace("{external_id}", "cust-42")
}

fn success(schema: &str) -> Value {
    json!({
        "description": "OK",
        "headers": no_store(),
        "content": { "application/json": { "schema": reference_to(schema) } },
    })
}

fn all_refusals(codes: &[Code]) -> Value {
    let mut responses = json!({});
    for code in codes {
        let (_, status, title) = code.parts();
        responses[status.to_string()] = json!({ "$ref": format!("#/components/responses/{}", title.replace(' ', "")) });
    }
    responses
}

/// The same for HEAD, which is answered without a body.
fn head(operation: &Value) -> Value {
    let mut operation = operation.clone();
    operation["operationId"] = format!("{}_head", operation["operationId"].as_str().unwrap()).into();
    without_content(operation)
}

fn without_content(mut operation: Value) -> Value {
    let bodiless = json!({ "$ref": "#/components/responses/Bodiless" });
    let allowed = operation["responses"]["200"].take();
    operation["responses"] = json!({
        "200": if allowed["$ref"].is_string() { &allowed } else { &bodiless },
        "4XX": bodiless,
        "5XX": bodiless,
    });
    operation
}

fn in_path(name: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

fn in_header(name: &str, required: bool, schema: Value, description: &str) -> Value {
    json!({ "name": name, "in": "header", "required": required, "description": description, "schema": schema })
}

fn parameter_reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

//! What the members of objects look like. They are those that the product itself writes or takes; what is said here is
//! what each of them means.

use keygate::{
    authority::{
        audit::ACTIONS,
        settings::{ACCESS_LEVELS_MAX, NamePolicy},
    },
    credential::{Environment, NumberedSecret},
    http::{MAX_ACTIVE_KEYS_MAX, admin},
    policy::{Access, CATALOGUE_MAX, DESCRIPTION_MAX, FIELDS_BYTES_MAX, VERBS_MAX, WORKSPACES_MAX},
};
use serde_json::{Map, Value, json};

use super::{
    values::{
        account_id, account_statuses, all_environments, brand, distinct, environments, feature, features, fields, flag,
        hash, instant, key_id, key_statuses, label, line, or_null_if, reference, reference_to, roles, scope, scopes,
        text, text_example, with, word, workspace_id, workspace_statuses,
    },
    wire::{Api, Member, limits},
};

/// An object with exactly the members of `samples`: required where all of them have it, and nothing else allowed.
pub fn object(samples: &[&Value], schema: impl Fn(&str) -> Value) -> Value {
    let samples: Vec<&Map<String, Value>> = samples.iter().map(|sample| sample.as_object().unwrap()).collect();
    let mut properties = Map::new();
    for name in samples.iter().flat_map(|sample| sample.keys()) {
        properties.entry(name).or_insert_with(|| schema(name));
    }
    let required: Vec<&String> =
        properties.keys().filter(|name| samples.iter().all(|sample| sample.contains_key(*name))).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// The body of a request that takes these members.
pub fn body(path: &str, members: &[Member]) -> Value {
    let schema = |member: &Member| or_null_if(member.nullable, given_at(path, &member.name));
    let properties: Map<String, Value> = members.iter().map(|member| (member.name.clone(), schema(member))).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    let required: Vec<&str> = members.iter().filter(|member| member.required).map(|member| &*member.name).collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A member of the body of a request to `path`, where that makes a difference: accounts and keys have `scopes` of
/// different kinds.
pub fn given_at(path: &str, name: &str) -> Value {
    match (path.rsplit('/').next(), name) {
        (Some("revoke-all"), "environment") => {
            let any = [Environment::Live, Environment::Test, Environment::Admin];
            with(word(any.map(|one| one.as_str().into()).into()), "Only keys of this one. Absent: `live` and `test`.")
        }
        (Some("keys" | "sessions"), "scopes") => given(name),
        (_, "scopes") => catalogue(),
        _ => given(name),
    }
}

/// A member of a request body.
pub fn given(name: &str) -> Value {
    match name {
        "workspaces" => with(
            json!({
                "type": "array",
                "items": workspace_id(),
                "minItems": 1,
                "uniqueItems": true,
                "examples": [["ws_5f1c0a9be2d34877"]],
            }),
            &format!(
                "The only workspaces that the key may be used in, at most {WORKSPACES_MAX}. Null: all, also later ones."
            ),
        ),
        "fields" => with(
            fields(),
            &format!(
                "Of each resource to be limited, which a scope must reach, the only fields that it may see. At most {FIELDS_BYTES_MAX} bytes."
            ),
        ),
        "name" => with(label(), "For people to read. Not blank."),
        "external_id" => with(reference("cust-42"), "The id in your own product. No two accounts have the same."),
        "brand" => with(brand(), "What the account's keys begin with. Prefixes known as other vendors' are refused."),
        "status" => with(word(account_statuses()), "`suspended` refuses every key of the account."),
        "max_active_keys" => with(
            json!({ "type": "integer", "minimum": 1, "maximum": MAX_ACTIVE_KEYS_MAX, "examples": [100] }),
            "Keys per environment that are neither revoked nor expired. Null: no limit.",
        ),
        "api_access" => reference_to("ApiAccess"),
        "features" => with(features(), "Features switched on. Duplicates are dropped."),
        "default_scopes" => with(scopes(), &format!("What a key gets that is issued without `scopes`. {}", distinct())),
        "name_policy" => with(
            word(NamePolicy::ALL.map(|policy| policy.as_str().into()).to_vec()),
            "Which names new keys may have, and those that are renamed. `unique`: one that no other key of the \
             environment has that is neither revoked nor expired.",
        ),
        "access_levels" => with(
            json!({
                "type": "object",
                "additionalProperties": reference_to("AccessLevel"),
                "propertyNames": line(admin::ACCESS_LEVEL_CHARACTERS_MAX, "Read only"),
                "maxProperties": ACCESS_LEVELS_MAX,
                "examples": [{ "Read only": { "description": "Sees everything", "scopes": ["*:read"] } }],
            }),
            "Scopes to issue keys with, by name.",
        ),
        "access_level_required" => with(flag(), "Each new key must name an access level."),
        "plan" => with(label(), "What the account pays for, in the operator's words."),
        "explain_refusals" => with(
            flag(),
            "The holder of a genuine key learns that it was revoked, has expired or is disabled. Others never do.",
        ),
        "note" => with(line(admin::NOTE_CHARACTERS_MAX, "For our CRM"), "For whoever decides."),
        "access_level" => with(
            line(admin::ACCESS_LEVEL_CHARACTERS_MAX, "Read only"),
            "The access level of the account that the key is based on.",
        ),
        "environment" => with(word(environments()), "Which environment it is about."),
        "scopes" => with(
            scopes(),
            &format!(
                "What the key may do. Absent: what its access_level says, or the account's default_scopes. {}",
                distinct()
            ),
        ),
        "role" => with(word(roles()), "How much it administers."),
        "actor" => {
            with(reference("alice"), "Who acts with it, in your own product: `X-Keygate-Actor` of all its calls.")
        }
        "not_before" => {
            with(instant("2029-01-31T00:00:00Z"), "Refused before this instant, which is before `expires_at`.")
        }
        "expires_at" => with(instant("2030-01-31T00:00:00Z"), "Refused from this instant on, which is in the future."),
        "disabled" => with(flag(), "True refuses the key until it is enabled again."),
        "key" => with(json!({ "type": "string", "examples": [KEY_TEXT] }), "The text of a key."),
        _ => panic!("nothing is said of the member {name}"),
    }
}

/// A query parameter.
pub fn parameter(path: &str, name: &str) -> Value {
    match name {
        "status" if path.ends_with("/workspaces") => with(word(workspace_statuses()), "Only workspaces in this state."),
        "limit" => {
            let (default, maximum) = limits(&Api::new());
            with(
                json!({ "type": "integer", "minimum": 1, "maximum": maximum, "default": default, "examples": [10] }),
                "How many at most.",
            )
        }
        "cursor" => with(text(CURSOR, "0-"), "The `next_cursor` of an earlier page."),
        "external_id" => {
            with(json!({ "type": "string", "examples": ["cust-42"] }), "Only the account with this external_id.")
        }
        "environment" => with(word(all_environments()), "Only keys of this environment. Absent: all but `admin`."),
        "status" => with(word(key_statuses()), "Only keys in this state."),
        "pepper" => with(
            json!({ "type": "integer", "minimum": 0, "maximum": NumberedSecret::MAX_ID, "examples": [1] }),
            "Only keys minted with the pepper of this id.",
        ),
        "action" => with(word(ACTIONS.map(Value::from).into()), "Only what was done by this."),
        "actor" => with(json!({ "type": "string", "examples": ["alice"] }), "Only what this actor ordered."),
        "subject" => with(
            json!({ "type": "string", "examples": ["key_c06af5216d9a4ed13f06"] }),
            "Only what was done to this account, key or workspace.",
        ),
        "wait" => with(
            word(vec!["effective".into()]),
            "The answer comes when the change counts everywhere, at `effective_by`.",
        ),
        _ => panic!("nothing is said of the parameter {name}"),
    }
}

/// A member of an account.
pub fn of_account(name: &str) -> Value {
    match name {
        "id" => account_id(),
        "external_id" | "max_active_keys" | "plan" => or_null_if(true, given(name)),
        "scopes" => or_null_if(true, catalogue()),
        "access_note" => with(or_null_if(true, given("note")), "What was said with the last request for access."),
        "name_policy" | "access_levels" | "access_level_required" | "explain_refusals" => given(name),
        "audit_head" => reference_to("AuditHead"),
        "name" | "brand" | "status" | "api_access" | "features" | "default_scopes" => given(name),
        _ => of_both(name),
    }
}

/// A member of a key.
pub fn of_key(name: &str) -> Value {
    match name {
        "id" => key_id(),
        "key" => with(json!({ "type": "string", "examples": [KEY_TEXT] }), "The key itself. Nobody will see it again."),
        "account_id" => account_id(),
        "name" => or_null_if(true, given("name")),
        "environment" => word(all_environments()),
        "role" => with(given("role"), "Of admin credentials: how much they administer."),
        "actor" => with(given("actor"), "Of sessions: who acts with them."),
        "parent" => with(
            text("^(root|key_[0-9a-f]{20})$", "root"),
            "Of sessions: the credential that minted them, and that they end with.",
        ),
        "scopes" => with(scopes(), "What it may do; of admin credentials: what they may grant."),
        "access_level" => or_null_if(true, given(name)),
        "workspaces" => with(
            json!({ "type": ["array", "null"], "items": workspace_id() }),
            "The only workspaces that it may be used in; null: all.",
        ),
        "fields" => with(fields(), "Of each resource that is limited, the only fields that it may see."),
        "status" => word(key_statuses()),
        "hint" => with(text_example("kg_live_...USM7"), "Beginning and end of the key, to recognise it by."),
        "not_before" | "expires_at" => or_null_if(true, given(name)),
        "scopes_last_used" => with(
            json!({
                "type": "object",
                "additionalProperties": { "type": ["string", "null"], "format": "date", "examples": ["2027-01-31"] },
            }),
            "For each of `scopes` the day (UTC) on which it last served, as far as is known. In answers about one key.",
        ),
        "last_used_at" | "revoked_at" => or_null_if(true, instant("2027-01-31T00:00:00.000Z")),
        _ => of_both(name),
    }
}

/// A member of the platform.
pub fn of_platform(name: &str) -> Value {
    match name {
        "features" => {
            with(features(), "On for every account; where the slots differ, those that are on in all of them.")
        }
        "consistent" => with(json!({ "type": "boolean" }), "False: the slots differ. Set the list again."),
        _ => of_both(name),
    }
}

fn of_both(name: &str) -> Value {
    match name {
        "created_at" => instant("2027-01-31T00:00:00.000Z"),
        "created_by" => with(or_null_if(true, reference("alice")), "The X-Keygate-Actor who created it."),
        "mirrored" => with(json!({ "type": "boolean" }), "Whether Workers KV has this change already."),
        "effective_by" => {
            with(instant("2027-01-31T00:00:05.055Z"), "The change counts everywhere by then. With `wait`, now.")
        }
        _ => panic!("nothing is said of the member {name}"),
    }
}

/// A member of an entry of the audit.
pub fn of_entry(name: &str) -> Value {
    match name {
        "account" => account_id(),
        "number" => with(json!({ "type": "integer", "minimum": 1 }), "Its place in the account's chain."),
        "at" => instant("2027-01-31T00:00:00.000Z"),
        "sequence" => with(json!({ "type": "integer", "minimum": 1 }), "Its place among all changes of the slot."),
        "credential" => with(
            text_example("root"),
            "The credential that ordered it, by its public name: `root`, or the id of an admin credential.",
        ),
        "actor" => with(or_null_if(true, reference("alice")), "The X-Keygate-Actor who ordered it."),
        "action" => word(ACTIONS.map(Value::from).into()),
        "subject" => {
            let names = "^(acct_[0-9a-f]{10}|key_[0-9a-f]{20}|ws_[0-9a-f]{16})$";
            with(text(names, "key_c06af5216d9a4ed13f06"), "The account, key or workspace.")
        }
        "before" => with(
            json!({ "anyOf": [reference_to("Changed"), { "type": "null" }] }),
            "The members that changed, as they were; null for something new.",
        ),
        "after" => with(reference_to("Changed"), "The members that changed, as they are since."),
        "previous" => with(hash(), "The hash of the entry before; zeros for the first."),
        "hash" => with(
            hash(),
            "SHA-256 of this entry without `hash`, as compact JSON with its members in the order in which they are sent.",
        ),
        _ => panic!("nothing is said of the member {name}"),
    }
}

/// A member of an account or key that the audit shows a change of.
pub fn of_change(name: &str) -> Value {
    let mut statuses = account_statuses();
    statuses.extend(key_statuses().into_iter().filter(|status| !account_statuses().contains(status)));
    statuses.push("archived".into());
    match name {
        "environments" => with(
            json!({ "type": "array", "items": word(vec!["live".into(), "test".into(), "admin".into()]) }),
            "Those whose keys were all revoked.",
        ),
        "workspaces" | "fields" => of_key(name),
        "status" => word(statuses),
        "name" => or_null_if(true, label()),
        "scopes" => json!({ "anyOf": [scopes(), or_null_if(true, catalogue())] }),
        "not_before" | "expires_at" => or_null_if(true, instant("2030-01-31T00:00:00.000Z")),
        _ => of_account_or_key(name),
    }
}

fn of_account_or_key(name: &str) -> Value {
    match name {
        "environment" | "hint" | "revoked_at" | "role" | "actor" | "access_level" => of_key(name),
        _ => of_account(name),
    }
}

/// A member of the newest entry's name.
pub fn of_head(name: &str) -> Value {
    match name {
        "number" => with(json!({ "type": "integer", "minimum": 1 }), "How many entries there are."),
        _ => of_entry(name),
    }
}

/// A member of a page; `items` is in it.
pub fn of_page(name: &str, items: &str) -> Value {
    match name {
        "data" => json!({ "type": "array", "items": reference_to(items) }),
        "next_cursor" => with(or_null_if(true, text(CURSOR, "0-41")), "Where the next page begins; null on the last."),
        _ => panic!("nothing is said of the member {name}"),
    }
}

/// A member of what a key stands for.
pub fn of_principal(name: &str) -> Value {
    match name {
        "key_id" => key_id(),
        "environment" => given(name),
        "features" => with(
            json!({ "type": "array", "items": feature(), "examples": [["beta"]] }),
            "Those of the account, and those that every account has.",
        ),
        "fields" => with(fields(), "Of each resource that is limited, the only fields that the key may see."),
        "workspaces" => {
            with(json!({ "type": "array", "items": reference_to("Workspace") }), "Those that the key may be used in.")
        }
        _ => of_key(name),
    }
}

/// A member of a workspace.
pub fn of_workspace(name: &str) -> Value {
    match name {
        "id" => workspace_id(),
        "name" => with(label(), "For people to read."),
        _ => panic!("nothing is said of the member {name}"),
    }
}

/// A member of a workspace as administrators see it.
pub fn of_admin_workspace(name: &str) -> Value {
    match name {
        "account_id" => account_id(),
        "status" => word(workspace_statuses()),
        "archived_at" => or_null_if(true, instant("2027-01-31T00:00:00.000Z")),
        "id" | "name" => of_workspace(name),
        _ => of_both(name),
    }
}

/// A member of the answer to a revocation of all keys.
pub fn of_revocation(name: &str) -> Value {
    match name {
        "account_id" => account_id(),
        "environments" => of_change(name),
        "revoked_at" => with(
            instant("2027-01-31T00:00:00.000Z"),
            "When the last of them were revoked. Where no key was left, that was earlier.",
        ),
        _ => of_both(name),
    }
}

/// A member of a list of workspaces, which has no pages.
pub fn of_workspaces(name: &str) -> Value {
    of_page(name, "Workspace")
}

/// A member of the scopes that keys of an account can have.
pub fn of_scopes(name: &str) -> Value {
    match name {
        "data" => json!({ "type": "array", "items": reference_to("CatalogueEntry") }),
        "source" => with(
            word(["account", "deployment", "none"].map(Value::from).into()),
            "Whose catalogue it is. `none`: there is none, and every well-formed scope is accepted.",
        ),
        _ => panic!("nothing is said of the member {name}"),
    }
}

/// Scopes with a name.
pub fn access_level() -> Value {
    json!({
        "type": "object",
        "properties": { "description": or_null_if(true, line(DESCRIPTION_MAX, "Sees everything")), "scopes": scopes() },
        "required": ["scopes"],
        "additionalProperties": false,
    })
}

/// A resource of a scope catalogue.
pub fn catalogue_entry() -> Value {
    let name = || text("^[a-z][a-z0-9_-]{0,31}$", "contacts");
    json!({
        "type": "object",
        "properties": {
            "resource": with(name(), "As in scopes."),
            "description": with(line(DESCRIPTION_MAX, "People and companies"), "For people to read."),
            "verbs": { "type": "array", "items": name(), "minItems": 1, "uniqueItems": true, "examples": [["read"]] },
        },
        "required": ["resource", "description", "verbs"],
        "additionalProperties": false,
    })
}

fn catalogue() -> Value {
    let entry = |resource: &str, description: &str| json!({ "resource": resource, "description": description, "verbs": ["read", "write"] });
    let entries = [entry("contacts", "People"), entry("reports", "What people did")];
    with(
        json!({ "type": "array", "items": reference_to("CatalogueEntry"), "minItems": 1, "examples": [entries] }),
        &format!(
            "The account's own scope catalogue, at most {CATALOGUE_MAX} resources, each once, with at most {VERBS_MAX} \
             verbs. Null: the deployment's."
        ),
    )
}

/// A member of the health of the Worker, or of one of its slots.
pub fn of_health(name: &str) -> Value {
    let count = || json!({ "type": "integer", "minimum": 0 });
    match name {
        "status" => with(word(["ok", "degraded"].map(Value::from).into()), "`degraded` when a slot does not answer."),
        "version" => text_example(env!("CARGO_PKG_VERSION")),
        "slots" => with(json!({ "type": "array", "items": reference_to("Slot") }), "With `?verbose`."),
        "slot" => json!({ "type": "integer", "minimum": 0, "maximum": u8::MAX }),
        "accounts" => count(),
        "unmirrored" => with(count(), "Changes that Workers KV does not have yet."),
        "oldest_unmirrored_at" => or_null_if(true, instant("2027-01-31T00:00:00.000Z")),
        "keys_by_pepper" => with(
            json!({ "type": "object", "propertyNames": { "pattern": "^([0-9]|1[0-5])$" }, "additionalProperties": count() }),
            "Keys that are not revoked, by the id of the pepper they were minted with.",
        ),
        "lease_ms" => with(count(), "For how long a cache may decide by itself, in milliseconds."),
        "grace_ms" => with(count(), "How much longer it may while the slot cannot be reached."),
        "revocation_bound_ms" => with(count(), "After so many milliseconds a change counts everywhere."),
        "accepted_in_grace" => with(count(), "Requests that caches accepted in that time, as far as they told."),
        _ => panic!("nothing is said of the member {name}"),
    }
}

/// A member of a problem.
pub fn of_problem(name: &str, codes: &[&str]) -> Value {
    match name {
        "type" => json!({ "type": "string", "pattern": "^urn:keygate:problem:[a-z_]+$" }),
        "title" => json!({ "type": "string" }),
        "status" => json!({ "type": "integer" }),
        "detail" => with(json!({ "type": "string" }), "For people. Says what would be right."),
        "code" => with(json!({ "type": "string", "enum": codes }), "For programs. Never renamed."),
        "field" => with(json!({ "type": "string" }), "The member, parameter or header at fault."),
        "missing_scopes" => json!({ "type": "array", "items": scope() }),
        _ => panic!("nothing is said of the member {name}"),
    }
}

/// Which access an account has, per environment.
pub fn api_access(sample: &Value) -> Value {
    let words = [Access::Off, Access::Requested, Access::Active].map(|access| access.as_str().into());
    let mut schema = object(&[sample], |_| word(words.to_vec()));
    schema["description"] = "Whether keys can be issued and used, per environment.".into();
    schema
}

const CURSOR: &str = "^(0|[1-9][0-9]{0,2})-(0|[1-9][0-9]*)?$";
const KEY_TEXT: &str = "kg_live_16jFWlR2GxmktTDThE6li5NOgJrOpDS7wIkMTK3i3VQOVv49USM7";

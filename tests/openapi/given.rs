//! What the members of requests mean: of bodies, of parameters, and of what stands in either. Which there are, the product
//! says itself.

use keygate::{
    authority::{
        audit::ACTIONS,
        command::OverlapFrom,
        labels::{DESCRIPTION_CHARACTERS_MAX, METADATA_BYTES_MAX, TAG_CHARACTERS_MAX, TAGS_MAX},
        settings::{ACCESS_LEVELS_MAX, NamePolicy},
    },
    credential::{Environment, NumberedSecret},
    http::{MAX_ACTIVE_KEYS_MAX, OVERLAP_SECONDS_MAX, OWN_OVERLAP_SECONDS_MIN, admin},
    policy::{BLOCKS_MAX, CATALOGUE_MAX, DESCRIPTION_MAX, FIELDS_BYTES_MAX, VERBS_MAX, WORKSPACES_MAX},
};
use serde_json::{Map, Value, json};

use super::{
    document::{KEYS, concrete},
    values::{
        account_statuses, all_environments, brand, distinct, environments, features, fields, flag, instant,
        key_statuses, label, line, or_null_if, reference, reference_to, roles, scope, scopes, text, with, word,
        workspace_id, workspace_statuses,
    },
    wire::{Api, Member, Request, limits, parameters},
};

/// The body of a request that takes these members.
pub fn body(path: &str, members: &[Member]) -> Value {
    let schema = |member: &Member| or_null_if(member.nullable, member_at(path, &member.name));
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
pub fn member_at(path: &str, name: &str) -> Value {
    match (path.rsplit('/').next(), name) {
        (Some("revoke-all"), "environment") => {
            let any = [Environment::Live, Environment::Test, Environment::Admin];
            with(word(any.map(|one| one.as_str().into()).into()), "Only keys of this one. Absent: `live` and `test`.")
        }
        (Some("rotate"), "overlap") if path == "rotate" => with(
            json!({
                "type": "integer", "minimum": OWN_OVERLAP_SECONDS_MIN, "maximum": OVERLAP_SECONDS_MAX, "examples": [86_400],
            }),
            "For how many seconds both keys work: long enough to ask again with the old one, should this answer be lost.",
        ),
        (Some("rotate"), "scopes") => {
            with(scopes(), &format!("What the successor may do. Absent: the same. {}", distinct()))
        }
        (Some("rotate"), "expires_at") => with(
            member(name),
            "The successor is refused from this instant on, which is in the future. Absent: it lives as long as the old key \
             was to.",
        ),
        (Some("keys" | "sessions"), "scopes") => member(name),
        (_, "scopes") => catalogue(),
        _ => member(name),
    }
}

/// A member of a request body.
pub fn member(name: &str) -> Value {
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
        "description" => with(line(DESCRIPTION_CHARACTERS_MAX, "Nightly export"), "What it is for."),
        "owner" => with(reference("alice"), "Who answers for it, in your own product."),
        "tags" => with(
            json!({
                "type": "array",
                "items": line(TAG_CHARACTERS_MAX, "billing"),
                "maxItems": TAGS_MAX,
                "examples": [["billing", "nightly"]],
            }),
            "To find it by. Duplicates are dropped.",
        ),
        "metadata" => with(
            json!({ "type": "object", "examples": [{ "team": "growth" }] }),
            &format!("Whatever else, at most {METADATA_BYTES_MAX} bytes. Its members come back in alphabetical order."),
        ),
        "allowed_ips" => with(
            json!({ "type": "array", "items": block(), "minItems": 1, "examples": [["192.0.2.0/24", "2001:db8::1"]] }),
            &format!("The only blocks of addresses that the key may be used from, at most {BLOCKS_MAX}. Null: all."),
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
        "max_key_days" => with(
            json!({ "type": "integer", "minimum": 1, "maximum": admin::MAX_KEY_DAYS_MAX, "examples": [90] }),
            "For how many days new keys may live at most: an issue without `expires_at` means that long. Null: as long as the \
             deployment has it.",
        ),
        "rotation_days" => with(
            json!({ "type": "integer", "minimum": 1, "maximum": admin::MAX_KEY_DAYS_MAX, "examples": [90] }),
            "After how many days a key is due for a successor. Null: never.",
        ),
        "holders_may_rotate" => with(flag(), "Holders may have their own keys succeeded: `POST /rotate`."),
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
        "overlap" => with(
            json!({ "type": "integer", "minimum": 0, "maximum": OVERLAP_SECONDS_MAX, "examples": [86_400] }),
            "For how many seconds both keys work. 0: the old one is revoked now.",
        ),
        "overlap_from" => with(
            word(OverlapFrom::ALL.map(|from| json!(from.as_str())).into()),
            "When that time begins: now, or with the first use of the successor, until when nothing changes for the old key.",
        ),
        "filter" => with(
            json!({ "$ref": "#/components/schemas/KeyFilter", "examples": [{ "tag": "billing", "environment": "live" }] }),
            "Which keys. Admin credentials and what is revoked are in no plan.",
        ),
        "disabled" => with(flag(), "True refuses the key until it is enabled again."),
        "key" => with(json!({ "type": "string", "examples": [KEY_TEXT] }), "The text of a key."),
        _ => panic!("nothing is said of the member {name}"),
    }
}

/// A block of addresses.
pub fn block() -> Value {
    json!({ "type": "string", "examples": ["192.0.2.0/24"] })
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
        "scope" => with(scope(), "Only keys that may do this."),
        "workspace" => with(workspace_id(), "Only keys that are limited to some workspaces, of which this is one."),
        "owner" => with(json!({ "type": "string", "examples": ["alice"] }), "Only keys of this owner."),
        "tag" => with(json!({ "type": "string", "examples": ["billing"] }), "Only keys with this tag."),
        "name_contains" => with(
            json!({ "type": "string", "examples": ["deploy"] }),
            "Only keys in whose name this stands, in capital or small letters of ASCII.",
        ),
        "created_by" => with(json!({ "type": "string", "examples": ["alice"] }), "Only keys that this one made."),
        "unused_since" => with(
            instant("2027-01-31T00:00:00Z"),
            "Only keys of which no use at or after this instant is known, also those that were never used.",
        ),
        "never_used" => with(word(vec!["true".into()]), "Only keys of which no use is known."),
        "expires_before" => {
            with(instant("2027-01-31T00:00:00Z"), "Only keys that end before this instant, and were not revoked.")
        }
        "due" => with(word(vec!["true".into()]), "Only keys that are due for a successor."),
        "created_before" => with(instant("2027-01-31T00:00:00Z"), "Only keys issued before this instant."),
        "format" => with(word(vec!["ndjson".into(), "csv".into()]), "A JSON object a line, or a table."),
        "unused_days" => with(
            json!({ "type": "integer", "minimum": 1, "maximum": admin::UNUSED_DAYS_MAX, "default": 90, "examples": [90] }),
            "Without a use for so many days.",
        ),
        "per" => with(word(vec!["hour".into(), "day".into()]), "The last 48 hours, or 90 days. Absent: hours."),
        "action" => with(word(ACTIONS.map(Value::from).into()), "Only what was done by this."),
        "actor" => with(json!({ "type": "string", "examples": ["alice"] }), "Only what this actor ordered."),
        "subject" => with(
            json!({ "type": "string", "examples": ["key_c06af5216d9a4ed13f06"] }),
            "Only what was done to this account, key, workspace or plan.",
        ),
        "wait" => with(
            word(vec!["effective".into()]),
            "The answer comes when the change counts everywhere, at `effective_by`.",
        ),
        _ => panic!("nothing is said of the parameter {name}"),
    }
}

/// What keys are found by.
pub fn key_filter() -> Value {
    let mut properties = Map::new();
    for name in parameters(&Api::new(), Request::new("GET", &concrete(KEYS))) {
        if !["limit", "cursor"].contains(&name.as_str()) {
            let mut schema = parameter(KEYS, &name);
            match name.as_str() {
                "never_used" | "due" => {
                    let description = schema["description"].as_str().unwrap().to_owned();
                    schema = with(json!({ "type": "boolean", "enum": [true] }), &description);
                }
                "environment" => schema = with(word(environments()), "Only keys of this environment. Absent: of both."),
                "status" => schema["enum"].as_array_mut().unwrap().retain(|status| status != "revoked"),
                _ => {}
            }
            properties.insert(name, schema);
        }
    }
    json!({
        "type": "object",
        "description": "Which keys: the members are those that a list of keys takes as parameters.",
        "minProperties": 1,
        "properties": properties,
        "additionalProperties": false,
    })
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

/// An account's scope catalogue.
pub fn catalogue() -> Value {
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

/// The form of a cursor. No shard gets to changes of 16 digits, and past 2^53 - 1 a number is refused.
pub const CURSOR: &str = "^(0|[1-9][0-9]{0,2})-(0|[1-9][0-9]{0,14})?$";

/// A key.
pub const KEY_TEXT: &str = "kg_live_16jFWlR2GxmktTDThE6li5NOgJrOpDS7wIkMTK3i3VQOVv49USM7";

//! What the members of objects look like. They are those that the product itself writes or takes; what is said here is
//! what each of them means.

use keygate::{
    authority::{
        audit::ACTIONS,
        command::OverlapFrom,
        due::DUE_COUNTED,
        labels::{DESCRIPTION_CHARACTERS_MAX, METADATA_BYTES_MAX, TAG_CHARACTERS_MAX, TAGS_MAX},
        plans::{PLAN_KEYS_MAX, PlanState},
        settings::{ACCESS_LEVELS_MAX, NamePolicy},
        stale::LOOKED_AT_MAX,
    },
    credential::{Environment, NumberedSecret},
    http::{MAX_ACTIVE_KEYS_MAX, OVERLAP_SECONDS_MAX, OWN_OVERLAP_SECONDS_MIN, admin},
    policy::{Access, BLOCKS_MAX, CATALOGUE_MAX, DESCRIPTION_MAX, FIELDS_BYTES_MAX, Reason, VERBS_MAX, WORKSPACES_MAX},
};
use serde_json::{Map, Value, json};

use super::{
    document::{KEYS, concrete},
    values::{
        account_id, account_statuses, all_environments, brand, distinct, environments, feature, features, fields, flag,
        hash, instant, key_id, key_statuses, label, line, or_null_if, plan_id, reference, reference_to, roles, scope,
        scopes, text, text_example, with, word, workspace_id, workspace_statuses,
    },
    wire::{Api, Member, Request, limits, parameters},
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
            given(name),
            "The successor is refused from this instant on, which is in the future. Absent: it lives as long as the old key \
             was to.",
        ),
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

fn block() -> Value {
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

/// A member of an account.
pub fn of_account(name: &str) -> Value {
    match name {
        "id" => account_id(),
        "external_id" | "max_active_keys" | "plan" | "max_key_days" | "rotation_days" => or_null_if(true, given(name)),
        "scopes" => or_null_if(true, catalogue()),
        "access_note" => with(or_null_if(true, given("note")), "What was said with the last request for access."),
        "name_policy" | "access_levels" | "access_level_required" | "explain_refusals" | "holders_may_rotate" => {
            given(name)
        }
        "keys_due" => with(
            json!({ "type": "integer", "minimum": 0, "maximum": DUE_COUNTED }),
            "How many keys are due for a successor, counted up to this maximum. In answers about one account that has `rotation_days`.",
        ),
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
        "description" | "owner" => or_null_if(true, given(name)),
        "tags" | "metadata" => given(name),
        "allowed_ips" => with(
            json!({ "type": ["array", "null"], "items": block() }),
            "The only blocks of addresses that it may be used from; null: all.",
        ),
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
        "rotation_due_at" => with(
            or_null_if(true, instant("2027-04-30T00:00:00.000Z")),
            "From then on it is due for a successor; null: the account has no `rotation_days`, or the key has one or is revoked.",
        ),
        "rotated_from" => with(or_null_if(true, key_id()), "The key that it succeeds."),
        "rotated_to" => {
            with(or_null_if(true, key_id()), "The key that succeeds it. It counts against no limit itself.")
        }
        "overlap_ends_at" => with(
            or_null_if(true, instant("2027-02-01T00:00:00.000Z")),
            "From then on the old key is refused; null: that depends on the first use of this one.",
        ),
        "overlap_from" => with(
            word(vec![json!(OverlapFrom::FirstUse.as_str())]),
            "Its successor has not been used yet, as far as is known; the overlap begins when it is.",
        ),
        _ => of_both(name),
    }
}

/// A member of the usage of a key.
pub fn of_usage(name: &str) -> Value {
    match name {
        "per" => word(vec!["hour".into(), "day".into()]),
        "from" => with(instant("2027-01-30T01:00:00.000Z"), "When the first bucket begins."),
        "to" => with(instant("2027-02-01T01:00:00.000Z"), "When the last bucket ends, which is that of now."),
        "at" => with(instant("2027-01-30T01:00:00.000Z"), "When it begins, in UTC."),
        "allowed" => with(json!({ "type": "integer", "minimum": 0 }), "Requests that were accepted, at least."),
        "refused" => {
            let reasons: Vec<Value> = Reason::ALL.into_iter().map(|reason| reason.as_str().into()).collect();
            with(
                json!({
                    "type": "object",
                    "propertyNames": { "enum": reasons },
                    "additionalProperties": { "type": "integer", "minimum": 1 },
                }),
                "Requests that were refused, at least, by the reason.",
            )
        }
        "buckets" => with(
            json!({ "type": "array", "items": reference_to("UsageBucket") }),
            "One after the other, the oldest first, also those in which nothing is known to have happened.",
        ),
        _ => of_principal(name),
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
            let names = "^(acct_[0-9a-f]{10}|key_[0-9a-f]{20}|(ws|plan)_[0-9a-f]{16})$";
            with(text(names, "key_c06af5216d9a4ed13f06"), "The account, key, workspace or plan.")
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
        "filter" | "state" => of_plan(name),
        "keys" => with(count(), "How many a plan has."),
        "status" => word(statuses),
        "name" => or_null_if(true, label()),
        "scopes" => json!({ "anyOf": [scopes(), or_null_if(true, catalogue())] }),
        "not_before" | "expires_at" => or_null_if(true, instant("2030-01-31T00:00:00.000Z")),
        "overlap_from_first_use_ms" => with(
            json!({ "type": "integer", "minimum": 0 }),
            "For how long the key works on once its successor is used, in milliseconds.",
        ),
        _ => of_account_or_key(name),
    }
}

fn of_account_or_key(name: &str) -> Value {
    match name {
        "environment" | "hint" | "revoked_at" | "role" | "actor" | "access_level" | "allowed_ips" | "rotated_from"
        | "rotated_to" | "description" | "owner" | "tags" | "metadata" => of_key(name),
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

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

/// An object of numbers, some of them in objects of their own.
fn counts(names: &[&str], description: &str) -> Value {
    let members: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), count())).collect();
    json!({
        "type": "object", "description": description, "properties": members, "required": names, "additionalProperties": false,
    })
}

/// A member of a plan.
pub fn of_plan(name: &str) -> Value {
    match name {
        "id" => plan_id(),
        "account_id" => account_id(),
        "state" => with(
            word(PlanState::ALL.map(|state| state.as_str().into()).into()),
            "`expired`: it was not executed within 24 hours, and cannot be any more.",
        ),
        "filter" => with(reference_to("KeyFilter"), "What the keys were found by."),
        "counts" => {
            let mut all = counts(&["total"], "The keys when the plan was made. None of them was revoked.");
            all["properties"]["by_environment"] = counts(&["live", "test"], "By environment.");
            all["properties"]["by_status"] = counts(&["active", "disabled", "expired"], "By status.");
            all["required"] = json!(["total", "by_environment", "by_status"]);
            all
        }
        "truncated" => with(
            json!({ "type": "boolean" }),
            &format!("More keys were found than the {PLAN_KEYS_MAX} that one plan holds; these are the newest."),
        ),
        "progress" => counts(
            &["revoked", "skipped", "remaining"],
            "How far it has come. `skipped`: revoked already, by somebody else. A key counts as revoked everywhere at most \
             `revocation_bound_ms` after its `revoked_at`.",
        ),
        "sequence" => with(of_entry(name), "Only keys that were issued before it are in the plan."),
        "expires_at" => with(instant("2027-02-01T00:00:00.000Z"), "Until then it can be executed."),
        "started_at" => with(or_null_if(true, instant("2027-01-31T00:00:00.000Z")), "When its execution was ordered."),
        "finished_at" => with(or_null_if(true, instant("2027-01-31T00:00:00.000Z")), "When it was done or cancelled."),
        _ => of_both(name),
    }
}

/// A member of the report on keys that nobody seems to need.
pub fn of_stale_keys(name: &str) -> Value {
    let kind = |what: &str| {
        let mut kind = counts(&["count"], what);
        kind["properties"]["at_least"] = with(
            json!({ "type": "boolean" }),
            &format!("Only the {LOOKED_AT_MAX} keys of each environment that were issued first were looked at."),
        );
        kind["properties"]["filter"] = with(reference_to("KeyFilter"), "Shows exactly them, in a list or in a plan.");
        kind["required"] = json!(["count", "at_least", "filter"]);
        kind
    };
    match name {
        "unused_days" => parameter(KEYS, name),
        "as_of" => with(instant("2027-01-31T00:00:00.000Z"), "The time of the report."),
        "unused_since" => with(instant("2026-11-02T00:00:00.000Z"), "So many days before that."),
        "never_used" => kind("Active keys issued before `unused_since` of which no use is known."),
        "unused" => kind(
            "Active keys issued before `unused_since` of which no use since is known. Those that were never used are among \
             them.",
        ),
        "expired" => kind("Keys whose time is over, and that were not revoked."),
        _ => panic!("nothing is said of the member {name}"),
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

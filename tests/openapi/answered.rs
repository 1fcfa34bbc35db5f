//! What the members of answers mean. Which there are is seen in the answers that the product gives.

use keygate::{
    authority::{
        audit::ACTIONS,
        command::OverlapFrom,
        due::DUE_COUNTED,
        plans::{PLAN_KEYS_MAX, PlanState},
        stale::LOOKED_AT_MAX,
    },
    policy::{Access, Reason},
};
use serde_json::{Map, Value, json};

use super::{
    document::KEYS,
    given::{self, CURSOR, KEY_TEXT, block, catalogue, parameter},
    values::{
        account_id, account_statuses, all_environments, feature, features, fields, hash, instant, key_id, key_statuses,
        label, or_null_if, plan_id, reference, reference_to, scope, scopes, text, text_example, with, word,
        workspace_id, workspace_statuses,
    },
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

/// A member of an account.
pub fn of_account(name: &str) -> Value {
    match name {
        "id" => account_id(),
        "external_id" | "max_active_keys" | "plan" | "max_key_days" | "rotation_days" => {
            or_null_if(true, given::member(name))
        }
        "scopes" => or_null_if(true, catalogue()),
        "access_note" => {
            with(or_null_if(true, given::member("note")), "What was said with the last request for access.")
        }
        "name_policy" | "access_levels" | "access_level_required" | "explain_refusals" | "holders_may_rotate" => {
            given::member(name)
        }
        "keys_due" => with(
            json!({ "type": "integer", "minimum": 0, "maximum": DUE_COUNTED }),
            "How many keys are due for a successor, counted up to this maximum, of the 10,000 newest that old. In answers about one account that has `rotation_days`.",
        ),
        "audit_head" => reference_to("AuditHead"),
        "name" | "brand" | "status" | "api_access" | "features" | "default_scopes" => given::member(name),
        _ => of_both(name),
    }
}

/// A member of a key.
pub fn of_key(name: &str) -> Value {
    match name {
        "id" => key_id(),
        "key" => with(json!({ "type": "string", "examples": [KEY_TEXT] }), "The key itself. Nobody will see it again."),
        "account_id" => account_id(),
        "name" => or_null_if(true, given::member("name")),
        "environment" => word(all_environments()),
        "role" => with(given::member("role"), "Of admin credentials: how much they administer."),
        "actor" => with(given::member("actor"), "Of sessions: who acts with them."),
        "parent" => with(
            text("^(root|key_[0-9a-f]{20})$", "root"),
            "Of sessions: the credential that minted them, and that they end with.",
        ),
        "scopes" => with(scopes(), "What it may do; of admin credentials: what they may grant."),
        "access_level" => or_null_if(true, given::member(name)),
        "workspaces" => with(
            json!({ "type": ["array", "null"], "items": workspace_id() }),
            "The only workspaces that it may be used in; null: all.",
        ),
        "fields" => with(fields(), "Of each resource that is limited, the only fields that it may see."),
        "description" | "owner" => or_null_if(true, given::member(name)),
        "tags" | "metadata" => given::member(name),
        "allowed_ips" => with(
            json!({ "type": ["array", "null"], "items": block() }),
            "The only blocks of addresses that it may be used from; null: all.",
        ),
        "status" => word(key_statuses()),
        "hint" => with(text_example("kg_live_...USM7"), "Beginning and end of the key, to recognise it by."),
        "not_before" | "expires_at" => or_null_if(true, given::member(name)),
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
        "next_cursor" => with(
            or_null_if(true, text(CURSOR, "0-41")),
            "Where the next page begins; null on the last, and only there: a page may be short, or empty, though more follow.",
        ),
        _ => panic!("nothing is said of the member {name}"),
    }
}

/// A member of what a key stands for.
pub fn of_principal(name: &str) -> Value {
    match name {
        "key_id" => key_id(),
        "environment" => given::member(name),
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
            "`planning`: it is still looking for its keys, and cannot be executed yet. `expired`: it was not executed within \
             24 hours, and cannot be any more.",
        ),
        "filter" => with(reference_to("KeyFilter"), "What the keys were found by."),
        "counts" => {
            let mut all = counts(
                &["total"],
                "The keys as they were found, none of them revoked; while the plan is `planning`, those found so far.",
            );
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

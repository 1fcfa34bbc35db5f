//! What single values look like: names, words, texts, scopes, fields.

use std::sync::LazyLock;

use keygate::{
    authority::ListedStatus,
    credential::{Brand, Environment},
    http::{FEATURES_MAX, NAME_CHARACTERS_MAX, REFERENCE_BYTES_MAX, admin},
    policy::{AccountStatus, MAX_SCOPES, Role},
};
use serde_json::{Value, json};

use super::wire::{Api, Request, understood};

/// Yes or no.
pub fn flag() -> Value {
    json!({ "type": "boolean", "examples": [true] })
}

/// The id of a plan.
pub fn plan_id() -> Value {
    text("^plan_[0-9a-f]{16}$", "plan_5f1c0a9be2d34877")
}

/// The name of a workspace.
pub fn workspace_id() -> Value {
    text("^ws_[0-9a-f]{16}$", "ws_5f1c0a9be2d34877")
}

/// The name of a feature flag.
pub fn feature() -> Value {
    text("^[a-z][a-z0-9_-]{0,63}$", "beta")
}

/// The name of an account in a path.
pub fn account_id() -> Value {
    text("^acct_[0-9a-f]{10}$", "acct_001e9cafeb")
}

/// The name of a key in a path.
pub fn key_id() -> Value {
    text("^key_[0-9a-f]{20}$", "key_c06af5216d9a4ed13f06")
}

/// `X-Keygate-Actor`.
pub fn actor() -> Value {
    reference("alice")
}

/// `Idempotency-Key`.
pub fn idempotency_key() -> Value {
    let (min, max) = (admin::IDEMPOTENCY_KEY_MIN, admin::IDEMPOTENCY_KEY_MAX);
    text(&format!("^[!-~]{{{min},{max}}}$"), "6Zk0cX3w9S1yVb7QmN2dTf")
}

/// `If-Match`.
pub fn if_match() -> Value {
    text(r#"^(\*|(W/)?"[!#-+\--~]*"( *, *(W/)?"[!#-+\--~]*")*)$"#, "*")
}

/// A scope, or several with a space between them.
pub fn demanded() -> Value {
    let one = scope_pattern();
    text(&format!("^{one}( {one})*$"), "contacts:read")
}

/// A schema of the document.
pub fn reference_to(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The same with an explanation.
pub fn with(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

/// A value that the schema allows: its example, or its first word, or an object with all members.
pub fn example(schema: &Value) -> Value {
    if let Some(properties) = schema["properties"].as_object() {
        return properties.iter().map(|(name, schema)| (name.clone(), example(schema))).collect();
    }
    if schema["$ref"] == reference_to("ApiAccess")["$ref"] {
        return json!({ "live": "active", "test": "off" });
    }
    let example = schema["examples"].get(0).or_else(|| schema["enum"].get(0));
    example.unwrap_or_else(|| panic!("no example: {schema}")).clone()
}

/// The same, or null where it may be.
pub fn or_null_if(nullable: bool, mut schema: Value) -> Value {
    if nullable {
        schema["type"] = json!([schema["type"], "null"]);
        if let Some(words) = schema.get_mut("enum") {
            words.as_array_mut().unwrap().push(Value::Null);
        }
    }
    schema
}

/// One of these.
pub fn word(words: Vec<Value>) -> Value {
    json!({ "type": "string", "enum": words })
}

/// A text of this form.
pub fn text(pattern: &str, example: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "examples": [example] })
}

/// Any text.
pub fn text_example(example: &str) -> Value {
    json!({ "type": "string", "examples": [example] })
}

/// A moment.
pub fn instant(example: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "examples": [example] })
}

/// A SHA-256.
pub fn hash() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
}

/// A name in the caller's own product.
pub fn reference(example: &str) -> Value {
    text(&format!("^[!-~]{{1,{REFERENCE_BYTES_MAX}}}$"), example)
}

/// What keys begin with.
pub fn brand() -> Value {
    let (min, max) = (Brand::MIN_LENGTH - 1, Brand::MAX_LENGTH - 1);
    let mut schema = text(&format!("^[a-z][a-z0-9]{{{min},{max}}}$"), "acme");
    schema["default"] = Brand::default().as_str().into();
    schema
}

/// Of each resource that is limited, the fields.
pub fn fields() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[a-z][a-z0-9_-]{0,31}$" },
        "additionalProperties": {
            "type": "array",
            "items": { "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" },
            "minItems": 1,
            "uniqueItems": true,
        },
        "examples": [{ "contacts": ["name", "email"] }],
    })
}

/// What a workspace can be.
pub fn workspace_statuses() -> Vec<Value> {
    vec!["active".into(), "archived".into()]
}

/// Several feature flags.
pub fn features() -> Value {
    json!({ "type": "array", "items": feature(), "maxItems": FEATURES_MAX, "examples": [["beta"]] })
}

/// Several scopes.
pub fn scopes() -> Value {
    json!({ "type": "array", "items": scope(), "examples": [["contacts:*", "reports:read"]] })
}

/// JSON Schema cannot say this otherwise.
pub fn distinct() -> String {
    format!("At most {MAX_SCOPES} distinct ones.")
}

/// One scope.
pub fn scope() -> Value {
    text(&format!("^{}$", scope_pattern()), "contacts:read")
}

fn scope_pattern() -> String {
    let part = r"(\*|[a-z][a-z0-9_-]{0,31})";
    format!(r"(\*|{part}:{part})")
}

/// Where keys are used.
pub fn environments() -> Vec<Value> {
    [Environment::Live, Environment::Test].map(|environment| environment.as_str().into()).to_vec()
}

/// The same, and that of admin credentials.
pub fn all_environments() -> Vec<Value> {
    [environments(), vec![Environment::Admin.as_str().into()]].concat()
}

/// What admin credentials can be.
pub fn roles() -> Vec<Value> {
    [Role::Viewer, Role::Admin].map(|role| role.as_str().into()).to_vec()
}

/// What an account can be.
pub fn account_statuses() -> Vec<Value> {
    [AccountStatus::Active, AccountStatus::Suspended].map(|status| status.as_str().into()).to_vec()
}

/// What a key can be.
pub fn key_statuses() -> Vec<Value> {
    [ListedStatus::Active, ListedStatus::Disabled, ListedStatus::Expired, ListedStatus::Revoked]
        .map(|status| status.as_str().into())
        .to_vec()
}

/// A name: its characters are those that are accepted in one, and one of them is no blank.
pub fn label() -> Value {
    static LABEL: LazyLock<Value> = LazyLock::new(find_label);
    LABEL.clone()
}

/// A line for people, of other length.
pub fn line(characters_max: usize, example: &str) -> Value {
    let mut line = label();
    line["maxLength"] = characters_max.into();
    line["examples"] = json!([example]);
    line
}

fn find_label() -> Value {
    let api = Api::new();
    let accepted = |name: String| {
        let body = json!({ "name": name });
        understood(&api.parse(Request { body: Some(&body), ..Request::new("POST", "accounts") }))
    };
    let refused = class(|character| !accepted(format!("a{character}")));
    let blank = class(|character| !accepted(character.to_string()));
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": NAME_CHARACTERS_MAX,
        "pattern": format!("^[^{refused}]*[^{blank}][^{refused}]*$"),
        "examples": ["Acme"],
    })
}

/// The characters that fit, as ranges of a regular expression's class. All that matter are below U+3001.
fn class(fits: impl Fn(char) -> bool) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for character in ('\0'..='\u{3001}').filter(|character| fits(*character)) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == u32::from(character) => *last += 1,
            _ => ranges.push((character.into(), character.into())),
        }
    }
    let range = |(first, last): &(u32, u32)| {
        if first == last { format!("\\u{first:04x}") } else { format!("\\u{first:04x}-\\u{last:04x}") }
    };
    ranges.iter().map(range).collect()
}

//! The values that requests carry: from JSON or text to types. Every error completes the sentence "… must be".

use std::borrow::Cow;

use crate::{
    credential::{Brand, Environment},
    json::{FromJson, Json},
    policy::{AccountStatus, ApiAccess, ScopeSet, UnixMillis},
};

/// Characters of a name. 128 of four bytes each, with the rest of a key's KV metadata, stay under KV's 1,024 bytes.
pub const NAME_CHARACTERS_MAX: usize = 128;

/// Bytes of an `external_id` and of an actor.
pub const REFERENCE_BYTES_MAX: usize = 128;

/// Features of one account.
pub const FEATURES_MAX: usize = 50;

/// The highest limit on active keys that can be set: issuing counts up to the limit.
pub const MAX_ACTIVE_KEYS_MAX: u32 = 10_000;

/// A name for people.
///
/// # Errors
/// What would be right.
pub fn name(value: Json<'_>) -> Result<String, String> {
    let expected =
        || format!("a text of 1 to {NAME_CHARACTERS_MAX} characters, not blank and without control characters");
    let Json::Text(name) = value else { return Err(expected()) };
    let fits =
        name.chars().count() <= NAME_CHARACTERS_MAX && !name.trim().is_empty() && !name.chars().any(char::is_control);
    if fits { Ok(name.into_owned()) } else { Err(expected()) }
}

/// An id of the caller's own.
///
/// # Errors
/// What would be right.
pub fn reference(value: Json<'_>) -> Result<String, String> {
    match value {
        Json::Text(text) if is_reference(&text) => Ok(text.into_owned()),
        _ => Err(format!("a text of 1 to {REFERENCE_BYTES_MAX} visible ASCII characters")),
    }
}

/// True for 1 to [`REFERENCE_BYTES_MAX`] visible ASCII characters.
#[must_use]
pub fn is_reference(text: &str) -> bool {
    (1..=REFERENCE_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What keys begin with.
///
/// # Errors
/// What would be right.
pub fn brand(value: Json<'_>) -> Result<Brand, String> {
    let expected = "2 to 8 characters, a lower-case letter and then lower-case letters or digits, and not a prefix that \
        others use for their own secrets";
    let Json::Text(text) = value else { return Err(expected.into()) };
    Brand::parse(&text).map_err(|_| expected.into())
}

/// `live` or `test`.
///
/// # Errors
/// What would be right.
pub fn environment(value: Json<'_>) -> Result<Environment, String> {
    value.text().as_deref().and_then(environment_text).ok_or_else(|| ENVIRONMENTS.into())
}

/// `live` or `test`, from a text.
#[must_use]
pub fn environment_text(text: &str) -> Option<Environment> {
    text.parse().ok().filter(|environment| *environment != Environment::Admin)
}

/// What [`environment_text`] takes.
pub const ENVIRONMENTS: &str = "\"live\" or \"test\"";

/// A list of scopes.
///
/// # Errors
/// What would be right, and where in the list it is not.
pub fn scopes(value: Json<'_>) -> Result<ScopeSet, String> {
    ScopeSet::parse(texts(value)?.iter().map(AsRef::as_ref)).map_err(|error| error.to_string())
}

/// A list of feature names.
///
/// # Errors
/// What would be right.
pub fn features(value: Json<'_>) -> Result<Vec<String>, String> {
    let given = texts(value)?;
    if given.len() > FEATURES_MAX || !given.iter().all(|feature| is_feature(feature)) {
        return Err(format!(
            "a list of at most {FEATURES_MAX} names, each a lower-case letter and then up to 63 lower-case letters, \
             digits, \"-\" or \"_\""
        ));
    }
    // In order and each once: the same set is the same list.
    let mut features: Vec<String> = Vec::with_capacity(given.len());
    for feature in given {
        if let Err(place) = features.binary_search_by(|earlier| earlier.as_str().cmp(&feature)) {
            features.insert(place, feature.into_owned());
        }
    }
    Ok(features)
}

/// Access per environment.
///
/// # Errors
/// What would be right.
pub fn api_access(value: Json<'_>) -> Result<ApiAccess, String> {
    let expected = "an object {\"live\": …, \"test\": …} whose values are \"off\", \"requested\" or \"active\"";
    ApiAccess::from_json(value).ok_or_else(|| expected.into())
}

/// Whether an account's keys count.
///
/// # Errors
/// What would be right.
pub fn account_status(value: Json<'_>) -> Result<AccountStatus, String> {
    value.text().as_deref().and_then(AccountStatus::parse).ok_or_else(|| "\"active\" or \"suspended\"".into())
}

/// A limit on active keys.
///
/// # Errors
/// What would be right.
pub fn max_active_keys(value: Json<'_>) -> Result<u32, String> {
    let number = value.whole_value().and_then(|number| u32::try_from(number).ok());
    number
        .filter(|number| (1..=MAX_ACTIVE_KEYS_MAX).contains(number))
        .ok_or_else(|| format!("a whole number from 1 to {MAX_ACTIVE_KEYS_MAX}, or null for no limit"))
}

/// An instant.
///
/// # Errors
/// What would be right.
pub fn instant(value: Json<'_>) -> Result<UnixMillis, String> {
    let text = value.text().unwrap_or_default();
    UnixMillis::parse_rfc3339(&text).map_err(|_| "a time as in RFC 3339, such as \"2027-01-31T00:00:00Z\"".to_owned())
}

/// True or false.
///
/// # Errors
/// What would be right.
pub fn flag(value: Json<'_>) -> Result<bool, String> {
    value.flag().ok_or_else(|| "true or false".into())
}

/// Any text.
///
/// # Errors
/// What would be right.
pub fn text(value: Json<'_>) -> Result<String, String> {
    value.text().map(Cow::into_owned).ok_or_else(|| "a text".into())
}

fn texts(value: Json<'_>) -> Result<Vec<Cow<'_, str>>, String> {
    value.texts().ok_or_else(|| "a list of texts".into())
}

fn is_feature(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

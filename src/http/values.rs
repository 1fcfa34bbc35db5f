//! The values that requests carry: from JSON or text to types. Every error completes the sentence "… must be".

use std::borrow::Cow;

use crate::{
    authority::command::OverlapFrom,
    credential::{Brand, Environment, WorkspaceId},
    json::{FromJson, Json, all, quoted},
    policy::{
        AccountStatus, AllowedIps, AllowedIpsError, ApiAccess, FEATURE, Fields, Role, ScopeSet, UnixMillis,
        WORKSPACES_MAX, is_feature,
    },
};

use super::problem::Problem;

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
    line(value, NAME_CHARACTERS_MAX)
}

/// A line of text for people.
///
/// # Errors
/// What would be right.
pub fn line(value: Json<'_>, characters_max: usize) -> Result<String, String> {
    match value {
        Json::Text(line) if is_line(&line, characters_max) => Ok(line.into_owned()),
        _ => Err(format!("a text of 1 to {characters_max} characters, not blank and without control characters")),
    }
}

fn is_line(text: &str, characters_max: usize) -> bool {
    text.chars().count() <= characters_max && !text.trim().is_empty() && !text.chars().any(char::is_control)
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

/// An environment.
///
/// # Errors
/// What would be right.
pub fn environment(value: Json<'_>) -> Result<Environment, String> {
    value.text().and_then(|text| text.parse().ok()).ok_or_else(|| ANY_ENVIRONMENT.into())
}

/// All environments that there are.
pub const ANY_ENVIRONMENT: &str = "\"live\", \"test\" or \"admin\"";

/// `live` or `test`, from a text: what API keys are for.
#[must_use]
pub fn environment_text(text: &str) -> Option<Environment> {
    text.parse().ok().filter(|environment| *environment != Environment::Admin)
}

/// `live` or `test`.
///
/// # Errors
/// What would be right.
pub fn api_environment(value: Json<'_>) -> Result<Environment, String> {
    value.text().and_then(|text| environment_text(&text)).ok_or_else(|| ENVIRONMENTS.into())
}

/// What [`environment_text`] takes.
pub const ENVIRONMENTS: &str = "\"live\" or \"test\"";

/// A role.
///
/// # Errors
/// What would be right.
pub fn role(value: Json<'_>) -> Result<Role, String> {
    value.text().and_then(|text| Role::parse(&text)).ok_or_else(|| "\"viewer\" or \"admin\"".into())
}

/// Refuses a time of validity that is over before it begins.
///
/// # Errors
/// What would be right.
pub fn check_validity(
    not_before: Option<UnixMillis>,
    expires_at: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(), Problem> {
    if expires_at.is_some_and(|end| end <= now) {
        return Err(Problem::field("expires_at", "expires_at must lie in the future."));
    }
    if let (Some(start), Some(end)) = (not_before, expires_at)
        && start >= end
    {
        return Err(Problem::field("not_before", "not_before must lie before expires_at."));
    }
    Ok(())
}

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
        return Err(format!("a list of at most {FEATURES_MAX} names, each {FEATURE}"));
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

/// For resources, the only fields that a key may see.
///
/// # Errors
/// What would be right.
pub fn fields(value: Json<'_>) -> Result<Fields, String> {
    let expected = || "an object {\"<resource>\": [\"<field>\", …], …}".to_owned();
    let lists = value.object().ok_or_else(expected)?.into_members();
    let lists = lists.map(|(resource, names)| Some((resource, names.texts()?)));
    Fields::new(all(lists).ok_or_else(expected)?).map_err(|error| format!("{}, but {error}", expected()))
}

/// A list of workspaces.
///
/// # Errors
/// What would be right.
pub fn workspaces(value: Json<'_>) -> Result<Vec<WorkspaceId>, String> {
    let expected = || format!("a list of 1 to {WORKSPACES_MAX} workspace ids, each once, or null for all");
    let given = value.texts().ok_or_else(expected)?;
    if given.is_empty() || given.len() > WORKSPACES_MAX {
        return Err(expected());
    }
    let mut ids = Vec::with_capacity(given.len());
    for text in given {
        let wrong = || format!("{}; {} is none, or stands there twice", expected(), quoted(&text));
        let id = WorkspaceId::parse(&text).filter(|id| !ids.contains(id)).ok_or_else(wrong)?;
        ids.push(id);
    }
    Ok(ids)
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

/// Blocks of addresses.
///
/// # Errors
/// What would be right.
pub fn allowed_ips(value: Json<'_>) -> Result<AllowedIps, String> {
    let blocks = value
        .texts()
        .ok_or(AllowedIpsError::Count)
        .and_then(|texts| AllowedIps::parse(texts.iter().map(AsRef::as_ref)));
    blocks.map_err(|error| error.to_string())
}

/// For how long a key works beside its successor, in seconds.
///
/// # Errors
/// What would be right.
pub fn overlap(value: Json<'_>) -> Result<u64, String> {
    let seconds = value.whole_value().filter(|seconds| *seconds <= OVERLAP_SECONDS_MAX);
    seconds.ok_or_else(|| {
        format!("for how many seconds both keys work, a whole number from 0, which revokes the old one now, to {OVERLAP_SECONDS_MAX}")
    })
}

/// The same for a holder's own key. Who loses the answer asks for it again with the old key, and so still needs that.
///
/// # Errors
/// What would be right.
pub fn own_overlap(value: Json<'_>) -> Result<u64, String> {
    let allowed = OWN_OVERLAP_SECONDS_MIN..=OVERLAP_SECONDS_MAX;
    let seconds = value.whole_value().filter(|seconds| allowed.contains(seconds));
    seconds.ok_or_else(|| {
        format!("for how many seconds both keys work, a whole number from {OWN_OVERLAP_SECONDS_MIN} to {OVERLAP_SECONDS_MAX}")
    })
}

/// Time enough to ask again.
pub const OWN_OVERLAP_SECONDS_MIN: u64 = 60;

/// When that time begins.
///
/// # Errors
/// What would be right.
pub fn overlap_from(value: Json<'_>) -> Result<OverlapFrom, String> {
    let text = value.text().unwrap_or_default();
    let wanted = OverlapFrom::ALL.into_iter().find(|from| from.as_str() == text);
    wanted.ok_or_else(|| "\"rotation\" or \"first_use\"".to_owned())
}

/// 90 days: who has not switched by then has forgotten it.
pub const OVERLAP_SECONDS_MAX: u64 = 90 * 24 * 60 * 60;

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

//! The settings of an account on the wire.

use crate::{
    authority::settings::{ACCESS_LEVELS_MAX, AccessLevel, AccessLevels, NamePolicy, Settings, SettingsChange},
    json::{FromJson, Json, ObjectWriter, ToJson, quoted},
    policy::{CATALOGUE_MAX, Catalogue, CatalogueEntry, DESCRIPTION_MAX, VERBS_MAX},
};

use super::super::{json::Members, values};

/// Characters of the name of an access level.
pub const ACCESS_LEVEL_CHARACTERS_MAX: usize = 64;

/// Characters of the note of a request for access.
pub const NOTE_CHARACTERS_MAX: usize = 500;

/// Takes the members of an account that are settings.
pub(super) fn read(members: &mut Members<'_>, change: &mut SettingsChange) {
    members.edit("name_policy", &mut change.name_policy, name_policy);
    members.edit("access_levels", &mut change.access_levels, access_levels);
    members.edit("access_level_required", &mut change.access_level_required, values::flag);
    members.edit_or_null("scopes", &mut change.catalogue, catalogue);
    members.edit_or_null("plan", &mut change.plan, values::name);
    members.edit("explain_refusals", &mut change.explain_refusals, values::flag);
    members.edit_or_null("max_key_days", &mut change.max_key_days, days);
    members.edit_or_null("rotation_days", &mut change.rotation_days, days);
    members.edit("holders_may_rotate", &mut change.holders_may_rotate, values::flag);
}

/// Adds them to what is answered.
pub(super) fn write(view: &mut ObjectWriter, settings: &Settings) {
    view.text("name_policy", settings.name_policy.as_str())
        .value("access_levels", &settings.access_levels)
        .value("access_level_required", &settings.access_level_required)
        .value("scopes", &settings.catalogue)
        .value("plan", &settings.plan)
        .value("access_note", &settings.access_note)
        .value("explain_refusals", &settings.explain_refusals)
        .value("max_key_days", &settings.max_key_days.map(u64::from))
        .value("rotation_days", &settings.rotation_days.map(u64::from))
        .value("holders_may_rotate", &settings.holders_may_rotate);
}

/// The answer to the question for an account's scopes, where it has this catalogue of its own.
pub(super) fn scopes(own: Option<&Catalogue>) -> String {
    let deployment = Catalogue::compiled();
    let (catalogue, source) = match own {
        Some(own) => (own, "account"),
        None if deployment.entries().is_empty() => (deployment, "none"),
        None => (deployment, "deployment"),
    };
    ObjectWriter::new().raw("data", &catalogue.to_json()).text("source", source).end()
}

/// The name of an access level.
pub(super) fn access_level(value: Json<'_>) -> Result<String, String> {
    values::line(value, ACCESS_LEVEL_CHARACTERS_MAX)
}

/// What a request for access says.
pub(super) fn note(value: Json<'_>) -> Result<String, String> {
    values::line(value, NOTE_CHARACTERS_MAX)
}

/// The longest life of keys, and time until they are due, that can be set, in days: ten years.
pub const MAX_KEY_DAYS_MAX: u32 = 3_650;

fn days(value: Json<'_>) -> Result<u32, String> {
    let days = value.whole_value().and_then(|days| u32::try_from(days).ok());
    days.filter(|days| (1..=MAX_KEY_DAYS_MAX).contains(days))
        .ok_or_else(|| format!("a whole number of days from 1 to {MAX_KEY_DAYS_MAX}, or null for no limit of its own"))
}

fn name_policy(value: Json<'_>) -> Result<NamePolicy, String> {
    let policy = value.text().as_deref().and_then(NamePolicy::parse);
    policy.ok_or_else(|| "\"optional\", \"required\" or \"unique\"".into())
}

fn access_levels(value: Json<'_>) -> Result<AccessLevels, String> {
    let Some(members) = value.object() else {
        return Err("an object {name: {\"description\": …, \"scopes\": […]}}".into());
    };
    let mut levels = Vec::new();
    for (name, level) in members.into_members() {
        levels.push(one_level(&name, level)?);
    }
    AccessLevels::new(levels).ok_or_else(|| format!("an object of at most {ACCESS_LEVELS_MAX} members"))
}

fn one_level(name: &str, level: Json<'_>) -> Result<AccessLevel, String> {
    let expected = |what: &str| format!("right, and is not at {}: expected {what}", quoted(name));
    let name = access_level(Json::Text(name.into()))
        .map_err(|what| format!("an object whose names are {what}, and {} is not", quoted(name)))?;
    let mut members = level.object().ok_or_else(|| expected("an object {\"description\": …, \"scopes\": […]}"))?;
    let description = match members.take("description") {
        None | Some(Json::Null) => None,
        Some(text) => {
            Some(values::line(text, DESCRIPTION_MAX).map_err(|what| expected(&format!("`description` to be {what}")))?)
        }
    };
    let scopes = members.take("scopes").ok_or_else(|| expected("`scopes`"))?;
    let scopes = values::scopes(scopes).map_err(|what| expected(&format!("`scopes` to be {what}")))?;
    match members.left() {
        Some(unknown) => Err(expected(&format!("description and scopes, not {}", quoted(unknown)))),
        None => Ok(AccessLevel { name, description, scopes }),
    }
}

fn catalogue(value: Json<'_>) -> Result<Catalogue, String> {
    let expected = || {
        format!(
            "a list of at most {CATALOGUE_MAX} objects {{\"resource\": …, \"description\": …, \"verbs\": […]}} with 1 to \
             {VERBS_MAX} verbs each, or null for the deployment's"
        )
    };
    let entries: Vec<CatalogueEntry> = Vec::from_json(value).ok_or_else(expected)?;
    if entries.is_empty() {
        return Err(expected());
    }
    Catalogue::new(entries).map_err(|error| format!("right, and is not at [{}]: {error}", error.index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(json: &str) -> Result<AccessLevels, String> {
        access_levels(Json::parse(json).unwrap())
    }

    #[test]
    fn a_wrong_access_level_is_named_with_what_would_be_right() {
        for (json, expected) in [
            ("[]", "an object {name: {\"description\": …, \"scopes\": […]}}"),
            (r#"{" ":{"scopes":[]}}"#, "an object whose names are a text of 1 to 64 characters"),
            (r#"{"a":1}"#, "right, and is not at \"a\": expected an object {"),
            (r#"{"a":{}}"#, "right, and is not at \"a\": expected `scopes`"),
            (r#"{"a":{"scopes":["x"]}}"#, "right, and is not at \"a\": expected `scopes` to be element 0, byte 1:"),
            (r#"{"a":{"scopes":[],"x":1}}"#, "right, and is not at \"a\": expected description and scopes, not \"x\""),
            (
                r#"{"a":{"scopes":[],"description":""}}"#,
                "right, and is not at \"a\": expected `description` to be a text",
            ),
        ] {
            let said = levels(json).unwrap_err();
            assert!(said.starts_with(expected), "{json}: {said}");
        }
        let named = |length: usize| levels(&format!("{{\"{}\":{{\"scopes\":[]}}}}", "é".repeat(length)));
        assert!(named(ACCESS_LEVEL_CHARACTERS_MAX).is_ok() && named(ACCESS_LEVEL_CHARACTERS_MAX + 1).is_err());
        let many = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!("\"{n}\":{{\"scopes\":[]}}")).collect();
            levels(&format!("{{{}}}", members.join(",")))
        };
        assert!(many(ACCESS_LEVELS_MAX).is_ok() && many(ACCESS_LEVELS_MAX + 1).is_err());
    }

    #[test]
    fn a_wrong_catalogue_is_refused_where_it_is_wrong() {
        let parsed = |json: &str| catalogue(Json::parse(json).unwrap());
        for json in ["[]", "{}", r#"[{"resource":"a","verbs":["x"]}]"#, r#"["a"]"#] {
            assert!(parsed(json).unwrap_err().starts_with("a list of at most 200 objects"), "{json}");
        }
        let twice =
            r#"[{"resource":"a","description":"A","verbs":["x"]},{"resource":"a","description":"A","verbs":["x"]}]"#;
        assert_eq!(parsed(twice).unwrap_err(), "right, and is not at [1]: `resource`: name each resource once");
    }

    #[test]
    fn the_catalogue_in_force_is_the_accounts_own_or_else_the_deployments() {
        let own = r#"[{"resource":"a","description":"A","verbs":["x"]}]"#;
        let answer = scopes(Some(&catalogue(Json::parse(own).unwrap()).unwrap()));
        assert_eq!(answer, format!("{{\"data\":{own},\"source\":\"account\"}}"));
        let deployment = Catalogue::compiled();
        let source = if deployment.entries().is_empty() { "none" } else { "deployment" };
        assert_eq!(scopes(None), format!("{{\"data\":{},\"source\":\"{source}\"}}", deployment.to_json()));
    }
}

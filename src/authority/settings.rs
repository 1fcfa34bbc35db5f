//! What an account is configured with on top of what every account has: how it stands in its column, and how it changes.

use std::fmt;

use crate::{
    credential::joined,
    json::{FromJson, Json, ObjectWriter, ToJson, all, array, quoted},
    policy::{Catalogue, CatalogueEntry, ScopeSet, UnknownScope},
};

use super::{
    audit::{Members, add_some},
    command::{Edit, Refusal},
};

/// The most access levels of one account.
pub const ACCESS_LEVELS_MAX: usize = 50;

/// The settings of an account. The default is what an account has that was created without naming any of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Which names its keys may have.
    pub name_policy: NamePolicy,
    /// Scopes to issue keys with, by name.
    pub access_levels: AccessLevels,
    /// Whether each new key must name an access level.
    pub access_level_required: bool,
    /// Its own scope catalogue; none = the deployment's.
    pub catalogue: Option<Catalogue>,
    /// What it pays for, in the operator's words.
    pub plan: Option<String>,
    /// What was said with the last request for access.
    pub access_note: Option<String>,
    /// Whether the holder of a genuine key learns that it was revoked, has expired or is disabled.
    pub explain_refusals: bool,
    /// For how many days its keys may live at most; none = as long as the deployment has it.
    pub max_key_days: Option<u32>,
    /// After how many days each key is due for a successor; none = never.
    pub rotation_days: Option<u32>,
    /// Whether holders may have their own keys succeeded.
    pub holders_may_rotate: bool,
}

/// Which names keys may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamePolicy {
    /// Any, or none.
    #[default]
    Optional,
    /// Any.
    Required,
    /// One that no other active key of the environment has.
    Unique,
}

impl NamePolicy {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Optional, Self::Required, Self::Unique];

    /// The policy with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == word)
    }

    /// The word on the wire and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
            Self::Unique => "unique",
        }
    }
}

/// Named scopes that keys are issued with, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLevels(Vec<AccessLevel>);

/// Scopes with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLevel {
    /// As people write it.
    pub name: String,
    /// One line for people.
    pub description: Option<String>,
    /// What a key gets that is issued with it.
    pub scopes: ScopeSet,
}

impl AccessLevels {
    /// At most [`ACCESS_LEVELS_MAX`], each name once; none otherwise.
    #[must_use]
    pub fn new(levels: Vec<AccessLevel>) -> Option<Self> {
        let mut sorted = Vec::new();
        for level in levels.into_iter().take(ACCESS_LEVELS_MAX.saturating_add(1)) {
            let place = sorted.binary_search_by(|earlier: &AccessLevel| earlier.name.cmp(&level.name)).err()?;
            sorted.insert(place, level);
        }
        (sorted.len() <= ACCESS_LEVELS_MAX).then_some(Self(sorted))
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &AccessLevel> {
        self.0.iter()
    }

    /// The one with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&AccessLevel> {
        self.iter().find(|level| level.name == name)
    }
}

/// The names, for people.
impl fmt::Display for AccessLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the account has none");
        }
        write!(f, "the account has {}", joined(self.iter().map(|level| quoted(&level.name)), ", "))
    }
}

/// What changes in the settings of an account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettingsChange {
    /// Which names its keys may have.
    pub name_policy: Edit<NamePolicy>,
    /// Scopes to issue keys with, all of them.
    pub access_levels: Edit<AccessLevels>,
    /// Whether each new key must name an access level.
    pub access_level_required: Edit<bool>,
    /// Its own scope catalogue; none = the deployment's.
    pub catalogue: Edit<Option<Catalogue>>,
    /// What it pays for.
    pub plan: Edit<Option<String>>,
    /// Whether the holder of a genuine key learns why it is refused.
    pub explain_refusals: Edit<bool>,
    /// For how many days its keys may live at most.
    pub max_key_days: Edit<Option<u32>>,
    /// After how many days each key is due for a successor.
    pub rotation_days: Edit<Option<u32>>,
    /// Whether holders may have their own keys succeeded.
    pub holders_may_rotate: Edit<bool>,
}

impl SettingsChange {
    /// Puts the new values in place.
    pub fn apply(self, settings: &mut Settings) {
        self.name_policy.apply(&mut settings.name_policy);
        self.access_levels.apply(&mut settings.access_levels);
        self.access_level_required.apply(&mut settings.access_level_required);
        self.catalogue.apply(&mut settings.catalogue);
        self.plan.apply(&mut settings.plan);
        self.explain_refusals.apply(&mut settings.explain_refusals);
        self.max_key_days.apply(&mut settings.max_key_days);
        self.rotation_days.apply(&mut settings.rotation_days);
        self.holders_may_rotate.apply(&mut settings.holders_may_rotate);
    }
}

impl Settings {
    /// The catalogue in force: the account's own, or else the deployment's.
    pub(super) fn catalogue_or<'a>(&'a self, deployment: &'a Catalogue) -> &'a Catalogue {
        self.catalogue.as_ref().unwrap_or(deployment)
    }

    /// Refuses default scopes and access levels with scopes that are not in the catalogue.
    pub(super) fn check(&self, default_scopes: &ScopeSet, deployment: &Catalogue) -> Result<(), Refusal> {
        let catalogue = self.catalogue_or(deployment);
        catalogue
            .check(default_scopes)
            .map_err(|unknown| unknown_scope("default_scopes", "default_scopes", &unknown))?;
        self.access_levels.iter().try_for_each(|level| {
            let place = format!("access_levels, {}", quoted(&level.name));
            catalogue.check(&level.scopes).map_err(|unknown| unknown_scope("access_levels", &place, &unknown))
        })
    }

    /// Adds what the audit says of them, each member as JSON text.
    pub(super) fn describe(&self, members: &mut Members) {
        let mut some = [
            ("access_level_required", Some(self.access_level_required.to_json())),
            ("access_levels", Some(self.access_levels.to_json())),
            ("access_note", Some(self.access_note.to_json())),
            ("explain_refusals", Some(self.explain_refusals.to_json())),
            ("name_policy", Some(self.name_policy.as_str().to_json())),
            ("plan", Some(self.plan.to_json())),
            ("scopes", Some(self.catalogue.to_json())),
            // Entries of before these were there look the same now.
            ("max_key_days", self.max_key_days.map(|days| days.to_string())),
            ("rotation_days", self.rotation_days.map(|days| days.to_string())),
            ("holders_may_rotate", self.holders_may_rotate.then(|| true.to_json())),
        ];
        add_some(members, &mut some);
    }
}

/// The refusal of a scope that the catalogue in force does not have; `place` says where it stands.
pub(super) fn unknown_scope(field: &str, place: &str, unknown: &UnknownScope) -> Refusal {
    Refusal::Invalid { field: field.into(), detail: format!("{place}: {unknown}.") }
}

/// Only what is not as by default: an account that has no settings has an empty column.
impl ToJson for Settings {
    fn to_json(&self) -> String {
        let default = Settings::default();
        let mut members = ObjectWriter::new();
        if self.name_policy != default.name_policy {
            members.text("name_policy", self.name_policy.as_str());
        }
        if self.access_levels != default.access_levels {
            members.value("access_levels", &self.access_levels);
        }
        members
            .if_any("access_level_required", self.access_level_required.then_some(true))
            .if_any("scopes", self.catalogue.clone())
            .if_any("plan", self.plan.clone())
            .if_any("access_note", self.access_note.clone())
            .if_any("explain_refusals", self.explain_refusals.then_some(true))
            .if_any("max_key_days", self.max_key_days.map(u64::from))
            .if_any("rotation_days", self.rotation_days.map(u64::from))
            .if_any("holders_may_rotate", self.holders_may_rotate.then_some(true))
            .end()
    }
}

impl FromJson for Settings {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let mut members = json.object()?;
        let name_policy = match members.take("name_policy") {
            None => NamePolicy::default(),
            Some(word) => NamePolicy::parse(&word.text()?)?,
        };
        let settings = Settings {
            name_policy,
            access_levels: read(members.take("access_levels"))?.unwrap_or_default(),
            access_level_required: read(members.take("access_level_required"))?.unwrap_or_default(),
            catalogue: read(members.take("scopes"))?,
            plan: read(members.take("plan"))?,
            access_note: read(members.take("access_note"))?,
            explain_refusals: read(members.take("explain_refusals"))?.unwrap_or_default(),
            max_key_days: days(members.take("max_key_days"))?,
            rotation_days: days(members.take("rotation_days"))?,
            holders_may_rotate: read(members.take("holders_may_rotate"))?.unwrap_or_default(),
        };
        members.end(settings)
    }
}

/// A member that need not be there.
fn read<T: FromJson>(json: Option<Json<'_>>) -> Option<Option<T>> {
    json.map_or(Some(None), |json| T::from_json(json).map(Some))
}

fn days(json: Option<Json<'_>>) -> Option<Option<u32>> {
    json.map_or(Some(None), |json| u32::try_from(json.whole()?).ok().map(Some))
}

/// An object: the name of each, and what it stands for.
impl ToJson for AccessLevels {
    fn to_json(&self) -> String {
        let mut levels = ObjectWriter::new();
        for level in self.iter() {
            let mut members = ObjectWriter::new();
            members.if_any("description", level.description.clone()).value("scopes", &level.scopes);
            levels.raw(&level.name, &members.end());
        }
        levels.end()
    }
}

impl FromJson for AccessLevels {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let level = |(name, json): (std::borrow::Cow<'_, str>, Json<'_>)| {
            let mut members = json.object()?;
            let level = AccessLevel {
                name: name.into_owned(),
                description: read(members.take("description"))?,
                scopes: ScopeSet::from_json(members.take("scopes")?)?,
            };
            members.end(level)
        };
        AccessLevels::new(all(json.object()?.into_members().map(level))?)
    }
}

impl ToJson for Catalogue {
    fn to_json(&self) -> String {
        array(self.entries().iter().map(|entry| {
            let verbs = array(entry.verbs.iter().map(|verb| verb.as_ref().to_json()));
            let mut members = ObjectWriter::new();
            members.text("resource", &entry.resource).text("description", &entry.description).raw("verbs", &verbs).end()
        }))
    }
}

impl FromJson for Catalogue {
    fn from_json(json: Json<'_>) -> Option<Self> {
        Catalogue::new(Vec::from_json(json)?).ok()
    }
}

impl FromJson for CatalogueEntry {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let mut members = json.object()?;
        let text = |json: Json<'_>| Some(json.text()?.into_owned().into());
        let entry = CatalogueEntry {
            resource: text(members.take("resource")?)?,
            description: text(members.take("description")?)?,
            verbs: members.take("verbs")?.texts()?.into_iter().map(|verb| verb.into_owned().into()).collect(),
        };
        members.end(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    /// The stored form. A change here needs a migration.
    #[test]
    fn stored_form_is_unchanged_and_empty_where_nothing_is_set() {
        let level = |name: &str, description: Option<&str>| AccessLevel {
            name: name.to_owned(),
            description: description.map(str::to_owned),
            scopes: ScopeSet::parse(["contacts:read"]).unwrap(),
        };
        let entry = CatalogueEntry {
            resource: "contacts".into(),
            description: "People".into(),
            verbs: vec!["read".into(), "write".into()].into(),
        };
        let settings = Settings {
            name_policy: NamePolicy::Unique,
            access_levels: AccessLevels::new(vec![level("View only", Some("Sees")), level("Full", None)]).unwrap(),
            access_level_required: true,
            catalogue: Some(Catalogue::new(vec![entry]).unwrap()),
            plan: Some("Connect".to_owned()),
            access_note: Some("for our CRM".to_owned()),
            explain_refusals: true,
            max_key_days: Some(90),
            rotation_days: Some(30),
            holders_may_rotate: true,
        };
        let stored = r#"{"name_policy":"unique","access_levels":{"Full":{"scopes":["contacts:read"]},"View only":{"description":"Sees","scopes":["contacts:read"]}},"access_level_required":true,"scopes":[{"resource":"contacts","description":"People","verbs":["read","write"]}],"plan":"Connect","access_note":"for our CRM","explain_refusals":true,"max_key_days":90,"rotation_days":30,"holders_may_rotate":true}"#;
        assert_eq!(settings.to_json(), stored);
        assert_eq!(json::read(stored), Some(settings));
        assert_eq!(Settings::default().to_json(), "{}");
        assert_eq!(json::read("{}"), Some(Settings::default()));
        for unknown in [r#"{"x":1}"#, r#"{"plan":null}"#, r#"{"name_policy":"any"}"#, r#"{"access_levels":{"a":{}}}"#] {
            assert!(json::read::<Settings>(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn access_levels_are_bounded_and_have_names_of_their_own() {
        let level = |name: String| AccessLevel { name, description: None, scopes: ScopeSet::default() };
        let levels = |count: usize| (0..count).map(|n| level(n.to_string())).collect::<Vec<_>>();
        assert!(AccessLevels::new(levels(ACCESS_LEVELS_MAX)).is_some());
        assert!(AccessLevels::new(levels(ACCESS_LEVELS_MAX + 1)).is_none());
        assert!(AccessLevels::new(vec![level("a".into()), level("b".into()), level("a".into())]).is_none());
    }

    #[test]
    fn policies_have_one_spelling() {
        for policy in NamePolicy::ALL {
            assert_eq!(NamePolicy::parse(policy.as_str()), Some(policy));
        }
        assert_eq!(NamePolicy::parse("Unique"), None);
    }
}

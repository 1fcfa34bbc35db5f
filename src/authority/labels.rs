//! What administrators note of a key for themselves and find it by. Nothing is decided by it, so nobody but the Authority
//! has it.

use crate::json::{FromJson, Json, ToJson};

use super::{
    audit::{Members, add_some},
    properties::Edit,
};

/// Bytes of [`Metadata`], as compact JSON.
pub const METADATA_BYTES_MAX: usize = 2_048;

/// Tags of one key.
pub const TAGS_MAX: usize = 20;

/// Characters of a tag.
pub const TAG_CHARACTERS_MAX: usize = 64;

/// Characters of a description.
pub const DESCRIPTION_CHARACTERS_MAX: usize = 500;

/// What is noted of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// What it is for.
    pub description: Option<String>,
    /// Who answers for it, in the caller's own product.
    pub owner: Option<String>,
    /// In order, each once.
    pub tags: Vec<String>,
    /// Whatever else.
    pub metadata: Metadata,
}

/// What changes in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelsChange {
    /// What it is for.
    pub description: Edit<Option<String>>,
    /// Who answers for it.
    pub owner: Edit<Option<String>>,
    /// All of them.
    pub tags: Edit<Vec<String>>,
    /// All of it.
    pub metadata: Edit<Metadata>,
}

/// A JSON object: compact, its members in alphabetical order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata(String);

impl Labels {
    /// Changes them; true if that changed anything.
    pub(super) fn change(&mut self, change: LabelsChange) -> bool {
        let LabelsChange { description, owner, tags, metadata } = change;
        let described = description.apply(&mut self.description);
        let owned = owner.apply(&mut self.owner);
        let tagged = tags.apply(&mut self.tags);
        metadata.apply(&mut self.metadata) || described || owned || tagged
    }

    /// Adds what the audit says of them, each member as JSON text; what nothing was noted as is left out.
    pub(super) fn describe(&self, members: &mut Members) {
        let mut some = [
            ("description", self.description.as_ref().map(ToJson::to_json)),
            ("owner", self.owner.as_ref().map(ToJson::to_json)),
            ("tags", (!self.tags.is_empty()).then(|| self.tags.to_json())),
            ("metadata", (self.metadata != Metadata::default()).then(|| self.metadata.to_json())),
        ];
        add_some(members, &mut some);
    }
}

impl Metadata {
    /// None for what is no object, or too long.
    #[must_use]
    pub fn new(json: Json<'_>) -> Option<Self> {
        let text = Json::Object(json.object()?).to_json();
        (text.len() <= METADATA_BYTES_MAX).then_some(Metadata(text))
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Metadata("{}".into())
    }
}

impl ToJson for Metadata {
    fn to_json(&self) -> String {
        self.0.clone()
    }
}

impl FromJson for Metadata {
    fn from_json(json: Json<'_>) -> Option<Self> {
        Metadata::new(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn metadata_is_any_object_up_to_its_bound_and_is_kept_as_it_was_meant() {
        let kept = |text: &str| json::read::<Metadata>(text).map(|metadata| metadata.to_json());
        assert_eq!(
            kept(r#" { "b" : [1.50, null, true], "a" : {"x":"\u00e9\n"} } "#).unwrap(),
            r#"{"a":{"x":"é\n"},"b":[1.50,null,true]}"#
        );
        for wrong in ["[]", "null", "\"text\"", "7"] {
            assert_eq!(kept(wrong), None, "{wrong}");
        }
        let of = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
        assert_eq!(kept(&of(METADATA_BYTES_MAX)).unwrap().len(), METADATA_BYTES_MAX);
        assert_eq!(kept(&of(METADATA_BYTES_MAX + 1)), None);
    }
}

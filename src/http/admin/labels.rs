//! What is noted of keys, in requests.

use crate::{
    authority::labels::{
        DESCRIPTION_CHARACTERS_MAX, Labels, LabelsChange, METADATA_BYTES_MAX, Metadata, TAG_CHARACTERS_MAX, TAGS_MAX,
    },
    json::{Json, all},
};

use super::super::{json::Members, values};

/// What is noted of a new key.
pub(super) fn read_new(members: &mut Members<'_>) -> Labels {
    let mut change = LabelsChange::default();
    read(members, &mut change);
    let LabelsChange { description, owner, tags, metadata } = change;
    Labels {
        description: description.or(None),
        owner: owner.or(None),
        tags: tags.or(Vec::new()),
        metadata: metadata.or(Metadata::default()),
    }
}

/// What is to be noted.
pub(super) fn read(members: &mut Members<'_>, change: &mut LabelsChange) {
    members.edit_or_null("description", &mut change.description, description);
    members.edit_or_null("owner", &mut change.owner, values::reference);
    members.edit("tags", &mut change.tags, tags);
    members.edit("metadata", &mut change.metadata, metadata);
}

fn description(value: Json<'_>) -> Result<String, String> {
    values::line(value, DESCRIPTION_CHARACTERS_MAX)
}

fn tags(value: Json<'_>) -> Result<Vec<String>, String> {
    let expected = || {
        format!(
            "a list of at most {TAGS_MAX} tags of 1 to {TAG_CHARACTERS_MAX} characters, not blank and without control characters"
        )
    };
    let Json::List(items) = value else { return Err(expected()) };
    let read = all(items.into_iter().map(|item| values::line(item, TAG_CHARACTERS_MAX).ok()));
    let mut tags: Vec<String> = Vec::new();
    for tag in read.ok_or_else(expected)? {
        let Err(place) = tags.binary_search(&tag) else { continue };
        if tags.len() == TAGS_MAX {
            return Err(expected());
        }
        tags.insert(place, tag);
    }
    Ok(tags)
}

fn metadata(value: Json<'_>) -> Result<Metadata, String> {
    Metadata::new(value).ok_or_else(|| format!("a JSON object of at most {METADATA_BYTES_MAX} bytes"))
}

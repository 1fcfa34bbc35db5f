//! Reads the scope catalogue of a route table.
//!
//! Part of the build script and of native tests only.

use std::borrow::Cow;
use std::ops::Range;

use toml::de::DeTable;

use super::catalogue::{Catalogue, CatalogueEntry};
use super::source::{Source, SourceError};

/// Reads the `[[scope]]` of a table.
pub fn parse(source: &Source<'_>, tables: &[(Range<usize>, &DeTable<'_>)]) -> Result<Catalogue, SourceError> {
    let entries = tables.iter().map(|(span, members)| entry(source, span, members)).collect::<Result<Vec<_>, _>>()?;
    Catalogue::new(entries).map_err(|error| {
        let table = tables.get(error.index);
        let member = table.and_then(|(_, members)| members.get(error.expected.split('`').nth(1)?));
        let span = member.map(|member| member.span()).or_else(|| table.map(|(span, _)| span.clone()));
        source.error(span.unwrap_or_default(), error.to_string())
    })
}

fn entry(source: &Source<'_>, span: &Range<usize>, members: &DeTable<'_>) -> Result<CatalogueEntry, SourceError> {
    const VERBS: &str = "`verbs`: expected a list such as [\"read\", \"write\"]";
    const KNOWN: [&str; 3] = ["resource", "description", "verbs"];
    if let Some((key, _)) = members.iter().find(|(key, _)| !KNOWN.contains(&key.get_ref().as_ref())) {
        let message = format!("unknown member `{}`; a scope has `resource`, `description` and `verbs`", key.get_ref());
        return Err(source.error(key.span(), message));
    }
    let required = |name: &str, example: &str| {
        members
            .get(name)
            .ok_or_else(|| source.error(span.clone(), format!("this scope needs `{name}`, such as {example}")))
    };
    let text = |name: &str, example: &str| {
        let value = required(name, &format!("`{name} = \"{example}\"`"))?;
        let expected = || source.error(value.span(), format!("`{name}`: expected a text such as \"{example}\""));
        value.get_ref().as_str().map(|text| Cow::Owned(text.to_owned())).ok_or_else(expected)
    };
    let resource = text("resource", "contacts")?;
    let description = text("description", "People and companies")?;
    let verbs = source.texts(required("verbs", "`verbs = [\"read\", \"write\"]`")?, VERBS)?;
    let verbs = verbs.into_iter().map(|(_, verb)| Cow::Owned(verb.to_owned())).collect();
    Ok(CatalogueEntry { resource, description, verbs })
}

#[cfg(test)]
mod tests {
    use crate::policy::route_source;

    const ENTRY: &str = "[[scope]]\nresource = \"contacts\"\ndescription = \"People\"\nverbs = [\"read\", \"write\"]\n";

    #[test]
    fn reads_entries_in_file_order() {
        let text = format!("{ENTRY}[[scope]]\nverbs = [\"execute\"]\ndescription = \"Jobs\"\nresource = \"jobs\"\n");
        let catalogue = route_source::parse(&text).unwrap().catalogue;
        let entries = catalogue.entries().iter();
        let described = entries.map(|entry| format!("{} {} {:?}", entry.resource, entry.description, entry.verbs));
        assert_eq!(described.collect::<Vec<_>>(), [r#"contacts People ["read", "write"]"#, r#"jobs Jobs ["execute"]"#]);
    }

    #[test]
    fn a_wrong_catalogue_is_refused_with_its_line_and_what_would_be_right() {
        for (second, error) in [
            ("[[scope]]\n", "5: this scope needs `resource`, such as `resource = \"contacts\"`"),
            (
                "[[scope]]\nresource = \"a\"\nverbs = [\"x\"]",
                "5: this scope needs `description`, such as `description = \"People and companies\"`",
            ),
            (
                "[[scope]]\nresource = \"a\"\ndescription = \"A\"\n",
                "5: this scope needs `verbs`, such as `verbs = [\"read\", \"write\"]`",
            ),
            (
                "[[scope]]\nresource = 1\ndescription = \"A\"\nverbs = [\"x\"]",
                "6: `resource`: expected a text such as \"contacts\"",
            ),
            (
                "[[scope]]\nresource = \"a\"\ndescription = \"A\"\nverbs = \"x\"",
                "8: `verbs`: expected a list such as [\"read\", \"write\"]",
            ),
            (
                "[[scope]]\nresource = \"contacts\"\ndescription = \"A\"\nverbs = [\"x\"]",
                "6: `resource`: name each resource once",
            ),
            (
                "[[scope]]\nresource = \"a\"\ndescription = \"\"\nverbs = [\"x\"]",
                "7: `description`: expected one line of 1 to 200 characters",
            ),
            (
                "[[scope]]\nresource = \"a\"\ndescription = \"A\"\nverbs = [\n]",
                "8: `verbs`: expected 1 to 20 verbs, such as [\"read\", \"write\"]",
            ),
            (
                "[[scope]]\nresource = \"a\"\nactions = [\"x\"]",
                "7: unknown member `actions`; a scope has `resource`, `description` and `verbs`",
            ),
        ] {
            let said = route_source::parse(&format!("{ENTRY}{second}")).map_err(|error| error.to_string());
            assert_eq!(said.map(|_| ()), Err(error.to_owned()), "{second}");
        }
    }
}

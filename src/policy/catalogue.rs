//! The scope catalogue: which scopes there are, and what they mean.
//!
//! Without one, every well-formed scope is accepted. With one, a scope must name a resource and a verb that stand in it,
//! or `*` for either. The deployment's is written in `routes.toml`; an account may have its own instead.
//!
//! The build script includes this file: of the crate it names nothing but `scope.rs`.

use std::borrow::Cow;
use std::fmt;

use super::scope::{Scope, ScopeSet};

/// The most resources in one catalogue.
pub const CATALOGUE_MAX: usize = 200;

/// The most verbs of one resource.
pub const VERBS_MAX: usize = 20;

/// The longest description, in characters.
pub const DESCRIPTION_MAX: usize = 200;

/// The scopes that there are. Empty: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue(Cow<'static, [CatalogueEntry]>);

/// A resource, and what can be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// Its name in scopes.
    pub resource: Cow<'static, str>,
    /// One line for people.
    pub description: Cow<'static, str>,
    /// Those of its scopes: create, read, update, delete, download, or write, execute, manage, or any other.
    pub verbs: Cow<'static, [Cow<'static, str>]>,
}

impl Catalogue {
    /// Checks the entries of a catalogue.
    pub fn new(entries: Vec<CatalogueEntry>) -> Result<Self, CatalogueError> {
        for (index, entry) in entries.iter().enumerate() {
            let wrong = |expected| Err(CatalogueError { index, expected });
            if index >= CATALOGUE_MAX {
                return wrong("expected at most 200 resources in all");
            }
            if !is_name(&entry.resource) {
                return wrong(
                    "`resource`: expected a lowercase letter and then up to 31 lowercase letters, digits, `_` or `-`",
                );
            }
            if entries.iter().take(index).any(|earlier| earlier.resource == entry.resource) {
                return wrong("`resource`: name each resource once");
            }
            if !is_description(&entry.description) {
                return wrong("`description`: expected one line of 1 to 200 characters");
            }
            if !(1..=VERBS_MAX).contains(&entry.verbs.len()) {
                return wrong("`verbs`: expected 1 to 20 verbs, such as [\"read\", \"write\"]");
            }
            for (place, verb) in entry.verbs.iter().enumerate() {
                if !is_name(verb) {
                    return wrong(
                        "`verbs`: expected a lowercase letter and then up to 31 lowercase letters, digits, `_` or `-`",
                    );
                }
                if entry.verbs.iter().take(place).any(|earlier| earlier == verb) {
                    return wrong("`verbs`: name each verb once");
                }
            }
        }
        Ok(Self(Cow::Owned(entries)))
    }

    /// The catalogue that the build script has checked.
    pub(crate) const fn compiled_in(entries: &'static [CatalogueEntry]) -> Self {
        Self(Cow::Borrowed(entries))
    }

    /// What stands in it, in its order.
    pub fn entries(&self) -> &[CatalogueEntry] {
        &self.0
    }

    /// Checks that all of `scopes` are known.
    pub fn check(&self, scopes: &ScopeSet) -> Result<(), UnknownScope> {
        scopes.iter().try_for_each(|scope| self.check_one(scope))
    }

    /// Checks that `scope` is known.
    pub fn check_one(&self, scope: &Scope) -> Result<(), UnknownScope> {
        let (resource, verb) = (scope.resource(), scope.action());
        let fits = |entry: &&CatalogueEntry| {
            (resource == "*" || entry.resource == resource)
                && (verb == "*" || entry.verbs.iter().any(|has| has == verb))
        };
        if self.0.is_empty() || scope.as_str() == "*" || self.0.iter().any(|entry| fits(&entry)) {
            return Ok(());
        }
        Err(UnknownScope { scope: scope.clone(), nearest: self.nearest(resource, verb) })
    }

    /// The known scope that was most likely meant: that of the nearest resource, and there of the nearest verb.
    fn nearest(&self, resource: &str, verb: &str) -> Option<Scope> {
        let nearest_entry = self.0.iter().min_by_key(|entry| distance(&entry.resource, resource))?;
        let verbs: Vec<&str> = if resource == "*" {
            self.0.iter().flat_map(|entry| entry.verbs.iter()).map(AsRef::as_ref).collect()
        } else {
            nearest_entry.verbs.iter().map(AsRef::as_ref).collect()
        };
        let verb = if verb == "*" { verb } else { verbs.into_iter().min_by_key(|has| distance(has, verb))? };
        let resource = if resource == "*" { resource } else { &nearest_entry.resource };
        Scope::parse(&format!("{resource}:{verb}")).ok()
    }
}

/// A scope that the catalogue does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownScope {
    /// Which one.
    pub scope: Scope,
    /// The one that was most likely meant.
    pub nearest: Option<Scope>,
}

impl fmt::Display for UnknownScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no scope `{}` in the catalogue", self.scope)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; the nearest is `{nearest}`"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UnknownScope {}

/// Why a list is not a catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogueError {
    /// Which entry, counted from 0.
    pub index: usize,
    /// What would be right.
    pub expected: &'static str,
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }
}

impl std::error::Error for CatalogueError {}

/// A name as in a scope, and no `*`.
fn is_name(text: &str) -> bool {
    text != "*" && !text.contains(':') && Scope::parse(&format!("{text}:*")).is_ok()
}

fn is_description(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= DESCRIPTION_MAX && !text.chars().any(char::is_control)
}

/// How many bytes must be inserted, left out or replaced to make one text of the other.
pub(crate) fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (place, byte) in one.bytes().enumerate() {
        let mut diagonal = place;
        let mut left = place.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, against) in row.iter_mut().skip(1).zip(other.bytes()) {
            let replaced = diagonal.saturating_add(usize::from(byte != against));
            diagonal = *cell;
            left = replaced.min(diagonal.saturating_add(1)).min(left.saturating_add(1));
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(resource: &str, verbs: &[&str]) -> CatalogueEntry {
        CatalogueEntry {
            resource: resource.to_owned().into(),
            description: format!("All {resource}").into(),
            verbs: verbs.iter().map(|verb| Cow::Owned((*verb).to_owned())).collect(),
        }
    }

    fn catalogue() -> Catalogue {
        Catalogue::new(vec![entry("contacts", &["read", "write", "download"]), entry("jobs", &["execute"])]).unwrap()
    }

    #[test]
    fn an_unknown_scope_is_refused_and_the_nearest_named() {
        for (scope, nearest) in [
            ("contact:read", "contacts:read"),
            ("contacts:raed", "contacts:read"),
            ("contacts:execute", "contacts:write"),
            ("jobs:read", "jobs:execute"),
            ("job:*", "jobs:*"),
            ("*:exec", "*:execute"),
            ("*:downloads", "*:download"),
            ("zzz:write", "jobs:execute"),
        ] {
            let scope = Scope::parse(scope).unwrap();
            let error = catalogue().check(&ScopeSet::new([scope.clone()]).unwrap()).unwrap_err();
            assert_eq!(error, UnknownScope { scope, nearest: Some(Scope::parse(nearest).unwrap()) });
        }
        let error = catalogue().check(&ScopeSet::parse(["jobs:execute", "jobs:run"]).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "there is no scope `jobs:run` in the catalogue; the nearest is `jobs:execute`");
    }

    #[test]
    fn what_is_known_and_its_wildcards_are_accepted() {
        let known = ["contacts:read", "contacts:*", "jobs:execute", "*:download", "*:execute", "*"];
        assert_eq!(catalogue().check(&ScopeSet::parse(known).unwrap()), Ok(()));
        assert_eq!(catalogue().check(&ScopeSet::default()), Ok(()));
        assert_eq!(Catalogue::default().check(&ScopeSet::parse(["any:thing"]).unwrap()), Ok(()));
    }

    #[test]
    fn a_wrong_catalogue_is_refused_with_what_would_be_right() {
        let described = |text: &str| CatalogueEntry { description: text.to_owned().into(), ..entry("b", &["x"]) };
        for (second, begins) in [
            (entry("*", &["x"]), "`resource`: expected"),
            (entry("B", &["x"]), "`resource`: expected"),
            (entry("b:c", &["x"]), "`resource`: expected"),
            (entry("", &["x"]), "`resource`: expected"),
            (entry("a", &["x"]), "`resource`: name each resource once"),
            (entry("b", &[]), "`verbs`: expected 1 to 20"),
            (entry("b", &["x"; 21]), "`verbs`: expected 1 to 20"),
            (entry("b", &["*"]), "`verbs`: expected a lowercase"),
            (entry("b", &["x y"]), "`verbs`: expected a lowercase"),
            (entry("b", &["x", "x"]), "`verbs`: name each verb once"),
            (described(" "), "`description`: expected one line"),
            (described("a\nb"), "`description`: expected one line"),
            (described(&"é".repeat(201)), "`description`: expected one line"),
        ] {
            let error = Catalogue::new(vec![entry("a", &["x"]), second]).unwrap_err();
            assert_eq!(error.index, 1);
            assert!(error.expected.starts_with(begins), "{error}");
        }
        assert!(Catalogue::new(vec![described(&"é".repeat(200))]).is_ok());
        let many = |count: usize| (0..count).map(|n| entry(&format!("r{n}"), &["x"])).collect();
        assert!(Catalogue::new(many(CATALOGUE_MAX)).is_ok());
        assert_eq!(Catalogue::new(many(CATALOGUE_MAX + 1)).unwrap_err().index, CATALOGUE_MAX);
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (one, other, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("read", "raed", 2),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }
}

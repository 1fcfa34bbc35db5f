//! Fields: which parts of a resource a key may see.
//!
//! Keygate does not look into what the API answers. It keeps the lists, and tells the API in a header which of them hold
//! for the request at hand; a resource without a list is not limited.

use std::fmt;

use crate::{credential::joined, json::quoted};

use super::scope::{Scope, ScopeSet};

/// The longest form of a key's fields as JSON, in bytes. They travel in a header.
pub const FIELDS_BYTES_MAX: usize = 2_048;

/// The longest name of a field, in characters.
const NAME_MAX: usize = 64;

/// For some resources, the only fields that a key may see. Resources are in order, each has at least one field, and all
/// of it is ASCII without anything that JSON would escape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, Vec<String>)>);

impl Fields {
    /// Checks a list for each resource.
    pub fn new<R, N>(lists: impl IntoIterator<Item = (R, Vec<N>)>) -> Result<Self, FieldsError>
    where
        R: Into<String>,
        N: Into<String>,
    {
        let mut checked: Vec<(String, Vec<String>)> = Vec::new();
        let mut bytes = BRACES;
        for (resource, names) in lists {
            let resource: String = resource.into();
            let names: Vec<String> = names.into_iter().map(Into::into).collect();
            if !is_resource(&resource) {
                return Err(FieldsError::Resource { resource });
            }
            if names.is_empty() {
                return Err(FieldsError::Empty { resource });
            }
            bytes = bytes.saturating_add(resource.len()).saturating_add(PUNCTUATION_OF_LIST);
            for (index, name) in names.iter().enumerate() {
                if !is_name(name) {
                    return Err(FieldsError::Name { resource, name: name.clone() });
                }
                if names.iter().take(index).any(|earlier| earlier == name) {
                    return Err(FieldsError::Repeated { resource, name: name.clone() });
                }
                bytes = bytes.saturating_add(name.len()).saturating_add(PUNCTUATION_OF_NAME);
            }
            match checked.binary_search_by(|(other, _)| other.cmp(&resource)) {
                Ok(_) => return Err(FieldsError::ResourceRepeated { resource }),
                Err(place) => checked.insert(place, (resource, names)),
            }
            // Each list was counted with one comma too many at its end, and the last list, too.
            if bytes.saturating_sub(checked.len()).saturating_sub(1) > FIELDS_BYTES_MAX {
                return Err(FieldsError::TooLong);
            }
        }
        Ok(Self(checked))
    }

    /// Whether no resource is limited.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The resources with their fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(resource, names)| (resource.as_str(), names.as_slice()))
    }

    /// The lists for the resources that `scopes` name; those of all resources where one names `*`. Allocates nothing
    /// where there is none.
    #[must_use]
    pub fn for_resources(&self, scopes: &[Scope]) -> Self {
        let named = |resource: &str| scopes.iter().any(|scope| ["*", resource].contains(&scope.resource()));
        Self(self.0.iter().filter(|(resource, _)| named(resource)).cloned().collect())
    }

    /// Checks that `scopes` reach every resource that is limited: a limit on anything else is a slip.
    pub fn check_reached(&self, scopes: &ScopeSet) -> Result<(), FieldsError> {
        let reached = |resource: &str| scopes.iter().any(|scope| ["*", resource].contains(&scope.resource()));
        match self.0.iter().find(|(resource, _)| !reached(resource)) {
            Some((resource, _)) => Err(FieldsError::NotReached { resource: resource.clone() }),
            None => Ok(()),
        }
    }
}

/// As JSON: `{"contacts":["name","email"]}`.
impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (resource, names)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}\"{resource}\":[\"{}\"]", joined(names, "\",\""))?;
        }
        f.write_str("}")
    }
}

/// Why lists are not the fields of a key. The text says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldsError {
    /// Not the name of a resource.
    Resource {
        /// What stands there.
        resource: String,
    },
    /// A resource a second time.
    ResourceRepeated {
        /// Which one.
        resource: String,
    },
    /// A list without a field.
    Empty {
        /// Whose list.
        resource: String,
    },
    /// Not the name of a field.
    Name {
        /// In whose list.
        resource: String,
        /// What stands there.
        name: String,
    },
    /// A field a second time.
    Repeated {
        /// In whose list.
        resource: String,
        /// Which one.
        name: String,
    },
    /// More than [`FIELDS_BYTES_MAX`] in all.
    TooLong,
    /// No scope of the key reaches the resource.
    NotReached {
        /// Which one.
        resource: String,
    },
}

impl fmt::Display for FieldsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource { resource } => write!(
                f,
                "{}: expected the name of a resource as in scopes, a lowercase letter and then up to 31 lowercase \
                 letters, digits, `_` or `-`",
                quoted(resource)
            ),
            Self::ResourceRepeated { resource } => write!(f, "{}: name each resource once", quoted(resource)),
            Self::Empty { resource } => {
                write!(
                    f,
                    "{}: name at least one field, or leave the resource out to allow all of them",
                    quoted(resource)
                )
            }
            Self::Name { resource, name } => write!(
                f,
                "{}, {}: expected the name of a field, 1 to {NAME_MAX} letters, digits, `_`, `.` or `-`",
                quoted(resource),
                quoted(name)
            ),
            Self::Repeated { resource, name } => {
                write!(f, "{}, {}: name each field once", quoted(resource), quoted(name))
            }
            Self::TooLong => write!(f, "expected at most {FIELDS_BYTES_MAX} bytes as JSON in all"),
            Self::NotReached { resource } => {
                write!(f, "{}: no scope of the key reaches this resource; grant one, or leave it out", quoted(resource))
            }
        }
    }
}

impl std::error::Error for FieldsError {}

/// `{}`
const BRACES: usize = 2;

/// `"":[],`
const PUNCTUATION_OF_LIST: usize = 6;

/// `"",`
const PUNCTUATION_OF_NAME: usize = 3;

fn is_resource(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && text.len() <= 32
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, ToJson};

    fn fields(lists: &[(&str, &[&str])]) -> Result<Fields, FieldsError> {
        Fields::new(lists.iter().map(|(resource, names)| (*resource, names.to_vec())))
    }

    #[test]
    fn lists_are_written_in_order_of_their_resources() {
        let some = fields(&[("jobs", &["id"]), ("contacts", &["name", "e-mail.home", "A_1"])]).unwrap();
        assert_eq!(some.to_string(), r#"{"contacts":["name","e-mail.home","A_1"],"jobs":["id"]}"#);
        assert_eq!(some.to_json(), some.to_string());
        assert_eq!(json::read::<Fields>(&some.to_string()), Some(some));
        assert_eq!(Fields::default().to_string(), "{}");
        for wrong in [r#"{"a":[]}"#, r#"{"a":["x"],"a":["x"]}"#, r#"{"a":["x\n"]}"#, r#"{"*":["x"]}"#, "[]", "null"] {
            assert!(json::read::<Fields>(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_list_is_refused_with_what_would_be_right() {
        for (lists, error) in [
            (&[("*", &["x"][..])][..], "\"*\": expected the name of a resource as in scopes"),
            (&[("a", &[])], "\"a\": name at least one field, or leave the resource out to allow all of them"),
            (&[("a", &["x y"])], "\"a\", \"x y\": expected the name of a field, 1 to 64 letters"),
            (&[("a", &[""])], "\"a\", \"\": expected the name of a field"),
            (&[("a", &["é"])], "\"a\", \"é\": expected the name of a field"),
            (&[("a", &["x", "x"])], "\"a\", \"x\": name each field once"),
            (&[("a", &["x"]), ("a", &["y"])], "\"a\": name each resource once"),
        ] {
            let said = fields(lists).unwrap_err().to_string();
            assert!(said.starts_with(error), "{said}");
        }
        let long = "r".repeat(33);
        assert!(matches!(fields(&[(&long, &["x"])]), Err(FieldsError::Resource { .. })));
        let longest = "r".repeat(32);
        assert!(fields(&[(&longest, &["x"])]).is_ok());
        let long = "n".repeat(65);
        assert!(matches!(fields(&[("a", &[&long])]), Err(FieldsError::Name { .. })));
    }

    #[test]
    fn the_text_is_at_most_2048_bytes() {
        let names = |count: usize, last: usize| -> Vec<String> {
            let name = |index: usize| format!("{index:0>20}");
            (0..count).map(name).chain([format!("x{}", "y".repeat(last))]).collect()
        };
        let mut longest = 0;
        for last in 0..60 {
            if let Ok(fields) = Fields::new([("a", names(40, last)), ("b", names(45, last))]) {
                longest = longest.max(fields.to_string().len());
                assert!(longest <= FIELDS_BYTES_MAX);
            }
        }
        assert!(longest >= FIELDS_BYTES_MAX - 1, "{longest}");
        assert_eq!(Fields::new([("a", names(100, 1))]), Err(FieldsError::TooLong));
    }

    #[test]
    fn only_the_lists_of_the_resources_that_are_named_are_given() {
        let all = fields(&[("contacts", &["name"]), ("jobs", &["id"])]).unwrap();
        let scopes = |texts: &[&str]| texts.iter().map(|text| Scope::parse(text).unwrap()).collect::<Vec<_>>();
        assert_eq!(all.for_resources(&scopes(&["jobs:read", "x:y"])), fields(&[("jobs", &["id"])]).unwrap());
        assert_eq!(all.for_resources(&scopes(&["*:read"])), all);
        assert_eq!(all.for_resources(&scopes(&["*"])), all);
        assert!(all.for_resources(&[]).is_empty());
    }

    #[test]
    fn a_limit_on_what_no_scope_reaches_is_refused() {
        let all = fields(&[("contacts", &["name"]), ("jobs", &["id"])]).unwrap();
        let check = |scopes: &[&str]| all.check_reached(&ScopeSet::parse(scopes.iter().copied()).unwrap());
        assert_eq!(check(&["contacts:read"]), Err(FieldsError::NotReached { resource: "jobs".to_owned() }));
        assert_eq!(check(&["contacts:read", "jobs:*"]), Ok(()));
        assert_eq!(check(&["*:read"]), Ok(()));
        assert_eq!(check(&["*"]), Ok(()));
    }
}

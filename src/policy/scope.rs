//! Scopes: the rights of a key, as `resource:action`.
//!
//! ```text
//! scope    = "*" / part ":" part
//! part     = "*" / name
//! name     = lowercase *31( lowercase / digit / "_" / "-" )
//! ```
//!
//! `*` in a part stands for every value of it; `*:*` is written `*`. The characters are a subset of RFC 6749 §3.3
//! `scope-token`, so scopes can be put into a `WWW-Authenticate` challenge as they are.
//!
//! The build script includes this file: it names nothing else of the crate.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The most scopes that a key can have, or a request demand. Bounds the stored grant and the response header.
pub const MAX_SCOPES: usize = 100;

/// The longest name in a part of a scope, in characters.
const MAX_NAME: usize = 32;

/// One right, or a wildcard for several: `contacts:read`, `contacts:*`, `*:read`, `*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Cow<'static, str>);

impl Scope {
    /// Reads a scope; `*:*` becomes `*`.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        match check(text)? {
            Shape::Everything => Ok(Self(Cow::Borrowed("*"))),
            Shape::Parts => Ok(Self(Cow::Owned(text.to_owned()))),
        }
    }

    /// A scope in the compiled route table: the build script has parsed it, and writes it in canonical form.
    #[allow(dead_code, reason = "a table may have no rule")]
    pub(crate) const fn compiled(canonical: &'static str) -> Self {
        Self(Cow::Borrowed(canonical))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a key with this scope has all that `needed` names. A wildcard covers what is narrower; only a wildcard
    /// covers a wildcard.
    pub fn covers(&self, needed: &Self) -> bool {
        let (resource, action) = self.parts();
        let (needed_resource, needed_action) = needed.parts();
        (resource == "*" || resource == needed_resource) && (action == "*" || action == needed_action)
    }

    /// The texts of all scopes that cover this one, some of them perhaps twice.
    pub fn holders(&self) -> [String; 4] {
        let (resource, action) = self.parts();
        let text = |resource, action| {
            if (resource, action) == ("*", "*") { "*".to_owned() } else { format!("{resource}:{action}") }
        };
        [text(resource, action), text(resource, "*"), text("*", action), text("*", "*")]
    }

    /// What it is about; `*`: everything.
    pub fn resource(&self) -> &str {
        self.parts().0
    }

    /// What may be done with it; `*`: anything.
    pub fn action(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once(':').unwrap_or(("*", "*"))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.0)
    }
}

/// Why a text is not a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeError {
    /// Where it goes wrong: a byte offset in the text, or its length where something is missing at the end.
    pub at: usize,
    /// What would be right there.
    pub expected: &'static str,
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for ScopeError {}

/// The scopes of a key: distinct, in the order they were given, at most [`MAX_SCOPES`]. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct ScopeSet(Arc<[Scope]>);

impl ScopeSet {
    /// Keeps the first of equal scopes.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, ScopeSetError> {
        let mut distinct = Vec::new();
        for scope in scopes {
            add(&mut distinct, scope)?;
        }
        Ok(Self(distinct.into()))
    }

    /// Reads a list of scopes, one text each.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, ScopeSetError> {
        let mut distinct = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            let scope = Scope::parse(text).map_err(|error| ScopeSetError::Syntax { index, error })?;
            add(&mut distinct, scope)?;
        }
        Ok(Self(distinct.into()))
    }

    /// The scopes, in the order they were given.
    pub fn as_slice(&self) -> &[Scope] {
        &self.0
    }

    /// The scopes, in the order they were given.
    pub fn iter(&self) -> std::slice::Iter<'_, Scope> {
        self.0.iter()
    }

    /// Whether there is no scope at all. Such a key is valid where nothing is demanded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of scopes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one scope alone covers `needed`.
    pub fn covers(&self, needed: &Scope) -> bool {
        self.0.iter().any(|held| held.covers(needed))
    }

    /// Which scope of the key serves `needed`: the same one if it is held, or else the first that covers it.
    pub fn serving(&self, needed: &Scope) -> Option<usize> {
        self.0.iter().position(|held| held == needed).or_else(|| self.0.iter().position(|held| held.covers(needed)))
    }

    /// Whether every scope of `needed` is covered; true where nothing is needed.
    pub fn covers_all(&self, needed: &[Scope]) -> bool {
        needed.iter().all(|scope| self.covers(scope))
    }

    /// What of `needed` is not covered, in its order.
    pub fn missing<'a>(&self, needed: &'a [Scope]) -> Vec<&'a Scope> {
        needed.iter().filter(|scope| !self.covers(scope)).collect()
    }
}

impl Default for ScopeSet {
    fn default() -> Self {
        Self(Arc::from(Vec::new()))
    }
}

impl<'a> IntoIterator for &'a ScopeSet {
    type Item = &'a Scope;
    type IntoIter = std::slice::Iter<'a, Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Space separated, as in a challenge or an identity header; empty where there is no scope.
impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{scope}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeSet({self})")
    }
}

/// Why a list is not the scopes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeSetError {
    /// An element is not a scope.
    Syntax {
        /// Which element, counted from 0.
        index: usize,
        /// What is wrong in it.
        error: ScopeError,
    },
    /// More than [`MAX_SCOPES`] distinct scopes.
    TooMany,
}

impl fmt::Display for ScopeSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { index, error } => write!(f, "element {index}, {error}"),
            Self::TooMany => write!(f, "expected at most {MAX_SCOPES} scopes"),
        }
    }
}

impl std::error::Error for ScopeSetError {}

fn add(distinct: &mut Vec<Scope>, scope: Scope) -> Result<(), ScopeSetError> {
    if distinct.contains(&scope) {
        return Ok(());
    }
    if distinct.len() >= MAX_SCOPES {
        return Err(ScopeSetError::TooMany);
    }
    distinct.push(scope);
    Ok(())
}

enum Shape {
    Everything,
    Parts,
}

fn check(text: &str) -> Result<Shape, ScopeError> {
    if text == "*" {
        return Ok(Shape::Everything);
    }
    let Some((resource, action)) = text.split_once(':') else {
        check_part(text, 0)?;
        return Err(ScopeError { at: text.len(), expected: "`:` and an action, as in `contacts:read`" });
    };
    check_part(resource, 0)?;
    check_part(action, resource.len().saturating_add(1))?;
    Ok(if resource == "*" && action == "*" { Shape::Everything } else { Shape::Parts })
}

/// `offset`: where the part begins in the scope.
fn check_part(part: &str, offset: usize) -> Result<(), ScopeError> {
    let wrong = |index: usize, expected| Err(ScopeError { at: offset.saturating_add(index), expected });
    let mut bytes = part.bytes().enumerate();
    match bytes.next() {
        Some((_, b'*')) if part.len() == 1 => return Ok(()),
        Some((_, b'*')) => return wrong(1, "nothing beside `*` in its part"),
        Some((_, b'a'..=b'z')) => {}
        _ => return wrong(0, "a lowercase letter or `*`"),
    }
    for (index, byte) in bytes {
        match byte {
            _ if index >= MAX_NAME => return wrong(index, "at most 32 characters in each part"),
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => {}
            b':' => return wrong(index, "one `:` only"),
            _ => return wrong(index, "a lowercase letter, a digit, `_` or `-`"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, ToJson};

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    #[test]
    fn its_holders_are_the_scopes_that_cover_it() {
        for text in ["contacts:read", "contacts:*", "*:read", "*"] {
            let scope = Scope::parse(text).unwrap();
            for other in ["contacts:read", "contacts:write", "jobs:read", "contacts:*", "*:read", "*:write", "*"] {
                let covers = Scope::parse(other).unwrap().covers(&scope);
                assert_eq!(scope.holders().iter().any(|holder| holder == other), covers, "{text} {other}");
            }
        }
    }

    #[test]
    fn reads_and_writes_the_canonical_text() {
        for text in ["contacts:read", "a:b", "*:read", "contacts:*", "*", "a-1_b:c-2_d"] {
            assert_eq!(scope(text).as_str(), text);
        }
        assert_eq!(scope("*:*").as_str(), "*");
        let longest = format!("{0}:{0}", "a".repeat(32));
        assert_eq!(scope(&longest).as_str(), longest);
    }

    #[test]
    fn says_where_a_scope_goes_wrong_and_what_would_be_right() {
        const START: &str = "a lowercase letter or `*`";
        const REST: &str = "a lowercase letter, a digit, `_` or `-`";
        let too_long = format!("contacts:{}", "r".repeat(33));
        for (text, at, expected) in [
            ("", 0, START),
            (":", 0, START),
            (":read", 0, START),
            ("contacts:", 9, START),
            ("Contacts:read", 0, START),
            ("contacts:Read", 9, START),
            ("contacts:1", 9, START),
            ("contacts", 8, "`:` and an action, as in `contacts:read`"),
            ("con tacts", 3, REST),
            ("contacts:re.ad", 11, REST),
            ("contacts:read ", 13, REST),
            ("kontakte:l\u{f6}schen", 10, REST),
            ("contacts:read:all", 13, "one `:` only"),
            ("**", 1, "nothing beside `*` in its part"),
            ("contacts:*x", 10, "nothing beside `*` in its part"),
            ("contacts:r*", 10, REST),
            (too_long.as_str(), 41, "at most 32 characters in each part"),
        ] {
            assert_eq!(Scope::parse(text), Err(ScopeError { at, expected }), "{text:?}");
        }
    }

    #[test]
    fn a_wildcard_covers_what_is_narrower_and_nothing_else() {
        let all = ["*", "*:read", "contacts:*", "contacts:read", "contacts:write", "jobs:read"];
        for (held, covered) in [
            ("*", &all[..]),
            ("*:read", &["*:read", "contacts:read", "jobs:read"]),
            ("contacts:*", &["contacts:*", "contacts:read", "contacts:write"]),
            ("contacts:read", &["contacts:read"]),
        ] {
            for needed in all {
                assert_eq!(scope(held).covers(&scope(needed)), covered.contains(&needed), "{held} over {needed}");
            }
        }
    }

    #[test]
    fn a_demanded_wildcard_is_not_covered_by_its_pieces() {
        let held = ScopeSet::parse(["contacts:read", "contacts:write", "*:read"]).unwrap();
        let needed = [scope("contacts:*"), scope("contacts:read"), scope("*")];
        assert!(!held.covers_all(&needed));
        assert_eq!(held.missing(&needed), [&needed[0], &needed[2]]);
        assert!(held.covers_all(&[]));
        assert!(ScopeSet::default().covers_all(&[]));
    }

    #[test]
    fn a_set_keeps_the_order_and_drops_repeats() {
        let set = ScopeSet::parse(["b:x", "a:x", "*:*", "b:x", "*"]).unwrap();
        assert_eq!(set.to_string(), "b:x a:x *");
        assert_eq!(set.to_json(), r#"["b:x","a:x","*"]"#);
        assert_eq!(json::read(r#"["b:x","a:x","*:*","a:x"]"#), Some(set));
        assert_eq!(ScopeSet::default().to_string(), "");
    }

    #[test]
    fn a_set_is_bounded() {
        let texts: Vec<String> = (0..=MAX_SCOPES).map(|n| format!("r{n}:x")).collect();
        let all = || texts.iter().map(String::as_str);
        assert_eq!(ScopeSet::parse(all().take(MAX_SCOPES)).unwrap().len(), MAX_SCOPES);
        assert_eq!(ScopeSet::parse(all()), Err(ScopeSetError::TooMany));
        let error = ScopeSet::parse(["a:b", "a"]).unwrap_err();
        assert_eq!(error.to_string(), "element 1, byte 1: expected `:` and an action, as in `contacts:read`");
        assert!(json::read::<ScopeSet>(r#"["a"]"#).is_none());
    }
}

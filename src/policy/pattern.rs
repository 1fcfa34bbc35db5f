//! Path patterns of the route table.
//!
//! ```text
//! pattern   = "/" / 1*( "/" segment ) [ "/" ] / *( "/" segment ) "/{" name "...}"
//! segment   = literal / "{" name "}"
//! literal   = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" )       ; not "." or ".."
//! name      = ALPHA *( ALPHA / DIGIT / "_" )
//! ```
//!
//! `{name}` stands for exactly one non-empty segment, `{name...}` for a non-empty rest. A literal stands for its bytes.
//! Only characters that a canonical path never holds in escaped form are allowed in it: a `:` could be sent as `%3A`, which
//! some upstreams take for the same, and so slip past the rule.
//!
//! The build script includes this file: it names nothing else of the crate.

use std::borrow::Cow;
use std::fmt;

/// Which paths a rule covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Cow<'static, str>,
    /// The bytes before the first placeholder, which a path must begin with.
    literal: usize,
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check(text)?;
        Ok(Self { literal: literal_length(text), text: Cow::Owned(text.to_owned()) })
    }

    /// A pattern in the compiled route table: the build script has parsed it.
    #[allow(dead_code, reason = "a table may have no rule")]
    pub(crate) const fn compiled(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), literal: literal_length(text) }
    }

    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `path`, which is canonical, is one of those meant. Allocates nothing.
    pub fn matches(&self, path: &str) -> bool {
        let (Some(literal), Some(rest)) = (self.text.get(..self.literal), self.text.get(self.literal..)) else {
            return false;
        };
        match path.strip_prefix(literal) {
            Some(path_rest) if rest.is_empty() => path_rest.is_empty(),
            Some(path_rest) => matches_segments(rest, path_rest),
            None => false,
        }
    }

    /// Whether every path that matches `other` also matches this.
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = other.segments();
        for segment in self.segments() {
            let covered = match (segment, others.next()) {
                (Segment::Rest, Some(other)) => return other != Segment::Literal(""),
                (Segment::One, Some(Segment::Literal(literal))) => !literal.is_empty(),
                (_, other) => other == Some(segment),
            };
            if !covered {
                return false;
            }
        }
        others.next().is_none()
    }

    fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.text.split('/').skip(1).map(Segment::of)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Where it goes wrong: a byte offset in the text.
    pub at: usize,
    /// What would be right.
    pub expected: &'static str,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for PatternError {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment<'a> {
    /// Empty only as the last one: a `/` at the end.
    Literal(&'a str),
    One,
    Rest,
}

impl<'a> Segment<'a> {
    /// `text` has been checked: a `{` begins a whole placeholder.
    fn of(text: &'a str) -> Self {
        match text.strip_prefix('{') {
            Some(placeholder) if placeholder.ends_with("...}") => Self::Rest,
            Some(_) => Self::One,
            None => Self::Literal(text),
        }
    }
}

fn matches_segments(pattern: &str, path: &str) -> bool {
    let mut rest = path;
    let mut ended = false;
    for segment in pattern.split('/') {
        if ended {
            return false;
        }
        let (part, after) = match rest.split_once('/') {
            Some((part, after)) => (part, Some(after)),
            None => (rest, None),
        };
        let matched = match Segment::of(segment) {
            Segment::Rest => return !rest.is_empty(),
            Segment::One => !part.is_empty(),
            Segment::Literal(literal) => part == literal,
        };
        if !matched {
            return false;
        }
        rest = after.unwrap_or_default();
        ended = after.is_none();
    }
    ended
}

const fn literal_length(text: &str) -> usize {
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'{' {
            break;
        }
        rest = after;
    }
    text.len().saturating_sub(rest.len())
}

fn check(text: &str) -> Result<(), PatternError> {
    let Some(after_slash) = text.strip_prefix('/') else {
        return Err(PatternError { at: 0, expected: "`/`" });
    };
    let last = after_slash.split('/').count().saturating_sub(1);
    let mut names: Vec<&str> = Vec::new();
    let mut at: usize = 1;
    for (index, segment) in after_slash.split('/').enumerate() {
        let wrong = |offset: usize, expected| Err(PatternError { at: at.saturating_add(offset), expected });
        if let Some(placeholder) = segment.strip_prefix('{') {
            let Some(inner) = placeholder.strip_suffix('}') else {
                return wrong(0, "`{name}` as a whole segment");
            };
            let (name, is_rest) = match inner.strip_suffix("...") {
                Some(name) => (name, true),
                None => (inner, false),
            };
            if !is_name(name) {
                return wrong(
                    1,
                    "a name of letters, digits and `_` in the braces, with `...` after it for the rest of the path",
                );
            }
            if is_rest && index != last {
                return wrong(0, "`{name...}` as the last segment only");
            }
            if names.contains(&name) {
                return wrong(1, "another name in each placeholder");
            }
            names.push(name);
        } else if segment.is_empty() && index != last {
            return wrong(0, "a segment between two `/`");
        } else if segment == "." || segment == ".." {
            return wrong(0, "no `.` or `..` segment: no such path is forwarded");
        } else if let Some((offset, byte)) = segment.bytes().enumerate().find(|(_, byte)| !is_literal(*byte)) {
            return wrong(
                offset,
                match byte {
                    b'{' | b'}' => "`{name}` as a whole segment",
                    b'*' => "`{name}` for one segment, or `{name...}` for the rest of the path",
                    b':' if offset == 0 => "`{name}` for one segment",
                    b'%' => "no percent-escapes: a literal matches the bytes of the path",
                    b'?' | b'#' => "a path only: the query is not matched",
                    _ => "a letter, a digit, `-`, `.`, `_` or `~`",
                },
            );
        }
        at = at.saturating_add(segment.len()).saturating_add(1);
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn matches_segment_by_segment() {
        for (text, matching, others) in [
            ("/", &["/"][..], &["/a", ""][..]),
            (
                "/v1/contacts",
                &["/v1/contacts"],
                &["/v1/contacts/", "/v1/contact", "/v1/contactsx", "/V1/contacts", "/v1"],
            ),
            ("/v1/contacts/", &["/v1/contacts/"], &["/v1/contacts", "/v1/contacts/a"]),
            (
                "/v1/contacts/{id}",
                &["/v1/contacts/a", "/v1/contacts/%20"],
                &["/v1/contacts/", "/v1/contacts", "/v1/contacts/a/", "/v1/contacts/a/b"],
            ),
            (
                "/v1/{kind}/{id}/notes",
                &["/v1/a/b/notes"],
                &["/v1/a/b/note", "/v1/a/b", "/v1/a/notes", "/v1/a/b/notes/", "/v1/a//notes"],
            ),
            ("/v1/{kind}/", &["/v1/a/"], &["/v1/a", "/v1/", "/v1/a/b"]),
            (
                "/v1/reports/{rest...}",
                &["/v1/reports/a", "/v1/reports/a/", "/v1/reports/a/b/c"],
                &["/v1/reports", "/v1/reports/", "/v1/reportsa"],
            ),
            ("/{a}/{rest...}", &["/a/b", "/a/b/"], &["/a", "/a/", "/"]),
            ("/{rest...}", &["/a", "/a/b"], &["/"]),
        ] {
            for path in matching {
                assert!(pattern(text).matches(path), "{text} should match {path}");
            }
            for path in others {
                assert!(!pattern(text).matches(path), "{text} should not match {path}");
            }
            assert_eq!(Pattern::compiled(text), pattern(text));
        }
    }

    #[test]
    fn says_where_a_pattern_goes_wrong_and_what_would_be_right() {
        const NAME: &str =
            "a name of letters, digits and `_` in the braces, with `...` after it for the rest of the path";
        const WHOLE: &str = "`{name}` as a whole segment";
        for (text, at, expected) in [
            ("", 0, "`/`"),
            ("v1", 0, "`/`"),
            ("/v1//a", 4, "a segment between two `/`"),
            ("//", 1, "a segment between two `/`"),
            ("/v1/../a", 4, "no `.` or `..` segment: no such path is forwarded"),
            ("/v1/.", 4, "no `.` or `..` segment: no such path is forwarded"),
            ("/v1/{}", 5, NAME),
            ("/v1/{...}", 5, NAME),
            ("/v1/{1d}", 5, NAME),
            ("/v1/{i-d}", 5, NAME),
            ("/v1/{id....}", 5, NAME),
            ("/v1/{id", 4, WHOLE),
            ("/v1/{id}x", 4, WHOLE),
            ("/v1/x{id}", 5, WHOLE),
            ("/v1/id}", 6, WHOLE),
            ("/v1/{rest...}/a", 4, "`{name...}` as the last segment only"),
            ("/v1/{rest...}/", 4, "`{name...}` as the last segment only"),
            ("/v1/{id}/{id}", 10, "another name in each placeholder"),
            ("/v1/*", 4, "`{name}` for one segment, or `{name...}` for the rest of the path"),
            ("/v1/:id", 4, "`{name}` for one segment"),
            ("/v1/a%20b", 5, "no percent-escapes: a literal matches the bytes of the path"),
            ("/v1/a?b=c", 5, "a path only: the query is not matched"),
            ("/v1/a:b", 5, "a letter, a digit, `-`, `.`, `_` or `~`"),
            ("/v1/a;b", 5, "a letter, a digit, `-`, `.`, `_` or `~`"),
            ("/v1/\u{f6}", 4, "a letter, a digit, `-`, `.`, `_` or `~`"),
        ] {
            assert_eq!(Pattern::parse(text), Err(PatternError { at, expected }), "{text:?}");
        }
    }

    #[derive(Clone, Debug)]
    enum Part {
        Literal(&'static str),
        One,
    }

    fn parts() -> impl Strategy<Value = (Vec<Part>, u8)> {
        let part = prop_oneof![Just(Part::Literal("a")), Just(Part::Literal("b")), Just(Part::One)];
        (prop::collection::vec(part, 0..4), 0_u8..3)
    }

    /// A pattern over a small alphabet; `end` adds nothing, a `/` or a rest.
    fn text((parts, end): &(Vec<Part>, u8)) -> String {
        let mut text = String::new();
        for (index, part) in parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => text += &format!("/{literal}"),
                Part::One => text += &format!("/{{p{index}}}"),
            }
        }
        match end {
            0 if !text.is_empty() => text,
            2 => text + "/{rest...}",
            _ => text + "/",
        }
    }

    /// The same meaning, written on whole lists of segments.
    fn model(pattern: &str, path: &str) -> bool {
        let path: Vec<&str> = path.split('/').skip(1).collect();
        let pattern: Vec<&str> = pattern.split('/').skip(1).collect();
        let fits =
            |(wanted, part): (&&str, &&str)| if wanted.starts_with('{') { !part.is_empty() } else { wanted == part };
        match pattern.split_last() {
            Some((&"{rest...}", first)) => {
                path.len() > first.len() && first.iter().zip(&path).all(fits) && path[first.len()..] != [""]
            }
            _ => path.len() == pattern.len() && pattern.iter().zip(&path).all(fits),
        }
    }

    /// Paths that match the pattern and as little else as possible: one with a short rest, one with a long rest.
    fn least_special(pattern: &str) -> [String; 2] {
        ["z", "z/z/z/z/z/z/z"].map(|rest| {
            let fill = |segment| match segment {
                "{rest...}" => rest,
                _ if segment.starts_with('{') => "z",
                _ => segment,
            };
            pattern.split('/').map(fill).collect::<Vec<_>>().join("/")
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_model(parts in parts(), path in "(/[abc]){0,5}/?") {
            let text = text(&parts);
            prop_assert_eq!(pattern(&text).matches(&path), model(&text, &path), "{} on {}", text, path);
        }

        #[test]
        fn covers_exactly_where_every_path_is_covered(first in parts(), second in parts(), path in "(/[abz]){0,5}/?") {
            let (first, second) = (pattern(&text(&first)), pattern(&text(&second)));
            if first.covers(&second) {
                prop_assert!(!second.matches(&path) || first.matches(&path), "{} over {} on {}", first, second, path);
            } else {
                let paths = least_special(second.as_str());
                prop_assert!(paths.iter().all(|path| second.matches(path)));
                prop_assert!(!paths.iter().all(|path| first.matches(path)), "{} over {}", first, second);
            }
        }
    }
}

//! Reads the text of a route table.
//!
//! Part of the build script and of native tests only; the Worker holds what the build script makes of it. This file names
//! nothing of the crate but the three beside it that the build script includes too.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::methods::{Methods, MethodsError};
use super::pattern::Pattern;
use super::scope::{MAX_SCOPES, Scope};

/// One rule, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSource {
    /// The line of its `[[route]]`, counted from 1.
    pub line: usize,
    /// Which methods it covers.
    pub methods: Methods,
    /// Which paths it covers.
    pub pattern: Pattern,
    /// What it demands.
    pub scopes: Vec<Scope>,
    /// Whose keys it accepts; `None`: live and test.
    pub environment: Option<RuleEnvironment>,
    /// Whether the Authority is asked in every request; `false` unless said.
    pub strict: bool,
}

/// The environments that a rule can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleEnvironment {
    /// `"live"`
    Live,
    /// `"test"`
    Test,
}

/// The first thing that is wrong with a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.message)
    }
}

impl std::error::Error for SourceError {}

/// Reads a whole table, and checks that each rule can be reached.
pub fn parse(text: &str) -> Result<Vec<RuleSource>, SourceError> {
    let source = Source { text };
    let document = DeTable::parse(text)
        .map_err(|error| source.error(error.span().unwrap_or_default(), one_line(error.message())))?;
    let mut rules: Vec<RuleSource> = Vec::new();
    for (key, value) in document.get_ref() {
        if key.get_ref() != "route" {
            let message = format!("unknown member `{}`; a route table holds `[[route]]` only", key.get_ref());
            return Err(source.error(key.span(), message));
        }
        let DeValue::Array(elements) = value.get_ref() else {
            return Err(source.error(key.span(), "expected `[[route]]`, with two brackets"));
        };
        for element in elements.iter() {
            let DeValue::Table(members) = element.get_ref() else {
                return Err(source.error(element.span(), "expected `[[route]]` before each rule"));
            };
            let rule = source.rule(element.span(), members)?;
            source.check_reachable(&rule, element.span(), members, &rules)?;
            rules.push(rule);
        }
    }
    Ok(rules)
}

struct Source<'t> {
    text: &'t str,
}

type Member<'t> = Spanned<DeValue<'t>>;

impl Source<'_> {
    fn error(&self, span: Range<usize>, message: impl Into<String>) -> SourceError {
        SourceError { line: self.line(span), message: message.into() }
    }

    fn line(&self, span: Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        before.filter(|byte| **byte == b'\n').count().saturating_add(1)
    }

    fn rule(&self, span: Range<usize>, members: &DeTable<'_>) -> Result<RuleSource, SourceError> {
        const KNOWN: [&str; 5] = ["method", "path", "scopes", "environment", "strict"];
        if let Some((key, _)) = members.iter().find(|(key, _)| !KNOWN.contains(&key.get_ref().as_ref())) {
            let message = format!(
                "unknown member `{}`; a route has `method`, `path`, `scopes` and, if need be, `environment` and `strict`",
                key.get_ref()
            );
            return Err(self.error(key.span(), message));
        }
        let required = |name: &str, example: &str| {
            members
                .get(name)
                .ok_or_else(|| self.error(span.clone(), format!("this route needs `{name}`, such as {example}")))
        };
        let methods = self.methods(required("method", "`method = \"GET\"`")?)?;
        let pattern = self.pattern(required("path", "`path = \"/v1/contacts/{id}\"`")?)?;
        let scopes = required("scopes", "`scopes = [\"contacts:read\"]`, or `scopes = []` for any valid key")?;
        Ok(RuleSource {
            line: self.line(span.clone()),
            methods,
            pattern,
            scopes: self.scopes(scopes)?,
            environment: members.get("environment").map(|value| self.environment(value)).transpose()?,
            strict: members.get("strict").map(|value| self.strict(value)).transpose()?.unwrap_or(false),
        })
    }

    fn methods(&self, value: &Member<'_>) -> Result<Methods, SourceError> {
        const EXPECTED: &str = "`method`: expected a text such as \"GET\", or a list such as [\"GET\", \"POST\"]";
        let elements: Vec<&Member<'_>> = match value.get_ref() {
            DeValue::String(_) => vec![value],
            DeValue::Array(elements) => elements.iter().collect(),
            _ => return Err(self.error(value.span(), EXPECTED)),
        };
        let names = self.texts(elements.iter().copied(), EXPECTED)?;
        Methods::parse(names.iter().copied()).map_err(|error| {
            let wrong = match error {
                MethodsError::Empty => None,
                MethodsError::Unknown { index }
                | MethodsError::Repeated { index }
                | MethodsError::AllAndMore { index } => elements.get(index),
            };
            match wrong {
                Some(element) => {
                    let name = element.get_ref().as_str().unwrap_or_default();
                    self.error(element.span(), format!("`method`, {name:?}: {error}"))
                }
                None => self.error(value.span(), format!("`method`: {error}")),
            }
        })
    }

    fn pattern(&self, value: &Member<'_>) -> Result<Pattern, SourceError> {
        let Some(text) = value.get_ref().as_str() else {
            return Err(self.error(value.span(), "`path`: expected a text such as \"/v1/contacts/{id}\""));
        };
        Pattern::parse(text).map_err(|error| self.error(value.span(), format!("`path`, {text:?}, {error}")))
    }

    fn scopes(&self, value: &Member<'_>) -> Result<Vec<Scope>, SourceError> {
        const EXPECTED: &str = "`scopes`: expected a list such as [\"contacts:read\"], or [] for any valid key";
        let Some(elements) = value.get_ref().as_array() else {
            return Err(self.error(value.span(), EXPECTED));
        };
        let texts = self.texts(elements.iter(), EXPECTED)?;
        let mut scopes = Vec::new();
        for (element, text) in elements.iter().zip(texts) {
            let wrong = |what: String| self.error(element.span(), format!("`scopes`, {text:?}{what}"));
            let scope = Scope::parse(text).map_err(|error| wrong(format!(", {error}")))?;
            if scopes.contains(&scope) {
                return Err(wrong(": name each scope once".to_owned()));
            }
            if scopes.len() >= MAX_SCOPES {
                return Err(wrong(format!(": expected at most {MAX_SCOPES} scopes")));
            }
            scopes.push(scope);
        }
        Ok(scopes)
    }

    fn environment(&self, value: &Member<'_>) -> Result<RuleEnvironment, SourceError> {
        match value.get_ref().as_str() {
            Some("live") => Ok(RuleEnvironment::Live),
            Some("test") => Ok(RuleEnvironment::Test),
            _ => {
                let message = "`environment`: expected \"live\" or \"test\"; without it, both are accepted";
                Err(self.error(value.span(), message))
            }
        }
    }

    fn strict(&self, value: &Member<'_>) -> Result<bool, SourceError> {
        let message = "`strict`: expected true or false, without quotes; without it, false";
        value.get_ref().as_bool().ok_or_else(|| self.error(value.span(), message))
    }

    fn texts<'m>(
        &self,
        elements: impl Iterator<Item = &'m Member<'m>>,
        expected: &str,
    ) -> Result<Vec<&'m str>, SourceError> {
        elements.map(|element| element.get_ref().as_str().ok_or_else(|| self.error(element.span(), expected))).collect()
    }

    /// The first rule that matches wins, so what earlier rules cover wholly is never reached, although somebody wrote it
    /// down in the belief that it is. A catch-all may follow particular rules: `*` is refused only where nothing is left
    /// of it, and the HEAD that comes with GET does not count.
    fn check_reachable(
        &self,
        rule: &RuleSource,
        span: Range<usize>,
        members: &DeTable<'_>,
        earlier: &[RuleSource],
    ) -> Result<(), SourceError> {
        let mut left = rule.methods;
        for covering in earlier.iter().filter(|earlier| earlier.pattern.covers(&rule.pattern)) {
            left = left.minus(covering.methods);
            let lost = members.get("method").and_then(|value| named_method_outside(left, value));
            let (what, instead) = match lost {
                _ if left.is_empty() => ("this route".to_owned(), String::new()),
                Some(name) => (format!("{name} of this route"), format!(", or leave out {name} here")),
                None => continue,
            };
            let line = covering.line;
            let message = format!(
                "{what} is never reached: the route in line {line} covers it; put the narrower one first{instead}"
            );
            return Err(self.error(span, message));
        }
        Ok(())
    }
}

fn named_method_outside<'m>(methods: Methods, value: &'m Member<'_>) -> Option<&'m str> {
    let names: Vec<&str> = match value.get_ref() {
        DeValue::Array(elements) => elements.iter().filter_map(|element| element.get_ref().as_str()).collect(),
        value => value.as_str().into_iter().collect(),
    };
    names.into_iter().find(|name| *name != "*" && !methods.intersects(Methods::of_request(name)))
}

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule that is right, to put wrong ones after: its lines are 1 to 4.
    const FIRST: &str = "[[route]]\nmethod = \"GET\"\npath = \"/v1/contacts/{id}\"\nscopes = [\"contacts:read\"]\n";

    #[test]
    fn reads_rules_in_file_order() {
        let text = r#"
# A comment.
[[route]]
method = ["PATCH", "DELETE"]
path = "/v1/contacts/{id}"
scopes = ["contacts:write", "*:*"]
strict = true

[[route]]
method = "*"
path = "/v1/{rest...}"
scopes = []
environment = "test"
strict = false

[[route]]
method = "GET"
path = "/v2"
scopes = []
"#;
        let rules = parse(text).unwrap();
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0].line, 3);
        assert_eq!(rules[0].methods, Methods::parse(["DELETE", "PATCH"]).unwrap());
        assert_eq!(rules[0].scopes, [Scope::parse("contacts:write").unwrap(), Scope::parse("*").unwrap()]);
        assert_eq!(rules[0].environment, None);
        assert_eq!(rules.iter().map(|rule| rule.strict).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(rules[1].line, 9);
        assert_eq!(rules[1].methods, Methods::ALL);
        assert_eq!(rules[1].pattern.as_str(), "/v1/{rest...}");
        assert_eq!(rules[1].environment, Some(RuleEnvironment::Test));
        assert_eq!(parse(""), Ok(vec![]));
        assert_eq!(parse(&FIRST.replace('\n', "\r\n")).unwrap()[0].line, 1);
    }

    #[test]
    fn particular_rules_may_come_before_general_ones() {
        let rule = |method: &str, path: &str| format!("[[route]]\nmethod = {method}\npath = \"{path}\"\nscopes = []\n");
        let all: String = [
            rule("\"HEAD\"", "/v1/contacts"),
            rule("\"GET\"", "/v1/contacts"),
            rule("\"POST\"", "/v1/contacts"),
            rule("\"*\"", "/v1/contacts"),
            rule("\"GET\"", "/v1/me"),
            rule("\"GET\"", "/v1/{kind}"),
            rule("\"GET\"", "/v1/{rest...}"),
            rule("\"*\"", "/{rest...}"),
            rule("\"*\"", "/"),
        ]
        .concat();
        assert_eq!(parse(&all).map(|rules| rules.len()), Ok(9));
    }

    #[test]
    fn a_wrong_table_is_refused_with_its_line_and_what_would_be_right() {
        let rule = |method: &str, path: &str, more: &str| {
            format!("{FIRST}\n[[route]]\nmethod = {method}\npath = {path}\n{more}\n")
        };
        let get = |path: &str, more: &str| rule("\"GET\"", path, more);
        let a = "\"/a\"";
        let none = "scopes = []";
        for (text, error) in [
            // The file
            ("[route]\nmethod = \"GET\"".to_owned(), "1: expected `[[route]]`, with two brackets"),
            ("route = [\n  1,\n]".to_owned(), "2: expected `[[route]]` before each rule"),
            (format!("{FIRST}[[routes]]\n"), "5: unknown member `routes`; a route table holds `[[route]]` only"),
            (format!("{FIRST}path = \"/b\"\n"), "5: duplicate key"),
            (format!("{FIRST}[[route]\n"), "5: unclosed array table, expected `]`"),
            (get(a, "scopes = [\n"), "9: unclosed array, expected `]`"),
            // Members
            (
                get(a, "scope = [\"a:b\"]"),
                "9: unknown member `scope`; a route has `method`, `path`, `scopes` and, if need be, `environment` and `strict`",
            ),
            (
                get(a, ""),
                "6: this route needs `scopes`, such as `scopes = [\"contacts:read\"]`, or `scopes = []` for any valid key",
            ),
            (format!("{FIRST}[[route]]\npath = \"/a\"\n"), "5: this route needs `method`, such as `method = \"GET\"`"),
            (
                format!("{FIRST}[[route]]\nmethod = \"GET\"\n"),
                "5: this route needs `path`, such as `path = \"/v1/contacts/{id}\"`",
            ),
            // Methods
            (
                rule("\"get\"", a, none),
                "7: `method`, \"get\": expected GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or \"*\"",
            ),
            (
                rule("[\n\"GET\",\n\"PSOT\"]", a, none),
                "9: `method`, \"PSOT\": expected GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or \"*\"",
            ),
            (rule("[\"GET\", \"GET\"]", a, none), "7: `method`, \"GET\": name each method once"),
            (
                rule("[\"GET\", \"*\"]", a, none),
                "7: `method`, \"*\": \"*\" stands for all methods; write nothing beside it",
            ),
            (rule("[]", a, none), "7: `method`: name at least one method, or \"*\" for all"),
            (rule("1", a, none), "7: `method`: expected a text such as \"GET\", or a list such as [\"GET\", \"POST\"]"),
            // Patterns
            (get("1", none), "8: `path`: expected a text such as \"/v1/contacts/{id}\""),
            (get("\"v1\"", none), "8: `path`, \"v1\", byte 0: expected `/`"),
            (
                get("\"/v1/{a...}/b\"", none),
                "8: `path`, \"/v1/{a...}/b\", byte 4: expected `{name...}` as the last segment only",
            ),
            (
                get("\"/v1/%63ontacts\"", none),
                "8: `path`, \"/v1/%63ontacts\", byte 4: expected no percent-escapes: a literal matches the bytes of the path",
            ),
            // Scopes
            (
                get(a, "scopes = \"a:b\""),
                "9: `scopes`: expected a list such as [\"contacts:read\"], or [] for any valid key",
            ),
            (
                get(a, "scopes = [1]"),
                "9: `scopes`: expected a list such as [\"contacts:read\"], or [] for any valid key",
            ),
            (
                get(a, "scopes = [\n  \"a:b\",\n  \"contacts.read\",\n]"),
                "11: `scopes`, \"contacts.read\", byte 8: expected a lowercase letter, a digit, `_` or `-`",
            ),
            (get(a, "scopes = [\"a:b\", \"a:b\"]"), "9: `scopes`, \"a:b\": name each scope once"),
            // Environment
            (
                get(a, "scopes = []\nenvironment = \"admin\""),
                "10: `environment`: expected \"live\" or \"test\"; without it, both are accepted",
            ),
            // Strict
            (
                get(a, "scopes = []\nstrict = \"true\""),
                "10: `strict`: expected true or false, without quotes; without it, false",
            ),
            (
                get(a, "scopes = []\nstrict = 1"),
                "10: `strict`: expected true or false, without quotes; without it, false",
            ),
            // Rules that are never reached
            (
                format!("{FIRST}{FIRST}"),
                "5: this route is never reached: the route in line 1 covers it; put the narrower one first",
            ),
            (
                get("\"/v1/contacts/me\"", "scopes = []\nenvironment = \"test\""),
                "6: this route is never reached: the route in line 1 covers it; put the narrower one first",
            ),
            (
                rule("\"HEAD\"", "\"/v1/contacts/{other}\"", none),
                "6: this route is never reached: the route in line 1 covers it; put the narrower one first",
            ),
            (
                rule("[\"POST\", \"GET\"]", "\"/v1/contacts/me\"", none),
                "6: GET of this route is never reached: the route in line 1 covers it; put the narrower one first, or leave out GET here",
            ),
            (
                "[[route]]\nmethod = \"*\"\npath = \"/v1/{rest...}\"\nscopes = []\n".to_owned() + FIRST,
                "5: this route is never reached: the route in line 1 covers it; put the narrower one first",
            ),
        ] {
            assert_eq!(parse(&text).map_err(|error| error.to_string()), Err(error.to_owned()), "{text}");
        }
    }
}

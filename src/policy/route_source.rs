//! Reads the text of a route table.
//!
//! Part of the build script and of native tests only; the Worker holds what the build script makes of it. This file names
//! nothing of the crate but those beside it that the build script includes too.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::catalogue::Catalogue;
use super::catalogue_source;
use super::feature::{FEATURE, is_feature};
use super::methods::{Methods, MethodsError};
use super::pattern::Pattern;
use super::scope::{MAX_SCOPES, Scope};
use super::source::{Member, Source, SourceError};

/// A whole table, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSource {
    /// The rules, in file order.
    pub rules: Vec<RuleSource>,
    /// The scope catalogue; empty where there is none.
    pub catalogue: Catalogue,
}

/// One rule, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSource {
    /// The line of its `[[route]]`, counted from 1.
    pub line: usize,
    /// Which methods it covers.
    pub methods: Methods,
    /// Which paths it covers.
    pub pattern: Pattern,
    /// What it demands; `None`: it is public.
    pub demand: Option<DemandSource>,
}

/// What a rule demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandSource {
    /// All of these.
    pub scopes: Vec<Scope>,
    /// Whose keys it accepts; `None`: live and test.
    pub environment: Option<RuleEnvironment>,
    /// Whether the Authority is asked in every request; `false` unless said.
    pub strict: bool,
    /// Whether a workspace is needed; `false` unless said.
    pub workspace: bool,
    /// The feature flag without which it is not there.
    pub feature: Option<String>,
}

/// The environments that a rule can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleEnvironment {
    /// `"live"`
    Live,
    /// `"test"`
    Test,
}

/// Reads a whole table, and checks that each rule can be reached and demands what the catalogue has.
pub fn parse(text: &str) -> Result<TableSource, SourceError> {
    let source = Source { text };
    let document = DeTable::parse(text)
        .map_err(|error| source.error(error.span().unwrap_or_default(), one_line(error.message())))?;
    let document = document.get_ref();
    for (key, value) in document {
        let name = key.get_ref();
        if name != "route" && name != "scope" {
            let message = format!("unknown member `{name}`; a route table holds `[[route]]` and `[[scope]]` only");
            return Err(source.error(key.span(), message));
        }
        if !matches!(value.get_ref(), DeValue::Array(_)) {
            return Err(source.error(key.span(), format!("expected `[[{name}]]`, with two brackets")));
        }
    }
    let catalogue = catalogue_source::parse(&source, &source.tables(document, "scope")?)?;
    let reader = Reader { source: &source, catalogue: &catalogue };
    let mut rules: Vec<RuleSource> = Vec::new();
    for (span, members) in source.tables(document, "route")? {
        let rule = reader.rule(&span, members)?;
        reader.check_reachable(&rule, span, members, &rules)?;
        rules.push(rule);
    }
    Ok(TableSource { rules, catalogue })
}

struct Reader<'s, 't> {
    source: &'s Source<'t>,
    catalogue: &'s Catalogue,
}

/// What a route can have; those after the first two say what it demands.
const KNOWN: [&str; 10] =
    ["method", "path", "public", "scopes", "resource", "verb", "workspace", "feature", "environment", "strict"];

impl Reader<'_, '_> {
    fn error(&self, span: Range<usize>, message: impl Into<String>) -> SourceError {
        self.source.error(span, message)
    }

    fn rule(&self, span: &Range<usize>, members: &DeTable<'_>) -> Result<RuleSource, SourceError> {
        if let Some((key, _)) = members.iter().find(|(key, _)| !KNOWN.contains(&key.get_ref().as_ref())) {
            let message = format!(
                "unknown member `{}`; a route has `method`, `path`, `scopes` (or `resource` and `verb`) and, if need be, \
                 `workspace`, `feature`, `environment` and `strict`, or else `public`",
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
        let demand = if self.flag(members, "public")? { None } else { Some(self.demand(span, members)?) };
        if demand.is_none()
            && let Some((key, _)) =
                members.iter().find(|(key, _)| !["method", "path", "public"].contains(&key.get_ref().as_ref()))
        {
            let message = format!(
                "`{}` beside `public = true`: a public route is passed on without looking at any credential; leave out \
                 one of the two",
                key.get_ref()
            );
            return Err(self.error(key.span(), message));
        }
        Ok(RuleSource { line: self.source.line(span.clone()), methods, pattern, demand })
    }

    fn demand(&self, span: &Range<usize>, members: &DeTable<'_>) -> Result<DemandSource, SourceError> {
        Ok(DemandSource {
            scopes: self.rights(span, members)?,
            environment: members.get("environment").map(|value| self.environment(value)).transpose()?,
            strict: self.flag(members, "strict")?,
            workspace: self.flag(members, "workspace")?,
            feature: members.get("feature").map(|value| self.feature(value)).transpose()?,
        })
    }

    fn methods(&self, value: &Member<'_>) -> Result<Methods, SourceError> {
        const EXPECTED: &str = "`method`: expected a text such as \"GET\", or a list such as [\"GET\", \"POST\"]";
        let names = self.source.text_or_texts(value, EXPECTED)?;
        Methods::parse(names.iter().map(|(_, name)| *name)).map_err(|error| {
            let wrong = match error {
                MethodsError::Empty => None,
                MethodsError::Unknown { index }
                | MethodsError::Repeated { index }
                | MethodsError::AllAndMore { index } => names.get(index),
            };
            match wrong {
                Some((span, name)) => self.error(span.clone(), format!("`method`, {name:?}: {error}")),
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

    /// `scopes`, or `resource` and `verb`.
    fn rights(&self, span: &Range<usize>, members: &DeTable<'_>) -> Result<Vec<Scope>, SourceError> {
        match (members.get_key_value("scopes"), members.get("resource"), members.get("verb")) {
            (Some((_, scopes)), None, None) => self.scopes(scopes),
            (None, Some(resource), Some(verb)) => self.resource_and_verb(resource, verb),
            (Some((key, _)), _, _) => {
                let message = "`scopes` beside `resource` or `verb`: they say the same; leave out one of the two";
                Err(self.error(key.span(), message))
            }
            (None, Some(resource), None) => {
                Err(self.error(resource.span(), "`resource` needs `verb` beside it, such as `verb = \"read\"`"))
            }
            (None, None, Some(verb)) => {
                Err(self.error(verb.span(), "`verb` needs `resource` beside it, such as `resource = \"contacts\"`"))
            }
            (None, None, None) => Err(self.error(
                span.clone(),
                "this route needs `scopes`, such as `scopes = [\"contacts:read\"]`, or `scopes = []` for any valid key",
            )),
        }
    }

    fn scopes(&self, value: &Member<'_>) -> Result<Vec<Scope>, SourceError> {
        const EXPECTED: &str = "`scopes`: expected a list such as [\"contacts:read\"], or [] for any valid key";
        let mut scopes = Vec::new();
        for (span, text) in self.source.texts(value, EXPECTED)? {
            self.add_scope(&mut scopes, text, &span, &format!("`scopes`, {text:?}"))?;
        }
        Ok(scopes)
    }

    fn resource_and_verb(&self, resource: &Member<'_>, verb: &Member<'_>) -> Result<Vec<Scope>, SourceError> {
        const EXPECTED: &str = "`verb`: expected a text such as \"read\", or a list such as [\"read\", \"download\"]";
        let Some(name) = resource.get_ref().as_str() else {
            return Err(self.error(resource.span(), "`resource`: expected a text such as \"contacts\""));
        };
        Scope::parse(&format!("{name}:*"))
            .map_err(|error| self.error(resource.span(), format!("`resource`, {name:?}, {error}")))?;
        let verbs = self.source.text_or_texts(verb, EXPECTED)?;
        if verbs.is_empty() {
            return Err(self.error(verb.span(), EXPECTED));
        }
        let mut scopes = Vec::new();
        for (span, verb) in verbs {
            let (text, what) = (format!("{name}:{verb}"), format!("`verb`, {verb:?}"));
            Scope::parse(&format!("a:{verb}")).map_err(|error| {
                let expected = error.expected;
                self.error(span.clone(), format!("{what}: expected {expected}"))
            })?;
            self.add_scope(&mut scopes, &text, &span, &what)?;
        }
        Ok(scopes)
    }

    fn add_scope(
        &self,
        scopes: &mut Vec<Scope>,
        text: &str,
        span: &Range<usize>,
        what: &str,
    ) -> Result<(), SourceError> {
        let wrong = |message: String| self.error(span.clone(), format!("{what}{message}"));
        let scope = Scope::parse(text).map_err(|error| wrong(format!(", {error}")))?;
        if scopes.contains(&scope) {
            return Err(wrong(": name each scope once".to_owned()));
        }
        if scopes.len() >= MAX_SCOPES {
            return Err(wrong(format!(": expected at most {MAX_SCOPES} scopes")));
        }
        self.catalogue.check_one(&scope).map_err(|error| wrong(format!(": {error}")))?;
        scopes.push(scope);
        Ok(())
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

    fn feature(&self, value: &Member<'_>) -> Result<String, SourceError> {
        match value.get_ref().as_str() {
            Some(name) if is_feature(name) => Ok(name.to_owned()),
            _ => Err(self.error(value.span(), format!("`feature`: expected {FEATURE}"))),
        }
    }

    fn flag(&self, members: &DeTable<'_>, name: &str) -> Result<bool, SourceError> {
        let Some(value) = members.get(name) else { return Ok(false) };
        let message = || format!("`{name}`: expected true or false, without quotes; without it, false");
        value.get_ref().as_bool().ok_or_else(|| self.error(value.span(), message()))
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
mod tests;

//! The text of a TOML document while it is being read: where things stand in it, for errors that name the line.
//!
//! Part of the build script and of native tests only.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

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

/// A value, and where it stands.
pub type Member<'t> = Spanned<DeValue<'t>>;

/// A document.
pub struct Source<'t> {
    /// All of it.
    pub text: &'t str,
}

impl Source<'_> {
    /// Something is wrong there.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> SourceError {
        SourceError { line: self.line(span), message: message.into() }
    }

    /// The line in which that begins, counted from 1.
    pub fn line(&self, span: Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        before.filter(|byte| **byte == b'\n').count().saturating_add(1)
    }

    /// The `[[name]]` of a document, each with where it stands.
    pub fn tables<'d, 't>(
        &self,
        document: &'d DeTable<'t>,
        name: &str,
    ) -> Result<Vec<(Range<usize>, &'d DeTable<'t>)>, SourceError> {
        let Some(DeValue::Array(elements)) = document.get(name).map(Member::get_ref) else { return Ok(Vec::new()) };
        let table = |element: &'d Member<'t>| match element.get_ref() {
            DeValue::Table(members) => Ok((element.span(), members)),
            _ => Err(self.error(element.span(), format!("expected `[[{name}]]` before each {}", called(name)))),
        };
        elements.iter().map(table).collect()
    }

    /// A list of texts, each with where it stands.
    pub fn texts<'m>(
        &self,
        value: &'m Member<'_>,
        expected: &str,
    ) -> Result<Vec<(Range<usize>, &'m str)>, SourceError> {
        let Some(elements) = value.get_ref().as_array() else {
            return Err(self.error(value.span(), expected));
        };
        let text = |element: &'m Member<'_>| match element.get_ref().as_str() {
            Some(text) => Ok((element.span(), text)),
            None => Err(self.error(element.span(), expected)),
        };
        elements.iter().map(text).collect()
    }

    /// The same, where one text stands for a list of one.
    pub fn text_or_texts<'m>(
        &self,
        value: &'m Member<'_>,
        expected: &str,
    ) -> Result<Vec<(Range<usize>, &'m str)>, SourceError> {
        match value.get_ref().as_str() {
            Some(text) => Ok(vec![(value.span(), text)]),
            None => self.texts(value, expected),
        }
    }
}

fn called(table: &str) -> &str {
    if table == "route" { "rule" } else { "resource" }
}

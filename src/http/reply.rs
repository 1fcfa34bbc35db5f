//! An HTTP answer as plain data.

use std::borrow::Cow;

/// What goes out. The adapter adds nothing to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers, each name once, except that a challenge may be followed by others.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body; empty = none.
    pub body: Cow<'static, str>,
}

impl Reply {
    /// An answer without a body. Everything Keygate says may depend on a credential, so nothing is ever stored.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Reply { status, headers: vec![("cache-control", Cow::Borrowed("no-store"))], body: Cow::Borrowed("") }
    }

    /// An answer in JSON, whose text is there already.
    #[must_use]
    pub fn of_json(status: u16, json: impl Into<Cow<'static, str>>) -> Self {
        Reply::empty(status).with("content-type", "application/json").with_body(json)
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with another body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Cow<'static, str>>) -> Self {
        self.body = body.into();
        self
    }
}

/// `text` with `to` in place of the first `from`.
pub(super) fn with_first_replaced(text: &str, from: &str, to: &str) -> String {
    // `str::find` brings 4 KB of search for what is there once per answer.
    let at = text.as_bytes().windows(from.len()).position(|window| window == from.as_bytes());
    let parts = at.and_then(|at| Some((text.get(..at)?, text.get(at.checked_add(from.len())?..)?)));
    parts.map_or_else(|| text.to_owned(), |(before, behind)| [before, to, behind].concat())
}

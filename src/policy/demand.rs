//! Demands: what a request needs of the key that it comes with.

use std::borrow::Cow;
use std::fmt;

use super::scope::{MAX_SCOPES, Scope};
use crate::credential::{Environment, WorkspaceId};

/// What a request needs. The default demands nothing but a valid key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// All of these. A wildcard among them must be held wholly.
    pub scopes: Cow<'static, [Scope]>,
    /// The only environment whose keys are accepted; `None`: live and test.
    pub environment: Option<Environment>,
    /// The Authority itself must be asked: what an isolate holds or KV serves is not enough, however fresh it is.
    pub strict: bool,
    /// A workspace is needed: the one that the request names, or the only one that the key may use.
    pub workspace_required: bool,
    /// The workspace that the request names. It is checked even where none is needed.
    pub workspace: Option<WorkspaceId>,
    /// Whatever is demanded is only there for accounts with this feature flag.
    pub feature: Option<Cow<'static, str>>,
    /// The answer describes the key: all of its workspaces and fields are wanted, not only those of this request.
    pub describe: bool,
}

/// Reads the values of the `scope` parameters of a verify request, percent-decoded, in their order.
///
/// A value is one or more scopes with one space between them (RFC 6749 §3.3); all scopes of all values are demanded. An
/// empty value is an error: a proxy that fills it from an unset variable would otherwise demand nothing.
pub fn parse_demand<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Vec<Scope>, DemandError> {
    let mut scopes: Vec<Scope> = Vec::new();
    for (parameter, value) in values.into_iter().enumerate() {
        let mut start: usize = 0;
        for text in value.split(' ') {
            let scope = Scope::parse(text).map_err(|error| DemandError {
                parameter,
                at: start.saturating_add(error.at),
                expected: error.expected,
            })?;
            if !scopes.contains(&scope) {
                if scopes.len() >= MAX_SCOPES {
                    return Err(DemandError { parameter, at: start, expected: "at most 100 scopes in all" });
                }
                scopes.push(scope);
            }
            start = start.saturating_add(text.len()).saturating_add(1);
        }
    }
    Ok(scopes)
}

/// Why the `scope` parameters are not a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemandError {
    /// Which `scope` parameter, counted from 0.
    pub parameter: usize,
    /// Where it goes wrong: a byte offset in the decoded value.
    pub at: usize,
    /// What would be right there.
    pub expected: &'static str,
}

impl fmt::Display for DemandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.parameter.saturating_add(1);
        write!(f, "`scope` parameter {number}, byte {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for DemandError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[&str]) -> Result<Vec<String>, DemandError> {
        Ok(parse_demand(values.iter().copied())?.iter().map(Scope::to_string).collect())
    }

    #[test]
    fn all_scopes_of_all_values_are_demanded_once() {
        assert_eq!(texts(&[]).unwrap(), [""; 0]);
        assert_eq!(texts(&["a:b"]).unwrap(), ["a:b"]);
        assert_eq!(texts(&["c:d", "a:b c:d", "*:*"]).unwrap(), ["c:d", "a:b", "*"]);
    }

    #[test]
    fn says_which_parameter_goes_wrong_and_where() {
        const START: &str = "a lowercase letter or `*`";
        for (values, parameter, at) in
            [(&[""][..], 0, 0), (&["a:b", ""], 1, 0), (&["a:b  c:d"], 0, 4), (&["a:b "], 0, 4), (&[" a:b"], 0, 0)]
        {
            assert_eq!(texts(values), Err(DemandError { parameter, at, expected: START }), "{values:?}");
        }
        let error = texts(&["a:b", "a:b c:d,e:f"]).unwrap_err();
        assert_eq!(error.to_string(), "`scope` parameter 2, byte 7: expected a lowercase letter, a digit, `_` or `-`");
    }

    #[test]
    fn is_bounded() {
        let many = |count: usize| (0..count).map(|n| format!("r{n}:x")).collect::<Vec<_>>().join(" ");
        assert_eq!(texts(&[&many(MAX_SCOPES)]).unwrap().len(), MAX_SCOPES);
        let error = texts(&[&many(MAX_SCOPES), "a:b"]).unwrap_err();
        assert_eq!(error, DemandError { parameter: 1, at: 0, expected: "at most 100 scopes in all" });
    }
}

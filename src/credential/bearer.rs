//! The `Authorization` header (RFC 9110 §11.6.2) with a bearer token (RFC 6750 §2.1).

use std::fmt;

/// What an `Authorization` header holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer<'a> {
    /// No bearer credential: no header, or one of another scheme.
    Missing,
    /// A bearer credential is meant, but not exactly one well-formed one.
    Malformed(BearerFault),
    /// The token, not yet looked at.
    Token(&'a str),
}

/// What is wrong with a bearer credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerFault {
    /// The header is longer than 4,096 bytes.
    TooLong {
        /// Bytes found.
        bytes: usize,
    },
    /// There is a comma: several credentials, or a repeated header, which arrives joined by `, `.
    SeveralCredentials,
    /// A character outside ASCII.
    NotAscii,
    /// Something other than exactly one space between `Bearer` and the token, or a space or tab elsewhere.
    Spacing,
    /// There is no token after `Bearer`.
    Empty,
    /// The token is not a `token68`.
    Alphabet,
}

impl fmt::Display for BearerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(f, "The Authorization header may have at most {} bytes, but has {bytes}.", Bearer::MAX_BYTES)
            }
            Self::SeveralCredentials => {
                f.write_str("There must be exactly one credential, in one Authorization header.")
            }
            Self::NotAscii => f.write_str("The Authorization header must be ASCII."),
            Self::Spacing => {
                f.write_str("The Authorization header must be: Bearer, one space, the key, and nothing else.")
            }
            Self::Empty => f.write_str("There is no key after Bearer."),
            Self::Alphabet => f.write_str("The credential after Bearer has a character that no key has."),
        }
    }
}

impl Bearer<'_> {
    /// The longest bearer header accepted, in bytes, the scheme included.
    pub const MAX_BYTES: usize = 4_096;
}

impl<'a> Bearer<'a> {
    /// Reads the value of the `Authorization` header.
    ///
    /// Well formed is `Bearer` in any case, one space, and a `token68`. A value in which any element of the list that
    /// commas make of it is a bearer credential is never taken for another scheme's.
    pub fn parse(header: Option<&'a str>) -> Self {
        let Some(value) = header else {
            return Self::Missing;
        };
        // The good case is one pass over the token: a token68 has no comma, no space and nothing outside ASCII.
        match well_formed(value) {
            Some(token) => Self::Token(token),
            None if value.split(',').any(names_bearer) => Self::Malformed(fault(value)),
            None => Self::Missing,
        }
    }
}

const SCHEME: &str = "bearer";

/// The token of a value that is one bearer credential and nothing else.
fn well_formed(value: &str) -> Option<&str> {
    let token = after_scheme(value)?.strip_prefix(' ')?;
    (value.len() <= Bearer::MAX_BYTES && is_token68(token)).then_some(token)
}

/// What follows the six letters of the scheme, if the text begins with them.
fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

/// Whether the scheme of a list's element (the `token` of RFC 9110 §5.6.2 it begins with) is `Bearer`.
fn names_bearer(element: &str) -> bool {
    after_scheme(element.trim_start_matches([' ', '\t']))
        .is_some_and(|rest| !rest.bytes().next().is_some_and(is_token_character))
}

/// The name for what is wrong with a value that has a bearer credential and is not well formed.
fn fault(value: &str) -> BearerFault {
    let rest = after_scheme(value);
    let token = rest.and_then(|rest| rest.strip_prefix(' '));
    if value.len() > Bearer::MAX_BYTES {
        BearerFault::TooLong { bytes: value.len() }
    } else if value.contains(',') {
        BearerFault::SeveralCredentials
    } else if !value.is_ascii() {
        BearerFault::NotAscii
    } else if rest == Some("") || token == Some("") {
        BearerFault::Empty
    } else if token.is_none_or(|token| token.contains([' ', '\t'])) {
        BearerFault::Spacing
    } else {
        BearerFault::Alphabet
    }
}

/// `token68` of RFC 9110 §11.2: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
pub(super) fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Bearer<'_> {
        Bearer::parse(Some(value))
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_the_scheme() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            let value = format!("{scheme} kg_live_0Az");
            assert_eq!(parse(&value), Bearer::Token("kg_live_0Az"));
        }
        assert_eq!(parse("Bearer aZ09-._~+/=="), Bearer::Token("aZ09-._~+/=="));
    }

    #[test]
    fn no_header_or_another_scheme_is_missing() {
        assert_eq!(Bearer::parse(None), Bearer::Missing);
        for value in [
            "",
            " ",
            ",",
            "Basic dXNlcjpwYXNz",
            "Digest username=\"a\", realm=\"b\"",
            "Bearers x",
            "Bearer-x y",
            "Bear er",
            "XBearer y",
            "Basic Bearer",
            "Béarer x",
        ] {
            assert_eq!(parse(value), Bearer::Missing, "{value:?}");
        }
        let long = format!("Negotiate {}", "a".repeat(9_000));
        assert_eq!(parse(&long), Bearer::Missing);
    }

    #[test]
    fn a_comma_anywhere_beside_a_bearer_is_several_credentials() {
        for value in [
            "Bearer a, Bearer b",
            "Bearer a,b",
            "Bearer a,",
            "Bearer ,a",
            "Bearer,",
            ",Bearer a",
            "Bearer a, Basic b",
            "Basic x, Bearer y",
            "Basic x,bearer y",
            "Basic x,\t BEARER",
            "Basic x, , Bearer y",
            "Bearer é, b",
        ] {
            let expected = Bearer::Malformed(BearerFault::SeveralCredentials);
            assert_eq!(parse(value), expected, "{value:?}");
        }
    }

    #[test]
    fn anything_but_one_space_before_the_token_is_refused() {
        for value in [
            "Bearer  a",
            "Bearer\ta",
            "Bearer \ta",
            "Bearer a ",
            "Bearer a\t",
            "Bearer a b",
            " Bearer a",
            "\tBearer a",
            "Bearer  ",
            "Bearer=a",
            "Bearer:a",
        ] {
            let expected = Bearer::Malformed(BearerFault::Spacing);
            assert_eq!(parse(value), expected, "{value:?}");
        }
    }

    #[test]
    fn an_empty_token_is_refused() {
        for value in ["Bearer", "Bearer ", "bearer"] {
            assert_eq!(parse(value), Bearer::Malformed(BearerFault::Empty));
        }
    }

    #[test]
    fn a_token_that_is_no_token68_is_refused() {
        for value in [
            "Bearer =",
            "Bearer a=b",
            "Bearer \"a\"",
            "Bearer a;b",
            "Bearer a\0",
            "Bearer a:b",
            "Bearer a\n",
            "Bearer a%20",
        ] {
            let expected = Bearer::Malformed(BearerFault::Alphabet);
            assert_eq!(parse(value), expected, "{value:?}");
        }
        for value in ["Bearer é", "Bearer aé", "Beareré a", "Bearer \u{a0}a"] {
            let expected = Bearer::Malformed(BearerFault::NotAscii);
            assert_eq!(parse(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_header_of_4096_bytes_is_read_and_a_longer_one_refused() {
        let longest = "a".repeat(4_096 - "Bearer ".len());
        let value = format!("Bearer {longest}");
        assert_eq!(parse(&value), Bearer::Token(&longest));
        let fault = BearerFault::TooLong { bytes: 4_097 };
        assert_eq!(parse(&format!("{value}a")), Bearer::Malformed(fault));
    }
}

//! Canonical request paths.
//!
//! The route table decides by the bytes of the path, and the upstream by what it takes them to mean. Where one resource
//! has two spellings, a caller could pick the one that a weaker rule covers. So only paths with one spelling are admitted:
//! whatever a server in the chain may decode, drop or merge is refused, and the bytes that were checked are the bytes that
//! are forwarded.

use std::fmt;

/// A path with one spelling: the part of a request target before `?`, as it was received.
///
/// It begins with `/`, has no empty segment except the last and no `.` or `..` segment, holds visible ASCII only, without
/// `\`, `;`, `?` and `#`, and its percent-escapes are well-formed UTF-8 and hide nothing: none stands for a control
/// character, for `/`, `\`, `;` or `%`, or for a letter, a digit, `-`, `.`, `_` or `~` (RFC 3986 §6.2.2.2: the same as the
/// character itself).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a>(&'a str);

impl<'a> CanonicalPath<'a> {
    /// Admits `path` as it is, or says what is wrong with it and where.
    pub fn parse(path: &'a str) -> Result<Self, PathError> {
        check(path.as_bytes()).map(|()| Self(path))
    }

    /// The bytes that were checked.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// Why a path is not canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathError {
    /// Where: a byte offset in the path.
    pub at: usize,
    /// What is wrong there.
    pub fault: PathFault,
}

/// What can be wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// No `/` at the beginning.
    NoLeadingSlash,
    /// `//`.
    EmptySegment,
    /// A segment `.` or `..`.
    DotSegment,
    /// A byte that has no place in a path.
    Byte(u8),
    /// `%` without two hexadecimal digits.
    Escape,
    /// An escape of a character that must not be escaped, or not be there at all.
    EscapedByte(u8),
    /// Escapes that are not UTF-8.
    EscapedText,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of the path: ", self.at)?;
        match self.fault {
            PathFault::NoLeadingSlash => f.write_str("expected `/`"),
            PathFault::EmptySegment => f.write_str("an empty segment; one `/` is enough"),
            PathFault::DotSegment => f.write_str("a `.` or `..` segment; resolve it before the request"),
            PathFault::Byte(byte @ 0x21..=0x7e) => write!(f, "`{}` is not allowed in a path", char::from(byte)),
            PathFault::Byte(byte) => write!(f, "byte 0x{byte:02x} is not allowed in a path"),
            PathFault::Escape => f.write_str("expected two hexadecimal digits after `%`"),
            PathFault::EscapedByte(byte) if is_unreserved(byte) => {
                write!(f, "`%{byte:02X}` must be written `{}`", char::from(byte))
            }
            PathFault::EscapedByte(byte) => write!(f, "`%{byte:02X}` is not allowed in a path"),
            PathFault::EscapedText => f.write_str("percent-escapes that are not UTF-8"),
        }
    }
}

impl std::error::Error for PathError {}

fn check(path: &[u8]) -> Result<(), PathError> {
    if path.first() != Some(&b'/') {
        return Err(PathError { at: 0, fault: PathFault::NoLeadingSlash });
    }
    let mut at: usize = 0;
    while let Some((&byte, rest)) = path.get(at..).and_then(<[u8]>::split_first) {
        let wrong = |fault| Err(PathError { at, fault });
        match byte {
            b'/' => match rest {
                [b'/', ..] => return wrong(PathFault::EmptySegment),
                [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] => {
                    return wrong(PathFault::DotSegment);
                }
                _ => at = at.saturating_add(1),
            },
            b'%' => at = check_escapes(path, at)?,
            b'\\' | b';' | b'?' | b'#' | 0..=0x20 | 0x7f.. => return wrong(PathFault::Byte(byte)),
            _ => at = at.saturating_add(1),
        }
    }
    Ok(())
}

/// Checks the escape at `at`, and those that follow it where it begins a character outside ASCII. Returns where it ends.
fn check_escapes(path: &[u8], at: usize) -> Result<usize, PathError> {
    let mut character = Vec::new(); // stays empty, and unallocated, for ASCII
    let mut end = at;
    loop {
        let Some(byte) = escaped_byte(path, end) else {
            return Err(PathError { at: end, fault: PathFault::Escape });
        };
        if byte.is_ascii() {
            let hides = byte.is_ascii_control() || is_unreserved(byte) || matches!(byte, b'/' | b'\\' | b';' | b'%');
            if hides || !character.is_empty() {
                let fault = if hides { PathFault::EscapedByte(byte) } else { PathFault::EscapedText };
                return Err(PathError { at: if hides { end } else { at }, fault });
            }
            return Ok(end.saturating_add(3));
        }
        character.push(byte);
        end = end.saturating_add(3);
        if std::str::from_utf8(&character).is_ok() {
            return Ok(end);
        }
        if character.len() >= 4 || path.get(end) != Some(&b'%') {
            return Err(PathError { at, fault: PathFault::EscapedText });
        }
    }
}

/// The byte that the escape at `at` stands for.
fn escaped_byte(path: &[u8], at: usize) -> Option<u8> {
    let digit = |offset: usize| char::from(*path.get(at.checked_add(offset)?)?).to_digit(16);
    u8::try_from(digit(1)?.checked_mul(16)?.checked_add(digit(2)?)?).ok()
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_paths_with_one_spelling() {
        for path in [
            "/",
            "/v1/contacts",
            "/v1/contacts/",
            "/v1/contacts/jane%40example.com",
            "/v1/contacts/jane@example.com",
            "/v1/files/a%20b%2Bc",
            "/v1/search/K%C3%B6ln/%E2%82%AC/%F0%9F%98%80",
            "/v1/search/%c3%b6",
            "/.well-known/x",
            "/v1/...",
            "/v1/a..b/.c/d.",
            "/v1/x:batch/(1)/a,b/c=d/~e/!$&'*+",
            "/v1/[a]|^`{}<>\"",
        ] {
            assert_eq!(CanonicalPath::parse(path).map(CanonicalPath::as_str), Ok(path));
        }
    }

    #[test]
    fn refuses_paths_with_a_second_spelling() {
        use PathFault::{Byte, DotSegment, EmptySegment, Escape, EscapedByte, EscapedText, NoLeadingSlash};
        for (path, at, fault) in [
            ("", 0, NoLeadingSlash),
            ("v1", 0, NoLeadingSlash),
            ("*", 0, NoLeadingSlash),
            ("//", 0, EmptySegment),
            ("/v1//contacts", 3, EmptySegment),
            ("/v1/contacts//", 12, EmptySegment),
            ("/.", 0, DotSegment),
            ("/./v1", 0, DotSegment),
            ("/v1/.", 3, DotSegment),
            ("/v1/..", 3, DotSegment),
            ("/v1/../contacts", 3, DotSegment),
            ("/v1\\contacts", 3, Byte(b'\\')),
            ("/v1/contacts;x=1", 12, Byte(b';')),
            ("/v1/..;/contacts", 6, Byte(b';')),
            ("/v1/a?b", 5, Byte(b'?')),
            ("/v1/a#b", 5, Byte(b'#')),
            ("/v1/a b", 5, Byte(b' ')),
            ("/v1/a\tb", 5, Byte(9)),
            ("/v1/a\r\n", 5, Byte(13)),
            ("/v1/a\0", 5, Byte(0)),
            ("/v1/a\u{7f}", 5, Byte(0x7f)),
            ("/v1/\u{f6}", 4, Byte(0xc3)),
            ("/v1/%", 4, Escape),
            ("/v1/%4", 4, Escape),
            ("/v1/%4/", 4, Escape),
            ("/v1/%gg", 4, Escape),
            ("/v1/%+4", 4, Escape),
            ("/v1/a%2fb", 5, EscapedByte(b'/')),
            ("/v1/a%2Fb", 5, EscapedByte(b'/')),
            ("/v1/a%5cb", 5, EscapedByte(b'\\')),
            ("/v1/a%5Cb", 5, EscapedByte(b'\\')),
            ("/v1/%2e%2e", 4, EscapedByte(b'.')),
            ("/v1/.%2E", 5, EscapedByte(b'.')),
            ("/v1/a%00", 5, EscapedByte(0)),
            ("/v1/a%0a", 5, EscapedByte(10)),
            ("/v1/a%7F", 5, EscapedByte(0x7f)),
            ("/v1/a%252f", 5, EscapedByte(b'%')),
            ("/v1/a%3b", 5, EscapedByte(b';')),
            ("/v1/%63ontacts", 4, EscapedByte(b'c')),
            ("/v1/%7Eme", 4, EscapedByte(b'~')),
            ("/v1/%e9", 4, EscapedText),
            ("/v1/%c3%40", 4, EscapedText),
            ("/v1/%c3", 4, EscapedText),
            ("/v1/%c3x", 4, EscapedText),
            ("/v1/%c3%2f", 7, EscapedByte(b'/')),
            ("/v1/%c3%b", 7, Escape),
            ("/v1/%80", 4, EscapedText),
            ("/v1/%c0%af", 4, EscapedText),
            ("/v1/%e0%80%af", 4, EscapedText),
            ("/v1/%ed%a0%80", 4, EscapedText),
            ("/v1/%f4%90%80%80", 4, EscapedText),
        ] {
            assert_eq!(CanonicalPath::parse(path), Err(PathError { at, fault }), "{path:?}");
        }
    }

    #[test]
    fn says_what_would_be_right() {
        let text = |path| CanonicalPath::parse(path).unwrap_err().to_string();
        assert_eq!(text("v1"), "byte 0 of the path: expected `/`");
        assert_eq!(text("/a;b"), "byte 2 of the path: `;` is not allowed in a path");
        assert_eq!(text("/a\tb"), "byte 2 of the path: byte 0x09 is not allowed in a path");
        assert_eq!(text("/%63"), "byte 1 of the path: `%63` must be written `c`");
        assert_eq!(text("/%2f"), "byte 1 of the path: `%2F` is not allowed in a path");
    }
}

//! Reading: one pass, no deeper than is safe.

use std::borrow::Cow;
use std::fmt;

use super::{Json, Object, quoted};

/// How deep lists and objects may lie in each other, so that no text exhausts the stack.
pub const DEPTH_MAX: u8 = 32;

/// Members of one object, each of which is compared with those before it.
pub const MEMBERS_MAX: usize = 256;

/// What is wrong with a text that should be JSON, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    what: Cow<'static, str>,
    line: usize,
    column: usize,
    /// The member that it is in, such as `api_access.live` or `features[2]`; empty outside of all.
    path: String,
}

impl Error {
    /// The same, seen from outside of the member or item `step`.
    fn within(mut self, step: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{step}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { what, line, column, path } = self;
        let comma = if path.is_empty() { "" } else { ", " };
        write!(f, "{what}, in {path}{comma}line {line} at character {column}")
    }
}

/// Reads a text that is one value.
pub(super) fn parse(text: &str) -> Result<Json<'_>, Error> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(DEPTH_MAX)?;
    match reader.next_token() {
        None => Ok(value),
        Some(_) => Err(reader.fault("something follows after its end")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads a value in which lists and objects may lie `depth` deep.
    fn value(&mut self, depth: u8) -> Result<Json<'a>, Error> {
        match self.next_token() {
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b'[' | b'{') if depth == 0 => Err(self.fault(format!("nested more than {DEPTH_MAX} deep"))),
            Some(b'[') => self.list(depth.saturating_sub(1)),
            Some(b'{') => self.object(depth.saturating_sub(1)),
            _ => {
                let words = [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))];
                for (word, value) in words {
                    if self.rest().starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.fault("a value is expected"))
            }
        }
    }

    fn list(&mut self, depth: u8) -> Result<Json<'a>, Error> {
        self.at += 1;
        let mut items = Vec::new();
        if self.takes(b']') {
            return Ok(Json::List(items));
        }
        loop {
            let item = self.value(depth);
            items.push(item.map_err(|error| error.within(&format!("[{}]", items.len())))?);
            if self.takes(b']') {
                return Ok(Json::List(items));
            }
            self.expect(b',', "\",\" or \"]\" is expected")?;
        }
    }

    fn object(&mut self, depth: u8) -> Result<Json<'a>, Error> {
        self.at += 1;
        let mut members = Vec::new();
        if self.takes(b'}') {
            return Ok(Json::Object(Object(members)));
        }
        loop {
            if self.next_token() != Some(b'"') {
                return Err(self.fault("the name of a member is expected, in quotation marks"));
            }
            if members.len() == MEMBERS_MAX {
                return Err(self.fault(format!("an object has more than {MEMBERS_MAX} members")));
            }
            let name = self.string()?;
            match self.member(&members, &name, depth) {
                Ok(value) => members.push((name, value)),
                Err(error) => return Err(error.within(&name)),
            }
            if self.takes(b'}') {
                return Ok(Json::Object(Object(members)));
            }
            self.expect(b',', "\",\" or \"}\" is expected")?;
        }
    }

    /// What stands behind the name of a member.
    fn member(&mut self, before: &[(Cow<'a, str>, Json<'a>)], name: &str, depth: u8) -> Result<Json<'a>, Error> {
        if before.iter().any(|(given, _)| given == name) {
            return Err(self.fault(format!("the member {} stands twice", quoted(name))));
        }
        self.expect(b':', "\":\" is expected")?;
        self.value(depth)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        self.at += 1;
        let mut read = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let length = rest.bytes().take_while(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\').count();
            let plain = rest.get(..length).unwrap_or_default();
            if read.is_empty() {
                read = Cow::Borrowed(plain);
            } else {
                read.to_mut().push_str(plain);
            }
            self.at += length;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(read);
                }
                Some(b'\\') => {
                    self.at += 1;
                    let character = self.escaped()?;
                    read.to_mut().push(character);
                }
                _ => return Err(self.fault("a control character in a text must be escaped")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, Error> {
        let character = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.escaped_code(),
            _ => return Err(self.fault("there is no such escape")),
        };
        self.at += 1;
        Ok(character)
    }

    /// A character beyond 16 bits is written as two codes, neither of which is one by itself.
    fn escaped_code(&mut self) -> Result<char, Error> {
        let mut code = self.four_digits()?;
        if (0xd800..0xdc00).contains(&code) && self.rest().starts_with("\\u") {
            self.at += 1;
            code = match self.four_digits()? {
                second @ 0xdc00..0xe000 => 0x1_0000 + ((code - 0xd800) << 10) + (second - 0xdc00),
                _ => code,
            };
        }
        char::from_u32(code).ok_or_else(|| self.fault("before this stands half of a character"))
    }

    /// Four hexadecimal digits behind an `u`.
    fn four_digits(&mut self) -> Result<u32, Error> {
        self.at += 1;
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code << 4 | digit.ok_or_else(|| self.fault("four hexadecimal digits are expected"))?;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<&'a str, Error> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Passes one digit or more.
    fn digits(&mut self) -> Result<(), Error> {
        let length = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.at += length;
        if length > 0 { Ok(()) } else { Err(self.fault("a digit is expected")) }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes blanks; gives what comes then.
    fn next_token(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    /// Passes `byte`, if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let comes = self.next_token() == Some(byte);
        self.at += usize::from(comes);
        comes
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Error> {
        if self.takes(byte) { Ok(()) } else { Err(self.fault(what)) }
    }

    /// Something is wrong with what comes next.
    fn fault(&self, what: impl Into<Cow<'static, str>>) -> Error {
        let ended = self.at >= self.text.len();
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Error {
            what: if ended { Cow::Borrowed("it ends too early") } else { what.into() },
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            path: String::new(),
        }
    }
}

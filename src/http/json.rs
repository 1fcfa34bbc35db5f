//! Request bodies: JSON objects, read strictly and member by member.
//!
//! Every complaint names the member and says what would be right. Members that nobody asks for are refused by name, and
//! so is a member that stands twice: two readers could take different ones.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::problem::{Code, Problem};

/// The longest body that is read. The largest legitimate one, an account with 100 default scopes of 65 bytes and 50
/// features of 64, takes about 12 KB.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// The members of a request body, taken out one after the other.
#[derive(Debug)]
pub struct Members {
    members: Map<String, Value>,
    /// The first complaint. Kept to the end, so that the readers of bodies need no way out after each member.
    fault: Option<Problem>,
}

impl Members {
    /// Reads a body; none at all counts as `{}`.
    ///
    /// # Errors
    /// 413 for more than [`BODY_BYTES_MAX`] bytes, 415 for another content type than JSON, 400 for what is not one
    /// JSON object without repeated members.
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Self, Problem> {
        if body.len() > BODY_BYTES_MAX {
            return Err(Problem::new(
                Code::PayloadTooLarge,
                format!("The body may have at most {BODY_BYTES_MAX} bytes."),
            ));
        }
        if body.is_empty() {
            return Ok(Members { members: Map::new(), fault: None });
        }
        if !content_type.is_some_and(is_json) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "The body must be JSON, with the header Content-Type: application/json.",
            ));
        }
        let not_utf8 = |_| Problem::new(Code::InvalidRequest, "The body is not UTF-8, as JSON must be.");
        let text = std::str::from_utf8(body).map_err(not_utf8)?;
        match serde_json::from_str::<Strict>(text) {
            Ok(Strict(Value::Object(members))) => Ok(Members { members, fault: None }),
            Ok(_) => Err(Problem::new(Code::InvalidRequest, "The body must be a JSON object, {…}.")),
            Err(error) => {
                Err(Problem::new(Code::InvalidRequest, format!("The body is not JSON as it should be: {error}.")))
            }
        }
    }

    /// Takes a member that must be there and not null.
    ///
    /// # Errors
    /// 400 when it is missing, null, or refused by `parse`, whose text says what would be right; or when an earlier
    /// member was refused.
    pub fn required<T>(&mut self, name: &str, parse: impl FnOnce(Value) -> Result<T, String>) -> Result<T, Problem> {
        let value = self.optional(name, parse);
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => value.ok_or_else(|| Problem::field(name, format!("{name} is missing."))),
        }
    }

    /// Takes a member that may be absent. Null counts as a value; most `parse` refuse it. A refused one is none, and
    /// [`Members::finish`] says so.
    pub fn optional<T>(&mut self, name: &str, parse: impl FnOnce(Value) -> Result<T, String>) -> Option<T> {
        match parse(self.members.remove(name)?) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.refuse(name, &expected);
                None
            }
        }
    }

    /// Takes a member that may be absent or null, which mean the same.
    pub fn nullable<T>(&mut self, name: &str, parse: impl FnOnce(Value) -> Result<T, String>) -> Option<T> {
        self.optional(name, |value| if value.is_null() { Ok(None) } else { parse(value).map(Some) })?
    }

    fn refuse(&mut self, name: &str, expected: &str) {
        self.fault.get_or_insert_with(|| Problem::field(name, format!("{name} must be {expected}.")));
    }

    /// Ends the reading: nothing may be left.
    ///
    /// # Errors
    /// 400 for the first member that was refused, or else naming one that was not asked for, and those that can be used.
    pub fn finish(self, known: &[&str]) -> Result<(), Problem> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let Some((name, _)) = self.members.into_iter().next() else { return Ok(()) };
        let takes = if known.is_empty() { "none".into() } else { known.join(", ") };
        Err(Problem::field(name.clone(), format!("The body has an unknown member {name:?}; it takes {takes}.")))
    }
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim_matches([' ', '\t']).eq_ignore_ascii_case("application/json")
}

/// JSON in which no object has a member twice. `serde_json` alone would silently take the last.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("the member {name:?} stands twice")));
            }
            let Strict(value) = members.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(result: Result<Members, Problem>) -> String {
        result.unwrap_err().reply().body.into_owned()
    }

    #[test]
    fn a_repeated_member_is_refused_at_any_depth() {
        assert!(detail(Members::read(Some("application/json"), br#"{"a":1,"a":2}"#)).contains("stands twice"));
        assert!(detail(Members::read(Some("application/json"), br#"{"a":[{"b":1,"b":1}]}"#)).contains("stands twice"));
    }

    #[test]
    fn a_body_deeper_than_the_parser_allows_is_an_error_not_a_trap() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
        assert!(detail(Members::read(Some("application/json"), deep.as_bytes())).contains("recursion limit"));
    }

    #[test]
    fn a_body_beyond_the_cap_is_refused_before_it_is_parsed() {
        let long = vec![b'x'; BODY_BYTES_MAX + 1];
        assert_eq!(Members::read(None, &long).unwrap_err().reply().status, 413);
    }

    #[test]
    fn a_body_of_another_type_is_refused() {
        assert_eq!(Members::read(Some("text/plain"), b"{}").unwrap_err().reply().status, 415);
        assert_eq!(Members::read(None, b"{}").unwrap_err().reply().status, 415);
        assert!(Members::read(Some("Application/JSON; charset=utf-8"), b"{}").is_ok());
    }

    #[test]
    fn an_unknown_member_is_named() {
        let members = Members::read(Some("application/json"), br#"{"colour":1}"#).unwrap();
        let body = members.finish(&["name"]).unwrap_err().reply().body;
        assert!(body.contains(r#""field":"colour""#), "{body}");
    }

    #[test]
    fn bodies_that_are_no_objects_are_refused() {
        for body in ["[]", "1", "null", "\"x\"", "{", "{}x", "{\"a\":}", "\u{feff}{}"] {
            assert_eq!(
                Members::read(Some("application/json"), body.as_bytes()).unwrap_err().reply().status,
                400,
                "{body}"
            );
        }
        assert_eq!(Members::read(Some("application/json"), b"{\"a\":\"\xff\"}").unwrap_err().reply().status, 400);
    }
}

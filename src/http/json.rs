//! Request bodies: JSON objects, read strictly and member by member.
//!
//! Every complaint names the member and says what would be right. Members that nobody asks for are refused by name, and
//! so is a member that stands twice: two readers could take different ones.

use crate::{
    authority::command::Edit,
    credential::joined,
    json::{Json, Object, quoted},
};

use super::problem::{Code, Problem};

/// The longest body that is read. An account with 100 default scopes of 65 bytes and 50 features of 64 takes about 12 KB;
/// access levels and a scope catalogue of any sensible size fit beside them.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Understands a value. Its error completes the sentence "… must be".
///
/// One function for each type of value takes one of these, instead of one for each member.
pub type Parse<'a, T> = fn(Json<'a>) -> Result<T, String>;

/// The members of a request body, taken out one after the other.
#[derive(Debug)]
pub struct Members<'a> {
    members: Object<'a>,
    /// The names that were asked for.
    known: Vec<&'static str>,
    /// The first complaint. Kept to the end, so that the readers of bodies need no way out after each member.
    fault: Option<Problem>,
}

impl<'a> Members<'a> {
    /// Reads a body; none at all counts as `{}`.
    ///
    /// # Errors
    /// 413 for more than [`BODY_BYTES_MAX`] bytes, 415 for another content type than JSON, 400 for what is not one
    /// JSON object without repeated members.
    pub fn read(content_type: Option<&str>, body: &'a [u8]) -> Result<Self, Problem> {
        if body.len() > BODY_BYTES_MAX {
            return Err(Problem::new(
                Code::PayloadTooLarge,
                format!("The body may have at most {BODY_BYTES_MAX} bytes."),
            ));
        }
        if body.is_empty() {
            return Ok(Members::of(Object::default()));
        }
        if !content_type.is_some_and(is_json) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "The body must be JSON, with the header Content-Type: application/json.",
            ));
        }
        let not_utf8 = |_| Problem::new(Code::InvalidRequest, "The body is not UTF-8, as JSON must be.");
        let text = std::str::from_utf8(body).map_err(not_utf8)?;
        match Json::parse(text) {
            Ok(Json::Object(members)) => Ok(Members::of(members)),
            Ok(_) => Err(Problem::new(Code::InvalidRequest, "The body must be a JSON object, {…}.")),
            Err(error) => {
                Err(Problem::new(Code::InvalidRequest, format!("The body is not JSON as it should be: {error}.")))
            }
        }
    }

    fn of(members: Object<'a>) -> Self {
        Members { members, known: Vec::new(), fault: None }
    }

    /// Takes a member that must be there and not null.
    ///
    /// # Errors
    /// 400 when it is missing, null, or refused by `parse`, whose text says what would be right; or when an earlier
    /// member was refused.
    pub fn required<T>(&mut self, name: &'static str, parse: Parse<'a, T>) -> Result<T, Problem> {
        let value = self.optional(name, parse);
        value.ok_or_else(|| self.missing(name)).and_then(|value| self.fault.take().map_or(Ok(value), Err))
    }

    /// Takes a member that may be absent. Null counts as a value; most `parse` refuse it. A refused one is none, and
    /// [`Members::finish`] says so.
    pub fn optional<T>(&mut self, name: &'static str, parse: Parse<'a, T>) -> Option<T> {
        match parse(self.take(name)?) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.refuse(name, &expected);
                None
            }
        }
    }

    /// Takes a member that may be absent or null, which mean the same.
    pub fn nullable<T>(&mut self, name: &'static str, parse: Parse<'a, T>) -> Option<T> {
        let mut edit = Edit::Keep;
        self.edit_or_null(name, &mut edit, parse);
        edit.or(None)
    }

    /// Takes a member of a change. What is absent stays as it is.
    pub fn edit<T>(&mut self, name: &'static str, edit: &mut Edit<T>, parse: Parse<'a, T>) {
        if let Some(value) = self.optional(name, parse) {
            *edit = Edit::Set(value);
        }
    }

    /// The same, where null is a value as well.
    pub fn edit_or_null<T>(&mut self, name: &'static str, edit: &mut Edit<Option<T>>, parse: Parse<'a, T>) {
        let Some(value) = self.take(name) else { return };
        if value == Json::Null {
            *edit = Edit::Set(None);
            return;
        }
        match parse(value) {
            Ok(value) => *edit = Edit::Set(Some(value)),
            Err(expected) => self.refuse(name, &expected),
        }
    }

    #[inline(never)]
    fn take(&mut self, name: &'static str) -> Option<Json<'a>> {
        self.known.push(name);
        self.members.take(name)
    }

    /// What is wrong when a member that must be there is none: what was refused, or else that it is missing.
    fn missing(&mut self, name: &'static str) -> Problem {
        self.fault.take().unwrap_or_else(|| Problem::field(name, format!("{name} is missing.")))
    }

    /// Takes members that are not for this request; gives the first that is there.
    pub fn first_of(&mut self, names: &[&'static str]) -> Option<&'static str> {
        let there: Vec<&'static str> = names.iter().copied().filter(|name| self.members.take(name).is_some()).collect();
        there.first().copied()
    }

    /// A member is there, but not what it must be.
    fn refuse(&mut self, name: &'static str, expected: &str) {
        self.fault.get_or_insert_with(|| Problem::field(name, format!("{name} must be {expected}.")));
    }

    /// Ends the reading: nothing may be left.
    ///
    /// # Errors
    /// 400 for the first member that was refused, or else naming one that was not asked for, and those that were.
    pub fn finish(self) -> Result<(), Problem> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let Some(name) = self.members.left() else { return Ok(()) };
        let takes = if self.known.is_empty() { "none".into() } else { joined(&self.known, ", ") };
        let detail = format!("The body has an unknown member {}; it takes {takes}.", quoted(name));
        Err(Problem::field(name, detail))
    }
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim_matches([' ', '\t']).eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::values;

    fn detail(result: Result<Members<'_>, Problem>) -> String {
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
        assert!(detail(Members::read(Some("application/json"), deep.as_bytes())).contains("nested more than 32 deep"));
    }

    #[test]
    fn what_is_wrong_inside_of_a_member_names_the_member() {
        for (body, place) in [
            (
                r#"{"api_access":{"live":"off","live":"off"}}"#,
                r#"the member \"live\" stands twice, in api_access.live, line 1"#,
            ),
            (r#"{"name":"x","features":["a",["\ud800"]]}"#, "half of a character, in features[1][0], line 1"),
            (r#"{"name":"x" "brand":"y"}"#, "is expected, in line 1 at character 13."),
        ] {
            let body = detail(Members::read(Some("application/json"), body.as_bytes()));
            assert!(body.contains(place), "{body}");
        }
    }

    #[test]
    fn a_number_that_is_not_whole_names_the_member_and_what_would_be_right() {
        for number in ["1.5", "-1", "1e400", "18446744073709551616", "0"] {
            let body = format!("{{\"max_active_keys\":{number}}}");
            let mut members = Members::read(Some("application/json"), body.as_bytes()).unwrap();
            assert_eq!(members.nullable("max_active_keys", values::max_active_keys), None);
            let body = members.finish().unwrap_err().reply().body;
            assert!(body.contains("max_active_keys must be a whole number from 1 to 10000"), "{body}");
            assert!(body.contains(r#""field":"max_active_keys""#), "{body}");
        }
        for number in ["5", "5.0", "5e0", "50E-1", "0.5e+1"] {
            let body = format!("{{\"max_active_keys\":{number}}}");
            let mut members = Members::read(Some("application/json"), body.as_bytes()).unwrap();
            assert_eq!(members.nullable("max_active_keys", values::max_active_keys), Some(5), "{number}");
        }
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
        let mut members = Members::read(Some("application/json"), br#"{"colour":1}"#).unwrap();
        assert_eq!(members.optional("name", values::name), None);
        assert_eq!(members.optional("disabled", values::flag), None);
        let body = members.finish().unwrap_err().reply().body;
        assert!(body.contains(r#""field":"colour""#), "{body}");
        assert!(body.contains("it takes name, disabled."), "{body}");
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

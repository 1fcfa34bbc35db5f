//! Writing: compact, in the order of the calls, with the escapes of `serde_json`.

use super::{Json, ToJson};

/// An object that is being written, member by member in the order of the calls.
#[derive(Clone, Debug, Default)]
pub struct ObjectWriter(String);

impl ObjectWriter {
    /// No members yet.
    #[must_use]
    pub fn new() -> Self {
        ObjectWriter::default()
    }

    /// A member whose value is JSON already.
    pub fn raw(&mut self, name: &str, json: &str) -> &mut Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        quote(&mut self.0, name);
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    /// A member with a text.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.raw(name, "");
        quote(&mut self.0, text);
        self
    }

    /// A member with a number.
    pub fn number(&mut self, name: &str, number: u64) -> &mut Self {
        self.raw(name, &number.to_string())
    }

    /// A member with a value of any kind; nothing becomes null.
    pub fn value(&mut self, name: &str, value: &dyn ToJson) -> &mut Self {
        self.raw(name, &value.to_json())
    }

    /// The same, but where there is nothing, there is no member.
    pub fn if_any<T: ToJson>(&mut self, name: &str, value: Option<T>) -> &mut Self {
        match value {
            Some(value) => self.value(name, &value),
            None => self,
        }
    }

    /// The object. What was begun is new again.
    #[must_use]
    pub fn end(&mut self) -> String {
        let mut json = std::mem::take(&mut self.0);
        json.push_str(if json.is_empty() { "{}" } else { "}" });
        json
    }
}

/// A list of what is JSON already.
pub fn array(items: impl Iterator<Item = String>) -> String {
    let mut json = String::from("[");
    for item in items {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&item);
    }
    json.push(']');
    json
}

/// A text in quotes.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut json = String::new();
    quote(&mut json, text);
    json
}

/// Members in alphabetical order, whatever order they were in.
impl ToJson for Json<'_> {
    fn to_json(&self) -> String {
        match self {
            Json::Null => "null".into(),
            Json::Bool(flag) => flag.to_json(),
            Json::Number(written) => (*written).into(),
            Json::Text(text) => quoted(text),
            Json::List(items) => array(items.iter().map(ToJson::to_json)),
            Json::Object(object) => {
                // `sort` is 6 KB of code, and an object in a body or column has few members.
                let mut members: Vec<(&str, &Json<'_>)> = Vec::with_capacity(object.0.len());
                for (name, value) in &object.0 {
                    members.insert(members.partition_point(|(other, _)| *other < name.as_ref()), (name, value));
                }
                let mut writer = ObjectWriter::new();
                for (name, value) in members {
                    writer.value(name, value);
                }
                writer.end()
            }
        }
    }
}

impl ToJson for &str {
    fn to_json(&self) -> String {
        quoted(self)
    }
}

impl ToJson for String {
    fn to_json(&self) -> String {
        quoted(self)
    }
}

impl ToJson for bool {
    fn to_json(&self) -> String {
        self.to_string()
    }
}

impl ToJson for u64 {
    fn to_json(&self) -> String {
        self.to_string()
    }
}

impl<T: ToJson> ToJson for Option<T> {
    fn to_json(&self) -> String {
        self.as_ref().map_or_else(|| "null".into(), T::to_json)
    }
}

impl<T: ToJson> ToJson for Vec<T> {
    fn to_json(&self) -> String {
        array(self.iter().map(T::to_json))
    }
}

/// Appends a text in quotes.
fn quote(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\0'..='\u{1f}' => {
                json.push_str("\\u00");
                json.push_str(&hex::encode([character as u8]));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}

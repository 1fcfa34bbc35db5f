//! JSON, read by Keygate and by `serde_json`.

use std::fmt;

use keygate::json::{DEPTH_MAX, Json, MEMBERS_MAX, quoted};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The input is a text that may be JSON, and the content of a text.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    compare(text);
    assert_eq!(quoted(text), serde_json::to_string(text).unwrap());
    compare(&quoted(text));
}

/// Both take it and read the same, or both refuse it. They differ in three points: our limits, and numbers that no
/// `f64` can hold, which are a matter of whoever reads the number.
pub fn compare(text: &str) {
    match (Json::parse(text), serde_json::from_str::<Strict>(text)) {
        (Ok(json), Ok(Strict(value))) => {
            assert!(same(&json, &value), "{text:?}: {json:?}, {value:?}");
            assert!(depth(&value) <= DEPTH_MAX.into() && widest(&value) <= MEMBERS_MAX, "{text:?}");
        }
        (Err(_), Err(_)) => {}
        (Err(_), Ok(Strict(value))) => {
            assert!(depth(&value) > DEPTH_MAX.into() || widest(&value) > MEMBERS_MAX, "{text:?} is refused");
        }
        (Ok(json), Err(error)) => {
            assert!(error.to_string().contains("number out of range"), "{text:?}: {json:?}, {error}")
        }
    }
}

/// Whether both are the same value.
pub fn same(json: &Json<'_>, value: &Value) -> bool {
    match (json, value) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(json), Value::Bool(value)) => json == value,
        (Json::Number(written), Value::Number(value)) => {
            json.whole() == value.as_u64()
                && serde_json::from_str::<Value>(written).unwrap().as_number() == Some(value)
                && json.whole_value().is_none_or(|whole| written.parse() == Ok(whole as f64)) // `serde_json` rounds less well
        }
        (Json::Text(json), Value::String(value)) => json == value,
        (Json::List(json), Value::Array(value)) => {
            json.len() == value.len() && json.iter().zip(value).all(|(json, value)| same(json, value))
        }
        (Json::Object(json), Value::Object(value)) => {
            let mut json = json.clone();
            let taken = value.iter().all(|(name, value)| json.take(name).is_some_and(|json| same(&json, value)));
            taken && json.left().is_none()
        }
        _ => false,
    }
}

/// `serde_json`, told to refuse a repeated member.
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

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
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
                return Err(serde::de::Error::custom("a member stands twice"));
            }
            let Strict(value) = members.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn widest(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(widest).max().unwrap_or(0),
        Value::Object(members) => members.values().map(widest).chain([members.len()]).max().unwrap_or(0),
        _ => 0,
    }
}

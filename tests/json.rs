//! The reader and the writer of JSON, against `serde_json`.
#![allow(clippy::unwrap_used, reason = "what is outside #[test] functions is test code too")]

#[path = "fuzz/properties/json.rs"]
#[allow(clippy::unwrap_used, clippy::panic)]
mod property;

use keygate::json::{DEPTH_MAX, Json, MEMBERS_MAX, ObjectWriter, ToJson as _, array, quoted};
use property::{compare, same};
use proptest::prelude::*;
use serde_json::Value;

#[test]
fn reads_and_refuses_what_serde_json_does() {
    #[rustfmt::skip]
    let texts = [
        "", " ", "nul", "nulx", "nullx", "null", "tru", "true", "falsy", "false", "True", "NaN", "Infinity", "'a'", "é", "nué",
        "1", "-", "-a", "-0", "01", "-01", "00", "+1", "1.", "1.x", ".5", "1.5", "5.0", "5e0", "1e", "1e+", "1ex", "1E-2",
        "1e309", "-1e400", "0e999999999999", "1e999999999999", "1e-999999999999", "18446744073709551615",
        "18446744073709551616", "-9223372036854775808", "-9223372036854775809", "0.18446744073709551616123", "5.00", "-7",
        "1.5.5", "0x10", "1_000",
        "\"", "\"a", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12", "\"\\u12g4\"", "\"\\u+123\"", "\"\\ud800\"", "\"\\ud800\\n\"",
        "\"\\ud800\\u0041\"", "\"\\ud800\\ud800\"", "\"\\udc00\"", "\"\\uDFFF\"", "\"\\ud83d\\ude00\"", "\"\\uD83D\\uDE00\"",
        "\"\\ud83d", "\"\\ud83d\\", "\"\\ud83d\\u", "\"\\ud83dé", "\"\\ud83d\\é", "\"\\u00é9\"", "\"a\nb\"", "\"\t\"", "\"\0\"",
        "\"\u{7f}é\u{2028}\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\"", "\"\\'\"",
        "[", "]", "[1", "[1,", "[1,]", "[1 2]", "[,]", "[,1]", "[]", "[ ]", "[1]x", "[1]\n x", "[1]]", "[1}", "[\u{a0}]", "[\u{b}]",
        "{", "}", "{}", "{ }", "{1", "{\"a\"", "{\"a\" 1}", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{\"a\":1,2}",
        "{\"a\":1 \"b\":2}", "{,}", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "{\"a\":1,\"A\":2}", "{\"a\":1,\"a\"", "{\"a\":1,\"a\"x",
        "{null:1}", "{a:1}", "{\"\":{\"\":1}}", "{\"\\n\":{\"b\":1,\n\"b\":1}}", "{\"a\":[{},[],null,true,false,\"x\"]}",
        "\u{feff}{}", "// x\n1", "1 // x", "/* x */ 1", "{}\0", "\r\n\t 1 \r\n\t",
    ];
    for text in texts {
        compare(text);
        compare(&format!(" {text}"));
        compare(&format!("[\n{text}"));
        compare(&format!("[\n{text}]"));
        compare(&format!("{{\"a\":{text},\n\"b\":1}}"));
    }
}

#[test]
fn depth_and_members_end_at_their_limits() {
    for depth in [31, 32, 33, 127, 20_000] {
        let list = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let object = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        for text in [list, object] {
            compare(&text);
            assert_eq!(Json::parse(&text).is_ok(), depth <= DEPTH_MAX.into(), "{depth}");
        }
        assert!(Json::parse(&"[".repeat(depth)).is_err());
    }
    for members in [255, 256, 257] {
        let members: Vec<_> = (0..members).map(|number| format!("\"{number}\":{number}")).collect();
        let text = format!("{{{}}}", members.join(","));
        compare(&text);
        assert_eq!(Json::parse(&text).is_ok(), members.len() <= MEMBERS_MAX);
    }
}

#[test]
fn says_what_is_wrong_and_where() {
    for (text, error) in [
        ("", "it ends too early, in line 1 at character 1"),
        ("{\"a\": [1,\n \"é\" 2]}", "\",\" or \"]\" is expected, in a, line 2 at character 6"),
        ("{\"a\":{\"b\":[0,{\"c\":tru}]}}", "a value is expected, in a.b[1].c, line 1 at character 19"),
        ("[[1,\"\\ud800\"]]", "before this stands half of a character, in [0][1], line 1 at character 12"),
        ("{\"a\":1,\"a\":2}", "the member \"a\" stands twice, in a, line 1 at character 11"),
        ("{} {}", "something follows after its end, in line 1 at character 4"),
    ] {
        assert_eq!(Json::parse(text).unwrap_err().to_string(), error, "{text}");
    }
}

#[test]
fn a_whole_number_is_read_exactly_however_it_is_written() {
    for (written, plain, value) in [
        ("0", Some(0), Some(0)),
        ("-0", None, Some(0)),
        ("0.0e99999999999999999999", None, Some(0)),
        ("18446744073709551615", Some(u64::MAX), Some(u64::MAX)),
        ("18446744073709551615.0", None, Some(u64::MAX)),
        ("1844674407370955161.5e1", None, Some(u64::MAX)),
        ("18446744073709551616", None, None),
        ("1e19", None, Some(10_000_000_000_000_000_000)),
        ("2e19", None, None),
        ("1e20", None, None),
        ("1e99999999999999999999", None, None),
        ("1e9223372036854775807", None, None),
        ("10e9223372036854775807", None, None),
        ("0.1e-9223372036854775808", None, None),
        ("-1", None, None),
        ("-1.0", None, None),
        ("1.5", None, None),
        ("1500e-2", None, Some(15)),
        ("1500e-3", None, None),
        ("0.015e3", None, Some(15)),
        ("9007199254740993", Some(9_007_199_254_740_993), Some(9_007_199_254_740_993)),
    ] {
        let json = Json::parse(written).unwrap();
        assert_eq!((json.whole(), json.whole_value()), (plain, value), "{written}");
    }
    assert_eq!(Json::parse("\"5\"").unwrap().whole_value(), None);
}

#[test]
fn writes_every_character_as_serde_json_does() {
    let text: String = (0..=0x100_u32).filter_map(char::from_u32).chain("\u{2028}\u{feff}😀".chars()).collect();
    assert_eq!(quoted(&text), serde_json::to_string(&text).unwrap());
}

#[test]
fn writes_members_in_the_order_of_the_calls() {
    assert_eq!(ObjectWriter::new().end(), "{}");
    assert_eq!(array(std::iter::empty()), "[]");
    let mut object = ObjectWriter::new();
    object.text("a\"", "b\n").number("c", u64::MAX).value("d", &None::<u64>).if_any("e", None::<u64>);
    object.if_any("f", Some("g")).raw("h", "[]").value("i", &vec!["j".to_owned(), "k".to_owned()]);
    assert_eq!(object.end(), r#"{"a\"":"b\n","c":18446744073709551615,"d":null,"f":"g","h":[],"i":["j","k"]}"#);
}

/// Any value within our limits, numbers of all kinds among them.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)), // `serde_json` reads few others exactly
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn written(value: &Value) -> String {
    match value {
        Value::Array(items) => array(items.iter().map(written)),
        Value::Object(members) => {
            let mut object = ObjectWriter::new();
            for (name, value) in members {
                object.raw(name, &written(value));
            }
            object.end()
        }
        Value::String(text) => text.to_json(),
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn reads_whatever_serde_json_writes(value in value(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let json = Json::parse(&text).unwrap();
        prop_assert!(same(&json, &value), "{}", text);
    }

    #[test]
    fn writes_what_serde_json_reads_as_the_same(value in value()) {
        let text = written(&value);
        prop_assert_eq!(&text, &serde_json::to_string(&value).unwrap());
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn takes_and_refuses_the_same_texts(text in r#"([\[\]{},: \n"\\0-9a-eu.\-]|"[ab]"|"\\u[0-9d][89c-f]00"|\{"a":|true|null|,"a":){0,20}"#) {
        compare(&text);
    }

    #[test]
    fn takes_and_refuses_the_same_numbers(text in "-?[0-9]{0,21}(\\.[0-9]{0,4})?([eE][+-]?[0-9]{0,3})?") {
        compare(&text);
    }

    #[test]
    fn takes_and_refuses_any_text(text: String) {
        property::check(text.as_bytes());
    }

    #[test]
    fn takes_and_refuses_a_damaged_document(value in value(), at: prop::sample::Index, by: Option<char>) {
        let mut characters: Vec<char> = value.to_string().chars().collect();
        let at = at.index(characters.len());
        characters.splice(at..=at, by);
        compare(&characters.into_iter().collect::<String>());
    }
}

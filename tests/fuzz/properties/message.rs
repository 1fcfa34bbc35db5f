//! What Worker and Authority say to each other: questions for copies, their answers, and pages of lists.

use keygate::{
    authority::query::{Copies, Want},
    edge::{Verdict, Verification},
    http::admin::ShardPage,
    policy::{Decision, Demand},
};
use serde_json::Value;

use super::fixture::{KEY, NOW, SIGNING};

/// The input is the body of a message.
pub fn check(input: &[u8]) {
    if let Ok(want) = serde_json::from_slice::<Want>(input) {
        want_is_read(input, &want);
    }
    if let Ok(copies) = serde_json::from_slice::<Copies>(input) {
        copies_are_read(input, &copies);
    }
    if let Ok(text) = std::str::from_utf8(input) {
        page_is_read(text);
    }
}

/// A member, which `serde` also reads from its place in a list.
fn member<'v>(json: &'v Value, name: &str, at: usize) -> Option<&'v Value> {
    json.get(name).or_else(|| json.get(at))
}

/// Members that nobody asks for are skipped unread, so the JSON around what was read may be odd.
fn json(input: &[u8]) -> Option<Value> {
    serde_json::from_slice(input).ok()
}

fn want_is_read(input: &[u8], want: &Want) {
    let text = serde_json::to_string(want).unwrap();
    assert_eq!(&serde_json::from_str::<Want>(&text).unwrap(), want);
    let Some(json) = json(input) else { return };
    let (digest, account) = (want.digest.to_hex(), want.account.to_string());
    for (at, (name, value)) in
        [("digest", digest.into()), ("account", account.into()), ("refresh", want.refresh.into())]
            .into_iter()
            .enumerate()
    {
        assert_eq!(member(&json, name, at), Some(&value), "{json}");
    }
}

/// "There is no such key" is evidence, on which a credential is called invalid: it must have been said.
fn copies_are_read(input: &[u8], copies: &Copies) {
    if let Some(json) = json(input) {
        for (at, (name, copy)) in [("grant", &copies.grant), ("account", &copies.account)].into_iter().enumerate() {
            let expected = copy.as_deref().map_or(Value::Null, Value::from);
            assert_eq!(member(&json, name, at), Some(&expected), "{name} was read from {json}");
        }
    }
    let text = serde_json::to_string(copies).unwrap();
    assert_eq!(&serde_json::from_str::<Copies>(&text).unwrap(), copies);

    // The only copies that allow anything are those that were signed.
    let verification = Verification::begin(*KEY, Demand::default(), &SIGNING);
    let verdict = verification.authority_answered(Some(copies), NOW);
    if let Verdict::Decided(decision) = verdict {
        let genuine = [include_str!("../../vectors/grant-copy.txt"), include_str!("../../vectors/account-copy.txt")];
        let said = [&copies.grant, &copies.account].map(|copy| copy.as_deref().unwrap());
        assert_eq!(said, genuine.map(str::trim_end));
        assert!(matches!(decision, Decision::Allow(_)));
    } else {
        assert_eq!(verdict == Verdict::Unknown, copies.grant.is_none());
    }
}

/// A page goes through as it is, but for the cursor where the list goes on in another slot; and JSON stays JSON.
fn page_is_read(text: &str) {
    let Some(page) = ShardPage::parse(text.to_owned()) else {
        assert!(!(text.starts_with("{\"data\":[") && text.ends_with('}')));
        return;
    };
    let last = text.strip_suffix("\"next_cursor\":null}");
    let expected = last.map_or_else(|| text.to_owned(), |data| format!("{data}\"next_cursor\":\"4-\"}}"));
    let json = serde_json::from_str::<Value>(text).ok();
    let repeated = text.matches("\"data\"").count() > 1 || text.contains('\\');
    if let Some(data) = json.as_ref().filter(|_| !repeated).and_then(|json| json["data"].as_array()) {
        assert!(!page.is_empty() || data.is_empty(), "{text}");
    }
    let reply = page.reply(Some(4));
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, expected);
    assert_eq!(serde_json::from_str::<Value>(&reply.body).is_ok(), json.is_some());
    assert_eq!(ShardPage::parse(text.to_owned()).unwrap().reply(None).body, text);
}

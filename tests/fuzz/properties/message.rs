//! What Worker and Authority say to each other: syncs, their answers, and pages of lists.

use keygate::{
    authority::sync::{Subject, SyncAnswer, SyncRequest},
    edge::{Step, Verdict, Verification, View},
    http::admin::ShardPage,
    policy::{Decision, Demand, is_feature},
};
use serde_json::Value;

use super::fixture::{EPOCH, KEY, NOW, SIGNING};

/// The input is the body of a message.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(request) = SyncRequest::parse(text) {
        question_is_read(text, &request);
    }
    if let Some(answer) = SyncAnswer::parse(text) {
        answer_is_read(text, &answer);
    }
    answer_is_applied(text, View::new(KEY.account.slot, 1, 0));
    answer_is_applied(text, leased());
    page_is_read(text);
}

/// A view that holds a lease and cannot judge copies older than those in `tests/vectors`.
pub fn leased() -> View {
    let mut view = View::new(KEY.account.slot, 1, 0);
    let Step::Sync(call) = Verification::new(*KEY, Demand::default()).next(&mut view, NOW) else { panic!("no sync") };
    assert!(view.answered(&call, &format!("sync 1 v1 {EPOCH} 42 0 42 5000 0 reset\nend"), &SIGNING, NOW));
    view
}

/// Everything that was said has been read, and nothing else: written again, it is the same lines. Only their order is
/// free, and so is a count of nothing.
fn question_is_read(text: &str, request: &SyncRequest) {
    let again = request.text();
    assert_eq!(SyncRequest::parse(&again).as_ref(), Some(request));
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.split('\n').filter(|line| *line != "graced 0").map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(text), lines(&again));
    for cut in cuts(text) {
        assert_eq!(SyncRequest::parse(cut), None, "{cut:?}");
    }
}

fn answer_is_read(text: &str, answer: &SyncAnswer<'_>) {
    let SyncAnswer { now, low, lease_ms, grace_ms, reset, features, changes, grants, accounts } = answer;
    let word = if *reset { "reset" } else { "on" };
    let (sequence, cursor) = (now.sequence, now.cursor);
    let first = format!("sync 1 v1 {} {sequence} {cursor} {low} {lease_ms} {grace_ms} {word}", now.epoch);
    let said: Vec<&str> = text.split('\n').collect();
    assert_eq!((said[0], said[said.len() - 1]), (first.as_str(), "end"));
    let lines = &said[1..said.len() - 1];
    let (of_grants, others): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| line.starts_with("grant "));
    let (of_accounts, others): (Vec<&str>, Vec<&str>) =
        others.into_iter().partition(|line| line.starts_with("account "));
    let (of_platform, of_changes): (Vec<&str>, Vec<&str>) =
        others.into_iter().partition(|line| line.starts_with("features "));
    let on = (!features.is_empty()).then(|| format!("features {}", features.join(" ")));
    assert_eq!(of_platform, on.iter().collect::<Vec<_>>());
    assert!(features.iter().all(|feature| is_feature(feature)));
    let grants = grants.iter().map(|(digest, copy)| format!("grant {} {}", digest.to_hex(), copy.unwrap_or("-")));
    assert_eq!(of_grants, grants.collect::<Vec<_>>());
    let accounts = accounts.iter().map(|(number, copy)| format!("account {number} {}", copy.unwrap_or("-")));
    assert_eq!(of_accounts, accounts.collect::<Vec<_>>());
    let read = of_changes.into_iter().map(change).collect::<Vec<_>>();
    assert_eq!(read, changes.iter().map(|(subject, sequence)| (subject.number(), *sequence)).collect::<Vec<_>>());
    for cut in cuts(text) {
        assert_eq!(SyncAnswer::parse(cut), None, "{cut:?}");
    }
}

/// A change, read by the description of the format.
fn change(line: &str) -> (u64, u64) {
    let (subject, sequence) = line.split_once(' ').unwrap();
    let number = match subject.split_once(':').unwrap_or((subject, "")) {
        ("platform", "") => 1 << 62,
        ("key", prefix) => {
            assert_eq!(prefix.len(), 16);
            u64::from_str_radix(prefix, 16).unwrap() | 1 << 63
        }
        (word, number) => {
            assert_eq!(word, "account");
            u64::from(number.parse::<u32>().unwrap())
        }
    };
    assert_eq!(sequence.parse::<u64>().unwrap().to_string(), sequence);
    (number, sequence.parse().unwrap())
}

/// What is left of a text that was cut short, wherever.
fn cuts(text: &str) -> impl Iterator<Item = &str> {
    (0..text.len()).filter_map(|end| text.get(..end))
}

/// An answer may say what it likes: the only copies that allow anything are those that were signed, and only where the
/// answer itself says that nothing has changed since; and a key is unknown only where that was said.
fn answer_is_applied(text: &str, mut view: View) {
    let mut verification = Verification::new(*KEY, Demand { strict: true, ..Demand::default() });
    let Step::Sync(call) = verification.next(&mut view, NOW) else { panic!("strict, and yet no sync") };
    let answer = SyncAnswer::parse(text);
    assert_eq!(view.answered(&call, text, &SIGNING, NOW), answer.is_some());
    let step = verification.next(&mut view, NOW);
    let Some(answer) = answer else {
        assert_eq!(step, Step::Done(Verdict::Undetermined), "{text:?}");
        return;
    };
    let grants = || answer.grants.iter().filter(|(digest, _)| *digest == KEY.digest).map(|(_, copy)| *copy);
    match step {
        Step::Done(Verdict::Decided(decision)) => {
            assert!(matches!(decision, Decision::Allow(_)));
            let mut accounts = answer.accounts.iter().filter(|(number, _)| *number == KEY.account.number);
            let genuine =
                [include_str!("../../vectors/grant-copy.txt"), include_str!("../../vectors/account-copy.txt")]
                    .map(|copy| Some(copy.trim_end()));
            assert!(grants().any(|copy| copy == genuine[0]) && accounts.any(|(_, copy)| *copy == genuine[1]));
            let changed_since = |subject: Subject| answer.changes.iter().any(|(s, at)| *s == subject && *at > 42);
            assert!(!changed_since(Subject::key(&KEY.digest)) && !changed_since(Subject::account(KEY.account.number)));
            assert!(answer.now.epoch == EPOCH && answer.low <= 42 && answer.lease_ms > 0, "{text:?}");
        }
        Step::Done(verdict) => {
            assert_eq!(verdict, Verdict::Unknown, "{text:?}");
            assert!(grants().any(|copy| copy.is_none()) && answer.lease_ms > 0, "{text:?}");
        }
        Step::ReadMirror(_) | Step::Sync(_) => {}
        Step::ReadAddress => panic!("the genuine key is not limited"),
        Step::Wait(_) => panic!("nobody else is asking"),
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

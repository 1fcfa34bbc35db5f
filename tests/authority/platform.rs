//! The platform's features: one list per shard, in its feed and in each of its answers.

use keygate::authority::{
    command::{Answer, Command},
    feed::FeedSubject,
    lease::Terms,
    query::{Found, Query},
    sync::{Known, SyncAnswer, SyncRequest},
};

use super::support::{EPOCH, Shard};

fn set(shard: &Shard, features: &[&str]) -> Option<Answer> {
    let features = features.iter().map(|feature| (*feature).to_owned()).collect();
    shard.execute(Command::SetPlatform { features }).unwrap().answer
}

fn told(shard: &Shard, known: Option<Known>) -> String {
    shard.sync(&SyncRequest { known, ..SyncRequest::default() }, Terms { lease_ms: 5_000, grace_ms: 0 }).text
}

#[test]
fn every_answer_says_which_features_are_on_for_every_account() {
    let shard = Shard::new();
    assert!(!told(&shard, None).contains("features"));
    assert_eq!(set(&shard, &["alpha", "beta"]), Some(Answer::Platform(vec!["alpha".into(), "beta".into()])));
    let text = told(&shard, None);
    assert_eq!(SyncAnswer::parse(&text).unwrap().features, ["alpha", "beta"]);
    let known = Known { epoch: EPOCH.into(), sequence: 1, cursor: 1 };
    let text = told(&shard, Some(known));
    let answer = SyncAnswer::parse(&text).unwrap();
    assert!(!answer.reset && answer.changes.is_empty(), "nothing changed since");
    assert_eq!(answer.features, ["alpha", "beta"], "and all the same");
    assert_eq!(shard.ask(Query::Platform), Some(Found::Platform(vec!["alpha".into(), "beta".into()])));
    set(&shard, &[]);
    assert!(!told(&shard, None).contains("features"));
    assert_eq!(shard.ask(Query::Platform), Some(Found::Platform(Vec::new())));
}

#[test]
fn a_change_of_the_platform_moves_sequence_and_feed_and_one_that_changes_nothing_does_not() {
    let shard = Shard::new();
    let feed = || shard.numbers("SELECT position, sequence FROM feed");
    let state = || shard.numbers("SELECT sequence, feed_position FROM meta");
    set(&shard, &[]);
    assert_eq!((state(), feed()), (vec![0, 0], vec![]));
    set(&shard, &["beta"]);
    assert_eq!((state(), feed()), (vec![1, 1], vec![1, 1]));
    set(&shard, &["beta"]);
    assert_eq!((state(), feed()), (vec![1, 1], vec![1, 1]));
    set(&shard, &[]);
    assert_eq!((state(), feed()), (vec![2, 2], vec![2, 2]), "one row, the newest");
    assert_eq!(FeedSubject::platform().as_str(), "platform");
    assert_eq!(shard.numbers("SELECT count(*) FROM audit"), [0], "it belongs to no account");
}

#[test]
fn an_answer_with_an_odd_list_of_features_is_not_understood() {
    let with = |lines: &str| {
        let text = format!("sync 1 v1 {EPOCH} 1 1 0 5000 0 reset\n{lines}end");
        SyncAnswer::parse(&text).map(|answer| answer.features.join(","))
    };
    assert_eq!(with("features beta\n").as_deref(), Some("beta"));
    assert_eq!(with("platform 1\nfeatures a b\n").as_deref(), Some("a,b"));
    for lines in [
        "features \n",
        "features\n",
        "features Beta\n",
        "features a  b\n",
        "features a \n",
        "features a\nfeatures b\n",
        "platform\n",
        "platform x\n",
        "platform: 1\n",
        "platforms 1\n",
    ] {
        assert_eq!(with(lines), None, "{lines:?}");
    }
}

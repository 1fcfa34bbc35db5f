//! The platform's features: they count as long as the lease that they came with, and never go back.

use keygate::{
    authority::{command::Command, sql::Sql},
    edge::{Step, Verdict, Verification},
    policy::{Decision, Demand, Denial},
};

use super::{
    isolate::{Isolate, LEASE_MS, Tenant},
    support::Shard,
};

fn set(shard: &Shard, features: &[&str]) {
    let features = features.iter().map(|feature| (*feature).to_owned()).collect();
    shard.execute(Command::SetPlatform { features }).unwrap();
}

/// Whether a request for what "beta" gives is allowed, by what is at hand; none = that would take some I/O.
fn at_hand(isolate: &mut Isolate<'_>, tenant: &Tenant) -> Option<bool> {
    let demand = Demand { feature: Some("beta".into()), ..Demand::default() };
    match Verification::new(tenant.key, demand).next(&mut isolate.view, isolate.shard.now()) {
        Step::Done(Verdict::Decided(Decision::Allow(_))) => Some(true),
        Step::Done(Verdict::Decided(Decision::Deny(Denial::FeatureDisabled))) => Some(false),
        Step::Sync(call) => {
            isolate.fail(&call);
            None
        }
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_feature_of_the_platform_comes_and_goes_with_the_next_sync() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    isolate.decide(&tenant.key);
    assert_eq!(at_hand(&mut isolate, &tenant), Some(false));
    for (features, on) in [(&["alpha", "beta"][..], true), (&["alpha"], false), (&["beta"], true), (&[], false)] {
        set(&shard, features);
        assert_eq!(at_hand(&mut isolate, &tenant), Some(!on), "within the lease as before");
        isolate.sync();
        assert_eq!(at_hand(&mut isolate, &tenant), Some(on), "{features:?}");
    }
}

#[test]
fn without_a_lease_no_feature_of_the_platform_counts() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    set(&shard, &["beta"]);
    let mut isolate = Isolate::new(&shard);
    isolate.decide(&tenant.key);
    set(&shard, &[]);
    shard.advance(LEASE_MS - 1);
    assert_eq!(at_hand(&mut isolate, &tenant), Some(true));
    shard.advance(1);
    assert_eq!(at_hand(&mut isolate, &tenant), None);
}

#[test]
fn an_answer_that_was_given_earlier_and_comes_later_brings_no_old_list_back() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    set(&shard, &["beta"]);
    let mut isolate = Isolate::new(&shard);
    isolate.decide(&tenant.key);
    let (slow, fast) = (isolate.call(), isolate.call());
    let before = isolate.answer(&slow);
    set(&shard, &[]);
    let after = isolate.answer(&fast);
    isolate.land(&fast, &after);
    isolate.land(&slow, &before);
    assert_eq!(at_hand(&mut isolate, &tenant), Some(false));
    // And the other way round.
    let (slow, fast) = (isolate.call(), isolate.call());
    let before = isolate.answer(&slow);
    set(&shard, &["beta"]);
    let after = isolate.answer(&fast);
    isolate.land(&fast, &after);
    isolate.land(&slow, &before);
    assert_eq!(at_hand(&mut isolate, &tenant), Some(true));
}

#[test]
fn a_reset_drops_the_list_of_another_history() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    (0..3).for_each(|_| set(&shard, &[]));
    set(&shard, &["beta"]);
    let mut isolate = Isolate::new(&shard);
    isolate.decide(&tenant.key);
    assert_eq!(at_hand(&mut isolate, &tenant), Some(true));
    // Earlier than what is known, so that only the epoch tells.
    shard.sql.run("UPDATE meta SET epoch = ?1, features = '[]', sequence = 2", &["e".repeat(32).into()]).unwrap();
    isolate.sync();
    isolate.decide(&tenant.key);
    assert_eq!(at_hand(&mut isolate, &tenant), Some(false));
}

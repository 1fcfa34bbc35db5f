//! Outage grace: cached copies go on for a while, when the Authority cannot be reached and has allowed it.

use keygate::{
    authority::lease::Terms,
    edge::{Step, Verdict, Verification},
    policy::{Decision, Demand},
};

use super::{
    isolate::{Isolate, LEASE_MS, Tenant, strict},
    support::Shard,
};

const GRACE_MS: u64 = 60_000;

/// An isolate with the tenant's copies, a lease that is over, and grace to come.
fn after_the_lease<'s>(shard: &'s Shard, tenant: &Tenant) -> Isolate<'s> {
    let mut isolate = Isolate::new(shard);
    isolate.granted = Terms { lease_ms: LEASE_MS, grace_ms: GRACE_MS };
    isolate.decide(&tenant.key);
    shard.advance(LEASE_MS);
    isolate
}

fn is_in_grace(step: &Step) -> bool {
    matches!(step, Step::Done(Verdict::InGrace(Decision::Allow(_))))
}

#[test]
fn grace_begins_with_a_failure_and_ends_with_its_time() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = after_the_lease(&shard, &tenant);
    let mut verification = Verification::new(tenant.key, Demand::default());
    let Step::Sync(call) = verification.next(&mut isolate.view, shard.now()) else { panic!("grace without a failure") };
    isolate.fail(&call);
    assert!(is_in_grace(&verification.next(&mut isolate.view, shard.now())), "it asked in vain");
    assert!(is_in_grace(&isolate.ask(&tenant.key)), "so the others need not");
    shard.advance(GRACE_MS - 1);
    assert!(is_in_grace(&isolate.ask(&tenant.key)));
    shard.advance(1);
    assert!(!is_in_grace(&isolate.ask(&tenant.key)));
}

#[test]
fn an_answer_ends_it() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = after_the_lease(&shard, &tenant);
    let call = isolate.call();
    isolate.fail(&call);
    assert!(is_in_grace(&isolate.ask(&tenant.key)));
    tenant.revoke(&shard);
    isolate.sync();
    assert!(!is_in_grace(&isolate.ask(&tenant.key)));
    shard.advance(LEASE_MS);
    let call = isolate.call();
    isolate.fail(&call);
    assert!(!is_in_grace(&isolate.ask(&tenant.key)), "its copy was evicted");
}

#[test]
fn without_the_authoritys_word_there_is_none() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    isolate.decide(&tenant.key);
    shard.advance(LEASE_MS);
    let call = isolate.call();
    isolate.fail(&call);
    assert!(matches!(isolate.ask(&tenant.key), Step::Sync(_)));
}

#[test]
fn what_is_not_at_hand_is_not_decided_in_grace() {
    let shard = Shard::new();
    let (tenant, other) = (Tenant::new(&shard, "Acme"), Tenant::new(&shard, "Other"));
    let mut isolate = after_the_lease(&shard, &tenant);
    let call = isolate.call();
    isolate.fail(&call);
    let step = isolate.ask(&other.key);
    let Step::Sync(call) = step else { panic!("{step:?}") };
    isolate.fail(&call);
    assert_eq!(isolate.ask(&other.key), Step::Done(Verdict::Undetermined), "in the pause");
}

#[test]
fn strict_requests_have_none() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = after_the_lease(&shard, &tenant);
    let mut verification = Verification::new(tenant.key, strict());
    let Step::Sync(call) = verification.next(&mut isolate.view, shard.now()) else { panic!("no sync") };
    isolate.fail(&call);
    assert!(is_in_grace(&isolate.ask(&tenant.key)));
    assert_eq!(verification.next(&mut isolate.view, shard.now()), Step::Done(Verdict::Undetermined));
}

#[test]
fn a_clock_that_was_set_back_ends_it() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = after_the_lease(&shard, &tenant);
    let call = isolate.call();
    isolate.fail(&call);
    assert!(is_in_grace(&isolate.ask(&tenant.key)));
    shard.now.set(shard.now.get() - 51);
    assert!(!is_in_grace(&isolate.ask(&tenant.key)));
}

#[test]
fn during_grace_somebody_goes_on_trying() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = after_the_lease(&shard, &tenant);
    let call = isolate.call();
    isolate.fail(&call);
    assert!(is_in_grace(&isolate.ask(&tenant.key)));
    let now = isolate.now();
    let renewal = isolate.view.renewal(now).unwrap();
    let answer = isolate.answer(&renewal);
    isolate.land(&renewal, &answer);
    assert!(matches!(isolate.ask(&tenant.key), Step::Done(Verdict::Decided(_))));
}

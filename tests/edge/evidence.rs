//! The order of evidence: what a request asks for, and when it gives up.

use keygate::{
    credential::RecognisedKey,
    edge::{Evidence, Missing, Step, Verdict, Verification},
    policy::Decision,
};

use super::{
    isolate::{Isolate, LEASE_MS, Tenant, is_allowed, is_denied, plain, strict, unknown},
    support::{Shard, new_key},
};

#[test]
fn a_fresh_lease_and_copies_at_hand_decide_without_io() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    isolate.decide(&tenant.key);
    let Step::Done(Verdict::Decided(Decision::Allow(principal))) = isolate.ask(&tenant.key) else { panic!("I/O") };
    assert_eq!((principal.key_id, principal.account), (tenant.id, tenant.account));
}

#[test]
fn a_fresh_lease_without_the_copies_reads_kv_and_asks_the_authority_only_if_that_does_not_help() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let old = tenant.copies(&shard);
    tenant.disable(&shard, true);
    tenant.disable(&shard, false);
    let (grant, account) = tenant.copies(&shard);
    let evidence = |grant, account| Some(Evidence { grant, account });
    // What KV has, and whether the Authority is to put the copies there again.
    for (found, refresh) in [
        (None, Some(false)),
        (evidence(None, None), Some(true)),
        (evidence(Some(&*grant), None), Some(true)),
        (evidence(None, Some(&*account)), Some(true)),
        (evidence(Some(&*old.0), Some(&*account)), Some(true)),
        (evidence(Some(&*grant), Some("v1.2.00.{}")), Some(true)),
        (evidence(Some(&*grant), Some(&*account)), None),
    ] {
        let mut isolate = Isolate::synced(&shard);
        let mut verification = plain(&tenant.key);
        let now = isolate.now();
        assert_eq!(verification.next(&mut isolate.view, now), Step::ReadMirror(Missing::Both));
        match (verification.mirror_read(&mut isolate.view, &shard.signing, found, now), refresh) {
            (Step::Done(verdict), None) => assert!(is_allowed(&verdict)),
            (Step::Sync(call), Some(refresh)) => {
                let [want] = call.request.wants[..] else { panic!("{call:?}") };
                assert_eq!((want.digest, want.account), (tenant.key.digest, tenant.account.number));
                assert_eq!(want.refresh, refresh, "{found:?}");
                let answer = isolate.answer(&call);
                isolate.land(&call, &answer);
                assert!(
                    matches!(verification.next(&mut isolate.view, now), Step::Done(verdict) if is_allowed(&verdict))
                );
            }
            (step, _) => panic!("{step:?} on {found:?}"),
        }
    }
}

#[test]
fn an_account_that_is_at_hand_is_not_read_from_kv_again_for_another_of_its_keys() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let (second, _) = shard.issue(tenant.account, new_key());
    let key = RecognisedKey { digest: second.digest, ..tenant.key };
    let (grant, _) = shard.copies(&key.digest, tenant.account);
    let mut isolate = Isolate::synced(&shard);
    assert!(is_allowed(&isolate.decide(&tenant.key)));
    let mut verification = plain(&key);
    let now = isolate.now();
    assert_eq!(verification.next(&mut isolate.view, now), Step::ReadMirror(Missing::Grant));
    let found = Some(Evidence { grant: grant.as_deref(), account: None });
    let step = verification.mirror_read(&mut isolate.view, &shard.signing, found, now);
    assert!(matches!(step, Step::Done(verdict) if is_allowed(&verdict)));
    // Once it has changed, it is.
    tenant.suspend(&shard, true);
    isolate.sync();
    let mut verification = plain(&key);
    let now = isolate.now();
    assert_eq!(verification.next(&mut isolate.view, now), Step::ReadMirror(Missing::Both));
}

#[test]
fn a_stale_lease_asks_the_authority_at_once_and_kv_is_not_needed() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    for cached in [true, false] {
        let mut isolate = Isolate::synced(&shard);
        if cached {
            isolate.decide(&tenant.key);
        }
        shard.advance(LEASE_MS);
        let mut verification = plain(&tenant.key);
        let now = isolate.now();
        let Step::Sync(call) = verification.next(&mut isolate.view, now) else { panic!("no sync") };
        assert!(!call.request.wants[0].refresh, "KV was not read");
        let answer = isolate.answer(&call);
        isolate.land(&call, &answer);
        assert!(matches!(verification.next(&mut isolate.view, now), Step::Done(verdict) if is_allowed(&verdict)));
    }
}

#[test]
fn a_lease_that_ends_while_kv_is_read_is_noticed() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let (grant, account) = tenant.copies(&shard);
    let mut isolate = Isolate::synced(&shard);
    shard.advance(LEASE_MS - 1);
    let mut verification = plain(&tenant.key);
    assert_eq!(verification.next(&mut isolate.view, shard.now()), Step::ReadMirror(Missing::Both));
    shard.advance(1);
    let evidence = Some(Evidence { grant: Some(&grant), account: Some(&account) });
    let step = verification.mirror_read(&mut isolate.view, &shard.signing, evidence, shard.now());
    let Step::Sync(call) = step else { panic!("{step:?}") };
    assert!(!call.request.wants[0].refresh, "KV had good copies");
}

#[test]
fn a_change_that_is_applied_while_kv_is_read_is_noticed() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let (grant, account) = tenant.copies(&shard);
    let mut isolate = Isolate::synced(&shard);
    let mut verification = plain(&tenant.key);
    assert_eq!(verification.next(&mut isolate.view, shard.now()), Step::ReadMirror(Missing::Both));
    tenant.revoke(&shard);
    isolate.sync();
    let evidence = Some(Evidence { grant: Some(&grant), account: Some(&account) });
    let step = verification.mirror_read(&mut isolate.view, &shard.signing, evidence, shard.now());
    assert!(matches!(step, Step::Sync(_)));
}

#[test]
fn one_sync_is_enough_for_a_request() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    for (key, demand) in [(tenant.key, strict()), (tenant.key, Default::default()), (unknown(1), strict())] {
        let mut isolate = Isolate::new(&shard);
        let mut verification = Verification::new(key, demand);
        let Step::Sync(call) = verification.next(&mut isolate.view, shard.now()) else { panic!("no sync") };
        let answer = isolate.answer(&call);
        isolate.land(&call, &answer);
        assert!(matches!(verification.next(&mut isolate.view, shard.now()), Step::Done(_)));
    }
}

/// Two requests meet a cold isolate. The answer to the second comes after the first has reset everything, so it brings no
/// lease of its own, but its copies are as good as any.
#[test]
fn an_answer_that_met_a_reset_is_made_up_for_by_one_more_sync_at_most() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    let first = isolate.call();
    let (mut second, mut third) = (plain(&tenant.key), Verification::new(tenant.key, strict()));
    let mut next = |verification: &mut Verification| match verification.next(&mut isolate.view, shard.now()) {
        Step::Sync(call) => call,
        step => panic!("no sync: {step:?}"),
    };
    let calls = [next(&mut second), next(&mut third)];
    for call in [&first, &calls[0], &calls[1]] {
        let answer = isolate.answer(call);
        isolate.land(call, &answer);
    }
    assert!(matches!(second.next(&mut isolate.view, shard.now()), Step::Done(verdict) if is_allowed(&verdict)));
    let Step::Sync(again) = third.next(&mut isolate.view, shard.now()) else { panic!("strict, on another's sync") };
    isolate.void(&again);
    assert_eq!(third.next(&mut isolate.view, shard.now()), Step::Done(Verdict::Undetermined), "and no third");
}

#[test]
fn a_request_whose_sync_failed_gives_up() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    let mut verification = plain(&tenant.key);
    let Step::Sync(call) = verification.next(&mut isolate.view, shard.now()) else { panic!("no sync") };
    shard.advance(100);
    isolate.fail(&call);
    assert_eq!(verification.next(&mut isolate.view, shard.now()), Step::Done(Verdict::Undetermined));
}

#[test]
fn copies_that_do_not_fit_the_key_decide_nothing() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    isolate.decide(&tenant.key);
    let mut of_test = tenant.key;
    of_test.environment = keygate::credential::Environment::Test;
    assert_eq!(isolate.at_hand(&of_test), None);
    assert_eq!(isolate.decide(&of_test), Verdict::Undetermined);
}

#[test]
fn strict_needs_a_sync_that_was_sent_after_it_began_however_fresh_lease_and_copies_are() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    isolate.decide(&tenant.key);
    let before = isolate.call();
    let mut verification = Verification::new(tenant.key, strict());
    let Step::Sync(call) = verification.next(&mut isolate.view, shard.now()) else { panic!("no sync") };
    // What was sent before says nothing of what has been commanded since.
    let answer = isolate.answer(&before);
    tenant.revoke(&shard);
    isolate.land(&before, &answer);
    assert!(is_allowed(&isolate.at_hand(&tenant.key).unwrap()), "enough for whoever is not strict");
    let answer = isolate.answer(&call);
    let mut impatient = Verification::new(tenant.key, strict());
    assert!(matches!(impatient.next(&mut isolate.view, shard.now()), Step::Sync(_)));
    isolate.land(&call, &answer);
    assert!(matches!(verification.next(&mut isolate.view, shard.now()), Step::Done(verdict) if is_denied(&verdict)));
    assert!(!matches!(impatient.next(&mut isolate.view, shard.now()), Step::Done(_)), "sent before it began");
}

#[test]
fn strict_is_content_with_anothers_sync_that_was_sent_after_it_began() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::new(&shard);
    isolate.decide(&tenant.key);
    let calls: Vec<_> = (0..4).map(|_| isolate.call()).collect();
    let mut verification = Verification::new(tenant.key, strict());
    assert!(matches!(verification.next(&mut isolate.view, shard.now()), Step::Wait(_)));
    isolate.void(&calls[0]);
    isolate.sync();
    assert!(matches!(verification.next(&mut isolate.view, shard.now()), Step::Done(verdict) if is_allowed(&verdict)));
}

/// Issuing is in no feed: an earlier "there is no such key" is not what a strict request is to go by.
#[test]
fn strict_does_not_go_by_an_earlier_word_that_the_key_is_unknown() {
    let shard = Shard::new();
    let mut isolate = Isolate::new(&shard);
    assert_eq!(isolate.decide(&unknown(1)), Verdict::Unknown);
    let calls: Vec<_> = (0..4).map(|_| isolate.call()).collect();
    let mut verification = Verification::new(unknown(1), strict());
    assert!(matches!(verification.next(&mut isolate.view, shard.now()), Step::Wait(_)));
    calls.iter().for_each(|call| isolate.void(call));
    // A sync that was sent later, but is not about this key.
    let (later, _) = (isolate.call(), isolate.call());
    let answer = isolate.answer(&later);
    let silent: Vec<&str> = answer.split('\n').filter(|line| !line.starts_with("grant ")).collect();
    isolate.land(&later, &silent.join("\n"));
    let Step::Sync(call) = verification.next(&mut isolate.view, shard.now()) else { panic!("decided") };
    let answer = isolate.answer(&call);
    isolate.land(&call, &answer);
    assert_eq!(verification.next(&mut isolate.view, shard.now()), Step::Done(Verdict::Unknown));
}

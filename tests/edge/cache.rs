//! What an isolate keeps is bounded, and what is used stays.

use keygate::{
    authority::command::NewKey,
    credential::PresentedKey,
    edge::{Verdict, View},
    policy::ScopeSet,
};

use super::{
    isolate::{Isolate, Tenant, is_allowed, unknown},
    support::{SLOT, Shard, new_key},
};

/// An isolate that has to do with 256 shards: of each it keeps 128 copies and 128 KiB in each of two generations.
fn small(shard: &Shard) -> Isolate<'_> {
    let mut isolate = Isolate::new(shard);
    isolate.view = View::new(SLOT, 256, 1);
    isolate
}

fn at_hand(isolate: &mut Isolate<'_>, tenants: &[Tenant]) -> usize {
    // Looking at a copy is using it, and moves it; counting must not.
    let shown = format!("{:?}", isolate.view);
    tenants.iter().filter(|tenant| shown.contains(&format!("{:?}", tenant.id))).count()
}

#[test]
fn copies_are_bounded_in_number() {
    let shard = Shard::new();
    let tenants: Vec<Tenant> = (0..300).map(|number| Tenant::new(&shard, &format!("T{number}"))).collect();
    let mut isolate = small(&shard);
    for tenant in &tenants {
        assert!(is_allowed(&isolate.decide(&tenant.key)));
        assert!(is_allowed(&isolate.at_hand(&tenant.key).unwrap()));
    }
    let kept = at_hand(&mut isolate, &tenants);
    // A key and its account are two copies.
    assert!((64..=128).contains(&kept), "{kept}");
}

#[test]
fn copies_are_bounded_in_bytes() {
    let shard = Shard::new();
    let account = Tenant::new(&shard, "Acme").account;
    let scopes: Vec<String> = (0..100).map(|number| format!("a-long-name-of-a-resource-{number}:an-action")).collect();
    let scopes = ScopeSet::parse(scopes.iter().map(String::as_str)).unwrap();
    let keys: Vec<Tenant> = (0..120)
        .map(|number| {
            let key = NewKey { name: Some(format!("k{number}")), scopes: Some(scopes.clone()), ..new_key() };
            let (record, text) = shard.issue(account, key);
            let key = shard.peppers.recognise(&PresentedKey::parse(text.expose()).unwrap()).unwrap();
            Tenant { account, id: record.id(), key }
        })
        .collect();
    let bytes = keys[0].copies(&shard).0.len();
    let mut isolate = small(&shard);
    for tenant in &keys {
        assert!(is_allowed(&isolate.decide(&tenant.key)));
    }
    let kept = at_hand(&mut isolate, &keys);
    let fit = 2 * 131_072 / bytes;
    assert!(fit < 120, "the number would be the bound: {bytes} bytes each");
    assert!((fit / 3..=fit).contains(&kept), "{kept} of {fit}");
}

#[test]
fn what_is_used_stays_whatever_else_comes_and_goes() {
    let shard = Shard::new();
    let used = Tenant::new(&shard, "Used");
    let mut isolate = small(&shard);
    isolate.decide(&used.key);
    for number in 0..300 {
        let other = Tenant::new(&shard, &format!("T{number}"));
        isolate.decide(&other.key);
        assert!(is_allowed(&isolate.at_hand(&used.key).unwrap()), "{number}");
    }
}

#[test]
fn however_many_keys_are_unknown_no_copy_goes_for_them() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = small(&shard);
    isolate.decide(&tenant.key);
    for number in 0..1_000 {
        assert_eq!(isolate.decide(&unknown(number)), Verdict::Unknown);
    }
    assert!(is_allowed(&isolate.at_hand(&tenant.key).unwrap()));
    assert_eq!(isolate.at_hand(&unknown(0)), None, "the oldest made room");
    assert_eq!(isolate.at_hand(&unknown(999)), Some(Verdict::Unknown));
    assert_eq!(isolate.at_hand(&unknown(744)), Some(Verdict::Unknown));
    assert_eq!(isolate.at_hand(&unknown(743)), None);
}

#[test]
fn a_key_that_was_unknown_and_is_issued_after_all_is_decided_once_its_copy_is_there() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::synced(&shard);
    // As if it had been asked about before it was issued.
    let call = isolate.call_for(&tenant.key);
    let answer = isolate.answer(&call);
    let denied: Vec<String> =
        answer
            .split('\n')
            .map(|line| {
                if line.starts_with("grant ") { format!("grant {} -", tenant.key.digest.to_hex()) } else { line.into() }
            })
            .collect();
    isolate.land(&call, &denied.join("\n"));
    assert_eq!(isolate.at_hand(&tenant.key), Some(Verdict::Unknown));
    let call = isolate.call_for(&tenant.key);
    let answer = isolate.answer(&call);
    isolate.land(&call, &answer);
    assert!(is_allowed(&isolate.at_hand(&tenant.key).unwrap()));
}

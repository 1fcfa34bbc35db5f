//! The one rule: which copies are believed, whoever serves them.

use keygate::{
    authority::{
        copy::{AccountCopy, GrantCopy, SigningKeys},
        sql::Sql,
    },
    credential::NumberedSecret,
};

use super::{
    isolate::{Isolate, Tenant, is_allowed, is_denied},
    support::Shard,
};

#[test]
fn a_copy_read_before_the_last_change_of_its_key_is_not_believed_and_one_read_since_is() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let active = tenant.copies(&shard);
    tenant.disable(&shard, true);
    let disabled = tenant.copies(&shard);
    let mut isolate = Isolate::synced(&shard);
    assert_eq!(isolate.believes(&tenant.key, (&active.0, &active.1)), None, "an old allow");
    let verdict = isolate.believes(&tenant.key, (&disabled.0, &disabled.1)).unwrap();
    assert!(is_denied(&verdict));
    tenant.disable(&shard, false);
    let enabled = tenant.copies(&shard);
    isolate.sync();
    assert_eq!(isolate.believes(&tenant.key, (&disabled.0, &disabled.1)), None, "an old denial");
    assert_eq!(isolate.believes(&tenant.key, (&active.0, &active.1)), None, "an allow like the present one");
    assert!(is_allowed(&isolate.believes(&tenant.key, (&enabled.0, &enabled.1)).unwrap()));
}

#[test]
fn the_same_holds_for_its_account() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let active = tenant.copies(&shard);
    tenant.suspend(&shard, true);
    let suspended = tenant.copies(&shard);
    let mut isolate = Isolate::synced(&shard);
    assert_eq!(isolate.believes(&tenant.key, (&suspended.0, &active.1)), None);
    assert!(is_denied(&isolate.believes(&tenant.key, (&active.0, &suspended.1)).unwrap()), "the key did not change");
    tenant.suspend(&shard, false);
    isolate.sync();
    assert_eq!(isolate.believes(&tenant.key, (&active.0, &suspended.1)), None);
    assert!(is_allowed(&isolate.believes(&tenant.key, (&active.0, &tenant.copies(&shard).1)).unwrap()));
}

/// Both are believable as long as the isolate has not heard of the change; the one that was read later knows more.
#[test]
fn an_older_copy_does_not_take_the_place_of_a_newer_one() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let older = tenant.copies(&shard);
    let mut isolate = Isolate::synced(&shard);
    tenant.revoke(&shard);
    let newer = tenant.copies(&shard);
    assert_eq!(isolate.believes(&tenant.key, (&newer.0, "")), None, "the account is missing");
    assert!(is_denied(&isolate.believes(&tenant.key, (&older.0, &older.1)).unwrap()));
}

#[test]
fn a_copy_that_is_older_than_low_is_not_believed_and_one_of_low_itself_is() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let copies = tenant.copies(&shard);
    shard.sql.run("UPDATE meta SET feed_low = sequence", &[]).unwrap();
    assert!(is_allowed(&Isolate::synced(&shard).believes(&tenant.key, (&copies.0, &copies.1)).unwrap()));
    let other = Tenant::new(&shard, "Other");
    shard.sql.run("UPDATE meta SET feed_low = sequence", &[]).unwrap();
    let mut isolate = Isolate::synced(&shard);
    let now = tenant.copies(&shard);
    for (grant, account) in [(&copies.0, &copies.1), (&now.0, &copies.1)] {
        assert_eq!(isolate.believes(&tenant.key, (grant, account)), None);
    }
    assert_eq!(Isolate::synced(&shard).believes(&tenant.key, (&copies.0, &now.1)), None);
    assert!(isolate.believes(&tenant.key, (&now.0, &now.1)).is_some());
    let of_other = other.copies(&shard);
    assert!(isolate.believes(&other.key, (&of_other.0, &of_other.1)).is_some());
}

#[test]
fn a_copy_of_another_epoch_is_not_believed_however_late_it_was_read() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let (grant, account) = tenant.copies(&shard);
    let mut of_grant = GrantCopy::verify(&shard.signing, &tenant.key.digest, &grant).unwrap();
    let mut of_account = AccountCopy::verify(&shard.signing, tenant.account, &account).unwrap();
    let epoch = "f".repeat(32);
    (of_grant.epoch, of_grant.as_of) = (epoch.clone(), 1 << 40);
    (of_account.epoch, of_account.as_of) = (epoch, 1 << 40);
    let foreign_grant = of_grant.sign(&shard.signing, &tenant.key.digest).unwrap();
    let foreign_account = of_account.sign(&shard.signing).unwrap();
    for (grant, account) in [(&foreign_grant, &account), (&grant, &foreign_account), (&foreign_grant, &foreign_account)]
    {
        assert_eq!(Isolate::synced(&shard).believes(&tenant.key, (grant, account)), None);
    }
    assert!(is_allowed(&Isolate::synced(&shard).believes(&tenant.key, (&grant, &account)).unwrap()));
}

#[test]
fn a_copy_that_was_signed_for_another_place_or_by_somebody_else_is_not_believed() {
    let shard = Shard::new();
    let (tenant, other) = (Tenant::new(&shard, "Acme"), Tenant::new(&shard, "Other"));
    let (grant, account) = tenant.copies(&shard);
    let (others_grant, others_account) = other.copies(&shard);
    let somebody = NumberedSecret::parse(&format!("2:{}", "33".repeat(32))).unwrap();
    let somebody = SigningKeys::new(somebody, None).unwrap();
    let verified = GrantCopy::verify(&shard.signing, &tenant.key.digest, &grant).unwrap();
    let forged_grant = verified.sign(&somebody, &tenant.key.digest).unwrap();
    let verified = AccountCopy::verify(&shard.signing, tenant.account, &account).unwrap();
    let forged_account = verified.sign(&somebody).unwrap();
    let cut = &grant[..grant.len() - 1];
    for (grant, account) in [
        (others_grant.as_str(), others_account.as_str()),
        (&others_grant, &account),
        (&grant, &others_account),
        (&account, &grant),
        (&forged_grant, &account),
        (&grant, &forged_account),
        (cut, &account),
        ("", ""),
    ] {
        assert_eq!(Isolate::synced(&shard).believes(&tenant.key, (grant, account)), None, "{grant} {account}");
    }
}

/// KV may serve what it likes. After each change, every pair of copies that was ever signed is offered to an isolate that
/// was there all along and to a new one: they believe exactly those that were read since the last change.
#[test]
fn whatever_kv_replays_only_copies_read_since_the_last_change_are_believed() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut warm = Isolate::synced(&shard);
    let mut signed = vec![tenant.copies(&shard)];
    // The first copies that are as they should be: of the key, of the account.
    let mut first = (0, 0);
    let changes: [fn(&Tenant, &Shard); 9] = [
        |tenant, shard| tenant.disable(shard, true),
        |tenant, shard| tenant.suspend(shard, true),
        |tenant, shard| tenant.disable(shard, false),
        |_, shard| {
            Tenant::new(shard, "Another");
        },
        |tenant, shard| tenant.suspend(shard, false),
        |tenant, shard| tenant.disable(shard, true),
        |tenant, shard| tenant.disable(shard, false),
        |_, _| (),
        |tenant, shard| tenant.revoke(shard),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        change(&tenant, &shard);
        signed.push(tenant.copies(&shard));
        match number {
            0 | 2 | 5 | 6 | 8 => first.0 = signed.len() - 1,
            1 | 4 => first.1 = signed.len() - 1,
            _ => {}
        }
        warm.sync();
        if first.0.max(first.1) == signed.len() - 1 {
            for (grant, account) in &signed[..first.0.min(first.1)] {
                assert_eq!(warm.believes(&tenant.key, (grant, account)), None);
            }
        }
        for (g, (grant, _)) in signed.iter().enumerate() {
            for (a, (_, account)) in signed.iter().enumerate() {
                let believed = Isolate::synced(&shard).believes(&tenant.key, (grant, account));
                assert_eq!(believed.is_some(), g >= first.0 && a >= first.1, "change {number}, copies {g} and {a}");
                let allowed = matches!(number, 4 | 6 | 7);
                assert!(believed.is_none_or(|verdict| is_allowed(&verdict) == allowed));
            }
        }
    }
}

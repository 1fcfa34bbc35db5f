//! A database that was set back to an earlier state.

use keygate::authority::sql::{Sql, SqlError};

use super::{
    isolate::{Isolate, Tenant, is_allowed, is_denied},
    support::{EPOCH, Shard},
};

/// Does `body`, then sets the database back to where it was before.
fn set_back(shard: &Shard, body: impl FnOnce()) {
    let undone: Result<(), SqlError> = shard.sql.atomically(|| {
        body();
        Err(SqlError("set back".into()))
    });
    undone.unwrap_err();
}

#[test]
fn the_first_sync_that_knows_more_than_the_database_begins_an_epoch_in_which_every_isolate_starts_anew() {
    let shard = Shard::new();
    let (tenant, lost) = (Tenant::new(&shard, "Acme"), Tenant::new(&shard, "Lost"));
    let mut knows_less = Isolate::synced(&shard);
    let mut knows_more = Isolate::synced(&shard);
    let mut copies = None;
    set_back(&shard, || {
        lost.revoke(&shard);
        tenant.disable(&shard, true);
        tenant.disable(&shard, false);
        knows_more.sync();
        assert!(is_allowed(&knows_more.decide(&tenant.key)));
        copies = Some((tenant.copies(&shard), lost.copies(&shard)));
    });
    let (of_tenant, of_lost) = copies.unwrap();
    assert!(is_allowed(&knows_less.decide(&tenant.key)));
    assert_eq!(knows_less.known().0, EPOCH, "nothing shows it that anything was set back");
    let before = knows_more.known();
    knows_more.sync();
    let after = knows_more.known();
    assert!(after.0 != EPOCH && after.1 > before.1 && after.2 > before.2, "{before:?} {after:?}");
    assert_eq!(knows_more.at_hand(&tenant.key), None, "dropped");
    assert_eq!(knows_more.believes(&tenant.key, (&of_tenant.0, &of_tenant.1)), None);
    assert_eq!(knows_more.believes(&lost.key, (&of_lost.0, &of_lost.1)), None);
    assert!(knows_less.at_hand(&tenant.key).is_some());
    knows_less.sync();
    assert_eq!(knows_less.at_hand(&tenant.key), None, "dropped as well");
    assert_eq!(knows_less.known(), after);
    for isolate in [&mut knows_less, &mut knows_more] {
        assert!(is_allowed(&isolate.decide(&tenant.key)));
        assert!(is_allowed(&isolate.decide(&lost.key)), "its revocation was set back with the rest");
        assert_eq!(isolate.known(), after, "and that is the end of it");
    }
}

#[test]
fn a_database_that_has_caught_up_in_sequence_is_recognised_by_the_cursor() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::synced(&shard);
    set_back(&shard, || {
        tenant.revoke(&shard);
        isolate.sync();
    });
    for name in ["A", "B", "C"] {
        Tenant::new(&shard, name);
    }
    assert!(shard.numbers("SELECT sequence FROM meta")[0].unsigned_abs() > isolate.known().1);
    isolate.sync();
    assert_ne!(isolate.known().0, EPOCH);
    assert!(is_allowed(&isolate.decide(&tenant.key)));
}

#[test]
fn changes_after_a_rewind_are_in_the_new_feed() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::synced(&shard);
    set_back(&shard, || {
        for disabled in [true, false, true] {
            tenant.disable(&shard, disabled);
        }
        isolate.sync();
    });
    isolate.sync();
    let mut other = Isolate::synced(&shard);
    let copies = tenant.copies(&shard);
    for isolate in [&mut isolate, &mut other] {
        assert!(is_allowed(&isolate.decide(&tenant.key)));
    }
    tenant.disable(&shard, true);
    for isolate in [&mut isolate, &mut other] {
        let (_, sequence, cursor) = isolate.known();
        isolate.sync();
        let known = isolate.known();
        assert!(known.1 > sequence && known.2 > cursor);
        assert_eq!(isolate.at_hand(&tenant.key), None);
        assert_eq!(isolate.believes(&tenant.key, (&copies.0, &copies.1)), None);
        assert!(is_denied(&isolate.decide(&tenant.key)));
    }
}

#[test]
fn an_answer_of_the_old_epoch_that_comes_after_the_reset_changes_nothing() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::synced(&shard);
    let (mut late, mut late_answer) = (None, None);
    set_back(&shard, || {
        tenant.disable(&shard, true);
        isolate.sync();
        tenant.disable(&shard, false);
        late = Some(isolate.call_for(&tenant.key));
        late_answer = late.as_ref().map(|call| isolate.answer(call));
    });
    isolate.sync();
    let known = isolate.known();
    isolate.land(&late.unwrap(), &late_answer.unwrap());
    assert_eq!(isolate.known(), known);
    assert_eq!(isolate.at_hand(&tenant.key), None);
}

#[test]
fn a_sync_that_knows_as_much_as_the_database_or_less_begins_nothing() {
    let shard = Shard::new();
    let tenant = Tenant::new(&shard, "Acme");
    let mut isolate = Isolate::synced(&shard);
    for disabled in [true, false] {
        tenant.disable(&shard, disabled);
        let before = shard.sql.dump();
        for _ in 0..2 {
            // To call a key unknown takes a write.
            let call = isolate.call_for(&tenant.key);
            let text = isolate.answer(&call);
            isolate.land(&call, &text);
        }
        assert_eq!(shard.sql.dump(), before, "a question writes nothing");
    }
    assert_eq!(isolate.known().0, EPOCH);
}

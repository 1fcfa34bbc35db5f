//! The time of a key as the Authority itself goes by it, with its own clock and nobody else's: what it says of a key, what it
//! counts, and whom it lets order something change at the millisecond of the key's end, all together.

use keygate::{
    authority::{
        KeyFilter, ListedStatus,
        admins::{self, Caller},
        command::{
            Answer, Command, Edit, Failure, KeyChange, NewAccount, NewCredential, NewKey, NewRotation, Order, Refusal,
        },
        plans::PlanCounts,
        query::{Found, Page, Query},
        record::KeyRecord,
        settings::{NamePolicy, Settings},
    },
    credential::AccountRef,
    policy::{EffectiveStatus, Role},
};

use super::{
    admins::{issued, new_session},
    support::{SLOT, Shard, new_account, new_credential, new_key},
};

const LIFE_MS: u64 = 10_000_000_000;

struct Case {
    shard: Shard,
    account: AccountRef,
    /// The only one of its name, and all that the account may have.
    key: KeyRecord,
    /// It has a successor, and would work for longer but for its own end.
    replaced: KeyRecord,
    successor: KeyRecord,
    credential: KeyRecord,
    session: KeyRecord,
}

/// What can be seen of a key's time.
#[derive(Debug, PartialEq)]
struct Seen {
    status: EffectiveStatus,
    listed: Vec<ListedStatus>,
    due: bool,
    stale: u64,
    planned: PlanCounts,
    blocks_its_name: bool,
    blocks_the_limit: bool,
    holder_rotates: bool,
    credential_works: bool,
    session_works: bool,
    is_rotated: bool,
    is_cancelled: bool,
}

impl Case {
    /// All end at the same instant, which is so many milliseconds ahead.
    fn so_long_before_the_end(millis: u64) -> Self {
        let shard = Shard::new();
        let settings = Settings {
            name_policy: NamePolicy::Unique,
            rotation_days: Some(1),
            holders_may_rotate: true,
            ..Settings::default()
        };
        let account = shard.account(NewAccount { settings, max_active_keys: Some(2), ..new_account("Acme") }).id;
        let expires_at = Some(shard.now().saturating_add_millis(LIFE_MS));
        let (key, _) = shard.issue(account, NewKey { expires_at, ..new_key() });
        let named = NewKey { name: Some("replaced".into()), expires_at, ..new_key() };
        let (replaced, _) = shard.issue(account, named);
        let longer = NewRotation { overlap_ms: 2 * LIFE_MS, ..NewRotation::default() };
        let rotated = shard.execute(Command::RotateKey { account, key: replaced.id(), rotation: longer }).unwrap();
        let Some(Answer::Rotated { record: successor, .. }) = rotated.answer else { panic!() };
        let (credential, _) =
            shard.issue_credential(account, NewCredential { expires_at, ..new_credential(Role::Admin) });
        // A session ends with what minted it, though its own quarter of an hour is not over.
        shard.advance(LIFE_MS - 60_000);
        let mint = shard.order_of(Command::MintSession { account, session: new_session() });
        let mint = Order { caller: Caller::Credential(credential.digest), actor: None, ..mint };
        let session = issued(shard.order(mint).unwrap());
        shard.advance(60_000 - millis);
        Case { shard, account, key, replaced, successor: *successor, credential, session }
    }

    fn lists(&self, filter: KeyFilter) -> bool {
        match self.shard.ask(Query::Keys(self.account, filter, Page { before: None, limit: 10 })) {
            Some(Found::Keys(keys, None)) => keys.iter().any(|key| key.digest == self.key.digest),
            other => panic!("{other:?}"),
        }
    }

    fn is_let_in(&self, caller: Caller) -> bool {
        match admins::check(&self.shard.sql, SLOT, caller, self.shard.now()) {
            Ok(()) => true,
            Err(failure) => {
                assert_eq!(failure, Failure::Refused(Refusal::Unauthenticated));
                false
            }
        }
    }

    /// True if it is carried out.
    fn does(&self, command: Command) -> bool {
        self.shard.execute(command).is_ok()
    }

    fn seen(&self) -> Seen {
        let account = self.account;
        let Some(Found::Key(record)) = self.shard.ask(Query::Key(self.account, self.key.id())) else { panic!() };
        let Some(Found::StaleKeys(stale)) = self.shard.ask(Query::StaleKeys(self.account, 3_650)) else { panic!() };
        let all = [ListedStatus::Active, ListedStatus::Expired, ListedStatus::Disabled, ListedStatus::Revoked];
        let listed = all.into_iter().filter(|is| self.lists(KeyFilter { status: Some(*is), ..KeyFilter::default() }));
        let filter = KeyFilter { name_contains: Some("deploy".into()), ..KeyFilter::default() };
        let planned = self.shard.execute(Command::PlanRevocation { account: self.account, filter }).unwrap();
        let Some(Answer::Planned(plan)) = planned.answer else { panic!() };
        Seen {
            status: record.status_at(self.shard.now()),
            listed: listed.collect(),
            due: self.lists(KeyFilter { due: true, ..KeyFilter::default() }),
            stale: stale.expired,
            planned: plan.counts,
            holder_rotates: self.is_let_in(Caller::Holder(self.key.digest)),
            credential_works: self.is_let_in(Caller::Credential(self.credential.digest)),
            session_works: self.is_let_in(Caller::Credential(self.session.digest)),
            blocks_the_limit: {
                let key = NewKey { name: Some("another".into()), ..new_key() };
                !self.does(Command::IssueKey { account, key })
            },
            blocks_its_name: {
                let change = KeyChange { name: Edit::Set(Some("deploy".into())), ..KeyChange::default() };
                !self.does(Command::ChangeKey { account, key: self.successor.id(), change })
            },
            is_cancelled: self.does(Command::CancelRotation { account, key: self.replaced.id() }),
            is_rotated: {
                let rotation = NewRotation { overlap_ms: 60_000, ..NewRotation::default() };
                self.does(Command::RotateKey { account, key: self.key.id(), rotation })
            },
        }
    }
}

#[test]
fn for_the_authority_a_key_ends_at_one_millisecond_whatever_it_is_asked() {
    let counts = |expired| PlanCounts { total: 1, live: 1, disabled: 0, expired };
    let before = Seen {
        status: EffectiveStatus::Active,
        listed: vec![ListedStatus::Active],
        due: true,
        stale: 0,
        planned: counts(0),
        blocks_its_name: true,
        blocks_the_limit: true,
        holder_rotates: true,
        credential_works: true,
        session_works: true,
        is_rotated: true,
        is_cancelled: true,
    };
    let over = Seen {
        status: EffectiveStatus::Expired,
        listed: vec![ListedStatus::Expired],
        due: false,
        // Both, and the successor, which lives as long.
        stale: 3,
        planned: counts(1),
        blocks_its_name: false,
        blocks_the_limit: false,
        holder_rotates: false,
        credential_works: false,
        session_works: false,
        is_rotated: false,
        is_cancelled: false,
    };
    assert_eq!(Case::so_long_before_the_end(1).seen(), before);
    assert_eq!(Case::so_long_before_the_end(0).seen(), over);
}

//! An isolate, a shard's view in it, and how the two reach the Authority.

use keygate::{
    authority::{
        command::{AccountChange, Command, Edit, KeyChange, NewKey},
        lease::Terms,
        sync::{SyncAnswer, SyncRequest},
    },
    credential::{AccountRef, Brand, Digest, Environment, KeyId, PresentedKey, RecognisedKey},
    edge::{Call, Evidence, Step, Verdict, Verification, View},
    policy::{AccountStatus, Decision, Demand, UnixMillis},
};

use super::support::{SLOT, Shard, new_account, new_key};

pub const LEASE_MS: u64 = 5_000;
pub const GRANTED: Terms = Terms { lease_ms: LEASE_MS, grace_ms: 0 };

/// An account with one key.
#[derive(Clone, Copy)]
pub struct Tenant {
    pub account: AccountRef,
    pub id: KeyId,
    pub key: RecognisedKey,
}

impl Tenant {
    pub fn new(shard: &Shard, name: &str) -> Self {
        let account = shard.account(new_account(name)).id;
        Tenant::with(shard, account, new_key())
    }

    /// An account there is, with one more key.
    pub fn with(shard: &Shard, account: AccountRef, new: NewKey) -> Self {
        let (record, text) = shard.issue(account, new);
        let key = shard.peppers.recognise(&PresentedKey::parse(text.expose()).unwrap()).unwrap();
        Tenant { account, id: record.id(), key }
    }

    pub fn revoke(&self, shard: &Shard) {
        shard.key(Command::RevokeKey { account: self.account, key: self.id });
    }

    pub fn disable(&self, shard: &Shard, disabled: bool) {
        let change = KeyChange { disabled: Edit::Set(disabled), ..KeyChange::default() };
        shard.key(Command::ChangeKey { account: self.account, key: self.id, change });
    }

    pub fn suspend(&self, shard: &Shard, suspended: bool) {
        let status = if suspended { AccountStatus::Suspended } else { AccountStatus::Active };
        let change = AccountChange { status: Edit::Set(status), ..AccountChange::default() };
        shard.execute(Command::ChangeAccount { account: self.account, change }).unwrap();
    }

    /// The signed copies as KV would have them now.
    pub fn copies(&self, shard: &Shard) -> (String, String) {
        let (grant, account) = shard.copies(&self.key.digest, self.account);
        (grant.unwrap(), account.unwrap())
    }
}

/// A key with a genuine MAC, as far as anybody can tell, of which the Authority knows nothing.
pub fn unknown(number: u64) -> RecognisedKey {
    let mut digest = [0xee; 24];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    RecognisedKey {
        digest: Digest::from_bytes(digest),
        account: AccountRef { slot: SLOT, number: 1 },
        brand: Brand::default(),
        environment: Environment::Live,
        pepper_id: 1,
    }
}

pub fn strict() -> Demand {
    Demand { strict: true, ..Demand::default() }
}

pub fn plain(key: &RecognisedKey) -> Verification {
    Verification::new(*key, Demand::default())
}

pub struct Isolate<'s> {
    pub view: View,
    pub shard: &'s Shard,
    pub granted: Terms,
    /// How far the isolate's clock is ahead of the Authority's.
    pub ahead_ms: i64,
}

impl<'s> Isolate<'s> {
    /// Knows nothing yet.
    pub fn new(shard: &'s Shard) -> Self {
        Isolate { view: View::new(SLOT, 1, 1), shard, granted: GRANTED, ahead_ms: 0 }
    }

    /// Has made a sync.
    pub fn synced(shard: &'s Shard) -> Self {
        let mut isolate = Isolate::new(shard);
        isolate.sync();
        isolate
    }

    pub fn now(&self) -> UnixMillis {
        UnixMillis::from_millis(self.shard.now.get().checked_add_signed(self.ahead_ms).unwrap())
    }

    /// The first step of a request.
    pub fn ask(&mut self, key: &RecognisedKey) -> Step {
        let now = self.now();
        plain(key).next(&mut self.view, now)
    }

    /// A sync that is sent now and wants nothing that exists.
    pub fn call(&mut self) -> Call {
        self.call_for(&unknown(u64::MAX))
    }

    /// A sync that is sent now and wants the copies of `key`.
    pub fn call_for(&mut self, key: &RecognisedKey) -> Call {
        let now = self.now();
        match Verification::new(*key, strict()).next(&mut self.view, now) {
            Step::Sync(call) => *call,
            step => panic!("no sync: {step:?}"),
        }
    }

    /// What the Authority says to it now.
    pub fn answer(&self, call: &Call) -> String {
        let request = SyncRequest::parse(&call.request.text()).unwrap();
        assert_eq!(request, call.request);
        let text = self.shard.sync(&request, self.granted).text;
        assert!(SyncAnswer::parse(&text).is_some(), "{text}");
        text
    }

    pub fn land(&mut self, call: &Call, text: &str) {
        let now = self.now();
        assert!(self.view.answered(call, text, &self.shard.signing, now));
    }

    /// Ends a sync with an answer that says nothing.
    pub fn void(&mut self, call: &Call) {
        self.land(call, &format!("sync 1 v1 {} 0 0 0 5000 0 on\nend", "f".repeat(32)));
    }

    pub fn fail(&mut self, call: &Call) {
        let now = self.now();
        self.view.failed(call, now);
    }

    pub fn sync(&mut self) {
        let call = self.call();
        let text = self.answer(&call);
        self.land(&call, &text);
    }

    /// What the verdict is when KV has these two copies; none = they are not believed, and the Authority is to say.
    pub fn believes(&mut self, key: &RecognisedKey, copies: (&str, &str)) -> Option<Verdict> {
        let mut verification = plain(key);
        let now = self.now();
        assert!(matches!(verification.next(&mut self.view, now), Step::ReadMirror(_)));
        let evidence = Evidence { grant: Some(copies.0), account: Some(copies.1) };
        match verification.mirror_read(&mut self.view, &self.shard.signing, Some(evidence), now) {
            Step::Done(verdict) => Some(verdict),
            Step::Sync(call) => {
                self.void(&call);
                None
            }
            step => panic!("{step:?}"),
        }
    }

    /// Decides, with a KV that is empty and an Authority that answers at once.
    pub fn decide(&mut self, key: &RecognisedKey) -> Verdict {
        let mut verification = plain(key);
        let now = self.now();
        let mut step = verification.next(&mut self.view, now);
        for _ in 0..10 {
            step = match step {
                Step::Done(verdict) => return verdict,
                Step::ReadAddress => panic!("no key is limited"),
                Step::ReadMirror(_) => {
                    let nothing = Some(Evidence::default());
                    verification.mirror_read(&mut self.view, &self.shard.signing, nothing, now)
                }
                Step::Sync(call) => {
                    let text = self.answer(&call);
                    self.land(&call, &text);
                    verification.next(&mut self.view, now)
                }
                Step::Wait(_) => panic!("nobody else is asking"),
            };
        }
        panic!("no end");
    }

    /// What is decided without I/O; none = it would take some.
    pub fn at_hand(&mut self, key: &RecognisedKey) -> Option<Verdict> {
        match self.ask(key) {
            Step::Done(verdict) => Some(verdict),
            Step::Sync(call) => {
                self.void(&call);
                None
            }
            Step::ReadMirror(_) => None,
            Step::Wait(_) => panic!("nobody else is asking"),
            Step::ReadAddress => panic!("no key is limited"),
        }
    }

    /// What it has been told so far: epoch, sequence, cursor.
    pub fn known(&mut self) -> (String, u64, u64) {
        let call = self.call();
        self.void(&call);
        let known = call.request.known.unwrap();
        (known.epoch, known.sequence, known.cursor)
    }
}

pub fn is_allowed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Decided(Decision::Allow(_)))
}

pub fn is_denied(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Decided(Decision::Deny(_)))
}

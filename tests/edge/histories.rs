//! Random histories: several isolates, one Authority, messages that are slow, lost or out of order, a KV that serves
//! copies of any age. However it goes, no isolate decides by what has not been so for longer than a lease; no strict
//! request by what was not so since it began; and once everything is quiet, all decide as the database says.
//!
//! The clock of all is the same, so the bound is the lease itself.

use keygate::{
    authority::{lease::Terms, sql::Sql, sync::SyncRequest},
    edge::{Call, Evidence, Step, Verdict, Verification, View},
    policy::{AccountFault, Decision, Demand, Denial, TokenFault},
};
use proptest::{prelude::*, sample::Index};

use super::{
    isolate::{LEASE_MS, Tenant, is_allowed},
    support::{SLOT, Shard},
};

const GRACE_MS: u64 = 2_000;
const VIEWS: usize = 3;

#[derive(Clone, Debug)]
enum Event {
    /// A new account with a key.
    Issue,
    Revoke(Index),
    Disable(Index, bool),
    Suspend(Index, bool),
    /// The oldest row of the feed makes room.
    CutFeed,
    /// A request with a key comes to an isolate.
    Request {
        view: usize,
        key: Index,
        strict: bool,
    },
    /// KV answers a request: with copies of some age, or nothing, or not at all.
    Mirror {
        which: Index,
        grant: Option<Index>,
        account: Option<Index>,
        fails: bool,
    },
    /// A sync reaches the Authority, which grants so many quarters of a lease.
    Reach {
        which: Index,
        quarters: u64,
    },
    /// An answer arrives.
    Arrive(Index),
    /// A sync or its answer is lost, and the isolate notices, or dies with the request that made it.
    Lose {
        which: Index,
        noticed: bool,
    },
    /// Those who wait look again.
    Look,
    Renew(usize),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let index = || any::<Index>();
    let copy = || prop::option::weighted(0.8, any::<Index>());
    prop_oneof![
        1 => Just(Event::Issue),
        1 => index().prop_map(Event::Revoke),
        3 => (index(), any::<bool>()).prop_map(|(key, on)| Event::Disable(key, on)),
        3 => (index(), any::<bool>()).prop_map(|(key, on)| Event::Suspend(key, on)),
        1 => Just(Event::CutFeed),
        16 => (0..VIEWS, index(), prop::bool::weighted(0.1))
            .prop_map(|(view, key, strict)| Event::Request { view, key, strict }),
        8 => (index(), copy(), copy(), prop::bool::weighted(0.1))
            .prop_map(|(which, grant, account, fails)| Event::Mirror { which, grant, account, fails }),
        10 => (index(), prop_oneof![6 => Just(4), 1 => 0..4_u64])
            .prop_map(|(which, quarters)| Event::Reach { which, quarters }),
        10 => index().prop_map(Event::Arrive),
        1 => (index(), any::<bool>()).prop_map(|(which, noticed)| Event::Lose { which, noticed }),
        2 => Just(Event::Look),
        4 => (0..VIEWS).prop_map(Event::Renew),
        6 => prop_oneof![4 => 0..300_u64, 2 => 300..3_000_u64, 1 => 3_000..8_000_u64].prop_map(Event::Pass),
    ]
}

/// What was so, and from when on.
#[derive(Clone, Copy, Debug)]
struct Since<T> {
    at: u64,
    /// Counts the commands, so that what happened within one millisecond has an order, too.
    command: u64,
    state: T,
}

/// What can be said of a key alone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Key {
    Active,
    Disabled,
    Revoked,
}

struct Subject {
    tenant: Tenant,
    key: Vec<Since<Key>>,
    suspended: Vec<Since<bool>>,
    /// All signed copies there ever were.
    grants: Vec<String>,
    accounts: Vec<String>,
}

struct Request {
    view: usize,
    subject: usize,
    strict: bool,
    /// The commands that had been carried out when it came.
    began: u64,
    verification: Verification,
}

struct Sync {
    view: usize,
    call: Call,
    answer: Option<String>,
    /// Who goes on with it; none = it was made behind an answer.
    request: Option<Request>,
}

struct World {
    shard: Shard,
    views: Vec<View>,
    subjects: Vec<Subject>,
    commands: u64,
    reading: Vec<Request>,
    waiting: Vec<Request>,
    syncs: Vec<Sync>,
}

impl World {
    fn new() -> Self {
        let mut world = World {
            shard: Shard::new(),
            views: (0..VIEWS).map(|number| View::new(SLOT, 1, number as u64)).collect(),
            subjects: Vec::new(),
            commands: 0,
            reading: Vec::new(),
            waiting: Vec::new(),
            syncs: Vec::new(),
        };
        world.issue();
        world.issue();
        world
    }

    fn since<T>(&self, state: T) -> Since<T> {
        Since { at: self.shard.now.get(), command: self.commands, state }
    }

    fn issue(&mut self) {
        let tenant = Tenant::new(&self.shard, &format!("T{}", self.subjects.len()));
        self.commands += 1;
        let (key, suspended) = (vec![self.since(Key::Active)], vec![self.since(false)]);
        self.subjects.push(Subject { tenant, key, suspended, grants: Vec::new(), accounts: Vec::new() });
        self.sign();
    }

    /// KV gets copies, of all subjects.
    fn sign(&mut self) {
        for subject in &mut self.subjects {
            let (grant, account) = subject.tenant.copies(&self.shard);
            subject.grants.push(grant);
            subject.accounts.push(account);
        }
    }

    fn set_key(&mut self, which: Index, state: Key) {
        let which = which.index(self.subjects.len());
        let now = self.subjects[which].key.last().unwrap().state;
        if now == Key::Revoked || now == state {
            return;
        }
        let tenant = self.subjects[which].tenant;
        match state {
            Key::Revoked => tenant.revoke(&self.shard),
            Key::Active | Key::Disabled => tenant.disable(&self.shard, state == Key::Disabled),
        }
        self.commands += 1;
        let since = self.since(state);
        self.subjects[which].key.push(since);
        self.sign();
    }

    fn suspend(&mut self, which: Index, suspended: bool) {
        let which = which.index(self.subjects.len());
        if self.subjects[which].suspended.last().unwrap().state == suspended {
            return;
        }
        self.subjects[which].tenant.suspend(&self.shard, suspended);
        self.commands += 1;
        let since = self.since(suspended);
        self.subjects[which].suspended.push(since);
        self.sign();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Issue if self.subjects.len() < 4 => self.issue(),
            Event::Issue => {}
            Event::Revoke(which) => self.set_key(which, Key::Revoked),
            Event::Disable(which, on) => self.set_key(which, if on { Key::Disabled } else { Key::Active }),
            Event::Suspend(which, on) => self.suspend(which, on),
            Event::CutFeed => self.cut_feed(),
            Event::Request { view, key, strict } => {
                let subject = key.index(self.subjects.len());
                let demand = Demand { strict, ..Demand::default() };
                let verification = Verification::new(self.subjects[subject].tenant.key, demand);
                let request = Request { view, subject, strict, began: self.commands, verification };
                self.go_on(request, |verification, view, shard| verification.next(view, shard.now()));
            }
            Event::Mirror { which, grant, account, fails } => self.mirror(which, grant, account, fails),
            Event::Reach { which, quarters } => self.reach(which, quarters),
            Event::Arrive(which) => self.arrive(which),
            Event::Lose { which, noticed } => self.lose(which, noticed),
            Event::Look => {
                for request in std::mem::take(&mut self.waiting) {
                    self.go_on(request, |verification, view, shard| verification.next(view, shard.now()));
                }
            }
            Event::Renew(view) => {
                if let Some(call) = self.views[view].renewal(self.shard.now()) {
                    self.syncs.push(Sync { view, call, answer: None, request: None });
                }
            }
            Event::Pass(millis) => self.shard.advance(millis),
        }
    }

    /// What `feed` does when there are too many rows.
    fn cut_feed(&mut self) {
        let oldest = "SELECT coalesce(min(position), 0), coalesce(min(sequence), 0) FROM feed";
        let [position, sequence] = self.shard.numbers(oldest)[..] else { panic!("no row") };
        let cut = "UPDATE meta SET feed_low = max(feed_low, ?1), feed_cut = max(feed_cut, ?2)";
        self.shard.sql.run(cut, &[sequence.unsigned_abs().into(), position.unsigned_abs().into()]).unwrap();
        self.shard.sql.run("DELETE FROM feed WHERE position = ?1", &[position.unsigned_abs().into()]).unwrap();
    }

    fn go_on(&mut self, mut request: Request, step: impl FnOnce(&mut Verification, &mut View, &Shard) -> Step) {
        match step(&mut request.verification, &mut self.views[request.view], &self.shard) {
            Step::Done(verdict) => self.check(&request, &verdict),
            Step::ReadAddress => panic!("no key is limited"),
            Step::ReadMirror(_) => self.reading.push(request),
            Step::Wait(_) => self.waiting.push(request),
            Step::Sync(call) => {
                self.syncs.push(Sync { view: request.view, call: *call, answer: None, request: Some(request) });
            }
        }
    }

    fn mirror(&mut self, which: Index, grant: Option<Index>, account: Option<Index>, fails: bool) {
        if self.reading.is_empty() {
            return;
        }
        let request = self.reading.remove(which.index(self.reading.len()));
        let subject = &self.subjects[request.subject];
        let grant = grant.map(|at| at.get(&subject.grants).clone());
        let account = account.map(|at| at.get(&subject.accounts).clone());
        self.go_on(request, |verification, view, shard| {
            let evidence = Evidence { grant: grant.as_deref(), account: account.as_deref() };
            verification.mirror_read(view, &shard.signing, (!fails).then_some(evidence), shard.now())
        });
    }

    fn reach(&mut self, which: Index, quarters: u64) {
        let mut sent: Vec<&mut Sync> = self.syncs.iter_mut().filter(|sync| sync.answer.is_none()).collect();
        if sent.is_empty() {
            return;
        }
        let sync = sent.swap_remove(which.index(sent.len()));
        let granted = Terms { lease_ms: LEASE_MS / 4 * quarters, grace_ms: GRACE_MS };
        let request = SyncRequest::parse(&sync.call.request.text()).unwrap();
        sync.answer = Some(self.shard.sync(&request, granted).text);
    }

    fn arrive(&mut self, which: Index) {
        let answered: Vec<usize> = (0..self.syncs.len()).filter(|at| self.syncs[*at].answer.is_some()).collect();
        if answered.is_empty() {
            return;
        }
        let sync = self.syncs.remove(*which.get(&answered));
        let text = sync.answer.unwrap();
        assert!(self.views[sync.view].answered(&sync.call, &text, &self.shard.signing, self.shard.now()));
        if let Some(request) = sync.request {
            self.go_on(request, |verification, view, shard| verification.next(view, shard.now()));
        }
    }

    fn lose(&mut self, which: Index, noticed: bool) {
        if self.syncs.is_empty() {
            return;
        }
        let sync = self.syncs.remove(which.index(self.syncs.len()));
        if !noticed {
            return;
        }
        self.views[sync.view].failed(&sync.call, self.shard.now());
        if let Some(request) = sync.request {
            self.go_on(request, |verification, view, shard| verification.next(view, shard.now()));
        }
    }

    /// The states that may be decided by now: what was so at some time within `millis`, or since `began`.
    fn within<T: Copy>(&self, states: &[Since<T>], millis: u64, began: Option<u64>) -> Vec<T> {
        let ends = states.iter().skip(1).map(Some).chain([None]);
        let may = |end: Option<&Since<T>>| match (end, began) {
            (None, _) => true,
            (Some(end), Some(began)) => end.command > began,
            (Some(end), None) => end.at + millis > self.shard.now.get(),
        };
        states.iter().zip(ends).filter(|(_, end)| may(*end)).map(|(since, _)| since.state).collect()
    }

    fn check(&self, request: &Request, verdict: &Verdict) {
        let (decision, millis) = match verdict {
            Verdict::Undetermined => return,
            Verdict::Unknown => panic!("the key exists"),
            Verdict::Decided(decision) => (decision, LEASE_MS),
            Verdict::InGrace(decision) => {
                assert!(!request.strict);
                (decision, LEASE_MS + GRACE_MS)
            }
        };
        let subject = &self.subjects[request.subject];
        let began = request.strict.then_some(request.began);
        let keys = self.within(&subject.key, millis, began);
        let suspended = self.within(&subject.suspended, millis, began);
        let (key_fits, account_fits) = match decision {
            Decision::Allow(_) => (keys.contains(&Key::Active), suspended.contains(&false)),
            Decision::Deny(Denial::InvalidToken { fault: TokenFault::Revoked, .. }) => {
                (keys.contains(&Key::Revoked), true)
            }
            Decision::Deny(Denial::InvalidToken { fault: TokenFault::Disabled, .. }) => {
                (keys.contains(&Key::Disabled), true)
            }
            Decision::Deny(Denial::AccountInactive(AccountFault::Suspended)) => {
                (keys.contains(&Key::Active), suspended.contains(&true))
            }
            Decision::Deny(denial) => panic!("{denial:?}"),
        };
        let now = self.shard.now.get();
        let key = (&subject.key, &subject.suspended);
        assert!(key_fits && account_fits, "{verdict:?} at {now}, strict since {began:?}, but {key:?}");
    }

    /// Everything under way dies, a lease passes, and then everybody is asked about every key, with an honest Authority
    /// and the worst of KVs.
    fn quiet(&mut self, mut random: impl FnMut() -> Index) {
        (self.reading, self.waiting, self.syncs) = Default::default();
        self.shard.advance(LEASE_MS + GRACE_MS);
        for view in 0..VIEWS {
            for subject in 0..self.subjects.len() {
                let before = self.shard.now.get();
                let verdict = self.honestly(view, subject, &mut random);
                let truth = &self.subjects[subject];
                let allowed = truth.key.last().unwrap().state == Key::Active && !truth.suspended.last().unwrap().state;
                assert_eq!(is_allowed(&verdict), allowed, "{verdict:?}");
                assert!(matches!(verdict, Verdict::Decided(_)), "{verdict:?}");
                assert_eq!(self.shard.now.get(), before);
            }
        }
    }

    fn honestly(&mut self, view: usize, subject: usize, random: &mut impl FnMut() -> Index) -> Verdict {
        let Subject { tenant, grants, accounts, .. } = &self.subjects[subject];
        let (view, shard) = (&mut self.views[view], &self.shard);
        let mut verification = Verification::new(tenant.key, Demand::default());
        let mut step = verification.next(view, shard.now());
        let mut syncs = 0;
        loop {
            step = match step {
                Step::Done(verdict) => return verdict,
                Step::ReadAddress => panic!("no key is limited"),
                Step::ReadMirror(_) => {
                    let (grant, account) = (random().get(grants), random().get(accounts));
                    let evidence = Evidence { grant: Some(grant), account: Some(account) };
                    verification.mirror_read(view, &shard.signing, Some(evidence), shard.now())
                }
                Step::Sync(call) => {
                    syncs += 1;
                    assert_eq!(syncs, 1, "a request asks once");
                    let text = shard.sync(&call.request, Terms { lease_ms: LEASE_MS, grace_ms: 0 }).text;
                    assert!(view.answered(&call, &text, &shard.signing, shard.now()));
                    verification.next(view, shard.now())
                }
                Step::Wait(_) => panic!("everything under way is dead"),
            };
        }
    }
}

proptest! {
    // Each case is a history of many events, so fewer of them: 64, unless `PROPTEST_CASES` asks for more.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_decided_by_what_has_not_been_so_for_longer_than_a_lease(
        events in prop::collection::vec(event(), 1..150),
        choices in prop::collection::vec(any::<Index>(), 8),
    ) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        let mut choices = choices.into_iter().cycle();
        world.quiet(|| choices.next().unwrap());
    }
}

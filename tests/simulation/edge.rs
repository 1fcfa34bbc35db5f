//! Isolates: the real verifier, driven as its adapter does (src/cloudflare/verifier.rs and stub.rs).

use std::{collections::BTreeSet, rc::Rc};

use keygate::{
    authority::{
        outbox::KvKey,
        sync::{SyncAnswer, SyncRequest},
    },
    credential::RecognisedKey,
    edge::{Call, Evidence, Missing, Presented, Step, TELL_AFTER_MS, Verdict, Verification, View},
    policy::{Address, Decision, Demand, UnixMillis},
};

use super::{
    coverage::Point,
    deploys::{Deploy, OLD_PEPPER},
    knobs::Fault,
    lens::Lens,
    mirror::Text,
    object::{Question, What},
    rng::{Clock, MS, Micros, SECOND},
    truth::Key,
    world::{Event, World},
};

pub struct Isolate {
    pub alive: bool,
    pub location: usize,
    pub clock: Clock,
    pub deploy: Deploy,
    pub lenses: Vec<Lens>,
    /// Keys that it has refused as revoked.
    pub refused: BTreeSet<usize>,
    pub asked_at: Micros,
}

/// A request in the middle of being decided.
pub struct Request {
    pub id: u64,
    pub isolate: usize,
    pub shard: usize,
    /// Which key; none of the truth's = a genuine text of which nothing is known.
    pub subject: usize,
    pub demand: Demand,
    pub began: Micros,
    /// Where it comes from.
    pub address: Option<Address>,
    verification: Verification,
    waited: bool,
    syncs: u32,
    /// Which copies it wants from KV.
    wants: Option<Missing>,
    /// What KV said; `Some(None)` = it failed.
    read: Option<Option<(Text, Text)>>,
}

pub const UNKNOWN: usize = usize::MAX;

/// An address in the block that some keys are limited to.
pub const INSIDE: &str = "192.0.2.7";

/// That block.
pub const BLOCK: &str = "192.0.2.0/24";

/// A sync under way.
pub struct Flight {
    pub isolate: usize,
    pub shard: usize,
    call: Call,
    sent_local: UnixMillis,
    drops: u64,
    /// By then its isolate takes it for lost, or a little later.
    until: Micros,
    request: Option<Request>,
    repeated: bool,
    /// It was begun without the faults that lose syncs or set clocks back: what those leave under way outlasts them.
    well: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    Next,
    Mirror,
}

impl World {
    pub fn bear_isolate(&mut self) -> usize {
        let seeds: Vec<u64> = (0..self.knobs.shards).map(|_| self.rng.next()).collect();
        let lenses = seeds.iter().zip(&self.shards);
        let lenses = lenses.map(|(seed, shard)| Lens::new(View::new(shard.slot, self.knobs.shards, *seed)));
        let lenses = lenses.collect();
        let isolate = Isolate {
            alive: true,
            location: self.rng.index(self.knobs.locations),
            clock: Clock::new(&mut self.rng, 500),
            deploy: self.deploy.clone(),
            lenses,
            refused: BTreeSet::new(),
            asked_at: self.now,
        };
        self.isolates.push(isolate);
        self.isolates.len() - 1
    }

    pub fn evict(&mut self, isolate: usize) {
        self.met(Point::IsolateEvicted);
        self.tell(|_| format!("isolate {isolate} is evicted"));
        self.isolates[isolate].alive = false;
        let before = self.requests.len() + self.flights.len();
        self.requests.retain(|_, request| request.isolate != isolate);
        self.flights.retain(|_, flight| flight.isolate != isolate);
        if self.requests.len() + self.flights.len() < before {
            self.met(Point::EvictedMidRequest);
        }
    }

    /// The clock is set back, far enough that every view that has a lease can see it.
    pub fn set_clock_back(&mut self, isolate: usize) {
        let now = self.now;
        let place = &mut self.isolates[isolate];
        let shown = place.clock.at(now).as_millis();
        let earliest = place.lenses.iter().filter(|lens| lens.used).map(|lens| lens.seen).min().unwrap_or(shown);
        let more = self.rng.range(0, 20_000);
        let place = &mut self.isolates[isolate];
        place.clock.set_back(shown.saturating_sub(earliest) + 60 + more);
        self.met(Point::IsolateClockSetBack);
        self.tell(|_| format!("isolate {isolate}: its clock is set back"));
        // It is looked at before as much time has passed as it was set back by: more than that, nobody could see.
        for shard in 0..self.shards.len() {
            if self.isolates[isolate].lenses[shard].used {
                let now = self.isolates[isolate].clock.at(now);
                self.tick(isolate, shard, now);
                if let Some(call) = self.isolates[isolate].lenses[shard].view.renewal(now) {
                    self.send(isolate, shard, call, now, None);
                }
            }
        }
    }

    /// What the isolate's clock shows in this turn: it stands still from the turn's beginning on.
    fn clock(&mut self, isolate: usize) -> UnixMillis {
        let stalls = self.has(Fault::Stall) && self.rng.chance(100);
        let lag = if stalls { self.rng.range(MS, 40 * MS) } else { 0 };
        if lag > 20 * MS {
            self.met(Point::SlowTurn);
        }
        self.isolates[isolate].clock.at(self.now.saturating_sub(lag))
    }

    /// A request comes to an isolate, with some key's text.
    pub fn present(&mut self, isolate: usize, subject: usize, text: &str, demand: Demand) {
        match self.memo.present(text, &self.isolates[isolate].deploy.peppers) {
            Presented::Recognised(key) => {
                let Some(shard) = self.shards.iter().position(|shard| shard.slot == key.account.slot) else { return };
                self.isolates[isolate].asked_at = self.now;
                self.begin(isolate, shard, subject, key, demand);
            }
            Presented::Forged => {
                self.met(Point::Forged);
                let deploy = &self.isolates[isolate].deploy;
                let gone = |key: &Key| key.recognised.pepper_id == OLD_PEPPER && deploy.forgot_old_pepper();
                if self.truth.keys.get(subject).is_some_and(gone) {
                    return self.met(Point::OldPepper);
                }
                if subject != UNKNOWN {
                    self.violate("I19", format!("isolate {isolate} does not recognise key {subject}"));
                }
            }
            other => self.violate("I11", format!("a key is {other:?}")),
        }
    }

    pub fn begin(&mut self, isolate: usize, shard: usize, subject: usize, key: RecognisedKey, demand: Demand) {
        let id = self.number();
        let verification = Verification::new(key, demand.clone());
        let address = if self.rng.chance(300) { "198.51.100.1" } else { INSIDE };
        let request = Request {
            id,
            isolate,
            shard,
            subject,
            demand,
            began: self.now,
            address: Address::parse(address),
            verification,
            waited: false,
            syncs: 0,
            wants: None,
            read: None,
        };
        self.drive(request, Resume::Next);
    }

    /// One turn of a request.
    pub fn drive(&mut self, mut request: Request, resume: Resume) {
        let (isolate, shard) = (request.isolate, request.shard);
        if !self.isolates[isolate].alive {
            return;
        }
        let now = self.clock(isolate);
        let shown = self.tick(isolate, shard, now);
        if resume == Resume::Mirror {
            // The entry keeps nothing of a request but what KV said, and begins anew.
            request.read = Some(self.read_mirror(&request));
            request.verification = Verification::new(*request.verification.key(), request.demand.clone());
        }
        let place = &mut self.isolates[isolate];
        let view = &mut place.lenses[shard].view;
        let mut step = request.verification.next(view, now);
        if let (Step::ReadMirror(_), Some(read)) = (&step, &request.read) {
            let evidence =
                read.as_ref().map(|(grant, account)| Evidence { grant: grant.as_deref(), account: account.as_deref() });
            step = request.verification.mirror_read(view, &place.deploy.signing, evidence, now);
        }
        if step == Step::ReadAddress {
            request.verification.comes_from(request.address);
            step = request.verification.next(view, now);
            let allowed = matches!(&step, Step::Done(Verdict::Decided(Decision::Allow(_))));
            self.coverage.met(if allowed { Point::AllowedFromAddress } else { Point::AddressRead });
        }
        let read_now = resume == Resume::Mirror && matches!(request.read, Some(Some(_)));
        match step {
            Step::Done(verdict) => {
                if read_now {
                    self.met(Point::MirrorBelieved);
                }
                if request.syncs == 0 && request.wants.is_none() && matches!(verdict, Verdict::Decided(_)) {
                    self.met(Point::FromCache);
                }
                if verdict == Verdict::Unknown && request.syncs == 0 {
                    self.met(Point::UnknownRemembered);
                }
                self.finish(&request, &verdict, now, shown);
            }
            Step::ReadAddress => panic!("it was said"),
            Step::ReadMirror(missing) => {
                self.met(Point::ReadMirror);
                if missing == Missing::Grant {
                    self.met(Point::ReadGrantAlone);
                }
                request.wants = Some(missing);
                let delay = self.rng.latency(10 * MS, 500 * MS);
                self.park(request, delay, Resume::Mirror);
            }
            Step::Sync(call) => {
                if read_now {
                    self.met(Point::MirrorNotBelieved);
                }
                self.met(if request.waited { Point::WaitedThenAsked } else { Point::AskedAuthority });
                request.syncs += 1;
                if request.syncs > 1 {
                    self.met(Point::SecondSync);
                }
                self.send(isolate, shard, *call, now, Some(request));
            }
            Step::Wait(millis) => {
                self.met(Point::Waited);
                request.waited = true;
                let delay = self.isolates[isolate].clock.lasts(millis.into());
                self.park(request, delay, Resume::Next);
            }
        }
    }

    fn park(&mut self, request: Request, delay: Micros, resume: Resume) {
        let id = request.id;
        self.requests.insert(id, request);
        self.after(delay, Event::Step(id, resume));
    }

    /// None = KV fails.
    fn read_mirror(&mut self, request: &Request) -> Option<(Text, Text)> {
        let faults = self.has(Fault::Kv);
        if self.now < self.kv.outage_until || faults && self.rng.chance(50) {
            self.met(Point::KvReadFailed);
            return None;
        }
        let key = request.verification.key();
        let (digest, account) = (key.digest, key.account);
        let location = self.isolates[request.isolate].location;
        let wanted = [(KvKey::grant(&digest), true), (KvKey::account(account), request.wants != Some(Missing::Grant))];
        let [grant, account] = wanted.map(|(name, wanted)| {
            if !wanted {
                return None;
            }
            let (value, cached) = self.kv.read(&mut self.rng, location, &name.text(), faults, self.now);
            if cached {
                self.coverage.met(if value.is_some() { Point::KvStale } else { Point::KvCachedMiss });
            }
            let wire = self.isolates[request.isolate].deploy.wire;
            let read = value.as_ref().map(|text| wire.read_copy(text));
            if read.as_ref().is_some_and(|text| !text.starts_with("v1.")) {
                self.coverage.met(Point::CopyOfOtherVersion);
            }
            read
        });
        Some((grant, account))
    }

    /// What is done with a verdict, and behind it.
    fn finish(&mut self, request: &Request, verdict: &Verdict, now: UnixMillis, shown: u64) {
        self.judge(request, verdict, shown);
        let (isolate, shard) = (request.isolate, request.shard);
        let digest = request.verification.key().digest;
        let in_grace = matches!(verdict, Verdict::InGrace(_));
        let lens = &mut self.isolates[isolate].lenses[shard];
        let view = &mut lens.view;
        let tell = match verdict {
            Verdict::Decided(Decision::Allow(principal)) | Verdict::InGrace(Decision::Allow(principal)) => {
                lens.told.entry((digest, None)).or_default().0 += 1;
                view.used(&digest, principal.scopes_used, in_grace, now)
            }
            Verdict::Decided(Decision::Deny(denial)) | Verdict::InGrace(Decision::Deny(denial)) => {
                denial.reason().is_some_and(|reason| {
                    lens.told.entry((digest, Some(reason as usize))).or_default().0 += 1;
                    view.refused(&digest, reason, now)
                })
            }
            Verdict::Unknown | Verdict::Undetermined => false,
        };
        let renewal = view.renewal(now);
        if let Some(call) = renewal {
            self.met(Point::Renewal);
            self.send(isolate, shard, call, now, None);
        }
        if tell {
            let delay = self.isolates[isolate].clock.lasts(TELL_AFTER_MS);
            self.after(delay, Event::Tell { isolate, shard });
        }
    }

    pub fn tell_uses(&mut self, isolate: usize, shard: usize) {
        if !self.isolates[isolate].alive {
            return;
        }
        let now = self.clock(isolate);
        self.tick(isolate, shard, now);
        if let Some(call) = self.isolates[isolate].lenses[shard].view.tell(now) {
            self.met(Point::Told);
            self.send(isolate, shard, call, now, None);
        }
    }

    fn send(&mut self, isolate: usize, shard: usize, call: Call, now: UnixMillis, request: Option<Request>) {
        let flight = self.number();
        self.check_known(isolate, shard, &call.request);
        self.check_told(isolate, shard, &call.request);
        let text: Rc<str> = self.isolates[isolate].deploy.wire.question(call.request.text()).into();
        self.tell(|_| {
            let known = call.request.known.as_ref().map(|known| (known.sequence, known.cursor));
            format!(
                "isolate {isolate}: sync {flight} to slot {shard}, knows {known:?}, wants {}",
                call.request.wants.len()
            )
        });
        let deadline = self.isolates[isolate].clock.lasts(call.deadline_ms);
        self.after(deadline, Event::Deadline { flight });
        // The latest time seen counts, as everywhere.
        let sent_local = UnixMillis::from_millis(self.isolates[isolate].lenses[shard].seen.max(now.as_millis()));
        let until = (self.now + deadline).saturating_sub(50 * MS);
        let drops = self.isolates[isolate].lenses[shard].drops;
        let well = ![Fault::Network, Fault::Clock].into_iter().any(|fault| self.has(fault));
        let begun = Flight { isolate, shard, call, sent_local, drops, until, request, repeated: false, well };
        self.flights.insert(flight, begun);
        let counts =
            |other: &&Flight| other.well && other.isolate == isolate && other.shard == shard && other.until > self.now;
        let under_way = self.flights.values().filter(counts).count();
        if under_way > 4 {
            self.violate("S6", format!("isolate {isolate} has {under_way} syncs of slot {shard} under way"));
        }
        self.ship(shard, flight, text);
    }

    fn ship(&mut self, shard: usize, flight: u64, text: Rc<str>) {
        let mut delay = self.rng.latency(20 * MS, 200 * MS);
        if self.has(Fault::Network) {
            let isolate = self.flights.get(&flight).map_or(usize::MAX, |flight| flight.isolate);
            if self.lures.is_cut_off(isolate, self.now) {
                return;
            }
            if let Some(by) = self.lures.take_late(isolate, false) {
                self.met(Point::MessageLate);
                let late = Event::Reach(Question { shard, what: What::Sync { flight, text } });
                return self.after(delay + by, late);
            }
            if self.rng.chance(25) {
                self.met(Point::MessageLost);
                return;
            }
            if self.rng.chance(60) {
                self.met(Point::MessageLate);
                let long = if self.rng.chance(200) { 4 * SECOND } else { SECOND };
                delay += self.rng.range(SECOND / 10, long);
            }
            if self.rng.chance(8) {
                self.met(Point::FlightDiedUnnoticed);
                self.flights.remove(&flight);
            }
        }
        self.after(delay, Event::Reach(Question { shard, what: What::Sync { flight, text } }));
    }

    pub fn deadline(&mut self, flight: u64) {
        if self.flights.contains_key(&flight) {
            self.tell(|_| format!("sync {flight}: no answer in time"));
            self.met(Point::AnswerAfterDeadline);
            self.end_flight(flight, None);
        }
    }

    /// A sync ends for the isolate, or is repeated.
    pub fn answer(&mut self, id: u64, answer: Result<Rc<str>, bool>) {
        match answer {
            Ok(text) => self.end_flight(id, Some(text)),
            Err(repeat) => {
                let Some(flight) = self.flights.get_mut(&id) else { return };
                if !repeat || flight.repeated {
                    return self.end_flight(id, None);
                }
                flight.repeated = true;
                let request = &flight.call.request;
                let again = SyncRequest { uses: Vec::new(), counted: Vec::new(), graced: 0, ..request.clone() };
                let again = if super::bugs::is("UsesTwice") { request.clone() } else { again };
                let (isolate, shard) = (flight.isolate, flight.shard);
                self.met(Point::SyncRepeated);
                self.check_told(isolate, shard, &again);
                let text = self.isolates[isolate].deploy.wire.question(again.text());
                self.ship(shard, id, text.into());
            }
        }
    }

    fn end_flight(&mut self, id: u64, text: Option<Rc<str>>) {
        let Some(flight) = self.flights.remove(&id) else { return };
        let Flight { isolate, shard, call, sent_local, drops, request, .. } = flight;
        if !self.isolates[isolate].alive {
            return;
        }
        let now = self.clock(isolate);
        self.tick(isolate, shard, now);
        let deploy = self.isolates[isolate].deploy.clone();
        let lens = &mut self.isolates[isolate].lenses[shard];
        match &text {
            Some(text) => {
                let (mine, text) = (deploy.wire.is_mine(text), &deploy.wire.read_answer(text));
                if !mine {
                    self.coverage.met(Point::AnswerOfOtherVersion);
                }
                if !lens.view.answered(&call, text, &deploy.signing, now) && mine {
                    self.violate("I10", format!("isolate {isolate} does not understand {text}"));
                    return;
                }
                if let Some(answer) = SyncAnswer::parse(text) {
                    self.note_answer(isolate, shard, (sent_local, drops), &answer, call.request.known.as_ref());
                }
            }
            None => lens.view.failed(&call, now),
        }
        if let Some(request) = request {
            self.drive(request, Resume::Next);
        }
    }
}

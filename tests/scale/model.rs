//! The model: isolates, each with the verifier's own `View`, around one slot's Authority. Events happen in the order of
//! their time; a seed repeats a run exactly.

use std::rc::Rc;

use keygate::{
    authority::{
        command::{AccountChange, Command, Edit, KeyChange},
        outbox::{KvKey, Put},
    },
    edge::{Call, Evidence, Missing, Step, TELL_AFTER_MS, Verdict, Verification, View},
    policy::{Decision, Demand, UnixMillis},
};

use super::{
    authority::{BEGINNING_MS, Key, Object, Population, SLOT, new_key},
    measures::{Measures, Path},
    mirror::Mirror,
    queue::Queue,
    random::Random,
    relay::Relay,
    traffic::Traffic,
    trips::{Arrival, Then, Trip},
    world::REGIONS,
};

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Setting {
    pub seed: u64,
    pub lease_ms: u64,
    pub locations: usize,
    /// Isolates in use when most are.
    pub isolates: usize,
    pub accounts: usize,
    pub keys: usize,
    /// In the mean over the day, in all locations together.
    pub requests_per_second: f64,
    pub changes_per_day: f64,
    /// A day passes in so many minutes; everything else takes as long as it takes.
    pub day_minutes: f64,
    /// Before that, uncounted.
    pub warm_up_minutes: f64,
    /// The slots that accounts are spread over. One is looked at, and a request in so many is for it.
    pub slots: usize,
    /// Isolates ask a relay in their region, which asks the Authority.
    pub relays: bool,
    /// Syncs that an object can answer in a second; none = any number.
    pub capacity: Option<f64>,
}

/// Isolates live as long as this in the mean, and end when they were not used for ten minutes.
const LIFE_US: f64 = 1_200e6;
const IDLE_US: u64 = 600_000_000;

/// How long a decision waits for KV, as in the Worker.
const KV_DEADLINE_US: u64 = 500_000;

/// The holder of a revoked key goes on using it for so long, and then has a new one.
const REPLACED_AFTER_US: u64 = 120_000_000;

/// A KV put takes so long, in milliseconds.
const PUT: &[(f64, f64)] = &[(0.0, 40.0), (0.5, 120.0), (0.99, 900.0), (1.0, 3_000.0)];

pub enum Event {
    /// The next request comes to a location.
    Arrive(usize),
    /// KV has answered, or a wait is over.
    GoOn(usize),
    Reach(Box<Trip>),
    Land(Box<Arrival>),
    Tell {
        isolate: usize,
        generation: u32,
        left: u8,
    },
    Alarm(UnixMillis),
    PutDone(Box<Put>),
    Change,
    Replace(u32),
    Sample,
    RelayRenews(usize),
    RelayReach(Box<super::trips::RelayTrip>),
    RelayLand(Box<super::trips::RelayTrip>),
}

pub struct Isolate {
    pub view: View,
    pub location: usize,
    /// Which isolate it is of those that had its place.
    pub generation: u32,
    dies_at: u64,
    used_at: u64,
    /// Requests that are being decided in it.
    busy: u32,
}

/// What KV says: the grant and the account, or nothing in time.
type Said = Option<[Option<Rc<str>>; 2]>;

/// A request that waits for something.
struct Pending {
    verification: Verification,
    isolate: usize,
    key: u32,
    began: u64,
    path: Path,
    /// How many copies KV is asked for, and what it will say.
    read: Option<(u64, Said)>,
}

pub struct Model<'p> {
    pub setting: Setting,
    pub population: &'p Population,
    pub traffic: &'p Traffic,
    pub random: Random,
    /// Microseconds.
    pub now: u64,
    queue: Queue<Event>,
    pub isolates: Vec<Isolate>,
    /// The first isolate of each location.
    places: Vec<usize>,
    pending: Vec<Option<Pending>>,
    free: Vec<usize>,
    pub object: Object<'p>,
    /// When the last write is durable.
    pub durable_at: u64,
    /// When the object has answered what came so far.
    pub idle_at: u64,
    pub relays: Vec<Relay>,
    mirror: Mirror<'p>,
    keys: Vec<Key>,
    revoked_at: Vec<Option<u64>>,
    alarm: Option<UnixMillis>,
    pub measures: Measures,
    pub events: u64,
}

impl<'p> Model<'p> {
    pub fn new(setting: &Setting, population: &'p Population, traffic: &'p Traffic) -> Self {
        population.sql.back();
        let mut random = Random::new(setting.seed);
        let (mut isolates, mut places) = (Vec::new(), Vec::new());
        for (location, here) in traffic.locations.iter().enumerate() {
            places.push(isolates.len());
            isolates.extend((0..here.isolates).map(|_| Isolate {
                view: View::new(SLOT, setting.slots, random.next()),
                location,
                generation: 0,
                dies_at: random.exponential(LIFE_US) as u64,
                used_at: 0,
                busy: 0,
            }));
        }
        let mut model = Model {
            setting: setting.clone(),
            population,
            traffic,
            random,
            now: 0,
            queue: Queue::default(),
            isolates,
            places,
            pending: Vec::new(),
            free: Vec::new(),
            object: Object::new(population, setting.lease_ms, UnixMillis::from_millis(BEGINNING_MS)),
            durable_at: 0,
            idle_at: 0,
            relays: REGIONS.iter().map(|_| Relay::default()).collect(),
            mirror: Mirror::new(&population.copies, traffic.locations.len()),
            keys: population.keys.clone(),
            revoked_at: vec![None; population.keys.len()],
            alarm: None,
            measures: Measures::default(),
            events: 0,
        };
        (0..model.places.len()).for_each(|location| model.next_arrival(location));
        if setting.relays {
            (0..REGIONS.len()).for_each(|region| model.at(0, Event::RelayRenews(region)));
        }
        model.at(0, Event::Change);
        model.at(0, Event::Sample);
        model
    }

    /// Runs it; `progress` hears of every hundredth, and of the events so far.
    pub fn run(mut self, mut progress: impl FnMut(f64, u64)) -> Self {
        let warm = (self.setting.warm_up_minutes * 60e6) as u64;
        let end = warm + (self.setting.day_minutes * 60e6) as u64;
        let mut told = 0;
        let mut counting = false;
        while let Some((time, event)) = self.queue.next() {
            if time >= end {
                break;
            }
            if time >= warm && !counting {
                counting = true;
                self.population.sql.take_bill();
                let before = self.object.alarms_set;
                let at_relays = vec![0; self.relays.len()];
                self.measures = Measures { alarms_set: before, at_relays, ..Measures::default() };
            }
            self.now = time;
            self.events += 1;
            self.happen(event);
            if time * 100 / end > told {
                told = time * 100 / end;
                progress(time as f64 / end as f64, self.events);
            }
        }
        self.measures.seconds = (end - warm) as f64 / 1e6;
        self.measures.at_slot.resize((end / 1_000_000) as usize, 0);
        self.measures.at_slot.drain(..(warm / 1_000_000) as usize);
        self.measures.alarms_set = self.object.alarms_set - self.measures.alarms_set;
        self.measures.bill = self.population.sql.take_bill();
        self
    }

    pub fn at(&mut self, time: u64, event: Event) {
        self.queue.add(time.max(self.now), event);
    }

    /// What clocks show.
    pub fn clock(&self) -> UnixMillis {
        UnixMillis::from_millis(BEGINNING_MS + self.now / 1_000)
    }

    /// The time of day in UTC, in hours.
    fn utc(&self) -> f64 {
        (self.now as f64 / 60e6 - self.setting.warm_up_minutes) / self.setting.day_minutes * 24.0
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(location) => {
                self.arrive(location);
                self.next_arrival(location);
            }
            Event::GoOn(number) => self.go_on(number),
            Event::Reach(trip) => self.reach(trip),
            Event::Land(arrival) => self.land(*arrival),
            Event::Tell { isolate, generation, left } => self.tell(isolate, generation, left),
            Event::Alarm(at) if self.alarm == Some(at) => {
                self.alarm = None;
                self.measures.alarms += 1;
                let puts = self.object.alarm(self.clock());
                self.begin_puts(puts);
            }
            Event::Alarm(_) => {}
            Event::PutDone(put) => {
                self.measures.kv_writes += 1;
                self.object.finished(&put, self.clock());
                self.mirror.put(put.kv_key, put.value);
            }
            Event::Change => {
                self.change();
                let mean = 86_400e6 / self.setting.changes_per_day;
                let next = self.now + self.random.exponential(mean) as u64;
                self.at(next, Event::Change);
            }
            Event::Replace(key) => {
                let account = self.keys[key as usize].recognised.account;
                self.command(new_key(account), Some(key));
            }
            Event::Sample => {
                let utc = self.utc();
                let in_use = self.traffic.locations.iter().map(|here| here.in_use(utc) as u64).sum();
                self.measures.in_use.push(in_use);
                self.at(self.now + 10_000_000, Event::Sample);
            }
            Event::RelayRenews(region) => self.relay_renews(region),
            Event::RelayReach(trip) => self.relay_reach(*trip),
            Event::RelayLand(trip) => self.relay_land(*trip),
        }
        if self.object.alarm_at != self.alarm {
            self.alarm = self.object.alarm_at;
            if let Some(at) = self.alarm {
                self.at((at.as_millis() - BEGINNING_MS) * 1_000, Event::Alarm(at));
            }
        }
    }

    fn next_arrival(&mut self, location: usize) {
        let here = &self.traffic.locations[location];
        let rate = here.rate(self.setting.requests_per_second, self.utc()) / self.setting.slots as f64;
        let next = self.now + self.random.exponential(1e6 / rate) as u64;
        self.at(next, Event::Arrive(location));
    }

    /// A request comes. Of a location's isolates the first are used the most.
    fn arrive(&mut self, location: usize) {
        let in_use = self.traffic.locations[location].in_use(self.utc());
        let unit = self.random.unit();
        let isolate = self.places[location] + ((unit * unit * in_use as f64) as usize).min(in_use - 1);
        self.keep_alive(isolate);
        let key = self.traffic.key(location, &mut self.random);
        let mut verification = Verification::new(self.keys[key as usize].recognised, Demand::default());
        let now = self.clock();
        let step = verification.next(&mut self.isolates[isolate].view, now);
        self.measures.requests += 1;
        self.isolates[isolate].busy += 1;
        let pending = Pending { verification, isolate, key, began: self.now, path: Path::AtOnce, read: None };
        if let Step::Done(verdict) = &step {
            return self.finish(&pending, verdict);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.pending.push(None);
            self.pending.len() - 1
        });
        self.pending[number] = Some(pending);
        self.proceed(number, step);
    }

    /// An isolate whose time is over makes room for a new one, which knows nothing.
    fn keep_alive(&mut self, number: usize) {
        let dies_at = self.now + self.random.exponential(LIFE_US) as u64;
        let isolate = &mut self.isolates[number];
        let over = isolate.dies_at <= self.now || isolate.used_at + IDLE_US < self.now;
        if isolate.busy == 0 && over && isolate.used_at > 0 {
            isolate.view = View::new(SLOT, self.setting.slots, self.random.next());
            isolate.generation += 1;
            isolate.dies_at = dies_at;
            self.measures.born += 1;
        }
        isolate.used_at = self.now;
    }

    fn go_on(&mut self, number: usize) {
        let now = self.clock();
        let Some(pending) = &mut self.pending[number] else { return };
        let view = &mut self.isolates[pending.isolate].view;
        let step = if let Some((asked, said)) = pending.read.take() {
            let evidence =
                said.as_ref().map(|[grant, account]| Evidence { grant: grant.as_deref(), account: account.as_deref() });
            let step = pending.verification.mirror_read(view, &self.population.signing, evidence, now);
            self.measures.kv_in_vain += if matches!(step, Step::Done(_)) { 0 } else { asked };
            step
        } else {
            pending.verification.next(view, now)
        };
        self.proceed(number, step);
    }

    fn proceed(&mut self, number: usize, step: Step) {
        let Some(pending) = &mut self.pending[number] else { return };
        match step {
            Step::ReadAddress => panic!("no key is limited"),
            Step::Done(verdict) => {
                if let Some(pending) = self.pending[number].take() {
                    self.free.push(number);
                    self.finish(&pending, &verdict);
                }
            }
            Step::ReadMirror(missing) => {
                let key = pending.verification.key();
                let location = self.isolates[pending.isolate].location;
                let account = (missing == Missing::Both).then_some(KvKey::account(key.account));
                let (mut micros, asked) = (0, 1 + u64::from(account.is_some()));
                self.measures.kv_reads += asked;
                let copies = [Some(KvKey::grant(&key.digest)), account].map(|name| {
                    let read = self.mirror.read(location, name?, self.now, &mut self.random);
                    self.measures.kv_cold += u64::from(read.cold);
                    micros = micros.max(read.micros);
                    read.copy
                });
                pending.path = Path::Mirror;
                pending.read = Some((asked, (micros < KV_DEADLINE_US).then_some(copies)));
                self.at(self.now + micros.min(KV_DEADLINE_US), Event::GoOn(number));
            }
            Step::Sync(call) => {
                pending.path = Path::Authority;
                let isolate = pending.isolate;
                self.send(isolate, call, Then::GoOn(number));
            }
            Step::Wait(millis) => {
                pending.path = Path::Authority;
                self.at(self.now + u64::from(millis) * 1_000, Event::GoOn(number));
            }
        }
    }

    /// A request whose sync has ended goes on.
    pub fn resume(&mut self, number: usize) {
        self.go_on(number);
    }

    fn finish(&mut self, pending: &Pending, verdict: &Verdict) {
        let path = if *verdict == Verdict::Undetermined { Path::Nobody } else { pending.path };
        self.measures.path(path).note(self.now - pending.began);
        let number = pending.isolate;
        self.isolates[number].busy -= 1;
        let accepted = matches!(verdict, Verdict::Decided(Decision::Allow(_)));
        let now = self.clock();
        let view = &mut self.isolates[number].view;
        let tell = accepted && view.used(&pending.verification.key().digest, 1, false, now);
        let renewal = view.renewal(now);
        if let Some(call) = renewal {
            self.send(number, Box::new(call), Then::Nothing);
        }
        if tell {
            let generation = self.isolates[number].generation;
            self.at(self.now + TELL_AFTER_MS * 1_000, Event::Tell { isolate: number, generation, left: 2 });
        }
        if accepted {
            self.measures.accepted += 1;
            // The key may have got another text meanwhile.
            let same = self.keys[pending.key as usize].recognised == *pending.verification.key();
            let revoked_at = self.revoked_at[pending.key as usize].filter(|_| same);
            self.measures.late += u64::from(revoked_at.is_some_and(|at| self.now > at + self.setting.lease_ms * 1_000));
        }
    }

    /// As the Worker does it: tells twice, for the first sync after a failure tells nothing.
    pub fn tell(&mut self, number: usize, generation: u32, left: u8) {
        let now = self.clock();
        let isolate = &mut self.isolates[number];
        if isolate.generation == generation
            && left > 0
            && let Some(call) = isolate.view.tell(now)
        {
            self.send(number, Box::new(call), Then::Tell(left - 1));
        }
    }

    fn send(&mut self, number: usize, call: Box<Call>, then: Then) {
        let cause = match then {
            Then::GoOn(_) => 0,
            Then::Nothing => 1,
            Then::Tell(1) => 2,
            Then::Tell(_) => 3,
        };
        self.measures.sent[cause] += 1;
        self.depart(number, call, then);
    }

    /// Requests that are being decided.
    pub fn waiting(&self) -> u64 {
        self.pending.iter().flatten().count() as u64
    }

    fn change(&mut self) {
        let key = self.traffic.any_key(&mut self.random);
        let place = key as usize;
        let Key { recognised, id } = self.keys[place];
        let account = recognised.account;
        let disabled = self.random.chance(0.5);
        match self.random.below(5) {
            0 => {
                let change = KeyChange { disabled: Edit::Set(disabled), ..KeyChange::default() };
                self.command(Command::ChangeKey { account, key: id, change }, None);
            }
            1 => {
                let features = Edit::Set(vec![format!("feature-{}", self.random.below(1_000))]);
                let change = AccountChange { features, ..AccountChange::default() };
                self.command(Command::ChangeAccount { account, change }, None);
            }
            _ if self.revoked_at[place].is_none() => {
                self.command(Command::RevokeKey { account, key: id }, None);
                self.revoked_at[place] = Some(self.now);
                self.at(self.now + REPLACED_AFTER_US, Event::Replace(key));
            }
            _ => {}
        }
    }

    /// Carries out a command; the key that it issues takes the place of another.
    fn command(&mut self, command: Command, place: Option<u32>) {
        self.measures.commands += 1;
        let Some((answer, puts)) = self.object.command(command, self.clock()) else { return };
        if let (Some(place), Some(key)) = (place, self.object.issued(&answer)) {
            self.keys[place as usize] = key;
            self.revoked_at[place as usize] = None;
        }
        self.begin_puts(puts);
    }

    fn begin_puts(&mut self, puts: Vec<Put>) {
        for put in puts {
            let micros = self.random.quantile(PUT) * 1_000.0;
            self.at(self.now + micros as u64, Event::PutDone(Box::new(put)));
        }
    }
}

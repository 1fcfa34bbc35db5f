//! The way of a sync: to the Authority or to a relay, and back, or not.

use keygate::{
    authority::sync::{SyncRequest, Want},
    edge::Call,
    policy::UnixMillis,
};

use super::{
    model::{Event, Model},
    world,
};

/// One sync in so many is lost, on its way or back.
const LOST: f64 = 1e-4;

/// What an object writes is durable after so long, and its answers wait for that.
const DURABLE_US: u64 = 5_000;

/// An object that would answer only after so long refuses at once.
const OVERLOADED_US: u64 = 5_000_000;

/// What comes after a sync.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    Nothing,
    /// The request goes on.
    GoOn(usize),
    /// So many tellings may follow.
    Tell(u8),
}

/// A sync that an isolate has sent.
pub struct Trip {
    isolate: usize,
    generation: u32,
    call: Box<Call>,
    then: Then,
    sent_at: u64,
    /// The way back, in microseconds.
    back: u64,
    /// It has waited for its turn.
    waited: bool,
}

/// A sync that comes back.
pub struct Arrival {
    trip: Box<Trip>,
    /// None: it failed.
    text: Option<String>,
}

/// A sync of a relay's own, and whom it is to answer then.
pub struct RelayTrip {
    region: usize,
    request: SyncRequest,
    asked: Option<Box<Trip>>,
    sent_at: UnixMillis,
    back: u64,
    text: String,
}

impl Model<'_> {
    /// An isolate sends a sync.
    pub fn depart(&mut self, isolate: usize, call: Box<Call>, then: Then) {
        let Self { traffic, random, isolates, .. } = self;
        let here = &traffic.locations[isolates[isolate].location];
        let millis = if self.setting.relays { here.to_relay_ms(random) } else { here.to_authority_ms(random) };
        let back = (millis * 500.0) as u64;
        let lost = random.chance(LOST);
        let generation = isolates[isolate].generation;
        let trip = Box::new(Trip { isolate, generation, call, then, sent_at: self.now, back, waited: false });
        if lost {
            return self.give_up(trip);
        }
        self.at(self.now + back, Event::Reach(trip));
    }

    /// A sync has come where it is answered.
    pub fn reach(&mut self, mut trip: Box<Trip>) {
        if self.setting.relays {
            return self.reach_relay(trip);
        }
        if !trip.waited {
            self.count_at_slot();
        }
        if let Some(capacity) = self.setting.capacity.filter(|_| !trip.waited) {
            if self.idle_at > self.now + OVERLOADED_US {
                let back = self.now + trip.back;
                return self.at(back, Event::Land(Box::new(Arrival { trip, text: None })));
            }
            self.idle_at = self.idle_at.max(self.now) + (1e6 / capacity) as u64;
            trip.waited = true;
            return self.at(self.idle_at, Event::Reach(trip));
        }
        let (text, leaves_at) = self.ask_object(&trip.call.request);
        self.answer(trip, text, leaves_at);
    }

    fn count_at_slot(&mut self) {
        let second = (self.now / 1_000_000) as usize;
        let at_slot = &mut self.measures.at_slot;
        if at_slot.len() <= second {
            at_slot.resize(second + 1, 0);
        }
        at_slot[second] += 1;
    }

    /// What the Authority says now, and when that leaves it.
    fn ask_object(&mut self, request: &SyncRequest) -> (String, u64) {
        let request = SyncRequest::parse(&request.text()).unwrap();
        let answered = self.object.sync(&request, self.clock());
        if answered.wrote {
            self.durable_at = self.now + DURABLE_US;
        }
        (answered.text, self.durable_at.max(self.now))
    }

    fn answer(&mut self, trip: Box<Trip>, text: String, leaves_at: u64) {
        let arrives_at = leaves_at + trip.back;
        if arrives_at > trip.sent_at + trip.call.deadline_ms * 1_000 {
            return self.give_up(trip);
        }
        self.at(arrives_at, Event::Land(Box::new(Arrival { trip, text: Some(text) })));
    }

    /// It is given up when its time is over.
    fn give_up(&mut self, trip: Box<Trip>) {
        let until = trip.sent_at + trip.call.deadline_ms * 1_000;
        self.at(until, Event::Land(Box::new(Arrival { trip, text: None })));
    }

    /// A sync is back in its isolate.
    pub fn land(&mut self, arrival: Arrival) {
        let Arrival { trip, text } = arrival;
        let now = self.clock();
        let isolate = &mut self.isolates[trip.isolate];
        if isolate.generation != trip.generation {
            self.measures.sync_forgotten += 1;
            return;
        }
        match text {
            Some(text) => {
                assert!(isolate.view.answered(&trip.call, &text, &self.population.signing, now), "{text}");
                self.measures.sync_answered += 1;
            }
            None => {
                isolate.view.failed(&trip.call, now);
                self.measures.sync_failed += 1;
            }
        }
        match trip.then {
            Then::Nothing => {}
            Then::GoOn(number) => self.resume(number),
            Then::Tell(left) => self.tell(trip.isolate, trip.generation, left),
        }
    }

    fn reach_relay(&mut self, trip: Box<Trip>) {
        let region = self.traffic.locations[self.isolates[trip.isolate].location].region;
        if let Some(count) = self.measures.at_relays.get_mut(region) {
            *count += 1;
        }
        let now = self.clock();
        match self.relays[region].take(&trip.call.request, now) {
            None => self.answer_from_relay(region, trip),
            Some(missing) => self.relay_asks(region, missing, Some(trip)),
        }
        if self.relays[region].waiting() >= 256 {
            self.relay_asks(region, Vec::new(), None);
        }
    }

    fn answer_from_relay(&mut self, region: usize, trip: Box<Trip>) {
        match self.relays[region].answer(&trip.call.request, self.clock()) {
            Some(text) => self.answer(trip, text, self.now),
            None => self.give_up(trip),
        }
    }

    /// A relay renews its lease, so that what it gives is nearly a whole one.
    pub fn relay_renews(&mut self, region: usize) {
        self.relay_asks(region, Vec::new(), None);
        self.at(self.now + self.setting.lease_ms * 100, Event::RelayRenews(region));
    }

    fn relay_asks(&mut self, region: usize, wants: Vec<Want>, asked: Option<Box<Trip>>) {
        let now = self.clock();
        let request = self.relays[region].question(wants, now);
        let back = (world::relay_to_authority_ms(region, &mut self.random) * 500.0) as u64;
        if self.random.chance(LOST) {
            if let Some(trip) = asked {
                self.give_up(trip);
            }
            return;
        }
        let trip = RelayTrip { region, request, asked, sent_at: now, back, text: String::new() };
        self.at(self.now + back, Event::RelayReach(Box::new(trip)));
    }

    pub fn relay_reach(&mut self, mut trip: RelayTrip) {
        self.count_at_slot();
        let (text, leaves_at) = self.ask_object(&trip.request);
        trip.text = text;
        self.at(leaves_at + trip.back, Event::RelayLand(Box::new(trip)));
    }

    pub fn relay_land(&mut self, trip: RelayTrip) {
        self.relays[trip.region].answered(&trip.text, trip.sent_at);
        if let Some(asked) = trip.asked {
            self.answer_from_relay(trip.region, asked);
        }
    }
}

//! The world: one queue of events in the order of true time, and everything that they happen to.

use std::{collections::BTreeMap, rc::Rc};

use keygate::authority::lease::{Terms, bound_ms};

use super::{
    acts::{Act, Lures},
    admin::{Admin, Reply, Subject},
    coverage::{Coverage, Point},
    deploys::Deploy,
    edge::{Flight, Isolate, Request, Resume},
    knobs::{Fault, Knobs},
    linear::Entry,
    memo::Memo,
    mirror::Kv,
    object::{Question, Shard},
    rng::{Micros, Rng},
    truth::Truth,
};

/// An invariant that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
}

pub enum Event {
    /// Something from outside.
    Stimulus,
    Step(u64, Resume),
    Reach(Question),
    Durable {
        shard: usize,
        instance: usize,
        upto: usize,
    },
    /// A sync's answer, or that there is none: then true if it may be repeated.
    Answer {
        flight: u64,
        answer: Result<Rc<str>, bool>,
    },
    Deadline {
        flight: u64,
    },
    PutArrives {
        shard: usize,
        instance: usize,
        put: u64,
    },
    PutEnds {
        shard: usize,
        instance: usize,
        put: u64,
        stored: bool,
    },
    PutAgain {
        name: String,
        value: Rc<str>,
    },
    Look {
        shard: usize,
        instance: usize,
        carry: u64,
    },
    AlarmLook {
        shard: usize,
        instance: usize,
        run: u64,
        round: u32,
    },
    Alarm {
        shard: usize,
        generation: u64,
    },
    Die {
        shard: usize,
        instance: usize,
    },
    Tell {
        isolate: usize,
        shard: usize,
    },
    Reply {
        attempt: u64,
        reply: Reply,
    },
    Attempt {
        op: usize,
    },
    /// A part of a lure.
    Act(Act),
    GiveUp {
        attempt: u64,
    },
}

/// A history that is longer goes round in circles.
const EVENTS_MAX: u64 = 200_000;

pub struct World {
    pub seed: u64,
    pub rng: Rng,
    pub knobs: Knobs,
    pub now: Micros,
    queue: BTreeMap<(Micros, u64), Event>,
    /// Numbers for whatever needs one.
    numbers: u64,
    events: u64,
    pub violation: Option<Violation>,
    pub coverage: Coverage,
    pub memo: Memo,
    /// What happened, in words; none = nobody wants to know.
    pub story: Option<Vec<String>>,
    pub truth: Truth,
    pub kv: Kv,
    pub shards: Vec<Shard>,
    pub isolates: Vec<Isolate>,
    pub requests: BTreeMap<u64, Request>,
    pub flights: BTreeMap<u64, Flight>,
    pub admin: Admin,
    /// What administrators were told without a change: of which subject.
    pub readings: Vec<(Subject, Entry)>,
    pub deploy: Deploy,
    pub terms: Terms,
    pub lures: Lures,
    pub stimuli_left: u32,
    /// From here on nothing is broken any more.
    pub healed: bool,
    /// Everything is well, so that every request must be decided.
    pub expects_verdicts: bool,
}

impl World {
    pub fn new(seed: u64, knobs: Option<Knobs>, told: bool) -> Self {
        let mut rng = Rng::new(seed);
        let drawn = Knobs::of(&mut rng);
        let knobs = knobs.unwrap_or(drawn);
        let terms = Terms { lease_ms: knobs.lease_ms, grace_ms: knobs.grace_ms };
        let mut world = World {
            seed,
            now: 1_000_000,
            queue: BTreeMap::new(),
            numbers: 0,
            events: 0,
            violation: None,
            coverage: Coverage::default(),
            memo: Memo::default(),
            story: told.then(Vec::new),
            truth: Truth::default(),
            kv: Kv::default(),
            shards: (0..knobs.shards).map(|number| Shard::new(number as u8 + 1)).collect(),
            isolates: Vec::new(),
            requests: BTreeMap::new(),
            flights: BTreeMap::new(),
            admin: Admin::default(),
            readings: Vec::new(),
            deploy: Deploy::first(),
            terms,
            lures: Lures::default(),
            stimuli_left: knobs.stimuli,
            healed: false,
            expects_verdicts: false,
            rng,
            knobs,
        };
        for _ in 0..world.knobs.isolates {
            world.bear_isolate();
        }
        world.tell(|world| format!("{:?}", world.knobs));
        world.after(0, Event::Stimulus);
        world
    }

    /// True if this kind of fault may still occur.
    pub fn has(&self, fault: Fault) -> bool {
        !self.healed && self.knobs.has(fault)
    }

    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub fn after(&mut self, delay: Micros, event: Event) {
        let number = self.number();
        self.queue.insert((self.now + delay, number), event);
    }

    pub fn met(&mut self, point: Point) {
        self.coverage.met(point);
    }

    pub fn tell(&mut self, words: impl FnOnce(&World) -> String) {
        if self.story.is_some() {
            let line = format!("{:>13.6}  {}", self.now as f64 / 1e6, words(self));
            if let Some(story) = &mut self.story {
                story.push(line);
            }
        }
    }

    /// The first violation ends the history.
    pub fn violate(&mut self, invariant: &'static str, detail: String) {
        if self.violation.is_none() {
            self.tell(|_| format!("VIOLATED {invariant}: {detail}"));
            self.violation = Some(Violation { invariant, detail });
        }
    }

    /// After how long a change counts everywhere, in the worst case, given who may have granted what: with and without
    /// grace.
    pub fn bound(&self, shard: usize, grace: bool) -> Micros {
        let longest = self.shards[shard].granting.iter().filter_map(|(terms, gone_at)| {
            let total = terms.lease_ms + terms.grace_ms;
            let counts = gone_at.is_none_or(|at| at + bound_ms(total) * 1_000 > self.now);
            counts.then_some(if grace { total } else { terms.lease_ms })
        });
        bound_ms(longest.max().unwrap_or(0)) * 1_000
    }

    /// Lets things happen until nothing more would, or until that time.
    pub fn run(&mut self, until: Option<Micros>) {
        while self.violation.is_none() {
            let Some(entry) = self.queue.first_entry() else { return };
            let at = entry.key().0;
            if until.is_some_and(|until| at > until) {
                self.now = self.now.max(until.unwrap_or(0));
                return;
            }
            let event = entry.remove();
            self.now = self.now.max(at);
            self.events += 1;
            if self.events > EVENTS_MAX {
                return self.violate("L5", "it does not come to rest".into());
            }
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Stimulus => self.stimulus(),
            Event::Step(request, resume) => {
                if let Some(request) = self.requests.remove(&request) {
                    self.drive(request, resume);
                }
            }
            Event::Reach(question) => self.reach(question),
            Event::Durable { shard, instance, upto } => self.durable(shard, instance, upto),
            Event::Answer { flight, answer } => self.answer(flight, answer),
            Event::Deadline { flight } => self.deadline(flight),
            Event::PutArrives { shard, instance, put } => self.put_arrives(shard, instance, put),
            Event::PutEnds { shard, instance, put, stored } => self.put_ends(shard, instance, put, stored),
            Event::PutAgain { name, value } => {
                self.tell(|_| format!("KV: an old put of {} lands", short(&name)));
                self.kv.apply(&name, &value, true, self.now);
            }
            Event::Look { shard, instance, carry } => self.look(shard, instance, carry),
            Event::AlarmLook { shard, instance, run, round } => self.alarm_goes_on(shard, instance, run, Some(round)),
            Event::Alarm { shard, generation } => self.alarm_rings(shard, generation),
            Event::Die { shard, instance } => self.kill(shard, instance, "it is gone"),
            Event::Tell { isolate, shard } => self.tell_uses(isolate, shard),
            Event::Reply { attempt, reply } => self.replied(attempt, reply),
            Event::Attempt { op } => self.attempt(op),
            Event::Act(act) => self.act(act),
            Event::GiveUp { attempt } => self.give_up(attempt),
        }
    }
}

/// The beginning of a long name.
pub fn short(name: &str) -> &str {
    &name[..name.len().min(16)]
}

//! The Durable Object, step by step as its adapter goes (src/cloudflare/object.rs): what happens in one turn, what waits
//! for what, and the output gate: nothing leaves before what was written until then is durable.

use std::{collections::BTreeMap, rc::Rc};

use keygate::{
    authority::{
        command::{Answer, Committed},
        journal,
        lease::{Leases, Terms},
        outbox::{self, Courier, Put},
        record::KeyRecord,
        schema,
        sql::SqlError,
        usage::Tally,
    },
    policy::UnixMillis,
};

use super::{
    admin::Reply,
    bugs as planted,
    carry::{AlarmRun, Carry},
    coverage::Point,
    deploys::Deploy,
    disk::{Disk, Flush, Sqlite, Write},
    knobs::Fault,
    rng::{BASE_MS, Clock, MS, Micros, SECOND},
    world::{Event, World},
};

pub const ALARM_LOST_MS: u64 = 5_000;

/// One shard: its storage, and the instances that have been its object.
pub struct Shard {
    pub slot: u8,
    pub disk: Disk,
    pub instances: Vec<Instance>,
    pub current: Option<usize>,
    pub alarm_generation: u64,
    /// The alarm was taken away, since it was set last.
    pub alarm_taken: bool,
    /// Calls fail until then.
    pub unreachable_until: Micros,
    /// Terms that instances have granted by, and when the last of them was gone.
    pub granting: Vec<(Terms, Option<Micros>)>,
    /// The storage was set back; and when, and in which flush, that was noticed. Until then nothing can be said.
    pub rewound: Option<Option<(Micros, usize)>>,
    pub ever_rewound: bool,
    /// When instances were superseded, in order.
    pub superseded: Vec<Micros>,
}

/// One life of an object.
pub struct Instance {
    pub alive: bool,
    /// Another one has taken its place. It does not know.
    pub superseded: bool,
    pub open: bool,
    pub sql: Sqlite,
    pub clock: Clock,
    pub deploy: Deploy,
    pub slot: u8,
    pub leases: Option<Leases>,
    pub courier: Courier,
    pub tally: Tally,
    pub alarm_at: Option<UnixMillis>,
    /// How many flushes must be durable before anything leaves now.
    pub gate: usize,
    /// The last flush of this instance that is known to be durable.
    pub released: usize,
    pub gated: Vec<(usize, Out)>,
    pub waiting: Vec<Question>,
    pub carries: BTreeMap<u64, Carry>,
    pub alarms: BTreeMap<u64, AlarmRun>,
    pub puts: BTreeMap<u64, Put>,
    /// Puts that may still be on their way, the time up or not.
    pub sent: BTreeMap<u64, (String, Rc<str>, u64)>,
    /// When each KV key was last put, by this instance's clock; none while that is under way.
    pub paces: BTreeMap<String, Option<u64>>,
    pub granted: usize,
    /// The attempt that was committed in this turn.
    pub done: Option<(u64, Committed, Option<Answer>)>,
    /// The keys that changed in this turn without a command of their own.
    pub ended: Vec<KeyRecord>,
    /// When the write was issued that was durable last, by true time.
    pub durable_issued: Vec<(usize, Micros)>,
}

/// What somebody asks of an object.
#[derive(Clone, Debug)]
pub struct Question {
    pub shard: usize,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Sync { flight: u64, text: Rc<str> },
    Command { attempt: u64 },
    Read { attempt: u64 },
    Alarm,
}

/// What leaves an object.
pub enum Out {
    /// The lease counts from before `granted_at`, however long the answer then waits for the gate.
    Answer {
        flight: u64,
        text: Rc<str>,
        lease_ms: u64,
        granted_at: Micros,
    },
    Put(u64),
    Reply {
        attempt: u64,
        reply: Reply,
    },
}

impl Shard {
    pub fn new(slot: u8) -> Self {
        Shard {
            slot,
            disk: Disk::default(),
            instances: Vec::new(),
            current: None,
            alarm_generation: 0,
            alarm_taken: false,
            unreachable_until: 0,
            granting: Vec::new(),
            rewound: None,
            ever_rewound: false,
            superseded: Vec::new(),
        }
    }
}

impl Instance {
    pub fn ensure_alarm(&mut self, now: UnixMillis) -> Result<(), SqlError> {
        let dues = [outbox::next_due(&self.sql)?, journal::next_due(&self.sql)?, self.tally.next_due()];
        let Some(due) = dues.into_iter().flatten().min() else { return Ok(()) };
        let lost = self.alarm_at.is_none_or(|at| at.saturating_add_millis(ALARM_LOST_MS) < now);
        let wanted = due.max(now.saturating_add_millis(outbox::PUT_INTERVAL_MS));
        if lost || self.alarm_at.is_some_and(|at| at > wanted) {
            self.arm(wanted);
        }
        Ok(())
    }

    pub fn arm(&mut self, at: UnixMillis) {
        self.sql.set_alarm(Some(at.as_millis()));
        self.alarm_at = Some(at);
    }
}

impl World {
    pub fn instance(&mut self, shard: usize, instance: usize) -> &mut Instance {
        &mut self.shards[shard].instances[instance]
    }

    pub fn is_alive(&self, shard: usize, instance: usize) -> bool {
        self.shards[shard].instances[instance].alive
    }

    /// A message comes to the object, wherever that is.
    pub fn reach(&mut self, question: Question) {
        let shard = question.shard;
        if self.now < self.shards[shard].unreachable_until && !matches!(question.what, What::Alarm) {
            self.met(Point::ObjectUnreachable);
            return self.fail_question(&question, false);
        }
        let old = self.shards[shard].instances.iter().position(|instance| instance.alive && instance.superseded);
        let instance = match old {
            // The runtime knows whose the alarm is.
            Some(old) if !matches!(question.what, What::Alarm) && self.rng.chance(500) => old,
            _ => match self.shards[shard].current {
                Some(current) => current,
                None => match self.open(shard) {
                    Some(current) => current,
                    None => return self.fail_question(&question, true),
                },
            },
        };
        if self.instance(shard, instance).open {
            self.ask_instance(instance, question);
        } else {
            self.instance(shard, instance).waiting.push(question);
        }
    }

    fn ask_instance(&mut self, instance: usize, question: Question) {
        let shard = question.shard;
        if self.shards[shard].instances[instance].superseded {
            self.met(Point::SupersededAnswered);
        }
        match question.what {
            What::Sync { flight, text } => self.sync(shard, instance, flight, &text),
            What::Command { attempt } => self.carry_out(shard, instance, attempt),
            What::Read { attempt } => self.read(shard, instance, attempt),
            What::Alarm => self.alarm_begins(shard, instance),
        }
    }

    /// A new instance: `Shard::open`. It answers once its first write is durable.
    fn open(&mut self, shard: usize) -> Option<usize> {
        let clock = Clock::new(&mut self.rng, 200);
        let (terms, deploy) = (self.terms, self.deploy.clone());
        let place = &mut self.shards[shard];
        let number = place.instances.len();
        let flushes = place.disk.flushes.len();
        place.disk.durable = flushes;
        place.instances.push(Instance {
            alive: true,
            superseded: false,
            open: false,
            sql: place.disk.open(),
            clock,
            deploy,
            slot: place.slot,
            leases: None,
            courier: Courier::default(),
            tally: Tally::default(),
            alarm_at: None,
            gate: flushes,
            released: flushes,
            gated: Vec::new(),
            waiting: Vec::new(),
            carries: BTreeMap::new(),
            alarms: BTreeMap::new(),
            puts: BTreeMap::new(),
            sent: BTreeMap::new(),
            paces: BTreeMap::new(),
            granted: place.granting.len(),
            done: None,
            ended: Vec::new(),
            durable_issued: Vec::new(),
        });
        place.current = Some(number);
        place.granting.push((terms, None));
        if number > 0 {
            self.met(Point::OpenedAgain);
        }
        self.tell(|world| format!("slot {shard}: instance {number} opens, {:?}", world.terms));
        let epoch = hex::encode(self.rng.bytes::<16>());
        let opened = self.turn(shard, number, Point::CrashMidOther, |instance, now| {
            schema::migrate(&instance.sql, &epoch)?;
            instance.leases = Some(Leases::begin(&instance.sql, terms, now)?);
            Ok(())
        })?;
        if opened.is_err() {
            self.kill(shard, number, "its database does not open");
            return None;
        }
        let place = &mut self.shards[shard];
        place.disk.remember(&place.instances[number].sql);
        self.check_database(shard, number);
        Some(number)
    }

    /// One turn of an instance. None = it died in it.
    pub fn turn<T>(
        &mut self,
        shard: usize,
        number: usize,
        kind: Point,
        body: impl FnOnce(&mut Instance, UnixMillis) -> Result<T, SqlError>,
    ) -> Option<Result<T, SqlError>> {
        let often = if kind == Point::CrashMidCommand { 25 } else { 4 };
        let dies = (self.has(Fault::Crash) && self.rng.chance(often)).then(|| self.rng.below(32) as u32);
        let now = self.now;
        let place = &mut self.shards[shard];
        let instance = &mut place.instances[number];
        instance.sql.die_after(dies);
        let local = instance.clock.at(now);
        let outcome = body(instance, local);
        instance.sql.die_after(None);
        let died = instance.sql.is_dead();
        let mut writes = instance.sql.take_log();
        let done = instance.done.take();
        let ended = std::mem::take(&mut instance.ended);
        if died {
            self.met(kind);
            // What a trap leaves behind counts; what a machine's end does, not.
            if self.rng.chance(500) {
                writes.clear();
            } else if !writes.is_empty() {
                self.met(Point::TrapKeptWrites);
            }
        }
        let counts = !died || !writes.is_empty();
        if !writes.is_empty() {
            self.flush(shard, number, writes);
        }
        if let Some((attempt, committed, seen)) = done.filter(|_| counts) {
            self.commit(shard, number, attempt, &committed, seen.as_ref());
        }
        if counts && !ended.is_empty() {
            self.ended(shard, number, &ended);
        }
        if died {
            self.kill(shard, number, "it dies in the middle of a turn");
            return None;
        }
        self.check_turn(shard, number);
        Some(outcome)
    }

    fn flush(&mut self, shard: usize, number: usize, writes: Vec<Write>) {
        let place = &mut self.shards[shard];
        let instance = &mut place.instances[number];
        if instance.superseded {
            instance.gate = usize::MAX;
            let delay = self.rng.range(MS, 3 * SECOND);
            self.after(delay, Event::Die { shard, instance: number });
            return;
        }
        self.check_deletions(number, &writes);
        let alarm = writes.iter().rev().find_map(|write| match write {
            Write::Alarm(at) => Some(*at),
            Write::Statement(..) => None,
        });
        let place = &mut self.shards[shard];
        place.disk.flushes.push(Flush { writes });
        let upto = place.disk.flushes.len();
        place.instances[number].gate = upto;
        let now = self.now;
        place.instances[number].durable_issued.push((upto, now));
        if let Some(at) = alarm {
            self.shards[shard].alarm_taken = false;
            self.set_alarm(shard, at);
        }
        let delay = self.rng.latency(8 * MS, 40 * MS);
        let slow = self.has(Fault::Crash) && self.rng.chance(10);
        if slow {
            self.met(Point::SlowFlush);
        }
        self.after(if slow { delay * 40 } else { delay }, Event::Durable { shard, instance: number, upto });
    }

    pub fn set_alarm(&mut self, shard: usize, at: Option<u64>) {
        self.shards[shard].alarm_generation += 1;
        let generation = self.shards[shard].alarm_generation;
        let Some(at) = at else { return };
        let place = &self.shards[shard];
        let mut rings = match place.current {
            // The machine's own clock says when it is time.
            Some(current) => {
                let clock = &place.instances[current].clock;
                clock.lasts(at.saturating_sub(clock.at(self.now).as_millis()))
            }
            None => (at.saturating_sub(BASE_MS) * 1_000).saturating_sub(self.now),
        };
        if self.has(Fault::Alarm) && self.rng.chance(50) {
            self.met(Point::AlarmEarly);
            rings = rings.saturating_sub(self.rng.range(0, 2_000) * MS);
        }
        self.after(rings, Event::Alarm { shard, generation });
    }

    pub fn durable(&mut self, shard: usize, number: usize, upto: usize) {
        let place = &mut self.shards[shard];
        let instance = &mut place.instances[number];
        if !instance.alive || instance.superseded {
            return;
        }
        place.disk.durable = place.disk.durable.max(upto);
        instance.released = instance.released.max(upto);
        if !instance.open {
            instance.open = true;
            let local = instance.clock.at(self.now);
            if let Some(leases) = &mut instance.leases {
                leases.born(local);
            }
            for question in std::mem::take(&mut instance.waiting) {
                if self.is_alive(shard, number) {
                    self.turn(shard, number, Point::CrashMidOther, |instance, now| instance.ensure_alarm(now));
                }
                if self.is_alive(shard, number) {
                    self.ask_instance(number, question);
                } else {
                    self.fail_question(&question, true);
                }
            }
        }
        self.release(shard, number);
    }

    /// Something is to leave as soon as the gate is open.
    pub fn emit(&mut self, shard: usize, number: usize, out: Out) {
        let instance = self.instance(shard, number);
        let gate = if planted::is("AnswersBeforeDurable") { 0 } else { instance.gate };
        let superseded = instance.superseded && gate == usize::MAX;
        instance.gated.push((gate, out));
        if superseded {
            self.met(Point::SupersededGated);
        }
        self.release(shard, number);
    }

    pub fn release(&mut self, shard: usize, number: usize) {
        let instance = self.instance(shard, number);
        let released = instance.released;
        let (ready, waiting) = std::mem::take(&mut instance.gated).into_iter().partition(|(gate, _)| *gate <= released);
        instance.gated = waiting;
        let ready: Vec<(usize, Out)> = ready;
        for (_, out) in ready {
            self.leave(shard, number, out);
        }
    }

    fn leave(&mut self, shard: usize, number: usize, out: Out) {
        let faults = self.has(Fault::Network);
        let mut delay = self.rng.latency(20 * MS, 200 * MS);
        match out {
            Out::Answer { flight, text, lease_ms, granted_at } => {
                self.check_grant(shard, number, granted_at + lease_ms * MS);
                let isolate = self.flights.get(&flight).map_or(usize::MAX, |flight| flight.isolate);
                if faults && let Some(by) = self.lures.take_late(isolate, true) {
                    self.met(Point::MessageLate);
                    return self.after(delay + by, Event::Answer { flight, answer: Ok(text) });
                }
                if faults && self.rng.chance(30) {
                    self.met(Point::AnswerLost);
                    return;
                }
                if faults && self.rng.chance(120) {
                    self.met(Point::MessageLate);
                    let long = if self.rng.chance(200) { 4 * SECOND } else { SECOND };
                    delay += self.rng.range(SECOND / 10, long);
                }
                self.after(delay, Event::Answer { flight, answer: Ok(text) });
            }
            Out::Put(put) => {
                self.check_put(shard, number, put);
                self.after(delay, Event::PutArrives { shard, instance: number, put });
            }
            Out::Reply { attempt, reply } => {
                if faults && self.rng.chance(60) {
                    self.met(Point::AnswerLost);
                    return;
                }
                self.after(delay, Event::Reply { attempt, reply });
            }
        }
    }

    /// Whoever asked this gets no answer; perhaps told at once.
    pub fn fail_question(&mut self, question: &Question, moved: bool) {
        if self.has(Fault::Network) && self.rng.chance(300) {
            return;
        }
        let repeat = moved && self.rng.chance(700);
        let delay = self.rng.latency(20 * MS, 200 * MS);
        match question.what {
            What::Sync { flight, .. } => self.after(delay, Event::Answer { flight, answer: Err(repeat) }),
            What::Command { attempt } | What::Read { attempt } => {
                self.after(delay, Event::Reply { attempt, reply: Reply::Failed { repeat } });
            }
            // The runtime tries again.
            What::Alarm => {
                self.shards[question.shard].alarm_taken = true;
                let at = BASE_MS + self.now / 1_000 + 2_000;
                self.set_alarm(question.shard, Some(at));
            }
        }
    }
}

//! What an object does for those who ask it: syncs, commands and the puts behind them, its alarm.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use keygate::{
    authority::{
        command::{self, Answer, Circumstances, Command, Committed, Failure, Order, Refusal},
        journal,
        lease::{self, Terms},
        outbox::{self, KvKey},
        plan_run, query, revoke_all, rotation,
        sql::SqlError,
        sync::{self, SyncRequest},
    },
    http::admin,
    policy::{Catalogue, UnixMillis},
};

use super::{
    admin::Reply,
    bugs as planted,
    coverage::Point,
    knobs::Fault,
    mirror::Fate,
    object::{ALARM_LOST_MS, Out, Question, What},
    rng::{MS, Micros, SECOND},
    world::{Event, World, short},
};

const MIRROR_WAIT: Micros = 300 * MS;
const MIRROR_POLL: Micros = 10 * MS;
const ALARM_WAIT: Micros = SECOND;
const PUT_DEADLINE: Micros = 5 * SECOND;
const ALARM_AGAIN_MS: u64 = 10;
const ROUNDS_PER_ALARM: u32 = 6;
const COMMANDS_PER_ALARM: u32 = 1_000;

/// A command that is committed and waits for its puts.
pub struct Carry {
    pub attempt: u64,
    order: Order,
    committed: Committed,
    puts: BTreeSet<u64>,
    /// How long the puts that it began itself are waited for.
    until: Micros,
    give_up_at: UnixMillis,
}

/// An alarm between two rounds.
pub struct AlarmRun {
    puts: BTreeSet<u64>,
    round: u32,
    /// A plan is being executed.
    plan: bool,
}

enum Executed {
    Committed(Box<Committed>),
    Refused(Refusal),
}

impl World {
    pub fn sync(&mut self, shard: usize, number: usize, flight: u64, text: &str) {
        let epoch = hex::encode(self.rng.bytes::<16>());
        let slot = self.shards[shard].slot;
        let wire = self.shards[shard].instances[number].deploy.wire;
        if !wire.is_mine(text) {
            self.met(Point::QuestionOfOtherVersion);
        }
        let text = &wire.read_question(text);
        let known = SyncRequest::parse(text).and_then(|request| request.known);
        let answered = self.turn(shard, number, Point::CrashMidSync, |instance, now| {
            instance.ensure_alarm(now)?;
            let request = SyncRequest::parse(text).ok_or_else(|| SqlError("not understood".into()))?;
            instance.tally.take(&instance.sql, &request.uses, now)?;
            instance.ended.extend(rotation::used(&instance.sql, instance.slot, &request.uses, now)?);
            instance.tally.take_counted(&instance.sql, &request.counted, now)?;
            if request.graced > 0 {
                lease::note_graced(&instance.sql, request.graced)?;
            }
            instance.ensure_alarm(now)?;
            let Some(leases) = &mut instance.leases else { return Err(SqlError("not open".into())) };
            let granted = Terms { lease_ms: leases.grant(&instance.sql, now)?, ..leases.terms() };
            let answered = sync::answer(&instance.sql, &instance.deploy.signing, slot, &request, granted, &epoch)?;
            for kv_key in &answered.refresh {
                instance.courier.refresh(&instance.sql, kv_key, now)?;
            }
            if !answered.refresh.is_empty() {
                instance.ensure_alarm(now)?;
            }
            Ok((answered, granted))
        });
        match answered {
            None => {
                self.fail_question(&Question { shard, what: What::Sync { flight, text: text.as_str().into() } }, true)
            }
            Some(Err(_)) => {
                self.fail_question(&Question { shard, what: What::Sync { flight, text: text.as_str().into() } }, false)
            }
            Some(Ok((answered, granted))) => {
                if !answered.refresh.is_empty() {
                    self.met(Point::RefreshAsked);
                }
                let superseded = self.shards[shard].instances[number].superseded;
                if answered.text.contains(&epoch) && known.is_some() && !superseded {
                    self.rewind_noticed(shard);
                }
                self.tell(|_| {
                    format!("slot {shard}: sync {flight} answered by {number}: {}", first_line(&answered.text))
                });
                if self.crash_after(shard, number) {
                    let what = What::Sync { flight, text: text.as_str().into() };
                    return self.fail_question(&Question { shard, what }, true);
                }
                let (text, granted_at) = (wire.answer(answered.text).into(), self.now);
                self.emit(shard, number, Out::Answer { flight, text, lease_ms: granted.lease_ms, granted_at });
            }
        }
    }

    fn crash_after(&mut self, shard: usize, number: usize) -> bool {
        let crashes = self.has(Fault::Crash) && self.rng.chance(8);
        if crashes {
            self.met(Point::CrashAfterCommit);
            self.kill(shard, number, "it dies between commit and answer");
        }
        crashes
    }

    pub fn carry_out(&mut self, shard: usize, number: usize, attempt: u64) {
        let Some(order) = self.admin.order(attempt) else { return };
        let nonce = self.rng.bytes::<32>();
        let executed = self.turn(shard, number, Point::CrashMidCommand, |instance, now| {
            instance.ensure_alarm(now)?;
            let Some(leases) = &mut instance.leases else { return Err(SqlError("not open".into())) };
            let (slot, peppers) = (instance.slot, &instance.deploy.peppers);
            let circumstances =
                Circumstances { slot, peppers, catalogue: Catalogue::compiled(), max_key_days: None, now, nonce };
            let effective_by = leases.effective_at(now);
            let mut seen = None;
            let render = |answer: &Answer| {
                seen = Some(answer.clone());
                admin::stored(answer, now, effective_by)
            };
            match command::execute(&instance.sql, &order, &circumstances, render) {
                Err(Failure::Trouble(error)) => Err(error),
                Err(Failure::Refused(refusal)) => {
                    leases.prove(&instance.sql, now)?;
                    Ok(Executed::Refused(refusal))
                }
                Ok(committed) => {
                    if committed.wrote {
                        leases.wrote(now);
                    }
                    leases.prove(&instance.sql, now)?;
                    instance.done = Some((attempt, committed.clone(), seen));
                    instance.ensure_alarm(now)?;
                    Ok(Executed::Committed(Box::new(committed)))
                }
            }
        });
        let failed = Question { shard, what: What::Command { attempt } };
        match executed {
            None => self.fail_question(&failed, true),
            Some(Err(_)) => self.fail_question(&failed, false),
            Some(Ok(Executed::Refused(refusal))) => {
                self.tell(|_| format!("slot {shard}: attempt {attempt} refused: {refusal:?}"));
                let superseded = self.shards[shard].instances[number].superseded;
                self.emit(shard, number, Out::Reply { attempt, reply: Reply::Refused { refusal, superseded } });
            }
            Some(Ok(Executed::Committed(committed))) => {
                if self.crash_after(shard, number) {
                    return self.fail_question(&failed, true);
                }
                self.mirror_command(shard, number, attempt, order, *committed);
            }
        }
    }

    fn mirror_command(&mut self, shard: usize, number: usize, attempt: u64, order: Order, committed: Committed) {
        let give_up_at = self.instance_now(shard, number).saturating_add_millis(MIRROR_WAIT / 1_000);
        let mut carry =
            Carry { attempt, order, committed, puts: BTreeSet::new(), until: self.now + MIRROR_WAIT, give_up_at };
        if carry.committed.mirrored_before.is_none() {
            let Some(puts) = self.deliver(shard, number) else {
                return self.fail_question(&Question { shard, what: What::Command { attempt } }, true);
            };
            carry.puts = puts;
        } else {
            carry.until = self.now;
        }
        let waits = !carry.puts.is_empty();
        let id = self.number();
        self.instance(shard, number).carries.insert(id, carry);
        let look = Event::Look { shard, instance: number, carry: id };
        self.after(if waits { MIRROR_WAIT } else { 0 }, look);
    }

    /// A command looks whether KV has what it changed.
    pub fn look(&mut self, shard: usize, number: usize, id: u64) {
        let now = self.now;
        let instance = self.instance(shard, number);
        let Some(carry) = instance.carries.get(&id) else { return };
        if !carry.puts.is_empty() && now < carry.until {
            return;
        }
        let Some(carry) = instance.carries.remove(&id) else { return };
        let Carry { order, committed, .. } = &carry;
        let looked = self.turn(shard, number, Point::CrashMidCommand, |instance, now| {
            if let Some(mirrored) = committed.mirrored_before {
                return Ok(Some(mirrored));
            }
            let (mut waiting, mut in_flight) = (false, false);
            for kv_key in &committed.outdated {
                waiting |= outbox::waits(&instance.sql, kv_key)?;
                in_flight |= instance.courier.is_in_flight(kv_key);
            }
            if waiting && in_flight && now < carry.give_up_at {
                return Ok(None);
            }
            let revokes = matches!(order.command, Command::RevokeKey { .. });
            if waiting && (planted::is("CommandsNeedKv") || revokes && planted::is("RevokingNeedsKv")) {
                return Err(SqlError("KV is down".into()));
            }
            journal::settle_mirrored(&instance.sql, &order.caller.name(), &order.id, !waiting).map(Some)
        });
        let failed = Question { shard, what: What::Command { attempt: carry.attempt } };
        match looked {
            None => self.fail_question(&failed, true),
            Some(Err(_)) => self.fail_question(&failed, false),
            Some(Ok(None)) => {
                self.instance(shard, number).carries.insert(id, carry);
                self.after(MIRROR_POLL, Event::Look { shard, instance: number, carry: id });
            }
            Some(Ok(Some(mirrored))) => self.reply(shard, number, &carry, mirrored),
        }
    }

    fn reply(&mut self, shard: usize, number: usize, carry: &Carry, mirrored: bool) {
        self.met(if mirrored { Point::MirroredInTime } else { Point::NotMirroredInTime });
        let body = admin::complete(&carry.committed.answer, carry.committed.text.as_ref(), mirrored);
        let local = self.instance_now(shard, number);
        let instance = &self.shards[shard].instances[number];
        let effective_at = carry.committed.answer.effective_at.filter(|_| carry.order.wait);
        let wait_ms = match (&instance.leases, effective_at) {
            (Some(leases), Some(at)) => leases.wait_ms(at, local),
            _ => 0,
        };
        let reply = Reply::Done {
            version: carry.committed.answer.version,
            body: body.body.into_owned().into(),
            text: carry.committed.text.as_ref().map(|text| Rc::from(text.expose())),
            wait_ms: if planted::is("NobodyWaits") { 0 } else { wait_ms },
            again: !carry.committed.wrote,
        };
        self.emit(shard, number, Out::Reply { attempt: carry.attempt, reply });
    }

    pub fn read(&mut self, shard: usize, number: usize, attempt: u64) {
        let Some(query) = self.admin.query(attempt) else { return };
        let slot = self.shards[shard].slot;
        let found = self.turn(shard, number, Point::CrashMidOther, |instance, now| {
            instance.ensure_alarm(now)?;
            let found = query::answer(&instance.sql, slot, &query, now)?;
            if let Some(leases) = &mut instance.leases {
                leases.prove(&instance.sql, now)?;
            }
            Ok(found)
        });
        match found {
            Some(Ok(found)) => {
                let superseded = self.shards[shard].instances[number].superseded;
                let found = found.map(Box::new);
                self.emit(shard, number, Out::Reply { attempt, reply: Reply::Found { found, superseded } });
            }
            _ => self.fail_question(&Question { shard, what: What::Read { attempt } }, false),
        }
    }

    pub fn instance_now(&self, shard: usize, number: usize) -> UnixMillis {
        self.shards[shard].instances[number].clock.at(self.now)
    }

    /// Begins the puts that are due. None = the instance died.
    fn deliver(&mut self, shard: usize, number: usize) -> Option<BTreeSet<u64>> {
        let slot = self.shards[shard].slot;
        let due = self.turn(shard, number, Point::CrashMidOther, |instance, now| {
            instance.courier.take_due(&instance.sql, &instance.deploy.signing, slot, now)
        })?;
        let mut begun = BTreeSet::new();
        for put in due.unwrap_or_default() {
            let id = self.number();
            self.check_pace(shard, number, &put.kv_key);
            let instance = self.instance(shard, number);
            instance.sent.insert(id, (put.kv_key.text(), put.value.as_str().into(), put.as_of));
            instance.puts.insert(id, put);
            begun.insert(id);
            self.emit(shard, number, Out::Put(id));
            self.after(PUT_DEADLINE, Event::PutEnds { shard, instance: number, put: id, stored: false });
        }
        Some(begun)
    }

    /// A put comes to KV. Its sender may be dead by now.
    pub fn put_arrives(&mut self, shard: usize, number: usize, id: u64) {
        let faults = self.has(Fault::Kv);
        let instance = self.instance(shard, number);
        let Some((name, value, as_of)) = instance.sent.remove(&id) else { return };
        let value = instance.deploy.wire.copy(&value);
        let fate = self.kv.fate(&mut self.rng, &name, faults, self.now);
        self.tell(|_| format!("KV: put of {} as of {as_of}: {fate:?}", short(&name)));
        let stored = matches!(fate, Fate::Stored | Fate::Twice);
        if matches!(fate, Fate::Stored | Fate::Twice | Fate::AppliedButFailed) {
            self.kv.apply(&name, &value, false, self.now);
        }
        if matches!(fate, Fate::Late | Fate::Twice) {
            let delay = self.rng.range(SECOND, 300 * SECOND);
            self.after(delay, Event::PutAgain { name: name.clone(), value });
        }
        if stored {
            self.kv.acknowledge(&name, as_of);
        }
        self.met(match fate {
            Fate::Stored => return self.put_answered(shard, number, id, stored),
            Fate::Lost => Point::KvLost,
            Fate::AppliedButFailed => Point::KvAppliedButFailed,
            Fate::Late => Point::KvLate,
            Fate::Twice => Point::KvTwice,
            Fate::TooSoon => Point::KvTooSoon,
            Fate::Outage => Point::KvOutage,
        });
        self.put_answered(shard, number, id, stored);
    }

    fn put_answered(&mut self, shard: usize, number: usize, id: u64, stored: bool) {
        let delay = self.rng.latency(30 * MS, SECOND);
        self.after(delay, Event::PutEnds { shard, instance: number, put: id, stored });
    }

    pub fn put_ends(&mut self, shard: usize, number: usize, id: u64, stored: bool) {
        if !self.is_alive(shard, number) {
            return;
        }
        let local = self.instance_now(shard, number).as_millis();
        let instance = self.instance(shard, number);
        let Some(put) = instance.puts.remove(&id) else { return };
        instance.paces.insert(put.kv_key.text(), Some(local));
        let finished = self.turn(shard, number, Point::CrashMidOther, |instance, now| {
            instance.courier.finished(&instance.sql, &put, stored, now)
        });
        if finished.is_none() {
            return;
        }
        let instance = self.instance(shard, number);
        let mut looks = Vec::new();
        for (carry, waits) in &mut instance.carries {
            if waits.puts.remove(&id) && waits.puts.is_empty() {
                looks.push(*carry);
            }
        }
        let runs: Vec<u64> = instance
            .alarms
            .iter_mut()
            .filter_map(|(run, waits)| (waits.puts.remove(&id) && waits.puts.is_empty()).then_some(*run))
            .collect();
        for carry in looks {
            self.look(shard, number, carry);
        }
        for run in runs {
            self.alarm_goes_on(shard, number, run, None);
        }
    }

    pub fn alarm_rings(&mut self, shard: usize, generation: u64) {
        if self.shards[shard].alarm_generation != generation {
            return;
        }
        self.shards[shard].alarm_generation += 1;
        self.shards[shard].disk.flushes.push(super::disk::Flush { writes: vec![super::disk::Write::Alarm(None)] });
        if self.has(Fault::Alarm) && self.rng.chance(60) {
            self.met(Point::AlarmLost);
            self.tell(|_| format!("slot {shard}: the alarm is lost"));
            self.shards[shard].alarm_taken = true;
            return;
        }
        let twice = self.has(Fault::Alarm) && self.rng.chance(40);
        self.reach(Question { shard, what: What::Alarm });
        if twice {
            self.met(Point::AlarmTwice);
            self.reach(Question { shard, what: What::Alarm });
        }
    }

    pub fn alarm_begins(&mut self, shard: usize, number: usize) {
        if !self.shards[shard].instances[number].carries.is_empty() {
            self.met(Point::AlarmConcurrent);
        }
        let begun = self.turn(shard, number, Point::CrashMidOther, |instance, now| {
            instance.alarm_at = None;
            if !planted::is("AlarmSetOnlyAfterwards") {
                instance.arm(now.saturating_add_millis(ALARM_LOST_MS));
            }
            journal::forget(&instance.sql, now, COMMANDS_PER_ALARM)?;
            instance.tally.write_due(&instance.sql, now)?;
            revoke_all::sweep(&instance.sql, now)?;
            plan_run::forget(&instance.sql, now)?;
            // One that fails is tried again; everything else goes on.
            let ended = plan_run::advance(&instance.sql, instance.slot, now).unwrap_or_default();
            let plan = ended.is_some();
            instance.ended.extend(ended.unwrap_or_default());
            Ok(plan)
        });
        if begun.is_none() {
            return self.fail_question(&Question { shard, what: What::Alarm }, true);
        }
        if let Some(Ok(plan)) = begun {
            let swept = "SELECT count(*) FROM outbox WHERE priority = 2";
            if self.shards[shard].instances[number].sql.number(swept) > 0 {
                self.met(Point::Swept);
            }
            let running = "SELECT count(*) FROM plans WHERE state = 'running'";
            if plan && self.shards[shard].instances[number].sql.number(running) > 0 {
                self.met(Point::PlanInChunks);
            }
            let run = self.number();
            self.instance(shard, number).alarms.insert(run, AlarmRun { puts: BTreeSet::new(), round: 0, plan });
            self.alarm_goes_on(shard, number, run, None);
        }
    }

    /// A round of an alarm is over; with its number, because its time is up.
    pub fn alarm_goes_on(&mut self, shard: usize, number: usize, id: u64, late: Option<u32>) {
        if !self.is_alive(shard, number) {
            return;
        }
        let Some(run) = self.instance(shard, number).alarms.get(&id) else { return };
        let (round, plan) = (run.round, run.plan);
        if late.is_some_and(|late| late != round) {
            return;
        }
        let mut more = late.is_none();
        if more && round < ROUNDS_PER_ALARM {
            let Some(puts) = self.deliver(shard, number) else { return };
            more = !puts.is_empty();
            if more {
                let run = AlarmRun { puts, round: round + 1, plan };
                self.instance(shard, number).alarms.insert(id, run);
                let event = Event::AlarmLook { shard, instance: number, run: id, round: round + 1 };
                return self.after(ALARM_WAIT, event);
            }
        }
        self.instance(shard, number).alarms.remove(&id);
        self.turn(shard, number, Point::CrashMidOther, |instance, now| {
            instance.alarm_at = None;
            if more || plan {
                instance.arm(now.saturating_add_millis(ALARM_AGAIN_MS));
                return Ok(());
            }
            instance.ensure_alarm(now)
        });
    }

    /// A KV key that a shard puts is put no sooner than a second after the last time.
    fn check_pace(&mut self, shard: usize, number: usize, kv_key: &KvKey) {
        let local = self.instance_now(shard, number).as_millis();
        let last: BTreeMap<String, Option<u64>> = std::mem::take(&mut self.instance(shard, number).paces);
        let name = kv_key.text();
        match last.get(&name) {
            Some(None) => self.violate("S2", format!("two puts of {name} are under way")),
            Some(Some(at)) if *at <= local && local < at + 1_000 => {
                self.violate("S2", format!("{name} is put {} ms after the last time", local - at));
            }
            _ => {}
        }
        let instance = self.instance(shard, number);
        instance.paces = last;
        instance.paces.insert(name, None);
    }
}

fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

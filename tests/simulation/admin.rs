//! Administrators: commands that are repeated when no answer comes, with or without an id of their own, on conditions,
//! waiting or not; and what each was told.

use std::rc::Rc;

use keygate::authority::{
    admins::Caller,
    command::{AccountChange, Answer, Command, Edit, Order, Precondition, Refusal},
    journal::CommandId,
    query::{Found, Query},
    record::KeyRecord,
};
use keygate::policy::KeyStatus;

use super::{
    bugs as planted,
    coverage::Point,
    knobs::Fault,
    linear::{Entry, What as Seen, account_status, key_status},
    object::{Question, What},
    rng::{Clock, MS, Micros, SECOND},
    truth::Place,
    world::{Event, World},
};

#[derive(Default)]
pub struct Admin {
    pub ops: Vec<Op>,
    pub attempts: Vec<Attempt>,
    /// Keys that changed without a command of their own: a plan revoked them, or the first use of their successor began
    /// their overlap. With the version and status that each has since.
    pub ended: Vec<(Place, usize, u64, KeyStatus)>,
}

/// Something an administrator wants, however many attempts it takes.
pub struct Op {
    pub shard: usize,
    pub wish: Wish,
    /// The caller's own `Idempotency-Key`; none = each attempt has an id that the Worker makes.
    idempotency_key: Option<String>,
    pub condition: Option<Vec<u64>>,
    wait: bool,
    /// Who orders it.
    pub caller: Caller,
    pub first_sent: Option<Micros>,
    tries_left: u32,
    pub commits: Vec<Commit>,
    pub acknowledged: Option<Acknowledged>,
    /// Its id is another command's.
    pub borrowed: bool,
    /// The client has its answer, or gave up.
    pub over: bool,
}

pub enum Wish {
    Command(Command),
    Read(Query, Option<Subject>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Tenant(usize),
    Key(usize),
}

#[derive(Clone, Debug)]
pub struct Commit {
    pub place: Place,
    pub subject: Option<Subject>,
    pub version: u64,
    pub status: u8,
    /// The account that it changed beside its version.
    pub beside: Option<usize>,
    /// Keys that it revoked with all others.
    pub gone: Vec<usize>,
    /// A key that it changed or made besides, with its version and status.
    pub other: Option<(usize, u64, u8)>,
    /// The key whose text it brought.
    pub issued: Option<usize>,
}

pub struct Acknowledged {
    pub at: Micros,
    version: u64,
    body: Rc<str>,
    text: Option<Rc<str>>,
}

pub struct Attempt {
    op: usize,
    sent: Micros,
    over: bool,
    repeated: bool,
    command_id: String,
    clock: Clock,
    waits: bool,
}

/// What an attempt comes to.
#[derive(Clone, Debug)]
pub enum Reply {
    Done { version: u64, body: Rc<str>, text: Option<Rc<str>>, wait_ms: u64, again: bool },
    Refused { refusal: Refusal, superseded: bool },
    Found { found: Option<Box<Found>>, superseded: bool },
    Failed { repeat: bool },
}

const TIMEOUT: Micros = 4 * SECOND;

impl Admin {
    pub fn order(&self, attempt: u64) -> Option<Order> {
        let attempt = &self.attempts[attempt as usize];
        let op = &self.ops[attempt.op];
        let Wish::Command(command) = &op.wish else { return None };
        let id = op.idempotency_key.as_ref().unwrap_or(&attempt.command_id);
        let precondition = op.condition.clone().map_or(Precondition::Any, Precondition::Versions);
        Some(Order {
            command: command.clone(),
            id: CommandId::new(id, op.idempotency_key.is_some(), &[format!("{command:?}").as_bytes()]),
            caller: op.caller,
            actor: None,
            precondition,
            wait: op.wait,
            taken_elsewhere: false,
        })
    }

    /// What an attempt is one of.
    pub fn op_of(&self, attempt: u64) -> &Op {
        &self.ops[self.attempts[attempt as usize].op]
    }

    pub fn query(&self, attempt: u64) -> Option<Query> {
        match &self.ops[self.attempts[attempt as usize].op].wish {
            Wish::Read(query, _) => Some(query.clone()),
            Wish::Command(_) => None,
        }
    }

    /// In words.
    pub fn command(&self, attempt: u64) -> String {
        let number = self.attempts[attempt as usize].op;
        match &self.ops[number].wish {
            Wish::Command(command) => format!("op {number}, {command:?}"),
            Wish::Read(query, _) => format!("op {number}, {query:?}"),
        }
    }

    pub fn is_revoke(&self, attempt: u64) -> bool {
        matches!(&self.ops[self.attempts[attempt as usize].op].wish, Wish::Command(Command::RevokeKey { .. }))
    }

    /// An attempt was committed.
    pub fn committed_as(&mut self, attempt: u64, commit: Commit) {
        let op = self.attempts[attempt as usize].op;
        self.ops[op].commits.push(commit);
    }

    /// Only the first so many flushes of a shard have been.
    pub fn undo(&mut self, shard: usize, flushes: usize) {
        self.ended.retain(|(place, ..)| place.shard != shard || place.flush < flushes);
        for op in self.ops.iter_mut().filter(|op| op.shard == shard) {
            op.commits.retain(|commit| commit.place.flush < flushes);
        }
    }

    /// What is to be linear about one key or account.
    pub fn history(&self, subject: Subject) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (place, _, version, status) in self.ended.iter().filter(|(_, key, ..)| subject == Subject::Key(*key)) {
            let what = Seen::Write { version: *version, status: key_status(*status), condition: None };
            entries.push(Entry { invoke: place.at, respond: place.at, what });
        }
        for op in &self.ops {
            let gone = op
                .commits
                .iter()
                .enumerate()
                .filter(|(_, commit)| matches!(subject, Subject::Key(key) if commit.gone.contains(&key)));
            for (number, _) in gone {
                let respond = op.acknowledged.as_ref().filter(|_| number == 0).map_or(Micros::MAX, |known| known.at);
                entries.push(Entry { invoke: op.first_sent.unwrap_or(0), respond, what: Seen::RevokedWithAll });
            }
            for (number, commit) in op.commits.iter().enumerate() {
                let Some((key, version, status)) = commit.other.filter(|(key, ..)| subject == Subject::Key(*key))
                else {
                    continue;
                };
                assert_ne!(commit.subject, Some(Subject::Key(key)));
                let respond = op.acknowledged.as_ref().filter(|_| number == 0).map_or(Micros::MAX, |known| known.at);
                let what = Seen::Write { version, status, condition: None };
                entries.push(Entry { invoke: op.first_sent.unwrap_or(0), respond, what });
            }
            for (number, commit) in op.commits.iter().filter(|commit| commit.subject == Some(subject)).enumerate() {
                let respond = op.acknowledged.as_ref().filter(|_| number == 0).map_or(Micros::MAX, |known| known.at);
                let what =
                    Seen::Write { version: commit.version, status: commit.status, condition: op.condition.clone() };
                entries.push(Entry { invoke: op.first_sent.unwrap_or(0), respond, what });
            }
        }
        entries
    }
}

impl Op {
    /// One more attempt, of a command with an id of the caller's own; false = it has none.
    pub fn repeat(&mut self) -> bool {
        let may = self.idempotency_key.is_some() && self.first_sent.is_some();
        if may {
            (self.over, self.tries_left) = (false, self.tries_left.max(1));
        }
        may
    }
}

impl World {
    pub fn want(&mut self, shard: usize, wish: Wish, condition: Option<Vec<u64>>, wait: bool) -> usize {
        let chosen = self.rng.chance(700);
        let tries_left = if chosen { 4 } else { 1 };
        let op = self.admin.ops.len();
        let idempotency_key = chosen.then(|| format!("an administrator's own key {op:>6}"));
        self.admin.ops.push(Op {
            shard,
            wish,
            idempotency_key,
            condition,
            wait,
            caller: Caller::Root,
            first_sent: None,
            tries_left,
            commits: Vec::new(),
            acknowledged: None,
            borrowed: false,
            over: false,
        });
        self.attempt(op);
        op
    }

    /// Another command is ordered with the id of one that was carried out.
    pub fn misuse(&mut self, number: usize) {
        let op = &self.admin.ops[number];
        let shard = op.shard;
        // After a day the id is nobody's.
        let recent = op.first_sent.is_some_and(|sent| sent + 20 * 60 * 60 * SECOND > self.now);
        // Ids of different credentials never meet.
        let meets = op.acknowledged.is_some() && recent && op.caller == Caller::Root;
        let Some(id) = op.idempotency_key.clone().filter(|_| meets) else { return };
        let tenant = self.truth.tenants.iter().find(|tenant| tenant.shard == shard).map(|tenant| tenant.id);
        let Some(account) = tenant else { return };
        let features = Edit::Set(vec![format!("f{}", self.number())]);
        let change = AccountChange { features, ..AccountChange::default() };
        let wish = Wish::Command(Command::ChangeAccount { account, change });
        let borrowed = self.admin.ops.len();
        self.admin.ops.push(Op {
            shard,
            wish,
            idempotency_key: Some(id),
            condition: None,
            wait: false,
            caller: Caller::Root,
            first_sent: None,
            tries_left: 2,
            commits: Vec::new(),
            acknowledged: None,
            borrowed: true,
            over: false,
        });
        self.attempt(borrowed);
    }

    pub fn attempt(&mut self, number: usize) {
        let now = self.now;
        let op = &mut self.admin.ops[number];
        if op.over || op.tries_left == 0 {
            op.over = true;
            return self.met(Point::NeverAnswered);
        }
        op.tries_left -= 1;
        op.first_sent.get_or_insert(now);
        let shard = op.shard;
        let command_id = format!("the worker's own {}", self.number());
        let clock = Clock::new(&mut self.rng, 500);
        let attempt = self.admin.attempts.len() as u64;
        self.admin.attempts.push(Attempt {
            op: number,
            sent: now,
            over: false,
            repeated: false,
            command_id,
            clock,
            waits: false,
        });
        self.tell(|world| format!("admin: attempt {attempt} at slot {shard}: {}", world.admin.command(attempt)));
        self.after(TIMEOUT, Event::GiveUp { attempt });
        self.submit(shard, attempt);
    }

    fn submit(&mut self, shard: usize, attempt: u64) {
        let mut delay = self.rng.latency(20 * MS, 300 * MS);
        if self.has(Fault::Network) {
            if self.rng.chance(50) {
                return self.met(Point::MessageLost);
            }
            if self.rng.chance(50) {
                self.met(Point::MessageLate);
                delay += self.rng.range(SECOND, 20 * SECOND);
            }
        }
        let op = &self.admin.ops[self.admin.attempts[attempt as usize].op];
        let what = match op.wish {
            Wish::Command(_) => What::Command { attempt },
            Wish::Read(..) => What::Read { attempt },
        };
        self.after(delay, Event::Reach(Question { shard, what }));
    }

    pub fn committed(
        &mut self,
        attempt: u64,
        place: Place,
        seen: Option<&Answer>,
        beside: Option<(usize, Vec<usize>)>,
    ) {
        let (subject, version, status) = match seen {
            Some(Answer::Account(record) | Answer::Created(record)) => {
                (self.truth.tenant(record.id).map(Subject::Tenant), record.version, account_status(record.status))
            }
            Some(Answer::Key(record) | Answer::Issued { record, .. }) => {
                (self.truth.key(record.id()).map(Subject::Key), record.version, key_status(record.status))
            }
            Some(answer @ (Answer::Rotated { .. } | Answer::Unrotated { .. })) => {
                let record = match answer {
                    Answer::Rotated { old, .. } => &**old,
                    Answer::Unrotated { record, .. } => record,
                    other => panic!("{other:?}"),
                };
                (self.truth.key(record.id()).map(Subject::Key), record.version, key_status(record.status))
            }
            Some(
                Answer::Planned(_)
                | Answer::Plan(_)
                | Answer::AllRevoked { .. }
                | Answer::Workspace(_)
                | Answer::WorkspaceCreated(_)
                | Answer::Platform(_),
            )
            | None => (None, 0, 0),
        };
        let (beside, gone) = beside.map_or((None, Vec::new()), |(tenant, gone)| (Some(tenant), gone));
        let key = |record: &KeyRecord| self.truth.key(record.id());
        let other = match seen {
            Some(Answer::Rotated { record: other, .. }) => Some(&**other),
            Some(Answer::Unrotated { successor: other, .. }) => Some(&**other),
            _ => None,
        };
        let other = other.and_then(|other| Some((key(other)?, other.version, key_status(other.status))));
        let issued = match seen {
            Some(Answer::Issued { record, .. } | Answer::Rotated { record, .. }) => key(record),
            _ => None,
        };
        let commit = Commit { place, subject, version, status, beside, gone, other, issued };
        self.admin.committed_as(attempt, commit);
        let op = &self.admin.ops[self.admin.attempts[attempt as usize].op];
        if op.borrowed && !self.shards[op.shard].ever_rewound {
            self.violate("I13", format!("attempt {attempt} is carried out with another command's id"));
        }
        let op = &self.admin.ops[self.admin.attempts[attempt as usize].op];
        if op.commits.len() > 1 && op.idempotency_key.is_some() && !self.shards[op.shard].ever_rewound {
            let detail = format!("attempt {attempt} is carried out once more: {:?}", op.commits);
            self.violate("I13", detail);
        }
        let op = &self.admin.ops[self.admin.attempts[attempt as usize].op];
        let others = self.admin.ops.iter().filter(|other| {
            !other.over && other.shard == op.shard && other.first_sent.is_some() && !std::ptr::eq(*other, op)
        });
        if others.count() > 0 {
            self.met(Point::ConcurrentCommands);
        }
    }

    pub fn give_up(&mut self, attempt: u64) {
        let place = &self.admin.attempts[attempt as usize];
        if !place.over && !place.waits {
            self.replied(attempt, Reply::Failed { repeat: false });
        }
    }

    pub fn replied(&mut self, attempt: u64, reply: Reply) {
        let place = &mut self.admin.attempts[attempt as usize];
        if place.over {
            return;
        }
        let (number, sent) = (place.op, place.sent);
        let shard = self.admin.ops[number].shard;
        match reply {
            Reply::Failed { repeat: true } if !place.repeated => {
                place.repeated = true;
                if planted::is("RetryWithoutCommandId") {
                    place.command_id.push_str(" again");
                }
                self.met(Point::CommandRepeatedByWorker);
                self.submit(shard, attempt);
            }
            Reply::Failed { .. } => {
                place.over = true;
                let delay = self.rng.range(10 * MS, 2 * SECOND);
                self.after(delay, Event::Attempt { op: number });
            }
            Reply::Done { version, body, text, wait_ms, again } if wait_ms > 0 => {
                place.waits = true;
                let delay = place.clock.lasts(wait_ms);
                self.met(Point::Waiting);
                let reply = Reply::Done { version, body, text, wait_ms: 0, again };
                self.after(delay, Event::Reply { attempt, reply });
            }
            Reply::Done { version, body, text, again, .. } => {
                place.over = true;
                let acknowledged = Acknowledged { at: self.now, version, body, text };
                self.acknowledge(number, attempt, acknowledged, again);
            }
            Reply::Refused { refusal, superseded } => {
                place.over = true;
                self.refused(number, sent, refusal, superseded);
            }
            Reply::Found { found, superseded } => {
                place.over = true;
                self.admin.ops[number].over = true;
                self.met(Point::ReadByAdmin);
                self.found(number, sent, found.as_deref(), superseded);
            }
        }
    }

    fn acknowledge(&mut self, number: usize, attempt: u64, known: Acknowledged, again: bool) {
        self.met(Point::Acknowledged);
        self.tell(|_| format!("admin: attempt {attempt} of op {number} succeeded"));
        let op = &mut self.admin.ops[number];
        let (shard, wait) = (op.shard, op.wait);
        op.over = true;
        if again && known.text.is_some() {
            self.coverage.met(Point::RepeatedKeyAgain);
        }
        if self.shards[shard].ever_rewound {
            op.acknowledged.get_or_insert(known);
            return;
        }
        let Some(commit) = op.commits.first().cloned() else {
            return self.violate("I9", format!("op {number} was acknowledged, but is nowhere"));
        };
        if commit.place.flush >= self.shards[shard].disk.durable {
            return self.violate("I9", format!("op {number} was acknowledged before it was durable"));
        }
        let op = &mut self.admin.ops[number];
        if op.acknowledged.as_ref().is_some_and(|other| (other.version, &other.text) != (known.version, &known.text)) {
            return self.violate("I13", format!("op {number} was answered differently"));
        }
        let (at, text) = (known.at, known.text.clone());
        let shows = text.as_ref().is_none_or(|text| known.body.contains(&**text));
        op.acknowledged.get_or_insert(known);
        if let (Some(key), Some(text)) = (commit.issued, text) {
            if *self.truth.keys[key].text != *text || !shows {
                return self.violate("I13", format!("op {number} gave another key than it made"));
            }
            self.truth.keys[key].handed_out_at.get_or_insert(at);
        }
        if wait {
            self.met(Point::WaitedEffective);
            let current = self.shards[shard].current;
            if current.is_none_or(|current| {
                self.shards[shard].instances[current]
                    .durable_issued
                    .first()
                    .is_none_or(|first| first.1 > commit.place.at)
            }) {
                self.met(Point::WaitedAfterRestart);
            }
            match commit.subject {
                Some(Subject::Key(key)) => self.truth.keys[key].history.floors.push((commit.place.at, at)),
                Some(Subject::Tenant(tenant)) => {
                    self.truth.tenants[tenant].history.floors.push((commit.place.at, at));
                }
                None => {
                    if let Wish::Command(Command::SetPlatform { .. }) = self.admin.ops[number].wish
                        && let Some(history) = self.truth.platforms.get_mut(&shard)
                    {
                        history.floors.push((commit.place.at, at));
                    }
                }
            }
            if let Some(tenant) = commit.beside {
                self.truth.tenants[tenant].history.floors.push((commit.place.at, at));
            }
        }
    }

    fn refused(&mut self, number: usize, sent: Micros, refusal: Refusal, superseded: bool) {
        self.met(Point::Refused);
        let op = &mut self.admin.ops[number];
        op.over = true;
        let excused = superseded || self.shards[op.shard].ever_rewound;
        if op.borrowed != matches!(refusal, Refusal::IdempotencyConflict) && !excused {
            let detail = format!("op {number}, with another's id: {}: {refusal:?}", op.borrowed);
            return self.violate("I13", detail);
        }
        let what = match refusal {
            Refusal::IdempotencyConflict => return self.met(Point::IdWithAnotherBody),
            Refusal::PreconditionFailed { version } => {
                self.coverage.met(Point::PreconditionFailed);
                Seen::Stale { version, condition: op.condition.clone() }
            }
            Refusal::Conflict { .. } => Seen::Final,
            Refusal::Unauthenticated => return self.met(Point::CredentialRefused),
            _ => return,
        };
        if superseded || self.shards[self.admin.ops[number].shard].ever_rewound {
            return;
        }
        let subject = match &self.admin.ops[number].wish {
            Wish::Command(Command::ChangeKey { key, .. }) => self.truth.key(*key).map(Subject::Key),
            Wish::Command(Command::RotateKey { key, .. }) if matches!(what, Seen::Stale { .. }) => {
                self.truth.key(*key).map(Subject::Key)
            }
            Wish::Command(Command::ChangeAccount { account, .. }) => self.truth.tenant(*account).map(Subject::Tenant),
            _ => None,
        };
        if let Some(subject) = subject {
            self.readings.push((subject, Entry { invoke: sent, respond: self.now, what }));
        }
    }

    fn found(&mut self, number: usize, sent: Micros, found: Option<&Found>, superseded: bool) {
        let op = &self.admin.ops[number];
        let Wish::Read(_, Some(subject)) = op.wish else { return };
        if superseded || self.shards[op.shard].ever_rewound {
            return;
        }
        let what = Seen::Read(match found {
            Some(Found::Key(record)) => Some((record.version, key_status(record.status))),
            Some(Found::Account(record)) => Some((record.version, account_status(record.status))),
            _ => None,
        });
        self.readings.push((subject, Entry { invoke: sent, respond: self.now, what }));
    }
}

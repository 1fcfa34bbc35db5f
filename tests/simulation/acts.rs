//! What a lure is made of: one thing that is done, and what it leaves behind.

use keygate::{
    authority::command::{AccountChange, Command, Edit, KeyChange},
    policy::{Demand, KeyStatus},
};

use super::{admin::Wish, coverage::Point, knobs::Fault, rng::Micros, world::World};

/// One thing that is done.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// A key is presented to an isolate.
    Ask {
        isolate: usize,
        key: usize,
        strict: bool,
    },
    /// The key that was handed out last is presented to any.
    AskNewest {
        strict: bool,
    },
    /// A key is disabled or enabled, whichever changes something, or revoked.
    Switch {
        key: usize,
        revoke: bool,
        wait: bool,
    },
    /// All keys of its account are revoked.
    RevokeAll {
        key: usize,
    },
    /// A key is given another name, which is no change that the feed names.
    Rename {
        key: usize,
    },
    /// A key is presented where what is demanded is a feature.
    AskForFeature {
        isolate: usize,
        key: usize,
    },
    /// A feature is switched on or off for every account.
    SetPlatform {
        key: usize,
        on: bool,
    },
    /// Something else of the same shard changes.
    ChangeAnother {
        key: usize,
    },
    Issue {
        key: usize,
    },
    /// The isolate's next sync, or its answer, is late.
    Late {
        isolate: usize,
        answer: bool,
        by: Micros,
    },
    /// Chance asks nothing of the isolate.
    Spare {
        isolate: usize,
        lasts: Micros,
    },
    /// Nothing that the isolate asks arrives.
    CutOff {
        isolate: usize,
        lasts: Micros,
    },
    /// No put gets through.
    KvStuck {
        lasts: Micros,
    },
    /// From here on it counts what storage loses.
    Mark {
        shard: usize,
    },
    /// Storage is set back to so many flushes before the mark.
    Rewind {
        shard: usize,
        before: usize,
    },
    /// All isolates but one are others.
    ReplaceAllBut {
        isolate: usize,
    },
    Supersede {
        shard: usize,
    },
    Kill {
        shard: usize,
    },
    Rotate,
    ChangeWire,
    /// The next deploy's code takes a place.
    UpdateIsolate {
        isolate: usize,
    },
    UpdateObject {
        shard: usize,
    },
}

/// What acts leave behind.
#[derive(Default)]
pub struct Lures {
    pub late: Vec<(usize, bool, Micros)>,
    pub spared: Option<(usize, Micros)>,
    pub cut_off: Option<(usize, Micros)>,
    pub mark: usize,
    /// One thing is played at a time.
    pub until: Micros,
}

impl Lures {
    /// By how much the isolate's sync, or its answer, is to be late; once.
    pub fn take_late(&mut self, isolate: usize, answer: bool) -> Option<Micros> {
        let place = self.late.iter().position(|(whose, which, _)| (*whose, *which) == (isolate, answer))?;
        Some(self.late.remove(place).2)
    }

    pub fn is_spared(&self, isolate: usize, now: Micros) -> bool {
        self.spared.is_some_and(|(spared, until)| spared == isolate && now < until)
    }

    pub fn is_cut_off(&self, isolate: usize, now: Micros) -> bool {
        self.cut_off.is_some_and(|(cut_off, until)| cut_off == isolate && now < until)
    }
}

impl World {
    pub fn act(&mut self, act: Act) {
        if self.healed {
            return;
        }
        match act {
            Act::Ask { isolate, key, strict } => self.act_ask(isolate, key, Demand { strict, ..Demand::default() }),
            Act::AskForFeature { isolate, key } => {
                let feature = Some(std::borrow::Cow::Borrowed("beta"));
                self.act_ask(isolate, key, Demand { feature, ..Demand::default() });
            }
            Act::SetPlatform { key, on } => self.set_platform(self.truth.keys[key].shard, on, false),
            Act::AskNewest { strict } => {
                let newest = self.held().into_iter().max_by_key(|key| self.truth.keys[*key].handed_out_at);
                let living = self.living();
                let isolate = *self.rng.pick(&living);
                if let Some(key) = newest {
                    self.act_ask(isolate, key, Demand { strict, ..Demand::default() });
                }
            }
            Act::Switch { key, revoke, wait } => self.switch(key, revoke, wait),
            Act::RevokeAll { key } => {
                let (shard, tenant) = (self.truth.keys[key].shard, self.truth.keys[key].tenant);
                self.revoke_all(shard, tenant);
            }
            Act::Rename { key } => {
                let name = format!("name {}", self.number());
                self.order_change(key, KeyChange { name: Edit::Set(Some(name)), ..KeyChange::default() }, false);
            }
            Act::ChangeAnother { key } => self.change_another(key),
            Act::Issue { key } => {
                let (shard, tenant) = (self.truth.keys[key].shard, self.truth.keys[key].tenant);
                self.issue(shard, tenant);
            }
            Act::Late { isolate, answer, by } if self.has(Fault::Network) => {
                self.lures.late.retain(|late| late.0 != isolate);
                self.lures.late.push((isolate, answer, by));
            }
            Act::Spare { isolate, lasts } => self.lures.spared = Some((isolate, self.now + lasts)),
            Act::CutOff { isolate, lasts } if self.has(Fault::Network) => {
                self.met(Point::IsolateCutOff);
                self.tell(|_| format!("isolate {isolate} is cut off"));
                self.lures.cut_off = Some((isolate, self.now + lasts));
            }
            Act::KvStuck { lasts } if self.has(Fault::Kv) => {
                self.tell(|_| "KV takes no put".into());
                self.kv.stuck_until = self.now + lasts;
            }
            Act::Mark { shard } => self.lures.mark = self.shards[shard].disk.flushes.len(),
            Act::Rewind { shard, before } if self.has(Fault::Rewind) => {
                let mark = self.lures.mark.min(self.shards[shard].disk.durable);
                self.rewind(shard, mark.saturating_sub(before).max(2));
            }
            Act::ReplaceAllBut { isolate } if self.has(Fault::Evict) => {
                for other in self.living().into_iter().filter(|other| *other != isolate) {
                    self.evict(other);
                    self.bear_isolate();
                }
            }
            Act::Supersede { shard } if self.has(Fault::Supersede) => self.supersede(shard),
            Act::Kill { shard } if self.has(Fault::Crash) => {
                if let Some(current) = self.shards[shard].current {
                    self.kill(shard, current, "its machine ends");
                }
            }
            Act::Rotate if self.has(Fault::Rotate) => self.rotate(),
            Act::ChangeWire if self.has(Fault::Skew) => self.change_wire(),
            Act::UpdateIsolate { isolate } => self.update_isolate(isolate),
            Act::UpdateObject { shard } => self.update_object(shard),
            // Not the kind of trouble that this history has.
            _ => {}
        }
    }

    fn act_ask(&mut self, isolate: usize, key: usize, demand: Demand) {
        if self.isolates.get(isolate).is_some_and(|isolate| isolate.alive) {
            let text = self.truth.keys[key].text.clone();
            self.present(isolate, key, &text, demand);
        }
    }

    fn switch(&mut self, key: usize, revoke: bool, wait: bool) {
        let place = &self.truth.keys[key];
        let Some(state) = place.history.last() else { return };
        if revoke {
            let command = Command::RevokeKey { account: place.recognised.account, key: place.id };
            self.want(place.shard, Wish::Command(command), None, wait);
            return;
        }
        let disabled = state.is.status == KeyStatus::Active;
        self.order_change(key, KeyChange { disabled: Edit::Set(disabled), ..KeyChange::default() }, wait);
    }

    fn order_change(&mut self, key: usize, change: KeyChange, wait: bool) {
        let place = &self.truth.keys[key];
        let command = Command::ChangeKey { account: place.recognised.account, key: place.id, change };
        self.want(place.shard, Wish::Command(command), None, wait);
    }

    fn change_another(&mut self, key: usize) {
        let shard = self.truth.keys[key].shard;
        let others: Vec<usize> =
            self.held().into_iter().filter(|other| *other != key && self.truth.keys[*other].shard == shard).collect();
        if !others.is_empty() && self.rng.chance(600) {
            let other = *self.rng.pick(&others);
            return self.switch(other, false, false);
        }
        let tenants: Vec<usize> = (0..self.truth.tenants.len())
            .filter(|at| self.truth.tenants[*at].shard == shard && self.truth.tenants[*at].history.last().is_some())
            .collect();
        if tenants.is_empty() {
            return;
        }
        let account = self.truth.tenants[*self.rng.pick(&tenants)].id;
        let change = AccountChange { features: Edit::Set(vec![format!("f{}", self.number())]), ..Default::default() };
        self.want(shard, Wish::Command(Command::ChangeAccount { account, change }), None, false);
    }
}

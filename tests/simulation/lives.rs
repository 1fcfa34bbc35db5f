//! How instances of an object end, and what that leaves of their storage.

use super::{
    coverage::Point,
    disk::Sqlite,
    object::{Out, Question, What},
    rng::SECOND,
    world::{Event, World},
};

impl World {
    /// An instance ends, and with it everything it had in memory. Of what was not durable yet, a beginning is.
    pub fn kill(&mut self, shard: usize, number: usize, why: &str) {
        if !self.is_alive(shard, number) {
            return;
        }
        self.tell(|_| format!("slot {shard}: instance {number} ends: {why}"));
        let now = self.now;
        let instance = self.instance(shard, number);
        instance.alive = false;
        instance.sql = Sqlite::default();
        let superseded = instance.superseded;
        let waiting = std::mem::take(&mut instance.waiting);
        let gated = std::mem::take(&mut instance.gated);
        let carries = std::mem::take(&mut instance.carries);
        let alarmed = !instance.alarms.is_empty();
        let granted = instance.granted;
        self.shards[shard].granting[granted].1 = Some(now);
        if !superseded {
            self.shards[shard].current = None;
            self.lose_tail(shard);
        }
        for question in waiting {
            self.fail_question(&question, true);
        }
        for (_, out) in gated {
            let what = match out {
                Out::Answer { flight, text, .. } => What::Sync { flight, text },
                Out::Reply { attempt, .. } => What::Command { attempt },
                Out::Put(_) => continue,
            };
            self.fail_question(&Question { shard, what }, true);
        }
        for carry in carries.into_values() {
            let what = What::Command { attempt: carry.attempt };
            self.fail_question(&Question { shard, what }, true);
        }
        if alarmed {
            self.fail_question(&Question { shard, what: What::Alarm }, true);
        }
    }

    /// What is not durable is lost from some point on.
    pub fn lose_tail(&mut self, shard: usize) {
        let disk = &self.shards[shard].disk;
        let keep = self.rng.range(disk.durable as u64, disk.flushes.len() as u64) as usize;
        self.set_back(shard, keep);
    }

    /// The storage is as of its first so many flushes.
    pub fn set_back(&mut self, shard: usize, keep: usize) {
        let disk = &mut self.shards[shard].disk;
        if keep < disk.flushes.len() {
            disk.flushes.truncate(keep);
        }
        disk.durable = keep;
        if let Some(Some((_, flush))) = self.shards[shard].rewound
            && flush >= keep
        {
            self.shards[shard].rewound = Some(None);
        }
        if self.truth.undo(shard, keep) {
            self.met(Point::UndoneCommit);
            self.tell(|_| format!("slot {shard}: commits that were not durable are undone"));
        }
        self.admin.undo(shard, keep);
        let alarm = self.shards[shard].disk.alarm();
        if !self.shards[shard].alarm_taken {
            self.set_alarm(shard, alarm);
        }
    }

    /// Another instance is to take over; the current one lives on and does not know.
    pub fn supersede(&mut self, shard: usize) {
        let Some(current) = self.shards[shard].current.take() else { return };
        self.met(Point::Superseded);
        self.tell(|_| format!("slot {shard}: instance {current} is superseded"));
        self.lose_tail(shard);
        let durable = self.shards[shard].disk.durable;
        let told = self.rng.chance(500);
        self.shards[shard].superseded.push(self.now);
        let instance = self.instance(shard, current);
        instance.superseded = true;
        if told {
            instance.released = instance.released.max(durable.min(instance.gate));
        }
        if instance.gate > instance.released {
            instance.gate = usize::MAX;
        }
        if !instance.open {
            return self.kill(shard, current, "it never opened");
        }
        let longest = self.terms.lease_ms * 4_000;
        let delay = self.rng.range(SECOND / 10, longest.max(SECOND));
        self.after(delay, Event::Die { shard, instance: current });
        self.release(shard, current);
    }
}

//! Lures: courses of events that chance alone hardly ever makes. Each is a motif, not a bug: who takes part, what is done
//! and when is left to chance, and everything else goes on around it.

use keygate::policy::KeyStatus;

use super::{
    acts::Act,
    coverage::Point,
    knobs::Fault,
    rng::{MS, Micros, SECOND},
    world::{Event, World},
};

/// What is played, if a history plays anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motif {
    /// Of two syncs, the later one is answered first; the feed is moved on, and perhaps cut, in between.
    Overtaken,
    /// An isolate that has a key at hand asks nothing while the key and others change.
    Lagging,
    /// Storage is set back behind what an isolate knows, which others have known more than.
    Rewound,
    /// A key is issued by a successor while the superseded instance still answers.
    Successor,
    /// One isolate is cut off while somebody waits for a change to count everywhere.
    CutOff,
    /// An instance dies again and again while uses are told.
    Dying,
    /// Pepper and signing key are rotated to the last step, one deploy after the other.
    Rotation,
    /// Code of another version takes its place slowly, while a key changes.
    Versions,
}

/// Overtaking has the most ways to go, so it is played most.
pub const MOTIFS: [Motif; 13] = [
    Motif::Overtaken,
    Motif::Overtaken,
    Motif::Overtaken,
    Motif::Overtaken,
    Motif::Lagging,
    Motif::Rewound,
    Motif::Rewound,
    Motif::Successor,
    Motif::Successor,
    Motif::CutOff,
    Motif::Dying,
    Motif::Rotation,
    Motif::Versions,
];

impl Motif {
    /// Without these kinds of fault it is nothing.
    pub fn faults(self) -> &'static [Fault] {
        match self {
            Motif::Overtaken => &[Fault::Network, Fault::Kv],
            Motif::Lagging => &[],
            Motif::Rewound => &[Fault::Rewind, Fault::Evict],
            Motif::Successor => &[Fault::Supersede],
            Motif::CutOff => &[Fault::Network],
            Motif::Dying => &[Fault::Crash],
            Motif::Rotation => &[Fault::Rotate],
            Motif::Versions => &[Fault::Skew],
        }
    }
}

/// Acts, one after the other.
struct Script {
    at: Micros,
    acts: Vec<(Micros, Act)>,
}

impl Script {
    fn act(&mut self, act: Act) {
        self.acts.push((self.at, act));
    }
}

impl World {
    /// Plays the history's motif with a key that somebody holds.
    pub fn lure(&mut self) {
        let Some(motif) = self.knobs.motif else { return };
        if self.now < self.lures.until {
            return;
        }
        let is_final = |key: usize| {
            let last = self.truth.keys[key].history.last();
            last.is_none_or(|state| state.is.status == KeyStatus::Revoked)
        };
        let held = self.held();
        let keys: Vec<usize> = held.iter().copied().filter(|key| !is_final(*key)).collect();
        if keys.is_empty() {
            return self.administer();
        }
        let key = *self.rng.pick(&keys);
        let shard = self.truth.keys[key].shard;
        let others: Vec<usize> =
            held.into_iter().filter(|other| *other != key && self.truth.keys[*other].shard == shard).collect();
        if others.is_empty() {
            self.issue(shard, self.truth.keys[key].tenant);
            return;
        }
        let other = *self.rng.pick(&others);
        let living = self.living();
        let isolate = *self.rng.pick(&living);
        self.met(Point::Lured);
        self.tell(|_| format!("{motif:?} with key {key}, key {other} and isolate {isolate}"));
        let mut script = Script { at: 0, acts: Vec::new() };
        match motif {
            Motif::Overtaken => self.overtaken(&mut script, isolate, key, other),
            Motif::Lagging => self.lagging(&mut script, isolate, key, other),
            Motif::Rewound => self.rewound(&mut script, shard, isolate, key, other),
            Motif::Successor => self.successor(&mut script, shard, key),
            Motif::CutOff => self.cut_off(&mut script, isolate, key),
            Motif::Dying => self.dying(&mut script, shard, isolate, key),
            Motif::Rotation => self.rotation(&mut script),
            Motif::Versions => self.versions(&mut script, isolate, key),
        }
        self.lures.until = self.now + script.at;
        for (at, act) in script.acts {
            self.after(at, Event::Act(act));
        }
    }

    fn pause(&mut self, script: &mut Script, least_ms: u64, most_ms: u64) {
        script.at += self.rng.range(least_ms, most_ms) * MS;
    }

    fn overtaken(&mut self, script: &mut Script, isolate: usize, key: usize, other: usize) {
        let by = self.rng.range(400, 900) * MS;
        match self.rng.below(14) {
            10 => return self.late_platform(script, isolate, key, other),
            11 => return self.late_put(script, key),
            12.. => return self.late_reset(script, isolate, key, other),
            0..3 => self.late_copy(script, isolate, key, other, by),
            3..6 => self.late_low(script, isolate, key, other, by),
            _ => self.late_question(script, isolate, key, other, by),
        }
        self.asks(script, isolate, key, other);
    }

    /// An answer with copies comes after one that says that they are old.
    fn late_copy(&mut self, script: &mut Script, isolate: usize, key: usize, other: usize, by: Micros) {
        script.act(Act::Late { isolate, answer: true, by });
        let asked = if self.rng.chance(800) { key } else { other };
        script.act(Act::Ask { isolate, key: asked, strict: true });
        self.pause(script, 15, 150);
        let revoke = self.rng.chance(300);
        script.act(Act::Switch { key, revoke, wait: false });
        for _ in 0..self.rng.range(0, 2) {
            self.pause(script, 0, 60);
            script.act(Act::ChangeAnother { key });
        }
        self.pause(script, 40, 300);
        script.act(Act::Ask { isolate, key: other, strict: true });
    }

    /// An answer with an older list of the platform's features comes after one with a newer, and what is asked next is at the
    /// end of the newer one's lease, when the older list is no longer to be seen anywhere.
    fn late_platform(&mut self, script: &mut Script, isolate: usize, key: usize, other: usize) {
        let lease = self.knobs.lease_ms * MS;
        script.act(Act::Spare { isolate, lasts: lease + 4 * SECOND });
        let on = self.rng.chance(500);
        script.act(Act::SetPlatform { key, on });
        self.pause(script, 300, 1_000);
        script.act(Act::Ask { isolate, key, strict: true });
        self.pause(script, 100, 300);
        let by = self.rng.range(800, 900) * MS;
        script.act(Act::Late { isolate, answer: true, by });
        script.act(Act::Ask { isolate, key: other, strict: true });
        self.pause(script, 20, 60);
        script.act(Act::SetPlatform { key, on: !on });
        self.pause(script, 450, 650);
        script.act(Act::Ask { isolate, key: other, strict: true });
        script.at += lease - self.rng.range(0, 350 * MS);
        for _ in 0..2 {
            script.act(Act::AskForFeature { isolate, key });
            self.pause(script, 10, 60);
        }
    }

    /// Keys are issued, and all are revoked before KV has taken them.
    fn late_put(&mut self, script: &mut Script, key: usize) {
        for _ in 0..self.rng.range(1, 3) {
            script.act(Act::Issue { key });
            self.pause(script, 0, 60);
        }
        self.pause(script, 20, 300);
        script.act(Act::RevokeAll { key });
    }

    /// An answer that resets, with a copy of a key, is overtaken by KV, which shows that the key was revoked since.
    fn late_reset(&mut self, script: &mut Script, isolate: usize, key: usize, other: usize) {
        let lasts = self.knobs.lease_ms * MS + 4 * SECOND;
        script.act(Act::Spare { isolate, lasts });
        // What the isolate has of the key goes, and the key is as it was.
        script.act(Act::Switch { key, revoke: false, wait: false });
        self.pause(script, 60, 300);
        script.act(Act::Ask { isolate, key: other, strict: true });
        self.pause(script, 60, 300);
        script.act(Act::Switch { key, revoke: false, wait: false });
        for _ in 0..self.rng.range(4, 9) {
            script.act(Act::ChangeAnother { key });
            self.pause(script, 20, 60);
        }
        self.pause(script, 40, 120);
        let by = self.rng.range(700, 1_500) * MS;
        script.act(Act::Late { isolate, answer: true, by });
        script.act(Act::Ask { isolate, key, strict: true });
        let begun = script.at;
        self.pause(script, 30, 150);
        script.act(Act::Switch { key, revoke: true, wait: false });
        self.pause(script, 150, 500);
        script.act(Act::Ask { isolate, key, strict: false });
        script.at = script.at.max(begun + by);
        for _ in 0..4 {
            self.pause(script, 20, 200);
            script.act(Act::Ask { isolate, key, strict: false });
        }
    }

    /// KV is left with an old copy, which only the feed shows to be one; then an answer from before the feed was moved on
    /// comes after one from behind it.
    fn late_low(&mut self, script: &mut Script, isolate: usize, key: usize, other: usize, by: Micros) {
        let lasts = 4 * SECOND + by;
        script.act(Act::Spare { isolate, lasts });
        if self.rng.chance(300) {
            script.act(Act::ChangeAnother { key });
            self.pause(script, 30, 300);
        }
        let rename = self.rng.chance(500);
        script.act(if rename { Act::Rename { key } } else { Act::Switch { key, revoke: false, wait: false } });
        self.pause(script, 500, 2_000);
        let lasts = self.rng.range(SECOND, 4 * SECOND);
        script.act(Act::KvStuck { lasts });
        let revoke = self.rng.chance(200);
        script.act(Act::Switch { key, revoke, wait: false });
        self.pause(script, 60, 400);
        script.act(Act::Ask { isolate, key: other, strict: true });
        self.pause(script, 40, 300);
        let begun = script.at;
        script.act(Act::Late { isolate, answer: true, by });
        script.act(Act::Ask { isolate, key: other, strict: true });
        self.pause(script, 15, 100);
        for _ in 0..self.rng.range(1, 2) {
            script.act(Act::ChangeAnother { key });
            self.pause(script, 30, 200);
        }
        script.act(Act::Ask { isolate, key: other, strict: true });
        script.at = script.at.max(begun + by);
        for _ in 0..self.rng.range(1, 4) {
            self.pause(script, 20, 300);
            script.act(Act::Ask { isolate, key, strict: false });
        }
    }

    /// A sync comes after one that was sent later, and what is asked in between moves the feed on.
    fn late_question(&mut self, script: &mut Script, isolate: usize, key: usize, other: usize, by: Micros) {
        let lease = self.knobs.lease_ms;
        let lasts = lease * MS + self.rng.range(0, 2 * SECOND);
        script.act(Act::Spare { isolate, lasts });
        let begun = script.at;
        script.act(Act::Late { isolate, answer: false, by });
        script.act(Act::Ask { isolate, key, strict: true });
        self.pause(script, 30, 300);
        if self.rng.chance(700) {
            // What was written last decides how long a lease is granted.
            script.act(Act::Rename { key });
            self.pause(script, 25, 60);
        }
        let gap = script.at - begun;
        script.act(Act::Ask { isolate, key: other, strict: true });
        for _ in 0..self.rng.range(2, 6) {
            self.pause(script, 10, 40);
            script.act(Act::ChangeAnother { key });
        }
        script.at = begun + lease * MS + self.rng.range(0, gap);
        script.act(Act::Ask { isolate, key, strict: false });
    }

    /// Some questions within the next two leases. The other key's often renew the lease, so that the key's own need ask
    /// nobody.
    fn asks(&mut self, script: &mut Script, isolate: usize, key: usize, other: usize) {
        let lease = self.knobs.lease_ms;
        for _ in 0..self.rng.range(2, 6) {
            self.pause(script, lease / 20, lease / 2);
            script.act(Act::Ask { isolate, key: other, strict: self.rng.chance(200) });
            self.pause(script, 20, 200);
            script.act(Act::Ask { isolate, key, strict: false });
        }
    }

    fn lagging(&mut self, script: &mut Script, isolate: usize, key: usize, other: usize) {
        let lease = self.knobs.lease_ms;
        script.act(Act::Ask { isolate, key, strict: false });
        let lasts = self.rng.range(lease, 3 * lease) * MS;
        script.act(Act::Spare { isolate, lasts });
        self.pause(script, 300, 600);
        let revoke = self.rng.chance(300);
        script.act(Act::Switch { key, revoke, wait: false });
        for _ in 0..self.rng.range(1, 5) {
            self.pause(script, 10, 200);
            script.act(Act::ChangeAnother { key });
        }
        self.pause(script, lease / 4, 3 * lease / 2);
        script.act(Act::Ask { isolate, key: other, strict: false });
        self.asks(script, isolate, key, other);
    }

    fn rewound(&mut self, script: &mut Script, shard: usize, isolate: usize, key: usize, other: usize) {
        let lease = self.knobs.lease_ms;
        let lasts = (3 * lease + 8_000) * MS;
        script.act(Act::Spare { isolate, lasts });
        script.act(Act::Switch { key, revoke: false, wait: false });
        self.pause(script, 60, 400);
        script.act(Act::Ask { isolate, key: other, strict: true });
        self.pause(script, 60, 300);
        script.act(Act::Mark { shard });
        for _ in 0..self.rng.range(1, 4) {
            script.act(Act::Switch { key, revoke: false, wait: false });
            self.pause(script, 400, 1_500);
        }
        if self.rng.chance(800) {
            script.act(Act::ReplaceAllBut { isolate });
        }
        let before = self.rng.range(0, 8) as usize;
        script.act(Act::Rewind { shard, before });
        self.pause(script, 0, 30);
        script.act(Act::Ask { isolate, key: other, strict: true });
        self.pause(script, lease + lease / 500 + 5_100, 2 * lease + 6_000);
        script.act(Act::ReplaceAllBut { isolate });
        for _ in 0..3 {
            for any in 0..self.isolates.len() + 8 {
                script.act(Act::Ask { isolate: any, key, strict: false });
            }
            self.pause(script, 200, 2_000);
        }
    }

    fn successor(&mut self, script: &mut Script, shard: usize, key: usize) {
        // Something is written, and nothing else is to be written for a while: after that the instance would be silent.
        if self.rng.chance(200) {
            script.act(Act::Rename { key });
        } else {
            script.act(Act::AskNewest { strict: true });
        }
        self.pause(script, 20, 120);
        script.act(Act::Supersede { shard });
        for _ in 0..self.rng.range(1, 3) {
            script.act(Act::Issue { key });
            self.pause(script, 0, 20);
        }
        for _ in 0..12 {
            self.pause(script, 5, 60);
            let strict = self.rng.chance(300);
            script.act(Act::AskNewest { strict });
        }
    }

    fn cut_off(&mut self, script: &mut Script, isolate: usize, key: usize) {
        let longest = self.terms.lease_ms + self.terms.grace_ms;
        script.act(Act::Ask { isolate, key, strict: false });
        self.pause(script, 200, 600);
        let lasts = self.rng.range(longest / 2, 2 * longest + 2_000) * MS;
        script.act(Act::CutOff { isolate, lasts });
        self.pause(script, 0, 300);
        let revoke = self.rng.chance(500);
        script.act(Act::Switch { key, revoke, wait: true });
        for _ in 0..12 {
            self.pause(script, longest / 40, longest / 6);
            script.act(Act::Ask { isolate, key, strict: false });
        }
    }

    fn dying(&mut self, script: &mut Script, shard: usize, isolate: usize, key: usize) {
        for _ in 0..self.rng.range(2, 6) {
            for _ in 0..self.rng.range(1, 4) {
                script.act(Act::Ask { isolate, key, strict: false });
            }
            self.pause(script, 0, 300);
            script.act(Act::Ask { isolate, key, strict: true });
            self.pause(script, 5, 40);
            script.act(Act::Kill { shard });
            self.pause(script, 200, 2_500);
        }
    }

    fn versions(&mut self, script: &mut Script, isolate: usize, key: usize) {
        let lease = self.knobs.lease_ms;
        script.act(Act::ChangeWire);
        for _ in 0..self.rng.range(1, 4) {
            self.pause(script, lease / 10, lease);
            script.act(Act::Ask { isolate, key, strict: true });
        }
        script.act(Act::Switch { key, revoke: false, wait: false });
        for _ in 0..self.rng.range(4, 10) {
            self.pause(script, lease / 10, lease / 2);
            script.act(Act::Ask { isolate, key, strict: false });
        }
    }

    fn rotation(&mut self, script: &mut Script) {
        let lease = self.knobs.lease_ms;
        for _ in 0..5 {
            script.act(Act::Rotate);
            self.pause(script, 3 * lease / 2, 2 * lease);
        }
    }
}

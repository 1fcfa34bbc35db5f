//! What kind of history a seed makes: how long a lease, how many isolates, and which faults.

use std::collections::BTreeSet;

use super::{
    lures::{MOTIFS, Motif},
    rng::{Micros, Rng, SECOND},
};

/// Faults of one kind, to be switched off one by one when a history is cut to what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Instances die, at any statement, and between a commit and its answer.
    Crash,
    /// An instance is superseded and does not know.
    Supersede,
    /// Storage is set back to an earlier state.
    Rewind,
    /// KV loses, delays and repeats puts, serves old values, is out of order.
    Kv,
    /// Somebody writes to KV.
    Adversary,
    /// Messages are lost or late.
    Network,
    /// Objects cannot be reached for a while.
    Outage,
    /// Clocks are set back.
    Clock,
    /// Turns take long.
    Stall,
    /// Isolates go.
    Evict,
    /// Pepper and signing key are rotated.
    Rotate,
    /// Code that speaks another version takes its place step by step.
    Skew,
    /// The lease is another one after a restart.
    Terms,
    /// Alarms are lost, early, twice.
    Alarm,
    /// Nothing happens for more than a day.
    Sleep,
}

pub const FAULTS: [Fault; 15] = [
    Fault::Crash,
    Fault::Supersede,
    Fault::Rewind,
    Fault::Kv,
    Fault::Adversary,
    Fault::Network,
    Fault::Outage,
    Fault::Clock,
    Fault::Stall,
    Fault::Evict,
    Fault::Rotate,
    Fault::Skew,
    Fault::Terms,
    Fault::Alarm,
    Fault::Sleep,
];

#[derive(Clone, Debug)]
pub struct Knobs {
    pub lease_ms: u64,
    pub grace_ms: u64,
    pub shards: usize,
    pub isolates: usize,
    pub locations: usize,
    /// Requests and commands, together with what else comes from outside.
    pub stimuli: u32,
    /// The mean pause between two of them.
    pub pace: Micros,
    pub faults: Vec<Fault>,
    /// What is played now and then.
    pub motif: Option<Motif>,
    /// The numbers of stimuli that do not happen.
    pub left_out: BTreeSet<u32>,
}

impl Knobs {
    pub fn of(rng: &mut Rng) -> Self {
        let lease_ms = *rng.pick(&[1_000, 2_000, 5_000, 5_000, 5_000, 5_000, 20_000, 60_000]);
        let grace_ms = if rng.chance(250) { *rng.pick(&[1_000, 5_000, 30_000]) } else { 0 };
        // So that about thirty to a hundred things happen within a lease.
        let pace = lease_ms * 1_000 / rng.range(15, 60);
        let often = |fault: &Fault| match fault {
            Fault::Rewind => 120,
            Fault::Sleep => 15,
            Fault::Supersede | Fault::Clock | Fault::Outage | Fault::Terms => 350,
            Fault::Rotate | Fault::Skew => 250,
            _ => 600,
        };
        let calm = rng.chance(50);
        let mut faults: Vec<Fault> = FAULTS.into_iter().filter(|fault| rng.chance(often(fault)) && !calm).collect();
        let motif = (rng.chance(750) && !calm).then(|| *rng.pick(&MOTIFS));
        let needed = motif.map_or(&[][..], Motif::faults);
        faults.extend(needed.iter().filter(|fault| !faults.contains(fault)).copied().collect::<Vec<_>>());
        Knobs {
            lease_ms,
            grace_ms,
            shards: if rng.chance(250) { 2 } else { 1 },
            isolates: rng.range(1, 5) as usize,
            locations: rng.range(1, 3) as usize,
            stimuli: rng.range(40, 180) as u32,
            pace: pace.clamp(5_000, 2 * SECOND),
            faults,
            motif,
            left_out: BTreeSet::new(),
        }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

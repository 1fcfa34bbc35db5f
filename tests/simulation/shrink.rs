//! What is left of a failing history when everything is gone that it does not need.
//!
//! Each stimulus makes its own chance from the seed and its number (`World::stimulus`), so that one can be left out and
//! the others stay what they were. Those that are not needed are found by delta debugging (Zeller and Hildebrandt 2002):
//! halves are left out, then quarters, and so on down to single ones.

use super::{
    knobs::{FAULTS, Knobs},
    rng::Rng,
    run::{Outcome, history},
};

/// Histories that are tried at most.
const TRIES: u32 = 1_500;

/// The history of a seed that breaks an invariant, as short as it still breaks the same one.
pub fn shrink(seed: u64) -> Outcome {
    let whole = history(seed, None, false).violation.map(|violation| violation.invariant);
    let mut search = Search { seed, invariant: whole, best: Knobs::of(&mut Rng::new(seed)), tries: TRIES };
    if whole.is_some() {
        search.without_faults();
        search.with_fewer_isolates();
        search.without_stimuli();
        search.without_faults();
    }
    let Knobs { stimuli, left_out, .. } = &search.best;
    eprintln!(
        "{} of {stimuli} stimuli are left, after {} histories",
        *stimuli as usize - left_out.len(),
        TRIES - search.tries
    );
    history(seed, Some(search.best), true)
}

struct Search {
    seed: u64,
    invariant: Option<&'static str>,
    best: Knobs,
    tries: u32,
}

impl Search {
    /// Takes `knobs` if they will do.
    fn attempt(&mut self, knobs: Knobs) -> bool {
        if self.tries == 0 {
            return false;
        }
        self.tries -= 1;
        let violation = history(self.seed, Some(knobs.clone()), false).violation;
        let same = violation.is_some_and(|violation| Some(violation.invariant) == self.invariant);
        if same {
            self.best = knobs;
        }
        same
    }

    fn without_faults(&mut self) {
        for fault in FAULTS {
            let mut knobs = self.best.clone();
            knobs.faults.retain(|other| *other != fault);
            if knobs.faults.len() < self.best.faults.len() {
                self.attempt(knobs);
            }
        }
        if self.best.motif.is_some() {
            self.attempt(Knobs { motif: None, ..self.best.clone() });
        }
    }

    fn with_fewer_isolates(&mut self) {
        for isolates in 1..self.best.isolates {
            if self.attempt(Knobs { isolates, ..self.best.clone() }) {
                return;
            }
        }
    }

    fn without_stimuli(&mut self) {
        let mut size = self.best.stimuli as usize / 2;
        while size > 0 {
            let mut at = 0;
            loop {
                let left_out = &self.best.left_out;
                let left: Vec<u32> = (0..self.best.stimuli).filter(|number| !left_out.contains(number)).collect();
                if at >= left.len() {
                    break;
                }
                let mut knobs = self.best.clone();
                knobs.left_out.extend(&left[at..(at + size).min(left.len())]);
                if !self.attempt(knobs) {
                    at += size;
                }
            }
            size /= 2;
        }
    }
}

//! Many histories, on as many threads as there are processors.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{
    bugs,
    coverage::Coverage,
    knobs::Knobs,
    world::{Violation, World},
};

/// How one history went.
pub struct Outcome {
    pub violation: Option<Violation>,
    pub coverage: Coverage,
    pub story: Vec<String>,
}

/// The history of a seed.
pub fn history(seed: u64, knobs: Option<Knobs>, told: bool) -> Outcome {
    keygate::planted::shorten_chunks([Some(1), Some(2), None][(seed % 3) as usize]);
    keygate::planted::shorten_walks([None, Some(1), Some(2)][(seed / 2 % 3) as usize]);
    keygate::planted::shorten_feed([Some(1), None, Some(2), Some(4)][(seed % 4) as usize]);
    let mut world = World::new(seed, knobs, told);
    world.live();
    let World { violation, coverage, story, .. } = world;
    Outcome { violation, coverage, story: story.unwrap_or_default() }
}

/// What a run of many seeds came to.
pub struct Run {
    pub histories: u64,
    pub failed: Option<(u64, Violation)>,
    pub coverage: Coverage,
}

/// Runs the histories of `seeds`, up to the first that fails. `progress` is told now and then how many are done.
pub fn run(seeds: std::ops::Range<u64>, bug: Option<&'static str>, progress: impl Fn(u64) + Sync) -> Run {
    let (next, done, stop) = (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicBool::new(false));
    let result = Mutex::new(Run { histories: 0, failed: None, coverage: Coverage::default() });
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                choose(bug);
                let mut coverage = Coverage::default();
                let mut histories = 0;
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let outcome = history(seed, None, false);
                    coverage.add(&outcome.coverage);
                    histories += 1;
                    if let Some(violation) = outcome.violation {
                        stop.store(true, Ordering::Relaxed);
                        let mut result = result.lock().unwrap();
                        if result.failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                            result.failed = Some((seed, violation));
                        }
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(500) {
                        progress(done);
                    }
                }
                let mut result = result.lock().unwrap();
                result.coverage.add(&coverage);
                result.histories += histories;
            });
        }
    });
    result.into_inner().unwrap()
}

pub fn choose(bug: Option<&'static str>) {
    bugs::choose(bug);
}

/// Prints a history, its end if it is long.
pub fn print(outcome: &Outcome) {
    let skipped = outcome.story.len().saturating_sub(400);
    if outcome.violation.is_some() && skipped > 0 {
        println!("… {skipped} lines before");
        outcome.story[skipped..].iter().for_each(|line| println!("{line}"));
    } else {
        outcome.story.iter().for_each(|line| println!("{line}"));
    }
    if let Some(Violation { invariant, detail }) = &outcome.violation {
        println!("\n{invariant} does not hold: {detail}");
    }
}

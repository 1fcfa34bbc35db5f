//! Chance, all of it from one number; and clocks.

use keygate::policy::UnixMillis;

/// True time in microseconds since the history began.
pub type Micros = u64;

pub const MS: Micros = 1_000;
pub const SECOND: Micros = 1_000 * MS;

/// SplitMix64 (Steele, Lea, Flood 2014): short, and every seed is a good one.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng(seed ^ 0x005e_ed0f_4be1_9a7e);
        rng.next();
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without it.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// From `first` to `last`, with both.
    pub fn range(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.index(all.len())]
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.iter_mut().for_each(|byte| *byte = self.next() as u8);
        bytes
    }

    /// Mostly short, sometimes long, seldom very long.
    pub fn latency(&mut self, usual: Micros, long: Micros) -> Micros {
        match self.below(20) {
            0 => self.range(usual, long),
            1..4 => self.range(usual / 2, usual * 3),
            _ => self.range(usual / 4, usual),
        }
    }
}

/// The clock of a machine: somewhere else than the true time, and a little too fast or too slow.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset_ms: i64,
    drift_ppm: i64,
}

/// What clocks show when a history begins, about.
pub const BASE_MS: u64 = 1_800_000_000_000;

/// The largest error of a clock's rate that is assumed: 1 in 1,000.
const DRIFT_MAX_PPM: u64 = 1_000;

impl Clock {
    pub fn new(rng: &mut Rng, skew_max_ms: u64) -> Self {
        let drift = match rng.below(4) {
            0 => 0,
            1 => 2 * DRIFT_MAX_PPM,
            2 => DRIFT_MAX_PPM,
            _ => rng.range(0, 2 * DRIFT_MAX_PPM),
        };
        Clock {
            offset_ms: rng.range(0, 2 * skew_max_ms) as i64 - skew_max_ms as i64,
            drift_ppm: drift as i64 - DRIFT_MAX_PPM as i64,
        }
    }

    pub fn at(&self, now: Micros) -> UnixMillis {
        let now = now as i64;
        let shown = now + (now / 1_000) * self.drift_ppm / 1_000;
        UnixMillis::from_millis((BASE_MS as i64 + self.offset_ms + shown.div_euclid(1_000)) as u64)
    }

    /// How long it truly takes until this clock has moved on by so many milliseconds.
    pub fn lasts(&self, millis: u64) -> Micros {
        millis * 1_000 * 1_000_000 / (1_000_000 + self.drift_ppm) as u64
    }

    /// Somebody sets it back.
    pub fn set_back(&mut self, millis: u64) {
        self.offset_ms -= millis as i64;
    }

    /// How far it is from the true time now.
    pub fn error_ms(&self, now: Micros) -> i64 {
        self.at(now).as_millis() as i64 - BASE_MS as i64 - (now / 1_000) as i64
    }
}

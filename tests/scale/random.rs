//! Randomness that a seed repeats: SplitMix64 (Steele, Lea and Flood 2014).

/// A stream of random numbers. Equal seeds give equal streams.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed ^ 0x5ca1_e000_0000_0000)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to just below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn below(&mut self, bound: usize) -> usize {
        ((self.unit() * bound as f64) as usize).min(bound.saturating_sub(1))
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Exponential, with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// A rank from 0 to below `count` by Zipf's law with exponent 1: rank k has the weight ln((k + 2) / (k + 1)), which
    /// is 1 / (k + 1.5) within 4 %.
    pub fn zipf(&mut self, count: usize) -> usize {
        let rank = (self.unit() * ((count + 1) as f64).ln()).exp() - 1.0;
        (rank as usize).min(count.saturating_sub(1))
    }

    /// From a distribution that is given by some of its quantiles, (probability, value), straight between them in the
    /// logarithm of the value.
    pub fn quantile(&mut self, points: &[(f64, f64)]) -> f64 {
        let unit = self.unit();
        for pair in points.windows(2) {
            let ((from, low), (to, high)) = (pair[0], pair[1]);
            if unit < to {
                return low * (high / low).powf((unit - from) / (to - from));
            }
        }
        points[points.len() - 1].1
    }
}

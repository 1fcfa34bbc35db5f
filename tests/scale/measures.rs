//! What a run counts.

use super::database::Bill;

/// How a request was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// By what was at hand.
    AtOnce,
    /// By copies from KV.
    Mirror,
    /// After a question to the Authority, its own or another request's.
    Authority,
    /// Not at all: 503.
    Nobody,
}

/// Durations in buckets, each 2 % wider than the one before.
#[derive(Clone, Debug)]
pub struct Durations {
    buckets: Vec<u64>,
    pub count: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Durations { buckets: vec![0; 1_000], count: 0 }
    }
}

impl Durations {
    pub fn note(&mut self, micros: u64) {
        let bucket = ((micros as f64 + 1.0).ln() / 1.02_f64.ln()) as usize;
        let last = self.buckets.len() - 1;
        self.buckets[bucket.min(last)] += 1;
        self.count += 1;
    }

    pub fn add(&mut self, other: &Durations) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, count)| *sum += count);
        self.count += other.count;
    }

    /// In milliseconds; none of nothing.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = (part * self.count as f64).ceil().max(1.0) as u64;
        let mut sum = 0;
        let bucket = self.buckets.iter().position(|count| {
            sum += count;
            sum >= wanted
        })?;
        Some((1.02_f64.powf(bucket as f64 + 0.5) - 1.0) / 1_000.0)
    }
}

/// Everything, from the end of the warm-up on.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    pub seconds: f64,
    pub requests: u64,
    pub accepted: u64,
    /// Durations by [`Path`].
    pub paths: [Durations; 4],
    /// Accepts of a key that had been revoked for longer than a lease. There are none.
    pub late: u64,
    /// Isolates that share the requests, sampled.
    pub in_use: Vec<u64>,
    pub born: u64,
    pub kv_reads: u64,
    pub kv_cold: u64,
    pub kv_writes: u64,
    /// Copies that were read, where they or the others of the same request were not believed or missing.
    pub kv_in_vain: u64,
    /// Syncs that isolates sent: for a request, to renew a lease, to tell uses, to tell uses at once again.
    pub sent: [u64; 4],
    pub sync_failed: u64,
    pub sync_answered: u64,
    pub sync_forgotten: u64,
    /// Syncs at the slot, by second.
    pub at_slot: Vec<u32>,
    /// Syncs at each relay.
    pub at_relays: Vec<u64>,
    pub commands: u64,
    pub alarms: u64,
    pub alarms_set: u64,
    pub bill: Bill,
}

impl Measures {
    pub fn path(&mut self, path: Path) -> &mut Durations {
        &mut self.paths[path as usize]
    }

    pub fn share(&self, path: Path) -> f64 {
        self.paths[path as usize].count as f64 / self.requests.max(1) as f64
    }

    /// All durations together.
    pub fn all(&self) -> Durations {
        let mut all = Durations::default();
        self.paths.iter().for_each(|durations| all.add(durations));
        all
    }

    pub fn syncs(&self) -> u64 {
        self.at_slot.iter().map(|count| u64::from(*count)).sum()
    }

    /// In the busiest minute.
    pub fn syncs_at_peak(&self) -> f64 {
        let minutes = self.at_slot.chunks_exact(60);
        minutes.map(|minute| f64::from(minute.iter().sum::<u32>()) / 60.0).fold(0.0, f64::max)
    }

    pub fn in_use_at_peak(&self) -> u64 {
        self.in_use.iter().copied().max().unwrap_or(0)
    }

    /// Rows written to a table.
    pub fn rows(&self, table: &str) -> u64 {
        self.bill.written.get(table).copied().unwrap_or(0)
    }

    /// Rows written otherwise: commands, and what follows from them.
    pub fn rows_of_commands(&self) -> u64 {
        self.bill.written.values().sum::<u64>() - self.rows("heartbeat") - self.rows("usage")
    }

    /// Rows written, with one for each alarm that was set.
    pub fn rows_in_all(&self) -> u64 {
        self.bill.written.values().sum::<u64>() + self.alarms_set
    }

    pub fn per_day(&self, count: u64) -> f64 {
        count as f64 / self.seconds * 86_400.0
    }
}

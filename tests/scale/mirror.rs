//! KV: one store, and in every location what was read there within the last minute.

use std::collections::HashMap;
use std::rc::Rc;

use keygate::authority::outbox::KvKey;

use super::{random::Random, world};

/// How long a location keeps what it has read (Workers KV, `cacheTtl`), in microseconds.
const KEPT_US: u64 = 60_000_000;

/// Entries of a location beyond which old ones are swept out.
const SWEEP: usize = 20_000;

type Copy = Option<Rc<str>>;

pub struct Mirror<'p> {
    /// What was there at the beginning.
    first: &'p HashMap<KvKey, Rc<str>>,
    /// What was put since.
    store: HashMap<KvKey, Rc<str>>,
    locations: Vec<HashMap<KvKey, (u64, Copy)>>,
}

/// What a read brought, and what it took.
pub struct Read {
    pub copy: Copy,
    pub cold: bool,
    pub micros: u64,
}

impl<'p> Mirror<'p> {
    pub fn new(first: &'p HashMap<KvKey, Rc<str>>, locations: usize) -> Self {
        Mirror { first, store: HashMap::new(), locations: vec![HashMap::new(); locations] }
    }

    pub fn put(&mut self, name: KvKey, value: String) {
        self.store.insert(name, value.into());
    }

    pub fn read(&mut self, location: usize, name: KvKey, now: u64, random: &mut Random) -> Read {
        let here = &mut self.locations[location];
        let kept = here.get(&name).filter(|(at, _)| now < at + KEPT_US).map(|(_, copy)| copy.clone());
        let (cold, points) = if kept.is_some() { (false, world::KV_HOT) } else { (true, world::KV_COLD) };
        let copy = kept.unwrap_or_else(|| {
            if here.len() >= SWEEP {
                here.retain(|_, (at, _)| now < *at + KEPT_US);
            }
            let copy = self.store.get(&name).or_else(|| self.first.get(&name)).cloned();
            here.insert(name, (now, copy.clone()));
            copy
        });
        Read { copy, cold, micros: (random.quantile(points) * 1_000.0) as u64 }
    }
}

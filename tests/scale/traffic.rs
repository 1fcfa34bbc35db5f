//! Who asks for what: keys by Zipf's law, most of them used near one place.

use super::{
    random::Random,
    world::{self, Location},
};

/// The share of a location's requests that come with keys which have their home there.
const AT_HOME: f64 = 0.7;

/// Keys by place and rank.
pub struct Traffic {
    pub locations: Vec<Location>,
    /// Places of keys, the most used first.
    ranks: Vec<u32>,
    /// The same of the keys that have their home at a location.
    homes: Vec<Vec<u32>>,
}

impl Traffic {
    /// Key number n belongs to account n modulo `accounts`, and an account's keys have one home.
    pub fn new(locations: usize, isolates: usize, accounts: usize, keys: usize, random: &mut Random) -> Self {
        let locations = world::locations(locations, isolates, random);
        let mut ranks: Vec<u32> = (0..keys as u32).collect();
        for place in (1..keys).rev() {
            ranks.swap(place, random.below(place + 1));
        }
        let home: Vec<usize> = (0..accounts).map(|_| pick(&locations, random)).collect();
        let mut homes = vec![Vec::new(); locations.len()];
        for key in &ranks {
            homes[home[*key as usize % accounts]].push(*key);
        }
        Traffic { locations, ranks, homes }
    }

    /// The key of a request that comes to a location.
    pub fn key(&self, location: usize, random: &mut Random) -> u32 {
        let here = &self.homes[location];
        let from = if !here.is_empty() && random.chance(AT_HOME) { here } else { &self.ranks };
        from[random.zipf(from.len())]
    }

    /// A key that is changed: those that are used much are changed much.
    pub fn any_key(&self, random: &mut Random) -> u32 {
        self.ranks[random.zipf(self.ranks.len())]
    }
}

fn pick(locations: &[Location], random: &mut Random) -> usize {
    let mut left = random.unit();
    let found = locations.iter().position(|location| {
        left -= location.traffic;
        left < 0.0
    });
    found.unwrap_or(0)
}

//! Where requests come from and how far everything is from everything: assumptions, not measurements.

use super::random::Random;

/// A part of the world, named as Cloudflare names the location hints of Durable Objects.
pub struct Region {
    pub name: &'static str,
    pub locations: usize,
    /// Its share of all requests.
    pub traffic: f64,
    /// Hours that its clocks are ahead of UTC.
    pub utc_offset: f64,
    /// A round trip to an object in western Europe, where the Authority is, in milliseconds.
    pub to_authority_ms: f64,
}

/// 300 locations in the nine regions.
pub const REGIONS: [Region; 9] = [
    Region { name: "wnam", locations: 35, traffic: 0.15, utc_offset: -8.0, to_authority_ms: 140.0 },
    Region { name: "enam", locations: 55, traffic: 0.24, utc_offset: -5.0, to_authority_ms: 85.0 },
    Region { name: "sam", locations: 30, traffic: 0.06, utc_offset: -3.0, to_authority_ms: 200.0 },
    Region { name: "weur", locations: 50, traffic: 0.24, utc_offset: 1.0, to_authority_ms: 5.0 },
    Region { name: "eeur", locations: 35, traffic: 0.08, utc_offset: 2.0, to_authority_ms: 35.0 },
    Region { name: "apac", locations: 55, traffic: 0.16, utc_offset: 8.0, to_authority_ms: 220.0 },
    Region { name: "oc", locations: 15, traffic: 0.03, utc_offset: 10.0, to_authority_ms: 270.0 },
    Region { name: "afr", locations: 15, traffic: 0.02, utc_offset: 2.0, to_authority_ms: 150.0 },
    Region { name: "me", locations: 10, traffic: 0.02, utc_offset: 3.0, to_authority_ms: 110.0 },
];

/// What a location's own distance adds to a round trip beyond its region, at most.
const LOCAL_MS: f64 = 30.0;

/// A location's round trip to an object of its own region, at the least.
const REGIONAL_MS: f64 = 4.0;

/// One round trip in a hundred loses a packet, and takes so much longer.
const RETRANSMISSION_MS: std::ops::Range<f64> = 50.0..400.0;

/// What a KV read takes of what its location has at hand (Cloudflare: under a millisecond), in milliseconds.
pub const KV_HOT: &[(f64, f64)] = &[(0.0, 0.2), (0.5, 0.4), (0.99, 0.9), (1.0, 2.0)];

/// The same of what it has not: p95 50 ms, p99 250 ms (Cloudflare changelog, 2025-08-22).
pub const KV_COLD: &[(f64, f64)] = &[(0.0, 4.0), (0.5, 18.0), (0.95, 50.0), (0.99, 250.0), (1.0, 1_500.0)];

/// A location of Cloudflare's.
pub struct Location {
    pub region: usize,
    /// Its share of all requests.
    pub traffic: f64,
    /// What it adds to every round trip, in milliseconds.
    pub local_ms: f64,
    /// Isolates in use when it is busiest.
    pub isolates: usize,
}

/// The share of its peak that a location has at a local time, in hours: 1 at 15 o'clock, 0.2 at 3.
pub fn by_day(hour: f64) -> f64 {
    0.2 + 0.4 * (1.0 + ((hour - 15.0) / 24.0 * std::f64::consts::TAU).cos())
}

/// The mean of [`by_day`].
const BY_DAY_MEAN: f64 = 0.6;

/// So many locations in proportion to the regions, which have `isolates` in use together when most are.
pub fn locations(count: usize, isolates: usize, random: &mut Random) -> Vec<Location> {
    let all: usize = REGIONS.iter().map(|region| region.locations).sum();
    let mut locations = Vec::new();
    for (number, region) in REGIONS.iter().enumerate() {
        let here = (region.locations * count / all).max(1);
        // A few large ones and many small ones.
        let weight = |place: usize| 1.0 / ((place + 2) as f64).powf(0.8);
        let sum: f64 = (0..here).map(weight).sum();
        locations.extend((0..here).map(|place| Location {
            region: number,
            traffic: region.traffic * weight(place) / sum,
            local_ms: random.unit() * LOCAL_MS,
            isolates: 1,
        }));
    }
    let (mut low, mut high) = (0.0, 100.0 * isolates as f64);
    while high - low > 0.01 {
        let total = (low + high) / 2.0;
        for location in &mut locations {
            location.isolates = ((total * location.traffic).round() as usize).max(1);
        }
        if peak(&locations) > isolates { high = total } else { low = total }
    }
    locations
}

/// The isolates in use at the busiest hour.
fn peak(locations: &[Location]) -> usize {
    (0..24).map(|hour| locations.iter().map(|location| location.in_use(f64::from(hour))).sum()).max().unwrap_or(0)
}

impl Location {
    /// The share of its peak at this time, in hours UTC.
    pub fn load(&self, utc: f64) -> f64 {
        by_day(utc + REGIONS[self.region].utc_offset)
    }

    /// The isolates that share its requests at this time: their number follows the load.
    pub fn in_use(&self, utc: f64) -> usize {
        ((self.isolates as f64 * self.load(utc)).ceil() as usize).max(1)
    }

    /// Its requests per second at this time, of so many in all in the mean.
    pub fn rate(&self, mean: f64, utc: f64) -> f64 {
        mean * self.traffic * self.load(utc) / BY_DAY_MEAN
    }

    /// One round trip to the Authority, in milliseconds.
    pub fn to_authority_ms(&self, random: &mut Random) -> f64 {
        round_trip(REGIONS[self.region].to_authority_ms + self.local_ms, random)
    }

    /// One round trip to a relay in its own region, in milliseconds.
    pub fn to_relay_ms(&self, random: &mut Random) -> f64 {
        round_trip(REGIONAL_MS + self.local_ms, random)
    }
}

/// One round trip between a region's relay and the Authority, in milliseconds.
pub fn relay_to_authority_ms(region: usize, random: &mut Random) -> f64 {
    round_trip(REGIONS[region].to_authority_ms, random)
}

fn round_trip(mean: f64, random: &mut Random) -> f64 {
    let late = if random.chance(0.01) {
        RETRANSMISSION_MS.start + random.unit() * (RETRANSMISSION_MS.end - RETRANSMISSION_MS.start)
    } else {
        0.0
    };
    mean * (0.95 + 0.1 * random.unit()) + random.exponential(2.0) + late
}

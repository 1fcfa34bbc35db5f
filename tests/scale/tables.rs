//! What `scripts/scale` prints: the runs of a day, and what each would cost.
//!
//! Options are words in `KEYGATE_SCALE`, as `scripts/scale --help` describes them. Tables go to standard output, in
//! Markdown; progress, for the script to work up, to standard error.

use std::fmt::Write as _;
use std::io::Write as _;

use super::{
    authority::Population,
    measures::{Durations, Measures, Path},
    model::{Model, Setting},
    random::Random,
    traffic::Traffic,
    world::{KV_COLD, KV_HOT, REGIONS},
};

/// Cloudflare's prices and limits as of 2026-07 (developers.cloudflare.com: durable-objects/platform/pricing and
/// kv/platform/pricing). Per month included, dollars per further million, and per day in the free plan.
struct Price {
    what: &'static str,
    included: f64,
    per_million: f64,
    free_per_day: f64,
}

const PRICES: [Price; 6] = [
    Price { what: "requests to objects", included: 1e6, per_million: 0.15, free_per_day: 100_000.0 },
    Price { what: "duration", included: 400_000.0, per_million: 12.5, free_per_day: 13_000.0 },
    Price { what: "rows written", included: 50e6, per_million: 1.0, free_per_day: 100_000.0 },
    // The free plan ends at 5 million rows read a day. What is counted is an upper bound, and would not show it.
    Price { what: "rows read", included: 25e9, per_million: 0.001, free_per_day: f64::INFINITY },
    Price { what: "KV reads", included: 10e6, per_million: 0.5, free_per_day: 100_000.0 },
    Price { what: "KV writes", included: 1e6, per_million: 5.0, free_per_day: 1_000.0 },
];

const DAYS_A_MONTH: f64 = 365.25 / 12.0;

/// An object has 128 MB, and is billed for all the time that it is in memory.
const GB_SECONDS_A_DAY: f64 = 0.128 * 86_400.0;

/// What a run used in a day, in the order of [`PRICES`].
fn used(setting: &Setting, measures: &Measures) -> [f64; 6] {
    let objects = if setting.relays { REGIONS.len() + setting.slots } else { setting.slots };
    let asked = measures.syncs() + measures.commands + measures.alarms + measures.at_relays.iter().sum::<u64>();
    let day = |count: u64| measures.per_day(count) * setting.slots as f64;
    [
        day(asked),
        objects as f64 * GB_SECONDS_A_DAY,
        day(measures.rows_in_all()),
        day(measures.bill.steps),
        day(measures.kv_reads),
        day(measures.kv_writes),
    ]
}

fn dollars(used: &[f64; 6]) -> [f64; 6] {
    std::array::from_fn(|place| {
        let Price { included, per_million, .. } = PRICES[place];
        (used[place] * DAYS_A_MONTH - included).max(0.0) / 1e6 * per_million
    })
}

/// One run and what came of it.
struct Run {
    setting: Setting,
    measures: Measures,
}

impl Run {
    fn used(&self) -> [f64; 6] {
        used(&self.setting, &self.measures)
    }
}

/// A line of a table: what it is, and what a run has to say to it.
type Line = (&'static str, fn(&Run) -> String);

const LINES: &[Line] = &[
    ("syncs/s at a slot: mean, busiest minute", |run| {
        let mean = run.measures.syncs() as f64 / run.measures.seconds;
        format!("{}, {}", short(mean), short(run.measures.syncs_at_peak()))
    }),
    ("syncs/s at all relays: mean", |run| {
        short(run.measures.at_relays.iter().sum::<u64>() as f64 / run.measures.seconds)
    }),
    ("syncs sent for a request; to renew; to tell uses; to tell again", |run| {
        let sum = run.measures.sent.iter().sum::<u64>().max(1) as f64;
        let shares = run.measures.sent.map(|count| percent(count as f64 / sum));
        shares.join("; ")
    }),
    ("isolates in use at 1,000 syncs/s", |run| {
        let share = run.measures.in_use_at_peak() as f64 / run.measures.syncs_at_peak().max(0.001);
        short(share * 1_000.0)
    }),
    ("decided at once; by KV; by the Authority; 503", |run| {
        let shares = [Path::AtOnce, Path::Mirror, Path::Authority, Path::Nobody];
        shares.map(|path| percent(run.measures.share(path))).join("; ")
    }),
    ("decision, ms: p50, p90, p99, p99.9", |run| quantiles(&run.measures.all())),
    ("by KV, ms: p50, p90, p99, p99.9", |run| quantiles(&run.measures.paths[Path::Mirror as usize])),
    ("by the Authority, ms: p50, p90, p99, p99.9", |run| quantiles(&run.measures.paths[Path::Authority as usize])),
    ("KV reads/s; of them cold; not believed or missing", |run| {
        let Measures { kv_reads, kv_cold, kv_in_vain, seconds, .. } = run.measures;
        let share = |count: u64| percent(count as f64 / kv_reads.max(1) as f64);
        format!("{}; {}; {}", short(kv_reads as f64 / seconds), share(kv_cold), share(kv_in_vain))
    }),
    ("rows written a day: heartbeats; usage; alarms; commands", |run| {
        let rows = &run.measures;
        let counts = [rows.rows("heartbeat"), rows.rows("usage"), rows.alarms_set, rows.rows_of_commands()];
        counts.map(|count| short(rows.per_day(count))).join("; ")
    }),
    ("dollars a month: requests; duration; rows written; KV reads; KV writes", |run| {
        let dollars = dollars(&run.used());
        [0, 1, 2, 4, 5].map(|place| format!("{:.0}", dollars[place])).join("; ")
    }),
    ("dollars a month in all", |run| format!("{:.0}", dollars(&run.used()).iter().sum::<f64>())),
    ("free plan", |run| {
        let used = run.used();
        let is_beyond = |(price, used): &(&Price, f64)| *used > price.free_per_day;
        let beyond: Vec<_> = PRICES.iter().zip(used).filter(is_beyond).collect();
        if beyond.is_empty() { "holds".into() } else { list(&beyond) }
    }),
];

fn list(beyond: &[(&Price, f64)]) -> String {
    let named = |(price, used): &(&Price, f64)| format!("{} {}×", price.what, short(used / price.free_per_day));
    beyond.iter().map(named).collect::<Vec<_>>().join(", ")
}

fn short(number: f64) -> String {
    match number {
        _ if number >= 9.95e6 => format!("{:.0} M", number / 1e6),
        _ if number >= 1e6 => format!("{:.1} M", number / 1e6),
        _ if number >= 9_950.0 => format!("{:.0},000", number / 1e3),
        _ if number >= 999.5 => {
            let tens = (number / 10.0).round() as u64 * 10;
            format!("{},{:03}", tens / 1_000, tens % 1_000)
        }
        _ if number >= 9.95 || number == 0.0 => format!("{number:.0}"),
        _ => format!("{number:.2}"),
    }
}

fn percent(part: f64) -> String {
    match part * 100.0 {
        0.0 => "0 %".into(),
        percent if percent < 0.95 => format!("{percent:.2} %"),
        percent => format!("{percent:.1} %"),
    }
}

fn quantiles(durations: &Durations) -> String {
    [0.5, 0.9, 0.99, 0.999]
        .map(|part| match durations.quantile(part) {
            Some(millis) if millis < 0.05 => "0".into(),
            Some(millis) if millis < 9.95 => format!("{millis:.1}"),
            Some(millis) => format!("{millis:.0}"),
            None => "none".into(),
        })
        .join(", ")
}

/// Everything that is run, with its traffic and keys.
struct Plan {
    setting: Setting,
    leases: Vec<u64>,
    /// The only table that is made; empty = all.
    only: String,
    done: u64,
    runs: u64,
}

impl Plan {
    fn read(text: &str) -> Plan {
        let mut setting = day();
        let mut leases = vec![1, 5, 20, 60];
        let mut only = String::new();
        let mut words = text.split_whitespace();
        while let (Some(option), Some(value)) = (words.next(), words.next()) {
            let number = || value.parse::<f64>().unwrap();
            match option {
                "--seed" => setting.seed = value.parse().unwrap(),
                "--day" => setting.day_minutes = number(),
                "--warm-up" => setting.warm_up_minutes = number(),
                "--requests" => setting.requests_per_second = number(),
                "--isolates" => setting.isolates = number() as usize,
                "--locations" => setting.locations = number() as usize,
                "--keys" => setting.keys = number() as usize,
                "--accounts" => setting.accounts = number() as usize,
                "--changes" => setting.changes_per_day = number(),
                "--only" => only = value.to_owned(),
                "--leases" => leases = value.split(',').map(|lease| lease.parse().unwrap()).collect(),
                _ => panic!("no such option: {option}"),
            }
        }
        let counts = [("direct", leases.len()), ("relays", leases.len()), ("limited", 2), ("slots", 1), ("small", 2)];
        let runs =
            counts.iter().filter(|(name, _)| only.is_empty() || only == *name).map(|(_, count)| count).sum::<usize>();
        Plan { setting, leases, only, done: 0, runs: runs as u64 }
    }

    fn makes(&self, table: &str) -> bool {
        self.only.is_empty() || self.only == table
    }

    fn run(&mut self, setting: Setting, population: &Population, traffic: &Traffic, label: &str) -> Run {
        let (done, runs) = (self.done, self.runs);
        let model = Model::new(&setting, population, traffic).run(|here, events| {
            let part = (done as f64 + here) / runs as f64;
            let _ = writeln!(std::io::stderr(), "progress {part:.5} {events} {label}");
        });
        self.done += 1;
        assert_eq!(model.measures.late, 0, "a revoked key was accepted for longer than a lease");
        Run { setting, measures: model.measures }
    }
}

/// A day of the README.
fn day() -> Setting {
    Setting {
        seed: 1,
        lease_ms: 5_000,
        locations: 300,
        isolates: 5_000,
        accounts: 10_000,
        keys: 100_000,
        requests_per_second: 2_000.0,
        changes_per_day: 5_000.0,
        day_minutes: 3.0,
        warm_up_minutes: 3.0,
        slots: 1,
        relays: false,
        capacity: None,
    }
}

/// As much as the free plan of Workers lets in: 86,400 requests a day.
fn small() -> Setting {
    Setting {
        locations: 30,
        isolates: 60,
        accounts: 20,
        keys: 60,
        requests_per_second: 1.0,
        changes_per_day: 50.0,
        day_minutes: 1_440.0,
        warm_up_minutes: 60.0,
        ..day()
    }
}

fn table(title: &str, runs: &[Run], heads: &[String]) -> String {
    let mut text = format!("\n{title}\n\n| | {} |\n|---{}|\n", heads.join(" | "), "|---".repeat(heads.len()));
    for (name, line) in LINES {
        let cells: Vec<String> = runs.iter().map(line).collect();
        if name.contains("relays") && !runs.iter().any(|run| run.setting.relays) {
            continue;
        }
        writeln!(text, "| {name} | {} |", cells.join(" | ")).unwrap();
    }
    text
}

/// What is assumed, in words.
fn assumptions(setting: &Setting, traffic: &Traffic) -> String {
    let isolates: usize = traffic.locations.iter().map(|here| here.isolates).sum();
    let mut text = format!(
        "Seed {}. {} requests/s in the mean, {} accounts with {} keys, {} locations with {isolates} isolates at their own\n\
         busiest hours and {} in use at the world's; {} changes a day; a day takes {} minutes after {} of warm-up.\n\n\
         | region | locations | traffic | UTC | round trip to the Authority |\n|---|---|---|---|---|\n",
        setting.seed,
        setting.requests_per_second,
        setting.accounts,
        setting.keys,
        traffic.locations.len(),
        setting.isolates,
        setting.changes_per_day,
        setting.day_minutes,
        setting.warm_up_minutes
    );
    for region in &REGIONS {
        let (offset, far) = (region.utc_offset, region.to_authority_ms);
        let (name, locations, traffic) = (region.name, region.locations, region.traffic * 100.0);
        writeln!(text, "| {name} | {locations} | {traffic:.0} % | {offset:+} | {far:.0} to {:.0} ms |", far + 30.0)
            .unwrap();
    }
    write!(text, "\nKV in ms, by probability: at hand {KV_HOT:?}, cold {KV_COLD:?}\n").unwrap();
    text
}

#[test]
#[ignore = "scripts/scale runs it: it takes minutes"]
fn the_tables() {
    let mut plan = Plan::read(&std::env::var("KEYGATE_SCALE").unwrap_or_default());
    let setting = plan.setting.clone();
    if ["direct", "relays", "limited"].iter().any(|table| plan.makes(table)) {
        with_world(&setting, |population, traffic| large(&mut plan, population, traffic));
    }
    if plan.makes("slots") {
        let four = Setting { slots: 4, accounts: setting.accounts / 4, keys: setting.keys / 4, ..setting };
        let title = "Four slots, L = 5 s; syncs of one of them, money of all:";
        with_world(&four, |population, traffic| {
            let runs = [plan.run(four.clone(), population, traffic, "four slots")];
            print(&table(title, &runs, &["each of 4".into()]));
        });
    }
    if plan.makes("small") {
        let title = "One request/s (86,400 a day), 60 keys, 60 isolates at the busiest hour, a day of 24 hours:";
        with_world(&small(), |population, traffic| {
            let runs = [5, 60].map(|lease| {
                let setting = Setting { lease_ms: lease * 1_000, ..small() };
                plan.run(setting, population, traffic, "one request/s")
            });
            print(&table(title, &runs, &[head(&5), head(&60)]));
        });
    }
}

/// The tables of the whole world.
fn large(plan: &mut Plan, population: &Population, traffic: &Traffic) {
    let (setting, leases) = (plan.setting.clone(), plan.leases.clone());
    print(&assumptions(&setting, traffic));
    for (name, title, relays) in
        [("direct", "Every isolate asks the slot:", false), ("relays", "With a relay in each of 9 regions:", true)]
    {
        if !plan.makes(name) {
            continue;
        }
        let mut runs = Vec::new();
        for lease in &leases {
            let setting = Setting { lease_ms: lease * 1_000, relays, ..setting.clone() };
            runs.push(plan.run(setting, population, traffic, &format!("{name}, {}", head(lease))));
        }
        print(&table(title, &runs, &leases.iter().map(head).collect::<Vec<_>>()));
    }
    if plan.makes("limited") {
        let runs = [1, 5].map(|lease| {
            let setting = Setting { lease_ms: lease * 1_000, capacity: Some(1_000.0), ..setting.clone() };
            plan.run(setting, population, traffic, &format!("limited, {}", head(&lease)))
        });
        print(&table("An object that answers 1,000 syncs/s and no more:", &runs, &[head(&1), head(&5)]));
    }
}

fn head(lease: &u64) -> String {
    format!("L = {lease} s")
}

fn print(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

/// Makes keys and traffic.
fn with_world(setting: &Setting, body: impl FnOnce(&Population, &Traffic)) {
    let _ = writeln!(std::io::stderr(), "progress 0 0 making {} keys", setting.keys);
    let mut random = Random::new(setting.seed ^ 0xffff);
    let Setting { locations, isolates, accounts, keys, .. } = *setting;
    let traffic = Traffic::new(locations, isolates, accounts, keys, &mut random);
    body(&Population::new(accounts, keys), &traffic);
}

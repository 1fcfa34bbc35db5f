//! A small model, held against what must hold and what can be worked out on paper.

use super::{
    authority::Population,
    measures::Path,
    model::{Model, Setting},
    random::Random,
    traffic::Traffic,
};

fn small() -> Setting {
    Setting {
        seed: 7,
        lease_ms: 5_000,
        locations: 30,
        isolates: 60,
        accounts: 20,
        keys: 100,
        requests_per_second: 40.0,
        changes_per_day: 200_000.0,
        day_minutes: 1.0,
        warm_up_minutes: 0.0,
        slots: 1,
        relays: false,
        capacity: None,
    }
}

fn run(setting: &Setting) -> (Model<'static>, &'static Population) {
    let population: &'static Population = Box::leak(Box::new(Population::new(setting.accounts, setting.keys)));
    let mut random = Random::new(setting.seed);
    let (locations, isolates) = (setting.locations, setting.isolates);
    let traffic = Traffic::new(locations, isolates, setting.accounts, setting.keys, &mut random);
    let traffic: &'static Traffic = Box::leak(Box::new(traffic));
    (Model::new(setting, population, traffic).run(|_, _| {}), population)
}

#[test]
fn nothing_is_lost_or_counted_twice() {
    for relays in [false, true] {
        let (model, population) = run(&Setting { relays, ..small() });
        let measures = &model.measures;
        assert_eq!(measures.late, 0, "a revoked key was accepted for longer than a lease");
        let decided: u64 = measures.paths.iter().map(|path| path.count).sum();
        let waiting = model.waiting();
        assert!(measures.requests > 1_000);
        assert_eq!(measures.requests, decided + waiting, "every request ends once");
        assert!(measures.kv_in_vain < measures.kv_reads);
        assert!(measures.kv_cold <= measures.kv_reads);

        let sent: u64 = measures.sent.iter().sum();
        let ended = measures.sync_answered + measures.sync_failed + measures.sync_forgotten;
        assert!(ended <= sent && sent - ended < 200, "{sent} syncs sent, {ended} ended");
        let reached: u64 = if relays { measures.at_relays.iter().sum() } else { measures.syncs() };
        assert!(reached <= sent && reached + 200 > sent, "{sent} syncs sent, {reached} came");

        let counted = population.sql.number("SELECT sum(count) FROM usage");
        assert!(counted <= measures.accepted, "{counted} uses of {}", measures.accepted);
        let heartbeats = measures.rows("heartbeat") as f64;
        assert!(heartbeats <= measures.seconds / 0.5 + 1.0, "{heartbeats} heartbeats");
        assert!(measures.commands > 50 && measures.kv_writes > 0);
    }
}

#[test]
fn a_seed_repeats_a_run() {
    let digest = |seed| {
        let (model, _) = run(&Setting { seed, day_minutes: 0.3, ..small() });
        let measures = model.measures;
        (model.events, measures.sent, measures.requests, measures.bill.steps, measures.kv_cold)
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

/// An isolate whose requests come at random, r per second, renews with the first one after half of its lease H, so it
/// syncs every H/2 + 1/r in the mean; and a request waits for that if none came before the lease's end, which has the
/// probability exp(-r H/2). The Authority takes up to L/10 off a lease, as much as its last write is old. Besides, a key
/// in use is told about once a minute, and once more where it was used while that was under way.
#[test]
fn syncs_are_as_many_as_worked_out() {
    for (rate, lease_ms) in [(0.2, 5_000), (2.0, 5_000), (1.0, 20_000)] {
        let setting = Setting {
            lease_ms,
            locations: 1,
            isolates: 1,
            accounts: 1,
            keys: 1,
            requests_per_second: rate,
            changes_per_day: 1.0,
            day_minutes: 60.0,
            ..small()
        };
        let (model, _) = run(&setting);
        let (mut syncs, mut waits, mut tells) = (0.0, 0.0, 0.0);
        let lease = lease_ms as f64 / 1_000.0 * 0.97;
        for minute in 0..24 * 60 {
            for place in &model.traffic.locations {
                assert_eq!(place.isolates, 1);
                let rate = place.rate(setting.requests_per_second, f64::from(minute) / 60.0);
                let seconds = setting.day_minutes * 60.0 / (24.0 * 60.0);
                let cycles = seconds / (lease / 2.0 + 1.0 / rate);
                syncs += cycles;
                waits += cycles * (-rate * lease / 2.0).exp();
                tells += seconds / (60.0 + 1.0 / rate);
            }
        }
        let measures = &model.measures;
        let close = |found: f64, expected: f64| (found - expected).abs() < 0.1 * expected;
        let told = (measures.sent[2] + measures.sent[3]) as f64;
        let sent = (measures.sent[0] + measures.sent[1]) as f64;
        assert!(sent <= 1.1 * syncs && sent + told >= 0.9 * syncs, "{sent} syncs and {told} tellings for {syncs}");
        let waited = measures.paths[Path::Authority as usize].count as f64;
        assert!(close(waited, waits), "{waited} requests waited, expected {waits}");
        assert!(told <= 2.0 * tells, "{told} tellings, expected {tells}");
    }
}

//! Leases: after `effective_at` nobody decides by what was so before, whatever instances came and went.

use keygate::{
    authority::{
        lease::{self, Leases, Terms},
        schema,
        sql::Sql,
    },
    credential::{AccountRef, Digest},
    policy::UnixMillis,
};
use proptest::prelude::*;

use super::support::{EPOCH, SLOT, Shard, Sqlite};

const SHORT: Terms = Terms { lease_ms: 5_000, grace_ms: 0 };
const LONG: Terms = Terms { lease_ms: 60_000, grace_ms: 300_000 };
const START: u64 = 1_800_000_000_000;

#[test]
fn a_lease_counts_from_the_last_durable_write_and_a_write_precedes_one_shorter_by_a_tenth() {
    let sql = database();
    let mut leases = begun(&sql, SHORT, START);
    for (age, lease) in [(0, 5_000), (1, 4_999), (500, 4_500)] {
        let before = written(&sql);
        assert_eq!(leases.grant(&sql, at(START + age)).unwrap(), lease);
        assert_eq!(written(&sql), before);
    }
    assert_eq!(leases.grant(&sql, at(START + 501)).unwrap(), 5_000);
    assert_eq!(meta(&sql)[0], START + 501);
    leases.wrote(at(START + 900));
    let before = written(&sql);
    assert_eq!(leases.grant(&sql, at(START + 1_300)).unwrap(), 4_600);
    assert_eq!(written(&sql), before, "a command's write serves as well");
}

#[test]
fn a_superseded_instance_grants_nothing_beyond_a_lease_after_its_last_durable_write() {
    for age in (0..20_000).step_by(37) {
        let sql = database();
        let mut superseded = begun(&sql, SHORT, START);
        let before = written(&sql);
        let lease = superseded.grant(&sql, at(START + age)).unwrap();
        // What it writes is never durable, and so the answer never goes out.
        if written(&sql) == before {
            assert_eq!(age + lease, 5_000);
        } else {
            assert!(age > 500);
        }
    }
}

/// Of an `UPDATE` that leaves all as it was SQLite writes no page: nothing would have to become durable, and a superseded
/// instance could answer.
#[test]
fn what_proves_an_instance_to_be_the_one_changes_the_database_though_no_time_has_passed() {
    let shard = Shard::new();
    let unknown = Digest::from_bytes([9; 24]);
    let account = AccountRef { slot: SLOT, number: 1 };
    for _ in 0..3 {
        let before = shard.sql.dump();
        assert_eq!(shard.copies(&unknown, account), (None, None));
        assert_ne!(shard.sql.dump(), before, "before a key is called unknown");
    }
    for _ in 0..3 {
        let before = shard.sql.dump();
        let mut leases = begun(&shard.sql, SHORT, START);
        assert_ne!(shard.sql.dump(), before, "before an instance answers");
        let [heartbeat, ..] = meta(&shard.sql);
        let before = shard.sql.dump();
        leases.wrote(at(heartbeat - 501));
        leases.grant(&shard.sql, at(heartbeat)).unwrap();
        assert_ne!(shard.sql.dump(), before, "before a lease is granted");
    }
}

#[test]
fn an_answer_to_administrators_is_proved_by_a_write_of_the_last_half_second() {
    let sql = database();
    let mut leases = begun(&sql, LONG, START);
    let writes = |leases: &mut Leases, now: u64| {
        let before = (written(&sql), meta(&sql)[0]);
        leases.prove(&sql, at(now)).unwrap();
        let after = (written(&sql), meta(&sql)[0]);
        assert_eq!(after.0 > before.0, after.1 != before.1, "a write that leaves the row as it was is none");
        after.0 > before.0
    };
    assert!(!writes(&mut leases, START + 500));
    assert!(writes(&mut leases, START + 501));
    assert!(!writes(&mut leases, START + 1_001));
    leases.wrote(at(START + 2_000));
    assert!(!writes(&mut leases, START + 2_500), "a command's write serves as well");
    assert!(writes(&mut leases, START + 1_999), "set back");
    sql.fail_after(Some(0));
    assert!(leases.prove(&sql, at(START + 9_000)).is_err());
    sql.fail_after(None);
    assert!(writes(&mut leases, START + 9_000), "what failed proves nothing");
}

#[test]
fn a_longer_lease_is_noted_before_the_first_is_granted() {
    let sql = database();
    let mut leases = begun(&sql, SHORT, START);
    leases.grant(&sql, at(START)).unwrap();
    assert_eq!((meta(&sql)[1], leases.bound_ms()), (5_000, 5_055));
    let longer = Leases::begin(&sql, LONG, at(START + 100)).unwrap();
    assert_eq!((meta(&sql)[1], longer.bound_ms()), (360_000, 360_410));
    assert_eq!(longer.terms(), LONG);
}

#[test]
fn a_shorter_lease_is_noted_only_after_no_longer_one_can_be_in_use() {
    let sql = database();
    begun(&sql, LONG, START);
    let born = START + 50_000;
    let mut leases = begun(&sql, SHORT, born);
    for now in [born, born + 100_000, born + 360_410] {
        leases.grant(&sql, at(now)).unwrap();
        assert_eq!((meta(&sql)[1], leases.bound_ms()), (360_000, 360_410), "{now}");
        assert_eq!(leases.effective_at(at(now)), at(born + 360_410).max(at(now + 5_055)));
    }
    let now = born + 360_411;
    let before = written(&sql);
    assert_eq!(leases.grant(&sql, at(now)).unwrap(), 5_000);
    assert_ne!(written(&sql), before);
    assert_eq!((meta(&sql)[1], leases.bound_ms()), (5_000, 5_055));
    assert_eq!(leases.effective_at(at(now)), at(now + 5_055));
}

#[test]
fn a_restart_before_the_shorter_lease_is_noted_begins_the_waiting_anew() {
    let sql = database();
    begun(&sql, LONG, START);
    begun(&sql, SHORT, START + 100_000);
    let mut leases = begun(&sql, SHORT, START + 200_000);
    leases.grant(&sql, at(START + 500_000)).unwrap();
    assert_eq!(meta(&sql)[1], 360_000);
    leases.grant(&sql, at(START + 200_000 + 360_411)).unwrap();
    assert_eq!(meta(&sql)[1], 5_000);
}

#[test]
fn an_instance_whose_first_write_is_not_durable_takes_the_longest_lease_for_granted_just_now() {
    let sql = database();
    begun(&sql, LONG, START);
    let mut leases = Leases::begin(&sql, SHORT, at(START)).unwrap();
    let now = START + 1_000_000;
    leases.grant(&sql, at(now)).unwrap();
    assert_eq!(leases.effective_at(at(now)), at(now + 360_410));
    assert_eq!(meta(&sql)[1], 360_000);
}

#[test]
fn who_changes_something_long_after_the_last_lease_need_not_wait() {
    let sql = database();
    let mut leases = begun(&sql, SHORT, START);
    leases.grant(&sql, at(START + 10_000)).unwrap();
    assert_eq!(leases.effective_at(at(START + 10_000)), at(START + 15_055));
    assert_eq!(leases.effective_at(at(START + 15_055)), at(START + 15_055));
    assert_eq!(leases.effective_at(at(START + 20_000)), at(START + 20_000));
}

#[test]
fn a_clock_that_was_set_back_has_the_next_lease_written_first_and_lengthens_no_wait_beyond_the_bound() {
    let sql = database();
    let mut leases = begun(&sql, SHORT, START);
    leases.grant(&sql, at(START + 100)).unwrap();
    let before = written(&sql);
    assert_eq!(leases.grant(&sql, at(START + 99)).unwrap(), 5_000, "even within a tenth of a lease");
    assert_ne!(written(&sql), before);
    let hour_before = START - 3_600_000;
    assert_eq!(leases.effective_at(at(hour_before)), at(hour_before + 5_055));
    assert_eq!(leases.grant(&sql, at(hour_before)).unwrap(), 5_000);
    assert_eq!(meta(&sql)[0], hour_before);
    assert_eq!(leases.effective_at(at(hour_before)), at(hour_before + 5_055));
}

#[test]
fn nothing_is_granted_when_the_database_fails() {
    let sql = database();
    let mut leases = begun(&sql, SHORT, START);
    sql.fail_after(Some(0));
    assert!(leases.grant(&sql, at(START + 501)).is_err());
    assert!(Leases::begin(&sql, SHORT, at(START)).is_err());
    sql.fail_after(None);
    assert_eq!(leases.effective_at(at(START + 9_000)), at(START + 9_000));
    assert_eq!(leases.grant(&sql, at(START + 502)).unwrap(), 5_000);
    assert_eq!(meta(&sql)[0], START + 502);
}

#[test]
fn requests_accepted_in_grace_are_counted() {
    let sql = database();
    lease::note_graced(&sql, 2).unwrap();
    lease::note_graced(&sql, 3).unwrap();
    assert_eq!(meta(&sql)[2], 5);
    assert_eq!(keygate::authority::query::condition(&sql).unwrap().accepted_in_grace, 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A lease granted before a commit, by the instance that committed or, at whatever time, by one before it, has ended
    /// by `effective_at`: on a cache whose clock is slow by 1 in 1,000, and with the last decision that it began.
    #[test]
    fn no_lease_from_before_a_commit_outlives_it(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        for commit in &world.commits {
            prop_assert!(commit.effective_at - commit.at <= commit.bound_ms);
            for lease in &world.leases {
                let unaware = lease.instance < commit.instance
                    || lease.instance == commit.instance && lease.number < commit.number;
                prop_assert!(!unaware || lease.end <= commit.effective_at, "{:?} outlives {:?}", lease, commit);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pause(u64),
    /// A sync that reaches the newest instance, or a superseded one.
    Sync {
        superseded: Option<prop::sample::Index>,
    },
    Commit,
    /// Another instance takes over; its first write takes a while to be durable, and its clock differs by so much.
    Restart {
        terms: Terms,
        durable_after: u64,
        ahead: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let terms = prop::sample::select(vec![SHORT, LONG, Terms { lease_ms: 1_000, grace_ms: 7_001 }]);
    prop_oneof![
        3 => (0u64..2_000).prop_map(Step::Pause),
        1 => (0u64..500_000).prop_map(Step::Pause),
        4 => prop::option::of(any::<prop::sample::Index>()).prop_map(|superseded| Step::Sync { superseded }),
        3 => Just(Step::Commit),
        1 => (terms, 0u64..3_000, 0u64..10_000_000)
            .prop_map(|(terms, durable_after, ahead)| Step::Restart { terms, durable_after, ahead }),
    ]
}

struct World {
    now: u64,
    /// The newest is the last.
    instances: Vec<Instance>,
    leases: Vec<Granted>,
    commits: Vec<Committed>,
    number: usize,
}

struct Instance {
    sql: Sqlite,
    leases: Leases,
    ahead: u64,
    /// It wrote after it was superseded: none of its answers goes out any more.
    silent: bool,
}

#[derive(Debug)]
struct Granted {
    instance: usize,
    number: usize,
    end: u64,
}

#[derive(Debug)]
struct Committed {
    instance: usize,
    number: usize,
    at: u64,
    effective_at: u64,
    bound_ms: u64,
}

impl World {
    fn new() -> Self {
        let mut world = World { now: START, instances: Vec::new(), leases: Vec::new(), commits: Vec::new(), number: 0 };
        world.take(Step::Restart { terms: SHORT, durable_after: 0, ahead: 0 });
        world
    }

    fn take(&mut self, step: Step) {
        self.number += 1;
        match step {
            Step::Pause(millis) => self.now += millis,
            Step::Sync { superseded } => {
                let newest = self.instances.len() - 1;
                self.sync(superseded.map_or(newest, |index| index.index(newest + 1)), newest);
            }
            Step::Commit => {
                let instance = self.instances.len() - 1;
                let it = &mut self.instances[instance];
                let effective_at = it.leases.effective_at(at(self.now + it.ahead)).as_millis() - it.ahead;
                let bound_ms = it.leases.bound_ms();
                it.leases.wrote(at(self.now + it.ahead));
                self.commits.push(Committed { instance, number: self.number, at: self.now, effective_at, bound_ms });
            }
            Step::Restart { terms, durable_after, ahead } => {
                let sql = database();
                if let Some(last) = self.instances.last() {
                    let [heartbeat, granted, _] = meta(&last.sql);
                    sql.run("UPDATE meta SET heartbeat = ?1, granted = ?2", &[heartbeat.into(), granted.into()])
                        .unwrap();
                }
                let mut leases = Leases::begin(&sql, terms, at(self.now + ahead)).unwrap();
                self.instances.push(Instance { sql, leases: leases.clone(), ahead, silent: false });
                // Meanwhile those before it go on.
                let newest = self.instances.len() - 1;
                for _ in 0..2 {
                    (0..newest).for_each(|old| self.sync(old, newest));
                    self.now += durable_after / 2;
                }
                leases.born(at(self.now + ahead));
                self.instances[newest].leases = leases;
            }
        }
    }

    fn sync(&mut self, instance: usize, newest: usize) {
        let it = &mut self.instances[instance];
        let before = written(&it.sql);
        let lease = it.leases.grant(&it.sql, at(self.now + it.ahead)).unwrap();
        it.silent |= instance != newest && written(&it.sql) != before;
        if !it.silent {
            let granted = lease + it.leases.terms().grace_ms;
            // Sent just now, on a cache whose clock shows 1,000 ms when 1,001 have passed.
            let end = self.now + granted + granted.div_ceil(1_000) + 50;
            self.leases.push(Granted { instance, number: self.number, end });
        }
    }
}

fn database() -> Sqlite {
    let sql = Sqlite::new();
    schema::migrate(&sql, EPOCH).unwrap();
    sql
}

fn begun(sql: &Sqlite, terms: Terms, now: u64) -> Leases {
    let mut leases = Leases::begin(sql, terms, at(now)).unwrap();
    leases.born(at(now));
    leases
}

fn at(millis: u64) -> UnixMillis {
    UnixMillis::from_millis(millis)
}

/// Heartbeat, granted, graced.
fn meta(sql: &Sqlite) -> [u64; 3] {
    let rows = sql.run("SELECT heartbeat, granted, graced FROM meta", &[]).unwrap();
    let mut row = keygate::authority::sql::only(rows).unwrap();
    [(); 3].map(|()| row.number().unwrap())
}

/// How many statements have written.
fn written(sql: &Sqlite) -> usize {
    sql.statements.borrow().iter().filter(|statement| !statement.starts_with("SELECT")).count()
}

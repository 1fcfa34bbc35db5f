//! Deterministic simulation: whole histories of Keygate, each of them made by one number.
//!
//! The verifier, the Authority with its SQL, the leases, the outbox and the audit are the real ones. What surrounds them is
//! simulated, and at its worst: KV (`mirror`), the network, the object's runtime with its output gate (`object`, `carry`,
//! `disk`), isolates (`edge`), clocks (`rng`), administrators (`admin`), deploys (`deploys`), and trouble (`stimuli`). What
//! chance alone hardly ever brings about is played with timings and parts left to it (`lures`). There is one queue of
//! events (`world`), and chance depends on the seed alone, so a seed gives the same history every time. `checks`, `lens` and
//! `database` compare with the truth (`truth`) and with the rules after every step; at the end everything is healed and must
//! come right by itself (`ends`). Of a history that fails, `shrink` leaves what it needs to fail.
//!
//! What must hold. *B* is `lease::bound_ms` of the longest lease that an instance could have granted, 5.055 s for one of
//! 5 s; grace counts where grace decided. Time is true time; clocks drift by up to 1 in 1,000, stand still during a turn
//! of up to 40 ms; an isolate's is set back so that it is seen, an object's never is.
//!
//! - **I1, I4** No allow is decided later than B after the commit of what forbids it: revoking, disabling, suspending,
//!   access withdrawn. A strict request is not decided by what was no longer so when it began, except that a superseded
//!   instance may answer until its last durable write is a tenth of a lease old.
//! - **I2** Whoever waited (`wait=effective`) and has the answer: nothing is decided by an older state any more.
//! - **I3** An isolate that has refused a key as revoked never accepts it again.
//! - **I5** An allow agrees with a grant and an account that were committed and durable, and widening counts within B, too:
//!   every decision, for or against, is that of a state not older than B.
//! - **I6** No allow at or after `expires_at` by the isolate's clock, nor by true time beyond that clock's error.
//! - **I7** A put that leaves the object says what is committed and durable as of its sequence, also where storage was set
//!   back.
//! - **I8** With an adversary who writes to KV, all of this holds unchanged.
//! - **I9** What was acknowledged was durable before, and is there after any crash; what was not is there wholly or not at
//!   all: tables, command row, audit, feed. Checked in every database that is opened.
//! - **I10** A decision needs a lease, counted from the sending of a sync whose answer was applied since the last reset; or
//!   grace, and then is not strict.
//! - **I11** A denial agrees with what was so within B. A key that exists is never taken for unknown.
//! - **I12** What administrators were told of a key or an account is linearizable (`linear`). Left out: what a superseded
//!   instance read or refused, which can be old.
//! - **I13** A command with an id of the caller's own is carried out once within a day, and answered the same each time,
//!   its key included. Another command with its id is refused, and changes nothing.
//! - **I14** Part of I12: of two changes on one condition one succeeds, and a revoked key stays revoked.
//! - **I15** Each account's chain of audit entries is unbroken, its head is right, and it has one entry per change.
//! - **I16** A superseded instance acknowledges no command that it carries out itself; a lease that it grants ends when its
//!   last durable write is a lease old; it takes nothing for unknown.
//! - **I17** A key is accepted as its own account's only.
//! - **I18** There is no command to restore yet. Storage that is set back all the same is noticed by the first sync that
//!   knows more, and from B after that everything holds again; until then, of that shard nothing is claimed.
//! - **I19** Pepper and signing key are rotated as documented, to the last step; every key of a pepper that is left is
//!   recognised at each.
//! - **I20** No key's text is in what is written to SQLite or KV.
//! - **I21** Within an epoch no isolate knows less than before; the feed has every change that decides, or `low` covers it.
//! - **S1** While the outbox has rows, an alarm is set. **S2** One put of a KV key at a time, a second apart. **S3** A row
//!   leaves the outbox only when KV has acknowledged as much, also where storage was set back. **S4** Versions take the place of tombstones: see I7 and L1.
//!   **S5** The bounds of the cache have tests of their own (`tests/edge`). **S6** At most four syncs per isolate and shard;
//!   a forged key asks nobody.
//! - **L1** At the end the outbox is empty and KV is right wherever nobody else wrote. (Where storage was set back KV keeps
//!   copies of the other epoch, which count for nothing, until somebody asks for them.) **L2** Every isolate decides about
//!   every key. **L3, L4** While KV is down keys are revoked, issued and verified. **L5** Everything comes to rest.
//! - Deploys: isolates and objects of another version of syncs and copies are refused, and hold all of this meanwhile; once
//!   all are of one version, L1 to L5 hold.
//! - **Rights** No command is carried out for an admin credential or a session that is revoked, disabled or over when it is,
//!   whose parent is, or whose account or role does not reach that far.
//! - Counts of uses are lower bounds: whatever becomes of messages, each use is told in one at most.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "the simulation itself runs natively, and says how fast")]

mod acts;
mod admin;
mod bugs;
mod carry;
mod checks;
mod commits;
mod connection;
mod coverage;
mod credentials;
mod database;
mod deploys;
mod disk;
mod edge;
mod ends;
mod knobs;
mod lens;
mod linear;
mod lives;
mod lures;
mod memo;
mod mirror;
mod object;
mod planted;
mod rng;
#[path = "../authority/rows.rs"]
mod rows;
mod run;
mod shrink;
mod stimuli;
mod truth;
mod world;

/// One number, one history, whatever the thread has done before.
#[test]
fn a_seed_gives_the_same_history_each_time() {
    let history = |seed| (seed, run::history(seed, None, true).story);
    let elsewhere = std::thread::spawn(move || (100..108).map(history).collect::<Vec<_>>()).join().unwrap();
    for (seed, story) in elsewhere.into_iter().rev() {
        assert_eq!(run::history(seed, None, true).story, story, "seed {seed}");
    }
}

/// `scripts/simulate --seed S`
#[test]
#[ignore = "prints a history"]
fn replay() {
    let seed = number("KEYGATE_SEED").expect("KEYGATE_SEED is the seed");
    run::choose(std::env::var("KEYGATE_BUG").ok().map(|bug| &*bug.leak()));
    let outcome = run::history(seed, None, true);
    run::print(&if outcome.violation.is_some() { shrink::shrink(seed) } else { outcome });
}

/// `scripts/simulate --seeds N`
#[test]
#[ignore = "slow without optimisation"]
fn many_histories() {
    let (first, end) = (number("KEYGATE_FIRST_SEED").unwrap_or(0), number("KEYGATE_SEEDS").unwrap_or(ENOUGH));
    let seeds = end.saturating_sub(first);
    let begun = std::time::Instant::now();
    let run = run::run(first..end, None, |done| {
        let rate = done as f64 / begun.elapsed().as_secs_f64();
        eprintln!("{done} of {seeds} histories, {rate:.0} a second, {:.0} s left", (seeds - done) as f64 / rate);
    });
    println!("{}", run.coverage.table());
    let seconds = begun.elapsed().as_secs_f64();
    println!("{} histories in {seconds:.1} s, {:.0} a second", run.histories, run.histories as f64 / seconds);
    expect_success(&run);
    let missing = run.coverage.missing();
    assert!(missing.is_empty() || seeds < ENOUGH, "these never occurred, so nothing is proved about them: {missing:?}");
}

/// In so many histories everything occurs that can.
const ENOUGH: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn expect_success(run: &run::Run) {
    if let Some((seed, violation)) = &run.failed {
        run::print(&shrink::shrink(*seed));
        panic!("seed {seed}: {violation:?}");
    }
}

//! Bugs that are planted on purpose. The simulation must find each of [`BUGS`]; those of [`RARE`] it has not found in a
//! few hundred histories, and it is not known yet whether it can.

use super::run;

/// Every bug, and what it is.
const BUGS: &[(&str, &str)] = &[
    ("StaleWhileRevalidate", "an allow from the cache, whatever became of the lease"),
    ("LeaseFromReceipt", "the lease runs from the answer's arrival"),
    ("LateAnswerApplied", "an answer asked for before a reset or a set clock is applied"),
    ("ClockStepKeepsLease", "a clock that is set back ends no lease"),
    ("LowStays", "`low` is not moved with the feed"),
    ("ChangeEvictsNothing", "a change evicts nothing from the cache"),
    ("WideningNotInFeed", "what allows more is not in the feed"),
    ("AccountsNotInFeed", "changes of accounts are not in the feed"),
    ("FeedOutsideTransaction", "the feed row is written after the transaction"),
    ("GraceUncounted", "grace is left out of the wait"),
    ("LeasesOfOthersForgotten", "a new instance waits only for its own leases"),
    ("NobodyWaits", "`wait=effective` answers at once"),
    ("CopiesWithoutAsOf", "copies need not be as new as the feed"),
    ("MacUnchecked", "nobody checks the MAC of a copy"),
    ("NoFence", "an instance grants without writing"),
    ("RewindUnnoticed", "nobody notices that storage was set back"),
    ("StrictFromCache", "a strict request is decided from the cache"),
    ("GraceForStrict", "a strict request is decided in grace"),
    ("AnyNumberOfFlights", "an isolate asks as often as it likes"),
    ("RevokedMayBeEnabled", "a revoked key can be enabled"),
    ("RevokedIsDeleted", "of a revoked key KV is not told"),
    ("ConditionIgnored", "conditions are ignored"),
    ("RepeatedIsNew", "a repeated command is carried out again"),
    ("CommandNotKept", "commands are not kept"),
    ("RetryWithoutCommandId", "the Worker repeats a call with another id"),
    ("RevokeNotInAudit", "revoking is not in the audit"),
    ("OutboxForgetsAtOnce", "a row leaves the outbox when its put begins"),
    ("PutsWithoutPace", "a KV key is put as often as it changes"),
    ("AlarmSetOnlyAfterwards", "an alarm sets the next one only when it is done"),
    ("AnswersBeforeDurable", "answers and puts leave before what was written is durable"),
    ("LostUsesCountTwice", "uses that may have been told are told again with their counts"),
];

/// Bugs that need a course of events which hardly ever comes about. `KEYGATE_RARE=1 scripts/simulate --planted` looks for
/// them, too, and says which it found.
const RARE: &[(&str, &str)] = &[
    ("ResetKeepsLease", "a reset keeps the old lease"),
    ("CutStays", "the cut is not moved with the feed"),
    ("LowGoesDown", "`low` may go down in an isolate"),
    ("AnswersExempt", "copies in answers need not be as new as the feed"),
    ("CopiesWithoutEpoch", "copies may be of another epoch"),
    ("UnknownUnconfirmed", "a superseded instance may call a key unknown"),
    ("UsesTwice", "a repeated sync tells the same uses again"),
];

/// The histories in which each must have been found.
const HISTORIES: u64 = 1_000;

/// `scripts/simulate --planted`
#[test]
#[ignore = "slow without optimisation"]
fn every_planted_bug_is_found() {
    let histories = std::env::var("KEYGATE_SEEDS").map_or(HISTORIES, |seeds| seeds.parse().unwrap());
    let mut missed = Vec::new();
    println!("{:<26} {:>7}  {:<10} what it is", "bug", "seeds", "breaks");
    let rare = if std::env::var("KEYGATE_RARE").is_ok() { RARE } else { &[] };
    for (bug, what) in BUGS.iter().chain(rare) {
        let run = run::run(0..histories, Some(*bug), |_| {});
        match run.failed {
            Some((seed, violation)) => println!("{bug:<26} {:>7}  {:<10} {what}", seed + 1, violation.invariant),
            None => {
                println!("{bug:<26} {:>7}  {:<10} {what}", "-", "-");
                if BUGS.iter().any(|(known, _)| known == bug) {
                    missed.push(*bug);
                }
            }
        }
    }
    assert!(missed.is_empty(), "not found in {histories} histories: {missed:?}");
}

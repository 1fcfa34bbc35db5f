//! Bugs that are planted on purpose. The simulation must find each of [`BUGS`]; those of [`RARE`] it has not found in a
//! few hundred histories, and it is not known yet whether it can.

use super::run;

/// Every bug, and what it is.
///
/// Bugs that others have had, and that cannot be here:
/// - *A cursor that is a sequence, where one command changes many subjects*: no command changes more than one subject, and
///   an answer has all rows behind the cursor or is none.
/// - *A tombstone that is deleted*: nothing is ever deleted from KV. What comes closest is `RevokedIsDeleted`.
/// - *A copy of another version*: its version is under its MAC, so it is not believed even by who overlooks the version.
/// - *Usage resent with another number*: no question has a number, for what was told is not told again (`UsesTwice`,
///   `LostUsesCountTwice`).
///
/// Each invariant is broken by one of these at least, as the table says, except: I3, which `CopiesOfOthersFit` breaks in
/// some histories, but hardly in the first; I8, which is all the others with somebody else writing to KV (`MacUnchecked`,
/// `CopiesOfOthersFit`); I14, a part of I12; I18, as L2 by `RewindUnnoticed`; S4, which is I7 and L1; S5, tested elsewhere;
/// and L5.
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
    ("RevokedCredentialWorks", "who administers is not asked whether they still may"),
    ("RevokeAllNotInFeed", "revoking all keys is not in the feed"),
    ("RevokeAllForgottenAtEdge", "an isolate forgets that all keys are revoked"),
    ("PlanNotInFeed", "what a plan revokes is not in the feed"),
    ("ConditionIgnored", "conditions are ignored"),
    ("RepeatedIsNew", "a repeated command is carried out again"),
    ("CommandNotKept", "commands are not kept"),
    ("RetryWithoutCommandId", "the Worker repeats a call with another id"),
    ("RevokeNotInAudit", "revoking is not in the audit"),
    ("OutboxForgetsAtOnce", "a row leaves the outbox when its put begins"),
    ("PutsWithoutPace", "a KV key is put as often as it changes"),
    ("AlarmSetOnlyAfterwards", "an alarm sets the next one only when it is done"),
    ("AnswersBeforeDurable", "answers and puts leave before what was written is durable"),
    ("PlatformStaysOn", "what is switched off for every account stays on in an isolate"),
    ("LostUsesCountTwice", "uses that may have been told are told again with their counts"),
    // Two syncs are under way. The one sent later is answered first and gives the longer lease; the feed is cut behind the
    // isolate; then the other's answer is a reset. Within one epoch the older lease does no harm, because whoever granted
    // it counts it. After a reset to the epoch of a superseded instance it would; here none survives a rewind, so what is
    // checked is the rule itself (I10): after a reset, only the lease of its own answer.
    ("ResetKeepsLease", "a reset keeps the old lease"),
    // KV is ahead of a reset under way, and shows a key to be revoked that the reset's answer still calls active.
    ("ResetForgetsNewer", "a reset drops copies that are newer than it"),
    // All keys are revoked while the first put of one is under way.
    ("SweepPassesPuts", "a sweep leaves out a copy of which a put is under way"),
    // A key changes, then so many others that its row goes, while an isolate that has it at hand asks nothing.
    ("CutStays", "the cut is not moved with the feed"),
    // KV has a copy from before a change that the isolate knows of. Two syncs are under way; in between the change leaves the
    // feed. The later one is answered first, so `low` covers it; then the earlier one's answer takes `low` back.
    ("LowGoesDown", "`low` may go down in an isolate"),
    // An answer with a copy is overtaken by one that names a change of it.
    ("AnswersExempt", "copies in answers need not be as new as the feed"),
    // Storage is set back; it is noticed by an isolate that knew less than KV has. Its new epoch begins below those copies.
    ("CopiesWithoutEpoch", "copies may be of another epoch"),
    // A key is issued and used at once, while the superseded instance may still grant without writing.
    ("UnknownUnconfirmed", "a superseded instance may call a key unknown"),
    ("LatePlatformApplied", "an isolate goes back to an earlier list of the platform's features"),
    // An instance dies before its answer leaves, and the sync is repeated. That the first one was heard takes more luck, so
    // what is checked is what is told.
    ("UsesTwice", "a repeated sync tells the same uses again"),
    ("AnyVersion", "an answer of another version is read as if it were this one's"),
    ("ExpiryIgnored", "a key never expires"),
    ("AddressIgnored", "a key that is limited to some addresses works from everywhere"),
    ("CopiesOfOthersFit", "a copy counts wherever it lies, and whosever it is"),
    ("AccountNumberCut", "half of an account's number is lost where it is told who called"),
    ("SecondPepperUnread", "keys of the second pepper are not recognised"),
    ("KeyInJournal", "a command's kept answer has the key in it"),
    ("FailedPutsRest", "a put that failed is not repeated for an hour"),
    ("CommandsNeedKv", "a command fails where KV does not take its put"),
    ("RevokingNeedsKv", "revoking fails where KV does not take its put"),
];

/// The histories in which each must have been found: as many as scripts/test makes. Most take a few.
const HISTORIES: u64 = 10_000;

/// `scripts/simulate --planted`
#[test]
#[ignore = "slow without optimisation"]
fn every_planted_bug_is_found() {
    let histories = std::env::var("KEYGATE_SEEDS").map_or(HISTORIES, |seeds| seeds.parse().unwrap());
    let mut missed = Vec::new();
    println!("{:<26} {:>7}  {:<10} what it is", "bug", "seeds", "breaks");
    let only = std::env::var("KEYGATE_BUG").ok();
    for (bug, what) in BUGS.iter().filter(|(bug, _)| only.as_ref().is_none_or(|only| only == bug)) {
        let run = run::run(0..histories, Some(*bug), |_| {});
        match run.failed {
            Some((seed, violation)) => println!("{bug:<26} {:>7}  {:<10} {what}", seed + 1, violation.invariant),
            None => {
                println!("{bug:<26} {:>7}  {:<10} {what}", "-", "-");
                missed.push(*bug);
            }
        }
    }
    assert!(missed.is_empty(), "not found in {histories} histories: {missed:?}");
}

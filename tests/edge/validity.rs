//! The time of a key, on every path to a decision, also where the isolate's clock and the Authority's disagree: whoever
//! decides goes by their own clock at that moment, to the millisecond. What is counted as a span is moved by no
//! disagreement: leases, and an overlap from the first use.

use keygate::{
    authority::{
        command::{Answer, Command, NewKey, NewRotation, OverlapFrom},
        lease::Terms,
        query::{Found, Query},
        rotation,
        settings::Settings,
    },
    credential::{KeyId, PresentedKey, RecognisedKey},
    edge::{Step, Verdict, Verification},
    policy::{Decision, Denial, TokenFault, UnixMillis},
};

use super::{
    isolate::{Isolate, LEASE_MS, Tenant, is_allowed, is_denied, plain, strict},
    support::{SLOT, Shard, new_account, new_key},
};

/// How far the isolate's clock is ahead of the Authority's.
const DISAGREEMENTS_MS: [i64; 3] = [-1_000, 0, 1_000];

/// An account that explains its refusals has a key; an isolate has to decide about it.
struct Case {
    shard: Shard,
    key: Tenant,
    ahead_ms: i64,
}

impl Case {
    fn new(ahead_ms: i64, not_before: Option<UnixMillis>, expires_at: Option<UnixMillis>) -> Self {
        let shard = Shard::new();
        let settings = Settings { explain_refusals: true, ..Settings::default() };
        let account = shard.account(keygate::authority::command::NewAccount { settings, ..new_account("Acme") }).id;
        let key = Tenant::with(&shard, account, NewKey { not_before, expires_at, ..new_key() });
        Case { shard, key, ahead_ms }
    }

    fn isolate(&self) -> Isolate<'_> {
        let mut isolate = Isolate::new(&self.shard);
        isolate.granted = Terms { lease_ms: LEASE_MS, grace_ms: 10 * LEASE_MS };
        isolate.ahead_ms = self.ahead_ms;
        isolate
    }

    /// So many milliseconds before `instant`, by the isolate's clock.
    fn go_before(&self, instant: UnixMillis, millis: u64) {
        let by_isolate = instant.as_millis() - millis;
        self.shard.now.set(by_isolate.checked_add_signed(-self.ahead_ms).unwrap());
    }
}

/// What is decided when the isolate's clock says `instant`, and its last look at anything may have been before.
type Path = fn(&Case, UnixMillis) -> Verdict;

const PATHS: [(&str, Path); 7] = [
    ("in use in the isolate", |case, instant| {
        let mut isolate = case.isolate();
        case.go_before(instant, LEASE_MS / 2);
        isolate.decide(&case.key.key);
        case.go_before(instant, 0);
        isolate.at_hand(&case.key.key).unwrap()
    }),
    ("a copy in KV", |case, instant| {
        let (grant, account) = case.key.copies(&case.shard);
        let mut isolate = case.isolate();
        case.go_before(instant, LEASE_MS / 2);
        isolate.sync();
        case.go_before(instant, 0);
        isolate.believes(&case.key.key, (&grant, &account)).unwrap()
    }),
    ("the Authority's answer", |case, instant| {
        case.go_before(instant, 0);
        case.isolate().decide(&case.key.key)
    }),
    ("the Authority's answer, for which the request has waited", |case, instant| {
        waited(case, plain(&case.key.key), instant)
    }),
    ("a strict route", |case, instant| waited(case, Verification::new(case.key.key, strict()), instant)),
    ("a renewed lease", |case, instant| {
        let mut isolate = case.isolate();
        case.go_before(instant, LEASE_MS);
        isolate.decide(&case.key.key);
        case.go_before(instant, LEASE_MS / 2);
        isolate.sync();
        case.go_before(instant, 0);
        isolate.at_hand(&case.key.key).unwrap()
    }),
    ("in grace", |case, instant| {
        let mut isolate = case.isolate();
        case.go_before(instant, 2 * LEASE_MS);
        isolate.decide(&case.key.key);
        case.go_before(instant, 1);
        let call = isolate.call();
        isolate.fail(&call);
        case.go_before(instant, 0);
        match isolate.ask(&case.key.key) {
            Step::Done(Verdict::InGrace(decision)) => Verdict::Decided(decision),
            step => panic!("{step:?}"),
        }
    }),
];

/// The request comes two seconds before `instant`, and the answer to its sync at it.
fn waited(case: &Case, mut verification: Verification, instant: UnixMillis) -> Verdict {
    let mut isolate = case.isolate();
    case.go_before(instant, 2_000);
    let now = isolate.now();
    let Step::Sync(call) = verification.next(&mut isolate.view, now) else { panic!("no sync") };
    let text = isolate.answer(&call);
    case.go_before(instant, 0);
    isolate.land(&call, &text);
    let now = isolate.now();
    match verification.next(&mut isolate.view, now) {
        Step::Done(verdict) => verdict,
        step => panic!("{step:?}"),
    }
}

/// None: it is allowed. Or why not, and whether the caller learns that.
fn refusal(verdict: &Verdict) -> Option<(TokenFault, bool)> {
    match verdict {
        Verdict::Decided(Decision::Allow(_)) => None,
        Verdict::Decided(Decision::Deny(Denial::InvalidToken { fault, explain })) => Some((*fault, *explain)),
        other => panic!("{other:?}"),
    }
}

/// Far enough from the time of issue for every path's preparations.
fn in_a_while() -> UnixMillis {
    Shard::new().now().saturating_add_millis(1_000_000)
}

#[test]
fn a_key_is_refused_from_the_millisecond_of_its_end_on_by_the_isolates_clock_on_every_path() {
    let end = in_a_while();
    let before = UnixMillis::from_millis(end.as_millis() - 1);
    for ahead_ms in DISAGREEMENTS_MS {
        for (name, path) in PATHS {
            let at = |instant| refusal(&path(&Case::new(ahead_ms, None, Some(end)), instant));
            assert_eq!(at(before), None, "{name}, {ahead_ms} ms ahead: a millisecond before");
            let expired = Some((TokenFault::Expired, true));
            assert_eq!(at(end), expired, "{name}, {ahead_ms} ms ahead: at its end");
            assert_eq!(at(end.saturating_add_millis(1)), expired, "{name}, {ahead_ms} ms ahead: after it");
        }
    }
}

#[test]
fn a_key_is_accepted_from_the_millisecond_of_its_beginning_on_by_the_isolates_clock_on_every_path() {
    let begin = in_a_while();
    let before = UnixMillis::from_millis(begin.as_millis() - 1);
    for ahead_ms in DISAGREEMENTS_MS {
        for (name, path) in PATHS {
            let at = |instant| refusal(&path(&Case::new(ahead_ms, Some(begin), None), instant));
            let too_early = Some((TokenFault::NotYetValid, false));
            assert_eq!(at(before), too_early, "{name}, {ahead_ms} ms ahead: a millisecond before");
            assert_eq!(at(begin), None, "{name}, {ahead_ms} ms ahead: at its beginning");
        }
    }
}

/// The one moment at which the two could meet: a key whose time is a single millisecond works in that one.
#[test]
fn a_key_of_one_millisecond_works_in_that_one_alone() {
    let begin = in_a_while();
    let end = begin.saturating_add_millis(1);
    for ahead_ms in DISAGREEMENTS_MS {
        for (name, path) in PATHS {
            let at =
                |instant| refusal(&path(&Case::new(ahead_ms, Some(begin), Some(end)), instant)).map(|(why, _)| why);
            let before = UnixMillis::from_millis(begin.as_millis() - 1);
            let seen = [before, begin, end].map(at);
            assert_eq!(seen, [Some(TokenFault::NotYetValid), None, Some(TokenFault::Expired)], "{name}, {ahead_ms}");
        }
    }
}

/// Within 50 ms a clock may seem to go back (the isolate goes by the latest time that it has seen): what has ended stays so.
#[test]
fn a_key_that_has_expired_is_not_accepted_again_when_the_clock_falters() {
    let end = in_a_while();
    let case = Case::new(0, None, Some(end));
    let mut isolate = case.isolate();
    case.go_before(end, 1_000);
    assert!(is_allowed(&isolate.decide(&case.key.key)));
    case.go_before(end, 0);
    assert!(is_denied(&isolate.at_hand(&case.key.key).unwrap()));
    case.go_before(end, 50);
    assert!(is_denied(&isolate.at_hand(&case.key.key).unwrap()));
}

/// A key without `not_before` has no beginning that a clock could come too early for.
#[test]
fn a_new_key_and_a_successor_work_at_once_in_an_isolate_whose_clock_is_behind() {
    for ahead_ms in [-3_600_000, -1_000] {
        let case = Case::new(ahead_ms, None, None);
        let mut isolate = case.isolate();
        assert!(is_allowed(&isolate.decide(&case.key.key)));
        let (successor, _) = rotate(&case, 60_000, OverlapFrom::Rotation);
        assert!(is_allowed(&isolate.decide(&successor)));
    }
}

/// The successor, and when the old key ends.
fn rotate(case: &Case, overlap_ms: u64, overlap_from: OverlapFrom) -> (RecognisedKey, Option<UnixMillis>) {
    let new = NewRotation { overlap_ms, overlap_from, ..NewRotation::default() };
    let command = Command::RotateKey { account: case.key.account, key: case.key.id, rotation: new };
    let Some(Answer::Rotated { text, old, .. }) = case.shard.execute(command).unwrap().answer else { panic!() };
    let recognised = case.shard.peppers.recognise(&PresentedKey::parse(text.expose()).unwrap());
    (recognised.unwrap(), old.expires_at)
}

#[test]
fn an_overlap_ends_at_an_instant_that_the_authority_sets_and_every_isolate_keeps_by_its_own_clock() {
    const OVERLAP_MS: u64 = 60_000;
    for ahead_ms in DISAGREEMENTS_MS {
        for (name, path) in PATHS {
            let begun = || {
                let case = Case::new(ahead_ms, None, None);
                case.shard.advance(500_000);
                let (successor, end) = rotate(&case, OVERLAP_MS, OverlapFrom::Rotation);
                assert_eq!(end, Some(case.shard.now().saturating_add_millis(OVERLAP_MS)), "by the Authority's clock");
                (case, successor, end.unwrap())
            };
            let (case, _, end) = begun();
            let before = UnixMillis::from_millis(end.as_millis() - 1);
            assert_eq!(refusal(&path(&case, before)), None, "{name}, {ahead_ms}");
            let (case, successor, end) = begun();
            assert_eq!(refusal(&path(&case, end)), Some((TokenFault::Expired, true)), "{name}, {ahead_ms}");
            assert!(is_allowed(&case.isolate().decide(&successor)), "{name}, {ahead_ms}");
        }
    }
}

/// An isolate tells how long ago it saw the use, not when.
#[test]
fn an_overlap_from_the_first_use_runs_from_the_use_whatever_the_clocks_say() {
    const OVERLAP_MS: u64 = 60_000;
    for ahead_ms in [-3_600_000, -1_000, 0, 1_000, 3_600_000] {
        let case = Case::new(ahead_ms, None, None);
        let (successor, end) = rotate(&case, OVERLAP_MS, OverlapFrom::FirstUse);
        assert_eq!(end, None);
        case.shard.advance(5_000);
        let mut isolate = case.isolate();
        assert!(is_allowed(&isolate.decide(&successor)));
        let now = isolate.now();
        assert!(isolate.view.used(&successor.digest, 0, false, now));
        let used_at = case.shard.now();
        case.shard.advance(7_000);
        let now = isolate.now();
        let call = isolate.view.tell(now).unwrap();
        rotation::used(&case.shard.sql, SLOT, &call.request.uses, case.shard.now()).unwrap();
        assert_eq!(end_of(&case), Some(used_at.saturating_add_millis(OVERLAP_MS)), "{ahead_ms} ms ahead");
    }
}

fn end_of(case: &Case) -> Option<UnixMillis> {
    let key: KeyId = case.key.id;
    match case.shard.ask(Query::Key(case.key.account, key)) {
        Some(Found::Key(record)) => record.expires_at,
        other => panic!("{other:?}"),
    }
}

/// A lease is so many milliseconds by the isolate's clock from when it asked; the Authority says how many, never until when.
#[test]
fn clocks_that_disagree_make_no_lease_longer_and_no_revocation_later() {
    for ahead_ms in [-3_600_000, -1_000, 0, 1_000, 3_600_000] {
        let case = Case::new(ahead_ms, None, None);
        let mut isolate = case.isolate();
        assert!(is_allowed(&isolate.decide(&case.key.key)));
        case.key.revoke(&case.shard);
        case.shard.advance(LEASE_MS - 1);
        assert!(is_allowed(&isolate.at_hand(&case.key.key).unwrap()), "{ahead_ms} ms ahead");
        case.shard.advance(1);
        assert_eq!(isolate.at_hand(&case.key.key), None, "{ahead_ms} ms ahead");
        assert!(is_denied(&isolate.decide(&case.key.key)), "{ahead_ms} ms ahead");
    }
}

//! Is what administrators were told of one key or account the story of something that changed step by step?
//!
//! After Wing and Gong (1993): a history is linearizable if its entries can be put in one order in which each is right,
//! and in which none stands before one that had ended when it began.

use std::collections::BTreeSet;

use keygate::policy::{AccountStatus, KeyStatus};

use super::rng::Micros;

/// What a status is in the histories of keys and accounts.
pub fn key_status(status: KeyStatus) -> u8 {
    match status {
        KeyStatus::Active => 1,
        KeyStatus::Disabled => 2,
        KeyStatus::Revoked => 3,
    }
}

/// The same of an account.
pub fn account_status(status: AccountStatus) -> u8 {
    match status {
        AccountStatus::Active => 1,
        AccountStatus::Suspended => 2,
    }
}

/// What one call did, or saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It changed the subject to this version and status, or found it so already.
    Write { version: u64, status: u8, condition: Option<Vec<u64>> },
    /// It revoked this key with all others, which is no change of its version.
    RevokedWithAll,
    /// It was refused: the subject has this version, and another was wanted.
    Stale { version: u64, condition: Option<Vec<u64>> },
    /// It was refused: a revoked key stays so.
    Final,
    /// It read a version and a status; none = there was no such subject.
    Read(Option<(u64, u8)>),
}

/// One call, from its sending to its answer; `Micros::MAX` where none came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub invoke: Micros,
    pub respond: Micros,
    pub what: What,
}

/// Version and status; none = it does not exist.
type State = Option<(u64, u8)>;

const REVOKED: u8 = 3;

/// True if there is such an order. At most 64 entries.
pub fn is_linearizable(entries: &[Entry]) -> bool {
    assert!(entries.len() <= 64);
    let all = entries.iter().enumerate().fold(0_u64, |all, (at, _)| all | 1 << at);
    search(entries, all, None, &mut BTreeSet::new())
}

fn search(entries: &[Entry], left: u64, state: State, seen: &mut BTreeSet<(u64, State)>) -> bool {
    let open = || (0..entries.len()).filter(move |at| left & 1 << at != 0);
    // What was never answered need not be in the order, though it was committed: it may come later than all else.
    if open().all(|at| entries[at].respond == Micros::MAX) {
        return true;
    }
    if !seen.insert((left, state)) {
        return false;
    }
    let first_end = open().map(|at| entries[at].respond).min().unwrap_or(0);
    open()
        .filter(|at| entries[*at].invoke <= first_end)
        .any(|at| step(state, &entries[at].what).is_some_and(|state| search(entries, left & !(1 << at), state, seen)))
}

/// The state afterwards; none = it cannot come next.
fn step(state: State, what: &What) -> Option<State> {
    match what {
        What::Write { version, status, condition } => {
            let (now, before) = state.unwrap_or((0, 0));
            let meant = condition.as_ref().is_none_or(|wanted| wanted.contains(&now));
            let later = *version > now && before != REVOKED || (*version, *status) == (now, before);
            (meant && later).then_some(Some((*version, *status)))
        }
        What::RevokedWithAll => state.map(|(now, _)| Some((now, REVOKED))),
        What::Stale { version, condition } => {
            let fits = state.is_some_and(|(now, _)| now == *version);
            let stale = condition.as_ref().is_some_and(|wanted| !wanted.contains(version));
            (fits && stale).then_some(state)
        }
        What::Final => state.is_some_and(|(_, status)| status == REVOKED).then_some(state),
        What::Read(read) => (*read == state).then_some(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(invoke: Micros, respond: Micros, version: u64, status: u8) -> Entry {
        Entry { invoke, respond, what: What::Write { version, status, condition: None } }
    }

    fn read(invoke: Micros, respond: Micros, seen: State) -> Entry {
        Entry { invoke, respond, what: What::Read(seen) }
    }

    #[test]
    fn what_happened_one_after_the_other_is_linearizable() {
        let history = [write(0, 1, 5, 1), read(2, 3, Some((5, 1))), write(4, 5, 6, 2), read(6, 7, Some((6, 2)))];
        assert!(is_linearizable(&history));
    }

    #[test]
    fn a_read_of_what_was_overwritten_before_it_began_is_not() {
        assert!(!is_linearizable(&[write(0, 1, 5, 1), write(2, 3, 6, 2), read(4, 5, Some((5, 1)))]));
        assert!(!is_linearizable(&[write(0, 1, 5, 1), read(2, 3, None)]));
        assert!(!is_linearizable(&[read(0, 1, Some((5, 1))), write(2, 3, 5, 1)]));
    }

    #[test]
    fn what_overlaps_may_come_in_either_order() {
        for seen in [Some((5, 1)), Some((6, 2))] {
            assert!(is_linearizable(&[write(0, 1, 5, 1), write(2, 6, 6, 2), read(3, 5, seen)]));
        }
        let two_reads = [write(0, 1, 5, 1), write(2, 9, 6, 2), read(3, 4, Some((6, 2))), read(5, 6, Some((5, 1)))];
        assert!(!is_linearizable(&two_reads), "what was seen once stays seen");
    }

    #[test]
    fn what_was_never_answered_may_have_happened_or_not() {
        for seen in [Some((5, 1)), Some((6, 2))] {
            assert!(is_linearizable(&[write(0, 1, 5, 1), write(2, Micros::MAX, 6, 2), read(8, 9, seen)]));
        }
        assert!(!is_linearizable(&[write(0, 1, 5, 1), write(8, Micros::MAX, 6, 2), read(4, 5, Some((6, 2)))]));
    }

    #[test]
    fn of_two_changes_on_one_condition_one_succeeds() {
        let on = |invoke, respond, version| Entry {
            invoke,
            respond,
            what: What::Write { version, status: 1, condition: Some(vec![5]) },
        };
        assert!(is_linearizable(&[write(0, 1, 5, 1), on(2, 4, 6)]));
        assert!(!is_linearizable(&[write(0, 1, 5, 1), on(2, 4, 6), on(3, 5, 7)]));
        let refused = Entry { invoke: 3, respond: 5, what: What::Stale { version: 6, condition: Some(vec![5]) } };
        assert!(is_linearizable(&[write(0, 1, 5, 1), on(2, 4, 6), refused.clone()]));
        assert!(!is_linearizable(&[write(0, 1, 5, 1), refused]));
    }

    #[test]
    fn a_key_that_was_revoked_with_all_others_stays_revoked() {
        let all = |invoke, respond| Entry { invoke, respond, what: What::RevokedWithAll };
        assert!(is_linearizable(&[write(0, 1, 5, 1), all(2, 3), read(4, 5, Some((5, 3))), write(6, 7, 5, 3)]));
        assert!(!is_linearizable(&[write(0, 1, 5, 1), all(2, 3), read(4, 5, Some((5, 1)))]));
        assert!(!is_linearizable(&[write(0, 1, 5, 1), all(2, 3), write(4, 5, 6, 1)]));
    }

    #[test]
    fn a_revoked_key_stays_revoked() {
        let late = Entry { invoke: 4, respond: 5, what: What::Final };
        assert!(is_linearizable(&[write(0, 1, 5, 1), write(2, 3, 6, 3), write(4, 5, 6, 3), late.clone()]));
        assert!(!is_linearizable(&[write(0, 1, 5, 1), write(2, 3, 6, 3), write(4, 5, 7, 1)]));
        assert!(!is_linearizable(&[write(0, 1, 5, 1), late]));
    }
}

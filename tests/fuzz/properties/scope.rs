//! Scopes: the grammar, sets of them, what a request demands, and what covers what.

use keygate::json::{self, ToJson};
use keygate::policy::{MAX_SCOPES, Scope, ScopeSet, ScopeSetError, parse_demand};

/// The input is a list of scopes, one a line. A line may hold several, as a `scope` parameter may; and the whole may
/// be a JSON list.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    let scopes: Vec<Scope> = lines.iter().filter_map(|line| scope(line)).collect();
    set(&lines, scopes.len());
    demand(&lines);
    if let Some(set) = json::read::<ScopeSet>(text) {
        well_formed(&set);
    }
    covering(&scopes);
}

fn scope(text: &str) -> Option<Scope> {
    match Scope::parse(text) {
        Ok(scope) => {
            assert!(is_scope(text), "{text:?}");
            let canonical = scope.as_str();
            assert_eq!(canonical, if text == "*:*" { "*" } else { text });
            assert_eq!(Scope::parse(canonical).as_ref(), Ok(&scope));
            Some(scope)
        }
        Err(error) => {
            assert!(!is_scope(text), "{text:?}");
            // What stands before the fault is not at fault: something can be put behind it that makes a scope.
            assert!(text.is_char_boundary(error.at) && !error.expected.is_empty(), "{text:?}: {error}");
            let before = &text[..error.at];
            let completions = ["", "a", ":a", "a:a"];
            assert!(
                completions.iter().any(|rest| is_scope(&format!("{before}{rest}"))),
                "{text:?} is right up to {}, but that cannot be completed",
                error.at
            );
            None
        }
    }
}

fn set(lines: &[&str], right: usize) {
    match ScopeSet::parse(lines.iter().copied()) {
        Ok(set) => {
            assert_eq!(right, lines.len());
            well_formed(&set);
            assert!(lines.iter().all(|line| set.iter().any(|scope| scope.as_str() == *line || *line == "*:*")));
        }
        Err(ScopeSetError::TooMany) => assert!(lines.len() > MAX_SCOPES),
        Err(ScopeSetError::Syntax { index, error }) => assert_eq!(Scope::parse(lines[index]), Err(error)),
    }
}

fn well_formed(set: &ScopeSet) {
    assert!(set.len() <= MAX_SCOPES);
    let scopes = set.as_slice();
    let distinct = |at: usize| !scopes[..at].contains(&scopes[at]);
    assert!((0..scopes.len()).all(distinct), "{set}");
    let text = set.to_string();
    // It goes into headers: RFC 6749 §3.3 with nothing to be quoted.
    assert!(text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'));
    let words = text.split(' ').filter(|word| !word.is_empty());
    assert_eq!(ScopeSet::parse(words).as_ref(), Ok(set));
    assert_eq!(json::read::<ScopeSet>(&set.to_json()).as_ref(), Some(set));
    assert!(set.covers_all(scopes) && set.missing(scopes).is_empty());
}

fn demand(lines: &[&str]) {
    match parse_demand(lines.iter().copied()) {
        Ok(scopes) => {
            // Nothing of what was asked for is lost, and nothing is made up.
            let asked: Vec<Scope> =
                lines.iter().flat_map(|line| line.split(' ')).map(|word| Scope::parse(word).unwrap()).collect();
            assert!(!scopes.is_empty() && scopes.len() <= MAX_SCOPES);
            assert!(
                asked.iter().all(|scope| scopes.contains(scope)) && scopes.iter().all(|scope| asked.contains(scope))
            );
            assert_eq!(ScopeSet::new(scopes.clone()).unwrap().as_slice(), scopes);
        }
        Err(error) => {
            let line = lines[error.parameter];
            assert!(line.is_char_boundary(error.at), "{line:?}: {error}");
            let too_many = lines.iter().flat_map(|line| line.split(' ')).count() > MAX_SCOPES;
            let wrong = line.split(' ').any(|word| !is_scope(word));
            assert!(too_many || wrong, "{lines:?}: {error}");
        }
    }
}

/// Covering is an order, and a set covers what one of its scopes covers.
fn covering(scopes: &[Scope]) {
    let some = &scopes[..scopes.len().min(4)];
    for a in some {
        assert!(a.covers(a) && Scope::parse("*").unwrap().covers(a), "{a}");
        for b in some {
            assert!(!(a.covers(b) && b.covers(a)) || a == b, "{a} {b}");
            for c in some {
                assert!(!(a.covers(b) && b.covers(c)) || a.covers(c), "{a} {b} {c}");
            }
            let set = ScopeSet::new([a.clone()]).unwrap();
            assert_eq!(set.covers(b), a.covers(b));
            assert_eq!(set.missing(some).is_empty(), set.covers_all(some));
        }
    }
}

/// `"*" / part ":" part` with `part = "*" / lowercase *31( lowercase / digit / "_" / "-" )`.
fn is_scope(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    text == "*" || parts.len() == 2 && parts.iter().all(|part| *part == "*" || is_name(part))
}

fn is_name(part: &str) -> bool {
    let mut characters = part.chars();
    part.len() <= 32
        && characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && characters.all(|other| other.is_ascii_lowercase() || other.is_ascii_digit() || "_-".contains(other))
}

//! Which scopes of a key served, and on which day last, so that those can be seen that nobody needs.
//!
//! Days are those of UTC. All of it is a lower bound: a scope can have served later than is said here, never earlier.

use crate::{
    json::{ObjectWriter, ToJson},
    policy::{ScopeSet, UnixMillis},
};

use super::{
    record::KeyRecord,
    sql::{Columns, Sql, SqlError},
};

/// Days of a key's use that are looked at, the newest ones.
const DAYS_MAX: u32 = 400;

/// For each scope of a key, the day on which it last served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopesLastUsed {
    scopes: ScopeSet,
    /// In the order of the scopes, counted from 1970; none = not within the days of use that were looked at.
    days: Vec<Option<u64>>,
}

impl ScopesLastUsed {
    /// Of a key, as far as it is written.
    pub(super) fn read(sql: &impl Sql, record: &KeyRecord) -> Result<Self, SqlError> {
        let scopes = record.scopes.clone();
        let days = vec![None; scopes.len()];
        let mut last_used = ScopesLastUsed { scopes, days };
        let rows = sql.run(
            "SELECT day, scopes FROM usage WHERE digest = ?1 ORDER BY day DESC LIMIT ?2",
            &[record.digest.to_hex().into(), DAYS_MAX.into()],
        )?;
        for row in rows {
            let mut row = Columns::of(row);
            last_used.add(row.number()?, row.parsed("set of scopes", stored)?);
        }
        Ok(last_used)
    }

    /// The scopes whose bits are in `scopes` served on `day`.
    pub(super) fn add(&mut self, day: u64, scopes: u128) {
        for (place, last) in self.days.iter_mut().enumerate() {
            if u32::try_from(place).ok().and_then(|place| scopes.checked_shr(place)).is_some_and(|bits| bits & 1 == 1) {
                *last = (*last).max(Some(day));
            }
        }
    }
}

/// An object: `{"contacts:read":"2026-11-22","jobs:read":null}`.
impl ToJson for ScopesLastUsed {
    fn to_json(&self) -> String {
        let mut json = ObjectWriter::new();
        for (scope, day) in self.scopes.iter().zip(&self.days) {
            json.value(scope.as_str(), &day.map(date));
        }
        json.end()
    }
}

fn date(day: u64) -> String {
    let mut date = UnixMillis::of_day(day).to_rfc3339();
    date.truncate("2027-01-31".len());
    date
}

/// The bits of scopes as hexadecimal digits, the highest first.
pub(super) fn text(scopes: u128) -> String {
    format!("{scopes:x}")
}

/// Reads what [`text`] writes, and nothing else.
pub(super) fn parse(text: &str) -> Option<u128> {
    let plain = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    u128::from_str_radix(text, 16).ok().filter(|_| plain && digits)
}

/// As it stands in a row: nothing for no scope.
pub(super) fn stored(text: &str) -> Option<u128> {
    if text.is_empty() { Some(0) } else { parse(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_scopes_has_one_spelling() {
        for scopes in [0, 1, 0xab, 1 << 99, u128::MAX] {
            assert_eq!(parse(&text(scopes)), Some(scopes));
        }
        for text in ["", "00", "01", "+1", "-1", "A", "g", "0x1", " 1", "100000000000000000000000000000000"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_latest_day_of_each_scope_counts() {
        let scopes = ScopeSet::parse(["a:b", "c:d", "e:f"]).unwrap();
        let mut last_used = ScopesLastUsed { days: vec![None; scopes.len()], scopes };
        last_used.add(20_000, 0b011);
        last_used.add(19_999, 0b010);
        last_used.add(20_001, 0b001 | 1 << 100);
        assert_eq!(last_used.to_json(), r#"{"a:b":"2024-10-05","c:d":"2024-10-04","e:f":null}"#);
    }
}

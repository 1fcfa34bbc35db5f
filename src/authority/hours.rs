//! How often a key was used and refused in each hour of a day (UTC).

use std::fmt::Write;

use crate::policy::{HOUR_MS, Reason, UnixMillis};

/// Calls of one day. As text, `8+12 8k3 9+1`: the hour, `+` for uses or a letter for the reason of refusals, how many. At
/// most 24 × 12 counts, so 3 KB; commonly some tens of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hours(Vec<Calls>);

/// Calls of one hour that ended in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Calls {
    /// From 0 to 23.
    pub(super) hour: u64,
    /// Why they were refused; none: they were not.
    pub(super) reason: Option<Reason>,
    /// How many.
    pub(super) count: u64,
}

const HOURS: u64 = 24;
const USED: u8 = b'+';
const FIRST_REASON: u8 = b'a';

impl Calls {
    /// `count` calls at `at`, in the hour of its day.
    pub(super) fn at(at: UnixMillis, reason: Option<Reason>, count: u64) -> Self {
        Calls { hour: at.hour() % HOURS, reason, count }
    }

    /// When their hour of `day` began.
    pub(super) fn begin(&self, day: u64) -> UnixMillis {
        UnixMillis::of_day(day).saturating_add_millis(HOUR_MS.saturating_mul(self.hour))
    }
}

impl Hours {
    /// Adds calls, if there are any.
    pub(super) fn add(&mut self, calls: &Calls) {
        for other in &mut self.0 {
            if other.hour == calls.hour && other.reason == calls.reason {
                other.count = other.count.saturating_add(calls.count);
                return;
            }
        }
        if calls.count > 0 {
            self.0.push(*calls);
        }
    }

    /// Each hour and outcome once, in no order.
    pub(super) fn calls(&self) -> &[Calls] {
        &self.0
    }

    /// As it stands in a row.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Calls { hour, reason, count } in &self.0 {
            let letter = reason.map_or(USED, |reason| FIRST_REASON.saturating_add(reason as u8));
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a `String` does not fail.
            let _ = write!(text, "{space}{hour}{}{count}", char::from(letter));
        }
        text
    }

    /// Reads what [`Hours::text`] writes. Anything else counts for nothing, for no count is worth that a sync fails.
    pub(super) fn read(text: &str) -> Self {
        let mut hours = Hours::default();
        let (mut hour, mut reason, mut number) = (HOURS, None, 0_u64);
        for byte in text.bytes().chain([b' ']) {
            match byte {
                b'0'..=b'9' => number = number.saturating_mul(10).saturating_add((byte - b'0').into()),
                b' ' => {
                    if hour < HOURS {
                        hours.add(&Calls { hour, reason, count: number });
                    }
                    (hour, number) = (HOURS, 0);
                }
                _ => {
                    reason = Reason::at(byte.wrapping_sub(FIRST_REASON).into());
                    hour = if byte == USED || reason.is_some() { number } else { HOURS };
                    number = 0;
                }
            }
        }
        hours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_add_up_by_hour_and_outcome_and_are_read_as_they_were_written() {
        let at = |hour: u64| UnixMillis::from_millis((20_000 * 24 + hour) * HOUR_MS + 5);
        let mut hours = Hours::default();
        assert_eq!((hours.text().as_str(), Hours::read("")), ("", Hours::default()));
        hours.add(&Calls::at(at(8), None, 0));
        hours.add(&Calls::at(at(8), None, 2));
        hours.add(&Calls::at(at(23), Some(Reason::InsufficientScope), 1));
        hours.add(&Calls::at(at(0), Some(Reason::KeyRevoked), 7));
        hours.add(&Calls::at(at(8), None, 10));
        assert_eq!(hours.text(), "8+12 23k1 0a7");
        assert_eq!(Hours::read("8+12 23k1 0a7"), hours);
    }

    #[test]
    fn what_is_not_understood_counts_for_nothing() {
        for text in [" ", "8", "+", "8+", "8+0", "24+1", "8l1", "8A1", "8-1", "8é1", "8!+", "99999999999999999999+1"] {
            assert_eq!(Hours::read(text), Hours::default(), "{text}");
            assert_eq!(Hours::read(&format!("7b3 {text} 9+1")).text(), "7b3 9+1", "{text}");
        }
        assert_eq!(Hours::read("9+99999999999999999999 9+1").text(), format!("9+{}", u64::MAX));
    }
}

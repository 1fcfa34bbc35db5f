//! Points in time: Unix milliseconds inside, RFC 3339 on the wire.

use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z, at most 2^53 - 1: what a JavaScript number and JSON hold exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(u64);

/// 9999-12-31T23:59:59.999Z, the last millisecond that RFC 3339 can write.
const LAST_WRITABLE: u64 = 253_402_300_799_999;

impl UnixMillis {
    /// The start of 1970.
    pub const EPOCH: Self = Self(0);

    /// 2^53 - 1 ms.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// `millis` since the start of 1970; what is above [`Self::MAX`] becomes it.
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// Milliseconds since the start of 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// `millis` later, at most [`Self::MAX`].
    pub const fn saturating_add_millis(self, millis: u64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// How long after `earlier` this is, in milliseconds; 0 where it is not after it.
    pub const fn saturating_millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The beginning of a day (UTC), counted from 1970.
    pub fn of_day(day: u64) -> Self {
        Self(day.saturating_mul(DAY_MS))
    }

    /// The day (UTC), counted from 1970.
    pub fn day(self) -> u64 {
        self.0 / DAY_MS
    }

    /// The hour, counted from 1970.
    pub fn hour(self) -> u64 {
        self.0 / HOUR_MS
    }

    /// RFC 3339 in UTC, with milliseconds: `2027-01-31T00:00:00.000Z`. RFC 3339 ends with the year 9999; what is later is
    /// written as its last millisecond.
    pub fn to_rfc3339(self) -> String {
        let millis = self.0.min(LAST_WRITABLE);
        let (year, month, day) = civil(millis / DAY_MS);
        let of_day = |unit: u64, per: u64| millis / unit % per;
        let (hour, minute, second) = (of_day(3_600_000, 24), of_day(60_000, 60), of_day(1_000, 60));
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", millis % 1_000)
    }

    /// Reads RFC 3339, with any offset. Strict: uppercase `T` and `Z`, seconds up to 59 (Unix time has no leap seconds),
    /// one to nine decimals, of which what is below a millisecond is cut off.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimeError> {
        let (date_time, fraction, offset) = parts(text.as_bytes()).ok_or(TimeError::NotRfc3339)?;
        let field = |from: usize, to: usize| number(date_time.get(from..to).unwrap_or_default());
        let (year, month, day) = (field(0, 4), field(5, 7), field(8, 10));
        let (hour, minute, second) = (field(11, 13), field(14, 16), field(17, 19));
        let offset_part = |from: usize, to: usize| number(offset.get(from..to).unwrap_or_default());
        let (offset_hour, offset_minute) = (offset_part(1, 3), offset_part(4, 6));
        let exists = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        if !exists || hour > 23 || minute > 59 || second > 59 || offset_hour > 23 || offset_minute > 59 {
            return Err(TimeError::NotRfc3339);
        }
        let ahead = if offset.starts_with(b"-") { -1 } else { 1 } * (offset_hour * 60 + offset_minute);
        let seconds = (days(year, month, day) * 24 + hour) * 3_600 + (minute - ahead) * 60 + second;
        let thousandths = fraction.iter().chain(b"000").take(3);
        let millis = seconds * 1_000 + number(&thousandths.copied().collect::<Vec<_>>());
        match u64::try_from(millis) {
            Ok(millis) if millis <= LAST_WRITABLE => Ok(Self(millis)),
            _ => Err(TimeError::OutOfRange),
        }
    }
}

/// The same as [`UnixMillis::to_rfc3339`].
impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Why a text is not a time. The text of the error says what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeError {
    /// Not RFC 3339, or a day or hour that does not exist.
    NotRfc3339,
    /// Before 1970 or after 9999, in UTC.
    OutOfRange,
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRfc3339 => {
                "expected an RFC 3339 time, such as 2027-01-31T08:30:00Z or 2027-01-31T08:30:00.250+01:00"
            }
            Self::OutOfRange => "expected a time between 1970-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z",
        })
    }
}

impl std::error::Error for TimeError {}

/// The date and time, the decimals and the offset of a text of the form `dddd-dd-ddTdd:dd:dd[.d{1,9}](Z|±dd:dd)`.
fn parts(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let (fraction, offset) = match rest.strip_prefix(b".") {
        Some(rest) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest.split_at_checked(digits).filter(|_| (1..=9).contains(&digits))?
        }
        None => (&[][..], rest),
    };
    let fits = matches(date_time, b"dddd-dd-ddTdd:dd:dd")
        && (offset == b"Z" || matches(offset, b"+dd:dd") || matches(offset, b"-dd:dd"));
    fits.then_some((date_time, fraction, offset))
}

/// `d` in the shape stands for a digit.
fn matches(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text
            .iter()
            .zip(shape)
            .all(|(byte, wanted)| if *wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted })
}

fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
}

/// A day of UTC, in milliseconds: Unix time has no leap seconds.
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// An hour, in milliseconds.
pub const HOUR_MS: u64 = 60 * 60 * 1_000;

/// Days from 0000-03-01 to 1970-01-01. Years that begin in March end with the day that only some have, and 400 of them
/// always have [`DAYS_IN_400_YEARS`]. `(153 * month + 2) / 5` is how many days lie before a month, counted from March.
const EPOCH_DAYS: u64 = 719_468;
const DAYS_IN_400_YEARS: u64 = 146_097;

/// Year, month and day of the day that is `days` after 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let (era, day) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let next_year = month >= 10;
    (era * 400 + year + u64::from(next_year), if next_year { month - 9 } else { month + 3 }, day)
}

/// The days from 1970-01-01 to a date from the year 0 on.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - EPOCH_DAYS as i64
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_milliseconds_and_z() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1, "1970-01-01T00:00:00.001Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_801_384_200_250, "2027-01-31T08:30:00.250Z"),
            (LAST_WRITABLE, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(UnixMillis::from_millis(millis).to_string(), text);
        }
    }

    #[test]
    fn reads_any_offset_and_cuts_below_a_millisecond() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00-00:00", 0),
            ("1969-12-31T23:00:00-01:00", 0),
            ("1970-01-01T01:00:00.5+01:00", 500),
            ("1970-01-01T00:00:00.123456789Z", 123),
            ("1970-01-01T00:00:00.000999Z", 0),
            ("2027-01-31T09:30:00.250+01:00", 1_801_384_200_250),
            ("9999-12-31T23:59:59.999Z", LAST_WRITABLE),
        ] {
            assert_eq!(UnixMillis::parse_rfc3339(text).map(UnixMillis::as_millis), Ok(millis), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_rfc_3339() {
        for text in [
            "",
            "2027-01-31",
            "2027-01-31T08:30:00",
            "2027-01-31T08:30Z",
            "2027-01-31t08:30:00Z",
            "2027-01-31T08:30:00z",
            "2027-01-31 08:30:00Z",
            " 2027-01-31T08:30:00Z",
            "2027-01-31T08:30:00Z ",
            "2027-01-31T08:30:00.Z",
            "2027-01-31T08:30:00.1234567890Z",
            "2027-01-31T08:30:00,5Z",
            "2027-01-31T08:30:60Z",
            "2027-01-31T24:00:00Z",
            "2027-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-00-01T00:00:00Z",
            "2027-01-31T08:30:00+0100",
            "2027-01-31T08:30:00+24:00",
            "2027-01-31T08:30:00+01:60",
            "2027-01-31T08:30:00\u{2212}01:00",
            "+2027-01-31T08:30:00Z",
            "12027-01-31T08:30:00Z",
            "1801383000",
        ] {
            assert_eq!(UnixMillis::parse_rfc3339(text), Err(TimeError::NotRfc3339), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_is_outside_1970_to_9999() {
        for text in [
            "1969-12-31T23:59:59.999Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(UnixMillis::parse_rfc3339(text), Err(TimeError::OutOfRange), "{text:?}");
        }
    }

    #[test]
    fn days_of_all_years_are_written_and_read_as_chrono_does() {
        for day in (0..=LAST_WRITABLE / DAY_MS).step_by(13) {
            let time = UnixMillis::from_millis(day * DAY_MS + day * 7_919 % DAY_MS);
            let text = time.to_rfc3339();
            let known = chrono::DateTime::from_timestamp_millis(time.0 as i64).unwrap();
            assert_eq!(text, known.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
            assert_eq!(UnixMillis::parse_rfc3339(&text), Ok(time));
        }
    }

    /// Of what has the shape, and a second below 60: `chrono` takes more than that.
    fn as_chrono_reads(text: &str) -> Result<UnixMillis, TimeError> {
        let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|_| TimeError::NotRfc3339)?;
        let millis = u64::try_from(time.timestamp_millis()).map_err(|_| TimeError::OutOfRange)?;
        if millis <= LAST_WRITABLE { Ok(UnixMillis(millis)) } else { Err(TimeError::OutOfRange) }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_has_the_shape_is_read_as_chrono_does(
            text in "(19[67]|20[0-9]|[0-9]{3})[0-9]-(0[0-9]|1[0-3])-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-6][0-9])"
        ) {
            proptest::prop_assert_eq!(UnixMillis::parse_rfc3339(&text), as_chrono_reads(&text), "{}", text);
        }
    }

    #[test]
    fn arithmetic_ends_at_the_maximum() {
        let late = UnixMillis::from_millis(UnixMillis::MAX.as_millis() - 1);
        assert_eq!(late.saturating_add_millis(1), UnixMillis::MAX);
        assert_eq!(late.saturating_add_millis(u64::MAX), UnixMillis::MAX);
        assert_eq!(UnixMillis::MAX.saturating_millis_since(late), 1);
        assert_eq!(late.saturating_millis_since(UnixMillis::MAX), 0);
    }
}

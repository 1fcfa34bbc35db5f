//! Points in time: Unix milliseconds inside, RFC 3339 on the wire.

use std::fmt;

use chrono::{DateTime, SecondsFormat};

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

    /// RFC 3339 in UTC, with milliseconds: `2027-01-31T00:00:00.000Z`. RFC 3339 ends with the year 9999; what is later is
    /// written as its last millisecond.
    pub fn to_rfc3339(self) -> String {
        let writable = i64::try_from(self.0.min(LAST_WRITABLE)).unwrap_or_default();
        DateTime::from_timestamp_millis(writable).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// Reads RFC 3339, with any offset. Strict: uppercase `T` and `Z`, seconds up to 59 (Unix time has no leap seconds),
    /// one to nine decimals, of which what is below a millisecond is cut off.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimeError> {
        if !has_shape(text.as_bytes()) {
            return Err(TimeError::NotRfc3339);
        }
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| TimeError::NotRfc3339)?;
        match u64::try_from(time.timestamp_millis()) {
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

/// `dddd-dd-ddTdd:dd:dd[.d{1,9}](Z|±dd:dd)`. The chrono parser alone also takes lowercase letters, a space for the `T` and
/// second 60.
fn has_shape(text: &[u8]) -> bool {
    let Some((date_time, rest)) = text.split_at_checked(19) else { return false };
    let offset = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            match fraction.split_at_checked(digits) {
                Some((_, offset)) if (1..=9).contains(&digits) => offset,
                _ => return false,
            }
        }
        None => rest,
    };
    matches(date_time, b"dddd-dd-ddTdd:dd:dd")
        && date_time.get(17) != Some(&b'6')
        && (offset == b"Z" || matches(offset, b"+dd:dd") || matches(offset, b"-dd:dd"))
}

/// `d` in the shape stands for a digit.
fn matches(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text
            .iter()
            .zip(shape)
            .all(|(byte, wanted)| if *wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted })
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
    fn arithmetic_ends_at_the_maximum() {
        let late = UnixMillis::from_millis(UnixMillis::MAX.as_millis() - 1);
        assert_eq!(late.saturating_add_millis(1), UnixMillis::MAX);
        assert_eq!(late.saturating_add_millis(u64::MAX), UnixMillis::MAX);
        assert_eq!(UnixMillis::MAX.saturating_millis_since(late), 1);
        assert_eq!(late.saturating_millis_since(UnixMillis::MAX), 0);
    }
}

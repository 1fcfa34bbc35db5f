//! Reading values from the one text that stands for them.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Decodes exactly `2 × N` lower-case hexadecimal digits. Upper case is refused: one value, one text.
pub(crate) fn decode_lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !text.bytes().all(lower) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Deserialises a string by `parse`. The error says what was `expected` and does not repeat the value.
pub(super) fn deserialize_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Option<T>,
    expected: &'static str,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom(format_args!("expected {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_in_one_spelling_only() {
        assert_eq!(decode_lower_hex("00ff"), Some([0, 0xff]));
        for bad in ["00fF", "00f", "00ff0", "00ff00", "0x00", "", "é1", " 0ff"] {
            assert_eq!(decode_lower_hex::<2>(bad), None, "{bad:?}");
        }
    }
}

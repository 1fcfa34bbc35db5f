//! Reading values from the one text that stands for them, and writing lists.

/// The texts with `separator` between them. `join` would be 1 KB of code for each type of text.
pub(crate) fn joined(texts: impl IntoIterator<Item: AsRef<str>>, separator: &str) -> String {
    let mut joined = String::new();
    for (index, text) in texts.into_iter().enumerate() {
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text.as_ref());
    }
    joined
}

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

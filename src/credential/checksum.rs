//! CRC-32 as in IEEE 802.3 (reflected polynomial `0xEDB88320`), the checksum at the end of a key.
//!
//! It lets a secret scanner tell a key from a random word, and stops a mistyped key early. It proves nothing: anyone
//! can compute it. What proves a key is its MAC.

/// The CRC-32 (IEEE 802.3) of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        // A table of 256 entries has one for every byte.
        let entry = TABLE.get(usize::from(low ^ byte)).copied();
        (crc >> 8) ^ entry.unwrap_or_default()
    })
}

const POLYNOMIAL: u32 = 0xedb8_8320;
static TABLE: [u32; 256] = table();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time: an index out of range would not build")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let reduce = crc & 1 == 1;
            crc >>= 1;
            if reduce {
                crc ^= POLYNOMIAL;
            }
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_crc_catalogue_is_met() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(&[0xff; 4]), 0xffff_ffff);
    }
}

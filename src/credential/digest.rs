//! The digest: what is stored and looked up in place of a key.

use std::fmt;
use std::hash::{Hash, Hasher};

use subtle::ConstantTimeEq;

use super::text_form::decode_lower_hex;

/// 24 bytes of the keyed hash of an API key. The key cannot be worked out from it, nor it from the key without the
/// pepper; it is still kept out of logs, since it names one customer's key.
#[derive(Clone, Copy, PartialOrd, Ord)]
pub struct Digest([u8; 24]);

impl Digest {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 24]) -> Self {
        Self(bytes)
    }

    /// The bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 24] {
        &self.0
    }

    /// 48 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Reads 48 lower-case hexadecimal digits, nothing else.
    pub fn parse_hex(text: &str) -> Option<Self> {
        decode_lower_hex(text).map(Self)
    }

    /// The first 8 bytes as 16 hexadecimal digits: how the feed of changes names a key. A prefix may be shared by
    /// several keys, so whoever receives one applies it to every digest that bears it.
    pub fn prefix_hex(&self) -> String {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        hex::encode([a, b, c, d, e, f, g, h])
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> Digest {
        Digest::from_bytes(std::array::from_fn(|at| at as u8))
    }

    #[test]
    fn a_digest_is_48_digits_and_its_prefix_the_first_16() {
        let hex = "000102030405060708090a0b0c0d0e0f1011121314151617";
        assert_eq!(counting().to_hex(), hex);
        assert_eq!(Digest::parse_hex(hex), Some(counting()));
        assert_eq!(counting().prefix_hex(), "0001020304050607");
    }

    #[test]
    fn a_digest_has_exactly_one_spelling() {
        for bad in ["".into(), "0".repeat(47), "0".repeat(49), "A".repeat(48)] {
            assert_eq!(Digest::parse_hex(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn digests_that_differ_in_one_bit_are_unequal() {
        for at in 0..24 {
            let mut bytes = *counting().as_bytes();
            bytes[at] ^= 1;
            assert_ne!(Digest::from_bytes(bytes), counting(), "{at}");
        }
        assert_eq!(Digest::from_bytes(*counting().as_bytes()), counting());
    }

    #[test]
    fn debug_output_does_not_show_the_digest() {
        assert_eq!(format!("{:?}", counting()), "Digest(..)");
    }
}

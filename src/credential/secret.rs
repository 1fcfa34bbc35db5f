//! Secret keys of the deployment: how they are written in its configuration, and what they may be used for.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// An HMAC-SHA-256 key (RFC 2104) of 32 to 64 bytes, held as the already keyed hash: what depends on the key alone is
/// computed once, and the key's own bytes are not kept. It cannot be printed or compared.
#[derive(Clone)]
pub struct SecretKey(Hmac<Sha256>);

/// A secret key with the number by which texts made with it say which key that was: `id:hex`.
///
/// A deployment holds two of a kind while it changes from one to the next.
#[derive(Clone, Debug)]
pub struct NumberedSecret {
    /// 0 to 15.
    pub id: u8,
    /// The key.
    pub key: SecretKey,
}

/// Why a configured secret is refused. Says what is wrong, never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// There is no `:` between id and key.
    Separator,
    /// The id is not a decimal number from 0 to 15, without sign or leading zeros.
    Id,
    /// The key is not hexadecimal.
    Hex,
    /// The key is too short, or longer than a block of the hash.
    Length {
        /// Bytes found.
        bytes: usize,
    },
    /// Two secrets of a kind have the same id.
    SameId {
        /// The id they share.
        id: u8,
    },
    /// The token is too short.
    TooShort {
        /// Characters found.
        characters: usize,
    },
    /// The token is not a `token68`, as every bearer token must be (RFC 6750 §2.1).
    NotToken68,
}

impl SecretKey {
    /// The fewest bytes of a key: the length of the hash (RFC 2104 §3).
    pub const MIN_BYTES: usize = 32;
    /// The most bytes of a key: a block of the hash. A longer key would be hashed down to less.
    pub const MAX_BYTES: usize = 64;

    /// The key with these bytes.
    ///
    /// # Errors
    /// [`SecretError::Length`] for fewer than 32 or more than 64 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        let refused = SecretError::Length { bytes: bytes.len() };
        if !(Self::MIN_BYTES..=Self::MAX_BYTES).contains(&bytes.len()) {
            return Err(refused);
        }
        Hmac::new_from_slice(bytes).map(Self).map_err(|_| refused)
    }

    /// HMAC-SHA-256 of the parts, one after the other. Nothing is put between them: the caller sees to it that
    /// different parts cannot give the same message.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether `presented` is the whole of [`SecretKey::mac`] of the parts; takes the same time wherever they differ.
    pub fn verifies(&self, parts: &[&[u8]], presented: &[u8; 32]) -> bool {
        self.mac(parts).ct_eq(presented).into()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl NumberedSecret {
    /// The largest id: it has four bits in a key's text.
    pub const MAX_ID: u8 = 15;

    /// Reads `id:hex`.
    ///
    /// # Errors
    /// [`SecretError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let (id, key) = text.split_once(':').ok_or(SecretError::Separator)?;
        let number: u8 = id.parse().map_err(|_| SecretError::Id)?;
        // `parse` would take "+1" and "01" too.
        if number > Self::MAX_ID || number.to_string() != id {
            return Err(SecretError::Id);
        }
        let bytes = hex::decode(key).map_err(|_| SecretError::Hex)?;
        Ok(Self { id: number, key: SecretKey::new(&bytes)? })
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Separator => f.write_str("must be <id>:<hexadecimal key>, but has no colon"),
            Self::Id => f.write_str("must begin with an id from 0 to 15, then a colon"),
            Self::Hex => f.write_str("must have an even number of hexadecimal digits after the colon"),
            Self::Length { bytes } => {
                write!(f, "must have 32 to 64 bytes after the colon, but has {bytes}")
            }
            Self::SameId { id } => write!(f, "has the id {id}, which is already in use"),
            Self::TooShort { characters } => {
                write!(f, "must have at least 32 characters, but has {characters}")
            }
            Self::NotToken68 => f.write_str("may have only letters, digits and -._~+/, and = at the end"),
        }
    }
}

impl std::error::Error for SecretError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<u8, SecretError> {
        NumberedSecret::parse(text).map(|secret| secret.id)
    }

    #[test]
    fn a_mac_is_hmac_sha_256_of_the_parts_in_a_row() {
        // RFC 4231 has no case with a key of 32 to 64 bytes: this one was worked out by another program.
        let key = SecretKey::new(&[0x0b; 32]).unwrap();
        let expected = "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7";
        assert_eq!(hex::encode(key.mac(&[b"Hi There"])), expected);
        assert_eq!(key.mac(&[b"Hi ", b"", b"There"]), key.mac(&[b"Hi There"]));
    }

    #[test]
    fn a_mac_with_any_bit_changed_does_not_verify() {
        let key = SecretKey::new(&[7; 32]).unwrap();
        let mac = key.mac(&[b"message"]);
        assert!(key.verifies(&[b"message"], &mac));
        assert!(!key.verifies(&[b"massage"], &mac));
        for at in 0..32 {
            let mut changed = mac;
            changed[at] ^= 0x80;
            assert!(!key.verifies(&[b"message"], &changed), "{at}");
        }
    }

    #[test]
    fn a_key_of_32_to_64_bytes_is_taken_in_either_case() {
        for text in ["ab".repeat(32), "AB".repeat(48), "aB".repeat(64)] {
            assert_eq!(parse(&format!("3:{text}")), Ok(3));
        }
    }

    #[test]
    fn a_key_shorter_than_32_or_longer_than_64_bytes_is_refused() {
        for bytes in [0, 31, 65] {
            let text = format!("0:{}", "ab".repeat(bytes));
            assert_eq!(parse(&text), Err(SecretError::Length { bytes }));
        }
    }

    #[test]
    fn an_id_is_a_plain_number_from_0_to_15() {
        let key = "ab".repeat(32);
        assert_eq!(parse(&format!("0:{key}")), Ok(0));
        assert_eq!(parse(&format!("15:{key}")), Ok(15));
        for id in ["", "16", "256", "-1", "+1", "01", "00", " 1", "1 ", "a"] {
            assert_eq!(parse(&format!("{id}:{key}")), Err(SecretError::Id), "{id}");
        }
    }

    #[test]
    fn what_is_not_a_number_a_colon_and_hexadecimal_is_refused() {
        let key = "ab".repeat(32);
        assert_eq!(parse(&key), Err(SecretError::Separator));
        assert_eq!(parse(""), Err(SecretError::Separator));
        for key in [format!("{key}\n"), format!("{key}0"), format!("0x{key}"), format!(":{key}"), "zz".repeat(32)] {
            assert_eq!(parse(&format!("1:{key}")), Err(SecretError::Hex), "{key}");
        }
    }

    #[test]
    fn neither_debug_output_nor_errors_show_the_secret() {
        let secret = NumberedSecret::parse(&format!("1:{}", "ab".repeat(32))).unwrap();
        let shown = format!("{secret:?}");
        assert_eq!(shown, "NumberedSecret { id: 1, key: <redacted> }");
        let error = parse("7:cafe").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("cafe"));
    }
}

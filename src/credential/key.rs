//! The API key: minted once, parsed and recognised in every request. The format is in the folder's documentation.

use std::fmt;

use subtle::ConstantTimeEq;

use super::base62::{self, Base62Error, CHECKSUM_DIGITS, PAYLOAD_BYTES, PAYLOAD_DIGITS};
use super::brand::Brand;
use super::checksum::crc32;
use super::digest::Digest;
use super::environment::Environment;
use super::id::AccountRef;
use super::pepper::{Pepper, Peppers};

/// A text that has the form of an API key. Whether it *is* one, [`Peppers::recognise`] says; until then nothing can
/// be read out of it.
#[derive(Clone, Copy)]
pub struct PresentedKey<'a> {
    /// `brand_environment_`
    prefix: &'a str,
    brand: Brand,
    environment: Environment,
    signed: [u8; SIGNED_BYTES],
    mac: [u8; MAC_BYTES],
}

/// Why a text does not have the form of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTextError {
    /// Shorter than 60 or longer than 67 bytes.
    Length {
        /// Bytes found.
        bytes: usize,
    },
    /// There are not three parts, or the first is no brand.
    Brand,
    /// The second part is no environment.
    Environment,
    /// A character after the prefix is no base62 digit.
    Alphabet,
    /// The digits encode a number that is too large: another spelling of some other key.
    Range,
    /// The checksum is not that of the text before it.
    Checksum,
    /// A format other than 1.
    Format {
        /// The format found.
        format: u8,
    },
}

/// What a genuine key says. Genuine means minted with a pepper of this deployment; whether it is (still) good for
/// anything is written in its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecognisedKey {
    /// Names the key's record.
    pub digest: Digest,
    /// The account the key was minted for.
    pub account: AccountRef,
    /// The word the key begins with.
    pub brand: Brand,
    /// What the key is for.
    pub environment: Environment,
    /// The pepper it was minted with, 0 to 15.
    pub pepper_id: u8,
}

/// A new key. The text is shown once and stored nowhere.
#[derive(Debug)]
pub struct MintedKey {
    /// What the caller will present.
    pub text: KeyText,
    /// What is stored in its place.
    pub digest: Digest,
    /// What people recognise the key by in a list: its prefix and its last four characters, `kg_live_...Ab3d`. These
    /// four belong to the checksum.
    pub hint: String,
}

/// The text of a new key. It cannot be printed.
#[derive(Clone)]
pub struct KeyText(String);

impl<'a> PresentedKey<'a> {
    /// The longest text of a key, in bytes.
    pub const MAX_BYTES: usize = Brand::MAX_LENGTH + "_admin_".len() + DIGITS;
    /// The shortest text of a key, in bytes.
    pub const MIN_BYTES: usize = Brand::MIN_LENGTH + "_live_".len() + DIGITS;

    /// Reads the text of a key. Any environment is read; where an `admin` key may be used is not decided here.
    ///
    /// # Errors
    /// [`KeyTextError`] names the first rule that the text breaks.
    pub fn parse(text: &'a str) -> Result<Self, KeyTextError> {
        let length = KeyTextError::Length { bytes: text.len() };
        if !(Self::MIN_BYTES..=Self::MAX_BYTES).contains(&text.len()) {
            return Err(length);
        }
        let bytes = text.as_bytes();
        let (covered, checksum) = bytes.split_last_chunk::<CHECKSUM_DIGITS>().ok_or(length)?;
        let (prefix, payload) = covered.split_last_chunk::<PAYLOAD_DIGITS>().ok_or(length)?;
        // Cut in the middle of a character: what follows are no digits.
        let prefix = text.get(..prefix.len()).ok_or(KeyTextError::Alphabet)?;
        let (brand, environment) =
            prefix.strip_suffix('_').and_then(|prefix| prefix.split_once('_')).ok_or(KeyTextError::Brand)?;
        let brand = Brand::from_key_text(brand).ok_or(KeyTextError::Brand)?;
        let environment = environment.parse().map_err(|_| KeyTextError::Environment)?;

        let payload = base62::decode_payload(payload)?;
        if base62::decode_checksum(checksum)? != crc32(covered) {
            return Err(KeyTextError::Checksum);
        }
        let [signed @ .., a, b, c, d, e, f, g, h] = payload;
        let [header, ..] = signed;
        if header >> 4 != FORMAT {
            return Err(KeyTextError::Format { format: header >> 4 });
        }
        Ok(Self { prefix, brand, environment, signed, mac: [a, b, c, d, e, f, g, h] })
    }
}

impl Peppers {
    /// Says what the key is, if it was minted with one of these peppers; without I/O, and for a forged key in the
    /// same time wherever its MAC is wrong.
    pub fn recognise(&self, key: &PresentedKey<'_>) -> Option<RecognisedKey> {
        let [header, slot, a, b, c, d, ..] = key.signed;
        let pepper = self.by_id(header & PEPPER_ID)?;
        let (mac, digest) = pepper.hash(key.prefix, &key.signed);
        if !bool::from(mac.ct_eq(&key.mac)) {
            return None;
        }
        Some(RecognisedKey {
            digest,
            account: AccountRef { slot, number: u32::from_be_bytes([a, b, c, d]) },
            brand: key.brand,
            environment: key.environment,
            pepper_id: pepper.id(),
        })
    }
}

impl Pepper {
    /// Makes a new key from 20 random bytes.
    pub fn mint(
        &self,
        brand: &Brand,
        environment: Environment,
        account: AccountRef,
        secret: [u8; SECRET_BYTES],
    ) -> MintedKey {
        let prefix = format!("{brand}_{environment}_");
        let [a, b, c, d] = account.number.to_be_bytes();
        let header = (FORMAT << 4) | self.id();
        let signed = join([header, account.slot, a, b, c, d], secret);
        let (mac, digest) = self.hash(&prefix, &signed);
        let text = spell(&prefix, &join(signed, mac));
        let end: String = text.chars().skip(text.len().saturating_sub(4)).collect();
        MintedKey { hint: format!("{prefix}...{end}"), text: KeyText(text), digest }
    }

    /// MAC and digest: the two parts of one hash.
    fn hash(&self, prefix: &str, signed: &[u8; SIGNED_BYTES]) -> ([u8; MAC_BYTES], Digest) {
        let hash = self.secret().mac(&[prefix.as_bytes(), signed]);
        let [a, b, c, d, e, f, g, h, digest @ ..] = hash;
        ([a, b, c, d, e, f, g, h], Digest::from_bytes(digest))
    }
}

impl KeyText {
    /// The text, to be shown to whoever asked for the key, and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for KeyText {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(<redacted>)")
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedKey(<redacted>)")
    }
}

impl From<Base62Error> for KeyTextError {
    fn from(error: Base62Error) -> Self {
        match error {
            Base62Error::Alphabet => Self::Alphabet,
            Base62Error::Range => Self::Range,
        }
    }
}

const FORMAT: u8 = 1;
/// The low nibble of the header.
const PEPPER_ID: u8 = 0x0f;
const SECRET_BYTES: usize = 20;
const MAC_BYTES: usize = 8;
const SIGNED_BYTES: usize = PAYLOAD_BYTES - MAC_BYTES;
const DIGITS: usize = PAYLOAD_DIGITS + CHECKSUM_DIGITS;

/// Writes the text of a key: prefix, payload, checksum of both.
fn spell(prefix: &str, payload: &[u8; PAYLOAD_BYTES]) -> String {
    let mut text = String::with_capacity(PresentedKey::MAX_BYTES);
    text.push_str(prefix);
    text.extend(base62::encode_payload(payload).map(char::from));
    let checksum = crc32(text.as_bytes());
    text.extend(base62::encode_checksum(checksum).map(char::from));
    text
}

/// The bytes of `first`, then those of `second`.
fn join<const A: usize, const B: usize, const N: usize>(first: [u8; A], second: [u8; B]) -> [u8; N] {
    const { assert!(A + B == N) };
    let mut joined = [0; N];
    for (to, from) in joined.iter_mut().zip(first.into_iter().chain(second)) {
        *to = from;
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountRef = AccountRef { slot: 7, number: 0x0102_0304 };

    fn pepper(id: u8, byte: &str) -> Pepper {
        Pepper::parse(&format!("{id}:{}", byte.repeat(32))).unwrap()
    }

    fn peppers() -> Peppers {
        Peppers::new(pepper(3, "a1"), Some(pepper(12, "b2"))).unwrap()
    }

    fn mint(pepper: &Pepper, environment: Environment) -> MintedKey {
        pepper.mint(&Brand::default(), environment, ACCOUNT, [0x5c; 20])
    }

    fn live_key() -> String {
        let minted = mint(peppers().minting(), Environment::Live);
        minted.text.expose().to_owned()
    }

    fn payload(text: &str) -> [u8; PAYLOAD_BYTES] {
        let digits = &text.as_bytes()[text.len() - DIGITS..text.len() - CHECKSUM_DIGITS];
        base62::decode_payload(digits.try_into().unwrap()).unwrap()
    }

    fn parse(text: &str) -> Result<(), KeyTextError> {
        PresentedKey::parse(text).map(|_| ())
    }

    fn recognise(text: &str) -> Option<RecognisedKey> {
        peppers().recognise(&PresentedKey::parse(text).unwrap())
    }

    /// The same text with the checksum it should have.
    fn with_right_checksum(text: &str) -> String {
        let (covered, _) = text.split_at(text.len() - CHECKSUM_DIGITS);
        let checksum = base62::encode_checksum(crc32(covered.as_bytes()));
        format!("{covered}{}", str::from_utf8(&checksum).unwrap())
    }

    /// Adds numbers written in base62, digit by digit.
    fn add(left: &[u8], right: &[u8]) -> Vec<u8> {
        let alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let value = |byte| alphabet.iter().position(|digit| *digit == byte).unwrap();
        let mut carry = 0;
        let mut sum: Vec<u8> = left
            .iter()
            .zip(right)
            .rev()
            .map(|(left, right)| {
                let digit = value(*left) + value(*right) + carry;
                carry = digit / 62;
                alphabet[digit % 62]
            })
            .collect();
        assert_eq!(carry, 0);
        sum.reverse();
        sum
    }

    #[test]
    fn a_minted_key_is_recognised_with_everything_it_was_minted_from() {
        for environment in [Environment::Live, Environment::Test, Environment::Admin] {
            for id in [3, 12] {
                let minted = mint(peppers().by_id(id).unwrap(), environment);
                let expected = RecognisedKey {
                    digest: minted.digest,
                    account: ACCOUNT,
                    brand: Brand::default(),
                    environment,
                    pepper_id: id,
                };
                assert_eq!(recognise(minted.text.expose()), Some(expected));
            }
        }
    }

    #[test]
    fn a_key_with_one_changed_bit_and_a_right_checksum_is_not_recognised() {
        let text = live_key();
        for bit in 4..PAYLOAD_BYTES * 8 {
            let mut forged = payload(&text);
            forged[bit / 8] ^= 0x80 >> (bit % 8);
            assert_eq!(recognise(&spell("kg_live_", &forged)), None, "bit {bit}");
        }
    }

    #[test]
    fn a_key_moved_to_another_brand_or_environment_is_not_recognised() {
        let payload = payload(&live_key());
        assert!(recognise(&spell("kg_live_", &payload)).is_some());
        for prefix in ["kg_test_", "kg_admin_", "kh_live_", "kg1_live_"] {
            assert_eq!(recognise(&spell(prefix, &payload)), None, "{prefix}");
        }
    }

    #[test]
    fn a_key_of_a_pepper_that_is_no_longer_configured_is_not_recognised() {
        let retired = pepper(4, "c3");
        assert_eq!(recognise(mint(&retired, Environment::Live).text.expose()), None);
    }

    #[test]
    fn a_key_is_checked_with_the_pepper_it_names_and_no_other() {
        let same_secret_other_id = pepper(5, "a1");
        let minted = mint(&same_secret_other_id, Environment::Live);
        assert_eq!(recognise(minted.text.expose()), None);
        let same_id_other_secret = pepper(3, "b2");
        let minted = mint(&same_id_other_secret, Environment::Live);
        assert_eq!(recognise(minted.text.expose()), None);
    }

    #[test]
    fn a_key_with_one_changed_character_is_refused() {
        let text = live_key();
        for at in 0..text.len() {
            for byte in (0..0x80).filter(|byte| *byte != text.as_bytes()[at]) {
                let mut changed = text.clone().into_bytes();
                changed[at] = byte;
                let changed = String::from_utf8(changed).unwrap();
                assert!(parse(&changed).is_err(), "{changed:?}");
            }
        }
    }

    #[test]
    fn a_key_with_a_wrong_checksum_is_refused() {
        let text = live_key();
        let (covered, _) = text.split_at(text.len() - CHECKSUM_DIGITS);
        let wrong = base62::encode_checksum(crc32(covered.as_bytes()) ^ 1);
        let changed = format!("{covered}{}", str::from_utf8(&wrong).unwrap());
        assert_eq!(parse(&changed), Err(KeyTextError::Checksum));
        assert_eq!(with_right_checksum(&changed), text);
    }

    #[test]
    fn a_payload_spelled_with_a_number_too_large_is_refused() {
        let text = live_key();
        let (prefix, rest) = text.split_at("kg_live_".len());
        // 2²⁷² = (2²⁷² − 1) + 1
        let one = [[b'0'; PAYLOAD_DIGITS - 1].as_slice(), b"1"].concat();
        let beyond = add(&base62::encode_payload(&[0xff; PAYLOAD_BYTES]), &one);
        let alias = add(&rest.as_bytes()[..PAYLOAD_DIGITS], &beyond);
        let alias = format!("{prefix}{}000000", str::from_utf8(&alias).unwrap());
        assert_eq!(parse(&with_right_checksum(&alias)), Err(KeyTextError::Range));
    }

    #[test]
    fn a_checksum_spelled_with_a_number_too_large_is_refused() {
        let text = live_key();
        let (covered, checksum) = text.split_at(text.len() - CHECKSUM_DIGITS);
        let alias = add(checksum.as_bytes(), b"4gfFC4"); // 2³²
        let alias = format!("{covered}{}", str::from_utf8(&alias).unwrap());
        assert_eq!(parse(&alias), Err(KeyTextError::Range));
    }

    #[test]
    fn a_format_other_than_1_is_refused_though_checksum_and_mac_are_right() {
        let pepper = pepper(3, "a1");
        for format in (0..16).filter(|format| *format != 1) {
            let mut signed = [0; SIGNED_BYTES];
            signed[0] = (format << 4) | 3;
            let (mac, _) = pepper.hash("kg_live_", &signed);
            let text = spell("kg_live_", &join(signed, mac));
            assert_eq!(parse(&text), Err(KeyTextError::Format { format }));
        }
    }

    #[test]
    fn a_key_that_begins_with_a_word_reserved_later_still_works() {
        let brand = Brand::from_key_text("ghp").unwrap();
        let minted = pepper(3, "a1").mint(&brand, Environment::Test, ACCOUNT, [0; 20]);
        assert!(Brand::parse("ghp").is_err());
        assert_eq!(recognise(minted.text.expose()).map(|key| key.brand), Some(brand));
    }

    #[test]
    fn a_text_without_a_brand_and_an_environment_is_refused() {
        let payload = payload(&live_key());
        for (prefix, error) in [
            ("Kg_live_", KeyTextError::Brand),
            ("1g_live_", KeyTextError::Brand),
            ("kg-live_", KeyTextError::Brand),
            ("kglivexx", KeyTextError::Brand),
            ("_kg_live_", KeyTextError::Brand),
            ("kgkgkgkgk_live_", KeyTextError::Brand),
            ("ké_live_", KeyTextError::Brand),
            ("kg_live_x", KeyTextError::Brand),
            ("kg_Live_", KeyTextError::Environment),
            ("kg_prod_", KeyTextError::Environment),
            ("kg_live__", KeyTextError::Environment),
            ("kg__live_", KeyTextError::Environment),
            ("kg_x_live_", KeyTextError::Environment),
        ] {
            assert_eq!(parse(&spell(prefix, &payload)), Err(error), "{prefix}");
        }
    }

    #[test]
    fn a_text_that_is_too_short_or_too_long_is_refused_by_its_length() {
        let text = live_key();
        for bytes in [0, 1, 6, 52, 59, 68, 4_096] {
            let text: String = text.chars().cycle().take(bytes).collect();
            assert_eq!(parse(&text), Err(KeyTextError::Length { bytes }));
        }
        let payload = payload(&text);
        let longest = spell("kgkgkgkg_admin_", &payload);
        let shortest = spell("kg_live_", &payload);
        assert_eq!((longest.len(), shortest.len()), (67, 60));
        assert_eq!((parse(&longest), parse(&shortest)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_character_that_is_no_digit_is_refused_wherever_it_stands() {
        let text = live_key();
        for odd in ["_", "-", " ", "é", "€", "😀"] {
            for at in "kg_live_".len()..=text.len() - odd.len() {
                // As many bytes as before, so that the length does not give it away.
                let mut changed = text.clone();
                changed.replace_range(at..at + odd.len(), odd);
                assert_eq!(parse(&changed), Err(KeyTextError::Alphabet), "{changed}");
            }
        }
        // Half in the prefix, half among the digits.
        let changed = text.replace("_1", "é");
        assert_eq!(parse(&changed), Err(KeyTextError::Alphabet), "{changed}");
    }

    #[test]
    fn the_hint_shows_the_prefix_and_four_characters_of_the_checksum() {
        let minted = mint(peppers().minting(), Environment::Test);
        let text = minted.text.expose();
        let (_, end) = text.split_at(text.len() - 4);
        assert_eq!(minted.hint, format!("kg_test_...{end}"));
    }

    #[test]
    fn debug_output_shows_no_part_of_a_key() {
        let minted = mint(peppers().minting(), Environment::Live);
        let presented = PresentedKey::parse(minted.text.expose()).unwrap();
        assert_eq!(format!("{presented:?}"), "PresentedKey(<redacted>)");
        assert_eq!(format!("{:?}", minted.text), "KeyText(<redacted>)");
        assert!(!format!("{minted:?}").contains(minted.text.expose()));
    }
}

//! The text of an API key: the parser takes what the format allows and nothing else, and a key is recognised only if
//! one of our peppers mints just that text.

use std::sync::LazyLock;

use keygate::credential::{
    AccountRef, Brand, Environment, KeyTextError, MintedKey, PresentedKey, RecognisedKey, base62,
};

use super::fixture::PEPPERS;

/// The input is the text of a key; and if it is long enough, what a key is minted from.
pub fn check(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        read(text);
        if let Some(repaired) = with_right_checksum(text) {
            read(&repaired);
        }
    }
    if let Some((parts, rest)) = input.split_first_chunk() {
        mint(parts, rest);
    }
}

/// Reads a text, and holds the result against a second reading of it.
fn read(text: &str) -> Option<RecognisedKey> {
    let parsed = PresentedKey::parse(text);
    let parts = parts(text);
    assert_eq!(parsed.is_ok(), parts.is_some(), "{text:?}");
    let (key, parts) = match (parsed, parts) {
        (Ok(key), Some(parts)) => (key, parts),
        (Err(KeyTextError::Length { bytes }), _) => {
            assert!(bytes == text.len() && !(60..=67).contains(&bytes), "{text:?}");
            return None;
        }
        _ => return None,
    };
    let recognised = PEPPERS.recognise(&key);
    let minted = parts.mint().filter(|minted| minted.text.expose() == text);
    assert_eq!(recognised, minted.map(|minted| parts.recognised(&minted)), "{text:?}");
    recognised
}

/// Mints a key, reads it back, and forges it.
fn mint(parts: &[u8; 28], rest: &[u8]) {
    let [choice, slot, a, b, c, d, secret @ .., at, to] = *parts;
    let parts = Parts {
        brand: Brand::from_key_text(["kg", "a1", "acme2024"][usize::from(choice >> 4) % 3]).unwrap(),
        environment: [Environment::Live, Environment::Test, Environment::Admin][usize::from(choice >> 2) % 3],
        header: if choice & 1 == 0 { 0x10 } else { 0x1f },
        account: AccountRef { slot, number: u32::from_be_bytes([a, b, c, d]) },
        secret,
    };
    let minted = parts.mint().unwrap();
    let text = minted.text.expose();
    assert_eq!(read(text), Some(parts.recognised(&minted)));
    let prefix = format!("{}_{}_", parts.brand, parts.environment);
    assert_eq!(minted.hint, format!("{prefix}...{}", &text[text.len() - 4..]));

    // With one other character it is nothing, even with the right checksum.
    let at = usize::from(at) % text.len();
    let changed = format!("{}{}{}", &text[..at], char::from(to), &text[at + 1..]);
    for forged in [with_right_checksum(&changed), Some(changed)].into_iter().flatten() {
        assert!(forged == text || read(&forged).is_none(), "{forged:?}");
    }
    // With another end it may be another key, if the input has one.
    if let Ok(rest) = std::str::from_utf8(rest) {
        read(&format!("{}{rest}", &text[..at]));
    }
}

/// What the text of a key says.
struct Parts {
    brand: Brand,
    environment: Environment,
    header: u8,
    account: AccountRef,
    secret: [u8; 20],
}

impl Parts {
    fn mint(&self) -> Option<MintedKey> {
        let pepper = PEPPERS.by_id(self.header & 0xf)?;
        Some(pepper.mint(&self.brand, self.environment, self.account, self.secret))
    }

    fn recognised(&self, minted: &MintedKey) -> RecognisedKey {
        RecognisedKey {
            digest: minted.digest,
            account: self.account,
            brand: self.brand,
            environment: self.environment,
            pepper_id: self.header & 0xf,
        }
    }
}

/// The format, as the README describes it, digit by digit.
fn parts(text: &str) -> Option<Parts> {
    let [brand, environment, digits] = text.split('_').collect::<Vec<_>>().try_into().ok()?;
    let word = |word: &str| word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
    let begins = brand.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !(2..=8).contains(&brand.len()) || !word(brand) || !begins || digits.len() != 52 {
        return None;
    }
    let environment = match environment {
        "live" => Environment::Live,
        "test" => Environment::Test,
        "admin" => Environment::Admin,
        _ => return None,
    };
    let values: Vec<u8> = digits.bytes().map(value).collect::<Option<_>>()?;
    let payload: [u8; 34] = number(&values[..46])?;
    let checksum: [u8; 4] = number(&values[46..])?;
    let covered = &text.as_bytes()[..text.len() - 6];
    let [header, slot, a, b, c, d, secret @ .., _, _, _, _, _, _, _, _] = payload;
    (u32::from_be_bytes(checksum) == crc(covered) && header >> 4 == 1).then_some(Parts {
        brand: Brand::from_key_text(brand)?,
        environment,
        header,
        account: AccountRef { slot, number: u32::from_be_bytes([a, b, c, d]) },
        secret,
    })
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'Z' => Some(digit - b'A' + 10),
        b'a'..=b'z' => Some(digit - b'a' + 36),
        _ => None,
    }
}

/// The number that base62 digits mean, big-endian, if it fits. Ten digits are less than 2⁶⁰.
fn number<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut limbs = [0_u64; 5];
    for chunk in digits.chunks(10) {
        let (factor, addend) =
            chunk.iter().fold((1_u128, 0_u128), |(factor, sum), digit| (factor * 62, sum * 62 + u128::from(*digit)));
        let mut carry = addend;
        for limb in limbs.iter_mut().rev() {
            let sum = u128::from(*limb) * factor + carry;
            *limb = u64::try_from(sum & u128::from(u64::MAX)).unwrap();
            carry = sum >> 64;
        }
        if carry > 0 {
            return None;
        }
    }
    let bytes = limbs.map(u64::to_be_bytes);
    let (beyond, number) = bytes.as_flattened().split_at(40 - N);
    if beyond.iter().any(|byte| *byte != 0) { None } else { number.try_into().ok() }
}

/// CRC-32 (IEEE 802.3), from the table of its remainders.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ REMAINDERS[usize::from(crc.to_le_bytes()[0] ^ byte)])
}

static REMAINDERS: LazyLock<[u32; 256]> = LazyLock::new(|| {
    let shift = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    std::array::from_fn(|byte| (0..8).fold(u32::try_from(byte).unwrap(), |crc, _| shift(crc)))
});

/// The text with the checksum that belongs to it, if it is long enough to have one.
fn with_right_checksum(text: &str) -> Option<String> {
    let covered = text.get(..text.len().checked_sub(base62::CHECKSUM_DIGITS)?)?;
    let checksum = base62::encode_checksum(crc(covered.as_bytes())).map(char::from);
    Some(covered.chars().chain(checksum).collect())
}

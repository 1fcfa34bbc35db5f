//! The format of API keys, pinned by vectors that another implementation worked out (`vectors/generate.py`).
//!
//! Keys live in customers' configuration for years. If one of these tests fails, the change would stop them from
//! working: make it a new format beside the old one instead.

use keygate::credential::{
    AccountRef, Brand, Digest, Environment, KeyTextError, Pepper, Peppers, PresentedKey, RecognisedKey, base62, crc32,
};
use serde::{Deserialize, Deserializer, de::Error};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    /// `id:hex`, as configured.
    pepper: String,
    pepper_id: u8,
    #[serde(deserialize_with = "brand")]
    brand: Brand,
    #[serde(deserialize_with = "environment")]
    environment: Environment,
    slot: u8,
    number: u32,
    #[serde(deserialize_with = "account")]
    account: AccountRef,
    secret: String,
    mac: String,
    #[serde(deserialize_with = "digest")]
    digest: Digest,
    crc: String,
    text: String,
}

fn brand<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Brand, D::Error> {
    parsed(deserializer, Brand::from_key_text)
}

fn environment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Environment, D::Error> {
    parsed(deserializer, |word| word.parse().ok())
}

fn account<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AccountRef, D::Error> {
    parsed(deserializer, AccountRef::parse)
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    parsed(deserializer, Digest::parse_hex)
}

fn parsed<'de, D: Deserializer<'de>, T>(deserializer: D, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, D::Error> {
    parse(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not of its form"))
}

fn vectors() -> serde_json::Result<Vec<Vector>> {
    serde_json::from_str(include_str!("vectors/keys.json"))
}

#[test]
fn minting_from_the_parts_of_a_vector_gives_its_text_and_digest() {
    for vector in vectors().unwrap() {
        let secret = hex::decode(&vector.secret).unwrap().try_into().unwrap();
        let pepper = Pepper::parse(&vector.pepper).unwrap();
        let minted = pepper.mint(&vector.brand, vector.environment, vector.account, secret);
        assert_eq!(minted.text.expose(), vector.text, "{}", vector.name);
        assert_eq!(minted.digest, vector.digest, "{}", vector.name);
        let (_, end) = vector.text.split_at(vector.text.len() - 4);
        let hint = format!("{}_{}_...{end}", vector.brand, vector.environment);
        assert_eq!(minted.hint, hint, "{}", vector.name);
    }
}

#[test]
fn recognising_the_text_of_a_vector_gives_its_parts() {
    for vector in vectors().unwrap() {
        let pepper = Pepper::parse(&vector.pepper).unwrap();
        let peppers = Peppers::new(pepper, None).unwrap();
        let presented = PresentedKey::parse(&vector.text).unwrap();
        let expected = RecognisedKey {
            digest: vector.digest,
            account: AccountRef { slot: vector.slot, number: vector.number },
            brand: vector.brand,
            environment: vector.environment,
            pepper_id: vector.pepper_id,
        };
        let recognised = peppers.recognise(&presented);
        assert_eq!(recognised, Some(expected), "{}", vector.name);
        assert_eq!(vector.account, expected.account, "{}", vector.name);
    }
}

#[test]
fn the_digits_of_a_vector_are_its_header_account_secret_mac_and_checksum() {
    for vector in vectors().unwrap() {
        let (covered, checksum) = vector.text.as_bytes().split_last_chunk().unwrap();
        let (_, payload) = covered.split_last_chunk().unwrap();
        let payload = hex::encode(base62::decode_payload(payload).unwrap());
        let expected =
            format!("1{:x}{:02x}{:08x}{}{}", vector.pepper_id, vector.slot, vector.number, vector.secret, vector.mac);
        assert_eq!(payload, expected, "{}", vector.name);
        let crc = u32::from_str_radix(&vector.crc, 16).unwrap();
        assert_eq!(base62::decode_checksum(checksum), Ok(crc), "{}", vector.name);
        assert_eq!(crc32(covered), crc, "{}", vector.name);
    }
}

#[test]
fn no_vector_is_recognised_with_the_pepper_of_another_or_after_a_change() {
    let vectors = vectors().unwrap();
    for vector in &vectors {
        let presented = PresentedKey::parse(&vector.text).unwrap();
        for other in vectors.iter().filter(|other| other.pepper != vector.pepper) {
            let peppers = Peppers::new(Pepper::parse(&other.pepper).unwrap(), None).unwrap();
            assert_eq!(peppers.recognise(&presented), None, "{}", vector.name);
        }
        let swapped: String = vector.text.replacen('_', "-", 1);
        let refused = PresentedKey::parse(&swapped).map(|_| ());
        assert_eq!(refused, Err(KeyTextError::Brand), "{}", vector.name);
    }
}

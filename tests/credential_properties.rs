//! Properties of API keys and of the bearer header, on random inputs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what is outside #[test] functions is test code too")]

use keygate::credential::base62::{self, Base62Error};
use keygate::credential::{
    AccountRef, Bearer, Brand, Environment, MintedKey, Pepper, Peppers, PresentedKey, RecognisedKey, crc32,
};
use proptest::prelude::*;

const ENVIRONMENTS: [Environment; 3] = [Environment::Live, Environment::Test, Environment::Admin];

prop_compose! {
    fn any_pepper()(id in 0_u8..16, bytes in prop::collection::vec(any::<u8>(), 32..=64)) -> Pepper {
        Pepper::parse(&format!("{id}:{}", hex::encode(bytes))).unwrap()
    }
}

prop_compose! {
    fn any_account()(slot: u8, number: u32) -> AccountRef {
        AccountRef { slot, number }
    }
}

prop_compose! {
    fn any_key()(
        pepper in any_pepper(),
        brand in "[a-z][a-z0-9]{1,7}",
        environment in prop::sample::select(&ENVIRONMENTS),
        account in any_account(),
        secret: [u8; 20],
    ) -> (Peppers, MintedKey, RecognisedKey) {
        let brand = Brand::from_key_text(&brand).unwrap();
        let minted = pepper.mint(&brand, environment, account, secret);
        let pepper_id = pepper.id();
        let expected = RecognisedKey { digest: minted.digest, account, brand, environment, pepper_id };
        (Peppers::new(pepper, None).unwrap(), minted, expected)
    }
}

fn recognise(peppers: &Peppers, text: &str) -> Option<RecognisedKey> {
    PresentedKey::parse(text).ok().and_then(|key| peppers.recognise(&key))
}

/// The text with the checksum that belongs to it, if it is long enough to have one.
fn with_right_checksum(text: &str) -> Option<String> {
    let covered = text.get(..text.len().checked_sub(base62::CHECKSUM_DIGITS)?)?;
    let checksum = base62::encode_checksum(crc32(covered.as_bytes())).map(char::from);
    Some(covered.chars().chain(checksum).collect())
}

proptest! {
    #[test]
    fn a_minted_key_is_recognised_as_what_it_was_minted_from((peppers, minted, expected) in any_key()) {
        prop_assert_eq!(recognise(&peppers, minted.text.expose()), Some(expected));
    }

    #[test]
    fn a_key_with_one_changed_character_is_refused(
        (peppers, minted, _) in any_key(),
        at: prop::sample::Index,
        to in prop_oneof![any::<char>(), prop::char::range(' ', '~'), prop::char::range('0', 'z')],
    ) {
        let mut characters: Vec<char> = minted.text.expose().chars().collect();
        let at = at.index(characters.len());
        prop_assume!(characters[at] != to);
        characters[at] = to;
        let changed: String = characters.into_iter().collect();
        prop_assert_eq!(recognise(&peppers, &changed), None);
        // Nor does it help to make the checksum right, unless only the checksum was changed.
        if let Some(forged) = with_right_checksum(&changed)
            && forged != minted.text.expose()
        {
            prop_assert_eq!(recognise(&peppers, &forged), None);
        }
    }

    #[test]
    fn a_key_shortened_or_lengthened_by_one_character_is_refused(
        (peppers, minted, _) in any_key(),
        at: prop::sample::Index,
        more: char,
    ) {
        let text: Vec<char> = minted.text.expose().chars().collect();
        let at = at.index(text.len());
        let mut shorter = text.clone();
        shorter.remove(at);
        let mut longer = text;
        longer.insert(at, more);
        for changed in [shorter, longer] {
            let changed: String = changed.into_iter().collect();
            prop_assert_eq!(recognise(&peppers, &changed), None);
        }
    }

    #[test]
    fn no_random_text_is_recognised_or_stops_the_parser(
        pepper in any_pepper(),
        text in prop_oneof![
            any::<String>(),
            "[ -~]{0,80}",
            "\\PC{40,70}",
            "[a-z]{2,8}_(live|test|admin)_[0-9A-Za-z]{52}",
            "[a-z]{2,8}_(live|test|admin)_\\PC{15,52}",
        ],
    ) {
        let peppers = Peppers::new(pepper, None).unwrap();
        prop_assert_eq!(recognise(&peppers, &text), None);
        if let Some(text) = with_right_checksum(&text) {
            prop_assert_eq!(recognise(&peppers, &text), None);
        }
    }

    #[test]
    fn a_key_of_one_pepper_is_not_recognised_with_another(
        (_, minted, _) in any_key(),
        other in any_pepper(),
    ) {
        let peppers = Peppers::new(other, None).unwrap();
        prop_assert_eq!(recognise(&peppers, minted.text.expose()), None);
    }

    #[test]
    fn base62_gives_back_every_payload_and_checksum(low: [u8; 32], high: [u8; 2], checksum: u32) {
        let mut payload = [0; base62::PAYLOAD_BYTES];
        payload[..2].copy_from_slice(&high);
        payload[2..].copy_from_slice(&low);
        let digits = base62::encode_payload(&payload);
        prop_assert_eq!(base62::decode_payload(&digits), Ok(payload));
        let digits = base62::encode_checksum(checksum);
        prop_assert_eq!(base62::decode_checksum(&digits), Ok(checksum));
    }

    /// Digits in the order of their values are in the order of ASCII, so texts compare as their numbers do.
    #[test]
    fn base62_has_one_text_for_each_value_and_refuses_all_others(text in "[0-9A-Za-z]{46}") {
        let digits: [u8; base62::PAYLOAD_DIGITS] = text.as_bytes().try_into().unwrap();
        let largest = base62::encode_payload(&[0xff; base62::PAYLOAD_BYTES]);
        match base62::decode_payload(&digits) {
            Ok(payload) => {
                prop_assert!(digits <= largest);
                prop_assert_eq!(base62::encode_payload(&payload), digits);
            }
            Err(error) => {
                prop_assert!(digits > largest);
                prop_assert_eq!(error, Base62Error::Range);
            }
        }
    }

    #[test]
    fn a_checksum_has_one_text_and_all_others_are_refused(text in "[0-9A-Za-z]{6}") {
        let digits: [u8; base62::CHECKSUM_DIGITS] = text.as_bytes().try_into().unwrap();
        match base62::decode_checksum(&digits) {
            Ok(value) => prop_assert_eq!(base62::encode_checksum(value), digits),
            Err(error) => {
                prop_assert!(&digits > b"4gfFC3");
                prop_assert_eq!(error, Base62Error::Range);
            }
        }
    }

    #[test]
    fn the_bearer_parser_agrees_with_the_grammar(
        pieces in prop::collection::vec(
            prop_oneof![
                3 => prop::sample::select(&["Bearer", "bearer", "BEARER", "Bearer ", "Basic", ", "][..]).prop_map(String::from),
                4 => prop::sample::select(&[
                    " ", "  ", "\t", ",", "=", "==", "a", "Z9", "-", ".", "_", "~", "+", "/", ":", ";", "\"", "!",
                    "*", "%", "é", "\u{a0}", "\0", "\n", "\u{7f}", "",
                ][..]).prop_map(String::from),
                1 => "[a-zA-Z0-9._~+/-]{1,20}",
                1 => any::<char>().prop_map(String::from),
            ],
            0..8,
        ),
    ) {
        let value = pieces.concat();
        let expected = grammar(&value);
        let found = match Bearer::parse(Some(&value)) {
            Bearer::Missing => Expected::Missing,
            Bearer::Malformed(_) => Expected::Malformed,
            Bearer::Token(token) => Expected::Token(token.to_owned()),
        };
        prop_assert_eq!(found, expected, "{:?}", value);
    }

    #[test]
    fn a_token_in_a_bearer_header_comes_out_unchanged(token in "[A-Za-z0-9._~+/-]{1,80}={0,3}") {
        let value = format!("Bearer {token}");
        prop_assert_eq!(Bearer::parse(Some(&value)), Bearer::Token(&token));
    }
}

#[derive(Debug, PartialEq)]
enum Expected {
    Missing,
    Malformed,
    Token(String),
}

/// The rules of the bearer header, written as a walk over characters.
fn grammar(value: &str) -> Expected {
    let characters: Vec<char> = value.chars().collect();
    if let Some(token) = well_formed(&characters) {
        return Expected::Token(token);
    }
    // Where a credential may begin: at the start, and after each comma, behind any blanks.
    let mut begins = true;
    for (at, character) in characters.iter().enumerate() {
        match character {
            ',' => begins = true,
            ' ' | '\t' if begins => {}
            _ => {
                if begins && word_at(&characters[at..]).eq_ignore_ascii_case("bearer") {
                    return Expected::Malformed;
                }
                begins = false;
            }
        }
    }
    Expected::Missing
}

fn well_formed(characters: &[char]) -> Option<String> {
    let mut rest = characters.iter();
    for expected in ['b', 'e', 'a', 'r', 'e', 'r', ' '] {
        if rest.next()?.to_ascii_lowercase() != expected {
            return None;
        }
    }
    let token: String = rest.collect();
    let mut padding = false;
    for (at, character) in token.chars().enumerate() {
        match character {
            '=' if at > 0 => padding = true,
            'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '.' | '_' | '~' | '+' | '/' if !padding => {}
            _ => return None,
        }
    }
    let fits = characters.len() <= 4_096;
    (fits && !token.is_empty()).then_some(token)
}

/// The `token` of RFC 9110 §5.6.2 that the characters begin with.
fn word_at(characters: &[char]) -> String {
    let delimiters = "\"(),/:;<=>?@[\\]{}";
    characters
        .iter()
        .take_while(|character| character.is_ascii_graphic() && !delimiters.contains(**character))
        .collect()
}

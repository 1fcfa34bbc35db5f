//! The `Authorization` header: one well-formed bearer credential, something that means to be one, or none.

use keygate::{
    credential::{Bearer, BearerFault, Environment, PresentedKey, RootToken},
    edge::{Presented, present},
};

use super::fixture::PEPPERS;

/// The input is the value of the header.
pub fn check(input: &[u8]) {
    let Ok(value) = std::str::from_utf8(input) else { return };
    let bearer = Bearer::parse(Some(value));
    match bearer {
        Bearer::Token(token) => well_formed(value, token),
        Bearer::Malformed(fault) => malformed(value, fault),
        Bearer::Missing => assert!(!names_bearer(value), "{value:?}"),
    }
    presented(value, bearer);
}

fn well_formed(value: &str, token: &str) {
    assert_eq!(value.len(), "Bearer ".len() + token.len(), "{value:?}");
    assert!(value[..7].eq_ignore_ascii_case("bearer "), "{value:?}");
    assert!(is_token68(token) && value.len() <= Bearer::MAX_BYTES, "{value:?}");
    let fault = |value: &str| match Bearer::parse(Some(value)) {
        Bearer::Malformed(fault) => fault,
        other => panic!("{value:?} is {other:?}"),
    };
    let long = format!("{value}{}", "a".repeat(Bearer::MAX_BYTES));
    assert!(matches!(fault(&format!("{value}{long}")), BearerFault::TooLong { .. }));
    if value.len() <= Bearer::MAX_BYTES - 20 {
        assert_eq!(fault(&format!("{value}, Basic eA==")), BearerFault::SeveralCredentials);
        assert_eq!(fault(&format!("Basic eA==, {value}")), BearerFault::SeveralCredentials);
        assert_eq!(fault(&format!("{value},")), BearerFault::SeveralCredentials);
        assert_eq!(fault(&format!("{value} ")), BearerFault::Spacing);
        assert_eq!(fault(&format!("Bearer  {token}")), BearerFault::Spacing);
        assert_eq!(fault(&format!("Bearer\t{token}")), BearerFault::Spacing);
        assert_eq!(fault(&format!("{value}\u{e9}")), BearerFault::NotAscii);
        assert_eq!(fault(&format!("{value}\"")), BearerFault::Alphabet);
    }
    // Every bearer token that is long enough can be the root token, and only itself is then it.
    match RootToken::parse(token) {
        Ok(root) => {
            assert!(token.len() >= RootToken::MIN_CHARACTERS && root.matches(token), "{token:?}");
            assert!(!root.matches(&token[1..]) && !root.matches(&format!("{token}=")), "{token:?}");
        }
        Err(error) => assert!(token.len() < RootToken::MIN_CHARACTERS, "{token:?}: {error}"),
    }
}

fn malformed(value: &str, fault: BearerFault) {
    assert!(names_bearer(value), "{value:?}");
    assert!(!fault.to_string().is_empty());
    let too_long = value.len() > Bearer::MAX_BYTES;
    let is_so = match fault {
        BearerFault::TooLong { bytes } => too_long && bytes == value.len(),
        BearerFault::SeveralCredentials => !too_long && value.contains(','),
        BearerFault::NotAscii => !value.is_ascii(),
        BearerFault::Spacing => !value.contains(',') && value.is_ascii(),
        BearerFault::Empty => matches!(value.get(6..), Some("" | " ")),
        BearerFault::Alphabet => value.get(7..).is_some_and(|token| !is_token68(token) && !token.contains([' ', '\t'])),
    };
    assert!(is_so, "{value:?}: {fault:?}");
}

/// What the edge makes of it: a key is recognised in a well-formed credential only, and never an admin credential.
fn presented(value: &str, bearer: Bearer<'_>) {
    let expected = match bearer {
        Bearer::Missing => Presented::Missing,
        Bearer::Malformed(fault) => Presented::Malformed(fault),
        Bearer::Token(token) => match PresentedKey::parse(token).ok().and_then(|key| PEPPERS.recognise(&key)) {
            Some(key) if key.environment != Environment::Admin => Presented::Recognised(key),
            _ => Presented::Forged,
        },
    };
    assert_eq!(present(Some(value), &PEPPERS), expected, "{value:?}");
}

/// Whether the first word of some element of the list is the scheme `Bearer`.
fn names_bearer(value: &str) -> bool {
    value.split(',').any(|element| {
        let element = element.trim_start_matches([' ', '\t']);
        let word = element.split(|character: char| !is_token_character(character)).next().unwrap();
        word.eq_ignore_ascii_case("bearer")
    })
}

/// RFC 9110 §11.2.
fn is_token68(text: &str) -> bool {
    let (body, padding) = text.split_at(text.find('=').unwrap_or(text.len()));
    let of_body = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(of_body) && padding.bytes().all(|byte| byte == b'=')
}

/// RFC 9110 §5.6.2: visible, and no delimiter.
fn is_token_character(character: char) -> bool {
    character.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(character)
}

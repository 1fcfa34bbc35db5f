//! The first step: is this the text of a key of ours?

use crate::credential::{Bearer, BearerFault, Environment, Peppers, PresentedKey, RecognisedKey};

/// What an `Authorization` header turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// No bearer credential.
    Missing,
    /// A bearer credential that is not one token.
    Malformed(BearerFault),
    /// A token that is not an API key minted here: forged, mistyped, another kind of credential.
    Forged,
    /// An API key minted here. Whether it still counts is another question.
    Recognised(RecognisedKey),
}

/// Looks at a credential. No I/O: a forged key costs one hash.
#[must_use]
pub fn present(header: Option<&str>, peppers: &Peppers) -> Presented {
    let token = match Bearer::parse(header) {
        Bearer::Missing => return Presented::Missing,
        Bearer::Malformed(fault) => return Presented::Malformed(fault),
        Bearer::Token(token) => token,
    };
    let recognised = PresentedKey::parse(token).ok().and_then(|key| peppers.recognise(&key));
    match recognised {
        Some(key) if key.environment != Environment::Admin => Presented::Recognised(key),
        _ => Presented::Forged,
    }
}

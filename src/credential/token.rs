//! The root token: the operator's credential for the admin routes.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::bearer::is_token68;
use super::secret::SecretError;

/// The operator's token, kept only as its SHA-256. A token of this length cannot be guessed from its hash, and
/// comparing hashes takes the same time whatever the presented text has in common with the token, length included.
#[derive(Clone)]
pub struct RootToken([u8; 32]);

impl RootToken {
    /// The fewest characters of a root token.
    pub const MIN_CHARACTERS: usize = 32;

    /// Reads the configured token: at least 32 characters, all such as a bearer token may have; another could never be
    /// presented.
    ///
    /// # Errors
    /// [`SecretError::NotToken68`] or [`SecretError::TooShort`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if !text.is_empty() && !is_token68(text) {
            return Err(SecretError::NotToken68);
        }
        if text.len() < Self::MIN_CHARACTERS {
            return Err(SecretError::TooShort { characters: text.len() });
        }
        Ok(Self(hash(text)))
    }

    /// Whether the presented text is the token, in constant time.
    pub fn matches(&self, presented: &str) -> bool {
        self.0.ct_eq(&hash(presented)).into()
    }
}

impl fmt::Debug for RootToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootToken(<redacted>)")
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdefghijklmnopqrstuv";

    #[test]
    fn only_the_token_itself_matches() {
        let root = RootToken::parse(TOKEN).unwrap();
        assert!(root.matches(TOKEN));
        assert!(!root.matches(""));
        assert!(!root.matches(TOKEN.split_at(1).1));
        assert!(!root.matches(TOKEN.split_at(31).0));
        assert!(!root.matches(&format!("{TOKEN}w")));
        assert!(!root.matches(&TOKEN.to_uppercase()));
        assert!(!root.matches("0123456789abcdefghijklmnopqrstuw"));
        assert!(!root.matches("1123456789abcdefghijklmnopqrstuv"));
    }

    #[test]
    fn a_token_of_fewer_than_32_characters_is_refused() {
        let refused = RootToken::parse(TOKEN.split_at(31).0);
        let reason = SecretError::TooShort { characters: 31 };
        assert_eq!(refused.err(), Some(reason));
        let refused = RootToken::parse("").err();
        assert_eq!(refused, Some(SecretError::TooShort { characters: 0 }));
    }

    #[test]
    fn a_token_that_could_never_be_presented_as_a_bearer_token_is_refused() {
        for odd in [" ", "\t", "\n", "\0", "\x7f", "é", "!", "=a"] {
            let refused = RootToken::parse(&format!("{TOKEN}{odd}"));
            assert_eq!(refused.err(), Some(SecretError::NotToken68), "{odd:?}");
        }
    }

    #[test]
    fn debug_output_does_not_show_the_token() {
        let root = RootToken::parse(TOKEN).unwrap();
        assert_eq!(format!("{root:?}"), "RootToken(<redacted>)");
    }
}

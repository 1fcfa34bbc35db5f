//! The brand: the word an API key begins with.

use std::fmt;

/// The word an account's keys begin with: `[a-z][a-z0-9]{1,7}`, by default `kg`.
///
/// A brand that is *chosen* must pass [`Brand::parse`]. One that is *read back*, from a key or from a stored record,
/// only has to be well formed: a word that is reserved later must not break the keys and accounts that already bear it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Brand([u8; Brand::MAX_LENGTH]); // padded with NUL, which no brand contains

/// Why a word cannot be chosen as a brand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrandError {
    /// Not `[a-z][a-z0-9]{1,7}`.
    Syntax,
    /// Taken by another vendor's credentials, or a word with a meaning of its own here.
    Reserved,
}

impl Brand {
    /// The fewest characters a brand has.
    pub const MIN_LENGTH: usize = 2;
    /// The most characters a brand has.
    pub const MAX_LENGTH: usize = 8;

    /// Reads a brand that is being chosen for an account.
    ///
    /// # Errors
    /// [`BrandError`] says which rule the word breaks.
    pub fn parse(text: &str) -> Result<Self, BrandError> {
        let brand = Self::from_key_text(text).ok_or(BrandError::Syntax)?;
        if RESERVED.contains(&text) {
            return Err(BrandError::Reserved);
        }
        Ok(brand)
    }

    /// Reads the brand of an existing key or record: checks the syntax, not the reserved words.
    pub fn from_key_text(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (first, rest) = bytes.split_first()?;
        let well_formed = (Self::MIN_LENGTH..=Self::MAX_LENGTH).contains(&bytes.len())
            && first.is_ascii_lowercase()
            && rest.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !well_formed {
            return None;
        }
        let mut padded = [0; Self::MAX_LENGTH];
        for (slot, byte) in padded.iter_mut().zip(bytes) {
            *slot = *byte;
        }
        Some(Self(padded))
    }

    /// The brand as text.
    pub fn as_str(&self) -> &str {
        let word = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        str::from_utf8(word).unwrap_or_default() // always ASCII
    }
}

impl Default for Brand {
    fn default() -> Self {
        Self(*b"kg\0\0\0\0\0\0")
    }
}

impl fmt::Display for Brand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Brand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Brand({})", self.as_str())
    }
}

/// Prefixes by which scanners, proxies and people know other vendors' credentials, and words with a meaning of their
/// own in Keygate's texts. A key that began with one would be reported to, or taken for, the wrong thing.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    // Keygate's own.
    "acct", "admin", "basic", "bearer", "key", "keygate", "live", "root", "test", "ws",
    // GitHub, GitLab.
    "ghp", "gho", "ghu", "ghs", "ghr", "github",
    "glpat", "gldt", "glrt", "glcbt", "glptt", "glft", "glimt", "glagent", "glsoat", "gloas", "glffct",
    // Slack.
    "xoxa", "xoxb", "xoxc", "xoxd", "xoxe", "xoxp", "xoxr", "xoxs", "xapp",
    // Stripe and those who write keys as Stripe does.
    "sk", "pk", "rk", "whsec",
    // Package registries.
    "npm", "pypi", "rubygems", "oy2", "dckr",
    // Clouds and hosting.
    "akia", "asia", "aiza", "ya29", "dop", "doo", "dor", "nfp", "fo1", "fm2", "rnd", "pul", "hvs", "hvb", "hvr",
    "tskey", "pscale", "sbp", "dapi",
    // Shops, mail, tools.
    "shpat", "shpca", "shppa", "shpss", "sq0atp", "sq0csp", "sg", "re", "lin", "figd", "ntn", "atatt", "pmak",
    "sntrys", "sntryu", "glc", "glsa", "phc", "phx", "bkua", "ccipat", "dp", "ops",
    // Models.
    "hf", "r8", "gsk", "xai", "pplx", "nvapi",
    // The first letters of every JWT.
    "eyj",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brand_is_two_to_eight_lower_case_letters_and_digits() {
        for good in ["kg", "a1", "acme", "acme2024", "z9999999"] {
            assert_eq!(Brand::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a", "acme20245", "1a", "Kg", "kG", "a_b", "a-b", "a b", "é1", "aé", "a\0", " kg", "kg\n"] {
            assert_eq!(Brand::parse(bad), Err(BrandError::Syntax), "{bad:?}");
            assert_eq!(Brand::from_key_text(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_reserved_word_cannot_be_chosen() {
        for word in [
            "ghp", "gho", "glpat", "xoxb", "sk", "pk", "rk", "npm", "pypi", "akia", "acct", "key", "ws", "bearer",
            "basic", "admin", "live", "test",
        ] {
            assert_eq!(Brand::parse(word), Err(BrandError::Reserved), "{word}");
        }
    }

    #[test]
    fn a_reserved_word_is_still_read_from_a_key_or_a_record() {
        assert_eq!(Brand::from_key_text("ghp").unwrap().as_str(), "ghp");
    }

    #[test]
    fn every_reserved_word_is_one_that_could_be_chosen_and_is_listed_once() {
        for (at, word) in RESERVED.iter().enumerate() {
            assert!(Brand::from_key_text(word).is_some(), "{word}");
            assert!(!RESERVED[..at].contains(word), "{word}");
        }
    }

    #[test]
    fn the_default_brand_is_kg_and_may_be_chosen() {
        assert_eq!(Brand::parse("kg"), Ok(Brand::default()));
    }
}

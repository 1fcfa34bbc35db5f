//! The environment: what a credential is for.

use std::fmt;
use std::str::FromStr;

/// The environment a key belongs to, written in its text and covered by its MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Environment {
    /// Real data.
    Live,
    /// Data for trying things out.
    Test,
    /// Administration of an account. Never accepted as an API key, nor the reverse.
    Admin,
}

/// The text names no [`Environment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEnvironment;

impl Environment {
    /// The word used in key texts, on the wire and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Environment {
    type Err = UnknownEnvironment;

    fn from_str(text: &str) -> Result<Self, UnknownEnvironment> {
        match text {
            "live" => Ok(Self::Live),
            "test" => Ok(Self::Test),
            "admin" => Ok(Self::Admin),
            _ => Err(UnknownEnvironment),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_environment_has_the_same_word_everywhere() {
        for (environment, word) in
            [(Environment::Live, "live"), (Environment::Test, "test"), (Environment::Admin, "admin")]
        {
            assert_eq!(environment.as_str(), word);
            assert_eq!(word.parse(), Ok(environment));
        }
    }

    #[test]
    fn any_other_word_is_refused() {
        for word in ["", "Live", "LIVE", "live ", "prod"] {
            assert_eq!(word.parse::<Environment>(), Err(UnknownEnvironment));
        }
    }
}

//! Names of feature flags.
//!
//! The build script includes this file: it names nothing else of the crate.

/// What [`is_feature`] takes.
pub const FEATURE: &str = "a lower-case letter and then up to 63 lower-case letters, digits, \"-\" or \"_\"";

/// Whether this can be the name of a feature flag.
#[must_use]
pub fn is_feature(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_has_a_name_of_lower_case_letters_digits_and_dashes() {
        let long = "f".repeat(64);
        for name in ["a", "beta-2", "new_reports", &long] {
            assert!(is_feature(name), "{name}");
        }
        let too_long = "f".repeat(65);
        for name in ["", "Beta", "2beta", "-a", "a b", "\u{e9}", &too_long] {
            assert!(!is_feature(name), "{name}");
        }
    }
}

//! Which planted bug a history runs with.

#[cfg(feature = "planted")]
pub use keygate::planted::{choose, is};

/// None ever.
#[cfg(not(feature = "planted"))]
pub fn is(_bug: &str) -> bool {
    false
}

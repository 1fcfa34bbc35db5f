//! Which planted bug a history runs with.

pub use keygate::planted::{choose, is};

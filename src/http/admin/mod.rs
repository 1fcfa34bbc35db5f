//! The admin API: which request asks what of the Authority, and how its answers look.

mod place;
mod render;
mod request;

pub use place::{Place, ShardPage, query_for_slot, wrong_cursor};
pub use render::{answered, found};
pub use request::{AdminRequest, Facts, parse};

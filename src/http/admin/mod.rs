//! The admin API: which request asks what of the Authority, and how its answers look.

mod place;
mod precondition;
mod render;
mod request;

pub use place::{
    Place, ShardPage, asks_for_one, external_id_in, query_for_external_id, query_for_slot, spread, wrong_cursor,
};
pub use precondition::{IDEMPOTENCY_KEY_MAX, IDEMPOTENCY_KEY_MIN};
pub use render::{complete, condition, found, stored};
pub use request::{AdminRequest, Facts, parse};

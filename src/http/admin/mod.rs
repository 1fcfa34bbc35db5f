//! The admin API: which request asks what of the Authority, and how its answers look.

mod credentials;
mod place;
mod platform;
mod precondition;
mod render;
mod request;
mod settings;
mod workspaces;

pub use place::{
    Place, ShardPage, asks_for_one, external_id_in, query_for_external_id, query_for_slot, spread, wrong_cursor,
};
pub use platform::{OfEverySlot, not_everywhere};
pub use precondition::{IDEMPOTENCY_KEY_MAX, IDEMPOTENCY_KEY_MIN};
pub use render::{complete, condition, found, stored};
pub use request::{AdminRequest, Facts, parse};
pub use settings::{ACCESS_LEVEL_CHARACTERS_MAX, NOTE_CHARACTERS_MAX};

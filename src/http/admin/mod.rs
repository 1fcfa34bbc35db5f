//! The admin API: which request asks what of the Authority, and how its answers look.

mod credentials;
mod export;
mod labels;
mod place;
mod plans;
mod platform;
mod precondition;
mod render;
mod request;
mod settings;
mod usage;
mod workspaces;

pub use export::{Export, Format, NEXT, exported};
pub use place::{
    Place, ShardPage, asks_for_one, external_id_in, query_for_external_id, query_for_slot, spread, wrong_cursor,
};
pub use plans::UNUSED_DAYS_MAX;
pub use platform::{OfEverySlot, not_everywhere};
pub use precondition::{IDEMPOTENCY_KEY_MAX, IDEMPOTENCY_KEY_MIN};
pub use render::{complete, condition, found, picture, stored};
pub use request::{AdminRequest, Facts, parse};
pub use settings::{ACCESS_LEVEL_CHARACTERS_MAX, MAX_KEY_DAYS_MAX, NOTE_CHARACTERS_MAX};

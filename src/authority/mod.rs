//! The Authority: where a change becomes true.
//!
//! One shard is one SQLite database, the only authority for the accounts of its slot. Everything here is a pure
//! transition over the small port [`sql::Sql`]: the same statements run in a Durable Object and, in native tests, on
//! SQLite itself. Time and randomness are arguments.
//!
//! - [`command`]: what may change. One transaction holds the command id, the preconditions, the change, its audit
//!   entry, its feed row and its outbox rows; so an acknowledged change is whole, and one that failed left nothing.
//! - [`journal`]: commands that were carried out, so that a repeated one is not carried out again.
//! - [`audit`]: what was changed, by whom, in a chain that shows whether anything was taken out or edited.
//! - [`query`]: what is so now.
//! - [`admins`]: who may order and ask what.
//! - [`revoke_all`]: all keys of an environment at once, and how KV comes to say so.
//! - [`plans`]: keys to be revoked, written down first, [`plan_run`]: and revoked then; [`stale`]: which to look at.
//! - [`workspaces`]: parts of an account that keys can be limited to.
//! - [`lease`]: for how long caches may decide by themselves, and when a change counts everywhere.
//! - [`usage`]: which keys were used and refused lately, [`scopes_used`]: and which of their scopes,
//!   [`usage_picture`]: and when.
//! - [`settings`]: what an account is configured with.
//! - [`feed`]: which subjects changed since when, for caches to catch up.
//! - [`sync`]: the one question that the edge asks.
//! - [`outbox`]: which copies in KV are behind.
//! - [`copy`]: what is said about a subject, signed, so that it may lie anywhere.

pub mod admins;
pub mod audit;
pub mod command;
pub mod copy;
pub mod due;
pub mod feed;
pub mod journal;
pub mod labels;
pub mod lease;
pub mod meta;
pub mod outbox;
pub mod plan_run;
pub mod plans;
pub mod query;
pub mod record;
pub mod revoke_all;
pub mod rotation;
pub mod schema;
pub mod scopes_used;
pub mod settings;
pub mod sql;
pub mod stale;
pub mod sync;
pub mod usage;
pub mod usage_picture;
pub mod workspaces;

mod accounts;
mod credentials;
mod hours;
mod key_filter;
mod key_rules;
mod keys;
mod mint;
mod order;
mod platform;
mod properties;
mod usage_rows;

pub use credentials::SESSION_MS;
pub use key_filter::{KeyFilter, ListedStatus, WALK_MAX};

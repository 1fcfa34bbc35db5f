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
//! - [`workspaces`]: parts of an account that keys can be limited to.
//! - [`lease`]: for how long caches may decide by themselves, and when a change counts everywhere.
//! - [`usage`]: which keys were used lately, [`scopes_used`]: and which of their scopes.
//! - [`settings`]: what an account is configured with.
//! - [`feed`]: which subjects changed since when, for caches to catch up.
//! - [`sync`]: the one question that the edge asks.
//! - [`outbox`]: which copies in KV are behind.
//! - [`copy`]: what is said about a subject, signed, so that it may lie anywhere.

pub mod admins;
pub mod audit;
pub mod command;
pub mod copy;
pub mod feed;
pub mod journal;
pub mod lease;
pub mod meta;
pub mod outbox;
pub mod query;
pub mod record;
pub mod revoke_all;
pub mod schema;
pub mod scopes_used;
pub mod settings;
pub mod sql;
pub mod sync;
pub mod usage;
pub mod workspaces;

mod accounts;
mod credentials;
mod key_filter;
mod key_rules;
mod keys;
mod platform;
mod properties;

pub use credentials::SESSION_MS;
pub use key_filter::{KeyFilter, ListedStatus};

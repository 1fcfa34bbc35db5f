//! The Authority, natively: the statements that run in a Durable Object, on SQLite itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod admins;
mod atomicity;
mod audit;
mod commands;
mod feed;
mod filters;
mod flows;
mod lease;
mod mirror;
mod pinned;
mod plan_model;
mod plan_run;
mod planning;
mod plans;
mod platform;
mod revoke_all;
mod rotation;
mod sessions;
mod settings;
mod shorthand;
mod stale;
mod support;
mod usage;
mod usage_pictures;
mod validity;
mod walks;
mod workspaces;

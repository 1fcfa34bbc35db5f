//! A model of Keygate at scale: thousands of isolates in hundreds of locations, each with the verifier's own `View`,
//! and the Authority's own code on SQLite. `scripts/scale` runs it for a day and prints tables; the tests here run a
//! small one, and hold it against what can be worked out on paper.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod authority;
mod checks;
mod database;
mod measures;
mod mirror;
mod model;
mod queue;
mod random;
mod relay;
#[path = "../authority/rows.rs"]
mod rows;
mod tables;
mod traffic;
mod trips;
mod world;

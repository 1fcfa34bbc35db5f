//! The verifier against a real Authority: what an isolate may decide by itself, and what it asks for. Time is a number
//! that only the tests move, and every message between the two is in their hands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod applying;
mod cache;
mod evidence;
mod flights;
mod grace;
mod histories;
mod isolate;
mod lease;
mod one_rule;
mod platform;
mod rewind;
mod rights;
mod uses;
mod validity;

#[path = "../authority/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the Authority, which need more of it")]
mod support;

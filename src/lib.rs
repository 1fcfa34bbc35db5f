//! Keygate: a Cloudflare Worker that verifies bearer API keys at the edge.
//!
//! The folders are concepts, and each imports only from those before it:
//!
//! | folder | what |
//! |---|---|
//! | [`json`] | JSON, read strictly and written plainly |
//! | [`credential`] | what is presented: keys, digests, secrets |
//! | [`policy`] | what it may do: scopes, grants, routes, the decision |
//! | [`authority`] | the truth: commands over SQLite, the feed, the outbox, signed copies |
//! | [`edge`] | the verifier: which evidence a decision takes |
//! | [`http`] | the wire: requests, answers, problems |
//! | `cloudflare` | the runtime, which nothing else names |

pub mod authority;
pub mod credential;
pub mod edge;
pub mod http;
pub mod json;
#[cfg(feature = "planted")]
pub mod planted;
#[cfg(not(feature = "planted"))]
mod planted;
pub mod policy;

mod cloudflare;

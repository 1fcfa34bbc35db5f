//! The Cloudflare runtime: the only folder that names it.
//!
//! - `entry`: the exported function that every request enters by, and who answers what.
//! - `admin`: the admin API at the edge; what a request says is understood in `object`. `health`: how the shards are.
//! - `verifier`: the loop around the state machine of `edge`.
//! - `config`: secrets, variables and bindings, parsed once per isolate. `env`: where they come from.
//! - `mirror`: what is read from KV and written to it.
//! - `stub`: asking the Authority. `object`: being it. `sql`: its storage as the `Sql` port.
//! - `prepared`: answers that were given before, kept ready for the next request that is decided the same. `demands`:
//!   demands that were read before.
//! - `glue`, with `glue.js`: what takes JavaScript one call and Rust many.
//! - `convert`: between the runtime's requests and answers and ours. `time`: clock and timers. `log`: the log.
//!
//! No request waits for another one's I/O: a request that did would hang or die with it. What requests share is plain
//! data. `entry.js` is what the runtime loads; it turns a trap into an answer.

mod admin;
mod config;
mod convert;
mod demands;
mod entry;
mod env;
mod glue;
mod health;
mod log;
mod mirror;
mod object;
mod prepared;
mod sql;
mod stub;
mod time;
#[cfg(feature = "trap")]
mod trap;
mod upstream;
mod verifier;

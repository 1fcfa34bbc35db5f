//! The verifier: from a presented credential to a decision, and which evidence that takes.
//!
//! The order of evidence is a state machine without I/O ([`Verification`]): it says what it needs next, the runtime
//! gets it, and it goes on. What the requests of an isolate share is plain data, a [`View`] of each shard. Nothing here
//! waits, tells the time or draws random numbers.
//!
//! 1. [`present`]: the header, the text of the key, its MAC. What is not a key of ours ends here, without I/O.
//! 2. The lease is fresh, and the copies of the grant and its account are at hand: decided at once. From half of the
//!    lease on it is renewed behind the answer.
//! 3. The lease is fresh, but a copy is missing: it is read from KV, and counts only if it is believable.
//! 4. The lease is over, or KV has nothing to be believed: one question to the Authority brings the changes, a lease
//!    and the copies. So a decision costs at most one round trip to the Authority.
//! 5. Nobody can say: [`Verdict::Undetermined`]. The request is not accepted, and not called invalid. Only with outage
//!    grace do copies that were believable go on for a while.
//!
//! - `view`: what an isolate knows of a shard: the one rule, the lease. `cache`: the copies at hand. `flights`: syncs
//!   under way. `uses`: which keys were used. `verification`: the order of evidence.

mod cache;
mod flights;
mod presentation;
mod uses;
mod verification;
mod view;

pub use presentation::{Presented, present};
pub use verification::{Evidence, Step, Verdict, Verification};
pub use view::{Call, Missing, TELL_AFTER_MS, View};

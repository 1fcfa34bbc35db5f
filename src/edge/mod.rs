//! The verifier: from a presented credential to a decision, and which evidence that takes.
//!
//! The order of evidence is a state machine without I/O ([`Verification`]): it says what it needs next, the runtime
//! gets it, and it goes on. Nothing in it waits, tells the time or draws random numbers.
//!
//! 1. [`present`]: the header, the text of the key, its MAC. What is not a key of ours ends here, without I/O.
//! 2. The mirror: the copies of the grant and of its account, from KV, in one read. They count only if their MACs fit
//!    their places and they agree with the key and with each other.
//! 3. The Authority, when KV is down, has nothing, or has nothing that counts. Its copies face the same checks.
//! 4. When the Authority cannot say either, the request is [`Verdict::Undetermined`]: not accepted, and not called
//!    invalid.
//!
//! How long a change takes to be seen is, in this version, how long KV takes to serve it at the place of the request.

mod presentation;
mod verification;

pub use presentation::{Presented, present};
pub use verification::{Evidence, Step, Verdict, Verification};

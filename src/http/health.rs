//! Whether this Worker runs, for load balancers and people. Says nothing that a stranger could use.

use crate::json::{ObjectWriter, array};

use super::{problem::Problem, reply::Reply};

/// The answer to `GET healthz`. `revocation_bound_ms` is what this Worker's settings come to, unless they are wrong.
#[must_use]
pub fn health(method: &str, revocation_bound_ms: Option<u64>) -> Reply {
    if method != "GET" && method != "HEAD" {
        return Problem::method_not_allowed("GET, HEAD").reply();
    }
    Reply::of_json(200, about("ok", revocation_bound_ms).end())
}

/// The answer to an operator's `GET healthz?verbose`: the condition of each shard, as JSON that it has told itself.
#[must_use]
pub fn verbose_health(status: &str, revocation_bound_ms: u64, slots: Vec<String>) -> Reply {
    let slots = array(slots.into_iter());
    Reply::of_json(200, about(status, Some(revocation_bound_ms)).raw("slots", &slots).end())
}

fn about(status: &str, revocation_bound_ms: Option<u64>) -> ObjectWriter {
    let mut object = ObjectWriter::new();
    object
        .text("status", status)
        .text("version", env!("CARGO_PKG_VERSION"))
        .if_any("revocation_bound_ms", revocation_bound_ms);
    object
}

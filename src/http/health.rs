//! Whether this Worker runs, for load balancers and people. Says nothing that a stranger could use.

use serde::Serialize;
use serde_json::Value;

use super::{problem::Problem, reply::Reply};

/// The answer to `GET healthz`. `revocation_bound_ms` is what this Worker's settings come to, unless they are wrong.
#[must_use]
pub fn health(method: &str, revocation_bound_ms: Option<u64>) -> Reply {
    if method != "GET" && method != "HEAD" {
        return Problem::method_not_allowed("GET, HEAD").reply();
    }
    Reply::json(200, &HealthView { status: "ok", version: VERSION, revocation_bound_ms, slots: None })
}

/// The answer to an operator's `GET healthz?verbose`: the condition of each shard, as it tells it itself.
#[must_use]
pub fn verbose_health(status: &'static str, revocation_bound_ms: u64, slots: Vec<Value>) -> Reply {
    let revocation_bound_ms = Some(revocation_bound_ms);
    Reply::json(200, &HealthView { status, version: VERSION, revocation_bound_ms, slots: Some(slots) })
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Serialize)]
struct HealthView {
    status: &'static str,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_bound_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<Vec<Value>>,
}

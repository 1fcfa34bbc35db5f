//! Whether this Worker runs, for load balancers and people. Says nothing that a stranger could use.

use serde_json::json;

use super::{problem::Problem, reply::Reply};

/// The answer to `GET healthz`.
#[must_use]
pub fn health(method: &str) -> Reply {
    if method != "GET" && method != "HEAD" {
        return Problem::method_not_allowed("GET, HEAD").reply();
    }
    Reply::json(200, &json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

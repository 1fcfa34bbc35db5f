//! The wire: requests and answers as plain data, and how decisions and refusals look from outside.

pub mod admin;
mod endpoint;
mod health;
mod json;
mod parameters;
mod principal;
mod problem;
mod reply;
mod values;

pub use endpoint::Endpoint;
pub use health::health;
pub use json::BODY_BYTES_MAX;
pub use parameters::Parameters;
pub use principal::{identity_headers, is_identity_header, stand_in, verified, whoami};
pub use problem::{Code, Problem};
pub use reply::Reply;

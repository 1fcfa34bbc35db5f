//! The wire: requests and answers as plain data, and how decisions and refusals look from outside.

pub mod admin;
mod demand;
mod endpoint;
mod health;
mod json;
mod openapi;
mod parameters;
mod principal;
mod problem;
mod reply;
mod values;

pub use demand::{demand_of_query, named_workspace};
pub use endpoint::Endpoint;
pub use health::{health, verbose_health};
pub use json::BODY_BYTES_MAX;
pub use openapi::openapi;
pub use parameters::Parameters;
pub use principal::{
    GRACE, identity_headers, is_identity_header, public_stand_in, stand_in, verified, whoami, workspaces,
};
pub use problem::{Code, Problem, WORKSPACE_HEADER};
pub use reply::Reply;
pub use values::{
    FEATURES_MAX, MAX_ACTIVE_KEYS_MAX, NAME_CHARACTERS_MAX, OVERLAP_SECONDS_MAX, OWN_OVERLAP_SECONDS_MIN,
    REFERENCE_BYTES_MAX,
};

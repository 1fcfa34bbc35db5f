//! Sending an allowed request on to the API behind Keygate.

use wasm_bindgen::JsValue;
use web_sys::Request;

use crate::{
    http::{GRACE, identity_headers, is_identity_header},
    policy::Principal,
};

use super::{convert::path_and_query, glue};

/// The request for the upstream: the same method, path, query and body, the headers without the credential and without
/// anything that claims to be ours, and then ours, unless the route is public and nobody is known. A redirect is the caller's to follow.
pub(super) fn request(
    request: &Request,
    upstream: &str,
    principal: Option<&Principal>,
    in_grace: bool,
) -> Result<Request, JsValue> {
    let names = glue::header_names(request);
    let dropped: String = names
        .lines()
        .filter(|name| is_identity_header(name))
        .fold("authorization".into(), |dropped, name| dropped + "\n" + name);
    let mut set = principal.map(identity_headers).unwrap_or_default();
    if in_grace {
        set.push((GRACE.0, GRACE.1.into()));
    }
    let url = request.url();
    let (path, query) = path_and_query(&url);
    let url = if query.is_empty() { format!("{upstream}{path}") } else { format!("{upstream}{path}?{query}") };
    glue::redirected(request, &url, &dropped, &glue::lines(&set)?)
}

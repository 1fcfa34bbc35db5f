//! Sending an allowed request on to the API behind Keygate.

use js_sys::{Array, try_iter};
use wasm_bindgen::JsValue;
use web_sys::{Headers, Request, RequestInit, RequestRedirect};

use crate::{
    http::{GRACE, identity_headers, is_identity_header},
    policy::Principal,
};

use super::convert::path_and_query;

/// The request for the upstream: the same method, path, query and body, the headers without the credential and without
/// anything that claims to be ours, and then ours, unless the route is public and nobody is known. A redirect is the caller's to follow.
pub(super) fn request(
    request: &Request,
    upstream: &str,
    principal: Option<&Principal>,
    in_grace: bool,
) -> Result<Request, JsValue> {
    let headers = Headers::new()?;
    for entry in try_iter(&request.headers())?.into_iter().flatten() {
        let entry = Array::from(&entry?);
        let (Some(name), Some(value)) = (entry.get(0).as_string(), entry.get(1).as_string()) else { continue };
        if !is_identity_header(&name) && !name.eq_ignore_ascii_case("authorization") {
            headers.append(&name, &value)?;
        }
    }
    for (name, value) in principal.map(identity_headers).unwrap_or_default() {
        headers.set(name, &value)?;
    }
    if in_grace {
        headers.set(GRACE.0, GRACE.1)?;
    }
    let init = RequestInit::new();
    init.set_method(&request.method());
    init.set_headers(&headers);
    init.set_redirect(RequestRedirect::Manual);
    if let Some(body) = request.body() {
        init.set_body(&body);
    }
    let url = request.url();
    let (path, query) = path_and_query(&url);
    let url = if query.is_empty() { format!("{upstream}{path}") } else { format!("{upstream}{path}?{query}") };
    Request::new_with_str_and_init(&url, &init)
}

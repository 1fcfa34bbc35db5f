//! Between the runtime's requests and answers and ours.

use std::pin::Pin;

use js_sys::{Promise, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use web_sys::{Request, Response};

use crate::http::{BODY_BYTES_MAX, Reply};

use super::glue;

/// Path and query of an absolute URL, as the runtime normalised it. The query is without `?`.
pub(super) fn path_and_query(url: &str) -> (&str, &str) {
    let after_scheme = url.split_once(':').and_then(|(_, rest)| rest.strip_prefix("//")).unwrap_or(url);
    let from_path = after_scheme.find('/').and_then(|start| after_scheme.get(start..)).unwrap_or("/");
    let without_fragment = from_path.split_once('#').map_or(from_path, |(rest, _)| rest);
    without_fragment.split_once('?').unwrap_or((without_fragment, ""))
}

/// A header of the request; several of one name arrive joined by a comma and a space. A value that is not text counts
/// as one that nobody accepts.
pub(super) fn header(request: &Request, name: &str) -> Option<String> {
    request.headers().get(name).unwrap_or_else(|_| Some("\u{fffd}".into()))
}

/// Our answer as the runtime's. An answer that the runtime refuses to build, which none of ours is, becomes an error
/// that the entry answers with 503.
pub(super) fn response(reply: &Reply) -> Result<Response, JsValue> {
    let body = (!reply.body.is_empty()).then(|| reply.body.as_ref());
    glue::respond(reply.status, &glue::lines(&reply.headers)?, body)
}

/// What the runtime waits for. Boxed: what makes a promise of a future is in the WASM once, not once for each.
pub(super) fn promise(work: impl Future<Output = Result<JsValue, JsValue>> + 'static) -> Promise {
    let boxed: Pin<Box<dyn Future<Output = Result<JsValue, JsValue>>>> = Box::pin(work);
    future_to_promise(boxed)
}

/// Reads the body, up to one chunk more than is ever accepted: enough to see that it is too long.
pub(super) async fn body(request: &Request) -> Result<Vec<u8>, JsValue> {
    let body: Uint8Array = JsFuture::from(glue::body_of(request, BODY_BYTES_MAX as u32)).await?.unchecked_into();
    Ok(body.to_vec())
}

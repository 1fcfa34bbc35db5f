//! What `glue.js` does for Rust.

use std::fmt::Display;

use js_sys::{Array, Promise, Uint8Array};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use web_sys::{Request, Response};

use super::sql::JsSql;

#[wasm_bindgen(module = "/src/cloudflare/glue.js")]
extern "C" {
    /// A `Response` of a status, [`lines`] and a body.
    #[wasm_bindgen(catch)]
    pub(super) fn respond(status: u16, lines: &str, body: Option<&str>) -> Result<Response, JsValue>;
    /// The same without a body. It can be given as often as it is needed.
    #[wasm_bindgen(catch, js_name = bareResponse)]
    pub(super) fn bare_response(status: u16, lines: &str) -> Result<Response, JsValue>;
    /// A body for as many answers as need it.
    #[wasm_bindgen(js_name = sharedBody)]
    pub(super) fn shared_body(text: &str) -> JsValue;
    /// An answer with such a body.
    #[wasm_bindgen(catch, js_name = withBody)]
    pub(super) fn with_body(body: &JsValue, bare: &Response) -> Result<Response, JsValue>;
    /// Resolves after so many milliseconds.
    pub(super) fn pause(ms: u32) -> Promise;
    /// How an object ends waits; the entry has made it.
    #[derive(Clone, Debug)]
    pub type Limit;
    /// Resolves to true when all of the promises have, and to false after so many milliseconds.
    #[wasm_bindgen(js_name = allWithin)]
    pub(super) fn all_within(limit: &Limit, ms: u32, promises: Array) -> Promise;
    /// A body as a `Uint8Array`, up to one chunk more than `most` bytes.
    #[wasm_bindgen(js_name = bodyOf)]
    pub(super) fn body_of(request: &Request, most: u32) -> Promise;
    /// The names of all headers, in lines.
    #[wasm_bindgen(js_name = headerNames)]
    pub(super) fn header_names(request: &Request) -> String;
    /// The request for another URL, without the headers whose names are in the lines `dropped`, and with the [`lines`]
    /// `set`. A redirect is the caller's to follow.
    #[wasm_bindgen(catch)]
    pub(super) fn redirected(request: &Request, url: &str, dropped: &str, set: &str) -> Result<Request, JsValue>;
    /// Asks a Durable Object: resolves to a `Response`. `object`: its name, and behind a space its location hint, if there is
    /// one. `head`: method, a space and the target, and then [`lines`].
    #[wasm_bindgen(catch)]
    pub(super) fn ask(
        namespace: &JsValue,
        object: &str,
        head: &str,
        body: Option<Uint8Array>,
        ms: u32,
    ) -> Result<Promise, JsValue>;
    /// What that brings within so many milliseconds: resolves to a list of status and body, a text.
    #[wasm_bindgen(js_name = textOf)]
    pub(super) fn text_of(asking: Promise, ms: u32) -> Promise;
    /// The answer to a question of which `first` is the first page, with all pages: each is asked for within `ms`
    /// milliseconds, once the one before it was read.
    #[wasm_bindgen(catch, js_name = withNextPages)]
    pub(super) fn with_next_pages(
        namespace: &JsValue,
        object: &str,
        head: &str,
        first: &Response,
        ms: u32,
    ) -> Result<Response, JsValue>;
    /// Puts a value into KV.
    #[wasm_bindgen(catch)]
    pub(super) fn put(
        limit: &Limit,
        namespace: &JsValue,
        name: &str,
        value: &str,
        metadata: &str,
        ms: u32,
    ) -> Result<Promise, JsValue>;
    /// The rows of a statement, lists of values.
    #[wasm_bindgen(catch)]
    pub(super) fn rows(sql: &JsSql, statement: &str, parameters: Array) -> Result<Array, JsValue>;
}

/// Headers in lines, as the functions above take them.
///
/// # Errors
/// A value with a line break in it, which would become a header of its own.
pub(super) fn lines<V: Display>(headers: &[(&'static str, V)]) -> Result<String, JsValue> {
    let mut lines = String::new();
    for (name, value) in headers {
        let value = value.to_string();
        if value.contains('\n') {
            return Err(JsValue::from_str("a header with a line break"));
        }
        for part in [if lines.is_empty() { "" } else { "\n" }, name, ":", &value] {
            lines.push_str(part);
        }
    }
    Ok(lines)
}

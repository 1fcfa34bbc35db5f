//! Answers that were given before.
//!
//! Each header of an answer crosses into JavaScript as two strings, which takes longer than the decision. What was made for
//! one request is therefore kept, with the decision that it says, and serves every later one of the same key that is
//! decided the same.

use std::cell::RefCell;

use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use web_sys::{Headers, Response, ResponseInit};

use crate::{
    credential::Digest,
    http::{Problem, Reply},
    policy::Decision,
};

/// What a key holder asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A verdict about a demand.
    Verdict,
    /// Who am I?
    Whoami,
    /// Where may I use my key?
    Workspaces,
    /// The API, by a rule of the route table.
    Api,
    /// The API, but no rule covers it.
    NoRoute,
}

/// An answer, all in JavaScript, and as often as it is needed.
pub(super) struct Prepared {
    body: JsValue,
    init: ResponseInit,
}

/// An answer that was given, and to what. A decision to allow names the key.
struct Given {
    form: Form,
    in_grace: bool,
    decision: Decision,
    answer: Prepared,
}

/// So many answers are kept, about 1 KB each. Which place one has depends on key and demand; the next one there takes it.
const PLACES: usize = 2_048;

thread_local! {
    static GIVEN: RefCell<Vec<Option<Box<Given>>>> = const { RefCell::new(Vec::new()) };
    static INVALID_TOKEN: RefCell<Option<Prepared>> = const { RefCell::new(None) };
}

#[wasm_bindgen]
extern "C" {
    /// `Response`, made from a text that JavaScript has already.
    #[wasm_bindgen(js_name = Response)]
    type Ready;
    #[wasm_bindgen(constructor, catch, js_class = "Response")]
    fn new(body: &JsValue, init: &ResponseInit) -> Result<Ready, JsValue>;
}

impl Prepared {
    /// Makes an answer ready. One that the runtime refuses, which none of ours is, becomes an error that the entry answers
    /// with 503.
    pub(super) fn new(reply: &Reply) -> Result<Self, JsValue> {
        let headers = Headers::new()?;
        for (name, value) in &reply.headers {
            headers.append(name, value)?;
        }
        let init = ResponseInit::new();
        init.set_status(reply.status);
        init.set_headers(&headers);
        let body = if reply.body.is_empty() { JsValue::NULL } else { JsValue::from_str(&reply.body) };
        Ok(Prepared { body, init })
    }

    /// The answer, once more.
    pub(super) fn response(&self) -> Result<Response, JsValue> {
        Ok(Ready::new(&self.body, &self.init)?.unchecked_into())
    }
}

/// The answer to `decision` about a key, made by `reply` unless the same was answered before.
pub(super) fn answer(
    digest: &Digest,
    form: Form,
    in_grace: bool,
    decision: Decision,
    reply: impl FnOnce(&Decision) -> Reply,
) -> Result<Response, JsValue> {
    GIVEN.with_borrow_mut(|given| {
        if given.is_empty() {
            given.resize_with(PLACES, || None);
        }
        let Some(place) = given.get_mut(place(digest, form, &decision)) else {
            return Prepared::new(&reply(&decision))?.response();
        };
        if let Some(given) = place
            && given.form == form
            && given.in_grace == in_grace
            && given.decision == decision
        {
            return given.answer.response();
        }
        let answer = Prepared::new(&reply(&decision))?;
        let response = answer.response();
        *place = Some(Box::new(Given { form, in_grace, decision, answer }));
        response
    })
}

/// The one answer to every forged key.
pub(super) fn invalid_token() -> Result<Response, JsValue> {
    INVALID_TOKEN.with_borrow_mut(|answer| {
        if answer.is_none() {
            *answer = Some(Prepared::new(&Problem::invalid_token().reply())?);
        }
        answer.as_ref().map_or(Err(JsValue::UNDEFINED), Prepared::response)
    })
}

/// One key's answers to different demands have different places.
fn place(digest: &Digest, form: Form, decision: &Decision) -> usize {
    let [a, b, ..] = *digest.as_bytes();
    let used = match decision {
        Decision::Allow(principal) => principal.scopes_used.trailing_zeros(),
        Decision::Deny(_) => 0,
    };
    (usize::from(a) << 8 | usize::from(b)).wrapping_add((form as usize) << 8).wrapping_add(used as usize) % PLACES
}

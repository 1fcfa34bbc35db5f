//! Answers that were given before.
//!
//! Each header of an answer crosses into JavaScript, which takes longer than the decision. An answer is therefore kept, with
//! the decision that it says, and serves every later request of the same key that is decided the same. Not the first one:
//! what is kept is dearer to make and for V8 to look after, and of many keys an isolate sees one request.

use std::cell::RefCell;

use wasm_bindgen::JsValue;
use web_sys::Response;

use crate::{
    credential::Digest,
    http::{Problem, Reply},
    policy::Decision,
};

use super::{convert, glue};

/// What a key holder asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A verdict about a demand.
    Verdict,
    /// Who am I?
    Whoami,
    /// Where may I use my key?
    Workspaces,
    /// A successor for it; never answered here.
    Rotate,
    /// The API, by a rule of the route table.
    Api,
    /// The API, but no rule covers it.
    NoRoute,
}

/// An answer, all in JavaScript, and as often as it is needed.
struct Prepared {
    /// The answer without its body.
    bare: Response,
    /// None: `bare` is all of it, and serves every time.
    body: Option<JsValue>,
}

/// An answer that was given, and to what. A decision to allow names the key.
struct Given {
    form: Form,
    in_grace: bool,
    decision: Decision,
    /// None: so far it was given once.
    answer: Option<Prepared>,
}

/// So many answers are kept, about 1 KB each, in pairs. Which pair one belongs to depends on key and demand; a third one
/// takes the place of the one before the last.
const PLACES: usize = 2_048;

thread_local! {
    static GIVEN: RefCell<Vec<Option<Box<Given>>>> = const { RefCell::new(Vec::new()) };
    static INVALID_TOKEN: RefCell<Option<Prepared>> = const { RefCell::new(None) };
}

impl Prepared {
    /// Makes an answer ready. One that the runtime refuses, which none of ours is, becomes an error that the entry answers
    /// with 503.
    fn new(reply: &Reply) -> Result<Self, JsValue> {
        let bare = glue::bare_response(reply.status, &glue::lines(&reply.headers)?)?;
        Ok(Prepared { bare, body: (!reply.body.is_empty()).then(|| glue::shared_body(&reply.body)) })
    }

    /// The answer.
    fn response(&self) -> Result<Response, JsValue> {
        match &self.body {
            None => Ok(Clone::clone(&self.bare)),
            Some(body) => glue::with_body(body, &self.bare),
        }
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
        let first = place(digest, form, &decision);
        let same = |given: &Given| given.form == form && given.in_grace == in_grace && given.decision == decision;
        let kept = [first, first ^ 1]
            .into_iter()
            .find(|at| given.get(*at).is_some_and(|given| given.as_deref().is_some_and(same)));
        if let Some(Given { answer, .. }) = kept.and_then(|at| given.get_mut(at)?.as_deref_mut()) {
            let answer = match answer {
                Some(answer) => answer,
                None => answer.insert(Prepared::new(&reply(&decision))?),
            };
            return answer.response();
        }
        let response = convert::response(&reply(&decision))?;
        if given.get(first).is_some_and(Option::is_some) {
            given.swap(first, first ^ 1);
        }
        if let Some(place) = given.get_mut(first) {
            *place = Some(Box::new(Given { form, in_grace, decision, answer: None }));
        }
        Ok(response)
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

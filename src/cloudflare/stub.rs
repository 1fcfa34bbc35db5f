//! Asking the Authority.

use std::pin::Pin;

use js_sys::{Array, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

use crate::{authority::sync::SyncRequest, edge::Call};

use super::{
    config::{AUTHORITY_BINDING, Slot},
    convert::path_and_query,
    env::Env,
    glue,
    time::now,
};

/// How long an answer to administrators may take, in milliseconds. Creating an object far away takes about a second; the
/// entry gives up at five.
const DEADLINE_MS: u32 = 4_000;

/// The header that says who, in the caller's own product, orders something.
pub(super) const ACTOR: &str = "x-keygate-actor";

/// The header that says whose request it is, between Worker and Authority. The Worker writes every header of a question
/// itself, so what a caller sends by this name goes nowhere.
pub(super) const CALLER: &str = "x-keygate-caller";

/// The header by which a caller can repeat a command.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The header that says that an account of another shard has the external id in the body.
pub(super) const TAKEN_ELSEWHERE: &str = "x-keygate-taken-elsewhere";

/// The header by which the Authority has an answer wait: for so many milliseconds.
pub(super) const WAIT: &str = "x-keygate-wait-ms";

/// The header that tells a repeated call from a new one, between Worker and Authority.
pub(super) const COMMAND_ID: &str = "x-keygate-command-id";

/// The Authority did not answer, or not in words that are understood. Says what happened, for the log.
#[derive(Debug)]
pub(super) struct Unreachable(pub(super) String);

/// A request of the Authority's protocol, which is HTTP: `POST /sync` for the edge, and the admin API under `/admin/`,
/// with the paths and bodies that administrators send.
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<&'a [u8]>,
}

impl Question<'_> {
    /// A header of the question.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }
}

/// What the Authority said.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) response: Response,
}

impl Answer {
    /// The body.
    pub(super) async fn text(&self) -> Result<String, Unreachable> {
        let text = JsFuture::from(self.response.text().map_err(thrown)?).await.map_err(thrown)?;
        text.as_string().ok_or_else(|| Unreachable("the answer is not text".into()))
    }
}

/// Makes a sync and gives the text of its answer. Counts of uses and refusals are sent once: a second try tells when, and no count.
pub(super) async fn sync(env: &Env, slot: &Slot, call: &Call) -> Result<String, Unreachable> {
    // One limit for all of it, also for an answer that stops in the middle.
    let until = now().saturating_add_millis(call.deadline_ms);
    let answered = match sync_once(env, slot, &call.request, call.deadline_ms).await {
        Err(failure) if may_repeat(&failure) => {
            let mut again = SyncRequest { graced: 0, counted: Vec::new(), ..call.request.clone() };
            again.uses.iter_mut().for_each(|used| used.count = 0);
            sync_once(env, slot, &again, until.saturating_millis_since(now())).await
        }
        outcome => outcome,
    };
    let answer: Array = answered.map_err(thrown)?.unchecked_into();
    let text = answer.get(1).as_string().ok_or_else(|| Unreachable("the answer is not text".into()))?;
    if answer.get(0) == 200 { Ok(text) } else { Err(Unreachable(text)) }
}

async fn sync_once(env: &Env, slot: &Slot, request: &SyncRequest, limit_ms: u64) -> Result<JsValue, JsValue> {
    let body = Uint8Array::from(request.text().as_bytes());
    let limit_ms = u32::try_from(limit_ms).unwrap_or(DEADLINE_MS);
    let head = format!("POST {SYNC}");
    let asking = glue::ask(&namespace(env)?, &object(slot), &head, Some(body), limit_ms)?;
    JsFuture::from(glue::text_of(asking, limit_ms)).await
}

/// Asks the Authority of a slot, and once more when the object was only being moved or replaced. Nothing is done twice by
/// that: questions change nothing, and a command has an id.
pub(super) fn ask<'a>(env: &'a Env, slot: &'a Slot, question: &'a Question<'_>) -> Asking<'a, Unreachable> {
    Box::pin(async move {
        match ask_once(env, slot, question).await {
            Err(failure) if may_repeat(&failure) => ask_once(env, slot, question).await.map_err(thrown),
            outcome => outcome.map_err(thrown),
        }
    })
}

/// Boxed, for it is asked in many places, and would be compiled into each.
type Asking<'a, E> = Pin<Box<dyn Future<Output = Result<Answer, E>> + 'a>>;

fn ask_once<'a>(env: &'a Env, slot: &'a Slot, question: &'a Question<'_>) -> Asking<'a, JsValue> {
    Box::pin(async move {
        let head = head(question)?;
        let body = question.body.filter(|body| !body.is_empty()).map(Uint8Array::from);
        let asking = glue::ask(&namespace(env)?, &object(slot), &head, body, DEADLINE_MS)?;
        let response: Response = JsFuture::from(asking).await?.unchecked_into();
        #[cfg(feature = "trap")]
        super::trap::lose_answer(question)?;
        Ok(Answer { status: response.status(), response })
    })
}

fn head(question: &Question<'_>) -> Result<String, JsValue> {
    let mut head = format!("{} {}", question.method, question.target);
    for line in [glue::lines(&question.headers)?].iter().filter(|lines| !lines.is_empty()) {
        head.push('\n');
        head.push_str(line);
    }
    Ok(head)
}

/// The answer that `first`, the first page of an export, begins. The others are asked for while it is read, which may take
/// minutes: no part of the WASM instance waits for that.
pub(super) fn with_next_pages(
    env: &Env,
    slot: &Slot,
    question: &Question<'_>,
    first: &Response,
) -> Result<Response, JsValue> {
    glue::with_next_pages(&namespace(env)?, &object(slot), &head(question)?, first, DEADLINE_MS)
}

/// The object was only being moved or replaced. An overloaded one is left alone.
fn may_repeat(failure: &JsValue) -> bool {
    flag(failure, "retryable") && !flag(failure, "overloaded")
}

/// A mark that the runtime puts on the exception of a Durable Object's stub (Durable Objects, error handling).
fn flag(failure: &JsValue, name: &str) -> bool {
    Reflect::get(failure, &name.into()).is_ok_and(|value| value.is_truthy())
}

/// What an object is asked, as it sees it.
pub(super) enum Asked<'a> {
    /// `GET /condition`.
    Condition,
    /// `POST /sync`.
    Sync,
    /// Path and query behind `/admin/`.
    Admin(&'a str, &'a str),
}

/// Reads the URL of a question.
pub(super) fn asked(url: &str) -> Option<Asked<'_>> {
    let (path, query) = path_and_query(url);
    if path == SYNC {
        return Some(Asked::Sync);
    }
    if path == CONDITION {
        return Some(Asked::Condition);
    }
    path.strip_prefix(ADMIN).map(|path| Asked::Admin(path, query))
}

/// Path and query of an admin question.
pub(super) fn admin_target(path: &str, query: &str) -> String {
    if query.is_empty() { format!("{ADMIN}{path}") } else { format!("{ADMIN}{path}?{query}") }
}

/// The slot behind an object's name.
pub(super) fn slot_of(object_name: &str) -> Option<u8> {
    object_name.strip_prefix("slot-")?.parse().ok()
}

/// How the shard is.
pub(super) const CONDITION: &str = "/condition";

const SYNC: &str = "/sync";
const ADMIN: &str = "/admin/";

/// The name of a slot's object, and where it is to be. The name is its identity: changing it would be losing the data.
fn object(slot: &Slot) -> String {
    match &slot.location {
        Some(location) => format!("slot-{} {location}", slot.number),
        None => format!("slot-{}", slot.number),
    }
}

fn namespace(env: &Env) -> Result<JsValue, JsValue> {
    Reflect::get(env.as_ref(), &AUTHORITY_BINDING.into())
}

fn thrown(error: JsValue) -> Unreachable {
    let message = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    Unreachable(message.or_else(|| error.as_string()).unwrap_or_else(|| "an exception without a message".into()))
}

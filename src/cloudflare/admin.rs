//! The admin API at the edge: who may, and which shard answers. What a request says is the shard's to understand.

use std::rc::Rc;

use js_sys::Array;
use wasm_bindgen::JsValue;
use web_sys::{Request, Response};

use crate::{
    credential::Bearer,
    http::{
        Problem,
        admin::{self, Place, ShardPage},
    },
};

use super::{
    config::{Config, ConfigFault, Slot},
    convert,
    env::Env,
    log::log,
    stub::{self, ACTOR, Answer, COMMAND_ID, IDEMPOTENCY_KEY, Question, TAKEN_ELSEWHERE},
};

/// Answers a request under `admin/v1/`. Nothing of it is looked at before the credential is.
pub(super) fn answer(
    request: &Request,
    env: &Env,
    config: Rc<Result<Config, ConfigFault>>,
    settings: &Config,
    path: &str,
    query: &str,
) -> Result<JsValue, JsValue> {
    if let Some(problem) = refused(request, settings) {
        return Ok(convert::response(&problem.reply())?.into());
    }
    let (request, env, path, query) =
        (<Request as Clone>::clone(request), env.clone(), path.to_owned(), query.to_owned());
    Ok(convert::promise(async move {
        let Ok(settings) = config.as_ref() else { return Err(JsValue::UNDEFINED) };
        #[cfg(feature = "trap")]
        super::trap::in_async(&request).await;
        match serve(&request, &env, settings, &path, &query).await {
            Ok(response) => delayed(response),
            Err(problem) => Ok(convert::response(&problem.reply())?.into()),
        }
    })
    .into())
}

/// What the entry makes of an answer that has to wait until a change counts everywhere.
fn delayed(response: Response) -> Result<JsValue, JsValue> {
    match response.headers().get(stub::WAIT)?.and_then(|millis| millis.parse::<u32>().ok()) {
        None => Ok(response.into()),
        Some(millis) => Ok(Array::of2(&response, &millis.into()).into()),
    }
}

/// The refusal of a request that does not bring the root token.
pub(super) fn refused(request: &Request, settings: &Config) -> Option<Problem> {
    let authorization = convert::header(request, "authorization");
    match Bearer::parse(authorization.as_deref()) {
        Bearer::Missing => Some(Problem::missing_credential()),
        Bearer::Malformed(fault) => Some(Problem::malformed_credential(fault)),
        Bearer::Token(token) => (!settings.root.matches(token)).then(Problem::invalid_token),
    }
}

async fn serve(request: &Request, env: &Env, settings: &Config, path: &str, query: &str) -> Result<Response, Problem> {
    let method = request.method();
    let place = Place::of(&method, path, query)?;
    let body = convert::body(request).await.map_err(|_| Problem::field("body", "The body could not be read."))?;
    let actor = convert::header(request, ACTOR);
    #[cfg(feature = "trap")]
    let actor = super::trap::actor(request).or(actor);
    let passed_on = ["content-type", IDEMPOTENCY_KEY, "if-match"].map(|name| (name, convert::header(request, name)));
    let own = [(ACTOR, actor), (COMMAND_ID, Some(hex::encode(random::<16>()?)))];
    let headers = passed_on.into_iter().chain(own);
    let mut question = Question {
        method: &method,
        target: stub::admin_target(path, query),
        headers: headers.filter_map(|(name, value)| value.map(|value| (name, value))).collect(),
        // A question has no body; the runtime would refuse to send one.
        body: Some(body.as_slice()).filter(|_| method != "GET" && method != "HEAD"),
    };
    let external_id = (settings.slots.count() > 1).then(|| admin::external_id_in(&method, path, &body)).flatten();
    let slot = match place {
        Place::All(first) => return from_slot_to_slot(env, settings, first, question, path, query).await,
        Place::Slot(number) => settings.slots.get(number),
        // The same Idempotency-Key always meets the shard of its first answer; the same external id, whoever else uses it
        // at that moment.
        Place::NewAccount => match question.header(IDEMPOTENCY_KEY).or(external_id.as_deref()) {
            Some(fixed) => settings.slots.pick(admin::spread(fixed)),
            None => {
                let [random] = random()?;
                settings.slots.pick(random)
            }
        },
    };
    let slot = slot.ok_or_else(Problem::not_found)?;
    if let Some(external_id) = &external_id
        && taken_elsewhere(env, settings, slot, external_id).await?
    {
        // The shard refuses it in its turn, after what comes first: a repeated command, a wrong body, a stale version.
        question.headers.push((TAKEN_ELSEWHERE, "1".into()));
    }
    Ok(ask(env, slot, &question).await?.response)
}

/// An external id is unique in its shard by an index, and over all shards by asking the others first.
async fn taken_elsewhere(env: &Env, settings: &Config, own: &Slot, external_id: &str) -> Result<bool, Problem> {
    for slot in settings.slots.from(None).iter().filter(|slot| slot.number != own.number) {
        let target = stub::admin_target("accounts", &admin::query_for_external_id(external_id));
        let headers = vec![(COMMAND_ID, hex::encode(random::<16>()?))];
        let answer = ask(env, slot, &Question { method: "GET", target, headers, body: None }).await?;
        let page = answer.text().await.ok().and_then(ShardPage::parse).ok_or_else(Problem::indeterminate)?;
        if !page.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Problem::indeterminate())?;
    Ok(bytes)
}

/// Lists accounts slot by slot. A page holds accounts of one slot; empty slots are passed over.
async fn from_slot_to_slot(
    env: &Env,
    settings: &Config,
    first: Option<u8>,
    mut question: Question<'_>,
    path: &str,
    query: &str,
) -> Result<Response, Problem> {
    let mut slots = settings.slots.from(first).iter().peekable();
    while let Some(slot) = slots.next() {
        let answer = ask(env, slot, &question).await?;
        let next_slot = slots.peek().map(|slot| slot.number);
        if answer.status != 200 || next_slot.is_none() {
            return Ok(answer.response);
        }
        let page = answer.text().await.ok().and_then(ShardPage::parse).ok_or_else(Problem::indeterminate)?;
        if !page.is_empty() {
            let next_slot = next_slot.filter(|_| !admin::asks_for_one(query));
            return convert::response(&page.reply(next_slot)).map_err(|_| Problem::indeterminate());
        }
        if let Some(next) = next_slot {
            question.target = stub::admin_target(path, &admin::query_for_slot(query, next));
        }
    }
    Err(admin::wrong_cursor())
}

async fn ask(env: &Env, slot: &Slot, question: &Question<'_>) -> Result<Answer, Problem> {
    stub::ask(env, slot, question).await.map_err(|error| {
        log(&format!("authority: {}", error.0));
        Problem::indeterminate()
    })
}

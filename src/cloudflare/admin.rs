//! The admin API at the edge: who may, and which shard answers. What a request says is the shard's to understand.

use std::rc::Rc;

use wasm_bindgen::JsValue;
use wasm_bindgen_futures::future_to_promise;
use web_sys::{Request, Response};
use worker::{Env, console_error};

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
    stub::{self, ACTOR, Answer, Question},
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
    let authorization = convert::header(request, "authorization");
    let refused = match Bearer::parse(authorization.as_deref()) {
        Bearer::Missing => Some(Problem::missing_credential()),
        Bearer::Malformed(fault) => Some(Problem::malformed_credential(fault)),
        Bearer::Token(token) => (!settings.root.matches(token)).then(Problem::invalid_token),
    };
    if let Some(problem) = refused {
        return Ok(convert::response(&problem.reply())?.into());
    }
    let (request, env, path, query) =
        (<Request as Clone>::clone(request), env.clone(), path.to_owned(), query.to_owned());
    Ok(future_to_promise(async move {
        let Ok(settings) = config.as_ref() else { return Err(JsValue::UNDEFINED) };
        #[cfg(feature = "trap")]
        super::trap::in_async(&request).await;
        match serve(&request, &env, settings, &path, &query).await {
            Ok(response) => Ok(response.into()),
            Err(problem) => Ok(convert::response(&problem.reply())?.into()),
        }
    })
    .into())
}

async fn serve(request: &Request, env: &Env, settings: &Config, path: &str, query: &str) -> Result<Response, Problem> {
    let method = request.method();
    let place = Place::of(&method, path, query)?;
    let body = convert::body(request).await.map_err(|_| Problem::field("body", "The body could not be read."))?;
    let actor = convert::header(request, ACTOR);
    #[cfg(feature = "trap")]
    let actor = super::trap::actor(request).or(actor);
    let headers = [("content-type", convert::header(request, "content-type")), (ACTOR, actor)];
    let question = Question {
        method: &method,
        target: stub::admin_target(path, query),
        headers: headers.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect(),
        body: Some(&body),
    };
    let slot = match place {
        Place::All(first) => return from_slot_to_slot(env, settings, first, question, path, query).await,
        Place::Slot(number) => settings.slots.get(number),
        Place::NewAccount => {
            let mut random = [0; 1];
            getrandom::fill(&mut random).map_err(|_| Problem::indeterminate())?;
            let [random] = random;
            settings.slots.pick(random)
        }
    };
    let slot = slot.ok_or_else(Problem::not_found)?;
    Ok(ask(env, slot, &question).await?.response)
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
        let page = answer.text().await.ok().as_deref().and_then(ShardPage::parse).ok_or_else(Problem::indeterminate)?;
        if !page.is_empty() {
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
        console_error!("authority: {}", error.0);
        Problem::indeterminate()
    })
}

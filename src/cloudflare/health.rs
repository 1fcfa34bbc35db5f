//! `healthz`: for anyone, whether this Worker runs; for operators, how each shard is.

use wasm_bindgen::JsValue;
use web_sys::Request;

use crate::{
    authority::lease::Terms,
    http::{self, Parameters, Reply},
    json::{Json, ObjectWriter},
};

use super::{
    admin,
    config::{self, Config, Slot, config},
    convert,
    env::Env,
    stub::{self, Question},
};

/// Answers `healthz`, and `healthz?verbose` to the root token.
pub(super) fn answer(request: &Request, env: &Env, query: &str) -> Result<JsValue, JsValue> {
    let reply = |reply: &Reply| Ok(convert::response(reply)?.into());
    let mut parameters = Parameters::parse(query);
    let verbose = match parameters.once("verbose").and_then(|verbose| parameters.finish(&["verbose"]).map(|()| verbose))
    {
        Ok(verbose) => verbose.is_some(),
        Err(problem) => return reply(&problem.reply()),
    };
    let bound_ms = config::terms(env).ok().map(Terms::bound_ms);
    let brief = http::health(&request.method(), bound_ms);
    if !verbose || brief.status != 200 {
        return reply(&brief);
    }
    let config = config(env);
    match config.as_ref() {
        Err(fault) => return reply(&fault.problem().reply()),
        Ok(settings) => {
            if let Some(problem) = admin::refused(request, settings) {
                return reply(&problem.reply());
            }
        }
    }
    let env = env.clone();
    Ok(convert::promise(async move {
        let Ok(settings) = config.as_ref() else { return Err(JsValue::UNDEFINED) };
        Ok(convert::response(&verbose_reply(&env, settings).await)?.into())
    })
    .into())
}

async fn verbose_reply(env: &Env, settings: &Config) -> Reply {
    let mut slots = Vec::new();
    let mut status = "ok";
    for slot in settings.slots.from(None) {
        slots.push(condition(env, slot).await.unwrap_or_else(|| {
            status = "degraded";
            ObjectWriter::new().number("slot", slot.number.into()).text("status", "unreachable").end()
        }));
    }
    http::verbose_health(status, settings.terms.bound_ms(), slots)
}

async fn condition(env: &Env, slot: &Slot) -> Option<String> {
    let question = Question { method: "GET", target: stub::CONDITION.into(), headers: Vec::new(), body: None };
    let answer = stub::ask(env, slot, &question).await.ok()?;
    if answer.status != 200 {
        return None;
    }
    answer.text().await.ok().filter(|text| Json::parse(text).is_ok())
}

//! The admin API at the edge: who may, and which shard answers. What a request says is the shard's to understand.

use std::rc::Rc;

use js_sys::{Array, Promise};
use wasm_bindgen::JsValue;
use web_sys::{Request, Response};

use crate::{
    authority::admins::Caller,
    credential::{Bearer, Environment, KeyId, PresentedKey, RecognisedKey},
    http::{
        Problem,
        admin::{self, OfEverySlot, Place, ShardPage},
    },
};

use super::{
    config::{Config, ConfigFault, Slot, config},
    convert,
    env::Env,
    log::log,
    stub::{self, ACTOR, Answer, CALLER, COMMAND_ID, IDEMPOTENCY_KEY, Question, TAKEN_ELSEWHERE},
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
    let by = match presented(request, settings) {
        Ok(by) => by,
        Err(problem) => return Ok(convert::response(&problem.reply())?.into()),
    };
    let (request, env, path, query) =
        (<Request as Clone>::clone(request), env.clone(), path.to_owned(), query.to_owned());
    Ok(convert::promise(async move {
        let Ok(settings) = config.as_ref() else { return Err(JsValue::UNDEFINED) };
        #[cfg(feature = "trap")]
        super::trap::in_async(&request).await;
        match serve(&request, &env, settings, by, &path, &query).await {
            Ok(response) => delayed(response),
            Err(problem) => Ok(convert::response(&problem.reply())?.into()),
        }
    })
    .into())
}

/// Has the Authority issue a successor for the key of a request, which was allowed to bring it.
pub(super) fn rotate_own(request: &Request, env: &Env, key: &RecognisedKey) -> Promise {
    let (request, env) = (<Request as Clone>::clone(request), env.clone());
    let (caller, account) = (Caller::Holder(key.digest), key.account);
    let target = stub::admin_target(&format!("accounts/{account}/keys/{}/rotate", KeyId::of(&key.digest)), "");
    convert::promise(async move {
        let config = config(&env);
        let Ok(settings) = config.as_ref() else { return Err(JsValue::UNDEFINED) };
        let answered = async {
            let slot = settings.slots.get(account.slot).ok_or_else(Problem::indeterminate)?;
            let mut headers = headers(&request, caller, &["content-type", IDEMPOTENCY_KEY])?;
            // What it is now: the caller may not read it.
            headers.push(("if-match", "*".into()));
            let body = convert::body(&request).await.map_err(|_| Problem::field("body", UNREADABLE))?;
            ask(&env, slot, &Question { method: "POST", target, headers, body: Some(&body) }).await
        };
        match answered.await {
            Ok(answer) => Ok(answer.response.into()),
            Err(problem) => Ok(convert::response(&problem.reply())?.into()),
        }
    })
}

/// The headers of a question: those of the request that are named, and our own.
fn headers(
    request: &Request,
    caller: Caller,
    passed_on: &[&'static str],
) -> Result<Vec<(&'static str, String)>, Problem> {
    let mut headers = vec![(CALLER, caller.text()), (COMMAND_ID, hex::encode(random::<16>()?))];
    headers.extend(passed_on.iter().filter_map(|name| convert::header(request, name).map(|value| (*name, value))));
    Ok(headers)
}

const UNREADABLE: &str = "The body could not be read.";

/// What the entry makes of an answer that has to wait until a change counts everywhere.
fn delayed(response: Response) -> Result<JsValue, JsValue> {
    match response.headers().get(stub::WAIT)?.and_then(|millis| millis.parse::<u32>().ok()) {
        None => Ok(response.into()),
        Some(millis) => Ok(Array::of2(&response, &millis.into()).into()),
    }
}

/// Who administers, as far as it can be told here.
#[derive(Clone, Copy)]
enum By {
    /// The operator.
    Root,
    /// The holder of an admin credential that was minted here. Whether it still counts is for the shard of its account to
    /// say.
    Credential { caller: Caller, slot: u8 },
}

/// The refusal of a request that does not bring the root token.
pub(super) fn refused(request: &Request, settings: &Config) -> Option<Problem> {
    match presented(request, settings) {
        Ok(By::Root) => None,
        Ok(By::Credential { .. }) => Some(Problem::invalid_token()),
        Err(problem) => Some(problem),
    }
}

/// Looks at the credential, without any I/O.
fn presented(request: &Request, settings: &Config) -> Result<By, Problem> {
    let authorization = convert::header(request, "authorization");
    let token = match Bearer::parse(authorization.as_deref()) {
        Bearer::Missing => return Err(Problem::missing_credential()),
        Bearer::Malformed(fault) => return Err(Problem::malformed_credential(fault)),
        Bearer::Token(token) => token,
    };
    if settings.root.matches(token) {
        return Ok(By::Root);
    }
    let recognised = PresentedKey::parse(token).ok().and_then(|key| settings.peppers.recognise(&key));
    match recognised.filter(|key| key.environment == Environment::Admin) {
        Some(key) => Ok(By::Credential { caller: Caller::Credential(key.digest), slot: key.account.slot }),
        None => Err(Problem::invalid_token()),
    }
}

async fn serve(
    request: &Request,
    env: &Env,
    settings: &Config,
    by: By,
    path: &str,
    query: &str,
) -> Result<Response, Problem> {
    let method = request.method();
    let (caller, place) = match by {
        By::Root => (Caller::Root, Place::of(&method, path, query)?),
        // Whatever it asks for: its own shard says first whether it still counts.
        By::Credential { caller, slot } => (caller, Place::Slot(slot)),
    };
    let body = convert::body(request).await.map_err(|_| Problem::field("body", UNREADABLE))?;
    let actor = convert::header(request, ACTOR);
    #[cfg(feature = "trap")]
    let actor = super::trap::actor(request).or(actor);
    let mut headers = headers(request, caller, &["content-type", IDEMPOTENCY_KEY, "if-match"])?;
    headers.extend(actor.map(|actor| (ACTOR, actor)));
    let mut question = Question {
        method: &method,
        target: stub::admin_target(path, query),
        headers,
        // A question has no body; the runtime would refuse to send one.
        body: Some(body.as_slice()).filter(|_| method != "GET" && method != "HEAD"),
    };
    // Credentials may not set one.
    let may_be_taken = caller == Caller::Root && settings.slots.count() > 1;
    let external_id = may_be_taken.then(|| admin::external_id_in(&method, path, &body)).flatten();
    let by_external_id = match &place {
        Place::ExternalId(id) if may_be_taken => Some(id.clone()),
        _ => None,
    };
    let slot = match place {
        Place::Everywhere => return everywhere(env, settings, &question).await,
        Place::All(first) => return from_slot_to_slot(env, settings, first, question, path, query).await,
        Place::Slot(number) => settings.slots.get(number),
        // That of a new one is the same for whoever asks at that moment.
        Place::ExternalId(ref id) => settings.slots.pick(admin::spread(id)),
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
    let slot = match by {
        By::Root => slot.ok_or_else(Problem::not_found)?,
        // A slot that is not configured holds nothing we could ask.
        By::Credential { .. } => slot.ok_or_else(Problem::indeterminate)?,
    };
    let slot = match &by_external_id {
        Some(id) => holder(env, settings, slot, id).await?.unwrap_or(slot),
        None => slot,
    };
    if let Some(external_id) = &external_id
        && holder(env, settings, slot, external_id).await?.is_some()
    {
        // The shard refuses it in its turn, after what comes first: a repeated command, a wrong body, a stale version.
        question.headers.push((TAKEN_ELSEWHERE, "1".into()));
    }
    let response = ask(env, slot, &question).await?.response;
    match response.headers().get(admin::NEXT) {
        Ok(None) => Ok(response),
        _ => stub::with_next_pages(env, slot, &question, &response).map_err(|_| Problem::indeterminate()),
    }
}

/// The other slot that has the account with this external id. It is unique in its shard by an index, and over all shards
/// by asking the others first.
async fn holder<'s>(
    env: &Env,
    settings: &'s Config,
    own: &Slot,
    external_id: &str,
) -> Result<Option<&'s Slot>, Problem> {
    for slot in settings.slots.from(None).iter().filter(|slot| slot.number != own.number) {
        let target = stub::admin_target("accounts", &admin::query_for_external_id(external_id));
        let headers = vec![(CALLER, Caller::Root.text()), (COMMAND_ID, hex::encode(random::<16>()?))];
        let answer = ask(env, slot, &Question { method: "GET", target, headers, body: None }).await?;
        let page = answer.text().await.ok().and_then(ShardPage::parse).ok_or_else(Problem::indeterminate)?;
        if !page.is_empty() {
            return Ok(Some(slot));
        }
    }
    Ok(None)
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

/// Asks or orders the same in every slot, and makes one answer of theirs. What the first of them refuses is refused. A
/// change that does not come to all of them is to be repeated.
async fn everywhere(env: &Env, settings: &Config, question: &Question<'_>) -> Result<Response, Problem> {
    let changes = question.method != "GET";
    let failed = |problem| if changes { admin::not_everywhere() } else { problem };
    let mut all = OfEverySlot::default();
    let mut wait_ms = 0;
    for slot in settings.slots.from(None) {
        let answer = ask(env, slot, question).await.map_err(failed)?;
        if answer.status >= 500 {
            return Err(failed(Problem::indeterminate()));
        }
        if answer.status != 200 {
            return Ok(answer.response);
        }
        // Counted from that slot's answer on: somewhat longer than it must.
        let wait = answer.response.headers().get(stub::WAIT).ok().flatten();
        wait_ms = wait.and_then(|millis| millis.parse::<u64>().ok()).unwrap_or(0).max(wait_ms);
        let body = answer.text().await.unwrap_or_default();
        if !all.take(&body) {
            return Err(failed(Problem::indeterminate()));
        }
    }
    let reply = all.reply();
    let reply = if wait_ms > 0 { reply.with(stub::WAIT, wait_ms.to_string()) } else { reply };
    convert::response(&reply).map_err(|_| Problem::indeterminate())
}

async fn ask(env: &Env, slot: &Slot, question: &Question<'_>) -> Result<Answer, Problem> {
    stub::ask(env, slot, question).await.map_err(|error| {
        log(&format!("authority: {}", error.0));
        Problem::indeterminate()
    })
}

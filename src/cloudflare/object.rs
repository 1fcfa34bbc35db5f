//! The Durable Object: one shard's Authority, woken by requests and by its alarm.
//!
//! A command is committed in one turn, together with the alarm that will empty the outbox should everything after it
//! fail. Only then are KV puts begun; the answer waits for them a little, to be able to say that KV has the change.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use js_sys::{Array, Promise};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::{JsFuture, future_to_promise, spawn_local};
use worker::{DurableObject, Env, Request, Response, State, console_error, durable_object};

use crate::{
    authority::{
        command::{self, Circumstances, Failure, Nonce, Order},
        copy::SigningKeys,
        outbox::{self, Courier},
        query::{self, Want},
        schema,
        sql::SqlError,
    },
    credential::Peppers,
    http::{
        Problem, Reply,
        admin::{self, AdminRequest, Facts},
    },
    policy::UnixMillis,
};

use super::{
    config::config,
    convert, mirror,
    sql::Storage,
    stub::{self, Asked, slot_of},
    time::{now, within},
};

/// How much of a command's answer may be spent on waiting for KV.
const MIRROR_WAIT: Duration = Duration::from_millis(300);

/// How long an alarm waits for the puts of one round. A slower put goes on, and its row waits for it.
const ALARM_WAIT: Duration = Duration::from_secs(10);

/// After this long an alarm that should have rung is taken for lost: alarms stop for good after six failures.
const ALARM_LOST_MS: u64 = 5_000;

/// Rounds of one alarm; with six puts each, a backlog of 10⁵ rows takes about 2,800 alarms.
const ROUNDS_PER_ALARM: u32 = 6;

/// One shard.
#[durable_object(alarm)]
pub struct Authority {
    state: State,
    env: Env,
    shard: RefCell<Option<Rc<Shard>>>,
}

impl DurableObject for Authority {
    fn new(state: State, env: Env) -> Self {
        Authority { state, env, shard: RefCell::new(None) }
    }

    async fn fetch(&self, request: Request) -> worker::Result<Response> {
        let reply = match self.reply(request.inner()).await {
            Ok(reply) => reply,
            Err(error) => {
                // The caller learns that there was trouble, and the log which.
                console_error!("authority: {error}");
                Problem::indeterminate().reply()
            }
        };
        Ok(convert::response(&reply).map_err(worker::Error::from)?.into())
    }

    async fn alarm(&self) -> worker::Result<Response> {
        let shard = self.shard().map_err(failed)?;
        shard.alarm_at.set(None);
        // First of all the next one, so that no failure of this one is the end.
        shard.arm(now().saturating_add_millis(ALARM_LOST_MS)).map_err(failed)?;
        for _ in 0..ROUNDS_PER_ALARM {
            if !self.deliver(&shard, ALARM_WAIT).await.map_err(failed)? {
                break;
            }
        }
        shard.alarm_at.set(None);
        shard.ensure_alarm().map_err(failed)?;
        Response::empty()
    }
}

impl Authority {
    /// Opens the database at the first event that needs it.
    fn shard(&self) -> Result<Rc<Shard>, SqlError> {
        if let Some(shard) = self.shard.borrow().as_ref() {
            return Ok(shard.clone());
        }
        let shard = Rc::new(Shard::open(&self.state, &self.env)?);
        *self.shard.borrow_mut() = Some(shard.clone());
        Ok(shard)
    }

    async fn reply(&self, request: &web_sys::Request) -> Result<Reply, SqlError> {
        let url = request.url();
        let body = convert::body(request).await.map_err(|error| SqlError(error.to_string()))?;
        let shard = self.shard()?;
        shard.ensure_alarm()?;
        match stub::asked(&url) {
            Some(Asked::Copies) => {
                let want: Want = serde_json::from_slice(&body).map_err(|error| SqlError(error.to_string()))?;
                let copies = shard.with_signing(&self.env, |signing| query::copies(&shard.storage, signing, &want))?;
                Ok(Reply::json(200, &copies))
            }
            Some(Asked::Admin(path, query)) => self.administer(&shard, request, path, query, &body).await,
            None => Ok(Problem::not_found().reply()),
        }
    }

    async fn administer(
        &self,
        shard: &Rc<Shard>,
        request: &web_sys::Request,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> Result<Reply, SqlError> {
        let method = request.method();
        let content_type = convert::header(request, "content-type");
        let actor = convert::header(request, stub::ACTOR);
        let facts = Facts {
            method: &method,
            path,
            query,
            content_type: content_type.as_deref(),
            actor: actor.as_deref(),
            body,
            now: now(),
            slot: shard.slot,
        };
        let understood = shard.with_peppers(&self.env, |peppers| Ok(admin::parse(&facts, peppers)))?;
        match understood {
            Err(problem) => Ok(problem.reply()),
            Ok(AdminRequest::Do(order)) => self.carry_out(shard, &order).await,
            Ok(AdminRequest::Ask(query)) => {
                let now = now();
                Ok(match query::answer(&shard.storage, shard.slot, &query, now)? {
                    Some(found) => admin::found(&found, shard.slot, now),
                    None => Problem::not_found().reply(),
                })
            }
        }
    }

    async fn carry_out(&self, shard: &Rc<Shard>, order: &Order) -> Result<Reply, SqlError> {
        #[cfg(feature = "trap")]
        super::trap::in_authority(order);
        let executed = shard.with_peppers(&self.env, |peppers| {
            let nonce = Nonce::new(random()?)?;
            let circumstances = Circumstances { slot: shard.slot, pepper: peppers.minting(), now: now(), nonce };
            Ok(command::execute(&shard.storage, order, &circumstances))
        })?;
        let committed = match executed {
            Ok(committed) => committed,
            Err(Failure::Refused(refusal)) => return Ok(Problem::refusal(refusal).reply()),
            Err(Failure::Trouble(error)) => return Err(error),
        };
        shard.ensure_alarm()?;
        self.deliver(shard, MIRROR_WAIT).await?;
        let mut mirrored = true;
        for kv_key in &committed.outdated {
            mirrored &= !outbox::waits(&shard.storage, kv_key)?;
        }
        Ok(admin::answered(&order.command, &committed.answer, mirrored, now()))
    }

    /// Begins the puts that are due and waits for them, at most `patience`; the rest goes on by itself. True when all
    /// came back and there may be more to do.
    async fn deliver(&self, shard: &Rc<Shard>, patience: Duration) -> Result<bool, SqlError> {
        let puts = shard.with_signing(&self.env, |signing| {
            shard.courier.borrow_mut().take_due(&shard.storage, signing, shard.slot, now())
        })?;
        if puts.is_empty() {
            return Ok(false);
        }
        // Each put is a task of its own from the start. A timer wakes the task that first waited for it, so a put that was
        // begun here and handed on to another task would sleep for ever.
        let deliveries: Array = puts
            .into_iter()
            .map(|put| {
                let (shard, env) = (shard.clone(), self.env.clone());
                future_to_promise(async move {
                    let stored = mirror::put(&env, &put).await;
                    let settled = shard.courier.borrow_mut().finished(&shard.storage, &put, stored, now());
                    if let Err(error) = settled {
                        console_error!("outbox: {error}");
                    }
                    Ok(JsValue::UNDEFINED)
                })
            })
            .collect();
        Ok(within(patience, JsFuture::from(Promise::all(&deliveries))).await.is_ok())
    }
}

/// What an object keeps in memory. Everything here can be lost at any time.
struct Shard {
    slot: u8,
    storage: Storage,
    courier: RefCell<Courier>,
    /// When the alarm is known to ring.
    alarm_at: Cell<Option<UnixMillis>>,
}

impl Shard {
    fn open(state: &State, env: &Env) -> Result<Self, SqlError> {
        if let Err(fault) = config(env).as_ref() {
            return Err(SqlError(format!("{fault:?}")));
        }
        let name = state.id().name().unwrap_or_default();
        let slot = slot_of(&name).ok_or_else(|| SqlError(format!("{name:?} is not the name of a slot")))?;
        let storage = Storage::of(state);
        schema::migrate(&storage, &hex::encode(random::<16>()?))?;
        Ok(Shard { slot, storage, courier: RefCell::default(), alarm_at: Cell::new(None) })
    }

    fn with_peppers<T>(&self, env: &Env, body: impl FnOnce(&Peppers) -> Result<T, SqlError>) -> Result<T, SqlError> {
        match config(env).as_ref() {
            Ok(config) => body(&config.peppers),
            Err(fault) => Err(SqlError(format!("{fault:?}"))),
        }
    }

    fn with_signing<T>(
        &self,
        env: &Env,
        body: impl FnOnce(&SigningKeys) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        match config(env).as_ref() {
            Ok(config) => body(&config.signing),
            Err(fault) => Err(SqlError(format!("{fault:?}"))),
        }
    }

    /// While the outbox has rows, an alarm is set, and is set anew when it should have rung long ago.
    fn ensure_alarm(&self) -> Result<(), SqlError> {
        let Some(due) = outbox::next_due(&self.storage)? else { return Ok(()) };
        let now = now();
        let lost = self.alarm_at.get().is_none_or(|at| at.saturating_add_millis(ALARM_LOST_MS) < now);
        // A row that is due now gets its first try from the event that wrote it; the alarm is for the second.
        let wanted = due.max(now.saturating_add_millis(outbox::PUT_INTERVAL_MS));
        if lost || self.alarm_at.get().is_some_and(|at| at > wanted) { self.arm(wanted) } else { Ok(()) }
    }

    fn arm(&self, at: UnixMillis) -> Result<(), SqlError> {
        let setting = self.storage.set_alarm(at)?;
        self.alarm_at.set(Some(at));
        // The output gate waits for the write; the promise tells nothing more.
        spawn_local(async move {
            if JsFuture::from(setting).await.is_err() {
                console_error!("the alarm could not be set");
            }
        });
        Ok(())
    }
}

fn random<const N: usize>() -> Result<[u8; N], SqlError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| SqlError(format!("no randomness: {error}")))?;
    Ok(bytes)
}

fn failed(error: SqlError) -> worker::Error {
    worker::Error::RustError(error.0)
}

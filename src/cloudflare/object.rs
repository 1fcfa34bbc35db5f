//! The Durable Object: one shard's Authority, woken by requests and by its alarm.
//!
//! A command is committed in one turn, together with the alarm that will empty the outbox should everything after it
//! fail. Only then are KV puts begun; the answer waits for them a little, to be able to say that KV has the change.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use js_sys::{Array, Promise};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use web_sys::Request;

use crate::{
    authority::{
        admins::{self, Caller},
        command::{self, Circumstances, Failure, Order},
        copy::SigningKeys,
        journal,
        lease::{self, Leases, Terms},
        outbox::{self, Courier, KvKey},
        plan_run,
        query::{self, Found, Query},
        revoke_all, rotation, schema,
        sql::SqlError,
        sync::{self, SyncRequest},
        usage::Tally,
    },
    credential::Peppers,
    http::{
        Problem, Reply,
        admin::{self, AdminRequest, Facts},
    },
    policy::{Catalogue, UnixMillis},
};

use super::{
    config::config,
    convert,
    env::Env,
    glue::{self, Limit},
    log::log,
    mirror,
    sql::{State, Storage},
    stub::{self, Asked, slot_of},
    time::{now, pause},
};

/// How much of a command's answer may be spent on waiting for KV, in milliseconds.
const MIRROR_WAIT_MS: u32 = 300;

/// How often a command looks whether a put that another event began has come back, in milliseconds.
const MIRROR_POLL_MS: u32 = 10;

/// How long an alarm waits for the puts of one round, in milliseconds. A slower put goes on by itself and holds up no
/// other.
const ALARM_WAIT_MS: u32 = 1_000;

/// How soon an alarm rings again that left work behind.
const ALARM_AGAIN_MS: u64 = 10;

/// After this long an alarm that should have rung is taken for lost: alarms stop for good after six failures.
const ALARM_LOST_MS: u64 = 5_000;

/// Rounds of one alarm; with six puts each, a backlog of 10⁵ rows takes about 2,800 alarms, one right after the other.
const ROUNDS_PER_ALARM: u32 = 6;

/// Commands that one alarm forgets; it rings again while there are more.
const COMMANDS_PER_ALARM: u32 = 1_000;

/// One shard, as the runtime knows it: it is made for an event, and goes when none has come for a while.
#[wasm_bindgen]
pub struct Authority(Rc<Object>);

#[wasm_bindgen]
impl Authority {
    /// Takes what the runtime gives to an object, and what ends its waits. Nothing is opened before an event needs it.
    #[wasm_bindgen(constructor)]
    pub fn new(state: State, env: Env, limit: Limit) -> Self {
        Authority(Rc::new(Object { state, env, limit, shard: RefCell::new(None) }))
    }

    /// Answers a question of the Worker's.
    pub fn fetch(&self, request: Request) -> Promise {
        let object = self.0.clone();
        convert::promise(async move {
            let reply = match object.reply(&request).await {
                Ok(reply) => reply,
                Err(error) => {
                    // The caller learns that there was trouble, and the log which.
                    log(&format!("authority: {error}"));
                    Problem::indeterminate().reply()
                }
            };
            Ok(convert::response(&reply)?.into())
        })
    }

    /// Does what has waited for its time, and then says true. A rejected promise has the runtime ring again.
    pub fn alarm(&self) -> Promise {
        let object = self.0.clone();
        convert::promise(async move {
            object.alarm().await.map_err(|error| js_sys::Error::new(&error.0))?;
            Ok(JsValue::TRUE)
        })
    }
}

struct Object {
    state: State,
    env: Env,
    limit: Limit,
    shard: RefCell<Option<Rc<Shard>>>,
}

impl Object {
    async fn alarm(&self) -> Result<(), SqlError> {
        let shard = self.shard().await?;
        shard.alarm_at.set(None);
        // First of all the next one, so that no failure of this one is the end.
        shard.arm(now().saturating_add_millis(ALARM_LOST_MS))?;
        journal::forget(&shard.storage, now(), COMMANDS_PER_ALARM)?;
        shard.tally.borrow_mut().write_due(&shard.storage, now())?;
        // Behind all that waits already.
        revoke_all::sweep(&shard.storage, now())?;
        plan_run::forget(&shard.storage, now())?;
        let runs = match plan_run::advance(&shard.storage, shard.slot, now()) {
            Ok(revoked) => revoked.is_some(),
            Err(error) => {
                // It is tried again; everything else goes on.
                log(&format!("plan: {error}"));
                false
            }
        };
        let mut more = true;
        for _ in 0..ROUNDS_PER_ALARM {
            more = self.deliver(&shard, ALARM_WAIT_MS).await?;
            if !more {
                break;
            }
        }
        shard.alarm_at.set(None);
        if more || runs { shard.arm(now().saturating_add_millis(ALARM_AGAIN_MS)) } else { shard.ensure_alarm() }
    }

    /// Opens the database at the first event that needs it. Nothing is answered before this instance has proved, by a
    /// write that became durable, that no other one is the current one.
    async fn shard(&self) -> Result<Rc<Shard>, SqlError> {
        if let Some(shard) = self.opened() {
            return Ok(shard);
        }
        let shard = Rc::new(Shard::open(&self.state, &self.env)?);
        shard.storage.durable().await?;
        // Another event may have been faster, and what it has in memory counts.
        if let Some(shard) = self.opened() {
            return Ok(shard);
        }
        shard.leases.borrow_mut().born(now());
        *self.shard.borrow_mut() = Some(shard.clone());
        Ok(shard)
    }

    fn opened(&self) -> Option<Rc<Shard>> {
        self.shard.borrow().clone()
    }

    async fn reply(&self, request: &Request) -> Result<Reply, SqlError> {
        let url = request.url();
        let body = convert::body(request).await.map_err(|_| SqlError("the question could not be read".into()))?;
        let shard = self.shard().await?;
        match stub::asked(&url) {
            Some(Asked::Sync) => self.sync(&shard, &body),
            Some(Asked::Condition) => self.condition(&shard),
            Some(Asked::Admin(path, query)) => {
                shard.ensure_alarm()?;
                self.administer(&shard, request, path, query, &body).await
            }
            None => Ok(Problem::not_found().reply()),
        }
    }

    fn sync(&self, shard: &Shard, body: &[u8]) -> Result<Reply, SqlError> {
        let request = std::str::from_utf8(body).ok().and_then(SyncRequest::parse);
        let request = request.ok_or_else(|| SqlError("a sync that is not understood".into()))?;
        let now = now();
        shard.tally.borrow_mut().take(&shard.storage, &request.uses, now)?;
        rotation::used(&shard.storage, shard.slot, &request.uses, now)?;
        shard.tally.borrow_mut().take_counted(&shard.storage, &request.counted, now)?;
        if request.graced > 0 {
            lease::note_graced(&shard.storage, request.graced)?;
        }
        shard.ensure_alarm()?;
        // From here on in one turn: what is granted is granted on what is read.
        let mut leases = shard.leases.borrow_mut();
        let granted = Terms { lease_ms: leases.grant(&shard.storage, now)?, ..leases.terms() };
        drop(leases);
        let epoch = hex::encode(random::<16>()?);
        let answered = shard.with_signing(&self.env, |signing| {
            sync::answer(&shard.storage, signing, shard.slot, &request, granted, &epoch)
        })?;
        if !answered.refresh.is_empty() {
            shard.refresh(&answered.refresh)?;
        }
        Ok(Reply::empty(200).with_body(answered.text))
    }

    async fn administer(
        &self,
        shard: &Rc<Shard>,
        request: &Request,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> Result<Reply, SqlError> {
        let method = request.method();
        let content_type = convert::header(request, "content-type");
        let actor = convert::header(request, stub::ACTOR);
        let idempotency_key = convert::header(request, stub::IDEMPOTENCY_KEY);
        let if_match = convert::header(request, "if-match");
        // The Worker sends both with every request.
        let caller = convert::header(request, stub::CALLER).as_deref().and_then(Caller::parse);
        let caller = caller.ok_or_else(|| SqlError("a question without a caller".into()))?;
        let command_id = convert::header(request, stub::COMMAND_ID);
        let command_id = command_id.ok_or_else(|| SqlError("a question without a command id".into()))?;
        let facts = Facts {
            method: &method,
            path,
            query,
            content_type: content_type.as_deref(),
            caller,
            actor: actor.as_deref(),
            idempotency_key: idempotency_key.as_deref(),
            command_id: &command_id,
            if_match: if_match.as_deref(),
            taken_elsewhere: convert::header(request, stub::TAKEN_ELSEWHERE).is_some(),
            body,
            from: convert::header(request, admin::NEXT).and_then(|from| from.parse().ok()),
            now: now(),
            slot: shard.slot,
        };
        let understood = shard.with_peppers(&self.env, |peppers| Ok(admin::parse(&facts, peppers)))?;
        let now = now();
        let answered = match understood {
            Ok(AdminRequest::Do(order)) => return self.carry_out(shard, &order).await,
            Ok(AdminRequest::Ask(query)) => shard.ask(&facts, &query, now, &admin::found),
            Ok(AdminRequest::Draw(query)) => shard.ask(&facts, &query, now, &admin::picture),
            Ok(AdminRequest::Export(query, export)) => {
                shard.ask(&facts, &query, now, &|found, slot, now| admin::exported(found, export, slot, now))
            }
            Err(problem) => admins::check(&shard.storage, shard.slot, caller, now).map(|()| problem.reply()),
        };
        match answered {
            Ok(reply) => shard.proved(reply, now),
            Err(failure) => shard.refused(failure, now),
        }
    }

    async fn carry_out(&self, shard: &Rc<Shard>, order: &Order) -> Result<Reply, SqlError> {
        #[cfg(feature = "trap")]
        super::trap::in_authority(order);
        let begun = now();
        let executed = shard.with_peppers(&self.env, |peppers| {
            let catalogue = Catalogue::compiled();
            let circumstances = Circumstances {
                slot: shard.slot,
                peppers,
                catalogue,
                max_key_days: config(&self.env).as_ref().as_ref().ok().and_then(|config| config.max_key_days),
                now: begun,
                nonce: random()?,
            };
            let effective_by = shard.leases.borrow().effective_at(circumstances.now);
            let render = |answer: &_| admin::stored(answer, circumstances.now, effective_by);
            Ok(command::execute(&shard.storage, order, &circumstances, render))
        });
        #[cfg(feature = "trap")]
        super::trap::command_ended();
        let executed = executed?;
        let committed = match executed {
            Ok(committed) => committed,
            Err(failure) => return shard.refused(failure, begun),
        };
        if committed.wrote {
            // When it was issued, not when it was done: a lease counts from there.
            shard.leases.borrow_mut().wrote(begun);
        }
        shard.leases.borrow_mut().prove(&shard.storage, begun)?;
        shard.ensure_alarm()?;
        let mirrored = match committed.mirrored_before {
            Some(mirrored) => mirrored,
            None => {
                let mirrored = self.mirrored(shard, &committed.outdated).await?;
                journal::settle_mirrored(&shard.storage, &order.caller.name(), &order.id, mirrored)?
            }
        };
        let reply = admin::complete(&committed.answer, committed.text.as_ref(), mirrored);
        let effective_at = committed.answer.effective_at.filter(|_| order.wait);
        Ok(match effective_at.map(|at| shard.leases.borrow().wait_ms(at, now())) {
            None | Some(0) => reply,
            Some(millis) => reply.with(stub::WAIT, millis.to_string()),
        })
    }

    /// Has the outdated copies put, and says whether KV has them all before the time for that is over.
    async fn mirrored(&self, shard: &Rc<Shard>, outdated: &[KvKey]) -> Result<bool, SqlError> {
        let give_up_at = now().saturating_add_millis(MIRROR_WAIT_MS.into());
        self.deliver(shard, MIRROR_WAIT_MS).await?;
        loop {
            let mut waiting = false;
            let mut in_flight = false;
            for kv_key in outdated {
                waiting |= outbox::waits(&shard.storage, kv_key)?;
                in_flight |= shard.courier.borrow().is_in_flight(kv_key);
            }
            // A put that another event began is on its way: worth waiting for.
            if !waiting || !in_flight || now() >= give_up_at {
                return Ok(!waiting);
            }
            pause(MIRROR_POLL_MS).await;
        }
    }

    fn condition(&self, shard: &Shard) -> Result<Reply, SqlError> {
        shard.ensure_alarm()?;
        let condition = query::condition(&shard.storage)?;
        let leases = shard.leases.borrow();
        let reply = admin::condition(&condition, shard.slot, leases.terms(), leases.bound_ms());
        #[cfg(feature = "trap")]
        let reply = super::trap::with_dump(reply, &shard.storage)?;
        Ok(reply)
    }

    /// Begins the puts that are due and waits for them, at most `patience_ms`; the rest goes on by itself. True when all
    /// came back and there may be more to do.
    async fn deliver(&self, shard: &Rc<Shard>, patience_ms: u32) -> Result<bool, SqlError> {
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
                let (shard, env, limit) = (shard.clone(), self.env.clone(), self.limit.clone());
                convert::promise(async move {
                    let stored = mirror::put(&limit, &env, &put).await;
                    let settled = shard.courier.borrow_mut().finished(&shard.storage, &put, stored, now());
                    if let Err(error) = settled {
                        log(&format!("outbox: {error}"));
                    }
                    Ok(JsValue::UNDEFINED)
                })
            })
            .collect();
        Ok(JsFuture::from(glue::all_within(&self.limit, patience_ms, deliveries))
            .await
            .is_ok_and(|all| all.is_truthy()))
    }
}

/// What an object keeps in memory. Everything here can be lost at any time.
struct Shard {
    slot: u8,
    storage: Storage,
    courier: RefCell<Courier>,
    leases: RefCell<Leases>,
    tally: RefCell<Tally>,
    /// When the alarm is known to ring.
    alarm_at: Cell<Option<UnixMillis>>,
}

impl Shard {
    fn open(state: &State, env: &Env) -> Result<Self, SqlError> {
        let terms = match config(env).as_ref() {
            Ok(config) => config.terms,
            Err(fault) => return Err(SqlError(fault.to_string())),
        };
        let name = state.id().name().unwrap_or_default();
        let slot = slot_of(&name).ok_or_else(|| SqlError(format!("\"{name}\" is not the name of a slot")))?;
        let storage = Storage::of(state);
        schema::migrate(&storage, &hex::encode(random::<16>()?))?;
        let leases = RefCell::new(Leases::begin(&storage, terms, now())?);
        let (courier, tally) = (RefCell::default(), RefCell::default());
        Ok(Shard { slot, storage, courier, leases, tally, alarm_at: Cell::new(None) })
    }

    fn with_peppers<T>(&self, env: &Env, body: impl FnOnce(&Peppers) -> Result<T, SqlError>) -> Result<T, SqlError> {
        match config(env).as_ref() {
            Ok(config) => body(&config.peppers),
            Err(fault) => Err(SqlError(fault.to_string())),
        }
    }

    fn with_signing<T>(
        &self,
        env: &Env,
        body: impl FnOnce(&SigningKeys) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        match config(env).as_ref() {
            Ok(config) => body(&config.signing),
            Err(fault) => Err(SqlError(fault.to_string())),
        }
    }

    /// Asks what is so at `now`, with what is not written yet, and has `render` make the answer.
    fn ask(
        &self,
        facts: &Facts<'_>,
        query: &Query,
        now: UnixMillis,
        render: &dyn Fn(&Found, u8, UnixMillis) -> Reply,
    ) -> Result<Reply, Failure> {
        Ok(match admins::ask(&self.storage, self.slot, facts.caller, facts.actor, query, now)? {
            Some(mut found) => {
                self.tally.borrow().add_to(&mut found);
                render(&found, self.slot, now)
            }
            None => Problem::not_found().reply(),
        })
    }

    /// An answer to what was read at `now`, which goes out only if this instance is the current one.
    fn proved(&self, reply: Reply, now: UnixMillis) -> Result<Reply, SqlError> {
        self.leases.borrow_mut().prove(&self.storage, now)?;
        Ok(reply)
    }

    /// The answer to a failure. A refusal tells what was read, too.
    fn refused(&self, failure: Failure, now: UnixMillis) -> Result<Reply, SqlError> {
        match failure {
            Failure::Refused(refusal) => self.proved(Problem::refusal(refusal).reply(), now),
            Failure::Trouble(error) => Err(error),
        }
    }

    /// Has copies put again.
    fn refresh(&self, copies: &[KvKey]) -> Result<(), SqlError> {
        let mut courier = self.courier.borrow_mut();
        for kv_key in copies {
            courier.refresh(&self.storage, kv_key, now())?;
        }
        drop(courier);
        self.ensure_alarm()
    }

    /// While there is something to put or to forget, an alarm is set, and is set anew when it should have rung long ago.
    fn ensure_alarm(&self) -> Result<(), SqlError> {
        let dues =
            [outbox::next_due(&self.storage)?, journal::next_due(&self.storage)?, self.tally.borrow().next_due()];
        let Some(due) = dues.into_iter().flatten().min() else { return Ok(()) };
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
        let _settled = convert::promise(async move {
            if JsFuture::from(setting).await.is_err() {
                log("the alarm could not be set");
            }
            Ok(JsValue::UNDEFINED)
        });
        Ok(())
    }
}

fn random<const N: usize>() -> Result<[u8; N], SqlError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| SqlError("no randomness".into()))?;
    Ok(bytes)
}

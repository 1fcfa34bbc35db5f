//! Panics on purpose, in test builds only: the header `X-Keygate-Trap` says where.

// The one place that may panic: that is what it is for.
#![allow(clippy::panic)]

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
};

use sha2::{Digest as _, Sha256};
use wasm_bindgen::JsValue;
use web_sys::Request;

use crate::{
    authority::{
        command::Order,
        sql::{Sql, SqlError},
    },
    http::Reply,
};

use super::stub::{ACTOR, COMMAND_ID, Question};

thread_local! {
    static MID_COMMAND: Cell<bool> = const { Cell::new(false) };
    static FAIL_AFTER: Cell<Option<u32>> = const { Cell::new(None) };
    static LOST: RefCell<HashSet<String>> = RefCell::default();
}

const HEADER: &str = "x-keygate-trap";

pub(super) fn in_sync(request: &Request) {
    if super::convert::header(request, HEADER).as_deref() == Some("sync") {
        panic!("a trap on purpose, in the synchronous path");
    }
}

/// True for a request that is to panic after an await, and so must come to one.
pub(super) fn is_async(request: &Request) -> bool {
    super::convert::header(request, HEADER).as_deref() == Some("async")
}

pub(super) async fn in_async(request: &Request) {
    if is_async(request) {
        super::time::pause(5).await;
        panic!("a trap on purpose, after an await");
    }
}

/// An order has no headers: the Authority finds the trap where the actor stands.
pub(super) fn actor(request: &Request) -> Option<String> {
    super::convert::header(request, HEADER).filter(|place| place.starts_with("authority"))
}

pub(super) fn in_authority(order: &Order) {
    match order.actor.as_deref() {
        Some("authority") => panic!("a trap on purpose, in the Authority"),
        Some("authority-mid-command") => MID_COMMAND.set(true),
        Some(place) => {
            FAIL_AFTER.set(place.strip_prefix("authority-fail-").and_then(|statement| statement.parse().ok()));
        }
        None => {}
    }
}

pub(super) fn command_ended() {
    FAIL_AFTER.set(None);
}

/// Fails the statement that the order asked for.
pub(super) fn before_statement() -> Result<(), SqlError> {
    match FAIL_AFTER.get() {
        Some(0) => Err(SqlError("failed on purpose".into())),
        left => {
            FAIL_AFTER.set(left.map(|left: u32| left.saturating_sub(1)));
            Ok(())
        }
    }
}

pub(super) fn after_statement(statement: &str) {
    if MID_COMMAND.get() && statement.trim_start().starts_with("INSERT") {
        panic!("a trap on purpose, in the middle of a command");
    }
}

/// Takes the first answer to a command for lost, as if the object had been replaced behind it.
pub(super) fn lose_answer(question: &Question<'_>) -> Result<(), JsValue> {
    if question.header(ACTOR) != Some("authority-lose-answer") {
        return Ok(());
    }
    let id = question.header(COMMAND_ID).unwrap_or_default().to_owned();
    if !LOST.with_borrow_mut(|lost| lost.insert(id)) {
        return Ok(());
    }
    let failure = js_sys::Error::new("lost on purpose");
    js_sys::Reflect::set(&failure, &"retryable".into(), &JsValue::TRUE)?;
    Err(failure.into())
}

/// Adds what tells two states of the database apart: all of it but the heartbeat, which an answer may be proved by.
pub(super) fn with_dump(reply: Reply, sql: &impl Sql) -> Result<Reply, SqlError> {
    let mut hash = Sha256::new();
    let meta = "SELECT schema, epoch, sequence, feed_position, feed_rows, feed_low, feed_cut, granted, graced, features FROM meta";
    hash.update(format!("{:?}", sql.run(meta, &[])?));
    for table in ["accounts", "keys", "workspaces", "sweeps", "feed", "outbox", "audit", "commands"] {
        hash.update(format!("{:?}", sql.run(&format!("SELECT * FROM {table}"), &[])?));
    }
    let dump = hex::encode(hash.finalize());
    let body = reply.body.strip_suffix('}').unwrap_or_default();
    let body = format!("{body},\"dump\":\"{dump}\"}}");
    Ok(reply.with_body(body))
}

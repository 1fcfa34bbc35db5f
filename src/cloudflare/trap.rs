//! Panics on purpose, in test builds only: the header `X-Keygate-Trap` says where.

// The one place that may panic: that is what it is for.
#![allow(clippy::panic)]

use std::{cell::Cell, time::Duration};

use web_sys::Request;

use crate::authority::command::Order;

thread_local! {
    static MID_COMMAND: Cell<bool> = const { Cell::new(false) };
}

const HEADER: &str = "x-keygate-trap";

pub(super) fn in_sync(request: &Request) {
    if super::convert::header(request, HEADER).as_deref() == Some("sync") {
        panic!("a trap on purpose, in the synchronous path");
    }
}

pub(super) async fn in_async(request: &Request) {
    if super::convert::header(request, HEADER).as_deref() == Some("async") {
        worker::Delay::from(Duration::from_millis(5)).await;
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
        _ => {}
    }
}

pub(super) fn after_statement(statement: &str) {
    if MID_COMMAND.get() && statement.trim_start().starts_with("INSERT") {
        panic!("a trap on purpose, in the middle of a command");
    }
}

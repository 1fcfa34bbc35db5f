//! The runtime's clock and timers.

use std::{future::Future, time::Duration};

use futures_util::future::{Either, select};
use worker::Delay;

use crate::policy::UnixMillis;

/// The time. In production it moves only across I/O (Cloudflare Workers, Performance and timers).
pub(super) fn now() -> UnixMillis {
    UnixMillis::from_millis(worker::Date::now().as_millis())
}

/// The time was up first.
#[derive(Debug)]
pub(super) struct TimedOut;

/// What `future` gives within `limit`. Past it the future is dropped.
pub(super) async fn within<F: Future + Unpin>(limit: Duration, future: F) -> Result<F::Output, TimedOut> {
    match select(future, Delay::from(limit)).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(((), _)) => Err(TimedOut),
    }
}

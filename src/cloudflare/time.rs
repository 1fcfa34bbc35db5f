//! The runtime's clock and timers.

use std::{future::Future, time::Duration};

use futures_util::future::{Either, select};
use js_sys::{Date, Function, Promise};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::policy::UnixMillis;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(wake: &Function, millis: u32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

/// The time. In production it moves only across I/O (Cloudflare Workers, Performance and timers).
pub(super) fn now() -> UnixMillis {
    // A whole number of milliseconds, far below 2⁵³.
    UnixMillis::from_millis(Date::now() as u64)
}

/// The time was up first.
#[derive(Debug)]
pub(super) struct TimedOut;

/// What `future` gives within `limit`. Past it the future is dropped.
pub(super) async fn within<F: Future + Unpin>(limit: Duration, future: F) -> Result<F::Output, TimedOut> {
    let timer = Timer::start(limit);
    match select(future, JsFuture::from(timer.rings.clone())).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(_) => Err(TimedOut),
    }
}

/// Waits.
pub(super) async fn pause(length: Duration) {
    let timer = Timer::start(length);
    let _ = JsFuture::from(timer.rings.clone()).await;
}

/// A timer that is taken back when nobody waits for it any more. Its promise is settled all the same: a `JsFuture` of one
/// that never settles is never freed, even when it is dropped.
struct Timer {
    id: JsValue,
    rings: Promise,
    ring: Function,
}

impl Timer {
    fn start(length: Duration) -> Self {
        let millis = u32::try_from(length.as_millis()).unwrap_or(u32::MAX);
        let (mut id, mut ring) = (JsValue::UNDEFINED, JsValue::UNDEFINED);
        let rings = Promise::new(&mut |resolve, _| {
            id = set_timeout(&resolve, millis);
            ring = resolve.into();
        });
        Timer { id, rings, ring: ring.unchecked_into() }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        clear_timeout(&self.id);
        let _ = self.ring.call0(&JsValue::UNDEFINED);
    }
}

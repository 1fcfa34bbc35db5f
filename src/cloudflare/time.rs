//! The runtime's clock and timers.

use js_sys::Date;
use wasm_bindgen_futures::JsFuture;

use crate::policy::UnixMillis;

use super::glue;

/// The time. In production it moves only across I/O (Cloudflare Workers, Performance and timers).
pub(super) fn now() -> UnixMillis {
    // A whole number of milliseconds, far below 2⁵³.
    UnixMillis::from_millis(Date::now() as u64)
}

/// Waits so many milliseconds.
pub(super) async fn pause(ms: u32) {
    let _ = JsFuture::from(glue::pause(ms)).await;
}

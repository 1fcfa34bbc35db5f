//! The log, for whoever runs Keygate (`wrangler tail`). Nothing secret is ever handed to it.

/// One line of trouble.
pub(super) fn log(line: &str) {
    web_sys::console::error_1(&line.into());
}

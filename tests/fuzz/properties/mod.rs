//! What must hold for any input whatever: one property per fuzz target.
//!
//! Each is a function of bytes that panics where the property does not hold. Two callers share them: the fuzz targets
//! (`scripts/fuzz`) and `tests/random_input.rs`, which needs no nightly toolchain.

pub mod bearer;
pub mod command;
pub mod copy;
pub mod json;
pub mod key_text;
pub mod message;
pub mod path;
pub mod scope;

mod anew;
mod fixture;

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of the target and of its corpus.
    pub name: &'static str,
    /// Its property.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target { name: "key_text", check: key_text::check },
    Target { name: "bearer", check: bearer::check },
    Target { name: "scope", check: scope::check },
    Target { name: "copy", check: copy::check },
    Target { name: "message", check: message::check },
    Target { name: "path", check: path::check },
    Target { name: "command", check: command::check },
    Target { name: "json", check: json::check },
];

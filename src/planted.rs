//! Bugs for the simulation to find (tests/simulation). `planted!(Name)` is `false`, a constant, unless the feature
//! `planted` is on, which is for tests alone; then it is true in a thread that has chosen this bug.

#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::NEVER
    };
}

#[cfg(feature = "planted")]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is(stringify!($bug))
    };
}

pub(crate) use planted;

/// What `planted!` is in the product.
#[cfg(not(feature = "planted"))]
pub(crate) const NEVER: bool = false;

#[cfg(feature = "planted")]
mod chosen {
    use std::cell::Cell;

    thread_local! {
        static BUG: Cell<Option<&'static str>> = const { Cell::new(None) };
        static FEED_ROWS: Cell<Option<u64>> = const { Cell::new(None) };
        static CHUNK: Cell<Option<u32>> = const { Cell::new(None) };
        static WALK: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// From now on this thread has this bug, and no other.
    pub fn choose(bug: Option<&'static str>) {
        BUG.set(bug);
    }

    /// True in a thread that has chosen it.
    #[must_use]
    pub fn is(bug: &str) -> bool {
        BUG.get() == Some(bug)
    }

    /// From now on the feeds of this thread hold so few rows; none = as many as they should.
    pub fn shorten_feed(rows: Option<u64>) {
        FEED_ROWS.set(rows);
    }

    /// How many rows a feed holds.
    pub(crate) fn feed_rows(usual: u64) -> u64 {
        FEED_ROWS.get().unwrap_or(usual)
    }

    /// From now on plans are executed in this thread so many keys at a time; none = as many as there should be.
    pub fn shorten_chunks(keys: Option<u32>) {
        CHUNK.set(keys);
    }

    /// How many keys of a plan are revoked at a time.
    pub(crate) fn chunk(usual: u32) -> u32 {
        CHUNK.get().unwrap_or(usual)
    }

    /// From now on plans look for their keys in this thread among so many at a time; none = as many as there should be.
    pub fn shorten_walks(keys: Option<u32>) {
        WALK.set(keys);
    }

    /// How many keys a plan looks at at a time.
    pub(crate) fn walk(usual: u32) -> u32 {
        WALK.get().unwrap_or(usual)
    }
}

#[cfg(feature = "planted")]
pub use chosen::{choose, is, shorten_chunks, shorten_feed, shorten_walks};
#[cfg(feature = "planted")]
pub(crate) use chosen::{chunk, feed_rows, walk};

/// How many rows a feed holds.
#[cfg(not(feature = "planted"))]
pub(crate) const fn feed_rows(usual: u64) -> u64 {
    usual
}

/// How many keys of a plan are revoked at a time.
#[cfg(not(feature = "planted"))]
pub(crate) const fn chunk(usual: u32) -> u32 {
    usual
}

/// How many keys a plan looks at at a time.
#[cfg(not(feature = "planted"))]
pub(crate) const fn walk(usual: u32) -> u32 {
    usual
}

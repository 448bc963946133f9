//! Live counters: how many transports there are and were.

use std::sync::atomic::{AtomicU64, Ordering};

static MADE: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);
static ALIVE: AtomicU64 = AtomicU64::new(0);

/// A reading of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Transports whose `connection_made` was called.
    pub made: u64,
    /// Transports whose end has come. Equal to `made` when none is left.
    pub lost: u64,
    /// Transports that exist now.
    pub alive: u64,
}

/// Reads the counters of this process.
///
/// They are kept by relaxed atomics: each is exact, but they are not read at the same instant.
///
/// # Examples
///
/// ```
/// let stats = smol_transports::stats::stats();
/// println!("{} connections, {} of them alive", stats.made, stats.alive);
/// ```
#[must_use]
pub fn stats() -> Stats {
    Stats {
        made: MADE.load(Ordering::Relaxed),
        lost: LOST.load(Ordering::Relaxed),
        alive: ALIVE.load(Ordering::Relaxed),
    }
}

pub(crate) fn made() {
    MADE.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn lost() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

/// Counts as one transport while it exists.
#[derive(Debug)]
pub(crate) struct Alive(());

impl Alive {
    pub(crate) fn new() -> Self {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

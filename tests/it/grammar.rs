//! What recorders have in common: callbacks are written down, and each is held against the grammar of its kind.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A callback that was made.
pub(crate) trait Callback: Clone + Debug + PartialEq {
    /// Whether the grammar allows it after those `before`.
    fn may_follow(&self, before: &[Self]) -> bool;

    /// Takes in what came right after it, if it does not matter where the two were cut; else gives it back.
    fn join(&mut self, next: Self) -> Option<Self>;
}

/// What a recorder has written down; clones share it. An order that the grammar forbids fails the test, at the latest
/// when the last clone is dropped.
#[derive(Debug)]
pub(crate) struct Log<C: Callback>(Arc<Mutex<Entries<C>>>);

#[derive(Debug)]
struct Entries<C: Callback> {
    calls: Vec<C>,
    fault: Option<String>,
}

impl<C: Callback> Log<C> {
    fn lock(&self) -> MutexGuard<'_, Entries<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, call: C) {
        let mut entries = self.lock();
        if !call.may_follow(&entries.calls) {
            let fault = format!("{call:.200?} after {:.2000?}", entries.calls);
            entries.fault.get_or_insert(fault);
        }
        let apart = match entries.calls.last_mut() {
            Some(last) => last.join(call),
            None => Some(call),
        };
        entries.calls.extend(apart);
    }

    /// The callbacks so far, which the grammar allows.
    #[track_caller]
    pub(crate) fn calls(&self) -> Vec<C> {
        let entries = self.lock();
        assert_eq!(entries.fault, None, "the order of callbacks");
        entries.calls.clone()
    }
}

impl<C: Callback> Clone for Log<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Callback> Default for Log<C> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Entries { calls: Vec::new(), fault: None })))
    }
}

impl<C: Callback> Drop for Entries<C> {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.fault, None, "the order of callbacks");
        }
    }
}

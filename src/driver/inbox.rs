//! What other threads hand to a loop, and how they keep it from sleeping over it.

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub(crate) struct Inbox<T> {
    items: Mutex<Vec<T>>,
    /// The loop will look at everything again before it sleeps, so nobody needs to ring.
    noticed: AtomicBool,
    /// The loop has ended. Nobody looks at `items` but those who have put something in.
    closed: AtomicBool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self { items: Mutex::new(Vec::new()), noticed: AtomicBool::new(false), closed: AtomicBool::new(false) }
    }

    /// Puts something in and has the loop see it; what comes back is for somebody else, because the loop has ended.
    #[must_use]
    pub(crate) fn push(&self, item: T, ring: impl FnOnce()) -> Vec<T> {
        if self.is_closed() {
            return vec![item];
        }
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        self.notice(ring);
        // It may have ended without having seen this one.
        if self.is_closed() { self.take() } else { Vec::new() }
    }

    /// Has the loop look at everything again before it sleeps: rings if that is not sure already.
    pub(crate) fn notice(&self, ring: impl FnOnce()) {
        if !self.noticed.swap(true, Ordering::SeqCst) {
            ring();
        }
    }

    /// A round begins: what was put in since the last one. None if nobody has noticed the loop since: whoever has put
    /// something in is still to do so, and then there is another round.
    pub(crate) fn begin_round(&self) -> Option<Vec<T>> {
        self.is_noticed().then(|| {
            self.noticed.store(false, Ordering::SeqCst);
            self.take()
        })
    }

    /// Whether the loop must not sleep now.
    pub(crate) fn is_noticed(&self) -> bool {
        self.noticed.load(Ordering::SeqCst)
    }

    /// The loop has ended: what it has not seen.
    #[must_use]
    pub(crate) fn close(&self) -> Vec<T> {
        self.closed.store(true, Ordering::SeqCst);
        self.take()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(all(test, any(model = "loom", model = "shuttle")))]
mod models {
    use std::sync::Arc;

    use super::Inbox;
    use crate::sync::check::{Bell, check, spawn};

    /// A loop that sleeps when it may has seen everything in the end, or it would sleep for ever.
    #[test]
    fn a_loop_never_sleeps_over_a_task() {
        check(|| {
            let shared = Arc::new((Inbox::new(), Bell::default()));
            let hand_in = |item: u32| {
                let shared = shared.clone();
                spawn(move || assert!(shared.0.push(item, || shared.1.ring()).is_empty()))
            };
            let threads = [hand_in(1), hand_in(2)];
            let (inbox, bell) = &*shared;
            let mut seen = inbox.begin_round().unwrap_or_default();
            while seen.len() < 2 {
                if !inbox.is_noticed() {
                    bell.wait();
                }
                seen.extend(inbox.begin_round().unwrap_or_default());
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            seen.sort_unstable();
            assert_eq!(seen, [1, 2]);
        });
    }

    #[test]
    fn a_notice_without_a_task_wakes_as_well() {
        check(|| {
            let shared = Arc::new((Inbox::<()>::new(), Bell::default()));
            let its = shared.clone();
            let thread = spawn(move || its.0.notice(|| its.1.ring()));
            shared.0.begin_round();
            if !shared.0.is_noticed() {
                shared.1.wait();
            }
            thread.join().unwrap();
        });
    }

    #[test]
    fn each_task_finds_one_owner_when_the_loop_ends() {
        check(|| {
            let inbox = Arc::new(Inbox::new());
            let hand_in = |item: u32| {
                let inbox = inbox.clone();
                spawn(move || inbox.push(item, || {}))
            };
            let threads = [hand_in(1), hand_in(2)];
            let mut seen = inbox.begin_round().unwrap_or_default();
            seen.extend(inbox.close());
            for thread in threads {
                seen.extend(thread.join().unwrap());
            }
            seen.sort_unstable();
            assert_eq!(seen, [1, 2]);
        });
    }
}

//! The points in time that the tasks of a loop wait for.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::reactor::has_timers;
use super::wake_all;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// No wait is longer: what epoll takes is limited.
const LONGEST: Duration = Duration::from_secs(3600);

/// All timers of one loop. They are set on its thread alone, so it need not be woken for a new one.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// There may be one; the loop asks for this in every round. Only its thread touches it.
    any: AtomicBool,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    wakers: BTreeMap<Key, Waker>,
    next: u64,
}

/// When it is due, and which one it is of those that are due then.
type Key = (Instant, u64);

impl Timers {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, at: Instant, waker: Waker) -> Key {
        let mut table = self.lock();
        let key = (at, table.next);
        table.next += 1;
        table.wakers.insert(key, waker);
        self.any.store(true, Ordering::Relaxed);
        key
    }

    /// When the first one is due.
    pub(super) fn first(&self) -> Option<Instant> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let table = self.lock();
        let first = table.wakers.first_key_value();
        self.any.store(first.is_some(), Ordering::Relaxed);
        first.map(|((at, _), _)| *at)
    }

    /// How long the loop may sleep; none if there is no limit.
    pub(super) fn sleep(&self) -> Option<Duration> {
        self.first().map(|at| LONGEST.min(at.saturating_duration_since(Instant::now())))
    }

    /// Wakes those that are due.
    pub(super) fn fire(&self) {
        if self.any.load(Ordering::Relaxed) {
            wake_all(self.take_due(Instant::now()));
        }
    }

    fn take_due(&self, now: Instant) -> Vec<Waker> {
        let mut table = self.lock();
        let mut due = Vec::new();
        while let Some(first) = table.wakers.first_entry().filter(|first| first.key().0 <= now) {
            due.push(first.remove());
        }
        due
    }

    /// The loop has ended: those who wait set their timers elsewhere.
    pub(super) fn end(&self) {
        let wakers = mem::take(&mut self.lock().wakers);
        wake_all(wakers.into_values());
    }
}

/// Wakes a task once; not any more when it has been dropped.
#[derive(Debug)]
pub(crate) struct Alarm {
    timers: Arc<Timers>,
    key: Key,
    /// Whom it wakes. It is kept here as well because it hardly ever changes, and asking takes the lock.
    waker: Waker,
}

impl Alarm {
    /// To be called on the thread of the loop.
    pub(crate) fn new(timers: Arc<Timers>, at: Instant, waker: &Waker) -> Self {
        let key = timers.insert(at, waker.clone());
        Self { timers, key, waker: waker.clone() }
    }

    /// Whether this is the thread of its loop.
    pub(crate) fn is_of_current(&self) -> bool {
        has_timers(&self.timers)
    }

    /// Wakes that one instead.
    pub(crate) fn set_waker(&mut self, waker: &Waker) {
        if !self.waker.will_wake(waker) {
            self.waker.clone_from(waker);
            let waker = waker.clone();
            let replaced = self.timers.lock().wakers.insert(self.key, waker);
            drop(replaced);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let removed = self.timers.lock().wakers.remove(&self.key);
        drop(removed);
    }
}

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("it is told so");
        }
    }

    impl Count {
        fn get(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }

    fn alarm(timers: &Arc<Timers>, after: Duration, waker: &Waker) -> Alarm {
        Alarm::new(timers.clone(), Instant::now() + after, waker)
    }

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn only_those_that_are_due_are_woken_and_once() {
        let timers = Arc::new(Timers::default());
        let (due, waker) = counted();
        let (later, later_waker) = counted();
        let _alarms =
            [alarm(&timers, NOW, &waker), alarm(&timers, LONGEST * 9, &later_waker), alarm(&timers, NOW, &waker)];
        assert_eq!(timers.sleep(), Some(NOW));
        timers.fire();
        timers.fire();
        assert_eq!((due.get(), later.get()), (2, 0));
        assert_eq!(timers.sleep(), Some(LONGEST));
    }

    #[test]
    fn a_dropped_one_wakes_nobody_and_limits_no_sleep() {
        let timers = Arc::new(Timers::default());
        let (count, waker) = counted();
        assert_eq!(timers.sleep(), None);
        drop(alarm(&timers, NOW, &waker));
        assert_eq!(timers.sleep(), None);
        timers.fire();
        assert_eq!((count.get(), Arc::strong_count(&count)), (0, 2));
    }

    #[test]
    fn the_last_waker_is_woken() {
        let timers = Arc::new(Timers::default());
        let ((first, first_waker), (last, last_waker)) = (counted(), counted());
        let mut alarm = alarm(&timers, NOW, &first_waker);
        alarm.set_waker(&first_waker);
        alarm.set_waker(&last_waker);
        timers.fire();
        assert_eq!((first.get(), last.get()), (0, 1));
    }

    #[test]
    fn the_end_wakes_all() {
        let timers = Arc::new(Timers::default());
        let (count, waker) = counted();
        let _alarms = [alarm(&timers, NOW, &waker), alarm(&timers, LONGEST, &waker)];
        timers.end();
        assert_eq!((count.get(), timers.sleep()), (2, None));
    }

    #[test]
    fn a_waker_that_panics_keeps_nobody_asleep() {
        let timers = Arc::new(Timers::default());
        let (count, waker) = counted();
        let panics = Waker::from(Arc::new(Panics));
        let _alarms = [alarm(&timers, NOW, &panics), alarm(&timers, NOW, &panics), alarm(&timers, NOW, &waker)];
        timers.fire();
        assert_eq!(count.get(), 1);
    }
}

//! The loop around an epoll.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_task::Runnable;
use rustix::event::epoll::EventFlags;
use rustix::event::{EventfdFlags, eventfd};

use super::inbox::Inbox;
use super::poller::Poller;
use super::source::Lent;
use super::spin::Spin;
use super::timers::Timers;
use crate::io::async_io::reserve;
use crate::io::errors::retry;

/// The key of the eventfd.
const NOTIFIED: u64 = u64::MAX;

thread_local! {
    /// The loop that runs on this thread; the innermost one, if they are nested.
    static CURRENT: RefCell<Option<Local>> = const { RefCell::new(None) };
}

/// What only the thread of a loop touches.
struct Local {
    reactor: Arc<Reactor>,
    queue: VecDeque<Runnable>,
}

/// A poller with a queue of tasks, and what other threads may do to it.
#[derive(Debug)]
pub(crate) struct Reactor {
    poller: Arc<Poller>,
    timers: Arc<Timers>,
    /// Edge-triggered and never read: each write to it wakes the loop.
    event: OwnedFd,
    /// Tasks that other threads have woken.
    injected: Inbox<Runnable>,
    /// How long to look for work before each sleep; as long as it pays, if nobody has said.
    busy_poll: Option<Duration>,
    /// Where its tasks go on when the loop has ended.
    heir: OnceLock<Arc<Self>>,
}

/// The driver of this thread, if it is one.
pub(crate) fn current() -> Option<Arc<Reactor>> {
    CURRENT.try_with(|current| current.borrow().as_ref().map(|local| local.reactor.clone())).ok().flatten()
}

/// Whether that is so of the loop of this thread.
fn is_here(is_so: impl FnOnce(&Local) -> bool) -> bool {
    CURRENT.try_with(|current| current.borrow().as_ref().is_some_and(is_so)).unwrap_or(false)
}

/// Whether these are the timers of the driver of this thread.
pub(super) fn has_timers(timers: &Arc<Timers>) -> bool {
    is_here(|local| Arc::ptr_eq(&local.reactor.timers, timers))
}

impl Reactor {
    pub(crate) fn new(busy_poll: Option<Duration>) -> io::Result<Self> {
        let poller = Arc::new(Poller::new()?);
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        poller.add(&event, NOTIFIED, EventFlags::IN | EventFlags::ET)?;
        reserve()?;
        Ok(Self { poller, timers: Arc::default(), event, injected: Inbox::new(), busy_poll, heir: OnceLock::new() })
    }

    pub(crate) const fn poller(&self) -> &Arc<Poller> {
        &self.poller
    }

    pub(crate) const fn timers(&self) -> &Arc<Timers> {
        &self.timers
    }

    /// Puts a task into the queue of the loop, from whatever thread.
    pub(crate) fn schedule(self: &Arc<Self>, runnable: Runnable) {
        let mut runnable = Some(runnable);
        let _ = CURRENT.try_with(|current| {
            if let Some(local) = current.borrow_mut().as_mut().filter(|local| Arc::ptr_eq(&local.reactor, self)) {
                if let Some(runnable) = runnable.take() {
                    local.queue.push_back(runnable);
                }
            }
        });
        if let Some(runnable) = runnable {
            self.inject(runnable);
        }
    }

    fn inject(&self, runnable: Runnable) {
        self.injected.push(runnable, || self.ring()).into_iter().for_each(|runnable| self.rehome(runnable));
    }

    /// Has the loop look at everything again before it sleeps.
    pub(crate) fn look_again(&self) {
        self.injected.notice(|| {
            // On its own thread it is awake.
            if !self.is_current() {
                self.ring();
            }
        });
    }

    fn is_current(&self) -> bool {
        is_here(|local| ptr::eq(&*local.reactor, self))
    }

    fn ring(&self) {
        // It fails only when the counter is full, and then the loop is awake.
        let _ = retry(|| Ok(rustix::io::write(&self.event, &1_u64.to_ne_bytes())?));
    }

    /// Takes in what other threads have handed over.
    pub(super) fn receive(self: &Arc<Self>) {
        if let Some(runnables) = self.injected.begin_round() {
            runnables.into_iter().for_each(|runnable| self.schedule(runnable));
        }
    }

    /// Whether there is something to do, on its own thread.
    pub(super) fn is_busy(&self) -> bool {
        has_queued() || self.injected.is_noticed()
    }

    /// Sleeps until there is something to do; looks for it for a while before, where that is wanted or pays.
    fn sleep(&self, spin: &mut Spin, lent: &mut Lent) {
        let time = spin.time();
        if time.is_zero() || !self.look(time, spin, lent) {
            self.poller.wait(self.timers.sleep(), lent);
        }
    }

    /// Looks for events again and again for a time, but not past the next timer; whether there was one.
    fn look(&self, time: Duration, spin: &mut Spin, lent: &mut Lent) -> bool {
        let limit = self.timers.sleep().unwrap_or(time).min(time);
        if limit.is_zero() {
            return false;
        }
        let mut spent = Duration::ZERO;
        let start = Instant::now();
        let found = loop {
            if self.poller.wait(Some(Duration::ZERO), lent) {
                break true;
            }
            let before = mem::replace(&mut spent, start.elapsed());
            spin.polled(spent.saturating_sub(before));
            if spent >= limit {
                break false;
            }
        };
        // What a timer has cut short was not in vain.
        if found || limit == time {
            spin.ended(found);
        }
        found
    }

    /// The loop is over: what it still had to run goes on elsewhere.
    fn end(&self, queue: VecDeque<Runnable>) {
        self.poller.end();
        self.timers.end();
        queue.into_iter().chain(self.injected.close()).for_each(|runnable| self.rehome(runnable));
    }

    /// Passes a task on: all of them to one driver, which they stay on.
    fn rehome(&self, runnable: Runnable) {
        let heir = self.heir.get().cloned().or_else(super::next_reactor);
        match heir {
            Some(heir) => self.heir.get_or_init(|| heir).schedule(runnable),
            // There is no descriptor or thread to be had. It must not run here, inside of whatever wakes it.
            None => smol::spawn(async { runnable.run() }).detach(),
        }
    }
}

/// A loop and its tasks, which are passed on when it is over.
#[derive(Debug)]
pub(super) struct Loop {
    reactor: Arc<Reactor>,
    /// What is queued while no thread is in the loop.
    queue: VecDeque<Runnable>,
}

impl Loop {
    pub(super) const fn new(reactor: Arc<Reactor>) -> Self {
        Self { reactor, queue: VecDeque::new() }
    }

    pub(super) const fn reactor(&self) -> &Arc<Reactor> {
        &self.reactor
    }

    /// Makes it the loop of this thread.
    pub(super) fn enter(&mut self) -> Entered<'_> {
        let local = Local { reactor: self.reactor.clone(), queue: mem::take(&mut self.queue) };
        Entered { around: CURRENT.with(|current| current.replace(Some(local))), queue: &mut self.queue }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.reactor.end(mem::take(&mut self.queue));
    }
}

/// Restores the loop around this one, and keeps what is queued.
pub(super) struct Entered<'a> {
    around: Option<Local>,
    queue: &'a mut VecDeque<Runnable>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let left = CURRENT.with(|current| mem::replace(&mut *current.borrow_mut(), self.around.take()));
        if let Some(local) = left {
            *self.queue = local.queue;
        }
    }
}

/// Exchanges the queue for an empty one.
fn take_queue(queue: &mut VecDeque<Runnable>) {
    CURRENT.with(|current| current.borrow_mut().iter_mut().for_each(|local| mem::swap(&mut local.queue, queue)));
}

fn has_queued() -> bool {
    is_here(|local| !local.queue.is_empty())
}

/// Runs the loop on this thread until `done`.
pub(crate) fn run(reactor: &Arc<Reactor>, mut done: impl FnMut() -> bool) {
    let mut this = Loop::new(reactor.clone());
    let _entered = this.enter();
    let (mut queue, mut lent) = (VecDeque::new(), Vec::new());
    let mut spin = Spin::new(reactor.busy_poll);
    loop {
        reactor.receive();
        if done() {
            return;
        }
        run_queue(&mut queue, || spin.worked());
        if reactor.is_busy() {
            reactor.poller.wait(Some(Duration::ZERO), &mut lent);
        } else {
            reactor.sleep(&mut spin, &mut lent);
        }
        reactor.timers.fire();
    }
}

/// Runs the tasks that are queued. Those that are woken meanwhile come after a look at epoll. `queue` is empty before and
/// after.
pub(super) fn run_queue(queue: &mut VecDeque<Runnable>, mut ran: impl FnMut()) {
    take_queue(queue);
    while let Some(runnable) = queue.pop_front() {
        runnable.run();
        ran();
    }
}

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::driver::Alarm;

    /// How often it was rung, since this was asked last.
    fn rings(reactor: &Reactor) -> u64 {
        let mut count = [0; 8];
        rustix::io::read(&reactor.event, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }

    #[test]
    fn a_loop_is_not_rung_on_its_own_thread_and_looks_again_all_the_same() {
        let reactor = Arc::new(Reactor::new(None).unwrap());
        let mut rounds = 0;
        run(&reactor, || {
            rounds += 1;
            if rounds < 3 {
                reactor.look_again();
            }
            rounds == 3
        });
        assert_eq!(rings(&reactor), 0);
        reactor.look_again();
        assert_eq!(rings(&reactor), 1);
    }

    #[test]
    fn a_look_that_a_timer_ends_was_not_in_vain() {
        let reactor = Arc::new(Reactor::new(None).unwrap());
        let (mut spin, mut lent) = (Spin::new(None), Vec::new());
        assert!(!reactor.look(Duration::from_micros(1), &mut spin, &mut lent));
        assert_eq!(spin.vain(), 1);
        let soon = Instant::now() + Duration::from_millis(20);
        let _alarm = Alarm::new(reactor.timers().clone(), soon, Waker::noop());
        assert!(!reactor.look(Duration::from_secs(3600), &mut spin, &mut lent));
        assert_eq!(spin.vain(), 1);
    }
}

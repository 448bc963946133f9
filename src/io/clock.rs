//! Time: one injectable clock, and one deadline slot for each actor.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::timer::Timer;

/// Where the time comes from.
#[derive(Clone, Debug, Default)]
pub(crate) enum Clock {
    #[default]
    System,
    Manual(Arc<ManualClock>),
}

/// A clock that stands still until it is moved.
pub(crate) struct ManualClock {
    state: Mutex<Manual>,
}

struct Manual {
    now: Instant,
    sleepers: Vec<Waker>,
}

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(Manual { now: Instant::now(), sleepers: Vec::new() }) }
    }

    /// Moves the time on and wakes whoever waits for it.
    pub(crate) fn advance(&self, by: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now += by;
        let sleepers = std::mem::take(&mut state.sleepers);
        drop(state);
        sleepers.into_iter().for_each(Waker::wake);
    }

    /// Whether `at` has come; else `waker` is told when the time moves.
    fn has_come(&self, at: Instant, waker: &Waker) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.now >= at {
            return true;
        }
        if !state.sleepers.iter().any(|known| known.will_wake(waker)) {
            state.sleepers.push(waker.clone());
        }
        false
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").finish_non_exhaustive()
    }
}

impl Clock {
    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::System => Instant::now(),
            Self::Manual(clock) => clock.state.lock().unwrap_or_else(PoisonError::into_inner).now,
        }
    }
}

/// One point in time that an actor waits for; it costs nothing until it is armed.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    clock: Clock,
    armed: Option<Box<Timer>>,
}

impl Deadline {
    pub(crate) const fn new(clock: Clock) -> Self {
        Self { clock, armed: None }
    }

    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sets the deadline `after` from now, unless one is set already.
    pub(crate) fn arm(&mut self, after: Duration) {
        if self.armed.is_some() {
            return;
        }
        if let Some(at) = self.clock.now().checked_add(after) {
            self.set(at);
        }
    }

    /// Sets the deadline, whatever it was before.
    fn set(&mut self, at: Instant) {
        self.armed = Some(Box::new(Timer::at(at)));
    }

    /// Waits for another deadline, if any: wakes the task at `at` or before, once.
    pub(crate) fn wait_until(&mut self, at: Option<Instant>, cx: &mut Context<'_>) {
        let Some(at) = at else { return self.disarm() };
        if self.armed.as_ref().and_then(|timer| timer.when()).is_none_or(|armed| armed > at) {
            self.set(at);
        }
        if self.has_passed(cx) {
            self.disarm();
            cx.waker().wake_by_ref();
        }
    }

    /// Whether `at` has come; else the task is woken then or earlier, and asks again.
    ///
    /// A timer that is set for an earlier time is left alone: times that move on with each byte cost no timer then.
    pub(crate) fn has_come(&mut self, at: Instant, cx: &mut Context<'_>) -> bool {
        let has_come = self.clock.now() >= at;
        if !has_come {
            self.wait_until(Some(at), cx);
        }
        has_come
    }

    /// Waits for nothing.
    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }

    /// Whether the deadline has passed; else the task is woken when it does.
    pub(crate) fn has_passed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.armed else { return false };
        match &self.clock {
            Clock::System => Pin::new(&mut **timer).poll(cx).is_ready(),
            Clock::Manual(clock) => timer.when().is_some_and(|at| clock.has_come(at, cx.waker())),
        }
    }
}

//! Waiting for a point in time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::async_io::prepare;
#[cfg(target_os = "linux")]
use crate::driver::{Alarm, current_timers};

/// A point in time. Whoever polls it is woken by the driver of that thread, or by async-io where there is none.
#[derive(Debug)]
pub(crate) struct Timer {
    /// None never comes.
    at: Option<Instant>,
    /// It is left to async-io everywhere.
    apart: bool,
    waiting: Option<Waiting>,
}

/// Who wakes the task.
#[derive(Debug)]
enum Waiting {
    AsyncIo(async_io::Timer),
    #[cfg(target_os = "linux")]
    Driver(Alarm),
}

impl Timer {
    const fn new(at: Option<Instant>) -> Self {
        Self { at, apart: false, waiting: None }
    }

    pub(crate) const fn at(at: Instant) -> Self {
        Self::new(Some(at))
    }

    pub(crate) const fn never() -> Self {
        Self::new(None)
    }

    /// A duration that is too long for the clock never ends.
    pub(crate) fn after(duration: Duration) -> Self {
        Self::new(Instant::now().checked_add(duration))
    }

    /// Leaves it to async-io even on a driver: for what a callback may wait for, by another executor, while it blocks the
    /// driver.
    pub(crate) const fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    pub(crate) const fn when(&self) -> Option<Instant> {
        self.at
    }

    #[cfg(target_os = "linux")]
    fn wait(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.apart {
            return self.wait_outside(at, cx);
        }
        if let Some(Waiting::Driver(alarm)) = &mut self.waiting {
            if alarm.is_of_current() {
                alarm.set_waker(cx.waker());
                return Poll::Pending;
            }
        }
        let Some(timers) = current_timers() else { return self.wait_outside(at, cx) };
        self.waiting = Some(Waiting::Driver(Alarm::new(timers, at, cx.waker())));
        Poll::Pending
    }

    #[cfg(not(target_os = "linux"))]
    fn wait(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.wait_outside(at, cx)
    }

    fn wait_outside(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(Waiting::AsyncIo(timer)) = &mut self.waiting {
                return Pin::new(timer).poll(cx).map(drop);
            }
            if prepare().is_err() {
                // Nobody else can wake it. To look again and again until it is time is better than to panic.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.waiting = Some(Waiting::AsyncIo(async_io::Timer::at(at)));
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        if Instant::now() < at {
            return self.wait(at, cx);
        }
        self.waiting = None;
        Poll::Ready(())
    }
}

//! The time limits of an actor that has any.

use std::task::Context;
use std::time::{Duration, Instant};

use super::watch::{SendTimes, Watch};
use crate::io::clock::{Clock, Deadline};
use crate::state::bounds::{Bounds, Limit};

/// Most actors have none of this, so it is kept apart from them.
#[derive(Debug, Default)]
pub(crate) struct Times {
    watch: Option<Watch>,
    pub(crate) close_timeout: Option<Duration>,
    /// When closing takes too long; set when it begins.
    late: Option<Instant>,
    deadline: Deadline,
}

impl Times {
    /// None if there are no limits and the clock is that of the system.
    pub(crate) fn new(bounds: Bounds, close_timeout: Option<Duration>, clock: Clock) -> Option<Box<Self>> {
        let watch = Watch::new(bounds, &clock);
        let is_needed = watch.is_some() || close_timeout.is_some() || !matches!(clock, Clock::System);
        is_needed.then(|| Box::new(Self { watch, close_timeout, late: None, deadline: Deadline::new(clock) }))
    }

    /// What the sending half notes, if it is to.
    pub(crate) fn send_times(&self) -> Option<SendTimes> {
        self.watch.as_ref().map(Watch::send_times)
    }

    #[cfg(feature = "tls-custom")]
    pub(crate) const fn clock(&self) -> &Clock {
        self.deadline.clock()
    }

    pub(crate) fn received(&mut self) {
        self.watch.iter_mut().for_each(Watch::received);
    }

    pub(crate) fn set_reading(&mut self, on: bool) {
        self.watch.iter_mut().for_each(|watch| watch.set_reading(on));
    }

    /// Whether closing takes longer than it may; else the task is woken when it does.
    pub(crate) fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(limit) = self.close_timeout else { return false };
        self.late = self.late.or_else(|| self.deadline.clock().now().checked_add(limit));
        self.late.is_some_and(|at| self.deadline.has_come(at, cx))
    }

    /// Whether there are limits besides that of closing.
    pub(crate) const fn has_limits(&self) -> bool {
        self.watch.is_some()
    }

    /// The limit that has passed, if one has; else the task is woken when one may have.
    pub(crate) fn passed(
        &mut self,
        sending: impl FnOnce() -> Option<(Instant, Option<Instant>)>,
        cx: &mut Context<'_>,
    ) -> Option<Limit> {
        let (at, limit) = self.watch.as_ref()?.next(sending())?;
        self.deadline.has_come(at, cx).then_some(limit)
    }
}

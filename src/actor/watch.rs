//! What happened when on a stream with time limits, and whether that is too long ago.

use std::time::Instant;

use crate::io::clock::Clock;
use crate::state::bounds::{Activity, Bounds, Limit};

/// What the sending half notes. It lies beside the outbox, because handles send as well.
#[derive(Debug)]
pub(crate) struct SendTimes {
    clock: Clock,
    sent: Instant,
    /// Since when something waits.
    waiting: Option<Instant>,
}

impl SendTimes {
    fn new(clock: Clock) -> Self {
        Self { sent: clock.now(), clock, waiting: None }
    }

    /// Whether something was sent just now, and whether something is left.
    pub(crate) fn note(&mut self, sent: bool, waits: bool) {
        if sent {
            self.sent = self.clock.now();
        }
        self.waiting = waits.then(|| self.waiting.unwrap_or_else(|| self.clock.now()));
    }

    pub(crate) const fn read(&self) -> (Instant, Option<Instant>) {
        (self.sent, self.waiting)
    }
}

/// What the actor notes, and its limits.
#[derive(Debug)]
pub(crate) struct Watch {
    bounds: Bounds,
    clock: Clock,
    received: Instant,
    /// Since when reading is wanted, if it is.
    reading: Option<Instant>,
}

impl Watch {
    /// None if there are no time limits.
    pub(crate) fn new(bounds: Bounds, clock: &Clock) -> Option<Self> {
        let now = bounds.has_times().then(|| clock.now())?;
        Some(Self { bounds, clock: clock.clone(), received: now, reading: Some(now) })
    }

    /// The part of the sending half.
    pub(crate) fn send_times(&self) -> SendTimes {
        SendTimes::new(self.clock.clone())
    }

    pub(crate) fn received(&mut self) {
        self.received = self.clock.now();
    }

    pub(crate) fn set_reading(&mut self, on: bool) {
        self.reading = on.then(|| self.clock.now());
    }

    /// The limit that passes first if nothing happens, and when that is.
    pub(crate) fn next(&self, sending: Option<(Instant, Option<Instant>)>) -> Option<(Instant, Limit)> {
        let (sent, waiting) = sending?;
        self.bounds.next(&Activity { received: self.received, sent, reading: self.reading, waiting })
    }
}

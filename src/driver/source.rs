//! A descriptor at a driver's epoll.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustix::event::epoll::EventFlags;

use super::reactor::Reactor;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Mutex, PoisonError};

const READ: u8 = 1;
const WRITE: u8 = 2;
/// Sticky: a short read does not mean that all was read. There is an end to be found, or urgent data, which reads stop at.
const READ_ON: u8 = 4;

/// What a descriptor is registered for. What it can be written is asked for only while a write is blocked: else each
/// read of the peer would be reported on some kinds of socket.
const READING: EventFlags = EventFlags::IN.union(EventFlags::PRI).union(EventFlags::RDHUP).union(EventFlags::ET);

/// What is known about the readiness of a descriptor, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Source {
    ready: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Source {
    /// Takes in what epoll has reported; whom to wake.
    pub(crate) fn report(&self, flags: EventFlags) -> Option<Waker> {
        let mut ready = 0;
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR | EventFlags::PRI) {
            ready |= READ | READ_ON;
        }
        // A peer that has only finished sending says nothing about writing.
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            ready |= WRITE;
        }
        if flags.contains(EventFlags::IN) {
            ready |= READ;
        }
        if flags.contains(EventFlags::OUT) {
            ready |= WRITE;
        }
        self.ready.fetch_or(ready, Ordering::AcqRel);
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether reading must go on although it came short.
    fn must_read_on(&self) -> bool {
        self.ready.load(Ordering::Acquire) & READ_ON != 0
    }

    fn take(&self, bit: u8) -> bool {
        self.ready.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    fn poll(&self, bit: u8, cx: &Context<'_>) -> Poll<()> {
        if self.take(bit) {
            return Poll::Ready(());
        }
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        drop(waker);
        // It may have come in between, from another thread.
        if self.take(bit) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A descriptor that is registered as long as this lives. It must be dropped before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct Registration<S: AsFd> {
    reactor: Arc<Reactor>,
    source: Arc<Source>,
    key: u64,
    /// The writing is asked for as well.
    armed: bool,
    stream: Arc<S>,
}

impl<S: AsFd> Registration<S> {
    pub(crate) fn new(reactor: Arc<Reactor>, stream: Arc<S>) -> io::Result<Self> {
        let source = Arc::new(Source::default());
        let key = reactor.insert(source.clone());
        let this = Self { reactor, source, key, armed: false, stream };
        this.reactor.add(&*this.stream, this.key, READING)?;
        Ok(this)
    }

    pub(crate) const fn stream(&self) -> &Arc<S> {
        &self.stream
    }

    /// The driver has ended: the descriptor must be bound anew.
    pub(crate) fn is_stale(&self) -> bool {
        self.reactor.has_ended()
    }

    /// Whether reading must go on although it came short.
    pub(crate) fn must_read_on(&self) -> bool {
        self.source.must_read_on()
    }

    pub(crate) fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        self.source.poll(READ, cx)
    }

    /// To be asked only after a write that came short: epoll reports at once what has become writable since.
    pub(crate) fn poll_writable(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let ready = self.source.poll(WRITE, cx).is_ready();
        if ready == self.armed {
            self.armed = !ready;
            let flags = if ready { READING } else { READING | EventFlags::OUT };
            self.reactor.modify(&*self.stream, self.key, flags)?;
        }
        if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl<S: AsFd> Drop for Registration<S> {
    fn drop(&mut self) {
        self.reactor.remove(&*self.stream, self.key);
    }
}

#[cfg(all(test, any(model = "loom", model = "shuttle")))]
mod models;

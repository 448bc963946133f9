//! The descriptors at a driver's epoll.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustix::event::epoll::EventFlags;
use slab::Slab;

use super::reactor::Reactor;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

const READ: u8 = 1;
const WRITE: u8 = 2;
/// Sticky: a short read does not mean that all was read. There is an end to be found, or urgent data, which reads stop at.
const READ_ON: u8 = 4;

/// What a descriptor is registered for. What it can be written is asked for only while a write is blocked: else each
/// read of the peer would be reported on some kinds of socket.
const READING: EventFlags = EventFlags::IN.union(EventFlags::PRI).union(EventFlags::RDHUP).union(EventFlags::ET);

/// All descriptors of one epoll, and whom to wake for each.
#[derive(Debug, Default)]
pub(crate) struct Sources(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    slab: Slab<Source>,
    /// Of the source that came last.
    generation: u32,
}

#[derive(Debug)]
struct Source {
    /// Tells it from an earlier one in the same place, of which an event may still be at hand.
    generation: u32,
    ready: Arc<Readiness>,
    waker: Option<Waker>,
}

impl Source {
    fn report(&self, flags: EventFlags, wakers: &mut Vec<Waker>) {
        self.ready.report(flags);
        if let Some(waker) = &self.waker {
            wakers.push(waker.clone());
        }
    }
}

impl Table {
    /// The source that a key was given for, if it is still there.
    fn get_mut(&mut self, key: u64) -> Option<&mut Source> {
        self.slab.get_mut(index(key)).filter(|source| u64::from(source.generation) == key >> 32)
    }
}

const fn index(key: u64) -> usize {
    (key & u32::MAX as u64) as usize
}

impl Sources {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self) -> Watch {
        let ready = Arc::new(Readiness::default());
        let mut table = self.lock();
        table.generation = table.generation.wrapping_add(1);
        let generation = table.generation;
        let index = table.slab.insert(Source { generation, ready: ready.clone(), waker: None });
        Watch { ready, key: (u64::from(generation) << 32) | index as u64, waker: None }
    }

    fn set_waker(&self, key: u64, waker: &Waker) {
        let replaced = self.lock().get_mut(key).and_then(|source| source.waker.replace(waker.clone()));
        drop(replaced);
    }

    pub(super) fn remove(&self, watch: &Watch) {
        let removed = self.lock().slab.try_remove(index(watch.key));
        drop(removed);
    }

    /// Takes in what epoll has reported; adds whom to wake.
    pub(super) fn report(&self, events: impl Iterator<Item = (u64, EventFlags)>, wakers: &mut Vec<Waker>) {
        let mut table = self.lock();
        for (key, flags) in events {
            if let Some(source) = table.get_mut(key) {
                source.report(flags, wakers);
            }
        }
    }

    /// The same for all that there are.
    pub(super) fn report_all(&self, flags: EventFlags, wakers: &mut Vec<Waker>) {
        self.lock().slab.iter().for_each(|(_, source)| source.report(flags, wakers));
    }
}

/// What is known about the readiness of a descriptor.
#[derive(Debug, Default)]
struct Readiness(AtomicU8);

impl Readiness {
    fn report(&self, flags: EventFlags) {
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
        self.0.fetch_or(ready, Ordering::AcqRel);
    }

    fn has(&self, bit: u8) -> bool {
        self.0.load(Ordering::Acquire) & bit != 0
    }

    fn take(&self, bit: u8) -> bool {
        self.has(bit) && self.0.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }
}

/// The place of a descriptor among the sources.
#[derive(Debug)]
pub(crate) struct Watch {
    ready: Arc<Readiness>,
    key: u64,
    /// Whom the source wakes. It is kept here as well because it hardly ever changes, and asking takes a lock.
    waker: Option<Waker>,
}

impl Watch {
    fn poll(&mut self, sources: &Sources, bit: u8, cx: &Context<'_>) -> Poll<()> {
        if self.ready.take(bit) {
            return Poll::Ready(());
        }
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            sources.set_waker(self.key, cx.waker());
            self.waker = Some(cx.waker().clone());
        }
        // It may have come in between, from another thread.
        if self.ready.take(bit) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A descriptor that is registered as long as this lives. It must be dropped before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct Registration<S: AsFd> {
    reactor: Arc<Reactor>,
    watch: Watch,
    /// The writing is asked for as well.
    armed: bool,
    stream: Arc<S>,
}

impl<S: AsFd> Registration<S> {
    pub(crate) fn new(reactor: Arc<Reactor>, stream: Arc<S>) -> io::Result<Self> {
        let watch = reactor.sources().insert();
        let this = Self { reactor, watch, armed: false, stream };
        this.reactor.add(&*this.stream, this.watch.key, READING)?;
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
        self.watch.ready.has(READ_ON)
    }

    pub(crate) fn poll_readable(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.watch.poll(self.reactor.sources(), READ, cx)
    }

    /// To be asked only after a write that came short: epoll reports at once what has become writable since.
    pub(crate) fn poll_writable(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let ready = self.watch.poll(self.reactor.sources(), WRITE, cx).is_ready();
        if ready == self.armed {
            self.armed = !ready;
            let flags = if ready { READING } else { READING | EventFlags::OUT };
            self.reactor.modify(&*self.stream, self.watch.key, flags)?;
        }
        if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl<S: AsFd> Drop for Registration<S> {
    fn drop(&mut self) {
        self.reactor.remove(&*self.stream, &self.watch);
    }
}

#[cfg(all(test, any(model = "loom", model = "shuttle")))]
mod models;

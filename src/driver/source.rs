//! The descriptors at a driver's epoll.

use std::io;
use std::mem;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustix::event::epoll::EventFlags;
use slab::Slab;

mod ready;

use super::poller::Poller;
use crate::actor::delivery::guarded;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use ready::{Readiness, Readinesses};

/// What a descriptor is registered for. What it can be written is asked for only while a write is blocked: else each
/// read of the peer would be reported on some kinds of socket.
const READING: EventFlags = EventFlags::IN.union(EventFlags::PRI).union(EventFlags::RDHUP).union(EventFlags::ET);

/// Wakers that were taken to be woken, and the keys of their sources.
pub(super) type Lent = Vec<(u64, Waker)>;

/// All descriptors of one epoll, and whom to wake for each.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    table: Mutex<Table>,
    /// Of those in the table, by their index.
    ready: Readinesses,
}

#[derive(Debug, Default)]
struct Table {
    slab: Slab<Source>,
    /// Of the source that comes next.
    generation: Generation,
}

/// Tells a source from an earlier one in the same place, of which an event may still be at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Generation(NonZeroU32);

impl Default for Generation {
    fn default() -> Self {
        Self(NonZeroU32::MIN)
    }
}

impl Generation {
    /// The upper half of a key.
    fn upper(self) -> u64 {
        u64::from(self.0.get()) << 32
    }

    fn next(self) -> Self {
        Self(self.0.checked_add(1).unwrap_or(NonZeroU32::MIN))
    }
}

#[derive(Debug)]
struct Source {
    generation: Generation,
    waker: Option<Waker>,
}

impl Table {
    /// The source that a key was given for, if it is still there.
    fn get_mut(&mut self, key: u64) -> Option<&mut Source> {
        self.slab.get_mut(index(key)).filter(|source| source.generation.upper() == key & !INDEX)
    }
}

/// The half of a key that is the place of a source.
const INDEX: u64 = u32::MAX as u64;

/// The place of a source; the other half of the key is its generation.
const fn index(key: u64) -> usize {
    (key & INDEX) as usize
}

impl Sources {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self) -> Watch {
        let mut table = self.lock();
        let generation = table.generation;
        table.generation = generation.next();
        let index = table.slab.insert(Source { generation, waker: None });
        self.ready.at(index).reset();
        Watch { key: generation.upper() | index as u64, seen: 0, waker: None, armed: false }
    }

    fn set_waker(&self, key: u64, waker: &Waker) {
        let replaced = self.lock().get_mut(key).and_then(|source| source.waker.replace(waker.clone()));
        drop(replaced);
    }

    /// Whether it was reported that writing is worth a try; once for each report.
    fn take_write(&self, ready: &Readiness) -> bool {
        ready.may_write() && {
            let _table = self.lock();
            ready.take_write();
            true
        }
    }

    pub(super) fn remove(&self, watch: &Watch) {
        let removed = self.lock().slab.try_remove(index(watch.key));
        drop(removed);
    }

    /// Takes in what epoll has reported, and wakes who waits for it. `lent` is empty before and after.
    pub(super) fn report(&self, events: impl Iterator<Item = (u64, EventFlags)>, lent: &mut Lent) {
        self.lend(events, lent);
        let mut wakers = lent.iter().map(|(_, waker)| waker);
        // One that panics must not keep the others asleep.
        while guarded(|| wakers.by_ref().for_each(Waker::wake_by_ref)).is_err() {}
        self.take_back(lent);
    }

    /// Notes what was reported, and takes the wakers that it is for: to wake by reference costs less than to clone.
    fn lend(&self, events: impl Iterator<Item = (u64, EventFlags)>, lent: &mut Lent) {
        let mut table = self.lock();
        for (key, flags) in events {
            if let Some(source) = table.get_mut(key) {
                self.ready.at(index(key)).report(flags);
                lent.extend(source.waker.take().map(|waker| (key, waker)));
            }
        }
    }

    /// Puts the wakers back, but for those whose source has gone or has another one by now.
    fn take_back(&self, lent: &mut Lent) {
        // Dropped without the lock.
        let mut unwanted = Vec::new();
        let mut table = self.lock();
        while let Some((key, waker)) = lent.pop() {
            match table.get_mut(key) {
                Some(source) if source.waker.is_none() => source.waker = Some(waker),
                _ => unwanted.push(waker),
            }
        }
    }

    /// Notes the same for all that there are; adds whom to wake.
    pub(super) fn report_all(&self, flags: EventFlags, wakers: &mut Vec<Waker>) {
        for (index, source) in &self.lock().slab {
            self.ready.at(index).report(flags);
            wakers.extend(source.waker.clone());
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
enum Way {
    Read,
    Write,
}

/// The place of a descriptor among the sources.
#[derive(Debug)]
pub(crate) struct Watch {
    key: u64,
    /// The last report of something to read that was acted on.
    seen: u32,
    /// Whom the source wakes. It is kept here as well because it hardly ever changes, and asking takes a lock.
    waker: Option<Waker>,
    /// The writing is asked for as well. It is here because it fits into the padding.
    armed: bool,
}

impl Watch {
    #[inline]
    fn ready<'a>(&self, sources: &'a Sources) -> &'a Readiness {
        sources.ready.at(index(self.key))
    }

    /// Whether a source wakes that one already.
    fn is_known(&self, waker: &Waker) -> bool {
        self.waker.as_ref().is_some_and(|known| known.will_wake(waker))
    }

    /// Whether something was reported that nobody has acted on.
    #[inline]
    fn take(&mut self, sources: &Sources, way: Way) -> bool {
        let ready = self.ready(sources);
        match way {
            Way::Read => {
                let reads = ready.reads();
                mem::replace(&mut self.seen, reads) != reads
            }
            Way::Write => sources.take_write(ready),
        }
    }

    #[inline]
    fn poll(&mut self, sources: &Sources, way: Way, cx: &Context<'_>) -> Poll<()> {
        if self.take(sources, way) {
            return Poll::Ready(());
        }
        if self.is_known(cx.waker()) { Poll::Pending } else { self.ask(sources, way, cx) }
    }

    /// Asks to be woken from now on.
    #[cold]
    fn ask(&mut self, sources: &Sources, way: Way, cx: &Context<'_>) -> Poll<()> {
        sources.set_waker(self.key, cx.waker());
        self.waker = Some(cx.waker().clone());
        // It may have come in between, from another thread.
        if self.take(sources, way) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A descriptor that is registered as long as this lives. It must be dropped before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct Registration<S: AsFd> {
    poller: Arc<Poller>,
    watch: Watch,
    stream: Arc<S>,
}

impl<S: AsFd> Registration<S> {
    pub(crate) fn new(poller: Arc<Poller>, stream: Arc<S>) -> io::Result<Self> {
        let watch = poller.sources().insert();
        let this = Self { poller, watch, stream };
        this.poller.add(&*this.stream, this.watch.key, READING)?;
        Ok(this)
    }

    pub(crate) const fn stream(&self) -> &Arc<S> {
        &self.stream
    }

    /// The driver has ended: the descriptor must be bound anew.
    pub(crate) fn is_stale(&self) -> bool {
        self.poller.has_ended()
    }

    /// Whether reading must go on although it came short.
    pub(crate) fn must_read_on(&self) -> bool {
        self.watch.ready(self.poller.sources()).must_read_on()
    }

    /// Whether the task is woken when there is something to read: it has been asked for, once and for all.
    pub(crate) fn is_awaited(&self, cx: &Context<'_>) -> bool {
        !self.is_stale() && self.watch.is_known(cx.waker())
    }

    pub(crate) fn poll_readable(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.watch.poll(self.poller.sources(), Way::Read, cx)
    }

    /// To be asked only after a write that came short: epoll reports at once what has become writable since.
    pub(crate) fn poll_writable(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let ready = self.watch.poll(self.poller.sources(), Way::Write, cx).is_ready();
        if ready == self.watch.armed {
            self.watch.armed = !ready;
            let flags = if ready { READING } else { READING | EventFlags::OUT };
            self.poller.modify(&*self.stream, self.watch.key, flags)?;
        }
        if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl<S: AsFd> Drop for Registration<S> {
    fn drop(&mut self) {
        self.poller.remove(&*self.stream, &self.watch);
    }
}

#[cfg(all(test, any(model = "loom", model = "shuttle")))]
mod models;

//! What an actor shares with its handles: one lock, one waker, and a flag that says whether the lock is needed.
//!
//! Handles post here; the actor looks here whenever it is polled. What a caller can read back is true at once, and what
//! the actor must do about it is derived from the same state, so nothing can be forgotten between the two.

use std::cell::Cell;
use std::fmt::Debug;
use std::io;
use std::ptr;
use std::task::Waker;

use super::cause::Cause;
use super::send_side::SendSide;
use super::succession::{Parcel, Succession};
use super::write_side::WriteSide;
use crate::info::ExtraInfo;
use crate::message::Written;
use crate::state::lifecycle::{Input, Lifecycle, State};
use crate::state::limits::WriteLimits;
use crate::stats;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Event as Notify, EventListener, Mutex, MutexGuard, PoisonError, per_thread};
use crate::trace::Trace;

#[cfg(unix)]
mod child;
mod datagram;
mod owner;
mod stream;

pub(crate) use owner::{Sight, Stage, View};

per_thread! {
    /// The mailbox of the actor that is being polled on this thread; the innermost one, if they are nested. It looks at
    /// what was posted before it rests, so nobody on this thread needs to wake it.
    static POLLED: Cell<*const ()> = Cell::new(ptr::null());
}

per_thread! {
    /// The number of the last callback on this thread. What the marks have to say right after it is told under the same
    /// number. It only helps to guess: inside of another callback, or outside of any, it may be that of a stranger.
    static CALLBACK: Cell<u16> = Cell::new(0);
}

/// A callback with a cause of its own is about to be made on this thread.
#[inline]
pub(crate) fn begin_callback() {
    CALLBACK.with(|number| number.set(number.get().wrapping_add(1)));
}

/// While this lives the actor of a mailbox is being polled on this thread.
#[derive(Debug)]
#[must_use]
pub(crate) struct Polling {
    /// The one around it.
    outer: *const (),
}

impl Drop for Polling {
    fn drop(&mut self) {
        POLLED.with(|polled| polled.set(self.outer));
    }
}

/// `W` is the sending half: [`WriteSide`] for streams of bytes.
#[derive(Debug)]
pub(crate) struct Mailbox<W = WriteSide> {
    inner: Mutex<Inner<W>>,
    info: ExtraInfo,
    trace: Trace,
    /// Something was posted since the actor took its last view, or it has to leave its waker again. As long as neither is
    /// the case it begins, delivers and rests without the lock. It is changed under the lock only.
    changed: AtomicBool,
    /// Writing was resumed, a job was done, or the end has come.
    drained: Notify,
    /// `connection_lost` was called and the descriptor is closed.
    closed: Notify,
}

#[derive(Debug)]
struct Inner<W> {
    lifecycle: Lifecycle,
    write: W,
    /// What the counters know of `write`.
    buffered: stats::Buffered,
    reading_paused: bool,
    /// The actor must look at something that the rest of the state does not show.
    dirty: bool,
    waker: Option<Waker>,
    /// Why it ended; the first cause wins.
    cause: Option<Cause>,
    /// The end is an orderly one: the endpoint may say goodbye to the peer.
    goodbye: bool,
    /// Something that was accepted was not sent.
    dropped: bool,
    succession: Succession,
    /// `connection_lost` has returned and the descriptor is closed.
    buried: bool,
}

/// Ends a transport of whatever kind.
pub(crate) trait Stop: Debug + Send + Sync {
    /// `abort()`
    fn stop(&self);
}

impl<W: SendSide + Debug + Send> Stop for Mailbox<W> {
    fn stop(&self) {
        self.abort(None);
    }
}

impl<W: SendSide> Mailbox<W> {
    pub(crate) fn new(write: W, info: ExtraInfo) -> Self {
        let trace = Trace::new(write.name(), &info);
        let inner = Inner {
            lifecycle: Lifecycle::new(),
            write,
            buffered: stats::Buffered::default(),
            reading_paused: false,
            dirty: false,
            waker: None,
            cause: None,
            goodbye: false,
            dropped: false,
            succession: Succession::default(),
            buried: false,
        };
        Self {
            inner: Mutex::new(inner),
            info,
            trace,
            changed: AtomicBool::new(true),
            drained: Notify::new(),
            closed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<W>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The actor is being polled as long as the result lives.
    pub(crate) fn polling(&self) -> Polling {
        Polling { outer: POLLED.with(|polled| polled.replace(self.address())) }
    }

    fn address(&self) -> *const () {
        ptr::from_ref(self).cast()
    }

    /// Changes the state, and wakes the actor if that gave it something to do.
    fn post<R>(&self, change: impl FnOnce(&mut Inner<W>) -> R) -> R {
        let is_polled = self.is_polled();
        let mut inner = self.lock();
        let result = change(&mut inner);
        self.posted(inner, is_polled);
        result
    }

    /// The same for a write. `write` is told the number of the callback if the actor is being polled on this thread: what
    /// is written then is gathered, or sent with nothing left for the actor to look at.
    #[inline]
    fn post_write(&self, write: impl FnOnce(&mut Inner<W>, Option<u16>) -> Written) -> Written {
        let callback = self.is_polled().then(|| CALLBACK.with(Cell::get));
        let mut inner = self.lock();
        let written = write(&mut inner, callback);
        if callback.is_some() && written == Written::Queued && inner.is_done() {
            release(inner);
        } else {
            self.posted(inner, callback.is_some());
        }
        written
    }

    /// Whether the actor is being polled on this thread.
    fn is_polled(&self) -> bool {
        POLLED.with(Cell::get) == self.address()
    }

    /// The state has changed: the actor looks at it before it rests if it is being polled here, and is woken else.
    fn posted(&self, mut inner: MutexGuard<'_, Inner<W>>, is_polled: bool) {
        self.changed.store(true, Ordering::Release);
        let mut waker = None;
        if !is_polled {
            inner.count_buffered();
            if inner.has_work() {
                waker = inner.waker.take();
            }
        }
        release(inner);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Gives the lock back. What was sent is dropped without it.
fn release<W: SendSide>(mut inner: MutexGuard<'_, Inner<W>>) {
    let spent = inner.write.take_spent();
    drop(inner);
    drop(spent);
}

/// For the handles.
impl<W: SendSide> Mailbox<W> {
    pub(crate) const fn info(&self) -> &ExtraInfo {
        &self.info
    }

    pub(crate) const fn trace(&self) -> &Trace {
        &self.trace
    }

    pub(crate) fn write_buffer_size(&self) -> usize {
        self.post(|inner| {
            inner.settle();
            inner.write.size()
        })
    }

    pub(crate) fn limits(&self) -> WriteLimits {
        self.lock().write.marks().limits()
    }

    pub(crate) fn set_limits(&self, limits: WriteLimits) {
        self.post(|inner| {
            inner.settle();
            inner.write.marks_mut().set_limits(limits);
            inner.write.latch();
        });
    }

    pub(crate) fn is_writing_paused(&self) -> bool {
        self.lock().write.marks().is_paused()
    }

    pub(crate) fn set_reading_paused(&self, paused: bool) {
        self.post(|inner| {
            if !inner.lifecycle.is_closing() {
                inner.dirty |= inner.reading_paused != paused;
                inner.reading_paused = paused;
            }
        });
    }

    pub(crate) fn is_reading(&self) -> bool {
        let inner = self.lock();
        !inner.lifecycle.is_closing() && !inner.reading_paused
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.post(|inner| {
            inner.settle();
            inner.lifecycle.is_closing()
        })
    }

    /// Whether the end has been decided: nothing posted from now on has an effect.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.lock().lifecycle.state(), State::Ended | State::Lost)
    }

    pub(crate) fn close(&self) {
        self.post(Inner::close);
    }

    /// Ends at once: with an error, or as `abort()`.
    pub(crate) fn abort(&self, exc: Option<io::Error>) {
        let cause = exc.map(Cause::new);
        self.post(|inner| inner.abort(cause.clone()));
    }

    /// A callback has panicked: nothing but the loss is told any more.
    pub(crate) fn panicked(&self, exc: io::Error) {
        self.abort(Some(exc));
        self.lock().write.forget();
    }

    /// Hands the next protocol to the actor. What has come up by now is told to those before it.
    pub(crate) fn renew(&self, parcel: Parcel) {
        let unused = self.inherit(&mut self.lock(), parcel, 0);
        drop(unused);
    }

    /// The same under the lock; `elsewhere` counts what other mailboxes have to tell. What comes back is not needed.
    fn inherit(&self, inner: &mut Inner<W>, parcel: Parcel, elsewhere: usize) -> Option<Parcel> {
        if inner.lifecycle.state() == State::Lost {
            return Some(parcel);
        }
        self.changed.store(true, Ordering::Release);
        let untold = inner.write.untold() + elsewhere;
        inner.succession.push(parcel, untold)
    }

    /// How much has come up that is not told yet.
    #[cfg(unix)]
    pub(crate) fn untold(&self) -> usize {
        self.lock().write.untold()
    }

    /// Whether `connection_lost` has returned and the descriptor is closed.
    #[cfg(unix)]
    pub(crate) fn is_buried(&self) -> bool {
        self.lock().buried
    }

    /// Whether the end has dropped something that was accepted.
    pub(crate) fn has_dropped(&self) -> bool {
        self.lock().dropped
    }

    /// The end and its cause, when it has come.
    pub(crate) fn end(&self) -> Option<io::Result<()>> {
        let inner = self.lock();
        inner.buried.then(|| inner.outcome())
    }

    pub(crate) async fn closed(&self) -> io::Result<()> {
        loop {
            let listener = self.closed.listen();
            if let Some(end) = self.end() {
                return end;
            }
            listener.await;
        }
    }

    pub(crate) async fn drain(&self) -> io::Result<()> {
        loop {
            let listener = self.drained.listen();
            if let Some(answer) = self.drain_now() {
                return answer;
            }
            listener.await;
        }
    }

    /// Tells when writing was resumed, a job was done, or the end has come.
    pub(crate) fn listen_for_progress(&self) -> EventListener {
        self.drained.listen()
    }

    /// Why nothing that was queued can be done any more; `None` before the end has come.
    pub(crate) fn why_lost(&self) -> Option<io::Error> {
        self.end().and_then(|end| end.and_then(|()| Written::Closed.ok()).err())
    }

    fn drain_now(&self) -> Option<io::Result<()>> {
        let inner = self.lock();
        if inner.lifecycle.takes_writes() {
            return (!inner.write.marks().is_paused()).then_some(Ok(()));
        }
        Some(inner.outcome().and_then(|()| Written::Closed.ok()))
    }
}

impl<W: SendSide> Inner<W> {
    fn count_buffered(&mut self) {
        self.buffered.set(self.write.size());
    }

    fn has_work(&self) -> bool {
        let state = self.lifecycle.state();
        self.dirty
            || (!self.write.is_blocked() && !self.write.is_empty())
            || self.write.has_news()
            || (state == State::Ended && !self.goodbye)
            || (state == State::Closing && self.is_done())
    }

    /// Sends what was gathered, so that gathering cannot be told from sending at once.
    fn settle(&mut self) {
        let blocked = self.write.is_blocked();
        // The actor has to flush it.
        self.dirty |= !blocked && !self.write.is_empty() && !self.write.is_direct();
        let sent = self.write.flush();
        self.after_send(blocked, sent);
    }

    /// The same for the actor, which also works on what is no mere sending.
    fn work(&mut self) {
        let blocked = self.write.is_blocked();
        let sent = self.write.work();
        self.after_send(blocked, sent);
    }

    fn after_send(&mut self, was_blocked: bool, sent: io::Result<()>) {
        if let Err(exc) = sent {
            return self.end(Some(Cause::new(exc)));
        }
        self.dirty |= self.write.is_blocked() && !was_blocked;
    }

    fn close(&mut self) {
        self.settle();
        if self.lifecycle.step(Input::Close) {
            // The actor has a deadline to set, or a child to kill.
            self.dirty = true;
            if self.is_done() {
                self.leave();
            } else if self.write.is_only_upgrading() {
                self.end(None);
            }
        }
    }

    /// Whether nothing is left to be done after `close()`: a writer that was paused is resumed before the end.
    fn is_done(&self) -> bool {
        self.write.is_empty() && !self.write.has_news()
    }

    /// All is sent after `close()`.
    fn leave(&mut self) {
        self.end(None);
        self.goodbye = true;
        self.dirty = true;
    }

    fn abort(&mut self, cause: Option<Cause>) {
        self.settle();
        self.end(cause);
        self.dirty |= std::mem::take(&mut self.goodbye);
    }

    fn end(&mut self, cause: Option<Cause>) {
        if self.lifecycle.step(Input::End) {
            self.cause = cause;
            self.dropped = !self.write.is_empty();
            self.write.clear();
        }
    }

    /// What the marks have to say, if the life cycle allows it.
    fn tell(&mut self) -> Option<W::News> {
        let (input, news) = self.write.tell()?;
        self.succession.pay();
        self.lifecycle.step(input).then_some(news)
    }

    fn outcome(&self) -> io::Result<()> {
        self.cause.as_ref().map_or(Ok(()), |cause| Err(cause.to_error()))
    }
}

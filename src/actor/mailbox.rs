//! What an actor shares with its handles: one lock, one waker, and two flags that say whether either is needed.
//!
//! Handles post here; the actor looks here whenever it is polled. What a caller can read back is true at once, and what
//! the actor must do about it is derived from the same state, so nothing can be forgotten between the two.

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use super::cause::Cause;
use super::datagram_side::DatagramSide;
#[cfg(unix)]
use super::process::ProcessSide;
use super::write_side::{Chunk, Job, WriteSide};
use crate::info::{Addr, ExtraInfo};
use crate::io::datagram::DatagramOutlet;
use crate::io::{Flow, Outlet};
use crate::message::{Misuse, Written};
use crate::state::kind::Kind;
use crate::state::lifecycle::{Input, Lifecycle, State};
use crate::state::limits::WriteLimits;
use crate::state::marks::Marks;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Event as Notify, EventListener, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "tls-custom")]
use crate::{io::tls::Shared, tls::Tls};

/// The actor is being polled: it looks at what was posted before it rests, so nobody needs to wake it.
const POLLED: u8 = 1;
/// Something was posted since the actor took its last view.
const CHANGED: u8 = 2;

/// A protocol on its way to the actor, which knows its type.
pub(crate) type Parcel = Box<dyn Any + Send>;

/// `W` is the sending half: [`WriteSide`] for streams of bytes.
#[derive(Debug)]
pub(crate) struct Mailbox<W = WriteSide> {
    inner: Mutex<Inner<W>>,
    info: ExtraInfo,
    /// `POLLED` is changed by the actor, `CHANGED` set and cleared under the lock. As long as nothing is posted the actor
    /// begins, delivers and rests without the lock: by its last view, and these.
    flags: AtomicU8,
    /// Writing was resumed, a job was done, or the end has come.
    drained: Notify,
    /// `connection_lost` was called and the descriptor is closed.
    closed: Notify,
}

#[derive(Debug)]
struct Inner<W> {
    lifecycle: Lifecycle,
    write: W,
    reading_paused: bool,
    /// The actor is being polled, as whoever has the lock has found it: what is written now is gathered.
    polled: bool,
    /// The actor must look at something that the rest of the state does not show.
    dirty: bool,
    waker: Option<Waker>,
    /// Why it ended; the first cause wins.
    cause: Option<Cause>,
    /// The end is an orderly one: the endpoint may say goodbye to the peer.
    goodbye: bool,
    protocol: Option<Parcel>,
    /// News from before `protocol` was set: the protocol before it is told.
    owed: usize,
    /// It is the turn of `protocol`.
    renewed: bool,
    /// `connection_lost` has returned and the descriptor is closed.
    buried: bool,
}

/// What an actor must know to go on, read under one lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Reading is wanted.
    pub(crate) wants_data: bool,
    /// More of what was received may be delivered, before anything else.
    pub(crate) flow: Flow,
    /// There is something to tell.
    pub(crate) has_news: bool,
    /// Something waits to be sent.
    pub(crate) has_backlog: bool,
    /// Nothing is to be sent, told or looked at, and no end is near: unless something is posted, the actor may rest.
    pub(crate) is_quiet: bool,
}

impl View {
    /// Before anything is known: everything is looked at.
    pub(crate) const NEW: Self =
        Self { wants_data: false, flow: Flow::Stop, has_news: true, has_backlog: true, is_quiet: false };
}

/// What an actor keeps between its polls, so that it need not ask for it each time.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) view: View,
    /// The waker that the mailbox has.
    waker: Option<Waker>,
}

impl Sight {
    pub(crate) const NEW: Self = Self { view: View::NEW, waker: None };

    fn is_known(&self, waker: &Waker) -> bool {
        self.waker.as_ref().is_some_and(|known| known.will_wake(waker))
    }
}

/// The sending half of an actor, under the lock of its mailbox.
pub(crate) trait SendSide {
    /// What the protocol must be told about the sending.
    type News;
    /// What keeps the descriptor open.
    type Outlet;

    /// Sends what waits, until all is sent, the system takes no more, or a job is due.
    fn flush(&mut self) -> io::Result<()>;
    /// The same with one step of a job: for the actor alone, since a job may wait for the disk.
    fn work(&mut self) -> io::Result<()> {
        self.flush()
    }
    /// Whether a job was done since the last call.
    fn take_done(&mut self) -> bool {
        false
    }
    /// The last send came short; the endpoint tells when to try again.
    fn is_blocked(&self) -> bool;
    /// The endpoint says that sending is worth a try.
    fn unblock(&mut self);
    /// Whether nothing waits.
    fn is_empty(&self) -> bool;
    /// Bytes that wait.
    fn size(&self) -> usize;
    fn marks(&self) -> &Marks;
    fn marks_mut(&mut self) -> &mut Marks;
    /// What the protocol must be told now, if anything, and the place of that in the life cycle.
    fn tell(&mut self) -> Option<(Input, Self::News)>;
    /// Whether `tell` has something to say.
    fn has_news(&self) -> bool;
    /// How much has come up that is not told yet. A resume is due only once the pause was told.
    fn untold(&self) -> usize {
        usize::from(self.marks().is_pause_due())
    }
    /// Nothing will be told any more.
    fn forget(&mut self) {
        self.marks_mut().forget();
    }
    /// Whether nothing may be received until an upgrade is made.
    fn is_upgrading(&self) -> bool {
        false
    }
    /// Whether nothing but upgrades waits.
    fn is_only_upgrading(&self) -> bool {
        false
    }
    /// Whether handles may send as well.
    fn is_direct(&self) -> bool {
        true
    }
    /// The next callback may send directly again, as much as one may.
    fn forgive(&mut self);
    /// Drops what waits to be sent.
    fn clear(&mut self);
    fn take_outlet(&mut self) -> Option<Self::Outlet>;
    /// What has left, to be dropped without the lock.
    fn take_spent(&mut self) -> Vec<Bytes>;

    /// Pauses the writer if more waits than the high mark allows.
    fn latch(&mut self) {
        let size = self.size();
        self.marks_mut().latch(size);
    }
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

/// What the actor has to do about the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Alive,
    /// `close()` was asked for, bytes are left.
    Flushing,
    /// All is sent; the endpoint may say goodbye.
    Leaving,
    Ended,
}

impl<W: SendSide> Mailbox<W> {
    /// A mailbox for an actor that counts as being polled until it parks.
    pub(crate) fn new(write: W, info: ExtraInfo) -> Self {
        let inner = Inner {
            lifecycle: Lifecycle::new(),
            write,
            reading_paused: false,
            polled: true,
            dirty: false,
            waker: None,
            cause: None,
            goodbye: false,
            protocol: None,
            owed: 0,
            renewed: false,
            buried: false,
        };
        Self {
            inner: Mutex::new(inner),
            info,
            flags: AtomicU8::new(POLLED | CHANGED),
            drained: Notify::new(),
            closed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<W>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes the actor if that gave it something to do.
    fn post<R>(&self, change: impl FnOnce(&mut Inner<W>) -> R) -> R {
        let mut inner = self.lock();
        inner.polled = self.flags.load(Ordering::Acquire) & POLLED != 0;
        let result = change(&mut inner);
        // The actor may have gone to rest meanwhile. It cannot any more without having seen this.
        let rests = self.flags.fetch_or(CHANGED, Ordering::AcqRel) & POLLED == 0;
        let waker = if rests && inner.has_work() { inner.waker.take() } else { None };
        let spent = inner.write.take_spent();
        drop(inner);
        drop(spent);
        waker.into_iter().for_each(Waker::wake);
        result
    }
}

/// For the handles.
impl<W: SendSide> Mailbox<W> {
    pub(crate) const fn info(&self) -> &ExtraInfo {
        &self.info
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
        self.post(|inner| {
            inner.settle();
            inner.end(cause.clone());
            inner.dirty |= std::mem::take(&mut inner.goodbye);
        });
    }

    /// A callback has panicked: nothing but the loss is told any more.
    pub(crate) fn panicked(&self, exc: io::Error) {
        self.abort(Some(exc));
        self.lock().write.forget();
    }

    /// Hands the next protocol to the actor; the one that was still waiting is dropped.
    pub(crate) fn renew(&self, parcel: Parcel) {
        let replaced = {
            let mut inner = self.lock();
            if inner.lifecycle.state() == State::Lost {
                drop(inner);
                return drop(parcel);
            }
            if inner.protocol.is_none() {
                inner.owed = inner.write.untold();
            }
            inner.renewed = inner.owed == 0;
            self.flags.fetch_or(CHANGED, Ordering::AcqRel);
            inner.protocol.replace(parcel)
        };
        drop(replaced);
    }

    /// Whether `connection_lost` has returned and the descriptor is closed.
    #[cfg(unix)]
    pub(crate) fn is_buried(&self) -> bool {
        self.lock().buried
    }

    /// The end and its cause, when it has come.
    fn end(&self) -> Option<io::Result<()>> {
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

/// For the handles of byte streams.
impl Mailbox {
    pub(crate) fn write(&self, data: Chunk<'_>) -> Written {
        self.post(|inner| inner.write(data))
    }

    pub(crate) fn write_eof(&self) -> io::Result<()> {
        self.post(Inner::write_eof)
    }

    pub(crate) fn can_write_eof(&self) -> bool {
        self.lock().write.kind().can_write_eof()
    }

    /// Queues other work in its order.
    pub(crate) fn queue(&self, job: Job) -> io::Result<()> {
        self.post(|inner| inner.queue(job))
    }

    /// Whether no more data will be delivered, because the peer has finished or an end is due.
    pub(crate) fn is_at_eof(&self) -> bool {
        !self.lock().lifecycle.wants_data()
    }

    /// What is used besides comes after what was written before.
    pub(crate) fn settled_outlet(&self) -> Option<Arc<dyn Outlet>> {
        self.post(|inner| {
            inner.settle();
            inner.write.outlet().cloned()
        })
    }

    /// Bytes that were accepted and not sent.
    pub(crate) fn unsent(&self) -> Bytes {
        self.lock().write.outbox.unsent()
    }
}

/// For upgrades to TLS.
#[cfg(feature = "tls-custom")]
impl Mailbox {
    pub(crate) fn start_tls(&self, job: Job) -> io::Result<()> {
        self.post(|inner| inner.queue_upgrade(job))
    }

    /// The upgrade that is due and has not begun, and the outlet that it is put over.
    pub(crate) fn due_upgrade(&self) -> Option<(Tls, Arc<dyn Outlet>)> {
        let mut inner = self.lock();
        let outlet = inner.write.outlet().cloned()?;
        let job = inner.write.due_upgrade()?;
        job.shared.is_none().then(|| (job.tls.clone(), outlet))
    }

    pub(crate) fn begin_upgrade(&self, shared: Arc<Shared>, outlet: Arc<dyn Outlet>) {
        let mut inner = self.lock();
        if let Some(job) = inner.write.due_upgrade() {
            job.shared = Some(shared);
            inner.write.begin_upgrade(outlet);
        }
    }

    /// The endpoint is ready for sending; if an upgrade was being made, it is made.
    pub(crate) fn end_upgrade(&self) {
        let mut inner = self.lock();
        let Some((shared, info)) = inner.write.due_upgrade().and_then(|job| {
            let shared = job.shared.clone()?;
            let info = shared.info()?;
            Some((shared, info))
        }) else {
            return;
        };
        self.info.add_tls(info);
        inner.write.end_upgrade(shared.has_half_close());
        inner.dirty = true;
    }
}

/// For the handles of datagram endpoints.
impl Mailbox<DatagramSide> {
    pub(crate) fn send(&self, data: Chunk<'_>, to: Option<Addr>) -> Written {
        // What is not taken over must not be dropped under the lock.
        let _held = data.share();
        self.post(|inner| inner.send(data, to))
    }

    pub(crate) fn datagram_outlet(&self) -> Option<Arc<dyn DatagramOutlet>> {
        self.lock().write.outlet().cloned()
    }
}

/// For handles with a descriptor.
#[cfg(unix)]
impl Mailbox {
    pub(crate) fn with_descriptor<R>(&self, f: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> R) -> Option<R> {
        let outlet = self.settled_outlet()?;
        let descriptor = outlet.descriptor()?;
        Some(f(descriptor))
    }
}

/// For the actor of a byte stream.
impl Mailbox {
    pub(crate) fn kind(&self) -> Kind {
        self.lock().write.kind()
    }

    /// The writer of a pipe has gone: `eof_received` follows, and then the end, whatever it answers.
    pub(crate) fn hang_up(&self) {
        self.post(|inner| inner.lifecycle.step(Input::HangUp));
    }

    /// When something was sent last, and since when something waits; None where nobody notes it.
    pub(crate) fn send_times(&self) -> Option<(Instant, Option<Instant>)> {
        self.lock().write.times()
    }

    /// A time limit has passed: that is the cause of the end, unless there is one already.
    pub(crate) fn give_up(&self, exc: impl Fn() -> io::Error) {
        self.abort(Some(exc()));
        self.blame(exc());
    }

    /// The reader of a pipe has gone: that is an error only for what it has not read.
    pub(crate) fn reader_gone(&self) {
        self.post(|inner| {
            let exc = (!inner.write.is_empty()).then(|| io::ErrorKind::BrokenPipe.into());
            inner.end(exc.map(Cause::new));
        });
    }
}

/// For children.
#[cfg(unix)]
impl Mailbox<ProcessSide> {
    /// Nothing is left to wait for: the end is due, in good order.
    pub(crate) fn finish(&self) {
        let mut inner = self.lock();
        inner.write.by_itself = !inner.lifecycle.is_closing();
        inner.end(None);
    }

    pub(crate) fn close_child(&self) {
        self.post(|inner| {
            inner.write.by_itself = false;
            inner.close();
        });
    }

    /// Whether somebody has closed it, or dropped it: an end that came by itself is no closing.
    pub(crate) fn was_closed(&self) -> bool {
        let inner = self.lock();
        inner.lifecycle.is_closing() && !inner.write.by_itself
    }
}

/// For the actor.
impl<W: SendSide> Mailbox<W> {
    /// The actor is being polled from here on: brings its knowledge up to date.
    pub(crate) fn begin_poll(&self, waker: &Waker, sight: &mut Sight) {
        let changed = self.flags.fetch_or(POLLED, Ordering::AcqRel) & CHANGED != 0;
        if changed || !sight.is_known(waker) {
            let mut inner = self.lock();
            // The first round looks at everything.
            inner.dirty = false;
            inner.write.forgive();
            if inner.waker.is_none() || !sight.is_known(waker) {
                inner.waker = Some(waker.clone());
                sight.waker = Some(waker.clone());
            }
            sight.view = self.see(&mut inner);
        }
    }

    pub(crate) fn look(&self) -> View {
        self.see(&mut self.lock())
    }

    /// The actor wants to rest; whether it may. Else it must look at the view.
    pub(crate) fn park(&self, view: &mut View) -> bool {
        if view.is_quiet && self.flags.compare_exchange(POLLED, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return true;
        }
        let mut inner = self.lock();
        let rests = !inner.has_work();
        inner.dirty = false;
        *view = self.see(&mut inner);
        if rests {
            self.flags.fetch_and(!POLLED, Ordering::AcqRel);
        }
        rests
    }

    /// The actor rests although there may be work; it has woken itself.
    pub(crate) fn yield_now(&self) {
        self.flags.fetch_and(!POLLED, Ordering::AcqRel);
    }

    /// The state as the actor is to know it. A protocol that waits is still to be taken.
    fn see(&self, inner: &mut Inner<W>) -> View {
        inner.polled = true;
        let changed = if inner.protocol.is_some() { CHANGED } else { 0 };
        self.flags.store(POLLED | changed, Ordering::Release);
        inner.view()
    }

    /// Whether something was posted since the actor took its last view.
    pub(crate) fn has_changed(&self) -> bool {
        self.flags.load(Ordering::Acquire) & CHANGED != 0
    }

    /// Whether the callback for `input` may be made now.
    pub(crate) fn admit(&self, input: Input) -> bool {
        self.lock().lifecycle.step(input)
    }

    /// A callback has returned: sends what it gathered, and tells what the marks have to say.
    pub(crate) fn settle(&self) -> (Option<W::News>, View) {
        let mut inner = self.lock();
        inner.polled = true;
        inner.work();
        inner.renewed |= inner.owed == 0 && inner.protocol.is_some();
        let was_paused = inner.write.marks().is_paused();
        let news = inner.tell();
        inner.owed = inner.owed.saturating_sub(1);
        let resumed = was_paused && !inner.write.marks().is_paused();
        let done = inner.write.take_done();
        let spent = inner.write.take_spent();
        if news.is_none() {
            inner.write.forgive();
        }
        let view = self.see(&mut inner);
        drop(inner);
        drop(spent);
        if resumed || done {
            self.drained.notify(usize::MAX);
        }
        (news, view)
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.lock().write.is_blocked()
    }

    pub(crate) fn unblock(&self) {
        self.lock().write.unblock();
    }

    /// The protocol that was handed over last, if there is a new one.
    pub(crate) fn take_protocol(&self) -> Option<Parcel> {
        if !self.has_changed() {
            return None;
        }
        let mut inner = self.lock();
        if std::mem::take(&mut inner.renewed) { inner.protocol.take() } else { None }
    }

    pub(crate) fn stage(&self) -> Stage {
        let mut inner = self.lock();
        if inner.lifecycle.state() == State::Closing && inner.write.is_empty() {
            inner.leave();
        }
        match inner.lifecycle.state() {
            State::Closing => Stage::Flushing,
            State::Ended if inner.goodbye => Stage::Leaving,
            State::Ended | State::Lost => Stage::Ended,
            State::Start | State::Open | State::PeerEof | State::HungUp => Stage::Alive,
        }
    }

    /// The argument of `connection_lost`, once; None if it must not be called.
    pub(crate) fn lose(&self) -> Option<Option<io::Error>> {
        let mut inner = self.lock();
        let made = inner.lifecycle.state() != State::Start;
        inner.end(None);
        inner.renewed |= inner.protocol.is_some();
        let lost = inner.lifecycle.step(Input::ConnectionLost);
        (made && lost).then(|| inner.cause.as_ref().map(Cause::to_error))
    }

    /// Lets go of everything; then `announce` follows.
    pub(crate) fn bury(&self) {
        let mut inner = self.lock();
        inner.write.clear();
        // A pause that a drop has left untold is over as well.
        inner.write.marks_mut().forget();
        let spent = inner.write.take_spent();
        let remains = (spent, inner.write.take_outlet(), inner.protocol.take(), inner.waker.take());
        drop(inner);
        drop(remains);
    }

    /// Saying goodbye has failed: that is the cause of the loss then.
    pub(crate) fn blame(&self, exc: io::Error) {
        self.lock().cause.get_or_insert_with(|| Cause::new(exc));
    }

    /// Tells all who wait that the end has come.
    pub(crate) fn announce(&self) {
        self.lock().buried = true;
        self.closed.notify(usize::MAX);
        self.drained.notify(usize::MAX);
    }
}

impl Inner<WriteSide> {
    fn write(&mut self, data: Chunk<'_>) -> Written {
        if self.write.outbox.is_finished() {
            return Written::Refused(Misuse::WriteAfterEof);
        }
        if !self.takes_writes() {
            return Written::Closed;
        }
        if data.len() > 0 {
            let blocked = self.write.is_blocked();
            let sent =
                if self.polled || !self.write.is_direct() { self.write.gather(data) } else { self.write.send(data) };
            self.after_send(blocked, sent);
            self.check_bounds();
            self.write.latch();
        }
        if !self.lifecycle.takes_writes() {
            return Written::Closed;
        }
        if self.write.marks().is_paused() { Written::Full } else { Written::Queued }
    }

    /// Ends if more waits than may. What the system takes is never too much.
    fn check_bounds(&mut self) {
        if self.write.check_bounds().is_err() {
            self.settle();
            if let Err(exc) = self.write.check_bounds() {
                self.end(Some(Cause::new(exc)));
            }
        }
    }

    fn queue(&mut self, job: Job) -> io::Result<()> {
        self.check_queue()?;
        self.write.outbox.job(job);
        Ok(())
    }

    /// Whether work can be queued.
    fn check_queue(&self) -> io::Result<()> {
        if self.write.outbox.is_finished() {
            return Written::Refused(Misuse::WriteAfterEof).ok();
        }
        if self.lifecycle.is_closing() || !self.takes_writes() {
            return Written::Closed.ok();
        }
        Ok(())
    }

    #[cfg(feature = "tls-custom")]
    fn queue_upgrade(&mut self, job: Job) -> io::Result<()> {
        self.check_queue()?;
        self.write.queue_upgrade(job);
        // Reading must stop.
        self.dirty = true;
        Ok(())
    }

    fn takes_writes(&self) -> bool {
        let closing = self.lifecycle.state() == State::Closing;
        self.lifecycle.takes_writes() && (!closing || self.write.kind().sends_while_closing())
    }

    fn write_eof(&mut self) -> io::Result<()> {
        if !self.write.kind().can_write_eof() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "TLS cannot close one direction alone"));
        }
        if self.lifecycle.is_closing() || self.write.outbox.is_finished() {
            return Ok(());
        }
        if self.write.kind().closes_for_eof() {
            self.close();
            return Ok(());
        }
        self.write.outbox.finish();
        self.settle();
        Ok(())
    }
}

impl Inner<DatagramSide> {
    fn send(&mut self, data: Chunk<'_>, to: Option<Addr>) -> Written {
        let to = match self.write.resolve(to) {
            Ok(to) => to,
            Err(misuse) => return Written::Refused(misuse),
        };
        if !self.lifecycle.takes_writes() {
            return Written::Closed;
        }
        let blocked = self.write.is_blocked();
        if self.polled {
            self.write.gather(data, to)
        } else {
            self.write.send(data, to)
        }
        self.after_send(blocked, Ok(()));
        self.write.latch();
        if self.write.marks().is_paused() { Written::Full } else { Written::Queued }
    }
}

impl<W: SendSide> Inner<W> {
    fn view(&self) -> View {
        let wants_data = self.lifecycle.wants_data() && !self.reading_paused && !self.write.is_upgrading();
        let has_news = self.write.has_news();
        let may_go_on = wants_data && !has_news && self.protocol.is_none();
        let has_backlog = !self.write.is_empty();
        let is_live = matches!(self.lifecycle.state(), State::Open | State::PeerEof);
        View {
            wants_data,
            flow: if may_go_on { Flow::Continue } else { Flow::Stop },
            has_news,
            has_backlog,
            is_quiet: is_live && !self.dirty && !has_news && !has_backlog && self.write.is_direct(),
        }
    }

    fn has_work(&self) -> bool {
        let state = self.lifecycle.state();
        self.dirty
            || (!self.write.is_blocked() && !self.write.is_empty())
            || self.write.has_news()
            || (state == State::Ended && !self.goodbye)
            || (state == State::Closing && self.write.is_empty())
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
            if self.write.is_empty() {
                self.leave();
            } else if self.write.is_only_upgrading() {
                self.end(None);
            }
        }
    }

    /// All is sent after `close()`.
    fn leave(&mut self) {
        self.end(None);
        self.goodbye = true;
        self.dirty = true;
    }

    fn end(&mut self, cause: Option<Cause>) {
        if self.lifecycle.step(Input::End) {
            self.cause = cause;
            self.write.clear();
        }
    }

    /// What the marks have to say, if the life cycle allows it.
    fn tell(&mut self) -> Option<W::News> {
        let (input, news) = self.write.tell()?;
        self.lifecycle.step(input).then_some(news)
    }

    fn outcome(&self) -> io::Result<()> {
        self.cause.as_ref().map_or(Ok(()), |cause| Err(cause.to_error()))
    }
}

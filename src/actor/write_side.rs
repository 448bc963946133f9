//! The sending half of an actor, shared with its handles: the outbox, and the outlet it empties into.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};

use super::send_side::SendSide;
use super::watch::SendTimes;
use crate::io::Outlet;
use crate::io::errors::unless_blocked;
use crate::sendfile::{FileJob, Step};
use crate::state::bounds::Bounds;
use crate::state::habit::{Habit, Place};
use crate::state::kind::Kind;
use crate::state::lifecycle::Input;
use crate::state::limits::WriteLimits;
use crate::state::marks::{Mark, Marks};
use crate::state::outbox::{Front, Outbox, Work};
use crate::stats;
#[cfg(feature = "tls-custom")]
use crate::tls::TlsJob;

/// Slices sent at once.
const SLICES: usize = 16;

/// Sends of one flush: what is left then waits for the actor's next turn.
const SENDS: usize = 16;

/// A write of that many bytes is sent at once if nothing waits before it: that saves a copy, and costs no other call.
const LARGE: usize = 32 * 1024;

/// Bytes that one callback may send directly. A writer that never yields is paused behind them.
const BURST: u32 = 8 * 1024 * 1024;

/// Work besides bytes and end of file.
#[derive(Debug)]
pub(crate) enum Job {
    SendFile(FileJob),
    #[cfg(feature = "tls-custom")]
    StartTls(Box<TlsJob>),
}

/// Bytes that were handed over for sending.
#[derive(Debug)]
pub(crate) enum Chunk<'a> {
    Borrowed(&'a [u8]),
    Shared(Bytes),
}

#[derive(Debug)]
pub(crate) struct WriteSide {
    kind: Kind,
    pub(crate) outbox: Outbox<Job>,
    /// Taken at the loss: handles never keep a descriptor open.
    outlet: Option<Arc<dyn Outlet>>,
    /// What the outlet says of itself.
    is_direct: bool,
    habit: Habit,
    /// The last send came short; the endpoint tells when to try again.
    blocked: bool,
    /// Bytes sent in this callback, or since all was told that was to be told.
    burst: u32,
    /// A job was done since `take_done`.
    done: bool,
    /// If there are any.
    bounded: Option<Box<Bounded>>,
    /// Upgrades in the outbox: nothing is received as it is any more.
    upgrades: u32,
}

/// The bounds of a write side, and what is noted for those of time.
#[derive(Debug)]
struct Bounded {
    bounds: Bounds,
    times: Option<SendTimes>,
}

impl WriteSide {
    pub(crate) fn new(kind: Kind, limits: WriteLimits, outlet: Option<Arc<dyn Outlet>>) -> Self {
        let outbox = Outbox::new(kind.marks(limits));
        let is_direct = outlet.as_deref().is_none_or(Outlet::is_direct);
        Self {
            kind,
            outbox,
            outlet,
            is_direct,
            habit: Habit::default(),
            blocked: false,
            burst: 0,
            done: false,
            bounded: None,
            upgrades: 0,
        }
    }

    pub(crate) fn bounded(mut self, bounds: Bounds, times: Option<SendTimes>) -> Self {
        self.bounded = (bounds != Bounds::NONE).then(|| Box::new(Bounded { bounds, times }));
        self
    }

    /// An error if more waits than may.
    pub(crate) fn check_bounds(&self) -> io::Result<()> {
        self.bounded.as_ref().map_or(Ok(()), |bounded| bounded.bounds.check_write_buffer(self.outbox.size()))
    }

    /// When something was sent last, and since when something waits; None without time limits.
    pub(crate) fn times(&self) -> Option<(Instant, Option<Instant>)> {
        Some(self.bounded.as_ref()?.times.as_ref()?.read())
    }

    /// So much was sent, if any, or something queued.
    #[inline]
    fn note(&mut self, sent: u64) {
        if sent > 0 {
            stats::sent(sent);
        }
        self.note_times(sent > 0);
    }

    #[inline]
    fn note_times(&mut self, sent: bool) {
        if self.bounded.is_some() {
            let waits = self.waits_for_peer();
            if let Some(times) = self.bounded.as_mut().and_then(|bounded| bounded.times.as_mut()) {
                times.note(sent, waits);
            }
        }
    }

    /// Whether the peer has to take something. What is behind an upgrade waits for its handshake, which has a limit of its
    /// own.
    pub(crate) fn waits_for_peer(&mut self) -> bool {
        match self.outbox.front() {
            Front::Empty => false,
            Front::Bytes | Front::Eof | Front::Job(Job::SendFile(_)) => true,
            #[cfg(feature = "tls-custom")]
            Front::Job(Job::StartTls(_)) => false,
        }
    }

    /// Something that does not count as sent yet was sent in part.
    pub(crate) fn note_progress(&mut self) {
        self.note_times(true);
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) const fn outlet(&self) -> Option<&Arc<dyn Outlet>> {
        self.outlet.as_ref()
    }

    /// Queues `data`, to be sent together with what else the callback writes; sends it at once if nothing waits before it,
    /// and it is large or expected to be all. What goes over the high mark is tried at once as well, so that what the
    /// system takes never pauses the writer.
    #[inline]
    pub(crate) fn gather(&mut self, data: &mut Chunk<'_>, callback: u16) -> io::Result<()> {
        let place = self.habit.place(callback);
        if place != Place::Further {
            self.burst = 0;
        }
        let is_alone = place == Place::Alone || data.len() >= LARGE;
        let goes_first = is_alone && self.outbox.is_empty() && !self.blocked;
        let fits = self.outbox.size() + data.len() <= self.outbox.marks().limits().high_water();
        if self.burst < BURST && (goes_first || !fits) {
            return self.post(data);
        }
        self.queue(data);
        Ok(())
    }

    /// Sends `data` at once where handles may do that, else queues it.
    #[inline]
    pub(crate) fn post(&mut self, data: &mut Chunk<'_>) -> io::Result<()> {
        if self.is_direct {
            return self.send(data);
        }
        self.queue(data);
        Ok(())
    }

    /// Sends `data` at once, behind what waits already, and queues what the system does not take.
    fn send(&mut self, data: &mut Chunk<'_>) -> io::Result<()> {
        if !self.outbox.is_empty() {
            self.flush()?;
        }
        let sent = if self.outbox.is_empty() { self.try_send(&[IoSlice::new(data.as_slice())])? } else { 0 };
        if sent < data.len() {
            data.advance(sent);
            self.queue(data);
        }
        Ok(())
    }

    #[inline]
    fn queue(&mut self, data: &mut Chunk<'_>) {
        match data {
            Chunk::Borrowed(data) => self.outbox.copy(data),
            Chunk::Shared(data) => self.outbox.share(data),
        }
        self.note(0);
    }

    #[inline]
    fn flush_bytes(&mut self) -> io::Result<()> {
        let outlet = self.outlet.as_deref();
        let (sent, blocked) = match self.outbox.only() {
            Some(bytes) => try_send(outlet, &[IoSlice::new(bytes)])?,
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = self.outbox.slices(&mut slices);
                try_send(outlet, &slices[..count])?
            }
        };
        self.outbox.sent(sent);
        self.after_send(sent, blocked);
        Ok(())
    }

    fn flush_eof(&mut self) -> io::Result<()> {
        self.outbox.done();
        self.note(0);
        self.outlet.as_deref().map_or(Ok(()), Outlet::finish)
    }

    /// Does a part of the job that is due, if one is.
    fn work_on_job(&mut self) -> io::Result<()> {
        let Front::Job(Job::SendFile(job)) = self.outbox.front() else { return Ok(()) };
        let before = job.sent();
        let step = self.outlet.as_deref().map_or(Ok(Step::Blocked), |outlet| job.step(outlet))?;
        let sent = job.sent() - before;
        self.blocked = step == Step::Blocked;
        if step == Step::Done {
            self.outbox.done();
            self.done = true;
        }
        self.note(sent);
        Ok(())
    }

    fn try_send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let (sent, blocked) = try_send(self.outlet.as_deref(), slices)?;
        self.after_send(sent, blocked);
        Ok(sent)
    }

    #[inline]
    fn after_send(&mut self, sent: usize, blocked: bool) {
        self.blocked = blocked;
        self.burst = self.burst.saturating_add(u32::try_from(sent).unwrap_or(u32::MAX));
        self.note(sent as u64);
    }
}

/// Upgrades to TLS.
#[cfg(feature = "tls-custom")]
impl WriteSide {
    /// What is written from now on is for TLS alone, and dropped if the transport is closing.
    pub(crate) const fn expect_upgrade(&mut self) {
        self.kind = Kind::Tls { half_close: false };
    }

    pub(crate) fn queue_upgrade(&mut self, job: Job) {
        self.upgrades += 1;
        self.outbox.job(job);
    }

    /// The upgrade that is due, if one is.
    pub(crate) fn due_upgrade(&mut self) -> Option<&mut TlsJob> {
        match self.outbox.front() {
            Front::Job(Job::StartTls(job)) => Some(job),
            _ => None,
        }
    }

    /// The upgrade at the front is being made. Until its endpoint is ready for sending nothing more is sent.
    pub(crate) fn begin_upgrade(&mut self, outlet: Arc<dyn Outlet>) {
        self.is_direct = outlet.is_direct();
        self.outlet = Some(outlet);
        self.blocked = true;
    }

    /// The upgrade at the front is made.
    pub(crate) fn end_upgrade(&mut self, half_close: bool) {
        if let Some(job) = self.due_upgrade() {
            job.finish();
        }
        self.upgrades -= 1;
        self.kind = Kind::Tls { half_close: half_close && self.upgrades == 0 };
        self.outbox.done();
        self.done = true;
        // With it the last that has waited may be gone.
        self.note(0);
    }
}

impl SendSide for WriteSide {
    type News = Mark;
    type Outlet = Arc<dyn Outlet>;
    type Spent = Work<Job>;

    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn flush(&mut self) -> io::Result<()> {
        for _ in 0..SENDS {
            if self.blocked {
                break;
            }
            match self.outbox.front() {
                Front::Empty => break,
                Front::Bytes => self.flush_bytes()?,
                Front::Eof => self.flush_eof()?,
                Front::Job(_) => break,
            }
        }
        Ok(())
    }

    fn work(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.blocked || !matches!(self.outbox.front(), Front::Job(_)) {
            return Ok(());
        }
        self.work_on_job()?;
        self.flush()
    }

    fn take_done(&mut self) -> bool {
        std::mem::take(&mut self.done)
    }

    fn is_blocked(&self) -> bool {
        self.blocked
    }

    fn unblock(&mut self) {
        self.blocked = false;
    }

    fn is_empty(&self) -> bool {
        self.outbox.is_empty()
    }

    fn size(&self) -> usize {
        self.outbox.size()
    }

    fn marks(&self) -> &Marks {
        self.outbox.marks()
    }

    fn marks_mut(&mut self) -> &mut Marks {
        self.outbox.marks_mut()
    }

    fn tell(&mut self) -> Option<(Input, Mark)> {
        self.outbox.marks_mut().tell().map(|mark| (mark.input(), mark))
    }

    fn has_news(&self) -> bool {
        self.outbox.marks().has_news()
    }

    fn is_upgrading(&self) -> bool {
        self.upgrades > 0
    }

    fn is_only_upgrading(&self) -> bool {
        self.upgrades > 0 && self.outbox.len() == self.upgrades as usize
    }

    fn is_direct(&self) -> bool {
        self.is_direct
    }

    fn forgive(&mut self) {
        self.burst = 0;
    }

    fn clear(&mut self) {
        self.outbox.clear();
    }

    fn take_spent(&mut self) -> Vec<Work<Job>> {
        self.outbox.take_spent()
    }

    fn take_outlet(&mut self) -> Option<Arc<dyn Outlet>> {
        self.outlet.take()
    }
}

/// How many bytes were sent, and whether that was less than was offered.
fn try_send(outlet: Option<&dyn Outlet>, slices: &[IoSlice<'_>]) -> io::Result<(usize, bool)> {
    let Some(outlet) = outlet else { return Ok((0, true)) };
    let offered = slices.iter().map(|slice| slice.len()).sum();
    let sent = unless_blocked(outlet.try_send(slices))?.unwrap_or(0);
    Ok((sent, sent < offered))
}

impl Chunk<'_> {
    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(data) => data,
            Self::Shared(data) => data,
        }
    }

    /// The first `count` bytes were sent.
    fn advance(&mut self, count: usize) {
        match self {
            Self::Borrowed(data) => data.advance(count),
            Self::Shared(data) => data.advance(count),
        }
    }
}

//! The mailbox of a byte stream.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{Inner, Mailbox};
use crate::actor::cause::Cause;
use crate::actor::send_side::SendSide;
use crate::actor::write_side::{Chunk, Job, WriteSide};
use crate::io::Outlet;
use crate::message::{Misuse, Written};
use crate::state::kind::Kind;
use crate::state::lifecycle::{Input, State};
#[cfg(feature = "tls-custom")]
use crate::{io::tls::Shared, tls::Tls};

/// For the handles of byte streams.
impl Mailbox {
    pub(crate) fn write(&self, mut data: Chunk<'_>) -> Written {
        self.post_write(|inner, callback| inner.write(&mut data, callback))
    }

    pub(crate) fn write_eof(&self) -> io::Result<()> {
        self.post(Inner::write_eof)
    }

    pub(crate) fn can_write_eof(&self) -> bool {
        self.lock().write.kind().can_write_eof()
    }

    /// Queues other work in its order.
    pub(crate) fn queue(&self, job: Job) -> io::Result<()> {
        let mut job = Some(job);
        self.post(|inner| inner.queue(&mut job))
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
}

/// For upgrades to TLS.
#[cfg(feature = "tls-custom")]
impl Mailbox {
    /// `usable` says what is wrong with it, if anything is.
    pub(crate) fn start_tls(&self, job: Job, usable: io::Result<()>) -> io::Result<()> {
        let mut job = Some(job);
        self.post(|inner| inner.queue_upgrade(&mut job, usable))
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
    /// The end, which is told to nobody: what was accepted and not sent.
    pub(crate) fn dissolve(&self) -> Bytes {
        self.lose_after(|inner| inner.write.outbox.unsent()).0
    }

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

    /// Sending is worth a try, whatever was reported; not while an upgrade waits for its handshake.
    pub(crate) fn try_again(&self) {
        let mut inner = self.lock();
        if inner.write.waits_for_peer() {
            inner.write.unblock();
        }
    }

    /// Something that was sent is on its way, though it does not count as sent yet.
    pub(crate) fn note_progress(&self) {
        self.lock().write.note_progress();
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

/// What is not taken over stays with the caller, who drops it without the lock.
impl Inner<WriteSide> {
    fn write(&mut self, data: &mut Chunk<'_>, callback: Option<u16>) -> Written {
        if self.write.outbox.is_finished() {
            return Written::Refused(Misuse::WriteAfterEof);
        }
        if !self.takes_writes() {
            return Written::Closed;
        }
        if data.len() > 0 {
            let blocked = self.write.is_blocked();
            let sent = match callback {
                Some(callback) => self.write.gather(data, callback),
                None => self.write.post(data),
            };
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

    fn queue(&mut self, job: &mut Option<Job>) -> io::Result<()> {
        self.check_queue()?;
        job.take().into_iter().for_each(|job| self.write.outbox.job(job));
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

    /// Whatever becomes of it, nothing that is written from now on leaves in plain text.
    #[cfg(feature = "tls-custom")]
    fn queue_upgrade(&mut self, job: &mut Option<Job>, usable: io::Result<()>) -> io::Result<()> {
        if !self.write.outbox.is_finished() {
            self.write.expect_upgrade();
        }
        self.check_queue()?;
        if let Err(exc) = usable {
            let cause = Cause::new(exc);
            self.abort(Some(cause.clone()));
            return Err(cause.to_error());
        }
        job.take().into_iter().for_each(|job| self.write.queue_upgrade(job));
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

//! The handle of a stream that is only read.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::{Handle, Transport};
use crate::actor::mailbox::Mailbox;
use crate::info::ExtraInfo;
use crate::message::{Closed, ReadCommand};
use crate::protocol::StreamProtocol;
use crate::protocol::sealed::Stream;

/// The handle of a read pipe, or the reading half of a [`Transport`].
///
/// It has the methods of [`Transport`] that make sense for reading, with the same meaning. Dropping it does nothing.
#[derive(Clone)]
pub struct ReadTransport {
    mailbox: Arc<Mailbox>,
}

impl ReadTransport {
    /// [`Transport::pause_reading`]
    pub fn pause_reading(&self) {
        self.mailbox.set_reading_paused(true);
    }

    /// [`Transport::resume_reading`]
    pub fn resume_reading(&self) {
        self.mailbox.set_reading_paused(false);
    }

    /// [`Transport::is_reading`]
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.mailbox.is_reading()
    }

    /// Closes the transport: what has not been delivered is lost, and `connection_lost(None)` is called.
    pub fn close(&self) {
        self.mailbox.close();
    }

    /// [`Transport::abort`]
    pub fn abort(&self) {
        self.mailbox.abort(None);
    }

    /// [`Transport::fail`]
    pub fn fail(&self, exc: io::Error) {
        self.mailbox.abort(Some(exc));
    }

    /// [`Transport::is_closing`]
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.mailbox.is_closing()
    }

    /// [`Transport::closed`]
    ///
    /// # Errors
    ///
    /// The cause of the loss; an end by `close`, `abort` or end of file is `Ok`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn closed(&self) -> io::Result<()> {
        self.mailbox.closed().await
    }

    /// [`Transport::extra_info`]
    #[doc(alias = "get_extra_info")]
    #[must_use]
    pub fn extra_info(&self) -> &ExtraInfo {
        self.mailbox.info()
    }

    /// Runs `f` with the descriptor. `None` after the loss.
    #[cfg(unix)]
    pub fn with_pipe<R>(&self, f: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> R) -> Option<R> {
        self.mailbox.with_descriptor(f)
    }

    /// Posts a command: the message form of the methods above.
    ///
    /// # Errors
    ///
    /// Gives the command back if the transport has ended.
    pub fn send(&self, command: ReadCommand) -> Result<(), Closed<ReadCommand>> {
        if self.mailbox.has_ended() {
            return Err(Closed(command));
        }
        match command {
            ReadCommand::Close => self.close(),
            ReadCommand::Abort => self.abort(),
            ReadCommand::Fail(exc) => self.fail(exc),
            ReadCommand::PauseReading => self.pause_reading(),
            ReadCommand::ResumeReading => self.resume_reading(),
        }
        Ok(())
    }

    /// [`Transport::set_protocol`]
    pub fn set_protocol(&self, protocol: impl StreamProtocol<Self> + Send + 'static) {
        let protocol: Box<dyn Stream<Self> + Send> = Box::new(protocol);
        self.mailbox.renew(Box::new(protocol));
    }
}

impl Handle for ReadTransport {
    fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox }
    }
}

impl From<Transport> for ReadTransport {
    fn from(transport: Transport) -> Self {
        Self { mailbox: transport.mailbox }
    }
}

impl fmt::Debug for ReadTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTransport").field("info", self.extra_info()).finish_non_exhaustive()
    }
}

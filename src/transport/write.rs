//! The handle of a stream that is only written.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{Handle, Transport};
use crate::actor::mailbox::Mailbox;
use crate::actor::write_side::Chunk;
use crate::info::ExtraInfo;
use crate::message::{Closed, WriteCommand, Written};
use crate::protocol::StreamProtocol;
use crate::protocol::sealed::Stream;
use crate::state::limits::WriteLimits;

/// The handle of a write pipe, or the writing half of a [`Transport`].
///
/// It has the methods of [`Transport`] that make sense for writing, with the same meaning but for these rules of pipes:
/// [`write_eof`](Self::write_eof) is [`close`](Self::close), what is written after it is dropped, and a paused writer
/// is resumed only when the buffer is empty.
#[derive(Clone)]
pub struct WriteTransport {
    mailbox: Arc<Mailbox>,
}

impl WriteTransport {
    #[cfg(unix)]
    pub(crate) const fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// [`Transport::write`]
    pub fn write(&self, data: impl AsRef<[u8]>) -> Written {
        self.mailbox.write(Chunk::Borrowed(data.as_ref()))
    }

    /// [`Transport::write_bytes`]
    pub fn write_bytes(&self, data: impl Into<Bytes>) -> Written {
        self.mailbox.write(Chunk::Shared(data.into()))
    }

    /// [`Transport::write_vectored`]
    #[doc(alias = "writelines")]
    pub fn write_vectored(&self, data: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Written {
        let mut joined = BytesMut::new();
        data.into_iter().for_each(|piece| joined.extend_from_slice(piece.as_ref()));
        self.mailbox.write(Chunk::Shared(joined.freeze()))
    }

    /// Ends the stream: for a pipe, [`close`](Self::close); for the half of a socket, [`Transport::write_eof`].
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) where [`can_write_eof`](Self::can_write_eof) is false.
    pub fn write_eof(&self) -> io::Result<()> {
        self.mailbox.write_eof()
    }

    /// [`Transport::can_write_eof`]
    #[must_use]
    pub fn can_write_eof(&self) -> bool {
        self.mailbox.can_write_eof()
    }

    /// [`Transport::write_buffer_size`]
    #[doc(alias = "get_write_buffer_size")]
    #[must_use]
    pub fn write_buffer_size(&self) -> usize {
        self.mailbox.write_buffer_size()
    }

    /// [`Transport::write_buffer_limits`]
    #[doc(alias = "get_write_buffer_limits")]
    #[must_use]
    pub fn write_buffer_limits(&self) -> WriteLimits {
        self.mailbox.limits()
    }

    /// [`Transport::set_write_buffer_limits`]
    pub fn set_write_buffer_limits(&self, limits: WriteLimits) {
        self.mailbox.set_limits(limits);
    }

    /// [`Transport::is_writing_paused`]
    #[must_use]
    pub fn is_writing_paused(&self) -> bool {
        self.mailbox.is_writing_paused()
    }

    /// [`Transport::drain`]
    ///
    /// # Errors
    ///
    /// The cause of the loss, or [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the transport has ended in good order.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn drain(&self) -> io::Result<()> {
        self.mailbox.drain().await
    }

    /// [`Transport::close`]
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
    /// The cause of the loss; an end by `close` or `abort`, or of a reader that nothing waited for, is `Ok`.
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
    pub fn send(&self, command: WriteCommand) -> Result<(), Closed<WriteCommand>> {
        if self.mailbox.has_ended() {
            return Err(Closed(command));
        }
        match command {
            WriteCommand::Write(data) => drop(self.write_bytes(data)),
            WriteCommand::WriteEof => drop(self.write_eof()),
            WriteCommand::Close => self.close(),
            WriteCommand::Abort => self.abort(),
            WriteCommand::Fail(exc) => self.fail(exc),
            WriteCommand::SetWriteBufferLimits(limits) => self.set_write_buffer_limits(limits),
        }
        Ok(())
    }

    /// [`Transport::set_protocol`]
    pub fn set_protocol(&self, protocol: impl StreamProtocol<Self> + Send + 'static) {
        let protocol: Box<dyn Stream<Self> + Send> = Box::new(protocol);
        self.mailbox.renew(Box::new(protocol));
    }
}

impl Handle for WriteTransport {
    fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox }
    }
}

impl From<Transport> for WriteTransport {
    fn from(transport: Transport) -> Self {
        Self { mailbox: transport.mailbox }
    }
}

impl fmt::Debug for WriteTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTransport").field("info", self.extra_info()).finish_non_exhaustive()
    }
}

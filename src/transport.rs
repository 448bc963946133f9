//! The handles of streams.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;

use crate::actor::mailbox::Mailbox;
use crate::actor::write_side::Chunk;
use crate::info::ExtraInfo;
use crate::message::{Closed, Command, Written};
use crate::protocol::StreamProtocol;
use crate::protocol::sealed::Stream;
use crate::state::limits::WriteLimits;

mod read;
mod write;

pub use read::ReadTransport;
pub use write::WriteTransport;

/// A handle of a stream actor.
pub(crate) trait Handle: 'static {
    fn new(mailbox: Arc<Mailbox>) -> Self;
}

/// The handle of a two-way stream transport.
///
/// It is cheap to clone, can be used from every thread, and never blocks: its methods post to the actor that owns the
/// socket. What they ask for takes effect before the next callback; what can be read back is true at once. Every call on
/// a transport that has ended is harmless.
///
/// # Writing
///
/// What is written inside a callback is gathered and sent once when it returns. Only where the last callbacks that have
/// written did so once each, the first write of the next is sent at once. What is written elsewhere is sent at once if
/// nothing waits before it. Bytes that the system does not take wait in a buffer without limit: please stop when a write
/// answers [`Written::Full`] or when `pause_writing` is called, and go on after `resume_writing` or
/// [`drain`](Self::drain).
///
/// # Dropping
///
/// Dropping a handle does nothing: handles do not keep the connection open.
///
/// # Examples
///
/// A thread that has nothing to do with the connection writes to it:
///
/// ```
/// use smol_transports::{Protocol, connect_socket};
///
/// struct Silent;
///
/// impl Protocol for Silent {}
///
/// # #[cfg(unix)]
/// # smol::block_on(async {
/// let (near, mut far) = std::os::unix::net::UnixStream::pair()?;
/// let connection = connect_socket(Silent, near).await?;
/// let transport = connection.transport().clone();
/// let writer = std::thread::spawn(move || {
///     transport.write("hello");
///     transport.close();
/// });
/// connection.await;
///
/// let mut received = String::new();
/// std::io::Read::read_to_string(&mut far, &mut received)?;
/// assert_eq!(received, "hello");
/// # writer.join().unwrap();
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "BaseTransport")]
#[derive(Clone)]
pub struct Transport {
    mailbox: Arc<Mailbox>,
}

impl Handle for Transport {
    fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox }
    }
}

impl Transport {
    pub(crate) const fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Writes a copy of `data`.
    ///
    /// Never fails because of the connection: a write to a transport that has ended is dropped and answered with
    /// [`Written::Closed`]. After [`close`](Self::close), what is written while the buffer empties is still sent.
    pub fn write(&self, data: impl AsRef<[u8]>) -> Written {
        self.mailbox.write(Chunk::Borrowed(data.as_ref()))
    }

    /// Writes `data` without copying it where that pays: for large buffers, and for one sent to many.
    pub fn write_bytes(&self, data: impl Into<Bytes>) -> Written {
        self.mailbox.write(Chunk::Shared(data.into()))
    }

    /// Writes a list of pieces, as if they were one: they are joined, which copies them. Empty pieces are fine.
    #[doc(alias = "writelines")]
    pub fn write_vectored(&self, data: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Written {
        let mut joined = BytesMut::new();
        data.into_iter().for_each(|piece| joined.extend_from_slice(piece.as_ref()));
        self.mailbox.write(Chunk::Shared(joined.freeze()))
    }

    /// Closes the writing direction after what is buffered was sent; reading goes on.
    ///
    /// The second call, and one on a closing transport, does nothing.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) where [`can_write_eof`](Self::can_write_eof) is false.
    pub fn write_eof(&self) -> io::Result<()> {
        self.mailbox.write_eof()
    }

    /// Whether this kind of transport has a [`write_eof`](Self::write_eof): all have, but those over TLS without its
    /// half-close.
    #[must_use]
    pub fn can_write_eof(&self) -> bool {
        self.mailbox.can_write_eof()
    }

    /// Bytes that were written and not yet taken by the system. 0 after the end.
    #[doc(alias = "get_write_buffer_size")]
    #[must_use]
    pub fn write_buffer_size(&self) -> usize {
        self.mailbox.write_buffer_size()
    }

    /// The marks of the write buffer.
    #[doc(alias = "get_write_buffer_limits")]
    #[must_use]
    pub fn write_buffer_limits(&self) -> WriteLimits {
        self.mailbox.limits()
    }

    /// Sets the marks of the write buffer.
    ///
    /// A buffer that is over the new high mark pauses the writer; one that is under the new low mark resumes it only
    /// when the next bytes have left.
    pub fn set_write_buffer_limits(&self, limits: WriteLimits) {
        self.mailbox.set_limits(limits);
    }

    /// Whether the buffer has gone over the high mark and not yet come down to the low one.
    #[must_use]
    pub fn is_writing_paused(&self) -> bool {
        self.mailbox.is_writing_paused()
    }

    /// Waits until writing is not paused. Many may wait.
    ///
    /// For tasks outside of the protocol: `transport.write(..); transport.drain().await?`.
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

    /// Stops the delivery of data and end of file until [`resume_reading`](Self::resume_reading).
    ///
    /// Does nothing when reading is paused already or the transport is closing. While paused, the loss of the peer is
    /// noticed by writes only.
    pub fn pause_reading(&self) {
        self.mailbox.set_reading_paused(true);
    }

    /// Takes back [`pause_reading`](Self::pause_reading).
    pub fn resume_reading(&self) {
        self.mailbox.set_reading_paused(false);
    }

    /// Whether the transport is neither closing nor paused.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.mailbox.is_reading()
    }

    /// Closes the transport: reading stops now, what is buffered is sent, then `connection_lost(None)` is called.
    ///
    /// There is no limit on the time that takes, unless [`close_timeout`](crate::Connect::close_timeout) was set: a
    /// peer that does not read holds it up. [`abort`](Self::abort) does not wait.
    pub fn close(&self) {
        self.mailbox.close();
    }

    /// Closes the transport at once: what is buffered is dropped, and `connection_lost(None)` is called.
    pub fn abort(&self) {
        self.mailbox.abort(None);
    }

    /// [`abort`](Self::abort) with a cause: `connection_lost(Some(exc))` is called, unless the end was due already.
    pub fn fail(&self, exc: io::Error) {
        self.mailbox.abort(Some(exc));
    }

    /// Whether the transport is closing or closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.mailbox.is_closing()
    }

    /// Waits for the end: `connection_lost` has returned and the descriptor is closed. Many may wait.
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

    /// What is known about the transport.
    #[doc(alias = "get_extra_info")]
    #[must_use]
    pub fn extra_info(&self) -> &ExtraInfo {
        self.mailbox.info()
    }

    /// Runs `f` with the socket, to read or set its options. `None` if there is no socket (any more).
    ///
    /// ```no_run
    /// # fn f(transport: &smol_transports::Transport) -> std::io::Result<()> {
    /// if let Some(result) = transport.with_socket(|socket| socket.set_tcp_nodelay(false)) {
    ///     result?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "get_extra_info")]
    pub fn with_socket<R>(&self, f: impl FnOnce(SockRef<'_>) -> R) -> Option<R> {
        let outlet = self.mailbox.settled_outlet()?;
        let socket = outlet.socket()?;
        Some(f(socket))
    }

    /// Replaces the protocol: the next callback of any kind goes to the new one, but for a `pause_writing` that is due
    /// already ([`Written::Full`]), which the old one is told.
    ///
    /// `connection_made` is not called on the new protocol, and nothing else on the old one. The protocol that the
    /// [`Connection`](crate::Connection) was made with stays with it and is what it resolves to. The new protocol is
    /// dropped at the loss, or when it is replaced itself.
    pub fn set_protocol(&self, protocol: impl StreamProtocol<Self> + Send + 'static) {
        let protocol: Box<dyn Stream<Self> + Send> = Box::new(protocol);
        self.mailbox.renew(Box::new(protocol));
    }

    /// Posts a command: the message form of the methods above.
    ///
    /// `Ok` says that it was posted. What the method would have answered is not told: that a write was refused, that there
    /// is no `write_eof` over TLS.
    ///
    /// # Errors
    ///
    /// Gives the command back if the transport has ended.
    pub fn send(&self, command: Command) -> Result<(), Closed> {
        if self.mailbox.has_ended() {
            return Err(Closed(command));
        }
        match command {
            Command::Write(data) => drop(self.write_bytes(data)),
            Command::WriteEof => drop(self.write_eof()),
            Command::Close => self.close(),
            Command::Abort => self.abort(),
            Command::Fail(exc) => self.fail(exc),
            Command::PauseReading => self.pause_reading(),
            Command::ResumeReading => self.resume_reading(),
            Command::SetWriteBufferLimits(limits) => self.set_write_buffer_limits(limits),
            #[cfg(feature = "tls-custom")]
            Command::StartTls(tls) => drop(self.start_tls(tls)),
        }
        Ok(())
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("info", self.extra_info()).finish_non_exhaustive()
    }
}

//! The handle of a datagram endpoint.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use socket2::SockRef;

use crate::actor::datagram_side::DatagramSide;
use crate::actor::mailbox::Mailbox;
use crate::actor::write_side::Chunk;
use crate::info::{Addr, ExtraInfo};
use crate::message::{Closed, DatagramCommand, Written};
use crate::protocol::DatagramProtocol;
use crate::state::limits::WriteLimits;

/// The handle of a datagram endpoint.
///
/// It is cheap to clone, can be used from every thread, and never blocks: its methods post to the actor that owns the
/// socket. What they ask for takes effect before the next callback; what can be read back is true at once. Every call on
/// an endpoint that has ended is harmless.
///
/// # Sending
///
/// Each call is one datagram, sent whole and in order, also if it is empty. What is sent inside a callback is gathered
/// and handed to the system when it returns, many at once where the system can take that (Linux). Only where the last
/// callbacks that have sent something sent one each, the first of the next is sent at once. What is sent elsewhere goes
/// out at once if nothing waits before it. Datagrams that the system does not take wait in a buffer without limit: please
/// stop when a call answers [`Written::Full`] or when `pause_writing` is called, and go on after
/// `resume_writing` or [`drain`](Self::drain).
///
/// A datagram that cannot be sent, one that is too long for example, is dropped: `error_received` is called, and the
/// others are not affected.
///
/// # Dropping
///
/// Dropping a handle does nothing: handles do not keep the endpoint open.
#[derive(Clone)]
pub struct DatagramTransport {
    mailbox: Arc<Mailbox<DatagramSide>>,
}

impl DatagramTransport {
    pub(crate) const fn new(mailbox: Arc<Mailbox<DatagramSide>>) -> Self {
        Self { mailbox }
    }

    /// Sends a copy of `data` to the peer of the endpoint.
    ///
    /// Never fails because of the network. It is answered with [`Written::Refused`] if the endpoint was made without a
    /// remote address, and with [`Written::Closed`] after the end. After [`close`](Self::close), what is sent while the
    /// buffer empties is still sent; an endpoint without a peer sends until its descriptor is closed.
    #[doc(alias = "sendto")]
    pub fn send(&self, data: impl AsRef<[u8]>) -> Written {
        self.mailbox.send(Chunk::Borrowed(data.as_ref()), None)
    }

    /// Sends a copy of `data` to an address, which is never looked up.
    ///
    /// If the endpoint has a peer, that is the only address it may be: others are answered with [`Written::Refused`].
    /// Like [`send`](Self::send) otherwise.
    ///
    /// ```
    /// # use smol_transports::{Addr, DatagramTransport};
    /// fn greet(transport: &DatagramTransport, sender: &Addr) {
    ///     transport.send_to("hello", sender);
    ///     transport.send_to("hello", ([127, 0, 0, 1], 9999));
    /// }
    /// ```
    #[doc(alias = "sendto")]
    pub fn send_to(&self, data: impl AsRef<[u8]>, addr: impl Into<Addr>) -> Written {
        self.mailbox.send(Chunk::Borrowed(data.as_ref()), Some(addr.into()))
    }

    /// Sends `data` without copying it, if it has to wait: for one that is sent to many.
    pub fn send_bytes(&self, data: impl Into<Bytes>) -> Written {
        self.mailbox.send(Chunk::Shared(data.into()), None)
    }

    /// Sends `data` to an address without copying it, if it has to wait.
    pub fn send_bytes_to(&self, data: impl Into<Bytes>, addr: impl Into<Addr>) -> Written {
        self.mailbox.send(Chunk::Shared(data.into()), Some(addr.into()))
    }

    /// Bytes that wait to be taken by the system: the payloads alone. 0 after the end.
    #[doc(alias = "get_write_buffer_size")]
    #[must_use]
    pub fn write_buffer_size(&self) -> usize {
        self.mailbox.write_buffer_size()
    }

    /// The marks of the buffer.
    #[doc(alias = "get_write_buffer_limits")]
    #[must_use]
    pub fn write_buffer_limits(&self) -> WriteLimits {
        self.mailbox.limits()
    }

    /// Sets the marks of the buffer.
    ///
    /// A buffer that is over the new high mark pauses the sender; one that is under the new low mark resumes it only
    /// when the next datagram has left.
    pub fn set_write_buffer_limits(&self, limits: WriteLimits) {
        self.mailbox.set_limits(limits);
    }

    /// Whether the buffer has gone over the high mark and not yet come down to the low one.
    #[must_use]
    pub fn is_writing_paused(&self) -> bool {
        self.mailbox.is_writing_paused()
    }

    /// Waits until sending is not paused. Many may wait.
    ///
    /// # Errors
    ///
    /// The cause of the loss, or [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the endpoint has ended in good order.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn drain(&self) -> io::Result<()> {
        self.mailbox.drain().await
    }

    /// Stops the delivery of datagrams until [`resume_reading`](Self::resume_reading).
    ///
    /// Does nothing when reading is paused already or the endpoint is closing. While paused, the system keeps what
    /// arrives as far as it has room, and then drops it (UDP) or stops the sender (Unix sockets).
    pub fn pause_reading(&self) {
        self.mailbox.set_reading_paused(true);
    }

    /// Takes back [`pause_reading`](Self::pause_reading).
    pub fn resume_reading(&self) {
        self.mailbox.set_reading_paused(false);
    }

    /// Whether the endpoint is neither closing nor paused.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.mailbox.is_reading()
    }

    /// Closes the endpoint: reading stops now, what is buffered is sent, then `connection_lost(None)` is called.
    ///
    /// There is no limit on the time that takes, unless
    /// [`close_timeout`](crate::CreateDatagramEndpoint::close_timeout) was set. [`abort`](Self::abort) does not wait.
    pub fn close(&self) {
        self.mailbox.close();
    }

    /// Closes the endpoint at once: what is buffered is dropped, and `connection_lost(None)` is called.
    pub fn abort(&self) {
        self.mailbox.abort(None);
    }

    /// [`abort`](Self::abort) with a cause: `connection_lost(Some(exc))` is called, unless the end was due already.
    pub fn fail(&self, exc: io::Error) {
        self.mailbox.abort(Some(exc));
    }

    /// Whether the endpoint is closing or closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.mailbox.is_closing()
    }

    /// Waits for the end: `connection_lost` has returned and the descriptor is closed. Many may wait.
    ///
    /// # Errors
    ///
    /// The cause of the loss; an end by `close` or `abort` is `Ok`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn closed(&self) -> io::Result<()> {
        self.mailbox.closed().await
    }

    /// What is known about the endpoint: its own address, and that of its peer if the socket is connected.
    #[doc(alias = "get_extra_info")]
    #[must_use]
    pub fn extra_info(&self) -> &ExtraInfo {
        self.mailbox.info()
    }

    /// Runs `f` with the socket, to read or set its options. `None` if there is no socket (any more).
    ///
    /// ```no_run
    /// # fn f(transport: &smol_transports::DatagramTransport) {
    /// transport.with_socket(|socket| socket.set_recv_buffer_size(1 << 20));
    /// # }
    /// ```
    pub fn with_socket<R>(&self, f: impl FnOnce(SockRef<'_>) -> R) -> Option<R> {
        let outlet = self.mailbox.datagram_outlet()?;
        let socket = outlet.socket()?;
        Some(f(socket))
    }

    /// Replaces the protocol: the next callback of any kind goes to the new one, but for what is due already: the old one
    /// is told of a pause that was announced by [`Written::Full`], and of datagrams that have failed before.
    ///
    /// `connection_made` is not called on the new one, and nothing else on the old one. The protocol that the
    /// [`DatagramEndpoint`](crate::DatagramEndpoint) was made with stays with it and is what it resolves to. The new
    /// protocol is dropped at the loss, or when it is replaced itself.
    pub fn set_protocol(&self, protocol: impl DatagramProtocol + Send + 'static) {
        let protocol: Box<dyn DatagramProtocol + Send> = Box::new(protocol);
        self.mailbox.renew(Box::new(protocol));
    }

    /// Posts a command: the message form of the methods above.
    ///
    /// # Errors
    ///
    /// Gives the command back if the endpoint has ended.
    pub fn post(&self, command: DatagramCommand) -> Result<(), Closed<DatagramCommand>> {
        if self.mailbox.has_ended() {
            return Err(Closed(command));
        }
        match command {
            DatagramCommand::Send(data) => drop(self.send_bytes(data)),
            DatagramCommand::SendTo(data, addr) => drop(self.send_bytes_to(data, addr)),
            DatagramCommand::Close => self.close(),
            DatagramCommand::Abort => self.abort(),
            DatagramCommand::Fail(exc) => self.fail(exc),
            DatagramCommand::PauseReading => self.pause_reading(),
            DatagramCommand::ResumeReading => self.resume_reading(),
            DatagramCommand::SetWriteBufferLimits(limits) => self.set_write_buffer_limits(limits),
        }
        Ok(())
    }
}

impl fmt::Debug for DatagramTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramTransport").field("info", self.extra_info()).finish_non_exhaustive()
    }
}

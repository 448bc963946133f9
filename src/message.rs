//! The messages of the stream actors, in both directions.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
#[cfg(unix)]
use std::process::ExitStatus;

use bytes::Bytes;

use crate::info::Addr;
#[cfg(unix)]
use crate::protocol::Pipe;
use crate::state::lifecycle::Input;
use crate::state::limits::WriteLimits;

/// What an actor tells: one for each callback of a [`Protocol`](crate::Protocol), in the same order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The connection is open. Always the first event.
    ConnectionMade,
    /// Bytes have arrived; never empty.
    DataReceived(Cow<'a, [u8]>),
    /// That many bytes have arrived in the buffer that was asked for; never zero.
    BufferUpdated(usize),
    /// The peer will send no more.
    EofReceived,
    /// More bytes wait to be sent than the high mark allows.
    PauseWriting,
    /// The buffer has emptied to the low mark.
    ResumeWriting,
    /// The connection is gone. Always the last event; `None` is an orderly end.
    ConnectionLost(Option<io::Error>),
}

impl Event<'_> {
    pub(crate) const fn input(&self) -> Input {
        match self {
            Self::ConnectionMade => Input::ConnectionMade,
            Self::DataReceived(_) | Self::BufferUpdated(_) => Input::DataReceived,
            Self::EofReceived => Input::EofReceived,
            Self::PauseWriting => Input::PauseWriting,
            Self::ResumeWriting => Input::ResumeWriting,
            Self::ConnectionLost(_) => Input::ConnectionLost,
        }
    }

    /// Bytes that have arrived.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::DataReceived(data) => data.len(),
            Self::BufferUpdated(count) => *count,
            _ => 0,
        }
    }

    /// The event with bytes of its own.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::ConnectionMade => Event::ConnectionMade,
            Self::DataReceived(data) => Event::DataReceived(Cow::Owned(data.into_owned())),
            Self::BufferUpdated(count) => Event::BufferUpdated(count),
            Self::EofReceived => Event::EofReceived,
            Self::PauseWriting => Event::PauseWriting,
            Self::ResumeWriting => Event::ResumeWriting,
            Self::ConnectionLost(exc) => Event::ConnectionLost(exc),
        }
    }
}

/// What the actor of a child process tells: one for each callback of a
/// [`SubprocessProtocol`](crate::SubprocessProtocol), in the same order.
#[cfg(unix)]
#[derive(Debug)]
#[non_exhaustive]
pub enum ProcessEvent<'a> {
    /// The child is running. Always the first event.
    ConnectionMade,
    /// The child has written; never empty.
    PipeDataReceived(Pipe, Cow<'a, [u8]>),
    /// A pipe is gone; `None` is an orderly end.
    PipeConnectionLost(Pipe, Option<io::Error>),
    /// The child has exited.
    ProcessExited(ExitStatus),
    /// More bytes wait for a pipe than the high mark allows.
    PauseWriting(Pipe),
    /// The buffer for a pipe has emptied.
    ResumeWriting(Pipe),
    /// The child has exited and all its pipes are gone. Always the last event.
    ConnectionLost(Option<io::Error>),
}

#[cfg(unix)]
impl ProcessEvent<'_> {
    /// The event with bytes of its own.
    #[must_use]
    pub fn into_owned(self) -> ProcessEvent<'static> {
        match self {
            Self::ConnectionMade => ProcessEvent::ConnectionMade,
            Self::PipeDataReceived(pipe, data) => ProcessEvent::PipeDataReceived(pipe, Cow::Owned(data.into_owned())),
            Self::PipeConnectionLost(pipe, exc) => ProcessEvent::PipeConnectionLost(pipe, exc),
            Self::ProcessExited(status) => ProcessEvent::ProcessExited(status),
            Self::PauseWriting(pipe) => ProcessEvent::PauseWriting(pipe),
            Self::ResumeWriting(pipe) => ProcessEvent::ResumeWriting(pipe),
            Self::ConnectionLost(exc) => ProcessEvent::ConnectionLost(exc),
        }
    }
}

/// What the actor of a datagram endpoint tells: one for each callback of a
/// [`DatagramProtocol`](crate::DatagramProtocol), in the same order.
#[derive(Debug)]
#[non_exhaustive]
pub enum DatagramEvent<'a> {
    /// The endpoint is there. Always the first event.
    ConnectionMade,
    /// A datagram has arrived: whole, and possibly empty.
    DatagramReceived {
        /// Its bytes.
        data: Cow<'a, [u8]>,
        /// Its sender.
        addr: Cow<'a, Addr>,
    },
    /// A datagram could not be sent or received; the endpoint lives on.
    ErrorReceived(io::Error),
    /// More bytes wait to be sent than the high mark allows.
    PauseWriting,
    /// The buffer has emptied to the low mark.
    ResumeWriting,
    /// The endpoint is gone. Always the last event; `None` is an orderly end.
    ConnectionLost(Option<io::Error>),
}

impl DatagramEvent<'_> {
    pub(crate) const fn input(&self) -> Input {
        match self {
            Self::ConnectionMade => Input::ConnectionMade,
            Self::DatagramReceived { .. } => Input::DataReceived,
            Self::ErrorReceived(_) => Input::ErrorReceived,
            Self::PauseWriting => Input::PauseWriting,
            Self::ResumeWriting => Input::ResumeWriting,
            Self::ConnectionLost(_) => Input::ConnectionLost,
        }
    }

    /// Bytes that have arrived.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::DatagramReceived { data, .. } => data.len(),
            _ => 0,
        }
    }

    /// The event with bytes and an address of its own.
    #[must_use]
    pub fn into_owned(self) -> DatagramEvent<'static> {
        match self {
            Self::ConnectionMade => DatagramEvent::ConnectionMade,
            Self::DatagramReceived { data, addr } => DatagramEvent::DatagramReceived {
                data: Cow::Owned(data.into_owned()),
                addr: Cow::Owned(addr.into_owned()),
            },
            Self::ErrorReceived(exc) => DatagramEvent::ErrorReceived(exc),
            Self::PauseWriting => DatagramEvent::PauseWriting,
            Self::ResumeWriting => DatagramEvent::ResumeWriting,
            Self::ConnectionLost(exc) => DatagramEvent::ConnectionLost(exc),
        }
    }
}

/// What the actor of a datagram endpoint can be told: the message form of the methods of
/// [`DatagramTransport`](crate::DatagramTransport).
#[derive(Debug)]
#[non_exhaustive]
pub enum DatagramCommand {
    /// [`DatagramTransport::send_bytes`](crate::DatagramTransport::send_bytes)
    Send(Bytes),
    /// [`DatagramTransport::send_bytes_to`](crate::DatagramTransport::send_bytes_to)
    SendTo(Bytes, Addr),
    /// [`DatagramTransport::close`](crate::DatagramTransport::close)
    Close,
    /// [`DatagramTransport::abort`](crate::DatagramTransport::abort)
    Abort,
    /// [`DatagramTransport::fail`](crate::DatagramTransport::fail)
    Fail(io::Error),
    /// [`DatagramTransport::pause_reading`](crate::DatagramTransport::pause_reading)
    PauseReading,
    /// [`DatagramTransport::resume_reading`](crate::DatagramTransport::resume_reading)
    ResumeReading,
    /// [`DatagramTransport::set_write_buffer_limits`](crate::DatagramTransport::set_write_buffer_limits)
    SetWriteBufferLimits(WriteLimits),
}

/// What the actor of a child process can be told: the message form of the methods of
/// [`SubprocessTransport`](crate::SubprocessTransport).
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessCommand {
    /// [`SubprocessTransport::send_signal`](crate::SubprocessTransport::send_signal)
    Signal(i32),
    /// [`SubprocessTransport::terminate`](crate::SubprocessTransport::terminate)
    Terminate,
    /// [`SubprocessTransport::kill`](crate::SubprocessTransport::kill)
    Kill,
    /// [`SubprocessTransport::close`](crate::SubprocessTransport::close)
    Close,
}

/// What the actor of a read pipe can be told: the message form of the methods of
/// [`ReadTransport`](crate::ReadTransport).
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadCommand {
    /// [`ReadTransport::close`](crate::ReadTransport::close)
    Close,
    /// [`ReadTransport::abort`](crate::ReadTransport::abort)
    Abort,
    /// [`ReadTransport::fail`](crate::ReadTransport::fail)
    Fail(io::Error),
    /// [`ReadTransport::pause_reading`](crate::ReadTransport::pause_reading)
    PauseReading,
    /// [`ReadTransport::resume_reading`](crate::ReadTransport::resume_reading)
    ResumeReading,
}

/// What the actor of a write pipe can be told: the message form of the methods of
/// [`WriteTransport`](crate::WriteTransport).
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteCommand {
    /// [`WriteTransport::write_bytes`](crate::WriteTransport::write_bytes)
    Write(Bytes),
    /// [`WriteTransport::write_eof`](crate::WriteTransport::write_eof)
    WriteEof,
    /// [`WriteTransport::close`](crate::WriteTransport::close)
    Close,
    /// [`WriteTransport::abort`](crate::WriteTransport::abort)
    Abort,
    /// [`WriteTransport::fail`](crate::WriteTransport::fail)
    Fail(io::Error),
    /// [`WriteTransport::set_write_buffer_limits`](crate::WriteTransport::set_write_buffer_limits)
    SetWriteBufferLimits(WriteLimits),
}

/// What an actor can be told: the message form of the methods of [`Transport`](crate::Transport).
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// [`Transport::write_bytes`](crate::Transport::write_bytes)
    Write(Bytes),
    /// [`Transport::write_eof`](crate::Transport::write_eof)
    WriteEof,
    /// [`Transport::close`](crate::Transport::close)
    Close,
    /// [`Transport::abort`](crate::Transport::abort)
    Abort,
    /// [`Transport::fail`](crate::Transport::fail)
    Fail(io::Error),
    /// [`Transport::pause_reading`](crate::Transport::pause_reading)
    PauseReading,
    /// [`Transport::resume_reading`](crate::Transport::resume_reading)
    ResumeReading,
    /// [`Transport::set_write_buffer_limits`](crate::Transport::set_write_buffer_limits)
    SetWriteBufferLimits(WriteLimits),
    /// [`Transport::start_tls`](crate::Transport::start_tls)
    #[cfg(feature = "tls-custom")]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "tls", feature = "tls-aws-lc", feature = "tls-custom"))))]
    StartTls(crate::tls::Tls),
}

/// The transport has ended; the command is given back.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "it is nothing but the command")]
pub struct Closed<C = Command>(pub C);

impl<C> fmt::Display for Closed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the transport is closed")
    }
}

impl<C: fmt::Debug> Error for Closed<C> {}

/// [`BrokenPipe`](io::ErrorKind::BrokenPipe), as of a write that came too late.
impl<C> From<Closed<C>> for io::Error {
    fn from(closed: Closed<C>) -> Self {
        Self::new(io::ErrorKind::BrokenPipe, closed.to_string())
    }
}

/// What became of a write.
///
/// # Examples
///
/// A writer with much to say looks at it, and goes on when there is room again:
///
/// ```
/// use smol_transports::testing::{Memory, poll};
/// use smol_transports::{Protocol, Transport, Written};
///
/// struct Endless;
///
/// impl Protocol for Endless {
///     fn connection_made(&mut self, transport: &Transport) {
///         while transport.write([0; 1024]) == Written::Queued {}
///     }
///
///     fn resume_writing(&mut self, transport: &Transport) {
///         self.connection_made(transport);
///     }
/// }
///
/// let (mut connection, peer) = Memory::new(Endless).room(0).connect();
/// assert_eq!(connection.transport().write_buffer_size(), 65 * 1024);
///
/// peer.set_room(60 * 1024);
/// assert!(poll(&mut connection).is_pending());
/// assert_eq!(connection.transport().write_buffer_size(), 65 * 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Written {
    /// The bytes are on their way.
    Queued,
    /// The bytes are on their way, but more wait than the high mark allows: please stop until `resume_writing`.
    Full,
    /// The transport has ended, or closes with nothing left to send; the bytes were dropped.
    Closed,
    /// The call is wrong at this point; the bytes were dropped.
    Refused(Misuse),
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// `write_eof` was called before.
    WriteAfterEof,
    /// A datagram without an address, on an endpoint that has no peer.
    AddressMissing,
    /// A datagram to an address that is not the peer of the endpoint.
    OtherAddress,
}

impl Written {
    /// Turns the answer into a result.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) for [`Closed`](Self::Closed), and
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for [`Refused`](Self::Refused).
    pub fn ok(self) -> io::Result<()> {
        match self {
            Self::Queued | Self::Full => Ok(()),
            Self::Closed => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the transport is closed")),
            Self::Refused(misuse) => Err(io::Error::new(io::ErrorKind::InvalidInput, misuse)),
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteAfterEof => f.write_str("write after write_eof"),
            Self::AddressMissing => f.write_str("a datagram needs an address on an endpoint without a peer"),
            Self::OtherAddress => f.write_str("the endpoint has a peer, and this is another address"),
        }
    }
}

impl Error for Misuse {}

//! The messages of the stream actors, in both directions.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

use bytes::Bytes;

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
}

/// The transport is closing or closed; the command is given back.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "it is nothing but the command")]
pub struct Closed(pub Command);

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the transport is closed")
    }
}

impl Error for Closed {}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Written {
    /// The bytes are on their way.
    Queued,
    /// The bytes are on their way, but more wait than the high mark allows: please stop until `resume_writing`.
    Full,
    /// The transport is closed or closing; the bytes were dropped.
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
        }
    }
}

impl Error for Misuse {}

//! Protocols without sockets: an in-memory connection, moved step by step.
//!
//! [`Memory`] makes a real [`Connection`] whose other end is a [`Peer`]: feed it bytes in chosen pieces, end or break
//! it, slow down the writing, read what was written. [`poll`] lets a connection do all it can do now, and [`finish`] runs
//! it to its end; [`converse()`] runs two protocols against each other. There is no thread and no socket, and with a
//! [`Clock`], which is moved by hand, no time passes by itself.
//!
//! # Examples
//!
//! ```
//! use smol_transports::testing::{Memory, finish, poll};
//! use smol_transports::{Protocol, Transport};
//!
//! struct Shout;
//!
//! impl Protocol for Shout {
//!     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
//!         transport.write(data.to_ascii_uppercase());
//!     }
//! }
//!
//! let (mut connection, peer) = Memory::new(Shout).connect();
//! peer.feed(b"hel");
//! peer.feed(b"lo");
//! assert!(poll(&mut connection).is_pending());
//! assert_eq!(peer.take_written(), b"HELLO");
//!
//! peer.feed_eof();
//! let Shout = finish(connection);
//! assert!(peer.is_closed());
//! ```

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::actor::stream::Setup;
use crate::connect::bound_options;
use crate::connection::Connection;
use crate::info::{Addr, ExtraInfo};
use crate::io::clock::{self, ManualClock};
use crate::io::memory::{self, Pipe};
use crate::protocol::StreamProtocol;
use crate::state::limits::WriteLimits;
use crate::transport::Transport;

#[cfg(unix)]
mod child;
mod converse;
mod datagram;

#[cfg(unix)]
pub use child::{Script, ScriptedChild};
pub use converse::converse;
pub use datagram::{DatagramPeer, MemoryDatagram};

/// An in-memory connection to be made.
#[derive(Debug)]
#[must_use = "nothing happens until it is connected"]
pub struct Memory<P> {
    protocol: P,
    room: usize,
    info: ExtraInfo,
    setup: Setup,
}

impl<P: StreamProtocol<Transport>> Memory<P> {
    /// A connection for `protocol`.
    pub fn new(protocol: P) -> Self {
        Self { protocol, room: usize::MAX, info: ExtraInfo::default(), setup: Setup::default() }
    }

    /// How many bytes the peer takes at first, without limit by default; [`Peer::set_room`] changes it later.
    pub const fn room(mut self, bytes: usize) -> Self {
        self.room = bytes;
        self
    }

    /// The address of the peer, as the transport tells it.
    pub fn peername(mut self, addr: impl Into<Addr>) -> Self {
        self.info = self.info.with_peername(Some(addr.into()));
        self
    }

    /// The marks of the write buffer that the transport begins with; 64 KiB and 16 KiB by default.
    pub const fn write_limits(mut self, limits: WriteLimits) -> Self {
        self.setup.limits = limits;
        self
    }

    /// How long the sending of what is buffered may take after `close()`. No limit by default.
    pub const fn close_timeout(mut self, limit: Duration) -> Self {
        self.setup.close_timeout = Some(limit);
        self
    }

    bound_options!(setup);

    /// The clock that time limits go by, instead of the system's.
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.setup.clock = clock::Clock::Manual(clock.0.clone());
        self
    }

    /// Makes the connection: `connection_made` is called here.
    pub fn connect(self) -> (Connection<P>, Peer) {
        let (halves, pipe) = memory::halves();
        pipe.set_room(self.room);
        let connection = Connection::start(self.protocol, halves, self.info, self.setup);
        (connection, Peer(pipe))
    }
}

/// The other end of an in-memory connection.
///
/// # Dropping
///
/// Dropping it does nothing: the connection goes on as if the peer were silent.
#[derive(Clone, Debug)]
pub struct Peer(Arc<Pipe>);

impl Peer {
    /// Sends a piece of bytes; pieces arrive one by one.
    pub fn feed(&self, data: impl AsRef<[u8]>) {
        self.0.feed(data.as_ref());
    }

    /// Finishes sending: end of file after what was fed.
    pub fn feed_eof(&self) {
        self.0.feed_eof();
    }

    /// Breaks the reading, after what was fed.
    pub fn break_reading(&self, err: io::Error) {
        self.0.fail_receiving(err);
    }

    /// Breaks the next send.
    pub fn break_writing(&self, err: io::Error) {
        self.0.fail_sending(err);
    }

    /// How many more bytes will be taken; `usize::MAX` is without limit, as at the beginning.
    pub fn set_room(&self, bytes: usize) {
        self.0.set_room(bytes);
    }

    /// What was sent since the last call.
    #[must_use]
    pub fn take_written(&self) -> Vec<u8> {
        self.0.take_written()
    }

    /// How many sends have taken bytes so far.
    #[must_use]
    pub fn sends(&self) -> usize {
        self.0.sends()
    }

    /// Whether the end of file was sent.
    #[must_use]
    pub fn has_eof(&self) -> bool {
        self.0.is_finished()
    }

    /// Whether the transport has let go of its end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A clock that stands still until it is moved.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use smol_transports::Protocol;
/// use smol_transports::testing::{Clock, Memory, finish, poll};
///
/// #[derive(Default)]
/// struct Lost(Option<std::io::Error>);
///
/// impl Protocol for Lost {
///     fn connection_lost(&mut self, exc: Option<std::io::Error>) {
///         self.0 = exc;
///     }
/// }
///
/// let (clock, hour) = (Clock::new(), Duration::from_secs(3600));
/// let (mut connection, _peer) = Memory::new(Lost::default()).clock(&clock).idle_timeout(hour).connect();
/// clock.advance(hour - Duration::from_secs(1));
/// assert!(poll(&mut connection).is_pending());
///
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(finish(connection).0.unwrap().kind(), std::io::ErrorKind::TimedOut);
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Arc<ManualClock>);

impl Clock {
    /// A clock at some point in time.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(ManualClock::new()))
    }

    /// Moves the time on, and wakes whoever waits for it.
    ///
    /// # Panics
    ///
    /// If an [`Instant`](std::time::Instant) cannot be that late.
    pub fn advance(&self, by: Duration) {
        self.0.advance(by);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Polls `future` until it is done or has nothing more to do.
pub fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    while woken.0.swap(false, Ordering::SeqCst) {
        if let Poll::Ready(output) = Pin::new(&mut *future).poll(&mut cx) {
            return Poll::Ready(output);
        }
    }
    Poll::Pending
}

/// Polls `future` to its end, and gives what it resolves to: the protocol, if it is a connection.
///
/// # Panics
///
/// If it waits for something that has not happened.
#[track_caller]
pub fn finish<F: Future + Unpin>(mut future: F) -> F::Output {
    match poll(&mut future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future is not done, and nothing will wake it"),
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

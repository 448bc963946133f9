//! What stands between an actor and the outside.
//!
//! An actor sees neither a descriptor nor a read buffer. It owns an [`Endpoint`], which lends received bytes and waits
//! for readiness, and posts through an [`Outlet`], which lies beside the outbox under its lock so that handles may send
//! as well. Both halves share one socket; it is closed when both are gone.

pub(crate) mod async_io;
#[cfg(unix)]
pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod datagram;
pub(crate) mod errors;
pub(crate) mod futures;
pub(crate) mod memory;
#[cfg(unix)]
pub(crate) mod pipe;
pub(crate) mod scratch;
pub(crate) mod socket;
pub(crate) mod timer;
#[cfg(feature = "tls-custom")]
pub(crate) mod tls;

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, IoSlice};
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::{SockRef, Socket};

/// Whether the receiver of bytes wants more of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Stop,
}

/// How receiving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recv {
    /// The budget is used up, or the receiver said stop: there may be more.
    More,
    /// Nothing more for now.
    Idle,
    /// The same, and the task will be woken when there is more: nobody need be asked to.
    Awaited,
    /// The peer has finished. Sticky: asking again gives the same.
    Eof,
}

/// Whether bytes have moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) received: bool,
    pub(crate) sent: bool,
}

/// The actor's half: receiving, and waiting until sending is worth another try.
///
/// Every `poll_*` method that is pending has registered the waker of `cx`, and no other call may undo that: where one
/// does, because what lies below keeps one waiter for several operations, the endpoint wakes the task so that it asks
/// again. The contract suits one-shot and edge-triggered readiness alike: readiness is consumed before the system call,
/// never after it.
pub(crate) trait Endpoint: Debug + Send {
    /// Ready when receiving is worth a try: then one of the two methods below must follow.
    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Lends received bytes to `f`, piece by piece, `budget` bytes at most. Bytes that `f` was not shown stay here.
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        f: &mut dyn FnMut(&[u8]) -> Flow,
    ) -> Poll<io::Result<Recv>>;

    /// Receives into `buf`; 0 is the end of file.
    fn poll_recv_into(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Ready when sending is worth a try again. Asked only after a send that came short.
    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Moves on what the endpoint itself still holds of what was sent. Asked at each turn.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Receiving is worth a try until it finds nothing, whatever was reported so far.
    fn look_again(&mut self) {}

    /// What has moved since this was asked last without being seen from above: pieces of what is told as a whole.
    fn take_progress(&mut self) -> Progress {
        Progress::default()
    }

    /// A hint that received bytes are wanted or not.
    fn set_reading(&mut self, on: bool);

    /// Ends the connection in good order, after everything was sent.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Forgets where it was waited for; the next wait decides anew.
    fn unbind(&mut self) {}

    /// Gives the socket back, if there is one and nobody else holds it.
    fn into_socket(self: Box<Self>) -> Option<Socket>;
}

/// The shared half: sending.
pub(crate) trait Outlet: Debug + Send + Sync {
    /// Sends what can be sent at once. Never waits; never zero for bytes that are not empty.
    fn try_send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// The same for bytes that nobody keeps: what is taken counts as sent, though it may be held for a while.
    fn try_send_copy(&self, buf: &[u8]) -> io::Result<usize> {
        self.try_send(&[IoSlice::new(buf)])
    }

    /// Sends a piece of a file without reading it, where the system can do that: 0 is the end of the file. `None` where
    /// it cannot.
    fn try_send_file(&self, _file: &File, _offset: u64, _count: usize) -> io::Result<Option<usize>> {
        Ok(None)
    }

    /// Tells the peer that nothing more will follow.
    fn finish(&self) -> io::Result<()>;

    /// Whether handles may send as well. Else only the actor does, which flushes afterwards.
    fn is_direct(&self) -> bool {
        true
    }

    /// The socket, for its options.
    fn socket(&self) -> Option<SockRef<'_>>;

    /// The descriptor, for whatever it can tell.
    #[cfg(unix)]
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Both halves of one endpoint; there is no outlet where nothing can be sent.
pub(crate) type Halves = (Box<dyn Endpoint>, Option<Arc<dyn Outlet>>);

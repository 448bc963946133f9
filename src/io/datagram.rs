//! What stands between a datagram actor and the outside: the counterpart of [`Endpoint`](super::Endpoint) and
//! [`Outlet`](super::Outlet).
//!
//! The rules are the same: both halves share one socket, which is closed when both are gone; every `poll_*` method that
//! is pending has registered the waker; readiness is consumed before the system call, never after it.

pub(crate) mod async_io;
pub(crate) mod memory;
pub(crate) mod socket;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;

use super::Flow;
use crate::info::Addr;

/// One receive: a whole datagram and its sender, or an error that the socket has survived.
pub(crate) type Received<'a> = io::Result<(&'a [u8], &'a Addr)>;

/// A datagram to be sent; without an address it goes where the socket is connected to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) to: Option<&'a Addr>,
}

/// The actor's half: receiving, and waiting until sending is worth another try.
pub(crate) trait DatagramSource: Debug + Send {
    /// Lends what was received to `f`, one by one, `budget` of them at most. Ready when the budget is used up or `f` has
    /// said stop: there may be more. An error means that nothing can be received any more.
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        f: &mut dyn FnMut(Received<'_>) -> Flow,
    ) -> Poll<io::Result<()>>;

    /// Ready when sending is worth a try again. Asked only after a send that came short.
    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// A hint that datagrams are wanted or not.
    fn set_reading(&mut self, on: bool);
}

/// The shared half: sending.
pub(crate) trait DatagramOutlet: Debug + Send + Sync {
    /// Sends the first of `datagrams`, each of them whole, in order; how many, never zero. Never waits. An error is that
    /// of the first one, which is not sent.
    fn try_send(&self, datagrams: &[Outgoing<'_>]) -> io::Result<usize>;

    /// The socket, for its options.
    fn socket(&self) -> Option<SockRef<'_>>;
}

/// Both halves of one endpoint.
pub(crate) type DatagramHalves = (Box<dyn DatagramSource>, Arc<dyn DatagramOutlet>);

//! Datagrams without sockets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Clock;
use crate::actor::datagram_side::Route;
use crate::actor::stream::Setup;
use crate::datagram::DatagramEndpoint;
use crate::info::{Addr, ExtraInfo};
use crate::io::clock;
use crate::io::datagram::memory::{self, Post};
use crate::protocol::DatagramProtocol;
use crate::state::limits::WriteLimits;

/// An in-memory datagram endpoint to be made.
///
/// # Examples
///
/// ```
/// use smol_transports::testing::{MemoryDatagram, poll};
/// use smol_transports::{Addr, DatagramProtocol, DatagramTransport};
///
/// struct Echo;
///
/// impl DatagramProtocol for Echo {
///     fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
///         transport.send_to(data, addr);
///     }
/// }
///
/// let (mut endpoint, peer) = MemoryDatagram::new(Echo).open();
/// let sender = Addr::from(([127, 0, 0, 1], 9999));
/// peer.feed("hello", &sender);
/// assert!(poll(&mut endpoint).is_pending());
/// assert_eq!(peer.take_sent(), [(b"hello".to_vec(), Some(sender))]);
/// ```
#[derive(Debug)]
#[must_use = "nothing happens until it is opened"]
pub struct MemoryDatagram<P> {
    protocol: P,
    peer: Option<Addr>,
    room: Option<usize>,
    setup: Setup,
}

impl<P: DatagramProtocol> MemoryDatagram<P> {
    /// An endpoint for `protocol`.
    pub fn new(protocol: P) -> Self {
        Self { protocol, peer: None, room: None, setup: Setup::default() }
    }

    /// Makes it one that is connected to this address.
    pub fn remote_addr(mut self, addr: impl Into<Addr>) -> Self {
        self.peer = Some(addr.into());
        self
    }

    /// How many datagrams will be taken at first, without limit by default; [`DatagramPeer::set_room`] changes it later.
    pub const fn room(mut self, datagrams: usize) -> Self {
        self.room = Some(datagrams);
        self
    }

    /// The marks of the buffer that the transport begins with.
    pub const fn write_limits(mut self, limits: WriteLimits) -> Self {
        self.setup.limits = limits;
        self
    }

    /// How long the sending of what is buffered may take after `close()`. No limit by default.
    pub const fn close_timeout(mut self, limit: Duration) -> Self {
        self.setup.close_timeout = Some(limit);
        self
    }

    /// The clock that time limits go by, instead of the system's.
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.setup.clock = clock::Clock::Manual(clock.0.clone());
        self
    }

    /// Makes the endpoint: `connection_made` is called here.
    pub fn open(self) -> (DatagramEndpoint<P>, DatagramPeer) {
        let (halves, post) = memory::halves();
        self.room.into_iter().for_each(|room| post.set_room(room));
        let info = ExtraInfo::default().with_peername(self.peer.clone());
        let route = self.peer.map_or(Route::Open, |peer| Route::Connected(vec![peer]));
        (DatagramEndpoint::start(self.protocol, halves, route, info, self.setup), DatagramPeer(post))
    }
}

/// The network around an in-memory datagram endpoint.
///
/// # Dropping
///
/// Dropping it does nothing: the endpoint goes on as if nobody sent.
#[derive(Clone, Debug)]
pub struct DatagramPeer(Arc<Post>);

impl DatagramPeer {
    /// Lets a datagram arrive.
    pub fn feed(&self, data: impl AsRef<[u8]>, sender: impl Into<Addr>) {
        self.0.feed(Ok((data.as_ref().to_vec(), sender.into())));
    }

    /// Lets a receive fail, after what was fed.
    pub fn fail_receiving(&self, err: io::Error) {
        self.0.feed(Err(err));
    }

    /// Lets the next send fail: one datagram for each call.
    pub fn fail_sending(&self, err: io::Error) {
        self.0.fail_sending(err);
    }

    /// How many more datagrams will be taken; without limit at the beginning.
    pub fn set_room(&self, datagrams: usize) {
        self.0.set_room(datagrams);
    }

    /// What was sent since the last call, with the address if the endpoint is not connected.
    #[must_use]
    pub fn take_sent(&self) -> Vec<(Vec<u8>, Option<Addr>)> {
        self.0.take_sent()
    }

    /// How many sends have taken datagrams so far; one may take many.
    #[must_use]
    pub fn sends(&self) -> usize {
        self.0.sends()
    }

    /// Whether the transport has let go of its end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

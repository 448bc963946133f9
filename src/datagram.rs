//! Datagram endpoints: UDP and Unix datagram sockets.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::actor::stream::Setup;
use crate::address::Address;
use crate::connect::{Options, buffer_options};
use crate::info::ExtraInfo;
#[cfg(unix)]
use crate::info::UnixAddr;
use crate::io::datagram::async_io;
use crate::protocol::DatagramProtocol;
use crate::state::limits::WriteLimits;

mod endpoint;
mod open;
mod transport;

pub use endpoint::DatagramEndpoint;
pub use open::{DatagramSocket, Family};
pub use transport::DatagramTransport;

pub(crate) use open::Opened;
use open::Plan;

/// Makes a datagram endpoint and runs `protocol` on it.
///
/// Awaiting the builder looks the addresses up, opens the socket and calls `connection_made`; awaiting the
/// [`DatagramEndpoint`] that it gives runs it until it is closed. At least one of these is needed:
/// an [address](CreateDatagramEndpoint::local_addr) to receive at, a [remote](CreateDatagramEndpoint::remote_addr)
/// one to send to, the same on Unix sockets, or a [socket](CreateDatagramEndpoint::socket); or else the
/// [family](CreateDatagramEndpoint::family), for an endpoint that sends to whom it likes.
///
/// With a remote address the socket is connected: it hears that peer alone, and is told when nobody listens there.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if there is nothing of the above, if there is a socket together with
/// addresses or options of sockets, or if the addresses have no family in common. Else what the look-up says, or the
/// error of the first pair of addresses if none can be used.
///
/// # Cancel safety
///
/// Dropping the future closes what was opened so far; the protocol is dropped with it, and gets no callback.
///
/// # Examples
///
/// ```no_run
/// use smol_transports::{Addr, DatagramProtocol, DatagramTransport, create_datagram_endpoint};
///
/// struct EchoServer;
///
/// impl DatagramProtocol for EchoServer {
///     fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
///         transport.send_to(data, addr);
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// smol::block_on(async {
///     create_datagram_endpoint(EchoServer).local_addr("127.0.0.1:9999").await?.await;
///     Ok(())
/// })
/// # }
/// ```
pub fn create_datagram_endpoint<P: DatagramProtocol>(protocol: P) -> CreateDatagramEndpoint<P> {
    CreateDatagramEndpoint { protocol, plan: Plan::default(), options: Options::default() }
}

/// A datagram endpoint to be made; made by [`create_datagram_endpoint`].
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct CreateDatagramEndpoint<P> {
    protocol: P,
    plan: Plan,
    options: Options,
}

impl<P> CreateDatagramEndpoint<P> {
    buffer_options!();

    /// The address to receive at. An empty host means all interfaces, port 0 any free one.
    pub fn local_addr(mut self, addr: impl Into<Address>) -> Self {
        self.plan.local = Some(addr.into());
        self
    }

    /// The address of the peer: the socket is connected to it, and sends to no other.
    pub fn remote_addr(mut self, addr: impl Into<Address>) -> Self {
        self.plan.remote = Some(addr.into());
        self
    }

    /// The path or [`UnixAddr`] to receive at.
    ///
    /// A socket file that is there already is taken over if no socket is bound to it any more. The file is removed when
    /// the endpoint ends, if it is still the same.
    #[cfg(unix)]
    pub fn local_path(mut self, path: impl Into<UnixAddr>) -> Self {
        self.plan.local_path = Some(path.into());
        self
    }

    /// The path or [`UnixAddr`] of the peer. Without a [`local_path`](Self::local_path) it cannot answer.
    #[cfg(unix)]
    pub fn remote_path(mut self, path: impl Into<UnixAddr>) -> Self {
        self.plan.remote_path = Some(path.into());
        self
    }

    /// Takes addresses of this family only. Without an address, the endpoint has no address until it sends.
    pub const fn family(mut self, family: Family) -> Self {
        self.plan.family = Some(family);
        self
    }

    /// Lets several sockets share one address (`SO_REUSEPORT`); off by default.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) where there is no such option.
    pub const fn reuse_port(mut self, on: bool) -> Self {
        self.plan.reuse_port = on;
        self
    }

    /// Allows to send to broadcast addresses (`SO_BROADCAST`); off by default.
    ///
    /// The socket is left unconnected then, so that answers of others are heard; the remote address, if there is one,
    /// is where everything is sent to.
    #[doc(alias = "allow_broadcast")]
    pub const fn broadcast(mut self, on: bool) -> Self {
        self.plan.broadcast = on;
        self
    }

    /// A socket that is open already, connected or not; it goes to the endpoint. Addresses and options of sockets
    /// cannot be given besides.
    pub fn socket(mut self, socket: impl DatagramSocket) -> Self {
        self.plan.socket = Some(socket.into_datagram_socket());
        self
    }
}

impl<P: DatagramProtocol> IntoFuture for CreateDatagramEndpoint<P> {
    type Output = io::Result<DatagramEndpoint<P>>;
    type IntoFuture = CreatingDatagramEndpoint<P>;

    fn into_future(self) -> CreatingDatagramEndpoint<P> {
        let Self { protocol, plan, options } = self;
        CreatingDatagramEndpoint { start: Some((protocol, options)), open: Box::pin(plan.open()) }
    }
}

/// The future of a [`CreateDatagramEndpoint`].
#[must_use = "nothing happens until it is awaited"]
pub struct CreatingDatagramEndpoint<P> {
    start: Option<(P, Options)>,
    open: Pin<Box<dyn Future<Output = io::Result<Opened>> + Send>>,
}

impl<P: DatagramProtocol> Future for CreatingDatagramEndpoint<P> {
    type Output = io::Result<DatagramEndpoint<P>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Opened { socket, route, guard } = ready!(this.open.as_mut().poll(cx))?;
        let (protocol, options) = this.start.take().expect("the future has resolved already");
        let info = ExtraInfo::of_datagram_socket(&socket);
        let setup = Setup { limits: options.limits, close_timeout: options.close_timeout, guard, ..Setup::default() };
        Poll::Ready(Ok(DatagramEndpoint::start(protocol, async_io::halves(socket), route, info, setup)))
    }
}

// Nothing is ever pinned inside but the box.
impl<P> Unpin for CreatingDatagramEndpoint<P> {}

impl<P> fmt::Debug for CreatingDatagramEndpoint<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatingDatagramEndpoint").finish_non_exhaustive()
    }
}

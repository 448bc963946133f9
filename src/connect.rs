//! Connections that this side opens, and sockets that are open already.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::address::Address;
use crate::connection::Connection;
use crate::protocol::StreamProtocol;
use crate::state::limits::WriteLimits;
use crate::transport::Transport;

pub(crate) mod attempts;
mod link;
mod options;
mod socket;

use attempts::Plan;
pub(crate) use link::{Handshake, Link, Opening};
pub(crate) use options::{Options, bound_options, buffer_options, stream_options, tls_option};
pub use socket::{ConnectSocket, StreamSocket, connect_accepted_socket, connect_socket};

/// Opens a TCP connection and runs `protocol` on it.
///
/// Awaiting the builder resolves the address, connects, and calls `connection_made`; awaiting the [`Connection`] that
/// it gives runs it to its end.
///
/// All addresses of a name are tried, by "happy eyeballs" (RFC 8305): the families in turn, the next one 250 ms after
/// the one before or as soon as that has failed; the first that answers wins.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for text that is not `host:port`. What the look-up says; the error of the
/// attempts if it reads the same for all; else one that names each address, with their kind if it is the same for all. A
/// protocol whose connection fails gets no callback.
///
/// # Cancel safety
///
/// Dropping the future closes what was opened so far; the protocol is dropped with it.
///
/// # Examples
///
/// ```no_run
/// use smol_transports::{Protocol, Transport, create_connection};
///
/// struct Client;
///
/// impl Protocol for Client {
///     fn connection_made(&mut self, transport: &Transport) {
///         transport.write("Hello World!");
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// smol::block_on(async {
///     create_connection(Client, "127.0.0.1:8888").await?.await;
///     Ok(())
/// })
/// # }
/// ```
pub fn create_connection<P: StreamProtocol<Transport>>(protocol: P, addr: impl Into<Address>) -> Connect<P> {
    Connect { protocol, addr: addr.into(), local: None, plan: Plan::default(), options: Options::default() }
}

/// A TCP connection to be opened; made by [`create_connection`].
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct Connect<P> {
    protocol: P,
    addr: Address,
    local: Option<Address>,
    plan: Plan,
    options: Options,
}

impl<P> Connect<P> {
    stream_options!();

    /// The address to connect from. For each address of the peer, one of the same family is taken.
    pub fn local_addr(mut self, addr: impl Into<Address>) -> Self {
        self.local = Some(addr.into());
        self
    }

    /// When to begin with the next address while one is still being tried: 250 ms by default. `None` waits for each
    /// attempt to fail.
    #[doc(alias = "happy_eyeballs_delay")]
    pub fn happy_eyeballs(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.plan.delay = delay.into();
        self
    }

    /// How many addresses of the first family come before the families alternate: 1 by default, 0 keeps the order of
    /// the resolver.
    pub const fn interleave(mut self, first: usize) -> Self {
        self.plan.interleave = first;
        self
    }

    /// How long all of it may take, look-up included. No limit by default, besides the system's own. A TLS handshake has
    /// a limit of its own. When it is over, awaiting the builder gives [`TimedOut`](io::ErrorKind::TimedOut).
    pub const fn connect_timeout(mut self, limit: Duration) -> Self {
        self.plan.limit = Some(limit);
        self
    }
}

impl<P: StreamProtocol<Transport>> IntoFuture for Connect<P> {
    type Output = io::Result<Connection<P>>;
    type IntoFuture = Connecting<P>;

    fn into_future(self) -> Connecting<P> {
        let Self { protocol, addr, local, plan, options } = self;
        Connecting::new(protocol, async move {
            let (socket, peer) = plan.connect(addr, local).await?;
            options.secure(options.link(socket, Some(peer.into()))?).await
        })
    }
}

/// The future of a builder that connects.
#[must_use = "nothing happens until it is awaited"]
pub struct Connecting<P> {
    protocol: Option<P>,
    connect: Pin<Box<dyn Future<Output = io::Result<Link>> + Send>>,
}

impl<P> Connecting<P> {
    pub(crate) fn new(protocol: P, connect: impl Future<Output = io::Result<Link>> + Send + 'static) -> Self {
        Self { protocol: Some(protocol), connect: Box::pin(connect) }
    }
}

impl<P: StreamProtocol<Transport>> Future for Connecting<P> {
    type Output = io::Result<Connection<P>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let link = ready!(this.connect.as_mut().poll(cx))?;
        let protocol = this.protocol.take().expect("the future has resolved already");
        Poll::Ready(Ok(link.start(protocol)))
    }
}

// Nothing is ever pinned inside but the box.
impl<P> Unpin for Connecting<P> {}

impl<P> fmt::Debug for Connecting<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").finish_non_exhaustive()
    }
}

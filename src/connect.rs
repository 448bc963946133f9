//! Connections that this side opens, and sockets that are open already.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_io::Async;
use socket2::{Socket, Type};

use crate::actor::stream::Setup;
use crate::address::Address;
use crate::connection::Connection;
use crate::info::{Addr, ExtraInfo};
use crate::io::{Halves, async_io as backend, socket};
use crate::protocol::StreamProtocol;
use crate::state::bounds::Bounds;
use crate::state::limits::WriteLimits;
#[cfg(feature = "tls-custom")]
pub(crate) use crate::tls::Handshake;
#[cfg(feature = "tls-custom")]
use crate::tls::Tls;
use crate::transport::Transport;

pub(crate) mod attempts;

use attempts::Plan;

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
/// What the look-up says; the error of the attempt if there was one address; else one error that names all attempts,
/// with their kind if it is the same for all. A protocol whose connection fails gets no callback.
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

/// Runs `protocol` on a connected stream socket.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is not a stream socket or if it is listening.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)]
/// # smol::block_on(async {
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
/// use smol_transports::{Protocol, Transport, connect_socket};
///
/// #[derive(Default)]
/// struct Once(Vec<u8>);
///
/// impl Protocol for Once {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         self.0.extend_from_slice(data);
///         transport.close();
///     }
/// }
///
/// let (rsock, mut wsock) = UnixStream::pair()?;
/// let connection = connect_socket(Once::default(), rsock).await?;
/// wsock.write_all(b"abc")?;
/// assert_eq!(connection.await.0, b"abc");
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "create_connection")]
pub fn connect_socket<P: StreamProtocol<Transport>>(protocol: P, socket: impl StreamSocket) -> ConnectSocket<P> {
    ConnectSocket { protocol, socket: socket.into_stream_socket(), options: Options::default() }
}

/// Runs `protocol` on a stream socket that something else has accepted.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is not a stream socket or if it is listening.
pub fn connect_accepted_socket<P: StreamProtocol<Transport>>(
    protocol: P,
    socket: impl StreamSocket,
) -> ConnectSocket<P> {
    connect_socket(protocol, socket)
}

/// A stream socket of std, smol, async-io or socket2, or a descriptor of one.
///
/// It cannot be implemented by hand.
pub trait StreamSocket: sealed::IntoSocket {}

mod sealed {
    pub trait IntoSocket {
        #[doc(hidden)]
        fn into_stream_socket(self) -> std::io::Result<socket2::Socket>;
    }
}

macro_rules! stream_socket {
    ($type:ty, |$socket:ident| $convert:expr) => {
        impl sealed::IntoSocket for $type {
            fn into_stream_socket(self) -> io::Result<Socket> {
                let $socket = self;
                check($convert)
            }
        }

        impl StreamSocket for $type {}
    };
}

stream_socket!(Socket, |socket| socket);
stream_socket!(TcpStream, |socket| socket.into());
stream_socket!(Async<TcpStream>, |socket| socket.into_inner()?.into());
stream_socket!(smol::net::TcpStream, |socket| socket::own(socket.into(), TcpStream::try_clone)?.into());
#[cfg(unix)]
stream_socket!(UnixStream, |socket| socket.into());
#[cfg(unix)]
stream_socket!(Async<UnixStream>, |socket| socket.into_inner()?.into());
#[cfg(unix)]
stream_socket!(smol::net::unix::UnixStream, |socket| socket::own(socket.into(), UnixStream::try_clone)?.into());
#[cfg(unix)]
stream_socket!(std::os::fd::OwnedFd, |fd| fd.into());
#[cfg(windows)]
stream_socket!(std::os::windows::io::OwnedSocket, |socket| socket.into());

fn check(socket: Socket) -> io::Result<Socket> {
    let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if socket.r#type()? != Type::STREAM {
        return invalid("a stream socket was expected");
    }
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if socket.is_listener().unwrap_or(false) {
        return invalid("the socket is listening, not connected");
    }
    Ok(socket)
}

/// An endpoint that is ready for its actor.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) halves: Halves,
    pub(crate) info: ExtraInfo,
    pub(crate) setup: Setup,
}

impl Link {
    /// Starts `protocol`: `connection_made` is called here.
    pub(crate) fn start<P: StreamProtocol<Transport>>(self, protocol: P) -> Connection<P> {
        Connection::start(protocol, self.halves, self.info, self.setup)
    }
}

/// A connection that is open, or will be after its handshake.
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
#[derive(Debug)]
pub(crate) enum Opening {
    Open(Link),
    #[cfg_attr(not(feature = "tls-custom"), allow(dead_code, reason = "nothing else has a handshake"))]
    Handshake(Handshake),
}

/// What nothing has without TLS.
#[cfg(not(feature = "tls-custom"))]
#[allow(dead_code, reason = "it is never made")]
#[derive(Debug)]
pub(crate) struct Handshake(());

#[cfg(not(feature = "tls-custom"))]
impl Handshake {
    #[allow(clippy::unused_self, reason = "with TLS it knows")]
    pub(crate) const fn peername(&self) -> Option<&Addr> {
        None
    }
}

#[cfg(not(feature = "tls-custom"))]
impl Future for Handshake {
    type Output = io::Result<Link>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Link>> {
        Poll::Pending
    }
}

/// What every new stream transport is made with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) delay: bool,
    pub(crate) keep_alive: bool,
    pub(crate) limits: WriteLimits,
    pub(crate) bounds: Bounds,
    pub(crate) close_timeout: Option<Duration>,
    #[cfg(feature = "tls-custom")]
    pub(crate) tls: Option<Tls>,
}

impl Options {
    /// A socket as it is, before TLS.
    pub(crate) fn link(&self, socket: Socket, peer: Option<Addr>) -> io::Result<Link> {
        let info = self.adopt(&socket)?.with_peername(peer);
        Ok(Link { halves: backend::halves(socket), info, setup: self.setup() })
    }

    pub(crate) fn setup(&self) -> Setup {
        Setup { limits: self.limits, bounds: self.bounds, close_timeout: self.close_timeout, ..Setup::default() }
    }

    /// Puts TLS over it, if that is wanted: the first step of a connection that waits for its handshake by itself.
    pub(crate) fn open(&self, link: Link) -> io::Result<Opening> {
        #[cfg(feature = "tls-custom")]
        if let Some(tls) = &self.tls {
            return tls.handshake(link).map(Opening::Handshake);
        }
        Ok(Opening::Open(link))
    }

    /// Whether the options are of use to a server.
    pub(crate) fn check_server(&self) -> io::Result<()> {
        #[cfg(feature = "tls-custom")]
        if let Some(tls) = &self.tls {
            return tls.check_server();
        }
        Ok(())
    }

    /// The same, waiting for the handshake. It is bound where its connection will run, not where the hands were shaken.
    pub(crate) async fn secure(&self, link: Link) -> io::Result<Link> {
        match self.open(link)? {
            Opening::Open(link) => Ok(link),
            Opening::Handshake(handshake) => {
                let mut link = handshake.await?;
                link.halves.0.unbind();
                Ok(link)
            }
        }
    }

    /// Makes a socket ready for an actor.
    pub(crate) fn adopt(&self, socket: &Socket) -> io::Result<ExtraInfo> {
        socket::adopt(socket)?;
        let info = ExtraInfo::of_socket(socket);
        if info.sockname().and_then(Addr::as_inet).is_some() {
            self.set_tcp_options(socket)?;
        }
        Ok(info)
    }

    /// A peer that has gone already must not hide the reason of its going.
    fn set_tcp_options(&self, socket: &Socket) -> io::Result<()> {
        if self.keep_alive {
            socket.set_keepalive(true)?;
        }
        match socket.set_tcp_nodelay(!self.delay) {
            Err(err) if err.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

/// The option to use TLS.
macro_rules! tls_option {
    () => {
        /// Uses TLS from the start: `connection_made` is called after the handshake, and not at all if that fails.
        ///
        /// # Errors
        ///
        /// Besides its others the connection fails with [`InvalidData`](io::ErrorKind::InvalidData) and an error of
        /// rustls if the peer does not speak TLS or its certificate is not valid, with
        /// [`TimedOut`](io::ErrorKind::TimedOut), with [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the peer
        /// has gone during the handshake, and with [`InvalidInput`](io::ErrorKind::InvalidInput) if `tls` cannot be
        /// used. With a server, all but the last go to `on_error`, and the server goes on.
        #[cfg(feature = "tls-custom")]
        #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
        #[doc(alias = "ssl")]
        pub fn tls(mut self, tls: $crate::tls::Tls) -> Self {
            self.options.tls = Some(tls);
            self
        }
    };
}
pub(crate) use tls_option;

/// The options that every builder of a stream transport has.
macro_rules! stream_options {
    () => {
        $crate::connect::buffer_options!();
        $crate::connect::bound_options!(options);
        $crate::connect::tls_option!();

        /// Sends small segments at once (`TCP_NODELAY`); on by default.
        pub const fn nodelay(mut self, on: bool) -> Self {
            self.options.delay = !on;
            self
        }

        /// Has the system probe an idle connection (`SO_KEEPALIVE`); off by default.
        pub const fn keep_alive(mut self, on: bool) -> Self {
            self.options.keep_alive = on;
            self
        }
    };
}
pub(crate) use stream_options;

/// Those of them that are not about TCP.
macro_rules! buffer_options {
    () => {
        /// The marks of the write buffer that the transport begins with.
        pub const fn write_limits(mut self, limits: WriteLimits) -> Self {
            self.options.limits = limits;
            self
        }

        /// How long the sending of what is buffered may take after `close()`. After that the transport is aborted, and
        /// `connection_lost` gets [`TimedOut`](io::ErrorKind::TimedOut). No limit by default.
        pub const fn close_timeout(mut self, limit: Duration) -> Self {
            self.options.close_timeout = Some(limit);
            self
        }
    };
}
pub(crate) use buffer_options;

/// What a stream transport may not exceed; `$options` is the field that has them.
macro_rules! bound_options {
    ($options:ident) => {
        /// How many bytes may wait to be sent. A write that leaves more than that waiting ends the connection:
        /// `connection_lost` gets [`QuotaExceeded`](std::io::ErrorKind::QuotaExceeded). No limit by default.
        ///
        /// It is for protocols that do not heed `pause_writing`, and should be well above the high mark of
        /// `write_limits`. What the system takes at once never counts, nor does a file that is sent.
        pub const fn max_write_buffer(mut self, bytes: usize) -> Self {
            self.$options.bounds.write_buffer = Some(bytes);
            self
        }

        /// How long the connection may be idle. When nothing was received or sent for that long it is aborted, and
        /// `connection_lost` gets [`TimedOut`](std::io::ErrorKind::TimedOut). No limit by default.
        pub const fn idle_timeout(mut self, limit: std::time::Duration) -> Self {
            self.$options.bounds.idle = Some(limit);
            self
        }

        /// How long the peer may send nothing. When nothing was received for that long the connection is aborted, and
        /// `connection_lost` gets [`TimedOut`](std::io::ErrorKind::TimedOut). No limit by default.
        ///
        /// The time runs while reading is wanted: not while it is paused, nor after the peer has finished.
        pub const fn read_timeout(mut self, limit: std::time::Duration) -> Self {
            self.$options.bounds.read = Some(limit);
            self
        }

        /// How long the peer may take nothing. When something waits to be sent and nothing could be sent for that long
        /// the connection is aborted, and `connection_lost` gets [`TimedOut`](std::io::ErrorKind::TimedOut). No limit
        /// by default.
        ///
        /// A peer that takes a little from time to time is not stopped by it, nor one that does not read while nothing
        /// waits.
        pub const fn write_timeout(mut self, limit: std::time::Duration) -> Self {
            self.$options.bounds.write = Some(limit);
            self
        }
    };
}
pub(crate) use bound_options;

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
    /// a limit of its own.
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

/// A transport to be made on a socket; made by [`connect_socket`] and [`connect_accepted_socket`].
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct ConnectSocket<P> {
    protocol: P,
    socket: io::Result<Socket>,
    options: Options,
}

impl<P> ConnectSocket<P> {
    stream_options!();
}

impl<P: StreamProtocol<Transport>> IntoFuture for ConnectSocket<P> {
    type Output = io::Result<Connection<P>>;
    type IntoFuture = Connecting<P>;

    fn into_future(self) -> Connecting<P> {
        let Self { protocol, socket, options } = self;
        Connecting::new(protocol, async move { options.secure(options.link(socket?, None)?).await })
    }
}

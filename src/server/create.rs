//! The builder of a server.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::Server;
use super::arrivals::Arrivals;
use super::clients::Shared;
use super::listen::Listen;
use super::listener::ListenOptions;
use crate::connect::{Options, stream_options};
use crate::protocol::StreamProtocol;
use crate::state::limits::WriteLimits;
use crate::transport::Transport;

/// Listens on one or several addresses and makes a protocol for each client.
///
/// Awaiting the builder binds and listens; clients are served while one of the `serve_*` methods of the [`Server`] is
/// polled, or in the background after [`Server::spawn`]. A name that has several addresses is listened to on all of them.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for text that is not `host:port`, and if what was set does not suit what
/// is listened on. What the look-up says; an address that cannot be bound, with the address in the text.
/// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) if this machine has none of the addresses.
///
/// # Cancel safety
///
/// Dropping the future closes what was bound so far; the factory is dropped with it.
///
/// # Examples
///
/// ```no_run
/// use smol_transports::{Protocol, Transport, create_server};
///
/// struct EchoServer;
///
/// impl Protocol for EchoServer {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// smol::block_on(async {
///     create_server(|| EchoServer, "127.0.0.1:8888").await?.serve_forever().await
/// })
/// # }
/// ```
pub fn create_server<F, P>(factory: F, addr: impl Into<Listen>) -> CreateServer<F>
where
    F: FnMut() -> P,
    P: StreamProtocol<Transport>,
{
    CreateServer {
        factory,
        listen: addr.into(),
        listen_options: ListenOptions::default(),
        options: Options::default(),
        start_serving: true,
        report: None,
    }
}

/// A server to be made; made by [`create_server`].
#[must_use = "nothing happens until it is awaited"]
pub struct CreateServer<F> {
    factory: F,
    listen: Listen,
    listen_options: ListenOptions,
    options: Options,
    start_serving: bool,
    report: Option<Arc<dyn Fn(io::Error) + Send + Sync>>,
}

impl<F> CreateServer<F> {
    stream_options!();

    /// Clients that may wait to be accepted; 1024 by default. The system has a limit of its own.
    pub const fn backlog(mut self, clients: i32) -> Self {
        self.listen_options.backlog = clients;
        self
    }

    /// How many clients may be connected at the same time. While there are so many, further ones are not accepted: they
    /// wait in the backlog, or are refused by the system when that is full. No limit by default. 0 counts as 1.
    pub const fn max_connections(mut self, clients: usize) -> Self {
        self.listen_options.max_clients = if clients == 0 { 1 } else { clients };
        self
    }

    /// Binds although connections of an earlier server linger (`SO_REUSEADDR`); on by default except on Windows.
    pub const fn reuse_address(mut self, on: bool) -> Self {
        self.listen_options.reuse_address = on;
        self
    }

    /// Shares the port with other servers that do the same (`SO_REUSEPORT`); off by default.
    /// [`Unsupported`](io::ErrorKind::Unsupported) where the platform has no such option, and
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for what is no address: a socket that exists, or a Unix socket.
    pub const fn reuse_port(mut self, on: bool) -> Self {
        self.listen_options.reuse_port = on;
        self
    }

    /// Whether a socket on an IPv6 address serves IPv6 only; on by default, as on all platforms of asyncio.
    pub const fn v6_only(mut self, on: bool) -> Self {
        self.listen_options.v6_only = on;
        self
    }

    /// Whether the file of a Unix socket that the server has bound is removed when the server is closed, if it is still
    /// the same file; on by default.
    #[cfg(unix)]
    pub const fn cleanup_socket(mut self, on: bool) -> Self {
        self.listen_options.cleanup_socket = on;
        self
    }

    /// Whether to listen at once; on by default. Else the sockets are bound, and connects are refused until
    /// [`start_serving`](Server::start_serving) or one of the `serve_*` methods.
    pub const fn start_serving(mut self, on: bool) -> Self {
        self.start_serving = on;
        self
    }

    /// Takes the errors that nobody awaits: a failing accept (once for each shortage), a TLS handshake that fails, a
    /// panicking factory, a panicking callback of a client. By default they are written to standard error, one line each.
    pub fn on_error(mut self, report: impl Fn(io::Error) + Send + Sync + 'static) -> Self {
        self.report = Some(Arc::new(report));
        self
    }
}

impl<F> IntoFuture for CreateServer<F> {
    type Output = io::Result<Server<F>>;
    type IntoFuture = CreatingServer<F>;

    fn into_future(self) -> CreatingServer<F> {
        let Self { factory, listen, listen_options, options, start_serving, report } = self;
        let checked = options.check_server();
        let bind = Box::pin(async move {
            checked?;
            let (sockets, guard) = listen.bind(&listen_options).await?;
            let shared = Shared::new(sockets, guard, &listen_options, report);
            if start_serving {
                shared.start_serving()?;
            }
            Ok(Arc::new(shared))
        });
        CreatingServer { start: Some((factory, options)), bind }
    }
}

/// The future of a [`CreateServer`].
#[must_use = "nothing happens until it is awaited"]
pub struct CreatingServer<F> {
    start: Option<(F, Options)>,
    bind: Pin<Box<dyn Future<Output = io::Result<Arc<Shared>>> + Send>>,
}

impl<F> Future for CreatingServer<F> {
    type Output = io::Result<Server<F>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let shared = ready!(this.bind.as_mut().poll(cx))?;
        let (factory, options) = this.start.take().expect("the future has resolved already");
        let arrivals = Arrivals::default();
        shared.set_arrivals(arrivals.dismissal());
        Poll::Ready(Ok(Server { factory, options, shared, next: 0, arrivals, sockname: None }))
    }
}

// Nothing is ever pinned inside but the box.
impl<F> Unpin for CreatingServer<F> {}

impl<F> fmt::Debug for CreatingServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatingServer").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for CreateServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateServer").field("listen", &self.listen).finish_non_exhaustive()
    }
}

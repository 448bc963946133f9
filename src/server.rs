//! Servers: listening sockets, and a protocol for each client.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_executor::{Executor, LocalExecutor};
use async_io::{Async, Timer};
use futures_lite::future;
use smol::Task;
use socket2::Socket;

use crate::actor::delivery::{Payload, guarded, panic_text};
use crate::address::{Address, Empty};
use crate::connect::{Link, Opening, Options, stream_options};
use crate::connection::Connection;
use crate::info::Addr;
use crate::io::socket::own;
use crate::protocol::StreamProtocol;
use crate::running::spawn as background;
use crate::state::limits::WriteLimits;
use crate::transport::Transport;
#[cfg(unix)]
use crate::{info::UnixAddr, unix};

mod arrivals;
mod clients;
mod listener;

use arrivals::{Arrival, Arrivals, Arrived};
use clients::{Farewell, Guard, Place, Shared};
use listener::{Accepted, ListenOptions};

/// Clients accepted in one turn before others get one.
const TURN: usize = 32;

/// Listens on one or several addresses and makes a protocol for each client.
///
/// Awaiting the builder binds and listens; clients are served while one of the `serve_*` methods of the [`Server`] is
/// polled. A name that has several addresses is listened to on all of them.
///
/// # Errors
///
/// What the look-up says; an address that cannot be bound, with the address in the text.
/// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) if this machine has none of the addresses.
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

/// What a server listens on: addresses, or sockets that are bound already.
///
/// It is made from everything that [`Address`] is made from, a list of addresses, the address of a Unix socket, or a
/// listening socket.
#[derive(Debug)]
pub struct Listen(Kind);

#[derive(Debug)]
enum Kind {
    Addresses(Vec<Address>),
    Sockets(Vec<io::Result<Socket>>),
    #[cfg(unix)]
    Unix(UnixAddr),
}

impl Listen {
    async fn bind(self, options: &ListenOptions) -> io::Result<(Vec<Socket>, Guard)> {
        match self.0 {
            Kind::Sockets(sockets) => Ok((sockets.into_iter().collect::<io::Result<_>>()?, None)),
            Kind::Addresses(addrs) => Ok((bind_all(addrs, options).await?, None)),
            #[cfg(unix)]
            Kind::Unix(addr) => bind_unix(&addr, options),
        }
    }
}

#[cfg(unix)]
fn bind_unix(addr: &UnixAddr, options: &ListenOptions) -> io::Result<(Vec<Socket>, Guard)> {
    let (socket, file) = unix::bind_stream(addr)?;
    if options.cleanup_socket {
        return Ok((vec![socket], file.map(|file| Box::new(file) as _)));
    }
    file.into_iter().for_each(unix::SocketFile::keep);
    Ok((vec![socket], None))
}

async fn bind_all(addrs: Vec<Address>, options: &ListenOptions) -> io::Result<Vec<Socket>> {
    let mut all = Vec::new();
    for addr in addrs {
        for addr in addr.resolve(Empty::AllInterfaces).await? {
            if !all.contains(&addr) {
                all.push(addr);
            }
        }
    }
    let mut sockets = Vec::new();
    for addr in &all {
        sockets.extend(options.bind(*addr)?);
    }
    if sockets.is_empty() {
        let text = format!("this machine has none of the addresses {all:?}");
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
    }
    Ok(sockets)
}

macro_rules! listen_on_address {
    ($($type:ty),*) => {$(
        impl From<$type> for Listen {
            fn from(addr: $type) -> Self {
                Self(Kind::Addresses(vec![addr.into()]))
            }
        }
    )*};
}

listen_on_address!(
    Address,
    &str,
    String,
    &String,
    (&str, u16),
    (String, u16),
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (std::net::IpAddr, u16),
    (std::net::Ipv4Addr, u16),
    (std::net::Ipv6Addr, u16),
    Vec<SocketAddr>,
    &[SocketAddr]
);

#[cfg(unix)]
impl From<UnixAddr> for Listen {
    fn from(addr: UnixAddr) -> Self {
        Self(Kind::Unix(addr))
    }
}

impl From<Vec<Address>> for Listen {
    fn from(addrs: Vec<Address>) -> Self {
        Self(Kind::Addresses(addrs))
    }
}

impl<const N: usize> From<[&str; N]> for Listen {
    fn from(addrs: [&str; N]) -> Self {
        Self(Kind::Addresses(addrs.map(Address::from).into()))
    }
}

impl From<Vec<Socket>> for Listen {
    fn from(sockets: Vec<Socket>) -> Self {
        Self(Kind::Sockets(sockets.into_iter().map(Ok).collect()))
    }
}

macro_rules! listen_on_socket {
    ($type:ty, |$socket:ident| $convert:expr) => {
        impl From<$type> for Listen {
            fn from($socket: $type) -> Self {
                Self(Kind::Sockets(vec![$convert]))
            }
        }
    };
}

listen_on_socket!(Socket, |socket| Ok(socket));
listen_on_socket!(TcpListener, |socket| Ok(socket.into()));
listen_on_socket!(Async<TcpListener>, |socket| socket.into_inner().map(Socket::from));
listen_on_socket!(smol::net::TcpListener, |socket| own(socket.into(), TcpListener::try_clone).map(Socket::from));
#[cfg(unix)]
listen_on_socket!(UnixListener, |socket| Ok(socket.into()));
#[cfg(unix)]
listen_on_socket!(Async<UnixListener>, |socket| socket.into_inner().map(Socket::from));
#[cfg(unix)]
listen_on_socket!(smol::net::unix::UnixListener, |socket| own(socket.into(), UnixListener::try_clone)
    .map(Socket::from));

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
    /// [`Unsupported`](io::ErrorKind::Unsupported) where the platform has no such option.
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
        Poll::Ready(Ok(Server { factory, options, shared, next: 0, arrivals: Arrivals::default() }))
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

/// A server: it accepts while one of its `serve_*` methods, or [`accept`](Self::accept), is polled.
///
/// A panic in the factory or in a callback of a client ends that client only.
///
/// # Dropping
///
/// Dropping the server closes the listening sockets; what becomes of the clients depends on where they run.
#[must_use = "a server accepts only while it is polled"]
pub struct Server<F> {
    factory: F,
    options: Options,
    shared: Arc<Shared>,
    /// The listener that is asked first, so that a busy one does not shut out the others.
    next: usize,
    /// The clients in their handshakes that `accept` waits for.
    arrivals: Arrivals,
}

impl<F> Server<F> {
    /// A handle to stop the server and its clients from elsewhere.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { shared: self.shared.clone() }
    }

    /// Begins to listen, if the server was made without. Does nothing if it listens already.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server is closed.
    pub fn start_serving(&self) -> io::Result<()> {
        self.shared.start_serving()
    }

    /// Whether the server is listening.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.shared.is_serving()
    }

    /// The addresses of the sockets; none once it is closed.
    #[must_use]
    pub fn sockets(&self) -> Vec<Addr> {
        self.shared.sockets()
    }

    /// The first IP address and port: the one to connect to if the server was bound to port 0.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server is closed, or has no IP socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let sockets = self.sockets();
        sockets.iter().find_map(Addr::as_inet).ok_or_else(|| match sockets.is_empty() {
            true => closed(),
            false => io::Error::new(io::ErrorKind::NotConnected, "the server has no IP socket"),
        })
    }

    /// Takes the errors that nobody awaits, as [`CreateServer::on_error`].
    pub fn on_error(&self, report: impl Fn(io::Error) + Send + Sync + 'static) {
        self.shared.set_report(Arc::new(report));
    }

    /// Begins with a client: from here on it counts.
    fn open(&self, socket: Socket, peer: Option<Addr>) -> io::Result<(Opening, Arc<Place>)> {
        let place = Arc::new(self.shared.admit());
        let mut link = self.options.link(socket, peer)?;
        link.setup.guard = Some(Box::new(place.clone()));
        Ok((self.options.open(link)?, place))
    }

    /// The next client whose handshake, if it has one, is done. None when the server is closed.
    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arrived>> {
        loop {
            if let Some(arrived) = self.arrivals.next(cx.waker()) {
                return Poll::Ready(Some(arrived));
            }
            let Some(accepted) = ready!(self.poll_accept(cx)) else { return Poll::Ready(None) };
            match accepted.and_then(|(socket, peer)| self.open(socket, peer)) {
                Ok((Opening::Open(link), place)) => return Poll::Ready(Some(Ok((link, place)))),
                Ok((Opening::Handshake(handshake), place)) => self.arrivals.spawn(Arrival::new(handshake, place)),
                Err(err) => return Poll::Ready(Some(Err(err))),
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Accepted>> {
        let mut state = self.shared.lock();
        let count = state.listeners.len();
        if count == 0 {
            return Poll::Ready(None);
        }
        let offsets = if state.is_full() { 0..0 } else { 0..count };
        for offset in offsets {
            let index = (self.next + offset) % count;
            if let Poll::Ready(accepted) = state.listeners[index].poll_accept(cx) {
                self.next = index + 1;
                return Poll::Ready(Some(accepted));
            }
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the server is closed")
}

impl<F, P> Server<F>
where
    F: FnMut() -> P,
    P: StreamProtocol<Transport>,
{
    /// Waits for a client and makes its connection, which the caller runs.
    ///
    /// Errors of the system and panics of the factory go to [`on_error`](Self::on_error), and it waits on. So do
    /// TLS handshakes that fail: clients shake hands side by side while this is polled, and the first that is done comes
    /// first. The factory is called after the handshake.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server is closed.
    ///
    /// # Cancel safety
    ///
    /// No client is lost when the future is dropped.
    pub async fn accept(&mut self) -> io::Result<Connection<P>> {
        self.shared.start_serving()?;
        let executor = self.arrivals.executor().clone();
        executor.run(self.next_connection()).await.ok_or_else(closed)
    }

    /// Serves in the background until the server is closed and the last client has gone, and waits for that.
    ///
    /// Clients are spread over the driver threads, see [`driver`](crate::driver), or run on smol's global executor where
    /// there are none. Dropping the future closes the listening sockets only: clients live on.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server is closed already.
    pub async fn serve_forever(self) -> io::Result<()>
    where
        F: Send + 'static,
        P: Send + 'static,
    {
        self.spawn().1.await
    }

    /// Serves on an executor of your own until the server is closed and the last client has gone.
    ///
    /// Dropping the future closes the listening sockets only: clients live on.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server is closed already.
    pub async fn serve_on<'a>(self, executor: &Executor<'a>) -> io::Result<()>
    where
        P: Send + 'a,
    {
        self.start_serving()?;
        self.serve(|client| executor.spawn(client).detach()).await
    }

    /// Serves inside of this future until the server is closed and the last client has gone: protocols may borrow,
    /// and need not be `Send`.
    ///
    /// Dropping the future drops the clients too.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server is closed already.
    pub async fn serve_local(self) -> io::Result<()> {
        self.start_serving()?;
        let executor = LocalExecutor::new();
        executor.run(self.serve(|client| executor.spawn(client).detach())).await
    }

    /// Serves in the background; [`serve_forever`](Self::serve_forever) otherwise.
    pub fn spawn(self) -> (ServerHandle, Serving)
    where
        F: Send + 'static,
        P: Send + 'static,
    {
        let handle = self.handle();
        // It may be closed before its task has run for the first time: that is an end in good order.
        let started = self.start_serving();
        let task = background(async move {
            started?;
            self.serve(|client| background(client).detach()).await
        });
        (handle.clone(), Serving { task: Some(task), handle })
    }

    async fn serve(mut self, mut spawn: impl FnMut(Client<P>)) -> io::Result<()> {
        let mut turn = 0;
        while let Some(client) = self.next_client().await {
            spawn(client);
            turn += 1;
            if turn % TURN == 0 {
                future::yield_now().await;
            }
        }
        self.shared.wait_closed().await;
        Ok(())
    }

    /// The next client; None when the server is closed.
    async fn next_client(&mut self) -> Option<Client<P>> {
        loop {
            let accepted = poll_fn(|cx| self.poll_accept(cx)).await?;
            match accepted.and_then(|(socket, addr)| self.welcome(socket, addr)) {
                Ok(client) => return Some(client),
                Err(err) => self.shared.report(err),
            }
        }
    }

    /// The next connection; None when the server is closed.
    async fn next_connection(&mut self) -> Option<Connection<P>> {
        loop {
            match poll_fn(|cx| self.poll_arrival(cx)).await?.and_then(|(link, place)| self.connect(link, &place)) {
                Ok(connection) => return Some(connection),
                Err(err) => self.shared.report(err),
            }
        }
    }

    /// Makes the connection of a client.
    fn welcome(&mut self, socket: Socket, peer: Option<Addr>) -> io::Result<Client<P>> {
        let (opening, place) = self.open(socket, peer)?;
        let stage = match opening {
            Opening::Open(link) => Stage::Connected(self.connect(link, &place)?),
            Opening::Handshake(handshake) => {
                let protocol = self.protocol()?;
                Stage::Handshake(Arrival::new(handshake, place.clone()), Some(protocol))
            }
        };
        Ok(Client { stage, place })
    }

    fn protocol(&mut self) -> io::Result<P> {
        guarded(&mut self.factory).map_err(|payload| panicked("the protocol factory", &payload))
    }

    fn connect(&mut self, link: Link, place: &Place) -> io::Result<Connection<P>> {
        let connection = link.start(self.protocol()?);
        place.introduce(connection.transport());
        Ok(connection)
    }
}

fn panicked(who: &str, payload: &Payload) -> io::Error {
    io::Error::other(format!("{who} panicked: {}", panic_text(payload)))
}

impl<F> Drop for Server<F> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<F> fmt::Debug for Server<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("sockets", &self.sockets()).finish_non_exhaustive()
    }
}

/// A client that runs by itself: its errors and panics are reported.
struct Client<P: StreamProtocol<Transport>> {
    stage: Stage<P>,
    /// It counts until its panic was reported.
    place: Arc<Place>,
}

enum Stage<P: StreamProtocol<Transport>> {
    /// The protocol is there until it is connected.
    Handshake(Arrival, Option<P>),
    Connected(Connection<P>),
}

impl<P: StreamProtocol<Transport>> Client<P> {
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Stage::Handshake(arrival, protocol) = &mut self.stage {
            let Some(link) = ready!(Pin::new(arrival).poll(cx)).transpose()? else { return Poll::Ready(Ok(())) };
            let connection = link.start(protocol.take().expect("it is taken here alone"));
            self.place.introduce(connection.transport());
            self.stage = Stage::Connected(connection);
        }
        Poll::Ready(Ok(()))
    }
}

impl<P: StreamProtocol<Transport>> Future for Client<P> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Err(err) = ready!(this.poll_handshake(cx)) {
            this.place.report(err);
        }
        if let Stage::Connected(connection) = &mut this.stage {
            if let Err(payload) = ready!(connection.poll_outcome(cx)) {
                this.place.report(panicked("a callback", &payload));
            }
        }
        Poll::Ready(())
    }
}

// Nothing is ever pinned inside: the protocol is lent by reference only.
impl<P: StreamProtocol<Transport>> Unpin for Client<P> {}

/// Stops a server and its clients from elsewhere. It does not keep the server open.
#[derive(Clone)]
pub struct ServerHandle {
    shared: Arc<Shared>,
}

impl ServerHandle {
    /// Closes the listening sockets at once, and removes the file of a Unix socket; clients stay. The second call does
    /// nothing.
    ///
    /// The `serve_*` method that runs resolves when the last client has gone.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Waits until the server is closed and the last client has gone. Many may wait.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn wait_closed(&self) {
        self.shared.wait_closed().await;
    }

    /// Ends the server in good order within a time: how many clients had to be aborted.
    ///
    /// It stops listening at once, as [`close`](Self::close) does. Clients may finish by themselves for the first half
    /// of the time; those who have not are closed then, so that what is buffered for them is sent; who is still there
    /// when all of the time is over is aborted. It resolves as soon as the last client has gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the server closed, and the clients as they are.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_transports::{Protocol, create_server};
    /// # struct Echo;
    /// # impl Protocol for Echo {}
    /// # smol::block_on(async {
    /// let (handle, serving) = create_server(|| Echo, "127.0.0.1:0").await?.spawn();
    /// // When it is to end, for instance after a signal:
    /// let aborted = handle.shutdown(Duration::from_secs(10)).await;
    /// assert_eq!(aborted, 0);
    /// serving.await
    /// # })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn shutdown(&self, limit: Duration) -> usize {
        self.close();
        if self.has_closed_within(limit / 2).await {
            return 0;
        }
        self.close_clients();
        if self.has_closed_within(limit - limit / 2).await {
            return 0;
        }
        let left = self.shared.count();
        self.abort_clients();
        self.wait_closed().await;
        left
    }

    async fn has_closed_within(&self, limit: Duration) -> bool {
        let closed = async {
            self.wait_closed().await;
            true
        };
        let late = async {
            Timer::after(limit).await;
            false
        };
        future::or(closed, late).await
    }

    /// How many clients there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.count()
    }

    /// Calls [`close`](Transport::close) on the transport of every client; one that is still in its TLS handshake is
    /// dropped. The server goes on listening.
    pub fn close_clients(&self) {
        self.shared.end_clients(Farewell::Close);
    }

    /// Calls [`abort`](Transport::abort) on the transport of every client; one that is still in its TLS handshake is
    /// dropped. The server goes on listening.
    pub fn abort_clients(&self) {
        self.shared.end_clients(Farewell::Abort);
    }

    /// [`Server::start_serving`]
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server is closed.
    pub fn start_serving(&self) -> io::Result<()> {
        self.shared.start_serving()
    }

    /// Whether the server is listening.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.shared.is_serving()
    }

    /// The addresses of the sockets; none once it is closed.
    #[must_use]
    pub fn sockets(&self) -> Vec<Addr> {
        self.shared.sockets()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("sockets", &self.sockets()).finish_non_exhaustive()
    }
}

/// A server in the background: a future that resolves when the server is closed and the last client has gone.
///
/// # Dropping
///
/// Dropping it closes the listening sockets, and clients live on; [`detach`](Self::detach) lets the server live.
#[must_use = "dropping it closes the server; detach it to let it live"]
#[derive(Debug)]
pub struct Serving {
    /// Taken when it is detached or dropped.
    task: Option<Task<io::Result<()>>>,
    handle: ServerHandle,
}

impl Serving {
    /// Lets the server live on by itself.
    pub fn detach(mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl Future for Serving {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let task = self.task.as_mut().expect("a task until it is dropped");
        Pin::new(task).poll(cx)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.handle.close();
            task.detach();
        }
    }
}

//! Servers: listening sockets, and a protocol for each client.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_executor::{Executor, LocalExecutor};
use futures_lite::future;
use socket2::Socket;

use crate::actor::delivery::guarded;
use crate::connect::{Link, Opening, Options};
use crate::connection::Connection;
use crate::info::Addr;
use crate::protocol::StreamProtocol;
use crate::running::{host, spawn as background, spread};
use crate::transport::Transport;

mod arrivals;
mod client;
mod clients;
mod create;
mod handle;
mod listen;
mod listener;

use arrivals::{Arrival, Arrivals, Arrived};
use client::{Client, Stage, panicked};
use clients::{Place, Shared};
pub use create::{CreateServer, CreatingServer, create_server};
pub use handle::{ServerHandle, Serving};
pub use listen::Listen;

/// Clients accepted in one turn before others get one.
const TURN: usize = 32;

/// A client that was accepted just now, and counts.
struct Newcomer {
    socket: Socket,
    peer: Option<Addr>,
    place: Place,
}

/// A server: it accepts while one of its `serve_*` methods, or [`accept`](Self::accept), is polled, or in the background
/// after [`spawn`](Self::spawn).
///
/// A panic in the factory or in a callback of a client ends that client only.
///
/// # Dropping
///
/// Dropping the server closes the listening sockets. Clients of `serve_local` go with its future, connections of `accept`
/// belong to the caller, and all others live on.
///
/// # Examples
///
/// One client after the other, each run by hand:
///
/// ```
/// use smol_transports::{Protocol, Transport, create_server};
///
/// #[derive(Default)]
/// struct Count(usize);
///
/// impl Protocol for Count {
///     fn data_received(&mut self, _: &Transport, data: &[u8]) {
///         self.0 += data.len();
///     }
/// }
///
/// # smol::block_on(async {
/// let mut server = create_server(Count::default, "127.0.0.1:0").await?;
/// let mut client = std::net::TcpStream::connect(server.local_addr()?)?;
/// std::io::Write::write_all(&mut client, b"hello")?;
/// drop(client);
///
/// let count = server.accept().await?.await;
/// assert_eq!(count.0, 5);
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a server accepts only while it is polled"]
pub struct Server<F> {
    factory: F,
    options: Options,
    shared: Arc<Shared>,
    /// The listener that is asked first, so that a busy one does not shut out the others.
    next: usize,
    /// The clients in their handshakes that `accept` waits for.
    arrivals: Arrivals,
    /// The own address of the last client: most have the same.
    sockname: Option<Arc<Addr>>,
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
    fn open(&mut self, newcomer: Newcomer) -> io::Result<(Opening, Place)> {
        let mut link = self.options.link(newcomer.socket, newcomer.peer)?;
        link.info.share_sockname(&mut self.sockname);
        Ok((self.options.open(link)?, newcomer.place))
    }

    /// The next client whose handshake, if it has one, is done. None when the server is closed.
    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arrived>> {
        for _ in 0..TURN {
            if let Some(arrived) = self.arrivals.next(cx.waker()) {
                return Poll::Ready(Some(arrived));
            }
            let Some(accepted) = ready!(self.poll_accept(cx)) else { return Poll::Ready(None) };
            match accepted.and_then(|newcomer| self.open(newcomer)) {
                Ok((Opening::Open(link), place)) => return Poll::Ready(Some(Ok((link, place)))),
                Ok((Opening::Handshake(handshake), place)) => {
                    self.arrivals.spawn(Arrival::to_be_taken(handshake, &place), place);
                    self.shared.arrives();
                }
                Err(err) => return Poll::Ready(Some(Err(err))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Newcomer>>> {
        let mut state = self.shared.lock();
        let count = state.listeners.len();
        if count == 0 {
            return Poll::Ready(None);
        }
        let offsets = if state.is_full() { 0..0 } else { 0..count };
        let mut comes_back = false;
        for offset in offsets {
            let index = (self.next + offset) % count;
            match state.listeners[index].poll_accept(cx) {
                Poll::Ready(Some(accepted)) => {
                    self.next = index + 1;
                    let newcomer = accepted.map(|(socket, peer)| {
                        let place = self.shared.admit(&mut state);
                        Newcomer { socket, peer, place }
                    });
                    return Poll::Ready(Some(newcomer));
                }
                Poll::Ready(None) => comes_back = true,
                Poll::Pending => {}
            }
        }
        let known = state.waker.replace(cx.waker().clone());
        drop(state);
        drop(known);
        if comes_back {
            cx.waker().wake_by_ref();
        }
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
    /// Clients are spread over the driver threads, see [`driver`], or run on smol's global executor where there are none.
    ///
    /// [`driver`]: https://docs.rs/smol-transports/latest/smol_transports/driver/
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server is closed already. What the system says if it cannot
    /// listen, for a server that was made without listening.
    ///
    /// # Dropping
    ///
    /// Dropping the future closes the listening sockets only: clients live on.
    pub async fn serve_forever(self) -> io::Result<()>
    where
        F: Send + 'static,
        P: Send + 'static,
    {
        self.spawn().1.await
    }

    /// Serves on an executor of your own until the server is closed and the last client has gone.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server is closed already. What the system says if it cannot
    /// listen, for a server that was made without listening.
    ///
    /// # Dropping
    ///
    /// Dropping the future closes the listening sockets only: clients live on.
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
    /// On Linux it has a loop of its own, as a [driver] has: one poll goes on as long as there is something
    /// to do, or until the round in which 200 µs are over, and only then the executor waits for it by async-io. It takes
    /// two descriptors; without them each client is waited for by async-io. Connections that callbacks make, and what they
    /// [`spawn`](crate::spawn), run in this loop too, and so only while this future is polled. As on a driver, a callback
    /// that must wait for a future does so by [`driver::block_on`][driver]; what runs in this loop has to wait meanwhile, and
    /// so must not be waited for there.
    ///
    /// [driver]: https://docs.rs/smol-transports/latest/smol_transports/driver/
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server is closed already. What the system says if it cannot
    /// listen, for a server that was made without listening.
    ///
    /// # Dropping
    ///
    /// Dropping the future drops the clients too. What callbacks have spawned goes on in the background.
    pub async fn serve_local(self) -> io::Result<()> {
        self.start_serving()?;
        let executor = LocalExecutor::new();
        host(&executor, self.serve(|client| executor.spawn(client).detach())).await
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
            self.serve(|client| spread(client).detach()).await
        });
        (handle.clone(), Serving { task: Some(task), handle })
    }

    async fn serve(self, spawn: impl FnMut(Client<P>)) -> io::Result<()> {
        if self.arrivals.is_empty() {
            return self.serve_from(Self::poll_newcomer, spawn).await;
        }
        // Handshakes that were begun by `accept` go on.
        let executor = self.arrivals.executor().clone();
        executor.run(self.serve_from(Self::poll_client, spawn)).await
    }

    async fn serve_from(mut self, next: Next<Self, P>, mut spawn: impl FnMut(Client<P>)) -> io::Result<()> {
        let mut turn = 0;
        while let Some(client) = self.next_client(next).await {
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
    async fn next_client(&mut self, next: Next<Self, P>) -> Option<Client<P>> {
        loop {
            match poll_fn(|cx| next(self, cx)).await? {
                Ok(client) => return Some(client),
                Err(err) => self.shared.report(err),
            }
        }
    }

    /// The next client, which may have come to `accept` before.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Client<P>>>> {
        if let Some(arrived) = self.arrivals.next(cx.waker()) {
            let client = arrived.and_then(|(link, place)| {
                let stage = Stage::Connected(self.connect(link, &place)?);
                Ok(Client { stage, place })
            });
            return Poll::Ready(Some(client));
        }
        self.poll_newcomer(cx)
    }

    fn poll_newcomer(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Client<P>>>> {
        let accepted = ready!(self.poll_accept(cx));
        Poll::Ready(accepted.map(|accepted| accepted.and_then(|newcomer| self.welcome(newcomer))))
    }

    /// The next connection; None when the server is closed.
    async fn next_connection(&mut self) -> Option<Connection<P>> {
        loop {
            let arrived = poll_fn(|cx| self.poll_arrival(cx)).await?;
            match arrived.and_then(|(link, place)| Ok((self.connect(link, &place)?, place))) {
                Ok((connection, place)) => return Some(connection.guarded(Box::new(place))),
                Err(err) => self.shared.report(err),
            }
        }
    }

    /// Makes the connection of a client.
    fn welcome(&mut self, newcomer: Newcomer) -> io::Result<Client<P>> {
        let (opening, place) = self.open(newcomer)?;
        let stage = match opening {
            Opening::Open(link) => Stage::Connected(self.connect(link, &place)?),
            Opening::Handshake(handshake) => {
                let protocol = self.protocol()?;
                Stage::Handshake(Box::new((Arrival::new(handshake, &place), Some(protocol))))
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

/// Where the next client comes from.
type Next<S, P> = fn(&mut S, &mut Context<'_>) -> Poll<Option<io::Result<Client<P>>>>;

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

//! A server from outside: the handle that stops it, and one that was spawned.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::future;
use smol::Task;

use super::clients::{Farewell, Shared};
use crate::info::Addr;
use crate::io::timer::Timer;
#[cfg(doc)]
use crate::{server::Server, transport::Transport};

/// Stops a server and its clients from elsewhere: cheap to clone, usable from every thread.
///
/// # Dropping
///
/// Dropping a handle does nothing: handles do not keep the server open.
#[derive(Clone)]
pub struct ServerHandle {
    pub(super) shared: Arc<Shared>,
}

impl ServerHandle {
    /// Closes the listening sockets at once, and removes the file of a Unix socket. Clients stay, but for those whose
    /// handshake [`accept`](crate::Server::accept) has begun, and which nobody will take. The second call does nothing.
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
    /// Those that are aborted go as soon as they are polled. So what runs them must go on running: the future of
    /// [`serve_local`](crate::Server::serve_local), the executor of [`serve_on`](crate::Server::serve_on), and whoever has
    /// got a connection from [`accept`](crate::Server::accept), who polls it or drops it.
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
            Timer::after(limit).apart().await;
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
/// # Errors
///
/// As [`Server::serve_forever`](crate::Server::serve_forever).
///
/// # Dropping
///
/// Dropping it closes the listening sockets, and clients live on; [`detach`](Self::detach) lets the server live.
#[must_use = "dropping it closes the server; detach it to let it live"]
#[derive(Debug)]
pub struct Serving {
    /// Taken when it is detached or dropped.
    pub(super) task: Option<Task<io::Result<()>>>,
    pub(super) handle: ServerHandle,
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

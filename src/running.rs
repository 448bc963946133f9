//! What runs in the background: transports that were spawned, and futures beside them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use smol::Task;

use crate::actor::mailbox::Stop;

#[cfg(target_os = "linux")]
pub(crate) use crate::driver::host;
#[cfg(target_os = "linux")]
use crate::driver::spawn as background;
/// Runs a future in the background, on whichever thread is next.
#[cfg(target_os = "linux")]
pub(crate) use crate::driver::spread;
#[cfg(not(target_os = "linux"))]
use smol::spawn as background;
#[cfg(not(target_os = "linux"))]
pub(crate) use smol::spawn as spread;

/// Runs a future and the tasks of its executor.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn host<T>(executor: &async_executor::LocalExecutor<'_>, future: impl Future<Output = T>) -> T {
    executor.run(future).await
}

/// Runs a future of yours where transports are spawned: beside them, on the driver threads. The task is a [`smol::Task`].
///
/// It is asyncio's `create_task`: work that a callback begins and does not wait for. What is left of `call_soon`, which
/// callbacks that are never called inside of each other hardly need, is a future that never waits. On a driver, which the
/// threads of callbacks mostly are, it stays on the thread it is called on and runs after the callback has returned; from
/// elsewhere it goes to the next thread of the pool. Connections, endpoints and the actors of [`actor`] that are
/// awaited inside belong to that driver, as spawned ones do. The same holds for callbacks under
/// [`serve_local`](crate::Server::serve_local), which has a loop of its own. Where there is no [`driver`] it is smol's
/// global executor, as for transports.
///
/// As a callback it must not block: that would stop all transports of its thread. `smol::unblock` is for such work, and
/// for what computes long.
///
/// [`actor`]: crate::actor
/// [`driver`]: https://docs.rs/smol-transports/latest/smol_transports/driver/
///
/// # Panics
///
/// A panic of the future is resumed in whoever awaits the task.
///
/// # Dropping
///
/// Dropping the task cancels the future; `detach` lets it run to its end.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use smol_transports::{Protocol, Transport, create_connection, create_server, spawn};
///
/// /// Answers after a while, as with `call_later`.
/// struct Slowly;
///
/// impl Protocol for Slowly {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         let (transport, data) = (transport.clone(), data.to_vec());
///         spawn(async move {
///             smol::Timer::after(Duration::from_millis(1)).await;
///             transport.write(data);
///             transport.close();
///         })
///         .detach();
///     }
/// }
/// # struct Client(Vec<u8>);
/// # impl Protocol for Client {
/// #     fn connection_made(&mut self, transport: &Transport) { transport.write("hello"); }
/// #     fn data_received(&mut self, _: &Transport, data: &[u8]) { self.0.extend_from_slice(data); }
/// # }
/// # smol::block_on(async {
/// # let server = create_server(|| Slowly, "127.0.0.1:0").await?;
/// # let address = server.local_addr()?;
/// # let (_handle, _serving) = server.spawn();
/// # assert_eq!(create_connection(Client(Vec::new()), address).await?.await.0, b"hello");
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "create_task")]
#[doc(alias = "call_soon")]
#[doc(alias = "call_later")]
#[doc(alias = "call_at")]
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    background(future)
}

/// A spawned transport: a future that resolves to its protocol.
///
/// # Panics
///
/// A panic of a callback is resumed in whoever awaits it. It panics too if it was spawned on an executor that was dropped
/// meanwhile.
///
/// # Dropping
///
/// Dropping it ends the transport as `abort` does; [`detach`](Self::detach) lets it live.
///
/// # Examples
///
/// ```
/// use smol_transports::{Protocol, Transport, connect_socket};
///
/// #[derive(Default)]
/// struct Collect(Vec<u8>);
///
/// impl Protocol for Collect {
///     fn data_received(&mut self, _: &Transport, data: &[u8]) {
///         self.0.extend_from_slice(data);
///     }
/// }
///
/// # #[cfg(unix)]
/// # smol::block_on(async {
/// let (near, mut far) = std::os::unix::net::UnixStream::pair()?;
/// let (transport, running) = connect_socket(Collect::default(), near).await?.spawn();
/// std::io::Write::write_all(&mut far, b"hello")?;
/// drop(far);
/// assert_eq!(running.await.0, b"hello");
/// assert!(transport.is_closing());
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "dropping it ends the transport; detach it to let it live"]
#[derive(Debug)]
pub struct Running<P> {
    /// Taken when it is detached or dropped.
    task: Option<Task<P>>,
    stop: Arc<dyn Stop>,
}

impl<P> Running<P> {
    pub(crate) const fn new(task: Task<P>, stop: Arc<dyn Stop>) -> Self {
        Self { task: Some(task), stop }
    }

    /// Lets the transport live on by itself.
    pub fn detach(mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl<P> Future for Running<P> {
    type Output = P;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<P> {
        let task = self.task.as_mut().expect("a task until it is dropped");
        Pin::new(task).poll(cx)
    }
}

impl<P> Drop for Running<P> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.stop.stop();
            task.detach();
        }
    }
}

//! Transports that were spawned.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use smol::Task;

use crate::actor::mailbox::Stop;

/// Runs a future in the background.
#[cfg(target_os = "linux")]
pub(crate) use crate::driver::spawn;

/// Runs a future in the background.
#[cfg(not(target_os = "linux"))]
pub(crate) fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    smol::spawn(future)
}

/// A spawned transport: a future that resolves to its protocol.
///
/// # Dropping
///
/// Dropping it ends the transport as `abort` does; [`detach`](Self::detach) lets it live.
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

//! A running child: its actor as a future.

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use async_executor::Executor;
use futures_lite::future;

use super::SubprocessTransport;
use crate::actor::delivery::Receive;
use crate::actor::process::{ProcessActor, Processes};
use crate::actor::succession::Parcel;
use crate::message::ProcessEvent;
use crate::protocol::SubprocessProtocol;
use crate::running::{Running, spawn};

/// A child process with its protocol: a future that runs it and resolves to the protocol when all is over.
///
/// It makes progress while it is polled: await it, or [`spawn`](Self::spawn) it. `connection_made` has been called
/// already.
///
/// # Panics
///
/// A panic of a callback kills the child and is resumed in whoever awaits it, after `connection_lost`.
/// Polling it again after it has resolved panics.
///
/// # Dropping
///
/// Dropping it kills the child at once: `connection_lost` is called and the pipes are closed before the drop returns,
/// and the child is collected in the background. `process_exited` is not called then.
#[must_use = "a child makes progress only while it is polled, and is killed when it is dropped"]
pub struct Subprocess<P: SubprocessProtocol> {
    transport: SubprocessTransport,
    /// Taken when it has resolved.
    running: Option<Run<P>>,
}

struct Run<P> {
    actor: ProcessActor,
    protocol: P,
    /// What `set_protocol` has put in the place of `protocol`.
    swapped: Option<Box<dyn SubprocessProtocol + Send>>,
}

const RESOLVED: &str = "the child has resolved already";

impl<P: SubprocessProtocol> Subprocess<P> {
    pub(super) fn start(protocol: P, transport: SubprocessTransport, actor: ProcessActor) -> Self {
        let mut running = Run { actor, protocol, swapped: None };
        let (actor, mut adapter) = running.split(&transport);
        actor.made(&mut adapter);
        Self { transport, running: Some(running) }
    }

    /// The handle; clone it to keep it.
    pub const fn transport(&self) -> &SubprocessTransport {
        &self.transport
    }

    /// The protocol that the child was started with, also after `set_protocol`.
    ///
    /// # Panics
    ///
    /// If it has resolved already.
    #[doc(alias = "get_protocol")]
    pub fn protocol(&self) -> &P {
        &self.running.as_ref().expect(RESOLVED).protocol
    }

    /// The same, to be changed.
    ///
    /// # Panics
    ///
    /// If it has resolved already.
    pub fn protocol_mut(&mut self) -> &mut P {
        &mut self.running.as_mut().expect(RESOLVED).protocol
    }

    /// Runs the child beside `f` until `f` is done; goes on with `f` alone if the child ends before.
    ///
    /// # Panics
    ///
    /// A panic of a callback is kept for whoever awaits the child.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `f`; the child can be polled on.
    pub async fn run_until<F: Future>(&mut self, f: F) -> F::Output {
        let mut f = pin!(f);
        future::poll_fn(|cx| {
            if let Some(running) = &mut self.running {
                let _ = running.poll(cx, &self.transport);
            }
            f.as_mut().poll(cx)
        })
        .await
    }

    /// Runs the child in the background; see [`Connection::spawn`](crate::Connection::spawn).
    pub fn spawn(self) -> (SubprocessTransport, Running<P>)
    where
        P: Send + 'static,
    {
        let transport = self.transport.clone();
        let stop = transport.shared.mailbox.clone();
        (transport, Running::new(spawn(self), stop))
    }

    /// Runs the child on an executor of your own.
    pub fn spawn_on<'a>(self, executor: &Executor<'a>) -> (SubprocessTransport, Running<P>)
    where
        P: Send + 'a,
    {
        let transport = self.transport.clone();
        let stop = transport.shared.mailbox.clone();
        (transport, Running::new(executor.spawn(self), stop))
    }
}

impl<P: SubprocessProtocol> Subprocess<P> {
    /// Ends it as dropping does, and gives the protocol back.
    pub(crate) fn abandon(mut self) -> P {
        let mut running = self.running.take().expect(RESOLVED);
        let (actor, mut adapter) = running.split(&self.transport);
        actor.end(&mut adapter);
        running.protocol
    }
}

impl<P: SubprocessProtocol> Future for Subprocess<P> {
    type Output = P;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<P> {
        let this = self.get_mut();
        let running = this.running.as_mut().expect(RESOLVED);
        if running.poll(cx, &this.transport).is_pending() {
            return Poll::Pending;
        }
        let Run { mut actor, protocol, .. } = this.running.take().expect(RESOLVED);
        if let Some(payload) = actor.take_payload() {
            resume_unwind(payload);
        }
        Poll::Ready(protocol)
    }
}

// Nothing is ever pinned inside: the protocol is lent by reference only.
impl<P: SubprocessProtocol> Unpin for Subprocess<P> {}

impl<P: SubprocessProtocol> Drop for Subprocess<P> {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let (actor, mut adapter) = running.split(&self.transport);
            actor.end(&mut adapter);
        }
    }
}

impl<P: SubprocessProtocol> fmt::Debug for Subprocess<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subprocess").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl<P: SubprocessProtocol> Run<P> {
    fn split<'a>(&'a mut self, transport: &'a SubprocessTransport) -> (&'a mut ProcessActor, Adapter<'a, P>) {
        let Self { actor, protocol, swapped } = self;
        (actor, Adapter { transport, protocol, swapped })
    }

    fn poll(&mut self, cx: &mut Context<'_>, transport: &SubprocessTransport) -> Poll<()> {
        let (actor, mut adapter) = self.split(transport);
        actor.poll(cx, &mut adapter)
    }
}

/// Turns events into callbacks of whichever protocol is in place.
struct Adapter<'a, P> {
    transport: &'a SubprocessTransport,
    protocol: &'a mut P,
    swapped: &'a mut Option<Box<dyn SubprocessProtocol + Send>>,
}

impl<P: SubprocessProtocol> Adapter<'_, P> {
    fn present(&mut self) -> &mut dyn SubprocessProtocol {
        match self.swapped {
            Some(protocol) => &mut **protocol,
            None => self.protocol,
        }
    }
}

impl<P: SubprocessProtocol> Receive<Processes> for Adapter<'_, P> {
    fn renew(&mut self, protocol: Parcel) {
        *self.swapped = protocol.downcast().ok().map(|protocol| *protocol);
    }

    fn event(&mut self, event: ProcessEvent<'_>) {
        let transport = self.transport;
        let protocol = self.present();
        match event {
            ProcessEvent::ConnectionMade => protocol.connection_made(transport),
            ProcessEvent::PipeDataReceived(pipe, data) => protocol.pipe_data_received(transport, pipe, &data),
            ProcessEvent::PipeConnectionLost(pipe, exc) => protocol.pipe_connection_lost(transport, pipe, exc),
            ProcessEvent::ProcessExited(status) => protocol.process_exited(transport, status),
            ProcessEvent::PauseWriting(pipe) => protocol.pause_writing(transport, pipe),
            ProcessEvent::ResumeWriting(pipe) => protocol.resume_writing(transport, pipe),
            ProcessEvent::ConnectionLost(exc) => protocol.connection_lost(exc),
        }
    }
}

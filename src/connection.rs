//! A running connection: the stream actor as a future.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_executor::Executor;
use bytes::Bytes;
use futures_lite::future;
use socket2::Socket;

use crate::actor::delivery::{Payload, Receive};
use crate::actor::mailbox::Stop;
use crate::actor::stream::{Setup, StreamActor};
use crate::actor::succession::Parcel;
use crate::info::ExtraInfo;
use crate::io::Halves;
use crate::message::Event;
use crate::protocol::sealed::Stream;
use crate::protocol::{OnEof, StreamProtocol};
use crate::running::{Running, spawn};
use crate::transport::{Handle, Transport};

/// A connection with its protocol: a future that runs it and resolves to the protocol when the connection is lost.
///
/// It makes progress while it is polled: await it, [`spawn`](Self::spawn) it, or keep it beside something else with
/// [`run_until`](Self::run_until). `connection_made` has been called already. The [handle](Self::transport) can be
/// cloned and used from everywhere meanwhile.
///
/// # Panics
///
/// A panic of a callback ends the connection and is resumed in whoever awaits it, after `connection_lost`.
/// Polling it again after it has resolved panics.
///
/// # Dropping
///
/// Dropping it ends the connection at once, as [`abort`](Transport::abort) does: `connection_lost(None)` is called
/// and the descriptor closed before the drop returns.
///
/// # Examples
///
/// ```no_run
/// use smol_transports::{Protocol, Transport, create_connection};
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
/// # fn main() -> std::io::Result<()> {
/// # smol::block_on(async {
/// let connection = create_connection(Collect::default(), "127.0.0.1:8888").await?;
/// connection.transport().write(b"hello");
/// let collected = connection.await;
/// println!("{} bytes", collected.0.len());
/// # Ok(())
/// # })
/// # }
/// ```
#[must_use = "a connection makes progress only while it is polled, and ends when it is dropped"]
pub struct Connection<P: StreamProtocol<T>, T: 'static = Transport> {
    transport: T,
    /// Taken when the connection has resolved.
    running: Option<Run<P, T>>,
}

/// An actor and its protocol.
struct Run<P, T> {
    actor: StreamActor,
    protocol: P,
    /// What `set_protocol` has put in the place of `protocol`.
    swapped: Option<Box<dyn Stream<T> + Send>>,
}

/// What [`Connection::into_parts`] gives.
#[derive(Debug)]
#[non_exhaustive]
pub struct Parts<P> {
    /// The socket, in non-blocking mode. None if there is no socket, or a handle is using it at this moment.
    pub socket: Option<Socket>,
    /// The protocol that the connection was made with.
    pub protocol: P,
    /// What was written and not sent.
    pub unsent: Bytes,
}

impl<P: StreamProtocol<T>, T: 'static> Connection<P, T> {
    /// Starts a protocol on an endpoint: `connection_made` is called here.
    pub(crate) fn start(protocol: P, halves: Halves, info: ExtraInfo, setup: Setup) -> Self
    where
        T: Handle,
    {
        let actor = StreamActor::new(halves, info, setup);
        let transport = T::new(actor.mailbox().clone());
        let mut running = Run { actor, protocol, swapped: None };
        let (actor, mut adapter) = running.split(&transport);
        actor.made(&mut adapter);
        Self { transport, running: Some(running) }
    }

    /// Keeps something until all is over.
    pub(crate) fn guarded(mut self, guard: Box<dyn Any + Send>) -> Self {
        self.running.as_mut().expect(RESOLVED).actor.set_guard(guard);
        self
    }

    /// The handle; clone it to keep it.
    pub const fn transport(&self) -> &T {
        &self.transport
    }

    /// The protocol that the connection was made with, also after `set_protocol`.
    ///
    /// # Panics
    ///
    /// If the connection has resolved already.
    #[doc(alias = "get_protocol")]
    pub fn protocol(&self) -> &P {
        &self.running.as_ref().expect(RESOLVED).protocol
    }

    /// The same, to be changed.
    ///
    /// # Panics
    ///
    /// If the connection has resolved already.
    pub fn protocol_mut(&mut self) -> &mut P {
        &mut self.running.as_mut().expect(RESOLVED).protocol
    }

    /// Replaces the protocol by one of another type: callbacks go to `protocol` from now on.
    ///
    /// `connection_made` is not called on it, and nothing more on the old one, which is given back. A protocol that was
    /// put there by `set_protocol` is dropped.
    ///
    /// # Panics
    ///
    /// If the connection has resolved already.
    pub fn replace_protocol<Q: StreamProtocol<T>>(mut self, protocol: Q) -> (Connection<Q, T>, P)
    where
        T: Clone,
    {
        let Run { actor, protocol: old, .. } = self.running.take().expect(RESOLVED);
        actor.mailbox().disinherit();
        let running = Some(Run { actor, protocol, swapped: None });
        (Connection { transport: self.transport.clone(), running }, old)
    }

    /// Takes the connection apart: the socket goes on without this crate.
    ///
    /// No further callback is made, not even `connection_lost`; handles find the transport closed. Over TLS the session
    /// ends here: the socket is the bare one, and the peer cannot go on with it.
    ///
    /// # Panics
    ///
    /// If the connection has resolved already.
    pub fn into_parts(mut self) -> Parts<P> {
        let Run { mut actor, protocol, .. } = self.running.take().expect(RESOLVED);
        let (socket, unsent) = actor.dissolve();
        Parts { socket, protocol, unsent }
    }

    /// Runs the connection beside `f` until `f` is done; goes on with `f` alone if the connection ends before.
    ///
    /// ```no_run
    /// # use smol_transports::{Connection, Protocol};
    /// # async fn f(mut connection: Connection<impl Protocol>) -> std::io::Result<()> {
    /// let transport = connection.transport().clone();
    /// connection.run_until(async {
    ///     transport.write(vec![0; 1_000_000]);
    ///     transport.drain().await
    /// }).await
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// A panic of a callback is kept for whoever awaits the connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `f`; the connection can be polled on.
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

    /// Polls to the end, and keeps the protocol here.
    pub(crate) fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.running.as_mut().expect(RESOLVED).poll(cx, &self.transport)
    }

    /// Whether the endpoint has passed on all that was sent.
    pub(crate) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.running.as_mut().expect(RESOLVED).actor.poll_flushed(cx)
    }

    /// Why it was lost, if it was by an error.
    pub(crate) fn loss(&self) -> Option<io::Error> {
        self.running.as_ref().expect(RESOLVED).actor.mailbox().end()?.err()
    }

    /// Whether the peer has finished already, as far as the protocol was told.
    pub(crate) fn is_at_eof(&self) -> bool {
        self.running.as_ref().expect(RESOLVED).actor.mailbox().is_at_eof()
    }

    /// Polls to the end; a panic of a callback is given back instead of resumed.
    #[inline]
    pub(crate) fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Result<P, Payload>> {
        let running = self.running.as_mut().expect(RESOLVED);
        ready!(running.poll(cx, &self.transport));
        let Run { mut actor, protocol, .. } = self.running.take().expect(RESOLVED);
        Poll::Ready(actor.take_payload().map_or(Ok(protocol), Err))
    }
}

const RESOLVED: &str = "the connection has resolved already";

impl<P: StreamProtocol<T>, T: Clone + Send + 'static> Connection<P, T> {
    /// Runs the connection in the background: asyncio's pair of transport and protocol.
    ///
    /// It runs on the driver threads, see [`driver`], or on smol's global executor where there are none.
    ///
    /// [`driver`]: https://docs.rs/smol-transports/latest/smol_transports/driver/
    ///
    /// # Panics
    ///
    /// If the connection has resolved already.
    pub fn spawn(self) -> (T, Running<P>)
    where
        P: Send + 'static,
    {
        let (transport, stop) = (self.transport.clone(), self.stop());
        (transport, Running::new(spawn(self), stop))
    }

    /// Runs the connection on an executor of your own.
    ///
    /// # Panics
    ///
    /// If the connection has resolved already.
    pub fn spawn_on<'a>(self, executor: &Executor<'a>) -> (T, Running<P>)
    where
        P: Send + 'a,
    {
        let (transport, stop) = (self.transport.clone(), self.stop());
        (transport, Running::new(executor.spawn(self), stop))
    }

    fn stop(&self) -> Arc<dyn Stop> {
        self.running.as_ref().expect(RESOLVED).actor.mailbox().clone()
    }
}

impl<P: StreamProtocol<T>, T: 'static> Future for Connection<P, T> {
    type Output = P;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<P> {
        let outcome = ready!(self.get_mut().poll_outcome(cx));
        Poll::Ready(outcome.unwrap_or_else(|payload| resume_unwind(payload)))
    }
}

// Nothing is ever pinned inside: the protocol is lent by reference only.
impl<P: StreamProtocol<T>, T: 'static> Unpin for Connection<P, T> {}

impl<P: StreamProtocol<T>, T: 'static> Drop for Connection<P, T> {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let (actor, mut adapter) = running.split(&self.transport);
            actor.end(&mut adapter);
        }
    }
}

impl<P: StreamProtocol<T>, T: fmt::Debug + 'static> fmt::Debug for Connection<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl<P: StreamProtocol<T>, T: 'static> Run<P, T> {
    fn split<'a>(&'a mut self, transport: &'a T) -> (&'a mut StreamActor, Adapter<'a, P, T>) {
        let Self { actor, protocol, swapped } = self;
        (actor, Adapter { transport, protocol, swapped })
    }

    fn poll(&mut self, cx: &mut Context<'_>, transport: &T) -> Poll<()> {
        let (actor, mut adapter) = self.split(transport);
        actor.poll(cx, &mut adapter)
    }
}

/// Turns events into callbacks of whichever protocol is in place.
struct Adapter<'a, P, T> {
    transport: &'a T,
    protocol: &'a mut P,
    swapped: &'a mut Option<Box<dyn Stream<T> + Send>>,
}

impl<P: StreamProtocol<T>, T: 'static> Adapter<'_, P, T> {
    fn present(&mut self) -> &mut dyn Stream<T> {
        match self.swapped {
            Some(protocol) => &mut **protocol,
            None => self.protocol,
        }
    }
}

impl<P: StreamProtocol<T>, T: 'static> Receive for Adapter<'_, P, T> {
    fn renew(&mut self, protocol: Parcel) {
        *self.swapped = protocol.downcast().ok().map(|protocol| *protocol);
    }

    fn event(&mut self, event: Event<'_>) -> OnEof {
        let transport = self.transport;
        self.present().event(transport, event)
    }

    fn takes_buffers(&mut self) -> bool {
        self.present().takes_buffers()
    }

    fn buffer(&mut self, size_hint: usize) -> &mut [u8] {
        self.present().buffer(size_hint)
    }
}

//! A running endpoint: the datagram actor as a future.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_executor::Executor;
use futures_lite::future;

use super::DatagramTransport;
use crate::actor::datagram::{DatagramActor, Datagrams};
use crate::actor::datagram_side::Route;
use crate::actor::delivery::Receive;
use crate::actor::mailbox::Stop;
use crate::actor::stream::Setup;
use crate::actor::succession::Parcel;
use crate::info::{Addr, ExtraInfo};
use crate::io::datagram::DatagramHalves;
use crate::message::DatagramEvent;
use crate::protocol::DatagramProtocol;
use crate::running::{Running, spawn};

/// A datagram endpoint with its protocol: a future that runs it and resolves to the protocol when it is closed.
///
/// It makes progress while it is polled: await it, [`spawn`](Self::spawn) it, or keep it beside something else with
/// [`run_until`](Self::run_until). `connection_made` has been called already. The [handle](Self::transport) can be
/// cloned and used from everywhere meanwhile.
///
/// # Panics
///
/// A panic of a callback ends the endpoint and is resumed in whoever awaits it, after `connection_lost`.
/// Polling it again after it has resolved panics.
///
/// # Dropping
///
/// Dropping it ends the endpoint at once, as [`abort`](DatagramTransport::abort) does: `connection_lost(None)` is called
/// and the descriptor closed before the drop returns.
///
/// # Examples
///
/// ```
/// use smol_transports::{Addr, DatagramProtocol, DatagramTransport, create_datagram_endpoint};
///
/// #[derive(Default)]
/// struct One(Vec<u8>);
///
/// impl DatagramProtocol for One {
///     fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], _: &Addr) {
///         self.0 = data.to_vec();
///         transport.close();
///     }
/// }
///
/// # smol::block_on(async {
/// let endpoint = create_datagram_endpoint(One::default()).local_addr("127.0.0.1:0").await?;
/// std::net::UdpSocket::bind("127.0.0.1:0")?.send_to(b"hello", endpoint.local_addr()?)?;
/// assert_eq!(endpoint.await.0, b"hello");
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "an endpoint makes progress only while it is polled, and ends when it is dropped"]
pub struct DatagramEndpoint<P: DatagramProtocol> {
    transport: DatagramTransport,
    /// Taken when the endpoint has resolved.
    running: Option<Run<P>>,
}

/// An actor and its protocol.
struct Run<P> {
    actor: DatagramActor,
    protocol: P,
    /// What `set_protocol` has put in the place of `protocol`.
    swapped: Option<Box<dyn DatagramProtocol + Send>>,
}

const RESOLVED: &str = "the endpoint has resolved already";

impl<P: DatagramProtocol> DatagramEndpoint<P> {
    /// Starts a protocol on an endpoint: `connection_made` is called here.
    pub(crate) fn start(protocol: P, halves: DatagramHalves, route: Route, info: ExtraInfo, setup: Setup) -> Self {
        let actor = DatagramActor::new(halves, route, info, setup);
        let transport = DatagramTransport::new(actor.mailbox().clone());
        let mut running = Run { actor, protocol, swapped: None };
        let (actor, mut adapter) = running.split(&transport);
        actor.made(&mut adapter);
        Self { transport, running: Some(running) }
    }

    /// The handle; clone it to keep it.
    pub const fn transport(&self) -> &DatagramTransport {
        &self.transport
    }

    /// The IP address and port that it is bound to: the one to send to if it was bound to port 0.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if it has no IP address, as a Unix socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.transport.extra_info().sockname().and_then(Addr::as_inet);
        addr.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the endpoint has no IP address"))
    }

    /// The protocol that the endpoint was made with, also after `set_protocol`.
    ///
    /// # Panics
    ///
    /// If the endpoint has resolved already.
    #[doc(alias = "get_protocol")]
    pub fn protocol(&self) -> &P {
        &self.running.as_ref().expect(RESOLVED).protocol
    }

    /// The same, to be changed.
    ///
    /// # Panics
    ///
    /// If the endpoint has resolved already.
    pub fn protocol_mut(&mut self) -> &mut P {
        &mut self.running.as_mut().expect(RESOLVED).protocol
    }

    /// Runs the endpoint beside `f` until `f` is done; goes on with `f` alone if the endpoint ends before.
    ///
    /// # Panics
    ///
    /// A panic of a callback is kept for whoever awaits the endpoint.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `f`; the endpoint can be polled on.
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

    /// Runs the endpoint in the background: asyncio's pair of transport and protocol.
    ///
    /// It runs on the driver threads, see [`driver`], or on smol's global executor where there are none.
    ///
    /// [`driver`]: https://docs.rs/smol-transports/latest/smol_transports/driver/
    ///
    /// # Panics
    ///
    /// If the endpoint has resolved already.
    pub fn spawn(self) -> (DatagramTransport, Running<P>)
    where
        P: Send + 'static,
    {
        let (transport, stop) = (self.transport.clone(), self.stop());
        (transport, Running::new(spawn(self), stop))
    }

    /// Runs the endpoint on an executor of your own.
    ///
    /// # Panics
    ///
    /// If the endpoint has resolved already.
    pub fn spawn_on<'a>(self, executor: &Executor<'a>) -> (DatagramTransport, Running<P>)
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

impl<P: DatagramProtocol> Future for DatagramEndpoint<P> {
    type Output = P;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<P> {
        let this = self.get_mut();
        let running = this.running.as_mut().expect(RESOLVED);
        ready!(running.poll(cx, &this.transport));
        let Run { mut actor, protocol, .. } = this.running.take().expect(RESOLVED);
        match actor.take_payload() {
            Some(payload) => resume_unwind(payload),
            None => Poll::Ready(protocol),
        }
    }
}

// Nothing is ever pinned inside: the protocol is lent by reference only.
impl<P: DatagramProtocol> Unpin for DatagramEndpoint<P> {}

impl<P: DatagramProtocol> Drop for DatagramEndpoint<P> {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let (actor, mut adapter) = running.split(&self.transport);
            actor.end(&mut adapter);
        }
    }
}

impl<P: DatagramProtocol> fmt::Debug for DatagramEndpoint<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramEndpoint").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl<P: DatagramProtocol> Run<P> {
    fn split<'a>(&'a mut self, transport: &'a DatagramTransport) -> (&'a mut DatagramActor, Adapter<'a, P>) {
        let Self { actor, protocol, swapped } = self;
        (actor, Adapter { transport, protocol, swapped })
    }

    fn poll(&mut self, cx: &mut Context<'_>, transport: &DatagramTransport) -> Poll<()> {
        let (actor, mut adapter) = self.split(transport);
        actor.poll(cx, &mut adapter)
    }
}

/// Turns events into callbacks of whichever protocol is in place.
struct Adapter<'a, P> {
    transport: &'a DatagramTransport,
    protocol: &'a mut P,
    swapped: &'a mut Option<Box<dyn DatagramProtocol + Send>>,
}

impl<P: DatagramProtocol> Adapter<'_, P> {
    fn present(&mut self) -> &mut dyn DatagramProtocol {
        match self.swapped {
            Some(protocol) => &mut **protocol,
            None => self.protocol,
        }
    }
}

impl<P: DatagramProtocol> Receive<Datagrams> for Adapter<'_, P> {
    fn renew(&mut self, protocol: Parcel) {
        *self.swapped = protocol.downcast().ok().map(|protocol| *protocol);
    }

    fn event(&mut self, event: DatagramEvent<'_>) {
        let transport = self.transport;
        let protocol = self.present();
        match event {
            DatagramEvent::ConnectionMade => protocol.connection_made(transport),
            DatagramEvent::DatagramReceived { data, addr } => protocol.datagram_received(transport, &data, &addr),
            DatagramEvent::ErrorReceived(exc) => protocol.error_received(transport, exc),
            DatagramEvent::PauseWriting => protocol.pause_writing(transport),
            DatagramEvent::ResumeWriting => protocol.resume_writing(transport),
            DatagramEvent::ConnectionLost(exc) => protocol.connection_lost(exc),
        }
    }
}

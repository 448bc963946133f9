//! An endpoint on its way to an actor.

use crate::actor::stream::Setup;
use crate::connection::Connection;
use crate::info::ExtraInfo;
use crate::io::Halves;
use crate::protocol::StreamProtocol;
#[cfg(feature = "tls-custom")]
pub(crate) use crate::tls::Handshake;
use crate::transport::Transport;

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
    pub(crate) const fn peername(&self) -> Option<&crate::info::Addr> {
        None
    }
}

#[cfg(not(feature = "tls-custom"))]
impl Future for Handshake {
    type Output = std::io::Result<Link>;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::task::Poll::Pending
    }
}

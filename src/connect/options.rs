//! What all stream transports can be made with.

use std::io;
use std::time::Duration;

use socket2::Socket;

use super::link::{Link, Opening};
use crate::actor::stream::Setup;
use crate::info::{Addr, ExtraInfo};
use crate::io::{async_io as backend, socket};
use crate::state::bounds::Bounds;
use crate::state::limits::WriteLimits;
#[cfg(feature = "tls-custom")]
use crate::tls::Tls;

/// What every new stream transport is made with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) delay: bool,
    pub(crate) keep_alive: bool,
    pub(crate) limits: WriteLimits,
    pub(crate) bounds: Bounds,
    pub(crate) close_timeout: Option<Duration>,
    #[cfg(feature = "tls-custom")]
    pub(crate) tls: Option<Tls>,
}

impl Options {
    /// A socket as it is, before TLS.
    pub(crate) fn link(&self, socket: Socket, peer: Option<Addr>) -> io::Result<Link> {
        let info = self.adopt(&socket, peer)?;
        Ok(Link { halves: backend::halves(socket), info, setup: self.setup() })
    }

    pub(crate) fn setup(&self) -> Setup {
        Setup { limits: self.limits, bounds: self.bounds, close_timeout: self.close_timeout, ..Setup::default() }
    }

    /// Puts TLS over it, if that is wanted: the first step of a connection that waits for its handshake by itself.
    pub(crate) fn open(&self, link: Link) -> io::Result<Opening> {
        #[cfg(feature = "tls-custom")]
        if let Some(tls) = &self.tls {
            return tls.handshake(link).map(Opening::Handshake);
        }
        Ok(Opening::Open(link))
    }

    /// Whether the options are of use to a server.
    pub(crate) fn check_server(&self) -> io::Result<()> {
        #[cfg(feature = "tls-custom")]
        if let Some(tls) = &self.tls {
            return tls.check_server();
        }
        Ok(())
    }

    /// The same, waiting for the handshake. It is bound where its connection will run, not where the hands were shaken.
    pub(crate) async fn secure(&self, link: Link) -> io::Result<Link> {
        match self.open(link)? {
            Opening::Open(link) => Ok(link),
            Opening::Handshake(handshake) => {
                let mut link = handshake.await?;
                link.halves.0.unbind();
                Ok(link)
            }
        }
    }

    /// Makes a socket ready for an actor.
    pub(crate) fn adopt(&self, socket: &Socket, peer: Option<Addr>) -> io::Result<ExtraInfo> {
        socket::adopt(socket)?;
        let info = ExtraInfo::of_stream_socket(socket, peer);
        if info.sockname().and_then(Addr::as_inet).is_some() {
            self.set_tcp_options(socket)?;
        }
        Ok(info)
    }

    /// A peer that has gone already must not hide the reason of its going.
    fn set_tcp_options(&self, socket: &Socket) -> io::Result<()> {
        if self.keep_alive {
            socket.set_keepalive(true)?;
        }
        match socket.set_tcp_nodelay(!self.delay) {
            Err(err) if err.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

/// The option to use TLS.
macro_rules! tls_option {
    () => {
        /// Uses TLS from the start: `connection_made` is called after the handshake, and not at all if that fails.
        ///
        /// # Errors
        ///
        /// Besides its others the connection fails with [`InvalidData`](io::ErrorKind::InvalidData) and an error of
        /// rustls if the peer does not speak TLS or its certificate is not valid, with
        /// [`TimedOut`](io::ErrorKind::TimedOut), with [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the peer
        /// has gone during the handshake, and with [`InvalidInput`](io::ErrorKind::InvalidInput) if `tls` cannot be
        /// used. With a server, all but the last go to `on_error`, and the server goes on.
        #[cfg(feature = "tls-custom")]
        #[cfg_attr(docsrs, doc(cfg(any(feature = "tls", feature = "tls-aws-lc", feature = "tls-custom"))))]
        #[doc(alias = "ssl")]
        pub fn tls(mut self, tls: $crate::tls::Tls) -> Self {
            self.options.tls = Some(tls);
            self
        }
    };
}
pub(crate) use tls_option;

/// The options that every builder of a stream transport has.
macro_rules! stream_options {
    () => {
        $crate::connect::buffer_options!();
        $crate::connect::bound_options!(options);
        $crate::connect::tls_option!();

        /// Sends small segments at once (`TCP_NODELAY`); on by default.
        pub const fn nodelay(mut self, on: bool) -> Self {
            self.options.delay = !on;
            self
        }

        /// Has the system probe an idle connection (`SO_KEEPALIVE`); off by default.
        pub const fn keep_alive(mut self, on: bool) -> Self {
            self.options.keep_alive = on;
            self
        }
    };
}
pub(crate) use stream_options;

/// Those of them that are not about TCP.
macro_rules! buffer_options {
    () => {
        /// The marks of the write buffer that the transport begins with; 64 KiB and 16 KiB by default.
        pub const fn write_limits(mut self, limits: WriteLimits) -> Self {
            self.options.limits = limits;
            self
        }

        /// How long the sending of what is buffered may take after `close()`. After that the transport is aborted, and
        /// `connection_lost` gets [`TimedOut`](io::ErrorKind::TimedOut). No limit by default.
        pub const fn close_timeout(mut self, limit: Duration) -> Self {
            self.options.close_timeout = Some(limit);
            self
        }
    };
}
pub(crate) use buffer_options;

/// What a stream transport may not exceed; `$options` is the field that has them.
macro_rules! bound_options {
    ($options:ident) => {
        /// How many bytes may wait to be sent. A write that leaves more than that waiting ends the connection:
        /// `connection_lost` gets [`QuotaExceeded`](std::io::ErrorKind::QuotaExceeded). No limit by default.
        ///
        /// It is for protocols that do not heed `pause_writing`, and should be well above the high mark of
        /// `write_limits` and what one callback writes: an echo is given up to 256 KiB at once. What the system takes at
        /// once never counts, nor does a file that is sent.
        pub const fn max_write_buffer(mut self, bytes: usize) -> Self {
            self.$options.bounds.write_buffer = Some(bytes);
            self
        }

        /// How long the connection may be idle. When nothing was received or sent for that long it is aborted, and
        /// `connection_lost` gets [`TimedOut`](std::io::ErrorKind::TimedOut). No limit by default.
        pub const fn idle_timeout(mut self, limit: std::time::Duration) -> Self {
            self.$options.bounds.idle = Some(limit);
            self
        }

        /// How long the peer may send nothing. When nothing was received for that long the connection is aborted, and
        /// `connection_lost` gets [`TimedOut`](std::io::ErrorKind::TimedOut). No limit by default.
        ///
        /// The time runs while reading is wanted: not while it is paused, nor after the peer has finished.
        pub const fn read_timeout(mut self, limit: std::time::Duration) -> Self {
            self.$options.bounds.read = Some(limit);
            self
        }

        /// How long the peer may take nothing. When something waits to be sent and nothing could be sent for that long
        /// the connection is aborted, and `connection_lost` gets [`TimedOut`](std::io::ErrorKind::TimedOut). No limit
        /// by default.
        ///
        /// A peer that takes a little from time to time is not stopped by it, nor one that does not read while nothing
        /// waits.
        pub const fn write_timeout(mut self, limit: std::time::Duration) -> Self {
            self.$options.bounds.write = Some(limit);
            self
        }
    };
}
pub(crate) use bound_options;

//! TLS: from the start of a connection, or by an upgrade.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_rustls::pki_types::{CertificateDer, ServerName};
use futures_rustls::rustls::{
    ClientConfig, Connection, HandshakeKind, ProtocolVersion, ServerConfig, SupportedCipherSuite,
};
use futures_rustls::{TlsAcceptor, TlsConnector};

use crate::actor::stream::Setup;
use crate::connect::Link;
use crate::info::{Addr, ExtraInfo};
use crate::io::tls::{TlsEndpoint, TlsOutlet, wrap};
use crate::state::kind::Kind;

#[cfg(any(feature = "tls", feature = "tls-aws-lc"))]
mod provided;
mod start;

pub use start::StartTls;
pub(crate) use start::TlsJob;

/// asyncio's limits.
const HANDSHAKE: Duration = Duration::from_secs(60);
const SHUTDOWN: Duration = Duration::from_secs(30);

/// What TLS is done with: the side, its configuration and its time limits.
///
/// It is given to [`Connect::tls`](crate::Connect::tls), [`CreateServer::tls`](crate::CreateServer::tls) and the other
/// builders for a connection that begins with TLS, and to [`Transport::start_tls`](crate::Transport::start_tls) for one
/// that is upgraded. A clone shares the configuration, so that sessions are resumed.
///
/// # What is different over TLS
///
/// - `connection_made` is called after the handshake. Where the handshake fails no callback is made.
/// - `eof_received` is called when the peer has said that it will send no more (*close_notify*). Its answer is ignored:
///   what is buffered is sent, and the connection ends. A peer that vanishes without it has cut the connection:
///   `connection_lost` gets [`UnexpectedEof`](io::ErrorKind::UnexpectedEof).
/// - [`can_write_eof`](crate::Transport::can_write_eof) is false, unless [`half_close`](Self::half_close) is on.
/// - After [`close`](crate::Transport::close) what is buffered is sent, then *close_notify*, and that of the peer is
///   waited for; what is written after it is dropped.
/// - The write buffer counts plaintext until its ciphertext was taken by the system.
/// - The time limits of the builders count bytes of ciphertext: a record that takes long is neither silence nor a stall.
/// - Handles never send themselves: the connection must be polled.
///
/// # Examples
///
/// A first client, with the features `tls` and `tls-webpki-roots`:
///
/// ```no_run
/// # #[cfg(all(feature = "tls", feature = "tls-webpki-roots"))] mod program {
/// use smol_transports::{Protocol, Tls, Transport, create_connection};
///
/// struct Get;
///
/// impl Protocol for Get {
///     fn connection_made(&mut self, transport: &Transport) {
///         transport.write("GET / HTTP/1.0\r\nHost: example.com\r\n\r\n");
///     }
///
///     fn data_received(&mut self, _: &Transport, data: &[u8]) {
///         print!("{}", String::from_utf8_lossy(data));
///     }
/// }
///
/// fn main() -> std::io::Result<()> {
///     smol::block_on(async {
///         let tls = Tls::client_with_webpki_roots("example.com")?;
///         create_connection(Get, "example.com:443").tls(tls).await?.await;
///         Ok(())
///     })
/// }
/// # }
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Tls {
    side: Result<Side, String>,
    handshake_limit: Option<Duration>,
    shutdown_limit: Option<Duration>,
    half_close: bool,
    first: Bytes,
}

/// Which side of the handshake, and how.
#[derive(Clone)]
pub(crate) enum Side {
    Client(TlsConnector, ServerName<'static>),
    Server(TlsAcceptor),
}

impl Tls {
    /// The client's side. `config` is a [`ClientConfig`], an [`Arc`] of one, or a [`TlsConnector`] of futures-rustls;
    /// the certificate of the server must be valid for `server_name`, a host name or an IP address.
    ///
    /// A name that is none is told where it is used, as [`InvalidInput`](io::ErrorKind::InvalidInput).
    #[doc(alias = "ssl")]
    #[doc(alias = "server_hostname")]
    #[must_use]
    pub fn client(config: impl IntoTlsConnector, server_name: impl IntoServerName) -> Self {
        let connector = config.into_tls_connector();
        Self::new(server_name.into_server_name().map(|name| Side::Client(connector, name)))
    }

    /// The server's side. `config` is a [`ServerConfig`], an [`Arc`] of one, or a [`TlsAcceptor`] of futures-rustls.
    ///
    /// What a client sends as early data, if `max_early_data_size` of the configuration lets it, is delivered after
    /// `connection_made` like the rest: it has waited for the end of the handshake, so nobody can have replayed it.
    #[doc(alias = "ssl")]
    #[must_use]
    pub fn server(config: impl IntoTlsAcceptor) -> Self {
        Self::new(Ok(Side::Server(config.into_tls_acceptor())))
    }

    fn new(side: Result<Side, String>) -> Self {
        let (handshake_limit, shutdown_limit) = (Some(HANDSHAKE), Some(SHUTDOWN));
        Self { side, handshake_limit, shutdown_limit, half_close: false, first: Bytes::new() }
    }

    /// How long the handshake may take: 60 s by default. After that it has failed with
    /// [`TimedOut`](io::ErrorKind::TimedOut). `None` waits for ever; zero is told where it is used, as
    /// [`InvalidInput`](io::ErrorKind::InvalidInput).
    #[doc(alias = "ssl_handshake_timeout")]
    #[must_use]
    pub fn handshake_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.handshake_limit = limit.into();
        self
    }

    /// How long it may take from `close()` until the peer has answered, sending what is buffered included: 30 s by
    /// default. After that `connection_lost` gets [`TimedOut`](io::ErrorKind::TimedOut). `None` waits for ever; zero is
    /// told where it is used, as [`InvalidInput`](io::ErrorKind::InvalidInput).
    ///
    /// The `close_timeout` of a builder holds as well: the shorter one counts.
    #[doc(alias = "ssl_shutdown_timeout")]
    #[must_use]
    pub fn shutdown_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.shutdown_limit = limit.into();
        self
    }

    /// Whether one direction can be closed alone, as with TCP; off by default.
    ///
    /// Only TLS 1.3 (RFC 8446, section 6.1) has that: with an older version it does nothing. And a peer may answer a
    /// half-close with its own end all the same, as most programs do that were written for older versions. When it is
    /// on and TLS 1.3 was negotiated, [`can_write_eof`](crate::Transport::can_write_eof) is true,
    /// [`write_eof`](crate::Transport::write_eof) sends *close_notify*, and the answer of `eof_received` counts.
    #[must_use]
    pub const fn half_close(mut self, on: bool) -> Self {
        self.half_close = on;
        self
    }

    /// Bytes that have been received already, and belong to TLS.
    ///
    /// A peer may send its first TLS message in one segment with the line that asks for the upgrade, and only the
    /// protocol knows where the line ends. What follows it goes here, so that the handshake succeeds. It is never given
    /// to the protocol as it is: bytes that somebody has slipped in behind the line make the handshake fail.
    #[must_use]
    pub fn received(mut self, data: impl AsRef<[u8]>) -> Self {
        self.first = Bytes::copy_from_slice(data.as_ref());
        self
    }

    /// The side, if all is well.
    pub(crate) fn side(&self) -> io::Result<&Side> {
        let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text);
        if self.handshake_limit.is_some_and(|limit| limit.is_zero()) {
            return Err(invalid("the limit of the TLS handshake is zero"));
        }
        if self.shutdown_limit.is_some_and(|limit| limit.is_zero()) {
            return Err(invalid("the limit of the TLS shutdown is zero"));
        }
        self.side.as_ref().map_err(|text| invalid(text))
    }

    /// The side for what only a server can do.
    pub(crate) fn check_server(&self) -> io::Result<()> {
        match self.side()? {
            Side::Server(_) => Ok(()),
            Side::Client(..) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "a server needs Tls::server, not Tls::client"))
            }
        }
    }

    pub(crate) const fn handshake_limit(&self) -> Option<Duration> {
        self.handshake_limit
    }

    pub(crate) const fn has_half_close(&self) -> bool {
        self.half_close
    }

    pub(crate) fn first(&self) -> &[u8] {
        &self.first
    }

    /// The limit for closing, beside one that is set already.
    pub(crate) fn limit_closing(&self, close_timeout: Option<Duration>) -> Option<Duration> {
        self.shutdown_limit.into_iter().chain(close_timeout).min()
    }

    /// Begins the handshake of a new connection.
    pub(crate) fn handshake(&self, link: Link) -> io::Result<Handshake> {
        let Link { halves, info, mut setup } = link;
        setup.close_timeout = self.limit_closing(setup.close_timeout);
        let (inner, outlet) = halves;
        let outlet = outlet.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        let (endpoint, outlet) = wrap(inner, outlet, self, self.side()?, setup.clock.clone());
        Ok(Handshake { endpoint: Some(Box::new(endpoint)), rest: Some((outlet, info, setup)) })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match &self.side {
            Ok(Side::Client(_, name)) => format!("client of {}", name.to_str()),
            Ok(Side::Server(_)) => "server".to_owned(),
            Err(text) => text.clone(),
        };
        f.debug_struct("Tls").field("side", &side).finish_non_exhaustive()
    }
}

mod sealed {
    use super::{ServerName, TlsAcceptor, TlsConnector};

    pub trait Connector {
        #[doc(hidden)]
        fn into_tls_connector(self) -> TlsConnector;
    }

    pub trait Acceptor {
        #[doc(hidden)]
        fn into_tls_acceptor(self) -> TlsAcceptor;
    }

    pub trait Name {
        #[doc(hidden)]
        fn into_server_name(self) -> Result<ServerName<'static>, String>;
    }
}

/// What [`Tls::client`] can be made of. It cannot be implemented by hand.
pub trait IntoTlsConnector: sealed::Connector {}

/// What [`Tls::server`] can be made of. It cannot be implemented by hand.
pub trait IntoTlsAcceptor: sealed::Acceptor {}

/// The name of a server: a host name, an IP address, or a [`ServerName`]. It cannot be implemented by hand.
pub trait IntoServerName: sealed::Name {}

macro_rules! configs {
    ($($trait:ident, $public:ident, $method:ident -> $target:ty: $($type:ty => |$value:ident| $convert:expr),*;)*) => {$($(
        impl sealed::$trait for $type {
            fn $method(self) -> $target {
                let $value = self;
                $convert
            }
        }

        impl $public for $type {}
    )*)*};
}

configs! {
    Connector, IntoTlsConnector, into_tls_connector -> TlsConnector:
        ClientConfig => |config| Arc::new(config).into(),
        Arc<ClientConfig> => |config| config.into(),
        &Arc<ClientConfig> => |config| config.clone().into(),
        TlsConnector => |connector| connector,
        &TlsConnector => |connector| connector.clone();
    Acceptor, IntoTlsAcceptor, into_tls_acceptor -> TlsAcceptor:
        ServerConfig => |config| Arc::new(config).into(),
        Arc<ServerConfig> => |config| config.into(),
        &Arc<ServerConfig> => |config| config.clone().into(),
        TlsAcceptor => |acceptor| acceptor,
        &TlsAcceptor => |acceptor| acceptor.clone();
    Name, IntoServerName, into_server_name -> Result<ServerName<'static>, String>:
        &str => |name| parse(name),
        String => |name| parse(&name),
        &String => |name| parse(name),
        IpAddr => |addr| Ok(addr.into()),
        ServerName<'static> => |name| Ok(name);
}

fn parse(name: &str) -> Result<ServerName<'static>, String> {
    // As in an address: an IPv6 host in brackets.
    let host = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let parsed = ServerName::try_from(host.to_owned());
    parsed.map_err(|_| format!("{name:?} is not the name of a TLS server"))
}

/// The handshake of a connection that is not there yet.
#[derive(Debug)]
pub(crate) struct Handshake {
    endpoint: Option<Box<TlsEndpoint>>,
    rest: Option<(Arc<TlsOutlet>, ExtraInfo, Setup)>,
}

impl Handshake {
    pub(crate) fn peername(&self) -> Option<&Addr> {
        self.rest.as_ref().and_then(|(_, info, _)| info.peername())
    }
}

impl Future for Handshake {
    type Output = io::Result<Link>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Link>> {
        let endpoint = self.endpoint.as_mut().expect("the future has resolved already");
        ready!(endpoint.poll_handshake(cx))?;
        let endpoint = self.endpoint.take().expect("it was polled just now");
        let (outlet, info, mut setup) = self.rest.take().expect("it goes with the endpoint");
        if let Some(tls) = endpoint.shared().info() {
            info.add_tls(tls);
        }
        setup.kind = Kind::Tls { half_close: endpoint.shared().has_half_close() };
        Poll::Ready(Ok(Link { halves: (endpoint, Some(outlet)), info, setup }))
    }
}

/// What the handshake has come to.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    protocol_version: ProtocolVersion,
    cipher_suite: SupportedCipherSuite,
    handshake_kind: Option<HandshakeKind>,
    peer_certificates: Vec<CertificateDer<'static>>,
    alpn_protocol: Option<Vec<u8>>,
    server_name: Option<String>,
}

impl TlsInfo {
    /// `None` before the handshake is done.
    pub(crate) fn new(connection: &Connection) -> Option<Self> {
        let server_name = match connection {
            Connection::Server(server) => server.server_name().map(str::to_owned),
            Connection::Client(_) => None,
        };
        Some(Self {
            protocol_version: connection.protocol_version()?,
            cipher_suite: connection.negotiated_cipher_suite()?,
            handshake_kind: connection.handshake_kind(),
            peer_certificates: connection.peer_certificates().unwrap_or_default().to_vec(),
            alpn_protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
            server_name,
        })
    }

    /// The version of TLS.
    #[must_use]
    pub const fn protocol_version(&self) -> ProtocolVersion {
        self.protocol_version
    }

    /// The cipher suite.
    #[doc(alias = "cipher")]
    #[must_use]
    pub const fn cipher_suite(&self) -> SupportedCipherSuite {
        self.cipher_suite
    }

    /// Whether the session was resumed, or the handshake was a full one.
    #[must_use]
    pub const fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.handshake_kind
    }

    /// The certificates of the peer, its own first; empty if it has shown none, as most clients.
    #[doc(alias = "peercert")]
    #[must_use]
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }

    /// The protocol that both sides have chosen by ALPN (RFC 7301).
    #[doc(alias = "selected_alpn_protocol")]
    #[must_use]
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.alpn_protocol.as_deref()
    }

    /// On a server, the name that the client has asked for (SNI, RFC 6066).
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

//! What is known about a transport besides its bytes.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{SockAddr, Socket};

mod kind;

pub use kind::{PipeKind, SocketKind};

/// The address of one end of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Addr {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// The address of a Unix socket.
    Unix(UnixAddr),
}

/// The address of a Unix socket: a path, an abstract name (Linux), or none.
///
/// It is made from a path, or by [`abstract_name`](Self::abstract_name). A path that begins with a zero byte is an
/// abstract name, as in Python.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use smol_transports::UnixAddr;
///
/// assert_eq!(UnixAddr::from("/run/echo.sock").as_pathname(), Some(Path::new("/run/echo.sock")));
/// assert_eq!(UnixAddr::abstract_name("echo"), UnixAddr::from("\0echo"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnixAddr(Name);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum Name {
    #[default]
    Unnamed,
    Path(PathBuf),
    Abstract(Box<[u8]>),
}

impl UnixAddr {
    /// A name that is no file: it goes with the socket. Linux only; elsewhere its use is an error.
    #[must_use]
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Self {
        Self(Name::Abstract(name.as_ref().into()))
    }

    /// The path, if it has one.
    #[must_use]
    pub fn as_pathname(&self) -> Option<&Path> {
        match &self.0 {
            Name::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The abstract name, without the leading zero, if it has one.
    #[must_use]
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        match &self.0 {
            Name::Abstract(name) => Some(name),
            _ => None,
        }
    }

    /// Whether the socket has no address, as both ends of a socket pair and most clients.
    #[must_use]
    pub const fn is_unnamed(&self) -> bool {
        matches!(self.0, Name::Unnamed)
    }
}

impl Addr {
    /// The IP address and port, if it is one.
    #[must_use]
    pub const fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }

    /// The Unix address, if it is one.
    #[must_use]
    pub const fn as_unix(&self) -> Option<&UnixAddr> {
        match self {
            Self::Inet(_) => None,
            Self::Unix(addr) => Some(addr),
        }
    }

    pub(crate) fn from_sock_addr(addr: &SockAddr) -> Option<Self> {
        addr.as_socket().map(Self::Inet).or_else(|| unix(addr).map(Self::Unix))
    }
}

#[cfg(unix)]
fn unix(addr: &SockAddr) -> Option<UnixAddr> {
    let name = if let Some(path) = addr.as_pathname() {
        Name::Path(path.to_owned())
    } else if let Some(name) = addr.as_abstract_namespace() {
        Name::Abstract(name.into())
    } else if addr.is_unix() {
        Name::Unnamed
    } else {
        return None;
    };
    Some(UnixAddr(name))
}

#[cfg(not(unix))]
fn unix(_: &SockAddr) -> Option<UnixAddr> {
    None
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(addr) => addr.fmt(f),
            Self::Unix(addr) => addr.fmt(f),
        }
    }
}

impl fmt::Display for UnixAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Unnamed => f.write_str("(unnamed)"),
            Name::Path(path) => path.display().fmt(f),
            Name::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

impl From<PathBuf> for UnixAddr {
    fn from(path: PathBuf) -> Self {
        Self(match path.as_os_str().as_encoded_bytes() {
            [] => Name::Unnamed,
            [0, name @ ..] => Name::Abstract(name.into()),
            _ => Name::Path(path),
        })
    }
}

macro_rules! from_path {
    ($($type:ty),*) => {$(
        impl From<$type> for UnixAddr {
            fn from(path: $type) -> Self {
                PathBuf::from(path).into()
            }
        }
    )*};
}

from_path!(&str, String, &String, &OsStr, OsString, &Path, &PathBuf);

impl From<UnixAddr> for Addr {
    fn from(addr: UnixAddr) -> Self {
        Self::Unix(addr)
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        Self::Inet(addr)
    }
}

impl From<&Self> for Addr {
    fn from(addr: &Self) -> Self {
        addr.clone()
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Addr {
    fn from((ip, port): (I, u16)) -> Self {
        Self::Inet(SocketAddr::new(ip.into(), port))
    }
}

impl PartialEq<SocketAddr> for Addr {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.as_inet().as_ref() == Some(other)
    }
}

/// What is known about a transport: `get_extra_info` with types.
///
/// It is asked from the socket once, when the transport is made, and survives the loss of the connection. Only what
/// there is to know about TLS is added by an upgrade.
///
/// # Examples
///
/// ```
/// use smol_transports::testing::Memory;
/// use smol_transports::{Protocol, Transport};
///
/// /// Serves this machine only.
/// struct Guarded;
///
/// impl Protocol for Guarded {
///     fn connection_made(&mut self, transport: &Transport) {
///         let peer = transport.extra_info().peername().and_then(|addr| addr.as_inet());
///         if !peer.is_some_and(|addr| addr.ip().is_loopback()) {
///             transport.abort();
///         }
///     }
/// }
///
/// let from = |ip: [u8; 4]| Memory::new(Guarded).peername((ip, 9999)).connect().0;
/// assert!(!from([127, 0, 0, 1]).transport().is_closing());
/// assert!(from([192, 0, 2, 1]).transport().is_closing());
/// ```
#[derive(Clone, Debug, Default)]
pub struct ExtraInfo {
    socket_kind: Option<SocketKind>,
    pipe_kind: Option<PipeKind>,
    peername: Option<Addr>,
    /// The clients of a server share it.
    sockname: Option<Arc<Addr>>,
    peer_credentials: Option<Credentials>,
    #[cfg(feature = "tls-custom")]
    tls: TlsLayers,
}

/// What the handshakes have come to, one inside the other.
#[cfg(feature = "tls-custom")]
#[derive(Clone, Debug, Default)]
struct TlsLayers(std::sync::OnceLock<Box<(crate::tls::TlsInfo, Self)>>);

/// Who is at the other end of a Unix socket: as it was when that end connected or began to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The process. It may be gone, and its number may belong to another one by now.
    pub pid: Option<u32>,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
}

/// Only a connected stream socket of the Unix family knows.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn credentials(socket: &Socket) -> Option<Credentials> {
    let found = rustix::net::sockopt::socket_peercred(socket).ok()?;
    let pid = u32::try_from(found.pid.as_raw_nonzero().get()).ok();
    Some(Credentials { pid, uid: found.uid.as_raw(), gid: found.gid.as_raw() })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn credentials(_: &Socket) -> Option<Credentials> {
    None
}

impl ExtraInfo {
    /// What a datagram socket tells; what it cannot tell is none.
    pub(crate) fn of_datagram_socket(socket: &Socket) -> Self {
        Self::of_socket(socket, false, None)
    }

    /// What a stream socket tells. With the address that `accept` returned, if it did: the peer may have gone since.
    pub(crate) fn of_stream_socket(socket: &Socket, peer: Option<Addr>) -> Self {
        Self::of_socket(socket, true, peer)
    }

    fn of_socket(socket: &Socket, is_stream: bool, peer: Option<Addr>) -> Self {
        let is_known = peer.as_ref().is_some_and(|peer| peer.as_inet().is_some());
        let asked = if is_known { None } else { socket.peer_addr().ok() };
        let sockname = socket.local_addr().ok();
        Self {
            socket_kind: Some(SocketKind::of(is_stream, sockname.as_ref())),
            pipe_kind: None,
            peername: peer.or_else(|| asked.as_ref().and_then(Addr::from_sock_addr)),
            sockname: sockname.as_ref().and_then(Addr::from_sock_addr).map(Arc::new),
            peer_credentials: asked.filter(|peer| is_stream && peer.is_unix()).and_then(|_| credentials(socket)),
            #[cfg(feature = "tls-custom")]
            tls: TlsLayers::default(),
        }
    }

    /// What there is to know about a pipe.
    #[cfg(unix)]
    pub(crate) fn of_pipe(kind: PipeKind) -> Self {
        Self { pipe_kind: Some(kind), ..Self::default() }
    }

    /// The same with another address of the peer.
    pub(crate) fn with_peername(mut self, peername: Option<Addr>) -> Self {
        self.peername = peername.or(self.peername);
        self
    }

    /// Shares the own address with the last one that had the same.
    pub(crate) fn share_sockname(&mut self, known: &mut Option<Arc<Addr>>) {
        if self.sockname == *known {
            self.sockname.clone_from(known);
        } else {
            known.clone_from(&self.sockname);
        }
    }

    /// TLS was put over what there is.
    #[cfg(feature = "tls-custom")]
    pub(crate) fn add_tls(&self, info: crate::tls::TlsInfo) {
        let mut place = &self.tls.0;
        while let Some(layer) = place.get() {
            place = &layer.1.0;
        }
        place.get_or_init(|| Box::new((info, TlsLayers::default())));
    }

    /// What the TLS handshake has come to. `None` without TLS, and before an upgrade is made.
    ///
    /// Of several layers it is the innermost, which the protocol speaks through.
    #[cfg(feature = "tls-custom")]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "tls", feature = "tls-aws-lc", feature = "tls-custom"))))]
    #[doc(alias = "sslcontext")]
    #[doc(alias = "ssl_object")]
    #[must_use]
    pub fn tls(&self) -> Option<&crate::tls::TlsInfo> {
        std::iter::successors(self.tls.0.get(), |layer| layer.1.0.get()).last().map(|layer| &layer.0)
    }

    /// What kind of socket it is on; `None` if it is not on a socket, or on one that is used as a pipe.
    ///
    /// The socket itself is lent by [`with_socket`](crate::Transport::with_socket), until the loss.
    #[doc(alias = "socket")]
    #[must_use]
    pub const fn socket_kind(&self) -> Option<SocketKind> {
        self.socket_kind
    }

    /// What kind of pipe it is on; `None` if it is not on a pipe.
    ///
    /// The descriptor itself is lent by `with_pipe`, until the loss.
    ///
    /// ```
    /// # #[cfg(unix)]
    /// use smol_transports::{PipeKind, ReadTransport};
    ///
    /// # #[cfg(unix)]
    /// fn is_typed_in(transport: &ReadTransport) -> bool {
    ///     transport.extra_info().pipe_kind() == Some(PipeKind::Terminal)
    /// }
    /// ```
    #[doc(alias = "pipe")]
    #[must_use]
    pub const fn pipe_kind(&self) -> Option<PipeKind> {
        self.pipe_kind
    }

    /// The address of the peer.
    #[must_use]
    pub const fn peername(&self) -> Option<&Addr> {
        self.peername.as_ref()
    }

    /// The own address.
    #[must_use]
    pub fn sockname(&self) -> Option<&Addr> {
        self.sockname.as_deref()
    }

    /// Who the peer of a Unix stream socket is.
    ///
    /// Linux and Android only, and only if the process of the peer can be seen from here: not from inside a container
    /// if the peer is outside.
    #[must_use]
    pub const fn peer_credentials(&self) -> Option<&Credentials> {
        self.peer_credentials.as_ref()
    }
}

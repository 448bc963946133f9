//! What is known about a transport besides its bytes.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use socket2::{SockAddr, Socket};

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

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        Self::Inet(addr)
    }
}

impl PartialEq<SocketAddr> for Addr {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.as_inet().as_ref() == Some(other)
    }
}

/// What is known about a transport: `get_extra_info` with types.
///
/// It is asked from the socket once, when the transport is made, and survives the loss of the connection.
#[derive(Clone, Debug, Default)]
pub struct ExtraInfo {
    peername: Option<Addr>,
    sockname: Option<Addr>,
}

impl ExtraInfo {
    /// What a socket tells; what it cannot tell is none.
    pub(crate) fn of_socket(socket: &Socket) -> Self {
        let peername = socket.peer_addr().ok();
        let sockname = socket.local_addr().ok();
        Self {
            peername: peername.as_ref().and_then(Addr::from_sock_addr),
            sockname: sockname.as_ref().and_then(Addr::from_sock_addr),
        }
    }

    /// The same with the address that `accept` returned: the peer may have gone since.
    pub(crate) fn with_peername(mut self, peername: Option<Addr>) -> Self {
        self.peername = peername.or(self.peername);
        self
    }

    /// The address of the peer.
    #[must_use]
    pub const fn peername(&self) -> Option<&Addr> {
        self.peername.as_ref()
    }

    /// The own address.
    #[must_use]
    pub const fn sockname(&self) -> Option<&Addr> {
        self.sockname.as_ref()
    }
}

//! What a server can listen on.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener};
#[cfg(unix)]
use std::os::unix::net::UnixListener;

use async_io::Async;
use socket2::{Socket, Type};

use super::clients::Guard;
use super::listener::ListenOptions;
use crate::address::{Address, Empty};
use crate::io::socket::own;
#[cfg(unix)]
use crate::{info::UnixAddr, unix};

/// What a server listens on: addresses, or sockets that are bound already.
///
/// It is made from everything that [`Address`] is made from, a list of addresses, the address of a Unix socket, or a
/// listening socket.
#[derive(Debug)]
pub struct Listen(Kind);

#[derive(Debug)]
enum Kind {
    Addresses(Vec<Address>),
    Sockets(Vec<io::Result<Socket>>),
    #[cfg(unix)]
    Unix(UnixAddr),
}

impl Listen {
    pub(super) async fn bind(self, options: &ListenOptions) -> io::Result<(Vec<Socket>, Guard)> {
        if options.reuse_port && !matches!(self.0, Kind::Addresses(_)) {
            let text =
                "there is no port to share: reuse_port is for addresses, not for sockets that exist or Unix sockets";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        match self.0 {
            Kind::Sockets(sockets) => Ok((sockets.into_iter().map(check).collect::<io::Result<_>>()?, None)),
            Kind::Addresses(addrs) => Ok((bind_all(addrs, options).await?, None)),
            #[cfg(unix)]
            Kind::Unix(addr) => bind_unix(&addr, options),
        }
    }
}

/// One of packets can listen too, and would be taken for a stream.
fn check(socket: io::Result<Socket>) -> io::Result<Socket> {
    let socket = socket?;
    if socket.r#type()? == Type::STREAM {
        return Ok(socket);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"))
}

#[cfg(unix)]
fn bind_unix(addr: &UnixAddr, options: &ListenOptions) -> io::Result<(Vec<Socket>, Guard)> {
    let (socket, file) = unix::bind_stream(addr)?;
    if options.cleanup_socket {
        return Ok((vec![socket], file.map(|file| Box::new(file) as _)));
    }
    file.into_iter().for_each(unix::SocketFile::keep);
    Ok((vec![socket], None))
}

async fn bind_all(addrs: Vec<Address>, options: &ListenOptions) -> io::Result<Vec<Socket>> {
    let mut all = Vec::new();
    for addr in addrs {
        for addr in addr.resolve(Empty::AllInterfaces).await? {
            if !all.contains(&addr) {
                all.push(addr);
            }
        }
    }
    let mut sockets = Vec::new();
    for addr in &all {
        sockets.extend(options.bind(*addr)?);
    }
    if sockets.is_empty() {
        let text = format!("this machine has none of the addresses {all:?}");
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
    }
    Ok(sockets)
}

macro_rules! listen_on_address {
    ($($type:ty),*) => {$(
        impl From<$type> for Listen {
            fn from(addr: $type) -> Self {
                Self(Kind::Addresses(vec![addr.into()]))
            }
        }
    )*};
}

listen_on_address!(
    Address,
    &str,
    String,
    &String,
    (&str, u16),
    (String, u16),
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (std::net::IpAddr, u16),
    (std::net::Ipv4Addr, u16),
    (std::net::Ipv6Addr, u16),
    Vec<SocketAddr>,
    &[SocketAddr]
);

#[cfg(unix)]
impl From<UnixAddr> for Listen {
    fn from(addr: UnixAddr) -> Self {
        Self(Kind::Unix(addr))
    }
}

impl From<Vec<Address>> for Listen {
    fn from(addrs: Vec<Address>) -> Self {
        Self(Kind::Addresses(addrs))
    }
}

impl<const N: usize> From<[&str; N]> for Listen {
    fn from(addrs: [&str; N]) -> Self {
        Self(Kind::Addresses(addrs.map(Address::from).into()))
    }
}

impl<const N: usize> From<[SocketAddr; N]> for Listen {
    fn from(addrs: [SocketAddr; N]) -> Self {
        Self(Kind::Addresses(addrs.map(Address::from).into()))
    }
}

impl From<Vec<&str>> for Listen {
    fn from(addrs: Vec<&str>) -> Self {
        Self(Kind::Addresses(addrs.into_iter().map(Address::from).collect()))
    }
}

impl From<Vec<String>> for Listen {
    fn from(addrs: Vec<String>) -> Self {
        Self(Kind::Addresses(addrs.into_iter().map(Address::from).collect()))
    }
}

impl From<Vec<Socket>> for Listen {
    fn from(sockets: Vec<Socket>) -> Self {
        Self(Kind::Sockets(sockets.into_iter().map(Ok).collect()))
    }
}

impl From<Vec<TcpListener>> for Listen {
    fn from(sockets: Vec<TcpListener>) -> Self {
        Self(Kind::Sockets(sockets.into_iter().map(|socket| Ok(socket.into())).collect()))
    }
}

macro_rules! listen_on_socket {
    ($type:ty, |$socket:ident| $convert:expr) => {
        impl From<$type> for Listen {
            fn from($socket: $type) -> Self {
                Self(Kind::Sockets(vec![$convert]))
            }
        }
    };
}

listen_on_socket!(Socket, |socket| Ok(socket));
listen_on_socket!(TcpListener, |socket| Ok(socket.into()));
listen_on_socket!(Async<TcpListener>, |socket| socket.into_inner().map(Socket::from));
listen_on_socket!(smol::net::TcpListener, |socket| own(socket.into(), TcpListener::try_clone).map(Socket::from));
#[cfg(unix)]
listen_on_socket!(std::os::fd::OwnedFd, |fd| Ok(fd.into()));
#[cfg(unix)]
listen_on_socket!(UnixListener, |socket| Ok(socket.into()));
#[cfg(unix)]
listen_on_socket!(Async<UnixListener>, |socket| socket.into_inner().map(Socket::from));
#[cfg(unix)]
listen_on_socket!(smol::net::unix::UnixListener, |socket| own(socket.into(), UnixListener::try_clone)
    .map(Socket::from));

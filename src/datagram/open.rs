//! Sockets for datagram endpoints: made from addresses, or taken over.

use std::any::Any;
use std::io;
use std::net::{SocketAddr, UdpSocket};
#[cfg(unix)]
use std::os::unix::net::UnixDatagram;

use async_io::Async;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::actor::datagram_side::Route;
use crate::address::{Address, Empty};
use crate::info::Addr;
#[cfg(unix)]
use crate::info::UnixAddr;
use crate::io::errors::within;
use crate::io::socket::{adopt, own, reuse_port};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// IPv4.
    #[doc(alias = "AF_INET")]
    Ipv4,
    /// IPv6.
    #[doc(alias = "AF_INET6")]
    Ipv6,
    /// Unix sockets.
    #[cfg(unix)]
    #[doc(alias = "AF_UNIX")]
    Unix,
}

impl Family {
    const fn of(addr: &SocketAddr) -> Self {
        if addr.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    fn socket(self) -> io::Result<Socket> {
        match self {
            Self::Ipv4 => Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)),
            Self::Ipv6 => Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)),
            #[cfg(unix)]
            Self::Unix => Socket::new(Domain::UNIX, Type::DGRAM, None),
        }
    }
}

/// A datagram socket of std, smol, async-io or socket2, or a descriptor of one.
///
/// It cannot be implemented by hand.
pub trait DatagramSocket: sealed::IntoSocket {}

mod sealed {
    pub trait IntoSocket {
        #[doc(hidden)]
        fn into_datagram_socket(self) -> std::io::Result<socket2::Socket>;
    }
}

macro_rules! datagram_socket {
    ($type:ty, |$socket:ident| $convert:expr) => {
        impl sealed::IntoSocket for $type {
            fn into_datagram_socket(self) -> io::Result<Socket> {
                let $socket = self;
                check($convert)
            }
        }

        impl DatagramSocket for $type {}
    };
}

datagram_socket!(Socket, |socket| socket);
datagram_socket!(UdpSocket, |socket| socket.into());
datagram_socket!(Async<UdpSocket>, |socket| socket.into_inner()?.into());
datagram_socket!(smol::net::UdpSocket, |socket| own(socket.into(), UdpSocket::try_clone)?.into());
#[cfg(unix)]
datagram_socket!(UnixDatagram, |socket| socket.into());
#[cfg(unix)]
datagram_socket!(Async<UnixDatagram>, |socket| socket.into_inner()?.into());
#[cfg(unix)]
datagram_socket!(smol::net::unix::UnixDatagram, |socket| own(socket.into(), UnixDatagram::try_clone)?.into());
#[cfg(unix)]
datagram_socket!(std::os::fd::OwnedFd, |fd| fd.into());
#[cfg(windows)]
datagram_socket!(std::os::windows::io::OwnedSocket, |socket| socket.into());

fn check(socket: Socket) -> io::Result<Socket> {
    if matches!(socket.r#type()?, Type::STREAM | Type::SEQPACKET) {
        return Err(invalid("a datagram socket was expected"));
    }
    match Addr::from_sock_addr(&socket.local_addr()?) {
        Some(_) => Ok(socket),
        None => Err(invalid("the socket is neither of the Internet nor of the Unix family")),
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Where and how to open a socket.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) local: Option<Address>,
    pub(crate) remote: Option<Address>,
    #[cfg(unix)]
    pub(crate) local_path: Option<UnixAddr>,
    #[cfg(unix)]
    pub(crate) remote_path: Option<UnixAddr>,
    pub(crate) family: Option<Family>,
    pub(crate) reuse_port: bool,
    pub(crate) broadcast: bool,
    pub(crate) socket: Option<io::Result<Socket>>,
}

/// A socket that is ready for use.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The file of a Unix socket: it must go before the socket.
    pub(crate) guard: Option<Box<dyn Any + Send>>,
    pub(crate) socket: Socket,
    pub(crate) route: Route,
}

impl Opened {
    /// A socket that was opened elsewhere.
    pub(crate) fn existing(socket: Socket) -> io::Result<Self> {
        adopt(&socket)?;
        let route = peer(&socket).map_or(Route::Open, |peer| Route::Connected(vec![peer]));
        Ok(Self { socket, route, guard: None })
    }
}

/// The addresses of one attempt, both of one family.
type Pair = (Family, Option<SocketAddr>, Option<SocketAddr>);

impl Plan {
    pub(crate) async fn open(mut self) -> io::Result<Opened> {
        if let Some(socket) = self.socket.take() {
            return self.take_over(socket?);
        }
        #[cfg(unix)]
        if self.has_path() || self.family == Some(Family::Unix) {
            return self.open_unix();
        }
        if self.local.is_some() || self.remote.is_some() {
            return self.open_inet().await;
        }
        let family = self.family.ok_or_else(|| invalid("an address, a family or a socket is needed"))?;
        Ok(Opened { socket: self.new_socket(family)?, route: Route::Open, guard: None })
    }

    #[cfg(unix)]
    const fn has_path(&self) -> bool {
        self.local_path.is_some() || self.remote_path.is_some()
    }

    #[cfg(not(unix))]
    const fn has_path(&self) -> bool {
        false
    }

    fn take_over(&self, socket: Socket) -> io::Result<Opened> {
        let addressed = self.local.is_some() || self.remote.is_some() || self.has_path();
        if addressed || self.family.is_some() || self.reuse_port || self.broadcast {
            return Err(invalid("a socket was given, so addresses and options of sockets cannot be"));
        }
        Opened::existing(socket)
    }

    async fn open_inet(&self) -> io::Result<Opened> {
        let local = resolve(&self.local, Empty::AllInterfaces).await?;
        let remote = resolve(&self.remote, Empty::Loopback).await?;
        let mut first = None;
        for pair in self.pairs(&local, &remote) {
            match self.open_pair(pair) {
                Ok(opened) => return Ok(opened),
                Err(err) => drop(first.get_or_insert(err)),
            }
        }
        Err(first.unwrap_or_else(|| invalid("there are no addresses of one family")))
    }

    /// One pair for each family that has all that was asked for, in the order of the resolver.
    fn pairs(&self, local: &[SocketAddr], remote: &[SocketAddr]) -> Vec<Pair> {
        let mut families: Vec<_> = local.iter().chain(remote).map(Family::of).collect();
        families.retain(|family| self.family.is_none_or(|wanted| wanted == *family));
        let mut pairs = Vec::<Pair>::new();
        for family in families {
            let first_of = |addrs: &[SocketAddr]| addrs.iter().copied().find(|addr| Family::of(addr) == family);
            let pair = (family, first_of(local), first_of(remote));
            let complete = pair.1.is_some() == self.local.is_some() && pair.2.is_some() == self.remote.is_some();
            if complete && !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        pairs
    }

    fn open_pair(&self, (family, local, remote): Pair) -> io::Result<Opened> {
        let socket = self.new_socket(family)?;
        if let Some(local) = local {
            let bound = socket.bind(&local.into());
            bound.map_err(|err| within(format_args!("cannot bind to {local}"), err))?;
        }
        let route = match remote {
            Some(remote) => self.route(&socket, &remote.into(), remote.into())?,
            None => Route::Open,
        };
        Ok(Opened { socket, route, guard: None })
    }

    #[cfg(unix)]
    fn open_unix(&self) -> io::Result<Opened> {
        let family = self.family.is_none_or(|family| family == Family::Unix);
        if self.local.is_some() || self.remote.is_some() || !family {
            return Err(invalid("the addresses are not of one family"));
        }
        let socket = self.new_socket(Family::Unix)?;
        let guard = match &self.local_path {
            Some(path) => crate::unix::bind(&socket, path)?,
            None => None,
        };
        let route = match &self.remote_path {
            Some(path) => self.route(&socket, &crate::unix::sock_addr(path)?, path.clone().into())?,
            None => Route::Open,
        };
        Ok(Opened { socket, route, guard: guard.map(|guard| Box::new(guard) as Box<dyn Any + Send>) })
    }

    fn new_socket(&self, family: Family) -> io::Result<Socket> {
        let socket = family.socket()?;
        adopt(&socket)?;
        if self.reuse_port {
            reuse_port(&socket)?;
        }
        if self.broadcast {
            socket.set_broadcast(true)?;
        }
        Ok(socket)
    }

    /// Connects; a socket for broadcasts is left alone, since it would not hear the answers.
    fn route(&self, socket: &Socket, remote: &SockAddr, given: Addr) -> io::Result<Route> {
        if self.broadcast {
            return Ok(Route::Fixed(given));
        }
        socket.connect(remote).map_err(|err| within(format_args!("cannot connect to {given}"), err))?;
        // The system may have another name for the same peer, and that is what its datagrams carry.
        Ok(Route::Connected(peer(socket).into_iter().chain([given]).collect()))
    }
}

fn peer(socket: &Socket) -> Option<Addr> {
    socket.peer_addr().ok().and_then(|peer| Addr::from_sock_addr(&peer))
}

async fn resolve(addr: &Option<Address>, empty: Empty) -> io::Result<Vec<SocketAddr>> {
    match addr {
        Some(addr) => addr.clone().resolve(empty).await,
        None => Ok(Vec::new()),
    }
}

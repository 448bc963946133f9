//! The system calls of a datagram socket, without waiting.

use std::io;

use super::Outgoing;
use crate::info::Addr;
use crate::io::errors::retry;

#[cfg(not(unix))]
pub(crate) use other::*;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(unix)]
mod unix {
    use rustix::net::addr::SocketAddrArg;
    use rustix::net::{AddressFamily, RecvFlags, SocketAddrAny, SocketAddrUnix};

    use super::*;
    use crate::info::UnixAddr;
    use crate::io::socket::FLAGS;

    /// Bytes of the longest Unix address with a zero at its end: the family, and 108 on Linux.
    const LONGEST: usize = 110;

    /// What both halves share.
    pub(crate) type Raw = socket2::Socket;

    /// Linux tells the whole length then, so that a datagram cut short is noticed. Elsewhere the system's limits are
    /// below the size of the buffer.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const WHOLE: RecvFlags = RecvFlags::TRUNC;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const WHOLE: RecvFlags = RecvFlags::empty();

    /// Receives one datagram that is there.
    pub(crate) fn recv(socket: &Raw, buf: &mut [u8]) -> io::Result<(usize, Addr)> {
        let room = buf.len();
        let (_, count, addr) = retry(|| Ok(rustix::net::recvfrom(socket, &mut *buf, WHOLE)?))?;
        if count > room {
            let text = format!("a datagram of {count} bytes was dropped: the limit is {room}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok((count, addr.map_or_else(unnamed, sender)))
    }

    fn unnamed() -> Addr {
        Addr::Unix(UnixAddr::default())
    }

    fn sender(addr: SocketAddrAny) -> Addr {
        if addr.address_family() != AddressFamily::UNIX {
            return std::net::SocketAddr::try_from(addr).map_or_else(|_| unnamed(), Addr::Inet);
        }
        // rustix panics at a path that fills its place without a zero at the end, which any local sender may have.
        if addr.addr_len() as usize > LONGEST {
            return unnamed();
        }
        let Ok(addr) = SocketAddrUnix::try_from(addr) else { return unnamed() };
        Addr::Unix(unix_addr(&addr))
    }

    fn unix_addr(addr: &SocketAddrUnix) -> UnixAddr {
        use std::os::unix::ffi::OsStrExt;
        if let Some(path) = addr.path_bytes() {
            return std::ffi::OsStr::from_bytes(path).into();
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(name) = addr.abstract_name() {
            return UnixAddr::abstract_name(name);
        }
        UnixAddr::default()
    }

    #[cfg(target_os = "linux")]
    fn destination(addr: &Addr) -> io::Result<SocketAddrAny> {
        match addr {
            Addr::Inet(addr) => Ok(addr.as_any()),
            Addr::Unix(addr) => Ok(unix_destination(addr)?.as_any()),
        }
    }

    fn unix_destination(addr: &UnixAddr) -> io::Result<SocketAddrUnix> {
        if let Some(path) = addr.as_pathname() {
            return Ok(SocketAddrUnix::new(path)?);
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(name) = addr.as_abstract_name() {
            return Ok(SocketAddrUnix::new_abstract_name(name)?);
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "an address without a name"))
    }

    /// Sends what the system takes at once; how many datagrams, at least one.
    pub(crate) fn send(socket: &Raw, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
        match datagrams {
            [] => Ok(0),
            [one] => send_one(socket, one).map(|()| 1),
            [first, ..] => send_many(socket, first, datagrams),
        }
    }

    fn send_one(socket: &Raw, datagram: &Outgoing<'_>) -> io::Result<()> {
        let Some(to) = datagram.to else {
            return retry(|| Ok(rustix::net::send(socket, datagram.data, FLAGS)?)).map(drop);
        };
        match to {
            Addr::Inet(to) => send_to(socket, datagram.data, to),
            Addr::Unix(to) => send_to(socket, datagram.data, &unix_destination(to)?),
        }
    }

    fn send_to(socket: &Raw, data: &[u8], to: &impl SocketAddrArg) -> io::Result<()> {
        retry(|| Ok(rustix::net::sendto(socket, data, FLAGS, to)?)).map(drop)
    }

    #[cfg(not(target_os = "linux"))]
    fn send_many(socket: &Raw, first: &Outgoing<'_>, _: &[Outgoing<'_>]) -> io::Result<usize> {
        send_one(socket, first).map(|()| 1)
    }

    /// One call for all up to an address that cannot be used.
    #[cfg(target_os = "linux")]
    fn send_many(socket: &Raw, first: &Outgoing<'_>, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
        use std::io::IoSlice;

        use rustix::net::{MMsgHdr, SendAncillaryBuffer, sendmmsg};

        let to = datagrams.iter().map_while(|datagram| datagram.to.map(destination).transpose().ok());
        let to: Vec<_> = to.collect();
        if to.is_empty() {
            return send_one(socket, first).map(|()| 1);
        }
        let slices: Vec<_> = datagrams.iter().map(|datagram| [IoSlice::new(datagram.data)]).collect();
        let mut controls: Vec<_> = to.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let parts = to.iter().zip(&slices).zip(&mut controls);
        let mut messages: Vec<_> = parts
            .map(|((to, slice), control)| match to {
                Some(to) => MMsgHdr::new_with_addr(to, slice, control),
                None => MMsgHdr::new(slice, control),
            })
            .collect();
        retry(|| Ok(sendmmsg(socket, &mut messages, FLAGS)?))
    }
}

#[cfg(not(unix))]
mod other {
    use std::net::UdpSocket;

    use super::*;

    /// What both halves share.
    pub(crate) type Raw = UdpSocket;

    /// Receives one datagram that is there.
    pub(crate) fn recv(socket: &Raw, buf: &mut [u8]) -> io::Result<(usize, Addr)> {
        let (count, addr) = retry(|| socket.recv_from(buf))?;
        Ok((count, addr.into()))
    }

    /// Sends the first datagram, if the system takes it at once.
    pub(crate) fn send(socket: &Raw, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
        let Some(datagram) = datagrams.first() else { return Ok(0) };
        let sent = match datagram.to {
            None => retry(|| socket.send(datagram.data)),
            Some(Addr::Inet(to)) => retry(|| socket.send_to(datagram.data, to)),
            Some(Addr::Unix(_)) => Err(io::ErrorKind::Unsupported.into()),
        };
        sent.map(|_| 1)
    }
}

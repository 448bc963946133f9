//! The driver's ends: blocking, and never through the crate under test.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::path::Path;
use std::time::Duration;

use smol_transports::{Addr, UnixAddr};
use socket2::{Domain, SockAddr, Socket, Type};

mod datagram;
mod pipe;
#[cfg(feature = "tls")]
mod tls;

pub(crate) use datagram::DatagramPeer;
pub(crate) use pipe::PipePeer;
#[cfg(feature = "tls")]
pub(crate) use tls::TlsPeer;

/// The other end of a transport under test. What a kind of peer cannot do is an error.
pub(crate) trait Peer {
    fn close(&mut self);

    /// Sends a close_notify without waiting for the answer.
    fn close_notify(&mut self) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Receives some bytes; none at the end. Of a datagram socket: one datagram.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Closes the connection so that the other side sees a reset.
    fn reset(&mut self) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Sends all.
    fn send(&mut self, data: &[u8]) -> io::Result<()>;

    /// Limits the time of every operation.
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()>;

    fn shutdown_write(&mut self) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Gives the socket away, to be upgraded.
    #[cfg(feature = "tls")]
    fn take_socket(&mut self) -> Option<Socket> {
        None
    }

    /// What a trace calls the end of the bytes.
    fn way_of_ending(&self, end: io::Result<usize>) -> io::Result<&'static str> {
        match end {
            Ok(_) => Ok("eof"),
            Err(err) if is_timeout(&err) => Ok("open"),
            Err(err) if err.kind() == ErrorKind::ConnectionReset => Ok("reset"),
            Err(err) => Err(err),
        }
    }
}

/// The error of every operation on a peer that is closed.
fn closed() -> io::Error {
    rustix::io::Errno::BADF.into()
}

/// Receives; a process that was stopped and goes on has its wait interrupted, which is no end.
pub(crate) fn recv(peer: &mut dyn Peer, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match peer.recv(buffer) {
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

/// Whether a time limit has elapsed.
pub(crate) fn is_timeout(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A TCP or Unix stream socket; none when it is closed.
pub(crate) struct SocketPeer(Option<Socket>);

impl SocketPeer {
    pub(crate) fn new(socket: Socket, timeout: Duration) -> io::Result<Self> {
        set_timeout(&socket, timeout)?;
        Ok(Self(Some(socket)))
    }

    fn socket(&mut self) -> io::Result<&mut Socket> {
        self.0.as_mut().ok_or_else(closed)
    }
}

impl Peer for SocketPeer {
    fn close(&mut self) {
        self.0 = None;
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket()?.read(buffer)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.socket()?.set_linger(Some(Duration::ZERO))?;
        self.close();
        Ok(())
    }

    fn send(&mut self, data: &[u8]) -> io::Result<()> {
        self.socket()?.write_all(data)
    }

    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        set_timeout(self.socket()?, timeout)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket()?.shutdown(Shutdown::Write)
    }

    #[cfg(feature = "tls")]
    fn take_socket(&mut self) -> Option<Socket> {
        self.0.take()
    }
}

/// Limits the time of every operation of a socket, also of accepting.
pub(crate) fn set_timeout(socket: &Socket, timeout: Duration) -> io::Result<()> {
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))
}

/// A socket bound to any port of 127.0.0.1.
pub(crate) fn bind(kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, kind, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket)
}

/// A listening TCP socket.
pub(crate) fn listen(rcvbuf: Option<usize>, timeout: Duration) -> io::Result<Socket> {
    let socket = bind(Type::STREAM)?;
    if let Some(size) = rcvbuf {
        socket.set_recv_buffer_size(size)?;
    }
    set_timeout(&socket, timeout)?;
    socket.listen(8)?;
    Ok(socket)
}

/// A Unix socket bound to a path.
pub(crate) fn bind_unix(path: &Path, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// A listening Unix socket.
pub(crate) fn listen_unix(path: &Path, timeout: Duration) -> io::Result<Socket> {
    let socket = bind_unix(path, Type::STREAM)?;
    set_timeout(&socket, timeout)?;
    socket.listen(8)?;
    Ok(socket)
}

/// Connects to a Unix socket.
pub(crate) fn connect_unix(addr: &SockAddr, timeout: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    set_timeout(&socket, timeout)?;
    socket.connect(addr)?;
    Ok(socket)
}

/// An address in the form of the system. One without a name cannot be reached.
pub(crate) fn sock_addr(addr: &Addr) -> io::Result<SockAddr> {
    match (addr.as_inet(), addr.as_unix().and_then(UnixAddr::as_pathname)) {
        (Some(addr), _) => Ok(addr.into()),
        (None, Some(path)) => SockAddr::unix(path),
        (None, None) => Err(ErrorKind::AddrNotAvailable.into()),
    }
}

/// The own address of an IP socket.
pub(crate) fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    let addr = socket.local_addr()?.as_socket();
    addr.ok_or_else(|| ErrorKind::Unsupported.into())
}

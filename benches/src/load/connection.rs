//! One connection of the load generator.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::net::{RecvFlags, SendFlags, sockopt};
use socket2::{Domain, Socket, Type};

use crate::workload::Address;

/// Connections from one address.
const FROM_ONE: u32 = 2000;

/// For the first message.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Connection {
    stream: OwnedFd,
    /// Bytes of messages that are not sent yet.
    unsent: usize,
    /// Bytes that were sent or will be, and have not come back.
    owed: usize,
    readable: bool,
    writable: bool,
    /// When the present message was begun.
    pub(super) begun: Instant,
}

/// A TCP connection to a server on this machine.
pub(crate) fn tcp(port: u16) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddrV4::new(source(), 0).into())?;
    socket.connect(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    Ok(socket.into())
}

/// One address has not enough ports for very many connections, of which each keeps its own for a while after its end.
fn source() -> Ipv4Addr {
    static OPENED: AtomicU32 = AtomicU32::new(0);
    let [.., high, low] = (OPENED.fetch_add(1, Ordering::Relaxed) / FROM_ONE % 60_000 + 1).to_be_bytes();
    Ipv4Addr::new(127, 2, high, low)
}

/// A blocking connection.
fn connect(address: &Address) -> io::Result<OwnedFd> {
    match address {
        Address::Tcp(port) => {
            let stream = tcp(*port)?;
            stream.set_nodelay(true)?;
            Ok(stream.into())
        }
        Address::Unix(path) => Ok(UnixStream::connect(path)?.into()),
        Address::Udp(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

impl Connection {
    /// Connects, and sends `message` once to see that it comes back unchanged.
    pub(super) fn open(address: &Address, message: &[u8]) -> io::Result<Self> {
        let stream = connect(address)?;
        // A server that has lost it must not keep everything waiting.
        sockopt::set_socket_timeout(&stream, sockopt::Timeout::Recv, Some(PATIENCE))?;
        let mut echo = vec![0; message.len()];
        let (mut sent, mut received) = (0, 0);
        while received < echo.len() {
            if sent < message.len() {
                sent += rustix::net::send(&stream, &message[sent..], SendFlags::NOSIGNAL)?;
            }
            match rustix::net::recv(&stream, &mut echo[received..], RecvFlags::empty())?.0 {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => received += count,
            }
        }
        if echo != message {
            return Err(io::Error::other("the server sent back something else"));
        }
        rustix::io::ioctl_fionbio(&stream, true)?;
        Ok(Self { stream, unsent: 0, owed: 0, readable: false, writable: true, begun: Instant::now() })
    }

    /// That many bytes more are to be sent.
    pub(super) fn begin(&mut self, size: usize) {
        if self.is_done() {
            self.begun = Instant::now();
        }
        self.unsent += size;
        self.owed += size;
    }

    pub(super) fn has_sent(&self) -> bool {
        self.unsent == 0
    }

    pub(super) fn owed(&self) -> usize {
        self.owed
    }

    /// Everything was sent and has come back.
    pub(super) fn is_done(&self) -> bool {
        self.owed == 0
    }

    /// Whether a turn has something to do without waiting.
    pub(super) fn can_go_on(&self) -> bool {
        (self.writable && self.unsent > 0) || (self.readable && self.owed > 0)
    }

    pub(super) fn take_event(&mut self, flags: EventFlags) {
        let broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        self.readable |= broken || flags.contains(EventFlags::IN);
        self.writable |= broken || flags.contains(EventFlags::OUT);
    }

    /// Sends what is to be sent, as far as the socket takes it. `block` holds the messages one after the other.
    pub(super) fn send(&mut self, block: &[u8]) -> io::Result<()> {
        if !self.writable || self.unsent == 0 {
            return Ok(());
        }
        let rest = &block[block.len() - self.unsent..];
        let sent = unless_blocked(rustix::net::send(&self.stream, rest, SendFlags::NOSIGNAL))?.unwrap_or(0);
        self.writable = sent == rest.len();
        self.unsent -= sent;
        Ok(())
    }

    /// Receives once. A short read has emptied the socket: what comes later is a new edge.
    pub(super) fn receive(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if !self.readable || self.owed == 0 {
            return Ok(0);
        }
        let received = rustix::net::recv(&self.stream, &mut *room, RecvFlags::empty());
        let Some(count) = unless_blocked(received.map(|(count, _)| count))? else {
            self.readable = false;
            return Ok(0);
        };
        self.readable = count == room.len();
        if count == 0 || count > self.owed {
            return Err(io::Error::other("the server sent back too little or too much"));
        }
        self.owed -= count;
        Ok(count)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

pub(super) fn unless_blocked<T>(result: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

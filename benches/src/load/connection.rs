//! One connection of the load generator.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::epoll::EventFlags;

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Bytes of the present message that are not sent yet.
    unsent: usize,
    /// Bytes that were sent or will be, and have not come back.
    owed: usize,
    readable: bool,
    writable: bool,
}

impl Connection {
    /// Connects, and sends `message` once to see that it comes back unchanged.
    pub(super) fn open(port: u16, message: &[u8]) -> io::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.write_all(message)?;
        let mut echo = vec![0; message.len()];
        stream.read_exact(&mut echo)?;
        if echo != message {
            return Err(io::Error::other("the server sent back something else"));
        }
        stream.set_nonblocking(true)?;
        Ok(Self { stream, unsent: 0, owed: 0, readable: false, writable: true })
    }

    /// The next message is to be sent.
    pub(super) fn begin(&mut self, size: usize) {
        self.unsent += size;
        self.owed += size;
    }

    pub(super) fn has_sent(&self) -> bool {
        self.unsent == 0
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

    /// Sends what is left of the present message, as far as the socket takes it.
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if !self.writable || self.unsent == 0 {
            return Ok(());
        }
        let rest = &message[message.len() - self.unsent..];
        let sent = unless_blocked(self.stream.write(rest))?.unwrap_or(0);
        self.writable = sent == rest.len();
        self.unsent -= sent;
        Ok(())
    }

    /// Receives once. A short read has emptied the socket: what comes later is a new edge.
    pub(super) fn receive(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if !self.readable || self.owed == 0 {
            return Ok(0);
        }
        let Some(count) = unless_blocked(self.stream.read(room))? else {
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

fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(err) => Err(err),
    }
}

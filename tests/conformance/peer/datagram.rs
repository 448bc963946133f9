//! Datagram sockets.

use std::io::{self, Read};
use std::time::Duration;

use socket2::{SockAddr, Socket};

use super::{Peer, closed, set_timeout};

/// A datagram socket; none when it is closed.
pub(crate) struct DatagramPeer {
    socket: Option<Socket>,
    /// Where the library is.
    library: SockAddr,
}

impl DatagramPeer {
    pub(crate) fn new(socket: Socket, library: SockAddr, timeout: Duration) -> io::Result<Self> {
        set_timeout(&socket, timeout)?;
        Ok(Self { socket: Some(socket), library })
    }

    fn socket(&self) -> io::Result<&Socket> {
        self.socket.as_ref().ok_or_else(closed)
    }
}

impl Peer for DatagramPeer {
    fn close(&mut self) {
        self.socket = None;
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket()?.read(buffer)
    }

    fn send(&mut self, data: &[u8]) -> io::Result<()> {
        self.socket()?.send_to(data, &self.library)?;
        Ok(())
    }

    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        set_timeout(self.socket()?, timeout)
    }
}

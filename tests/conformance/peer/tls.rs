//! A blocking TLS socket.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use futures_rustls::rustls::Connection;
use socket2::Socket;

use super::{Peer, is_timeout, set_timeout};

/// What a peer says that does not speak TLS.
const NONSENSE: &[u8] = b"this is not a tls server\r\n";

/// A TLS socket as Python's is; no socket when it is closed.
pub(crate) struct TlsPeer {
    socket: Option<Socket>,
    connection: Connection,
    /// It has sent close_notify. After that Python's refuses to send, and takes that of the other side for an error.
    has_finished: bool,
    /// There was unread data when it sent close_notify, and nothing can be read any more.
    is_broken: bool,
}

impl TlsPeer {
    pub(crate) fn new(socket: Socket, connection: Connection, timeout: Duration) -> io::Result<Self> {
        set_timeout(&socket, timeout)?;
        Ok(Self { socket: Some(socket), connection, has_finished: false, is_broken: false })
    }

    /// Where the library is.
    pub(crate) fn addr(&self) -> io::Result<SocketAddr> {
        let addr = self.socket.as_ref().and_then(|socket| socket.peer_addr().ok()?.as_socket());
        addr.ok_or_else(|| ErrorKind::NotConnected.into())
    }

    pub(crate) fn shake_hands(&mut self) -> io::Result<()> {
        while self.connection.is_handshaking() {
            self.push()?;
            if self.connection.is_handshaking() && self.pull()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        // What follows the handshake, such as a session ticket, may come too late for the other side.
        let _ = self.push();
        Ok(())
    }

    /// Answers the first byte with what is no TLS.
    pub(crate) fn talk_nonsense(&mut self) -> io::Result<()> {
        let socket = self.socket()?;
        socket.read_exact(&mut [0])?;
        socket.write_all(&NONSENSE.repeat(4))
    }

    /// Closes after the first byte; it is no peer then.
    pub(crate) fn go_away(mut self) -> io::Result<Self> {
        self.socket()?.read_exact(&mut [0])?;
        Err(ErrorKind::NotConnected.into())
    }

    /// Takes what is there without waiting. Session tickets that nobody has read would make a reset of closing.
    fn take_what_is_there(&mut self) -> io::Result<()> {
        self.socket()?.set_nonblocking(true)?;
        while self.pull().is_ok_and(|count| count > 0) {}
        self.is_broken = self.connection.reader().fill_buf().is_ok_and(|data| !data.is_empty());
        self.socket()?.set_nonblocking(false)
    }

    fn socket(&mut self) -> io::Result<&mut Socket> {
        self.socket.as_mut().ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// Sends what the TLS library has for the other side.
    fn push(&mut self) -> io::Result<()> {
        let Self { socket, connection, .. } = self;
        let socket = socket.as_mut().ok_or(ErrorKind::NotConnected)?;
        while connection.wants_write() {
            connection.write_tls(socket)?;
        }
        Ok(())
    }

    /// Receives something for the TLS library; 0 if the connection has ended.
    fn pull(&mut self) -> io::Result<usize> {
        let Self { socket, connection, .. } = self;
        let count = connection.read_tls(socket.as_mut().ok_or(ErrorKind::NotConnected)?)?;
        let processed = connection.process_new_packets().map_err(|err| io::Error::new(ErrorKind::InvalidData, err));
        // An alert, if there is one, is on its way then, whether it arrives or not.
        let _ = self.push();
        processed.map(|_| count)
    }
}

impl Peer for TlsPeer {
    fn close(&mut self) {
        self.socket = None;
    }

    fn close_notify(&mut self) -> io::Result<()> {
        // Before it is sent: what the other side answers to it is no unread data.
        self.take_what_is_there()?;
        self.connection.send_close_notify();
        self.has_finished = true;
        // As with the plain sockets it does not matter whether the other side is still there.
        let _ = self.push();
        Ok(())
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_broken {
            return Err(ErrorKind::InvalidData.into());
        }
        loop {
            match self.connection.reader().read(buffer) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => self.pull()?,
                result => return result,
            };
        }
    }

    fn reset(&mut self) -> io::Result<()> {
        self.socket()?.set_linger(Some(Duration::ZERO))?;
        self.close();
        Ok(())
    }

    fn send(&mut self, mut data: &[u8]) -> io::Result<()> {
        if self.has_finished {
            return Err(ErrorKind::InvalidData.into());
        }
        while !data.is_empty() {
            let count = self.connection.writer().write(data)?;
            data = &data[count..];
            self.push()?;
        }
        Ok(())
    }

    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        set_timeout(self.socket()?, timeout)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket()?.shutdown(Shutdown::Write)
    }

    fn way_of_ending(&self, end: io::Result<usize>) -> io::Result<&'static str> {
        match end {
            Ok(_) if self.has_finished => Ok("tls_error"),
            Ok(_) => Ok("close_notify"),
            Err(err) if is_timeout(&err) => Ok("open"),
            Err(err) if err.kind() == ErrorKind::UnexpectedEof => Ok("eof"),
            Err(err) if err.kind() == ErrorKind::InvalidData => Ok("tls_error"),
            Err(err) if err.kind() == ErrorKind::ConnectionReset => Ok("reset"),
            Err(err) => Err(err),
        }
    }
}

//! The system calls of a stream socket, without waiting.

use std::io::{self, IoSlice};
use std::net::Shutdown;

use socket2::Socket;

use super::errors::retry;

/// Receives what is there; 0 is the end of file.
#[cfg(unix)]
pub(crate) fn recv(socket: &Socket, buf: &mut [u8]) -> io::Result<usize> {
    use rustix::net::RecvFlags;
    retry(|| Ok(rustix::net::recv(socket, &mut *buf, RecvFlags::empty())?.0))
}

/// Receives what is there; 0 is the end of file.
#[cfg(not(unix))]
pub(crate) fn recv(mut socket: &Socket, buf: &mut [u8]) -> io::Result<usize> {
    retry(|| io::Read::read(&mut socket, buf))
}

/// Sends what the system takes at once.
#[cfg(unix)]
pub(crate) fn send(socket: &Socket, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    use rustix::net::SendAncillaryBuffer;
    if let [one] = bufs {
        return retry(|| Ok(rustix::net::send(socket, one, FLAGS)?));
    }
    retry(|| Ok(rustix::net::sendmsg(socket, bufs, &mut SendAncillaryBuffer::default(), FLAGS)?))
}

/// Sends what the system takes at once.
#[cfg(not(unix))]
pub(crate) fn send(mut socket: &Socket, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    retry(|| io::Write::write_vectored(&mut socket, bufs))
}

/// A peer that has gone is an error of the call, never a signal.
#[cfg(all(unix, not(target_vendor = "apple")))]
const FLAGS: rustix::net::SendFlags = rustix::net::SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const FLAGS: rustix::net::SendFlags = rustix::net::SendFlags::empty();

/// Sends the end of file. A peer that has gone already needs none.
pub(crate) fn finish(socket: &Socket) -> io::Result<()> {
    match retry(|| socket.shutdown(Shutdown::Write)) {
        Err(err) if err.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

/// Makes a socket ready for use by an actor: non-blocking, and without signals where that is an option of the socket.
pub(crate) fn adopt(socket: &Socket) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    socket.set_nonblocking(true)
}

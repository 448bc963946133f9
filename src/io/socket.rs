//! The system calls of a stream socket, without waiting.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;

use async_io::Async;
use socket2::Socket;

use super::errors::retry;

/// Receives what is there; 0 is the end of file.
#[cfg(unix)]
#[inline]
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
#[inline]
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

/// Has the system send a piece of a file; 0 is the end of the file. `None` where it cannot do that.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn send_file(socket: &Socket, file: &File, offset: u64, count: usize) -> io::Result<Option<usize>> {
    retry(|| Ok(Some(rustix::fs::sendfile(socket, file, Some(&mut { offset }), count)?)))
}

/// Has the system send a piece of a file; 0 is the end of the file. `None` where it cannot do that.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn send_file(_: &Socket, _: &File, _: u64, _: usize) -> io::Result<Option<usize>> {
    Ok(None)
}

/// A peer that has gone is an error of the call, never a signal.
#[cfg(all(unix, not(target_vendor = "apple")))]
pub(crate) const FLAGS: rustix::net::SendFlags = rustix::net::SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(crate) const FLAGS: rustix::net::SendFlags = rustix::net::SendFlags::empty();

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

/// Lets several sockets share one address.
#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
pub(crate) fn reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Lets several sockets share one address.
#[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))))]
pub(crate) fn reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "no SO_REUSEPORT on this platform"))
}

/// The socket that a type of smol shares with its clones: the same one if there are none, else another descriptor of it.
pub(crate) fn own<T>(shared: Arc<Async<T>>, clone: impl FnOnce(&T) -> io::Result<T>) -> io::Result<T> {
    match Arc::try_unwrap(shared) {
        Ok(socket) => socket.into_inner(),
        Err(shared) => clone(shared.get_ref()),
    }
}

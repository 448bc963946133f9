//! Pipes, terminals and other descriptors that are read or written, not sent to.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, OFlags};
use socket2::Socket;

use super::async_io::{Binding, Stream, StreamOutlet};
use super::errors::retry;
use super::{Endpoint, Flow, Halves, Recv};

/// A descriptor in non-blocking mode; the mode is put back when it is closed.
#[derive(Debug)]
pub(crate) struct Pipe {
    fd: OwnedFd,
    /// The flags to put back: somebody else may go on with the same open file, the parent shell with its terminal.
    restore: Option<OFlags>,
}

/// Which end is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Read,
    Write,
}

impl Pipe {
    /// Takes over a descriptor that others may share.
    pub(crate) fn adopt(fd: OwnedFd, end: End) -> io::Result<Self> {
        check(&fd, end)?;
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        if flags.contains(OFlags::NONBLOCK) {
            return Ok(Self { fd, restore: None });
        }
        if let Some(fd) = reopen(&fd, flags) {
            return Ok(Self { fd, restore: None });
        }
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self { fd, restore: Some(flags) })
    }

    /// Takes a descriptor that nobody else has.
    pub(crate) fn own(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self { fd, restore: None })
    }

    fn file_type(&self) -> FileType {
        rustix::fs::fstat(&self.fd).map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
    }

    /// Whether the reader has gone.
    fn is_hung_up(&self) -> bool {
        let now = Timespec::default();
        let mut fds = [PollFd::new(&self.fd, PollFlags::empty())];
        let polled = retry(|| Ok(rustix::event::poll(&mut fds, Some(&now))?));
        polled.is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(flags) = self.restore {
            // The descriptor is going away: there is nobody to tell.
            let _ = rustix::fs::fcntl_setfl(&self.fd, flags);
        }
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Pipes, sockets and character devices only: a regular file is always ready, and reading it blocks all the same.
fn check(fd: &OwnedFd, end: End) -> io::Result<()> {
    let stat = rustix::fs::fstat(fd)?;
    if !matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::Socket | FileType::CharacterDevice) {
        return Err(invalid("not a pipe, a socket or a character device"));
    }
    let mode = rustix::fs::fcntl_getfl(fd)? & OFlags::RWMODE;
    match end {
        End::Read if mode == OFlags::WRONLY => Err(invalid("the descriptor is open for writing only")),
        End::Write if mode == OFlags::RDONLY => Err(invalid("the descriptor is open for reading only")),
        _ => Ok(()),
    }
}

/// An open file of our own on the same pipe or terminal, so that the mode of the shared one need not change.
#[cfg(target_os = "linux")]
fn reopen(fd: &OwnedFd, flags: OFlags) -> Option<OwnedFd> {
    use std::os::fd::AsRawFd;

    if !can_reopen(fd)? {
        return None;
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = (flags & OFlags::RWMODE) | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn reopen(_: &OwnedFd, _: OFlags) -> Option<OwnedFd> {
    None
}

/// Opening some devices anew gives another device: only pipes, and terminals that are known to give themselves.
#[cfg(target_os = "linux")]
fn can_reopen(fd: &OwnedFd) -> Option<bool> {
    const CONSOLES: u32 = 4;
    const TERMINALS: std::ops::RangeInclusive<u32> = 136..=143;
    let stat = rustix::fs::fstat(fd).ok()?;
    let major = rustix::fs::major(stat.st_rdev);
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => true,
        FileType::CharacterDevice => major == CONSOLES || TERMINALS.contains(&major),
        _ => false,
    })
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Stream for Pipe {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        retry(|| Ok(rustix::io::read(&self.fd, &mut *buf)?))
    }

    fn send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| Ok(rustix::io::writev(&self.fd, bufs)?))
    }

    fn finish(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The halves of a pipe's read end.
pub(crate) fn reader(pipe: Pipe) -> Halves {
    super::async_io::halves(pipe)
}

/// The halves of a pipe's write end.
pub(crate) fn writer(pipe: Pipe) -> Halves {
    let file_type = pipe.file_type();
    let pipe = Arc::new(pipe);
    let binding = Binding::Unbound(pipe.clone());
    (Box::new(WriteEnd { binding, file_type }), Some(Arc::new(StreamOutlet(pipe))))
}

/// Watches for the end of the reader: that is all there is to receive.
#[derive(Debug)]
struct WriteEnd {
    binding: Binding<Pipe>,
    /// Unknown once there is nothing to watch for.
    file_type: FileType,
}

impl Endpoint for WriteEnd {
    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while matches!(self.file_type, FileType::Fifo | FileType::Socket) {
            ready!(self.binding.poll_readable(cx))?;
            if self.binding.stream().is_hung_up() {
                return Poll::Ready(Ok(()));
            }
            if self.file_type == FileType::Socket {
                // Its peer has sent something, which would be reported again and again.
                self.file_type = FileType::Unknown;
            }
        }
        Poll::Pending
    }

    fn poll_recv(&mut self, _: &mut Context<'_>, _: usize, _: &mut dyn FnMut(&[u8]) -> Flow) -> Poll<io::Result<Recv>> {
        Poll::Ready(Ok(Recv::Eof))
    }

    fn poll_recv_into(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.binding.poll_writable(cx)
    }

    fn set_reading(&mut self, _: bool) {}

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn into_socket(self: Box<Self>) -> Option<Socket> {
        None
    }
}

//! Pipes, terminals and other descriptors that are read or written, not sent to.

use std::io::{self, IoSlice, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, OFlags};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::Socket;

mod growth;

use super::async_io::{Binding, Stream};
use super::errors::retry;
use super::socket::FLAGS;
use super::{Endpoint, Flow, Halves, Recv};
use crate::info::{ExtraInfo, PipeKind};
use growth::Growth;

/// A descriptor in non-blocking mode; the mode is put back when it is closed.
#[derive(Debug)]
pub(crate) struct Pipe {
    fd: OwnedFd,
    /// Somebody else may go on with the same open file, the parent shell with its terminal.
    _restore: Option<Restore>,
    /// Each call says itself that it must not wait: the mode of a socket is left alone.
    is_socket: bool,
    /// Whether a read may come short although more is there. Terminals give one line at a time, some sockets one packet,
    /// and so does a pipe into which somebody writes with `O_DIRECT`, which cannot be seen at this end.
    in_pieces: bool,
    /// Of a pipe that nobody else has.
    growth: Option<Growth>,
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
        let is_socket = file_type(&fd) == FileType::Socket;
        let new = |fd, _restore| Self { fd, _restore, is_socket, in_pieces: true, growth: None };
        if is_socket {
            return Ok(new(fd, None));
        }
        if !flags.contains(OFlags::NONBLOCK) {
            if let Some(fd) = reopen(&fd, flags) {
                return Ok(new(fd, None));
            }
        }
        let restore = Restore::at_the_end(&fd)?;
        Ok(new(fd, restore))
    }

    /// Takes a descriptor that nobody else has.
    pub(crate) fn own(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd, _restore: None, is_socket: false, in_pieces: false, growth: Some(Growth::default()) })
    }

    /// What there is to know about it.
    pub(crate) fn info(&self) -> ExtraInfo {
        ExtraInfo::of_pipe(match file_type(&self.fd) {
            FileType::Socket => PipeKind::Socket,
            FileType::CharacterDevice if self.fd.is_terminal() => PipeKind::Terminal,
            FileType::CharacterDevice => PipeKind::Device,
            _ => PipeKind::Fifo,
        })
    }

    /// What is to be watched for the end of a reader. One who can read it himself would wait for himself.
    fn watched(&self) -> FileType {
        let both_ways = rustix::fs::fcntl_getfl(&self.fd).is_ok_and(|flags| flags.contains(OFlags::RDWR));
        match file_type(&self.fd) {
            FileType::Fifo if both_ways => FileType::Unknown,
            file_type => file_type,
        }
    }

    /// Whether the reader has gone.
    fn is_hung_up(&self) -> bool {
        let now = Timespec::default();
        let mut fds = [PollFd::new(&self.fd, PollFlags::empty())];
        let polled = retry(|| Ok(rustix::event::poll(&mut fds, Some(&now))?));
        polled.is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }
}

fn file_type(fd: &OwnedFd) -> FileType {
    rustix::fs::fstat(fd).map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
}

/// The open files whose mode was changed and is still to be put back.
static CHANGED: Mutex<Vec<Changed>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Changed {
    /// Device and inode; both ends of a pipe have the same.
    file: (u64, u64),
    fd: OwnedFd,
    /// As they were; the way of access tells one end of a pipe from the other.
    flags: OFlags,
    /// A terminal may be read and written.
    transports: usize,
}

fn changed() -> MutexGuard<'static, Vec<Changed>> {
    CHANGED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the mode of an open file back when the last transport on it is gone. It is the number of the descriptor that is
/// kept for that.
#[derive(Debug)]
struct Restore(RawFd);

impl Restore {
    /// Makes an open file non-blocking. None if it is by somebody else's will.
    fn at_the_end(fd: &OwnedFd) -> io::Result<Option<Self>> {
        let stat = rustix::fs::fstat(fd)?;
        let file = (stat.st_dev as u64, stat.st_ino as u64);
        let mut changed = changed();
        let flags = rustix::fs::fcntl_getfl(fd)?;
        if flags.contains(OFlags::NONBLOCK) {
            // Some systems do not number pipes.
            let is_same = |known: &&mut Changed| {
                file.1 != 0 && known.file == file && known.flags & OFlags::RWMODE == flags & OFlags::RWMODE
            };
            return Ok(changed.iter_mut().find(is_same).map(|known| {
                known.transports += 1;
                Self(known.fd.as_raw_fd())
            }));
        }
        let kept = fd.try_clone()?;
        rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
        let this = Self(kept.as_raw_fd());
        changed.push(Changed { file, fd: kept, flags, transports: 1 });
        Ok(Some(this))
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        let mut changed = changed();
        let Some(index) = changed.iter().position(|changed| changed.fd.as_raw_fd() == self.0) else { return };
        changed[index].transports -= 1;
        if changed[index].transports == 0 {
            let Changed { fd, flags, .. } = changed.swap_remove(index);
            // The descriptor is going away: there is nobody to tell.
            let _ = rustix::fs::fcntl_setfl(&fd, flags);
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
    // A pipe of packets cannot be opened as one.
    if flags.contains(OFlags::DIRECT) || !can_reopen(fd)? {
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

/// Opening some devices anew gives another device, and a FIFO that its writer has left would wait for the next one:
/// only pipes without a name, and terminals that are known to give themselves.
#[cfg(target_os = "linux")]
fn can_reopen(fd: &OwnedFd) -> Option<bool> {
    const CONSOLES: u32 = 4;
    const TERMINALS: std::ops::RangeInclusive<u32> = 136..=143;
    let stat = rustix::fs::fstat(fd).ok()?;
    let major = rustix::fs::major(stat.st_rdev);
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => is_nameless(fd),
        FileType::CharacterDevice => major == CONSOLES || TERMINALS.contains(&major),
        _ => false,
    })
}

#[cfg(target_os = "linux")]
fn is_nameless(fd: &OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::readlink(path, Vec::new()).is_ok_and(|target| target.as_bytes().starts_with(b"pipe:"))
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Stream for Pipe {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        if self.is_socket {
            return retry(|| Ok(rustix::net::recv(&self.fd, &mut *buf, RecvFlags::DONTWAIT)?.0));
        }
        let count = retry(|| Ok(rustix::io::read(&self.fd, &mut *buf)?))?;
        self.growth.iter().for_each(|growth| growth.note(&self.fd, count));
        Ok(count)
    }

    fn is_read_in_pieces(&self) -> bool {
        self.in_pieces
    }

    fn send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_socket {
            let flags = FLAGS | SendFlags::DONTWAIT;
            return retry(|| Ok(rustix::net::sendmsg(&self.fd, bufs, &mut SendAncillaryBuffer::default(), flags)?));
        }
        retry(|| Ok(rustix::io::writev(&self.fd, bufs)?))
    }

    fn finish(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A new pipe, read end first; children do not inherit it.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(not(target_vendor = "apple"))]
    return Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?);
    #[cfg(target_vendor = "apple")]
    {
        let (read, write) = rustix::pipe::pipe()?;
        rustix::io::fcntl_setfd(&read, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::fcntl_setfd(&write, rustix::io::FdFlags::CLOEXEC)?;
        Ok((read, write))
    }
}

/// The halves of a pipe's read end.
pub(crate) fn reader(pipe: Pipe) -> Halves {
    super::async_io::halves(pipe)
}

/// The halves of a pipe's write end.
pub(crate) fn writer(pipe: Pipe) -> Halves {
    let file_type = pipe.watched();
    let pipe = Arc::new(pipe);
    let binding = Binding::Unbound(pipe.clone());
    (Box::new(WriteEnd { binding, file_type, looking: false }), Some(pipe))
}

/// Watches for the end of the reader: that is all there is to receive.
#[derive(Debug)]
struct WriteEnd {
    binding: Binding<Pipe>,
    /// Unknown once there is nothing to watch for.
    file_type: FileType,
    /// It is worth a look although nothing was reported.
    looking: bool,
}

impl Endpoint for WriteEnd {
    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.looking) && self.file_type == FileType::Fifo && self.binding.stream().is_hung_up() {
            return Poll::Ready(Ok(()));
        }
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

    fn look_again(&mut self) {
        self.looking = true;
    }

    fn set_reading(&mut self, _: bool) {}

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn into_socket(self: Box<Self>) -> Option<Socket> {
        None
    }
}

//! Sending files: the kernel copies them into the socket where it can, else they are read piece by piece.

use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::actor::report::{Answer, Report};
use crate::actor::write_side::Job;
use crate::io::Outlet;
use crate::io::errors::retry;
use crate::io::scratch::Scratch;
use crate::transport::Transport;

/// Bytes that the system copies in one call. They are sent on the actor's time, so there are not many.
const PIECE: u64 = 256 * 1024;

/// Bytes read at once where the system does not copy.
const COPY: usize = 64 * 1024;

impl Transport {
    /// Sends a file, or the bytes of it that lie in `range`.
    ///
    /// It is queued now, like a write: what was written before is sent before it, what is written from now on behind
    /// it, and reading goes on meanwhile (asyncio refuses the one and stops the other). The bytes are not read into the
    /// write buffer and do not count against its marks. On Linux the system copies them into a socket by itself
    /// (`sendfile(2)`); elsewhere, and for files that it cannot do that with, they are read and sent 64 KiB at a time.
    ///
    /// The future only reports: the number of bytes sent, once the system has taken them (over TLS, up to 64 KiB may
    /// still be on their way to it). The file ends the range if it ends before it, which is no error; an empty range
    /// gives 0. Neither the position of the file nor its length is looked at (on Windows its position moves). An [`Arc`]
    /// lets many transports send one open file.
    ///
    /// The file is read by the thread that runs the connection, which waits for the disk meanwhile.
    ///
    /// # Errors
    ///
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe) at once if the transport is closing or closed.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) at once after [`write_eof`](Self::write_eof).
    /// - The error of the file, if it is a directory, is not open for reading, or cannot be read any further. That
    ///   concerns this future only: the transport stays open and goes on with what was written behind. Where the peer
    ///   must not be left with a part of the file, [`sendfile_exact`](Self::sendfile_exact) ends the transport.
    /// - The cause of the loss if the connection is lost before all was sent, or
    ///   [`BrokenPipe`](io::ErrorKind::BrokenPipe) if it was ended by [`abort`](Self::abort).
    ///
    /// # Signals
    ///
    /// `sendfile(2)` raises `SIGPIPE` when the peer has gone. Rust programs ignore it, unless told otherwise.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::fs::File;
    /// use smol_transports::{Protocol, Transport};
    ///
    /// struct Serve;
    ///
    /// impl Protocol for Serve {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         match File::open("index.html") {
    ///             Ok(file) => {
    ///                 transport.write("HTTP/1.0 200 OK\r\n\r\n");
    ///                 transport.sendfile(file, ..);
    ///             }
    ///             Err(_) => drop(transport.write("HTTP/1.0 404 Not Found\r\n\r\n")),
    ///         }
    ///         transport.close();
    ///     }
    /// }
    /// ```
    pub fn sendfile(&self, file: impl Into<Arc<File>>, range: impl RangeBounds<u64>) -> SendFile {
        self.queue_file(file.into(), &range, false)
    }

    /// [`sendfile`](Self::sendfile) for a peer that was promised all of `range`, as by a length that was written before
    /// it: a file that ends too early, or cannot be read, ends the connection.
    ///
    /// Nothing that was written behind the file is sent then: the peer would take it for the rest of the file.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the file ends before the range, or the error of the file:
    /// both as the cause of the loss, so `connection_lost` is given them, and the future. Otherwise those of
    /// [`sendfile`](Self::sendfile).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::fs::File;
    /// use smol_transports::Transport;
    ///
    /// fn answer(transport: &Transport, file: File) -> std::io::Result<()> {
    ///     let length = file.metadata()?.len();
    ///     transport.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
    ///     transport.sendfile_exact(file, 0..length);
    ///     Ok(())
    /// }
    /// ```
    pub fn sendfile_exact(&self, file: impl Into<Arc<File>>, range: Range<u64>) -> SendFile {
        self.queue_file(file.into(), &range, true)
    }

    fn queue_file(&self, file: Arc<File>, range: &impl RangeBounds<u64>, exact: bool) -> SendFile {
        let report = Arc::new(Report::default());
        let job = FileJob { exact, ..FileJob::new(file, range, report.clone()) };
        if let Err(err) = self.mailbox().queue(Job::SendFile(job)) {
            report.set(Err(err));
        }
        SendFile(Answer::new(self.mailbox().clone(), report))
    }
}

/// How many bytes of a file were sent, once they are; made by [`Transport::sendfile`] and
/// [`Transport::sendfile_exact`].
///
/// # Dropping
///
/// The file is sent all the same.
#[derive(Debug)]
pub struct SendFile(Answer<u64>);

impl Future for SendFile {
    type Output = io::Result<u64>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// A part of a file that waits to be sent.
#[derive(Debug)]
pub(crate) struct FileJob {
    file: Arc<File>,
    offset: u64,
    left: u64,
    sent: u64,
    /// The system does not copy this file, so it is read.
    copying: bool,
    /// A part of the range is not enough.
    exact: bool,
    report: Arc<Report<u64>>,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to do.
    More,
    /// The outlet takes no more now.
    Blocked,
    /// All is sent, or the file has failed; that was reported.
    Done,
}

/// Whose error it is.
enum Failure {
    File(io::Error),
    Outlet(io::Error),
}

/// What one try has sent.
struct Sent {
    count: usize,
    /// The outlet took less than it was offered.
    short: bool,
}

impl FileJob {
    fn new(file: Arc<File>, range: &impl RangeBounds<u64>, report: Arc<Report<u64>>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        // Only of a regular file is it known that "would block" cannot be its own answer.
        let copying = !file.metadata().is_ok_and(|metadata| metadata.is_file());
        Self { file, offset: start, left: end.saturating_sub(start), sent: 0, copying, exact: false, report }
    }

    /// Bytes that were sent so far.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends one piece.
    ///
    /// # Errors
    ///
    /// Those of the outlet; those of the file are reported and end the job only, unless it is to be exact.
    pub(crate) fn step(&mut self, outlet: &dyn Outlet) -> io::Result<Step> {
        if self.left == 0 {
            return Ok(self.finish(Ok(self.sent)));
        }
        match self.send(outlet) {
            Ok(Sent { count: 0, .. }) if self.exact => Err(self.too_short()),
            Ok(Sent { count: 0, .. }) => Ok(self.finish(Ok(self.sent))),
            Ok(sent) => Ok(self.advance(&sent)),
            Err(Failure::File(err)) if self.exact => Err(err),
            Err(Failure::File(err)) => Ok(self.finish(Err(err))),
            Err(Failure::Outlet(err)) if err.kind() == io::ErrorKind::WouldBlock => Ok(Step::Blocked),
            Err(Failure::Outlet(err)) => Err(err),
        }
    }

    fn finish(&self, answer: io::Result<u64>) -> Step {
        self.report.set(answer);
        Step::Done
    }

    fn too_short(&self) -> io::Error {
        let text = format!("the file ended {} bytes before the range that was to be sent", self.left);
        io::Error::new(io::ErrorKind::UnexpectedEof, text)
    }

    fn advance(&mut self, sent: &Sent) -> Step {
        let count = sent.count as u64;
        self.offset += count;
        self.left -= count;
        self.sent += count;
        match (self.left, sent.short) {
            (0, _) => self.finish(Ok(self.sent)),
            (_, true) => Step::Blocked,
            (_, false) => Step::More,
        }
    }

    /// Sends in the best way there is; 0 at the end of the file.
    fn send(&mut self, outlet: &dyn Outlet) -> Result<Sent, Failure> {
        if !self.copying {
            let count = self.left.min(PIECE) as usize;
            match outlet.try_send_file(&self.file, self.offset, count) {
                Ok(Some(count)) => return Ok(Sent { count, short: false }),
                Ok(None) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Err(Failure::Outlet(err)),
                Err(err) => self.judge(err)?,
            }
            self.copying = true;
        }
        self.copy(outlet)
    }

    /// Finds out whose error it is. `Ok` if it may be the way of sending only, which the other way will tell.
    fn judge(&self, err: io::Error) -> Result<(), Failure> {
        self.read(&mut [0])?;
        if is_of_connection(err.kind()) { Err(Failure::Outlet(err)) } else { Ok(()) }
    }

    fn copy(&self, outlet: &dyn Outlet) -> Result<Sent, Failure> {
        let mut scratch = Scratch::take();
        let room = self.left.min(COPY as u64) as usize;
        let count = self.read(&mut scratch[..room])?;
        if count == 0 {
            return Ok(Sent { count, short: false });
        }
        let sent = outlet.try_send_copy(&scratch[..count]).map_err(Failure::Outlet)?;
        Ok(Sent { count: sent, short: sent < count })
    }

    fn read(&self, buf: &mut [u8]) -> Result<usize, Failure> {
        retry(|| read_at(&self.file, buf, self.offset)).map_err(Failure::File)
    }
}

/// What a socket says when its peer or the network is gone.
const fn is_of_connection(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::*;
    matches!(
        kind,
        BrokenPipe
            | ConnectionReset
            | ConnectionAborted
            | ConnectionRefused
            | NotConnected
            | TimedOut
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
    )
}

#[cfg(unix)]
fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

//! Ends of pipes.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{ioctl_fionbio, retry_on_intr};

use super::{Peer, closed};

/// One end of a pipe; none when it is closed.
pub(crate) struct PipePeer {
    end: Option<File>,
    timeout: Duration,
}

impl PipePeer {
    pub(crate) fn new(end: OwnedFd, timeout: Duration) -> io::Result<Self> {
        // What blocks is the wait before each operation, which has a limit.
        ioctl_fionbio(&end, true)?;
        Ok(Self { end: Some(end.into()), timeout })
    }

    /// Waits until the end is ready.
    fn ready(&self, flags: PollFlags) -> io::Result<&File> {
        let end = self.end.as_ref().ok_or_else(closed)?;
        let limit = Timespec::try_from(self.timeout).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(end, flags)];
        match retry_on_intr(|| poll(&mut fds, Some(&limit)))? {
            0 => Err(ErrorKind::TimedOut.into()),
            _ => Ok(end),
        }
    }
}

impl Peer for PipePeer {
    fn close(&mut self) {
        self.end = None;
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ready(PollFlags::IN)?.read(buffer)
    }

    fn send(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            match self.ready(PollFlags::OUT)?.write(data) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                written => data = &data[written?..],
            }
        }
        Ok(())
    }

    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.timeout = timeout;
        Ok(())
    }
}

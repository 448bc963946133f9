//! One edge-triggered epoll, and the descriptors at it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::source::{Lent, Sources, Watch};
use super::wake_all;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Events taken from epoll at once.
const EVENTS: usize = 256;

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    sources: Sources,
    /// Nobody looks at it any more.
    ended: AtomicBool,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, sources: Sources::default(), ended: AtomicBool::new(false) })
    }

    pub(super) const fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(super) fn add(&self, fd: impl AsFd, key: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(key), flags)?)
    }

    pub(super) fn modify(&self, fd: impl AsFd, key: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(key), flags)?)
    }

    pub(super) fn remove(&self, fd: impl AsFd, watch: &Watch) {
        // It was never added if adding has failed.
        let _ = epoll::delete(&self.epoll, fd);
        self.sources.remove(watch);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Takes what epoll has to report, and wakes who waits for it; whether there was anything.
    pub(super) fn wait(&self, timeout: Option<Duration>, lent: &mut Lent) -> bool {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        // An interrupted wait has nothing to report.
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, timeout.as_ref()) else { return false };
        self.sources.report(events.iter().map(|event| (event.data.u64(), event.flags)), lent);
        !events.is_empty()
    }

    /// Nobody will look at it any more: whoever waits binds anew.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        let mut wakers = Vec::new();
        self.sources.report_all(EventFlags::IN | EventFlags::OUT, &mut wakers);
        wake_all(wakers);
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

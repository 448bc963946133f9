//! What waits to leave: a queue of work in order, and the marks that pause and resume the writer.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use super::limits::WriteLimits;

/// Copied writes are joined into one chunk up to this size, so that joining never moves much memory.
const JOIN: usize = 64 * 1024;

/// Shared bytes shorter than this are copied: a queue entry would cost more than the copy.
const SHARE: usize = 4 * 1024;

/// One piece of work. Only bytes count against the marks.
#[derive(Debug)]
enum Work<J> {
    Copied(BytesMut),
    Shared(Bytes),
    Eof,
    /// Something else that has its place in the order.
    Job(J),
}

/// The piece of work that is due.
#[derive(Debug)]
pub(crate) enum Front<'a, J> {
    Empty,
    Bytes,
    Eof,
    Job(&'a mut J),
}

/// What the protocol must be told about the marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Pause,
    Resume,
}

/// An ordered queue of work with watermarks.
///
/// `J` is the kind of work besides bytes and end of file.
#[derive(Debug)]
pub(crate) struct Outbox<J> {
    work: VecDeque<Work<J>>,
    /// Bytes in `work`: accepted, not yet given to the system.
    size: usize,
    limits: WriteLimits,
    /// The writer must stop: true from the latch on until `resume_writing` is due.
    paused: bool,
    /// What the protocol was told last.
    told: bool,
    /// A send has left at most the low mark while `paused`.
    resume_due: bool,
    /// End of file was queued; no more bytes may follow.
    finished: bool,
}

impl<J> Outbox<J> {
    pub(crate) fn new(limits: WriteLimits) -> Self {
        Self { work: VecDeque::new(), size: 0, limits, paused: false, told: false, resume_due: false, finished: false }
    }

    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.work.is_empty()
    }

    pub(crate) const fn is_finished(&self) -> bool {
        self.finished
    }

    pub(crate) const fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) const fn limits(&self) -> WriteLimits {
        self.limits
    }

    pub(crate) const fn is_over_high(&self) -> bool {
        self.size > self.limits.high_water()
    }

    /// Changes the marks. It never resumes: that is for the next send.
    pub(crate) fn set_limits(&mut self, limits: WriteLimits) {
        self.limits = limits;
    }

    /// Queues a copy of `data`.
    pub(crate) fn copy(&mut self, data: &[u8]) {
        self.size += data.len();
        if let Some(Work::Copied(last)) = self.work.back_mut() {
            if last.len() + data.len() <= JOIN {
                last.extend_from_slice(data);
                return;
            }
        }
        self.work.push_back(Work::Copied(BytesMut::from(data)));
    }

    /// Queues `data` itself, or a copy where that is cheaper.
    pub(crate) fn share(&mut self, data: Bytes) {
        if data.len() < SHARE {
            return self.copy(&data);
        }
        self.size += data.len();
        self.work.push_back(Work::Shared(data));
    }

    /// Queues the end of file.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
        self.work.push_back(Work::Eof);
    }

    /// Queues other work.
    #[cfg_attr(not(test), expect(dead_code, reason = "the sockets have no other work yet"))]
    pub(crate) fn job(&mut self, job: J) {
        self.work.push_back(Work::Job(job));
    }

    pub(crate) fn front(&mut self) -> Front<'_, J> {
        match self.work.front_mut() {
            None => Front::Empty,
            Some(Work::Copied(_) | Work::Shared(_)) => Front::Bytes,
            Some(Work::Eof) => Front::Eof,
            Some(Work::Job(job)) => Front::Job(job),
        }
    }

    /// The bytes that are due, up to other work, as slices for one vectored write; how many slices there are.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let bytes = self.work.iter().map_while(Work::bytes);
        let mut count = 0;
        for (slot, chunk) in slices.iter_mut().zip(bytes) {
            *slot = IoSlice::new(chunk);
            count += 1;
        }
        count
    }

    /// The first `count` bytes were sent.
    pub(crate) fn sent(&mut self, mut count: usize) {
        self.size -= count;
        while count > 0 {
            let Some(chunk) = self.work.front_mut() else { break };
            let take = count.min(chunk.remaining());
            chunk.advance(take);
            count -= take;
            if chunk.remaining() == 0 {
                self.done();
            }
        }
        self.resume_due = self.paused && self.size <= self.limits.low_water();
    }

    /// The piece of work at the front is done.
    pub(crate) fn done(&mut self) {
        self.work.pop_front();
        if self.work.is_empty() {
            self.work = VecDeque::new();
        }
    }

    /// Drops everything that waits; the marks will tell nothing more.
    pub(crate) fn clear(&mut self) {
        self.size = 0;
        self.paused = false;
        self.told = false;
        self.work = VecDeque::new();
    }

    /// The unsent bytes, joined. Other work is left out.
    pub(crate) fn unsent(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.size);
        self.work.iter().filter_map(Work::bytes).for_each(|chunk| all.extend_from_slice(chunk));
        all.freeze()
    }

    /// Pauses if the size is over the high mark: to be called when bytes were added or the marks have changed.
    pub(crate) fn latch(&mut self) {
        if self.is_over_high() {
            self.paused = true;
            self.resume_due = false;
        }
    }

    /// What the protocol must be told now, if anything; the next call tells what comes after it.
    ///
    /// A pause once latched is told even if the buffer has emptied since; the resume follows it.
    pub(crate) fn tell(&mut self) -> Option<Mark> {
        if !self.paused {
            return None;
        }
        if !self.told {
            self.told = true;
            return Some(Mark::Pause);
        }
        if !self.resume_due {
            return None;
        }
        self.paused = false;
        self.told = false;
        self.resume_due = false;
        Some(Mark::Resume)
    }

    /// Whether `tell` has something to say.
    pub(crate) const fn has_news(&self) -> bool {
        self.paused && (!self.told || self.resume_due)
    }
}

impl<J> Work<J> {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Copied(bytes) => Some(bytes),
            Self::Shared(bytes) => Some(bytes),
            Self::Eof | Self::Job(_) => None,
        }
    }

    fn remaining(&self) -> usize {
        self.bytes().map_or(0, <[u8]>::len)
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Copied(bytes) => bytes.advance(count),
            Self::Shared(bytes) => bytes.advance(count),
            Self::Eof | Self::Job(_) => {}
        }
    }
}

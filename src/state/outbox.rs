//! What waits to leave: a queue of work in order, under two marks.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use super::marks::Marks;

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

/// An ordered queue of work with watermarks.
///
/// `J` is the kind of work besides bytes and end of file.
#[derive(Debug)]
pub(crate) struct Outbox<J> {
    work: VecDeque<Work<J>>,
    /// Bytes in `work`: accepted, not yet given to the system.
    size: usize,
    marks: Marks,
    /// End of file was queued; no more bytes may follow.
    finished: bool,
    /// Shared bytes that have left. Dropping them may run foreign code, which is not for whoever holds a lock.
    spent: Vec<Bytes>,
}

impl<J> Outbox<J> {
    pub(crate) const fn new(marks: Marks) -> Self {
        Self { work: VecDeque::new(), size: 0, marks, finished: false, spent: Vec::new() }
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

    pub(crate) const fn marks(&self) -> &Marks {
        &self.marks
    }

    pub(crate) const fn marks_mut(&mut self) -> &mut Marks {
        &mut self.marks
    }

    /// Queues a copy of `data`.
    pub(crate) fn copy(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
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
        self.marks.sent(self.size);
    }

    /// Shared bytes have left without having been queued.
    pub(crate) fn spend(&mut self, bytes: Bytes) {
        self.spent.push(bytes);
    }

    /// What has left, to be dropped.
    pub(crate) fn take_spent(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.spent)
    }

    /// The piece of work at the front is done.
    pub(crate) fn done(&mut self) {
        if let Some(Work::Shared(bytes)) = self.work.pop_front() {
            self.spent.push(bytes);
        }
        if self.work.is_empty() {
            self.work = VecDeque::new();
        }
    }

    /// Drops everything that waits.
    pub(crate) fn clear(&mut self) {
        self.size = 0;
        self.marks.cancel();
        while !self.work.is_empty() {
            self.done();
        }
    }

    /// The unsent bytes, joined. Other work is left out.
    pub(crate) fn unsent(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.size);
        self.work.iter().filter_map(Work::bytes).for_each(|chunk| all.extend_from_slice(chunk));
        all.freeze()
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

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

//! What waits to leave: a queue of work in order, under two marks.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;

use bytes::{Buf, Bytes, BytesMut};

use super::copied::Copied;
use super::marks::Marks;

/// Shared bytes shorter than this are copied: a queue entry would cost more than the copy.
const SHARE: usize = 4 * 1024;

/// One piece of work. Only bytes count against the marks.
#[derive(Debug)]
pub(crate) enum Work<J> {
    Copied(Copied),
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
    /// The piece that is due. Most of the time there is no other.
    first: Option<Work<J>>,
    /// If there is more.
    more: Option<Box<More<J>>>,
    /// Bytes in both: accepted, not yet given to the system.
    size: usize,
    marks: Marks,
    /// End of file was queued; no more bytes may follow.
    finished: bool,
}

/// What an outbox at rest needs no memory for.
#[derive(Debug)]
struct More<J> {
    rest: VecDeque<Work<J>>,
    /// Shared bytes and jobs that have left. Dropping them may run foreign code, which is not for whoever holds a lock.
    spent: Vec<Work<J>>,
}

impl<J> Default for More<J> {
    fn default() -> Self {
        Self { rest: VecDeque::new(), spent: Vec::new() }
    }
}

impl<J> Outbox<J> {
    pub(crate) const fn new(marks: Marks) -> Self {
        Self { first: None, more: None, size: 0, marks, finished: false }
    }

    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Pieces of work that wait.
    pub(crate) fn len(&self) -> usize {
        self.work().count()
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
    #[inline]
    pub(crate) fn copy(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.size += data.len();
        match self.last() {
            Some(Work::Copied(last)) if last.has_room(data.len()) => last.append(data),
            _ => self.push(Work::Copied(Copied::new(data))),
        }
    }

    fn last(&mut self) -> Option<&mut Work<J>> {
        self.more.as_mut().and_then(|more| more.rest.back_mut()).or(self.first.as_mut())
    }

    #[inline]
    fn push(&mut self, work: Work<J>) {
        if self.first.is_none() {
            self.first = Some(work);
        } else {
            self.more.get_or_insert_default().rest.push_back(work);
        }
    }

    /// Queues `data` itself, or a copy where that is cheaper: then it stays with the caller.
    pub(crate) fn share(&mut self, data: &mut Bytes) {
        if data.len() < SHARE {
            return self.copy(data);
        }
        self.size += data.len();
        self.push(Work::Shared(mem::take(data)));
    }

    /// Queues the end of file.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
        self.push(Work::Eof);
    }

    /// Queues other work.
    pub(crate) fn job(&mut self, job: J) {
        self.push(Work::Job(job));
    }

    #[inline]
    pub(crate) fn front(&mut self) -> Front<'_, J> {
        match &mut self.first {
            None => Front::Empty,
            Some(Work::Copied(_) | Work::Shared(_)) => Front::Bytes,
            Some(Work::Eof) => Front::Eof,
            Some(Work::Job(job)) => Front::Job(job),
        }
    }

    /// The bytes that are due, up to other work, as slices for one vectored write; how many slices there are.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let bytes = self.work().map_while(Work::bytes);
        let mut count = 0;
        for (slot, chunk) in slices.iter_mut().zip(bytes) {
            *slot = IoSlice::new(chunk);
            count += 1;
        }
        count
    }

    /// The bytes that are due, if they lie in one piece and are all that waits.
    #[inline]
    pub(crate) fn only(&self) -> Option<&[u8]> {
        let is_alone = self.more.as_ref().is_none_or(|more| more.rest.is_empty());
        if is_alone { self.first.as_ref()?.bytes() } else { None }
    }

    fn work(&self) -> impl Iterator<Item = &Work<J>> {
        self.first.iter().chain(self.rest())
    }

    fn rest(&self) -> impl Iterator<Item = &Work<J>> {
        self.more.iter().flat_map(|more| &more.rest)
    }

    /// The first `count` bytes were sent.
    #[inline]
    pub(crate) fn sent(&mut self, count: usize) {
        self.size -= count;
        if self.size == 0 && self.more.is_none() && matches!(self.first, Some(Work::Copied(_))) {
            // Most of the time.
            self.first = None;
        } else {
            self.advance(count);
        }
        self.marks.sent(self.size);
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(chunk) = &mut self.first else { break };
            let take = count.min(chunk.remaining());
            chunk.advance(take);
            count -= take;
            if chunk.remaining() == 0 {
                self.done();
            }
        }
    }

    /// What has left, to be dropped.
    pub(crate) fn take_spent(&mut self) -> Vec<Work<J>> {
        let Some(more) = &mut self.more else { return Vec::new() };
        let spent = mem::take(&mut more.spent);
        if more.rest.is_empty() {
            self.more = None;
        }
        spent
    }

    /// The piece of work at the front is done.
    pub(crate) fn done(&mut self) {
        let next = self.more.as_mut().and_then(|more| more.rest.pop_front());
        if let Some(work @ (Work::Shared(_) | Work::Job(_))) = mem::replace(&mut self.first, next) {
            self.more.get_or_insert_default().spent.push(work);
        }
        if self.more.as_ref().is_some_and(|more| more.rest.is_empty() && more.spent.is_empty()) {
            self.more = None;
        }
    }

    /// Drops everything that waits.
    pub(crate) fn clear(&mut self) {
        self.size = 0;
        self.marks.cancel();
        while !self.is_empty() {
            self.done();
        }
    }

    /// The unsent bytes, joined. Other work is left out.
    pub(crate) fn unsent(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.size);
        self.work().filter_map(Work::bytes).for_each(|chunk| all.extend_from_slice(chunk));
        all.freeze()
    }
}

impl<J> Work<J> {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Copied(bytes) => Some(bytes.as_slice()),
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

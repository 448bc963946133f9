//! Datagrams that wait to leave: a queue in order, under two marks.

use std::collections::VecDeque;

use bytes::Bytes;

use super::copied::Copied;
use super::marks::Marks;

/// Places that an empty queue keeps: most datagrams wait alone, and not for long.
const KEPT: usize = 4;

/// A datagram; `A` is the kind of address it may carry.
#[derive(Debug)]
pub(crate) struct Datagram<A> {
    pub(crate) data: Payload,
    pub(crate) to: Option<A>,
}

#[derive(Debug)]
pub(crate) enum Payload {
    Copied(Copied),
    /// The bytes are the user's, who may have something to do when they are dropped.
    Shared(Bytes),
}

impl Payload {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes.as_slice(),
            Self::Shared(bytes) => bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn shared(self) -> Option<Bytes> {
        match self {
            Self::Copied(_) => None,
            Self::Shared(bytes) => Some(bytes),
        }
    }
}

/// A queue of datagrams with watermarks. Their payloads alone count, so an empty one waits for free.
#[derive(Debug)]
pub(crate) struct Datagrams<A> {
    queue: VecDeque<Datagram<A>>,
    /// Bytes in `queue`.
    size: usize,
    marks: Marks,
    /// Shared bytes that wait no more.
    spent: Vec<Bytes>,
}

impl<A> Datagrams<A> {
    pub(crate) const fn new(marks: Marks) -> Self {
        Self { queue: VecDeque::new(), size: 0, marks, spent: Vec::new() }
    }

    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) const fn marks(&self) -> &Marks {
        &self.marks
    }

    pub(crate) const fn marks_mut(&mut self) -> &mut Marks {
        &mut self.marks
    }

    pub(crate) fn push(&mut self, datagram: Datagram<A>) {
        self.size += datagram.data.len();
        self.queue.push_back(datagram);
    }

    /// The datagram that waits, if there is just one.
    pub(crate) fn only(&self) -> Option<&Datagram<A>> {
        self.queue.front().filter(|_| self.queue.len() == 1)
    }

    /// The datagrams in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Datagram<A>> {
        self.queue.iter()
    }

    /// The first `count` datagrams were sent, or have failed; the bytes they held.
    pub(crate) fn remove(&mut self, count: usize) -> usize {
        let before = self.size;
        for _ in 0..count {
            let Some(datagram) = self.queue.pop_front() else { break };
            self.size -= datagram.data.len();
            self.spent.extend(datagram.data.shared());
        }
        if self.queue.is_empty() && self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
        self.marks.sent(self.size);
        before - self.size
    }

    /// Shared bytes that wait no more.
    pub(crate) fn take_spent(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.spent)
    }

    /// Drops everything that waits.
    pub(crate) fn clear(&mut self) {
        self.size = 0;
        self.marks.cancel();
        let dropped = std::mem::take(&mut self.queue);
        self.spent.extend(dropped.into_iter().filter_map(|datagram| datagram.data.shared()));
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

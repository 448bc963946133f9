//! What is kept of the output of a child.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;

use super::stamps::Stamp;

/// How much of the output of a pipe is kept in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// All of it, however much that is.
    #[default]
    All,
    /// Nothing; it is still counted.
    Nothing,
    /// So many bytes from the beginning and from the end; what is between them is dropped and counted.
    Ends {
        /// From the beginning.
        head: usize,
        /// From the end.
        tail: usize,
    },
}

impl Keep {
    /// The last bytes.
    #[must_use]
    pub const fn last(bytes: usize) -> Self {
        Self::Ends { head: 0, tail: bytes }
    }

    const fn room(self) -> (usize, usize) {
        match self {
            Self::All => (usize::MAX, 0),
            Self::Nothing => (0, 0),
            Self::Ends { head, tail } => (head, tail),
        }
    }
}

/// Collects the output of one pipe.
#[derive(Debug)]
pub(super) struct Memory {
    head_room: usize,
    tail_room: usize,
    head: Vec<u8>,
    /// Of the pieces in `head`, with their ends in it.
    stamps: Vec<(Stamp, usize)>,
    tail: VecDeque<u8>,
    /// Of the pieces in `tail`, with their lengths.
    tail_stamps: VecDeque<(Stamp, usize)>,
    total: u64,
}

impl Memory {
    pub(super) const fn new(keep: Keep) -> Self {
        let (head_room, tail_room) = keep.room();
        Self {
            head_room,
            tail_room,
            head: Vec::new(),
            stamps: Vec::new(),
            tail: VecDeque::new(),
            tail_stamps: VecDeque::new(),
            total: 0,
        }
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn push(&mut self, stamp: Stamp, data: &[u8]) {
        self.total += data.len() as u64;
        let (head, tail) = data.split_at(data.len().min(self.head_room - self.head.len()));
        if !head.is_empty() {
            self.head.extend_from_slice(head);
            match self.stamps.last_mut() {
                Some((last, end)) if *last == stamp => *end = self.head.len(),
                _ => self.stamps.push((stamp, self.head.len())),
            }
        }
        if !tail.is_empty() && self.tail_room > 0 {
            self.push_tail(stamp, &tail[tail.len().saturating_sub(self.tail_room)..]);
        }
    }

    fn push_tail(&mut self, stamp: Stamp, data: &[u8]) {
        let excess = (self.tail.len() + data.len()).saturating_sub(self.tail_room);
        self.drop_oldest(excess);
        self.tail.extend(data);
        match self.tail_stamps.back_mut() {
            Some((last, len)) if *last == stamp => *len += data.len(),
            _ => self.tail_stamps.push_back((stamp, data.len())),
        }
    }

    /// Drops so many bytes of the tail, which are there.
    fn drop_oldest(&mut self, mut count: usize) {
        self.tail.drain(..count);
        while let Some((_, len)) = self.tail_stamps.front_mut() {
            if *len > count {
                *len -= count;
                return;
            }
            count -= *len;
            self.tail_stamps.pop_front();
        }
    }

    pub(super) fn into_output(mut self) -> Output {
        let head = self.head.len();
        self.head.extend(&self.tail);
        let mut end = head;
        for (stamp, len) in self.tail_stamps {
            end += len;
            self.stamps.push((stamp, end));
        }
        Output { bytes: self.head, head, stamps: self.stamps, total: self.total }
    }
}

/// What was kept of the output of a pipe, and how much there was.
///
/// `Display` shows it as text, with a note where something was dropped.
#[derive(Clone, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// Where the dropped bytes were.
    head: usize,
    /// The pieces, with their ends.
    stamps: Vec<(Stamp, usize)>,
    total: u64,
}

impl Output {
    /// What was kept. If something was [dropped](Self::dropped), [`head`](Self::head) and [`tail`](Self::tail) say where.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What was kept before the first byte that was dropped.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        if self.dropped() == 0 { &self.bytes } else { &self.bytes[..self.head] }
    }

    /// What was kept behind the last byte that was dropped.
    #[must_use]
    pub fn tail(&self) -> &[u8] {
        if self.dropped() == 0 { &[] } else { &self.bytes[self.head..] }
    }

    /// How many bytes have come.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// How many of them were not kept.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.total - self.bytes.len() as u64
    }

    /// What was kept, as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// The pieces in their order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (Stamp, &[u8])> {
        let begins = std::iter::once(0).chain(self.stamps.iter().map(|(_, end)| *end));
        self.stamps.iter().zip(begins).map(|((stamp, end), begin)| (*stamp, &self.bytes[begin..*end]))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.head()))?;
        if self.dropped() > 0 {
            write!(f, "[{} bytes dropped]", self.dropped())?;
        }
        f.write_str(&String::from_utf8_lossy(self.tail()))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("text", &self.text()).field("total", &self.total).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

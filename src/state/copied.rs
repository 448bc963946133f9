//! Bytes that were copied to be sent.

use std::cell::Cell;

/// Writes are joined into one chunk up to this size, so that joining never moves much memory.
pub(crate) const JOIN: usize = 64 * 1024;

/// The largest buffer that is kept for the next chunk.
const SPARE: usize = 16 * 1024;

thread_local! {
    /// The buffer of the last chunk that has left. Most chunks live shortly, one after the other.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A chunk of copied bytes, without those of its front that have left.
#[derive(Debug)]
pub(crate) struct Copied {
    buffer: Vec<u8>,
    /// Bytes that have left.
    sent: usize,
}

impl Copied {
    #[inline]
    pub(crate) fn new(data: &[u8]) -> Self {
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.extend_from_slice(data);
        Self { buffer, sent: 0 }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.buffer[self.sent..]
    }

    /// Whether `count` more bytes may be joined to it.
    pub(crate) fn has_room(&self, count: usize) -> bool {
        self.buffer.len() + count <= JOIN
    }

    #[inline]
    pub(crate) fn append(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    pub(crate) const fn advance(&mut self, count: usize) {
        self.sent += count;
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() <= SPARE {
            buffer.clear();
            // A thread that is ending has no place for it any more.
            let _ = BUFFER.try_with(|spare| spare.set(buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_buffer_of_a_short_chunk_is_kept_for_the_next_one() {
        let kept = |len| {
            drop(Copied::new(&vec![7; len]));
            BUFFER.take().capacity()
        };
        assert_eq!(kept(SPARE), SPARE);
        assert_eq!(kept(SPARE + 1), 0);
    }
}

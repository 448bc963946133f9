//! What is known about the readiness of descriptors: one word for each.

use std::iter::repeat_with;
use std::sync::OnceLock;

use rustix::event::epoll::EventFlags;

use crate::sync::atomic::{AtomicU32, Ordering};

/// Writing is worth a try.
const WRITE: u32 = 1;
/// Sticky: a short read does not mean that all was read. There is an end to be found, or urgent data, which reads stop at.
const READ_ON: u32 = 2;
/// Counts the reports that there is something to read.
const READ: u32 = 4;

/// Words of the first block; each other one is twice as large as the one before.
const FIRST: usize = 64;
/// So there are more of them than descriptors of a process.
const BLOCKS: usize = 26;

/// A list that grows without moving what it has, so that it can be read without a lock.
#[derive(Debug)]
pub(super) struct Readinesses([OnceLock<Box<[Readiness]>>; BLOCKS]);

impl Default for Readinesses {
    fn default() -> Self {
        Self([const { OnceLock::new() }; BLOCKS])
    }
}

impl Readinesses {
    #[inline]
    pub(super) fn at(&self, index: usize) -> &Readiness {
        let block = (index / FIRST + 1).ilog2() as usize;
        let len = FIRST << block;
        let items = self.0[block].get_or_init(|| repeat_with(Readiness::default).take(len).collect());
        &items[index + FIRST - len]
    }
}

/// The bits above, changed only by whoever has the lock of the sources. Reports of something to read are counted: the
/// reader remembers how many it has seen, and need not change anything. One would be missed only if exactly 2^30 came
/// between two looks, or a multiple of that.
#[derive(Debug, Default)]
pub(super) struct Readiness(AtomicU32);

impl Readiness {
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Release);
    }

    pub(super) fn report(&self, flags: EventFlags) {
        let mut ready = self.0.load(Ordering::Relaxed);
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR | EventFlags::PRI) {
            ready |= READ_ON;
        }
        // A peer that has only finished sending says nothing about writing.
        if flags.intersects(EventFlags::HUP | EventFlags::ERR | EventFlags::OUT) {
            ready |= WRITE;
        }
        if flags.intersects(EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            ready = ready.wrapping_add(READ);
        }
        self.0.store(ready, Ordering::Release);
    }

    /// A number that is another one after each report of something to read.
    #[inline]
    pub(super) fn reads(&self) -> u32 {
        self.0.load(Ordering::Acquire) / READ
    }

    pub(super) fn must_read_on(&self) -> bool {
        self.0.load(Ordering::Acquire) & READ_ON != 0
    }

    pub(super) fn may_write(&self) -> bool {
        self.0.load(Ordering::Acquire) & WRITE != 0
    }

    pub(super) fn take_write(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) & !WRITE, Ordering::Release);
    }
}

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use super::*;

    #[test]
    fn each_index_has_a_place_of_its_own_that_stays() {
        let all = Readinesses::default();
        let places: Vec<*const Readiness> = (0..1000).map(|index| std::ptr::from_ref(all.at(index))).collect();
        let mut sorted = places.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), places.len());
        assert!((0..1000).all(|index| std::ptr::eq(all.at(index), places[index])));
    }
}

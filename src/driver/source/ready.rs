//! What is known about the readiness of descriptors: one byte for each.

use std::iter::repeat_with;
use std::sync::OnceLock;

use rustix::event::epoll::EventFlags;

use crate::sync::atomic::{AtomicU8, Ordering};

pub(super) const READ: u8 = 1;
pub(super) const WRITE: u8 = 2;
/// Sticky: a short read does not mean that all was read. There is an end to be found, or urgent data, which reads stop at.
pub(super) const READ_ON: u8 = 4;

/// Bytes of the first block; each other one is twice as large as the one before.
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

/// The bits above, set by whoever has heard of an event, and taken by whoever acts on it.
#[derive(Debug, Default)]
pub(super) struct Readiness(AtomicU8);

impl Readiness {
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Release);
    }

    pub(super) fn report(&self, flags: EventFlags) {
        let mut ready = 0;
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR | EventFlags::PRI) {
            ready |= READ | READ_ON;
        }
        // A peer that has only finished sending says nothing about writing.
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            ready |= WRITE;
        }
        if flags.contains(EventFlags::IN) {
            ready |= READ;
        }
        if flags.contains(EventFlags::OUT) {
            ready |= WRITE;
        }
        self.0.fetch_or(ready, Ordering::AcqRel);
    }

    pub(super) fn has(&self, bit: u8) -> bool {
        self.0.load(Ordering::Acquire) & bit != 0
    }

    pub(super) fn take(&self, bit: u8) -> bool {
        self.has(bit) && self.0.fetch_and(!bit, Ordering::AcqRel) & bit != 0
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

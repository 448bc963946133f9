//! The pipe of a child that says much is made larger.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A read of that many bytes is a large one: a quarter of what a pipe holds.
const MUCH: usize = 16 * 1024;

/// Large reads after which a child counts as one that says much.
const READS: usize = 16;

/// Bytes that a larger pipe holds.
#[cfg(target_os = "linux")]
const SIZE: usize = 256 * 1024;

/// Larger pipes at the same time: they take at most 4 of the 64 MiB that Linux lets all pipes of a user have.
const MOST: usize = 16;

/// How many there are.
static LARGER: AtomicUsize = AtomicUsize::new(0);

/// What is known of one pipe.
#[derive(Debug, Default)]
pub(super) struct Growth {
    large_reads: AtomicUsize,
    is_larger: AtomicBool,
}

impl Growth {
    /// So many bytes were read at once.
    pub(super) fn note(&self, fd: impl AsFd, count: usize) {
        if count >= MUCH && self.large_reads.fetch_add(1, Ordering::Relaxed) + 1 == READS {
            self.grow(fd);
        }
    }

    #[cold]
    fn grow(&self, fd: impl AsFd) {
        let take = |count: usize| (count < MOST).then_some(count + 1);
        if LARGER.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            // Whoever drops it gives the place back; so it is noted in any case.
            self.is_larger.store(true, Ordering::Relaxed);
            enlarge(fd);
        }
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        if *self.is_larger.get_mut() {
            LARGER.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Where the user has no more to spare the pipe stays as it is.
#[cfg(target_os = "linux")]
fn enlarge(fd: impl AsFd) {
    let _ = rustix::pipe::fcntl_setpipe_size(fd, SIZE);
}

/// Elsewhere pipes have the size they have.
#[cfg(not(target_os = "linux"))]
fn enlarge(_: impl AsFd) {}

#[cfg(all(test, target_os = "linux", not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::io::pipe::pair;

    fn pipes() -> Vec<(Growth, OwnedFd)> {
        (0..MOST + 3).map(|_| (Growth::default(), pair().unwrap().0)).collect()
    }

    fn count_larger(pipes: &[(Growth, OwnedFd)]) -> usize {
        pipes.iter().filter(|(_, fd)| rustix::pipe::fcntl_getpipe_size(fd).unwrap() == SIZE).count()
    }

    #[test]
    fn only_some_of_those_that_are_read_much_at_once_are_larger() {
        let much = pipes();
        for (read, larger) in [(MUCH - 1, 0), (MUCH, MOST)] {
            much.iter().for_each(|(growth, fd)| (0..READS).for_each(|_| growth.note(fd, read)));
            assert_eq!(count_larger(&much), larger);
        }
        drop(much);
        let again = pipes();
        again.iter().for_each(|(growth, fd)| (0..READS).for_each(|_| growth.note(fd, MUCH)));
        assert_eq!(count_larger(&again), MOST);
    }
}

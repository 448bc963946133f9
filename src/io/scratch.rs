//! One large read buffer for each thread, so that an idle connection needs none.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Bytes read at once at most.
pub(crate) const SIZE: usize = 256 * 1024;

thread_local! {
    static SPARE: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// The thread's buffer, taken: a callback that drives another connection meanwhile gets a new one.
pub(crate) struct Scratch(Option<Box<[u8]>>);

impl Scratch {
    pub(crate) fn take() -> Self {
        let spare = SPARE.try_with(Cell::take).ok().flatten();
        Self(Some(spare.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice())))
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A thread that is ending has no place for it any more.
        let _ = SPARE.try_with(|spare| spare.set(self.0.take()));
    }
}

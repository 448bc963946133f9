//! One large read buffer for each thread, so that an idle connection needs none.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Bytes read at once at most.
pub(crate) const SIZE: usize = 256 * 1024;

/// Buffers kept for each thread. TLS takes two: one to receive into, one for the plaintext.
const KEPT: usize = if cfg!(feature = "tls-custom") { 2 } else { 1 };

thread_local! {
    static SPARE: [Cell<Option<Box<[u8]>>>; KEPT] = const { [const { Cell::new(None) }; KEPT] };
}

/// The thread's buffer, taken: a callback that drives another connection meanwhile gets a new one.
pub(crate) struct Scratch(Option<Box<[u8]>>);

impl Scratch {
    pub(crate) fn take() -> Self {
        let spare = SPARE.try_with(|spare| spare.iter().find_map(Cell::take)).ok().flatten();
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
        let _ = SPARE.try_with(|spare| {
            for place in spare {
                // One that lay there goes on to the next place; there is none for more than are kept.
                self.0 = place.replace(self.0.take());
                if self.0.is_none() {
                    break;
                }
            }
        });
    }
}

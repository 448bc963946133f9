//! One large read buffer for each thread, so that an idle connection needs none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Bytes read at once at most.
pub(crate) const SIZE: usize = 256 * 1024;

/// Buffers kept for each thread. TLS takes two: one to receive into, one for the plaintext.
const KEPT: usize = if cfg!(feature = "tls-custom") { 2 } else { 1 };

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// The thread's buffer, taken: a callback that drives another connection meanwhile gets a new one.
pub(crate) struct Scratch(Option<Box<[u8]>>);

impl Scratch {
    pub(crate) fn take() -> Self {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
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
            let mut spare = spare.borrow_mut();
            if spare.len() < KEPT {
                spare.extend(self.0.take());
            }
        });
    }
}

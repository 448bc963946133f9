//! The mailbox of a child process.

use super::Mailbox;
use crate::actor::process::ProcessSide;
use crate::actor::succession::Parcel;

impl Mailbox<ProcessSide> {
    /// Nothing is left to wait for: the end is due, in good order.
    pub(crate) fn finish(&self) {
        let mut inner = self.lock();
        inner.write.by_itself = !inner.lifecycle.is_closing();
        inner.end(None);
    }

    /// Hands the next protocol to the actor, as `renew`. `elsewhere` counts what a pipe has to tell, under a lock of its
    /// own: if something was told meanwhile it is counted anew, or the protocol would wait for news that never come.
    pub(crate) fn renew_counting(&self, parcel: Parcel, elsewhere: impl Fn() -> usize) {
        loop {
            let told = self.lock().write.told;
            let untold = elsewhere();
            let mut inner = self.lock();
            if inner.write.told == told {
                let unused = self.inherit(&mut inner, parcel, untold);
                drop(inner);
                return drop(unused);
            }
        }
    }

    /// A pipe has told what was counted when a protocol was set.
    pub(crate) fn told(&self) {
        let mut inner = self.lock();
        inner.write.told = inner.write.told.wrapping_add(1);
        inner.succession.pay();
        inner.succession.advance();
    }

    pub(crate) fn close_child(&self) {
        self.post(|inner| {
            inner.write.by_itself = false;
            inner.close();
        });
    }

    /// Whether somebody has closed it, or dropped it: an end that came by itself is no closing.
    pub(crate) fn was_closed(&self) -> bool {
        let inner = self.lock();
        inner.lifecycle.is_closing() && !inner.write.by_itself
    }
}

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::info::ExtraInfo;

    #[test]
    fn a_protocol_does_not_wait_for_a_pause_that_was_told_while_it_was_set() {
        let mailbox = Mailbox::new(ProcessSide::new(), ExtraInfo::default());
        let untold = Cell::new(1);
        mailbox.renew_counting(Box::new("next"), || {
            let counted = untold.replace(0);
            (0..counted).for_each(|_| mailbox.told());
            counted
        });
        assert!(mailbox.take_protocol().is_some());
    }
}

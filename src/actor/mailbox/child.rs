//! The mailbox of a child process.

use super::Mailbox;
use crate::actor::process::ProcessSide;

impl Mailbox<ProcessSide> {
    /// Nothing is left to wait for: the end is due, in good order.
    pub(crate) fn finish(&self) {
        let mut inner = self.lock();
        inner.write.by_itself = !inner.lifecycle.is_closing();
        inner.end(None);
    }

    /// A pipe has told what was counted when a protocol was set.
    pub(crate) fn told(&self) {
        let mut inner = self.lock();
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

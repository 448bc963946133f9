//! The mailbox of a datagram endpoint.

use std::sync::Arc;

use super::{Inner, Mailbox};
use crate::actor::datagram_side::DatagramSide;
use crate::actor::send_side::SendSide;
use crate::actor::write_side::Chunk;
use crate::info::Addr;
use crate::io::datagram::DatagramOutlet;
use crate::message::Written;

/// For the handles of datagram endpoints.
impl Mailbox<DatagramSide> {
    pub(crate) fn send(&self, mut data: Chunk<'_>, to: Option<Addr>) -> Written {
        self.post_write(|inner, callback| inner.send(&mut data, to, callback))
    }

    pub(crate) fn datagram_outlet(&self) -> Option<Arc<dyn DatagramOutlet>> {
        self.lock().write.outlet().cloned()
    }
}

/// What is not taken over stays with the caller, who drops it without the lock.
impl Inner<DatagramSide> {
    fn send(&mut self, data: &mut Chunk<'_>, to: Option<Addr>, callback: Option<u16>) -> Written {
        let to = match self.write.resolve(to) {
            Ok(to) => to,
            Err(misuse) => return Written::Refused(misuse),
        };
        if !self.lifecycle.takes_writes() {
            let sent = self.write.send_late(data.as_slice(), to.as_ref());
            return if sent { Written::Queued } else { Written::Closed };
        }
        let blocked = self.write.is_blocked();
        match callback {
            Some(callback) => self.write.gather(data, to, callback),
            None => self.write.send(data, to),
        }
        self.after_send(blocked, Ok(()));
        self.write.latch();
        if self.write.marks().is_paused() { Written::Full } else { Written::Queued }
    }
}

//! What a mailbox asks of the sending half of its actor.

use std::io;

use crate::state::lifecycle::Input;
use crate::state::marks::Marks;

/// The sending half of an actor, under the lock of its mailbox.
pub(crate) trait SendSide {
    /// What the protocol must be told about the sending.
    type News;
    /// What keeps the descriptor open.
    type Outlet;
    /// What waits and may run foreign code when it is dropped.
    type Spent;

    /// The kind of transport, for those who read about it.
    fn name(&self) -> &'static str;

    /// Sends what waits, until all is sent, the system takes no more, or a job is due.
    fn flush(&mut self) -> io::Result<()>;
    /// The same with one step of a job: for the actor alone, since a job may wait for the disk.
    fn work(&mut self) -> io::Result<()> {
        self.flush()
    }
    /// Whether a job was done since the last call.
    fn take_done(&mut self) -> bool {
        false
    }
    /// The last send came short; the endpoint tells when to try again.
    fn is_blocked(&self) -> bool;
    /// The endpoint says that sending is worth a try.
    fn unblock(&mut self);
    /// Whether nothing waits.
    fn is_empty(&self) -> bool;
    /// Bytes that wait.
    fn size(&self) -> usize;
    fn marks(&self) -> &Marks;
    fn marks_mut(&mut self) -> &mut Marks;
    /// What the protocol must be told now, if anything, and the place of that in the life cycle.
    fn tell(&mut self) -> Option<(Input, Self::News)>;
    /// Whether `tell` has something to say.
    fn has_news(&self) -> bool;
    /// How much has come up that is not told yet. A resume is due only once the pause was told.
    fn untold(&self) -> usize {
        usize::from(self.marks().is_pause_due())
    }
    /// Nothing will be told any more.
    fn forget(&mut self) {
        self.marks_mut().forget();
    }
    /// Whether nothing may be received until an upgrade is made.
    fn is_upgrading(&self) -> bool {
        false
    }
    /// Whether nothing but upgrades waits.
    fn is_only_upgrading(&self) -> bool {
        false
    }
    /// Whether handles may send as well.
    fn is_direct(&self) -> bool {
        true
    }
    /// The next callback may send directly again, as much as one may.
    fn forgive(&mut self);
    /// Drops what waits to be sent.
    fn clear(&mut self);
    fn take_outlet(&mut self) -> Option<Self::Outlet>;
    /// What has left, to be dropped without the lock.
    fn take_spent(&mut self) -> Vec<Self::Spent>;

    /// Pauses the writer if more waits than the high mark allows.
    fn latch(&mut self) {
        let size = self.size();
        self.marks_mut().latch(size);
    }
}

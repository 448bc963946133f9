//! What the actor does with its mailbox: the one that is polled, and empties it.

use std::io;
use std::mem;
use std::task::Waker;

use super::{Inner, Mailbox};
use crate::actor::cause::Cause;
use crate::actor::send_side::SendSide;
use crate::actor::succession::Parcel;
use crate::io::Flow;
use crate::state::lifecycle::{Input, State};
use crate::stats;
use crate::sync::atomic::Ordering;

/// What an actor must know to go on, read under one lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Reading is wanted.
    pub(crate) wants_data: bool,
    /// More of what was received may be delivered, before anything else.
    pub(crate) flow: Flow,
    /// There is something to tell.
    pub(crate) has_news: bool,
    /// Something waits to be sent.
    pub(crate) has_backlog: bool,
    /// Nothing is to be sent, told or looked at, and no end is near: unless something is posted, the actor may rest.
    pub(crate) is_quiet: bool,
}

impl View {
    /// Before anything is known: everything is looked at.
    pub(crate) const NEW: Self =
        Self { wants_data: false, flow: Flow::Stop, has_news: true, has_backlog: true, is_quiet: false };
}

/// What an actor keeps between its polls, so that it need not ask for it each time.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) view: View,
    /// The waker that the mailbox has.
    waker: Option<Waker>,
}

impl Sight {
    pub(crate) const NEW: Self = Self { view: View::NEW, waker: None };

    fn is_known(&self, waker: &Waker) -> bool {
        self.waker.as_ref().is_some_and(|known| known.will_wake(waker))
    }
}

/// What the actor has to do about the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Alive,
    /// `close()` was asked for, bytes are left.
    Flushing,
    /// All is sent; the endpoint may say goodbye.
    Leaving,
    Ended,
}

impl<W: SendSide> Mailbox<W> {
    /// A poll begins: brings what the actor knows up to date.
    #[inline]
    pub(crate) fn begin_poll(&self, waker: &Waker, sight: &mut Sight) {
        if self.must_look() || !sight.is_known(waker) {
            let mut inner = self.lock();
            // The first round looks at everything.
            inner.dirty = false;
            inner.write.forgive();
            let is_needed = inner.waker.is_none() || !sight.is_known(waker);
            let replaced = is_needed.then(|| [inner.waker.replace(waker.clone()), sight.waker.replace(waker.clone())]);
            sight.view = self.see(&inner);
            drop(inner);
            // It may be the last of its task, which is dropped with it.
            drop(replaced);
        }
    }

    pub(crate) fn look(&self) -> View {
        self.see(&self.lock())
    }

    /// The actor wants to rest; whether it may. Else it must look at the view. Whoever posts from now on wakes it.
    #[inline]
    pub(crate) fn park(&self, view: &mut View) -> bool {
        if view.is_quiet && !self.must_look() {
            return true;
        }
        let mut inner = self.lock();
        let rests = !inner.has_work();
        inner.dirty = false;
        *view = self.see(&inner);
        if rests {
            // What a callback has queued since the last settling; other threads count what they queue.
            inner.count_buffered();
        }
        rests
    }

    /// The state as the actor is to know it. A protocol that waits is still to be taken, and a waker that was taken to be
    /// left again.
    fn see(&self, inner: &Inner<W>) -> View {
        let is_due = !inner.succession.is_empty() || inner.waker.is_none();
        self.changed.store(is_due, Ordering::Release);
        inner.view()
    }

    /// Whether something was posted since the actor took its last view, or it has to come for another reason.
    #[inline]
    pub(crate) fn must_look(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    /// Whether the callback for `input` may be made now.
    pub(crate) fn admit(&self, input: Input) -> bool {
        self.lock().lifecycle.step(input)
    }

    /// A callback has returned: sends what it gathered, and tells what the marks have to say.
    pub(crate) fn settle(&self) -> (Option<W::News>, View) {
        let mut inner = self.lock();
        inner.work();
        inner.succession.advance();
        let was_paused = inner.write.marks().is_paused();
        let news = inner.tell();
        let resumed = was_paused && !inner.write.marks().is_paused();
        let done = inner.write.take_done();
        let spent = inner.write.take_spent();
        if news.is_none() {
            inner.write.forgive();
        }
        let view = self.see(&inner);
        inner.count_buffered();
        drop(inner);
        drop(spent);
        if resumed || done {
            self.drained.notify(usize::MAX);
        }
        (news, view)
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.lock().write.is_blocked()
    }

    pub(crate) fn unblock(&self) {
        self.lock().write.unblock();
    }

    /// The endpoint has failed: that is the cause of the end, so nothing that could fail as well is tried before. An orderly
    /// end has failed with it.
    pub(crate) fn break_off(&self, exc: io::Error) {
        let cause = Cause::new(exc);
        self.post(|inner| {
            inner.end(Some(cause.clone()));
            if mem::take(&mut inner.goodbye) {
                inner.cause.get_or_insert_with(|| cause.clone());
                inner.dirty = true;
            }
        });
    }

    /// The protocol whose turn it is, if there is a new one.
    #[inline]
    pub(crate) fn take_protocol(&self) -> Option<Parcel> {
        if self.must_look() { self.next_protocol() } else { None }
    }

    #[cold]
    fn next_protocol(&self) -> Option<Parcel> {
        self.lock().succession.take()
    }

    /// Drops all protocols that were handed over and have not taken over yet.
    pub(crate) fn disinherit(&self) {
        let passed = mem::take(&mut self.lock().succession);
        drop(passed);
    }

    pub(crate) fn stage(&self) -> Stage {
        let mut inner = self.lock();
        if inner.lifecycle.state() == State::Closing && inner.is_done() {
            inner.leave();
        }
        match inner.lifecycle.state() {
            State::Closing => Stage::Flushing,
            State::Ended if inner.goodbye => Stage::Leaving,
            State::Ended | State::Lost => Stage::Ended,
            State::Start | State::Open | State::PeerEof | State::HungUp => Stage::Alive,
        }
    }

    /// The argument of `connection_lost`, once; None if it must not be called.
    pub(crate) fn lose(&self) -> Option<Option<io::Error>> {
        self.lose_after(|_| ()).1
    }

    /// The same, after something that must see the last state.
    pub(super) fn lose_after<R>(&self, f: impl FnOnce(&Inner<W>) -> R) -> (R, Option<Option<io::Error>>) {
        let mut inner = self.lock();
        let result = f(&inner);
        let made = inner.lifecycle.state() != State::Start;
        inner.end(None);
        let passed = inner.succession.finish();
        let lost = inner.lifecycle.step(Input::ConnectionLost);
        let cause = (made && lost).then(|| inner.cause.as_ref().map(Cause::to_error));
        drop(inner);
        drop(passed);
        (result, cause)
    }

    /// Lets go of everything; then `announce` follows.
    pub(crate) fn bury(&self) {
        let mut inner = self.lock();
        inner.write.clear();
        // A pause that a drop has left untold is over as well.
        inner.write.marks_mut().forget();
        let spent = inner.write.take_spent();
        inner.count_buffered();
        let remains = (spent, inner.write.take_outlet(), mem::take(&mut inner.succession), inner.waker.take());
        drop(inner);
        drop(remains);
    }

    /// Saying goodbye has failed: that is the cause of the loss then.
    pub(crate) fn blame(&self, exc: io::Error) {
        let cause = Cause::new(exc);
        self.lock().cause.get_or_insert_with(|| cause.clone());
    }

    /// Tells all who wait that the end has come.
    pub(crate) fn announce(&self) {
        let mut inner = self.lock();
        inner.buried = true;
        let cause = inner.cause.clone();
        drop(inner);
        stats::lost();
        self.trace.lost(cause.as_ref());
        self.closed.notify(usize::MAX);
        self.drained.notify(usize::MAX);
    }
}

impl<W: SendSide> Inner<W> {
    fn view(&self) -> View {
        let wants_data = self.lifecycle.wants_data() && !self.reading_paused && !self.write.is_upgrading();
        let has_news = self.write.has_news();
        let may_go_on = wants_data && !has_news && self.succession.is_empty();
        let has_backlog = !self.write.is_empty();
        let is_live = matches!(self.lifecycle.state(), State::Open | State::PeerEof);
        View {
            wants_data,
            flow: if may_go_on { Flow::Continue } else { Flow::Stop },
            has_news,
            has_backlog,
            is_quiet: is_live && !self.dirty && !has_news && !has_backlog && self.write.is_direct(),
        }
    }
}

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;
    use crate::actor::write_side::{Chunk, WriteSide};
    use crate::info::ExtraInfo;
    use crate::io::memory;
    use crate::state::kind::Kind;
    use crate::state::limits::WriteLimits;

    /// That of an actor whose protocol knows that it is connected, over a pipe that takes nothing.
    fn connected() -> Mailbox<WriteSide> {
        let ((_endpoint, outlet), pipe) = memory::halves();
        pipe.set_room(0);
        let write = WriteSide::new(Kind::default(), WriteLimits::default(), outlet);
        let mailbox = Mailbox::new(write, ExtraInfo::default());
        assert!(mailbox.admit(Input::ConnectionMade));
        mailbox
    }

    #[test]
    fn what_a_callback_queues_before_the_actor_rests_is_counted() {
        let mailbox = connected();
        let _polling = mailbox.polling();
        mailbox.write(Chunk::Borrowed(b"sent in vain"));
        let (_, mut view) = mailbox.settle();
        mailbox.write(Chunk::Borrowed(b"queued"));
        while !mailbox.park(&mut view) {}
        let inner = mailbox.lock();
        assert_eq!(inner.buffered.bytes(), inner.write.size());
    }

    #[test]
    fn the_error_of_the_endpoint_is_not_replaced_by_that_of_a_last_send() {
        let ((_endpoint, outlet), pipe) = memory::halves();
        let write = WriteSide::new(Kind::default(), WriteLimits::default(), outlet);
        let mailbox = Mailbox::new(write, ExtraInfo::default());
        assert!(mailbox.admit(Input::ConnectionMade));
        let _polling = mailbox.polling();
        mailbox.write(Chunk::Borrowed(b"gathered"));
        pipe.fail_sending(io::ErrorKind::BrokenPipe.into());
        mailbox.break_off(io::ErrorKind::ConnectionReset.into());
        let cause = mailbox.lose().flatten();
        assert_eq!(cause.map(|exc| exc.kind()), Some(io::ErrorKind::ConnectionReset));
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Without a guard of `polling` this thread counts as another one.
    #[test]
    fn each_request_wakes_the_actor_though_one_has_done_so_while_it_was_polled() {
        let mailbox = connected();
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut sight = Sight::NEW;
        for paused in [true, false, true] {
            mailbox.begin_poll(&waker, &mut sight);
            let before = wakes.0.load(Ordering::Relaxed);
            mailbox.set_reading_paused(paused);
            assert_eq!(wakes.0.load(Ordering::Relaxed), before + 1);
            while !mailbox.park(&mut sight.view) {}
        }
    }
}

//! From an actor to its protocol: one event at a time, in the order that the life cycle allows.

use std::any::Any;
use std::borrow::Cow;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use super::mailbox::Mailbox;
use crate::io::Flow;
use crate::message::Event;
use crate::protocol::OnEof;
use crate::state::marks::Mark;

/// What a callback panicked with.
pub(crate) type Payload = Box<dyn Any + Send>;

/// The receiver of an actor's events: a protocol behind its adapter, or an event stream.
pub(crate) trait Receive {
    /// Takes an event. The answer counts for `EofReceived` alone.
    fn event(&mut self, event: Event<'_>) -> OnEof;

    /// The buffer to receive into; `None` if bytes are taken as they are lent.
    fn buffer(&mut self, size_hint: usize) -> Option<&mut [u8]>;

    /// Whether there is room for more data; else `waker` is told when there is.
    fn has_room(&mut self, waker: &Waker) -> bool;
}

/// Delivers events; a panic is caught here and ends the transport.
pub(crate) struct Delivery<'a> {
    pub(crate) mailbox: &'a Mailbox,
    pub(crate) receive: &'a mut dyn Receive,
    pub(crate) payload: &'a mut Option<Payload>,
    pub(crate) waker: &'a Waker,
}

impl Delivery<'_> {
    /// Makes the callback, unless the life cycle forbids it; then sends what it wrote and tells a pause at once.
    pub(crate) fn deliver(&mut self, event: Event<'_>) -> OnEof {
        if !self.mailbox.admit(event.input()) {
            return OnEof::Close;
        }
        let answer = self.call(event);
        self.settle();
        answer
    }

    /// Delivers bytes; whether more are wanted.
    pub(crate) fn data(&mut self, data: &[u8]) -> Flow {
        self.deliver(Event::DataReceived(Cow::Borrowed(data)));
        self.flow()
    }

    pub(crate) fn flow(&mut self) -> Flow {
        match self.mailbox.flow() {
            Flow::Continue if self.receive.has_room(self.waker) => Flow::Continue,
            _ => Flow::Stop,
        }
    }

    /// Sends what was gathered and tells what the marks have to say, as long as they have.
    pub(crate) fn settle(&mut self) {
        while let Some(mark) = self.mailbox.settle() {
            let event = match mark {
                Mark::Pause => Event::PauseWriting,
                Mark::Resume => Event::ResumeWriting,
            };
            self.call(event);
        }
    }

    /// The buffer to receive into; `None` if bytes are taken as they are lent, or asking for it has failed.
    pub(crate) fn buffer(&mut self, size_hint: usize) -> io::Result<Option<&mut [u8]>> {
        let receive = &mut *self.receive;
        match guarded(move || receive.buffer(size_hint)) {
            Ok(Some([])) => {
                let text = "get_buffer returned an empty buffer";
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
            Ok(buffer) => Ok(buffer),
            Err(payload) => Err(keep(self.payload, payload)),
        }
    }

    /// The last callback.
    pub(crate) fn lose(&mut self) {
        if let Some(exc) = self.mailbox.lose() {
            self.call(Event::ConnectionLost(exc));
        }
    }

    fn call(&mut self, event: Event<'_>) -> OnEof {
        let receive = &mut *self.receive;
        match guarded(move || receive.event(event)) {
            Ok(answer) => answer,
            Err(payload) => {
                let exc = keep(self.payload, payload);
                self.mailbox.abort(Some(exc));
                OnEof::Close
            }
        }
    }
}

/// Calls into foreign code. What a panic leaves behind is not looked at again: the transport ends.
pub(crate) fn guarded<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Keeps the first panic for whoever awaits the connection, and gives the error that the protocol is told.
fn keep(slot: &mut Option<Payload>, payload: Payload) -> io::Error {
    let text = format!("a callback panicked: {}", panic_text(&payload));
    slot.get_or_insert(payload);
    io::Error::other(text)
}

/// What a panic said.
pub(crate) fn panic_text(payload: &Payload) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

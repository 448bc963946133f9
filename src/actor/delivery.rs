//! From an actor to its protocol: one event at a time, in the order that the life cycle allows.

use std::any::Any;
use std::borrow::Cow;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use super::mailbox::{Mailbox, View, begin_callback};
use super::send_side::SendSide;
use super::succession::Parcel;
use super::write_side::WriteSide;
use crate::io::Flow;
use crate::message::Event;
use crate::protocol::OnEof;
use crate::state::lifecycle::Input;
use crate::state::marks::Mark;
use crate::stats;

/// What is told at once after one callback: one that always causes the next must not keep the thread.
const NEWS: usize = 16;

/// What a callback panicked with.
pub(crate) type Payload = Box<dyn Any + Send>;

/// The messages of one kind of actor, and the sending half that goes with them.
pub(crate) trait Messages: 'static {
    type Event<'a>;
    /// What a callback may answer.
    type Answer: Default;
    type Side: SendSide;
    /// Data go to the protocol that was asked how it receives them: one that was set meanwhile may do it in another way.
    const FOR_THE_ASKED: bool = false;

    /// The place of an event in the life cycle.
    fn input(event: &Self::Event<'_>) -> Input;
    /// Bytes that an event tells of.
    fn size(event: &Self::Event<'_>) -> usize;
    /// The event that tells what the sending half has to say.
    fn news(news: <Self::Side as SendSide>::News) -> Self::Event<'static>;
    /// The last event.
    fn lost(exc: Option<io::Error>) -> Self::Event<'static>;
}

/// The messages of byte streams.
#[derive(Debug)]
pub(crate) enum Streams {}

impl Messages for Streams {
    type Event<'a> = Event<'a>;
    type Answer = OnEof;
    type Side = WriteSide;
    const FOR_THE_ASKED: bool = true;

    fn input(event: &Event<'_>) -> Input {
        event.input()
    }

    fn size(event: &Event<'_>) -> usize {
        event.size()
    }

    fn news(news: Mark) -> Event<'static> {
        match news {
            Mark::Pause => Event::PauseWriting,
            Mark::Resume => Event::ResumeWriting,
        }
    }

    fn lost(exc: Option<io::Error>) -> Event<'static> {
        Event::ConnectionLost(exc)
    }
}

/// The receiver of an actor's events: a protocol behind its adapter, or an event stream.
pub(crate) trait Receive<M: Messages = Streams> {
    /// Takes an event. The answer counts where the event asks for one.
    fn event(&mut self, event: M::Event<'_>) -> M::Answer;

    /// Whether data are received into buffers of the receiver; else they are taken as they are lent.
    fn takes_buffers(&mut self) -> bool {
        false
    }

    /// The buffer to receive into, of a receiver that has one.
    fn buffer(&mut self, _size_hint: usize) -> &mut [u8] {
        &mut []
    }

    /// Whether there is room for more data; else `waker` is told when there is.
    fn has_room(&mut self, _waker: &Waker) -> bool {
        true
    }

    /// Puts another protocol into place. Where there is none, it is dropped.
    fn renew(&mut self, protocol: Parcel) {
        drop(protocol);
    }
}

/// Delivers events; a panic is caught here and ends the transport.
pub(crate) struct Delivery<'a, M: Messages = Streams> {
    pub(crate) mailbox: &'a Mailbox<M::Side>,
    pub(crate) receive: &'a mut dyn Receive<M>,
    pub(crate) payload: &'a mut Option<Payload>,
    pub(crate) waker: &'a Waker,
    /// As of the last settling.
    pub(crate) view: View,
    /// What was received, in pieces.
    pub(crate) reads: usize,
}

impl<M: Messages> Delivery<'_, M> {
    /// Makes the callback, unless the life cycle forbids it; then sends what it wrote and tells a pause at once.
    #[inline]
    pub(crate) fn deliver(&mut self, event: M::Event<'_>) -> M::Answer {
        let input = M::input(&event);
        let known = self.is_known_to_be_due(input);
        if !known && !self.mailbox.admit(input) {
            return M::Answer::default();
        }
        begin_callback();
        let answer = self.call(event);
        if !known || self.mailbox.must_look() {
            self.settle();
        }
        answer
    }

    /// Whether the last view still holds, and allows the callback for `input`: so nobody need be asked.
    fn is_known_to_be_due(&self, input: Input) -> bool {
        input == Input::DataReceived && self.view.flow == Flow::Continue && !self.mailbox.must_look()
    }

    /// Whether more of what was received may be delivered.
    #[inline]
    pub(crate) fn flow(&mut self) -> Flow {
        match self.view.flow {
            Flow::Continue if self.receive.has_room(self.waker) => Flow::Continue,
            _ => Flow::Stop,
        }
    }

    /// Whether reading is wanted, and there is room for what it brings.
    pub(crate) fn wants_data(&mut self) -> bool {
        self.view.wants_data && self.receive.has_room(self.waker)
    }

    /// Sends what was gathered and tells what there is to tell; whether that was all.
    pub(crate) fn settle(&mut self) -> bool {
        for _ in 0..NEWS {
            let (news, view) = self.mailbox.settle();
            self.view = view;
            let Some(news) = news else { return true };
            self.call(M::news(news));
        }
        // As it is after the last callback, which may have paused the reading.
        self.view = self.mailbox.look();
        false
    }

    /// Hands the protocol over that was set since the last callback.
    #[inline]
    fn renew(&mut self) {
        if let Some(parcel) = self.mailbox.take_protocol() {
            self.receive.renew(parcel);
        }
    }

    /// The last callback.
    pub(crate) fn lose(&mut self) {
        if let Some(exc) = self.mailbox.lose() {
            self.call(M::lost(exc));
        }
    }

    /// Makes a callback that the life cycle need not be asked about.
    #[inline]
    pub(crate) fn call(&mut self, event: M::Event<'_>) -> M::Answer {
        let input = M::input(&event);
        if !M::FOR_THE_ASKED || input != Input::DataReceived {
            self.renew();
        }
        stats::told(input, M::size(&event));
        self.mailbox.trace().told(input);
        let receive = &mut *self.receive;
        match guarded(|| self.mailbox.trace().within(move || receive.event(event))) {
            Ok(answer) => answer,
            Err(payload) => {
                let exc = keep(self.payload, payload);
                self.mailbox.panicked(exc);
                M::Answer::default()
            }
        }
    }
}

impl Delivery<'_> {
    /// Delivers bytes; whether more are wanted.
    pub(crate) fn data(&mut self, data: &[u8]) -> Flow {
        self.reads += 1;
        self.deliver(Event::DataReceived(Cow::Borrowed(data)));
        self.flow()
    }

    /// Whether the present protocol has buffers to receive into; else it takes bytes as they are lent.
    pub(crate) fn takes_buffers(&mut self) -> bool {
        self.renew();
        self.receive.takes_buffers()
    }

    /// The buffer to receive into; none if asking for it has panicked.
    pub(crate) fn buffer(&mut self, size_hint: usize) -> io::Result<Option<&mut [u8]>> {
        let receive = &mut *self.receive;
        match guarded(|| self.mailbox.trace().within(move || receive.buffer(size_hint))) {
            Ok([]) => {
                let text = "get_buffer returned an empty buffer";
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
            Ok(buffer) => Ok(Some(buffer)),
            Err(payload) => {
                self.mailbox.panicked(keep(self.payload, payload));
                Ok(None)
            }
        }
    }
}

/// Calls into foreign code. What a panic leaves behind is not looked at again: the transport ends.
pub(crate) fn guarded<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Keeps the first panic for whoever awaits the connection, and gives the error that the protocol is told.
pub(crate) fn keep(slot: &mut Option<Payload>, payload: Payload) -> io::Error {
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

//! Events as a stream instead of callbacks.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_lite::Stream;

use super::delivery::Receive;
use super::stream::{Setup, StreamActor};
use crate::connect::StreamSocket;
use crate::info::ExtraInfo;
use crate::io::{async_io, socket};
use crate::message::Event;
use crate::protocol::OnEof;
use crate::transport::{Handle, Transport};

/// Bytes that may lie in the queue before reading stops; the last receive may go over it.
const ROOM: usize = 256 * 1024;

/// Runs a connected stream socket without a protocol.
///
/// The handle posts to the actor, the actor puts events into the stream. Nothing is lost: reading stops while unread
/// events hold 256 KiB or more, and goes on as they are taken. Events other than data always find room, and there are
/// few of them: a pause and a resume that nobody has looked at cancel each other out.
///
/// The transport is never closed by itself at the peer's end of file; it is closed by its handle. The actor is done
/// after [`Event::ConnectionLost`]. Dropping [`Events`] discards what arrives from then on; dropping the [`Actor`]
/// ends the connection as [`abort`](Transport::abort) does.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is not a stream socket.
pub fn open(socket: impl StreamSocket) -> io::Result<(Transport, Events, Actor)> {
    let socket = socket.into_stream_socket()?;
    socket::adopt(&socket)?;
    let info = ExtraInfo::of_socket(&socket);
    Ok(open_halves(async_io::halves(socket), info))
}

fn open_halves(halves: crate::io::Halves, info: ExtraInfo) -> (Transport, Events, Actor) {
    let queue = Arc::new(Queue::default());
    let mut actor = StreamActor::new(halves, info, Setup::default());
    let mut inlet = Inlet(queue.clone());
    actor.made(&mut inlet);
    let transport = Transport::new(actor.mailbox().clone());
    (transport, Events(queue), Actor { actor, inlet })
}

/// The queue between actor and stream.
#[derive(Debug, Default)]
struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event<'static>>,
    /// Bytes in `events`.
    size: usize,
    /// The stream was dropped.
    deaf: bool,
    /// The actor is gone.
    ended: bool,
    reader: Option<Waker>,
    actor: Option<Waker>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, event: Event<'static>) {
        if self.deaf {
            return;
        }
        let cancels = matches!(event, Event::ResumeWriting) && matches!(self.events.back(), Some(Event::PauseWriting));
        if cancels {
            self.events.pop_back();
            return;
        }
        self.size += size(&event);
        self.events.push_back(event);
    }

    fn pop(&mut self) -> Option<Event<'static>> {
        let event = self.events.pop_front()?;
        self.size -= size(&event);
        Some(event)
    }
}

fn size(event: &Event<'_>) -> usize {
    match event {
        Event::DataReceived(data) => data.len(),
        _ => 0,
    }
}

/// The actor's end of the queue.
#[derive(Debug)]
struct Inlet(Arc<Queue>);

impl Receive for Inlet {
    fn event(&mut self, event: Event<'_>) -> OnEof {
        let mut state = self.0.lock();
        state.push(event.into_owned());
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        OnEof::KeepOpen
    }

    fn buffer(&mut self, _: usize) -> Option<&mut [u8]> {
        None
    }

    fn has_room(&mut self, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        let room = state.deaf || state.size < ROOM;
        if !room {
            state.actor = Some(waker.clone());
        }
        room
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }
}

/// The events of a transport, in order; ends after [`Event::ConnectionLost`].
#[derive(Debug)]
#[must_use = "events that nobody takes stop the reading"]
pub struct Events(Arc<Queue>);

impl Stream for Events {
    type Item = Event<'static>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event<'static>>> {
        let mut state = self.0.lock();
        let Some(event) = state.pop() else {
            if state.ended {
                return Poll::Ready(None);
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let actor = if state.size < ROOM { state.actor.take() } else { None };
        drop(state);
        actor.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(event))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.deaf = true;
        let events = std::mem::take(&mut state.events);
        let actor = state.actor.take();
        drop(state);
        drop(events);
        actor.into_iter().for_each(Waker::wake);
    }
}

/// The future that moves the bytes; done after [`Event::ConnectionLost`].
#[must_use = "an actor does nothing unless it is polled"]
pub struct Actor {
    actor: StreamActor,
    inlet: Inlet,
}

impl Future for Actor {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.actor.poll(cx, &mut this.inlet)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.actor.end(&mut self.inlet);
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor").finish_non_exhaustive()
    }
}

//! The queue between an actor and its stream of events.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_lite::Stream;

use crate::message::Event;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// What may lie in the queue before reading stops; the last receive may go over it.
const ROOM: usize = 256 * 1024;

/// An event that can wait in a queue.
pub(crate) trait Waiting {
    /// The room that it takes.
    fn weight(&self) -> usize;

    /// Whether nobody needs to see either of two, if `last` was not seen until this one came.
    fn cancels(&self, last: &Self) -> bool;

    /// Whether nothing follows it.
    fn is_last(&self) -> bool;

    /// Whether it may be missed by who takes nothing for long: of such events there may be any number.
    fn may_be_missed(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Queue<E>(Mutex<State<E>>);

#[derive(Debug)]
struct State<E> {
    events: VecDeque<E>,
    /// The weight of `events`.
    size: usize,
    /// The stream was dropped.
    deaf: bool,
    /// The actor is gone.
    ended: bool,
    reader: Option<Waker>,
    actor: Option<Waker>,
}

/// Both ends of a new queue.
pub(crate) fn queue<E>() -> (Inlet<E>, Events<E>) {
    let state = State { events: VecDeque::new(), size: 0, deaf: false, ended: false, reader: None, actor: None };
    let queue = Arc::new(Queue(Mutex::new(state)));
    (Inlet(queue.clone()), Events(queue))
}

impl<E> Queue<E> {
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Waiting> State<E> {
    fn push(&mut self, event: E) {
        self.ended |= event.is_last();
        if self.deaf || (event.may_be_missed() && self.size >= ROOM) {
            return;
        }
        if self.events.back().is_some_and(|last| event.cancels(last)) {
            self.size -= self.events.pop_back().map_or(0, |last| last.weight());
            return;
        }
        self.size += event.weight();
        self.events.push_back(event);
    }

    fn pop(&mut self) -> Option<E> {
        let event = self.events.pop_front()?;
        self.size -= event.weight();
        Some(event)
    }
}

/// The actor's end of the queue.
#[derive(Debug)]
pub(crate) struct Inlet<E>(Arc<Queue<E>>);

impl<E: Waiting> Inlet<E> {
    pub(crate) fn push(&self, event: E) {
        let mut state = self.0.lock();
        state.push(event);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    /// Whether there is room for more data; else `waker` is told when there is.
    pub(crate) fn has_room(&self, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        let room = state.deaf || state.size < ROOM;
        let known = if room { None } else { state.actor.replace(waker.clone()) };
        drop(state);
        drop(known);
        room
    }
}

impl<E> Drop for Inlet<E> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }
}

/// The events of a transport, in order; ends after the loss.
///
/// # Dropping
///
/// What arrives from then on is discarded; the transport goes on.
#[derive(Debug)]
#[must_use = "events that nobody takes stop the reading"]
pub struct Events<E = Event<'static>>(Arc<Queue<E>>);

impl<E: Waiting> Stream for Events<E> {
    type Item = E;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<E>> {
        let mut state = self.0.lock();
        let Some(event) = state.pop() else {
            if state.ended {
                return Poll::Ready(None);
            }
            let known = state.reader.replace(cx.waker().clone());
            drop(state);
            drop(known);
            return Poll::Pending;
        };
        let actor = if state.size < ROOM { state.actor.take() } else { None };
        drop(state);
        actor.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(event))
    }
}

impl<E> Drop for Events<E> {
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

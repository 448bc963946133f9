//! Clients that are not connected yet: their handshakes are going on.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use async_executor::Executor;

use super::clients::Place;
use crate::connect::{Handshake, Link};
use crate::io::errors::within;

/// A client in its handshake.
pub(crate) struct Arrival {
    handshake: Handshake,
}

impl Arrival {
    pub(crate) fn new(handshake: Handshake, place: &Place) -> Self {
        place.begin_handshake();
        Self { handshake }
    }

    /// One that is not served, but taken.
    pub(crate) fn to_be_taken(handshake: Handshake, place: &Place) -> Self {
        place.begin_arrival();
        Self { handshake }
    }

    /// What its handshake has come to; nothing if it was dismissed meanwhile.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, place: &Place) -> Poll<Option<io::Result<Link>>> {
        if place.is_unwanted(cx.waker()) {
            return Poll::Ready(None);
        }
        let peer = self.handshake.peername().cloned();
        let shaken = ready!(Pin::new(&mut self.handshake).poll(cx));
        place.end_handshake();
        let with = peer.map_or_else(String::new, |peer| format!(" with {peer}"));
        Poll::Ready(Some(shaken.map_err(|err| within(format_args!("the TLS handshake{with} has failed"), err))))
    }
}

/// Handshakes side by side, for whoever takes the clients one by one.
#[derive(Default)]
pub(crate) struct Arrivals {
    executor: Arc<Executor<'static>>,
    done: Arc<Done>,
}

/// What lets go of those that are not wanted any more, though nobody may run them at present.
pub(crate) struct Dismissal {
    executor: Weak<Executor<'static>>,
    done: Weak<Done>,
}

impl Dismissal {
    /// Those in their handshakes have been told; none of those that are done has a protocol yet.
    pub(crate) fn dismiss(&self) {
        if let Some(executor) = self.executor.upgrade() {
            while executor.try_tick() {}
        }
        let done = self.done.upgrade().map(|done| std::mem::take(&mut done.lock().0));
        drop(done);
    }
}

/// A client that is ready for its protocol.
pub(crate) type Arrived = io::Result<(Link, Place)>;

#[derive(Default)]
pub(crate) struct Done(Mutex<(VecDeque<Arrived>, Option<Waker>)>);

impl Done {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<Arrived>, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, arrived: Arrived) {
        let mut done = self.lock();
        done.0.push_back(arrived);
        let waker = done.1.take();
        drop(done);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Arrivals {
    /// What must be run for the handshakes to go on.
    pub(crate) const fn executor(&self) -> &Arc<Executor<'static>> {
        &self.executor
    }

    pub(crate) fn spawn(&self, mut arrival: Arrival, place: Place) {
        let done = self.done.clone();
        let task = self.executor.spawn(async move {
            if let Some(shaken) = poll_fn(|cx| arrival.poll(cx, &place)).await {
                done.push(shaken.map(|mut link| {
                    // It is bound where its connection will run.
                    link.halves.0.unbind();
                    (link, place)
                }));
            }
        });
        task.detach();
    }

    /// Whether nobody is on the way.
    pub(crate) fn is_empty(&self) -> bool {
        self.executor.is_empty() && self.done.lock().0.is_empty()
    }

    pub(crate) fn dismissal(&self) -> Dismissal {
        Dismissal { executor: Arc::downgrade(&self.executor), done: Arc::downgrade(&self.done) }
    }

    /// The next that is done; else `waker` is told when there is one.
    pub(crate) fn next(&self, waker: &Waker) -> Option<Arrived> {
        let mut done = self.done.lock();
        let arrived = done.0.pop_front();
        let known = if arrived.is_none() { done.1.replace(waker.clone()) } else { None };
        drop(done);
        drop(known);
        arrived
    }
}

//! A stand-in for event-listener, whose own locks a model checker does not know.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct State {
    notified: usize,
    wakers: Vec<Waker>,
}

/// Wakes all who listen.
#[derive(Debug)]
pub(crate) struct Event(Arc<Mutex<State>>);

impl Event {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::default())))
    }

    pub(crate) fn listen(&self) -> EventListener {
        let since = lock(&self.0).notified;
        EventListener { state: self.0.clone(), since }
    }

    pub(crate) fn notify(&self, _everybody: usize) {
        let mut state = lock(&self.0);
        state.notified += 1;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Ready when its event was notified since it began to listen.
#[derive(Debug)]
pub(crate) struct EventListener {
    state: Arc<Mutex<State>>,
    since: usize,
}

impl Future for EventListener {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.notified != self.since {
            return Poll::Ready(());
        }
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The model checkers, under common names.

#[cfg(model = "loom")]
pub(crate) use loom::{sync::Condvar, thread::spawn};
#[cfg(model = "shuttle")]
pub(crate) use shuttle::{sync::Condvar, thread::spawn};

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::{Mutex, PoisonError};

/// Runs `model` in all orders of its threads with at most three preemptions.
#[cfg(model = "loom")]
pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.max_branches = 100_000;
    builder.check(model);
}

/// Runs `model` in random orders of its threads: as many as `SCHEDULES` says, half of them with few preemptions.
#[cfg(model = "shuttle")]
pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let model = Arc::new(model);
    let again = model.clone();
    shuttle::check_random(move || model(), schedules / 2);
    shuttle::check_pct(move || again(), schedules / 2, 3);
}

/// What wakes a loop that sleeps: rung once or more, it lets one `wait` pass, as an eventfd at an epoll does.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_one();
    }

    pub(crate) fn wait(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            rung = self.heard.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

/// Runs a future to its end. The checkers' own give another waker to each poll, or wake without a cause: both would hide
/// that a wake-up is missing.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        bell.wait();
    }
}

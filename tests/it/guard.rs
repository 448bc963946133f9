//! A limit for tests that hang, even those that block their thread.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use async_io::Timer;
use futures_lite::future::yield_now;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a test on a thread of its own.
pub(crate) fn run(test: impl AsyncFnOnce() + Send + 'static) {
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| smol::block_on(test())));
        let _ = done.send(result);
    });
    outcome.recv_timeout(LIMIT).expect("the test hangs").unwrap_or_else(|payload| resume_unwind(payload));
}

/// Waits for something that nobody announces.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        Timer::after(Duration::from_millis(1)).await;
        yield_now().await;
    }
}

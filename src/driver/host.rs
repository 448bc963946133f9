//! A loop inside of a future: it goes on whenever the future is polled, and waits by async-io.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_executor::LocalExecutor;
use async_io::Async;
use async_task::Runnable;

use super::Root;
use super::hub::is_wanted;
use super::poller::Poller;
use super::reactor::{Loop, Reactor, current, run_queue};
use super::source::Lent;
use crate::io::async_io::prepare;
use crate::io::clock::Deadline;

/// How long it goes on before others on the same executor have their turn.
const TURN: Duration = Duration::from_micros(200);

/// Tasks of the executor that are run between two looks at epoll.
const TASKS: usize = 256;

/// Runs a future and the tasks of its executor in a loop of their own, and with them what is spawned inside. As long as
/// there is something to do, what waits at the epoll of the loop costs async-io nothing. Where there is a loop already, or
/// none to be had, it is the executor alone that runs them.
pub(crate) async fn host<T>(executor: &LocalExecutor<'_>, future: impl Future<Output = T>) -> T {
    // It runs the tasks as well, but takes longer for each: here it is there to be told of those that other threads wake.
    let running = executor.run(future);
    let Some(mut host) = Host::new() else { return running.await };
    let mut running = pin!(running);
    poll_fn(|cx| host.poll(executor, running.as_mut(), cx)).await
}

struct Host {
    inner: Loop,
    root: Arc<Root>,
    /// The epoll of the loop, as a source of async-io.
    epoll: Async<Arc<Poller>>,
    /// When the first timer of the loop is due.
    deadline: Deadline,
    /// Both are empty between two rounds, and keep their room.
    queue: VecDeque<Runnable>,
    lent: Lent,
}

/// What a round has left.
enum Left<T> {
    Output(T),
    Work,
    Nothing,
}

impl Host {
    fn new() -> Option<Self> {
        if !is_wanted() || current().is_some() {
            return None;
        }
        prepare().ok()?;
        let reactor = Arc::new(Reactor::new(None).ok()?);
        let epoll = Async::new_nonblocking(reactor.poller().clone()).ok()?;
        Some(Self {
            root: Arc::new(Root::new(reactor.clone())),
            inner: Loop::new(reactor),
            epoll,
            deadline: Deadline::default(),
            queue: VecDeque::new(),
            lent: Vec::new(),
        })
    }

    fn poll<T>(
        &mut self,
        executor: &LocalExecutor<'_>,
        mut future: Pin<&mut impl Future<Output = T>>,
        cx: &mut Context<'_>,
    ) -> Poll<T> {
        let end = Instant::now() + TURN;
        loop {
            match self.round(executor, future.as_mut()) {
                Left::Output(output) => return Poll::Ready(output),
                Left::Nothing if self.poll_events(cx).is_pending() => return Poll::Pending,
                Left::Nothing | Left::Work => {}
            }
            // Between rounds only: it may take a little longer.
            if Instant::now() >= end {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn round<T>(&mut self, executor: &LocalExecutor<'_>, future: Pin<&mut impl Future<Output = T>>) -> Left<T> {
        let reactor = self.inner.reactor().clone();
        let _entered = self.inner.enter();
        reactor.receive();
        let _ = (0..TASKS).all(|_| executor.try_tick());
        if let Some(output) = self.root.poll(future) {
            return Left::Output(output);
        }
        run_queue(&mut self.queue, || ());
        let found = reactor.poller().wait(Some(Duration::ZERO), &mut self.lent);
        reactor.timers().fire();
        if found || reactor.is_busy() { Left::Work } else { Left::Nothing }
    }

    /// Ready if there may be something to do.
    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.deadline.wait_until(self.inner.reactor().timers().first(), cx);
        if self.epoll.poll_readable(cx).is_pending() {
            return Poll::Pending;
        }
        // That was what has woken this task, and was seen to by now. Asked again, async-io reports what has come since.
        self.epoll.poll_readable(cx).map(drop)
    }
}

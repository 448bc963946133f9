//! A run that has begun: the future that carries it on.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rustix::process::Signal;

use super::Run;
use super::captured::{Captured, Failure};
use super::course::{Action, End};
use super::handle::{Handle, Requests};
use super::input::{Fed, Feed, Input};
use super::tap::Tap;
use crate::io::clock::Deadline;
use crate::process::{Subprocess, SubprocessTransport};
use crate::running::spawn;
use crate::transport::ReadTransport;

/// Rounds of one poll.
const ROUNDS: usize = 16;

/// What can have been in the pipes at the exit, so that it must be read.
const PIPES_FULL: u64 = 2 * 1024 * 1024;

/// A child whose output is captured: a future that resolves when the child is over and all sinks are done.
///
/// It makes progress while it is polled. [`Run::start`] gives one whose child is running already; awaiting a [`Run`]
/// makes one that starts it first.
///
/// # Errors
///
/// What the system says when the program cannot be started, as with [`Run::start`]. A [`Failure`], with all that was
/// captured in it, if the child was not successful and the run is not [`unchecked`](Run::unchecked), or if a sink or what
/// feeds standard input has failed. A child that is to be killed and may not be, because it runs as another user, is left
/// alone: [`PermissionDenied`](io::ErrorKind::PermissionDenied), with the exit code 255.
///
/// # Panics
///
/// A panic of a sink kills the child with its group and is resumed in whoever awaits it. Polling it again after it has
/// resolved panics.
///
/// # Dropping
///
/// A child that is still running is stopped as by [`Handle::stop`]: it is asked to end before the drop returns, and what
/// remains is done in the background, where transports are [spawned](crate::Connection::spawn). Sinks are dropped at
/// once. If the whole process ends meanwhile, children that ignore the request survive it.
#[must_use = "a run makes progress only while it is polled, and is stopped when it is dropped"]
pub struct Capture {
    state: State,
}

enum State {
    New(Box<Run>),
    Running(Box<Running>),
    Done,
}

impl Capture {
    pub(super) fn new(run: Run) -> Self {
        Self { state: State::New(Box::new(run)) }
    }

    pub(super) fn started(running: Running) -> Self {
        Self { state: State::Running(Box::new(running)) }
    }

    /// The handle of the run.
    ///
    /// # Panics
    ///
    /// If it has resolved already, or was made of a [`Run`] and not polled yet.
    #[must_use]
    pub fn handle(&self) -> Handle {
        match &self.state {
            State::Running(running) => running.handle(),
            State::New(_) | State::Done => panic!("there is no child"),
        }
    }
}

impl Future for Capture {
    type Output = io::Result<Captured>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Captured>> {
        self.state = match std::mem::replace(&mut self.state, State::Done) {
            State::New(run) => State::Running(Box::new(run.begin()?)),
            state => state,
        };
        let State::Running(running) = &mut self.state else { panic!("the run has resolved already") };
        let result = ready!(Pin::new(&mut **running).poll(cx));
        self.state = State::Done;
        Poll::Ready(result)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let State::Running(mut running) = std::mem::replace(&mut self.state, State::Done) {
            if running.begin_stop() {
                spawn(running).detach();
            }
        }
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").finish_non_exhaustive()
    }
}

/// How a run goes about its child.
#[derive(Debug)]
pub(super) struct Manner {
    pub(super) program: String,
    pub(super) checked: bool,
    pub(super) stop_signal: i32,
    pub(super) has_group: bool,
}

/// The run itself.
pub(super) struct Running {
    manner: Manner,
    transport: SubprocessTransport,
    requests: Arc<Requests>,
    /// Taken when the child is over: then its protocol is in `tap`.
    child: Option<Subprocess<Tap>>,
    tap: Option<Tap>,
    input: Option<Feed>,
    deadline: Deadline,
    /// Bytes that have come since the exit.
    late: u64,
    /// When sinks that are not done are given up.
    patience: Option<Instant>,
    /// Why the child cannot be killed.
    invulnerable: Option<io::Error>,
}

impl Running {
    pub(super) fn new(manner: Manner, child: Subprocess<Tap>, input: Input, deadline: Deadline) -> Self {
        let transport = child.transport().clone();
        Self {
            manner,
            input: input.begin(&transport),
            transport,
            requests: Arc::default(),
            child: Some(child),
            tap: None,
            deadline,
            late: 0,
            patience: None,
            invulnerable: None,
        }
    }

    fn handle(&self) -> Handle {
        let has_group = self.manner.has_group;
        Handle { transport: self.transport.clone(), requests: self.requests.clone(), has_group }
    }

    /// Moves the child, its input and its sinks on; ready when it is over.
    fn poll_child(&mut self, child: &mut Subprocess<Tap>, cx: &mut Context<'_>) -> Poll<Tap> {
        for _ in 0..ROUNDS {
            let before = child.protocol().total();
            child.protocol_mut().set_waker(cx.waker());
            child.protocol_mut().set_reading(&self.transport);
            if let Poll::Ready(tap) = Pin::new(&mut *child).poll(cx) {
                return Poll::Ready(tap);
            }
            let tap = child.protocol_mut();
            if tap.course.has_exited() {
                self.late += tap.total() - before;
            }
            let has_fed = self.feed(tap, cx);
            if !self.act(tap, cx) && !has_fed {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Does what is due; whether there was something. Else the task is woken when there is.
    fn act(&mut self, tap: &mut Tap, cx: &mut Context<'_>) -> bool {
        let (stop, kill) = self.requests.take(cx.waker());
        if kill {
            tap.course.kill();
        }
        if stop {
            tap.course.stop(End::Stopped);
        }
        let now = tap.now();
        if tap.course.is_cut_due(now) && self.has_unread(tap) {
            // It is there, and comes with the next round.
            cx.waker().wake_by_ref();
            return false;
        }
        let Some(action) = tap.course.next(now) else {
            self.deadline.wait_until(tap.course.deadline(), cx);
            return false;
        };
        match action {
            Action::Terminate => self.terminate(),
            Action::Kill => self.kill(),
            Action::Cut => tap.cut(&self.transport),
        }
        true
    }

    /// Whether there is something in the pipes that was written before the exit, for all one can know.
    fn has_unread(&self, tap: &Tap) -> bool {
        let has = |pipe: &&ReadTransport| pipe.with_pipe(has_bytes).unwrap_or(false);
        let pipes = [self.transport.stdout(), self.transport.stderr()];
        self.late < PIPES_FULL && !tap.is_paused() && pipes.iter().flatten().any(has)
    }

    /// Asks the child to end. One that is stopped could not hear it.
    fn terminate(&self) {
        self.signal(self.manner.stop_signal);
        self.signal(Signal::CONT.as_raw());
    }

    fn kill(&mut self) {
        // That succeeds if one of a group can be killed.
        self.signal(Signal::KILL.as_raw());
        let killed = self.transport.kill();
        self.invulnerable = killed.err().filter(|err| err.kind() == io::ErrorKind::PermissionDenied);
    }

    fn signal(&self, signal: i32) {
        // It may be over by now.
        let _ = self.handle().signal(signal);
    }

    /// Passes the input on; whether there was something.
    fn feed(&mut self, tap: &mut Tap, cx: &mut Context<'_>) -> bool {
        let Some(Poll::Ready(fed)) = self.input.as_mut().map(|input| input.poll(cx)) else { return false };
        if let Fed::End(end) = fed {
            self.input = None;
            end.unwrap_or_else(|err| tap.fail(err));
        }
        true
    }

    /// Ready when the sinks are done. After an end by force, or when they are asked for the end, they have as long as the
    /// pipes had.
    fn poll_sinks(&mut self, tap: &mut Tap, cx: &mut Context<'_>) -> Poll<()> {
        if tap.poll_finish(cx).is_ready() {
            return Poll::Ready(());
        }
        let now = tap.now();
        let (stop, kill) = self.requests.take(cx.waker());
        if kill {
            tap.course.withdraw_grace();
        }
        if self.patience.is_none() {
            self.patience = tap.course.patience(now);
        }
        if stop || kill {
            let hurried = tap.course.rest(now);
            self.patience = self.patience.into_iter().chain(hurried).min();
        }
        if self.patience.is_some_and(|end| end <= now) {
            tap.give_up_sinks();
            tap.fail(io::Error::new(io::ErrorKind::TimedOut, "a sink has not taken the output in time"));
            return Poll::Ready(());
        }
        self.deadline.wait_until(self.patience, cx);
        Poll::Pending
    }

    fn finish(&mut self, tap: Tap) -> io::Result<Captured> {
        let (captured, cause) = tap.into_captured(self.manner.stop_signal);
        if cause.is_none() && (captured.success() || !self.manner.checked) {
            return Ok(captured);
        }
        Err(Failure::into_error(std::mem::take(&mut self.manner.program), captured, cause))
    }

    /// Nobody waits for it any more: asks the child to end. Whether it needs to be run to its end for that.
    fn begin_stop(&mut self) -> bool {
        self.input = None;
        let Some(child) = &mut self.child else { return false };
        let tap = child.protocol_mut();
        tap.forget();
        tap.course.stop(End::Stopped);
        if tap.course.has_exited() {
            return tap.spares_survivors();
        }
        if !tap.course.has_grace() {
            return false;
        }
        let now = tap.now();
        match tap.course.next(now) {
            Some(Action::Terminate) => self.terminate(),
            Some(Action::Kill) => self.kill(),
            Some(Action::Cut) | None => {}
        }
        true
    }
}

/// Whether something can be read at once.
fn has_bytes(pipe: BorrowedFd<'_>) -> bool {
    rustix::io::ioctl_fionread(pipe).is_ok_and(|bytes| bytes > 0)
}

impl Future for Running {
    type Output = io::Result<Captured>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Captured>> {
        let this = &mut *self;
        if let Some(mut child) = this.child.take() {
            match (this.poll_child(&mut child, cx), this.invulnerable.take()) {
                (Poll::Ready(tap), _) => this.tap = Some(tap),
                (Poll::Pending, Some(err)) => {
                    let mut tap = child.abandon();
                    tap.give_up(&err);
                    this.tap = Some(tap);
                }
                (Poll::Pending, None) => {
                    this.child = Some(child);
                    return Poll::Pending;
                }
            }
        }
        let mut tap = this.tap.take().expect("it is polled until it is done");
        if this.poll_sinks(&mut tap, cx).is_pending() {
            this.tap = Some(tap);
            return Poll::Pending;
        }
        Poll::Ready(this.finish(tap))
    }
}

//! Runs a child and captures its output: in one line, or as a tool wants it.
//!
//! [`run`] starts a command and resolves to what has come of it: the true exit status, the output, and what became of
//! the pipes. The builder behind it says where the output goes meanwhile, how long all may take, and how the child is
//! stopped. It is built on [`SubprocessProtocol`](crate::SubprocessProtocol) callbacks, and runs wherever it is awaited:
//! there is no thread for it.
//!
//! ```
//! use std::io;
//! use std::process::Command;
//!
//! use smol_transports::capture;
//!
//! fn main() -> io::Result<()> {
//!     smol::block_on(async {
//!         let captured = capture::run(Command::new("echo").arg("hello")).await?;
//!         assert_eq!(captured.stdout().text(), "hello\n");
//!         assert_eq!(captured.to_string(), "exit 0");
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # The end
//!
//! A run is over when the child has exited and its pipes are at their ends. Something else may still hold a pipe, as a
//! server that the child has started: after the exit it is read for [some time](Run::drain_limit), and then reported in
//! [`held_pipes`](Captured::held_pipes). The status is that of the child whatever happens to its pipes.
//!
//! A child that is not successful is an error, unless the run is [`unchecked`](Run::unchecked). Whatever ends it, what was
//! captured is kept: [`Captured::from_error`] takes it out of the error.
//!
//! # Stopping
//!
//! The child leads a process group of its own. It is stopped by SIGTERM to the group, then, after the
//! [grace](Run::grace), by SIGKILL; and what is left of the group when all is over is killed, also after a good end, so
//! that nothing stays behind. A process that has left the group, as a daemon does, is not reached.
//! [`leave_survivors`](Run::leave_survivors) and [`foreground`](Run::foreground) say otherwise.
//!
//! The same is done when a time limit is over, when the future is dropped, and when a [`Handle`] says so. A Ctrl-C at the
//! terminal reaches this process only, and not the group of the child: a tool passes it on by a [`Handle`], as the example
//! `fanout` does, or leaves the child in the [`foreground`](Run::foreground). The same goes for Ctrl-Z. And a child that is
//! not in the foreground must not use the terminal: the system stops it if it asks for a password there or changes its
//! mode (SIGTTIN, SIGTTOU), and it goes on for ever then unless there is a time limit.
//!
//! # Order and time
//!
//! Standard output and error have a pipe each. What comes is stamped with the time of its reading, and the order between
//! the two is that of reading. In one pipe, [`merged`](Run::merged), all is in the order of the writes.
//!
//! A child that finds no terminal may leave out colours, and hold its lines back until it has many of them. It takes an
//! option of its own, or a tool such as `stdbuf`, to make it print as on a terminal.
//!
//! # Memory
//!
//! All output is kept, unless [`keep`](Run::keep) sets a bound. Beside its bytes each [chunk](Captured::chunks) takes 32
//! bytes, of which there are a thousand in a second at most from one pipe, and fewer later. Sinks hold what they have to,
//! and one that is slow stops the reading: then the child waits, and no memory grows.
//!
//! # Tests
//!
//! A [`Script`](crate::testing::Script) takes the place of a command, and the time limits go by its clock.
//!
//! ```
//! use std::time::Duration;
//!
//! use smol_transports::capture::{self, End};
//! use smol_transports::testing::{Clock, Script, poll};
//!
//! const MINUTE: Duration = Duration::from_secs(60);
//!
//! let clock = Clock::new();
//! let script = Script::new().clock(&clock).stdout("working").wait(MINUTE).stdout("done").exit(0);
//! let mut run = capture::run(script).idle_limit(MINUTE / 2).unchecked().start()?;
//! assert!(poll(&mut run).is_pending());
//! clock.advance(MINUTE / 2);
//! let std::task::Poll::Ready(Ok(captured)) = poll(&mut run) else { panic!("it is still running") };
//! assert_eq!((captured.end(), captured.stdout().bytes()), (End::IdleLimit, &b"working"[..]));
//! assert_eq!(captured.to_string(), "SIGTERM after 30.0 s: silent for too long");
//! # std::io::Result::Ok(())
//! ```

mod captured;
mod course;
mod handle;
mod input;
mod lines;
mod memory;
mod running;
mod sink;
mod stamps;
mod tap;
mod writer;

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_io::AsyncRead;
use rustix::process::Signal;

pub use captured::{Captured, Failure};
pub use course::End;
use course::{Course, Plan};
pub use handle::Handle;
use input::Input;
pub use lines::{Line, Lines, LongLines, lines};
pub use memory::{Keep, Output};
pub use running::Capture;
use running::{Manner, Running};
pub use sink::{Chunk, Chunks, Sink, channel};
use tap::{Branch, Survivors, Tap};
pub use writer::Writer;

use crate::io::clock::Deadline;
use crate::io::errors::within;
use crate::process::{IntoCommand, Program, Stdio, Streams, Subprocess};

/// A run of `command`; awaiting it starts the child and resolves to what has come of it.
///
/// The command is a `Command` of std, or a mutable reference to one, as its builder methods return it; the latter is
/// left empty. Its own settings of the standard streams do not count. By default both outputs are captured in full, and
/// standard input is at its end.
///
/// # Errors
///
/// See [`Capture`].
///
/// # Examples
///
/// ```
/// use std::process::Command;
/// use std::time::Duration;
///
/// use smol_transports::capture::{self, Captured, Keep, LongLines};
///
/// # smol::block_on(async {
/// let mut tests = Command::new("sh");
/// tests.args(["-c", "echo one; echo two >&2; exit 3"]);
/// let progress = capture::lines(LongLines::Split(1024), |line| println!("{:?} {}", line.at, line.text()));
/// let failed = capture::run(&mut tests)
///     .sink(progress)
///     .keep(Keep::last(64 * 1024))
///     .limit(Duration::from_secs(600))
///     .idle_limit(Duration::from_secs(60))
///     .await
///     .unwrap_err();
/// assert_eq!(failed.to_string(), "sh -c 'echo one; echo two >&2; exit 3': exit 3");
/// let captured = Captured::from_error(failed)?;
/// assert_eq!((captured.code(), captured.stderr().bytes()), (Some(3), &b"two\n"[..]));
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub fn run(command: impl IntoCommand) -> Run {
    Run::new(command.into_program())
}

/// A child to be started and captured; made by [`run`].
#[must_use = "nothing happens until it is awaited"]
pub struct Run {
    program: Program,
    streams: Streams,
    input: Input,
    keep: Keep,
    branches: Vec<Branch>,
    plan: Plan,
    checked: bool,
    stop_signal: i32,
    has_group: bool,
    survivors: Survivors,
}

impl Run {
    fn new(program: Program) -> Self {
        const GRACE: Duration = Duration::from_secs(3);
        const DRAIN: Duration = Duration::from_millis(250);
        Self {
            program,
            streams: Streams { stdin: Stdio::Null, ..Streams::default() },
            input: Input::Elsewhere,
            keep: Keep::All,
            branches: Vec::new(),
            plan: Plan { limit: None, idle: None, first_output: None, grace: GRACE, drain: DRAIN },
            checked: true,
            stop_signal: Signal::TERM.as_raw(),
            has_group: true,
            survivors: Survivors::Killed,
        }
    }
}

/// Where the output goes.
impl Run {
    /// Sends standard error to where standard output goes: with one pipe for both, all is in the order of the writes, and
    /// counts as standard output.
    pub fn merged(self) -> Self {
        self.stderr(Stdio::Stdout)
    }

    /// Sends both outputs to where those of this process go; nothing is captured. A child that takes the terminal for its
    /// own, as an editor does, must be in the [`foreground`](Self::foreground).
    pub fn inherit(self) -> Self {
        self.stdout(Stdio::Inherit).stderr(Stdio::Inherit)
    }

    /// Where standard output goes, as to a file; a pipe by default, which is captured.
    pub fn stdout(mut self, stdio: impl Into<Stdio>) -> Self {
        self.streams.stdout = stdio.into();
        self
    }

    /// Where standard error goes; a pipe by default, which is captured.
    pub fn stderr(mut self, stdio: impl Into<Stdio>) -> Self {
        self.streams.stderr = stdio.into();
        self
    }

    /// How much of the output of each pipe is kept for the result; all by default. Sinks are given all of it in any case.
    pub const fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Gives the output of both pipes to a sink as well. There may be many.
    pub fn sink(self, sink: impl Sink + 'static) -> Self {
        self.branch(Branch::ALL, sink)
    }

    /// Gives standard output to a sink as well.
    pub fn stdout_sink(self, sink: impl Sink + 'static) -> Self {
        self.branch(Branch::STDOUT, sink)
    }

    /// Gives standard error to a sink as well.
    pub fn stderr_sink(self, sink: impl Sink + 'static) -> Self {
        self.branch(Branch::STDERR, sink)
    }

    fn branch(mut self, pipes: &'static [crate::protocol::Pipe], sink: impl Sink + 'static) -> Self {
        self.branches.push(Branch { pipes, sink: Box::new(sink) });
        self
    }
}

/// Where the input comes from.
impl Run {
    /// Where standard input comes from: nowhere by default. With [`Stdio::Piped`], [`Handle::stdin`] is its other end. To
    /// read from a terminal the child must be in the [`foreground`](Self::foreground).
    pub fn stdin(mut self, stdio: impl Into<Stdio>) -> Self {
        self.input = Input::Elsewhere;
        self.streams.stdin = stdio.into();
        self
    }

    /// Gives the child these bytes to read, and then the end of file. It need not read them.
    pub fn input(mut self, bytes: impl Into<Bytes>) -> Self {
        self.streams.stdin = Stdio::Piped;
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Gives the child to read what comes from `reader`. It need not read it. An error of the reader stops the child, and
    /// the run fails.
    pub fn input_from(mut self, reader: impl AsyncRead + Send + 'static) -> Self {
        self.streams.stdin = Stdio::Piped;
        self.input = Input::Reader(Box::pin(reader));
        self
    }
}

/// How it ends.
impl Run {
    /// How long all may take; then the child is stopped. What is left to be read after its exit is cut.
    #[doc(alias = "timeout")]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.plan.limit = Some(limit);
        self
    }

    /// How long the child may put out nothing; then it is stopped. Time in which a sink has no room does not count. What
    /// does not come by a pipe is not seen: a child that writes to a file instead is stopped as well.
    pub const fn idle_limit(mut self, limit: Duration) -> Self {
        self.plan.idle = Some(limit);
        self
    }

    /// How long it may take until the first output comes; then the child is stopped.
    pub const fn first_output_limit(mut self, limit: Duration) -> Self {
        self.plan.first_output = Some(limit);
        self
    }

    /// How long the child has to end when it is asked to, before it is killed; 3 s by default. Without grace it is killed
    /// at once. Others of its group have as long if they hold one of its pipes; else they are killed when it has exited.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.plan.grace = grace;
        self
    }

    /// The signal that asks the child to end, by its number; SIGTERM by default.
    pub const fn stop_signal(mut self, signal: i32) -> Self {
        self.stop_signal = signal;
        self
    }

    /// How long a pipe that something else holds is still read after the exit; 250 ms by default. Time in which a sink has
    /// no room does not count, and what the child has written before its exit is read in any case, unless the run was
    /// stopped and a sink has no room at the end of this time.
    pub const fn drain_limit(mut self, limit: Duration) -> Self {
        self.plan.drain = limit;
        self
    }

    /// Makes any end of the child a result: a code other than 0, a signal, a time limit, a [`Handle::stop`].
    pub const fn unchecked(mut self) -> Self {
        self.checked = false;
        self
    }

    /// Spares what is left of the process group when the child has exited by itself. If the run was stopped before, it is
    /// killed all the same. Their output belongs in a file or in [`Stdio::Null`]: pipes that are captured are closed at the
    /// end of the run, and a write to them is answered by SIGPIPE then.
    pub const fn leave_survivors(mut self) -> Self {
        self.survivors = Survivors::Spared;
        self
    }

    /// Leaves the child in the process group of this process, for programs that use the terminal: what is typed there,
    /// as Ctrl-C, reaches it. Signals go to the child alone then, and nothing is known of its descendants.
    ///
    /// It also makes it possible to run a `Command` of async-process.
    pub const fn foreground(mut self) -> Self {
        self.has_group = false;
        self
    }
}

impl Run {
    /// Starts the child. Needs no executor; what the future does begins when it is polled.
    ///
    /// # Errors
    ///
    /// What the system says when the program cannot be started, with the name of the program before it and the error of
    /// the system as its source; and [`InvalidInput`](io::ErrorKind::InvalidInput) for a
    /// [stop signal](Self::stop_signal) that is none. Nothing is left behind then.
    pub fn start(self) -> io::Result<Capture> {
        Ok(Capture::started(self.begin()?))
    }

    fn begin(self) -> io::Result<Running> {
        if Signal::from_named_raw(self.stop_signal).is_none() {
            let text = format!("no signal with a name: {}; those for real time are not supported", self.stop_signal);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let clock = self.program.clock();
        let deadline = Deadline::new(clock.clone());
        let course = Course::new(self.plan, clock.now());
        let survivors = if self.has_group { self.survivors } else { Survivors::Unknown };
        let tap = Tap::new(clock, course, self.keep, self.branches, survivors);
        let manner = Manner {
            program: self.program.name(),
            checked: self.checked,
            stop_signal: self.stop_signal,
            has_group: self.has_group,
        };
        let child = Subprocess::spawned(tap, self.program, self.streams, self.has_group)
            .map_err(|err| within(&manner.program, err))?;
        Ok(Running::new(manner, child, self.input, deadline))
    }
}

impl IntoFuture for Run {
    type Output = io::Result<Captured>;
    type IntoFuture = Capture;

    fn into_future(self) -> Capture {
        Capture::new(self)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("program", &self.program).field("plan", &self.plan).finish_non_exhaustive()
    }
}

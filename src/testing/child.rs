//! Child processes without processes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::Clock;
use crate::io::child::Spawned;
use crate::io::child::Target;
use crate::io::child::script::{Lead, Stage, Step};
use crate::io::{Halves, clock, memory};
use crate::protocol::Pipe;

/// A child that is no process: it plays a script, step by step, in the place of a command.
///
/// Whatever starts a child takes it: [`subprocess_exec`](crate::subprocess_exec),
/// [`actor::open_process`](crate::actor::open_process), [`capture::run`](crate::capture::run). What runs then is the
/// same code as for a process of the system. The steps are taken in their order, each when what was written before it
/// has been read; a [`wait`](Self::wait) goes by the [`clock`](Self::clock). [`child`](Self::child) gives a handle that
/// does the same things by hand, at once, and tells what has become of it.
///
/// It behaves as a process does: its exit closes its pipes, but for those that something else [holds](Self::hold);
/// SIGKILL ends it, and so does another signal whose default that is, unless it is [ignored](Self::ignore). A signal to
/// its process group that ends it, or comes after its end, also ends what holds its pipes. What leads elsewhere than to
/// a pipe is dropped.
///
/// Without steps it does nothing, until its handle is used.
///
/// # Examples
///
/// ```
/// use smol_transports::testing::Script;
/// use smol_transports::{Pipe, SubprocessProtocol, SubprocessTransport, subprocess_exec};
///
/// #[derive(Default)]
/// struct Warnings(usize);
///
/// impl SubprocessProtocol for Warnings {
///     fn pipe_data_received(&mut self, _: &SubprocessTransport, pipe: Pipe, data: &[u8]) {
///         if pipe == Pipe::Stderr && data.starts_with(b"warning") {
///             self.0 += 1;
///         }
///     }
/// }
///
/// # smol::block_on(async {
/// let script = Script::new().stdout("compiling\n").stderr("warning: unused\n").stdout("done\n").exit(0);
/// let warnings = subprocess_exec(Warnings::default(), script).await?.await;
/// assert_eq!(warnings.0, 1);
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "it does nothing unless it is started"]
pub struct Script {
    child: ScriptedChild,
    halves: [Halves; 3],
    clock: clock::Clock,
}

impl Script {
    /// A script without steps.
    pub fn new() -> Self {
        let (stage, halves) = Stage::new();
        let far = |pipe| stage.pipe(pipe).unwrap_or_else(|| memory::halves().1);
        let pipes = [far(Pipe::Stdin), far(Pipe::Stdout), far(Pipe::Stderr)];
        Self { child: ScriptedChild { stage, pipes }, halves, clock: clock::Clock::System }
    }

    /// The clock that it waits by, and that the time limits of a run go by, instead of the system's.
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.clock = clock::Clock::Manual(clock.0.clone());
        self.child.stage.set_clock(self.clock.clone());
        self
    }

    /// Writes to its standard output.
    pub fn stdout(self, data: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Write(Pipe::Stdout, data.into()))
    }

    /// Writes to its standard error.
    pub fn stderr(self, data: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Write(Pipe::Stderr, data.into()))
    }

    /// Lets time pass.
    pub fn wait(self, time: Duration) -> Self {
        self.step(Step::Wait(time))
    }

    /// Closes its end of a pipe.
    pub fn close(self, pipe: Pipe) -> Self {
        self.step(Step::Close(pipe))
    }

    /// Lets something else hold a pipe, as a child of its own would: it stays open beyond the exit.
    pub fn hold(self, pipe: Pipe) -> Self {
        self.step(Step::Hold(pipe))
    }

    /// Ignores a signal, by its number.
    ///
    /// # Panics
    ///
    /// If there is no such signal.
    pub fn ignore(self, signal: i32) -> Self {
        self.step(Step::Ignore(parse(signal)))
    }

    /// Belongs to another user from here on, as what `sudo` has started: signals are refused with
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied).
    pub fn protect(self) -> Self {
        self.step(Step::Protect)
    }

    /// Exits.
    pub fn exit(self, code: i32) -> Self {
        self.step(Step::Exit(code))
    }

    /// Ends by a signal.
    ///
    /// # Panics
    ///
    /// If there is no such signal.
    pub fn exit_by(self, signal: i32) -> Self {
        self.step(Step::ExitBy(parse(signal)))
    }

    /// A handle that stays when the script has been started.
    #[must_use]
    pub fn child(&self) -> ScriptedChild {
        self.child.clone()
    }

    fn step(self, step: Step) -> Self {
        self.child.stage.push(step);
        self
    }

    pub(crate) fn time(&self) -> clock::Clock {
        self.clock.clone()
    }

    #[allow(clippy::unnecessary_wraps, reason = "as for a process of the system")]
    pub(crate) fn spawn(self, leads: [Lead; 3]) -> io::Result<Spawned> {
        Ok(self.child.stage.spawn(self.halves, leads))
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("child", &self.child).finish_non_exhaustive()
    }
}

fn parse(signal: i32) -> Signal {
    Signal::from_named_raw(signal).unwrap_or_else(|| panic!("no such signal: {signal}"))
}

/// The child of a [`Script`], seen from its own side.
///
/// # Dropping
///
/// Dropping it does nothing: the script goes on.
#[derive(Clone)]
pub struct ScriptedChild {
    stage: Arc<Stage>,
    /// By their numbers in the child.
    pipes: [Arc<memory::Pipe>; 3],
}

impl ScriptedChild {
    /// The number that it goes by; no process has it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.stage.pid()
    }

    /// Writes to its standard output or error, in one piece.
    pub fn write(&self, pipe: Pipe, data: impl Into<Vec<u8>>) {
        self.stage.perform(Step::Write(pipe, data.into()));
    }

    /// Closes its end of a pipe.
    pub fn close(&self, pipe: Pipe) {
        self.stage.perform(Step::Close(pipe));
    }

    /// Lets something else hold a pipe: it stays open beyond the exit.
    pub fn hold(&self, pipe: Pipe) {
        self.stage.perform(Step::Hold(pipe));
    }

    /// Lets reading a pipe fail, after what was written.
    pub fn break_pipe(&self, pipe: Pipe, err: io::Error) {
        match pipe {
            Pipe::Stdin => self.pipe(pipe).fail_sending(err),
            Pipe::Stdout | Pipe::Stderr => self.pipe(pipe).fail_receiving(err),
        }
    }

    /// Ignores a signal, by its number.
    ///
    /// # Panics
    ///
    /// If there is no such signal.
    pub fn ignore(&self, signal: i32) {
        self.stage.perform(Step::Ignore(parse(signal)));
    }

    /// Exits.
    pub fn exit(&self, code: i32) {
        self.stage.perform(Step::Exit(code));
    }

    /// Ends by a signal.
    ///
    /// # Panics
    ///
    /// If there is no such signal.
    pub fn exit_by(&self, signal: i32) {
        self.stage.perform(Step::ExitBy(parse(signal)));
    }

    /// How many more bytes its standard input takes; without limit at the beginning.
    pub fn set_room(&self, bytes: usize) {
        self.pipe(Pipe::Stdin).set_room(bytes);
    }

    /// What was written to its standard input since the last call.
    #[must_use]
    pub fn take_stdin(&self) -> Vec<u8> {
        self.pipe(Pipe::Stdin).take_written()
    }

    /// Whether the other side has let go of a pipe; for standard input that is the end of file.
    #[must_use]
    pub fn is_closed(&self, pipe: Pipe) -> bool {
        self.pipe(pipe).is_closed()
    }

    /// The signals that were sent to it alone since the last call.
    #[must_use]
    pub fn take_signals(&self) -> Vec<i32> {
        numbers(self.stage.take_signals(Target::Child))
    }

    /// The signals that were sent to its process group since the last call.
    #[must_use]
    pub fn take_group_signals(&self) -> Vec<i32> {
        numbers(self.stage.take_signals(Target::Group))
    }

    /// Whether it has exited.
    #[must_use]
    pub fn has_exited(&self) -> bool {
        self.stage.has_exited()
    }

    /// Whether its exit was collected: nothing of it is left.
    #[must_use]
    pub fn is_collected(&self) -> bool {
        self.stage.is_collected()
    }

    const fn pipe(&self, pipe: Pipe) -> &Arc<memory::Pipe> {
        match pipe {
            Pipe::Stdin => &self.pipes[0],
            Pipe::Stdout => &self.pipes[1],
            Pipe::Stderr => &self.pipes[2],
        }
    }
}

fn numbers(signals: Vec<Signal>) -> Vec<i32> {
    signals.into_iter().map(Signal::as_raw).collect()
}

impl fmt::Debug for ScriptedChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedChild").field("pid", &self.pid()).field("has_exited", &self.has_exited()).finish()
    }
}

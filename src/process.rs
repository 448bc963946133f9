//! Child processes.

mod command;
mod stdio;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::panic::resume_unwind;
use std::pin::{Pin as Pinned, pin};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::task::{Context, Poll};

use async_executor::Executor;
use futures_lite::future;
use rustix::process::Signal;

pub use command::IntoCommand;
pub(crate) use command::Program;
pub use stdio::Stdio;
pub(crate) use stdio::Streams;

use crate::actor::delivery::Receive;
use crate::actor::mailbox::{Mailbox, Parcel};
use crate::actor::process::{ProcessActor, ProcessSide, Processes};
use crate::actor::stream::{Setup, StreamActor};
use crate::deferred::Deferred;
use crate::deferred::sealed::Build;
use crate::info::ExtraInfo;
use crate::io::Halves;
use crate::io::child::{Process, Spawned, Target};
use crate::message::{Closed, ProcessCommand, ProcessEvent};
use crate::protocol::{Pipe, SubprocessProtocol};
use crate::running::{Running, spawn};
use crate::state::kind::Kind;
use crate::state::limits::WriteLimits;
use crate::transport::{Handle, ReadTransport, WriteTransport};

/// Starts a child process and runs `protocol` on it.
///
/// The command is a `Command` of std or of async-process, or a mutable reference to one, as their builder methods
/// return it; the latter is left empty. Its own settings of standard input, output and error do not count: they are
/// set by the methods of the builder that this returns, and are pipes by default. In tests it may be a
/// [`Script`](crate::testing::Script), which is no process at all.
///
/// # Errors
///
/// What the system says when the program cannot be started; nothing is left behind then, and the protocol gets no
/// callback.
///
/// # Examples
///
/// ```
/// use std::process::Command;
/// use smol_transports::{Pipe, SubprocessProtocol, SubprocessTransport, subprocess_exec};
///
/// #[derive(Default)]
/// struct Date(Vec<u8>);
///
/// impl SubprocessProtocol for Date {
///     fn pipe_data_received(&mut self, _: &SubprocessTransport, pipe: Pipe, data: &[u8]) {
///         if pipe == Pipe::Stdout {
///             self.0.extend_from_slice(data);
///         }
///     }
/// }
///
/// # smol::block_on(async {
/// let date = subprocess_exec(Date::default(), Command::new("date").arg("+%Y")).await?.await;
/// assert!(date.0.starts_with(b"2"));
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub fn subprocess_exec<P: SubprocessProtocol>(protocol: P, command: impl IntoCommand) -> Spawn<P> {
    Spawn::new(protocol, command)
}

/// Runs a line of shell, by `sh -c`; [`subprocess_exec`] otherwise.
///
/// The line is taken as it is: a caller who builds it from foreign text must quote that.
pub fn subprocess_shell<P: SubprocessProtocol>(protocol: P, line: impl AsRef<std::ffi::OsStr>) -> Spawn<P> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line);
    subprocess_exec(protocol, command)
}

/// A child process to be started; made by [`subprocess_exec`] and [`subprocess_shell`].
#[must_use = "nothing happens until it is awaited"]
pub struct Spawn<P> {
    protocol: P,
    program: Program,
    streams: Streams,
    limits: WriteLimits,
    leads_group: bool,
}

impl<P> Spawn<P> {
    fn new(protocol: P, command: impl IntoCommand) -> Self {
        Self {
            protocol,
            program: command.into_program(),
            streams: Streams::default(),
            limits: WriteLimits::default(),
            leads_group: false,
        }
    }

    /// Where standard input comes from; a pipe by default.
    pub fn stdin(mut self, stdio: impl Into<Stdio>) -> Self {
        self.streams.stdin = stdio.into();
        self
    }

    /// Where standard output goes; a pipe by default.
    pub fn stdout(mut self, stdio: impl Into<Stdio>) -> Self {
        self.streams.stdout = stdio.into();
        self
    }

    /// Where standard error goes; a pipe by default.
    pub fn stderr(mut self, stdio: impl Into<Stdio>) -> Self {
        self.streams.stderr = stdio.into();
        self
    }

    /// The marks that the buffer of standard input begins with.
    pub const fn write_limits(mut self, limits: WriteLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Makes the child the leader of a process group of its own, to which its children belong unless they leave it.
    ///
    /// [`signal_group`](SubprocessTransport::signal_group) reaches all of them, also after the leader has exited:
    /// its exit is told at once, but collected only when all is over. [`close`](SubprocessTransport::close) and dropping
    /// kill all of them. What is typed at a terminal, as Ctrl-C, does not reach them any more.
    ///
    /// It needs a `Command` of std: with one of async-process, starting fails with
    /// [`InvalidInput`](io::ErrorKind::InvalidInput).
    #[doc(alias = "process_group")]
    pub const fn own_group(mut self) -> Self {
        self.leads_group = true;
        self
    }
}

impl<P> fmt::Debug for Spawn<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawn").field("program", &self.program).finish_non_exhaustive()
    }
}

impl<P> Spawn<P> {
    /// Starts the child; nobody has been told yet.
    fn spawn(self) -> io::Result<(P, SubprocessTransport, ProcessActor)> {
        let Self { protocol, program, streams, limits, leads_group } = self;
        let spawned = program.spawn(streams, leads_group)?;
        let (transport, actor) = supervise(spawned, limits, leads_group);
        Ok((protocol, transport, actor))
    }
}

impl<P: SubprocessProtocol> Build for Spawn<P> {
    type Output = io::Result<Subprocess<P>>;

    fn build(self) -> Self::Output {
        let (protocol, transport, actor) = self.spawn()?;
        Ok(Subprocess::start(protocol, transport, actor))
    }
}

impl<P: SubprocessProtocol> IntoFuture for Spawn<P> {
    type Output = io::Result<Subprocess<P>>;
    type IntoFuture = Deferred<Self>;

    fn into_future(self) -> Deferred<Self> {
        Deferred::new(self)
    }
}

/// The handle of a child process: cheap to clone, usable from every thread, never blocking.
///
/// It does not keep the child alive.
#[derive(Clone)]
pub struct SubprocessTransport {
    shared: Arc<Shared>,
}

struct Shared {
    mailbox: Arc<Mailbox<ProcessSide>>,
    process: Arc<Process>,
    stdin: Option<WriteTransport>,
    stdout: Option<ReadTransport>,
    stderr: Option<ReadTransport>,
}

/// The transport of one pipe of a child process.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PipeTransport {
    /// Standard output or error.
    Read(ReadTransport),
    /// Standard input.
    Write(WriteTransport),
}

impl SubprocessTransport {
    /// The number of the process; it stays after the exit.
    #[doc(alias = "get_pid")]
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.shared.process.pid()
    }

    /// How the child has exited; none while it runs. It is there from before `process_exited` on.
    ///
    /// If something else in this process has collected the exit (a `waitpid` on all children), what it was cannot be
    /// known: it is told as the exit code 255.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.shared.process.status()
    }

    /// The exit code, or minus the number of the signal that has ended the child; none while it runs.
    #[doc(alias = "get_returncode")]
    #[must_use]
    pub fn returncode(&self) -> Option<i32> {
        let status = self.status()?;
        status.code().or_else(|| status.signal().map(|signal| -signal))
    }

    /// The transport of standard input, if that is a pipe; also after its end.
    #[doc(alias = "get_pipe_transport")]
    #[must_use]
    pub fn stdin(&self) -> Option<&WriteTransport> {
        self.shared.stdin.as_ref()
    }

    /// The transport of standard output, if that is a pipe; also after its end.
    #[doc(alias = "get_pipe_transport")]
    #[must_use]
    pub fn stdout(&self) -> Option<&ReadTransport> {
        self.shared.stdout.as_ref()
    }

    /// The transport of standard error, if that is a pipe; also after its end.
    #[doc(alias = "get_pipe_transport")]
    #[must_use]
    pub fn stderr(&self) -> Option<&ReadTransport> {
        self.shared.stderr.as_ref()
    }

    /// The transport of a pipe, if there is one; also after its end.
    #[doc(alias = "get_pipe_transport")]
    #[must_use]
    pub fn pipe(&self, pipe: Pipe) -> Option<PipeTransport> {
        match pipe {
            Pipe::Stdin => self.stdin().cloned().map(PipeTransport::Write),
            Pipe::Stdout => self.stdout().cloned().map(PipeTransport::Read),
            Pipe::Stderr => self.stderr().cloned().map(PipeTransport::Read),
        }
    }

    /// The transport of the pipe that is the descriptor `fd` in the child, if there is one.
    #[doc(alias = "get_pipe_transport")]
    #[must_use]
    pub fn pipe_fd(&self, fd: i32) -> Option<PipeTransport> {
        self.pipe(Pipe::from_fd(fd)?)
    }

    /// Sends a signal, by its number. Does nothing if the child has exited.
    ///
    /// The number of a process is not signalled after the system may have given it to another one. Where the exit is
    /// learnt by a signal, on systems other than Linux from 5.3 on, that holds only if this process collects no
    /// children by other means.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a number that is no signal; `ESRCH` after `connection_lost`;
    /// what the system says otherwise.
    pub fn send_signal(&self, signal: i32) -> io::Result<()> {
        self.signal(Target::Child, parse_signal(signal)?)
    }

    /// Sends a signal, by its number, to the process group of the child, also after the child has exited; see
    /// [`own_group`](Spawn::own_group). Does nothing if nobody is left.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a number that is no signal, and if the child has no group of
    /// its own; `ESRCH` after `connection_lost`; what the system says otherwise.
    #[doc(alias = "killpg")]
    pub fn signal_group(&self, signal: i32) -> io::Result<()> {
        if !self.shared.process.leads_group() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the child has no process group of its own"));
        }
        self.signal(Target::Group, parse_signal(signal)?)
    }

    /// Asks the child to end, by SIGTERM; [`send_signal`](Self::send_signal) otherwise.
    ///
    /// # Errors
    ///
    /// As [`send_signal`](Self::send_signal).
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Target::Child, Signal::TERM)
    }

    /// Ends the child, by SIGKILL; [`send_signal`](Self::send_signal) otherwise.
    ///
    /// # Errors
    ///
    /// As [`send_signal`](Self::send_signal).
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Target::Child, Signal::KILL)
    }

    fn signal(&self, target: Target, signal: Signal) -> io::Result<()> {
        if self.shared.mailbox.is_buried() {
            return Err(rustix::io::Errno::SRCH.into());
        }
        self.shared.process.signal(target, signal)
    }

    /// Closes the pipes and kills the child, unless it has exited; does not wait for it. `process_exited` and
    /// `connection_lost` still follow. The second call does nothing.
    pub fn close(&self) {
        let Shared { mailbox, process, stdin, stdout, stderr } = &*self.shared;
        // First, or the end of its standard input may have it exit by itself. There may be nobody left to kill.
        let _ = process.kill();
        mailbox.close_child();
        // The actor cuts them. What can be read back is true at once.
        stdin.iter().for_each(WriteTransport::close);
        stdout.iter().chain(stderr).for_each(ReadTransport::close);
    }

    /// Whether [`close`](Self::close) was called, or the child was dropped. An end that comes by itself is no closing: see
    /// [`status`](Self::status) and [`closed`](Self::closed).
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.shared.mailbox.was_closed()
    }

    /// Waits for the end: the child has exited, its pipes are gone, and `connection_lost` has returned. Many may wait.
    ///
    /// # Errors
    ///
    /// An error only if a callback has panicked.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn closed(&self) -> io::Result<()> {
        self.shared.mailbox.closed().await
    }

    /// Posts a command: the message form of the methods above. Those of the pipes have messages of their own.
    ///
    /// # Errors
    ///
    /// Gives the command back if all is over.
    pub fn send(&self, command: ProcessCommand) -> Result<(), Closed<ProcessCommand>> {
        if self.shared.mailbox.has_ended() {
            return Err(Closed(command));
        }
        // A signal for a child that has just exited is late, not wrong.
        match command {
            ProcessCommand::Signal(signal) => drop(self.send_signal(signal)),
            ProcessCommand::Terminate => drop(self.terminate()),
            ProcessCommand::Kill => drop(self.kill()),
            ProcessCommand::Close => self.close(),
        }
        Ok(())
    }

    /// Replaces the protocol: the next callback of any kind goes to the new one, which gets no `connection_made`.
    ///
    /// The protocol that the [`Subprocess`] was made with stays with it and is what it resolves to.
    pub fn set_protocol(&self, protocol: impl SubprocessProtocol + Send + 'static) {
        let protocol: Box<dyn SubprocessProtocol + Send> = Box::new(protocol);
        self.shared.mailbox.renew(Box::new(protocol));
    }
}

fn parse_signal(signal: i32) -> io::Result<Signal> {
    let no_signal = || io::Error::new(io::ErrorKind::InvalidInput, format!("no such signal: {signal}"));
    Signal::from_named_raw(signal).ok_or_else(no_signal)
}

impl fmt::Debug for SubprocessTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubprocessTransport").field("pid", &self.pid()).field("status", &self.status()).finish()
    }
}

/// A child process with its protocol: a future that runs it and resolves to the protocol when all is over.
///
/// It makes progress while it is polled: await it, or [`spawn`](Self::spawn) it. `connection_made` has been called
/// already.
///
/// # Panics
///
/// A panic of a callback kills the child and is resumed in whoever awaits it, after `connection_lost`.
/// Polling it again after it has resolved panics.
///
/// # Dropping
///
/// Dropping it kills the child at once: `connection_lost` is called and the pipes are closed before the drop returns,
/// and the child is collected in the background. `process_exited` is not called then.
#[must_use = "a child makes progress only while it is polled, and is killed when it is dropped"]
pub struct Subprocess<P: SubprocessProtocol> {
    transport: SubprocessTransport,
    /// Taken when it has resolved.
    running: Option<Run<P>>,
}

struct Run<P> {
    actor: ProcessActor,
    protocol: P,
    /// What `set_protocol` has put in the place of `protocol`.
    swapped: Option<Box<dyn SubprocessProtocol + Send>>,
}

const RESOLVED: &str = "the child has resolved already";

impl<P: SubprocessProtocol> Subprocess<P> {
    fn start(protocol: P, transport: SubprocessTransport, actor: ProcessActor) -> Self {
        let mut running = Run { actor, protocol, swapped: None };
        let (actor, mut adapter) = running.split(&transport);
        actor.made(&mut adapter);
        Self { transport, running: Some(running) }
    }

    /// The handle; clone it to keep it.
    pub const fn transport(&self) -> &SubprocessTransport {
        &self.transport
    }

    /// The protocol that the child was started with, also after `set_protocol`.
    ///
    /// # Panics
    ///
    /// If it has resolved already.
    #[doc(alias = "get_protocol")]
    pub fn protocol(&self) -> &P {
        &self.running.as_ref().expect(RESOLVED).protocol
    }

    /// The same, to be changed.
    ///
    /// # Panics
    ///
    /// If it has resolved already.
    pub fn protocol_mut(&mut self) -> &mut P {
        &mut self.running.as_mut().expect(RESOLVED).protocol
    }

    /// Runs the child beside `f` until `f` is done; goes on with `f` alone if the child ends before.
    pub async fn run_until<F: Future>(&mut self, f: F) -> F::Output {
        let mut f = pin!(f);
        future::poll_fn(|cx| {
            if let Some(running) = &mut self.running {
                let _ = running.poll(cx, &self.transport);
            }
            f.as_mut().poll(cx)
        })
        .await
    }

    /// Runs the child in the background; see [`Connection::spawn`](crate::Connection::spawn).
    pub fn spawn(self) -> (SubprocessTransport, Running<P>)
    where
        P: Send + 'static,
    {
        let transport = self.transport.clone();
        let stop = transport.shared.mailbox.clone();
        (transport, Running::new(spawn(self), stop))
    }

    /// Runs the child on an executor of your own.
    pub fn spawn_on<'a>(self, executor: &Executor<'a>) -> (SubprocessTransport, Running<P>)
    where
        P: Send + 'a,
    {
        let transport = self.transport.clone();
        let stop = transport.shared.mailbox.clone();
        (transport, Running::new(executor.spawn(self), stop))
    }
}

impl<P: SubprocessProtocol> Subprocess<P> {
    /// Starts a child with these standard streams.
    pub(crate) fn spawned(protocol: P, program: Program, streams: Streams, leads_group: bool) -> io::Result<Self> {
        Spawn { protocol, program, streams, limits: WriteLimits::default(), leads_group }.build()
    }
}

/// Starts a child with pipes, for the layer without protocols.
pub(crate) fn open(command: impl IntoCommand) -> io::Result<(SubprocessTransport, ProcessActor)> {
    let (_, transport, actor) = Spawn::new((), command).spawn()?;
    Ok((transport, actor))
}

fn supervise(spawned: Spawned, limits: WriteLimits, leads_group: bool) -> (SubprocessTransport, ProcessActor) {
    let Spawned { child, exit, ends } = spawned;
    let pipes: Vec<_> = ends.into_iter().map(|(pipe, halves)| (pipe, pipe_actor(pipe, halves, limits))).collect();
    let mailbox = |wanted| {
        let found = pipes.iter().find(|(pipe, _)| *pipe == wanted);
        found.map(|(_, actor)| actor.mailbox().clone())
    };
    let process = Process::new(child, leads_group);
    let shared = Arc::new(Shared {
        mailbox: Arc::new(Mailbox::new(ProcessSide::new(), ExtraInfo::default())),
        process: process.clone(),
        stdin: mailbox(Pipe::Stdin).map(WriteTransport::new),
        stdout: mailbox(Pipe::Stdout).map(ReadTransport::new),
        stderr: mailbox(Pipe::Stderr).map(ReadTransport::new),
    });
    let actor = ProcessActor::new(shared.mailbox.clone(), process, exit, pipes);
    (SubprocessTransport { shared }, actor)
}

fn pipe_actor(pipe: Pipe, halves: Halves, limits: WriteLimits) -> StreamActor {
    let kind = if pipe == Pipe::Stdin { Kind::WritePipe } else { Kind::ReadPipe };
    StreamActor::new(halves, ExtraInfo::default(), Setup { kind, limits, ..Setup::default() })
}

impl<P: SubprocessProtocol> Future for Subprocess<P> {
    type Output = P;

    fn poll(self: Pinned<&mut Self>, cx: &mut Context<'_>) -> Poll<P> {
        let this = self.get_mut();
        let running = this.running.as_mut().expect(RESOLVED);
        if running.poll(cx, &this.transport).is_pending() {
            return Poll::Pending;
        }
        let Run { mut actor, protocol, .. } = this.running.take().expect(RESOLVED);
        if let Some(payload) = actor.take_payload() {
            resume_unwind(payload);
        }
        Poll::Ready(protocol)
    }
}

// Nothing is ever pinned inside: the protocol is lent by reference only.
impl<P: SubprocessProtocol> Unpin for Subprocess<P> {}

impl<P: SubprocessProtocol> Drop for Subprocess<P> {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let (actor, mut adapter) = running.split(&self.transport);
            actor.end(&mut adapter);
        }
    }
}

impl<P: SubprocessProtocol> fmt::Debug for Subprocess<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subprocess").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl<P: SubprocessProtocol> Run<P> {
    fn split<'a>(&'a mut self, transport: &'a SubprocessTransport) -> (&'a mut ProcessActor, Adapter<'a, P>) {
        let Self { actor, protocol, swapped } = self;
        (actor, Adapter { transport, protocol, swapped })
    }

    fn poll(&mut self, cx: &mut Context<'_>, transport: &SubprocessTransport) -> Poll<()> {
        let (actor, mut adapter) = self.split(transport);
        actor.poll(cx, &mut adapter)
    }
}

/// Turns events into callbacks of whichever protocol is in place.
struct Adapter<'a, P> {
    transport: &'a SubprocessTransport,
    protocol: &'a mut P,
    swapped: &'a mut Option<Box<dyn SubprocessProtocol + Send>>,
}

impl<P: SubprocessProtocol> Adapter<'_, P> {
    fn present(&mut self) -> &mut dyn SubprocessProtocol {
        match self.swapped {
            Some(protocol) => &mut **protocol,
            None => self.protocol,
        }
    }
}

impl<P: SubprocessProtocol> Receive<Processes> for Adapter<'_, P> {
    fn renew(&mut self, protocol: Parcel) {
        *self.swapped = protocol.downcast().ok().map(|protocol| *protocol);
    }

    fn event(&mut self, event: ProcessEvent<'_>) {
        let transport = self.transport;
        let protocol = self.present();
        match event {
            ProcessEvent::ConnectionMade => protocol.connection_made(transport),
            ProcessEvent::PipeDataReceived(pipe, data) => protocol.pipe_data_received(transport, pipe, &data),
            ProcessEvent::PipeConnectionLost(pipe, exc) => protocol.pipe_connection_lost(transport, pipe, exc),
            ProcessEvent::ProcessExited(status) => protocol.process_exited(transport, status),
            ProcessEvent::PauseWriting(pipe) => protocol.pause_writing(transport, pipe),
            ProcessEvent::ResumeWriting(pipe) => protocol.resume_writing(transport, pipe),
            ProcessEvent::ConnectionLost(exc) => protocol.connection_lost(exc),
        }
    }
}

//! Child processes.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::process::Command;
use std::sync::Arc;

use crate::actor::mailbox::Mailbox;
use crate::actor::process::{ProcessActor, ProcessSide};
use crate::actor::stream::{Setup, StreamActor};
use crate::deferred::Deferred;
use crate::deferred::sealed::Build;
use crate::info::{ExtraInfo, PipeKind};
use crate::io::Halves;
use crate::io::child::{Process, Spawned};
use crate::protocol::{Pipe, SubprocessProtocol};
use crate::state::kind::Kind;
use crate::state::limits::WriteLimits;
use crate::transport::{Handle, ReadTransport, WriteTransport};

mod command;
mod stdio;
mod subprocess;
mod transport;

pub use command::IntoCommand;
pub(crate) use command::Program;
pub use stdio::Stdio;
pub(crate) use stdio::Streams;
pub use subprocess::Subprocess;
use transport::Shared;
pub use transport::{PipeTransport, SubprocessTransport};

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
/// # Cancel safety
///
/// It does not wait: nothing is started before the builder is awaited, and then the child is there at once.
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
///
/// # Errors
///
/// What the system says when there is no `sh`. A command that the shell does not find is an exit with the code 127.
///
/// # Examples
///
/// ```
/// use std::process::ExitStatus;
/// use smol_transports::{SubprocessProtocol, SubprocessTransport, subprocess_shell};
///
/// #[derive(Default)]
/// struct Exit(Option<i32>);
///
/// impl SubprocessProtocol for Exit {
///     fn process_exited(&mut self, _: &SubprocessTransport, status: ExitStatus) {
///         self.0 = status.code();
///     }
/// }
///
/// # smol::block_on(async {
/// let exit = subprocess_shell(Exit::default(), "true && exit 3").await?.await;
/// assert_eq!(exit.0, Some(3));
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
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
    let own = Arc::new(Mailbox::new(ProcessSide::new(), ExtraInfo::default()));
    own.trace().set_pid(child.pid());
    let make = |(pipe, halves)| (pipe, pipe_actor(pipe, halves, limits));
    let pipes: Vec<_> = own.trace().within(|| ends.into_iter().map(make).collect());
    let mailbox = |wanted| {
        let found = pipes.iter().find(|(pipe, _)| *pipe == wanted);
        found.map(|(_, actor)| actor.mailbox().clone())
    };
    let process = Process::new(child, leads_group);
    let shared = Arc::new(Shared {
        mailbox: own,
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
    let info = ExtraInfo::of_pipe(PipeKind::Fifo);
    let actor = StreamActor::new(halves, info, Setup { kind, limits, ..Setup::default() });
    actor.mailbox().trace().set_pipe(pipe);
    actor
}

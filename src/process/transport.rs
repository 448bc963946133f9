//! The handle of a child process.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::process::Signal;

#[cfg(doc)]
use super::{Spawn, Subprocess};
#[cfg(doc)]
use crate::Written;
use crate::actor::mailbox::Mailbox;
use crate::actor::process::ProcessSide;
use crate::io::child::{Process, Target};
use crate::message::{Closed, ProcessCommand};
use crate::protocol::{Pipe, SubprocessProtocol};
use crate::transport::{ReadTransport, WriteTransport};

/// The handle of a child process: cheap to clone, usable from every thread, never blocking.
///
/// # Dropping
///
/// Dropping a handle does nothing: handles do not keep the child alive.
///
/// # Examples
///
/// ```
/// use std::process::Command;
/// use smol_transports::{SubprocessProtocol, subprocess_exec};
///
/// struct Ignore;
///
/// impl SubprocessProtocol for Ignore {}
///
/// # smol::block_on(async {
/// let (child, running) = subprocess_exec(Ignore, Command::new("cat")).await?.spawn();
/// assert_eq!(child.returncode(), None);
/// child.terminate()?;
/// running.await;
/// assert_eq!(child.returncode(), Some(-15));
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct SubprocessTransport {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) mailbox: Arc<Mailbox<ProcessSide>>,
    pub(super) process: Arc<Process>,
    pub(super) stdin: Option<WriteTransport>,
    pub(super) stdout: Option<ReadTransport>,
    pub(super) stderr: Option<ReadTransport>,
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
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a number that is no signal with a name; `ESRCH` after `connection_lost`;
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

    /// Replaces the protocol: the next callback of any kind goes to the new one, which gets no `connection_made`. A pause of
    /// standard input that is due already, since a write was answered by [`Written::Full`], goes to the old one.
    ///
    /// The protocol that the [`Subprocess`] was made with stays with it and is what it resolves to.
    pub fn set_protocol(&self, protocol: impl SubprocessProtocol + Send + 'static) {
        let protocol: Box<dyn SubprocessProtocol + Send> = Box::new(protocol);
        let untold = || self.stdin().map_or(0, |stdin| stdin.mailbox().untold());
        self.shared.mailbox.renew_counting(Box::new(protocol), untold);
    }
}

fn parse_signal(signal: i32) -> io::Result<Signal> {
    let no_signal = || {
        let text = format!("no signal with a name: {signal}; those for real time are not supported");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    Signal::from_named_raw(signal).ok_or_else(no_signal)
}

impl fmt::Debug for SubprocessTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubprocessTransport").field("pid", &self.pid()).field("status", &self.status()).finish()
    }
}

//! What a run has come to.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use super::course::End;
use super::memory::Output;
use super::sink::Chunk;
use super::stamps::Stamp;
use crate::protocol::Pipe;

/// How a child has ended, and what it has put out.
///
/// `Display` says it as a person would: "exit 3", "SIGKILL after 30.0 s: time limit, TERM ignored".
#[derive(Clone, Debug)]
pub struct Captured {
    pub(super) status: ExitStatus,
    pub(super) end: End,
    pub(super) was_killed: bool,
    /// The signal that has asked it to end in vain.
    pub(super) ignored: Option<i32>,
    pub(super) duration: Duration,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(super) held: Vec<Pipe>,
}

impl Captured {
    /// How the child has exited, whatever became of its pipes. If that is not known it is the exit code 255: something else
    /// in this process has collected the exit, or the child was left because it could not be killed.
    #[must_use]
    pub const fn status(&self) -> ExitStatus {
        self.status
    }

    /// The exit code; none if a signal has ended the child.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// What ended the run.
    #[must_use]
    pub const fn end(&self) -> End {
        self.end
    }

    /// Whether the child had to be killed, because it did not end when it was asked to, or there was no grace.
    #[must_use]
    pub const fn was_killed(&self) -> bool {
        self.was_killed
    }

    /// Whether the child has exited by itself, with the code 0. Pipes that are held do not count.
    #[must_use]
    pub fn success(&self) -> bool {
        self.end == End::Exit && self.status.success()
    }

    /// From the start to the exit.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.duration
    }

    /// Standard output; also standard error if that leads there.
    #[must_use]
    pub const fn stdout(&self) -> &Output {
        &self.stdout
    }

    /// Standard error.
    #[must_use]
    pub const fn stderr(&self) -> &Output {
        &self.stderr
    }

    /// Standard output and error, moved out.
    #[must_use]
    pub fn into_outputs(self) -> (Output, Output) {
        (self.stdout, self.stderr)
    }

    /// The pipes that something still held some time after the exit: what came later is not there.
    #[must_use]
    pub fn held_pipes(&self) -> &[Pipe] {
        &self.held
    }

    /// What was kept of both pipes, in the order in which it has come. What came from one pipe within a millisecond, with
    /// nothing from the other one between it, is one chunk. After 16,384 chunks, and again after so many more, this gets
    /// twice as coarse, and what came in between from the other pipe follows: times and order must not take more memory
    /// than the output.
    ///
    /// The order of two pipes is that of reading, which is only nearly that of writing;
    /// [`merged`](super::Run::merged) gives that.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> {
        let mut stdout = self.stdout.pieces().peekable();
        let mut stderr = self.stderr.pieces().peekable();
        std::iter::from_fn(move || {
            let first = match (number(stdout.peek()), number(stderr.peek())) {
                (Some(out), Some(err)) => out < err,
                (out, _) => out.is_some(),
            };
            let (pipe, piece) = if first { (Pipe::Stdout, stdout.next()) } else { (Pipe::Stderr, stderr.next()) };
            piece.map(|(stamp, data)| Chunk { pipe, at: stamp.at, data: Cow::Borrowed(data) })
        })
    }

    /// The result of a run that has failed after its start, out of its error.
    ///
    /// # Errors
    ///
    /// The same error, if it is of another kind.
    pub fn from_error(err: io::Error) -> io::Result<Self> {
        err.downcast::<Failure>().map(|failure| failure.captured)
    }
}

impl fmt::Display for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Code(self.status).fmt(f)?;
        if self.end != End::Exit {
            write!(f, " after {:.1} s: {}", self.duration.as_secs_f64(), self.end)?;
        }
        if let (Some(ignored), Some(KILL)) = (self.ignored, self.status.signal()) {
            match signal_name(ignored).and_then(|name| name.strip_prefix("SIG")) {
                Some(name) => write!(f, ", {name} ignored")?,
                None => write!(f, ", signal {ignored} ignored")?,
            }
        }
        if !self.held.is_empty() {
            let names: Vec<_> = self.held.iter().map(|pipe| name(*pipe)).collect();
            write!(f, "; pipe held: {}", names.join(", "))?;
        }
        for (pipe, output) in [(Pipe::Stdout, &self.stdout), (Pipe::Stderr, &self.stderr)] {
            if output.dropped() > 0 && !output.bytes().is_empty() {
                write!(f, "; {} bytes of {} not kept", output.dropped(), name(pipe))?;
            }
        }
        Ok(())
    }
}

fn number(piece: Option<&(Stamp, &[u8])>) -> Option<u64> {
    piece.map(|(stamp, _)| stamp.number)
}

const KILL: i32 = 9;

const fn name(pipe: Pipe) -> &'static str {
    match pipe {
        Pipe::Stdin => "stdin",
        Pipe::Stdout => "stdout",
        Pipe::Stderr => "stderr",
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exit => "exited",
            Self::Limit => "time limit",
            Self::IdleLimit => "silent for too long",
            Self::FirstOutputLimit => "no output",
            Self::Stopped => "stopped",
            Self::Failed => "its input or output failed",
        })
    }
}

/// A status as a person would say it.
struct Code(ExitStatus);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "exit {code}"),
            (None, Some(signal)) => {
                match signal_name(signal) {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "signal {signal}")?,
                }
                f.write_str(if self.0.core_dumped() { " (core dumped)" } else { "" })
            }
            (None, None) => self.0.fmt(f),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    use rustix::process::Signal;
    Some(match Signal::from_named_raw(signal)? {
        Signal::ABORT => "SIGABRT",
        Signal::ALARM => "SIGALRM",
        Signal::BUS => "SIGBUS",
        Signal::FPE => "SIGFPE",
        Signal::HUP => "SIGHUP",
        Signal::ILL => "SIGILL",
        Signal::INT => "SIGINT",
        Signal::KILL => "SIGKILL",
        Signal::PIPE => "SIGPIPE",
        Signal::QUIT => "SIGQUIT",
        Signal::SEGV => "SIGSEGV",
        Signal::SYS => "SIGSYS",
        Signal::TERM => "SIGTERM",
        Signal::TRAP => "SIGTRAP",
        Signal::USR1 => "SIGUSR1",
        Signal::USR2 => "SIGUSR2",
        Signal::XCPU => "SIGXCPU",
        Signal::XFSZ => "SIGXFSZ",
        _ => return None,
    })
}

/// A run that has started and then failed: the error inside of the [`io::Error`].
///
/// [`Captured::from_error`] takes the result out of it.
#[derive(Debug)]
pub struct Failure {
    program: String,
    captured: Captured,
    cause: Option<io::Error>,
}

impl Failure {
    pub(super) fn into_error(program: String, captured: Captured, cause: Option<io::Error>) -> io::Error {
        let kind = match (&cause, captured.end) {
            (Some(cause), _) => cause.kind(),
            (None, End::Limit | End::IdleLimit | End::FirstOutputLimit) => io::ErrorKind::TimedOut,
            (None, _) => io::ErrorKind::Other,
        };
        io::Error::new(kind, Self { program, captured, cause })
    }

    /// The failure inside of an error, if it is one.
    #[must_use]
    pub fn of(err: &io::Error) -> Option<&Self> {
        err.get_ref()?.downcast_ref()
    }

    /// What the run has come to.
    #[must_use]
    pub const fn captured(&self) -> &Captured {
        &self.captured
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.program, self.captured)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

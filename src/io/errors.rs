//! The one place that classifies errors of system calls.

use std::error::Error;
use std::fmt::{self, Display};
use std::io;

/// What an error of `accept` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    /// Nobody is there: wait.
    Wait,
    /// That client is gone, or the call was interrupted: go on with the next at once.
    Skip,
    /// The system is short of something, or the listener is broken: report it and pause.
    BackOff,
}

/// Calls `f` again as long as it is interrupted by a signal.
#[inline]
pub(crate) fn retry<R>(mut f: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match f() {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Turns "would block" into `None`.
#[inline]
pub(crate) fn unless_blocked<R>(result: io::Result<R>) -> io::Result<Option<R>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(err) => Err(err),
    }
}

/// Says where an error has come up; its kind stays, and it is the source of the new one.
pub(crate) fn within(context: impl Display, cause: io::Error) -> io::Error {
    io::Error::new(cause.kind(), Within { text: format!("{context}: {cause}"), cause })
}

#[derive(Debug)]
struct Within {
    text: String,
    cause: io::Error,
}

impl Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Within {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// Classifies an error of `accept`. A client can cause the skipped ones, so they must not slow the others down.
pub(crate) fn of_accept(err: &io::Error) -> Accept {
    match err.kind() {
        io::ErrorKind::WouldBlock => Accept::Wait,
        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => Accept::Skip,
        _ if is_dead_client(err) => Accept::Skip,
        _ => Accept::BackOff,
    }
}

/// Linux hands pending network errors of the new connection to `accept`; `accept(2)` says to treat them as `EAGAIN`.
#[cfg(unix)]
fn is_dead_client(err: &io::Error) -> bool {
    use rustix::io::Errno;
    const DEAD: [Errno; 8] = [
        Errno::PROTO,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
    ];
    err.raw_os_error().is_some_and(|code| DEAD.iter().any(|errno| errno.raw_os_error() == code))
}

#[cfg(not(unix))]
fn is_dead_client(_: &io::Error) -> bool {
    false
}

//! Children of the system.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll, Waker};

use async_process::Command;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use super::{Child, Exit, Exited, Process, Spawned, Target, ended_by, exit_code, unknown};
use crate::io::errors::retry;
use crate::io::{Halves, pipe};
use crate::protocol::Pipe;

/// Starts a child.
pub(crate) fn spawn(mut command: Command, ends: Vec<(Pipe, Halves)>) -> io::Result<Spawned> {
    // async-process needs a descriptor to wait with, and leaves the child alone if there is none; so do we: better none
    // now.
    drop(pipe::pair()?);
    let child = command.reap_on_drop(true).spawn()?;
    // The command holds the child's ends of the pipes.
    drop(command);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH)?;
    let mut child = SystemChild { child, pid, collected: false };
    let exit = Box::new(SystemExit { pid, pidfd: watch(pid)?, status: Box::pin(child.child.status()) });
    Ok(Spawned { child: Box::new(child), exit, ends })
}

#[derive(Debug)]
struct SystemChild {
    child: async_process::Child,
    pid: Pid,
    /// The number is no longer its own.
    collected: bool,
}

impl Drop for SystemChild {
    fn drop(&mut self) {
        if !self.collected {
            // It may have exited by itself; then there is nothing to kill.
            let _ = self.child.kill();
        }
    }
}

impl Child for SystemChild {
    fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    fn signal(&mut self, target: Target, signal: Signal) -> io::Result<Option<Waker>> {
        match target {
            Target::Child => rustix::process::kill_process(self.pid, signal)?,
            Target::Group => rustix::process::kill_process_group(self.pid, signal)?,
        }
        Ok(None)
    }

    fn collect(&mut self) {
        // What it was is known already.
        let _ = self.child.try_status();
        self.collected = true;
    }
}

/// Waits by a descriptor of the process, else by async-process.
struct SystemExit {
    pid: Pid,
    /// None where the system has none, or cannot wait for it.
    pidfd: Option<Watch>,
    /// Collects the exit.
    status: Pin<Box<dyn Future<Output = io::Result<ExitStatus>> + Send>>,
}

impl Exit for SystemExit {
    fn poll(&mut self, cx: &mut Context<'_>, process: &Process) -> Poll<Exited> {
        while let Some(pidfd) = &mut self.pidfd {
            match pidfd.poll_readable(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {
                    if let Some(status) = peek(self.pid) {
                        return Poll::Ready(Exited { status, collected: false });
                    }
                }
                Poll::Ready(Err(_)) => self.pidfd = None,
            }
        }
        // Whoever sends a signal meanwhile must not hit a number that was given back.
        let _lock = process.lock();
        if let Some(status) = peek(self.pid) {
            return Poll::Ready(Exited { status, collected: false });
        }
        let status = self.status.as_mut().poll(cx);
        status.map(|status| Exited { status: status.unwrap_or_else(|_| unknown()), collected: true })
    }
}

/// How a child has exited, without collecting it; none while it runs.
fn peek(pid: Pid) -> Option<ExitStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    match retry(|| Ok(rustix::process::waitid(WaitId::Pid(pid), options)?)) {
        Ok(status) => status.map(|status| exit_status(&status)),
        Err(_) => Some(unknown()),
    }
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => exit_code(code),
        (None, Some(signal)) => ended_by(signal, status.dumped()),
        (None, None) => unknown(),
    }
}

#[cfg(target_os = "linux")]
type Watch = crate::io::async_io::Binding<std::os::fd::OwnedFd>;

/// A descriptor that becomes readable when the process exits. None where the system has no such thing.
#[cfg(target_os = "linux")]
fn watch(pid: Pid) -> io::Result<Option<Watch>> {
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, pidfd_open};

    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(Watch::Unbound(std::sync::Arc::new(pidfd)))),
        // An old kernel, a filter of system calls, or somebody who has collected the exit.
        Err(Errno::NOSYS | Errno::PERM | Errno::SRCH) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
enum Watch {}

#[cfg(not(target_os = "linux"))]
impl Watch {
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

#[cfg(not(target_os = "linux"))]
#[allow(clippy::unnecessary_wraps, reason = "as on Linux")]
fn watch(_: Pid) -> io::Result<Option<Watch>> {
    Ok(None)
}

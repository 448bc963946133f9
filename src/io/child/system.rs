//! Children that async-process waits for.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll, Waker};

use async_process::Command;
use rustix::process::{Pid, Signal};

use super::{Child, Ends, Exit, Exited, Process, Spawned, Target, peek, unknown};
use crate::io::pipe;

/// Starts a child.
pub(crate) fn spawn(mut command: Command, ends: Ends) -> io::Result<Spawned> {
    // async-process needs a descriptor to wait with, and leaves the child alone if there is none: better none now.
    drop(pipe::pair()?);
    let child = command.reap_on_drop(true).spawn()?;
    // The command holds the child's ends of the pipes.
    drop(command);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH)?;
    let mut child = SystemChild { child, pid, collected: false };
    let exit = Box::new(SystemExit { pid, status: Box::pin(child.child.status()) });
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

struct SystemExit {
    pid: Pid,
    /// Collects the exit.
    status: Pin<Box<dyn Future<Output = io::Result<ExitStatus>> + Send>>,
}

impl Exit for SystemExit {
    fn poll(&mut self, cx: &mut Context<'_>, process: &Process) -> Poll<Exited> {
        // Whoever sends a signal meanwhile must not hit a number that was given back.
        let _lock = process.lock();
        if let Some(exited) = peek(self.pid) {
            return Poll::Ready(exited);
        }
        let status = self.status.as_mut().poll(cx);
        status.map(|status| Exited { status: status.unwrap_or_else(|_| unknown()), collected: true })
    }
}

//! What stands between the actor of a child process and the child: a process of the system, or a script.

#[cfg(target_os = "linux")]
pub(crate) mod pidfd;
pub(crate) mod script;
pub(crate) mod system;

use std::fmt::Debug;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use super::Halves;
use super::errors::retry;
use crate::protocol::Pipe;

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Child,
    /// The process group that the child leads.
    Group,
}

/// A child whose exit was not collected: until then its number is its own.
///
/// Dropping it kills the child, and leaves the collecting to the background.
pub(crate) trait Child: Debug + Send {
    fn pid(&self) -> u32;

    /// Sends a signal; gives whom to wake for it, without a lock.
    fn signal(&mut self, target: Target, signal: Signal) -> io::Result<Option<Waker>>;

    /// Collects the exit of a child that has exited.
    fn collect(&mut self);
}

/// Tells when the child has exited.
pub(crate) trait Exit: Send {
    /// Ready once. Does not collect the exit if there is a way not to.
    fn poll(&mut self, cx: &mut Context<'_>, process: &Process) -> Poll<Exited>;
}

/// How a child has exited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exited {
    status: ExitStatus,
    /// The number of the process may belong to somebody else by now.
    collected: bool,
}

/// This side's ends of the pipes.
pub(crate) type Ends = Vec<(Pipe, Halves)>;

/// A child that was just started.
pub(crate) struct Spawned {
    pub(crate) child: Box<dyn Child>,
    pub(crate) exit: Box<dyn Exit>,
    pub(crate) ends: Ends,
}

/// The child, shared by the actor and the handles. Its exit is collected and signals are sent under one lock, so that a
/// process number is never signalled after it was given back to the system.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    /// The number of the group is that of its leader: the exit is collected when all is over.
    leads_group: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Taken when the exit was collected, or when the child is left to the background.
    child: Option<Box<dyn Child>>,
    status: Option<ExitStatus>,
}

impl Process {
    pub(crate) fn new(child: Box<dyn Child>, leads_group: bool) -> Arc<Self> {
        let pid = child.pid();
        Arc::new(Self { pid, leads_group, state: Mutex::new(State { child: Some(child), status: None }) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) const fn leads_group(&self) -> bool {
        self.leads_group
    }

    /// Whom an end by force is for.
    const fn all(&self) -> Target {
        if self.leads_group { Target::Group } else { Target::Child }
    }

    pub(crate) fn status(&self) -> Option<ExitStatus> {
        self.lock().status
    }

    /// Sends a signal, if there is anybody left to get it.
    pub(crate) fn signal(&self, target: Target, signal: Signal) -> io::Result<()> {
        let mut state = self.lock();
        let has_exited = state.status.is_some();
        let waker = match &mut state.child {
            Some(child) if target == Target::Group || !has_exited => child.signal(target, signal)?,
            _ => None,
        };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Kills the child with its group, if it leads one.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(self.all(), Signal::KILL)
    }

    pub(crate) fn poll_exit(&self, exit: &mut dyn Exit, cx: &mut Context<'_>) -> Poll<ExitStatus> {
        let Exited { status, collected } = ready!(exit.poll(cx, self));
        let mut state = self.lock();
        state.status = Some(status);
        let is_over = collected || !self.leads_group;
        let child = if is_over { state.take_collected() } else { None };
        drop(state);
        drop(child);
        Poll::Ready(status)
    }

    /// Collects the exit of a child that has exited; leaves another one to the background.
    pub(crate) fn let_go(&self) {
        let mut state = self.lock();
        let child = if state.status.is_some() { state.take_collected() } else { state.child.take() };
        drop(state);
        drop(child);
    }
}

impl State {
    /// Collects the exit.
    fn take_collected(&mut self) -> Option<Box<dyn Child>> {
        let mut child = self.child.take()?;
        child.collect();
        Some(child)
    }
}

/// To see the exit of a child without collecting it.
const LOOK: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOWAIT);

/// How a child has exited, without collecting it; none while it runs.
fn peek(pid: Pid) -> Option<Exited> {
    seen(retry(|| Ok(rustix::process::waitid(WaitId::Pid(pid), LOOK | WaitIdOptions::NOHANG)?)))
}

/// The same when it has exited; blocks until then.
#[cfg(target_os = "linux")]
fn wait(pid: Pid) -> Exited {
    seen(retry(|| Ok(rustix::process::waitid(WaitId::Pid(pid), LOOK)?)))
        .unwrap_or_else(|| Exited { status: unknown(), collected: true })
}

fn seen(answer: io::Result<Option<WaitIdStatus>>) -> Option<Exited> {
    match answer {
        Ok(status) => status.map(|status| Exited { status: exit_status(&status), collected: false }),
        // Somebody else has collected it: its number may be that of another process.
        Err(_) => Some(Exited { status: unknown(), collected: true }),
    }
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => exit_code(code),
        (None, Some(signal)) => ended_by(signal, status.dumped()),
        (None, None) => unknown(),
    }
}

/// Somebody else has collected the exit: what it was cannot be known any more.
pub(crate) fn unknown() -> ExitStatus {
    const UNKNOWN: i32 = 255;
    exit_code(UNKNOWN)
}

/// The status of a process that has called `exit(code)`.
fn exit_code(code: i32) -> ExitStatus {
    ExitStatus::from_raw((code & 0xff) << 8)
}

/// The status of a process that a signal has ended.
fn ended_by(signal: i32, core_dumped: bool) -> ExitStatus {
    const CORE_DUMPED: i32 = 0x80;
    ExitStatus::from_raw(signal | if core_dumped { CORE_DUMPED } else { 0 })
}

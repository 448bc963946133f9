//! Children that are waited for by a descriptor of their own (pidfd), without anybody's help.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::process::{self, Command};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::{Child, Ends, Exit, Exited, LOOK, Process, Spawned, Target, seen, wait};
use crate::actor::delivery::guarded;
use crate::io::async_io::Binding;
use crate::io::errors::retry;
use crate::running::spawn as background;

/// A place for the descriptor of a child. It is taken before the child is started, which could not be waited for without.
pub(crate) struct Place(OwnedFd);

impl Place {
    /// None on an old kernel, or where a filter of system calls forbids such descriptors.
    pub(crate) fn take() -> io::Result<Option<Self>> {
        match pidfd_open(rustix::process::getpid(), PidfdFlags::empty()) {
            Ok(place) => Ok(Some(Self(place))),
            Err(Errno::NOSYS | Errno::PERM) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    /// Puts the descriptor of the child there. None if somebody else has collected its exit.
    fn fill(self, pid: Pid) -> io::Result<Option<Arc<OwnedFd>>> {
        drop(self.0);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Some(Arc::new(pidfd))),
            Err(Errno::SRCH) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }
}

/// Starts a child.
pub(crate) fn spawn(mut command: Command, ends: Ends, place: Place) -> io::Result<Spawned> {
    let child = command.spawn()?;
    // The command holds the child's ends of the pipes.
    drop(command);
    let pid = Pid::from_child(&child);
    let mut child = PidfdChild { child, pid, pidfd: None, collected: false };
    // Another thread may have been faster: then the child is killed again.
    child.pidfd = place.fill(pid)?;
    child.collected = child.pidfd.is_none();
    let exit = PidfdExit { pid, pidfd: child.pidfd.clone().map(Binding::Unbound), thread: None };
    Ok(Spawned { child: Box::new(child), exit: Box::new(exit), ends })
}

#[derive(Debug)]
struct PidfdChild {
    child: process::Child,
    pid: Pid,
    pidfd: Option<Arc<OwnedFd>>,
    /// The number is no longer its own.
    collected: bool,
}

impl Child for PidfdChild {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&mut self, target: Target, signal: Signal) -> io::Result<Option<Waker>> {
        match (target, &self.pidfd) {
            (Target::Child, Some(pidfd)) => match pidfd_send_signal(pidfd, signal) {
                // Another user's, which has exited already: then there is nothing to be forbidden.
                Err(Errno::PERM) if self.has_exited(pidfd) => {}
                sent => sent?,
            },
            (Target::Child, None) => return Err(Errno::SRCH.into()),
            (Target::Group, Some(pidfd)) => {
                // If somebody else has collected its leader, the number may be that of another group.
                look(self.pid, pidfd.as_fd(), LOOK | WaitIdOptions::NOHANG).map_err(|_| Errno::SRCH)?;
                rustix::process::kill_process_group(self.pid, signal)?;
            }
            (Target::Group, None) => return Err(Errno::SRCH.into()),
        }
        Ok(None)
    }

    fn collect(&mut self) {
        if let Some(pidfd) = &self.pidfd {
            // What it was is known already.
            let _ = look(self.pid, pidfd.as_fd(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
        self.collected = true;
    }
}

/// Waits for the exit of a child by its descriptor: only that is no other's, if somebody else has collected the exit. Linux
/// 5.3 knows numbers only.
fn look(pid: Pid, pidfd: BorrowedFd<'_>, options: WaitIdOptions) -> io::Result<Option<WaitIdStatus>> {
    retry(|| match waitid(WaitId::PidFd(pidfd), options) {
        Err(Errno::INVAL) => Ok(waitid(WaitId::Pid(pid), options)?),
        status => Ok(status?),
    })
}

impl Drop for PidfdChild {
    fn drop(&mut self) {
        if self.collected || !self.kill() {
            return;
        }
        if let Ok(None) = self.child.try_wait() {
            let reaping = reap(self.pid, self.pidfd.take());
            if guarded(|| background(reaping).detach()).is_err() {
                // There is no thread to be had. It was killed, so this does not take long.
                let _ = self.child.wait();
            }
        }
    }
}

impl PidfdChild {
    fn has_exited(&self, pidfd: &OwnedFd) -> bool {
        matches!(look(self.pid, pidfd.as_fd(), LOOK | WaitIdOptions::NOHANG), Ok(Some(_)))
    }

    /// Kills it, if it has not exited by itself; false if somebody else has collected its exit, so that the number may be
    /// that of another process.
    fn kill(&mut self) -> bool {
        match &self.pidfd {
            Some(pidfd) => pidfd_send_signal(pidfd, Signal::KILL) != Err(Errno::SRCH),
            // It was started just now.
            None => {
                let _ = self.child.kill();
                true
            }
        }
    }
}

/// Collects the exit of a child that was killed, when it comes.
async fn reap(pid: Pid, pidfd: Option<Arc<OwnedFd>>) {
    // One of its own: whoever has waited for the other one may not have taken it back yet.
    let watched = match pidfd.and_then(|pidfd| pidfd.try_clone().ok()) {
        Some(pidfd) => {
            let mut pidfd = Binding::Unbound(Arc::new(pidfd));
            poll_fn(|cx| poll_reaped(&mut pidfd, pid, cx)).await
        }
        None => Err(io::ErrorKind::Unsupported.into()),
    };
    if watched.is_err() {
        smol::unblock(move || rustix::process::waitpid(Some(pid), WaitOptions::empty()).map(drop)).await.ok();
    }
}

fn poll_reaped(pidfd: &mut Binding<OwnedFd>, pid: Pid, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while pidfd.poll_readable(cx)?.is_ready() {
        if !matches!(look(pid, pidfd.stream().as_fd(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG), Ok(None)) {
            return Poll::Ready(Ok(()));
        }
    }
    Poll::Pending
}

struct PidfdExit {
    pid: Pid,
    /// None where it cannot be waited for.
    pidfd: Option<Binding<OwnedFd>>,
    /// Waits in its place.
    thread: Option<Pin<Box<dyn Future<Output = Exited> + Send>>>,
}

impl Exit for PidfdExit {
    fn poll(&mut self, cx: &mut Context<'_>, _: &Process) -> Poll<Exited> {
        while let Some(pidfd) = &mut self.pidfd {
            match pidfd.poll_readable(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {
                    let fd = pidfd.stream().as_fd();
                    if let Some(exited) = seen(look(self.pid, fd, LOOK | WaitIdOptions::NOHANG)) {
                        return Poll::Ready(exited);
                    }
                }
                Poll::Ready(Err(_)) => self.pidfd = None,
            }
        }
        let pid = self.pid;
        let thread = self.thread.get_or_insert_with(|| Box::pin(smol::unblock(move || wait(pid))));
        thread.as_mut().poll(cx)
    }
}

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::io::child::script::{Lead, Stage};

    #[test]
    fn a_process_that_has_got_the_number_of_a_child_is_not_killed() {
        let mut ours = Command::new("true").spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&ours), PidfdFlags::empty());
        ours.wait().unwrap();
        let Ok(pidfd) = pidfd else { return eprintln!("skipped: there are no pidfds") };
        let other = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&other);
        let pidfd = Arc::new(pidfd);
        let mut exit = PidfdExit { pid, pidfd: Some(Binding::Unbound(pidfd.clone())), thread: None };
        let mut child = PidfdChild { child: other, pid, pidfd: Some(pidfd), collected: false };
        let group = child.signal(Target::Group, Signal::KILL);
        assert_eq!(group.unwrap_err().raw_os_error(), Some(Errno::SRCH.raw_os_error()));
        // It is known that the exit was collected by somebody else, though the number is that of a process.
        let (stage, halves) = Stage::new();
        let process = Process::new(stage.spawn(halves, [Lead::Elsewhere; 3]).child, false);
        let exited = smol::block_on(poll_fn(|cx| exit.poll(cx, &process)));
        assert!(exited.collected);
        child.collect();
        child.collected = false;
        drop(child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(wait(pid).status.signal(), Some(Signal::TERM.as_raw()));
        rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap();
    }
}

//! The handle to a run.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::process::SubprocessTransport;
use crate::transport::WriteTransport;

/// Stops or signals a run, from every thread: cheap to clone, never blocking.
///
/// # Dropping
///
/// Dropping a handle does nothing: handles do not keep the run alive.
#[derive(Clone)]
pub struct Handle {
    pub(super) transport: SubprocessTransport,
    pub(super) requests: Arc<Requests>,
    pub(super) has_group: bool,
}

impl Handle {
    /// The number of the process; it stays after the exit.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.transport.pid()
    }

    /// How the child has exited; none while it runs. Its pipes may still be open.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.transport.status()
    }

    /// The transport of standard input, if that is [a pipe](super::Run::stdin): what is written goes to the child, and
    /// [`close`](WriteTransport::close) is the end of file. Bytes that were given to the run as input come first, and
    /// nothing can be written behind them.
    #[must_use]
    pub fn stdin(&self) -> Option<&WriteTransport> {
        self.transport.stdin()
    }

    /// Stops the run: asks the child to end, and kills it after the [grace](super::Run::grace). The run resolves then, with
    /// what was captured. If the child is over already, sinks that are not done have as long before they are given up.
    pub fn stop(&self) {
        self.requests.post(|state| state.stop = true);
    }

    /// Stops the run without grace.
    pub fn kill(&self) {
        self.requests.post(|state| state.kill = true);
    }

    /// Sends a signal, by its number: to the process group of the child, or to the child alone if it has none of its own.
    /// Does nothing if nobody is left.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a number that is no signal; `ESRCH` after the end of the run;
    /// what the system says otherwise.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        if self.has_group { self.transport.signal_group(signal) } else { self.transport.send_signal(signal) }
    }

    /// Waits until the child and its pipes are over; sinks may have something left to do. Many may wait.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn closed(&self) {
        // How it has ended is told to whoever awaits the run.
        let _ = self.transport.closed().await;
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("pid", &self.pid()).field("status", &self.status()).finish()
    }
}

/// What handles ask for.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<Asked>);

#[derive(Debug, Default)]
struct Asked {
    stop: bool,
    kill: bool,
    waker: Option<Waker>,
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, change: impl FnOnce(&mut Asked)) {
        let mut asked = self.lock();
        change(&mut asked);
        let waker = asked.waker.take();
        drop(asked);
        waker.into_iter().for_each(Waker::wake);
    }

    /// What was asked for since the last call; `waker` is told of the next request.
    pub(super) fn take(&self, waker: &Waker) -> (bool, bool) {
        let mut asked = self.lock();
        let known = asked.waker.replace(waker.clone());
        let taken = (std::mem::take(&mut asked.stop), std::mem::take(&mut asked.kill));
        drop(asked);
        drop(known);
        taken
    }
}

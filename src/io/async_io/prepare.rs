//! The start of async-io, which takes descriptors of its own when it is first used, and panics if there are none.

#[cfg(target_os = "linux")]
pub(crate) use linux::{prepare, reserve};

/// What it takes is known for Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn prepare() -> std::io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::future::Future;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::pin::Pin;
    use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
    use std::task::{Context, Waker};
    use std::time::Duration;

    use async_io::Timer;
    use rustix::event::{EventfdFlags, eventfd};

    use crate::actor::delivery::guarded;

    static READY: OnceLock<()> = OnceLock::new();
    /// Places for an epoll, an eventfd and a timer, or none.
    static RESERVE: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

    fn lock() -> MutexGuard<'static, Vec<OwnedFd>> {
        RESERVE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(reserve: &mut Vec<OwnedFd>) -> io::Result<()> {
        if reserve.is_empty() {
            *reserve = (0..3).map(|_| eventfd(0, EventfdFlags::CLOEXEC)).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// Keeps back what async-io will take: a driver does not need it, and with it its thread, but what was spawned there
    /// may go on elsewhere when there are no descriptors left.
    pub(crate) fn reserve() -> io::Result<()> {
        let mut reserve = lock();
        if READY.get().is_none() {
            fill(&mut reserve)?;
        }
        Ok(())
    }

    /// Starts async-io, unless that would panic. Whether somebody else has done so cannot be known, so this may fail
    /// where it need not.
    pub(crate) fn prepare() -> io::Result<()> {
        if READY.get().is_some() {
            return Ok(());
        }
        let mut reserve = lock();
        // Somebody else may have been faster.
        if READY.get().is_none() {
            fill(&mut reserve)?;
            reserve.clear();
            let mut timer = Timer::after(Duration::from_secs(1));
            let start = || Pin::new(&mut timer).poll(&mut Context::from_waker(Waker::noop()));
            if guarded(start).is_err() {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "there is no thread to be had for async-io"));
            }
            let _ = READY.set(());
        }
        Ok(())
    }
}

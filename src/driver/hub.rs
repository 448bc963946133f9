//! Where descriptors are waited for outside of a driver: most by an epoll that is one source of async-io.

use std::env;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use async_io::Async;

use super::poller::Poller;
use super::reactor::current;
use crate::io::async_io::prepare;

/// Set to 0, this environment variable leaves everything outside of a driver to async-io, as on other systems.
const HUB: &str = "SMOL_TRANSPORTS_HUB";

/// How many descriptors async-io itself waits for. It takes a system call for each message, the hub two for each batch of
/// messages: where there are few, the former is less.
const FEW: usize = 4;

static PLACES: AtomicUsize = AtomicUsize::new(FEW);

/// None where it is not wanted, or the system has had no descriptor left for it. It is there from the first on: whoever
/// counts descriptors would take one that comes with the load for a leak.
static COMMON: OnceLock<Option<Arc<Hub>>> = OnceLock::new();

/// There have been more than a few.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// Who waits for a descriptor.
#[derive(Debug)]
pub(crate) enum Waiting {
    Epoll(Arc<Poller>),
    AsyncIo(Option<Place>),
}

/// The place of a descriptor among the few.
#[derive(Debug)]
pub(crate) struct Place(());

/// An epoll that is looked at whenever async-io reports something at it, on the thread that does so.
#[derive(Debug)]
struct Hub(Async<Arc<Poller>>);

/// Who waits for a descriptor that is bound on this thread: its driver, if it is one.
pub(crate) fn waiting() -> io::Result<Waiting> {
    if let Some(reactor) = current() {
        return Ok(Waiting::Epoll(reactor.poller().clone()));
    }
    prepare()?;
    let Some(hub) = COMMON.get_or_init(Hub::start) else { return Ok(Waiting::AsyncIo(None)) };
    let place = if has_hub() { None } else { Place::take() };
    if place.is_some() {
        return Ok(Waiting::AsyncIo(place));
    }
    IN_USE.store(true, Ordering::Relaxed);
    Ok(Waiting::Epoll(hub.0.get_ref().clone()))
}

/// Whether there are so many that all are to be waited for by the hub. It stays so: a few that async-io waits for beside
/// it would cost the calls of both.
pub(crate) fn has_hub() -> bool {
    IN_USE.load(Ordering::Relaxed)
}

/// Whether an epoll may wait for what async-io could wait for as well.
pub(super) fn is_wanted() -> bool {
    env::var_os(HUB).is_none_or(|value| value != "0")
}

impl Place {
    fn take() -> Option<Self> {
        let taken = PLACES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.is_ok().then_some(Self(()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        PLACES.fetch_add(1, Ordering::Relaxed);
    }
}

impl Hub {
    fn start() -> Option<Arc<Self>> {
        if !is_wanted() {
            return None;
        }
        let poller = Arc::new(Poller::new().ok()?);
        let hub = Arc::new(Self(Async::new_nonblocking(poller).ok()?));
        hub.clone().wake();
        Some(hub)
    }
}

impl Wake for Hub {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        let cx = &mut Context::from_waker(&waker);
        let mut lent = Vec::new();
        while self.0.poll_readable(cx).is_ready() {
            self.0.get_ref().wait(Some(Duration::ZERO), &mut lent);
        }
    }
}

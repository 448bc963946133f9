//! Threads that block in their own edge-triggered epoll and run transports. Linux only.
//!
//! [`Connection::spawn`](crate::Connection::spawn), [`Server::spawn`](crate::Server::spawn) and
//! [`Server::serve_forever`](crate::Server::serve_forever) put transports on these threads, [`spawn`](crate::spawn) other
//! futures, and a child that is dropped while it runs is collected there. There is one, unless [`configure`] or the
//! environment variable `SMOL_TRANSPORTS_THREADS` says otherwise (a number from 1 on; anything else counts as 1). They are started when they are first needed and wait
//! without any work while there is none. Transports that are awaited, or spawned on an executor, are waited for by way of
//! async-io: each alone while there are few, all by one epoll when there are more. The clients of
//! [`Server::serve_local`](crate::Server::serve_local) have an epoll of their own, and a loop as drivers have, inside of its
//! future. The environment variable `SMOL_TRANSPORTS_HUB=0` has async-io alone wait for all of these.
//!
//! [`block_on`] makes a driver of the calling thread: what is awaited or spawned inside runs there, with no hand-over
//! between threads, as in asyncio.
//!
//! A callback that blocks stops all transports of its thread: hand such work to `smol::unblock`. If it must wait for a
//! future it does so by [`block_on`], because other executors know nothing of the sockets and timers of the thread. But it
//! must not wait there for a connection that has been waited for in the loop around it, which stands still meanwhile.
//!
//! # Examples
//!
//! ```
//! use smol_transports::{Protocol, Transport, create_connection, create_server, driver};
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
//!         transport.write(data);
//!     }
//! }
//!
//! struct Client(Vec<u8>);
//!
//! impl Protocol for Client {
//!     fn connection_made(&mut self, transport: &Transport) {
//!         transport.write("hello");
//!     }
//!
//!     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
//!         self.0.extend_from_slice(data);
//!         transport.close();
//!     }
//! }
//!
//! driver::block_on(async {
//!     let server = create_server(|| Echo, "127.0.0.1:0").await?;
//!     let address = server.local_addr()?;
//!     let (_handle, _serving) = server.spawn();
//!     let client = create_connection(Client(Vec::new()), address).await?.await;
//!     assert_eq!(client.0, b"hello");
//!     std::io::Result::Ok(())
//! })?;
//! # std::io::Result::Ok(())
//! ```

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use smol::Task;

use crate::actor::delivery::guarded;

mod host;
mod hub;
mod inbox;
mod poller;
mod reactor;
mod source;
mod spin;
mod timers;

pub(crate) use host::host;
pub(crate) use hub::{Place, Waiting, has_hub, waiting};
use reactor::{Reactor, current, run};
pub(crate) use source::Registration;
pub(crate) use timers::{Alarm, Timers};

/// The environment variable that sets the number of threads.
const THREADS: &str = "SMOL_TRANSPORTS_THREADS";

static POOL: OnceLock<Pool> = OnceLock::new();

/// The driver threads of this process.
#[derive(Debug, Default)]
struct Pool {
    reactors: Vec<Arc<Reactor>>,
    next: AtomicUsize,
    /// Ends the threads.
    dropped: Arc<AtomicBool>,
}

/// Where a pool comes too late, or is not completed.
impl Drop for Pool {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Release);
        self.reactors.iter().for_each(|reactor| reactor.look_again());
    }
}

/// Sets up the driver threads; [`start`](Config::start) must be called before anything was spawned on them. Or a driver of
/// the calling thread, by [`block_on`](Config::block_on).
///
/// # Examples
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// smol_transports::driver::configure().threads(4).start()
/// # }
/// ```
pub fn configure() -> Config {
    let threads = std::env::var(THREADS).ok().and_then(|text| text.parse().ok());
    Config { threads: threads.unwrap_or(NonZeroUsize::MIN), busy_poll: None }
}

/// How drivers are to be; made by [`configure`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens until it is started"]
pub struct Config {
    threads: NonZeroUsize,
    busy_poll: Option<Duration>,
}

impl Config {
    /// How many threads there are; transports are spread over them. 0 counts as 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        self
    }

    /// How long a thread looks for work again and again before each sleep. It burns a processor for that time, and
    /// shortens the way of a single message where waking a sleeping processor takes long.
    ///
    /// By default it looks for 50 µs, and only where that takes less processor time for the same work than to sleep
    /// at once. Both are tried now and then. Zero turns that off.
    pub const fn busy_poll(mut self, duration: Duration) -> Self {
        self.busy_poll = Some(duration);
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there are driver threads already; what the system says when
    /// it has no descriptor or no thread left.
    pub fn start(self) -> io::Result<()> {
        let mut started = false;
        if POOL.get().is_none() {
            let pool = self.pool()?;
            POOL.get_or_init(|| {
                started = true;
                pool
            });
        }
        if started {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are driver threads already"))
    }

    /// Runs a future on the calling thread, as [`block_on`] does, which looks for work as set by
    /// [`busy_poll`](Self::busy_poll). It starts no threads, whatever their number is.
    ///
    /// # Errors
    ///
    /// What the system says when it has not enough descriptors left: a driver takes two, and the first one of the process
    /// three more, which async-io will need as soon as something is waited for elsewhere.
    ///
    /// # Panics
    ///
    /// A panic of the future goes on in the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use smol_transports::driver;
    ///
    /// let answer = driver::configure().busy_poll(Duration::from_micros(50)).block_on(async { 42 })?;
    /// assert_eq!(answer, 42);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn block_on<T>(self, future: impl Future<Output = T>) -> io::Result<T> {
        Ok(block_on_reactor(&Arc::new(Reactor::new(self.busy_poll)?), future))
    }

    fn pool(&self) -> io::Result<Pool> {
        let mut pool = Pool::default();
        for _ in 0..self.threads.get() {
            pool.reactors.push(self.thread(pool.dropped.clone())?);
        }
        Ok(pool)
    }

    fn thread(&self, dropped: Arc<AtomicBool>) -> io::Result<Arc<Reactor>> {
        let reactor = Arc::new(Reactor::new(self.busy_poll)?);
        let its = reactor.clone();
        let run = move || run(&its, || dropped.load(Ordering::Acquire));
        thread::Builder::new().name("smol-transports".to_owned()).spawn(run)?;
        Ok(reactor)
    }
}

/// The thread that is next for a new transport. None if the system has no descriptor or thread for it.
fn next_reactor() -> Option<Arc<Reactor>> {
    if POOL.get().is_none() {
        // Somebody else may have been faster.
        let _ = configure().start();
    }
    let pool = POOL.get()?;
    let index = pool.next.fetch_add(1, Ordering::Relaxed);
    Some(pool.reactors[index % pool.reactors.len()].clone())
}

/// The timers of the driver of this thread, if it is one.
pub(crate) fn current_timers() -> Option<Arc<Timers>> {
    current().map(|reactor| reactor.timers().clone())
}

/// Wakes all of them: one that panics must not keep the others asleep.
fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    let mut wakers = wakers.into_iter();
    while guarded(|| wakers.by_ref().for_each(Waker::wake)).is_err() {}
}

fn is_of_pool(reactor: &Arc<Reactor>) -> bool {
    POOL.get().is_some_and(|pool| pool.reactors.iter().any(|other| Arc::ptr_eq(other, reactor)))
}

/// Runs a future on a driver: the one of this thread, or the next of the pool. Where there is none to be had, on smol's
/// global executor.
pub(crate) fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    spawn_on(current().or_else(next_reactor), future)
}

/// The same for what has no reason to stay on a thread of the pool, such as the clients of a server.
pub(crate) fn spread<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    spawn_on(current().filter(|reactor| !is_of_pool(reactor)).or_else(next_reactor), future)
}

fn spawn_on<T, F>(reactor: Option<Arc<Reactor>>, future: F) -> Task<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let Some(reactor) = reactor else { return smol::spawn(future) };
    let schedule = move |runnable| reactor.schedule(runnable);
    let (runnable, task) = async_task::Builder::new().propagate_panic(true).spawn(|()| future, schedule);
    runnable.schedule();
    task
}

/// Runs a future on this thread, and with it the transports that are awaited or spawned inside.
///
/// What was spawned and is still running when the future ends goes on on one of the driver threads.
/// [`Config::block_on`] does the same with options, and gives an error where this panics.
///
/// # Panics
///
/// If the system has not enough descriptors left, see [`Config::block_on`]. A panic of the future goes on in the caller.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let reactor = Reactor::new(None).expect("descriptors for a driver");
    block_on_reactor(&Arc::new(reactor), future)
}

fn block_on_reactor<T>(reactor: &Arc<Reactor>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let root = Arc::new(Root::new(reactor.clone()));
    let mut output = None;
    run(reactor, || {
        output = root.poll(future.as_mut());
        output.is_some()
    });
    output.expect("the loop ends when there is an output")
}

/// The future that a loop is there for.
#[derive(Debug)]
struct Root {
    woken: AtomicBool,
    reactor: Arc<Reactor>,
}

impl Root {
    const fn new(reactor: Arc<Reactor>) -> Self {
        Self { woken: AtomicBool::new(true), reactor }
    }

    /// Polls the future if it was woken; its output, when it has come.
    fn poll<T>(self: &Arc<Self>, future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        if self.woken.swap(false, Ordering::Acquire) {
            let waker = Waker::from(self.clone());
            if let Poll::Ready(output) = future.poll(&mut Context::from_waker(&waker)) {
                return Some(output);
            }
        }
        if self.woken.load(Ordering::Relaxed) {
            self.reactor.look_again();
        }
        None
    }
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Release) {
            self.reactor.look_again();
        }
    }
}

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_threads_of_a_pool_that_comes_too_late_end() {
        let pool = configure().threads(3).pool().unwrap();
        let reactors: Vec<_> = pool.reactors.iter().map(Arc::downgrade).collect();
        drop(pool);
        let start = Instant::now();
        while reactors.iter().any(|reactor| reactor.strong_count() > 0) {
            assert!(start.elapsed() < Duration::from_secs(60), "they go on");
            thread::yield_now();
        }
    }
}

//! Live counters of this process: transports, what waits to be sent, and how often and how much was read and written.
//!
//! They are always on. Each thread counts for itself, so counting takes no lock and no atomic operation that another
//! thread would have to wait for; [`stats`] adds the threads up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::state::lifecycle::Input;

/// A reading of the counters.
///
/// Each pipe of a child is a transport, and so is the child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Transports whose `connection_made` was called.
    pub made: u64,
    /// Transports whose end has come. Equal to `made` when none is left.
    pub lost: u64,
    /// Transports that exist now.
    pub alive: u64,
    /// Bytes that wait to be sent, in the buffers of all transports.
    pub buffered: u64,
    /// How often a protocol was given data: a piece of a stream, or a datagram.
    pub reads: u64,
    /// How often the system, or the stream below, has taken something to send.
    pub writes: u64,
    /// Bytes that protocols were given.
    pub received: u64,
    /// Bytes that the system, or the stream below, has taken. Over TLS they are counted before they are encrypted.
    pub sent: u64,
    /// How often a protocol was told to pause writing.
    pub pauses: u64,
}

/// Reads the counters of this process.
///
/// They are added up while other threads count, so they are exact only for what has come to rest. It takes a short lock
/// and time in proportion to the number of threads that have counted something; counting never waits for it.
///
/// # Examples
///
/// ```
/// let stats = smol_transports::stats::stats();
/// println!("{} connections, {} of them alive", stats.made, stats.alive);
/// println!("{} bytes wait to be sent", stats.buffered);
/// ```
#[must_use]
pub fn stats() -> Stats {
    let blocks = blocks();
    let sum = |count| {
        let own = blocks.iter().map(|block| block.get(count));
        let sum = own.fold(DEPARTED.get(count), u64::wrapping_add);
        // What one thread has added and another one taken away may be read the other way round.
        if sum > u64::MAX / 2 { 0 } else { sum }
    };
    Stats {
        made: sum(Count::Made),
        lost: sum(Count::Lost),
        alive: sum(Count::Alive),
        buffered: sum(Count::Buffered),
        reads: sum(Count::Reads),
        writes: sum(Count::Writes),
        received: sum(Count::Received),
        sent: sum(Count::Sent),
        pauses: sum(Count::Pauses),
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
enum Count {
    Made,
    Lost,
    Alive,
    Buffered,
    Reads,
    Writes,
    Received,
    Sent,
    Pauses,
}

const COUNTS: usize = 9;

/// The counters of one thread, in cache lines of their own. The sum over all threads counts, modulo 2^64.
#[derive(Debug)]
#[repr(align(128))]
struct Block([AtomicU64; COUNTS]);

impl Block {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; COUNTS])
    }

    fn get(&self, count: Count) -> u64 {
        self.0[count as usize].load(Ordering::Relaxed)
    }

    /// For the one thread that writes to this block.
    fn add(&self, count: Count, by: u64) {
        let counter = &self.0[count as usize];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// For any thread.
    fn add_shared(&self, count: usize, by: u64) {
        self.0[count].fetch_add(by, Ordering::Relaxed);
    }
}

/// What threads have counted that are no more.
static DEPARTED: Block = Block::new();

/// The blocks of the threads that have counted something.
static BLOCKS: Mutex<Vec<Arc<Block>>> = Mutex::new(Vec::new());

fn blocks() -> MutexGuard<'static, Vec<Arc<Block>>> {
    BLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static OWN: Own = Own::new();
}

/// The block of this thread, which is listed as long as the thread lives.
struct Own(Arc<Block>);

impl Own {
    fn new() -> Self {
        let block = Arc::new(Block::new());
        blocks().push(block.clone());
        Self(block)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let mut blocks = blocks();
        for (count, own) in self.0.0.iter().enumerate() {
            DEPARTED.add_shared(count, own.load(Ordering::Relaxed));
        }
        blocks.retain(|block| !Arc::ptr_eq(block, &self.0));
    }
}

fn add(count: Count, by: u64) {
    // A thread that is ending may still drop transports.
    if OWN.try_with(|own| own.0.add(count, by)).is_err() {
        DEPARTED.add_shared(count as usize, by);
    }
}

/// Two at once, for half of what it costs.
fn add_both(one: Count, by: u64, other: Count, by_other: u64) {
    let added = OWN.try_with(|own| {
        own.0.add(one, by);
        own.0.add(other, by_other);
    });
    if added.is_err() {
        DEPARTED.add_shared(one as usize, by);
        DEPARTED.add_shared(other as usize, by_other);
    }
}

pub(crate) fn made() {
    add(Count::Made, 1);
}

pub(crate) fn lost() {
    add(Count::Lost, 1);
}

/// So many bytes were sent.
pub(crate) fn sent(bytes: u64) {
    add_both(Count::Writes, 1, Count::Sent, bytes);
}

/// A callback is being made, for so many bytes.
pub(crate) fn told(input: Input, bytes: usize) {
    match input {
        Input::DataReceived => add_both(Count::Reads, 1, Count::Received, bytes as u64),
        Input::PauseWriting => add(Count::Pauses, 1),
        _ => {}
    }
}

/// Bytes that this thread has received and sent, modulo 2^64.
#[cfg(target_os = "linux")]
pub(crate) fn moved() -> u64 {
    OWN.try_with(|own| own.0.get(Count::Received).wrapping_add(own.0.get(Count::Sent))).unwrap_or_default()
}

/// Counts as one transport while it exists.
#[derive(Debug)]
pub(crate) struct Alive(());

impl Alive {
    pub(crate) fn new() -> Self {
        add(Count::Alive, 1);
        Self(())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        add(Count::Alive, 1_u64.wrapping_neg());
    }
}

/// Counts what waits in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Buffered(usize);

impl Buffered {
    #[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
    pub(crate) const fn bytes(&self) -> usize {
        self.0
    }

    /// The buffer holds `size` bytes now.
    pub(crate) fn set(&mut self, size: usize) {
        if size != self.0 {
            add(Count::Buffered, (size as u64).wrapping_sub(self.0 as u64));
            self.0 = size;
        }
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.set(0);
    }
}

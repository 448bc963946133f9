//! Sinks that write where writing may block: files and terminals.

use std::fmt;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use event_listener::{Event, EventListener};

use super::lines::{Line, LongLines, lines};
use super::sink::{Chunk, Sink};
use crate::actor::delivery::{guarded, panic_text};
use crate::io::errors::{retry, unless_blocked};

/// Bytes that may wait to be written before the children have to.
const ROOM: usize = 256 * 1024;

/// Writes what children put out to something that may block, as a file, a terminal, or a pipe to a pager.
///
/// Cheap to clone. Many sinks can be made of one writer, for one child or for many: what each hands over at once stays
/// together, so lines never tear. The writing is done on a thread of the [blocking] crate, while there is something to
/// write; one that is slow holds up the children, not the executor.
///
/// [blocking]: https://docs.rs/blocking
///
/// # Examples
///
/// ```no_run
/// use std::future::IntoFuture;
/// use std::io;
/// use std::process::Command;
///
/// use smol_transports::capture::{self, Writer};
///
/// fn main() -> io::Result<()> {
///     let terminal = Writer::stdout();
///     let build = capture::run(Command::new("make")).merged().sink(terminal.prefixed("[make] "));
///     let test = capture::run(Command::new("cargo").arg("test")).merged().sink(terminal.prefixed("[test] "));
///     smol::block_on(smol::future::try_zip(build.into_future(), test.into_future()))?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Something was written.
    progress: Event,
}

struct State {
    waiting: Vec<u8>,
    /// Bytes that were handed over so far.
    taken: u64,
    /// Of those, how many were written and flushed.
    written: u64,
    /// None while a thread is writing.
    out: Option<Box<dyn Write + Send>>,
    /// Why nothing is written any more.
    error: Option<Failed>,
}

/// An error that every sink of the writer is told.
#[derive(Clone, Debug)]
struct Failed {
    kind: io::ErrorKind,
    text: String,
}

impl Writer {
    /// One that writes to `out`, and flushes it after each time. If `out` is in non-blocking mode and has no room, it is
    /// tried again after a while.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        let state = State { waiting: Vec::new(), taken: 0, written: 0, out: Some(Box::new(out)), error: None };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), progress: Event::new() }) }
    }

    /// One that writes to the standard output of this process.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(io::stdout())
    }

    /// One that writes to the standard error of this process.
    #[must_use]
    pub fn stderr() -> Self {
        Self::new(io::stderr())
    }

    /// A sink that writes the output as it is.
    #[must_use]
    pub fn sink(&self) -> impl Sink + use<> {
        WriterSink::new(&self.shared)
    }

    /// A sink that writes whole lines, each behind a prefix. Lines of more than 64 KiB are split. A carriage return is a byte
    /// as any other: on a terminal a progress bar overwrites the prefix.
    #[must_use]
    pub fn prefixed(&self, prefix: &str) -> impl Sink + use<> {
        const LONG: LongLines = LongLines::Split(64 * 1024);
        let prefix = prefix.to_owned();
        self.lines(LONG, move |line, out| {
            out.extend_from_slice(prefix.as_bytes());
            out.extend_from_slice(line.data);
            out.push(b'\n');
        })
    }

    /// A sink that writes what `format` appends for each line.
    ///
    /// # Panics
    ///
    /// If `long` says that lines are split into parts of no bytes.
    #[must_use]
    pub fn lines<F>(&self, long: LongLines, mut format: F) -> impl Sink + use<F>
    where
        F: FnMut(&Line<'_>, &mut Vec<u8>) + Send,
    {
        let text = Arc::new(Mutex::new(Vec::new()));
        let collected = text.clone();
        let lines = lines(long, move |line: Line<'_>| {
            format(&line, &mut collected.lock().unwrap_or_else(PoisonError::into_inner));
        });
        Formatted { lines, text, out: WriterSink::new(&self.shared) }
    }

    /// Writes something in its order, without waiting.
    ///
    /// # Errors
    ///
    /// Why an earlier write has failed: after that nothing is written any more.
    pub fn write(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        self.shared.write(data.as_ref()).map(drop)
    }

    /// Waits until all is written that was handed over before.
    ///
    /// # Errors
    ///
    /// Why a write has failed.
    ///
    /// # Cancel safety
    ///
    /// What was handed over is written all the same.
    pub async fn flush(&self) -> io::Result<()> {
        let mut sink = WriterSink::new(&self.shared);
        sink.mark = self.shared.lock().taken;
        futures_lite::future::poll_fn(|cx| sink.poll_finish(cx)).await
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over; how many bytes must have been written until these are.
    fn write(self: &Arc<Self>, data: &[u8]) -> io::Result<u64> {
        let mut state = self.lock();
        state.check()?;
        state.waiting.extend_from_slice(data);
        state.taken += data.len() as u64;
        let mark = state.taken;
        let out = if state.waiting.is_empty() { None } else { state.out.take() };
        drop(state);
        if let Some(out) = out {
            let shared = self.clone();
            smol::unblock(move || shared.write_out(out)).detach();
        }
        Ok(mark)
    }

    /// Writes until nothing is left, on a thread that may block.
    fn write_out(&self, mut out: Box<dyn Write + Send>) {
        loop {
            let waiting = std::mem::take(&mut self.lock().waiting);
            // What an error has to say is foreign code as well.
            let written = guarded(|| {
                let written = write_all(&mut out, &waiting);
                written.map_err(|err| Failed { kind: err.kind(), text: err.to_string() })
            });
            let written = written.unwrap_or_else(|payload| {
                let text = format!("the writer panicked: {}", panic_text(&payload));
                Err(Failed { kind: io::ErrorKind::Other, text })
            });
            let mut state = self.lock();
            match written {
                Ok(()) => state.written += waiting.len() as u64,
                Err(failed) => {
                    state.error = Some(failed);
                    state.waiting = Vec::new();
                }
            }
            if state.waiting.is_empty() {
                state.out = Some(out);
                drop(state);
                self.progress.notify(usize::MAX);
                return;
            }
            drop(state);
            self.progress.notify(usize::MAX);
        }
    }
}

/// Writes and flushes all. Somebody else who has the same file may have put it into non-blocking mode.
fn write_all(out: &mut dyn Write, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match patiently(|| out.write(data))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => data = &data[count..],
        }
    }
    patiently(|| out.flush())
}

/// Tries again, as long as there is no room or a signal has come in between.
fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const PAUSE: Duration = Duration::from_millis(5);
    loop {
        if let Some(value) = unless_blocked(retry(&mut call))? {
            return Ok(value);
        }
        thread::sleep(PAUSE);
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        match &self.error {
            Some(Failed { kind, text }) => Err(io::Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

struct WriterSink {
    shared: Arc<Shared>,
    listener: Option<Pin<Box<EventListener>>>,
    /// How many bytes of the writer must have been written until those of this sink are.
    mark: u64,
}

impl WriterSink {
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: shared.clone(), listener: None, mark: 0 }
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.mark = self.shared.write(data)?;
        Ok(())
    }

    /// Waits until `condition` holds.
    fn poll_until(&mut self, cx: &mut Context<'_>, condition: impl Fn(&State) -> bool) -> Poll<()> {
        loop {
            if condition(&self.shared.lock()) {
                self.listener = None;
                return Poll::Ready(());
            }
            match &mut self.listener {
                None => self.listener = Some(Box::pin(self.shared.progress.listen())),
                Some(listener) => {
                    if Future::poll(listener.as_mut(), cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.listener = None;
                }
            }
        }
    }
}

impl Sink for WriterSink {
    fn chunk(&mut self, chunk: &Chunk<'_>) -> io::Result<()> {
        self.write(&chunk.data)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_until(cx, |state| state.waiting.len() < ROOM || state.error.is_some())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mark = self.mark;
        let is_done = |state: &State| state.error.is_some() || state.written >= mark;
        self.poll_until(cx, is_done).map(|()| self.shared.lock().check())
    }
}

/// Lines that are put into another form before they are written.
struct Formatted<L> {
    lines: L,
    /// What the lines have become; shared with the closure in `lines`.
    text: Arc<Mutex<Vec<u8>>>,
    out: WriterSink,
}

impl<L> Formatted<L> {
    /// Hands over all the lines at once.
    fn pass_on(&mut self) -> io::Result<()> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = if text.is_empty() { Ok(()) } else { self.out.write(&text) };
        text.clear();
        passed
    }
}

impl<L: Sink> Sink for Formatted<L> {
    fn chunk(&mut self, chunk: &Chunk<'_>) -> io::Result<()> {
        let taken = self.lines.chunk(chunk);
        // The lines before one that is an error are good.
        self.pass_on().and(taken)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.out.poll_ready(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let finished = self.lines.poll_finish(cx);
        if let Err(err) = self.pass_on() {
            return Poll::Ready(Err(err));
        }
        match finished {
            Poll::Ready(Ok(())) => self.out.poll_finish(cx),
            other => other,
        }
    }
}

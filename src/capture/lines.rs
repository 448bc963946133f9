//! Output cut into lines of any length.

use std::borrow::Cow;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use super::sink::{Chunk, Sink};
use crate::protocol::Pipe;

/// What to do with a line of more bytes than there should be. The line break does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LongLines {
    /// Keep it in memory until it ends.
    Unbounded,
    /// Hand it on in parts of at most so many bytes. No character of UTF-8 is cut, unless a part is smaller than one.
    Split(usize),
    /// Hand on at most so many bytes of it, and drop the rest. No character of UTF-8 is cut.
    Truncate(usize),
    /// Fail.
    Error(usize),
}

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line<'a> {
    /// Where from.
    pub pipe: Pipe,
    /// When its end was read, from the start of the run.
    pub at: Duration,
    /// Without the line break. It need not be UTF-8.
    pub data: &'a [u8],
    /// It ends here. Else it was split, and the next one goes on with it.
    pub is_complete: bool,
    /// How many bytes of it were dropped.
    pub dropped: usize,
}

impl Line<'_> {
    /// The line as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.data)
    }
}

/// A sink that calls `f` for each line. The last one may have no line break; it is told at the end.
///
/// The lines of two pipes are put together apart from each other.
///
/// # Panics
///
/// If lines are to be split into parts of no bytes.
///
/// # Examples
///
/// ```
/// use std::process::Command;
///
/// use smol_transports::capture::{self, LongLines};
///
/// # smol::block_on(async {
/// let (sender, errors) = std::sync::mpsc::channel();
/// let lines = capture::lines(LongLines::Split(4096), move |line| {
///     let _ = sender.send(line.text().into_owned());
/// });
/// let mut compiler = Command::new("sh");
/// compiler.args(["-c", "echo compiling; echo 'error: no such thing' >&2"]);
/// capture::run(compiler).stderr_sink(lines).await?;
/// assert_eq!(errors.try_iter().collect::<Vec<_>>(), ["error: no such thing"]);
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub fn lines<F: FnMut(Line<'_>) + Send>(long: LongLines, f: F) -> Lines<F> {
    assert_ne!(long, LongLines::Split(0), "parts of no bytes");
    Lines { splitters: [const { Splitter::new() }; 2], long, folds: false, f }
}

/// A sink that cuts output into lines; made by [`lines`].
#[derive(Debug)]
#[must_use = "it does nothing until it is given to a run"]
pub struct Lines<F> {
    splitters: [Splitter; 2],
    long: LongLines,
    folds: bool,
    f: F,
}

impl<F> Lines<F> {
    /// Takes a carriage return for a line break, alone or before a newline: as progress bars use it. Else it is a byte as
    /// any other.
    pub const fn fold_returns(mut self) -> Self {
        self.folds = true;
        self
    }
}

impl<F: FnMut(Line<'_>) + Send> Sink for Lines<F> {
    fn chunk(&mut self, chunk: &Chunk<'_>) -> io::Result<()> {
        let splitter = &mut self.splitters[usize::from(chunk.pipe == Pipe::Stderr)];
        splitter.feed(chunk, self.long, self.folds, &mut self.f)
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        for (splitter, pipe) in self.splitters.iter_mut().zip([Pipe::Stdout, Pipe::Stderr]) {
            splitter.finish(pipe, &mut self.f);
        }
        Poll::Ready(Ok(()))
    }
}

/// The line that one pipe is in the middle of.
#[derive(Debug)]
struct Splitter {
    begun: Vec<u8>,
    /// Something of this line was seen, even if nothing of it is left.
    open: bool,
    dropped: usize,
    after_return: bool,
    at: Duration,
}

impl Splitter {
    const fn new() -> Self {
        Self { begun: Vec::new(), open: false, dropped: 0, after_return: false, at: Duration::ZERO }
    }

    fn feed(&mut self, chunk: &Chunk<'_>, long: LongLines, folds: bool, f: &mut dyn FnMut(Line<'_>)) -> io::Result<()> {
        self.at = chunk.at;
        let mut data = &*chunk.data;
        if std::mem::take(&mut self.after_return) && data.first() == Some(&b'\n') {
            data = &data[1..];
        }
        while let Some(end) = find_break(data, folds) {
            self.go_on(chunk.pipe, &data[..end], long, f)?;
            self.close(chunk.pipe, f);
            let is_pair = data[end] == b'\r' && data.get(end + 1) == Some(&b'\n');
            self.after_return = data[end] == b'\r' && end + 1 == data.len();
            data = &data[end + 1 + usize::from(is_pair)..];
        }
        if !data.is_empty() {
            self.go_on(chunk.pipe, data, long, f)?;
        }
        Ok(())
    }

    /// Takes more of the line.
    fn go_on(&mut self, pipe: Pipe, mut data: &[u8], long: LongLines, f: &mut dyn FnMut(Line<'_>)) -> io::Result<()> {
        self.open = true;
        match long {
            LongLines::Unbounded => {}
            LongLines::Split(size) => {
                while self.begun.len() + data.len() > size {
                    let (part, rest) = data.split_at(size - self.begun.len());
                    self.begun.extend_from_slice(part);
                    data = rest;
                    let whole = match self.begun.len() - unfinished(&self.begun) {
                        0 => self.begun.len(),
                        whole => whole,
                    };
                    f(Line { pipe, at: self.at, data: &self.begun[..whole], is_complete: false, dropped: 0 });
                    self.begun.drain(..whole);
                }
            }
            LongLines::Truncate(size) => {
                let room = if self.dropped > 0 { 0 } else { size - self.begun.len() };
                let (part, rest) = data.split_at(data.len().min(room));
                self.begun.extend_from_slice(part);
                if !rest.is_empty() && self.dropped == 0 {
                    self.dropped = unfinished(&self.begun);
                    self.begun.truncate(self.begun.len() - self.dropped);
                }
                self.dropped += rest.len();
                return Ok(());
            }
            LongLines::Error(size) if self.begun.len() + data.len() > size => {
                let text = format!("a line of more than {size} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            LongLines::Error(_) => {}
        }
        self.begun.extend_from_slice(data);
        Ok(())
    }

    fn close(&mut self, pipe: Pipe, f: &mut dyn FnMut(Line<'_>)) {
        let dropped = std::mem::take(&mut self.dropped);
        self.open = false;
        f(Line { pipe, at: self.at, data: &self.begun, is_complete: true, dropped });
        self.begun.clear();
    }

    fn finish(&mut self, pipe: Pipe, f: &mut dyn FnMut(Line<'_>)) {
        if self.open {
            self.close(pipe, f);
        }
    }
}

/// How many bytes at the end are the begin of a character whose rest is missing.
fn unfinished(data: &[u8]) -> usize {
    let is_lead = |byte: &u8| !(0x80..0xc0).contains(byte);
    let Some(len) = data.iter().rev().take(3).position(is_lead).map(|back| back + 1) else { return 0 };
    let wanted = match data[data.len() - len] {
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        _ => 1,
    };
    if len < wanted { len } else { 0 }
}

fn find_break(data: &[u8], folds: bool) -> Option<usize> {
    if folds { memchr::memchr2(b'\n', b'\r', data) } else { memchr::memchr(b'\n', data) }
}

#[cfg(test)]
mod tests;

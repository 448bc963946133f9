//! Where output goes while it comes.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::Stream;

use crate::actor::queue::{Events, Inlet, Waiting, queue};
use crate::protocol::Pipe;

/// A piece of output, as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk<'a> {
    /// Where from. If standard error leads to standard output, that is where all is from.
    pub pipe: Pipe,
    /// When it was read, from the start of the run.
    pub at: Duration,
    /// The bytes; never empty.
    pub data: Cow<'a, [u8]>,
}

impl Chunk<'_> {
    /// One that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Chunk<'static> {
        Chunk { pipe: self.pipe, at: self.at, data: Cow::Owned(self.data.into_owned()) }
    }
}

/// Takes the output of a child while it comes.
///
/// Any number of sinks can be put beside each other on a pipe, and each is given every chunk. An error of a sink ends
/// the run. A closure that takes a [`Chunk`] is a sink.
pub trait Sink: Send {
    /// Takes a piece of output. It may come even if there is no room: then it must be taken all the same.
    ///
    /// # Errors
    ///
    /// Whatever makes it useless to go on: the child is stopped, this sink gets nothing more, and the run fails.
    fn chunk(&mut self, chunk: &Chunk<'_>) -> io::Result<()>;

    /// Ready when there is room for more. While there is none the pipe is not read, so the child waits.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// All output has come. Ready when everything is where it belongs: the run is over only then.
    ///
    /// # Errors
    ///
    /// What has failed since the last chunk; the run fails then.
    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl<F: FnMut(&Chunk<'_>) + Send> Sink for F {
    fn chunk(&mut self, chunk: &Chunk<'_>) -> io::Result<()> {
        self(chunk);
        Ok(())
    }
}

/// A sink and the stream of what it takes. While 256 KiB or more lie unread between them the child has to wait. When the
/// stream is dropped, the sink drops what it is given.
///
/// # Examples
///
/// ```
/// use std::future::IntoFuture;
/// use std::process::Command;
///
/// use smol::future;
/// use smol::stream::StreamExt;
/// use smol_transports::capture::{self, Keep};
///
/// # smol::block_on(async {
/// let (sink, chunks) = capture::channel();
/// let run = capture::run(Command::new("seq").arg("1000")).keep(Keep::Nothing).sink(sink);
/// let count = chunks.fold(0, |count, chunk| count + chunk.data.len());
/// let (captured, count) = future::zip(run.into_future(), count).await;
/// assert_eq!((captured?.stdout().total(), count), (3893, 3893));
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub fn channel() -> (impl Sink + use<>, Chunks) {
    let (inlet, events) = queue();
    (Channel(inlet), Chunks(events))
}

struct Channel(Inlet<Chunk<'static>>);

impl Sink for Channel {
    fn chunk(&mut self, chunk: &Chunk<'_>) -> io::Result<()> {
        self.0.push(chunk.clone().into_owned());
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.has_room(cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What a [`channel`] has taken, in its order; ends when the sink is dropped, which is when the run is over.
#[derive(Debug)]
#[must_use = "output that nobody takes stops the child"]
pub struct Chunks(Events<Chunk<'static>>);

impl Stream for Chunks {
    type Item = Chunk<'static>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Chunk<'static>>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}

/// Chunks take more room than their bytes: many short ones must not fill the memory.
impl Waiting for Chunk<'_> {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.data.len()
    }

    fn cancels(&self, _: &Self) -> bool {
        false
    }

    fn is_last(&self) -> bool {
        false
    }
}

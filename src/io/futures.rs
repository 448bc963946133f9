//! Any stream of futures-io as an endpoint.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_io::{AsyncRead, AsyncWrite};
use socket2::{SockRef, Socket};

use super::scratch::Scratch;
use super::{Endpoint, Flow, Halves, Outlet, Recv};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// What a stream must be able to do.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Stream for S {}

/// The stream, for both halves.
struct Shared(Mutex<State>);

struct State {
    stream: Pin<Box<dyn Stream>>,
    /// What the stream is given, whatever it waits for.
    bell: Arc<Bell>,
    /// The last write was refused, so the stream will ring. One that came short promises nothing.
    refused: bool,
    /// Something was written since the last flush.
    unflushed: bool,
    /// The writing direction is to be closed.
    finishing: Finishing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finishing {
    No,
    Wanted,
    Done,
}

/// Both halves of a stream.
pub(crate) fn halves(stream: impl Stream) -> Halves {
    let state = State {
        stream: Box::pin(stream),
        bell: Arc::default(),
        refused: false,
        unflushed: false,
        finishing: Finishing::No,
    };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (Box::new(FuturesEndpoint(shared.clone())), Some(Arc::new(FuturesOutlet(shared))))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self) {
        let mut state = self.lock();
        if state.finishing == Finishing::No {
            state.finishing = Finishing::Wanted;
        }
    }

    fn poll_flush(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let was_refused = state.refused;
        let flushed = state.poll_flush(cx);
        let must_retry = was_refused && !state.refused;
        drop(state);
        if must_retry {
            cx.waker().wake_by_ref();
        }
        flushed
    }
}

/// Wakes the actor, and remembers that it rang: a stream that takes no bytes now may have been ready again before the
/// actor asks.
#[derive(Default)]
struct Bell {
    rang: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    fn connect(&self, waker: &Waker) {
        let mut known = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            let replaced = known.replace(waker.clone());
            drop(known);
            drop(replaced);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rang.store(true, Ordering::SeqCst);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        waker.into_iter().for_each(Waker::wake);
    }
}

/// What can be said about a stream that cannot count.
fn impossible() -> io::Error {
    io::Error::other("the stream says that it has taken more bytes than it was given room for")
}

impl State {
    fn poll_read(&mut self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.bell.connect(cx.waker());
        let waker = Waker::from(self.bell.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            match ready!(self.stream.as_mut().poll_read(&mut cx, buf)) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) if count > buf.len() => return Poll::Ready(Err(impossible())),
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write(&mut self, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.bell.rang.store(false, Ordering::SeqCst);
        let waker = Waker::from(self.bell.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            match ready!(self.stream.as_mut().poll_write_vectored(&mut cx, bufs)) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) if count > bufs.iter().map(|buf| buf.len()).sum() => return Poll::Ready(Err(impossible())),
                result => return Poll::Ready(result),
            }
        }
    }

    /// Has the stream pass on what it holds, and close its writing direction if that is wanted.
    ///
    /// A stream keeps one waiter for its writing direction: to flush it may undo what a refused write waits for, so that
    /// write must be tried again.
    fn poll_flush(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.bell.connect(cx.waker());
        let waker = Waker::from(self.bell.clone());
        let mut cx = Context::from_waker(&waker);
        if self.unflushed {
            ready!(self.stream.as_mut().poll_flush(&mut cx))?;
            self.unflushed = false;
            self.refused = false;
        }
        if self.finishing == Finishing::Wanted {
            ready!(self.stream.as_mut().poll_close(&mut cx))?;
            self.finishing = Finishing::Done;
        }
        Poll::Ready(Ok(()))
    }
}

struct FuturesEndpoint(Arc<Shared>);

impl Endpoint for FuturesEndpoint {
    // Only a read can tell.
    fn poll_recv_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        mut budget: usize,
        f: &mut dyn FnMut(&[u8]) -> Flow,
    ) -> Poll<io::Result<Recv>> {
        let mut scratch = Scratch::take();
        while budget > 0 {
            let room = budget.min(scratch.len());
            let read = self.0.lock().poll_read(cx, &mut scratch[..room]);
            match ready!(read)? {
                0 => return Poll::Ready(Ok(Recv::Eof)),
                count => {
                    budget -= count;
                    if f(&scratch[..count]) == Flow::Stop {
                        break;
                    }
                }
            }
        }
        Poll::Ready(Ok(Recv::More))
    }

    fn poll_recv_into(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_read(cx, buf)
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.0.lock();
        state.bell.connect(cx.waker());
        let is_worth_a_try = !state.refused || state.bell.rang.load(Ordering::SeqCst);
        if is_worth_a_try { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn set_reading(&mut self, _: bool) {}

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.finish();
        self.0.poll_flush(cx)
    }

    fn into_socket(self: Box<Self>) -> Option<Socket> {
        None
    }
}

struct FuturesOutlet(Arc<Shared>);

impl Outlet for FuturesOutlet {
    fn try_send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let written = state.poll_write(bufs);
        state.refused = written.is_pending();
        match written {
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(result) => {
                state.unflushed = true;
                result
            }
        }
    }

    fn finish(&self) -> io::Result<()> {
        self.0.finish();
        Ok(())
    }

    fn is_direct(&self) -> bool {
        false
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        None
    }
}

impl fmt::Debug for FuturesEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FuturesEndpoint").finish_non_exhaustive()
    }
}

impl fmt::Debug for FuturesOutlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FuturesOutlet").finish_non_exhaustive()
    }
}

//! Any stream of futures-io as an endpoint.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_io::{AsyncRead, AsyncWrite};
use socket2::{SockRef, Socket};

use super::scratch::Scratch;
use super::{Endpoint, Flow, Halves, Outlet, Recv};

/// What a stream must be able to do.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Stream for S {}

/// The stream, for both halves.
struct Shared(Mutex<State>);

struct State {
    stream: Pin<Box<dyn Stream>>,
    /// The actor's, given to whatever the stream waits for.
    waker: Option<Waker>,
    /// A write was refused, and the stream has the actor's waker for the next one.
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
    let state =
        State { stream: Box::pin(stream), waker: None, refused: false, unflushed: false, finishing: Finishing::No };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (Box::new(FuturesEndpoint(shared.clone())), Some(Arc::new(FuturesOutlet(shared))))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Remembers the actor's waker; whether it is the one that the stream has.
    fn remember(&mut self, waker: &Waker) -> bool {
        let same = self.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        if !same {
            self.waker = Some(waker.clone());
        }
        same
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.remember(cx.waker());
        loop {
            match ready!(self.stream.as_mut().poll_read(cx, buf)) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write(&mut self, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let waker = self.waker.clone().unwrap_or_else(|| Waker::noop().clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            match ready!(self.stream.as_mut().poll_write_vectored(&mut cx, bufs)) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Has the stream pass on what it holds, and close its writing direction if that is wanted.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(self.stream.as_mut().poll_flush(cx))?;
            self.unflushed = false;
        }
        if self.finishing == Finishing::Wanted {
            ready!(self.stream.as_mut().poll_close(cx))?;
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
        let mut state = self.0.lock();
        let has_waker = state.remember(cx.waker());
        if std::mem::take(&mut state.refused) && has_waker {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        state.remember(cx.waker());
        state.poll_flush(cx)
    }

    fn set_reading(&mut self, _: bool) {}

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.finishing == Finishing::No {
            state.finishing = Finishing::Wanted;
        }
        state.poll_flush(cx)
    }

    fn into_socket(self: Box<Self>) -> Option<Socket> {
        None
    }
}

struct FuturesOutlet(Arc<Shared>);

impl Outlet for FuturesOutlet {
    fn try_send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.lock();
        match state.poll_write(bufs) {
            Poll::Pending => {
                state.refused = true;
                Err(io::ErrorKind::WouldBlock.into())
            }
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(result) => {
                state.unflushed = true;
                result
            }
        }
    }

    fn finish(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.finishing == Finishing::No {
            state.finishing = Finishing::Wanted;
        }
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

//! TLS between an actor and its endpoint.

use std::io::{self, IoSlice};
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, Socket};

use super::clock::{Clock, Deadline};
use super::scratch::{SIZE, Scratch};
use super::{Endpoint, Flow, Outlet, Recv};
use crate::tls::{Side, Tls, TlsInfo};

mod session;

use session::{Session, Sink};

/// Ciphertext received at once while little plaintext is asked for: one record of the largest size.
const RECORD: usize = 17 * 1024;

/// Turns of one poll, so that a peer that keeps on talking does not keep the thread.
const TURNS: usize = 16;

/// Slices encrypted at once.
const SLICES: usize = 16;

/// What both halves share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Where ciphertext goes.
    outlet: Arc<dyn Outlet>,
    half_close: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    session: Session,
    /// Plaintext that was encrypted and not yet reported as sent, because its ciphertext is still here. It is at the
    /// front of what is offered next, and counts as waiting until then.
    ahead: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes ciphertext on; whether that was all.
    fn push(&self) -> io::Result<bool> {
        self.lock().session.push(&*self.outlet)
    }

    /// What was negotiated, once the handshake is done.
    pub(crate) fn info(&self) -> Option<TlsInfo> {
        let state = self.lock();
        if state.session.is_handshaking() { None } else { state.session.info() }
    }

    /// Whether one direction can be closed alone.
    pub(crate) fn has_half_close(&self) -> bool {
        self.half_close && self.lock().session.has_half_close()
    }
}

/// The receiving half, which also shakes hands and says goodbye.
#[derive(Debug)]
pub(crate) struct TlsEndpoint {
    inner: Box<dyn Endpoint>,
    shared: Arc<Shared>,
    /// None once the handshake is done.
    handshake: Option<Handshake>,
    /// Why nothing more can be received; told when all that came before it was delivered.
    failure: Option<io::Error>,
    closing: bool,
}

#[derive(Debug)]
struct Handshake {
    limit: Option<Duration>,
    deadline: Deadline,
}

/// Puts TLS over both halves of an endpoint. The handshake is still to be made.
pub(crate) fn wrap(
    inner: Box<dyn Endpoint>,
    outlet: Arc<dyn Outlet>,
    tls: &Tls,
    side: &Side,
    clock: Clock,
) -> (TlsEndpoint, Arc<TlsOutlet>) {
    let state = State { session: Session::new(side), ahead: 0 };
    let shared = Arc::new(Shared { outlet, half_close: tls.has_half_close(), state: Mutex::new(state) });
    let handshake = Handshake { limit: tls.handshake_limit(), deadline: Deadline::new(clock) };
    let mut endpoint =
        TlsEndpoint { inner, shared: shared.clone(), handshake: Some(handshake), failure: None, closing: false };
    endpoint.feed_first(tls.first());
    (endpoint, Arc::new(TlsOutlet(shared)))
}

impl TlsEndpoint {
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The first bytes, which somebody else has received.
    fn feed_first(&mut self, data: &[u8]) {
        let mut state = self.shared.lock();
        let fed = state.session.shake().and_then(|()| state.session.feed(data, &mut Sink::new(&mut [])));
        self.failure = fed.err();
    }

    /// Ready when the handshake is done and all of it was passed on.
    ///
    /// # Errors
    ///
    /// `TimedOut`, `ConnectionReset` if the peer has gone, `InvalidData` with the error of rustls.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.handshake.is_none() {
            return Poll::Ready(Ok(()));
        }
        let shaken = self.poll_shake(cx);
        let Some(Handshake { limit, deadline }) = &mut self.handshake else { return shaken };
        if let (Poll::Pending, Some(limit)) = (&shaken, *limit) {
            deadline.arm(limit);
            if deadline.has_passed(cx) {
                let text = format!("no TLS handshake within {limit:?}");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
        }
        if shaken.is_ready() {
            self.handshake = None;
        }
        shaken
    }

    fn poll_shake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..TURNS {
            let pushed = match self.poll_push(cx) {
                Poll::Ready(Err(err)) => return Poll::Ready(Err(self.last_words(cx).unwrap_or(err))),
                pushed => pushed,
            };
            if let Some(failure) = self.failure.take() {
                return Poll::Ready(Err(failure));
            }
            if !self.shared.lock().session.is_handshaking() {
                return pushed;
            }
            if ready!(self.poll_feed(cx, RECORD, &mut Sink::new(&mut [])))? == Recv::Eof {
                return Poll::Ready(Err(self.failure.take().unwrap_or_else(gone)));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What a peer that takes nothing more has said before, which tells more than that.
    fn last_words(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        let _ = self.poll_feed(cx, SIZE, &mut Sink::new(&mut []));
        self.failure.take()
    }

    /// Ready when all ciphertext was passed on.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.shared.push()? {
            ready!(self.inner.poll_send_ready(cx))?;
        }
        self.inner.poll_flush(cx)
    }

    /// Receives ciphertext; pending if there was none. What is wrong with it becomes the failure.
    fn poll_feed(&mut self, cx: &mut Context<'_>, budget: usize, sink: &mut Sink<'_>) -> Poll<io::Result<Recv>> {
        let Self { inner, shared, failure, .. } = self;
        ready!(inner.poll_recv_ready(cx))?;
        let mut got = false;
        let received = inner.poll_recv(cx, budget, &mut |data| {
            got = true;
            *failure = shared.lock().session.feed(data, sink).err();
            if failure.is_some() { Flow::Stop } else { Flow::Continue }
        });
        if self.failure.is_some() {
            // The peer is told why, if it still listens.
            let _ = self.shared.push();
        }
        if got && received.is_pending() { Poll::Ready(Ok(Recv::Idle)) } else { received }
    }

    /// Receives plaintext into `room`: how much, and how it goes on.
    fn poll_fill(&mut self, cx: &mut Context<'_>, room: &mut [u8], budget: usize) -> Poll<io::Result<(usize, Recv)>> {
        let mut sink = Sink::new(room);
        self.shared.lock().session.take_plain(&mut sink);
        if sink.filled() > 0 {
            return Poll::Ready(Ok((sink.filled(), Recv::More)));
        }
        if let Some(end) = self.end() {
            return Poll::Ready(end.map(|recv| (0, recv)));
        }
        match self.poll_feed(cx, budget, &mut sink) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(err)) => self.failure = self.failure.take().or(Some(err)),
            Poll::Ready(Ok(Recv::Eof)) if !self.is_over() => self.failure = Some(cut()),
            Poll::Ready(Ok(recv)) if !self.is_over() => return Poll::Ready(Ok((sink.filled(), recv))),
            Poll::Ready(Ok(_)) => {}
        }
        // What came before the end is delivered before it.
        match sink.filled() {
            0 => Poll::Ready(self.end().unwrap_or(Ok(Recv::More)).map(|recv| (0, recv))),
            filled => Poll::Ready(Ok((filled, Recv::More))),
        }
    }

    /// Whether nothing more will be received.
    fn is_over(&self) -> bool {
        self.failure.is_some() || self.shared.lock().session.is_finished()
    }

    /// How receiving has ended, if all before that was taken.
    fn end(&mut self) -> Option<io::Result<Recv>> {
        if self.shared.lock().session.is_finished() {
            return Some(Ok(Recv::Eof));
        }
        self.failure.take().map(Err)
    }

    /// Reads on until the peer has finished too.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.lock().session.take_plain(&mut Sink::discarding());
        for _ in 0..TURNS {
            if let Some(end) = self.end() {
                return Poll::Ready(end.map(drop));
            }
            // Nothing can be missing any more, so the end of the connection will do.
            if ready!(self.poll_feed(cx, SIZE, &mut Sink::discarding()))? == Recv::Eof {
                return Poll::Ready(self.end().unwrap_or(Ok(Recv::Eof)).map(drop));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the peer has gone during the TLS handshake")
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer has cut the TLS connection: it sent no close_notify")
}

impl Endpoint for TlsEndpoint {
    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over() || self.shared.lock().session.has_plain() {
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_recv_ready(cx)
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        f: &mut dyn FnMut(&[u8]) -> Flow,
    ) -> Poll<io::Result<Recv>> {
        let mut scratch = Scratch::take();
        let (count, recv) = ready!(self.poll_fill(cx, &mut scratch, budget))?;
        let flow = if count > 0 { f(&scratch[..count]) } else { Flow::Continue };
        Poll::Ready(Ok(if flow == Flow::Stop { Recv::More } else { recv }))
    }

    fn poll_recv_into(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        for _ in 0..TURNS {
            match ready!(self.poll_fill(cx, buf, buf.len().clamp(RECORD, SIZE)))? {
                (0, Recv::Eof) => return Poll::Ready(Ok(0)),
                (0, _) => {}
                (count, _) => return Poll::Ready(Ok(count)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_handshake(cx))?;
        self.poll_push(cx)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The handshake and the farewell do so themselves.
        if self.handshake.is_some() || self.closing {
            return Poll::Ready(Ok(()));
        }
        self.poll_push(cx)
    }

    fn set_reading(&mut self, on: bool) {
        self.inner.set_reading(on);
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            self.shared.lock().session.send_close_notify();
        }
        ready!(self.poll_push(cx))?;
        self.poll_farewell(cx)
    }

    fn unbind(&mut self) {
        self.inner.unbind();
    }

    fn into_socket(self: Box<Self>) -> Option<Socket> {
        let Self { inner, shared, .. } = *self;
        drop(shared);
        inner.into_socket()
    }
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct TlsOutlet(Arc<Shared>);

impl Outlet for TlsOutlet {
    fn try_send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if !state.session.push(&*self.0.outlet)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // What was offered then is offered again, and more.
        let sent = std::mem::take(&mut state.ahead).min(bufs.iter().map(|buf| buf.len()).sum());
        let fresh = state.session.encrypt(behind(bufs, sent, &mut [IoSlice::new(&[]); SLICES]))?;
        if state.session.push(&*self.0.outlet)? {
            return some(sent + fresh);
        }
        state.ahead = fresh;
        some(sent)
    }

    // Such bytes do not count as waiting, and might be others when they are read again.
    fn try_send_copy(&self, buf: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if !state.session.push(&*self.0.outlet)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sent = state.session.encrypt(&[IoSlice::new(buf)])?;
        state.session.push(&*self.0.outlet)?;
        some(sent)
    }

    fn finish(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.session.send_close_notify();
        state.session.push(&*self.0.outlet).map(drop)
    }

    fn is_direct(&self) -> bool {
        false
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        self.0.outlet.socket()
    }

    #[cfg(unix)]
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.outlet.descriptor()
    }
}

fn some(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
}

/// What follows the first `skip` bytes.
fn behind<'a, 'b>(bufs: &[IoSlice<'a>], skip: usize, room: &'b mut [IoSlice<'a>]) -> &'b [IoSlice<'a>] {
    let count = bufs.len().min(room.len());
    room[..count].copy_from_slice(&bufs[..count]);
    let mut slices = &mut room[..count];
    IoSlice::advance_slices(&mut slices, skip);
    slices
}

//! TLS between an actor and its endpoint.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use socket2::Socket;

use super::clock::Clock;
use super::scratch::{SIZE, Scratch};
use super::{Endpoint, Flow, Outlet, Progress, Recv};
use crate::tls::{Side, Tls, TlsInfo};

mod handshake;
mod outlet;
mod receive;
mod session;

use handshake::Handshake;
pub(crate) use outlet::TlsOutlet;
use session::{Session, Sink};

/// Ciphertext received at once while little plaintext is asked for: one record of the largest size.
const RECORD: usize = 17 * 1024;

/// Turns of one poll, so that a peer that keeps on talking does not keep the thread.
const TURNS: usize = 16;

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
    /// The peer has ended before that.
    answered: bool,
    /// Both sides have said goodbye; what lies below is being closed.
    parted: bool,
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
    let handshake = Handshake::new(tls.handshake_limit(), clock);
    let mut endpoint = TlsEndpoint {
        inner,
        shared: shared.clone(),
        handshake: Some(handshake),
        failure: None,
        closing: false,
        answered: false,
        parted: false,
    };
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

    /// Ready when all ciphertext was passed on.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..TURNS {
            if self.shared.push()? {
                return self.inner.poll_flush(cx);
            }
            ready!(self.inner.poll_send_ready(cx))?;
        }
        // What is ready each time and takes nothing may need somebody else to go on.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
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

    fn look_again(&mut self) {
        self.inner.look_again();
    }

    fn take_progress(&mut self) -> Progress {
        let (below, here) = (self.inner.take_progress(), self.shared.lock().session.take_progress());
        Progress { received: below.received || here.received, sent: below.sent || here.sent }
    }

    fn set_reading(&mut self, on: bool) {
        self.inner.set_reading(on);
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            // Who has closed misses nothing: an end that was seen and not told is as good as the answer.
            let seen = self.failure.take_if(|err| err.kind() == io::ErrorKind::UnexpectedEof);
            self.answered = seen.is_some();
            self.shared.lock().session.send_close_notify();
        }
        if !self.parted {
            ready!(self.poll_push(cx))?;
            if !self.answered {
                ready!(self.poll_farewell(cx))?;
            }
            self.parted = true;
        }
        self.inner.poll_close(cx)
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

//! Receiving over TLS, to the end and to the farewell.

use std::io;
use std::task::{Context, Poll, ready};

use super::session::Sink;
use super::{TURNS, TlsEndpoint};
use crate::io::scratch::SIZE;
use crate::io::{Flow, Recv};

impl TlsEndpoint {
    /// Receives ciphertext; pending if there was none. What is wrong with it becomes the failure.
    pub(super) fn poll_feed(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        sink: &mut Sink<'_>,
    ) -> Poll<io::Result<Recv>> {
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
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
        budget: usize,
    ) -> Poll<io::Result<(usize, Recv)>> {
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
            // Nobody is woken for plaintext that has found no room.
            Poll::Ready(Ok(Recv::Awaited)) if self.shared.lock().session.has_plain() => {
                return Poll::Ready(Ok((sink.filled(), Recv::More)));
            }
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
    pub(super) fn is_over(&self) -> bool {
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
    pub(super) fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.lock().session.take_plain(&mut Sink::discarding());
        for _ in 0..TURNS {
            if let Some(end) = self.end() {
                return Poll::Ready(end.map(drop));
            }
            // Nothing can be missing any more, so the end of the connection will do, also that of TLS below.
            let ended = match ready!(self.poll_feed(cx, SIZE, &mut Sink::discarding())) {
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => true,
                received => received? == Recv::Eof,
            };
            if ended {
                return Poll::Ready(self.end().unwrap_or(Ok(Recv::Eof)).map(drop));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer has cut the TLS connection: it sent no close_notify")
}

//! The handshake of a session, within its limit.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::session::Sink;
use super::{RECORD, TURNS, TlsEndpoint};
use crate::io::Recv;
use crate::io::clock::{Clock, Deadline};
use crate::io::scratch::SIZE;

/// A handshake that is going on.
#[derive(Debug)]
pub(super) struct Handshake {
    limit: Option<Duration>,
    deadline: Deadline,
}

impl Handshake {
    pub(super) const fn new(limit: Option<Duration>, clock: Clock) -> Self {
        Self { limit, deadline: Deadline::new(clock) }
    }
}

impl TlsEndpoint {
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
            let fed = ready!(self.poll_feed(cx, RECORD, &mut Sink::new(&mut [])))?;
            // The end may have come right behind what has completed it.
            if fed == Recv::Eof && self.shared.lock().session.is_handshaking() {
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
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the peer has gone during the TLS handshake")
}

//! A client that runs by itself.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::arrivals::Arrival;
use super::clients::Place;
use crate::actor::delivery::{Payload, panic_text};
use crate::connection::Connection;
use crate::protocol::StreamProtocol;
use crate::transport::Transport;

/// A client that runs by itself: its errors and panics are reported.
pub(super) struct Client<P: StreamProtocol<Transport>> {
    pub(super) stage: Stage<P>,
    /// It counts until its panic was reported.
    pub(super) place: Place,
}

pub(super) enum Stage<P: StreamProtocol<Transport>> {
    /// The protocol is there until it is connected. Most clients have no handshake, or are soon past it.
    Handshake(Box<(Arrival, Option<P>)>),
    Connected(Connection<P>),
}

impl<P: StreamProtocol<Transport>> Client<P> {
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Stage::Handshake(coming) = &mut self.stage {
            let (arrival, protocol) = &mut **coming;
            let Some(link) = ready!(arrival.poll(cx, &self.place)).transpose()? else { return Poll::Ready(Ok(())) };
            let connection = link.start(protocol.take().expect("it is taken here alone"));
            self.place.introduce(connection.transport());
            self.stage = Stage::Connected(connection);
        }
        Poll::Ready(Ok(()))
    }
}

impl<P: StreamProtocol<Transport>> Future for Client<P> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Err(err) = ready!(this.poll_handshake(cx)) {
            this.place.report(err);
        }
        if let Stage::Connected(connection) = &mut this.stage {
            if let Err(payload) = ready!(connection.poll_outcome(cx)) {
                this.place.report(panicked("a callback", &payload));
            }
        }
        Poll::Ready(())
    }
}

// Nothing is ever pinned inside: the protocol is lent by reference only.
impl<P: StreamProtocol<Transport>> Unpin for Client<P> {}

pub(super) fn panicked(who: &str, payload: &Payload) -> io::Error {
    io::Error::other(format!("{who} panicked: {}", panic_text(payload)))
}

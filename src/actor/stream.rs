//! The actor of a two-way stream: a write side, a read side, and the end of both.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use socket2::Socket;

use super::delivery::{Delivery, Payload, Receive};
use super::mailbox::{Mailbox, Sight, Stage};
use super::read_side::{Turn, poll_read};
use super::times::Times;
use super::write_side::WriteSide;
use crate::info::ExtraInfo;
use crate::io::clock::Clock;
#[cfg(feature = "tls-custom")]
use crate::io::tls::wrap;
use crate::io::{Endpoint, Halves};
use crate::message::Event;
use crate::state::bounds::{Bounds, Limit, late_close};
use crate::state::kind::Kind;
use crate::state::limits::WriteLimits;
use crate::stats;

/// Rounds of one poll: a mailbox that never falls silent must not keep the thread.
const ROUNDS: usize = 16;

/// What can be set when a stream transport is made.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    pub(crate) kind: Kind,
    pub(crate) limits: WriteLimits,
    pub(crate) bounds: Bounds,
    pub(crate) close_timeout: Option<Duration>,
    pub(crate) clock: Clock,
    /// Dropped when all is over.
    pub(crate) guard: Option<Box<dyn Any + Send>>,
}

/// Owns the endpoint; is lent its protocol at each poll, so it knows nothing of its type.
#[derive(Debug)]
pub(crate) struct StreamActor {
    mailbox: Arc<Mailbox>,
    sight: Sight,
    /// Taken at the loss.
    endpoint: Option<Box<dyn Endpoint>>,
    reading: bool,
    /// If there are time limits.
    times: Option<Box<Times>>,
    payload: Option<Payload>,
    guard: Option<Box<dyn Any + Send>>,
    _alive: stats::Alive,
}

impl StreamActor {
    pub(crate) fn new(halves: Halves, info: ExtraInfo, setup: Setup) -> Self {
        let (endpoint, outlet) = halves;
        let times = Times::new(setup.bounds, setup.close_timeout, setup.clock);
        let send_times = times.as_ref().and_then(|times| times.send_times());
        let write = WriteSide::new(setup.kind, setup.limits, outlet).bounded(setup.bounds, send_times);
        Self {
            mailbox: Arc::new(Mailbox::new(write, info)),
            sight: Sight::NEW,
            endpoint: Some(endpoint),
            reading: true,
            times,
            payload: None,
            guard: setup.guard,
            _alive: stats::Alive::new(),
        }
    }

    pub(crate) const fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Tells the protocol that the connection is made: the first callback, before any other.
    pub(crate) fn made(&mut self, receive: &mut dyn Receive) {
        let _polling = self.mailbox.polling();
        stats::made();
        self.delivery(receive, Waker::noop()).deliver(Event::ConnectionMade);
    }

    /// Ready when `connection_lost` was called and everything is let go of.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, receive: &mut dyn Receive) -> Poll<()> {
        if self.endpoint.is_none() {
            return Poll::Ready(());
        }
        let _polling = self.mailbox.polling();
        self.mailbox.begin_poll(cx.waker(), &mut self.sight);
        let mut has_looked = false;
        for _ in 0..ROUNDS {
            if self.sight.view.has_news {
                // A pause is told before anything else.
                self.settle(cx, receive);
            }
            // Reading comes first: a peer that has gone makes sending fail, and what it sent before must not be lost.
            let turn = self.poll_read(cx, receive);
            if !self.sight.view.is_quiet {
                self.poll_write(cx, receive);
                if self.poll_end(cx, receive).is_ready() {
                    return Poll::Ready(());
                }
            }
            if let Some(limit) = self.overdue(cx) {
                if has_looked {
                    self.mailbox.give_up(|| limit.to_error());
                    self.lose(receive);
                    return Poll::Ready(());
                }
                // If this thread had no time, the peer is not to blame: what has come, or was taken, may not have been
                // reported yet.
                has_looked = true;
                self.look_again();
                self.mailbox.try_again();
                continue;
            }
            if turn == Turn::Spent {
                break;
            }
            if self.mailbox.park(&mut self.sight.view) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends at once; `connection_lost` is called unless it was.
    pub(crate) fn end(&mut self, receive: &mut dyn Receive) {
        if self.endpoint.is_some() {
            self.mailbox.abort(None);
            self.lose(receive);
        }
    }

    /// Ends without a callback; the socket, where there is one, and what was not sent.
    pub(crate) fn dissolve(&mut self) -> (Option<Socket>, Bytes) {
        let Some(endpoint) = self.endpoint.take() else { return (None, Bytes::new()) };
        let unsent = self.mailbox.dissolve();
        self.mailbox.bury();
        let socket = endpoint.into_socket();
        self.farewell();
        (socket, unsent)
    }

    /// Whether the endpoint has passed on all that was sent.
    pub(crate) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.endpoint.as_mut().map_or(Poll::Ready(Ok(())), |endpoint| endpoint.poll_flush(cx))
    }

    /// The next turn of reading asks for what nobody has reported yet.
    pub(crate) fn look_again(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.look_again();
        }
    }

    /// Keeps something until all is over.
    pub(crate) fn set_guard(&mut self, guard: Box<dyn Any + Send>) {
        self.guard = Some(guard);
    }

    /// What a callback panicked with, if one did.
    pub(crate) fn take_payload(&mut self) -> Option<Payload> {
        self.payload.take()
    }

    fn delivery<'a>(&'a mut self, receive: &'a mut dyn Receive, waker: &'a Waker) -> Delivery<'a> {
        Delivery { mailbox: &self.mailbox, receive, payload: &mut self.payload, waker, view: self.sight.view, reads: 0 }
    }

    fn settle(&mut self, cx: &Context<'_>, receive: &mut dyn Receive) {
        let mut delivery = self.delivery(receive, cx.waker());
        delivery.settle();
        self.sight.view = delivery.view;
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, receive: &mut dyn Receive) {
        #[cfg(feature = "tls-custom")]
        self.begin_upgrade();
        if self.mailbox.is_blocked() {
            match self.endpoint.as_mut().map(|endpoint| endpoint.poll_send_ready(cx)) {
                Some(Poll::Ready(Ok(()))) => self.unblock(),
                Some(Poll::Ready(Err(exc))) => self.mailbox.break_off(exc),
                Some(Poll::Pending) | None => {}
            }
        }
        self.settle(cx, receive);
        let flushed = self.endpoint.as_mut().map(|endpoint| endpoint.poll_flush(cx));
        if let Some(Poll::Ready(Err(exc))) = flushed {
            self.mailbox.break_off(exc);
        }
    }

    fn unblock(&self) {
        self.mailbox.unblock();
        #[cfg(feature = "tls-custom")]
        self.mailbox.end_upgrade();
    }

    /// Puts TLS over the endpoint, if that is due.
    #[cfg(feature = "tls-custom")]
    fn begin_upgrade(&mut self) {
        let Some((tls, outlet)) = self.mailbox.due_upgrade() else { return };
        let (Ok(side), Some(inner)) = (tls.side(), self.endpoint.take()) else { return };
        let times = self.times.get_or_insert_default();
        let (endpoint, outlet) = wrap(inner, outlet, &tls, side, times.clock().clone());
        times.close_timeout = tls.limit_closing(times.close_timeout);
        self.mailbox.begin_upgrade(endpoint.shared().clone(), outlet);
        self.endpoint = Some(Box::new(endpoint));
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, receive: &mut dyn Receive) -> Turn {
        let Some(endpoint) = self.endpoint.as_deref_mut() else { return Turn::Rest };
        let view = &mut self.sight.view;
        if view.wants_data != self.reading {
            self.reading = view.wants_data;
            self.times.iter_mut().for_each(|times| times.set_reading(view.wants_data));
            endpoint.set_reading(view.wants_data);
        }
        if !view.wants_data {
            return Turn::Rest;
        }
        let waker = cx.waker();
        let payload = &mut self.payload;
        let mut delivery = Delivery { mailbox: &self.mailbox, receive, payload, waker, view: *view, reads: 0 };
        let turn = poll_read(cx, endpoint, &mut delivery);
        *view = delivery.view;
        if delivery.reads > 0 {
            self.times.iter_mut().for_each(|times| times.received());
        }
        turn.unwrap_or_else(|exc| {
            self.mailbox.break_off(exc);
            view.is_quiet = false;
            Turn::Rest
        })
    }

    fn poll_end(&mut self, cx: &mut Context<'_>, receive: &mut dyn Receive) -> Poll<()> {
        match self.mailbox.stage() {
            Stage::Alive => return Poll::Pending,
            Stage::Ended => {}
            Stage::Flushing if !self.is_late(cx) => return Poll::Pending,
            Stage::Flushing => self.mailbox.abort(Some(late_close())),
            Stage::Leaving => ready!(self.poll_goodbye(cx)),
        }
        self.lose(receive);
        Poll::Ready(())
    }

    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.endpoint.as_mut().map(|endpoint| endpoint.poll_close(cx)) {
            Some(Poll::Pending) if !self.is_late(cx) => return Poll::Pending,
            Some(Poll::Pending) => self.mailbox.blame(io::ErrorKind::TimedOut.into()),
            Some(Poll::Ready(Err(exc))) => self.mailbox.blame(exc),
            Some(Poll::Ready(Ok(()))) | None => {}
        }
        Poll::Ready(())
    }

    /// Whether closing takes longer than it may.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.times.as_mut().is_some_and(|times| times.is_late(cx))
    }

    /// The time limit that has passed, if one has.
    fn overdue(&mut self, cx: &mut Context<'_>) -> Option<Limit> {
        let times = self.times.as_mut().filter(|times| times.has_limits())?;
        let progress = self.endpoint.as_mut().map(|endpoint| endpoint.take_progress()).unwrap_or_default();
        if progress.received {
            times.received();
        }
        if progress.sent {
            self.mailbox.note_progress();
        }
        times.passed(|| self.mailbox.send_times(), cx)
    }

    fn lose(&mut self, receive: &mut dyn Receive) {
        self.delivery(receive, Waker::noop()).lose();
        self.endpoint = None;
        self.mailbox.bury();
        self.farewell();
    }

    /// The descriptor is closed by now.
    fn farewell(&mut self) {
        self.mailbox.announce();
        self.guard = None;
    }
}

//! The actor of a datagram endpoint.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::datagram_side::{DatagramSide, News, Route};
use super::delivery::{Delivery, Messages, Payload, Receive};
use super::mailbox::{Mailbox, Sight, Stage};
use super::read_side::Turn;
use super::stream::Setup;
use crate::info::ExtraInfo;
use crate::io::Flow;
use crate::io::clock::Deadline;
use crate::io::datagram::{DatagramHalves, DatagramSource, Received};
use crate::message::DatagramEvent;
use crate::state::bounds::late_close;
use crate::state::lifecycle::Input;
use crate::state::marks::Mark;
use crate::stats;

/// Rounds of one poll.
const ROUNDS: usize = 16;

/// Datagrams of one turn.
const BUDGET: usize = 32;

/// Receives of one turn that were interrupted by what a callback did.
const READS: usize = 16;

/// The messages of datagram endpoints.
#[derive(Debug)]
pub(crate) enum Datagrams {}

impl Messages for Datagrams {
    type Event<'a> = DatagramEvent<'a>;
    type Answer = ();
    type Side = DatagramSide;

    fn input(event: &DatagramEvent<'_>) -> Input {
        event.input()
    }

    fn size(event: &DatagramEvent<'_>) -> usize {
        event.size()
    }

    fn news(news: News) -> DatagramEvent<'static> {
        match news {
            News::Error(exc) => DatagramEvent::ErrorReceived(exc),
            News::Mark(Mark::Pause) => DatagramEvent::PauseWriting,
            News::Mark(Mark::Resume) => DatagramEvent::ResumeWriting,
        }
    }

    fn lost(exc: Option<io::Error>) -> DatagramEvent<'static> {
        DatagramEvent::ConnectionLost(exc)
    }
}

impl Delivery<'_, Datagrams> {
    /// Delivers a datagram or an error; whether more are wanted.
    fn received(&mut self, received: Received<'_>) -> Flow {
        self.deliver(match received {
            Ok((data, addr)) => {
                DatagramEvent::DatagramReceived { data: Cow::Borrowed(data), addr: Cow::Borrowed(addr) }
            }
            Err(exc) => DatagramEvent::ErrorReceived(exc),
        });
        self.flow()
    }
}

/// Owns the endpoint; is lent its protocol at each poll, so it knows nothing of its type.
#[derive(Debug)]
pub(crate) struct DatagramActor {
    mailbox: Arc<Mailbox<DatagramSide>>,
    sight: Sight,
    /// Taken at the loss.
    source: Option<Box<dyn DatagramSource>>,
    reading: bool,
    close_timeout: Option<Duration>,
    deadline: Deadline,
    payload: Option<Payload>,
    /// The file of a Unix socket.
    guard: Option<Box<dyn std::any::Any + Send>>,
    _alive: stats::Alive,
}

impl DatagramActor {
    pub(crate) fn new(halves: DatagramHalves, route: Route, info: ExtraInfo, setup: Setup) -> Self {
        let (source, outlet) = halves;
        Self {
            mailbox: Arc::new(Mailbox::new(DatagramSide::new(route, setup.limits, outlet), info)),
            sight: Sight::NEW,
            source: Some(source),
            reading: true,
            close_timeout: setup.close_timeout,
            deadline: Deadline::new(setup.clock),
            payload: None,
            guard: setup.guard,
            _alive: stats::Alive::new(),
        }
    }

    pub(crate) const fn mailbox(&self) -> &Arc<Mailbox<DatagramSide>> {
        &self.mailbox
    }

    /// Tells the protocol that the endpoint is there: the first callback, before any other.
    pub(crate) fn made(&mut self, receive: &mut dyn Receive<Datagrams>) {
        let _polling = self.mailbox.polling();
        stats::made();
        self.delivery(receive, Waker::noop()).deliver(DatagramEvent::ConnectionMade);
    }

    /// Ready when `connection_lost` was called and everything is let go of.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, receive: &mut dyn Receive<Datagrams>) -> Poll<()> {
        if self.source.is_none() {
            return Poll::Ready(());
        }
        let _polling = self.mailbox.polling();
        self.mailbox.begin_poll(cx.waker(), &mut self.sight);
        for _ in 0..ROUNDS {
            if !self.sight.view.is_quiet {
                let told = self.poll_send(cx, receive);
                if self.poll_end(cx, receive, told).is_ready() {
                    return Poll::Ready(());
                }
                if !told {
                    break;
                }
            }
            if self.poll_read(cx, receive) == Turn::Spent {
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
    pub(crate) fn end(&mut self, receive: &mut dyn Receive<Datagrams>) {
        if self.source.is_some() {
            self.mailbox.abort(None);
            self.lose(receive);
        }
    }

    /// What a callback panicked with, if one did.
    pub(crate) fn take_payload(&mut self) -> Option<Payload> {
        self.payload.take()
    }

    fn delivery<'a>(
        &'a mut self,
        receive: &'a mut dyn Receive<Datagrams>,
        waker: &'a Waker,
    ) -> Delivery<'a, Datagrams> {
        Delivery { mailbox: &self.mailbox, receive, payload: &mut self.payload, waker, view: self.sight.view, reads: 0 }
    }

    /// Sends what waits; whether all that there was to tell was told.
    fn poll_send(&mut self, cx: &mut Context<'_>, receive: &mut dyn Receive<Datagrams>) -> bool {
        if self.mailbox.is_blocked() {
            match self.source.as_mut().map(|source| source.poll_send_ready(cx)) {
                Some(Poll::Ready(Ok(()))) => self.mailbox.unblock(),
                Some(Poll::Ready(Err(exc))) => self.mailbox.break_off(exc),
                Some(Poll::Pending) | None => {}
            }
        }
        let mut delivery = self.delivery(receive, cx.waker());
        let told = delivery.settle();
        self.sight.view = delivery.view;
        told
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, receive: &mut dyn Receive<Datagrams>) -> Turn {
        let Some(source) = self.source.as_deref_mut() else { return Turn::Rest };
        let view = &mut self.sight.view;
        if view.wants_data != self.reading {
            self.reading = view.wants_data;
            source.set_reading(view.wants_data);
        }
        let waker = cx.waker();
        let payload = &mut self.payload;
        let mut delivery = Delivery { mailbox: &self.mailbox, receive, payload, waker, view: *view, reads: 0 };
        let turn = poll_read(cx, source, &mut delivery);
        *view = delivery.view;
        turn.unwrap_or_else(|exc| {
            self.mailbox.break_off(exc);
            Turn::Rest
        })
    }

    /// The end comes when all that there was to tell was told.
    fn poll_end(&mut self, cx: &mut Context<'_>, receive: &mut dyn Receive<Datagrams>, told: bool) -> Poll<()> {
        match self.mailbox.stage() {
            Stage::Alive => return Poll::Pending,
            Stage::Leaving | Stage::Ended if !told => return Poll::Pending,
            Stage::Flushing if !self.is_late(cx) => return Poll::Pending,
            Stage::Flushing => self.mailbox.abort(Some(late_close())),
            Stage::Leaving | Stage::Ended => {}
        }
        self.lose(receive);
        Poll::Ready(())
    }

    /// Whether closing takes longer than it may.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(limit) = self.close_timeout else { return false };
        self.deadline.arm(limit);
        self.deadline.has_passed(cx)
    }

    fn lose(&mut self, receive: &mut dyn Receive<Datagrams>) {
        self.delivery(receive, Waker::noop()).lose();
        // The file goes before the socket: until then no other one can have its number.
        self.guard = None;
        self.source = None;
        self.mailbox.bury();
        self.mailbox.announce();
    }
}

/// Receives and delivers, one turn of work at most.
fn poll_read(
    cx: &mut Context<'_>,
    source: &mut dyn DatagramSource,
    delivery: &mut Delivery<'_, Datagrams>,
) -> io::Result<Turn> {
    for _ in 0..READS {
        if !delivery.wants_data() {
            return Ok(Turn::Rest);
        }
        match source.poll_recv(cx, BUDGET, &mut |received| delivery.received(received)) {
            Poll::Pending => return Ok(Turn::Rest),
            Poll::Ready(result) => result?,
        }
        if delivery.view.has_news || delivery.flow() == Flow::Continue {
            break;
        }
    }
    Ok(Turn::Spent)
}

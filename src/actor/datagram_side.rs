//! The sending half of a datagram actor, shared with its handles.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::send_side::SendSide;
use super::write_side::Chunk;
use crate::info::Addr;
use crate::io::datagram::{DatagramOutlet, Outgoing};
use crate::io::errors::unless_blocked;
use crate::message::Misuse;
use crate::state::copied::Copied;
use crate::state::datagrams::{Datagram, Datagrams, Payload};
use crate::state::habit::{Habit, Place};
use crate::state::lifecycle::Input;
use crate::state::limits::WriteLimits;
use crate::state::marks::{Mark, Marks};
use crate::stats;

/// Datagrams given to the system at once.
const BATCH: usize = 32;

/// Sends of one flush: what is left then waits for the actor's next turn.
const SENDS: usize = 16;

/// Datagrams of one callback that are held back to be sent together.
const GATHERED: usize = 256;

/// Bytes that one callback may send directly. A sender that never yields is paused behind them.
const BURST: usize = 8 * 1024 * 1024;

/// Errors that wait to be told. A sender that never yields does not hear of more.
const ERRORS: usize = 64 * 1024;

/// Errors of datagrams that are sent after the end.
const LATE_ERRORS: usize = 16;

/// Where datagrams may go.
#[derive(Debug)]
pub(crate) enum Route {
    /// Each to its own address.
    Open,
    /// The socket is connected; all the names of its peer.
    Connected(Vec<Addr>),
    /// All go to this address, from a socket that is not connected.
    Fixed(Addr),
}

impl Route {
    /// The address that the system must be given; none where the socket is connected. A name that is none, as most
    /// clients on Unix sockets have, is no address.
    fn resolve(&self, to: Option<Addr>) -> Result<Option<Addr>, Misuse> {
        let to = to.filter(|addr| !is_unnamed(addr));
        match (self, to) {
            (Self::Open, None) => Err(Misuse::AddressMissing),
            (Self::Open, to) => Ok(to),
            (Self::Connected(names), Some(to)) if !names.contains(&to) => Err(Misuse::OtherAddress),
            (Self::Fixed(peer), Some(to)) if to != *peer => Err(Misuse::OtherAddress),
            (Self::Connected(_), _) => Ok(None),
            (Self::Fixed(peer), _) => Ok(Some(peer.clone())),
        }
    }
}

fn outgoing(datagram: &Datagram<Addr>) -> Outgoing<'_> {
    Outgoing { data: datagram.data.as_slice(), to: datagram.to.as_ref() }
}

fn is_unnamed(addr: &Addr) -> bool {
    addr.as_unix().is_some_and(|addr| addr.is_unnamed())
}

/// What the sending half has to tell.
#[derive(Debug)]
pub(crate) enum News {
    /// A datagram could not be sent and was dropped.
    Error(io::Error),
    Mark(Mark),
}

#[derive(Debug)]
pub(crate) struct DatagramSide {
    queue: Datagrams<Addr>,
    route: Route,
    /// Taken at the loss: handles never keep a descriptor open.
    outlet: Option<Arc<dyn DatagramOutlet>>,
    habit: Habit,
    /// The last send came short; the endpoint tells when to try again.
    blocked: bool,
    /// Bytes sent in this callback, or since all was told that was to be told.
    burst: usize,
    /// Not yet told.
    errors: VecDeque<io::Error>,
    /// Errors that come from now on are not told either.
    forgotten: bool,
    /// How many there were of datagrams that were sent after the end.
    late_errors: usize,
}

impl DatagramSide {
    pub(crate) fn new(route: Route, limits: WriteLimits, outlet: Arc<dyn DatagramOutlet>) -> Self {
        let queue = Datagrams::new(Marks::new(limits, false));
        Self {
            queue,
            route,
            outlet: Some(outlet),
            habit: Habit::default(),
            blocked: false,
            burst: 0,
            errors: VecDeque::new(),
            forgotten: false,
            late_errors: 0,
        }
    }

    pub(crate) const fn outlet(&self) -> Option<&Arc<dyn DatagramOutlet>> {
        self.outlet.as_ref()
    }

    /// The address that the system must be given for a datagram to `to`.
    pub(crate) fn resolve(&self, to: Option<Addr>) -> Result<Option<Addr>, Misuse> {
        self.route.resolve(to)
    }

    /// Queues a datagram, to be sent together with what else the callback sends; sends it at once if nothing waits before
    /// it and it is expected to be all. What goes over the high mark is tried at once as well, so that what the system
    /// takes never pauses the sender.
    #[inline]
    pub(crate) fn gather(&mut self, data: &mut Chunk<'_>, to: Option<Addr>, callback: u16) {
        let place = self.habit.place(callback);
        if place != Place::Further {
            self.burst = 0;
        }
        let goes_first = place == Place::Alone && self.queue.is_empty() && !self.blocked;
        let fits = self.queue.len() < GATHERED && self.queue.size() + data.len() <= self.marks().limits().high_water();
        if self.burst < BURST && (goes_first || !fits) { self.send(data, to) } else { self.push(data, to) }
    }

    /// Sends a datagram at once, behind what waits already, and queues it if the system does not take it.
    pub(crate) fn send(&mut self, data: &mut Chunk<'_>, to: Option<Addr>) {
        self.send_queued();
        let datagram = Outgoing { data: data.as_slice(), to: to.as_ref() };
        if !self.queue.is_empty() || self.try_send(&[datagram]) == 0 {
            self.push(data, to);
        }
    }

    /// Sends after the end: without a peer that goes on until the descriptor is closed, but nothing waits any more.
    /// Whether it was sent, or has failed. To a protocol that answers each error with a datagram the end would never come if
    /// all were told.
    pub(crate) fn send_late(&mut self, data: &[u8], to: Option<&Addr>) -> bool {
        let may_send = matches!(self.route, Route::Open) && self.late_errors < LATE_ERRORS;
        let untold = self.errors.len();
        let is_done = may_send && self.try_send(&[Outgoing { data, to }]) > 0;
        self.late_errors += self.errors.len() - untold;
        is_done
    }

    fn push(&mut self, data: &mut Chunk<'_>, to: Option<Addr>) {
        let data = match data {
            Chunk::Borrowed(data) => Payload::Copied(Copied::new(data)),
            Chunk::Shared(data) => Payload::Shared(mem::take(data)),
        };
        self.queue.push(Datagram { data, to });
    }

    /// Sends from the front of the queue, as much as one flush may.
    fn send_queued(&mut self) {
        for _ in 0..SENDS {
            if self.blocked || self.queue.is_empty() {
                break;
            }
            let Some(outlet) = self.outlet.as_deref() else { break };
            let sent = match self.queue.only() {
                Some(datagram) => outlet.try_send(&[outgoing(datagram)]),
                None => outlet.try_send(&self.queue.iter().take(BATCH).map(outgoing).collect::<Vec<_>>()),
            };
            let done = self.after_send(sent, |side, count| {
                side.queue.iter().take(count).map(|datagram| datagram.data.len()).sum()
            });
            self.burst = self.burst.saturating_add(self.queue.remove(done));
        }
    }

    /// Sends one datagram that is not in the queue; how many are done with.
    fn try_send(&mut self, datagrams: &[Outgoing<'_>; 1]) -> usize {
        let Some(outlet) = &self.outlet else { return 0 };
        let sent = outlet.try_send(datagrams);
        let size = datagrams[0].data.len();
        self.burst = self.burst.saturating_add(size);
        self.after_send(sent, |_, _| size)
    }

    /// How many datagrams are done with: sent, or failed and dropped.
    fn after_send(&mut self, sent: io::Result<usize>, size: impl FnOnce(&Self, usize) -> usize) -> usize {
        match unless_blocked(sent) {
            Ok(Some(count)) => {
                stats::sent(size(self, count) as u64);
                count
            }
            Ok(None) => {
                self.blocked = true;
                0
            }
            Err(exc) => {
                if !self.forgotten && self.errors.len() < ERRORS {
                    self.errors.push_back(exc);
                }
                1
            }
        }
    }
}

impl SendSide for DatagramSide {
    type News = News;
    type Outlet = Arc<dyn DatagramOutlet>;
    type Spent = Bytes;

    fn name(&self) -> &'static str {
        "datagrams"
    }

    /// Never fails: an error is one of a datagram, not of the endpoint.
    fn flush(&mut self) -> io::Result<()> {
        self.send_queued();
        Ok(())
    }

    fn is_blocked(&self) -> bool {
        self.blocked
    }

    fn unblock(&mut self) {
        self.blocked = false;
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn size(&self) -> usize {
        self.queue.size()
    }

    fn marks(&self) -> &Marks {
        self.queue.marks()
    }

    fn marks_mut(&mut self) -> &mut Marks {
        self.queue.marks_mut()
    }

    fn tell(&mut self) -> Option<(Input, News)> {
        if let Some(exc) = self.errors.pop_front() {
            return Some((Input::ErrorReceived, News::Error(exc)));
        }
        self.marks_mut().tell().map(|mark| (mark.input(), News::Mark(mark)))
    }

    fn has_news(&self) -> bool {
        !self.errors.is_empty() || self.marks().has_news()
    }

    fn untold(&self) -> usize {
        self.errors.len() + usize::from(self.marks().is_pause_due())
    }

    fn forget(&mut self) {
        self.marks_mut().forget();
        self.errors = VecDeque::new();
        self.forgotten = true;
    }

    fn forgive(&mut self) {
        self.burst = 0;
    }

    /// What has failed before is told all the same.
    fn clear(&mut self) {
        self.queue.clear();
    }

    fn take_spent(&mut self) -> Vec<Bytes> {
        self.queue.take_spent()
    }

    fn take_outlet(&mut self) -> Option<Arc<dyn DatagramOutlet>> {
        self.outlet.take()
    }
}

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use super::*;
    use crate::io::datagram::memory;

    #[test]
    fn an_error_of_a_datagram_that_is_sent_after_a_panic_is_not_told() {
        let ((_source, outlet), post) = memory::halves();
        let mut side = DatagramSide::new(Route::Open, WriteLimits::default(), outlet);
        side.clear();
        side.forget();
        post.fail_sending(io::ErrorKind::ConnectionRefused.into());
        side.send_late(b"late", None);
        assert!(!side.has_news());
    }

    #[test]
    fn errors_that_nobody_takes_do_not_fill_the_memory() {
        let ((_source, outlet), post) = memory::halves();
        let mut side = DatagramSide::new(Route::Open, WriteLimits::default(), outlet);
        for _ in 0..ERRORS + 10 {
            post.fail_sending(io::ErrorKind::ConnectionRefused.into());
            side.send(&mut Chunk::Borrowed(b"refused"), None);
        }
        assert_eq!(side.untold(), ERRORS);
    }
}

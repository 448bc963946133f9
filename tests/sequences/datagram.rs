//! Sequences of requests, results of the system and polls on in-memory datagrams, and what must hold after each step.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use smol_transports::testing::{DatagramPeer, MemoryDatagram, poll};
use smol_transports::{Addr, DatagramEndpoint, DatagramProtocol, DatagramTransport, WriteLimits, Written};

/// What a program asks of a transport, inside of a callback or elsewhere.
#[derive(Clone, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Request {
    Send(u16),
    SendBytes(u16),
    PauseReading,
    ResumeReading,
    Limits(u16, u16),
    Close,
    Abort,
    Fail,
}

/// One step of a sequence.
#[derive(Clone, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Step {
    Request(Request),
    /// What the next callback without such an order does.
    React(Vec<Request>),
    Feed(u16),
    FailReceiving,
    FailSending,
    Room(u8),
    AllRoom,
    Poll,
    Drop,
}

type Cause = Option<String>;

#[derive(Debug, Default)]
struct World {
    reactions: VecDeque<Vec<Request>>,
    /// Datagrams that were taken, and how many there were before the first of them.
    waiting: VecDeque<Vec<u8>>,
    accepted: usize,
    /// Datagrams that were sent, and that have made room for one behind them without being sent.
    sent: usize,
    dropped: usize,
    fed: usize,
    delivered: usize,
    /// Errors that were set up, for sending and for receiving, and those that were told.
    send_errors: usize,
    receive_errors: usize,
    send_errors_told: usize,
    receive_errors_told: usize,
    reading_paused: bool,
    closing: bool,
    made: bool,
    told_paused: bool,
    lost: Option<Cause>,
    causes: Vec<Cause>,
    /// An end was asked for that does not wait for what is buffered.
    ended: bool,
    /// How many waited when it was asked for: they may be dropped.
    doomed: usize,
    broken: Vec<String>,
}

/// The contents tell one datagram from its neighbours.
fn datagram(number: usize, len: u16) -> Vec<u8> {
    (number..number + usize::from(len)).map(|at| (at % 251) as u8).collect()
}

fn address() -> Addr {
    Addr::from(([127, 0, 0, 1], 9))
}

impl World {
    fn expect(&mut self, holds: bool, text: &str) {
        if !holds {
            self.broken.push(text.to_owned());
        }
    }

    fn end(&mut self, cause: Cause) {
        if !self.ended {
            self.causes.push(cause);
            self.doomed = self.waiting.len();
        }
        self.closing = true;
        self.ended = true;
    }

    fn answer(&mut self, data: Vec<u8>, written: Written) {
        match written {
            Written::Queued | Written::Full => {
                self.accepted += 1;
                self.waiting.push_back(data);
            }
            Written::Closed => {
                let closing = self.closing;
                self.expect(closing, "`Closed` on an open transport");
            }
            _ => self.expect(false, "a datagram with an address was refused"),
        }
    }

    fn call(&mut self, name: &str) {
        let alive = self.made && self.lost.is_none();
        self.expect(alive, &format!("{name} before connection_made or after connection_lost"));
    }

    /// A datagram was sent: those before it that do not look like it were dropped.
    fn was_sent(&mut self, data: &[u8]) {
        while let Some(next) = self.waiting.pop_front() {
            let doomed = self.doomed > 0;
            self.doomed -= usize::from(doomed);
            if next == data {
                self.sent += 1;
                return;
            }
            // Empty ones all look alike: one that is doomed may have been taken for one that is not.
            self.dropped += usize::from(!doomed && !next.is_empty());
        }
        self.expect(false, "a datagram was sent that nobody has written, or out of order");
    }

    fn waits(&self) -> usize {
        self.waiting.iter().map(Vec::len).sum()
    }
}

fn request(world: &RefCell<World>, transport: &DatagramTransport, request: &Request) {
    let number = world.borrow().accepted;
    match *request {
        Request::Send(len) => {
            let data = datagram(number, len);
            let answer = transport.send_to(&data, address());
            world.borrow_mut().answer(data, answer);
        }
        Request::SendBytes(len) => {
            let data = datagram(number, len);
            let answer = transport.send_bytes_to(data.clone(), address());
            world.borrow_mut().answer(data, answer);
        }
        Request::PauseReading => pause(world, transport, true),
        Request::ResumeReading => pause(world, transport, false),
        Request::Limits(a, b) => {
            let limits = WriteLimits::new(a.min(b).into(), a.max(b).into()).expect("they are in order");
            transport.set_write_buffer_limits(limits);
        }
        Request::Close => {
            let mut world = world.borrow_mut();
            world.closing = true;
            world.causes.push(None);
            transport.close();
        }
        Request::Abort => {
            world.borrow_mut().end(None);
            transport.abort();
        }
        Request::Fail => {
            world.borrow_mut().end(Some("failed".to_owned()));
            transport.fail(io::Error::other("failed"));
        }
    }
}

fn pause(world: &RefCell<World>, transport: &DatagramTransport, paused: bool) {
    if !transport.is_closing() {
        world.borrow_mut().reading_paused = paused;
    }
    if paused { transport.pause_reading() } else { transport.resume_reading() }
}

/// Checks the order of the callbacks, and does in each what it was told to.
struct Probe(Rc<RefCell<World>>);

impl Probe {
    fn react(&self, transport: &DatagramTransport) {
        let requests = self.0.borrow_mut().reactions.pop_front().unwrap_or_default();
        requests.iter().for_each(|it| request(&self.0, transport, it));
    }

    fn mark(&self, transport: &DatagramTransport, name: &str, paused: bool) {
        let mut world = self.0.borrow_mut();
        world.call(name);
        let in_turn = world.told_paused != paused;
        world.expect(in_turn, &format!("{name} out of turn"));
        world.told_paused = paused;
        drop(world);
        self.react(transport);
    }
}

impl DatagramProtocol for Probe {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        let mut world = self.0.borrow_mut();
        let first = !world.made && world.lost.is_none();
        world.expect(first, "connection_made is not the first callback");
        world.made = true;
        drop(world);
        self.react(transport);
    }

    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        let mut world = self.0.borrow_mut();
        world.call("datagram_received");
        let wanted = !world.closing && !world.reading_paused;
        world.expect(wanted, "datagram_received while paused or closing");
        let number = world.delivered;
        let same = data == datagram(number, data.len() as u16) && *addr == address();
        world.expect(same, "a wrong datagram was delivered");
        world.delivered += 1;
        drop(world);
        self.react(transport);
    }

    fn error_received(&mut self, transport: &DatagramTransport, exc: io::Error) {
        let mut world = self.0.borrow_mut();
        world.call("error_received");
        if exc.to_string() == "receiving" {
            let wanted = !world.closing && !world.reading_paused;
            world.expect(wanted, "an error of receiving while paused or closing");
            world.receive_errors_told += 1;
        } else {
            world.send_errors_told += 1;
        }
        let known = world.receive_errors_told <= world.receive_errors && world.send_errors_told <= world.send_errors;
        world.expect(known, "more errors were told than there were");
        drop(world);
        self.react(transport);
    }

    fn pause_writing(&mut self, transport: &DatagramTransport) {
        self.mark(transport, "pause_writing", true);
    }

    fn resume_writing(&mut self, transport: &DatagramTransport) {
        self.mark(transport, "resume_writing", false);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        let mut world = self.0.borrow_mut();
        world.call("connection_lost");
        let cause = exc.map(|exc| exc.to_string());
        let known = world.causes.contains(&cause);
        let text = format!("lost by {cause:?}, expected one of {:?}", world.causes);
        world.expect(known, &text);
        world.lost = Some(cause);
    }
}

/// An endpoint, the network around it, and the account of what has happened to them.
struct Run {
    world: Rc<RefCell<World>>,
    endpoint: Option<DatagramEndpoint<Probe>>,
    transport: DatagramTransport,
    peer: DatagramPeer,
    /// The system takes all that it is offered.
    roomy: bool,
}

/// Goes through a sequence of steps, then to the end of the endpoint. Panics if a promise is broken.
pub(crate) fn run(limits: (u16, u16), first: Vec<Request>, steps: &[Step]) {
    let world = Rc::new(RefCell::new(World::default()));
    world.borrow_mut().reactions.push_back(first);
    let limits = WriteLimits::new(limits.0.min(limits.1).into(), limits.0.max(limits.1).into());
    let limits = limits.expect("they are in order");
    let (endpoint, peer) = MemoryDatagram::new(Probe(world.clone())).write_limits(limits).open();
    let transport = endpoint.transport().clone();
    let mut run = Run { world, endpoint: Some(endpoint), transport, peer, roomy: true };
    run.check();
    for step in steps {
        run.step(step);
        run.check();
    }
    run.finish();
}

impl Run {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Request(it) => request(&self.world, &self.transport, it),
            Step::React(requests) => self.world.borrow_mut().reactions.push_back(requests.clone()),
            Step::Feed(len) => {
                let mut world = self.world.borrow_mut();
                self.peer.feed(datagram(world.fed, *len), address());
                world.fed += 1;
            }
            Step::FailReceiving => {
                self.world.borrow_mut().receive_errors += 1;
                self.peer.fail_receiving(io::Error::other("receiving"));
            }
            Step::FailSending => {
                self.world.borrow_mut().send_errors += 1;
                self.peer.fail_sending(io::Error::other("sending"));
            }
            Step::Room(datagrams) => self.room(usize::from(*datagrams)),
            Step::AllRoom => self.room(usize::MAX),
            Step::Poll => self.poll(),
            Step::Drop => self.drop(),
        }
    }

    fn room(&mut self, datagrams: usize) {
        self.roomy = datagrams == usize::MAX;
        self.peer.set_room(datagrams);
    }

    fn poll(&mut self) {
        let Some(mut endpoint) = self.endpoint.take() else { return };
        if poll(&mut endpoint).is_pending() {
            self.endpoint = Some(endpoint);
            self.check_rest();
        } else {
            self.check_end();
        }
    }

    fn drop(&mut self) {
        let Some(endpoint) = self.endpoint.take() else { return };
        self.world.borrow_mut().end(None);
        drop(endpoint);
        self.check_end();
    }

    /// What holds at any time.
    fn check(&self) {
        let size = self.transport.write_buffer_size();
        let sent = self.peer.take_sent();
        let mut world = self.world.borrow_mut();
        for (data, addr) in sent {
            assert_eq!(addr, Some(address()));
            world.was_sent(&data);
        }
        assert!(world.dropped <= world.send_errors, "a datagram was dropped without an error");
        // One that was dropped shows only when one behind it was sent.
        let exact = world.send_errors == 0 && !world.ended;
        let waits = world.waits();
        assert!(size <= waits && (size == waits || !exact), "{size} bytes are said to wait, {waits} do");
        assert!(world.closing <= self.transport.is_closing(), "an end was asked for, but is_closing() is false");
        let high = self.transport.write_buffer_limits().high_water();
        assert!(size <= high || self.transport.is_writing_paused(), "over the high mark and not paused");
        assert_eq!(world.broken, [""; 0]);
    }

    /// What holds when the endpoint has nothing to do.
    fn check_rest(&self) {
        self.check();
        let world = self.world.borrow();
        assert!(world.lost.is_none(), "pending after connection_lost");
        assert_eq!(world.told_paused, self.transport.is_writing_paused(), "a pause or resume was not told");
        if self.roomy {
            let waits = self.transport.write_buffer_size();
            assert!(waits == 0 && !world.told_paused, "{waits} bytes wait though there is room");
            assert_eq!(world.sent + world.send_errors_told, world.accepted, "neither sent nor told as an error");
        }
        if self.transport.is_reading() {
            assert_eq!((world.delivered, world.receive_errors_told), (world.fed, world.receive_errors));
        }
    }

    /// What holds after the loss.
    fn check_end(&self) {
        self.check();
        let world = self.world.borrow();
        let cause = world.lost.clone().expect("connection_lost is the last callback");
        let told = now(self.transport.closed()).err().map(|exc| exc.to_string());
        assert_eq!(told, cause, "closed() tells another cause");
        assert!(now(self.transport.drain()).is_err(), "drain() after the loss");
        assert!(self.peer.is_closed() && !self.transport.is_writing_paused());
        assert_eq!(self.transport.send_to("x", address()), Written::Closed);
        if !world.ended {
            assert_eq!(world.sent + world.send_errors_told, world.accepted, "neither sent nor told as an error");
            assert!(!world.told_paused, "the last pause was not taken back");
        }
    }

    /// Lets everything leave, and closes.
    fn finish(mut self) {
        self.poll();
        self.room(usize::MAX);
        self.poll();
        if self.endpoint.is_some() {
            request(&self.world, &self.transport, &Request::Close);
            self.poll();
        }
        assert!(self.endpoint.is_none(), "close() does not end");
    }
}

/// The output of a future that must be ready.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is not ready"),
    }
}

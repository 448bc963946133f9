//! Sequences of requests, results of the system and polls on an in-memory stream, and what must hold after each step.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use smol_transports::testing::{Memory, Peer, poll};
use smol_transports::{Connection, OnEof, Protocol, Transport, WriteLimits, Written};

/// What a program asks of a transport, inside of a callback or elsewhere.
#[derive(Clone, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Request {
    Write(u16),
    WriteBytes(u16),
    WriteVectored(u8, u16),
    WriteEof,
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
    /// What the next callback without such an order does; the answer if it is `eof_received`.
    React(Vec<Request>, bool),
    Feed(u16),
    FeedEof,
    BreakReading,
    BreakWriting,
    Room(u16),
    AllRoom,
    Poll,
    Drop,
}

/// An end that was asked for, or an error of the system that was set up: the text of the error, if there is one.
type Cause = Option<String>;

#[derive(Debug, Default)]
struct World {
    reactions: VecDeque<(Vec<Request>, bool)>,
    /// Bytes that a write took, and that have reached the peer.
    accepted: usize,
    written: usize,
    /// Bytes that the peer has sent, and that were delivered.
    fed: usize,
    delivered: usize,
    fed_eof: bool,
    finished: bool,
    reading_paused: bool,
    closing: bool,
    made: bool,
    eof: bool,
    told_paused: bool,
    lost: Option<Cause>,
    /// What may be told as the cause; settled with the first end that was asked for.
    causes: Vec<Cause>,
    settled: bool,
    errors: usize,
    broken: Vec<String>,
}

/// Each byte says where it stands.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at % 251) as u8).collect()
}

impl World {
    fn expect(&mut self, holds: bool, text: &str) {
        if !holds {
            self.broken.push(text.to_owned());
        }
    }

    fn error(&mut self) -> io::Error {
        self.errors += 1;
        io::Error::other(self.errors.to_string())
    }

    fn may_end_by(&mut self, cause: Cause) {
        if !self.settled {
            self.causes.push(cause);
        }
    }

    /// An error that the system will report if it is asked.
    fn system_error(&mut self) -> io::Error {
        let exc = self.error();
        self.may_end_by(Some(exc.to_string()));
        exc
    }

    fn close(&mut self) {
        self.closing = true;
        self.may_end_by(None);
    }

    fn end(&mut self, cause: Cause) {
        self.closing = true;
        self.may_end_by(cause);
        self.settled = true;
    }

    /// Nothing but `close` can have ended it.
    fn is_unbroken(&self) -> bool {
        self.errors == 0 && !self.settled
    }

    fn answer(&mut self, len: usize, written: Written) {
        match written {
            Written::Queued | Written::Full => self.accepted += len,
            Written::Closed => {
                let expected = self.closing || !self.is_unbroken();
                self.expect(expected, "a write was answered `Closed` on an open transport");
            }
            Written::Refused(_) => {
                let finished = self.finished;
                self.expect(finished, "a write was refused before `write_eof`");
            }
            _ => self.expect(false, "an unknown answer"),
        }
    }

    fn call(&mut self, name: &str) {
        let alive = self.made && self.lost.is_none();
        self.expect(alive, &format!("{name} before connection_made or after connection_lost"));
    }

    fn read(&mut self, name: &str) {
        self.call(name);
        let wanted = !self.eof && !self.closing;
        self.expect(wanted, &format!("{name} after the end of file, or after an end was asked for"));
    }
}

/// Performs one request and keeps account of it.
fn request(world: &RefCell<World>, transport: &Transport, request: &Request) {
    let accepted = world.borrow().accepted;
    let bytes = |len: usize| pattern(accepted, len);
    let answer = |len: usize, written: Written| world.borrow_mut().answer(len, written);
    match *request {
        Request::Write(len) => answer(len.into(), transport.write(bytes(len.into()))),
        Request::WriteBytes(len) => answer(len.into(), transport.write_bytes(bytes(len.into()))),
        Request::WriteVectored(first, second) => {
            let all = bytes(usize::from(first) + usize::from(second));
            let (head, tail) = all.split_at(first.into());
            answer(all.len(), transport.write_vectored([head, &[], tail]));
        }
        Request::WriteEof => {
            transport.write_eof().expect("streams have an end of file");
            world.borrow_mut().finished = true;
        }
        Request::PauseReading => pause(world, transport, true),
        Request::ResumeReading => pause(world, transport, false),
        Request::Limits(a, b) => limit(transport, a, b),
        Request::Close => {
            world.borrow_mut().close();
            transport.close();
        }
        Request::Abort => {
            world.borrow_mut().end(None);
            transport.abort();
        }
        Request::Fail => {
            let exc = world.borrow_mut().error();
            world.borrow_mut().end(Some(exc.to_string()));
            transport.fail(exc);
        }
    }
}

fn pause(world: &RefCell<World>, transport: &Transport, paused: bool) {
    if !transport.is_closing() {
        world.borrow_mut().reading_paused = paused;
    }
    if paused { transport.pause_reading() } else { transport.resume_reading() }
}

fn limit(transport: &Transport, a: u16, b: u16) {
    let (low, high) = (a.min(b), a.max(b));
    let limits = WriteLimits::new(low.into(), high.into()).expect("they are in order");
    transport.set_write_buffer_limits(limits);
    assert_eq!(transport.write_buffer_limits(), limits);
}

/// Checks the order of the callbacks, and does in each what it was told to.
struct Probe(Rc<RefCell<World>>);

impl Probe {
    /// The answer if it is `eof_received`.
    fn react(&self, transport: &Transport) -> bool {
        let Some((requests, keep_open)) = self.0.borrow_mut().reactions.pop_front() else { return false };
        requests.iter().for_each(|it| request(&self.0, transport, it));
        keep_open
    }
}

impl Protocol for Probe {
    fn connection_made(&mut self, transport: &Transport) {
        let mut world = self.0.borrow_mut();
        let first = !world.made && world.lost.is_none();
        world.expect(first, "connection_made is not the first callback");
        world.made = true;
        drop(world);
        self.react(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        let mut world = self.0.borrow_mut();
        world.read("data_received");
        let fits = !world.reading_paused && !data.is_empty() && data == pattern(world.delivered, data.len());
        world.expect(fits, "data_received while paused, empty, or with wrong bytes");
        world.delivered += data.len();
        let sent = world.delivered <= world.fed;
        world.expect(sent, "more was delivered than was sent");
        drop(world);
        self.react(transport);
    }

    fn eof_received(&mut self, transport: &Transport) -> OnEof {
        let mut world = self.0.borrow_mut();
        world.read("eof_received");
        let all = world.fed_eof && world.delivered == world.fed;
        world.expect(all, "eof_received before all was delivered");
        world.eof = true;
        drop(world);
        if self.react(transport) {
            return OnEof::KeepOpen;
        }
        self.0.borrow_mut().close();
        OnEof::Close
    }

    fn pause_writing(&mut self, transport: &Transport) {
        let mut world = self.0.borrow_mut();
        world.call("pause_writing");
        let in_turn = !world.told_paused;
        world.expect(in_turn, "pause_writing twice");
        world.told_paused = true;
        drop(world);
        self.react(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        let mut world = self.0.borrow_mut();
        world.call("resume_writing");
        let in_turn = world.told_paused;
        world.expect(in_turn, "resume_writing without pause_writing");
        world.told_paused = false;
        drop(world);
        self.react(transport);
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

/// A connection, its peer, and the account of what has happened to them.
struct Run {
    world: Rc<RefCell<World>>,
    connection: Option<Connection<Probe>>,
    transport: Transport,
    peer: Peer,
    /// The system takes all that it is offered.
    roomy: bool,
}

/// Goes through a sequence of steps, then to the end of the connection. Panics if a promise is broken.
pub(crate) fn run(limits: (u16, u16), first: Vec<Request>, steps: &[Step]) {
    let world = Rc::new(RefCell::new(World::default()));
    world.borrow_mut().reactions.push_back((first, false));
    let (low, high) = (limits.0.min(limits.1), limits.0.max(limits.1));
    let limits = WriteLimits::new(low.into(), high.into()).expect("they are in order");
    let (connection, peer) = Memory::new(Probe(world.clone())).write_limits(limits).connect();
    let transport = connection.transport().clone();
    let mut run = Run { world, connection: Some(connection), transport, peer, roomy: true };
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
            Step::React(requests, answer) => {
                self.world.borrow_mut().reactions.push_back((requests.clone(), *answer));
            }
            Step::Feed(len) if !self.world.borrow().fed_eof && *len > 0 => {
                let mut world = self.world.borrow_mut();
                self.peer.feed(pattern(world.fed, usize::from(*len)));
                world.fed += usize::from(*len);
            }
            Step::Feed(_) => {}
            Step::FeedEof => {
                self.world.borrow_mut().fed_eof = true;
                self.peer.feed_eof();
            }
            Step::BreakReading => self.peer.break_reading(self.world.borrow_mut().system_error()),
            Step::BreakWriting => self.peer.break_writing(self.world.borrow_mut().system_error()),
            Step::Room(bytes) => self.room(usize::from(*bytes)),
            Step::AllRoom => self.room(usize::MAX),
            Step::Poll => self.poll(),
            Step::Drop => self.drop(),
        }
    }

    fn room(&mut self, bytes: usize) {
        self.roomy = bytes == usize::MAX;
        self.peer.set_room(bytes);
    }

    fn poll(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if poll(&mut connection).is_pending() {
            self.connection = Some(connection);
            self.check_rest();
        } else {
            self.check_end();
        }
    }

    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        self.world.borrow_mut().end(None);
        drop(connection);
        self.check_end();
    }

    /// What holds at any time.
    fn check(&self) {
        let size = self.transport.write_buffer_size();
        let sent = self.peer.take_written();
        let mut world = self.world.borrow_mut();
        assert!(sent == pattern(world.written, sent.len()), "wrong bytes were sent");
        world.written += sent.len();
        assert!(world.written <= world.accepted, "more was sent than was accepted");
        let waits = world.accepted - world.written;
        assert!(size == waits || (size == 0 && !world.is_unbroken()), "{size} bytes are said to wait, {waits} do");
        assert!(world.closing <= self.transport.is_closing(), "an end was asked for, but is_closing() is false");
        let high = self.transport.write_buffer_limits().high_water();
        assert!(size <= high || self.transport.is_writing_paused(), "over the high mark and not paused");
        assert_eq!(world.broken, [""; 0]);
    }

    /// What holds when the connection has nothing to do.
    fn check_rest(&self) {
        self.check();
        let world = self.world.borrow();
        assert!(world.lost.is_none(), "pending after connection_lost");
        assert_eq!(world.told_paused, self.transport.is_writing_paused(), "a pause or resume was not told");
        let waits = self.transport.write_buffer_size();
        assert!(!self.roomy || (waits == 0 && !world.told_paused), "{waits} bytes wait though there is room");
        if self.transport.is_reading() && !world.eof {
            assert_eq!((world.delivered, world.fed_eof), (world.fed, false), "something was not delivered");
        }
    }

    /// What holds after the loss.
    fn check_end(&self) {
        self.check();
        let world = self.world.borrow();
        let cause = world.lost.clone().expect("connection_lost is the last callback");
        let text = |answer: io::Result<()>| answer.err().map(|exc| exc.to_string());
        assert_eq!(text(now(self.transport.closed())), cause, "closed() tells another cause");
        assert!(now(self.transport.drain()).is_err(), "drain() after the loss");
        assert_eq!(self.transport.write_buffer_size(), 0);
        assert!(self.peer.is_closed() && self.transport.is_closing() && !self.transport.is_writing_paused());
        if world.is_unbroken() {
            assert_eq!(world.written, world.accepted, "bytes that were accepted are lost");
            assert!(!world.told_paused, "the last pause was not taken back");
        }
    }

    /// Lets everything leave, and closes.
    fn finish(mut self) {
        self.poll();
        self.room(usize::MAX);
        self.poll();
        if self.connection.is_some() {
            request(&self.world, &self.transport, &Request::Close);
            self.poll();
        }
        assert!(self.connection.is_none(), "close() does not end");
        let answer = self.transport.write("x");
        assert!(answer == Written::Closed || self.world.borrow().finished, "{answer:?}");
    }
}

/// The output of a future that must be ready.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is not ready"),
    }
}

//! Datagram endpoints: the rules, without sockets; those that need one are below.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use smol_transports::testing::{Clock, DatagramPeer, MemoryDatagram, poll};
use smol_transports::{
    Addr, Closed, DatagramCommand, DatagramEndpoint, DatagramProtocol, DatagramTransport, Misuse, WriteLimits, Written,
};

use crate::grammar::{self, Callback};

mod sockets;

/// One callback.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Made,
    Data(Vec<u8>, Addr),
    Error(ErrorKind),
    Pause,
    Resume,
    Lost(Option<ErrorKind>),
}

type React = Box<dyn FnMut(&DatagramTransport, &Seen) + Send>;

impl Callback for Seen {
    fn may_follow(&self, before: &[Self]) -> bool {
        let ended = before.iter().any(|seen| matches!(seen, Self::Lost(_)));
        let paused = before.iter().rfind(|seen| matches!(seen, Self::Pause | Self::Resume)) == Some(&Self::Pause);
        let in_order = match self {
            Self::Made => return before.is_empty(),
            Self::Pause => !paused,
            Self::Resume => paused,
            Self::Data(..) | Self::Error(_) | Self::Lost(_) => true,
        };
        !before.is_empty() && !ended && in_order
    }

    fn join(&mut self, next: Self) -> Option<Self> {
        Some(next)
    }
}

/// Notes every callback, and does something in it.
struct Log {
    seen: Vec<Seen>,
    grammar: grammar::Log<Seen>,
    react: React,
}

impl Default for Log {
    fn default() -> Self {
        Self::reacting(|_, _| {})
    }
}

impl Log {
    fn reacting(react: impl FnMut(&DatagramTransport, &Seen) + Send + 'static) -> Self {
        Self { seen: Vec::new(), grammar: grammar::Log::default(), react: Box::new(react) }
    }

    fn note(&mut self, transport: &DatagramTransport, seen: Seen) {
        self.push(seen.clone());
        (self.react)(transport, &seen);
    }

    fn push(&mut self, seen: Seen) {
        self.grammar.push(seen.clone());
        self.seen.push(seen);
    }
}

impl DatagramProtocol for Log {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        self.note(transport, Seen::Made);
    }

    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        self.note(transport, Seen::Data(data.to_vec(), addr.clone()));
    }

    fn error_received(&mut self, transport: &DatagramTransport, exc: io::Error) {
        self.note(transport, Seen::Error(exc.kind()));
    }

    fn pause_writing(&mut self, transport: &DatagramTransport) {
        self.note(transport, Seen::Pause);
    }

    fn resume_writing(&mut self, transport: &DatagramTransport) {
        self.note(transport, Seen::Resume);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.push(Seen::Lost(exc.map(|exc| exc.kind())));
    }
}

fn addr(port: u16) -> Addr {
    ([127, 0, 0, 1], port).into()
}

fn open(log: Log) -> (DatagramEndpoint<Log>, DatagramPeer) {
    crate::guard::watch();
    MemoryDatagram::new(log).open()
}

fn connected(log: Log) -> (DatagramEndpoint<Log>, DatagramPeer) {
    crate::guard::watch();
    MemoryDatagram::new(log).remote_addr(addr(1)).open()
}

fn run(endpoint: &mut DatagramEndpoint<Log>) {
    assert!(poll(endpoint).is_pending());
}

/// Runs to the end.
fn finish(mut endpoint: DatagramEndpoint<Log>) -> Vec<Seen> {
    match poll(&mut endpoint) {
        Poll::Ready(log) => log.seen,
        Poll::Pending => panic!("the endpoint lives on: {:?}", endpoint.protocol().seen),
    }
}

fn payloads(peer: &DatagramPeer) -> Vec<Vec<u8>> {
    peer.take_sent().into_iter().map(|(data, _)| data).collect()
}

#[test]
fn datagrams_keep_their_boundaries_their_order_and_their_sender() {
    let (mut endpoint, peer) = open(Log::reacting(|transport, seen| {
        if let Seen::Data(data, sender) = seen {
            assert_eq!(transport.send_to(data, sender), Written::Queued);
        }
    }));
    let sent: Vec<_> = (0..100_u16).map(|n| (vec![7; usize::from(n)], addr(n))).collect();
    sent.iter().for_each(|(data, sender)| peer.feed(data, sender));
    run(&mut endpoint);
    let echoed: Vec<_> = sent.iter().map(|(data, sender)| (data.clone(), Some(sender.clone()))).collect();
    assert_eq!(peer.take_sent(), echoed);
    let received: Vec<_> = sent.into_iter().map(|(data, sender)| Seen::Data(data, sender)).collect();
    assert_eq!(endpoint.protocol().seen[1..], received);
}

#[test]
fn empty_datagrams_pass_both_ways() {
    let (mut endpoint, peer) = connected(Log::default());
    peer.feed("", addr(1));
    assert_eq!(endpoint.transport().send(""), Written::Queued);
    run(&mut endpoint);
    assert_eq!(endpoint.transport().send_bytes(Bytes::new()), Written::Queued);
    run(&mut endpoint);
    assert_eq!(endpoint.protocol().seen, [Seen::Made, Seen::Data(vec![], addr(1))]);
    assert_eq!(payloads(&peer), [b"", b""]);
}

#[test]
fn what_one_callback_sends_leaves_together() {
    let (mut endpoint, peer) = connected(Log::reacting(|transport, seen| {
        if matches!(seen, Seen::Data(..)) {
            for number in 0..20_u8 {
                transport.send([number]);
            }
            assert_eq!(transport.write_buffer_size(), 0, "asking sends what was gathered");
        }
    }));
    peer.feed("go", addr(1));
    run(&mut endpoint);
    assert_eq!(peer.sends(), 1);
    assert_eq!(payloads(&peer), (0..20_u8).map(|n| vec![n]).collect::<Vec<_>>());
}

#[test]
fn where_callbacks_have_sent_one_the_first_is_not_held_back() {
    let (mut endpoint, peer) = connected(Log::reacting(|transport, seen| {
        if let Seen::Data(data, _) = seen {
            for byte in data {
                transport.send([*byte]);
            }
        }
    }));
    let mut sends = |data: &str| {
        let before = peer.sends();
        peer.feed(data, addr(1));
        run(&mut endpoint);
        assert_eq!(payloads(&peer).concat(), data.as_bytes());
        peer.sends() - before
    };
    assert_eq!(sends("abc"), 1);
    assert!((0..8).all(|_| sends("a") == 1));
    assert_eq!([sends("abc"), sends("abc"), sends("a")], [2, 1, 1]);
}

#[test]
fn many_callbacks_that_send_much_are_not_taken_for_one_that_never_ends() {
    // The same waker each time: for a new one the actor looks at everything.
    let waker = Arc::new(Nobody).into();
    let cx = &mut Context::from_waker(&waker);
    // About as many as send what one callback may send at once; then one that sends more than the high mark.
    for many in 135..155 {
        let (mut endpoint, peer) = MemoryDatagram::new(Much).open();
        for count in (0..many).map(|_| 1).chain([2]) {
            peer.feed(vec![0; count], addr(1));
            assert!(Pin::new(&mut endpoint).poll(cx).is_pending());
            assert_eq!(peer.take_sent().len(), count);
        }
    }
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// Answers each byte with a datagram of nearly as much as the high mark, and does nothing else that the actor would have
/// to look at.
struct Much;

impl DatagramProtocol for Much {
    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        for _ in data {
            assert_eq!(transport.send_to([1; 60_000], addr.clone()), Written::Queued);
        }
    }

    fn pause_writing(&mut self, _: &DatagramTransport) {
        panic!("everything was taken");
    }
}

#[test]
fn a_connected_endpoint_sends_to_its_peer_alone() {
    let (endpoint, peer) = connected(Log::default());
    let transport = endpoint.transport();
    assert_eq!(transport.send("one"), Written::Queued);
    assert_eq!(transport.send_to("two", addr(1)), Written::Queued);
    assert_eq!(transport.send_to("three", addr(2)), Written::Refused(Misuse::OtherAddress));
    assert_eq!(transport.send_bytes_to("four", addr(2)).ok().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(peer.take_sent(), [(b"one".to_vec(), None), (b"two".to_vec(), None)]);
    assert!(!transport.is_closing());
}

#[test]
fn an_unconnected_endpoint_needs_an_address() {
    let (endpoint, peer) = open(Log::default());
    let transport = endpoint.transport();
    assert_eq!(transport.send("nowhere"), Written::Refused(Misuse::AddressMissing));
    let unnamed = Addr::Unix(smol_transports::UnixAddr::default());
    assert_eq!(transport.send_to("nowhere", unnamed), Written::Refused(Misuse::AddressMissing));
    assert_eq!(transport.send_to("here", addr(3)), Written::Queued);
    assert_eq!(peer.take_sent(), [(b"here".to_vec(), Some(addr(3)))]);
    assert!(!transport.is_closing());
}

#[test]
fn the_marks_pause_and_resume_the_sender() {
    let (mut endpoint, peer) = MemoryDatagram::new(Log::default()).write_limits(WriteLimits::high(8)).open();
    peer.set_room(1);
    let transport = endpoint.transport().clone();
    assert_eq!(transport.send_to("1234", addr(1)), Written::Queued);
    assert_eq!(transport.send_to("5678", addr(1)), Written::Queued);
    assert_eq!(transport.send_to("9abc", addr(1)), Written::Queued, "exactly the high mark");
    assert_eq!(transport.send_to("d", addr(1)), Written::Full);
    assert!(transport.is_writing_paused());
    assert_eq!(transport.write_buffer_size(), 9);
    run(&mut endpoint);
    assert_eq!(endpoint.protocol().seen, [Seen::Made, Seen::Pause]);
    peer.set_room(1);
    run(&mut endpoint);
    assert_eq!((transport.write_buffer_size(), endpoint.protocol().seen.len()), (5, 2));
    peer.set_room(9);
    run(&mut endpoint);
    assert_eq!(endpoint.protocol().seen, [Seen::Made, Seen::Pause, Seen::Resume]);
    assert_eq!(payloads(&peer), [&b"1234"[..], b"5678", b"9abc", b"d"]);
}

#[test]
fn a_pause_inside_a_callback_comes_right_after_it() {
    let (mut endpoint, peer) = connected(Log::reacting(|transport, seen| {
        if matches!(seen, Seen::Data(..)) {
            assert_eq!(transport.send(vec![0; 70_000]), Written::Full);
            assert!(transport.is_writing_paused());
        }
    }));
    peer.set_room(0);
    peer.feed("a", addr(1));
    peer.feed("b", addr(1));
    run(&mut endpoint);
    let (a, b) = (Seen::Data(b"a".to_vec(), addr(1)), Seen::Data(b"b".to_vec(), addr(1)));
    assert_eq!(endpoint.protocol().seen, [Seen::Made, a, Seen::Pause, b]);
}

#[test]
fn what_the_system_takes_at_once_never_pauses() {
    let (mut endpoint, peer) = connected(Log::reacting(|transport, seen| {
        if matches!(seen, Seen::Data(..)) {
            assert!((0..1000).all(|_| transport.send([0; 1000]) == Written::Queued));
        }
    }));
    peer.feed("", addr(1));
    run(&mut endpoint);
    assert_eq!(endpoint.protocol().seen.len(), 2);
    assert_eq!(peer.take_sent().len(), 1000);
}

#[test]
fn a_callback_that_never_stops_is_paused() {
    let (mut endpoint, peer) = connected(Log::reacting(|transport, seen| {
        if matches!(seen, Seen::Data(..)) {
            assert!((0..100_000).any(|_| transport.send([0; 1000]) == Written::Full));
        }
    }));
    peer.feed("", addr(1));
    run(&mut endpoint);
    assert_eq!(endpoint.protocol().seen[2..], [Seen::Pause, Seen::Resume]);
}

#[test]
fn waiting_to_send_ends_when_there_is_room() {
    let (mut endpoint, peer) = MemoryDatagram::new(Log::default()).write_limits(WriteLimits::high(0)).open();
    peer.set_room(0);
    let transport = endpoint.transport().clone();
    assert_eq!(transport.send_to("x", addr(1)), Written::Full);
    let mut drained = Box::pin(transport.drain());
    assert!(poll(&mut drained).is_pending());
    run(&mut endpoint);
    peer.set_room(1);
    run(&mut endpoint);
    assert!(matches!(poll(&mut drained), Poll::Ready(Ok(()))));
}

#[test]
fn a_failed_send_is_told_and_harms_nothing() {
    let (mut endpoint, peer) = connected(Log::default());
    peer.fail_sending(ErrorKind::ConnectionRefused.into());
    assert_eq!(endpoint.transport().send("lost"), Written::Queued);
    assert_eq!(endpoint.transport().send("sent"), Written::Queued);
    run(&mut endpoint);
    assert_eq!(endpoint.protocol().seen, [Seen::Made, Seen::Error(ErrorKind::ConnectionRefused)]);
    assert_eq!(payloads(&peer), [b"sent"]);
    assert!(!endpoint.transport().is_closing());
}

#[test]
fn a_failed_send_inside_a_callback_is_told_before_the_next_datagram() {
    let (mut endpoint, peer) = connected(Log::reacting(|transport, seen| {
        if matches!(seen, Seen::Data(..)) {
            transport.send("x");
        }
    }));
    peer.fail_sending(ErrorKind::HostUnreachable.into());
    peer.feed("a", addr(1));
    peer.feed("b", addr(1));
    run(&mut endpoint);
    let (a, b) = (Seen::Data(b"a".to_vec(), addr(1)), Seen::Data(b"b".to_vec(), addr(1)));
    assert_eq!(endpoint.protocol().seen, [Seen::Made, a, Seen::Error(ErrorKind::HostUnreachable), b]);
}

#[test]
fn many_failed_sends_are_all_told_before_the_next_datagram() {
    let (mut endpoint, peer) = connected(Log::reacting(|transport, seen| {
        if matches!(seen, Seen::Data(..)) {
            (0..100).for_each(|_| assert_eq!(transport.send("x"), Written::Queued));
        }
    }));
    (0..100).for_each(|_| peer.fail_sending(ErrorKind::NetworkDown.into()));
    peer.feed("a", addr(1));
    peer.feed("b", addr(1));
    run(&mut endpoint);
    let seen = &endpoint.protocol().seen;
    assert!(seen[2..102].iter().all(|seen| *seen == Seen::Error(ErrorKind::NetworkDown)));
    assert_eq!(seen[102..], [Seen::Data(b"b".to_vec(), addr(1))]);
}

#[test]
fn a_failed_flush_drops_one_datagram_and_resumes() {
    let (mut endpoint, peer) = MemoryDatagram::new(Log::default()).write_limits(WriteLimits::high(0)).open();
    peer.set_room(0);
    for data in ["a", "b", "c"] {
        endpoint.transport().send_to(data, addr(1));
    }
    run(&mut endpoint);
    peer.fail_sending(ErrorKind::NetworkDown.into());
    peer.set_room(9);
    run(&mut endpoint);
    let error = Seen::Error(ErrorKind::NetworkDown);
    assert_eq!(endpoint.protocol().seen, [Seen::Made, Seen::Pause, error, Seen::Resume]);
    assert_eq!(payloads(&peer), [b"b", b"c"]);
}

#[test]
fn the_last_datagram_of_a_full_buffer_may_fail() {
    let (mut endpoint, peer) = MemoryDatagram::new(Log::default()).write_limits(WriteLimits::high(0)).open();
    peer.set_room(0);
    endpoint.transport().send_to("a", addr(1));
    run(&mut endpoint);
    peer.fail_sending(ErrorKind::NetworkDown.into());
    run(&mut endpoint);
    let error = Seen::Error(ErrorKind::NetworkDown);
    assert_eq!(endpoint.protocol().seen, [Seen::Made, Seen::Pause, error, Seen::Resume]);
}

#[test]
fn a_sender_is_resumed_before_the_end_however_many_errors_come_between() {
    let (mut endpoint, peer) = MemoryDatagram::new(Log::default()).write_limits(WriteLimits::high(0)).open();
    peer.set_room(0);
    for port in 0..40 {
        endpoint.transport().send_to("a", addr(port));
    }
    run(&mut endpoint);
    endpoint.transport().close();
    (0..40).for_each(|_| peer.fail_sending(ErrorKind::NetworkDown.into()));
    let seen = loop {
        if let Poll::Ready(log) = poll(&mut endpoint) {
            break log.seen;
        }
    };
    assert_eq!(seen[..2], [Seen::Made, Seen::Pause]);
    assert_eq!(seen[2..42], vec![Seen::Error(ErrorKind::NetworkDown); 40]);
    assert_eq!(seen[42..], [Seen::Resume, Seen::Lost(None)]);
}

#[test]
fn without_a_peer_sending_goes_on_until_the_loss_has_been_told() {
    let (mut endpoint, peer) = open(Log::default());
    let transport = endpoint.transport().clone();
    transport.close();
    assert_eq!(transport.send_to("behind", addr(1)), Written::Queued);
    peer.set_room(0);
    assert_eq!(transport.send_to("no room", addr(1)), Written::Closed);
    assert!(poll(&mut endpoint).is_ready());
    assert_eq!(transport.send_to("late", addr(1)), Written::Closed);
    assert_eq!(payloads(&peer), [b"behind"]);

    let (endpoint, peer) = connected(Log::default());
    endpoint.transport().close();
    assert_eq!(endpoint.transport().send("behind"), Written::Closed);
    assert!(payloads(&peer).is_empty());
}

#[test]
fn a_failed_receive_is_told_and_the_next_goes_on() {
    let (mut endpoint, peer) = connected(Log::default());
    peer.fail_receiving(ErrorKind::ConnectionRefused.into());
    peer.feed("still there", addr(1));
    run(&mut endpoint);
    let data = Seen::Data(b"still there".to_vec(), addr(1));
    assert_eq!(endpoint.protocol().seen, [Seen::Made, Seen::Error(ErrorKind::ConnectionRefused), data]);
}

#[test]
fn a_protocol_that_always_fails_again_does_not_keep_the_thread() {
    let (mut endpoint, peer) = connected(Log::reacting(|transport, seen| {
        if matches!(seen, Seen::Error(_)) {
            transport.send("again");
        }
    }));
    (0..5000).for_each(|_| peer.fail_sending(ErrorKind::NetworkDown.into()));
    endpoint.transport().send("first");
    let waker = Waker::noop();
    let mut polls = 0;
    while endpoint.protocol().seen.len() < 5001 {
        polls += 1;
        assert!(Pin::new(&mut endpoint).poll(&mut Context::from_waker(waker)).is_pending());
    }
    assert!(polls > 2, "{polls} polls");
    run(&mut endpoint);
    assert_eq!(payloads(&peer), [b"again"]);
}

#[test]
fn one_turn_of_reading_is_bounded() {
    let (mut endpoint, peer) = connected(Log::default());
    (0..1000).for_each(|_| peer.feed("x", addr(1)));
    let waker = Waker::noop();
    assert!(Pin::new(&mut endpoint).poll(&mut Context::from_waker(waker)).is_pending());
    assert!((16..=64).contains(&(endpoint.protocol().seen.len() - 1)));
    run(&mut endpoint);
    assert_eq!(endpoint.protocol().seen.len(), 1001);
}

#[test]
fn reading_pauses_and_resumes() {
    let (mut endpoint, peer) = connected(Log::reacting(|transport, seen| match seen {
        Seen::Made => transport.pause_reading(),
        Seen::Data(data, _) if data == b"stop" => transport.pause_reading(),
        _ => {}
    }));
    peer.feed("stop", addr(1));
    peer.feed("more", addr(1));
    run(&mut endpoint);
    assert_eq!(endpoint.protocol().seen, [Seen::Made]);
    assert!(!endpoint.transport().is_reading());
    endpoint.transport().resume_reading();
    assert!(endpoint.transport().is_reading());
    run(&mut endpoint);
    assert_eq!(endpoint.protocol().seen.len(), 2);
    endpoint.transport().resume_reading();
    run(&mut endpoint);
    assert_eq!(endpoint.protocol().seen[2], Seen::Data(b"more".to_vec(), addr(1)));
}

#[test]
fn close_flushes() {
    let (mut endpoint, peer) = connected(Log::default());
    peer.set_room(1);
    let transport = endpoint.transport().clone();
    for data in ["a", "b", "c"] {
        transport.send(data);
    }
    transport.close();
    transport.close();
    assert!(transport.is_closing() && !transport.is_reading());
    peer.feed("too late", addr(1));
    run(&mut endpoint);
    assert_eq!(transport.send("while closing"), Written::Queued);
    peer.set_room(9);
    assert_eq!(finish(endpoint), [Seen::Made, Seen::Lost(None)]);
    assert_eq!(payloads(&peer), [&b"a"[..], b"b", b"c", b"while closing"]);
    assert!(peer.is_closed());
    assert_eq!(transport.send("after"), Written::Closed);
    assert_eq!(transport.write_buffer_size(), 0);
}

#[test]
fn close_tells_errors_of_the_flush_and_goes_on() {
    let (endpoint, peer) = connected(Log::default());
    peer.set_room(0);
    for data in ["a", "b", "c"] {
        endpoint.transport().send(data);
    }
    peer.fail_sending(ErrorKind::NetworkDown.into());
    peer.set_room(9);
    endpoint.transport().close();
    assert_eq!(finish(endpoint), [Seen::Made, Seen::Error(ErrorKind::NetworkDown), Seen::Lost(None)]);
    assert_eq!(payloads(&peer), [b"b", b"c"]);
}

#[test]
fn an_error_is_told_before_an_end_that_follows_at_once() {
    let (endpoint, peer) = connected(Log::default());
    peer.fail_sending(ErrorKind::NetworkDown.into());
    endpoint.transport().send("a");
    endpoint.transport().close();
    assert_eq!(finish(endpoint), [Seen::Made, Seen::Error(ErrorKind::NetworkDown), Seen::Lost(None)]);
}

#[test]
fn abort_drops() {
    let (mut endpoint, peer) = connected(Log::default());
    peer.set_room(0);
    let transport = endpoint.transport().clone();
    for data in ["a", "b"] {
        transport.send(data);
    }
    transport.close();
    run(&mut endpoint);
    transport.abort();
    assert_eq!(transport.write_buffer_size(), 0);
    peer.set_room(9);
    assert_eq!(transport.send("c"), Written::Closed);
    assert_eq!(finish(endpoint), [Seen::Made, Seen::Lost(None)]);
    assert!(payloads(&peer).is_empty() && peer.is_closed());
    transport.abort();
    transport.close();
}

#[test]
fn fail_gives_a_cause() {
    let (endpoint, _peer) = connected(Log::default());
    let transport = endpoint.transport().clone();
    transport.fail(ErrorKind::TimedOut.into());
    transport.fail(ErrorKind::Other.into());
    assert_eq!(finish(endpoint), [Seen::Made, Seen::Lost(Some(ErrorKind::TimedOut))]);
    let mut closed = Box::pin(transport.closed());
    assert!(matches!(poll(&mut closed), Poll::Ready(Err(exc)) if exc.kind() == ErrorKind::TimedOut));
}

#[test]
fn closing_has_a_time_limit_if_one_is_set() {
    let clock = Clock::new();
    let endpoint = MemoryDatagram::new(Log::default()).remote_addr(addr(1)).clock(&clock);
    let (mut endpoint, peer) = endpoint.close_timeout(Duration::from_secs(5)).open();
    peer.set_room(0);
    endpoint.transport().send("stuck");
    endpoint.transport().close();
    run(&mut endpoint);
    clock.advance(Duration::from_secs(6));
    assert_eq!(finish(endpoint), [Seen::Made, Seen::Lost(Some(ErrorKind::TimedOut))]);
}

#[test]
fn dropping_ends_at_once() {
    struct Told(Arc<AtomicBool>);
    impl DatagramProtocol for Told {
        fn connection_lost(&mut self, exc: Option<io::Error>) {
            assert!(exc.is_none());
            assert!(!self.0.swap(true, Ordering::SeqCst));
        }
    }
    let told = Arc::new(AtomicBool::new(false));
    let (endpoint, peer) = MemoryDatagram::new(Told(told.clone())).open();
    let transport = endpoint.transport().clone();
    drop(endpoint);
    assert!(told.load(Ordering::SeqCst) && peer.is_closed() && transport.is_closing());
    assert_eq!(transport.send_to("x", addr(1)), Written::Closed);
}

#[test]
fn a_panic_in_any_callback_ends_the_endpoint_with_that_panic() {
    let starts: [fn(&DatagramTransport, &DatagramPeer); 4] = [
        |_, peer| peer.feed("x", addr(1)),
        |_, peer| peer.fail_receiving(ErrorKind::Other.into()),
        |transport, peer| {
            peer.set_room(0);
            transport.send(vec![0; 70_000]);
        },
        |transport, peer| {
            peer.set_room(0);
            transport.send(vec![0; 70_000]);
            peer.set_room(1);
        },
    ];
    let panics_on: [fn(&Seen) -> bool; 4] = [
        |seen| matches!(seen, Seen::Data(..)),
        |seen| matches!(seen, Seen::Error(_)),
        |seen| matches!(seen, Seen::Pause),
        |seen| matches!(seen, Seen::Resume),
    ];
    for (start, panics_on) in starts.into_iter().zip(panics_on) {
        let (mut endpoint, peer) = connected(Log::reacting(move |_, seen| assert!(!panics_on(seen), "on purpose")));
        let transport = endpoint.transport().clone();
        start(&transport, &peer);
        let payload = catch_unwind(AssertUnwindSafe(|| poll(&mut endpoint).is_ready())).unwrap_err();
        assert!(payload.downcast_ref::<&str>().is_some_and(|text| text.contains("on purpose")));
        assert!(peer.is_closed());
        let mut closed = Box::pin(transport.closed());
        assert!(matches!(poll(&mut closed), Poll::Ready(Err(exc)) if exc.to_string().contains("on purpose")));
    }
}

#[test]
fn a_panic_in_the_first_or_last_callback_is_no_different() {
    let (mut endpoint, peer) = connected(Log::reacting(|_, _| panic!("on purpose")));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut endpoint).is_ready())).is_err());
    assert!(peer.is_closed());

    struct Last;
    impl DatagramProtocol for Last {
        fn connection_lost(&mut self, _: Option<io::Error>) {
            panic!("on purpose");
        }
    }
    let (mut endpoint, peer) = MemoryDatagram::new(Last).open();
    endpoint.transport().close();
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut endpoint).is_ready())).is_err());
    assert!(peer.is_closed());
}

#[test]
fn the_protocol_can_be_replaced() {
    struct Second(Arc<AtomicBool>);
    impl DatagramProtocol for Second {
        fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], _: &Addr) {
            assert_eq!(data, b"second");
            transport.close();
        }

        fn connection_lost(&mut self, _: Option<io::Error>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let lost = Arc::new(AtomicBool::new(false));
    let told = lost.clone();
    let (endpoint, peer) = connected(Log::reacting(move |transport, seen| {
        if matches!(seen, Seen::Data(..)) {
            transport.set_protocol(Second(told.clone()));
        }
    }));
    peer.feed("first", addr(1));
    peer.feed("second", addr(1));
    assert_eq!(finish(endpoint), [Seen::Made, Seen::Data(b"first".to_vec(), addr(1))]);
    assert!(lost.load(Ordering::SeqCst));
}

#[test]
fn commands_do_what_the_methods_do() {
    let (mut endpoint, peer) = open(Log::default());
    let transport = endpoint.transport().clone();
    transport.post(DatagramCommand::SetWriteBufferLimits(WriteLimits::high(0))).unwrap();
    assert_eq!(transport.write_buffer_limits(), WriteLimits::high(0));
    transport.post(DatagramCommand::PauseReading).unwrap();
    assert!(!transport.is_reading());
    transport.post(DatagramCommand::ResumeReading).unwrap();
    transport.post(DatagramCommand::SendTo("x".into(), addr(1))).unwrap();
    transport.post(DatagramCommand::Send("refused".into())).unwrap();
    run(&mut endpoint);
    assert_eq!(payloads(&peer), [b"x"]);
    transport.post(DatagramCommand::Close).unwrap();
    let refused = transport.post(DatagramCommand::Fail(ErrorKind::Other.into()));
    assert!(matches!(refused, Err(Closed(DatagramCommand::Fail(_)))));
    assert_eq!(finish(endpoint), [Seen::Made, Seen::Lost(None)]);
}

#[test]
fn protocols_may_be_borrowed_and_boxed() {
    let mut log = Log::default();
    let (endpoint, peer) = MemoryDatagram::new(&mut log).open();
    drop((endpoint, peer));
    assert_eq!(log.seen, [Seen::Made, Seen::Lost(None)]);

    let boxed: Box<dyn DatagramProtocol + Send> = Box::new(Log::default());
    let (mut endpoint, peer) = MemoryDatagram::new(boxed).open();
    peer.feed("x", addr(1));
    assert!(poll(&mut endpoint).is_pending());
}

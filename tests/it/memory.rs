//! The in-memory connection: every step by hand, nothing left to the system.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use bytes::Bytes;
use smol_transports::testing::{Clock, Memory, Peer, converse, finish, poll};
use smol_transports::{Buffered, Connection, OnEof, Protocol, Transport, WriteLimits, Written};

use crate::common::{Lcg, assert_same, pattern};
use crate::recorder::{BufferedRecorder, Call, Log, Recorder};

fn connect(recorder: Recorder) -> (Connection<Recorder>, Peer) {
    crate::guard::watch();
    Memory::new(recorder.alone()).connect()
}

fn limited(log: &Log, low: usize, high: usize) -> (Connection<Recorder>, Peer) {
    crate::guard::watch();
    let limits = WriteLimits::new(low, high).unwrap();
    Memory::new(Recorder::new(log).alone()).write_limits(limits).connect()
}

fn broken(kind: ErrorKind) -> io::Error {
    kind.into()
}

#[test]
fn connecting_calls_connection_made_and_nothing_else() {
    let log = Log::default();
    let (connection, peer) = connect(Recorder::new(&log));
    assert_eq!(log.calls(), [Call::Made]);
    assert!(!peer.is_closed() && !connection.transport().is_closing() && connection.transport().is_reading());
}

#[test]
fn pieces_arrive_in_order_and_the_end_of_file_last() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log));
    peer.feed(b"one");
    peer.feed(b"two");
    peer.feed_eof();
    assert!(poll(&mut connection).is_ready());
    assert_eq!(log.calls(), [Call::Made, Call::Data(b"onetwo".to_vec()), Call::Eof, Call::Lost(None)]);
    assert!(peer.is_closed());
}

#[test]
fn a_broken_read_loses_the_connection_after_the_data_before_it() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log));
    peer.feed(b"last words");
    peer.break_reading(broken(ErrorKind::ConnectionReset));
    assert!(poll(&mut connection).is_ready());
    let lost = Call::Lost(Some(ErrorKind::ConnectionReset));
    assert_eq!(log.calls(), [Call::Made, Call::Data(b"last words".to_vec()), lost]);
}

#[test]
fn a_broken_write_drops_the_buffer_and_tells_the_cause() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log));
    let transport = connection.transport().clone();
    peer.break_writing(broken(ErrorKind::BrokenPipe));
    transport.write(b"lost");
    assert!(transport.is_closing());
    assert_eq!((transport.write(b"more"), transport.write_buffer_size()), (Written::Closed, 0));
    assert_eq!(log.calls(), [Call::Made], "the loss is not told from inside of a write");
    assert!(poll(&mut connection).is_ready());
    assert_eq!(log.end(), Some(ErrorKind::BrokenPipe));
    assert_eq!(peer.take_written(), b"");
}

#[test]
fn a_write_that_breaks_while_it_waits_tells_the_cause_once() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log));
    peer.set_room(0);
    connection.transport().write(b"waits");
    assert!(poll(&mut connection).is_pending());
    peer.break_writing(broken(ErrorKind::ConnectionReset));
    assert!(poll(&mut connection).is_ready());
    assert_eq!(log.end(), Some(ErrorKind::ConnectionReset));
}

#[test]
fn a_flush_that_fails_after_close_tells_the_cause() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log));
    peer.set_room(0);
    connection.transport().write(b"waits");
    connection.transport().close();
    assert!(poll(&mut connection).is_pending());
    peer.break_writing(broken(ErrorKind::BrokenPipe));
    assert!(poll(&mut connection).is_ready());
    assert_eq!(log.end(), Some(ErrorKind::BrokenPipe));
}

#[test]
fn the_first_cause_wins() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log));
    let transport = connection.transport().clone();
    transport.fail(broken(ErrorKind::PermissionDenied));
    transport.fail(broken(ErrorKind::NotFound));
    transport.abort();
    transport.close();
    peer.break_reading(broken(ErrorKind::ConnectionReset));
    assert!(poll(&mut connection).is_ready());
    assert_eq!(log.calls(), [Call::Made, Call::Lost(Some(ErrorKind::PermissionDenied))]);
}

#[test]
fn writes_of_one_callback_leave_in_one_send() {
    let log = Log::default();
    let recorder = Recorder::new(&log).on_data(|transport, data| {
        for byte in data {
            transport.write([*byte]);
        }
        transport.write_bytes(vec![b'!'; 5000]);
        transport.write_vectored(["a", "", "b"]);
    });
    let (mut connection, peer) = connect(recorder);
    peer.feed(b"hello");
    assert!(poll(&mut connection).is_pending());
    assert_eq!(peer.sends(), 1);
    assert_eq!(peer.take_written(), [b"hello".to_vec(), vec![b'!'; 5000], b"ab".to_vec()].concat());
}

#[test]
fn where_callbacks_have_written_once_the_first_write_is_not_held_back() {
    let recorder = Recorder::new(&Log::default()).on_data(|transport, data| {
        for byte in data {
            transport.write([*byte]);
        }
    });
    let (mut connection, peer) = connect(recorder);
    let mut sends = |data: &str| {
        let before = peer.sends();
        peer.feed(data);
        assert!(poll(&mut connection).is_pending());
        assert_eq!(peer.take_written(), data.as_bytes());
        peer.sends() - before
    };
    assert_eq!(sends("abc"), 1);
    assert!((0..8).all(|_| sends("a") == 1));
    assert_eq!([sends("abc"), sends("abc"), sends("a")], [2, 1, 1]);
}

#[test]
fn many_callbacks_that_write_much_are_not_taken_for_one_that_never_ends() {
    let (mut connection, peer) = Memory::new(Much).connect();
    // The same waker each time: for a new one the actor looks at everything.
    let waker = Arc::new(Nobody).into();
    let cx = &mut Context::from_waker(&waker);
    for _ in 0..200 {
        peer.feed("more");
        assert!(Pin::new(&mut connection).poll(cx).is_pending());
        assert_eq!(peer.take_written().len(), 100_000);
    }
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// Answers with more than the high mark, and does nothing else that the actor would have to look at.
struct Much;

impl Protocol for Much {
    fn data_received(&mut self, transport: &Transport, _: &[u8]) {
        assert_eq!(transport.write([1; 100_000]), Written::Queued);
    }

    fn pause_writing(&mut self, _: &Transport) {
        panic!("everything was taken");
    }
}

#[test]
fn shared_bytes_that_were_sent_in_a_callback_are_let_go_of() {
    let alive = Arc::new([0; 10_000]);
    let its = alive.clone();
    let recorder = Recorder::new(&Log::default()).on_data(move |transport, _| {
        transport.write_bytes(Bytes::from_owner(Owned(its.clone())));
    });
    let (mut connection, peer) = Memory::new(recorder.alone()).max_write_buffer(8_000).connect();
    for _ in 0..20 {
        peer.feed("more");
        assert!(poll(&mut connection).is_pending());
        assert_eq!(peer.take_written().len(), 10_000);
        assert_eq!(Arc::strong_count(&alive), 2);
    }
}

/// Bytes that others know of.
struct Owned(Arc<[u8; 10_000]>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &*self.0
    }
}

#[test]
fn a_write_from_elsewhere_leaves_at_once() {
    let (connection, peer) = connect(Recorder::new(&Log::default()));
    assert_eq!(connection.transport().write(b"now"), Written::Queued);
    assert_eq!((peer.sends(), peer.take_written()), (1, b"now".to_vec()));
    assert_eq!(connection.transport().write_buffer_size(), 0);
}

#[test]
fn what_the_system_takes_at_once_never_pauses() {
    let log = Log::default();
    let recorder = Recorder::new(&log).on_made(|transport| {
        for _ in 0..20 {
            assert_eq!(transport.write(vec![1; 100_000]), Written::Queued);
        }
    });
    let (mut connection, peer) = connect(recorder);
    assert!(poll(&mut connection).is_pending());
    assert_eq!((log.calls(), peer.take_written().len()), (vec![Call::Made], 2_000_000));
}

#[test]
fn a_pause_inside_of_a_callback_is_told_when_it_returns() {
    let log = Log::default();
    let seen = log.clone();
    let recorder = Recorder::new(&log).on_data(move |transport, _| {
        let before = seen.calls();
        assert_eq!(transport.write(b"123456"), Written::Full);
        assert!(transport.is_writing_paused());
        assert_eq!(seen.calls(), before, "a callback inside of a callback");
    });
    let (mut connection, peer) = Memory::new(recorder.alone()).write_limits(WriteLimits::new(1, 4).unwrap()).connect();
    peer.set_room(0);
    peer.feed(b"x");
    peer.feed(b"y");
    peer.set_room(0);
    assert!(poll(&mut connection).is_pending());
    let expected = [Call::Made, Call::Data(b"x".to_vec()), Call::Pause, Call::Data(b"y".to_vec())];
    assert_eq!(log.calls(), expected, "the pause comes before any other event");
}

#[test]
fn exactly_the_high_mark_does_not_pause() {
    let log = Log::default();
    let (mut connection, peer) = limited(&log, 2, 4);
    peer.set_room(0);
    assert_eq!(connection.transport().write(b"1234"), Written::Queued);
    assert!(poll(&mut connection).is_pending());
    assert_eq!(log.calls(), [Call::Made]);
    assert_eq!(connection.transport().write(b"5"), Written::Full);
    assert!(poll(&mut connection).is_pending());
    assert_eq!(log.calls(), [Call::Made, Call::Pause]);
}

#[test]
fn exactly_the_low_mark_resumes() {
    let log = Log::default();
    let (mut connection, peer) = limited(&log, 2, 4);
    peer.set_room(0);
    connection.transport().write(b"123456");
    assert!(poll(&mut connection).is_pending());
    peer.set_room(3);
    assert!(poll(&mut connection).is_pending());
    assert_eq!((log.calls(), connection.transport().write_buffer_size()), (vec![Call::Made, Call::Pause], 3));
    peer.set_room(1);
    assert!(poll(&mut connection).is_pending());
    assert_eq!(log.calls(), [Call::Made, Call::Pause, Call::Resume]);
    assert_eq!((peer.take_written(), connection.transport().write_buffer_size()), (b"1234".to_vec(), 2));
}

#[test]
fn new_marks_pause_at_once_and_resume_on_the_next_send_only() {
    let log = Log::default();
    let (mut connection, peer) = limited(&log, 10, 100);
    let transport = connection.transport().clone();
    peer.set_room(0);
    transport.write([0; 50]);
    transport.set_write_buffer_limits(WriteLimits::new(10, 40).unwrap());
    assert!(transport.is_writing_paused());
    assert!(poll(&mut connection).is_pending());
    assert_eq!(log.calls(), [Call::Made, Call::Pause]);
    transport.set_write_buffer_limits(WriteLimits::new(100, 1000).unwrap());
    assert!(poll(&mut connection).is_pending());
    assert!(transport.is_writing_paused());
    peer.set_room(1);
    assert!(poll(&mut connection).is_pending());
    assert_eq!(log.calls(), [Call::Made, Call::Pause, Call::Resume]);
}

#[test]
fn resume_comes_before_the_loss_when_closing_while_paused() {
    let log = Log::default();
    let (mut connection, peer) = limited(&log, 2, 4);
    peer.set_room(0);
    connection.transport().write(b"123456");
    connection.transport().close();
    assert!(poll(&mut connection).is_pending());
    peer.set_room(usize::MAX);
    assert!(poll(&mut connection).is_ready());
    assert_eq!(log.calls(), [Call::Made, Call::Pause, Call::Resume, Call::Lost(None)]);
    assert_eq!(peer.take_written(), b"123456");
}

#[test]
fn writes_of_resume_writing_while_closing_are_sent() {
    let log = Log::default();
    let recorder = Recorder::new(&log).on_resume(|transport| {
        assert!(transport.is_closing());
        transport.write(b"end");
    });
    let (mut connection, peer) = Memory::new(recorder.alone()).write_limits(WriteLimits::new(2, 4).unwrap()).connect();
    peer.set_room(0);
    connection.transport().write(b"123456");
    connection.transport().close();
    assert!(poll(&mut connection).is_pending());
    peer.set_room(5);
    assert!(poll(&mut connection).is_pending());
    peer.set_room(usize::MAX);
    assert!(poll(&mut connection).is_ready());
    assert_eq!(peer.take_written(), b"123456end");
    assert_eq!(log.end(), None);
}

#[test]
fn abort_while_paused_does_not_resume() {
    let log = Log::default();
    let (mut connection, peer) = limited(&log, 2, 4);
    peer.set_room(0);
    connection.transport().write(b"123456");
    assert!(poll(&mut connection).is_pending());
    connection.transport().abort();
    assert_eq!(connection.transport().write_buffer_size(), 0);
    assert!(poll(&mut connection).is_ready());
    assert_eq!(log.calls(), [Call::Made, Call::Pause, Call::Lost(None)]);
}

#[test]
fn the_end_of_file_leaves_after_the_bytes_before_it() {
    let (mut connection, peer) = connect(Recorder::new(&Log::default()));
    let transport = connection.transport().clone();
    peer.set_room(2);
    transport.write(b"1234");
    transport.write_eof().unwrap();
    transport.write_eof().unwrap();
    assert!(poll(&mut connection).is_pending());
    assert!(!peer.has_eof() && !transport.is_closing());
    peer.set_room(usize::MAX);
    assert!(poll(&mut connection).is_pending());
    assert!(peer.has_eof() && !peer.is_closed());
    assert_eq!(peer.take_written(), b"1234");
}

#[test]
fn an_interrupted_flush_and_close_keeps_every_byte() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log));
    let data = pattern(300_000, 1);
    peer.set_room(0);
    connection.transport().write(&data);
    connection.transport().close();
    let mut numbers = Lcg::new(2);
    let mut got = Vec::new();
    while poll(&mut connection).is_pending() {
        got.extend(peer.take_written());
        peer.set_room(1 + numbers.below(20_000));
    }
    got.extend(peer.take_written());
    assert_same(&got, &data);
    assert_eq!(log.end(), None);
}

/// Echoes with a peer that takes and gives pieces of odd sizes; any mix of the ways to write.
fn echo_through_a_keyhole(seed: u64) {
    let log = Log::default();
    let mut numbers = Lcg::new(seed);
    let mut way = 0;
    let recorder = Recorder::new(&log).on_data(move |transport, data| {
        way += 1;
        match way % 3 {
            0 => transport.write(data),
            1 => transport.write_bytes(data.to_vec()),
            _ => transport.write_vectored(data.chunks(7)),
        };
    });
    let (mut connection, peer) =
        Memory::new(recorder.alone()).write_limits(WriteLimits::new(50, 500).unwrap()).connect();
    let data = pattern(100_000, seed);
    let (mut rest, mut got) = (&data[..], Vec::new());
    while got.len() < data.len() {
        let (piece, later) = rest.split_at(rest.len().min(1 + numbers.below(3000)));
        rest = later;
        if !piece.is_empty() {
            peer.feed(piece);
        }
        peer.set_room(numbers.below(3000));
        assert!(poll(&mut connection).is_pending());
        got.extend(peer.take_written());
        let size = connection.transport().write_buffer_size();
        assert_eq!(size, data.len() - rest.len() - got.len(), "accepted minus sent");
    }
    assert_same(&got, &data);
    let marks: Vec<_> = log.calls().into_iter().filter(|call| matches!(call, Call::Pause | Call::Resume)).collect();
    assert_eq!(marks.last(), Some(&Call::Resume), "an empty buffer has resumed");
}

#[test]
fn an_echo_through_partial_writes_is_exact() {
    (0..20).for_each(echo_through_a_keyhole);
}

#[test]
fn reading_that_is_paused_delivers_nothing_not_even_the_end_of_file() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log).on_made(Transport::pause_reading));
    peer.feed(b"data");
    peer.feed_eof();
    assert!(poll(&mut connection).is_pending());
    assert_eq!(log.calls(), [Call::Made]);
    assert!(!connection.transport().is_reading());
    connection.transport().resume_reading();
    assert!(poll(&mut connection).is_ready());
    assert_eq!(log.calls(), [Call::Made, Call::Data(b"data".to_vec()), Call::Eof, Call::Lost(None)]);
}

#[test]
fn pausing_inside_of_data_received_holds_back_the_next_piece() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log).on_data(|transport, _| transport.pause_reading()));
    for piece in [b"1", b"2", b"3"] {
        peer.feed(piece);
    }
    for expected in [&b"1"[..], b"12", b"123"] {
        assert!(poll(&mut connection).is_pending());
        assert_eq!(log.data(), expected);
        connection.transport().resume_reading();
    }
}

#[test]
fn closing_inside_of_data_received_holds_back_the_next_piece_for_ever() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log).on_data(|transport, _| transport.close()));
    peer.feed(b"1");
    peer.feed(b"2");
    peer.feed_eof();
    assert!(poll(&mut connection).is_ready());
    assert_eq!(log.calls(), [Call::Made, Call::Data(b"1".to_vec()), Call::Lost(None)]);
}

#[test]
fn a_peer_that_never_falls_silent_leaves_the_thread_to_others() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log));
    (0..1000).for_each(|_| peer.feed(vec![0; 10_000]));
    let waker = std::task::Waker::noop();
    let mut cx = Context::from_waker(waker);
    assert!(Pin::new(&mut connection).poll(&mut cx).is_pending());
    let once = log.data().len();
    assert!((1..=1_000_000).contains(&once), "{once} bytes in one poll");
}

/// Writes as long as it may, whenever it may; gives up in the end, so that a failing test does not hang.
struct Tap {
    resumed: Arc<AtomicUsize>,
}

impl Tap {
    const ENOUGH: usize = 1000;

    fn pour(transport: &Transport) {
        while transport.write_bytes(vec![0; 70_000]) == Written::Queued {}
    }
}

impl Protocol for Tap {
    fn connection_made(&mut self, transport: &Transport) {
        Self::pour(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        if self.resumed.fetch_add(1, Ordering::Relaxed) < Self::ENOUGH {
            Self::pour(transport);
        }
    }
}

#[test]
fn a_writer_that_never_falls_silent_leaves_the_thread_to_others() {
    let resumed = Arc::new(AtomicUsize::new(0));
    let (mut connection, peer) = Memory::new(Tap { resumed: resumed.clone() }).connect();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(&mut connection).poll(&mut cx).is_pending());
    drop(peer.take_written());
    let once = resumed.load(Ordering::Relaxed);
    assert!(once < Tap::ENOUGH, "writing was resumed {once} times without a rest");
}

#[test]
fn a_flush_that_takes_too_long_is_aborted_with_timed_out() {
    let (log, clock) = (Log::default(), Clock::new());
    let limit = Duration::from_secs(30);
    let (mut connection, peer) = Memory::new(Recorder::new(&log).alone()).close_timeout(limit).clock(&clock).connect();
    peer.set_room(0);
    connection.transport().write(b"stuck");
    clock.advance(limit * 2);
    assert!(poll(&mut connection).is_pending(), "the limit begins with close()");
    connection.transport().close();
    assert!(poll(&mut connection).is_pending());
    clock.advance(limit - Duration::from_nanos(1));
    assert!(poll(&mut connection).is_pending());
    clock.advance(Duration::from_nanos(1));
    assert!(poll(&mut connection).is_ready());
    assert_eq!(log.end(), Some(ErrorKind::TimedOut));
}

#[test]
fn a_flush_in_time_is_an_orderly_end() {
    let (log, clock) = (Log::default(), Clock::new());
    let limit = Duration::from_secs(30);
    let (mut connection, peer) = Memory::new(Recorder::new(&log).alone()).close_timeout(limit).clock(&clock).connect();
    peer.set_room(0);
    connection.transport().write(b"slow");
    connection.transport().close();
    assert!(poll(&mut connection).is_pending());
    clock.advance(limit / 2);
    peer.set_room(usize::MAX);
    assert!(poll(&mut connection).is_ready());
    assert_eq!((log.end(), peer.take_written()), (None, b"slow".to_vec()));
}

#[test]
fn a_buffered_protocol_gets_the_same_bytes_through_a_small_buffer() {
    for size in [1, 3, 1000] {
        let log = Log::default();
        let recorder = BufferedRecorder::new(Recorder::new(&log).alone(), size);
        let (mut connection, peer) = Memory::new(Buffered(recorder)).connect();
        let data = pattern(500, 3);
        data.chunks(99).for_each(|piece| peer.feed(piece));
        peer.feed_eof();
        assert!(poll(&mut connection).is_ready());
        assert_eq!(log.calls(), [Call::Made, Call::Data(data), Call::Eof, Call::Lost(None)]);
    }
}

#[test]
fn there_is_no_socket_and_no_name() {
    let (connection, _peer) = connect(Recorder::new(&Log::default()));
    assert!(connection.transport().with_socket(|_| ()).is_none());
    assert!(connection.transport().extra_info().peername().is_none());
}

#[test]
fn the_room_is_used_before_a_pause_is_told() {
    let log = Log::default();
    let (mut connection, peer) = limited(&log, 0, 0);
    peer.set_room(3);
    assert_eq!(connection.transport().write(b"abc"), Written::Queued);
    assert_eq!(connection.transport().write(b"d"), Written::Full);
    assert!(poll(&mut connection).is_pending());
    assert_eq!(log.calls(), [Call::Made, Call::Pause]);
    peer.set_room(1);
    assert!(poll(&mut connection).is_pending());
    assert_eq!(log.calls(), [Call::Made, Call::Pause, Call::Resume]);
}

#[test]
fn a_pause_that_a_drop_left_untold_is_over() {
    let log = Log::default();
    let (connection, peer) = limited(&log, 0, 0);
    let transport = connection.transport().clone();
    peer.set_room(0);
    assert_eq!(transport.write(b"waits"), Written::Full);
    assert!(transport.is_writing_paused());
    drop(connection);
    assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
    assert!(!transport.is_writing_paused());
}

/// Writes more whenever it may, and reads only while it may write.
#[derive(Default)]
struct Insatiable {
    paused: bool,
    resumes: usize,
    /// Told although it had paused the reading.
    told_while_paused: bool,
    lost: bool,
}

impl Protocol for Insatiable {
    fn eof_received(&mut self, _: &Transport) -> OnEof {
        self.told_while_paused |= self.paused;
        OnEof::Close
    }

    fn pause_writing(&mut self, transport: &Transport) {
        self.paused = true;
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.paused = false;
        transport.resume_reading();
        self.resumes += 1;
        if self.resumes < 1000 {
            // The first one is more than a callback may send by itself: from then on each write has to wait.
            if self.resumes == 1 {
                transport.write(vec![0; 9 << 20]);
            }
            transport.write(vec![0; 100_000]);
        }
    }

    fn connection_lost(&mut self, _: Option<io::Error>) {
        self.lost = true;
    }
}

/// Pauses and resumes follow each other for longer than one turn tells them.
#[test]
fn nothing_is_told_while_reading_is_paused_however_often_that_changes() {
    let (mut connection, peer) = Memory::new(Insatiable::default()).connect();
    peer.set_room(0);
    connection.transport().write(vec![0; 100_000]);
    assert!(poll(&mut connection).is_pending());
    assert!(connection.protocol().paused);
    peer.feed_eof();
    peer.set_room(usize::MAX);
    let ended = (0..1000).find_map(|_| match poll(&mut connection) {
        Poll::Ready(protocol) => Some(protocol),
        Poll::Pending => None,
    });
    let protocol = ended.expect("an end");
    assert!(!protocol.told_while_paused, "after {} resumes", protocol.resumes);
    assert!(protocol.lost && protocol.resumes > 100, "after {} resumes", protocol.resumes);
}

/// Finishes first and goes on reading, or waits for that and answers then.
struct HalfClose {
    asks: bool,
    received: Vec<u8>,
}

impl Protocol for HalfClose {
    fn connection_made(&mut self, transport: &Transport) {
        if self.asks {
            transport.write("question");
            transport.write_eof().unwrap();
        }
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.received.extend_from_slice(data);
    }

    fn eof_received(&mut self, transport: &Transport) -> OnEof {
        if !self.asks {
            transport.write("answer");
        }
        OnEof::Close
    }
}

fn half_close(asks: bool) -> Memory<HalfClose> {
    Memory::new(HalfClose { asks, received: Vec::new() })
}

#[test]
fn a_conversation_has_half_closes() {
    let (one, other) = converse(half_close(true), half_close(false));
    assert_eq!((one.received.as_slice(), other.received.as_slice()), (&b"answer"[..], &b"question"[..]));
    let (other, one) = converse(half_close(false), half_close(true));
    assert_eq!((one.received.as_slice(), other.received.as_slice()), (&b"answer"[..], &b"question"[..]));
}

#[test]
#[should_panic(expected = "neither has anything to say")]
fn a_conversation_in_which_both_wait_panics() {
    converse(half_close(false), half_close(false));
}

#[test]
fn feeding_nothing_is_neither_a_piece_nor_an_end() {
    let log = Log::default();
    let (mut connection, peer) = connect(Recorder::new(&log));
    let theirs = Log::default();
    let buffered = Buffered(BufferedRecorder::new(Recorder::new(&theirs), 8));
    let (mut other, their_peer) = Memory::new(buffered).connect();
    for peer in [&peer, &their_peer] {
        peer.feed("");
        peer.feed("text");
    }
    assert!(poll(&mut connection).is_pending() && poll(&mut other).is_pending());
    assert_eq!(log.calls(), [Call::Made, Call::Data(b"text".to_vec())]);
    assert_eq!(theirs.data(), b"text");
}

/// Writes more than one callback may, so that each write over the mark is a pause and a resume.
struct Windows {
    left: u32,
}

impl Protocol for Windows {
    fn data_received(&mut self, transport: &Transport, _: &[u8]) {
        transport.write(vec![0; 9 << 20]);
        transport.write(vec![0; 100_000]);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        if self.left > 0 {
            self.left -= 1;
            transport.write(vec![0; 100_000]);
        }
    }
}

#[test]
fn reading_goes_on_after_as_many_pauses_as_one_turn_tells() {
    for left in 0..40 {
        let (connection, peer) = Memory::new(Windows { left }).connect();
        peer.feed("go");
        peer.feed_eof();
        assert_eq!(finish(connection).left, 0);
    }
}

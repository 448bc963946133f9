//! TLS over a system that takes and gives little at a time: whoever is to go on is woken, and nobody else is polled.

use std::future::{Future, IntoFuture};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use smol_transports::testing::{Clock, Memory, Peer};
use smol_transports::{Connection, Tls, connect_stream};

use super::common::{client, server};
use crate::common::{Lcg, assert_same, pattern};
use crate::recorder::{Log, Recorder};

/// Whether somebody was woken since.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One end, and what the "system" still has for it.
struct Side {
    connection: Connection<Recorder>,
    peer: Peer,
    flag: Arc<Flag>,
    arriving: Vec<u8>,
    done: bool,
}

impl Side {
    fn new(recorder: Recorder, tls: Tls) -> Self {
        Self::upgraded(Memory::new(recorder), tls)
    }

    fn upgraded(memory: Memory<Recorder>, tls: Tls) -> Self {
        let side = Self::plain(memory);
        side.connection.transport().start_tls(tls);
        side
    }

    fn plain(memory: Memory<Recorder>) -> Self {
        let (connection, peer) = memory.connect();
        Self { connection, peer, flag: Arc::new(Flag(AtomicBool::new(true))), arriving: Vec::new(), done: false }
    }

    /// Polls it if it was woken; whether it was.
    fn poll(&mut self) -> bool {
        let woken = self.flag.0.swap(false, Ordering::SeqCst) && !self.done;
        if woken {
            let waker = Waker::from(self.flag.clone());
            self.done = Pin::new(&mut self.connection).poll(&mut Context::from_waker(&waker)).is_ready();
        }
        woken
    }

    /// Lets at most so many bytes arrive; whether there were any.
    fn arrive(&mut self, most: usize) -> bool {
        let count = most.min(self.arriving.len());
        if count > 0 {
            self.peer.feed(self.arriving.drain(..count).collect::<Vec<_>>());
        }
        count > 0
    }
}

/// Moves what each side has sent to the other one.
fn carry(sides: &mut [Side; 2]) {
    let [near, far] = sides;
    far.arriving.extend(near.peer.take_written());
    near.arriving.extend(far.peer.take_written());
}

/// Lets everything happen that still can.
fn settle(sides: &mut [Side; 2]) {
    loop {
        let mut moved = false;
        for side in sides.iter_mut() {
            side.peer.set_room(usize::MAX);
            side.connection.transport().resume_reading();
            moved |= side.poll();
        }
        carry(sides);
        sides.iter_mut().for_each(|side| moved |= side.arrive(usize::MAX));
        if !moved {
            return;
        }
    }
}

/// One step of many; `sent` is what the near side has written.
fn step(sides: &mut [Side; 2], numbers: &mut Lcg, sent: &mut Vec<u8>) {
    let side = &mut sides[numbers.below(2)];
    match numbers.below(8) {
        0 | 1 => drop(side.poll()),
        2 => drop(side.arrive(numbers.below(3000))),
        3 => side.peer.set_room(numbers.below(3000)),
        4 => side.connection.transport().pause_reading(),
        5 => side.connection.transport().resume_reading(),
        6 => carry(sides),
        _ if sent.len() < 100_000 => {
            let data = pattern(numbers.below(5000), sent.len() as u64);
            sides[0].connection.transport().write(&data);
            sent.extend(data);
        }
        _ => {}
    }
}

#[test]
fn whatever_little_is_possible_everything_arrives() {
    for seed in 0..100 {
        let (log, theirs) = (Log::default(), Log::default());
        let mut sides = [Side::new(Recorder::new(&log), client()), Side::new(Recorder::echo(&theirs), server())];
        let mut numbers = Lcg::new(seed);
        let mut sent = Vec::new();
        for _ in 0..2000 {
            step(&mut sides, &mut numbers, &mut sent);
        }
        settle(&mut sides);
        assert_same(&log.data(), &sent);
        sides[0].connection.transport().close();
        settle(&mut sides);
        assert!(sides.iter().all(|side| side.done), "seed {seed}: it was not woken");
        assert_eq!((log.end(), theirs.end()), (None, None), "seed {seed}");
    }
}

#[test]
fn an_upgrade_that_is_made_leaves_nothing_that_waits_to_be_sent() {
    const LIMIT: Duration = Duration::from_secs(10);
    let (log, theirs, clock) = (Log::default(), Log::default(), Clock::new());
    let mut tls = Some(server());
    let upgrading = Recorder::new(&log).on_data(move |transport, _| {
        transport.write(b"go ahead");
        tls.take().map(|tls| transport.start_tls(tls))
    });
    let near = Side::plain(Memory::new(upgrading).write_timeout(LIMIT).clock(&clock));
    near.peer.feed("STARTTLS");
    let mut sides = [near, Side::new(Recorder::new(&theirs), client())];
    assert!(sides[0].poll());
    // What was said in plain text is for nobody here.
    assert_eq!(sides[0].peer.take_written(), b"go ahead");
    settle(&mut sides);
    clock.advance(2 * LIMIT);
    settle(&mut sides);
    assert!(!sides[0].done, "{:?}", log.end());
}

/// Both sides after the handshake, the near one with limits.
fn shaken(near: Memory<Recorder>) -> [Side; 2] {
    let far = Side::new(Recorder::new(&Log::default()), server());
    let mut sides = [Side::upgraded(near, client()), far];
    settle(&mut sides);
    sides
}

/// Bytes of a record that is not complete are bytes.
#[test]
fn a_record_that_takes_long_is_no_silence() {
    const LIMIT: Duration = Duration::from_secs(10);
    for limit in [Memory::read_timeout, Memory::idle_timeout] {
        let (log, clock) = (Log::default(), Clock::new());
        let mut sides = shaken(limit(Memory::new(Recorder::new(&log)).clock(&clock), LIMIT));
        let data = pattern(10_000, 1);
        sides[1].connection.transport().write(&data);
        sides[1].poll();
        carry(&mut sides);
        while sides[0].arrive(1000) {
            clock.advance(LIMIT * 9 / 10);
            sides[0].poll();
        }
        assert!(!sides[0].done, "{:?}", log.end());
        assert_same(&log.data(), &data);
        clock.advance(LIMIT);
        sides[0].poll();
        assert_eq!(log.end(), Some(ErrorKind::TimedOut));
    }
}

#[test]
fn a_record_that_is_sent_slowly_is_no_stall() {
    const LIMIT: Duration = Duration::from_secs(10);
    for limit in [Memory::write_timeout, Memory::idle_timeout] {
        let (log, clock) = (Log::default(), Clock::new());
        let mut sides = shaken(limit(Memory::new(Recorder::new(&log)).clock(&clock), LIMIT));
        sides[0].peer.set_room(0);
        sides[0].connection.transport().write(pattern(10_000, 1));
        for _ in 0..9 {
            sides[0].poll();
            clock.advance(LIMIT * 9 / 10);
            sides[0].peer.set_room(1000);
        }
        sides[0].poll();
        assert!(!sides[0].done, "{:?}", log.end());
        assert!(sides[0].connection.transport().write_buffer_size() > 0);
        clock.advance(LIMIT);
        sides[0].poll();
        assert_eq!(log.end(), Some(ErrorKind::TimedOut));
    }
}

/// Takes nothing, and wakes whoever tries: as a stream of a runtime that wants to run others first.
#[derive(Default)]
struct Yielding(Arc<AtomicUsize>);

impl AsyncRead for Yielding {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

impl AsyncWrite for Yielding {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) < 1000, "it does not let go");
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_stream_that_wakes_at_once_gets_the_thread() {
    let tries = Arc::new(AtomicUsize::new(0));
    let connecting = connect_stream(Recorder::new(&Log::default()), Yielding(tries.clone())).tls(client());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut connecting.into_future()).poll(&mut cx).is_pending());
    assert!(tries.load(Ordering::Relaxed) > 0);
}

/// It has seen the cut already, with the last data, and has all that it wanted.
#[test]
fn who_closes_in_the_callback_of_the_last_data_is_not_told_of_a_cut() {
    let (log, theirs) = (Log::default(), Log::default());
    let closing = Recorder::new(&log).on_data(|transport, _| transport.close());
    let mut sides = [Side::new(closing, client()), Side::new(Recorder::new(&theirs), server())];
    settle(&mut sides);
    sides[1].connection.transport().write("all");
    sides[1].poll();
    carry(&mut sides);
    sides[0].arrive(usize::MAX);
    sides[0].peer.feed_eof();
    sides[0].poll();
    assert!(sides[0].done);
    assert_eq!((log.data(), log.end()), (b"all".to_vec(), None));
}

//! Handles, an actor and the world outside on threads of their own: no request, no wake-up and no byte gets lost.
//!
//! The actor, its mailbox and the in-memory endpoint are the real ones. A wake-up that is lost shows as a deadlock.

use std::future::poll_fn;
use std::task::Poll;

use futures_lite::StreamExt;

use super::queue::{Inlet, Waiting, queue};
use crate::protocol::Protocol;
use crate::sync::check::{block_on, check, spawn};
use crate::testing::{Memory, Peer};
use crate::{Connection, Transport, WriteLimits, Written};

/// Counts what it is told.
#[derive(Debug, Default)]
struct Probe {
    data: Vec<u8>,
    pauses: usize,
    resumes: usize,
    lost: usize,
}

impl Protocol for Probe {
    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.data.extend_from_slice(data);
    }

    fn pause_writing(&mut self, _: &Transport) {
        self.pauses += 1;
    }

    fn resume_writing(&mut self, _: &Transport) {
        self.resumes += 1;
    }

    fn connection_lost(&mut self, exc: Option<std::io::Error>) {
        assert!(exc.is_none());
        self.lost += 1;
    }
}

fn connect() -> (Connection<Probe>, Transport, Peer) {
    let (connection, peer) = Memory::new(Probe::default()).write_limits(WriteLimits::high(1)).connect();
    let transport = connection.transport().clone();
    (connection, transport, peer)
}

/// Runs a connection to its end, which has to come.
fn run(connection: Connection<Probe>) -> Probe {
    let probe = block_on(connection);
    assert_eq!(probe.lost, 1);
    probe
}

#[test]
fn what_is_posted_while_the_actor_goes_to_rest_is_seen() {
    check(|| {
        let (connection, transport, peer) = connect();
        let thread = spawn(move || {
            transport.write("a");
            transport.close();
        });
        run(connection);
        thread.join().unwrap();
        assert_eq!(peer.take_written(), b"a");
    });
}

#[test]
fn a_request_wakes_the_actor_though_one_before_it_has_done_so_while_it_was_polled() {
    check(|| {
        let (connection, transport, peer) = connect();
        let thread = spawn(move || {
            transport.pause_reading();
            transport.close();
        });
        run(connection);
        thread.join().unwrap();
        assert!(peer.is_closed());
    });
}

/// The answer leaves nothing that the actor would have to look at, unlike the request.
#[test]
fn a_request_beside_an_answer_of_a_callback_is_seen() {
    check(|| {
        let (connection, peer) = Memory::new(Answer).connect();
        let transport = connection.transport().clone();
        peer.feed("a");
        let thread = spawn(move || {
            transport.write("b");
            transport.close();
        });
        block_on(connection);
        thread.join().unwrap();
        assert!([&b"ab"[..], b"ba", b"b"].contains(&&*peer.take_written()));
    });
}

/// Writes once in each callback.
struct Answer;

impl Protocol for Answer {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

#[test]
fn an_abort_is_seen() {
    check(|| {
        let (connection, transport, peer) = connect();
        peer.set_room(0);
        let thread = spawn(move || {
            transport.write("a");
            transport.abort();
        });
        run(connection);
        thread.join().unwrap();
        assert!(peer.is_closed());
    });
}

#[test]
fn room_that_comes_while_a_write_is_blocked_is_seen() {
    check(|| {
        let (connection, transport, peer) = connect();
        peer.set_room(0);
        let system = peer.clone();
        let thread = spawn(move || system.set_room(usize::MAX));
        transport.write("abc");
        transport.close();
        let probe = run(connection);
        thread.join().unwrap();
        assert_eq!(peer.take_written(), b"abc");
        assert_eq!(probe.pauses, probe.resumes);
    });
}

#[test]
fn two_writers_and_the_actor_keep_the_order() {
    check(|| {
        let (connection, transport, peer) = connect();
        peer.set_room(1);
        let other = transport.clone();
        let system = peer.clone();
        let thread = spawn(move || {
            other.write("1");
            other.write("2");
            system.set_room(usize::MAX);
            other.close();
        });
        let answer = transport.write("a");
        run(connection);
        thread.join().unwrap();
        let written = peer.take_written();
        let digits: Vec<_> = written.iter().copied().filter(u8::is_ascii_digit).collect();
        assert_eq!(digits, b"12");
        assert_eq!(written.contains(&b'a'), answer != Written::Closed);
    });
}

#[test]
fn reading_that_is_resumed_goes_on() {
    check(|| {
        let (connection, transport, peer) = connect();
        transport.pause_reading();
        let far = peer.clone();
        let feeder = spawn(move || {
            far.feed("abc");
            far.feed_eof();
        });
        let thread = spawn(move || transport.resume_reading());
        let probe = run(connection);
        feeder.join().unwrap();
        thread.join().unwrap();
        assert_eq!(probe.data, b"abc");
    });
}

#[test]
fn whoever_drains_is_told_to_go_on_or_of_the_end() {
    check(|| {
        let (connection, transport, peer) = connect();
        peer.set_room(0);
        assert_eq!(transport.write("abc"), Written::Full);
        let writer = transport.clone();
        let thread = spawn(move || {
            // The end may be faster.
            let _ = block_on(writer.drain());
            writer.close();
            block_on(writer.closed()).unwrap();
        });
        peer.set_room(usize::MAX);
        run(connection);
        thread.join().unwrap();
        assert_eq!(peer.take_written(), b"abc");
    });
}

#[test]
fn a_drop_is_told_to_those_who_wait() {
    check(|| {
        let (connection, transport, _peer) = connect();
        let thread = spawn(move || block_on(transport.closed()));
        drop(connection);
        thread.join().unwrap().unwrap();
    });
}

#[derive(Debug, PartialEq)]
struct Piece(usize);

impl Waiting for Piece {
    fn weight(&self) -> usize {
        self.0
    }

    fn cancels(&self, _: &Self) -> bool {
        false
    }

    fn is_last(&self) -> bool {
        false
    }
}

const MUCH: usize = 1 << 20;

fn wait_for_room(inlet: &Inlet<Piece>) {
    block_on(poll_fn(|cx| if inlet.has_room(cx.waker()) { Poll::Ready(()) } else { Poll::Pending }));
}

#[test]
fn a_full_queue_goes_on_when_it_was_read() {
    check(|| {
        let (inlet, mut events) = queue();
        let actor = spawn(move || {
            for _ in 0..2 {
                wait_for_room(&inlet);
                inlet.push(Piece(MUCH));
            }
        });
        for _ in 0..2 {
            assert_eq!(block_on(events.next()), Some(Piece(MUCH)));
        }
        assert_eq!(block_on(events.next()), None);
        actor.join().unwrap();
    });
}

#[test]
fn a_full_queue_goes_on_when_nobody_reads_it_any_more() {
    check(|| {
        let (inlet, events) = queue();
        inlet.push(Piece(MUCH));
        let reader = spawn(move || drop(events));
        wait_for_room(&inlet);
        reader.join().unwrap();
    });
}

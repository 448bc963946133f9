//! The layer without protocols: events as a stream.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;

use futures_lite::{StreamExt, future};
use smol_transports::actor::{self, Events};
use smol_transports::{Event, WriteLimits, Written};

use crate::common::{assert_same, blocking, guard, pattern, read_all, reset_on_close, tcp_pair, unix_pair};
use crate::recorder::Call;

#[cfg(unix)]
mod kinds;

fn call(event: Event<'static>) -> Call {
    match event {
        Event::ConnectionMade => Call::Made,
        Event::DataReceived(data) => Call::Data(data.into_owned()),
        Event::EofReceived => Call::Eof,
        Event::PauseWriting => Call::Pause,
        Event::ResumeWriting => Call::Resume,
        Event::ConnectionLost(exc) => Call::Lost(exc.map(|exc| exc.kind())),
        other => panic!("an event that no stream has: {other:?}"),
    }
}

async fn next(events: &mut Events) -> Call {
    call(events.next().await.expect("one more event"))
}

/// All events that are left; neighbouring data is joined.
async fn rest(mut events: Events) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    while let Some(event) = events.next().await {
        match (calls.last_mut(), call(event)) {
            (Some(Call::Data(known)), Call::Data(more)) => known.extend(more),
            (_, call) => calls.push(call),
        }
    }
    calls
}

#[test]
fn events_come_in_the_order_of_the_callbacks() {
    let (near, mut far) = unix_pair();
    guard(async {
        let (transport, mut events, actor) = actor::open(near).unwrap();
        let task = smol::spawn(actor);
        assert_eq!(next(&mut events).await, Call::Made);
        far.write_all(b"ping").unwrap();
        assert_eq!(next(&mut events).await, Call::Data(b"ping".to_vec()));
        far.shutdown(Shutdown::Write).unwrap();
        assert_eq!(next(&mut events).await, Call::Eof);
        assert!(!transport.is_closing(), "the end of file closes nothing by itself");
        transport.write(b"pong");
        transport.close();
        assert_eq!(rest(events).await, [Call::Lost(None)]);
        task.await;
    });
    assert_eq!(read_all(far), b"pong");
}

#[test]
fn a_reset_is_the_last_event() {
    let (near, far) = tcp_pair();
    guard(async {
        let (_transport, events, actor) = actor::open(near).unwrap();
        let task = smol::spawn(actor);
        reset_on_close(&far);
        drop(far);
        assert_eq!(rest(events).await, [Call::Made, Call::Lost(Some(ErrorKind::ConnectionReset))]);
        task.await;
    });
}

#[test]
fn the_stream_ends_after_the_loss_though_the_actor_is_still_held() {
    let (near, far) = unix_pair();
    guard(async {
        let (transport, mut events, mut actor) = actor::open(near).unwrap();
        drop(far);
        transport.close();
        (&mut actor).await;
        assert_eq!(next(&mut events).await, Call::Made);
        assert_eq!(next(&mut events).await, Call::Lost(None));
        assert!(events.next().await.is_none(), "more comes after the last event");
        drop(actor);
    });
}

#[test]
fn nobody_taking_events_stops_the_reading_and_loses_nothing() {
    let (near, mut far) = tcp_pair();
    let data = pattern(20 << 20, 1);
    let sent = data.clone();
    guard(async {
        let (transport, events, actor) = actor::open(near).unwrap();
        let task = smol::spawn(actor);
        far.set_nonblocking(true).unwrap();
        let mut all = 0;
        let mut idle = 0;
        while idle < 100 {
            match far.write(&sent[all..]) {
                Ok(count) => (all, idle) = (all + count, 0),
                Err(_) => idle += 1,
            }
            future::yield_now().await;
        }
        assert!(all < sent.len(), "unread events are not bounded");
        far.set_nonblocking(false).unwrap();
        let write = blocking(move || far.write_all(&sent[all..]));
        let close = async {
            write.await.unwrap();
        };
        let got = future::zip(
            async {
                let mut events = events;
                let mut got = Vec::new();
                while let Some(event) = events.next().await {
                    match call(event) {
                        Call::Data(more) => got.extend(more),
                        Call::Eof => transport.close(),
                        _ => {}
                    }
                }
                got
            },
            close,
        );
        assert_same(&got.await.0, &data);
        task.await;
    });
}

#[test]
fn control_events_find_room_when_data_does_not() {
    let (near, mut far) = tcp_pair();
    guard(async {
        let (transport, mut events, actor) = actor::open(near).unwrap();
        transport.set_write_buffer_limits(WriteLimits::high(0));
        let task = smol::spawn(actor);
        let flood = blocking(move || {
            let _ = far.write_all(&vec![0; 20 << 20]);
            far
        });
        while transport.write(vec![0; 1 << 18]) == Written::Queued {}
        transport.closed_after_abort().await;
        task.await;
        drop(flood.await);
        let mut seen = Vec::new();
        while let Some(event) = events.next().await {
            seen.push(call(event));
        }
        assert_eq!(seen.first(), Some(&Call::Made));
        assert_eq!(seen.last(), Some(&Call::Lost(None)));
        let bytes: usize = seen.iter().map(|call| if let Call::Data(data) = call { data.len() } else { 0 }).sum();
        assert!(bytes < 1 << 20, "{bytes} bytes lay in the queue");
    });
}

trait AbortAndWait {
    async fn closed_after_abort(&self);
}

impl AbortAndWait for smol_transports::Transport {
    async fn closed_after_abort(&self) {
        self.abort();
        self.closed().await.unwrap();
    }
}

#[test]
fn a_pause_and_its_resume_that_nobody_has_seen_cancel_each_other() {
    let (near, far) = tcp_pair();
    guard(async {
        let (transport, mut events, actor) = actor::open(near).unwrap();
        assert_eq!(next(&mut events).await, Call::Made);
        let task = smol::spawn(actor);
        let mut all = 0;
        while transport.write(vec![0; 1 << 18]) == Written::Queued {
            all += 1 << 18;
        }
        all += 1 << 18;
        let count = blocking(move || crate::common::read_exact(&far, all).len());
        transport.drain().await.unwrap();
        assert_eq!(count.await, all);
        transport.close();
        let calls = rest(events).await;
        let marks = calls.iter().filter(|call| matches!(call, Call::Pause | Call::Resume)).count();
        assert_eq!((marks % 2, calls.last()), (0, Some(&Call::Lost(None))), "{calls:?}");
        task.await;
    });
}

#[test]
fn dropping_the_events_lets_the_connection_go_on() {
    let (near, mut far) = tcp_pair();
    guard(async {
        let (transport, events, actor) = actor::open(near).unwrap();
        let task = smol::spawn(actor);
        let sent = blocking(move || {
            far.write_all(&pattern(5 << 20, 1)).unwrap();
            far
        });
        drop(events);
        let far = sent.await;
        transport.write(b"still here");
        transport.close();
        task.await;
        assert_eq!(crate::common::read_exact(far, 10), b"still here");
    });
}

#[test]
fn dropping_the_actor_ends_the_connection() {
    let (near, far) = unix_pair();
    guard(async {
        let (transport, events, actor) = actor::open(near).unwrap();
        drop(actor);
        assert_eq!(rest(events).await, [Call::Made, Call::Lost(None)]);
        transport.closed().await.unwrap();
        assert_eq!(transport.write(b"x"), Written::Closed);
    });
    assert_eq!(read_all(far), b"");
}

#[test]
fn the_handle_outlives_everything() {
    let (near, _far) = unix_pair();
    let (transport, events, actor) = actor::open(near).unwrap();
    drop(events);
    drop(actor);
    assert!(transport.is_closing() && transport.with_socket(|_| ()).is_none());
}

#[test]
fn an_event_can_own_its_bytes() {
    let bytes = b"abc".to_vec();
    let event = Event::DataReceived((&bytes[..]).into()).into_owned();
    drop(bytes);
    assert_eq!(call(event), Call::Data(b"abc".to_vec()));
}

#[test]
fn a_socket_that_is_no_stream_is_invalid_input() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    assert_eq!(actor::open(socket).unwrap_err().kind(), ErrorKind::InvalidInput);
}

//! Flow control on sockets: writing, the marks, drain, and pausing the reading.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures_lite::future;
use smol_transports::{Connection, Transport, WriteLimits, Written, connect_socket};

use crate::common::{Lcg, assert_same, blocking, guard, patient, pattern, read_all, read_exact, tcp_pair, unix_pair};
use crate::recorder::{Call, Log, Recorder};

/// Room for what the system takes beyond the high mark in one piece.
const SLACK: usize = 2 << 20;

async fn pair(recorder: Recorder) -> (Connection<Recorder>, TcpStream) {
    let (near, far) = tcp_pair();
    (connect_socket(recorder, near).await.unwrap(), far)
}

/// Writes until it is told to stop; how much that was.
fn fill(transport: &Transport) -> usize {
    let mut all = 0;
    while transport.write(vec![1; 10_000]) == Written::Queued {
        all += 10_000;
    }
    all + 10_000
}

#[test]
fn every_way_to_write_keeps_the_order() {
    let (got, expected) = guard(async {
        let (connection, far) = pair(Recorder::new(&Log::default())).await;
        let transport = connection.transport().clone();
        let mut expected = Vec::new();
        for round in 0..100 {
            let data = pattern(round * 300, round as u64);
            match round % 4 {
                0 => transport.write(&data),
                1 => transport.write_bytes(data.clone()),
                2 => transport.write_bytes(Bytes::copy_from_slice(&data)),
                _ => transport.write_vectored(data.chunks(100)),
            };
            expected.extend(data);
        }
        transport.close();
        (future::zip(blocking(|| read_all(far)), connection).await.0, expected)
    });
    assert_same(&got, &expected);
}

#[test]
fn empty_pieces_are_fine_and_drain_ends() {
    guard(async {
        let (connection, far) = pair(Recorder::new(&Log::default())).await;
        let transport = connection.transport().clone();
        let none: [&str; 0] = [];
        for pieces in [&["a", ""][..], &[""], &none, &["", "", "b", ""]] {
            assert_eq!(transport.write_vectored(pieces), Written::Queued);
            transport.drain().await.unwrap();
        }
        assert_eq!(transport.write(""), Written::Queued);
        assert_eq!(transport.write_bytes(Bytes::new()), Written::Queued);
        transport.drain().await.unwrap();
        assert_eq!(transport.write_buffer_size(), 0);
        transport.close();
        connection.await;
        assert_eq!(read_all(far), b"ab");
    });
}

#[test]
fn a_vectored_write_of_many_pieces_arrives_whole() {
    let pieces: Vec<Vec<u8>> = (0..5000).map(|at| pattern(at % 700, at as u64)).collect();
    let got = guard(async {
        let (connection, far) = pair(Recorder::new(&Log::default())).await;
        connection.transport().write_vectored(&pieces);
        connection.transport().close();
        future::zip(blocking(|| read_all(far)), connection).await.0
    });
    assert_same(&got, &pieces.concat());
}

#[test]
fn vectored_writes_are_paused_as_well() {
    let log = Log::default();
    guard(async {
        let (mut connection, far) = pair(Recorder::new(&log).alone()).await;
        let transport = connection.transport().clone();
        let piece = vec![7; 1 << 16];
        let mut answers = (0..1000).map(|_| transport.write_vectored([&piece, &piece]));
        assert!(answers.any(|answer| answer == Written::Full));
        connection.run_until(log.until_call(Call::Pause)).await;
        drop(far);
    });
}

#[test]
fn the_writers_buffer_may_change_after_the_write() {
    let got = guard(async {
        let (connection, far) = pair(Recorder::new(&Log::default())).await;
        let mut buffer = BytesMut::zeroed(100_000);
        for byte in 0..50 {
            buffer.fill(byte);
            connection.transport().write(&buffer);
        }
        buffer.fill(0xff);
        connection.transport().close();
        future::zip(blocking(|| read_all(far)), connection).await.0
    });
    assert!(got.chunks(100_000).enumerate().all(|(at, chunk)| chunk.iter().all(|byte| usize::from(*byte) == at)));
    assert_eq!(got.len(), 5_000_000);
}

#[test]
fn a_peer_that_does_not_read_is_bounded_by_the_pause() {
    const ALL: usize = 100 << 20;
    let log = Log::default();
    let most = Arc::new(Mutex::new(0));
    let left = Arc::new(Mutex::new(ALL));
    let pour = {
        let (most, left) = (most.clone(), left.clone());
        move |transport: &Transport| {
            let mut left = left.lock().unwrap();
            let chunk = vec![5; 1 << 16];
            while *left > 0 {
                *left -= chunk.len();
                if transport.write(&chunk) != Written::Queued {
                    break;
                }
            }
            let mut most = most.lock().unwrap();
            *most = transport.write_buffer_size().max(*most);
            if *left == 0 {
                transport.close();
            }
        }
    };
    let recorder = Recorder::new(&log).alone().on_made(pour.clone()).on_resume(pour);
    guard(async {
        let (mut connection, far) = pair(recorder).await;
        connection.run_until(log.until_call(Call::Pause)).await;
        assert!(*left.lock().unwrap() > ALL / 2, "the system has taken more than half of it");
        let count = blocking(move || std::io::copy(&mut &far, &mut std::io::sink()).unwrap());
        assert_eq!(future::zip(count, connection).await.0, ALL as u64);
    });
    let most = *most.lock().unwrap();
    assert!(most <= (64 << 10) + (1 << 16), "{most} bytes were buffered");
    assert_eq!(log.end(), None);
}

#[test]
fn a_pause_is_followed_by_a_resume_when_the_peer_reads() {
    let log = Log::default();
    guard(async {
        let (mut connection, far) = pair(Recorder::new(&log).alone()).await;
        let transport = connection.transport().clone();
        let all = fill(&transport);
        assert!(transport.is_writing_paused());
        assert_eq!(transport.write(b""), Written::Full);
        let read = blocking(move || read_exact(far, all).len());
        let got = connection.run_until(async {
            log.until_call(Call::Resume).await;
            assert!(!transport.is_writing_paused());
            read.await
        });
        assert_eq!(got.await, all);
    });
    assert_eq!(log.calls()[..3], [Call::Made, Call::Pause, Call::Resume]);
}

#[test]
fn drain_wakes_all_that_wait() {
    guard(async {
        let (connection, far) = pair(Recorder::new(&Log::default())).await;
        let transport = connection.transport().clone();
        let (_, running) = connection.spawn();
        let all = fill(&transport);
        let wait = |transport: Transport| async move { transport.drain().await };
        let waiters: Vec<_> = (0..50).map(|_| smol::spawn(wait(transport.clone()))).collect();
        let read = blocking(move || {
            let bytes = read_exact(&far, all);
            (far, bytes)
        });
        for waiter in waiters {
            waiter.await.unwrap();
        }
        drop(read.await);
        running.await;
    });
}

#[test]
fn drain_fails_for_all_when_the_connection_is_lost() {
    guard(async {
        let (connection, _far) = pair(Recorder::new(&Log::default())).await;
        let transport = connection.transport().clone();
        let (_, running) = connection.spawn();
        fill(&transport);
        let wait = |transport: Transport| async move { transport.drain().await };
        let waiters: Vec<_> = (0..10).map(|_| smol::spawn(wait(transport.clone()))).collect();
        transport.fail(ErrorKind::PermissionDenied.into());
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
        running.await;
    });
}

#[test]
fn drain_of_an_orderly_end_is_a_broken_pipe() {
    guard(async {
        let (connection, _far) = pair(Recorder::new(&Log::default())).await;
        let transport = connection.transport().clone();
        transport.drain().await.unwrap();
        transport.close();
        connection.await;
        assert_eq!(transport.drain().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_producer_that_drains_sends_everything_in_bounded_memory() {
    let data = pattern(30 << 20, 7);
    let expected = data.clone();
    guard(async {
        let (mut connection, far) = pair(Recorder::new(&Log::default())).await;
        let transport = connection.transport().clone();
        let read = blocking(|| read_all(far));
        let produce = async {
            for chunk in data.chunks(50_000) {
                transport.write(chunk);
                assert!(transport.write_buffer_size() <= (64 << 10) + 50_000);
                transport.drain().await.unwrap();
            }
            transport.close();
        };
        connection.run_until(produce).await;
        assert_same(&future::zip(read, connection).await.0, &expected);
    });
}

#[test]
fn limits_are_what_was_set() {
    let (near, _far) = unix_pair();
    let limits = WriteLimits::new(3, 5).unwrap();
    guard(async {
        let connect = connect_socket(Recorder::new(&Log::default()), near).write_limits(limits);
        let connection = connect.await.unwrap();
        let transport = connection.transport();
        assert_eq!(transport.write_buffer_limits(), limits);
        transport.set_write_buffer_limits(WriteLimits::default());
        assert_eq!(transport.write_buffer_limits(), WriteLimits::default());
    });
}

#[test]
fn a_buffer_over_the_new_high_mark_pauses_at_once() {
    let log = Log::default();
    guard(async {
        let limits = WriteLimits::new(0, usize::MAX).unwrap();
        let (near, _far) = tcp_pair();
        let connect = connect_socket(Recorder::new(&log).alone(), near).write_limits(limits);
        let mut connection = connect.await.unwrap();
        let transport = connection.transport().clone();
        while transport.write_buffer_size() < SLACK {
            assert_eq!(transport.write(vec![0; SLACK]), Written::Queued);
        }
        transport.set_write_buffer_limits(WriteLimits::high(SLACK - 1));
        assert!(transport.is_writing_paused());
        connection.run_until(future::yield_now()).await;
        assert_eq!(log.calls(), [Call::Made, Call::Pause]);
        transport.abort();
        connection.await;
    });
}

#[test]
fn a_peer_that_floods_a_paused_transport_is_stopped() {
    let log = Log::default();
    guard(async {
        let recorder = Recorder::new(&log).alone().on_made(Transport::pause_reading);
        let (mut connection, mut far) = pair(recorder).await;
        far.set_nonblocking(true).unwrap();
        let flood = async {
            let mut all = 0;
            for _ in 0..1000 {
                all += far.write(&[9; 1 << 16]).unwrap_or(0);
                future::yield_now().await;
            }
            all
        };
        let all = connection.run_until(flood).await;
        assert!(all < 60 << 20, "{all} bytes went into a connection that nobody reads");
        assert_eq!(log.calls(), [Call::Made]);
        connection.transport().resume_reading();
        drop(far);
        connection.await;
        assert_eq!(log.data().len(), all);
    });
}

#[test]
fn pausing_twice_and_resuming_twice_is_pausing_and_resuming() {
    let log = Log::default();
    guard(async {
        let (mut connection, mut far) = pair(Recorder::new(&log).alone()).await;
        let transport = connection.transport().clone();
        transport.resume_reading();
        transport.pause_reading();
        transport.pause_reading();
        assert!(!transport.is_reading());
        far.write_all(b"x").unwrap();
        transport.resume_reading();
        transport.resume_reading();
        assert!(transport.is_reading());
        connection.run_until(log.until_call(Call::Data(b"x".to_vec()))).await;
        transport.close();
        transport.resume_reading();
        assert!(!transport.is_reading());
        connection.await;
    });
}

#[test]
fn pausing_in_every_data_received_and_resuming_from_a_task_loses_nothing() {
    let log = Log::default();
    let data = pattern(5 << 20, 2);
    let (tell, told) = async_channel::unbounded();
    let recorder = Recorder::new(&log).on_data(move |transport, _| {
        transport.pause_reading();
        tell.try_send(transport.clone()).unwrap();
    });
    guard(async {
        let (connection, mut far) = pair(recorder).await;
        let sent = data.clone();
        let write = blocking(move || far.write_all(&sent));
        let resume = smol::spawn(async move {
            while let Ok(transport) = told.recv().await {
                transport.resume_reading();
            }
        });
        future::zip(write, connection).await.0.unwrap();
        resume.await;
    });
    assert_same(&log.data(), &data);
    assert_eq!(log.end(), None);
}

/// A peer that writes and reads pieces of odd sizes at its own pace.
fn odd_peer(far: TcpStream, data: Vec<u8>, seed: u64) -> Vec<u8> {
    let mut writer = far.try_clone().unwrap();
    let sent = data.clone();
    let writing = std::thread::spawn(move || {
        let (mut numbers, mut rest) = (Lcg::new(seed), &sent[..]);
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(1 + numbers.below(40_000)));
            writer.write_all(piece).unwrap();
            rest = later;
        }
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let (mut numbers, mut got, mut piece) = (Lcg::new(seed + 1), Vec::new(), vec![0; 50_000]);
    loop {
        let room = 1 + numbers.below(50_000);
        match (&far).read(&mut piece[..room]).unwrap() {
            0 => break,
            count => got.extend_from_slice(&piece[..count]),
        }
    }
    writing.join().unwrap();
    got
}

#[test]
fn an_echo_of_odd_pieces_with_flow_control_is_exact() {
    for seed in 0..4 {
        let log = Log::default();
        let recorder = Recorder::echo(&log).on_pause(Transport::pause_reading).on_resume(Transport::resume_reading);
        let data = pattern(4 << 20, seed);
        let sent = data.clone();
        let got = guard(async {
            let (near, far) = tcp_pair();
            socket2::SockRef::from(&near).set_send_buffer_size(10_000).unwrap();
            let connection = connect_socket(recorder, near).await.unwrap();
            future::zip(blocking(move || odd_peer(far, sent, seed)), connection).await.0
        });
        assert_same(&got, &data);
        assert_eq!(log.end(), None);
    }
}

#[test]
fn writers_on_many_threads_each_keep_their_order() {
    const WRITERS: usize = 8;
    const LINES: usize = 2000;
    let got = guard(async {
        let (connection, far) = pair(Recorder::new(&Log::default())).await;
        let transport = connection.transport().clone();
        let (_, running) = connection.spawn();
        let read = blocking(move || read_exact(&far, WRITERS * LINES * 8));
        let write = |id: usize| {
            let transport = transport.clone();
            move || {
                for line in 0..LINES {
                    transport.write(format!("{id}:{line:05}\n"));
                }
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|id| std::thread::spawn(write(id))).collect();
        let got = patient(read).await;
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        transport.abort();
        running.await;
        String::from_utf8(got).unwrap()
    });
    for id in 0..WRITERS {
        let mine = got.lines().filter_map(|line| line.strip_prefix(&format!("{id}:")));
        assert!(mine.map(|line| line.parse::<usize>().unwrap()).eq(0..LINES));
    }
}

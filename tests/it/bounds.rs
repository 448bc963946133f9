//! Limits of a connection: bytes that wait, and times without progress.

use std::io::{ErrorKind, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use smol_transports::testing::{Clock, Memory, Peer, poll};
use smol_transports::{
    ConnectSocket, Connection, Written, connect_socket, connect_stream, create_connection, create_server,
    create_unix_connection, create_unix_server,
};

use crate::common::{ANY, blocking, client, guard, read_all, read_exact, tcp_pair};
use crate::recorder::{Call, Log, Recorder};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(30);
/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(1000);

/// A connection in memory with a clock of its own.
struct Stage {
    log: Log,
    clock: Clock,
    connection: Connection<Recorder>,
    peer: Peer,
}

impl Stage {
    fn new(limit: impl FnOnce(Memory<Recorder>) -> Memory<Recorder>) -> Self {
        let (log, clock) = (Log::default(), Clock::new());
        let memory = limit(Memory::new(Recorder::new(&log).alone()).clock(&clock));
        let (mut connection, peer) = memory.connect();
        assert!(poll(&mut connection).is_pending());
        Self { log, clock, connection, peer }
    }

    /// Lets time pass, and the connection do what it can.
    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        assert!(poll(&mut self.connection).is_pending(), "it is over already: {:?}", self.log.end());
    }

    /// The same at the end.
    fn pass_limit(mut self, time: Duration) -> Log {
        self.clock.advance(time);
        assert!(poll(&mut self.connection).is_ready(), "it lives on");
        self.log
    }
}

#[test]
fn an_idle_connection_ends_and_a_busy_one_does_not() {
    let mut stage = Stage::new(|memory| memory.idle_timeout(10 * SECOND));
    for _ in 0..5 {
        stage.pass(9 * SECOND);
        stage.peer.feed(b"in");
        assert!(poll(&mut stage.connection).is_pending());
        stage.pass(9 * SECOND);
        stage.connection.transport().write("out");
    }
    stage.pass(10 * SECOND - Duration::from_nanos(1));
    let log = stage.pass_limit(Duration::from_nanos(1));
    assert_eq!(log.end(), Some(ErrorKind::TimedOut));
}

#[test]
fn a_timer_that_goes_off_too_early_is_set_anew() {
    let mut stage = Stage::new(|memory| memory.idle_timeout(10 * SECOND));
    stage.pass(6 * SECOND);
    stage.connection.transport().write("out");
    // The timer of the beginning goes off, and is set anew.
    stage.pass(4 * SECOND);
    stage.pass(5 * SECOND);
    assert_eq!(stage.pass_limit(SECOND).end(), Some(ErrorKind::TimedOut));
}

#[test]
fn a_peer_that_sends_nothing_is_left() {
    let mut stage = Stage::new(|memory| memory.read_timeout(10 * SECOND));
    stage.pass(9 * SECOND);
    stage.connection.transport().write("what is sent does not count");
    assert_eq!(stage.pass_limit(SECOND).end(), Some(ErrorKind::TimedOut));
}

#[test]
fn nobody_waits_for_a_peer_that_is_not_read() {
    let mut stage = Stage::new(|memory| memory.read_timeout(10 * SECOND));
    let transport = stage.connection.transport().clone();
    transport.pause_reading();
    stage.pass(LONG);
    transport.resume_reading();
    assert!(poll(&mut stage.connection).is_pending());
    stage.pass(9 * SECOND);
    assert_eq!(stage.pass_limit(SECOND).end(), Some(ErrorKind::TimedOut));
}

#[test]
fn nobody_waits_for_a_peer_that_has_finished() {
    let (log, clock) = (Log::default(), Clock::new());
    let recorder = Recorder::new(&log).keeping_open();
    let (mut connection, peer) = Memory::new(recorder).clock(&clock).read_timeout(SECOND).connect();
    peer.feed_eof();
    assert!(poll(&mut connection).is_pending());
    clock.advance(LONG);
    assert!(poll(&mut connection).is_pending());
}

#[test]
fn a_peer_that_takes_nothing_is_left() {
    let mut stage = Stage::new(|memory| memory.write_timeout(10 * SECOND).room(4));
    stage.pass(LONG);
    let transport = stage.connection.transport().clone();
    transport.write("0123456789");
    assert!(poll(&mut stage.connection).is_pending());
    stage.pass(9 * SECOND);
    // It takes a little, and waiting begins anew.
    stage.peer.set_room(3);
    assert!(poll(&mut stage.connection).is_pending());
    stage.pass(9 * SECOND);
    assert_eq!(stage.pass_limit(SECOND).end(), Some(ErrorKind::TimedOut));
}

#[test]
fn a_buffer_that_is_empty_again_is_no_stall() {
    let mut stage = Stage::new(|memory| memory.write_timeout(10 * SECOND).room(0));
    stage.connection.transport().write("bytes");
    assert!(poll(&mut stage.connection).is_pending());
    stage.pass(9 * SECOND);
    stage.peer.set_room(100);
    assert!(poll(&mut stage.connection).is_pending());
    assert_eq!(stage.peer.take_written(), b"bytes");
    stage.pass(LONG);
}

#[test]
fn a_stall_ends_the_flush_of_a_close() {
    let mut stage = Stage::new(|memory| memory.write_timeout(10 * SECOND).room(0));
    stage.connection.transport().write("bytes");
    stage.connection.transport().close();
    assert!(poll(&mut stage.connection).is_pending());
    stage.pass(9 * SECOND);
    assert_eq!(stage.pass_limit(SECOND).end(), Some(ErrorKind::TimedOut));
}

#[test]
fn the_limit_that_passes_first_counts() {
    let limits = |memory: Memory<Recorder>| {
        memory.idle_timeout(5 * SECOND).read_timeout(3 * SECOND).write_timeout(4 * SECOND).close_timeout(SECOND)
    };
    let mut stage = Stage::new(limits);
    stage.pass(2 * SECOND);
    assert_eq!(stage.pass_limit(SECOND).end(), Some(ErrorKind::TimedOut));

    let mut stage = Stage::new(|memory| limits(memory).room(0));
    stage.connection.transport().write("bytes");
    stage.connection.transport().close();
    assert!(poll(&mut stage.connection).is_pending());
    assert_eq!(stage.pass_limit(SECOND).end(), Some(ErrorKind::TimedOut));
}

#[test]
fn a_limit_beyond_all_time_is_none() {
    let mut stage = Stage::new(|memory| memory.idle_timeout(Duration::MAX).read_timeout(Duration::MAX));
    stage.pass(LONG);
}

#[test]
fn the_error_names_the_limit() {
    let mut stage = Stage::new(|memory| memory.read_timeout(3 * SECOND));
    let transport = stage.connection.transport().clone();
    stage.clock.advance(3 * SECOND);
    assert!(poll(&mut stage.connection).is_ready());
    let err = smol::block_on(transport.closed()).unwrap_err();
    assert_eq!(err.to_string(), "nothing was received for 3s");
}

#[test]
fn a_buffer_over_its_limit_ends_the_connection() {
    let mut stage = Stage::new(|memory| memory.max_write_buffer(100_000).room(10));
    let transport = stage.connection.transport().clone();
    // What was taken does not count.
    assert_eq!(transport.write(vec![0; 100_010]), Written::Full);
    assert_eq!(transport.write_buffer_size(), 100_000);
    assert_eq!(transport.write([0]), Written::Closed);
    assert_eq!(transport.write_buffer_size(), 0);
    assert!(poll(&mut stage.connection).is_ready());
    assert_eq!(stage.log.end(), Some(ErrorKind::QuotaExceeded));
    let err = smol::block_on(transport.closed()).unwrap_err();
    assert_eq!(err.to_string(), "100001 bytes wait to be sent, more than the limit of 100000");
    assert_eq!(stage.log.calls()[1..2], [Call::Pause]);
}

#[test]
fn what_the_system_takes_is_never_over_the_limit() {
    let log = Log::default();
    let recorder = Recorder::new(&log).on_data(|transport, _| {
        for _ in 0..100 {
            assert_eq!(transport.write([0; 1000]), Written::Queued);
        }
    });
    let (mut connection, peer) = Memory::new(recorder.alone()).max_write_buffer(2000).connect();
    peer.feed(b"go");
    assert!(poll(&mut connection).is_pending());
    assert_eq!(peer.take_written().len(), 100_000);
}

// Over the system.

#[test]
fn a_silent_client_of_each_builder_is_left() {
    guard(async {
        let logs = [(); 4].map(|()| Log::default());
        let path = tempfile::tempdir().unwrap();
        let path = path.path().join("socket");
        let server = create_server(|| Recorder::new(&Log::default()), ANY).idle_timeout(LONG).await.unwrap();
        let unix = create_unix_server(|| Recorder::new(&Log::default()), &path).idle_timeout(LONG).await.unwrap();
        let address = server.local_addr().unwrap();
        let (_server, _unix) = (server.spawn(), unix.spawn());

        let tcp = create_connection(Recorder::new(&logs[0]), address).idle_timeout(SHORT).await.unwrap();
        let unix = create_unix_connection(Recorder::new(&logs[1]), &path).read_timeout(SHORT).await.unwrap();
        let (near, _far) = tcp_pair();
        let socket = connect_socket(Recorder::new(&logs[2]), near).idle_timeout(SHORT).await.unwrap();
        let (near, _other) = tcp_pair();
        let near = smol::Async::new(near).unwrap();
        let stream = connect_stream(Recorder::new(&logs[3]), near).read_timeout(SHORT).await.unwrap();
        // Awaited here, and on a driver.
        tcp.await;
        socket.spawn().1.await;
        unix.spawn().1.await;
        stream.await;
        for (index, log) in logs.iter().enumerate() {
            assert_eq!(log.end(), Some(ErrorKind::TimedOut), "{index}");
        }
    });
}

#[test]
fn a_server_leaves_clients_that_do_not_read() {
    guard(async {
        let log = Log::default();
        let factory = {
            let log = log.clone();
            move || Recorder::echo(&log)
        };
        let server = create_server(factory, ANY).write_timeout(SHORT).await.unwrap();
        let address = server.local_addr().unwrap();
        let (handle, serving) = server.spawn();
        let flood = blocking(move || {
            let mut client = client(address);
            while client.write_all(&[0; 65536]).is_ok() {}
        });
        flood.await;
        handle.close();
        serving.await.unwrap();
        assert_eq!(log.end(), Some(ErrorKind::TimedOut));
    });
}

/// A file is sent beside the buffer: it is a stall all the same if nobody takes it.
#[test]
fn a_client_that_does_not_take_a_file_is_left() {
    guard(async {
        let limited = [ConnectSocket::idle_timeout, ConnectSocket::write_timeout];
        for (index, limit) in limited.into_iter().enumerate() {
            let log = Log::default();
            let (near, _far) = tcp_pair();
            let connection = limit(connect_socket(Recorder::new(&log), near), SHORT).await.unwrap();
            let file = tempfile::tempfile().unwrap();
            file.set_len(1 << 30).unwrap();
            let sending = connection.transport().sendfile(file, ..);
            connection.spawn().1.await;
            assert_eq!(log.end(), Some(ErrorKind::TimedOut), "{index}");
            assert_eq!(sending.await.unwrap_err().kind(), ErrorKind::TimedOut, "{index}");
        }
    });
}

/// A callback that takes long is not the fault of a peer that has read all in that time.
#[test]
fn who_takes_all_while_a_callback_blocks_is_not_left() {
    guard(async {
        let log = Log::default();
        let (near, mut far) = tcp_pair();
        let ((fill, filled), (empty, emptied)) = (mpsc::channel(), mpsc::channel());
        let recorder = Recorder::new(&log).on_data(move |transport, _| {
            let mut written = 0;
            let mut more = true;
            while more {
                more = transport.write([0; 65536]) == Written::Queued;
                written += 65536;
            }
            let start = Instant::now();
            fill.send(written - transport.write_buffer_size()).unwrap();
            emptied.recv().unwrap();
            thread::sleep((2 * SHORT).saturating_sub(start.elapsed()));
            transport.close();
        });
        let connection = connect_socket(recorder, near).write_timeout(SHORT).await.unwrap();
        let (_, running) = connection.spawn();
        let reading = blocking(move || {
            far.write_all(b"go").unwrap();
            read_exact(&far, filled.recv().unwrap());
            empty.send(()).unwrap();
            read_all(far)
        });
        reading.await;
        running.await;
        assert_eq!(log.end(), None);
    });
}

#[test]
fn a_server_ends_clients_whose_answers_pile_up() {
    guard(async {
        let log = Log::default();
        let factory = {
            let log = log.clone();
            // It heeds no pause.
            move || {
                Recorder::new(&log).on_data(|transport, data| {
                    transport.write(data);
                })
            }
        };
        let server = create_server(factory, ANY).max_write_buffer(1_000_000).await.unwrap();
        let address = server.local_addr().unwrap();
        let (handle, serving) = server.spawn();
        blocking(move || {
            let mut client = client(address);
            while client.write_all(&[0; 65536]).is_ok() {}
        })
        .await;
        handle.close();
        serving.await.unwrap();
        assert_eq!(log.end(), Some(ErrorKind::QuotaExceeded));
    });
}

#[test]
fn a_busy_client_is_not_left() {
    guard(async {
        let log = Log::default();
        let (near, mut far) = tcp_pair();
        let connection = connect_socket(Recorder::echo(&log), near);
        let connection = connection.idle_timeout(LONG).read_timeout(LONG).write_timeout(LONG).await.unwrap();
        let (_, running) = connection.spawn();
        blocking(move || {
            for _ in 0..100 {
                far.write_all(&[7; 10_000]).unwrap();
                assert_eq!(read_exact(&far, 10_000), [7; 10_000]);
            }
            far.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(read_all(far), b"");
        })
        .await;
        running.await;
        assert_eq!(log.end(), None);
    });
}

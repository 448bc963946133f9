//! close, abort and write_eof: what is still sent, what is still received, and when the loss is told.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::Duration;

use smol_transports::{Closed, Command, Misuse, Transport, WriteLimits, Written, connect_socket};

use crate::common::{assert_same, blocking, guard, pattern, read_all, read_exact, reset_on_close, tcp_pair, unix_pair};
use crate::recorder::{Call, Log, Recorder};

#[test]
fn close_with_nothing_to_send_is_not_told_inside_of_the_call() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        connection.transport().close();
        assert!(connection.transport().is_closing() && !connection.transport().is_reading());
        assert_eq!(log.calls(), [Call::Made]);
        connection.await;
    });
    assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
    assert_eq!(read_all(far), b"");
}

#[test]
fn close_inside_of_a_callback_lets_the_callback_finish() {
    let (near, mut far) = tcp_pair();
    let log = Log::default();
    let seen = log.clone();
    let recorder = Recorder::new(&log).alone().on_data(move |transport, _| {
        transport.close();
        assert!(transport.is_closing());
        assert!(!matches!(seen.calls().last(), Some(Call::Lost(_))));
    });
    guard(async {
        let connection = connect_socket(recorder, near).await.unwrap();
        far.write_all(b"x").unwrap();
        connection.await;
    });
    assert_eq!(log.calls(), [Call::Made, Call::Data(b"x".to_vec()), Call::Lost(None)]);
}

#[test]
fn close_in_connection_made_still_gives_a_connection() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    let recorder = Recorder::new(&log).on_made(|transport| {
        transport.write(b"busy");
        transport.close();
    });
    guard(async {
        let connection = connect_socket(recorder, near).await.unwrap();
        assert!(connection.transport().is_closing());
        connection.await;
    });
    assert_eq!(read_all(far), b"busy");
    assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
}

#[test]
fn abort_in_connection_made_still_gives_a_connection() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    guard(async { connect_socket(Recorder::new(&log).on_made(Transport::abort), near).await.unwrap().await });
    assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
    assert_eq!(read_all(far), b"");
}

#[test]
fn no_byte_of_the_tail_is_lost_on_close() {
    for len in [1, 100_000, 1 << 20, 20 << 20] {
        let (near, far) = tcp_pair();
        let log = Log::default();
        let data = pattern(len, 3);
        let got = guard(async {
            let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
            connection.transport().write(&data);
            connection.transport().close();
            futures_lite::future::zip(blocking(|| read_all(far)), connection).await.0
        });
        assert_same(&got, &data);
        assert_eq!(log.end(), None);
    }
}

#[test]
fn no_byte_of_the_tail_is_lost_to_a_slow_reader() {
    let (near, mut far) = unix_pair();
    let log = Log::default();
    let data = pattern(2 << 20, 4);
    let read = move || {
        let (mut all, mut piece) = (Vec::new(), [0; 1000]);
        loop {
            match far.read(&mut piece).unwrap() {
                0 => return all,
                count => all.extend_from_slice(&piece[..count]),
            }
        }
    };
    let got = guard(async {
        let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        for chunk in data.chunks(1 << 16) {
            connection.transport().write(chunk);
        }
        connection.transport().close();
        futures_lite::future::zip(blocking(read), connection).await.0
    });
    assert_same(&got, &data);
}

/// Fills the sockets until something waits, and closes. It is more than what some systems take a little later.
fn close_with_a_full_buffer(transport: &Transport) -> Vec<u8> {
    let mut all = Vec::new();
    while transport.write_buffer_size() < 4 << 20 {
        let chunk = pattern(1 << 18, all.len() as u64);
        transport.write(&chunk);
        all.extend(chunk);
    }
    transport.close();
    all
}

#[test]
fn what_is_written_while_closing_is_still_sent() {
    let (near, far) = tcp_pair();
    let (got, expected) = guard(async {
        let connection = connect_socket(Recorder::new(&Log::default()), near).await.unwrap();
        let mut all = close_with_a_full_buffer(connection.transport());
        assert!(connection.transport().is_closing());
        assert!(connection.transport().write(b"the rest").ok().is_ok());
        all.extend(b"the rest");
        (futures_lite::future::zip(blocking(|| read_all(far)), connection).await.0, all)
    });
    assert_same(&got, &expected);
}

#[test]
fn abort_while_closing_drops_the_rest_and_is_orderly() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    let (transport, all) = guard(async {
        let connection = connect_socket(Recorder::new(&log), near).await.unwrap();
        let transport = connection.transport().clone();
        let all = close_with_a_full_buffer(&transport);
        transport.abort();
        assert_eq!(transport.write_buffer_size(), 0);
        connection.await;
        (transport, all)
    });
    assert_eq!(log.end(), None);
    let got = read_all(far);
    assert!(got.len() < all.len() && all.starts_with(&got), "what the system had taken is delivered");
    assert_eq!(transport.write(b"x"), Written::Closed);
}

#[test]
fn close_and_abort_in_any_order_lose_once() {
    let ends: [fn(&Transport); 3] = [Transport::close, Transport::abort, |transport| drop(transport.write_eof())];
    for first in ends {
        for second in ends {
            let (near, far) = tcp_pair();
            let log = Log::default();
            guard(async {
                let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
                first(connection.transport());
                second(connection.transport());
                drop(far);
                connection.await;
            });
            assert_eq!(log.end(), None);
        }
    }
}

#[test]
fn data_that_arrives_after_close_is_not_delivered() {
    let (near, mut far) = unix_pair();
    let log = Log::default();
    guard(async {
        let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        close_with_a_full_buffer(connection.transport());
        far.write_all(b"too late").unwrap();
        let read = blocking(move || {
            let mut all = Vec::new();
            let _ = far.read_to_end(&mut all);
        });
        futures_lite::future::zip(read, connection).await;
    });
    assert_eq!(log.without_marks(), [Call::Made, Call::Lost(None)]);
}

#[test]
fn write_eof_closes_the_writing_side_alone() {
    let (near, mut far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        let transport = connection.transport().clone();
        assert!(transport.can_write_eof());
        transport.write(b"question");
        transport.write_eof().unwrap();
        transport.write_eof().unwrap();
        assert!(!transport.is_closing());
        let peer = blocking(move || {
            let question = read_all(&far);
            far.write_all(b"answer").unwrap();
            question
        });
        assert_eq!(futures_lite::future::zip(peer, connection).await.0, b"question");
    });
    assert_eq!(log.calls(), [Call::Made, Call::Data(b"answer".to_vec()), Call::Eof, Call::Lost(None)]);
}

#[test]
fn write_eof_waits_for_the_bytes_before_it() {
    let (near, far) = tcp_pair();
    let data = pattern(8 << 20, 9);
    let got = guard(async {
        let connection = connect_socket(Recorder::new(&Log::default()), near).await.unwrap();
        connection.transport().write(&data);
        connection.transport().write_eof().unwrap();
        futures_lite::future::zip(blocking(|| read_all(far)), connection).await.0
    });
    assert_same(&got, &data);
}

#[test]
fn a_write_after_write_eof_is_refused_even_if_it_is_empty() {
    let (near, far) = tcp_pair();
    let refused = Written::Refused(Misuse::WriteAfterEof);
    guard(async {
        let connection = connect_socket(Recorder::new(&Log::default()), near).await.unwrap();
        let transport = connection.transport().clone();
        transport.write_eof().unwrap();
        assert_eq!(transport.write(b""), refused);
        assert_eq!(transport.write_bytes(&b"x"[..]), refused);
        assert_eq!(transport.write_vectored(["x"]), refused);
        assert_eq!(refused.ok().unwrap_err().kind(), ErrorKind::InvalidInput);
        drop(far);
        connection.await;
        assert_eq!(transport.write(b"x"), refused, "also after the loss");
    });
}

#[test]
fn write_eof_after_close_does_nothing() {
    let (near, far) = tcp_pair();
    guard(async {
        let connection = connect_socket(Recorder::new(&Log::default()), near).await.unwrap();
        connection.transport().close();
        connection.transport().write_eof().unwrap();
        assert_eq!(connection.transport().write(b"x"), Written::Closed);
        connection.await;
    });
    assert_eq!(read_all(far), b"");
}

#[test]
fn half_closes_from_both_sides_exchange_everything() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    let (ours, theirs) = (pattern(3 << 20, 1), pattern(5 << 20, 2));
    let (sent, mut writer) = (theirs.clone(), far.try_clone().unwrap());
    let got = guard(async {
        let recorder = Recorder::new(&log).keeping_open().alone();
        let connection = connect_socket(recorder, near).await.unwrap();
        let transport = connection.transport().clone();
        transport.write(&ours);
        transport.write_eof().unwrap();
        let (_, running) = connection.spawn();
        let write = blocking(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let got = futures_lite::future::zip(write, blocking(move || read_all(&far))).await.1;
        log.until_call(Call::Eof).await;
        transport.close();
        running.await;
        got
    });
    assert_same(&got, &ours);
    assert_same(&log.data(), &theirs);
    assert_eq!(log.end(), None);
}

#[test]
fn the_peers_end_of_file_is_found_behind_a_full_buffer_after_a_pause_of_reading() {
    let (near, mut far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let mut connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        let transport = connection.transport().clone();
        transport.pause_reading();
        let mut all = 0;
        while transport.write_buffer_size() == 0 {
            transport.write(vec![0; 1 << 18]);
            all += 1 << 18;
        }
        far.write_all(b"last").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        let (ready, wait) = async_channel::bounded::<()>(1);
        let read = blocking(move || {
            let _ = wait.recv_blocking();
            read_all(far).len()
        });
        connection.run_until(futures_lite::future::yield_now()).await;
        assert_eq!(log.without_marks(), [Call::Made]);
        transport.resume_reading();
        drop(ready);
        assert_eq!(futures_lite::future::zip(read, connection).await.0, all);
    });
    let end = [Call::Made, Call::Data(b"last".to_vec()), Call::Eof, Call::Lost(None)];
    assert_eq!(log.without_marks(), end);
}

#[test]
fn a_peer_that_does_not_read_is_given_up_after_the_close_timeout() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let limit = Duration::from_millis(50);
        let connection = connect_socket(Recorder::new(&log), near).close_timeout(limit).await.unwrap();
        close_with_a_full_buffer(connection.transport());
        connection.await;
    });
    assert_eq!(log.end(), Some(ErrorKind::TimedOut));
    drop(far);
}

#[test]
fn a_flush_that_fails_after_close_tells_the_cause() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let connection = connect_socket(Recorder::new(&log), near).await.unwrap();
        close_with_a_full_buffer(connection.transport());
        reset_on_close(&far);
        drop(far);
        connection.await;
    });
    let end = log.end();
    assert!(matches!(end, Some(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)), "{end:?}");
}

#[test]
fn the_peer_sees_the_end_after_connection_lost_has_returned() {
    let (near, far) = tcp_pair();
    let (tell, told) = mpsc::channel();
    let peer = std::thread::spawn(move || {
        read_all(far);
        told.try_recv().is_ok()
    });
    let recorder = Recorder::new(&Log::default()).on_lost(move || tell.send(()).unwrap());
    guard(async {
        let connection = connect_socket(recorder, near).await.unwrap();
        connection.transport().close();
        connection.await;
    });
    assert!(peer.join().unwrap(), "the descriptor was closed before the callback");
}

#[test]
fn a_handle_does_not_keep_the_descriptor() {
    let (near, far) = tcp_pair();
    let handles = guard(async {
        let connection = connect_socket(Recorder::new(&Log::default()), near).await.unwrap();
        let handles = vec![connection.transport().clone(); 3];
        connection.transport().abort();
        connection.await;
        handles
    });
    assert_eq!(read_all(far), b"");
    assert!(handles.iter().all(Transport::is_closing));
}

#[test]
fn commands_do_what_the_methods_do() {
    let (near, mut far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let mut connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        let transport = connection.transport().clone();
        transport.send(Command::Write("one".into())).unwrap();
        assert_eq!(read_exact(&far, 3), b"one");
        transport.send(Command::SetWriteBufferLimits(WriteLimits::high(40))).unwrap();
        assert_eq!(transport.write_buffer_limits(), WriteLimits::new(10, 40).unwrap());
        transport.send(Command::PauseReading).unwrap();
        assert!(!transport.is_reading());
        far.write_all(b"two").unwrap();
        transport.send(Command::ResumeReading).unwrap();
        connection.run_until(log.until(|log| log.data() == b"two")).await;
        transport.send(Command::WriteEof).unwrap();
        assert_eq!(read_all(&far), b"");
        transport.send(Command::Close).unwrap();
        connection.await;
        let Err(Closed(Command::Write(data))) = transport.send(Command::Write("late".into())) else {
            panic!("the command comes back");
        };
        assert_eq!(data, "late");
    });
    assert_eq!(log.end(), None);
}

#[test]
fn abort_and_fail_are_commands_too() {
    for (command, end) in [(Command::Abort, None), (Command::Fail(ErrorKind::Other.into()), Some(ErrorKind::Other))] {
        let (near, _far) = tcp_pair();
        let log = Log::default();
        guard(async {
            let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
            connection.transport().send(command).unwrap();
            let refused = connection.transport().send(Command::Close);
            assert!(matches!(refused, Err(Closed(Command::Close))));
            connection.await;
        });
        assert_eq!(log.end(), end);
    }
}

#[test]
fn closed_tells_every_waiter() {
    let (near, far) = tcp_pair();
    guard(async {
        let connection = connect_socket(Recorder::new(&Log::default()), near).await.unwrap();
        let transport = connection.transport().clone();
        let waiters: Vec<_> = (0..20)
            .map(|_| {
                let transport = transport.clone();
                smol::spawn(async move { transport.closed().await })
            })
            .collect();
        let (_, running) = connection.spawn();
        drop(far);
        for waiter in waiters {
            waiter.await.unwrap();
        }
        running.await;
    });
}

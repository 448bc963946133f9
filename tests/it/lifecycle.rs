//! The order of the callbacks on sockets, and how each way to end is told.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;

use smol_transports::{Buffered, OnEof, Transport, connect_accepted_socket, connect_socket};

use crate::common::{
    assert_same, blocking, client, connected, guard, pattern, read_all, reset_on_close, tcp_pair, unix_pair,
};
use crate::recorder::{BufferedRecorder, Call, Log, Recorder};

#[test]
fn connection_made_comes_before_the_builder_resolves() {
    let (near, _far) = tcp_pair();
    let log = Log::default();
    let connection = connected(Recorder::new(&log), near);
    assert_eq!(log.calls(), [Call::Made]);
    drop(connection);
}

#[test]
fn data_then_end_of_file_then_the_loss() {
    let (near, mut far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        far.write_all(b"hello").unwrap();
        drop(far);
        connection.await;
    });
    assert_eq!(log.calls(), [Call::Made, Call::Data(b"hello".to_vec()), Call::Eof, Call::Lost(None)]);
}

#[test]
fn an_accepted_socket_behaves_the_same() {
    let (near, mut far) = unix_pair();
    let log = Log::default();
    guard(async {
        let connection = connect_accepted_socket(Recorder::new(&log).alone(), near).await.unwrap();
        far.write_all(b"hello").unwrap();
        drop(far);
        connection.await;
    });
    assert_eq!(log.calls(), [Call::Made, Call::Data(b"hello".to_vec()), Call::Eof, Call::Lost(None)]);
}

#[test]
fn a_buffered_protocol_lives_the_same_life() {
    for size in [1, 10, 100_000] {
        let (near, mut far) = tcp_pair();
        let log = Log::default();
        let data = pattern(2000, 1);
        guard(async {
            let recorder = BufferedRecorder::new(Recorder::new(&log).alone(), size);
            let connection = connect_socket(Buffered(recorder), near).await.unwrap();
            far.write_all(&data).unwrap();
            drop(far);
            connection.await;
        });
        assert_eq!(log.calls(), [Call::Made, Call::Data(data), Call::Eof, Call::Lost(None)]);
    }
}

#[test]
fn the_end_of_file_comes_after_all_data() {
    for seed in 0..10 {
        let (near, mut far) = tcp_pair();
        let log = Log::default();
        let data = pattern(700_000 + seed as usize, seed);
        guard(async {
            let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
            let sent = data.clone();
            let peer = blocking(move || far.write_all(&sent));
            futures_lite::future::zip(peer, connection).await.0.unwrap();
        });
        assert_same(&log.data(), &data);
        assert_eq!(log.calls().len(), 4, "made, data, eof, lost");
    }
}

#[test]
fn an_answer_written_in_eof_received_is_sent_before_the_close() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    let recorder = Recorder::new(&log).alone().on_eof(|transport| {
        transport.write(b"goodbye");
        OnEof::Close
    });
    guard(async {
        let connection = connect_socket(recorder, near).await.unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        connection.await;
    });
    assert_eq!(read_all(far), b"goodbye");
}

#[test]
fn keeping_open_after_the_end_of_file_leaves_the_writing_side() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let mut connection = connect_socket(Recorder::new(&log).keeping_open().alone(), near).await.unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        connection.run_until(log.until_call(Call::Eof)).await;
        let transport = connection.transport().clone();
        assert!(!transport.is_closing() && transport.is_reading());
        transport.write(b"still here");
        transport.close();
        connection.await;
    });
    assert_eq!(read_all(far), b"still here");
    assert_eq!(log.calls(), [Call::Made, Call::Eof, Call::Lost(None)]);
}

#[test]
fn the_peers_reset_is_told_without_an_end_of_file() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        reset_on_close(&far);
        drop(far);
        connection.await;
    });
    assert_eq!(log.calls(), [Call::Made, Call::Lost(Some(ErrorKind::ConnectionReset))]);
}

#[test]
fn data_that_came_before_a_reset_is_delivered() {
    let (near, mut far) = tcp_pair();
    let log = Log::default();
    let data = pattern(100_000, 5);
    guard(async {
        let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        far.write_all(&data).unwrap();
        let arrived = connection.transport().clone();
        let peeked = || arrived.with_socket(|socket| socket.peek(&mut [std::mem::MaybeUninit::uninit(); 100_000]));
        while peeked().unwrap().unwrap_or(0) < 100_000 {
            std::thread::yield_now();
        }
        reset_on_close(&far);
        drop(far);
        connection.await;
    });
    assert_same(&log.data(), &data);
    assert_eq!(log.end(), Some(ErrorKind::ConnectionReset));
}

#[test]
fn a_write_to_a_vanished_peer_is_a_loss_with_a_cause() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let mut connection =
            connect_socket(Recorder::new(&log).on_made(Transport::pause_reading).alone(), near).await.unwrap();
        reset_on_close(&far);
        drop(far);
        let transport = connection.transport().clone();
        let write = async {
            while !transport.is_closing() {
                transport.write(b"anyone?");
                futures_lite::future::yield_now().await;
            }
        };
        connection.run_until(write).await;
        connection.await;
    });
    let end = log.end();
    assert!(matches!(end, Some(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)), "{end:?}");
}

#[test]
fn fail_tells_its_cause_to_everyone() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        let transport = connection.transport().clone();
        transport.fail(std::io::Error::new(ErrorKind::InvalidData, "a bad frame"));
        connection.await;
        for _ in 0..3 {
            let err = transport.closed().await.unwrap_err();
            assert_eq!((err.kind(), err.to_string()), (ErrorKind::InvalidData, "a bad frame".to_owned()));
        }
        let code = transport.drain().await.unwrap_err().kind();
        assert_eq!(code, ErrorKind::InvalidData);
    });
    assert_eq!(log.end(), Some(ErrorKind::InvalidData));
    assert_eq!(read_all(far), b"");
}

#[test]
fn an_error_of_the_system_keeps_its_code_for_every_waiter() {
    let (near, far) = tcp_pair();
    guard(async {
        let connection = connect_socket(Recorder::new(&Log::default()), near).await.unwrap();
        let transport = connection.transport().clone();
        reset_on_close(&far);
        drop(far);
        connection.await;
        let codes = [transport.closed().await, transport.closed().await].map(|end| end.unwrap_err().raw_os_error());
        let reset = rustix::io::Errno::CONNRESET.raw_os_error();
        assert_eq!(codes, [Some(reset); 2]);
    });
}

#[test]
fn what_a_lost_transport_is_asked_for_is_harmless() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        let transport = connection.transport().clone();
        drop(far);
        connection.await;
        transport.write_eof().unwrap();
        for _ in 0..10 {
            assert_eq!(transport.write(b"x").ok().unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
        transport.close();
        transport.abort();
        transport.fail(ErrorKind::Other.into());
        transport.pause_reading();
        transport.resume_reading();
        transport.set_write_buffer_limits(smol_transports::WriteLimits::high(1));
        transport.set_protocol(Recorder::new(&log));
        assert!(transport.is_closing() && !transport.is_reading() && !transport.is_writing_paused());
        assert_eq!(transport.write_buffer_size(), 0);
        assert!(transport.with_socket(|_| ()).is_none());
        transport.closed().await.unwrap();
    });
    assert_eq!(log.calls(), [Call::Made, Call::Eof, Call::Lost(None)]);
}

#[test]
fn names_survive_the_loss() {
    let (near, far) = tcp_pair();
    let (here, there) = (near.local_addr().unwrap(), near.peer_addr().unwrap());
    guard(async {
        let connection = connect_socket(Recorder::new(&Log::default()), near).await.unwrap();
        let transport = connection.transport().clone();
        drop(far);
        connection.await;
        let info = transport.extra_info();
        assert!(*info.sockname().unwrap() == here && *info.peername().unwrap() == there);
        assert_eq!(info.peername().unwrap().to_string(), there.to_string());
    });
}

#[test]
fn the_names_of_a_socket_pair_are_unnamed() {
    let (near, _far) = unix_pair();
    let connection = connected(Recorder::new(&Log::default()), near);
    let peername = connection.transport().extra_info().peername().unwrap();
    assert!(peername.as_unix().unwrap().is_unnamed() && peername.as_inet().is_none());
}

#[test]
fn after_an_end_of_file_that_is_kept_open_the_thread_rests() {
    crate::common::isolated("lifecycle::after_an_end_of_file_that_is_kept_open_the_thread_rests", || {
        let (near, far) = tcp_pair();
        let log = Log::default();
        let polls = std::rc::Rc::new(std::cell::Cell::new(0));
        guard(async {
            let mut connection = connect_socket(Recorder::new(&log).keeping_open(), near).await.unwrap();
            far.shutdown(Shutdown::Write).unwrap();
            connection.run_until(log.until_call(Call::Eof)).await;
            let counted = polls.clone();
            let count = std::future::poll_fn(move |_| {
                counted.set(counted.get() + 1);
                std::task::Poll::<()>::Pending
            });
            let rest = async {
                async_io::Timer::after(std::time::Duration::from_millis(300)).await;
            };
            futures_lite::future::or(connection.run_until(count), rest).await;
        });
        assert!(polls.get() < 50, "woken {} times while idle", polls.get());
    });
}

#[test]
fn one_life_each_for_a_hundred_connections() {
    crate::common::isolated("lifecycle::one_life_each_for_a_hundred_connections", || {
        let before = crate::common::descriptors();
        guard(async {
            let factory = || Recorder::echo(&Log::default());
            let server = smol_transports::create_server(factory, crate::common::ANY).await.unwrap();
            let addr = server.local_addr().unwrap();
            let (handle, serving) = server.spawn();
            let clients = move || {
                for round in 0..100u8 {
                    let mut stream = client(addr);
                    assert_eq!(crate::common::ping(&mut stream, &[round]), [round]);
                }
            };
            blocking(clients).await;
            handle.close();
            serving.await.unwrap();
        });
        let stats = smol_transports::stats::stats();
        assert_eq!((stats.made, stats.lost, stats.alive), (100, 100, 0));
        let allowed = 12;
        let now = crate::common::descriptors();
        assert!(now <= before + allowed, "{now} descriptors, {before} at the beginning");
    });
}

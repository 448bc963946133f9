//! Protocol values: owned, borrowed, boxed, buffered, replaced; and the ways to run a connection.

use std::io::{self, Write};
use std::rc::Rc;

use async_executor::Executor;
use futures_lite::future;
use smol_transports::{Buffered, BufferedProtocol, OnEof, Protocol, Transport, connect_socket};

use crate::common::{guard, patient, read_all, read_exact, tcp_pair, unix_pair};
use crate::recorder::{BufferedRecorder, Call, Log, Recorder};

/// Neither `Send` nor `'static`.
struct Collect<'a> {
    data: &'a mut Vec<u8>,
    lost: Rc<()>,
}

impl Protocol for Collect<'_> {
    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.data.extend_from_slice(data);
    }

    fn connection_lost(&mut self, _: Option<io::Error>) {
        self.lost = Rc::new(());
    }
}

fn feed_and_finish() -> std::net::TcpStream {
    let (near, mut far) = tcp_pair();
    far.write_all(b"abc").unwrap();
    near
}

#[test]
fn a_connection_resolves_to_its_protocol() {
    let mut data = Vec::new();
    let protocol = guard(async {
        let collect = Collect { data: &mut data, lost: Rc::new(()) };
        connect_socket(collect, feed_and_finish()).await.unwrap().await
    });
    assert_eq!(*protocol.data, b"abc");
}

#[test]
fn a_protocol_may_be_borrowed() {
    let (mut data, first) = (Vec::new(), Rc::new(()));
    let mut collect = Collect { data: &mut data, lost: first.clone() };
    guard(async {
        connect_socket(&mut collect, feed_and_finish()).await.unwrap().await;
    });
    assert!(!Rc::ptr_eq(&collect.lost, &first), "connection_lost was forwarded");
    assert_eq!(data, b"abc");
}

#[test]
fn a_protocol_may_be_a_boxed_trait_object() {
    let logs = [Log::default(), Log::default()];
    guard(async {
        let mut protocols: Vec<Box<dyn Protocol + Send>> = Vec::new();
        protocols.push(Box::new(Recorder::new(&logs[0]).alone()));
        protocols.push(Box::new(Recorder::echo(&logs[1]).alone()));
        for protocol in protocols {
            connect_socket(protocol, feed_and_finish()).await.unwrap().await;
        }
    });
    for log in logs {
        assert_eq!(log.calls(), [Call::Made, Call::Data(b"abc".to_vec()), Call::Eof, Call::Lost(None)]);
    }
}

#[test]
fn a_buffered_protocol_may_be_borrowed_or_boxed() {
    let logs = [Log::default(), Log::default()];
    let mut borrowed = BufferedRecorder::new(Recorder::new(&logs[0]).alone(), 2);
    let boxed: Box<dyn BufferedProtocol + Send> = Box::new(BufferedRecorder::new(Recorder::new(&logs[1]).alone(), 2));
    guard(async {
        connect_socket(Buffered(&mut borrowed), feed_and_finish()).await.unwrap().await;
        connect_socket(Buffered(boxed), feed_and_finish()).await.unwrap().await;
    });
    for log in logs {
        assert_eq!(log.calls(), [Call::Made, Call::Data(b"abc".to_vec()), Call::Eof, Call::Lost(None)]);
    }
}

struct Silence;

impl Protocol for Silence {}

#[test]
fn the_defaults_do_nothing_and_close_at_the_end_of_file() {
    let (near, mut far) = tcp_pair();
    guard(async {
        let connection = connect_socket(Silence, near).await.unwrap();
        far.write_all(b"abc").unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        connection.await;
    });
    assert_eq!(read_all(far), b"");
    assert_eq!(OnEof::default(), OnEof::Close);
}

#[test]
fn the_protocol_can_be_seen_and_changed_while_it_runs() {
    let (near, mut far) = tcp_pair();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    guard(async {
        let collect = Collect { data: &mut first, lost: Rc::new(()) };
        let mut connection = connect_socket(collect, near).await.unwrap();
        assert!(connection.protocol().data.is_empty());
        connection.protocol_mut().data = &mut second;
        far.write_all(b"abc").unwrap();
        drop(far);
        connection.await;
    });
    assert_eq!((first, second), (Vec::new(), b"abc".to_vec()));
}

/// Feeds a piece after each change of the protocol; what the two recorders have got.
fn switching(first: impl FnOnce(Recorder) -> Recorder, next: impl Fn(&Transport, &Log) + Send + 'static) {
    let (near, mut far) = unix_pair();
    let (old, new) = (Log::default(), Log::default());
    let (seen, mut done) = (new.clone(), false);
    let recorder = first(Recorder::new(&old)).on_data(move |transport, _| {
        assert!(!std::mem::replace(&mut done, true), "the old protocol got more data");
        next(transport, &seen);
    });
    guard(async {
        let mut connection = connect_socket(recorder, near).await.unwrap();
        far.write_all(b"old").unwrap();
        connection.run_until(old.until(|log| log.data() == b"old")).await;
        far.write_all(b"new").unwrap();
        connection.run_until(new.until(|log| log.data() == b"new")).await;
        drop(far);
        connection.await;
    });
    assert_eq!(old.calls(), [Call::Made, Call::Data(b"old".to_vec())]);
    assert_eq!(new.calls(), [Call::Data(b"new".to_vec()), Call::Eof, Call::Lost(None)]);
}

#[test]
fn set_protocol_inside_of_data_received_takes_effect_on_the_next_data() {
    switching(|recorder| recorder, |transport, log| transport.set_protocol(Recorder::taking_over(log)));
}

#[test]
fn set_protocol_may_change_to_a_buffered_one() {
    let next = |transport: &Transport, log: &Log| {
        transport.set_protocol(Buffered(BufferedRecorder::new(Recorder::taking_over(log), 2)));
    };
    switching(|recorder| recorder, next);
}

#[test]
fn set_protocol_may_change_back_and_forth() {
    let (near, mut far) = unix_pair();
    let logs: Vec<_> = (0..10).map(|_| Log::default()).collect();
    guard(async {
        let mut connection = connect_socket(Recorder::new(&Log::default()), near).await.unwrap();
        let transport = connection.transport().clone();
        for (at, log) in logs.iter().enumerate() {
            let recorder = Recorder::taking_over(log);
            if at % 2 == 0 {
                transport.set_protocol(Buffered(BufferedRecorder::new(recorder, 3)));
            } else {
                transport.set_protocol(recorder);
            }
            far.write_all(b"hello").unwrap();
            connection.run_until(log.until(|log| log.data() == b"hello")).await;
        }
        drop(far);
        connection.await;
    });
    assert!(logs.iter().all(|log| log.data() == b"hello"));
    assert_eq!(logs.iter().map(|log| log.calls().len()).sum::<usize>(), 12, "one eof, one loss");
    assert_eq!(logs[9].end(), None);
}

#[test]
fn a_buffered_protocol_may_hand_over_to_an_unbuffered_one_in_its_callback() {
    struct Line {
        buffer: [u8; 1],
        next: Log,
    }
    impl BufferedProtocol for Line {
        fn get_buffer(&mut self, _: usize) -> &mut [u8] {
            &mut self.buffer
        }

        fn buffer_updated(&mut self, transport: &Transport, _: usize) {
            if self.buffer == *b"\n" {
                transport.set_protocol(Recorder::taking_over(&self.next));
            }
        }
    }
    let (near, mut far) = unix_pair();
    let next = Log::default();
    far.write_all(b"header\nbody\nbody").unwrap();
    drop(far);
    guard(async {
        let line = Line { buffer: [0], next: next.clone() };
        connect_socket(Buffered(line), near).await.unwrap().await;
    });
    assert_eq!(next.calls(), [Call::Data(b"body\nbody".to_vec()), Call::Eof, Call::Lost(None)]);
}

#[test]
fn the_last_protocol_that_was_set_wins_and_gets_the_loss() {
    let (near, _far) = unix_pair();
    let (skipped, last) = (Log::default(), Log::default());
    guard(async {
        let connection = connect_socket(Recorder::new(&Log::default()), near).await.unwrap();
        let transport = connection.transport().clone();
        transport.close();
        transport.set_protocol(Recorder::taking_over(&skipped));
        transport.set_protocol(Recorder::taking_over(&last));
        connection.await;
    });
    assert_eq!((skipped.calls(), last.calls()), (vec![], vec![Call::Lost(None)]));
}

#[test]
fn the_connection_resolves_to_the_protocol_it_was_made_with_also_after_set_protocol() {
    let (near, far) = unix_pair();
    let mut data = Vec::new();
    let collect = Collect { data: &mut data, lost: Rc::new(()) };
    let protocol = guard(async {
        let connection = connect_socket(collect, near).await.unwrap();
        connection.transport().set_protocol(Silence);
        assert!(connection.protocol().data.is_empty());
        drop(far);
        connection.await
    });
    assert!(protocol.data.is_empty());
}

#[test]
fn replace_protocol_gives_the_old_one_back_and_tells_it_nothing_more() {
    let (near, mut far) = tcp_pair();
    let (old, set, new) = (Log::default(), Log::default(), Log::default());
    guard(async {
        let mut connection = connect_socket(Recorder::new(&old).alone(), near).await.unwrap();
        far.write_all(b"old").unwrap();
        connection.run_until(old.until(|log| log.data() == b"old")).await;
        connection.transport().set_protocol(Recorder::taking_over(&set));
        let buffered = Buffered(BufferedRecorder::new(Recorder::taking_over(&new).alone(), 10));
        let (connection, first) = connection.replace_protocol(buffered);
        drop(first);
        far.write_all(b"new").unwrap();
        drop(far);
        connection.await;
    });
    assert_eq!(old.calls(), [Call::Made, Call::Data(b"old".to_vec())]);
    assert_eq!(set.calls(), []);
    assert_eq!(new.calls(), [Call::Data(b"new".to_vec()), Call::Eof, Call::Lost(None)]);
}

#[test]
fn into_parts_gives_the_socket_the_protocol_and_what_was_not_sent() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    let (parts, written, transport) = guard(async {
        let connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
        let transport = connection.transport().clone();
        let mut written = 0;
        while transport.write_buffer_size() == 0 {
            written += 1 << 18;
            transport.write(vec![3; 1 << 18]);
        }
        let unsent = transport.write_buffer_size();
        let parts = connection.into_parts();
        assert_eq!(parts.unsent.len(), unsent);
        transport.closed().await.unwrap();
        (parts, written, transport)
    });
    assert_eq!(log.calls(), [Call::Made], "not even connection_lost");
    assert!(transport.is_closing() && transport.write(b"x").ok().is_err());
    let sent = read_exact(&far, written - parts.unsent.len());
    assert_eq!(sent.len() + parts.unsent.len(), written);
    let socket = parts.socket.unwrap();
    socket.send(b"by hand").unwrap();
    assert_eq!(read_exact(&far, 7), b"by hand");
}

#[test]
fn into_parts_after_polling_gives_the_socket_too() {
    let (near, mut far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let mut connection = connect_socket(Recorder::new(&log), near).await.unwrap();
        far.write_all(b"x").unwrap();
        connection.run_until(log.until(|log| log.data() == b"x")).await;
        let mut again = connect_socket(Recorder::new(&log), connection.into_parts().socket.unwrap()).await;
        far.write_all(b"y").unwrap();
        let connection = again.as_mut().unwrap();
        connection.run_until(log.until(|log| log.data() == b"xy")).await;
    });
}

#[test]
fn run_until_goes_on_with_the_future_after_the_connection_has_ended() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let mut connection = connect_socket(Recorder::new(&log), near).await.unwrap();
        let transport = connection.transport().clone();
        drop(far);
        let answer = connection.run_until(async {
            transport.closed().await.unwrap();
            future::yield_now().await;
            42
        });
        assert_eq!(answer.await, 42);
        connection.await;
    });
    assert_eq!(log.end(), None);
}

#[test]
fn a_spawned_connection_gives_its_handle_and_its_protocol() {
    let (near, far) = tcp_pair();
    guard(async {
        let log = Log::default();
        let (transport, running) = connect_socket(Recorder::new(&log), near).await.unwrap().spawn();
        transport.write(b"hello");
        assert_eq!(read_exact(&far, 5), b"hello");
        drop(far);
        running.await;
        assert_eq!(log.end(), None);
    });
}

#[test]
fn dropping_a_running_connection_ends_it() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let (transport, running) = connect_socket(Recorder::new(&log), near).await.unwrap().spawn();
        drop(running);
        transport.closed().await.unwrap();
    });
    assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
    assert_eq!(read_all(far), b"");
}

#[test]
fn a_detached_connection_lives_on() {
    let (near, mut far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let (transport, running) = connect_socket(Recorder::echo(&log), near).await.unwrap().spawn();
        running.detach();
        assert_eq!(crate::common::ping(&mut far, b"alive"), b"alive");
        drop(far);
        transport.closed().await.unwrap();
    });
    assert_eq!(log.end(), None);
}

#[test]
fn a_connection_on_an_own_executor_may_borrow() {
    let (near, mut far) = tcp_pair();
    let mut log = Vec::new();
    struct Push<'a>(&'a mut Vec<u8>);
    impl Protocol for Push<'_> {
        fn data_received(&mut self, _: &Transport, data: &[u8]) {
            self.0.extend_from_slice(data);
        }
    }
    let executor = Executor::new();
    guard(executor.run(async {
        let connection = connect_socket(Push(&mut log), near).await.unwrap();
        let (_, running) = connection.spawn_on(&executor);
        far.write_all(b"abc").unwrap();
        drop(far);
        patient(running).await;
    }));
    drop(executor);
    assert_eq!(log, b"abc");
}

#[test]
fn many_connections_in_one_task_do_not_disturb_each_other() {
    let logs: Vec<_> = (0..50).map(|_| Log::default()).collect();
    guard(async {
        let executor = async_executor::LocalExecutor::new();
        let mut peers = Vec::new();
        let mut tasks = Vec::new();
        for log in &logs {
            let (near, far) = tcp_pair();
            peers.push(far);
            tasks.push(executor.spawn(connect_socket(Recorder::echo(log), near).await.unwrap()));
        }
        let talk = crate::common::blocking(move || {
            for (at, peer) in peers.iter_mut().enumerate() {
                assert_eq!(crate::common::ping(peer, &[at as u8]), [at as u8]);
            }
        });
        let all = async {
            talk.await;
            for task in tasks {
                task.await;
            }
        };
        executor.run(all).await;
    });
    assert!(logs.iter().enumerate().all(|(at, log)| log.data() == [at as u8] && log.end().is_none()));
}

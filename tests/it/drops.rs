//! Dropping things at every point: descriptors are closed, connection_lost comes once.

use std::future::{Future, IntoFuture};
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use bytes::Bytes;
use futures_lite::future;
use smol_transports::testing::{Memory, Peer, poll};
use smol_transports::{Protocol, Transport, connect_socket, create_connection, create_server};

use crate::common::{ANY, Silent, client, connected, descriptors, guard, isolated, read_all, refusing, tcp_pair};
use crate::guard::watch;
use crate::recorder::{Call, Log, Recorder};

#[test]
fn a_builder_that_is_never_awaited_closes_its_socket_without_a_callback() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    drop(connect_socket(Recorder::new(&log), near));
    assert_eq!(read_all(far), b"");
    assert_eq!(log.calls(), []);
}

#[test]
fn a_connection_that_is_never_polled_is_lost_when_it_is_dropped() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    drop(connected(Recorder::new(&log), near));
    assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
    assert_eq!(read_all(far), b"");
}

#[test]
fn a_connection_may_be_dropped_in_every_state() {
    let states: [fn(&Transport); 6] = [
        |_| {},
        Transport::close,
        Transport::abort,
        |transport| drop(transport.write_eof()),
        Transport::pause_reading,
        |transport| while transport.write(vec![0; 1 << 18]) == smol_transports::Written::Queued {},
    ];
    for state in states {
        for polls in 0..3 {
            let (near, far) = tcp_pair();
            let log = Log::default();
            guard(async {
                let mut connection = connect_socket(Recorder::new(&log).alone(), near).await.unwrap();
                let transport = connection.transport().clone();
                state(&transport);
                for _ in 0..polls {
                    connection.run_until(future::yield_now()).await;
                }
                drop(connection);
                transport.closed().await.unwrap();
            });
            assert_eq!(log.end(), None);
            std::io::copy(&mut &far, &mut std::io::sink()).unwrap();
        }
    }
}

#[test]
fn a_connection_that_failed_tells_the_cause_when_it_is_dropped() {
    let (near, _far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let connection = connect_socket(Recorder::new(&log), near).await.unwrap();
        connection.transport().fail(ErrorKind::InvalidData.into());
    });
    assert_eq!(log.end(), Some(ErrorKind::InvalidData));
}

#[test]
fn connection_lost_is_called_while_unwinding_too() {
    let (near, far) = tcp_pair();
    let log = Log::default();
    let seen = log.clone();
    let connection = connected(Recorder::new(&log), near);
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _connection = connection;
        resume_unwind(Box::new("the owner"));
    }));
    assert_eq!(*unwound.unwrap_err().downcast::<&str>().unwrap(), "the owner");
    assert_eq!(seen.calls(), [Call::Made, Call::Lost(None)]);
    assert_eq!(read_all(far), b"");
}

#[test]
fn a_panicking_connection_lost_does_not_abort_an_unwinding_thread() {
    let recorder = Recorder::new(&Log::default()).on_lost(|| resume_unwind(Box::new("the callback")));
    let (connection, peer) = Memory::new(recorder).connect();
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _connection = connection;
        resume_unwind(Box::new("the owner"));
    }));
    assert_eq!(*unwound.unwrap_err().downcast::<&str>().unwrap(), "the owner");
    assert!(peer.is_closed());
}

#[test]
fn dropping_a_connection_inside_of_a_callback_of_another_is_fine() {
    let (inner_log, outer_log) = (Log::default(), Log::default());
    let (inner, inner_peer) = Memory::new(Recorder::new(&inner_log)).connect();
    let mut inner = Some(inner);
    let recorder = Recorder::new(&outer_log).on_data(move |_, _| drop(inner.take()));
    let (mut outer, peer) = Memory::new(recorder).connect();
    peer.feed(b"x");
    assert!(poll(&mut outer).is_pending());
    assert_eq!(inner_log.calls(), [Call::Made, Call::Lost(None)]);
    assert!(inner_peer.is_closed() && !peer.is_closed());
}

#[test]
fn running_another_connection_inside_of_a_callback_is_fine() {
    let (near, far) = tcp_pair();
    let ((canary, mut visitor), log) = (tcp_pair(), Log::default());
    let inner_log = log.clone();
    let recorder = Recorder::new(&Log::default()).on_data(move |_, data| {
        assert_eq!(data, b"outer");
        visitor.write_all(b"inner").unwrap();
        let inner = canary.try_clone().unwrap();
        let until = inner_log.until(|log| log.data() == b"inner");
        smol::block_on(async {
            connect_socket(Recorder::new(&inner_log), inner).await.unwrap().run_until(until).await
        });
        assert_eq!(data, b"outer", "the lent bytes are not overwritten");
    });
    guard(async {
        let connection = connect_socket(recorder, near).await.unwrap();
        (&far).write_all(b"outer").unwrap();
        drop(far);
        connection.await;
    });
    assert_eq!(log.data(), b"inner");
}

/// A protocol that tells by its reference count whether it still exists.
struct Held(#[allow(dead_code, reason = "it only counts")] Arc<()>);

impl Protocol for Held {}

/// Polls the future that many times, if it is not ready before, and drops it.
fn poll_and_drop<F: Future>(f: F, polls: usize) -> Option<F::Output> {
    smol::block_on(async {
        let mut f = pin!(f);
        for _ in 0..polls {
            if let Some(output) = future::poll_once(&mut f).await {
                return Some(output);
            }
            future::yield_now().await;
        }
        None
    })
}

#[test]
fn a_connect_may_be_dropped_at_every_point() {
    let listener = TcpListener::bind(ANY).unwrap();
    let addr = listener.local_addr().unwrap();
    let (_socket, refused) = refusing();
    let silent = Silent::new();
    let targets = [vec![addr], vec![refused], vec![silent.addr], vec![silent.addr, refused, addr], vec![refused, addr]];
    for target in targets {
        for polls in 0..6 {
            let held = Arc::new(());
            let connect = create_connection(Held(held.clone()), target.clone()).into_future();
            drop(poll_and_drop(connect, polls));
            assert_eq!(Arc::strong_count(&held), 1, "the protocol is dropped with the future");
        }
    }
}

#[test]
fn dropped_connects_leave_no_descriptor() {
    isolated("drops::dropped_connects_leave_no_descriptor", || {
        let listener = TcpListener::bind(ANY).unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (_socket, refused) = refusing();
        let silent = Silent::new();
        let connects = |rounds: usize| {
            for round in 0..rounds {
                for target in [vec![addr], vec![silent.addr, addr], vec![refused, silent.addr]] {
                    let connect = create_connection(Held(Arc::new(())), target).into_future();
                    drop(poll_and_drop(connect, round % 5));
                }
                while listener.accept().is_ok() {}
            }
        };
        connects(5);
        let before = descriptors();
        connects(300);
        assert_eq!(descriptors(), before);
    });
}

#[test]
fn failed_connects_leave_no_descriptor() {
    isolated("drops::failed_connects_leave_no_descriptor", || {
        let (_socket, refused) = refusing();
        let fail = || guard(async { create_connection(Held(Arc::new(())), refused).await.unwrap_err() });
        fail();
        let before = descriptors();
        (0..300).for_each(|_| drop(fail()));
        assert_eq!(descriptors(), before);
    });
}

#[test]
fn connections_and_servers_that_were_dropped_leave_no_descriptor() {
    isolated("drops::connections_and_servers_that_were_dropped_leave_no_descriptor", || {
        let round = |polls: usize| {
            let server = guard(async { create_server(|| Held(Arc::new(())), ANY).await.unwrap() });
            let addr = server.local_addr().unwrap();
            let _clients = [client(addr), client(addr)];
            drop(poll_and_drop(server.serve_local(), polls));
        };
        (0..5).for_each(round);
        let before = descriptors();
        (0..200).for_each(|at| round(at % 5));
        assert_eq!(descriptors(), before);
    });
}

#[test]
fn a_protocol_lives_no_longer_than_its_connection() {
    let (near, _far) = tcp_pair();
    let (first, second) = (Arc::new(()), Arc::new(()));
    let transport = guard(async {
        let connection = connect_socket(Held(first.clone()), near).await.unwrap();
        connection.transport().set_protocol(Held(second.clone()));
        connection.transport().clone()
    });
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1));
    transport.set_protocol(Held(second.clone()));
    assert_eq!(Arc::strong_count(&second), 1, "a lost transport keeps nothing");
}

/// Bytes whose owner asks their transport something when it drops them.
struct Owner {
    bytes: Vec<u8>,
    transport: Transport,
    dropped: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.transport.write_buffer_size();
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Writes bytes of each size in that state: all are dropped by the end.
fn write_owned(state: impl Fn(&Transport, &Peer)) {
    watch();
    for size in [0, 10, 10_000] {
        let (connection, peer) = Memory::new(Held(Arc::new(()))).connect();
        let transport = connection.transport().clone();
        state(&transport, &peer);
        let dropped = Arc::new(AtomicUsize::new(0));
        let owner = Owner { bytes: vec![1; size], transport: transport.clone(), dropped: dropped.clone() };
        transport.write_bytes(Bytes::from_owner(owner));
        drop(connection);
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn the_owner_of_bytes_may_use_the_transport_when_they_were_sent_or_copied() {
    write_owned(|_, _| {});
    write_owned(|_, peer| peer.set_room(0));
    write_owned(|_, peer| peer.set_room(5));
}

#[test]
fn the_owner_of_bytes_may_use_the_transport_when_they_are_refused() {
    write_owned(|transport, _| transport.abort());
    write_owned(|transport, _| transport.write_eof().unwrap());
    write_owned(|_, peer| peer.break_writing(ErrorKind::ConnectionReset.into()));
}

#[test]
fn the_owner_of_bytes_may_use_the_transport_in_a_callback() {
    watch();
    let dropped = Arc::new(AtomicUsize::new(0));
    let seen = dropped.clone();
    let recorder = Recorder::new(&Log::default()).on_data(move |transport, _| {
        for size in [10, 40_000] {
            let owner = Owner { bytes: vec![1; size], transport: transport.clone(), dropped: dropped.clone() };
            transport.write_bytes(Bytes::from_owner(owner));
        }
    });
    let (mut connection, peer) = Memory::new(recorder).connect();
    peer.feed(b"x");
    assert!(poll(&mut connection).is_pending());
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[test]
fn a_task_may_use_the_transport_when_it_is_dropped_with_its_waker() {
    struct Task(Transport);
    impl std::task::Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Task {
        fn drop(&mut self) {
            self.0.pause_reading();
        }
    }
    watch();
    let (mut connection, _peer) = Memory::new(Held(Arc::new(()))).connect();
    let transport = connection.transport().clone();
    let waker = Waker::from(Arc::new(Task(transport.clone())));
    assert!(pin!(&mut connection).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    assert!(pin!(&mut connection).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(!transport.is_reading());
}

#[test]
fn a_waker_is_let_go_of_at_the_loss() {
    struct Count;
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {}
    }
    let count = Arc::new(Count);
    let waker = Waker::from(count.clone());
    let (mut connection, peer) = Memory::new(Held(Arc::new(()))).connect();
    let transport = connection.transport().clone();
    let _ = pin!(&mut connection).poll(&mut Context::from_waker(&waker));
    drop((connection, peer, waker));
    assert_eq!(Arc::strong_count(&count), 1, "the handle keeps nothing of the task: {transport:?}");
}

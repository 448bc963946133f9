//! A failing callback ends its own transport only.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_lite::FutureExt;
use futures_lite::future::poll_fn;
use smol_transports::testing::{Memory, poll};
use smol_transports::{
    Buffered, BufferedProtocol, Connection, OnEof, Protocol, StreamProtocol, Transport, WriteLimits, connect_socket,
    create_server,
};

use crate::common::{ANY, blocking, client, guard, ping, read_all, read_exact, tcp_pair};
use crate::recorder::{Log, Recorder};

/// The callbacks, `get_buffer` and `buffer_updated` among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Made,
    Data,
    GetBuffer,
    BufferUpdated,
    Eof,
    Pause,
    Resume,
    Lost,
}

const ALL: [At; 8] = [At::Made, At::Data, At::GetBuffer, At::BufferUpdated, At::Eof, At::Pause, At::Resume, At::Lost];

/// Panics in one callback; counts the losses and what comes after them.
#[derive(Clone)]
struct Bomb {
    at: At,
    lost: Arc<AtomicUsize>,
    told: Arc<AtomicUsize>,
    after: Arc<AtomicUsize>,
    buffer: [u8; 8],
}

const PAYLOAD: &str = "the bomb";

impl Bomb {
    fn new(at: At) -> Self {
        Self { at, lost: Arc::default(), told: Arc::default(), after: Arc::default(), buffer: [0; 8] }
    }

    fn pass(&self, at: At) {
        if self.lost.load(Ordering::SeqCst) > 0 {
            self.after.fetch_add(1, Ordering::SeqCst);
        }
        if self.at == at {
            // No hook: the log of the tests stays readable.
            resume_unwind(Box::new(PAYLOAD));
        }
    }

    fn lose(&self, exc: Option<io::Error>) {
        self.lost.fetch_add(1, Ordering::SeqCst);
        if let Some(exc) = exc {
            assert!(exc.to_string().contains(PAYLOAD), "{exc}");
            self.told.fetch_add(1, Ordering::SeqCst);
        }
        if self.at == At::Lost {
            resume_unwind(Box::new(PAYLOAD));
        }
    }

    fn check(&self) {
        let expected = usize::from(self.at != At::Lost);
        assert_eq!(self.lost.load(Ordering::SeqCst), 1, "connection_lost once for {:?}", self.at);
        assert_eq!(self.told.load(Ordering::SeqCst), expected, "with an error for {:?}", self.at);
        assert_eq!(self.after.load(Ordering::SeqCst), 0, "nothing after it for {:?}", self.at);
    }
}

impl Protocol for Bomb {
    fn connection_made(&mut self, _: &Transport) {
        self.pass(At::Made);
    }

    fn data_received(&mut self, _: &Transport, _: &[u8]) {
        self.pass(At::Data);
    }

    fn eof_received(&mut self, _: &Transport) -> OnEof {
        self.pass(At::Eof);
        OnEof::Close
    }

    fn pause_writing(&mut self, _: &Transport) {
        self.pass(At::Pause);
    }

    fn resume_writing(&mut self, _: &Transport) {
        self.pass(At::Resume);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.lose(exc);
    }
}

impl BufferedProtocol for Bomb {
    fn get_buffer(&mut self, _: usize) -> &mut [u8] {
        self.pass(At::GetBuffer);
        &mut self.buffer
    }

    fn buffer_updated(&mut self, _: &Transport, _: usize) {
        self.pass(At::BufferUpdated);
    }

    fn connection_made(&mut self, _: &Transport) {
        self.pass(At::Made);
    }

    fn eof_received(&mut self, _: &Transport) -> OnEof {
        self.pass(At::Eof);
        OnEof::Close
    }

    fn pause_writing(&mut self, _: &Transport) {
        self.pass(At::Pause);
    }

    fn resume_writing(&mut self, _: &Transport) {
        self.pass(At::Resume);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.lose(exc);
    }
}

fn payload<T>(result: Result<T, Box<dyn std::any::Any + Send>>) -> &'static str {
    *result.err().expect("the panic is resumed to whoever awaits").downcast().expect("with its payload")
}

/// Takes a connection through all callbacks, in memory.
fn detonate<P: StreamProtocol<Transport>>(protocol: P) -> &'static str {
    let (mut connection, peer) = Memory::new(protocol).write_limits(WriteLimits::high(0)).connect();
    peer.set_room(0);
    connection.transport().write(b"pause");
    let result = catch_unwind(AssertUnwindSafe(|| {
        if poll(&mut connection).is_ready() {
            return;
        }
        peer.set_room(usize::MAX);
        peer.feed(b"data");
        peer.feed_eof();
        assert!(poll(&mut connection).is_ready());
    }));
    assert!(peer.is_closed(), "the endpoint is let go of");
    payload(result)
}

#[test]
fn a_panic_in_any_callback_loses_the_connection_once_and_is_resumed() {
    for at in ALL {
        let bomb = Bomb::new(at);
        let buffered = matches!(at, At::GetBuffer | At::BufferUpdated);
        let said = if buffered { detonate(Buffered(bomb.clone())) } else { detonate(bomb.clone()) };
        assert_eq!(said, PAYLOAD);
        bomb.check();
    }
}

#[test]
fn a_buffered_protocol_panics_the_same_way_everywhere() {
    for at in ALL.into_iter().filter(|at| *at != At::Data) {
        let bomb = Bomb::new(at);
        assert_eq!(detonate(Buffered(bomb.clone())), PAYLOAD);
        bomb.check();
    }
}

/// Pauses itself and panics where it should lend a buffer.
#[derive(Clone, Default)]
struct Overfull {
    transport: Option<Transport>,
    paused: Arc<AtomicUsize>,
}

impl BufferedProtocol for Overfull {
    fn connection_made(&mut self, transport: &Transport) {
        self.transport = Some(transport.clone());
    }

    fn get_buffer(&mut self, _: usize) -> &mut [u8] {
        self.transport.take().expect("asked once").write(b"too much");
        resume_unwind(Box::new(PAYLOAD));
    }

    fn buffer_updated(&mut self, _: &Transport, _: usize) {}

    fn pause_writing(&mut self, _: &Transport) {
        self.paused.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_pause_is_not_told_after_a_panic_in_get_buffer() {
    let protocol = Overfull::default();
    let memory = Memory::new(Buffered(protocol.clone())).room(0).write_limits(WriteLimits::high(0));
    let (mut connection, peer) = memory.connect();
    peer.feed(b"data");
    let result = catch_unwind(AssertUnwindSafe(|| poll(&mut connection).is_ready()));
    assert_eq!(payload(result), PAYLOAD);
    assert_eq!(protocol.paused.load(Ordering::SeqCst), 0);
    assert!(peer.is_closed());
}

#[test]
fn a_panic_in_connection_made_still_gives_a_connection() {
    let (near, far) = tcp_pair();
    let bomb = Bomb::new(At::Made);
    guard(async {
        let connection = connect_socket(bomb.clone(), near).await.unwrap();
        let transport = connection.transport().clone();
        assert!(transport.is_closing());
        assert_eq!(payload(AssertUnwindSafe(connection).catch_unwind().await), PAYLOAD);
        assert_eq!(transport.closed().await.unwrap_err().kind(), ErrorKind::Other);
    });
    bomb.check();
    assert_eq!(read_all(far), b"");
}

#[test]
fn a_panic_drops_what_the_system_has_not_taken() {
    let recorder = Recorder::new(&Log::default()).on_data(|transport, _| {
        transport.write(b"1234567");
        resume_unwind(Box::new(PAYLOAD));
    });
    let (mut connection, peer) = Memory::new(recorder).connect();
    peer.set_room(4);
    peer.feed(b"x");
    let result = catch_unwind(AssertUnwindSafe(|| poll(&mut connection).is_ready()));
    assert_eq!(payload(result), PAYLOAD);
    assert_eq!((peer.take_written(), peer.is_closed()), (b"1234".to_vec(), true));
}

#[test]
fn a_panic_in_a_spawned_connection_is_resumed_to_its_owner() {
    let (near, mut far) = tcp_pair();
    let bomb = Bomb::new(At::Data);
    guard(async {
        let (transport, running) = connect_socket(bomb.clone(), near).await.unwrap().spawn();
        far.write_all(b"x").unwrap();
        assert_eq!(payload(AssertUnwindSafe(running).catch_unwind().await), PAYLOAD);
        transport.closed().await.unwrap_err();
    });
    bomb.check();
}

#[test]
fn run_until_keeps_the_panic_for_whoever_awaits_the_connection() {
    let (near, mut far) = tcp_pair();
    guard(async {
        let mut connection: Connection<Bomb> = connect_socket(Bomb::new(At::Data), near).await.unwrap();
        let transport = connection.transport().clone();
        far.write_all(b"x").unwrap();
        connection.run_until(transport.closed()).await.unwrap_err();
        assert_eq!(payload(AssertUnwindSafe(connection).catch_unwind().await), PAYLOAD);
    });
}

/// A protocol of the server below: a bomb or an echo.
fn bomb_or_echo(bomb: Option<Bomb>) -> Box<dyn Protocol + Send> {
    match bomb {
        Some(bomb) => Box::new(bomb),
        None => Box::new(Recorder::echo(&Log::default())),
    }
}

/// What a client must do to set off a bomb of a server whose marks are at zero.
fn visit(addr: SocketAddr) {
    let mut stream = client(addr);
    let _ = stream.write_all(b"data");
    let _ = stream.shutdown(Shutdown::Write);
    let _ = io::copy(&mut stream, &mut io::sink());
}

#[test]
fn a_server_outlives_the_panics_of_its_clients() {
    for at in [At::Made, At::Data, At::Eof, At::Lost] {
        let bomb = Bomb::new(at);
        let (armed, mut turn) = (bomb.clone(), 0);
        let factory = move || {
            turn += 1;
            bomb_or_echo((turn == 2).then(|| armed.clone()))
        };
        let (tell, told) = async_channel::unbounded();
        guard(async {
            let report = move |err: io::Error| drop(tell.try_send(err.to_string()));
            let server = create_server(factory, ANY).on_error(report).await.unwrap();
            let addr = server.local_addr().unwrap();
            let (handle, serving) = server.spawn();
            let mut canary = client(addr);
            assert_eq!(ping(&mut canary, b"before"), b"before");
            blocking(move || visit(addr)).await;
            let report = told.recv().await.unwrap();
            assert!(report.contains(PAYLOAD), "{report}");
            assert_eq!(ping(&mut canary, b"after"), b"after", "the canary is unharmed");
            assert_eq!(ping(&mut client(addr), b"new"), b"new", "the server goes on");
            drop(canary);
            handle.close();
            serving.await.unwrap();
        });
        bomb.check();
    }
}

/// A factory that panics for the first client only.
fn panics_first() -> impl FnMut() -> Recorder + Send + 'static {
    let mut turn = 0;
    move || {
        turn += 1;
        if turn == 1 {
            resume_unwind(Box::new(PAYLOAD));
        }
        Recorder::echo(&Log::default())
    }
}

#[test]
fn a_panicking_factory_costs_one_client_and_is_reported() {
    let (tell, told) = async_channel::unbounded();
    guard(async {
        let report = move |err: io::Error| drop(tell.try_send(err.to_string()));
        let server = create_server(panics_first(), ANY).on_error(report).await.unwrap();
        let addr = server.local_addr().unwrap();
        let (handle, serving) = server.spawn();
        let first = client(addr);
        assert!(told.recv().await.unwrap().contains(PAYLOAD));
        assert_eq!(blocking(move || read_all(first)).await, b"", "its socket is closed");
        assert_eq!(ping(&mut client(addr), b"next"), b"next");
        handle.close();
        serving.await.unwrap();
    });
}

#[test]
fn a_report_that_panics_does_not_end_the_server() {
    guard(async {
        let report = |_: io::Error| resume_unwind(Box::new(PAYLOAD));
        let server = create_server(panics_first(), ANY).on_error(report).await.unwrap();
        let addr = server.local_addr().unwrap();
        let (handle, serving) = server.spawn();
        assert_eq!(read_all(client(addr)), b"");
        assert_eq!(ping(&mut client(addr), b"next"), b"next");
        handle.close();
        serving.await.unwrap();
    });
}

#[test]
fn a_panic_leaves_other_connections_of_the_same_task_alone() {
    let ((near, mut far), (canary, mut peer)) = (tcp_pair(), tcp_pair());
    let log = Log::default();
    guard(async {
        let mut canary = connect_socket(Recorder::echo(&log).alone(), canary).await.unwrap();
        let bomb = connect_socket(Bomb::new(At::Data), near).await.unwrap();
        far.write_all(b"x").unwrap();
        let explosion = canary.run_until(AssertUnwindSafe(bomb).catch_unwind());
        assert_eq!(payload(explosion.await), PAYLOAD);
        peer.write_all(b"alive").unwrap();
        canary.run_until(log.until(|log| log.data() == b"alive")).await;
        drop(canary);
    });
    assert_eq!(read_exact(peer, 5), b"alive");
}

/// Somebody else's.
struct BrokenWaker;

impl Wake for BrokenWaker {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new(PAYLOAD));
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_else_asleep() {
    let (near, mut far) = tcp_pair();
    let (nears, mut fars): (Vec<_>, Vec<_>) = (0..8).map(|_| tcp_pair()).unzip();
    let log = Log::default();
    guard(async {
        let mut connections = Vec::new();
        for near in nears {
            connections.push(connect_socket(Recorder::new(&log).alone(), near).await.unwrap());
        }
        let mut poll_all = |cx: &mut Context<'_>| connections.iter_mut().all(|one| one.poll(cx).is_pending());
        assert!(poll_fn(|cx| Poll::Ready(poll_all(cx))).await);
        let mut broken = connect_socket(Recorder::new(&Log::default()).alone(), near).await.unwrap();
        let waker = Waker::from(Arc::new(BrokenWaker));
        assert!(broken.poll(&mut Context::from_waker(&waker)).is_pending());
        far.write_all(b"x").unwrap();
        fars.iter_mut().for_each(|far| far.write_all(b"x").unwrap());
        let mut have_all_come = |cx: &mut Context<'_>| poll_all(cx) && log.data().len() == 8;
        poll_fn(|cx| if have_all_come(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        // Its end wakes it as well.
        assert!(broken.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    });
}

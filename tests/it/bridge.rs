//! Bridges to the streams of futures-io: protocols on any stream, and connections as streams.

use std::collections::VecDeque;
use std::future::{Future, IntoFuture};
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_executor::Executor;
use async_io::Timer;
use bytes::{Buf, BytesMut};
use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::io::{BufReader, copy, split};
use futures_lite::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, future};
use smol_transports::{
    Buffered, Connection, IoStream, OnEof, Protocol, StreamProtocol, Transport, connect_stream, create_connection,
    create_server,
};
use socket2::SockRef;
use soketto::handshake::server::Response;
use soketto::handshake::{Client, Server, ServerResponse};

use crate::common::{
    ANY, Lcg, assert_same, blocking, connected, guard, patient, pattern, read_all, read_exact, reset_on_close, tcp_pair,
};
use crate::recorder::{BufferedRecorder, Call, Log, Recorder};

const MANY: usize = 10 * 1024 * 1024;

/// Runs of a test that a race decides.
const ROUNDS: usize = 6;

/// Sends back what comes, and reads no faster than it can send.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

/// One direction of a duplex in memory.
#[derive(Default)]
struct Lane(Mutex<LaneState>);

#[derive(Default)]
struct LaneState {
    bytes: BytesMut,
    closed: bool,
    /// Nobody will read.
    gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Bytes that a lane holds.
const CAPACITY: usize = 48 * 1024;
/// Bytes that are held back until a flush.
const HELD: usize = 20 * 1024;

/// A stream that is as unruly as the contract lets it be: pends for no reason, takes and gives a part of what it could,
/// and passes nothing on before it is flushed or full.
struct Wild {
    input: Arc<Lane>,
    output: Arc<Lane>,
    held: BytesMut,
    closing: bool,
    numbers: Lcg,
}

fn wild_pair(seed: u64) -> (Wild, Wild) {
    let (there, back) = <(Arc<Lane>, Arc<Lane>)>::default();
    let end = |input: &Arc<Lane>, output: &Arc<Lane>, seed| Wild {
        input: input.clone(),
        output: output.clone(),
        held: BytesMut::new(),
        closing: false,
        numbers: Lcg::new(seed),
    };
    (end(&back, &there, seed), end(&there, &back, seed + 1))
}

impl Wild {
    fn whim(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.numbers.below(4) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Passes on what the lane takes; ready when nothing is held any more.
    fn poll_pass(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut lane = self.output.0.lock().unwrap();
        if lane.gone {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let count = self.held.len().min(CAPACITY - lane.bytes.len());
        if count > 0 {
            lane.bytes.extend_from_slice(&self.held[..count]);
            self.held.advance(count);
            if let Some(waker) = lane.reader.take() {
                waker.wake();
            }
        }
        if self.held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        lane.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncRead for Wild {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.whim(cx));
        let limit = 1 + self.numbers.below(HELD);
        let mut lane = self.input.0.lock().unwrap();
        if lane.bytes.is_empty() {
            if lane.closed {
                return Poll::Ready(Ok(0));
            }
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = limit.min(buf.len()).min(lane.bytes.len());
        lane.bytes.copy_to_slice(&mut buf[..count]);
        if let Some(waker) = lane.writer.take() {
            waker.wake();
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Wild {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.whim(cx));
        if self.closing {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if self.held.len() >= HELD {
            ready!(self.poll_pass(cx))?;
        }
        let count = (1 + self.numbers.below(HELD)).min(buf.len()).min(HELD - self.held.len());
        self.held.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.whim(cx));
        self.poll_pass(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closing = true;
        ready!(self.whim(cx));
        ready!(self.poll_pass(cx))?;
        let mut lane = self.output.0.lock().unwrap();
        lane.closed = true;
        if let Some(waker) = lane.reader.take() {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wild {
    fn drop(&mut self) {
        let mut wakers = Vec::new();
        for lane in [&self.input, &self.output] {
            let mut lane = lane.0.lock().unwrap();
            lane.closed = true;
            wakers.extend(lane.reader.take());
            wakers.extend(lane.writer.take());
        }
        self.input.0.lock().unwrap().gone = true;
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A stream of which the test says what each operation gives. Reads pend for good unless told otherwise.
#[derive(Clone, Default)]
struct Script {
    read: Option<ErrorKind>,
    write: Option<ErrorKind>,
    flush: Option<ErrorKind>,
    close: Option<ErrorKind>,
    /// Closing never ends.
    sticks: bool,
    /// Polls that a flush pends before it is done.
    slow_flush: usize,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    written: AtomicUsize,
    /// How much had been written when the last flush was done.
    flushed: AtomicUsize,
    closes: AtomicUsize,
}

/// A stream that wakes nobody for an operation once the next one of the same direction was ready, as sockets of smol.
struct Forgetful(Arc<Mutex<Gates>>);

#[derive(Default)]
struct Gates {
    arrived: VecDeque<u8>,
    reader: Option<Waker>,
    /// Bytes that are still taken.
    room: usize,
    written: Vec<u8>,
    /// A flush is not done.
    sticks: bool,
    writer: Option<Waker>,
}

impl AsyncRead for Forgetful {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut gates = self.0.lock().unwrap();
        // One by one, so that each is answered before the next comes.
        let Some(byte) = gates.arrived.pop_front() else {
            gates.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        gates.reader = None;
        buf[0] = byte;
        Poll::Ready(Ok(1))
    }
}

impl AsyncWrite for Forgetful {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut gates = self.0.lock().unwrap();
        let count = buf.len().min(gates.room);
        if count == 0 {
            gates.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        gates.writer = None;
        gates.room -= count;
        gates.written.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gates = self.0.lock().unwrap();
        gates.writer = gates.sticks.then(|| cx.waker().clone());
        if gates.sticks { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn told(kind: Option<ErrorKind>) -> io::Result<()> {
    kind.map_or(Ok(()), |kind| Err(kind.into()))
}

impl AsyncRead for Script {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        told(self.read)?;
        Poll::Pending
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        told(self.write)?;
        self.counts.written.fetch_add(buf.len(), Ordering::SeqCst);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        told(self.flush)?;
        if self.slow_flush > 0 {
            self.slow_flush -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.counts.flushed.store(self.counts.written.load(Ordering::SeqCst), Ordering::SeqCst);
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        told(self.close)?;
        if self.sticks {
            return Poll::Pending;
        }
        self.counts.closes.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Ok(()))
    }
}

/// A connection on a stream.
fn on<P: StreamProtocol<Transport>>(
    protocol: P,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
) -> Connection<P> {
    smol::block_on(connect_stream(protocol, stream).into_future()).unwrap()
}

/// Runs what can be run now; there must be an end to it.
fn run_all(executor: &Executor<'_>) {
    let ticks = (0..1000).take_while(|_| executor.try_tick()).count();
    assert!(ticks < 1000, "it spins");
}

async fn smol_tcp() -> (smol::net::TcpStream, smol::net::TcpStream) {
    let listener = smol::net::TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = future::zip(smol::net::TcpStream::connect(address), listener.accept()).await;
    (near.unwrap(), far.unwrap().0)
}

/// Reads to the end, into a place of its own: `read_to_end` clears all its room at each poll, which takes minutes without
/// optimization.
async fn read_much(mut reader: impl AsyncRead + Unpin) -> Vec<u8> {
    let (mut got, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match reader.read(&mut buffer).await.unwrap() {
            0 => return got,
            count => got.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Sends much and reads it back from an echo at the other end.
async fn bounce(stream: impl AsyncRead + AsyncWrite + Unpin, len: usize) {
    let sent = pattern(len, 7);
    let (reader, mut writer) = split(stream);
    let send = async {
        writer.write_all(&sent).await.unwrap();
        writer.close().await.unwrap();
    };
    let receive = async { read_much(reader).await };
    let ((), got) = future::zip(send, receive).await;
    assert_same(&got, &sent);
}

// Protocols on streams.

#[test]
fn megabytes_go_both_ways_over_an_unruly_stream() {
    for seed in 1..4 {
        guard(async {
            let (near, far) = wild_pair(seed);
            let (_, running) = on(Echo, far).spawn();
            bounce(near, MANY).await;
            running.await;
        });
    }
}

#[test]
fn megabytes_go_both_ways_over_a_tcp_stream_of_smol() {
    for round in 0..ROUNDS {
        guard(async {
            let (near, far) = smol_tcp().await;
            // Small buffers are full in the middle of a turn more often.
            SockRef::from(&far).set_send_buffer_size(65536 << (round % 3)).unwrap();
            let (_, running) = on(Echo, far).spawn();
            bounce(near, MANY).await;
            running.await;
        });
    }
}

#[test]
fn a_flush_does_not_lose_a_refused_write() {
    let gates = Arc::new(Mutex::new(Gates { arrived: b"ab".iter().copied().collect(), room: 1, ..Gates::default() }));
    let executor = Executor::new();
    let (_, _running) = on(Echo, Forgetful(gates.clone())).spawn_on(&executor);
    run_all(&executor);
    let writer = {
        let mut gates = gates.lock().unwrap();
        assert_eq!(gates.written, b"a");
        gates.room = 1;
        gates.writer.take()
    };
    writer.expect("it waits").wake();
    run_all(&executor);
    assert_eq!(gates.lock().unwrap().written, b"ab");
}

#[test]
fn an_unruly_stream_needs_no_background() {
    guard(async {
        let (near, far) = wild_pair(11);
        future::zip(on(Echo, far), bounce(near, MANY)).await;
    });
}

#[test]
fn protocols_talk_over_a_pair_of_unruly_streams() {
    guard(async {
        let (near, far) = wild_pair(21);
        let sent = pattern(MANY, 8);
        let log = Log::default();
        let connection = on(Recorder::new(&log).alone(), near);
        connection.transport().write(&sent);
        connection.transport().write_eof().unwrap();
        let (_, echo) = on(Echo, far).spawn();
        connection.await;
        echo.await;
        assert_same(&log.data(), &sent);
        assert_eq!(log.end(), None);
        assert_eq!(log.count(&Call::Eof), 1);
    });
}

#[test]
fn each_send_is_flushed() {
    guard(async {
        let script = Script { slow_flush: 3, ..Script::default() };
        let counts = script.counts.clone();
        let mut connection = on(Recorder::new(&Log::default()), script);
        let transport = connection.transport().clone();
        for len in [1, 10, 100_000] {
            transport.write(vec![0; len]);
            let total = counts.written.load(Ordering::SeqCst);
            let all = async {
                while counts.flushed.load(Ordering::SeqCst) < total + len {
                    future::yield_now().await;
                }
            };
            connection.run_until(all).await;
        }
        assert_eq!(counts.written.load(Ordering::SeqCst), 100_011);
        assert_eq!(counts.closes.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn small_messages_do_not_stay_in_a_buffering_stream() {
    guard(async {
        let (mut near, far) = wild_pair(31);
        let (_, running) = on(Echo, far).spawn();
        for round in 0..200_usize {
            let message = pattern(1 + round, 9);
            near.write_all(&message).await.unwrap();
            near.flush().await.unwrap();
            let mut answer = vec![0; message.len()];
            near.read_exact(&mut answer).await.unwrap();
            assert_same(&answer, &message);
        }
        drop(near);
        running.await;
    });
}

#[test]
fn write_eof_closes_the_writing_half() {
    guard(async {
        let log = Log::default();
        let (mut near, far) = wild_pair(41);
        let (transport, running) = on(Recorder::new(&log), far).spawn();
        transport.write("the last words");
        transport.write_eof().unwrap();
        let mut got = Vec::new();
        near.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"the last words");
        near.write_all(b"still heard").await.unwrap();
        near.close().await.unwrap();
        running.await;
        assert_eq!(log.data(), b"still heard");
        assert_eq!(log.end(), None);
    });
}

#[test]
fn write_eof_over_tcp_leaves_the_reading_half() {
    guard(async {
        let log = Log::default();
        let (mut near, far) = smol_tcp().await;
        let (transport, running) = on(Recorder::new(&log), far).spawn();
        transport.write_eof().unwrap();
        let mut got = Vec::new();
        near.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"");
        near.write_all(b"still heard").await.unwrap();
        drop(near);
        running.await;
        assert_eq!(log.data(), b"still heard");
    });
}

#[test]
fn the_stream_is_closed_once_at_the_end() {
    guard(async {
        for eof_first in [false, true] {
            let script = Script::default();
            let counts = script.counts.clone();
            let log = Log::default();
            let connection = on(Recorder::new(&log), script);
            connection.transport().write("bytes");
            if eof_first {
                connection.transport().write_eof().unwrap();
            }
            connection.transport().close();
            connection.await;
            assert_eq!(counts.written.load(Ordering::SeqCst), 5);
            assert_eq!(counts.flushed.load(Ordering::SeqCst), 5);
            assert_eq!(counts.closes.load(Ordering::SeqCst), 1);
            assert_eq!(log.end(), None);
        }
    });
}

#[test]
fn errors_of_the_stream_end_the_connection() {
    guard(async {
        let kind = Some(ErrorKind::HostUnreachable);
        let scripts = [
            Script { read: kind, ..Script::default() },
            Script { write: kind, ..Script::default() },
            Script { flush: kind, ..Script::default() },
            Script { close: kind, ..Script::default() },
        ];
        let ends = scripts.into_iter().zip([false, false, false, true]);
        let late = Script { flush: kind, ..Script::default() };
        for (index, (script, closes)) in ends.chain([(late, true)]).enumerate() {
            let log = Log::default();
            let connection = on(Recorder::new(&log), script);
            connection.transport().write("bytes");
            if closes {
                connection.transport().close();
            }
            connection.await;
            assert_eq!(log.end(), kind, "script {index}");
        }
    });
}

/// Says that it has taken more than it was offered: in one direction, the other one is silent.
struct Boastful {
    reads: bool,
}

impl AsyncRead for Boastful {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.reads { Poll::Ready(Ok(buf.len() + 1)) } else { Poll::Pending }
    }
}

impl AsyncWrite for Boastful {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len() + 1))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_stream_that_cannot_count_ends_the_connection() {
    for reads in [false, true] {
        let log = Log::default();
        let recorder = Recorder::new(&log).on_made(|transport| transport.write("data"));
        guard(async { connect_stream(recorder, Boastful { reads }).await.unwrap().await });
        assert_eq!(log.end(), Some(ErrorKind::Other));
    }
}

#[test]
fn an_error_of_closing_after_write_eof_ends_the_connection() {
    guard(async {
        let log = Log::default();
        let script = Script { close: Some(ErrorKind::HostUnreachable), ..Script::default() };
        let connection = on(Recorder::new(&log), script);
        connection.transport().write_eof().unwrap();
        connection.await;
        assert_eq!(log.end(), Some(ErrorKind::HostUnreachable));
    });
}

#[test]
fn a_close_that_never_ends_times_out() {
    guard(async {
        let log = Log::default();
        let script = Script { sticks: true, ..Script::default() };
        let limit = Duration::from_millis(50);
        let connection = connect_stream(Recorder::new(&log), script).close_timeout(limit).await.unwrap();
        connection.transport().write("bytes");
        connection.transport().close();
        connection.await;
        assert_eq!(log.end(), Some(ErrorKind::TimedOut));
    });
}

#[test]
fn an_abort_waits_for_no_close() {
    guard(async {
        let log = Log::default();
        let connection = on(Recorder::new(&log), Script { sticks: true, ..Script::default() });
        connection.transport().abort();
        connection.await;
        assert_eq!(log.end(), None);
    });
}

#[test]
fn a_dropped_connection_drops_the_stream() {
    guard(async {
        let (mut near, far) = wild_pair(51);
        drop(on(Echo, far));
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
        let refused = async {
            loop {
                near.write_all(&[0; 1000]).await?;
                near.flush().await?;
            }
        };
        let result: io::Result<()> = refused.await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

// Connections as streams.

/// A connection as a stream, and its peer.
fn stream_pair() -> (IoStream, TcpStream) {
    let (near, far) = tcp_pair();
    (connected(Recorder::new(&Log::default()), near).into_stream().0, far)
}

#[test]
fn lines_are_read() {
    guard(async {
        let (stream, mut far) = stream_pair();
        far.write_all(b"one\ntwo\nthree").unwrap();
        drop(far);
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).await.unwrap() == 0 {
                break;
            }
            lines.push(line);
        }
        assert_eq!(lines, ["one\n", "two\n", "three"]);
    });
}

#[test]
fn the_protocol_is_given_back_and_hears_no_more() {
    guard(async {
        let log = Log::default();
        let (near, mut far) = tcp_pair();
        let connection = connected(Recorder::new(&log), near);
        connection.transport().pause_reading();
        let (mut stream, protocol) = connection.into_stream();
        far.write_all(b"bytes").unwrap();
        let mut got = [0; 5];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"bytes");
        drop(stream);
        drop(protocol);
        assert_eq!(log.calls(), [Call::Made]);
    });
}

/// Bounces much off a stream from a peer in threads.
async fn bounce_off(far: TcpStream) {
    let sent = Arc::new(pattern(MANY, 12));
    let (mut writing, bytes) = (far.try_clone().unwrap(), sent.clone());
    let send = blocking(move || {
        writing.write_all(&bytes).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let ((), got) = future::zip(send, blocking(move || read_all(far))).await;
    assert_same(&got, &sent);
}

#[test]
fn a_stream_is_copied_to_itself() {
    guard(async {
        let (stream, far) = stream_pair();
        let (reader, mut writer) = split(stream);
        let echo = async {
            let count = copy(reader, &mut writer).await.unwrap();
            writer.close().await.unwrap();
            count
        };
        let (count, ()) = future::zip(echo, bounce_off(far)).await;
        assert_eq!(count, MANY as u64);
    });
}

#[test]
fn two_tasks_share_a_stream() {
    guard(async {
        let (stream, far) = stream_pair();
        let (reader, mut writer) = split(stream);
        let (there, back) = (pattern(MANY, 13), pattern(MANY, 14));
        let sending = there.clone();
        let send = smol::spawn(async move {
            writer.write_all(&sending).await.unwrap();
            writer.close().await.unwrap();
        });
        let receive = smol::spawn(async move { read_much(reader).await });
        let mut writing = far.try_clone().unwrap();
        let sending = back.clone();
        let peer_sends = blocking(move || {
            writing.write_all(&sending).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let peer_receives = blocking(move || read_all(far));
        let ((), got) = future::zip(peer_sends, peer_receives).await;
        assert_same(&got, &there);
        send.await;
        assert_same(&receive.await, &back);
    });
}

#[test]
fn two_tasks_share_a_stream_over_an_unruly_one() {
    guard(async {
        let (near, far) = wild_pair(61);
        let (stream, Echo) = on(Echo, near).into_stream();
        let (_, running) = on(Echo, far).spawn();
        let (reader, mut writer) = split(stream);
        let sent = pattern(MANY, 15);
        let sending = sent.clone();
        let send = smol::spawn(async move {
            for piece in sending.chunks(30_000) {
                writer.write_all(piece).await.unwrap();
                writer.flush().await.unwrap();
            }
            writer.close().await.unwrap();
        });
        let receive = smol::spawn(async move { read_much(reader).await });
        send.await;
        assert_same(&receive.await, &sent);
        running.await;
    });
}

#[test]
fn a_writer_waits_for_its_peer() {
    guard(async {
        let (mut stream, far) = stream_pair();
        let piece = pattern(10_000, 16);
        let mut sent = 0;
        // The system's buffers grow for a while.
        while let Some(count) = future::poll_once(stream.write(&piece)).await {
            let count = count.unwrap();
            assert_eq!(count, piece.len());
            sent += count;
            assert!(sent < 100_000_000, "nothing stops the writer");
        }
        assert!(stream.transport().is_writing_paused());
        let limit = stream.transport().write_buffer_limits().high_water() + piece.len();
        assert!(stream.transport().write_buffer_size() <= limit);
        let total = sent + piece.len();
        let peer = blocking(move || read_exact(far, total));
        stream.write_all(&piece).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.transport().write_buffer_size(), 0);
        let got = peer.await;
        assert!(got.chunks(piece.len()).all(|part| part == piece));
    });
}

#[test]
fn a_peer_waits_for_the_reader() {
    guard(async {
        let (mut stream, mut far) = stream_pair();
        far.set_nonblocking(true).unwrap();
        let piece = pattern(10_000, 17);
        let (mut sent, mut refused) = (0, 0);
        while refused < 50 {
            match far.write(&piece[sent % piece.len()..]) {
                Ok(count) => {
                    sent += count;
                    refused = 0;
                }
                Err(err) => {
                    assert_eq!(err.kind(), ErrorKind::WouldBlock);
                    refused += 1;
                    Timer::after(Duration::from_millis(2)).await;
                }
            }
            // It runs the connection, and reads nothing.
            stream.flush().await.unwrap();
            assert!(sent < 100_000_000, "nothing stops the peer");
        }
        assert!(!stream.transport().is_reading());
        let mut got = vec![0; sent];
        stream.read_exact(&mut got).await.unwrap();
        assert!(got.chunks(piece.len()).all(|part| part == &piece[..part.len()]));
        assert!(stream.transport().is_reading());
        far.write_all(b"more").unwrap();
        let mut more = [0; 4];
        stream.read_exact(&mut more).await.unwrap();
        assert_eq!(&more, b"more");
    });
}

#[test]
fn the_end_of_file_is_read_as_nothing() {
    guard(async {
        let (mut stream, far) = stream_pair();
        far.shutdown(Shutdown::Write).unwrap();
        for _ in 0..3 {
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        }
        stream.write_all(b"answer").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(blocking(move || read_exact(far, 6)).await, b"answer");
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn an_end_of_file_before_the_change_is_not_forgotten() {
    guard(async {
        let log = Log::default();
        let (near, far) = tcp_pair();
        far.shutdown(Shutdown::Write).unwrap();
        let mut connection = connected(Recorder::new(&log).on_eof(|_| OnEof::KeepOpen), near);
        connection.run_until(log.until_call(Call::Eof)).await;
        let (mut stream, _) = connection.into_stream();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn a_reader_is_told_a_reset_once() {
    guard(async {
        let (mut stream, far) = stream_pair();
        reset_on_close(&far);
        drop(far);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        for _ in 0..3 {
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        }
        // A writer is told whenever it tries.
        for _ in 0..3 {
            assert_eq!(stream.write(b"late").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn a_reset_is_told_to_a_writer() {
    guard(async {
        let (mut stream, far) = stream_pair();
        reset_on_close(&far);
        drop(far);
        let failing = async {
            loop {
                stream.write_all(&[0; 1000]).await?;
                stream.flush().await?;
            }
        };
        let result: io::Result<()> = failing.await;
        let kind = result.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind}");
        // The cause may still be to be told.
        let _ = stream.read(&mut [0; 8]).await;
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn a_waiting_reader_learns_that_the_writer_has_failed() {
    guard(async {
        let script = Script { write: Some(ErrorKind::HostUnreachable), ..Script::default() };
        let (stream, Echo) = on(Echo, script).into_stream();
        let (mut reader, mut writer) = split(stream);
        let executor = Executor::new();
        let reading = executor.spawn(async move { reader.read(&mut [0; 8]).await });
        // The reader waits now.
        while executor.try_tick() {}
        let writing = executor.spawn(async move {
            writer.write_all(b"bytes").await?;
            writer.flush().await
        });
        let results = executor.run(future::zip(reading, writing)).await;
        let kinds = [results.0.err(), results.1.err()].map(|err| err.map(|err| err.kind()));
        assert!(kinds.contains(&Some(ErrorKind::HostUnreachable)), "{kinds:?}");
    });
}

#[test]
fn what_the_reader_brings_about_is_not_lost_for_the_writer() {
    let gates = Arc::new(Mutex::new(Gates { room: 8, sticks: true, ..Gates::default() }));
    let executor = Executor::new();
    let (mut reader, mut writer) = split(on(Echo, Forgetful(gates.clone())).into_stream().0);
    let writing = executor.spawn(async move {
        writer.write_all(b"bytes").await?;
        writer.flush().await
    });
    run_all(&executor);
    assert!(!writing.is_finished());
    // The flush would be done now, and whoever waits for it is told a moment later.
    gates.lock().unwrap().sticks = false;
    let reading = executor.spawn(async move { reader.read(&mut [0; 8]).await });
    run_all(&executor);
    let writer = gates.lock().unwrap().writer.take();
    writer.into_iter().for_each(Waker::wake);
    run_all(&executor);
    assert!(writing.is_finished() && !reading.is_finished());
}

#[test]
fn a_flush_reaches_through_to_the_stream_below() {
    guard(async {
        let script = Script { slow_flush: 50, ..Script::default() };
        let counts = script.counts.clone();
        let (mut stream, Echo) = on(Echo, script).into_stream();
        stream.write_all(b"bytes").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(counts.flushed.load(Ordering::SeqCst), 5);
    });
}

#[test]
fn a_close_reaches_through_to_the_stream_below() {
    guard(async {
        let script = Script { slow_flush: 50, ..Script::default() };
        let counts = script.counts.clone();
        let (mut stream, Echo) = on(Echo, script).into_stream();
        stream.write_all(b"bytes").await.unwrap();
        stream.close().await.unwrap();
        assert_eq!(counts.closes.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_close_sends_the_end_of_file() {
    guard(async {
        let (mut stream, mut far) = stream_pair();
        stream.write_all(b"the last words").await.unwrap();
        stream.close().await.unwrap();
        let peer = far.try_clone().unwrap();
        assert_eq!(blocking(move || read_all(peer)).await, b"the last words");
        far.write_all(b"still heard").unwrap();
        drop(far);
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"still heard");
        assert!(stream.write(b"late").await.is_err());
    });
}

#[test]
fn closing_again_does_nothing() {
    guard(async {
        let (mut stream, far) = stream_pair();
        stream.close().await.unwrap();
        stream.close().await.unwrap();
        assert_eq!(read_all(far), b"");
    });
}

#[test]
fn a_dropped_stream_is_gone() {
    guard(async {
        let (mut stream, far) = stream_pair();
        stream.write_all(b"flushed").await.unwrap();
        stream.flush().await.unwrap();
        let transport = stream.transport().clone();
        drop(stream);
        assert!(transport.is_closing());
        assert_eq!(read_all(far), b"flushed");
    });
}

#[test]
fn an_abort_by_a_handle_wakes_a_reader() {
    guard(async {
        let (mut stream, _far) = stream_pair();
        let transport = stream.transport().clone();
        let abort = async {
            Timer::after(Duration::from_millis(20)).await;
            transport.abort();
        };
        let (count, ()) = future::zip(async { stream.read(&mut [0; 8]).await.unwrap() }, abort).await;
        assert_eq!(count, 0);
    });
}

// Websockets.

type Result<T> = std::result::Result<T, soketto::BoxedError>;

/// Sends back the messages of a client until it closes.
async fn serve_websocket(stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    let mut server = Server::new(stream);
    let key = server.receive_request().await?.key();
    server.send_response(&Response::Accept { key, protocol: None }).await?;
    let (mut sender, mut receiver) = server.into_builder().finish();
    loop {
        let mut data = Vec::new();
        match receiver.receive_data(&mut data).await {
            Ok(kind) if kind.is_text() => sender.send_text(std::str::from_utf8(&data)?).await?,
            Ok(_) => sender.send_binary(&data).await?,
            Err(soketto::connection::Error::Closed) => return Ok(()),
            Err(err) => return Err(err.into()),
        }
        sender.flush().await?;
    }
}

async fn ask_websocket(stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    let mut client = Client::new(stream, "localhost", "/");
    assert!(matches!(client.handshake().await?, ServerResponse::Accepted { .. }));
    let (mut sender, mut receiver) = client.into_builder().finish();
    for round in 0..50 {
        let text = format!("message {round}");
        sender.send_text(&text).await?;
        sender.flush().await?;
        let mut data = Vec::new();
        assert!(receiver.receive_data(&mut data).await?.is_text());
        assert_eq!(data, text.as_bytes());
    }
    for len in [0, 1, 70_000, 2_000_000] {
        let bytes = pattern(len, 18);
        let send = async {
            sender.send_binary(&bytes).await?;
            sender.flush().await
        };
        let mut data = Vec::new();
        let (sent, received) = future::zip(send, receiver.receive_data(&mut data)).await;
        sent?;
        assert!(received?.is_binary());
        assert_same(&data, &bytes);
    }
    sender.close().await?;
    Ok(())
}

async fn talk(server: impl Future<Output = Result<()>>, client: impl Future<Output = Result<()>>) {
    let (served, asked) = patient(future::zip(server, client)).await;
    asked.unwrap();
    served.unwrap();
}

#[test]
fn websockets_run_over_connections() {
    guard(async {
        let mut server = create_server(|| Echo, ANY).await.unwrap();
        let address = server.local_addr().unwrap();
        let serve = async { serve_websocket(server.accept().await?.into_stream().0).await };
        let ask = async { ask_websocket(create_connection(Echo, address).await?.into_stream().0).await };
        talk(serve, ask).await;
    });
}

#[test]
fn websockets_run_over_bridged_tcp_streams() {
    guard(async {
        let (near, far) = smol_tcp().await;
        talk(serve_websocket(on(Echo, far).into_stream().0), ask_websocket(on(Echo, near).into_stream().0)).await;
    });
}

#[test]
fn websockets_run_over_unruly_streams() {
    guard(async {
        let (near, far) = wild_pair(71);
        talk(serve_websocket(on(Echo, far).into_stream().0), ask_websocket(on(Echo, near).into_stream().0)).await;
    });
}

/// Sets another protocol.
type Successor = Box<dyn FnOnce(&Transport) + Send>;

/// A stream that gives the connection another protocol while it is read.
struct Swapping {
    transport: Arc<OnceLock<Transport>>,
    successor: Option<Successor>,
    unread: Vec<u8>,
}

impl AsyncRead for Swapping {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(transport) = self.transport.clone().get() {
            self.successor.take().into_iter().for_each(|set| set(transport));
        }
        // In pieces, so that there are some before and some after.
        let count = self.unread.len().min(buf.len()).min(3);
        buf[..count].copy_from_slice(&self.unread[..count]);
        self.unread.drain(..count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Swapping {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// All bytes of such a stream, if `first` is followed by what `set` sets.
fn swapped(log: &Log, first: impl StreamProtocol<Transport>, set: impl FnOnce(&Transport) + Send + 'static) -> Vec<u8> {
    let known = Arc::new(OnceLock::new());
    let stream =
        Swapping { transport: known.clone(), successor: Some(Box::new(set)), unread: b"first and second".to_vec() };
    guard(async {
        let connection = connect_stream(first, stream).await.unwrap();
        known.set(connection.transport().clone()).unwrap();
        connection.await;
    });
    log.data()
}

#[test]
fn a_protocol_that_is_set_while_bytes_are_received_loses_none() {
    let log = Log::default();
    let buffered = Buffered(BufferedRecorder::new(Recorder::taking_over(&log), 5));
    let got = swapped(&log, Recorder::new(&log), |transport| transport.set_protocol(buffered));
    assert_eq!(got, b"first and second");

    let log = Log::default();
    let lent = Recorder::taking_over(&log);
    let first = Buffered(BufferedRecorder::new(Recorder::new(&log), 5));
    let got = swapped(&log, first, |transport| transport.set_protocol(lent));
    assert_eq!(got, b"first and second");
}

#[test]
fn a_stream_of_a_connection_that_was_lost_tells_why() {
    guard(async {
        let (near, far) = tcp_pair();
        let log = Log::default();
        let mut connection = connected(Recorder::new(&log), near);
        reset_on_close(&far);
        drop(far);
        let lost = Call::Lost(Some(ErrorKind::ConnectionReset));
        connection.run_until(log.until_call(lost)).await;
        let (mut stream, _) = connection.into_stream();
        assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn what_was_dropped_is_told_to_whoever_flushes() {
    guard(async {
        // The reader has heard of it first.
        let (mut stream, far) = stream_pair();
        while !stream.transport().is_writing_paused() {
            stream.transport().write([0; 10_000]);
        }
        reset_on_close(&far);
        drop(far);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        for _ in 0..2 {
            assert_eq!(stream.flush().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert_eq!(stream.close().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }

        // There is no error to be told.
        let (mut stream, _far) = stream_pair();
        while !stream.transport().is_writing_paused() {
            stream.transport().write([0; 10_000]);
        }
        stream.transport().abort();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(stream.flush().await.unwrap_err().kind(), ErrorKind::BrokenPipe);

        // Nothing was dropped.
        let (mut stream, _far) = stream_pair();
        stream.write_all(b"all of it").await.unwrap();
        stream.transport().close();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        stream.flush().await.unwrap();
        stream.close().await.unwrap();
    });
}

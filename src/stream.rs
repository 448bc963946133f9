//! Bridges to the streams of futures-io, in both directions.

use std::future::IntoFuture;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_io::{AsyncRead, AsyncWrite};

use crate::actor::cause::Cause;
use crate::connect::{Connecting, Link, Options, bound_options, buffer_options, tls_option};
use crate::connection::Connection;
use crate::info::ExtraInfo;
use crate::io::futures::halves;
use crate::protocol::{OnEof, Protocol, StreamProtocol};
use crate::state::limits::WriteLimits;
use crate::transport::Transport;

/// Runs `protocol` on any stream that can be read and written asynchronously: one behind a proxy, a compressed one.
///
/// The stream is flushed after each send, and its writing direction is closed by `write_eof` and before the end.
/// Handles never write to it themselves: the connection must be polled.
///
/// # Errors
///
/// None without TLS; it is a `Result` as for the other entry points.
///
/// # Cancel safety
///
/// Dropping the future drops the stream and the protocol.
///
/// # Examples
///
/// ```
/// use smol::net::{TcpListener, TcpStream};
/// use smol_transports::{Protocol, Transport, connect_stream};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// # smol::block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let client = TcpStream::connect(listener.local_addr()?).await?;
/// let (stream, _) = listener.accept().await?;
/// let (_, running) = connect_stream(Echo, stream).await?.spawn();
/// drop(client);
/// running.await;
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub fn connect_stream<P, S>(protocol: P, stream: S) -> ConnectStream<P, S>
where
    P: StreamProtocol<Transport>,
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    ConnectStream { protocol, stream, options: Options::default() }
}

/// A stream to run a protocol on; made by [`connect_stream`].
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct ConnectStream<P, S> {
    protocol: P,
    stream: S,
    options: Options,
}

impl<P, S> ConnectStream<P, S> {
    buffer_options!();
    bound_options!(options);
    tls_option!();
}

impl<P, S> IntoFuture for ConnectStream<P, S>
where
    P: StreamProtocol<Transport>,
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    type Output = io::Result<Connection<P>>;
    type IntoFuture = Connecting<P>;

    fn into_future(self) -> Connecting<P> {
        let Self { protocol, stream, options } = self;
        Connecting::new(protocol, async move {
            let link = Link { halves: halves(stream), info: ExtraInfo::default(), setup: options.setup() };
            options.secure(link).await
        })
    }
}

/// Unread bytes at which reading pauses.
const HIGH: usize = 128 * 1024;
/// Unread bytes at which it goes on.
const LOW: usize = HIGH / 2;

/// A connection as a stream of futures-io: what [`Connection::into_stream`] gives.
///
/// It runs the connection itself while it is read, written or flushed, and can be split between two tasks. A write waits
/// while writing is paused, and reading pauses while 128 KiB are unread. `poll_close` sends the end of file, or closes the
/// connection where that cannot be done alone, as over TLS.
///
/// # Dropping
///
/// Dropping it ends the connection as [`abort`](Transport::abort) does: flush before.
#[derive(Debug)]
pub struct IoStream {
    connection: Connection<Inbox>,
    /// The connection has resolved.
    over: bool,
    wakers: Arc<Wakers>,
}

/// What has arrived and was not read.
#[derive(Debug, Default)]
struct Inbox {
    data: BytesMut,
    eof: bool,
    /// Why the connection was lost, if that was an error.
    cause: Option<Cause>,
    /// The reader was told.
    told: bool,
}

impl Protocol for Inbox {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.data.extend_from_slice(data);
        if self.data.len() >= HIGH {
            transport.pause_reading();
        }
    }

    fn eof_received(&mut self, _: &Transport) -> OnEof {
        self.eof = true;
        OnEof::KeepOpen
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.eof = true;
        self.cause = exc.map(Cause::new);
    }
}

/// One waker for both directions: reading and writing may be two tasks.
///
/// The connection is polled only after a wake, and each wake wakes both tasks. So whatever one of them brings about,
/// the other one comes to see it.
#[derive(Debug, Default)]
struct Wakers {
    /// Nothing was woken since the last poll.
    idle: AtomicBool,
    tasks: Mutex<[Option<Waker>; 2]>,
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Reader,
    Writer,
}

impl Wakers {
    fn register(&self, side: Side, waker: &Waker) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut tasks[side as usize];
        if slot.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            let replaced = slot.replace(waker.clone());
            drop(tasks);
            drop(replaced);
        }
    }

    /// Whether there was a wake since the last call.
    fn take_wake(&self) -> bool {
        !self.idle.swap(true, Ordering::SeqCst)
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.idle.store(false, Ordering::SeqCst);
        let tasks = mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.into_iter().flatten().for_each(Waker::wake);
    }
}

impl<P: StreamProtocol<Transport>> Connection<P> {
    /// Turns the connection into a stream that is read and written asynchronously, and gives the protocol back.
    ///
    /// Nothing more is called on the protocol.
    ///
    /// # Panics
    ///
    /// If the connection has resolved already.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use smol::io::{AsyncBufReadExt, BufReader};
    /// use smol_transports::{Connection, Protocol};
    ///
    /// async fn first_line(connection: Connection<impl Protocol>) -> std::io::Result<String> {
    ///     let (stream, _protocol) = connection.into_stream();
    ///     let mut line = String::new();
    ///     BufReader::new(stream).read_line(&mut line).await?;
    ///     Ok(line)
    /// }
    /// ```
    #[must_use]
    pub fn into_stream(self) -> (IoStream, P) {
        let inbox = Inbox { eof: self.is_at_eof(), cause: self.loss().map(Cause::new), ..Inbox::default() };
        let (connection, protocol) = self.replace_protocol(inbox);
        connection.transport().resume_reading();
        (IoStream { connection, over: false, wakers: Arc::default() }, protocol)
    }
}

impl IoStream {
    /// The handle of the transport below.
    pub const fn transport(&self) -> &Transport {
        self.connection.transport()
    }

    /// Lets the connection do what it can.
    fn advance(&mut self, side: Side, cx: &Context<'_>) {
        self.wakers.register(side, cx.waker());
        if self.over || !self.wakers.take_wake() {
            return;
        }
        let waker = Waker::from(self.wakers.clone());
        self.over = self.connection.poll_kept(&mut Context::from_waker(&waker)).is_ready();
    }

    /// Why nothing can be written any more.
    fn check_open(&self) -> io::Result<()> {
        if !self.transport().is_closing() {
            return Ok(());
        }
        Err(self.cause().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
    }

    fn cause(&self) -> Option<io::Error> {
        self.connection.protocol().cause.as_ref().map(Cause::to_error)
    }

    /// What has become of all that was written, at the end.
    fn outcome(&self) -> io::Result<()> {
        match self.cause() {
            Some(exc) => Err(exc),
            None if self.transport().mailbox().has_dropped() => Err(io::ErrorKind::BrokenPipe.into()),
            None => Ok(()),
        }
    }
}

impl AsyncRead for IoStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.connection.protocol().data.is_empty() {
            self.advance(Side::Reader, cx);
        }
        let inbox = self.connection.protocol_mut();
        if inbox.data.is_empty() {
            return match &inbox.cause {
                Some(cause) if !mem::replace(&mut inbox.told, true) => Poll::Ready(Err(cause.to_error())),
                _ if inbox.eof => Poll::Ready(Ok(0)),
                _ => Poll::Pending,
            };
        }
        let count = buf.len().min(inbox.data.len());
        buf[..count].copy_from_slice(&inbox.data[..count]);
        inbox.data.advance(count);
        if inbox.data.is_empty() {
            inbox.data = BytesMut::new();
        }
        if inbox.data.len() <= LOW {
            self.transport().resume_reading();
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for IoStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.advance(Side::Writer, cx);
        self.check_open()?;
        if self.transport().is_writing_paused() {
            return Poll::Pending;
        }
        self.transport().write(buf).ok()?;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.advance(Side::Writer, cx);
        if self.transport().write_buffer_size() > 0 {
            return Poll::Pending;
        }
        if self.over || self.transport().mailbox().has_dropped() {
            return Poll::Ready(self.outcome());
        }
        let waker = Waker::from(self.wakers.clone());
        self.connection.poll_flushed(&mut Context::from_waker(&waker))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.transport().can_write_eof() {
            self.transport().write_eof()?;
            return self.poll_flush(cx);
        }
        self.transport().close();
        self.advance(Side::Writer, cx);
        if !self.over {
            return Poll::Pending;
        }
        Poll::Ready(self.outcome())
    }
}

//! Events as a stream instead of callbacks.

use std::fmt;
use std::future::Future;
use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::datagram::{DatagramActor as Core, Datagrams};
use super::delivery::Receive;
#[cfg(unix)]
use super::process::{self, Processes};
pub use super::queue::Events;
use super::queue::{Inlet, Waiting, queue};
use super::stream::{Setup, StreamActor};
use crate::connect::{Options, StreamSocket};
use crate::datagram::{DatagramSocket, DatagramTransport, Opened};
use crate::info::ExtraInfo;
#[cfg(unix)]
use crate::io::pipe;
use crate::io::{Halves, async_io, datagram};
#[cfg(unix)]
use crate::message::ProcessEvent;
use crate::message::{DatagramEvent, Event};
#[cfg(unix)]
use crate::process::{IntoCommand, SubprocessTransport};
use crate::protocol::OnEof;
use crate::state::kind::Kind;
use crate::transport::{Handle, Transport};
#[cfg(unix)]
use crate::transport::{ReadTransport, WriteTransport};

/// Runs a connected stream socket without a protocol.
///
/// The handle posts to the actor, the actor puts events into the stream. Nothing is lost: reading stops while unread
/// events hold 256 KiB or more, and goes on as they are taken. Events other than data always find room, and there are
/// few of them: a pause and a resume that nobody has looked at cancel each other out.
///
/// The transport is never closed by itself at the peer's end of file; it is closed by its handle. The actor is done
/// after [`Event::ConnectionLost`]. Dropping [`Events`] discards what arrives from then on; dropping the [`Actor`]
/// ends the connection as [`abort`](Transport::abort) does.
///
/// There are no options: no time limits, no TLS but by [`Transport::start_tls`]; the marks are set on the handle.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is not a stream socket, or one that listens.
pub fn open(socket: impl StreamSocket) -> io::Result<(Transport, Events, Actor)> {
    let socket = socket.into_stream_socket()?;
    let info = Options::default().adopt(&socket, None)?;
    Ok(open_halves(async_io::halves(socket), info, Kind::Duplex))
}

fn open_halves<T: Handle>(halves: Halves, info: ExtraInfo, kind: Kind) -> (T, Events, Actor) {
    let mut actor = StreamActor::new(halves, info, Setup { kind, ..Setup::default() });
    let (mut inlet, events) = queue();
    actor.made(&mut inlet);
    (T::new(actor.mailbox().clone()), events, Actor { actor, inlet })
}

/// Runs the read end of a pipe without a protocol, see [`connect_read_pipe`](crate::connect_read_pipe). Like [`open`]
/// otherwise, but that the end of file closes it.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if it cannot be read as a pipe.
#[cfg(unix)]
pub fn open_read_pipe(fd: impl Into<OwnedFd>) -> io::Result<(ReadTransport, Events, Actor)> {
    let pipe = pipe::Pipe::adopt(fd.into(), pipe::End::Read)?;
    let info = pipe.info();
    Ok(open_halves(pipe::reader(pipe), info, Kind::ReadPipe))
}

/// Runs the write end of a pipe without a protocol, see [`connect_write_pipe`](crate::connect_write_pipe). Like [`open`]
/// otherwise.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if it cannot be written as a pipe.
#[cfg(unix)]
pub fn open_write_pipe(fd: impl Into<OwnedFd>) -> io::Result<(WriteTransport, Events, Actor)> {
    let pipe = pipe::Pipe::adopt(fd.into(), pipe::End::Write)?;
    let info = pipe.info();
    Ok(open_halves(pipe::writer(pipe), info, Kind::WritePipe))
}

/// Starts a child process without a protocol, with pipes for its three standard streams. Like [`open`] otherwise.
///
/// Dropping the [`ProcessActor`] kills the child.
///
/// # Errors
///
/// What the system says when the program cannot be started.
///
/// # Examples
///
/// ```
/// use std::process::Command;
///
/// use smol::stream::StreamExt;
/// use smol_transports::{ProcessEvent, actor};
///
/// # smol::block_on(async {
/// let (transport, mut events, actor) = actor::open_process(Command::new("echo").arg("hello"))?;
/// let task = smol_transports::spawn(actor);
/// let mut output = Vec::new();
/// while let Some(event) = events.next().await {
///     if let ProcessEvent::PipeDataReceived(_, data) = event {
///         output.extend_from_slice(&data);
///     }
/// }
/// task.await;
/// assert_eq!((output.as_slice(), transport.returncode()), (&b"hello\n"[..], Some(0)));
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[cfg(unix)]
pub fn open_process(command: impl IntoCommand) -> io::Result<(SubprocessTransport, ProcessEvents, ProcessActor)> {
    let (transport, mut actor) = crate::process::open(command)?;
    let (mut inlet, events) = queue();
    actor.made(&mut inlet);
    Ok((transport, events, ProcessActor { actor, inlet }))
}

/// The events of a child process, in order; ends after [`ProcessEvent::ConnectionLost`].
#[cfg(unix)]
pub type ProcessEvents = Events<ProcessEvent<'static>>;

#[cfg(unix)]
impl Waiting for ProcessEvent<'_> {
    fn weight(&self) -> usize {
        match self {
            Self::PipeDataReceived(_, data) => size_of::<Self>() + data.len(),
            _ => 0,
        }
    }

    fn cancels(&self, last: &Self) -> bool {
        matches!((last, self), (Self::PauseWriting(_), Self::ResumeWriting(_)))
    }

    fn is_last(&self) -> bool {
        matches!(self, Self::ConnectionLost(_))
    }
}

#[cfg(unix)]
impl Receive<Processes> for Inlet<ProcessEvent<'static>> {
    fn event(&mut self, event: ProcessEvent<'_>) {
        self.push(event.into_owned());
    }

    fn has_room(&mut self, waker: &Waker) -> bool {
        Self::has_room(self, waker)
    }
}

/// The future that runs a child process; done after [`ProcessEvent::ConnectionLost`].
///
/// # Dropping
///
/// Dropping it kills the child, which is collected in the background; the loss is put into the stream.
#[cfg(unix)]
#[must_use = "an actor does nothing unless it is polled"]
pub struct ProcessActor {
    actor: process::ProcessActor,
    inlet: Inlet<ProcessEvent<'static>>,
}

/// Runs a datagram socket without a protocol, connected or not. Like [`open`] otherwise, but for errors: while nobody takes
/// the events, and they have no room, errors are dropped.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is not a datagram socket.
///
/// # Examples
///
/// ```
/// use std::net::UdpSocket;
///
/// use smol::stream::StreamExt;
/// use smol_transports::{DatagramEvent, actor};
///
/// # smol::block_on(async {
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// let addr = socket.local_addr()?;
/// let (transport, mut events, actor) = actor::open_datagram(socket)?;
/// let task = smol_transports::spawn(actor);
///
/// UdpSocket::bind("127.0.0.1:0")?.send_to(b"ping", addr)?;
/// while let Some(event) = events.next().await {
///     if let DatagramEvent::DatagramReceived { data, addr } = event {
///         assert_eq!(*data, *b"ping");
///         transport.send_to("pong", &*addr);
///         transport.close();
///     }
/// }
/// task.await;
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub fn open_datagram(socket: impl DatagramSocket) -> io::Result<(DatagramTransport, DatagramEvents, DatagramActor)> {
    let Opened { socket, route, .. } = Opened::existing(socket.into_datagram_socket()?)?;
    let info = ExtraInfo::of_datagram_socket(&socket);
    let mut actor = Core::new(datagram::async_io::halves(socket), route, info, Setup::default());
    let (mut inlet, events) = queue();
    actor.made(&mut inlet);
    Ok((DatagramTransport::new(actor.mailbox().clone()), events, DatagramActor { actor, inlet }))
}

/// The events of a datagram endpoint.
pub type DatagramEvents = Events<DatagramEvent<'static>>;

impl Waiting for Event<'_> {
    fn weight(&self) -> usize {
        match self {
            Self::DataReceived(data) => size_of::<Self>() + data.len(),
            _ => 0,
        }
    }

    fn cancels(&self, last: &Self) -> bool {
        matches!((last, self), (Self::PauseWriting, Self::ResumeWriting))
    }

    fn is_last(&self) -> bool {
        matches!(self, Self::ConnectionLost(_))
    }
}

impl Receive for Inlet<Event<'static>> {
    fn event(&mut self, event: Event<'_>) -> OnEof {
        self.push(event.into_owned());
        OnEof::KeepOpen
    }

    fn has_room(&mut self, waker: &Waker) -> bool {
        Self::has_room(self, waker)
    }
}

/// Datagrams take more room than their bytes: many empty ones must not fill the memory.
impl Waiting for DatagramEvent<'_> {
    fn weight(&self) -> usize {
        match self {
            Self::DatagramReceived { data, .. } => size_of::<Self>() + data.len(),
            Self::ErrorReceived(_) => size_of::<Self>(),
            _ => 0,
        }
    }

    fn may_be_missed(&self) -> bool {
        matches!(self, Self::ErrorReceived(_))
    }

    fn cancels(&self, last: &Self) -> bool {
        matches!((last, self), (Self::PauseWriting, Self::ResumeWriting))
    }

    fn is_last(&self) -> bool {
        matches!(self, Self::ConnectionLost(_))
    }
}

impl Receive<Datagrams> for Inlet<DatagramEvent<'static>> {
    fn event(&mut self, event: DatagramEvent<'_>) {
        self.push(event.into_owned());
    }

    fn has_room(&mut self, waker: &Waker) -> bool {
        Self::has_room(self, waker)
    }
}

/// The future that moves the bytes; done after [`Event::ConnectionLost`].
///
/// # Dropping
///
/// Dropping it ends the connection as [`abort`](Transport::abort) does; `Event::ConnectionLost` is put into the stream.
#[must_use = "an actor does nothing unless it is polled"]
pub struct Actor {
    actor: StreamActor,
    inlet: Inlet<Event<'static>>,
}

/// The future that moves the datagrams; done after [`DatagramEvent::ConnectionLost`].
///
/// # Dropping
///
/// Dropping it ends the endpoint as [`abort`](DatagramTransport::abort) does; the loss is put into the stream.
#[must_use = "an actor does nothing unless it is polled"]
pub struct DatagramActor {
    actor: Core,
    inlet: Inlet<DatagramEvent<'static>>,
}

macro_rules! actor_future {
    ($type:ident) => {
        impl Future for $type {
            type Output = ();

            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
                let this = self.get_mut();
                this.actor.poll(cx, &mut this.inlet)
            }
        }

        impl Drop for $type {
            fn drop(&mut self) {
                self.actor.end(&mut self.inlet);
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        }
    };
}

actor_future!(Actor);
actor_future!(DatagramActor);
#[cfg(unix)]
actor_future!(ProcessActor);

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use std::borrow::Cow;
    use std::task::Waker;

    use super::*;
    use crate::actor::queue::queue;

    #[test]
    fn single_bytes_take_room_as_well() {
        const ROOM: usize = 256 * 1024;
        let (inlet, _events) = queue();
        let fits = |_: &usize| inlet.has_room(Waker::noop());
        let push = |_| inlet.push(Event::DataReceived(Cow::Owned(vec![0])));
        let count = (0..ROOM).take_while(fits).map(push).count();
        assert!(count <= ROOM / size_of::<Event<'_>>(), "{count} events");
    }
}

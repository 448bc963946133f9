//! Sockets that are connected already.

use std::future::IntoFuture;
use std::io;
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

use async_io::Async;
use socket2::{Socket, Type};

use super::{Connecting, Options, stream_options};
use crate::connection::Connection;
use crate::io::socket;
use crate::protocol::StreamProtocol;
use crate::state::limits::WriteLimits;
use crate::transport::Transport;

/// Runs `protocol` on a connected stream socket.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is not a stream socket, or if it is listening and the system can tell
/// (Linux, Android, FreeBSD).
///
/// # Cancel safety
///
/// Dropping the future closes the socket; the protocol is dropped with it.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)]
/// # smol::block_on(async {
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
/// use smol_transports::{Protocol, Transport, connect_socket};
///
/// #[derive(Default)]
/// struct Once(Vec<u8>);
///
/// impl Protocol for Once {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         self.0.extend_from_slice(data);
///         transport.close();
///     }
/// }
///
/// let (rsock, mut wsock) = UnixStream::pair()?;
/// let connection = connect_socket(Once::default(), rsock).await?;
/// wsock.write_all(b"abc")?;
/// assert_eq!(connection.await.0, b"abc");
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "create_connection")]
pub fn connect_socket<P: StreamProtocol<Transport>>(protocol: P, socket: impl StreamSocket) -> ConnectSocket<P> {
    ConnectSocket { protocol, socket: socket.into_stream_socket(), options: Options::default() }
}

/// Runs `protocol` on a stream socket that something else has accepted. Like [`connect_socket`] otherwise; the name tells
/// the two sides apart.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is not a stream socket, or if it is listening and the system can tell
/// (Linux, Android, FreeBSD).
///
/// # Examples
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use smol_transports::{Protocol, Transport, connect_accepted_socket};
///
/// struct Greet;
///
/// impl Protocol for Greet {
///     fn connection_made(&mut self, transport: &Transport) {
///         transport.write("welcome");
///         transport.close();
///     }
/// }
///
/// # smol::block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let (accepted, _) = listener.accept()?;
/// connect_accepted_socket(Greet, accepted).await?.await;
/// assert_eq!(std::io::read_to_string(client)?, "welcome");
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub fn connect_accepted_socket<P: StreamProtocol<Transport>>(
    protocol: P,
    socket: impl StreamSocket,
) -> ConnectSocket<P> {
    connect_socket(protocol, socket)
}

/// A stream socket of std, smol, async-io or socket2, or a descriptor of one.
///
/// It cannot be implemented by hand.
pub trait StreamSocket: sealed::IntoSocket {}

mod sealed {
    pub trait IntoSocket {
        #[doc(hidden)]
        fn into_stream_socket(self) -> std::io::Result<socket2::Socket>;
    }
}

macro_rules! stream_socket {
    ($type:ty, |$socket:ident| $convert:expr) => {
        impl sealed::IntoSocket for $type {
            fn into_stream_socket(self) -> io::Result<Socket> {
                let $socket = self;
                check($convert)
            }
        }

        impl StreamSocket for $type {}
    };
}

stream_socket!(Socket, |socket| socket);
stream_socket!(TcpStream, |socket| socket.into());
stream_socket!(Async<TcpStream>, |socket| socket.into_inner()?.into());
stream_socket!(smol::net::TcpStream, |socket| socket::own(socket.into(), TcpStream::try_clone)?.into());
#[cfg(unix)]
stream_socket!(UnixStream, |socket| socket.into());
#[cfg(unix)]
stream_socket!(Async<UnixStream>, |socket| socket.into_inner()?.into());
#[cfg(unix)]
stream_socket!(smol::net::unix::UnixStream, |socket| socket::own(socket.into(), UnixStream::try_clone)?.into());
#[cfg(unix)]
stream_socket!(std::os::fd::OwnedFd, |fd| fd.into());
#[cfg(windows)]
stream_socket!(std::os::windows::io::OwnedSocket, |socket| socket.into());

fn check(socket: Socket) -> io::Result<Socket> {
    let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if socket.r#type()? != Type::STREAM {
        return invalid("a stream socket was expected");
    }
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if socket.is_listener().unwrap_or(false) {
        return invalid("the socket is listening, not connected");
    }
    Ok(socket)
}

/// A transport to be made on a socket; made by [`connect_socket`] and [`connect_accepted_socket`].
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct ConnectSocket<P> {
    protocol: P,
    socket: io::Result<Socket>,
    options: Options,
}

impl<P> ConnectSocket<P> {
    stream_options!();
}

impl<P: StreamProtocol<Transport>> IntoFuture for ConnectSocket<P> {
    type Output = io::Result<Connection<P>>;
    type IntoFuture = Connecting<P>;

    fn into_future(self) -> Connecting<P> {
        let Self { protocol, socket, options } = self;
        Connecting::new(protocol, async move { options.secure(options.link(socket?, None)?).await })
    }
}

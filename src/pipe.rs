//! Pipes, terminals and the like.

use std::future::IntoFuture;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::actor::stream::Setup;
use crate::connection::Connection;
use crate::deferred::Deferred;
use crate::deferred::sealed::Build;
use crate::io::pipe::{End, Pipe, reader, writer};
use crate::protocol::StreamProtocol;
use crate::state::kind::Kind;
use crate::state::limits::WriteLimits;
use crate::transport::{ReadTransport, WriteTransport};

/// Runs `protocol` on the read end of a pipe, a FIFO, a terminal or another character device, or a socket.
///
/// At the end of file `eof_received` is called and the transport closed, whatever that answers. The descriptor is owned
/// by the transport. One that is in blocking mode may be shared with somebody else, as standard input is with the
/// shell: it is opened anew where the system allows, else its mode is put back at the end.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for a regular file or a directory, and for a descriptor that is not
/// open for reading.
///
/// # Examples
///
/// Standard input:
///
/// ```no_run
/// use std::os::fd::AsFd;
/// use smol_transports::{Protocol, ReadTransport, connect_read_pipe};
///
/// #[derive(Default)]
/// struct Count(usize);
///
/// impl Protocol<ReadTransport> for Count {
///     fn data_received(&mut self, _: &ReadTransport, data: &[u8]) {
///         self.0 += data.len();
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// smol::block_on(async {
///     let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
///     let count = connect_read_pipe(Count::default(), stdin).await?.await;
///     println!("{} bytes", count.0);
///     Ok(())
/// })
/// # }
/// ```
pub fn connect_read_pipe<P: StreamProtocol<ReadTransport>>(
    protocol: P,
    pipe: impl Into<OwnedFd>,
) -> ConnectReadPipe<P> {
    ConnectReadPipe { protocol, pipe: pipe.into() }
}

/// Runs `protocol` on the write end of a pipe, a FIFO, a terminal or another character device, or a socket.
///
/// That the reader of a pipe has gone is noticed without a write: `connection_lost(None)` if nothing waited for it, else
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe). The descriptor is owned by the transport, and one in blocking mode is
/// treated as by [`connect_read_pipe`].
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for a regular file or a directory, and for a descriptor that is not
/// open for writing.
///
/// # Examples
///
/// ```
/// use smol_transports::{Protocol, WriteTransport, connect_write_pipe};
///
/// struct Hello;
///
/// impl Protocol<WriteTransport> for Hello {
///     fn connection_made(&mut self, transport: &WriteTransport) {
///         transport.write("hello");
///         transport.close();
///     }
/// }
///
/// # smol::block_on(async {
/// let (mut reader, writer) = std::os::unix::net::UnixStream::pair()?;
/// connect_write_pipe(Hello, writer).await?.await;
/// assert_eq!(std::io::read_to_string(&mut reader)?, "hello");
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub fn connect_write_pipe<P: StreamProtocol<WriteTransport>>(
    protocol: P,
    pipe: impl Into<OwnedFd>,
) -> ConnectWritePipe<P> {
    let setup = Setup { kind: Kind::WritePipe, ..Setup::default() };
    ConnectWritePipe { protocol, pipe: pipe.into(), setup }
}

/// A read pipe to be connected; made by [`connect_read_pipe`].
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct ConnectReadPipe<P> {
    protocol: P,
    pipe: OwnedFd,
}

impl<P: StreamProtocol<ReadTransport>> Build for ConnectReadPipe<P> {
    type Output = io::Result<Connection<P, ReadTransport>>;

    fn build(self) -> io::Result<Connection<P, ReadTransport>> {
        let pipe = Pipe::adopt(self.pipe, End::Read)?;
        let setup = Setup { kind: Kind::ReadPipe, ..Setup::default() };
        let info = pipe.info();
        Ok(Connection::start(self.protocol, reader(pipe), info, setup))
    }
}

impl<P: StreamProtocol<ReadTransport>> IntoFuture for ConnectReadPipe<P> {
    type Output = io::Result<Connection<P, ReadTransport>>;
    type IntoFuture = Deferred<Self>;

    fn into_future(self) -> Deferred<Self> {
        Deferred::new(self)
    }
}

/// A write pipe to be connected; made by [`connect_write_pipe`].
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct ConnectWritePipe<P> {
    protocol: P,
    pipe: OwnedFd,
    setup: Setup,
}

impl<P> ConnectWritePipe<P> {
    /// The marks of the write buffer that the transport begins with; 64 KiB and 16 KiB by default.
    pub const fn write_limits(mut self, limits: WriteLimits) -> Self {
        self.setup.limits = limits;
        self
    }

    /// How long the sending of what is buffered may take after `close()`. After that the transport is aborted, and
    /// `connection_lost` gets [`TimedOut`](io::ErrorKind::TimedOut). No limit by default.
    pub const fn close_timeout(mut self, limit: Duration) -> Self {
        self.setup.close_timeout = Some(limit);
        self
    }
}

impl<P: StreamProtocol<WriteTransport>> Build for ConnectWritePipe<P> {
    type Output = io::Result<Connection<P, WriteTransport>>;

    fn build(self) -> io::Result<Connection<P, WriteTransport>> {
        let pipe = Pipe::adopt(self.pipe, End::Write)?;
        let info = pipe.info();
        Ok(Connection::start(self.protocol, writer(pipe), info, self.setup))
    }
}

impl<P: StreamProtocol<WriteTransport>> IntoFuture for ConnectWritePipe<P> {
    type Output = io::Result<Connection<P, WriteTransport>>;
    type IntoFuture = Deferred<Self>;

    fn into_future(self) -> Deferred<Self> {
        Deferred::new(self)
    }
}

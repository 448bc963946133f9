//! Unix sockets: connections, servers, and the file that a bound socket leaves.

use std::fs::{self, File};
use std::future::IntoFuture;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::connect::attempts::within;
use crate::connect::{Connecting, Options, bound_options, buffer_options, tls_option};
use crate::connection::Connection;
use crate::info::UnixAddr;
use crate::io::errors::{retry, unless_blocked};
use crate::io::timer::Timer;
use crate::protocol::StreamProtocol;
use crate::server::{CreateServer, create_server};
use crate::state::limits::WriteLimits;
use crate::transport::Transport;

/// The first pause while the server has no room for another client; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Connects to a Unix socket and runs `protocol` on the connection.
///
/// `path` is a path or a [`UnixAddr`]. Awaiting the builder connects and calls `connection_made`; awaiting the
/// [`Connection`] that it gives runs it to its end. A server whose backlog is full is waited for.
///
/// # Errors
///
/// What the system says: [`NotFound`](io::ErrorKind::NotFound) without a file,
/// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if nobody listens on it.
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if the path is empty, too long or contains a zero byte,
/// [`Unsupported`](io::ErrorKind::Unsupported) for an abstract name where there are none.
///
/// # Cancel safety
///
/// Dropping the future closes the socket; the protocol is dropped with it, and gets no callback.
///
/// # Examples
///
/// ```no_run
/// use smol_transports::{Protocol, Transport, create_unix_connection};
///
/// struct Client;
///
/// impl Protocol for Client {
///     fn connection_made(&mut self, transport: &Transport) {
///         if let Some(peer) = transport.extra_info().peer_credentials() {
///             println!("the server runs as user {}", peer.uid);
///         }
///         transport.write("Hello World!");
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// smol::block_on(async {
///     create_unix_connection(Client, "/run/echo.sock").await?.await;
///     Ok(())
/// })
/// # }
/// ```
pub fn create_unix_connection<P: StreamProtocol<Transport>>(protocol: P, path: impl Into<UnixAddr>) -> ConnectUnix<P> {
    ConnectUnix { protocol, addr: path.into(), limit: None, options: Options::default() }
}

/// Listens on a Unix socket and makes a protocol for each client.
///
/// `path` is a path or a [`UnixAddr`]. It works as [`create_server`] otherwise; options that are about TCP do nothing, but
/// for `reuse_port`, which is refused.
///
/// A socket file that is at the path already is taken over if no socket is bound to it any more. What belongs to
/// another server, whether that listens or not, is left alone, and so is every other kind of file. The permissions of
/// the new file are those that the process's umask leaves.
///
/// Descriptors that a peer passes along are not received, and closed. What the peer has sent behind them may wait until it
/// sends again.
///
/// The file is removed as soon as the server is closed or dropped, if it is still the same file and
/// [`cleanup_socket`](CreateServer::cleanup_socket) was not turned off.
///
/// # Errors
///
/// [`AddrInUse`](io::ErrorKind::AddrInUse) if there is another server, or another kind of file; what the system says,
/// with the path in the text. [`InvalidInput`](io::ErrorKind::InvalidInput) if the path is empty, too long or contains
/// a zero byte, [`Unsupported`](io::ErrorKind::Unsupported) for an abstract name where there are none.
///
/// # Cancel safety
///
/// It does not wait. Dropping the builder makes nothing.
///
/// # Examples
///
/// ```no_run
/// use smol_transports::{Protocol, Transport, create_unix_server};
///
/// struct EchoServer;
///
/// impl Protocol for EchoServer {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// smol::block_on(async {
///     create_unix_server(|| EchoServer, "/run/echo.sock").await?.serve_forever().await
/// })
/// # }
/// ```
pub fn create_unix_server<F, P>(factory: F, path: impl Into<UnixAddr>) -> CreateServer<F>
where
    F: FnMut() -> P,
    P: StreamProtocol<Transport>,
{
    create_server(factory, path.into())
}

/// A connection to a Unix socket to be opened; made by [`create_unix_connection`].
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct ConnectUnix<P> {
    protocol: P,
    addr: UnixAddr,
    limit: Option<Duration>,
    options: Options,
}

impl<P> ConnectUnix<P> {
    buffer_options!();
    bound_options!(options);
    tls_option!();

    /// How long it may take. No limit by default. A TLS handshake has a limit of its own. When it is over, awaiting
    /// the builder gives [`TimedOut`](io::ErrorKind::TimedOut).
    pub const fn connect_timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }
}

impl<P: StreamProtocol<Transport>> IntoFuture for ConnectUnix<P> {
    type Output = io::Result<Connection<P>>;
    type IntoFuture = Connecting<P>;

    fn into_future(self) -> Connecting<P> {
        let Self { protocol, addr, limit, options } = self;
        Connecting::new(protocol, async move {
            let socket = within(limit, connect(addr)).await?;
            options.secure(options.link(socket, None)?).await
        })
    }
}

async fn connect(addr: UnixAddr) -> io::Result<Socket> {
    let addr = sock_addr(&addr)?;
    let socket = stream_socket()?;
    let mut pause = FIRST_PAUSE;
    // Readiness tells nothing about the backlog of a Unix socket.
    while unless_blocked(retry(|| socket.connect(&addr)))?.is_none() {
        Timer::after(pause).apart().await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    Ok(socket)
}

fn stream_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The address in the form of the system.
pub(crate) fn sock_addr(addr: &UnixAddr) -> io::Result<SockAddr> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let path = match (addr.as_pathname(), addr.as_abstract_name()) {
        (Some(path), _) if path.as_os_str().as_bytes().contains(&0) => {
            return Err(invalid(format!("the path of a Unix socket contains a zero byte: {path:?}")));
        }
        (Some(path), _) => path.to_owned(),
        (None, Some(name)) => abstract_path(name)?,
        (None, None) => return Err(invalid("the path of a Unix socket is empty".into())),
    };
    let length = path.as_os_str().len();
    SockAddr::unix(path).map_err(|_| invalid(format!("the path of a Unix socket is too long ({length} bytes): {addr}")))
}

/// The name as a path that begins with a zero byte.
fn abstract_path(name: &[u8]) -> io::Result<PathBuf> {
    if cfg!(any(target_os = "linux", target_os = "android")) {
        return Ok(std::ffi::OsString::from_vec([&[0], name].concat()).into());
    }
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no abstract names for Unix sockets"))
}

/// A bound stream socket that does not listen yet, and its file.
pub(crate) fn bind_stream(addr: &UnixAddr) -> io::Result<(Socket, Option<SocketFile>)> {
    let socket = stream_socket()?;
    let file = bind(&socket, addr)?;
    Ok((socket, file))
}

/// Binds a socket of any type, taking a stale file over. There is no file for an abstract name.
pub(crate) fn bind(socket: &Socket, addr: &UnixAddr) -> io::Result<Option<SocketFile>> {
    let name = sock_addr(addr)?;
    let path = addr.as_pathname();
    path.map_or(Ok(()), SocketFile::claim)?;
    socket.bind(&name).map_err(|err| cannot_bind(addr, err.kind(), &err.to_string()))?;
    path.map(SocketFile::of).transpose()
}

fn cannot_bind(addr: &UnixAddr, kind: io::ErrorKind, why: &str) -> io::Error {
    io::Error::new(kind, format!("cannot bind to {addr}: {why}"))
}

/// The file of a bound socket: removed when this is dropped, if it is still the same file.
///
/// It must be dropped before the socket: until then no other file can have the same number.
#[derive(Debug)]
pub(crate) struct SocketFile {
    /// Absolute. Empty if the file stays.
    path: PathBuf,
    id: FileId,
}

/// Device and number.
type FileId = (u64, u64);

impl SocketFile {
    /// Makes way for a bind: removes the file if it is a socket that nobody is bound to.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if it belongs to somebody, or is no socket.
    pub(crate) fn claim(path: &Path) -> io::Result<()> {
        if !is_socket(path)? {
            return Ok(());
        }
        let _lock = lock_directory(path);
        if is_socket(path)? {
            take_over(path)?;
        }
        Ok(())
    }

    /// The file of a socket that was bound to `path` just now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { id: file_id(path)?, path: std::path::absolute(path)? })
    }

    /// Lets the file stay.
    pub(crate) fn keep(mut self) {
        self.path = PathBuf::new();
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|id| id == self.id) {
            // Whoever closes a server has no use for this error.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn in_use(path: &Path, why: &str) -> io::Error {
    cannot_bind(&path.into(), io::ErrorKind::AddrInUse, why)
}

/// False if there is nothing, or nothing to be seen: the bind will tell.
fn is_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(true),
        Ok(_) => Err(in_use(path, "there is a file that is not a socket")),
        Err(_) => Ok(false),
    }
}

fn take_over(path: &Path) -> io::Result<()> {
    if !is_stale(path)? {
        return Err(in_use(path, "another socket is bound to it"));
    }
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            Err(cannot_bind(&path.into(), err.kind(), &format!("the stale file cannot be removed: {err}")))
        }
        _ => Ok(()),
    }
}

/// Whether no socket is bound to the file.
///
/// A socket of another type is told by its own error, also if it does not listen, and does not notice. So datagrams
/// come first: only where they are refused as well would a connection be made.
fn is_stale(path: &Path) -> io::Result<bool> {
    let addr = SockAddr::unix(path)?;
    for kind in [Type::DGRAM, Type::STREAM] {
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        socket.set_nonblocking(true)?;
        match retry(|| socket.connect(&addr)) {
            Err(err) if matches!(err.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Keeps the others of this crate from taking over in the same directory meanwhile: between the look at a file and its
/// removal, one of them might have put a new socket there. If somebody holds the lock for long, it is done without.
#[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
fn lock_directory(path: &Path) -> Option<File> {
    use rustix::fs::{FlockOperation, flock};
    const TRIES: usize = 50;

    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or_else(|| Path::new("."))).ok()?;
    for _ in 0..TRIES {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(directory),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return None,
        }
    }
    None
}

#[cfg(any(target_os = "solaris", target_os = "illumos"))]
fn lock_directory(_: &Path) -> Option<File> {
    None
}

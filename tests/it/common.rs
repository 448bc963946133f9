//! Helpers that every theme needs.

use std::future::{Future, IntoFuture};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use smol_transports::{Connection, StreamProtocol, StreamSocket, Transport, connect_socket};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::guard::{LIMIT, watch};

/// How long one step may take; one that takes so long hangs.
pub(crate) const PATIENCE: Duration = LIMIT;

/// Any port of the loopback interface.
pub(crate) const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Runs `f` to its end; panics if that takes too long.
pub(crate) fn guard<T>(f: impl Future<Output = T>) -> T {
    watch();
    smol::block_on(patient(f))
}

/// The same for one step of a test.
pub(crate) async fn patient<T>(f: impl Future<Output = T>) -> T {
    let late = async {
        Timer::after(PATIENCE).await;
        panic!("it hangs");
    };
    future::or(f, late).await
}

/// A small generator of numbers that look random: the same ones for the same seed.
#[derive(Debug)]
pub(crate) struct Lcg(u64);

impl Lcg {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }
}

/// Bytes in which a lost, doubled or moved piece shows.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Lcg::new(seed);
    let mut bytes = Vec::with_capacity(len + 4);
    while bytes.len() < len {
        bytes.extend_from_slice(&numbers.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Asserts that bytes are the same without printing megabytes.
pub(crate) fn assert_same(got: &[u8], expected: &[u8]) {
    assert_eq!(got.len(), expected.len(), "length");
    let wrong = got.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(wrong, None, "the first wrong byte");
}

/// Two connected TCP sockets of the loopback interface.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    watch();
    let listener = TcpListener::bind(ANY).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = listener.accept().unwrap().0;
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    far.set_write_timeout(Some(PATIENCE)).unwrap();
    (near, far)
}

/// A connection on a socket.
pub(crate) fn connected<P: StreamProtocol<Transport>>(protocol: P, socket: impl StreamSocket) -> Connection<P> {
    smol::block_on(connect_socket(protocol, socket).into_future()).unwrap()
}

/// Two connected Unix sockets.
pub(crate) fn unix_pair() -> (UnixStream, UnixStream) {
    watch();
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    far.set_write_timeout(Some(PATIENCE)).unwrap();
    (near, far)
}

/// Leaves the file of a socket that nobody has any more. A child that another test is starting has a copy of the socket
/// until it executes its program, so those are waited for.
pub(crate) fn make_stale(path: &Path, kind: Type) {
    let name = SockAddr::unix(path).unwrap();
    Socket::new(Domain::UNIX, kind, None).unwrap().bind(&name).unwrap();
    let probe = UnixDatagram::unbound().unwrap();
    while !probe.connect(path).is_err_and(|err| err.kind() == ErrorKind::ConnectionRefused) {
        std::thread::yield_now();
    }
    assert!(path.exists());
}

/// Makes the close of a socket a reset.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
}

/// A blocking client.
pub(crate) fn client(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn read_exact(mut stream: impl Read, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

pub(crate) fn read_all(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Sends `message` and reads an answer of the same length.
pub(crate) fn ping(stream: &mut TcpStream, message: &[u8]) -> Vec<u8> {
    stream.write_all(message).unwrap();
    read_exact(stream, message.len())
}

/// A blocking call on a thread of its own; it begins at once.
pub(crate) fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> {
    smol::unblock(f)
}

/// An address that refuses connections as long as the socket lives: it is bound and does not listen.
pub(crate) fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(ANY).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// An address that never answers as long as this lives: a listener whose queue is full.
pub(crate) struct Silent {
    pub(crate) addr: SocketAddr,
    _sockets: (Socket, Vec<TcpStream>),
}

impl Silent {
    pub(crate) fn new() -> Self {
        let (listener, addr) = refusing();
        listener.listen(0).unwrap();
        let knock = || TcpStream::connect_timeout(&addr, Duration::from_millis(200)).ok();
        let clients = std::iter::from_fn(knock).take(100).collect();
        Self { addr, _sockets: (listener, clients) }
    }
}

/// Whether this machine has an IPv6 loopback address; says so if not.
pub(crate) fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        println!("skipped: no IPv6 on this machine");
    }
    has
}

/// Runs `f` in a process of its own, in which nothing else happens: `name` is the path of the calling test.
pub(crate) fn isolated(name: &str, f: impl FnOnce()) {
    const MARK: &str = "SMOL_TRANSPORTS_ISOLATED";
    if std::env::var_os(MARK).is_some() {
        return f();
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args([name, "--exact", "--nocapture"]).env(MARK, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "no test of that name: {text}");
}

/// Descriptors that this process has open.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

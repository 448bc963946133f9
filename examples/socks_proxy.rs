//! A SOCKS5 proxy: two transports that are coupled, so that each end feels what the other one does.
//!
//! Run it with `cargo run --release --example socks_proxy -- 127.0.0.1:1080`, then try
//! `curl --socks5-hostname 127.0.0.1:1080 http://example.com/`, where the proxy looks the name up, or `--socks5`, where
//! curl does. Everybody who can reach the address may use the proxy. Ctrl-C ends it.
//!
//! Look at `Relay` first: what one side receives is written to the other; a side that cannot be written to stops the
//! reading of the other; the end of one direction, the end of all, and a broken connection are passed on, each as what
//! it is. `Client` shows how a protocol gives way to the next one, and how a callback starts what takes its time.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use smol::{Task, Timer};
use smol_transports::{Addr, OnEof, Protocol, Transport, create_connection, create_server, spawn};

mod shared;

use shared::{Interrupt, start};

const USAGE: &str = "usage: socks_proxy [ADDRESS]; 127.0.0.1:1080 by default";

/// Time for a client to say what it wants, and for connecting to that.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for the last bytes to be read.
const LAST_BYTES: Duration = Duration::from_secs(60);
/// Time without a byte in either direction.
const SILENCE: Duration = Duration::from_secs(3600);
/// Clients at a time; more wait. Each takes two descriptors.
const MOST_CLIENTS: usize = 500;
/// Time at the end of the program.
const GOODBYE: Duration = Duration::from_secs(2);

// ANCHOR: relay
/// One side of a connection through the proxy. Whoever drops it closes the other side.
struct Relay {
    peer: Transport,
    /// One of the sides has received an end of file.
    half_closed: Arc<AtomicBool>,
}

impl Protocol for Relay {
    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.peer.write(data);
    }

    fn eof_received(&mut self, _: &Transport) -> OnEof {
        let _ = self.peer.write_eof();
        if self.half_closed.swap(true, Ordering::Relaxed) { OnEof::Close } else { OnEof::KeepOpen }
    }

    fn pause_writing(&mut self, _: &Transport) {
        self.peer.pause_reading();
    }

    fn resume_writing(&mut self, _: &Transport) {
        self.peer.resume_reading();
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        if exc.is_some() {
            // A reset, so that the other side does not take what it has got for all there is.
            self.peer.with_socket(|socket| socket.set_linger(Some(Duration::ZERO)));
            self.peer.abort();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.peer.close();
    }
}
// ANCHOR_END: relay

/// A client that has not yet said where it wants to go.
struct Client {
    received: Vec<u8>,
    greeted: bool,
    /// Dropping a task ends it.
    deadline: Option<Task<()>>,
    connecting: Option<Task<()>>,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        let transport = transport.clone();
        self.deadline = Some(spawn(async move {
            Timer::after(PATIENCE).await;
            transport.abort();
        }));
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.received.extend_from_slice(data);
        let refusal = match self.proceed(transport) {
            Ok(()) => return,
            Err(reply) => reply,
        };
        transport.write(refusal);
        transport.close();
    }
}

impl Client {
    fn new() -> Self {
        Self { received: Vec::new(), greeted: false, deadline: None, connecting: None }
    }

    fn proceed(&mut self, transport: &Transport) -> Result<(), Refusal> {
        if !self.greeted {
            let Some(length) = greeting(&self.received)? else { return Ok(()) };
            self.received.drain(..length);
            self.greeted = true;
            transport.write([5, NO_AUTHENTICATION]);
        }
        let Some((target, length)) = request(&self.received)? else { return Ok(()) };
        let early = self.received.split_off(length);
        self.deadline = None;
        // ANCHOR: start
        // Nothing more is wanted until it is known who gets it.
        transport.pause_reading();
        self.connecting = Some(spawn(connect(transport.clone(), target, early)));
        // ANCHOR_END: start
        Ok(())
    }
}

// ANCHOR: connect
/// Does nothing until it is replaced.
struct Opening;

impl Protocol for Opening {}

/// Connects, and couples the client with what it is connected to.
async fn connect(client: Transport, target: Target, early: Vec<u8>) {
    let opening = create_connection(Opening, target).connect_timeout(PATIENCE);
    let opening = match opening.close_timeout(LAST_BYTES).idle_timeout(SILENCE).await {
        Ok(opening) => opening,
        Err(err) => {
            client.write(reply(code(&err), None));
            return client.close();
        }
    };
    let remote = opening.transport().clone();
    client.write(reply(GRANTED, remote.extra_info().sockname().and_then(Addr::as_inet)));
    remote.write(early);

    let half_closed = Arc::new(AtomicBool::new(false));
    let (opened, Opening) = opening.replace_protocol(Relay { peer: client.clone(), half_closed: half_closed.clone() });
    // A client that has gone meanwhile drops its side at once, which closes the other one.
    client.set_protocol(Relay { peer: remote, half_closed });
    client.resume_reading();
    opened.spawn().1.detach();
}
// ANCHOR_END: connect

/// RFC 1928
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;
const GRANTED: u8 = 0;

/// A name or an address in digits, and a port.
type Target = (String, u16);

/// What a client is told that is not served.
type Refusal = Vec<u8>;

/// The length of the greeting, when it has arrived whole.
fn greeting(data: &[u8]) -> Result<Option<usize>, Refusal> {
    match data {
        [5, count, methods @ ..] if methods.len() >= usize::from(*count) => {
            let methods = &methods[..usize::from(*count)];
            if methods.contains(&NO_AUTHENTICATION) { Ok(Some(2 + methods.len())) } else { Err(vec![5, 0xff]) }
        }
        [] | [5, ..] => Ok(None),
        _ => Err(Vec::new()),
    }
}

/// Where the client wants to go and the length of the request, when it has arrived whole.
fn request(data: &[u8]) -> Result<Option<(Target, usize)>, Refusal> {
    let (host, rest) = match data {
        [5, CONNECT, _, 1, a, b, c, d, rest @ ..] => (Ipv4Addr::new(*a, *b, *c, *d).to_string(), rest),
        [5, CONNECT, _, 4, rest @ ..] if rest.len() >= 16 => {
            let (address, rest) = rest.split_first_chunk::<16>().expect("16 bytes");
            (Ipv6Addr::from(*address).to_string(), rest)
        }
        [5, CONNECT, _, 3, length, rest @ ..] if rest.len() >= usize::from(*length) => {
            let (name, rest) = rest.split_at((*length).into());
            (String::from_utf8(name.to_vec()).map_err(|_| reply(4, None))?, rest)
        }
        [] | [5] | [5, CONNECT] | [5, CONNECT, _] | [5, CONNECT, _, 1 | 3 | 4, ..] => return Ok(None),
        [5, CONNECT, ..] => return Err(reply(8, None)),
        [5, ..] => return Err(reply(7, None)),
        _ => return Err(reply(1, None)),
    };
    let [high, low, rest @ ..] = rest else { return Ok(None) };
    Ok(Some(((host, u16::from_be_bytes([*high, *low])), data.len() - rest.len())))
}

fn reply(code: u8, bound: Option<SocketAddr>) -> Vec<u8> {
    let mut reply = vec![5, code, 0];
    let bound = bound.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
    match bound {
        SocketAddr::V4(addr) => reply.extend([&[1], &addr.ip().octets()[..]].concat()),
        SocketAddr::V6(addr) => reply.extend([&[4], &addr.ip().octets()[..]].concat()),
    }
    reply.extend(bound.port().to_be_bytes());
    reply
}

fn code(err: &io::Error) -> u8 {
    match err.kind() {
        io::ErrorKind::NetworkUnreachable => 3,
        io::ErrorKind::ConnectionRefused => 5,
        io::ErrorKind::TimedOut => 6,
        // A name that is not found has no kind of its own.
        _ => 4,
    }
}

async fn run([address]: [String; 1], interrupt: Interrupt) -> io::Result<()> {
    let server = create_server(Client::new, address).max_connections(MOST_CLIENTS);
    let server = server.close_timeout(LAST_BYTES).idle_timeout(SILENCE).await?;
    println!("listening on {}", server.local_addr()?);
    let (handle, serving) = server.spawn();

    interrupt.wait().await?;
    handle.shutdown(GOODBYE).await;
    serving.await
}

fn main() -> ExitCode {
    start(USAGE, ["127.0.0.1:1080"], run)
}

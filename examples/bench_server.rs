//! A server to measure and to torment: it echoes, discards or sends without end.
//!
//! Run it with `cargo run --release --example bench_server -- --listen tcp:127.0.0.1:8888`; it prints the address it
//! listens on; `tls:` needs `--features tls`. With `--stats` it runs until its standard input ends, prints how many
//! connections were made, were lost and are alive, and exits: so a test that holds the other end of a pipe can see that
//! none is left behind.

use std::io::{self, Write as _};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::{ExitCode, exit};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use smol_transports::stats::stats;
use smol_transports::{
    Addr, CreateServer, DatagramProtocol, DatagramTransport, Listen, Protocol, ServerHandle, Transport, Written,
    create_datagram_endpoint, create_server,
};
use socket2::{Domain, Socket, Type};

const USAGE: &str = "\
usage: bench_server --listen tcp:ADDR|tls:ADDR|unix:PATH|udp:ADDR [options]
  --mode echo|careless|sink|source
                           send back what arrives (default), the same without heeding pauses, discard it, or send
                           all the time
  --backend driver|async-io|smol
                           where connections run: on a driver (default), in the main thread, which waits by async-io,
                           or on an executor of smol's
  --threads N              threads of the driver or the executor; 1 by default. A single driver is the main thread
  --busy-poll SECONDS      how long a driver looks for work before it sleeps; by default a moment where that pays
  --send-buffer BYTES      what the system may keep of what is sent; small ones make sends come short
  --max-connections N      clients at the same time; the others wait in the backlog
  --write-cap BYTES        what may wait to be sent to a client before its connection is ended
  --idle-timeout SECONDS, --read-timeout SECONDS, --write-timeout SECONDS
                           how long a client may do nothing, send nothing, or take nothing of what waits
  --shutdown SECONDS       at the end of standard input shut down within that time, and print `aborted=N`
  --cert FILE, --key FILE  certificate and private key for tls, in PEM files (needs the feature `tls`)
  --handshake-timeout SECONDS
                           how long a TLS handshake may take; 60 by default
  --stats                  at the end of standard input print `made=N lost=N alive=N` and exit
  --help                   print this";

/// Bytes of one write of a source; the byte at `n` is `n % 251`.
const BLOCK: usize = 64 * 1024;

/// Sends back what arrives, and reads no faster than its peer does.
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

/// Sends back what arrives, however much waits already.
struct Careless;

impl Protocol for Careless {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Discards what arrives.
struct Sink;

impl Protocol for Sink {}

/// Sends as long as its peer takes it.
struct Source {
    block: Bytes,
}

impl Source {
    fn fill(&self, transport: &Transport) {
        while transport.write_bytes(self.block.clone()) == Written::Queued {}
    }
}

impl Protocol for Source {
    fn connection_made(&mut self, transport: &Transport) {
        self.fill(transport);
    }

    // What is written to a closing transport is still sent, so one that never stops would never be closed.
    fn resume_writing(&mut self, transport: &Transport) {
        if !transport.is_closing() {
            self.fill(transport);
        }
    }
}

#[derive(Clone, Copy)]
enum Mode {
    Echo,
    Careless,
    Sink,
    Source,
}

enum Endpoint {
    Tcp(String),
    Tls(String),
    #[cfg(unix)]
    Unix(String),
    Udp(String),
}

#[derive(Clone, Copy, PartialEq)]
enum Backend {
    Driver,
    AsyncIo,
    Smol,
}

struct Options {
    listen: Endpoint,
    mode: Mode,
    backend: Backend,
    threads: usize,
    busy_poll: Option<Duration>,
    send_buffer: Option<usize>,
    security: Security,
    limits: Limits,
    stats: bool,
}

/// What clients may not exceed.
#[derive(Default)]
struct Limits {
    connections: Option<usize>,
    write_cap: Option<usize>,
    idle: Option<Duration>,
    read: Option<Duration>,
    write: Option<Duration>,
    shutdown: Option<Duration>,
}

impl Limits {
    /// Takes an option if it is one of these.
    fn parse(&mut self, name: &str, value: impl FnOnce() -> Result<String, String>) -> Result<bool, String> {
        match name {
            "--max-connections" => self.connections = Some(parse_number(&value()?)?),
            "--write-cap" => self.write_cap = Some(parse_number(&value()?)?),
            "--idle-timeout" => self.idle = Some(parse_seconds(&value()?)?),
            "--read-timeout" => self.read = Some(parse_seconds(&value()?)?),
            "--write-timeout" => self.write = Some(parse_seconds(&value()?)?),
            "--shutdown" => self.shutdown = Some(parse_seconds(&value()?)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn apply<F>(&self, mut server: CreateServer<F>) -> CreateServer<F> {
        if let Some(clients) = self.connections {
            server = server.max_connections(clients);
        }
        if let Some(bytes) = self.write_cap {
            server = server.max_write_buffer(bytes);
        }
        if let Some(limit) = self.idle {
            server = server.idle_timeout(limit);
        }
        if let Some(limit) = self.read {
            server = server.read_timeout(limit);
        }
        if let Some(limit) = self.write {
            server = server.write_timeout(limit);
        }
        server
    }
}

/// What is needed for TLS.
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "it is read, and then refused"))]
#[derive(Default)]
struct Security {
    cert: Option<String>,
    key: Option<String>,
    handshake_timeout: Option<Duration>,
}

/// The options; none if help was asked for.
fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let (mut listen, mut mode, mut send_buffer, mut stats) = (None, Mode::Echo, None, false);
    let (mut backend, mut threads, mut limits) = (Backend::Driver, 1, Limits::default());
    let mut busy_poll = None;
    let mut security = Security::default();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--listen" => listen = Some(parse_endpoint(&value()?)?),
            "--mode" => mode = parse_mode(&value()?)?,
            "--backend" => backend = parse_backend(&value()?)?,
            "--threads" => threads = parse_number(&value()?)?,
            "--busy-poll" => busy_poll = Some(parse_seconds(&value()?)?),
            "--send-buffer" => send_buffer = Some(parse_number(&value()?)?),
            "--cert" => security.cert = Some(value()?),
            "--key" => security.key = Some(value()?),
            "--handshake-timeout" => security.handshake_timeout = Some(parse_seconds(&value()?)?),
            "--stats" => stats = true,
            "--help" | "-h" => return Ok(None),
            name if limits.parse(name, &mut value)? => {}
            _ => return Err(format!("unknown option {arg:?}\n{USAGE}")),
        }
    }
    let listen = listen.ok_or_else(|| format!("--listen is missing\n{USAGE}"))?;
    Ok(Some(Options { listen, mode, backend, threads, busy_poll, send_buffer, security, limits, stats }))
}

fn parse_endpoint(text: &str) -> Result<Endpoint, String> {
    match text.split_once(':') {
        Some(("tcp", addr)) => Ok(Endpoint::Tcp(addr.to_owned())),
        #[cfg(unix)]
        Some(("unix", path)) => Ok(Endpoint::Unix(path.to_owned())),
        Some(("udp", addr)) => Ok(Endpoint::Udp(addr.to_owned())),
        #[cfg(not(unix))]
        Some(("unix", _)) => Err("unix: not supported on this platform".to_owned()),
        Some(("tls", addr)) if cfg!(feature = "tls") => Ok(Endpoint::Tls(addr.to_owned())),
        Some(("tls", _)) => Err("tls: needs the feature, as in `cargo run --features tls`".to_owned()),
        _ => Err(format!(
            "{text:?} is not an address of the form tcp:HOST:PORT, tls:HOST:PORT, unix:PATH or \
             udp:HOST:PORT\n{USAGE}"
        )),
    }
}

fn parse_backend(text: &str) -> Result<Backend, String> {
    match text {
        "driver" => Ok(Backend::Driver),
        "async-io" => Ok(Backend::AsyncIo),
        "smol" => Ok(Backend::Smol),
        _ => Err(format!("unknown backend {text:?}\n{USAGE}")),
    }
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    match text {
        "echo" => Ok(Mode::Echo),
        "careless" => Ok(Mode::Careless),
        "sink" => Ok(Mode::Sink),
        "source" => Ok(Mode::Source),
        _ => Err(format!("unknown mode {text:?}\n{USAGE}")),
    }
}

fn parse_number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number\n{USAGE}"))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| format!("{text:?} is not a number of seconds\n{USAGE}"))
}

/// Serves on the endpoint until the process is ended.
async fn run(options: Options) -> io::Result<()> {
    match options.mode {
        Mode::Echo => serve(options, || Echo).await,
        Mode::Careless => serve(options, || Careless).await,
        Mode::Sink => serve(options, || Sink).await,
        Mode::Source => {
            let block: Bytes = (0..BLOCK).map(|n| (n % 251) as u8).collect();
            serve(options, move || Source { block: block.clone() }).await
        }
    }
}

async fn serve<F, P>(options: Options, factory: F) -> io::Result<()>
where
    F: FnMut() -> P + Send + 'static,
    P: Protocol + Send + 'static,
{
    let listen = match &options.listen {
        Endpoint::Udp(addr) => return serve_udp(addr, &options).await,
        #[cfg(unix)]
        Endpoint::Unix(path) => Listen::from(smol_transports::UnixAddr::from(path)),
        Endpoint::Tcp(addr) | Endpoint::Tls(addr) => match options.send_buffer {
            None => Listen::from(addr),
            Some(size) => Listen::from(with_send_buffer(addr, size)?),
        },
    };
    let server = options.limits.apply(create_server(factory, listen));
    let (server, over_tls) = match options.listen {
        Endpoint::Tls(_) => (secure(server, &options.security)?, true),
        _ => (server, false),
    };
    let server = server.await?;
    if let Some(limit) = options.limits.shutdown {
        let (handle, tells) = (server.handle(), options.stats);
        thread::spawn(move || shut_down_at_end(&handle, limit, tells));
    }
    for socket in server.sockets() {
        let kind = match socket.as_inet() {
            Some(_) if over_tls => "tls",
            Some(_) => "tcp",
            None => "unix",
        };
        announce(kind, &socket, &options)?;
    }
    match options.backend {
        Backend::Driver => server.serve_forever().await,
        Backend::AsyncIo => server.serve_local().await,
        Backend::Smol => server.serve_on(executor(options.threads)).await,
    }
}

#[cfg(feature = "tls")]
fn secure<F>(server: CreateServer<F>, security: &Security) -> io::Result<CreateServer<F>> {
    let (Some(cert), Some(key)) = (&security.cert, &security.key) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "tls needs --cert and --key"));
    };
    let tls = smol_transports::Tls::server_with_files(cert, key)?;
    Ok(server.tls(match security.handshake_timeout {
        Some(limit) => tls.handshake_timeout(limit),
        None => tls,
    }))
}

#[cfg(not(feature = "tls"))]
fn secure<F>(_: CreateServer<F>, _: &Security) -> io::Result<CreateServer<F>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// An executor that threads of its own run, for as long as the process lives.
fn executor(threads: usize) -> &'static smol::Executor<'static> {
    let executor: &smol::Executor<'static> = Box::leak(Box::new(smol::Executor::new()));
    for _ in 0..threads {
        thread::spawn(|| smol::block_on(executor.run(smol::future::pending::<()>())));
    }
    executor
}

/// Answers every datagram to its sender.
struct Answer;

impl DatagramProtocol for Answer {
    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        transport.send_to(data, addr.clone());
    }

    fn pause_writing(&mut self, transport: &DatagramTransport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &DatagramTransport) {
        transport.resume_reading();
    }
}

async fn serve_udp(addr: &str, options: &Options) -> io::Result<()> {
    let endpoint = create_datagram_endpoint(Answer).local_addr(addr).await?;
    let sockname = endpoint.transport().extra_info().sockname().cloned();
    announce("udp", &sockname.ok_or(io::ErrorKind::AddrNotAvailable)?, options)?;
    let _protocol = match options.backend {
        Backend::Driver => endpoint.spawn().1.await,
        Backend::AsyncIo => endpoint.await,
        Backend::Smol => endpoint.spawn_on(executor(options.threads)).1.await,
    };
    Ok(())
}

fn announce(kind: &str, addr: &Addr, options: &Options) -> io::Result<()> {
    println!("listening on {kind}:{addr}");
    io::stdout().flush()?;
    if options.stats && options.limits.shutdown.is_none() {
        thread::spawn(report_at_end);
    }
    Ok(())
}

/// One thread is that of the caller.
#[cfg(target_os = "linux")]
fn run_on_driver(options: Options) -> io::Result<()> {
    use smol_transports::driver;
    let mut config = driver::configure().threads(options.threads);
    if let Some(time) = options.busy_poll {
        config = config.busy_poll(time);
    }
    if options.threads == 1 {
        return config.block_on(run(options))?;
    }
    config.start()?;
    smol::block_on(run(options))
}

/// There are no drivers: what would run there runs on smol's executor.
#[cfg(not(target_os = "linux"))]
fn run_on_driver(options: Options) -> io::Result<()> {
    if options.busy_poll.is_some_and(|time| !time.is_zero()) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "there are no drivers on this system"));
    }
    smol::block_on(run(options))
}

/// A bound socket whose send buffer its connections inherit.
fn with_send_buffer(addr: &str, size: usize) -> io::Result<Socket> {
    let addr: SocketAddr = addr.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_send_buffer_size(size)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Waits for the end of standard input, then has the server end, which ends the process.
fn shut_down_at_end(handle: &ServerHandle, limit: Duration, tells: bool) {
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    let aborted = smol::future::block_on(handle.shutdown(limit));
    println!("aborted={aborted}");
    if tells {
        tell_stats();
    }
    exit(0);
}

/// Waits for the end of standard input, then says what has become of all connections.
fn report_at_end() {
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    tell_stats();
    exit(0);
}

fn tell_stats() {
    // A descriptor is closed a moment before its connection is counted as lost.
    for _ in 0..100 {
        if stats().alive == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let stats = stats();
    println!("made={} lost={} alive={}", stats.made, stats.lost, stats.alive);
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            eprintln!("bench_server: {text}");
            return ExitCode::from(2);
        }
    };
    let result = match options.backend {
        Backend::Driver => run_on_driver(options),
        Backend::AsyncIo | Backend::Smol => smol::block_on(run(options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("bench_server: {err}");
            ExitCode::FAILURE
        }
    }
}

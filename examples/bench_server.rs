//! A server to measure and to torment: it echoes, discards or sends without end.
//!
//! Run it with `cargo run --release --example bench_server -- --listen tcp:127.0.0.1:8888`; it prints the address it
//! listens on. With `--stats` it runs until its standard input ends, prints how many connections were made, were lost
//! and are alive, and exits: so a test that holds the other end of a pipe can see that none is left behind.

use std::io::{self, Write as _};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::{ExitCode, exit};
use std::thread;

use bytes::Bytes;
use smol_transports::stats::stats;
use smol_transports::{Listen, Protocol, Transport, Written, create_server};
use socket2::{Domain, Socket, Type};

const USAGE: &str = "\
usage: bench_server --listen tcp:ADDR|unix:PATH|udp:ADDR [options]
  --mode echo|sink|source  send back what arrives (default), discard it, or send all the time
  --send-buffer BYTES      what the system may keep of what is sent; small ones make sends come short
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
    Sink,
    Source,
}

enum Endpoint {
    Tcp(String),
}

struct Options {
    listen: Endpoint,
    mode: Mode,
    send_buffer: Option<usize>,
    stats: bool,
}

/// The options; none if help was asked for.
fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let (mut listen, mut mode, mut send_buffer, mut stats) = (None, Mode::Echo, None, false);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--listen" => listen = Some(parse_endpoint(&value()?)?),
            "--mode" => mode = parse_mode(&value()?)?,
            "--send-buffer" => send_buffer = Some(parse_size(&value()?)?),
            "--stats" => stats = true,
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("unknown option {arg:?}\n{USAGE}")),
        }
    }
    let listen = listen.ok_or_else(|| format!("--listen is missing\n{USAGE}"))?;
    Ok(Some(Options { listen, mode, send_buffer, stats }))
}

fn parse_endpoint(text: &str) -> Result<Endpoint, String> {
    match text.split_once(':') {
        Some(("tcp", addr)) => Ok(Endpoint::Tcp(addr.to_owned())),
        Some((kind @ ("unix" | "udp" | "tls"), _)) => Err(format!("{kind}: not yet supported")),
        _ => Err(format!("{text:?} is not an address of the form tcp:HOST:PORT\n{USAGE}")),
    }
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    match text {
        "echo" => Ok(Mode::Echo),
        "sink" => Ok(Mode::Sink),
        "source" => Ok(Mode::Source),
        _ => Err(format!("unknown mode {text:?}\n{USAGE}")),
    }
}

fn parse_size(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number of bytes\n{USAGE}"))
}

/// Serves on the endpoint until the process is ended.
async fn run(options: Options) -> io::Result<()> {
    let Endpoint::Tcp(addr) = &options.listen;
    let listen = match options.send_buffer {
        None => Listen::from(addr),
        Some(size) => Listen::from(with_send_buffer(addr, size)?),
    };
    match options.mode {
        Mode::Echo => serve(listen, options.stats, || Echo).await,
        Mode::Sink => serve(listen, options.stats, || Sink).await,
        Mode::Source => {
            let block: Bytes = (0..BLOCK).map(|n| (n % 251) as u8).collect();
            serve(listen, options.stats, || Source { block: block.clone() }).await
        }
    }
}

async fn serve<F, P>(listen: Listen, stats: bool, factory: F) -> io::Result<()>
where
    F: FnMut() -> P,
    P: Protocol + Send + 'static,
{
    let server = create_server(factory, listen).await?;
    println!("listening on tcp:{}", server.local_addr()?);
    io::stdout().flush()?;
    if stats {
        thread::spawn(report_at_end);
    }
    server.serve_forever().await
}

/// A bound socket whose send buffer its connections inherit.
fn with_send_buffer(addr: &str, size: usize) -> io::Result<Socket> {
    let addr: SocketAddr = addr.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_send_buffer_size(size)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Waits for the end of standard input, then says what has become of all connections.
fn report_at_end() {
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    let stats = stats();
    println!("made={} lost={} alive={}", stats.made, stats.lost, stats.alive);
    exit(0);
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
    match smol::block_on(run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("bench_server: {err}");
            ExitCode::FAILURE
        }
    }
}

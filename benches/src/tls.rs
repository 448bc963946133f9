//! Echo servers over TLS, side by side: this crate, futures-rustls by hand on smol, and tokio-rustls. Linux only.
//!
//! Run it with `cargo run --release -p smol-transports-bench --bin smol-transports-bench-tls [ROUNDS]`. As in the other
//! program the servers take turns, and what is reported is the median of the ratios to the first one. The processor time
//! of the server tells more than the rate: the load generator has to encrypt and decrypt as well.

#[allow(dead_code, reason = "the other program uses all of it")]
mod machine;
#[allow(dead_code, reason = "the other program uses all of it")]
mod peer;
#[path = "tls/servers.rs"]
mod servers;
#[allow(dead_code, reason = "the other program uses all of it")]
mod workload;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use machine::Pin;
use peer::Peer;
use smol_transports::Tls;
use smol_transports::futures_rustls::pki_types::CertificateDer;
use smol_transports::futures_rustls::pki_types::pem::PemObject;
use smol_transports::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use workload::{Address, Net};

/// Bytes of one message; the next is sent when the last has come back.
const SIZES: [usize; 3] = [64, 16 * 1024, 256 * 1024];
/// Of one run.
const TIME: Duration = Duration::from_millis(300);
const ROUNDS: usize = 11;

/// One run of one server.
#[derive(Clone, Copy)]
struct Sample {
    /// Messages per second.
    rate: f64,
    /// Processor time of the server for one message, in microseconds.
    cpu: f64,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name, ..] => serve(name, &args[2..]),
        [] => compare(ROUNDS),
        [rounds] => rounds.parse().map_err(io::Error::other).and_then(compare),
        _ => Err(io::Error::other("usage: smol-transports-bench-tls [ROUNDS]")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("smol-transports-bench-tls: {err}");
            ExitCode::FAILURE
        }
    }
}

/// One server, until it is killed. Its address is the only line on standard output.
fn serve(name: &str, args: &[String]) -> io::Result<()> {
    let server = servers::ALL.iter().find(|server| server.name == name).ok_or(io::ErrorKind::NotFound)?;
    if let Some(cpu) = args.iter().skip_while(|arg| *arg != "--cpu").nth(1) {
        machine::pin_thread(cpu.parse().map_err(io::Error::other)?)?;
    }
    machine::die_with_parent()?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", Address::Tcp(listener.local_addr()?.port()));
    (server.run)(listener)
}

fn compare(rounds: usize) -> io::Result<()> {
    let cpus = machine::cpus(Pin::Same)?;
    let peers = servers::ALL.iter().map(|server| Peer::start(server, Net::Tcp, cpus.server));
    let peers = peers.collect::<io::Result<Vec<_>>>()?;
    if let Some(cpu) = cpus.load {
        machine::pin_thread(cpu)?;
    }
    println!("{}\n", machine::describe());
    println!("| server | {} |", SIZES.map(|size| format!("{size} B: rate, server's time")).join(" | "));
    println!("|---|{}", "---|".repeat(SIZES.len()));
    let columns = SIZES.iter().map(|size| take(&peers, *size, rounds)).collect::<io::Result<Vec<_>>>()?;
    for (index, server) in servers::ALL.iter().enumerate() {
        let cells: Vec<String> = columns.iter().map(|column| cell(column, index)).collect();
        println!("| {} | {} |", server.name, cells.join(" | "));
    }
    Ok(())
}

/// The samples of each round, in the order of the servers; each round begins with another one.
fn take(peers: &[Peer], size: usize, rounds: usize) -> io::Result<Vec<Vec<Sample>>> {
    let round = |first: usize| {
        let mut samples = vec![None; peers.len()];
        for turn in 0..peers.len() {
            let index = (first + turn) % peers.len();
            samples[index] = Some(sample(&peers[index], size)?);
        }
        Ok(samples.into_iter().flatten().collect())
    };
    (0..rounds).map(round).collect()
}

fn sample(peer: &Peer, size: usize) -> io::Result<Sample> {
    let mut stream = connect(&peer.address)?;
    let message: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let mut answer = vec![0; size];
    exchange(&mut stream, &message, &mut answer)?;
    let (before, start) = (peer.cpu_time()?, Instant::now());
    let mut messages = 0.0;
    while start.elapsed() < TIME {
        exchange(&mut stream, &message, &mut answer)?;
        messages += 1.0;
    }
    let (time, cpu) = (start.elapsed(), peer.cpu_time()?.saturating_sub(before));
    Ok(Sample { rate: messages / time.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / messages })
}

fn exchange(stream: &mut impl Io, message: &[u8], answer: &mut [u8]) -> io::Result<()> {
    stream.write_all(message)?;
    stream.flush()?;
    stream.read_exact(answer)?;
    if answer == message { Ok(()) } else { Err(io::Error::other("the answer is not what was sent")) }
}

trait Io: Read + Write {}

impl<S: Read + Write> Io for S {}

fn connect(address: &Address) -> io::Result<impl Io> {
    let Address::Tcp(port) = *address else { return Err(io::ErrorKind::Unsupported.into()) };
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(servers::file("ca.pem")).map_err(io::Error::other)?;
    roots.add(authority).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(Tls::crypto_provider());
    let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = "localhost".try_into().map_err(io::Error::other)?;
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    Ok(StreamOwned::new(ClientConnection::new(config, name).map_err(io::Error::other)?, socket))
}

/// The absolute medians for the first server, and the medians of the ratios for the others.
fn cell(rounds: &[Vec<Sample>], index: usize) -> String {
    let of = |value: fn(&Sample) -> f64| {
        let ratio = |round: &Vec<Sample>| value(&round[index]) / if index == 0 { 1.0 } else { value(&round[0]) };
        median(rounds.iter().map(ratio).collect())
    };
    let (rate, cpu) = (of(|sample| sample.rate), of(|sample| sample.cpu));
    if index == 0 { format!("{rate:.0}/s, {cpu:.1} µs") } else { format!("{rate:.2}, {cpu:.2}") }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

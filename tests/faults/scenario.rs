//! What goes on while system calls fail: bytes there and back, by each kind of transport, on either backend.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::future::Future;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use smol_transports::stats::stats;
use smol_transports::{
    Addr, Connection, DatagramProtocol, DatagramTransport, OnEof, Pipe, Protocol, ReadTransport, Server,
    SubprocessProtocol, SubprocessTransport, Transport, WriteTransport, connect_read_pipe, connect_socket,
    connect_write_pipe, create_connection, create_datagram_endpoint, create_server, create_unix_connection,
    create_unix_server, subprocess_exec,
};

const BYTES: usize = 300_000;
const DATAGRAMS: usize = 90;

/// Where transports run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Driver,
    /// Servers in a loop inside of a future, which async-io waits for; anything else on async-io.
    Local,
    AsyncIo,
}

/// Everything that went wrong and was told to somebody.
#[derive(Clone, Debug, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

impl Errors {
    fn add(&self, what: &str, exc: &io::Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{what}: {exc}"));
    }

    fn add_loss(&self, what: &str, exc: Option<io::Error>) {
        exc.iter().for_each(|exc| self.add(what, exc));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What has become of a scenario.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Every byte has arrived, and is right.
    pub(crate) complete: bool,
    pub(crate) errors: Vec<String>,
}

fn pattern() -> Vec<u8> {
    (0..BYTES).map(|at| (at % 251) as u8).collect()
}

/// Runs the scenario of that name.
pub(crate) async fn run(name: &str, backend: Backend) -> Outcome {
    let errors = Errors::default();
    let complete = match name {
        "tcp" => tcp(backend, &errors).await,
        "unix" => unix(backend, &errors).await,
        "udp" => udp(backend, &errors).await,
        "pipe" => pipe(backend, &errors).await,
        "child" => child(backend, &errors).await,
        _ => panic!("no scenario of the name {name}"),
    };
    Outcome { complete, errors: errors.take() }
}

/// What this process has at a time.
#[derive(Clone, Debug)]
pub(crate) struct Holdings {
    /// Each with its number and what it stands for.
    descriptors: BTreeMap<OsString, PathBuf>,
    /// Transports that exist, and those that were not told of their end.
    pub(crate) transports: u64,
}

impl Holdings {
    pub(crate) fn are_at_most(&self, before: &Self) -> bool {
        self.descriptors.len() <= before.descriptors.len() && self.transports <= before.transports
    }
}

pub(crate) fn holdings() -> Holdings {
    let stats = stats();
    let entries = fs::read_dir("/proc/self/fd").expect("procfs").filter_map(Result::ok);
    let descriptors =
        entries.filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?))).collect();
    Holdings { descriptors, transports: stats.alive + (stats.made - stats.lost) }
}

/// A server's end: sends back what arrives.
struct Echo(Errors);

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.0.add_loss("server", exc);
    }
}

/// A client's end: sends everything, in pieces that must be joined, and waits for all of it.
struct Client {
    received: Vec<u8>,
    errors: Errors,
}

impl Client {
    fn new(errors: &Errors) -> Self {
        Self { received: Vec::new(), errors: errors.clone() }
    }

    fn is_complete(&self) -> bool {
        self.received == pattern()
    }
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        for piece in pattern().chunks(10_000) {
            transport.write_bytes(piece.to_vec());
        }
        transport.write_eof().expect("a stream has an end of file");
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.received.extend_from_slice(data);
    }

    fn eof_received(&mut self, _: &Transport) -> OnEof {
        OnEof::Close
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.errors.add_loss("client", exc);
    }
}

async fn run_client(connection: io::Result<Connection<Client>>, backend: Backend, errors: &Errors) -> bool {
    match connection {
        Ok(connection) => match backend {
            Backend::Driver => connection.spawn().1.await.is_complete(),
            Backend::AsyncIo | Backend::Local => connection.await.is_complete(),
        },
        Err(exc) => {
            errors.add("connect", &exc);
            false
        }
    }
}

/// Serves as long as `client` takes.
async fn beside<F, P>(server: Server<F>, backend: Backend, errors: &Errors, client: impl Future<Output = bool>) -> bool
where
    F: FnMut() -> P + Send + 'static,
    P: Protocol + Send + 'static,
{
    let reports = errors.clone();
    server.on_error(move |exc| reports.add("accept", &exc));
    let handle = server.handle();
    let client = async {
        let complete = client.await;
        handle.close();
        handle.abort_clients();
        complete
    };
    let (served, complete) = match backend {
        Backend::Driver => {
            let (_, serving) = server.spawn();
            smol::future::zip(serving, client).await
        }
        Backend::AsyncIo | Backend::Local => smol::future::zip(server.serve_local(), client).await,
    };
    served.expect("a server goes on after errors");
    complete
}

async fn tcp(backend: Backend, errors: &Errors) -> bool {
    let echo = errors.clone();
    let server = match create_server(move || Echo(echo.clone()), "127.0.0.1:0").await {
        Ok(server) => server,
        Err(exc) => return failed(errors, "listen", &exc),
    };
    let address = server.local_addr().expect("it listens").to_string();
    let connect = async |client| match backend {
        // Connecting waits by async-io, which forgets whom to wake when epoll fails for it.
        Backend::Driver => connect_socket(client, TcpStream::connect(address)?).await,
        Backend::AsyncIo | Backend::Local => create_connection(client, address).await,
    };
    let client = async { run_client(connect(Client::new(errors)).await, backend, errors).await };
    beside(server, backend, errors, client).await
}

async fn unix(backend: Backend, errors: &Errors) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = folder.path().join("socket");
    let echo = errors.clone();
    let server = match create_unix_server(move || Echo(echo.clone()), path.as_path()).await {
        Ok(server) => server,
        Err(exc) => return failed(errors, "listen", &exc),
    };
    let connect = create_unix_connection(Client::new(errors), path.as_path());
    let client = async { run_client(connect.await, backend, errors).await };
    beside(server, backend, errors, client).await
}

fn failed(errors: &Errors, what: &str, exc: &io::Error) -> bool {
    errors.add(what, exc);
    false
}

/// What both datagram endpoints know. A datagram that has failed is asked for once more.
struct Exchange {
    client: OnceLock<DatagramTransport>,
    server: Addr,
    errors: Errors,
}

impl Exchange {
    fn ask(&self, transport: &DatagramTransport) {
        for _ in 0..3 {
            transport.send_to(b"question", self.server.clone());
        }
    }

    /// One of the endpoints has ended: the other one must not wait for it.
    fn lost(&self, exc: Option<io::Error>) {
        self.errors.add_loss("endpoint", exc);
        self.client.get().into_iter().for_each(DatagramTransport::abort);
    }

    fn failed(&self, exc: &io::Error) {
        self.errors.add("datagram", exc);
        self.client.get().map(|client| client.send_to(b"question", self.server.clone()));
    }
}

struct Answerer(Arc<OnceLock<Arc<Exchange>>>);

impl DatagramProtocol for Answerer {
    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        assert_eq!(data, b"question");
        transport.send_to(b"answer", addr);
    }

    fn error_received(&mut self, _: &DatagramTransport, exc: io::Error) {
        self.0.get().expect("nothing arrives before").failed(&exc);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        if let Some(exchange) = self.0.get() {
            exchange.lost(exc);
        }
    }
}

struct Asker {
    exchange: Arc<Exchange>,
    answers: usize,
}

impl DatagramProtocol for Asker {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        let _ = self.exchange.client.set(transport.clone());
        self.exchange.ask(transport);
    }

    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], _: &Addr) {
        assert_eq!(data, b"answer");
        self.answers += 1;
        if self.answers >= DATAGRAMS {
            transport.close();
        } else if self.answers % 3 == 0 {
            self.exchange.ask(transport);
        }
    }

    fn error_received(&mut self, _: &DatagramTransport, exc: io::Error) {
        self.exchange.failed(&exc);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.exchange.lost(exc);
    }
}

async fn udp(backend: Backend, errors: &Errors) -> bool {
    let known = Arc::new(OnceLock::new());
    let answerer = match create_datagram_endpoint(Answerer(known.clone())).local_addr("127.0.0.1:0").await {
        Ok(endpoint) => endpoint,
        Err(exc) => return failed(errors, "bind", &exc),
    };
    let server = answerer.transport().extra_info().sockname().expect("it is bound").clone();
    let exchange = Arc::new(Exchange { client: OnceLock::new(), server, errors: errors.clone() });
    let _ = known.set(exchange.clone());
    let asker = create_datagram_endpoint(Asker { exchange, answers: 0 }).local_addr("127.0.0.1:0").await;
    let asker = match asker {
        Ok(endpoint) => endpoint,
        Err(exc) => return failed(errors, "bind", &exc),
    };
    let handle = answerer.transport().clone();
    let asker = match backend {
        Backend::Driver => {
            let _answering = answerer.spawn().1;
            asker.spawn().1.await
        }
        Backend::AsyncIo | Backend::Local => {
            let both = smol::future::zip(answerer, async {
                let asker = asker.await;
                handle.abort();
                asker
            });
            both.await.1
        }
    };
    // What ended it was told to its protocol.
    let _ = handle.closed().await;
    asker.answers >= DATAGRAMS
}

struct Writer(Errors);

impl Protocol<WriteTransport> for Writer {
    fn connection_made(&mut self, transport: &WriteTransport) {
        for piece in pattern().chunks(10_000) {
            transport.write_bytes(piece.to_vec());
        }
        transport.close();
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.0.add_loss("writer", exc);
    }
}

#[derive(Default)]
struct Reader {
    received: Vec<u8>,
    errors: Errors,
}

impl Protocol<ReadTransport> for Reader {
    fn data_received(&mut self, _: &ReadTransport, data: &[u8]) {
        self.received.extend_from_slice(data);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.errors.add_loss("reader", exc);
    }
}

async fn pipe(backend: Backend, errors: &Errors) -> bool {
    let (read, write): (OwnedFd, OwnedFd) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let writer = connect_write_pipe(Writer(errors.clone()), write).await;
    let reader = connect_read_pipe(Reader { received: Vec::new(), errors: errors.clone() }, read).await;
    let (writer, reader) = match (writer, reader) {
        (Ok(writer), Ok(reader)) => (writer, reader),
        (writer, reader) => {
            writer.err().into_iter().chain(reader.err()).for_each(|exc| errors.add("pipe", &exc));
            return false;
        }
    };
    let (_, reader) = match backend {
        Backend::Driver => smol::future::zip(writer.spawn().1, reader.spawn().1).await,
        Backend::AsyncIo | Backend::Local => smol::future::zip(writer, reader).await,
    };
    reader.received == pattern()
}

/// Talks to a `cat`.
struct Cat {
    received: Vec<u8>,
    status: Option<ExitStatus>,
    errors: Errors,
}

impl SubprocessProtocol for Cat {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        let stdin = transport.stdin().expect("it is a pipe");
        for piece in pattern().chunks(10_000) {
            stdin.write_bytes(piece.to_vec());
        }
        stdin.close();
    }

    fn pipe_data_received(&mut self, _: &SubprocessTransport, pipe: Pipe, data: &[u8]) {
        assert_eq!(pipe, Pipe::Stdout);
        self.received.extend_from_slice(data);
    }

    fn pipe_connection_lost(&mut self, _: &SubprocessTransport, _: Pipe, exc: Option<io::Error>) {
        self.errors.add_loss("pipe of a child", exc);
    }

    fn process_exited(&mut self, _: &SubprocessTransport, status: ExitStatus) {
        self.status = Some(status);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.errors.add_loss("child", exc);
    }
}

async fn child(backend: Backend, errors: &Errors) -> bool {
    let cat = Cat { received: Vec::new(), status: None, errors: errors.clone() };
    let cat = match subprocess_exec(cat, Command::new("cat")).await {
        Ok(child) => match backend {
            Backend::Driver => child.spawn().1.await,
            Backend::AsyncIo | Backend::Local => child.await,
        },
        Err(exc) => return failed(errors, "spawn", &exc),
    };
    // One that was cut off is ended by a signal.
    assert!(cat.status.is_some(), "the exit was not told");
    cat.received == pattern()
}

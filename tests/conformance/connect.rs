//! The creating calls: how each kind of transport is made, and run to its end.

use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use futures_lite::FutureExt;
use serde_json::json;
use smol_transports::{
    Addr, Buffered, CreateServer, ReadTransport, Spawn, Stdio, StreamProtocol, Transport, WriteTransport,
    connect_accepted_socket, connect_read_pipe, connect_socket, connect_write_pipe, create_connection,
    create_datagram_endpoint, create_server, create_unix_connection, create_unix_server, subprocess_exec,
    subprocess_shell,
};
use socket2::Socket;

use crate::kind::kind_of;
use crate::library::Local;
use crate::recorder::{Filling, Receiving, Streaming, Supervising};
use crate::run::{LIBRARY, Run};
use crate::scenario::{Kind, Redirect, Style};
use crate::sleep;

/// What a transport under test is made of.
pub(crate) enum Target {
    /// A child process, as the options say.
    Process,
    Stream(Stream),
    /// The own address of a UDP socket.
    Udp(SocketAddr),
    /// The address of the peer of a UDP socket.
    UdpConnected(SocketAddr),
    /// The own path of a Unix datagram socket, and that of its peer.
    UnixDatagram(PathBuf, PathBuf),
}

/// What a stream under test is made of.
pub(crate) enum Stream {
    /// A socket that a listener of somebody else has accepted.
    Accepted(Socket),
    /// An address to connect to.
    Address(SocketAddr),
    /// A connected socket.
    Connected(Socket),
    /// A Unix socket to connect to.
    Path(PathBuf),
    ReadPipe(OwnedFd),
    WritePipe(OwnedFd),
}

/// A protocol for every kind of stream.
trait AnyStream: StreamProtocol<Transport> + StreamProtocol<ReadTransport> + StreamProtocol<WriteTransport> {}

impl<P> AnyStream for P where
    P: StreamProtocol<Transport> + StreamProtocol<ReadTransport> + StreamProtocol<WriteTransport>
{
}

/// Tells how a creating call has ended.
struct Report {
    run: Arc<Run>,
    /// The way back to the driver: the name of the error or `ok`.
    ended: Sender<&'static str>,
}

impl Report {
    /// Makes a transport and runs it to its end.
    async fn on<R: Future>(&self, creating: impl IntoFuture<Output = io::Result<R>>) {
        match creating.await {
            Ok(running) => self.run_to_end(running).await,
            Err(err) => self.end(kind_of(&err)),
        }
    }

    async fn run_to_end(&self, running: impl Future) {
        if !self.run.is_made() {
            let violation = json!(["violation", "connect_before_connection_made"]);
            self.run.trace.add(violation);
        }
        self.end("ok");
        // A panic has done what it has to do to the transport: it must not end the thread.
        let _ = AssertUnwindSafe(running).catch_unwind().await;
    }

    fn end(&self, result: &'static str) {
        let _ = self.ended.send(result);
    }
}

/// Makes a transport and runs it to its end.
pub(crate) async fn connect(run: Arc<Run>, target: Target, ended: Sender<&'static str>) {
    let report = Report { run: run.clone(), ended };
    let recorder = run.add_conn();
    let datagrams = |recorder| create_datagram_endpoint(Receiving(recorder));
    match target {
        Target::Process => report.on(subprocess(Supervising(recorder), &run)).await,
        Target::Stream(stream) => match recorder.spec().style {
            Style::Buffered => connect_stream(&report, Buffered(Filling::new(recorder)), stream).await,
            _ => connect_stream(&report, Streaming(recorder), stream).await,
        },
        Target::Udp(local) => report.on(datagrams(recorder).local_addr(local)).await,
        Target::UdpConnected(remote) => report.on(datagrams(recorder).remote_addr(remote)).await,
        Target::UnixDatagram(local, remote) => {
            report.on(datagrams(recorder).local_path(local).remote_path(remote)).await;
        }
    }
}

async fn connect_stream<P: AnyStream>(report: &Report, protocol: P, stream: Stream) {
    match stream {
        Stream::Accepted(socket) => report.on(connect_accepted_socket(protocol, socket)).await,
        Stream::Address(addr) => {
            let addr = (addr.ip().to_string(), addr.port());
            let connect = create_connection(protocol, addr);
            #[cfg(feature = "tls")]
            let connect = crate::tls::secure_client(connect, &report.run.scenario);
            report.on(connect).await;
        }
        Stream::Connected(socket) => report.on(connect_socket(protocol, socket)).await,
        Stream::Path(path) => report.on(create_unix_connection(protocol, path)).await,
        Stream::ReadPipe(pipe) => report.on(connect_read_pipe(protocol, pipe)).await,
        Stream::WritePipe(pipe) => report.on(connect_write_pipe(protocol, pipe)).await,
    }
}

fn subprocess(protocol: Supervising, run: &Run) -> Spawn<Supervising> {
    let options = &run.scenario.options;
    let [stdin, stdout, stderr] = options.stdio.map(stdio);
    let is_plain = options.env.is_empty() && options.cwd.is_none() && !run.scenario.sleeps();
    let spawn = match &options.shell {
        Some(line) if is_plain => subprocess_shell(protocol, line),
        _ => subprocess_exec(protocol, command(run)),
    };
    spawn.stdin(stdin).stdout(stdout).stderr(stderr)
}

/// The command of a child process, in the surroundings that are asked for.
fn command(run: &Run) -> Command {
    let options = &run.scenario.options;
    let shell = options.shell.iter().flat_map(|line| ["sh", "-c", line]);
    let mut words = shell.chain(options.argv.iter().map(String::as_str));
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).envs(options.env.iter().cloned());
    if let Some(folder) = &options.cwd {
        command.current_dir(if folder == "tmp" { run.path("") } else { folder.into() });
    }
    if run.scenario.sleeps() {
        sleep::lend(&mut command, &run.path("")).expect("a folder of its own");
    }
    command
}

fn stdio(redirect: Redirect) -> Stdio {
    match redirect {
        Redirect::Inherit => Stdio::Inherit,
        Redirect::Null => Stdio::Null,
        Redirect::Pipe => Stdio::Piped,
        Redirect::Stdout => Stdio::Stdout,
    }
}

/// Makes the server.
pub(crate) async fn listen(local: Rc<Local>, run: Arc<Run>, ended: Sender<io::Result<Addr>>) {
    let conns = run.clone();
    let result = match run.scenario.protocols["main"].style {
        Style::Buffered => {
            let factory = move || Buffered(Filling::new(conns.add_conn()));
            bind(&local, &run, factory).await
        }
        _ => bind(&local, &run, move || Streaming(conns.add_conn())).await,
    };
    let _ = ended.send(result);
}

/// Makes the server and lets it serve if it shall from the start.
async fn bind<F, P>(local: &Local, run: &Run, factory: F) -> io::Result<Addr>
where
    F: FnMut() -> P + 'static,
    P: StreamProtocol<Transport> + 'static,
{
    let serving = run.scenario.options.start_serving;
    let server = create(run, factory).start_serving(serving).await?;
    let addr = server.sockets().first().cloned();
    let addr = addr.ok_or_else(|| io::Error::other("the server has no address"))?;
    run.set_server(server.handle());
    local.set_server(async {
        let _ = server.serve_local().await;
    });
    if serving {
        local.serve();
    }
    Ok(addr)
}

fn create<F, P>(run: &Run, factory: F) -> CreateServer<F>
where
    F: FnMut() -> P,
    P: StreamProtocol<Transport>,
{
    match run.scenario.kind {
        Kind::UnixServer => create_unix_server(factory, run.path(LIBRARY)),
        #[cfg(feature = "tls")]
        Kind::TlsServer => crate::tls::secure_server(create_server(factory, ("127.0.0.1", 0)), &run.scenario),
        _ => create_server(factory, ("127.0.0.1", 0)),
    }
}

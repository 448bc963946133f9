//! The library side: one thread with one executor, on which everything under test runs.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt, future};
use serde_json::json;
use smol::{Async, LocalExecutor};
use smol_transports::{
    Addr, Buffered, Connection, ServerHandle, StreamProtocol, Transport, connect_accepted_socket, connect_socket,
    create_connection, create_server,
};
use socket2::Socket;

use crate::kind::kind_of;
use crate::recorder::{Filling, Streaming};
use crate::run::Run;
use crate::scenario::Style;

/// How often a round trip lets every other ready task run.
const ROUNDS: usize = 4;

/// Something to be done on the thread of the library side.
pub(crate) type Job = Box<dyn FnOnce(&Rc<Local>) + Send>;

/// Where the jobs come from.
pub(crate) type Jobs = async_channel::Receiver<Job>;

/// Where the result of a job will be.
pub(crate) type Pending<T> = Receiver<T>;

/// What connects a transport under test.
pub(crate) enum Target {
    /// A socket that a listener of somebody else has accepted.
    Accepted(Socket),
    /// An address to connect to.
    Address(SocketAddr),
    /// A connected socket.
    Connected(Socket),
}

/// The library side, seen from its own thread.
pub(crate) struct Local {
    executor: LocalExecutor<'static>,
    /// A server that does not serve yet.
    idle: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
}

/// The library side, seen from the driver.
pub(crate) struct Library {
    run: Arc<Run>,
    /// A byte sent here comes back after the reactor and every ready task had their turn.
    canary: UnixStream,
    /// Disconnected when the thread has ended.
    thread: Pending<()>,
}

impl Library {
    /// Starts the thread.
    pub(crate) fn start(run: Arc<Run>, jobs: Jobs) -> io::Result<Self> {
        let (canary, echo) = UnixStream::pair()?;
        let echo = Async::new(echo)?;
        let (ended, thread) = mpsc::channel();
        thread::spawn(move || {
            work(&jobs, echo);
            drop(ended);
        });
        Ok(Self { run, canary, thread })
    }

    /// Runs a block: nothing else runs on the library side meanwhile.
    pub(crate) fn block(&self, block: impl FnOnce(&Arc<Run>) + Send + 'static) -> Pending<()> {
        let run = self.run.clone();
        self.ask(move |_, ended| {
            run.trace.begin();
            block(&run);
            run.trace.end();
            let _ = ended.send(());
        })
    }

    /// Connects a transport. The result is the name of the error or `ok`.
    pub(crate) fn connect(&self, target: Target) -> Pending<&'static str> {
        let run = self.run.clone();
        self.ask(move |local, ended| local.spawn(connect(run, target, ended)))
    }

    /// Makes the server. The result is where it listens.
    pub(crate) fn listen(&self) -> Pending<io::Result<SocketAddr>> {
        let run = self.run.clone();
        self.ask(move |local, ended| local.spawn(listen(local.clone(), run, ended)))
    }

    /// Makes a round trip through the reactor and past every ready task.
    pub(crate) fn round_trip(&self, timeout: Duration) -> io::Result<()> {
        self.canary.set_read_timeout(Some(timeout))?;
        (&self.canary).write_all(&[0])?;
        (&self.canary).read_exact(&mut [0])
    }

    /// Waits for the end of the thread.
    pub(crate) fn join(&self, timeout: Duration) {
        let _ = self.thread.recv_timeout(timeout);
    }

    fn ask<T: Send + 'static>(&self, job: impl FnOnce(&Rc<Local>, Sender<T>) + Send + 'static) -> Pending<T> {
        let (ended, receiver) = mpsc::channel();
        self.run.post(Box::new(move |local| job(local, ended)));
        receiver
    }
}

impl Local {
    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.executor.spawn(future).detach();
    }

    /// Lets the server serve, unless it does.
    fn serve(&self) {
        if let Some(server) = self.idle.take() {
            self.spawn(server);
        }
    }
}

/// The thread of the library side.
fn work(jobs: &Jobs, echo: Async<UnixStream>) {
    let local = Rc::new(Local { executor: LocalExecutor::new(), idle: RefCell::default() });
    local.spawn(answer(echo));
    let main = async {
        while let Ok(job) = jobs.recv().await {
            job(&local);
        }
    };
    smol::block_on(local.executor.run(main));
}

/// Sends each byte back, but not before the reactor was polled and the ready tasks had run.
async fn answer(echo: Async<UnixStream>) {
    let mut byte = [0];
    while echo.readable().await.is_ok() && (&echo).read_exact(&mut byte).await.is_ok() {
        for _ in 0..ROUNDS {
            future::yield_now().await;
        }
        if (&echo).write_all(&byte).await.is_err() {
            break;
        }
    }
}

async fn connect(run: Arc<Run>, target: Target, ended: Sender<&'static str>) {
    let recorder = run.add_conn();
    let result = match recorder.spec().style {
        Style::Buffered => open(&run, Buffered(Filling::new(recorder)), target, &ended).await,
        _ => open(&run, Streaming(recorder), target, &ended).await,
    };
    if let Err(err) = result {
        let _ = ended.send(kind_of(&err));
    }
}

/// Opens a connection and runs it to its end.
async fn open<P: StreamProtocol<Transport>>(
    run: &Run,
    protocol: P,
    target: Target,
    ended: &Sender<&'static str>,
) -> io::Result<()> {
    let connection: Connection<P> = match target {
        Target::Accepted(socket) => connect_accepted_socket(protocol, socket).await?,
        Target::Address(addr) => create_connection(protocol, (addr.ip().to_string(), addr.port())).await?,
        Target::Connected(socket) => connect_socket(protocol, socket).await?,
    };
    if !run.is_made() {
        let violation = json!(["violation", "connect_before_connection_made"]);
        run.trace.add(violation);
    }
    let _ = ended.send("ok");
    // A panic has done what it has to do to the connection: it must not end the thread.
    let _ = AssertUnwindSafe(connection).catch_unwind().await;
    Ok(())
}

async fn listen(local: Rc<Local>, run: Arc<Run>, ended: Sender<io::Result<SocketAddr>>) {
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
async fn bind<F, P>(local: &Local, run: &Run, factory: F) -> io::Result<SocketAddr>
where
    F: FnMut() -> P + 'static,
    P: StreamProtocol<Transport> + 'static,
{
    let serving = run.scenario.options.start_serving;
    let server = create_server(factory, ("127.0.0.1", 0)).start_serving(serving).await?;
    let addr = server.sockets().first().and_then(Addr::as_inet);
    let addr = addr.ok_or_else(|| io::Error::other("the server has no address"))?;
    run.set_server(server.handle());
    local.idle.replace(Some(Box::pin(async {
        let _ = server.serve_local().await;
    })));
    if serving {
        local.serve();
    }
    Ok(addr)
}

/// Starts to serve. Returns `ok` or the name of the error.
pub(crate) fn start_serving(run: &Run, server: &ServerHandle) -> &'static str {
    match server.start_serving() {
        Ok(()) => {
            run.post(Box::new(|local| local.serve()));
            "ok"
        }
        Err(err) => kind_of(&err),
    }
}

/// Waits in the background until the server is closed and the last client is gone.
pub(crate) fn wait_closed(run: &Arc<Run>, server: ServerHandle, id: String) {
    let run = run.clone();
    run.clone().post(Box::new(move |local| {
        local.spawn(async move {
            server.wait_closed().await;
            run.set_done(id);
        });
    }));
}

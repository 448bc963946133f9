//! The library side: one thread with one executor, on which everything under test runs.

use std::cell::RefCell;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::ops::Bound;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use serde_json::{Value, json};
use smol::{Async, LocalExecutor};
use smol_transports::{Addr, ServerHandle};

use crate::backend::Backend;
use crate::connect::{Target, connect, listen};
use crate::kind::kind_of;
use crate::run::Run;
use crate::scenario::SendFile;

/// How often the reactor is polled before and after a pause.
const TRIPS: usize = 3;

/// How often a round trip lets every other ready task run.
const ROUNDS: usize = 4;

/// Something to be done on the thread of the library side.
pub(crate) type Job = Box<dyn FnOnce(&Rc<Local>) + Send>;

/// Where the jobs come from.
pub(crate) type Jobs = async_channel::Receiver<Job>;

/// Where the result of a job will be.
pub(crate) type Pending<T> = Receiver<T>;

/// The library side, seen from its own thread.
pub(crate) struct Local {
    executor: LocalExecutor<'static>,
    /// A server that does not serve yet.
    idle: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
}

/// The library side, seen from the driver.
pub(crate) struct Library {
    run: Arc<Run>,
    /// Bytes sent here come back one by one, each after the reactor and every ready task had their turn.
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
        let backend = run.backend;
        thread::spawn(move || {
            work(&jobs, echo, backend);
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
    pub(crate) fn listen(&self) -> Pending<io::Result<Addr>> {
        let run = self.run.clone();
        self.ask(move |local, ended| local.spawn(listen(local.clone(), run, ended)))
    }

    /// Makes round trips through the reactor and past every ready task. They are sent off together: the driver may
    /// have to wait long for each turn of its own.
    pub(crate) fn round_trips(&self, timeout: Duration) -> io::Result<()> {
        self.canary.set_read_timeout(Some(timeout))?;
        (&self.canary).write_all(&[0; TRIPS])?;
        (&self.canary).read_exact(&mut [0; TRIPS])
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
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.executor.spawn(future).detach();
    }

    /// Keeps a server until it shall serve.
    pub(crate) fn set_server(&self, serving: impl Future<Output = ()> + 'static) {
        self.idle.replace(Some(Box::pin(serving)));
    }

    /// Lets the server serve, unless it does.
    pub(crate) fn serve(&self) {
        if let Some(server) = self.idle.take() {
            self.spawn(server);
        }
    }
}

/// The thread of the library side.
fn work(jobs: &Jobs, echo: Async<UnixStream>, backend: Backend) {
    let local = Rc::new(Local { executor: LocalExecutor::new(), idle: RefCell::default() });
    local.spawn(answer(echo));
    let main = async {
        while let Ok(job) = jobs.recv().await {
            job(&local);
        }
    };
    backend.block_on(local.executor.run(main));
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
            run.set_done(id, &[json!("ok")]);
        });
    }));
}

/// Sends a file in the background.
pub(crate) fn send_file(run: &Arc<Run>, file: File, step: &SendFile) {
    let (run, conn, id) = (run.clone(), step.conn.clone(), step.id.clone());
    let end = step.count.map_or(Bound::Unbounded, |count| Bound::Excluded(step.offset.saturating_add(count)));
    let part = (Bound::Included(step.offset), end);
    run.clone().post(Box::new(move |local| {
        let endpoint = run.conn(conn.as_deref()).and_then(|conn| conn.endpoint());
        let closing = endpoint.as_ref().is_some_and(|endpoint| endpoint.is_closing());
        let sending = endpoint.and_then(|endpoint| endpoint.send_file(file, part));
        local.spawn(async move {
            match sending {
                Some(sending) => run.set_done(id, &end_of_sending(sending.await, closing)),
                None => run.set_done(id, &[json!("invalid_state")]),
            }
        });
    }));
}

/// What is recorded of the end. That the call came too late is not told apart from other errors by the crate.
fn end_of_sending(result: io::Result<u64>, closing: bool) -> Vec<Value> {
    let kind = match result {
        Ok(count) => return vec![json!("ok"), json!(count)],
        Err(err) => kind_of(&err),
    };
    let late = kind == "invalid_input" || closing && kind == "broken_pipe";
    vec![json!(if late { "invalid_state" } else { kind })]
}

/// Starts an upgrade: tells when it has begun, and how it has ended.
#[cfg(feature = "tls")]
pub(crate) fn start_tls(
    run: &Arc<Run>,
    conn: Option<&str>,
    server_side: bool,
    began: Sender<()>,
    ended: Sender<&'static str>,
) {
    let (run, conn) = (run.clone(), conn.map(str::to_owned));
    run.clone().post(Box::new(move |local| {
        let tls = if server_side { crate::tls::server(&run.scenario) } else { crate::tls::client(&run.scenario) };
        let endpoint = run.conn(conn.as_deref()).and_then(|conn| conn.endpoint());
        let starting = endpoint.and_then(|endpoint| endpoint.start_tls(tls));
        let _ = began.send(());
        local.spawn(async move {
            let result = match starting {
                Some(starting) => starting.await.map_or_else(|err| kind_of(&err), |()| "ok"),
                None => "invalid_state",
            };
            let _ = ended.send(result);
        });
    }));
}

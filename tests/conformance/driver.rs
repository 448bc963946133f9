//! The driver: performs the steps of a scenario, in order, from a thread of its own.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol_transports::Addr;

use crate::action;
use crate::child;
use crate::library::{self, Jobs, Library, Pending};
use crate::peer::{Peer, is_timeout};
use crate::run::Run;
use crate::scenario::{SendFile, Step, StepKind};
use crate::sleep::Sleepers;

/// The limit of every blocking operation.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// The limit of everything that the library side is asked for, where whole blocks of calls may wait for the processor.
pub(crate) const LIBRARY_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a pause that took far too long is repeated, each time for twice as long.
const LATE_PAUSES: u32 = 3;

/// How long what comes of a sleeper that has woken is waited for, before the next one wakes.
const AWAKE: Duration = Duration::from_millis(100);

/// A pause that takes this much longer than it should is a sign of load.
const LATE: Duration = Duration::from_millis(20);

/// Why a run ends before its steps do: the entry that says so.
#[derive(Debug)]
pub(crate) struct Stop(Value);

/// The entry that a step adds to the trace after settling.
pub(crate) type Outcome = Result<Option<Value>, Stop>;

/// The driver of one run.
pub(crate) struct Driver {
    pub(crate) run: Arc<Run>,
    pub(crate) library: Library,
    pub(crate) peers: BTreeMap<String, Box<dyn Peer>>,
    /// Where the server listens.
    pub(crate) server: Option<Addr>,
    /// How long nothing may happen for the library side to count as idle.
    quiet: Duration,
    /// Who sleeps by the driver's time.
    sleepers: Sleepers,
}

/// Performs a scenario. The trace is over, and everything cleaned up, when it returns.
pub(crate) fn drive(run: &Arc<Run>, jobs: Jobs, quiet: Duration) {
    match Driver::new(run.clone(), jobs, quiet) {
        Ok(driver) => driver.perform(),
        Err(err) => run.trace.add(Stop::from(err).0),
    }
    run.end();
}

/// Waits for a result of the library side.
pub(crate) fn wait<T>(pending: &Pending<T>, timeout: Duration) -> Result<T, Stop> {
    pending.recv_timeout(timeout).map_err(|err| match err {
        RecvTimeoutError::Timeout => Stop::timeout(),
        RecvTimeoutError::Disconnected => Stop::error("the library side has ended"),
    })
}

impl Stop {
    fn timeout() -> Self {
        Self(json!(["harness_timeout"]))
    }

    /// Something is wrong with the scenario or with the runner.
    pub(crate) fn error(text: impl Display) -> Self {
        Self(json!(["harness_error", text.to_string()]))
    }
}

impl From<io::Error> for Stop {
    fn from(err: io::Error) -> Self {
        Self::error(err)
    }
}

impl Driver {
    fn new(run: Arc<Run>, jobs: Jobs, quiet: Duration) -> io::Result<Self> {
        let sleepers = Sleepers::new(&run.path(""))?;
        let library = Library::start(run.clone(), jobs)?;
        Ok(Self { run, library, peers: BTreeMap::new(), server: None, quiet, sleepers })
    }

    fn perform(mut self) {
        if let Err(Stop(entry)) = self.steps() {
            self.run.trace.add(entry);
        }
        self.run.trace.finish();
        // What happens from here on is not part of the trace, nor is whether it works.
        let _ = self.clean_up();
        self.run.end();
        self.library.join(TIMEOUT);
    }

    fn steps(&mut self) -> Result<(), Stop> {
        let result = self.construct()?;
        self.settle(self.quiet)?;
        if let Some(result) = result {
            self.run.trace.add(json!(["connect", result]));
            if result != "ok" {
                return Ok(());
            }
        }
        let run = self.run.clone();
        run.scenario.steps.iter().try_for_each(|step| self.step(step))
    }

    fn clean_up(&self) -> Result<(), Stop> {
        let end = |run: &Arc<Run>| {
            for endpoint in run.conns().iter().filter_map(|conn| conn.endpoint()) {
                let _ = endpoint.abort().or_else(|_| endpoint.close());
            }
            if let Some(server) = run.server() {
                server.close();
            }
        };
        wait(&self.library.block(end), LIBRARY_TIMEOUT)?;
        self.round_trips()
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        let entry = self.perform_step(&step.what)?;
        if step.settle {
            self.settle(self.quiet)?;
        }
        if let Some(entry) = entry {
            self.run.trace.add(entry);
        }
        if step.settle {
            self.run.take_done().for_each(|done| self.run.trace.add(done));
        }
        Ok(())
    }

    fn perform_step(&mut self, step: &StepKind) -> Outcome {
        match step {
            StepKind::Block(actions) => {
                let actions = actions.clone();
                let block = move |run: &Arc<Run>| action::perform_step(run, &actions);
                wait(&self.library.block(block), LIBRARY_TIMEOUT)?;
            }
            StepKind::Mark(text) => return Ok(Some(json!(["mark", text]))),
            StepKind::Peer(name, step) => return self.peer_step(name, step),
            StepKind::SendFile(step) => self.send_file(step)?,
            StepKind::Settle(quiet) => self.settle(quiet.unwrap_or(self.quiet))?,
            StepKind::Sleep(time) => {
                thread::sleep(*time);
                self.sleepers.pass(*time);
            }
            StepKind::StartServing => return self.start_serving(),
            StepKind::Wait { event, count, timeout } => {
                let in_time = self.wait_for(event, *count, *timeout)?;
                return Ok((!in_time).then(|| json!(["wait_timeout", event])));
            }
            StepKind::StartTls { conn, server_side } => return self.start_tls(conn.as_deref(), *server_side),
        }
        Ok(None)
    }

    fn send_file(&self, step: &SendFile) -> Result<(), Stop> {
        let path = self.run.path(&format!("{}.sent", step.id));
        fs::write(&path, step.data.bytes())?;
        library::send_file(&self.run, File::open(&path)?, step);
        Ok(())
    }

    #[cfg(not(feature = "tls"))]
    fn start_tls(&mut self, _: Option<&str>, _: bool) -> Outcome {
        Err(Stop::error("the feature is missing"))
    }

    /// Upgrades both sides; the peer begins when the library has.
    #[cfg(feature = "tls")]
    fn start_tls(&mut self, conn: Option<&str>, server_side: bool) -> Outcome {
        let (began, begun) = mpsc::channel();
        let (ended, result) = mpsc::channel();
        library::start_tls(&self.run, conn, server_side, began, ended);
        wait(&begun, LIBRARY_TIMEOUT)?;
        let socket = self.peers.get_mut("p1").and_then(|peer| peer.take_socket());
        let socket = socket.ok_or_else(|| Stop::error("the peer cannot be upgraded"))?;
        // If this fails, the library tells why.
        if let Ok(peer) = crate::tls::upgrade_peer(socket, server_side) {
            self.peers.insert("p1".to_owned(), Box::new(peer));
        }
        let result = wait(&result, LIBRARY_TIMEOUT)?;
        Ok(Some(json!(["start_tls", result])))
    }

    fn start_serving(&self) -> Outcome {
        let (result, ended) = mpsc::channel();
        let block = move |run: &Arc<Run>| {
            let start = |server| library::start_serving(run, &server);
            let _ = result.send(run.server().map_or("invalid_state", start));
        };
        wait(&self.library.block(block), LIBRARY_TIMEOUT)?;
        let result = wait(&ended, LIBRARY_TIMEOUT)?;
        Ok(Some(json!(["server", "start_serving", result])))
    }

    /// Lets the library side have its turn, whatever the load of the machine.
    pub(crate) fn round_trips(&self) -> Result<(), Stop> {
        let trips = self.library.round_trips(LIBRARY_TIMEOUT);
        trips.map_err(|err| if is_timeout(&err) { Stop::timeout() } else { err.into() })
    }

    /// Waits until the library side is idle: nothing has changed for that long, and a child is at rest, if there is one
    /// and it does not run for ever.
    fn settle(&mut self, quiet: Duration) -> Result<(), Stop> {
        let end = Instant::now() + TIMEOUT;
        let mut doublings = 0;
        loop {
            let (changed, late) = self.pause(quiet * (1 << doublings))?;
            let is_over = Instant::now() > end;
            if changed && is_over {
                return Err(Stop(json!(["not_settled"])));
            }
            // As much time has passed as should have, however long it took.
            let woken = self.sleepers.pass(quiet);
            let waits = changed || ((woken || self.is_child_busy()) && !is_over);
            if !waits && (!late || doublings == LATE_PAUSES) {
                return Ok(());
            }
            doublings += u32::from(!waits);
        }
    }

    /// Waits for an event; whether it came in time. One sleeper after the other wakes until it does.
    fn wait_for(&mut self, event: &str, count: u64, timeout: Duration) -> Result<bool, Stop> {
        let start = Instant::now();
        let end = self.sleepers.after(timeout);
        while !self.run.trace.wait_for(event, count, AWAKE) {
            self.settle(Duration::ZERO)?;
            if !self.sleepers.wake_next(end) && start.elapsed() > timeout {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_child_busy(&self) -> bool {
        let endpoint = self.run.conn(None).and_then(|conn| conn.endpoint());
        endpoint.and_then(|endpoint| endpoint.pid()).is_some_and(child::is_busy)
    }

    /// Pauses. Returns whether something has changed meanwhile, and whether it took far too long.
    fn pause(&self, time: Duration) -> Result<(bool, bool), Stop> {
        self.round_trips()?;
        let before = self.run.trace.changes();
        let start = Instant::now();
        thread::sleep(time);
        self.round_trips()?;
        Ok((self.run.trace.changes() != before, start.elapsed() > time + LATE))
    }
}

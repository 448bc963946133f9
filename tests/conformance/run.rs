//! What the two sides of a run share.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use smol_transports::{Addr, ServerHandle};
use tempfile::TempDir;

use crate::backend::Backend;
use crate::endpoint::Endpoint;
use crate::library::{Job, Jobs};
use crate::recorder::{Recorder, Seat};
use crate::scenario::Scenario;
use crate::trace::Trace;

/// The file of the library's Unix socket.
pub(crate) const LIBRARY: &str = "library";

/// The file of the driver's Unix socket.
pub(crate) const PEER: &str = "peer";

/// One run of a scenario.
pub(crate) struct Run {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) backend: Backend,
    pub(crate) trace: Trace,
    /// Where files are. Taken away at the end.
    directory: Mutex<Option<TempDir>>,
    /// The way to the library side.
    jobs: async_channel::Sender<Job>,
    /// Whether `connection_made` was called.
    made: AtomicBool,
    conns: Mutex<Vec<Arc<Conn>>>,
    server: Mutex<Option<ServerHandle>>,
    addresses: Mutex<Addresses>,
    /// The background operations that have ended, by name.
    done: Mutex<BTreeMap<String, Value>>,
}

/// Addresses on the driver's side.
#[derive(Default)]
struct Addresses {
    /// Where the peers are.
    peers: BTreeMap<String, Addr>,
    /// Where the peers find the library.
    library: Vec<Addr>,
}

/// What is known about one connection under test.
pub(crate) struct Conn {
    /// Empty, or `c1`, `c2`, ... for the connections of a server.
    pub(crate) label: String,
    endpoint: Mutex<Option<Arc<dyn Endpoint>>>,
    /// The protocols used so far, by name.
    seats: Mutex<BTreeMap<String, Arc<Seat>>>,
    /// The name of the attached protocol.
    attached: Mutex<Option<String>>,
}

/// Locks a mutex, also after a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    pub(crate) fn new(scenario: Arc<Scenario>, backend: Backend) -> io::Result<(Arc<Self>, Jobs)> {
        let (jobs, receiver) = async_channel::unbounded();
        let run = Self {
            scenario,
            backend,
            trace: Trace::default(),
            directory: Mutex::new(Some(TempDir::new()?)),
            jobs,
            made: AtomicBool::new(false),
            conns: Mutex::default(),
            server: Mutex::default(),
            addresses: Mutex::default(),
            done: Mutex::default(),
        };
        Ok((Arc::new(run), receiver))
    }

    /// Sends a job to the library side. It is dropped if that has ended.
    pub(crate) fn post(&self, job: Job) {
        let _ = self.jobs.try_send(job);
    }

    /// Tells the library side to end and lets go of what the run keeps.
    pub(crate) fn end(&self) {
        self.jobs.close();
        lock(&self.conns).clear();
        lock(&self.server).take();
        lock(&self.directory).take();
    }

    /// Where the file of that name is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let directory = lock(&self.directory);
        let path = directory.as_ref().map(|directory| directory.path().join(name));
        path.unwrap_or_default()
    }

    pub(crate) fn set_made(&self) {
        self.made.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_made(&self) -> bool {
        self.made.load(Ordering::SeqCst)
    }

    /// Adds a connection and returns its main protocol.
    pub(crate) fn add_conn(self: &Arc<Self>) -> Recorder {
        let mut conns = lock(&self.conns);
        let label = if self.scenario.kind.is_server() { format!("c{}", conns.len() + 1) } else { String::new() };
        let conn = Arc::new(Conn::new(label));
        conns.push(conn.clone());
        Recorder::new(self.clone(), conn, "main")
    }

    /// The connection of that label, or the latest one.
    pub(crate) fn conn(&self, label: Option<&str>) -> Option<Arc<Conn>> {
        let conns = lock(&self.conns);
        match label {
            Some(label) => conns.iter().find(|conn| conn.label == label).cloned(),
            None => conns.last().cloned(),
        }
    }

    pub(crate) fn conns(&self) -> Vec<Arc<Conn>> {
        lock(&self.conns).clone()
    }

    pub(crate) fn set_server(&self, server: ServerHandle) {
        *lock(&self.server) = Some(server);
    }

    pub(crate) fn server(&self) -> Option<ServerHandle> {
        lock(&self.server).clone()
    }

    pub(crate) fn set_peer_address(&self, peer: &str, address: impl Into<Addr>) {
        lock(&self.addresses).peers.insert(peer.to_owned(), address.into());
    }

    pub(crate) fn peer_address(&self, peer: &str) -> Option<Addr> {
        lock(&self.addresses).peers.get(peer).cloned()
    }

    pub(crate) fn is_peer(&self, address: &Addr) -> bool {
        lock(&self.addresses).peers.values().any(|peer| peer == address)
    }

    /// The name of the peer at an address.
    pub(crate) fn peer_at(&self, address: &Addr) -> String {
        let addresses = lock(&self.addresses);
        let found = addresses.peers.iter().find(|(_, peer)| *peer == address);
        found.map_or("other", |(name, _)| name).to_owned()
    }

    pub(crate) fn add_library_address(&self, address: impl Into<Addr>) {
        lock(&self.addresses).library.push(address.into());
    }

    pub(crate) fn is_library(&self, address: &Addr) -> bool {
        lock(&self.addresses).library.contains(address)
    }

    /// Records how a background operation ended.
    pub(crate) fn set_done(&self, id: String, result: &[Value]) {
        let mut entry = vec![json!("done"), json!(id)];
        entry.extend_from_slice(result);
        lock(&self.done).insert(id, Value::Array(entry));
        self.trace.touch();
    }

    /// Takes the entries of the background operations that have ended.
    pub(crate) fn take_done(&self) -> impl Iterator<Item = Value> + use<> {
        mem::take(&mut *lock(&self.done)).into_values()
    }
}

impl Conn {
    fn new(label: String) -> Self {
        Self {
            label,
            endpoint: Mutex::default(),
            seats: Mutex::default(),
            attached: Mutex::new(Some("main".to_owned())),
        }
    }

    /// The name of an entry, with the label of the connection.
    pub(crate) fn entry_name(&self, name: &str) -> String {
        match self.label.as_str() {
            "" => name.to_owned(),
            label => format!("{label}:{name}"),
        }
    }

    pub(crate) fn set_endpoint(&self, endpoint: Arc<dyn Endpoint>) {
        *lock(&self.endpoint) = Some(endpoint);
    }

    pub(crate) fn endpoint(&self) -> Option<Arc<dyn Endpoint>> {
        lock(&self.endpoint).clone()
    }

    pub(crate) fn attach(&self, protocol: &str) {
        *lock(&self.attached) = Some(protocol.to_owned());
    }

    pub(crate) fn detach(&self) {
        *lock(&self.attached) = None;
    }

    pub(crate) fn attached(&self) -> Option<String> {
        lock(&self.attached).clone()
    }

    /// The protocol of that name, made at its first use.
    pub(crate) fn seat(&self, name: &str, make: impl FnOnce() -> Seat) -> Arc<Seat> {
        let mut seats = lock(&self.seats);
        let seat = seats.entry(name.to_owned()).or_insert_with(|| Arc::new(make()));
        seat.clone()
    }
}

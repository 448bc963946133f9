//! Taking samples: the servers in turn, round after round.

use std::io;
use std::thread;
use std::time::Duration;

use crate::args::Plan;
use crate::load::Load;
use crate::machine::{self, Cpus, Pin};
use crate::peer::Peer;
use crate::servers::Server;
use crate::workload::Workload;

const WARM_UP: Duration = Duration::from_millis(20);

/// One run of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Units per second.
    pub(crate) rate: f64,
    /// Processor time of the server for one unit, in microseconds.
    pub(crate) cpu: f64,
    /// In microseconds; 0 where it was not measured.
    pub(crate) p99: f64,
}

/// The samples of a workload: one list for each round, in the order of the servers.
pub(crate) type Rounds = Vec<Vec<Sample>>;

/// The samples of several workloads, and the servers that they are of; the first is the base.
pub(crate) struct Table {
    pub(crate) servers: Vec<&'static Server>,
    pub(crate) samples: Vec<Rounds>,
}

/// Takes all samples of workloads that belong together.
pub(crate) fn take(plan: &Plan, pin: Pin, group: &[Workload]) -> io::Result<Table> {
    let first = group[0];
    let cpus = machine::cpus(pin)?;
    let servers: Vec<_> = plan.servers.iter().copied().filter(|server| server.suits(&first)).collect();
    let peers = servers.iter().map(|server| Peer::start(server, first.net, cpus.server));
    let peers: Vec<Peer> = peers.collect::<io::Result<_>>()?;
    // On a thread of its own: a server must not inherit the core of the load.
    let samples = thread::scope(|scope| {
        let load = scope.spawn(|| take_pinned(plan, &peers, cpus, group));
        load.join().unwrap_or_else(|_| Err(io::Error::other("the load generator panicked")))
    })?;
    Ok(Table { servers, samples })
}

fn take_pinned(plan: &Plan, peers: &[Peer], cpus: Cpus, group: &[Workload]) -> io::Result<Vec<Rounds>> {
    if let Some(cpu) = cpus.load {
        machine::pin_thread(cpu)?;
    }
    group.iter().map(|workload| take_workload(plan, peers, *workload)).collect()
}

fn take_workload(plan: &Plan, peers: &[Peer], workload: Workload) -> io::Result<Rounds> {
    eprintln!("{workload}");
    let targets = peers.iter().map(|peer| Target::connect(peer, workload));
    let mut targets: Vec<Target<'_>> = targets.collect::<io::Result<_>>()?;
    // What a server makes when it is first busy is not for the first round.
    targets.iter_mut().try_for_each(|target| target.run(WARM_UP).map(drop))?;
    let rounds = (0..plan.rounds).map(|round| take_round(plan.time, &mut targets, round)).collect();
    drop(targets);
    peers.iter().try_for_each(Peer::rest)?;
    rounds
}

/// Every server once; each round begins with another one.
pub(crate) fn take_round(time: Duration, targets: &mut [Target<'_>], round: usize) -> io::Result<Vec<Sample>> {
    let mut samples = Vec::with_capacity(targets.len());
    for turn in 0..targets.len() {
        let index = (round + turn) % targets.len();
        samples.push((index, targets[index].run(time)?));
    }
    samples.sort_by_key(|(index, _)| *index);
    Ok(samples.into_iter().map(|(_, sample)| sample).collect())
}

/// A server with the connections to it. They stay over all rounds: the system gives busy ones larger buffers after a
/// while, and new ones would have to be closed again.
pub(crate) struct Target<'a> {
    peer: &'a Peer,
    workload: Workload,
    load: Load,
}

impl<'a> Target<'a> {
    pub(crate) fn connect(peer: &'a Peer, workload: Workload) -> io::Result<Self> {
        let load = Load::connect(&peer.address, workload).map_err(|err| blame(peer, workload, &err))?;
        Ok(Self { peer, workload, load })
    }

    pub(crate) fn run(&mut self, time: Duration) -> io::Result<Sample> {
        take_sample(time, self.peer, self.workload, &mut self.load).map_err(|err| blame(self.peer, self.workload, &err))
    }
}

fn blame(peer: &Peer, workload: Workload, err: &io::Error) -> io::Error {
    io::Error::new(err.kind(), format!("{}, {workload}: {err}", peer.name))
}

fn take_sample(time: Duration, peer: &Peer, workload: Workload, load: &mut Load) -> io::Result<Sample> {
    let before = peer.cpu_time()?;
    let run = load.run(time)?;
    let cpu = peer.cpu_time()?.saturating_sub(before);
    let units = run.messages as f64 / workload.unit();
    Ok(Sample {
        rate: units / run.time.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / units,
        p99: run.p99.unwrap_or_default().as_secs_f64() * 1e6,
    })
}

//! Taking samples: the servers in turn, round after round.

use std::io;
use std::thread;

use crate::args::Plan;
use crate::load::Load;
use crate::machine::{self, Cpus, Pin};
use crate::peer::Peer;
use crate::servers::Server;
use crate::workload::Workload;

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
    (0..plan.rounds).map(|round| take_round(plan, peers, workload, round)).collect()
}

/// Every server once; each round begins with another one.
fn take_round(plan: &Plan, peers: &[Peer], workload: Workload, round: usize) -> io::Result<Vec<Sample>> {
    let mut samples = Vec::with_capacity(peers.len());
    for turn in 0..peers.len() {
        let index = (round + turn) % peers.len();
        let peer = &peers[index];
        let sample = take_sample(plan.time, peer, workload)
            .map_err(|err| io::Error::new(err.kind(), format!("{}, {workload}: {err}", peer.name)))?;
        samples.push((index, sample));
    }
    samples.sort_by_key(|(index, _)| *index);
    Ok(samples.into_iter().map(|(_, sample)| sample).collect())
}

pub(crate) fn take_sample(time: std::time::Duration, peer: &Peer, workload: Workload) -> io::Result<Sample> {
    let mut load = Load::connect(&peer.address, workload)?;
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

//! Runs the servers by turns, so that what disturbs the machine disturbs them all.

use std::io;
use std::thread;

use crate::args::Plan;
use crate::load::Load;
use crate::machine::{self, Cpus};
use crate::peer::Peer;
use crate::workload::Workload;

/// One run of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Units per second.
    pub(crate) rate: f64,
    /// Processor time of the server for one unit, in microseconds.
    pub(crate) cpu: f64,
}

/// The samples of a workload: one list for each round, in the order of the servers.
pub(crate) type Rounds = Vec<Vec<Sample>>;

/// Takes all samples of a plan: one entry for each of its workloads.
pub(crate) fn take(plan: &Plan) -> io::Result<Vec<Rounds>> {
    let cpus = machine::cpus(plan.pin)?;
    let peers: Vec<Peer> =
        plan.servers.iter().map(|server| Peer::start(server, cpus.server)).collect::<io::Result<_>>()?;
    // On a thread of its own: a server must not inherit the core of the load.
    thread::scope(|scope| {
        let load = scope.spawn(|| take_pinned(plan, &peers, cpus));
        load.join().unwrap_or_else(|_| Err(io::Error::other("the load generator panicked")))
    })
}

fn take_pinned(plan: &Plan, peers: &[Peer], cpus: Cpus) -> io::Result<Vec<Rounds>> {
    if let Some(cpu) = cpus.load {
        machine::pin_thread(cpu)?;
    }
    plan.workloads.iter().map(|workload| take_workload(plan, peers, *workload)).collect()
}

fn take_workload(plan: &Plan, peers: &[Peer], workload: Workload) -> io::Result<Rounds> {
    eprintln!("{}", workload.title());
    (0..plan.rounds).map(|round| take_round(plan, peers, workload, round)).collect()
}

/// Every server once; each round begins with another one.
fn take_round(plan: &Plan, peers: &[Peer], workload: Workload, round: usize) -> io::Result<Vec<Sample>> {
    let mut samples = Vec::with_capacity(peers.len());
    for turn in 0..peers.len() {
        let index = (round + turn) % peers.len();
        let sample = take_sample(plan, &peers[index], workload).map_err(|err| {
            let name = plan.servers[index].name;
            io::Error::new(err.kind(), format!("{name}, {workload}: {err}"))
        })?;
        samples.push((index, sample));
    }
    samples.sort_by_key(|(index, _)| *index);
    Ok(samples.into_iter().map(|(_, sample)| sample).collect())
}

fn take_sample(plan: &Plan, peer: &Peer, workload: Workload) -> io::Result<Sample> {
    let mut load = Load::connect(peer.port, workload)?;
    let before = peer.cpu_time()?;
    let run = load.run(plan.time)?;
    let cpu = peer.cpu_time()?.saturating_sub(before);
    let units = run.messages as f64 / workload.unit();
    Ok(Sample { rate: units / run.time.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / units })
}

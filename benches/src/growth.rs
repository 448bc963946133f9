//! How cost grows with the number of connections, as data for a plot.

use std::fmt::Write;
use std::fs;
use std::io;

use crate::args::Growth;
use crate::machine::{self, Pin};
use crate::memory;
use crate::peer::Peer;
use crate::report::median;
use crate::rounds::{Sample, Target, take_round};
use crate::servers::{self, Role, Server};
use crate::workload::{Kind, Net, Workload};

/// Connections that are all busy.
const BUSY: [usize; 5] = [1, 10, 100, 1000, 5000];
/// Connections that have echoed once.
const IDLE: [usize; 4] = [1000, 5000, 10_000, 20_000];

/// Descriptors besides those of connections.
const SPARE: usize = 100;

/// Runs everything and writes it as JSON: `machine`, and for each server `name`, `rate` and `cpu` at each of `busy`,
/// `memory` at each of `idle`.
pub(crate) fn write(growth: &Growth) -> io::Result<()> {
    let has_part =
        |server: &&Server| matches!(server.role, Role::Peer | Role::Python) && servers::check(server).is_ok();
    let all = servers::ALL.iter().filter(has_part);
    let all: Vec<&Server> = all.collect();
    let busy: Vec<Vec<Sample>> = BUSY.iter().map(|count| at(growth, &all, *count)).collect::<io::Result<_>>()?;
    let mut idle = IDLE.map(|count| count.min(machine::most_descriptors() - SPARE)).to_vec();
    idle.dedup();
    if idle != IDLE {
        eprintln!("no more than {:?} idle connections: a process may not open more descriptors here", idle.last());
    }
    let mut rows = Vec::new();
    for (index, server) in all.iter().enumerate() {
        eprintln!("idle connections of {}", server.name);
        let memory = memory::of_idle(server, &idle)?;
        let rate = list(busy.iter().map(|samples| samples[index].rate));
        let cpu = list(busy.iter().map(|samples| samples[index].cpu));
        let (name, memory) = (server.name, list(memory.into_iter()));
        rows.push(format!("{{\"name\": \"{name}\", \"rate\": {rate}, \"cpu\": {cpu}, \"memory\": {memory}}}"));
    }
    let mut json = String::new();
    let _ = writeln!(json, "{{\"machine\": \"{}\",", machine::describe());
    let _ = writeln!(json, "\"busy\": {BUSY:?}, \"idle\": {idle:?},");
    let _ = writeln!(json, "\"servers\": [\n{}\n]}}", rows.join(",\n"));
    fs::write(&growth.file, json)
}

/// The medians of all servers at one number of busy connections.
fn at(growth: &Growth, all: &[&'static Server], connections: usize) -> io::Result<Vec<Sample>> {
    eprintln!("{connections} busy connections");
    let workload = Workload { net: Net::Tcp, kind: Kind::Echo, size: 64, connections };
    let cpus = machine::cpus(Pin::Same)?;
    let peers: Vec<Peer> =
        all.iter().map(|server| Peer::start(server, Net::Tcp, cpus.server)).collect::<io::Result<_>>()?;
    // As many in turn as the descriptors of one process are enough for.
    let together = ((machine::most_descriptors() - SPARE) / connections).max(1);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            cpus.load.map_or(Ok(()), machine::pin_thread)?;
            let mut all = Vec::new();
            for peers in peers.chunks(together) {
                all.extend(take_some(growth, peers, workload)?);
            }
            Ok(all)
        });
        load.join().unwrap_or_else(|_| Err(io::Error::other("the load generator panicked")))
    })
}

/// The medians of servers that take turns.
fn take_some(growth: &Growth, peers: &[Peer], workload: Workload) -> io::Result<Vec<Sample>> {
    let targets = peers.iter().map(|peer| Target::connect(peer, workload));
    let mut targets: Vec<Target<'_>> = targets.collect::<io::Result<_>>()?;
    let rounds = (0..growth.rounds).map(|round| take_round(growth.time, &mut targets, round));
    let rounds: Vec<Vec<Sample>> = rounds.collect::<io::Result<_>>()?;
    Ok((0..peers.len()).map(|index| middle(rounds.iter().map(|round| round[index]))).collect())
}

fn middle(samples: impl Iterator<Item = Sample> + Clone) -> Sample {
    let of = |value: fn(Sample) -> f64| median(samples.clone().map(value));
    Sample { rate: of(|sample| sample.rate), cpu: of(|sample| sample.cpu), p99: 0.0 }
}

fn list(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<String> = values.map(|value| format!("{value:.2}")).collect();
    format!("[{}]", values.join(", "))
}

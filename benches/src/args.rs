//! The command line.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::machine::Pin;
use crate::servers::{self, Role, Server};
use crate::workload::{self, Address, Net, Workload};

#[derive(Debug)]
pub(crate) enum Args {
    Help,
    Compare(Plan),
    /// Of the plan only how thoroughly.
    Bars(Plan),
    Serve(Serve),
    Load(Drive),
    Grow(Growth),
    Job(String),
}

/// What is compared, and how thoroughly.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) servers: Vec<&'static Server>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) rounds: usize,
    /// Of one run.
    pub(crate) time: Duration,
    pub(crate) pins: Vec<Pin>,
    /// Of everything.
    pub(crate) limit: Duration,
    /// What is looked at besides.
    pub(crate) extras: Vec<Extra>,
}

/// A table that is not one of rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    Memory,
    Calls,
    Children,
}

impl Extra {
    const ALL: [Self; 3] = [Self::Memory, Self::Calls, Self::Children];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Calls => "calls",
            Self::Children => "children",
        }
    }
}

/// How cost grows with the number of connections.
#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) file: PathBuf,
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
}

#[derive(Debug)]
pub(crate) struct Serve {
    pub(crate) server: &'static Server,
    pub(crate) net: Net,
    pub(crate) cpu: Option<usize>,
    /// It ends with the process that started it.
    pub(crate) bound: bool,
}

#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) address: Address,
    pub(crate) workload: Workload,
    pub(crate) time: Duration,
    pub(crate) cpu: Option<usize>,
}

const USAGE: &str = "\
Compares servers and prints Markdown tables.

    smol-transports-bench [--only PATTERNS] [--servers NAMES] [--rounds N] [--secs S] [--pin same|split|none]
                          [--limit MIN] [--quick]
        --only      workloads by name or part of a name, and memory, calls and children, separated by commas; nothing
                    else is looked at then
        --servers   servers by name, separated by commas; the first is the base of the ratios
        --rounds    runs of each server for each workload; 11 by default
        --secs      length of a run in seconds; 0.1 by default
        --pin       server and load on one core, on two, or anywhere; by default first on one, then on two
        --limit     minutes after which it stops, whatever is left to do; 60 by default
        --quick     one short round: shows that everything works, measures nothing
    smol-transports-bench bars [--rounds N] [--secs S] [--limit MIN] [--quick]
        the bars that the crate is held to, each met or missed, in about ten minutes
    smol-transports-bench grow FILE [--rounds N] [--secs S]
        how cost grows with the number of connections: writes JSON, which plot.py draws
    smol-transports-bench serve NAME [--net tcp|unix|udp] [--cpu N]
        one server until it is killed; prints its address
    smol-transports-bench load ADDRESS WORKLOAD [--cpu N] [--secs S]
        one run against such a server

BENCH_PYTHON names the interpreter of asyncio and uvloop; python3 by default.
";

pub(crate) fn help() -> String {
    let servers = servers::ALL.iter().map(|server| format!("    {:<12} {}\n", server.name, server.about));
    let workloads: Vec<String> = workload::all().iter().map(Workload::to_string).collect();
    format!("{USAGE}\nServers:\n{}\nWorkloads:\n    {}\n", servers.collect::<String>(), workloads.join(" "))
}

pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> io::Result<Args> {
    match args.next() {
        None => Ok(Args::Compare(Plan::default())),
        Some(first) => match &*first {
            "--help" | "-h" => Ok(Args::Help),
            "serve" => parse_serve(args).map(Args::Serve),
            "load" => parse_load(args).map(Args::Load),
            "bars" => parse_bars(args).map(Args::Bars),
            "grow" => parse_growth(args).map(Args::Grow),
            "job" => value(&mut args, "job").map(Args::Job),
            _ => parse_plan([first].into_iter().chain(args)).map(Args::Compare),
        },
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            servers: servers::ALL.iter().filter(|server| server.role != Role::Named).collect(),
            workloads: workload::all(),
            rounds: 11,
            time: Duration::from_millis(100),
            pins: vec![Pin::Same, Pin::Split],
            limit: Duration::from_secs(60 * 60),
            extras: Extra::ALL.to_vec(),
        }
    }
}

fn parse_plan(mut args: impl Iterator<Item = String>) -> io::Result<Plan> {
    let mut plan = Plan::default();
    while let Some(arg) = args.next() {
        match &*arg {
            "--only" => (plan.workloads, plan.extras) = only(&value(&mut args, "--only")?)?,
            "--servers" => plan.servers = servers(&value(&mut args, "--servers")?)?,
            "--pin" => plan.pins = vec![pin(&value(&mut args, "--pin")?)?],
            _ => plan.parse_effort(&arg, &mut args)?,
        }
    }
    Ok(plan)
}

fn parse_bars(mut args: impl Iterator<Item = String>) -> io::Result<Plan> {
    let mut plan = Plan::default();
    while let Some(arg) = args.next() {
        plan.parse_effort(&arg, &mut args)?;
    }
    Ok(plan)
}

impl Plan {
    /// How many idle connections there are to be.
    pub(crate) const fn idle(&self) -> usize {
        if self.rounds > 1 { 5000 } else { 100 }
    }

    fn parse_effort(&mut self, arg: &str, args: &mut impl Iterator<Item = String>) -> io::Result<()> {
        match arg {
            "--rounds" => self.rounds = parsed::<usize>(args, "--rounds")?.max(1),
            "--secs" => self.time = seconds(args)?,
            "--limit" => self.limit = Duration::from_secs(60 * parsed::<u64>(args, "--limit")?),
            "--quick" => (self.rounds, self.time) = (1, Duration::from_millis(10)),
            _ => return Err(unknown(arg)),
        }
        Ok(())
    }
}

fn parse_serve(mut args: impl Iterator<Item = String>) -> io::Result<Serve> {
    let name = value(&mut args, "serve")?;
    let server = servers::by_name(&name).ok_or_else(|| unknown(&name))?;
    let mut serve = Serve { server, net: Net::Tcp, cpu: None, bound: false };
    while let Some(arg) = args.next() {
        match &*arg {
            "--cpu" => serve.cpu = Some(parsed(&mut args, "--cpu")?),
            "--net" => {
                let word = value(&mut args, "--net")?;
                serve.net = Net::parse(&word).ok_or_else(|| unknown(&word))?;
            }
            "--bound" => serve.bound = true,
            _ => return Err(unknown(&arg)),
        }
    }
    Ok(serve)
}

fn parse_load(mut args: impl Iterator<Item = String>) -> io::Result<Drive> {
    let address = Address::parse(&value(&mut args, "load")?)?;
    let workload = workloads(&value(&mut args, "load")?)?[0];
    let mut drive = Drive { address, workload, time: Duration::from_secs(1), cpu: None };
    while let Some(arg) = args.next() {
        match &*arg {
            "--secs" => drive.time = seconds(&mut args)?,
            "--cpu" => drive.cpu = Some(parsed(&mut args, "--cpu")?),
            _ => return Err(unknown(&arg)),
        }
    }
    Ok(drive)
}

fn parse_growth(mut args: impl Iterator<Item = String>) -> io::Result<Growth> {
    let file = value(&mut args, "grow")?.into();
    let mut growth = Growth { file, rounds: 5, time: Duration::from_millis(300) };
    while let Some(arg) = args.next() {
        match &*arg {
            "--rounds" => growth.rounds = parsed::<usize>(&mut args, "--rounds")?.max(1),
            "--secs" => growth.time = seconds(&mut args)?,
            _ => return Err(unknown(&arg)),
        }
    }
    Ok(growth)
}

/// What the patterns name: workloads, and what is looked at besides.
fn only(patterns: &str) -> io::Result<(Vec<Workload>, Vec<Extra>)> {
    let extra = |pattern: &str| Extra::ALL.into_iter().find(|extra| extra.name() == pattern);
    let extras = patterns.split(',').filter_map(extra).collect();
    let others: Vec<&str> = patterns.split(',').filter(|pattern| extra(pattern).is_none()).collect();
    let workloads = if others.is_empty() { Vec::new() } else { workloads(&others.join(","))? };
    Ok((workloads, extras))
}

/// The workloads that any of the patterns names, or is a part of the name of; a full name means that one alone.
pub(crate) fn workloads(patterns: &str) -> io::Result<Vec<Workload>> {
    let all = workload::all();
    let mut chosen = Vec::new();
    for pattern in patterns.split(',') {
        let exact = all.iter().filter(|workload| workload.to_string() == pattern);
        let part = all.iter().filter(|workload| workload.to_string().contains(pattern));
        let count = chosen.len();
        chosen.extend(exact);
        if chosen.len() == count {
            chosen.extend(part);
        }
        if chosen.len() == count {
            return Err(unknown(pattern));
        }
    }
    Ok(all.into_iter().filter(|workload| chosen.contains(workload)).collect())
}

fn servers(names: &str) -> io::Result<Vec<&'static Server>> {
    names.split(',').map(|name| servers::by_name(name).ok_or_else(|| unknown(name))).collect()
}

fn pin(word: &str) -> io::Result<Pin> {
    match word {
        "same" => Ok(Pin::Same),
        "split" => Ok(Pin::Split),
        "none" => Ok(Pin::None),
        _ => Err(unknown(word)),
    }
}

fn seconds(args: &mut impl Iterator<Item = String>) -> io::Result<Duration> {
    Duration::try_from_secs_f64(parsed(args, "--secs")?).map_err(io::Error::other)
}

fn parsed<T: FromStr>(args: &mut impl Iterator<Item = String>, option: &str) -> io::Result<T> {
    let word = value(args, option)?;
    word.parse().map_err(|_| unknown(&word))
}

fn value(args: &mut impl Iterator<Item = String>, option: &str) -> io::Result<String> {
    args.next().ok_or_else(|| io::Error::other(format!("{option} needs a value")))
}

fn unknown(word: &str) -> io::Error {
    io::Error::other(format!("{word:?} is not known here; see --help"))
}

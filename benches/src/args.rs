//! The command line.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use crate::machine::Pin;
use crate::servers::{self, Server};
use crate::workload::{self, Workload};

#[derive(Debug)]
pub(crate) enum Args {
    Help,
    Compare(Plan),
    Serve(Serve),
    Load(Drive),
}

/// What is compared, and how thoroughly.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) servers: Vec<&'static Server>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) rounds: usize,
    /// Of one run.
    pub(crate) time: Duration,
    pub(crate) pin: Pin,
}

#[derive(Debug)]
pub(crate) struct Serve {
    pub(crate) server: &'static Server,
    pub(crate) cpu: Option<usize>,
    /// It ends with the process that started it.
    pub(crate) bound: bool,
}

#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) port: u16,
    pub(crate) workload: Workload,
    pub(crate) time: Duration,
    pub(crate) paced: bool,
    pub(crate) cpu: Option<usize>,
}

const USAGE: &str = "\
Compares echo servers and prints a Markdown table.

    smol-transports-bench [--only PATTERNS] [--servers NAMES] [--rounds N] [--secs S] [--pin same|split|none] [--quick]
        --only      workloads by name or part of a name, separated by commas
        --servers   servers by name, separated by commas; the base always runs
        --rounds    runs of each server for each workload; 11 by default
        --secs      length of a run in seconds; 0.15 by default
        --pin       both on one core (the default), server and load on two, or anywhere
        --quick     one short round: shows that everything works, measures nothing
    smol-transports-bench serve NAME [--cpu N]
        one server until it is killed; prints its port
    smol-transports-bench load PORT WORKLOAD [--cpu N] [--secs S] [--paced]
        one run against such a server; --paced lets it sleep before each message
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
            _ => parse_plan([first].into_iter().chain(args)).map(Args::Compare),
        },
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            servers: servers::ALL.iter().collect(),
            workloads: workload::all(),
            rounds: 11,
            time: Duration::from_millis(150),
            pin: Pin::Same,
        }
    }
}

fn parse_plan(mut args: impl Iterator<Item = String>) -> io::Result<Plan> {
    let mut plan = Plan::default();
    while let Some(arg) = args.next() {
        match &*arg {
            "--only" => plan.workloads = workloads(&value(&mut args, "--only")?)?,
            "--servers" => plan.servers = servers(&value(&mut args, "--servers")?)?,
            "--rounds" => plan.rounds = parsed::<usize>(&mut args, "--rounds")?.max(1),
            "--secs" => plan.time = seconds(&mut args)?,
            "--pin" => plan.pin = pin(&value(&mut args, "--pin")?)?,
            "--quick" => (plan.rounds, plan.time) = (1, Duration::from_millis(10)),
            _ => return Err(unknown(&arg)),
        }
    }
    Ok(plan)
}

fn parse_serve(mut args: impl Iterator<Item = String>) -> io::Result<Serve> {
    let name = value(&mut args, "serve")?;
    let server = servers::by_name(&name).ok_or_else(|| unknown(&name))?;
    let mut serve = Serve { server, cpu: None, bound: false };
    while let Some(arg) = args.next() {
        match &*arg {
            "--cpu" => serve.cpu = Some(parsed(&mut args, "--cpu")?),
            "--bound" => serve.bound = true,
            _ => return Err(unknown(&arg)),
        }
    }
    Ok(serve)
}

fn parse_load(mut args: impl Iterator<Item = String>) -> io::Result<Drive> {
    let port = parsed(&mut args, "load")?;
    let workload = workloads(&value(&mut args, "load")?)?[0];
    let mut drive = Drive { port, workload, time: Duration::from_secs(1), paced: false, cpu: None };
    while let Some(arg) = args.next() {
        match &*arg {
            "--secs" => drive.time = seconds(&mut args)?,
            "--paced" => drive.paced = true,
            "--cpu" => drive.cpu = Some(parsed(&mut args, "--cpu")?),
            _ => return Err(unknown(&arg)),
        }
    }
    Ok(drive)
}

/// The workloads that any of the patterns names, or is a part of the name of; a full name means that one alone.
fn workloads(patterns: &str) -> io::Result<Vec<Workload>> {
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
    let mut chosen = vec![servers::base()];
    for name in names.split(',') {
        let server = servers::by_name(name).ok_or_else(|| unknown(name))?;
        if !chosen.iter().any(|known| known.name == name) {
            chosen.push(server);
        }
    }
    Ok(chosen)
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

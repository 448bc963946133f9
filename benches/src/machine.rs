//! The machine: what it is, and which of its cores are used for what.

use std::fs;
use std::io;
use std::process;
use std::thread::{self, available_parallelism};
use std::time::Duration;

use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Enough for the largest number of connections.
const DESCRIPTORS: u64 = 50_000;

/// Where server and load generator run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pin {
    /// Both on one core: the work is compared, not the waking of a sleeping core.
    Same,
    /// The server on the first core, the load on the second.
    Split,
    /// Wherever the system likes.
    None,
}

/// The cores that a [`Pin`] comes to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpus {
    pub(crate) server: Option<usize>,
    pub(crate) load: Option<usize>,
}

pub(crate) fn cpus(pin: Pin) -> io::Result<Cpus> {
    let allowed = sched_getaffinity(None)?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let first = cpus.next();
    match pin {
        Pin::None => Ok(Cpus::default()),
        Pin::Same => Ok(Cpus { server: first, load: first }),
        Pin::Split => {
            let second = cpus.next().ok_or_else(|| io::Error::other("--pin split needs two cores"))?;
            Ok(Cpus { server: first, load: Some(second) })
        }
    }
}

/// Keeps this thread, and the threads and processes that it starts, on one core.
pub(crate) fn pin_thread(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Has the system kill this process when the one that started it ends, in whichever way. A thread that waits for that
/// would change what is measured: the C library's calls are slower in a process of several threads.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Ends the process, and with it its servers, if it is not done by then: what was printed so far stays.
pub(crate) fn end_after(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        println!("\nStopped after {} minutes: see --limit.", limit.as_secs() / 60);
        process::exit(1);
    });
}

/// Lets this process and its children have as many descriptors as they may.
pub(crate) fn raise_limits() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = maximum.map(|maximum| maximum.max(DESCRIPTORS));
    // Only who has the right to can have more than the maximum.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted });
    Ok(raised.or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }))?)
}

/// How many descriptors a process may have open.
pub(crate) fn most_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// One line about the machine, for the report.
pub(crate) fn describe() -> String {
    let model = cpu_model().unwrap_or_else(|| "unknown processor".to_owned());
    let cores = available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    let load = load_average().unwrap_or_else(|| "unknown".to_owned());
    format!("{model}, {cores} cores, Linux {kernel}; load average {load}")
}

fn cpu_model() -> Option<String> {
    let info = read("/proc/cpuinfo")?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn load_average() -> Option<String> {
    Some(read("/proc/loadavg")?.split(' ').next()?.to_owned())
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

//! Replays scenarios whose outcome was recorded with asyncio, and compares the traces.
//!
//! Each file in `scenarios/` says what to construct, what the protocols do inside their callbacks,
//! and what a driver on the other end does step by step. The driver has a thread of its own and
//! plain blocking sockets and pipes; the crate under test runs on another thread, with one
//! executor, once on async-io and once on the crate's own driver. A trace is right if it equals the recorded one or one that the file calls as good.
//!
//! ```text
//! cargo test --all-features --test conformance -- [NAME]...
//! ```
//!
//! Environment: `CONFORMANCE_DIR` (the scenarios), `CONFORMANCE_TLS` (the certificates),
//! `CONFORMANCE_BACKEND` (`async-io` or `driver`, else both), `CONFORMANCE_TRACES` (a folder that
//! gets the trace of each scenario as `NAME.jsonl`, the differing one if one differs),
//! `CONFORMANCE_REPEAT` (how often to run each), `CONFORMANCE_JOBS` (how many at once),
//! `CONFORMANCE_SETTLE_MS` (how long nothing may happen between two steps).

mod action;
mod backend;
mod child;
mod connect;
mod construct;
mod driver;
mod endpoint;
mod kind;
mod library;
mod payload;
mod peer;
mod peer_steps;
mod recorder;
mod report;
mod run;
mod scenario;
mod settings;
mod sleep;
#[cfg(feature = "tls")]
mod tls;
mod trace;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::backend::Backend;
use crate::construct::why_not_supported;
use crate::driver::drive;
use crate::report::{Tally, Verdict};
use crate::run::Run;
use crate::scenario::Scenario;
use crate::settings::Settings;

/// The limit of one run.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);

/// The certificates that scenarios rely on.
const CERTIFICATES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// The name of a scenario, and the scenario or what is wrong with the file.
type Loaded = (String, Result<Arc<Scenario>, String>);

fn main() -> ExitCode {
    if let Some(code) = sleep::as_program() {
        return code;
    }
    payload::self_check();
    report::self_check();
    trace::self_check();
    match prepare() {
        Ok((settings, scenarios)) if settings.list => {
            list(&settings, &scenarios);
            ExitCode::SUCCESS
        }
        Ok((settings, scenarios)) if run_all(&settings, &scenarios) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(err) => {
            let mut tally = Tally::default();
            Verdict::Unreadable(err.to_string()).report("the scenarios", &mut tally);
            tally.print(0);
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> io::Result<(Settings, Vec<Loaded>)> {
    let settings = Settings::new()?;
    let scenarios = load(&settings)?;
    if let Some(folder) = &settings.traces {
        fs::create_dir_all(folder)?;
    }
    Ok((settings, scenarios))
}

/// Loads the scenarios, of each folder in the order of their file names.
fn load(settings: &Settings) -> io::Result<Vec<Loaded>> {
    for name in CERTIFICATES {
        fs::metadata(settings.tls.join(name)).map_err(|err| io::Error::new(err.kind(), format!("{name}: {err}")))?;
    }
    #[cfg(feature = "tls")]
    tls::load(&settings.tls)?;
    let mut scenarios = Vec::new();
    for folder in &settings.scenarios {
        scenarios.extend(files(folder)?.iter().map(|path| load_file(path)));
    }
    Ok(scenarios)
}

/// The scenario files in a folder.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|err| io::Error::new(err.kind(), format!("{folder:?}: {err}")))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension() == Some(OsStr::new("json")));
    paths.sort();
    Ok(paths)
}

fn load_file(path: &Path) -> Loaded {
    match Scenario::read(path) {
        Ok(scenario) => (scenario.name.clone(), Ok(Arc::new(scenario))),
        Err(err) => {
            let stem = path.file_stem().unwrap_or_default();
            let file = path.display();
            (stem.to_string_lossy().into_owned(), Err(format!("{file}: {err}")))
        }
    }
}

fn list(settings: &Settings, scenarios: &[Loaded]) {
    for (name, _) in scenarios.iter().filter(|(name, _)| settings.wants(name)) {
        println!("{name}: test");
    }
}

/// Runs the scenarios that are asked for, several at once, and reports in order.
fn run_all(settings: &Settings, scenarios: &[Loaded]) -> bool {
    let wanted: Vec<_> = scenarios.iter().filter(|(name, _)| settings.wants(name)).collect();
    println!("\nrunning {} tests", wanted.len());
    let next = AtomicUsize::new(0);
    let (verdicts, receiver) = mpsc::channel();
    let work = || {
        while let Some((index, (_, loaded))) = take(&next, &wanted) {
            let _ = verdicts.send((index, judge(settings, loaded)));
        }
    };
    let mut tally = Tally::default();
    thread::scope(|scope| {
        (0..settings.jobs.max(1)).for_each(|_| drop(scope.spawn(work)));
        report_in_order(&wanted, &receiver, &mut tally);
    });
    tally.print(scenarios.len() - wanted.len())
}

/// Takes the next element that nobody has taken.
fn take<'a, T>(next: &AtomicUsize, of: &'a [T]) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    of.get(index).map(|element| (index, element))
}

fn report_in_order(wanted: &[&Loaded], verdicts: &Receiver<(usize, Verdict)>, tally: &mut Tally) {
    let mut early = BTreeMap::new();
    for (index, (name, _)) in wanted.iter().enumerate() {
        while !early.contains_key(&index) {
            match verdicts.recv() {
                Ok((index, verdict)) => drop(early.insert(index, verdict)),
                Err(_) => return,
            }
        }
        if let Some(verdict) = early.remove(&index) {
            verdict.report(name, tally);
        }
    }
}

fn judge(settings: &Settings, loaded: &Result<Arc<Scenario>, String>) -> Verdict {
    let scenario = match loaded {
        Ok(scenario) => scenario,
        Err(err) => return Verdict::Unreadable(err.clone()),
    };
    if !scenario.unknown.is_empty() {
        println!("note: {}: unknown fields: {}", scenario.name, scenario.unknown.join(", "));
    }
    if let Some(why) = why_not_supported(scenario) {
        return Verdict::NotSupported(why);
    }
    let runs = (0..settings.repeat.max(1)).flat_map(|_| &settings.backends);
    let mut verdicts = runs.map(|backend| judge_once(settings, scenario, *backend));
    verdicts.find(|verdict| !verdict.is_good()).unwrap_or(Verdict::AsRecorded)
}

fn judge_once(settings: &Settings, scenario: &Arc<Scenario>, backend: Backend) -> Verdict {
    let trace = run(scenario, backend, settings.quiet);
    keep(settings, &scenario.name, &trace);
    Verdict::on(backend.name(), &trace, &scenario.good)
}

/// Writes a trace to where the environment wants it, for others to judge.
fn keep(settings: &Settings, name: &str, trace: &[String]) {
    let Some(folder) = &settings.traces else { return };
    let path = folder.join(format!("{name}.jsonl"));
    let text: String = trace.iter().flat_map(|line| [line, "\n"]).collect();
    if let Err(err) = fs::write(&path, text) {
        eprintln!("{path:?}: {err}");
    }
}

/// Runs a scenario. Returns its trace.
fn run(scenario: &Arc<Scenario>, backend: Backend, quiet: Duration) -> Vec<String> {
    let (run, jobs) = match Run::new(scenario.clone(), backend) {
        Ok(run) => run,
        Err(err) => return vec![trace::line(&json!(["harness_error", err.to_string()]))],
    };
    let (ended, end) = mpsc::channel::<()>();
    let driven = run.clone();
    thread::spawn(move || {
        drive(&driven, jobs, quiet);
        drop(ended);
    });
    // The trace of a run that ended in time takes no more entries.
    match end.recv_timeout(RUN_TIMEOUT) {
        Err(RecvTimeoutError::Timeout) => run.trace.add(json!(["harness_timeout"])),
        _ => run.trace.add(json!(["harness_error", "the driver panicked"])),
    }
    run.trace.finish();
    run.trace.lines(scenario.unordered)
}

//! What children leave behind: nothing. In a process of its own, since descriptors and children are counted.

#![cfg(target_os = "linux")]

#[path = "it/grammar.rs"]
mod grammar;
#[path = "it/guard.rs"]
#[allow(dead_code, reason = "shared")]
mod guard;
#[path = "children/host.rs"]
mod host;
#[path = "it/process/recorder.rs"]
#[allow(dead_code, reason = "shared")]
mod recorder;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::panic::AssertUnwindSafe;
use std::process::{Command, Stdio as StdStdio};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, WaitOptions};
use smol::future::FutureExt;
use smol_transports::capture;
use smol_transports::stats::stats;
use smol_transports::{Pipe, Spawn, Stdio, Subprocess, SubprocessTransport, subprocess_exec, subprocess_shell};

use guard::{run, until};
use recorder::{Call, Log, Recorder, Step};

static ALONE: Mutex<()> = Mutex::new(());

/// How long what happens in the background may take.
const LATE: Duration = Duration::from_secs(20);

/// What this process has.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    descriptors: BTreeSet<String>,
    /// Each with its state; Z is a zombie.
    children: BTreeSet<(i32, String)>,
    transports: u64,
}

impl Holdings {
    fn now() -> Self {
        Self { descriptors: descriptors(), children: children(), transports: stats().alive }
    }
}

fn entries(path: &str) -> impl Iterator<Item = String> {
    let dir = fs::read_dir(path).expect("procfs");
    dir.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

fn descriptors() -> BTreeSet<String> {
    let open = entries("/proc/self/fd").filter(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    open.collect()
}

fn children() -> BTreeSet<(i32, String)> {
    let own = std::process::id().to_string();
    let processes = entries("/proc").filter_map(|name| name.parse().ok());
    let states = processes.filter_map(|pid| Some((pid, state(pid)?)));
    states.filter(|(_, (_, parent))| *parent == own).map(|(pid, (state, _))| (pid, state)).collect()
}

/// The state of a process and its parent.
fn state(pid: i32) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned);
    Some((fields.next()?, fields.next()?))
}

fn threads() -> usize {
    entries("/proc/self/task").count()
}

/// Runs a test when no other one runs, and expects that everything is as before in the end.
fn alone(test: impl AsyncFnOnce() + Send + 'static) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    run(async || warm_up().await);
    let before = Holdings::now();
    run(test);
    assert_becomes(Holdings::now, &before);
    assert_eq!(stats().made, stats().lost);
}

/// What is made once and kept is made now.
async fn warm_up() {
    let (_, running) = sh("exit 0").await.unwrap().spawn();
    running.await;
    sh("exit 0").await.unwrap().await;
    drop(endless().await.unwrap());
    smol::unblock(|| ()).await;
    // So much at a time that it is waited for together.
    let mut many = Vec::new();
    for _ in 0..4 {
        many.push(endless().await.unwrap());
    }
    for child in &mut many {
        assert!(smol::future::poll_once(child).await.is_none());
    }
    drop(many);
    until(|| children().is_empty() && !holds_pidfds()).await;
}

/// Whether a child is still being collected.
fn holds_pidfds() -> bool {
    let targets = entries("/proc/self/fd").filter_map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).ok());
    targets.into_iter().any(|target| target.to_string_lossy().contains("pidfd"))
}

fn assert_becomes<T: PartialEq + std::fmt::Debug>(now: impl Fn() -> T, expected: &T) {
    let start = Instant::now();
    while now() != *expected && start.elapsed() < LATE {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(now(), *expected);
}

fn sh(line: &str) -> Spawn<Recorder> {
    subprocess_shell(Recorder::new(), line)
}

fn endless() -> Spawn<Recorder> {
    subprocess_exec(Recorder::new(), Command::new("sleep").arg("1000"))
}

fn missing(recorder: Recorder) -> Spawn<Recorder> {
    subprocess_exec(recorder, Command::new("/no/such/program"))
}

/// Whether a program that cannot be run is told: valgrind makes a fork of what shares its memory with the child, so its
/// parent hears nothing and believes that it runs.
fn is_failure_told() -> bool {
    let told = std::env::var("SMOL_TRANSPORTS_SANITIZE").as_deref() != Ok("valgrind");
    if !told {
        println!("skipped: under valgrind nobody is told that a program cannot be run");
    }
    told
}

#[test]
fn two_hundred_missing_programs_leave_nothing() {
    if !is_failure_told() {
        return;
    }
    alone(async || {
        for _ in 0..200 {
            let recorder = Recorder::new();
            let log = recorder.log();
            assert_eq!(missing(recorder).await.unwrap_err().kind(), ErrorKind::NotFound);
            assert_eq!(log.calls(), []);
        }
    });
}

#[test]
fn whatever_fails_at_the_start_leaves_nothing() {
    if !is_failure_told() {
        return;
    }
    alone(async || {
        let mut lost = Command::new("true");
        lost.current_dir("/no/such/directory");
        let file = tempfile::tempfile().unwrap();
        let failing = [
            subprocess_exec(Recorder::new(), lost),
            subprocess_exec(Recorder::new(), Command::new("/dev/null")),
            sh("nul\0byte"),
            sh("exit 0").stdin(Stdio::Stdout),
            sh("exit 0").stdout(Stdio::Stdout),
            missing(Recorder::new()).stderr(Stdio::Stdout),
            missing(Recorder::new()).stdout(Stdio::Inherit).stderr(Stdio::Stdout),
            missing(Recorder::new()).stdout(file).stderr(Stdio::Stdout),
        ];
        for spawn in failing {
            spawn.await.unwrap_err();
        }
        drop(sh("exit 0").stdout(tempfile::tempfile().unwrap()));
    });
}

/// How many children a test has; `CHILDREN` sets it.
fn many(default: usize) -> usize {
    setting("CHILDREN").unwrap_or(default)
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn many_children_leave_nothing() {
    const AT_ONCE: usize = 32;
    alone(async || {
        let before = threads();
        let each = many(512).div_ceil(AT_ONCE);
        let lanes: Vec<_> = (0..AT_ONCE).map(|lane| smol::spawn(lane_of_children(lane, each))).collect();
        let mut count = 0;
        for lane in lanes {
            count += lane.await;
        }
        assert_eq!(count, AT_ONCE * each);
        assert!(threads() <= before + 2, "{} threads instead of {before}", threads());
    });
}

async fn lane_of_children(lane: usize, each: usize) -> usize {
    let codes = (0..each).map(|turn| (lane * each + turn) % 256);
    let mut count = 0;
    for code in codes {
        let line = format!("read x; echo $x; exit {code}");
        let child = subprocess_shell(Recorder::new().saying("text\n"), line).await.unwrap();
        let log = child.await.log();
        log.complete();
        assert_eq!(log.text(Pipe::Stdout), "text\n");
        assert_eq!(log.returncode(), i32::try_from(code).ok());
        count += 1;
    }
    count
}

#[test]
fn running_children_that_are_dropped_leave_nothing() {
    alone(async || {
        const AT_ONCE: usize = 20;
        for _ in 0..many(100).div_ceil(AT_ONCE) {
            let mut running = Vec::new();
            for _ in 0..AT_ONCE {
                running.push(endless().await.unwrap());
            }
            assert_eq!(children().len(), AT_ONCE);
            drop(running);
            until(|| children().is_empty()).await;
        }
    });
}

#[test]
fn running_children_whose_tasks_are_dropped_leave_nothing() {
    alone(async || {
        let mut running = Vec::new();
        let mut transports = Vec::new();
        for _ in 0..20 {
            let (transport, task) = endless().await.unwrap().spawn();
            running.push(task);
            transports.push(transport);
        }
        assert_eq!(children().len(), 20);
        drop(running);
        for transport in transports {
            transport.closed().await.unwrap();
        }
    });
}

#[test]
fn children_that_are_closed_leave_nothing() {
    alone(async || {
        let mut running = Vec::new();
        for _ in 0..20 {
            let (transport, task) = endless().await.unwrap().spawn();
            transport.close();
            running.push(task);
        }
        for task in running {
            task.await.log().complete();
        }
        assert_eq!(children(), BTreeSet::new());
    });
}

#[test]
fn children_that_have_ended_unseen_leave_nothing() {
    alone(async || {
        let child = sh("exit 0").await.unwrap();
        let pid = i32::try_from(child.transport().pid()).unwrap();
        until(|| state(pid).is_some_and(|(state, _)| state == "Z")).await;
        drop(child);
    });
}

#[test]
fn the_exit_is_collected_before_it_is_told() {
    alone(async || {
        let recorder = Recorder::new().on(Step::Exited, |transport| {
            let pid = i32::try_from(transport.pid()).unwrap();
            assert!(children().iter().all(|(child, _)| *child != pid));
        });
        subprocess_shell(recorder, "exit 0").await.unwrap().await;
    });
}

#[test]
fn handles_hold_nothing() {
    alone(async || {
        let before = descriptors();
        let child = endless().await.unwrap();
        let transport = child.transport().clone();
        let pipes = (transport.stdin().cloned(), transport.stdout().cloned(), transport.stderr().cloned());
        drop(child);
        until(|| descriptors() == before).await;
        assert!(transport.is_closing());
        drop(pipes);
    });
}

/// A child that ends at once, and a descendant of it that holds its pipes.
async fn with_a_descendant() -> (Subprocess<Recorder>, Log) {
    let recorder = Recorder::new();
    let log = recorder.log();
    let mut child = subprocess_shell(recorder, "sleep 1000 & echo $!; exit 0").await.unwrap();
    child.run_until(until(|| log.text(Pipe::Stdout).ends_with('\n') && log.has(Step::Exited))).await;
    (child, log)
}

fn kill_descendant(log: &Log) {
    let descendant = Pid::from_raw(log.text(Pipe::Stdout).trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(descendant, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn pipes_that_a_descendant_holds_are_cut() {
    alone(async || {
        let (child, log) = with_a_descendant().await;
        drop(child);
        kill_descendant(&log);
    });
}

/// `EXIT_MS` says how many milliseconds that may take, the start of the child included.
#[test]
fn an_exit_is_told_soon_though_a_descendant_holds_the_pipes() {
    alone(async || {
        let limit = setting("EXIT_MS").map_or(LATE, Duration::from_millis);
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let start = Instant::now();
            let (child, log) = with_a_descendant().await;
            slowest = slowest.max(start.elapsed());
            assert!(!log.has(Step::PipeLost(Pipe::Stdout)));
            kill_descendant(&log);
            child.await.log().complete();
        }
        println!("told within {slowest:?}");
        assert!(slowest <= limit, "told after {slowest:?} only");
    });
}

#[test]
fn a_panic_kills_the_child_and_leaves_nothing() {
    let steps = [
        Step::Made,
        Step::Data(Pipe::Stdout),
        Step::Data(Pipe::Stderr),
        Step::PipeLost(Pipe::Stdin),
        Step::Pause,
        Step::Resume,
    ];
    for step in steps {
        alone(async move || {
            let recorder = Recorder::new().panicking_in(step);
            let line = "echo out; echo err >&2; head -c 1000000; exec 0<&-; exec sleep 1000";
            let child = subprocess_shell(recorder, line).await.unwrap();
            child.transport().stdin().unwrap().write(vec![0; 1_000_000]);
            assert!(AssertUnwindSafe(child).catch_unwind().await.is_err(), "no panic in {step:?}");
        });
    }
}

#[test]
fn a_panic_harms_no_other_child() {
    alone(async || {
        let recorder = Recorder::new().on(Step::Data(Pipe::Stdout), |transport| transport.stdin().unwrap().close());
        let (transport, canary) = subprocess_exec(recorder, Command::new("cat")).await.unwrap().spawn();
        for step in [Step::Made, Step::Data(Pipe::Stdout), Step::Exited, Step::PipeLost(Pipe::Stderr), Step::Lost] {
            let (other, running) =
                subprocess_shell(Recorder::new().panicking_in(step), "echo x").await.unwrap().spawn();
            assert!(AssertUnwindSafe(running).catch_unwind().await.is_err(), "no panic in {step:?}");
            // At the loss it has ended by itself already.
            assert_eq!(other.is_closing(), step != Step::Lost, "{step:?}");
        }
        transport.stdin().unwrap().write("unharmed").ok().unwrap();
        let log = canary.await.log();
        log.complete();
        assert_eq!(log.text(Pipe::Stdout), "unharmed");
    });
}

/// The descriptors of a child beside those that any child of this process would have.
#[test]
fn a_child_gets_no_descriptor_of_ours() {
    alone(async || {
        let mut list = Command::new("ls");
        list.arg("/proc/self/fd");
        let expected = list.stdin(StdStdio::piped()).stderr(StdStdio::piped()).output().unwrap();
        let others = [endless().await.unwrap(), endless().await.unwrap()];
        let log = subprocess_exec(Recorder::new(), &mut list).await.unwrap().await.log();
        assert_eq!(log.text(Pipe::Stdout), String::from_utf8(expected.stdout).unwrap());
        drop(others);
    });
}

/// Sets the limit of descriptors, and puts it back.
struct Limit(Rlimit);

impl Limit {
    fn set(limit: u64) -> Self {
        let before = rustix::process::getrlimit(Resource::Nofile);
        let limit = Rlimit { current: Some(limit), ..before };
        rustix::process::setrlimit(Resource::Nofile, limit).expect("it is lower");
        Self(before)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = rustix::process::setrlimit(Resource::Nofile, self.0);
    }
}

/// Whichever descriptor is the one too many.
#[test]
fn a_lack_of_descriptors_leaves_nothing() {
    alone(async || {
        for limit in 0.. {
            match cat_within(limit).await {
                Ok(()) => return,
                Err(err) => assert_eq!(err.raw_os_error(), Some(24), "{err}"),
            }
            assert_becomes(children, &BTreeSet::new());
        }
    });
}

async fn cat_within(limit: u64) -> io::Result<()> {
    let limit = Limit::set(limit);
    let child = subprocess_exec(Recorder::new().saying("text"), Command::new("cat")).await;
    drop(limit);
    let log = child?.await.log();
    assert_eq!(log.text(Pipe::Stdout), "text");
    Ok(())
}

fn captured(line: &str) -> capture::Run {
    capture::run(Command::new("sh").args(["-c", line])).unchecked()
}

#[test]
fn captures_leave_nothing() {
    alone(async || {
        for code in 0..100 {
            let run =
                captured(&format!("cat; exit {code}")).input("text").sink(capture::Writer::new(io::sink()).sink());
            let captured = run.await.unwrap();
            assert_eq!((captured.code(), captured.stdout().bytes()), (Some(code), &b"text"[..]));
        }
        assert_eq!(captured("sleep 1000 & exit 3").await.unwrap().held_pipes().len(), 2);
    });
}

#[test]
fn captures_that_are_dropped_leave_nothing() {
    alone(async || {
        let lines = ["sleep 1000 & sleep 1000", "trap '' TERM; sleep 1000 & sleep 1000; sleep 1000", "exit 0"];
        let grace = Duration::from_millis(100);
        let start = |line| captured(line).input("text").grace(grace).start().unwrap();
        let mut runs: Vec<_> = lines.into_iter().cycle().take(21).map(start).collect();
        for run in &mut runs {
            smol::future::poll_once(run).await;
        }
        drop(runs);
    });
}

/// Set for a test that collects every child of its process, and so must have that for itself.
const THIEF: &str = "SMOL_TRANSPORTS_THIEF";

/// Runs a test of this program in a process of its own.
fn as_thief(name: &str, test: impl AsyncFnOnce() + Send + 'static) {
    if std::env::var_os(THIEF).is_some() {
        return run(test);
    }
    // Its process is a child that the others must not count.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let program = std::env::current_exe().expect("a test is a program");
    let output = Command::new(program).args(["--exact", name, "--nocapture"]).env(THIEF, "1").output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[test]
fn an_exit_that_somebody_else_collects_costs_its_status() {
    as_thief("an_exit_that_somebody_else_collects_costs_its_status", async || {
        let child = endless().await.unwrap();
        let transport = child.transport().clone();
        transport.kill().unwrap();
        let (stolen, status) = rustix::process::wait(WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(u32::try_from(stolen.as_raw_nonzero().get()).ok(), Some(transport.pid()));
        assert_eq!(status.terminating_signal(), Some(9));
        let log = child.await.log();
        assert_eq!(log.returncode(), Some(255));
        assert_eq!(log.complete().last(), Some(&Call::Lost(None)));
    });
}

#[test]
fn a_thief_of_exits_never_makes_anything_hang() {
    as_thief("a_thief_of_exits_never_makes_anything_hang", async || {
        thread::spawn(|| {
            loop {
                let _ = rustix::process::wait(WaitOptions::empty());
            }
        });
        for _ in 0..200 {
            match sh("exit 3").await {
                Ok(child) => {
                    let log = child.await.log();
                    log.complete();
                    assert!(matches!(log.returncode(), Some(3 | 255)));
                }
                // It was stolen before it could be watched.
                Err(err) => assert_eq!(err.raw_os_error(), Some(3), "{err}"),
            }
        }
        let child = endless().await.unwrap();
        child.transport().close();
        child.await.log().complete();
        drop(endless().await.unwrap());
    });
}

#[test]
fn signals_and_exits_may_race() {
    alone(async || {
        for _ in 0..200 {
            let (transport, running) = sh("exit 0").await.unwrap().spawn();
            let kill = |transport: &SubprocessTransport| match transport.kill() {
                Ok(()) => false,
                Err(err) => err.raw_os_error() == Some(3),
            };
            let killer = thread::spawn(move || {
                while !kill(&transport) {
                    thread::yield_now();
                }
            });
            let log = running.await.log();
            log.complete();
            assert!(matches!(log.returncode(), Some(0 | -9)));
            killer.join().unwrap();
        }
    });
}

/// All of this on a system that has no descriptors of processes.
#[test]
fn without_pidfds() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut refuse = Command::new("python3");
    refuse.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chaos/refuse.py")).arg("pidfd");
    let is_possible = Command::new("python3").args(refuse.get_args()).arg("true").status();
    if !is_possible.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: there is no python3, or seccomp filters cannot be set here");
    }
    refuse.arg(std::env::current_exe().expect("the path of this test")).args(["--skip", "without_pidfds"]);
    let output = refuse.output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

//! System calls that fail at a chosen time, under each kind of transport and on both backends.
//!
//! A test starts this program again, lets it warm up, attaches strace, and has it move bytes while strace makes system
//! calls fail. An error that means "try again" must lose nothing; any other must be told to somebody. In no case may
//! there be a hang, a panic, or a descriptor or transport that is left behind.
//!
//! By default each error comes at the first call of a thread and at every fourth one. `FAULTS=all` tries each of the
//! first fifty calls by itself, which takes a quarter of an hour. Skipped, with a line that says so, where nothing can be traced.

#![cfg(target_os = "linux")]

#[path = "it/guard.rs"]
#[allow(dead_code, reason = "shared")]
mod guard;
#[path = "faults/scenario.rs"]
mod scenario;

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use guard::{run, until};
use scenario::{Backend, holdings};

/// How long what happens in the background may take.
const LATE: Duration = Duration::from_secs(20);

const SCENARIO: &str = "FAULTS_SCENARIO";
const BACKEND: &str = "FAULTS_BACKEND";

/// What an error must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// All bytes arrive.
    Lossless,
    /// All bytes arrive, or somebody is told why not.
    Told,
}

use Expect::{Lossless, Told};

/// The call may be made under several names.
struct Fault {
    calls: &'static str,
    error: &'static str,
    expect: Expect,
}

const fn fault(calls: &'static str, error: &'static str, expect: Expect) -> Fault {
    Fault { calls, error, expect }
}

const WAIT: &str = "epoll_wait,epoll_pwait,epoll_pwait2";
const SEND: &str = "sendto,sendmsg";
const SEND_MANY: &str = "sendto,sendmsg,sendmmsg";
const RECEIVE: &str = "recvfrom,recvmsg";

/// Why an error is not tried on a backend.
fn not_tried(scenario: &str, backend: Backend, fault: &Fault) -> Option<&'static str> {
    match (backend, fault.calls, fault.error) {
        (Backend::Driver, "epoll_ctl", _) if scenario == "child" => {
            Some("a child whose exit epoll cannot report is left to async-io, which has the same fault here")
        }
        (Backend::Driver | Backend::Local, RECEIVE | "accept4", "EAGAIN") => {
            Some("no kernel says that nothing is there when something is, and epoll reports an edge once")
        }
        (Backend::AsyncIo, "write", _) => {
            Some("only async-io calls it, for an eventfd that never answers so, and would forget whom to wake")
        }
        (Backend::Local | Backend::AsyncIo, "epoll_ctl", _) => {
            Some("when epoll fails for its own descriptors, async-io forgets whom to wake")
        }
        _ => None,
    }
}

const STREAMS: &[Fault] = &[
    fault("accept4", "EINTR", Lossless),
    fault("accept4", "EAGAIN", Lossless),
    fault("accept4", "ECONNABORTED", Lossless),
    fault("accept4", "ECONNRESET", Lossless),
    fault("accept4", "EPROTO", Lossless),
    fault("accept4", "EMFILE", Lossless),
    fault("accept4", "ENFILE", Lossless),
    fault("accept4", "ENOBUFS", Lossless),
    fault("accept4", "ENOMEM", Lossless),
    fault("connect", "EINTR", Told),
    fault("connect", "EAGAIN", Told),
    fault("connect", "ENOBUFS", Told),
    fault("socket", "EMFILE", Told),
    fault("socket", "ENFILE", Told),
    fault(RECEIVE, "EINTR", Lossless),
    fault(RECEIVE, "EAGAIN", Lossless),
    fault(RECEIVE, "ECONNRESET", Told),
    fault(RECEIVE, "ENOBUFS", Told),
    fault(SEND, "EINTR", Lossless),
    fault(SEND, "EAGAIN", Lossless),
    fault(SEND, "ECONNRESET", Told),
    fault(SEND, "ENOBUFS", Told),
    fault(SEND, "EPIPE", Told),
    fault("shutdown", "EINTR", Lossless),
    fault("epoll_ctl", "ENOMEM", Told),
    fault("epoll_ctl", "ENOSPC", Told),
    fault(WAIT, "EINTR", Lossless),
];

const DATAGRAMS: &[Fault] = &[
    fault(RECEIVE, "EINTR", Lossless),
    fault(RECEIVE, "EAGAIN", Lossless),
    fault(RECEIVE, "ECONNREFUSED", Told),
    fault(RECEIVE, "ENOBUFS", Told),
    fault(SEND_MANY, "EINTR", Lossless),
    fault(SEND_MANY, "EAGAIN", Lossless),
    fault(SEND_MANY, "ENOBUFS", Told),
    fault(SEND_MANY, "ECONNREFUSED", Told),
    fault("epoll_ctl", "ENOMEM", Told),
    fault(WAIT, "EINTR", Lossless),
];

const PIPES: &[Fault] = &[
    fault("read,readv", "EINTR", Lossless),
    fault("read,readv", "EIO", Told),
    fault("write", "EINTR", Lossless),
    fault("writev", "EINTR", Lossless),
    fault("writev", "EAGAIN", Lossless),
    fault("writev", "EIO", Told),
    fault("epoll_ctl", "ENOMEM", Told),
    fault(WAIT, "EINTR", Lossless),
];

const CHILDREN: &[Fault] = &[
    fault("writev", "EINTR", Lossless),
    fault("writev", "EAGAIN", Lossless),
    fault("writev", "EIO", Told),
    fault("pidfd_open", "EMFILE", Told),
    fault("pipe2", "EMFILE", Told),
    fault("epoll_ctl", "ENOMEM", Told),
    fault(WAIT, "EINTR", Lossless),
];

#[test]
fn tcp_on_a_driver() {
    all("tcp", Backend::Driver, STREAMS);
}

#[test]
fn tcp_on_async_io() {
    all("tcp", Backend::AsyncIo, STREAMS);
}

#[test]
fn tcp_served_locally() {
    all("tcp", Backend::Local, STREAMS);
}

#[test]
fn unix_on_a_driver() {
    all("unix", Backend::Driver, STREAMS);
}

#[test]
fn unix_on_async_io() {
    all("unix", Backend::AsyncIo, STREAMS);
}

#[test]
fn unix_served_locally() {
    all("unix", Backend::Local, STREAMS);
}

#[test]
fn udp_on_a_driver() {
    all("udp", Backend::Driver, DATAGRAMS);
}

#[test]
fn udp_on_async_io() {
    all("udp", Backend::AsyncIo, DATAGRAMS);
}

#[test]
fn pipes_on_a_driver() {
    all("pipe", Backend::Driver, PIPES);
}

#[test]
fn pipes_on_async_io() {
    all("pipe", Backend::AsyncIo, PIPES);
}

#[test]
fn children_on_a_driver() {
    all("child", Backend::Driver, CHILDREN);
}

#[test]
fn children_on_async_io() {
    all("child", Backend::AsyncIo, CHILDREN);
}

/// The program under test: it does nothing unless another test of this program has started it.
#[test]
fn inside() {
    let Ok(name) = env::var(SCENARIO) else { return };
    let backend = match env::var(BACKEND).as_deref() {
        Ok("driver") => Backend::Driver,
        Ok("local") => Backend::Local,
        _ => Backend::AsyncIo,
    };
    run(async move || {
        // What is made once and kept is made now: a driver, which collects children as well, the reactor of async-io, and
        // what the scenario needs.
        let _ = smol_transports::driver::configure().start();
        smol::Timer::after(Duration::from_millis(1)).await;
        let outcome = scenario::run(&name, backend).await;
        assert!(outcome.complete && outcome.errors.is_empty(), "{outcome:?}");
        until(|| holdings().transports == 0).await;
        let before = holdings();
        println!("\nready");
        // Reading the word to begin may be the call that fails, which is as good.
        let _ = smol::unblock(|| std::io::stdin().read_line(&mut String::new())).await;
        let outcome = match backend {
            // Not by async-io, which forgets whom to wake when epoll fails for it.
            Backend::Driver => futures_lite::future::block_on(scenario::run(&name, backend)),
            Backend::Local | Backend::AsyncIo => scenario::run(&name, backend).await,
        };
        println!("\ncomplete={} errors={:?}", outcome.complete, outcome.errors);
        assert!(outcome.complete || !outcome.errors.is_empty(), "something is missing, and nobody was told why");
        // Not by a timer of async-io, which may have forgotten whom to wake.
        let start = Instant::now();
        while !holdings().are_at_most(&before) {
            assert!(start.elapsed() < LATE, "there is {:?}\nand was {before:?}", holdings());
            thread::sleep(Duration::from_millis(1));
        }
        println!("\nnothing is left behind");
    });
}

/// All faults of a scenario, one after another.
fn all(scenario: &str, backend: Backend, faults: &[Fault]) {
    if !can_trace() {
        return println!("skipped: there is no strace, or tracing is not allowed");
    }
    let mut violations = Vec::new();
    for fault in faults {
        if let Some(reason) = not_tried(scenario, backend, fault) {
            println!("not tried: {} {} on {backend:?}: {reason}", fault.calls, fault.error);
            continue;
        }
        violations.extend(times().into_iter().flat_map(|when| attempt(scenario, backend, fault, &when)));
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// At which calls of a thread an error comes.
fn times() -> Vec<String> {
    match env::var("FAULTS").as_deref() {
        Ok("all") => (1..=50).map(|call| call.to_string()).collect(),
        _ => vec!["1".to_owned(), "2+4".to_owned()],
    }
}

fn can_trace() -> bool {
    Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success())
}

/// One run; what is wrong with it.
fn attempt(scenario: &str, backend: Backend, fault: &Fault, when: &str) -> Option<String> {
    let log = NamedTempFile::new().expect("a temporary file");
    let mut server = start(scenario, backend);
    let mut output = BufReader::new(server.stdout.take().expect("it is a pipe"));
    let warm = wait_for(&mut output, "ready");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-e", &format!("trace={}", fault.calls)]);
    strace.args(["-e", &format!("inject={}:error={}:when={when}", fault.calls, fault.error)]);
    strace.arg("-o").arg(log.path()).args(["-p", &server.id().to_string()]).stderr(Stdio::piped());
    let mut strace = strace.spawn().expect("strace starts");
    // It goes on to report threads and children: nobody reads that, but it must not break.
    let mut reports = BufReader::new(strace.stderr.take().expect("it is a pipe"));
    let attached = wait_for(&mut reports, "attached");
    let mut input = server.stdin.take().expect("it is a pipe");
    input.write_all(b"go\n").expect("it reads");
    let mut text = String::new();
    output.read_to_string(&mut text).expect("text");
    let status = server.wait().expect("it ends");
    strace.wait().expect("it ends with what it traces");
    let trace = std::fs::read_to_string(log.path()).expect("the trace");
    let injected: Vec<_> = trace.lines().filter(|line| line.contains("(INJECTED)")).collect();
    let complete = text.contains("complete=true");
    let fine = status.success() && text.contains("nothing is left behind");
    let ok = warm && attached && fine && (complete || fault.expect == Told);
    let (calls, error) = (fault.calls, fault.error);
    println!("{scenario} {backend:?} {calls} {error} {when}: {} times, complete: {complete}", injected.len());
    let mut why = String::new();
    let _ = server.stderr.take().map(|mut stderr| stderr.read_to_string(&mut why));
    let which = injected.join("\n");
    (!ok).then(|| format!("{scenario} on {backend:?}, {calls} {error} at {when}:\n{text}{why}{which}"))
}

fn start(scenario: &str, backend: Backend) -> Child {
    let mut command = Command::new(env::current_exe().expect("a test is a program"));
    let backend = match backend {
        Backend::Driver => "driver",
        Backend::Local => "local",
        Backend::AsyncIo => {
            command.env("SMOL_TRANSPORTS_HUB", "0");
            "async-io"
        }
    };
    command.args(["inside", "--exact", "--nocapture"]).env(SCENARIO, scenario).env(BACKEND, backend);
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

/// Reads up to a line that ends with or contains `word`.
fn wait_for(input: &mut impl BufRead, word: &str) -> bool {
    input.lines().map_while(Result::ok).any(|line| line.contains(word))
}

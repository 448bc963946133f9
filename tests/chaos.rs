//! Storms of badly behaving peers, and failing system calls, against the example `bench_server`.
//!
//! The judge is `scripts/chaos.py`. `CHAOS_CONNS` and `CHAOS_SEEDS` make the storms longer. What the machine does not
//! have (python3, strace, seccomp) is skipped with a line that says so. Bounds of time are generous here, so that the
//! tests hold on a busy machine; called by hand, `chaos.py` has the real ones.

#![cfg(target_os = "linux")]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
#[cfg(feature = "tls")]
use std::sync::LazyLock;
use std::sync::OnceLock;

use tempfile::{NamedTempFile, TempDir};

/// Bounds for a machine that does other things as well.
const PATIENT: &[&str] = &["--stall", "30", "--settle", "15", "--canary", "20", "--back", "5"];

/// A small storm, enough to meet a fault many times.
const SMALL: &[&str] = &["--conns", "45", "--spread", "0.4", "--no-exhaustion"];

/// Where the server's connections run: on a driver, in the loop of `serve_local`, or at the hub.
const BACKENDS: [&str; 3] = ["driver", "async-io", "smol"];

#[test]
fn storm_and_shortage() {
    let conns = setting("CHAOS_CONNS", "200");
    let seeds = setting("CHAOS_SEEDS", "2");
    Storm::new(&["--conns", &conns, "--seeds", &seeds]).run();
}

/// A server that sends all the time: the write side is paused and resumed again and again.
#[test]
fn source() {
    Storm::new(&["--conns", "40", "--mode", "source"]).server(&["--mode", "source"]).run();
}

/// A send buffer of the system so small that hardly any send is taken whole. (A library that is loaded before libc
/// could make transfers short as well, but the server's system calls do not go through libc.)
#[test]
fn short_transfers() {
    for backend in BACKENDS {
        let Some(log) = Strace::new("sendto", &[]) else { return };
        Storm::new(SMALL).server(&["--send-buffer", "1024", "--backend", backend]).under(&log.command).run();
        log.assert_short();
    }
}

#[test]
fn storm_over_unix_sockets() {
    let place = TempDir::new().expect("a directory");
    let conns = setting("CHAOS_CONNS", "200");
    Storm::new(&["--conns", &conns]).listening_on(format!("unix:{}", place.path().join("socket").display())).run();
}

/// Refusals, bursts, senders that vanish, and datagrams of every size, the empty one included.
#[test]
fn datagrams() {
    let script = root().join("tests/chaos/datagrams.py");
    let output = Command::new("python3").arg(script).arg(bench_server()).output();
    let Ok(Output { status, stdout, stderr }) = output else { return skip("there is no python3") };
    let text = [stdout, stderr].concat();
    assert!(status.success(), "{}", String::from_utf8_lossy(&text));
    println!("{}", String::from_utf8_lossy(&text));
}

#[cfg(feature = "tls")]
#[test]
fn storm_over_tls() {
    let conns = setting("CHAOS_CONNS", "200");
    let seeds = setting("CHAOS_SEEDS", "1");
    for version in ["1.2", "1.3"] {
        Storm::new(&["--conns", &conns, "--seeds", &seeds, "--tls", version]).over_tls().run();
    }
}

#[cfg(feature = "tls")]
#[test]
fn source_over_tls() {
    Storm::new(&["--conns", "40", "--mode", "source"]).server(&["--mode", "source"]).over_tls().run();
}

#[cfg(feature = "tls")]
#[test]
fn short_transfers_over_tls() {
    let Some(log) = Strace::new("sendto,sendmsg", &[]) else { return };
    // Over TLS fewer sends are short: it takes more of them.
    Storm::new(SMALL).args(&["--conns", "135"]).server(&["--send-buffer", "1024"]).over_tls().under(&log.command).run();
    log.assert_short();
}

#[cfg(feature = "tls")]
#[test]
fn interrupted_over_tls() {
    let inject = ["-e", "inject=recvfrom:error=EINTR:when=5+5", "-e", "inject=sendto:error=EAGAIN:when=4+4"];
    let Some(log) = Strace::new("recvfrom,sendto", &inject) else { return };
    Storm::new(SMALL).over_tls().under(&log.command).run();
    log.assert_injected();
}

#[test]
fn recvfrom_interrupted() {
    fault("recvfrom", "error=EINTR:when=5+5", SMALL);
}

#[test]
fn sendto_interrupted() {
    fault("sendto", "error=EINTR:when=5+5", SMALL);
}

/// Vectored sends are rare in an echo; a source has many.
#[test]
fn sendmsg_interrupted() {
    let Some(log) = Strace::new("sendmsg", &["-e", "inject=sendmsg:error=EINTR:when=3+3"]) else { return };
    Storm::new(SMALL).args(&["--mode", "source"]).server(&["--mode", "source"]).under(&log.command).run();
    log.assert_injected();
}

#[test]
fn sendto_would_block() {
    fault("sendto", "error=EAGAIN:when=4+4", SMALL);
}

#[test]
fn epoll_wait_interrupted() {
    fault("epoll_wait,epoll_pwait,epoll_pwait2", "error=EINTR:when=5+5", SMALL);
}

/// A connection that the peer took back is skipped: were it a reason to pause, peers could slow down all others.
#[test]
fn accept_aborted() {
    let Some(log) = fault("accept4", "error=ECONNABORTED:when=3+3", SMALL) else { return };
    let gap = log.median_gap();
    assert!(gap < 0.025, "the server waits {gap:.3} s after a connection that was aborted");
}

/// A shortage is a reason to pause, or the server would spin.
#[test]
fn accept_without_descriptors() {
    let Some(log) = fault("accept4", "error=EMFILE:when=3+3", SMALL) else { return };
    let gap = log.median_gap();
    assert!(gap > 0.025, "the server waits only {gap:.3} s in a shortage of descriptors");
}

/// A reset costs that connection and nothing else.
#[test]
fn recvfrom_reset() {
    let lossy = [SMALL, &["--may-lose", "0.8"]].concat();
    fault("recvfrom", "error=ECONNRESET:when=40+40", &lossy);
}

/// Connections that cannot be registered end with the error; others are served, and nothing stays behind.
#[test]
fn epoll_add_without_memory() {
    refuse_epoll("epoll-add");
}

/// The same when it cannot be waited for them again.
#[test]
fn epoll_modify_without_memory() {
    refuse_epoll("epoll-modify");
}

/// Only sockets above the descriptors that the server needs for itself fail: the reactor cannot do without its own.
fn refuse_epoll(operation: &str) {
    let script = root().join("tests/chaos/refuse.py");
    let refuse = |first: &str| -> Vec<OsString> {
        vec!["python3".into(), script.clone().into(), operation.into(), first.into()]
    };
    if !works(&refuse("0"), &["true"]) {
        return skip("seccomp filters cannot be set here");
    }
    let refused = BACKENDS.map(|backend| {
        let storm = Storm::new(SMALL).args(&["--may-lose", "0.9"]).server(&["--backend", backend]);
        !storm.under(&refuse("20")).run().contains(", 0 lost;")
    });
    // A small storm need not come to the point on the others.
    let [on_a_driver, ..] = refused;
    assert!(on_a_driver, "no connection was refused: nothing was tested");
}

/// A small storm in which a system call fails again and again, on each backend; the trace of the last one.
fn fault(call: &str, how: &str, args: &[&str]) -> Option<Strace> {
    let mut last = None;
    for backend in BACKENDS {
        let log = Strace::new(call, &["-e", &format!("inject={call}:{how}")])?;
        Storm::new(args).server(&["--backend", backend]).under(&log.command).run();
        log.assert_injected();
        last = Some(log);
    }
    last
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a command can be run with these arguments.
fn works(command: &[OsString], args: &[&str]) -> bool {
    Command::new(&command[0]).args(&command[1..]).args(args).output().is_ok_and(|output| output.status.success())
}

/// A run of `chaos.py`.
struct Storm {
    args: Vec<OsString>,
    wrapper: Vec<OsString>,
    server: Vec<OsString>,
    listen: String,
}

impl Storm {
    fn new(args: &[&str]) -> Self {
        let args = [PATIENT, args].concat().iter().map(Into::into).collect();
        Self { args, wrapper: vec![], server: vec![], listen: "tcp:127.0.0.1:0".to_owned() }
    }

    fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(Into::into));
        self
    }

    fn listening_on(mut self, address: String) -> Self {
        self.listen = address;
        self
    }

    /// What the server is told besides where to listen.
    fn server(mut self, args: &[&str]) -> Self {
        self.server.extend(args.iter().map(Into::into));
        self
    }

    #[cfg(feature = "tls")]
    fn over_tls(mut self) -> Self {
        static IDENTITY: LazyLock<Identity> = LazyLock::new(Identity::new);
        self.listen = "tls:127.0.0.1:0".to_owned();
        // Besides what waits in plaintext up to 64 KiB of it are encrypted already.
        self.args.extend(["--rss-each-kb", "400"].map(Into::into));
        self.server.extend(["--cert".into(), IDENTITY.certificate.path().into()]);
        self.server.extend(["--key".into(), IDENTITY.key.path().into()]);
        self
    }

    /// What the server is started by.
    fn under(mut self, wrapper: &[OsString]) -> Self {
        self.wrapper.extend_from_slice(wrapper);
        self
    }

    /// What it said; fails if there are violations.
    fn run(self) -> String {
        let mut command = Command::new("python3");
        command.arg(root().join("scripts/chaos.py")).args(&self.args).arg("--").args(&self.wrapper);
        command.arg(bench_server()).args(["--stats", "--listen", &self.listen]).args(&self.server);
        if !works(&["python3".into()], &["--version"]) {
            skip("there is no python3");
            return String::new();
        }
        let Output { status, stdout, stderr } = command.output().expect("python3 runs");
        let text = String::from_utf8_lossy(&stdout).into_owned();
        assert!(status.success(), "{command:?}\n{text}{}", String::from_utf8_lossy(&stderr));
        println!("{text}");
        text
    }
}

/// A certificate of nobody's, and its key.
#[cfg(feature = "tls")]
struct Identity {
    certificate: NamedTempFile,
    key: NamedTempFile,
}

#[cfg(feature = "tls")]
impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let file = |text: String| {
            let file = NamedTempFile::new().expect("a temporary file");
            fs::write(file.path(), text).expect("it can be written");
            file
        };
        Self { certificate: file(made.cert.pem()), key: file(made.signing_key.serialize_pem()) }
    }
}

/// A trace of some system calls.
struct Strace {
    log: NamedTempFile,
    command: Vec<OsString>,
}

impl Strace {
    /// None if programs cannot be traced here.
    fn new(call: &str, args: &[&str]) -> Option<Self> {
        let log = NamedTempFile::new().expect("a temporary file");
        // The tracer is the grandchild, so that whoever starts the server knows its process by the right number.
        let mut command: Vec<OsString> = ["strace", "-D", "-f", "-ttt", "-e"].map(Into::into).into();
        command.push(format!("trace={call}").into());
        command.extend(args.iter().map(Into::into));
        command.extend(["-o".into(), log.path().into()]);
        if !works(&command, &["true"]) || !works(&["python3".into()], &["--version"]) {
            skip("there is no strace or no python3, or tracing is not allowed");
            return None;
        }
        Some(Self { log, command })
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read(self.log.path()).expect("the trace");
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }

    fn assert_short(&self) {
        let short = self.lines().iter().filter(|line| is_short_send(line)).count();
        assert!(short >= 50, "only {short} sends were short: nothing was tested");
    }

    fn assert_injected(&self) {
        let count = self.lines().iter().filter(|line| is_injected(line)).count();
        assert!(count >= 5, "the fault occurred {count} times only: nothing was tested");
    }

    /// Seconds from a fault to the next call: the median of all.
    fn median_gap(&self) -> f64 {
        let lines = self.lines();
        let pairs = lines.iter().zip(lines.iter().skip(1)).filter(|(line, _)| is_injected(line));
        let mut gaps: Vec<f64> = pairs.filter_map(|(line, next)| Some(time(next)? - time(line)?)).collect();
        gaps.sort_by(f64::total_cmp);
        gaps[gaps.len() / 2]
    }
}

fn is_injected(line: &str) -> bool {
    line.ends_with("(INJECTED)")
}

/// The second word of a line: `PID SECONDS CALL`.
fn time(line: &str) -> Option<f64> {
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Whether a line says that fewer bytes were sent than were offered.
fn is_short_send(line: &str) -> bool {
    let numbers = || {
        let (offer, rest) = line.split_once(", MSG_NOSIGNAL")?;
        let offered: usize = offer.rsplit(", ").next()?.parse().ok()?;
        let sent: usize = rest.rsplit(" = ").next()?.parse().ok()?;
        Some(sent < offered)
    };
    numbers().unwrap_or(false)
}

/// The example, built if need be: `cargo test --test chaos` does not build examples.
fn bench_server() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = env::current_exe().expect("the path of this test");
        let folder = test.ancestors().nth(2).expect("the folder of the profile");
        build(folder);
        let path = folder.join("examples/bench_server");
        assert!(path.exists(), "{} was not built", path.display());
        path
    })
}

/// Builds it where this test was built: `folder` is named after the profile.
fn build(folder: &Path) {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let target = folder.parent().unwrap_or(folder);
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--example", "bench_server", "--profile", profile, "--target-dir"]).arg(target);
    command.args(["--features", &features()]);
    match command.current_dir(root()).status() {
        Ok(status) if status.success() => {}
        outcome => eprintln!("cargo did not build bench_server ({outcome:?}); one that is there is used"),
    }
}

/// The features that this test was built with, so that nothing is built twice.
fn features() -> String {
    let all = [
        ("tls", cfg!(feature = "tls")),
        ("tls-aws-lc", cfg!(feature = "tls-aws-lc")),
        ("tls-custom", cfg!(feature = "tls-custom")),
        ("tls-platform-roots", cfg!(feature = "tls-platform-roots")),
        ("tls-webpki-roots", cfg!(feature = "tls-webpki-roots")),
    ];
    all.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect::<Vec<_>>().join(",")
}

//! A program under test, and the clients that talk to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// A guard against hanging, not a limit that a test relies on.
pub(crate) const LATE: Duration = Duration::from_secs(60);

/// A running example; ended when it is dropped.
pub(crate) struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What it has printed when it was ready.
    pub(crate) greeting: String,
}

impl Program {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(name: &str, args: &[&str]) -> Self {
        Self::try_start(name, args).unwrap_or_else(|| panic!("{name} {args:?} ends at once"))
    }

    /// The same; none if it ends at once.
    pub(crate) fn try_start(name: &str, args: &[&str]) -> Option<Self> {
        let mut child = example(name).args(args).stdout(Stdio::piped()).spawn().expect("an example");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut program = Self { child, stdout, greeting: String::new() };
        program.greeting = program.line();
        (!program.greeting.is_empty()).then_some(program)
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// The first address in the greeting.
    pub(crate) fn address(&self) -> SocketAddr {
        let words = self.greeting.split([' ', '/', ',']);
        words.filter_map(|word| word.parse().ok()).next().expect(&self.greeting)
    }

    pub(crate) fn port(&self) -> String {
        self.address().port().to_string()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("a child")
    }

    /// Descriptors that it has open.
    #[cfg(target_os = "linux")]
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("Linux").count()
    }

    /// The most memory that it has had so far, in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a server");
    stream.set_read_timeout(Some(LATE)).expect("a socket");
    stream
}

/// All that a peer sends until it ends.
pub(crate) fn read_all(mut stream: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("an orderly end");
    all
}

/// Sends `request`, finishes, and gives what comes back.
pub(crate) fn ask(program: &Program, request: impl AsRef<[u8]>) -> Vec<u8> {
    let mut stream = program.connect();
    stream.write_all(request.as_ref()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("finished");
    read_all(stream)
}

/// A client that is given up after a while. None if it is not installed, which is printed.
pub(crate) fn client(name: &str, args: &[&str]) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|directory| directory.join(name).exists()) {
        println!("skipped: {name} is not installed");
        return None;
    }
    let mut command = Command::new("timeout");
    command.arg(LATE.as_secs().to_string()).arg(name).args(args);
    Some(command)
}

/// What a client prints; it must end with status 0.
pub(crate) fn output(client: &mut Command) -> Vec<u8> {
    let Output { status, stdout, stderr } = client.output().expect("a client");
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{client:?}: {status}\n{out}\n{err}");
    stdout
}

pub(crate) fn text(client: &mut Command) -> String {
    String::from_utf8_lossy(&output(client)).into_owned()
}

/// How an example answers to these arguments: its status, and what it prints to standard output and error.
pub(crate) fn run(name: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = example(name).args(args).output().expect("an example");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

/// What all of these programs do with their arguments.
pub(crate) fn check_arguments(name: &str) {
    let usage = format!("usage: {name} ");
    let (status, stdout, _) = run(name, &["--help"]);
    assert!(status == Some(0) && stdout.starts_with(&usage), "{status:?} {stdout}");
    let (status, _, stderr) = run(name, &["--nonsense"]);
    assert!(status == Some(2) && stderr.contains(&usage), "{status:?} {stderr}");
    let (status, _, stderr) = run(name, &["a", "b", "c"]);
    assert!(status == Some(2) && stderr.contains(&usage), "{status:?} {stderr}");
}

/// An example that cargo has built beside this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("this program");
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "{} is missing: build it with `cargo build --examples`", path.display());
    Command::new(path)
}

//! The sessions that the chapters show.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::example::{command, output};
use crate::snapshot::compare;

/// A program without arguments that prints the same each time.
#[cfg(unix)]
fn alone(name: &str) {
    let text = format!("{}{}", prompt(&[name]), output("book", &[name]));
    compare(&format!("transcripts/{name}.txt"), &text);
}

fn prompt(args: &[&str]) -> String {
    // The list as well: it has all programs.
    let features = if matches!(args, [] | ["tls"]) { " --features tls" } else { "" };
    let args: String = args.iter().map(|arg| format!(" {arg}")).collect();
    format!("$ cargo run -q{features} --example book{args}\n")
}

// Some of the programs are there on Unix only, and one with TLS only.
#[cfg(all(unix, feature = "tls"))]
#[test]
fn list() {
    compare("transcripts/list.txt", &format!("{}{}", prompt(&[]), output("book", &[])));
}

#[cfg(unix)]
#[test]
fn programs_that_need_nobody() {
    ["life", "datagrams", "sockets", "child", "capture", "limits", "watch", "actor", "threads", "tokio", "pitfalls"]
        .into_iter()
        .for_each(alone);
}

#[cfg(all(unix, feature = "tls"))]
#[test]
fn tls() {
    alone("tls");
}

#[test]
fn the_plot_of_the_buffers() {
    compare("images/flow.svg", &output("book", &["flow"]));
}

#[test]
fn echo_and_client() {
    let mut server = Server::start("echo");
    let client = output("book", &["client", &server.address]);
    compare("transcripts/client.txt", &format!("{}{client}", prompt(&["client"])));

    let seen = server.line();
    compare("transcripts/echo.txt", &format!("{}serving on 127.0.0.1:8888\n{seen}\n", prompt(&["echo"])));
}

#[cfg(unix)]
#[test]
fn a_server_that_stops() {
    use std::io::Read;

    let mut server = Server::start("stop");
    let mut client = std::net::TcpStream::connect(&server.address).unwrap();
    client.read_exact(&mut [0; 8]).unwrap();
    let mut seen = vec!["serving on 127.0.0.1:8888".to_owned(), server.line()];
    server.terminate();
    seen.push(server.line());
    drop(client);
    seen.extend(server.lines.by_ref().map(Result::unwrap));
    assert!(server.child.wait().unwrap().success());
    compare("transcripts/stop.txt", &format!("{}{}\n", prompt(&["stop"]), seen.join("\n")));
}

/// A server on a free port, where the reader has 8888; ended when it is dropped.
pub(crate) struct Server {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    pub(crate) address: String,
}

impl Server {
    fn start(name: &str) -> Self {
        Self::of(command("book").args([name, "127.0.0.1:0"]))
    }

    /// One that prints its address first.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Self { child, lines, address: String::new() };
        let line = server.line();
        server.address = line.strip_prefix("serving on ").expect(&line).to_owned();
        server
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line").unwrap()
    }

    /// Asks it to stop.
    #[cfg(unix)]
    fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

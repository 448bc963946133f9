//! System calls of a server for each message, counted by strace.

use std::fmt::Write;
use std::io;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::args::Plan;
use crate::load::Load;
use crate::peer::Peer;
use crate::servers::{Role, Server};
use crate::workload::{Kind, Net, Workload};

const NUMBERS: [usize; 2] = [1, 100];

pub(crate) fn table(plan: &Plan) -> io::Result<String> {
    let mut out =
        "## System calls\n\nFor each echoed message of 64 bytes, while the server is kept busy.\n\n".to_owned();
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        out.push_str("Not counted: there is no strace.\n");
        return Ok(out);
    }
    out.push_str("| server | x1 | x100 | most at x1 |\n|---|---|---|---|\n");
    for server in plan.servers.iter().filter(|server| server.role != Role::Writer) {
        eprintln!("system calls of {}", server.name);
        let [one, many] = NUMBERS.map(|number| count(server, number));
        let (one, many) = (one?, many?);
        let _ = writeln!(out, "| {} | {:.2} | {:.2} | {} |", server.name, one.all, many.all, one.most);
    }
    Ok(out)
}

struct Calls {
    /// Of all kinds, for each message.
    all: f64,
    most: String,
}

/// System calls for each echo over TCP.
pub(crate) fn of_echo(server: &Server, connections: usize) -> io::Result<f64> {
    count(server, connections).map(|calls| calls.all)
}

fn count(server: &Server, connections: usize) -> io::Result<Calls> {
    // A tracer that is not quick enough leaves no report.
    count_once(server, connections).or_else(|_| count_once(server, connections))
}

fn count_once(server: &Server, connections: usize) -> io::Result<Calls> {
    let workload = Workload { net: Net::Tcp, kind: Kind::Echo, size: 64, connections };
    let peer = Peer::start(server, Net::Tcp, None)?;
    let mut load = Load::connect(&peer.address, workload)?;
    let report = std::env::temp_dir().join(format!("smol-transports-bench.{}.calls", std::process::id()));
    let mut strace = attach(&peer, &report)?;
    let run = load.run(Duration::from_millis(500))?;
    // It writes its report when it is interrupted.
    let pid = rustix::process::Pid::from_child(&strace);
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    strace.wait()?;
    let text = std::fs::read_to_string(&report)?;
    std::fs::remove_file(&report)?;
    Ok(parse(&text, run.messages as f64))
}

fn attach(peer: &Peer, report: &std::path::Path) -> io::Result<Child> {
    let pid = peer.pid().to_string();
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-p", &pid, "-o"]).arg(report).stderr(Stdio::null());
    let mut child = command.spawn()?;
    // A server that is traced says so.
    let status = format!("/proc/{pid}/status");
    while std::fs::read_to_string(&status)?.lines().any(|line| line == "TracerPid:\t0") {
        if child.try_wait()?.is_some() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "strace may not attach to a server"));
        }
        sleep(Duration::from_millis(10));
    }
    Ok(child)
}

/// Reads strace's table: the fourth column is the number of calls, the last the name.
fn parse(text: &str, messages: f64) -> Calls {
    let mut calls: Vec<(f64, &str)> = text.lines().filter_map(parse_line).collect();
    calls.retain(|(_, name)| *name != "total");
    calls.sort_by(|one, other| other.0.total_cmp(&one.0));
    let all = calls.iter().map(|(count, _)| count / messages).sum();
    let most: Vec<_> = calls.iter().take(6).map(|(count, name)| format!("{name} {:.2}", count / messages)).collect();
    Calls { all, most: most.join(", ") }
}

fn parse_line(line: &str) -> Option<(f64, &str)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Some((words.get(3)?.parse().ok()?, words.last()?))
}

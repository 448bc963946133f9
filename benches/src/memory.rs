//! What an idle connection costs in resident memory of the server.

use std::fmt::Write;
use std::io::{self, Read, Write as _};
use std::net::TcpStream;

use crate::args::Plan;
use crate::load::tcp;
use crate::peer::Peer;
use crate::servers::{Role, Server};
use crate::workload::{Address, Net};

pub(crate) fn table(plan: &Plan) -> io::Result<String> {
    let connections = plan.idle();
    let mut out =
        format!("## Memory\n\nResident bytes for each of {connections} idle connections that have echoed once.\n");
    out.push_str("Kernel memory is not in it.\n\n| server | bytes |\n|---|---|\n");
    for server in plan.servers.iter().filter(|server| server.role != Role::Writer) {
        eprintln!("memory of {}", server.name);
        let _ = writeln!(out, "| {} | {:.0} |", server.name, of_idle(server, &[connections])?[0]);
    }
    Ok(out)
}

/// Bytes for each connection, at each of some numbers of connections, in rising order.
pub(crate) fn of_idle(server: &Server, counts: &[usize]) -> io::Result<Vec<f64>> {
    let peer = Peer::start(server, Net::Tcp, None)?;
    let Address::Tcp(port) = peer.address else { return Err(io::ErrorKind::Unsupported.into()) };
    // What a server makes for the first clients is not theirs.
    let _warm: Vec<TcpStream> = (0..10).map(|_| open(port)).collect::<io::Result<_>>()?;
    let before = peer.resident()?;
    let mut idle = Vec::new();
    let mut all = Vec::new();
    for count in counts {
        while idle.len() < *count {
            idle.push(open(port)?);
        }
        all.push(peer.resident()?.saturating_sub(before) as f64 / *count as f64);
    }
    Ok(all)
}

/// A connection that has echoed once.
fn open(port: u16) -> io::Result<TcpStream> {
    let mut stream = tcp(port)?;
    let mut echo = [0; 64];
    stream.write_all(&echo)?;
    stream.read_exact(&mut echo)?;
    Ok(stream)
}

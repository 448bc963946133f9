//! What an idle connection costs in resident memory of the server.

use std::fmt::Write;
use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::args::Plan;
use crate::peer::Peer;
use crate::servers::{Role, Server};
use crate::workload::{Address, Net};

const CONNECTIONS: usize = 5000;

pub(crate) fn table(plan: &Plan) -> io::Result<String> {
    let connections = if plan.rounds > 1 { CONNECTIONS } else { 100 };
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
    let _warm: Vec<TcpStream> = (0..10).map(|index| open(port, index)).collect::<io::Result<_>>()?;
    let before = peer.resident()?;
    let mut idle = Vec::new();
    let mut all = Vec::new();
    for count in counts {
        while idle.len() < *count {
            idle.push(open(port, idle.len())?);
        }
        all.push(peer.resident()?.saturating_sub(before) as f64 / *count as f64);
    }
    Ok(all)
}

/// A connection that has echoed once. One address has not enough ports for very many of them.
fn open(port: u16, index: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let from = Ipv4Addr::new(127, 0, 2, (index / 10_000) as u8 + 1);
    socket.bind(&SocketAddrV4::new(from, 0).into())?;
    socket.connect(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    let mut stream = TcpStream::from(socket);
    let mut echo = [0; 64];
    stream.write_all(&echo)?;
    stream.read_exact(&mut echo)?;
    Ok(stream)
}

//! The echo servers that are compared. Each serves in the way of its library, streams with `TCP_NODELAY`.

mod epoll_loop;
mod others;
mod ours;
mod python;
mod smol_loop;
mod tokio_loop;

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;

use crate::workload::{Kind, Net, Workload};

/// What the hand-written loops read into, one for each connection.
const BUFFER: usize = 64 * 1024;

/// What a server is given to serve.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
    Udp(UdpSocket),
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Serves for ever.
    pub(crate) run: fn(Socket) -> io::Result<()>,
    pub(crate) role: Role,
}

/// Where a server belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everywhere.
    Peer,
    /// Everywhere, if this machine has it.
    Python,
    /// Only where answers come from another thread.
    Writer,
    /// Only if it is named, and over TCP only.
    Named,
}

/// All servers; the first is the base of the ratios.
pub(crate) static ALL: &[Server] = &[
    Server { name: "tokio-ct", about: "loop on tokio's current_thread", run: tokio_loop::serve, role: Role::Peer },
    Server { name: "epoll", about: "loop on a bare edge-triggered epoll", run: epoll_loop::serve, role: Role::Peer },
    Server { name: "smol-global", about: "loop under smol::spawn", run: smol_loop::global, role: Role::Peer },
    Server { name: "smol-local", about: "loop on a LocalExecutor", run: smol_loop::local, role: Role::Peer },
    Server { name: "uvloop", about: "Protocol on uvloop", run: python::uvloop, role: Role::Python },
    Server { name: "asyncio", about: "Protocol on CPython's asyncio", run: python::asyncio, role: Role::Python },
    Server { name: "ours", about: "Box<dyn Protocol> on a driver", run: ours::driver, role: Role::Peer },
    Server { name: "ours-local", about: "the same under serve_local", run: ours::local, role: Role::Peer },
    Server { name: "ours-busy", about: "the same with busy_poll, over TCP", run: ours::busy, role: Role::Named },
    Server { name: "codec", about: "loop over frames of tokio-util, over TCP", run: others::codec, role: Role::Named },
    Server { name: "message-io", about: "its queue of events, over TCP", run: others::events, role: Role::Named },
    Server { name: "queue", about: "answers by way of a task of the driver", run: ours::queue, role: Role::Writer },
    Server { name: "thread", about: "answers written by another thread", run: ours::thread, role: Role::Writer },
];

pub(crate) fn by_name(name: &str) -> Option<&'static Server> {
    ALL.iter().find(|server| server.name == name)
}

/// Whether this machine has what the server needs; else why not.
pub(crate) fn check(server: &Server) -> Result<(), String> {
    match server.role {
        Role::Python => python::check(server.name),
        Role::Peer | Role::Writer | Role::Named => Ok(()),
    }
}

impl Server {
    /// Whether it takes part in a workload.
    pub(crate) fn suits(&self, workload: &Workload) -> bool {
        let is_spoken = self.role != Role::Named || workload.net == Net::Tcp;
        is_spoken && (self.role == Role::Writer) == (workload.kind == Kind::Answer)
    }
}

impl Socket {
    pub(crate) fn bind(net: Net) -> io::Result<(Self, crate::workload::Address)> {
        use crate::workload::Address;
        match net {
            Net::Tcp => {
                let listener = TcpListener::bind(("127.0.0.1", 0))?;
                // The standard library has a short queue, and a server might set its own: make it the same for all.
                rustix::net::listen(&listener, 4096)?;
                let port = listener.local_addr()?.port();
                Ok((Self::Tcp(listener), Address::Tcp(port)))
            }
            Net::Unix => {
                let path = std::env::temp_dir().join(format!("smol-transports-bench.{}", std::process::id()));
                let _ = std::fs::remove_file(&path);
                let listener = UnixListener::bind(&path)?;
                rustix::net::listen(&listener, 4096)?;
                Ok((Self::Unix(listener), Address::Unix(path)))
            }
            Net::Udp => {
                let socket = UdpSocket::bind(("127.0.0.1", 0))?;
                let port = socket.local_addr()?.port();
                Ok((Self::Udp(socket), Address::Udp(port)))
            }
        }
    }
}

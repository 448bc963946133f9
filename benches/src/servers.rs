//! The echo servers that are compared. Each serves a listener in the way of its library, with `TCP_NODELAY`.

mod ours;
mod smol_loop;
mod tokio_loop;

use std::io;
use std::net::TcpListener;

/// What the hand-written loops read into, one for each connection.
const BUFFER: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Serves for ever.
    pub(crate) run: fn(TcpListener) -> io::Result<()>,
}

/// All servers; the first is the base of the ratios.
pub(crate) static ALL: &[Server] = &[
    Server {
        name: "tokio-ct",
        about: "read and write loop on tokio's current_thread",
        run: tokio_loop::current_thread,
    },
    Server { name: "smol-global", about: "read and write loop under smol::spawn", run: smol_loop::global },
    Server { name: "smol-local", about: "read and write loop on a LocalExecutor", run: smol_loop::local },
    Server { name: "ours", about: "Box<dyn Protocol> under serve_forever", run: ours::serve_forever },
    Server { name: "ours-local", about: "Box<dyn Protocol> under serve_local", run: ours::serve_local },
];

pub(crate) fn base() -> &'static Server {
    &ALL[0]
}

pub(crate) fn by_name(name: &str) -> Option<&'static Server> {
    ALL.iter().find(|server| server.name == name)
}

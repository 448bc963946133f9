//! What the load generator does to a server.

use std::fmt;

/// How the messages of one connection follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One message in flight: the next is sent when the last has come back.
    Echo,
    /// As fast as the socket takes them.
    Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) kind: Kind,
    /// Bytes of one message.
    pub(crate) size: usize,
    pub(crate) connections: usize,
}

const SIZES: [usize; 3] = [64, 1024, 64 * 1024];
const CONNECTIONS: [usize; 3] = [1, 10, 100];
const CHUNK: usize = 64 * 1024;
const MIB: f64 = 1024.0 * 1024.0;

/// All workloads, in the order of the table's columns.
pub(crate) fn all() -> Vec<Workload> {
    let echo = SIZES.iter().map(|size| (Kind::Echo, *size));
    let kinds = echo.chain([(Kind::Stream, CHUNK)]);
    kinds.flat_map(|(kind, size)| CONNECTIONS.map(|connections| Workload { kind, size, connections })).collect()
}

impl Workload {
    /// What is counted: messages, or MiB for streams. As a number of messages.
    pub(crate) fn unit(&self) -> f64 {
        match self.kind {
            Kind::Echo => 1.0,
            Kind::Stream => MIB / self.size as f64,
        }
    }

    pub(crate) fn unit_name(&self) -> &'static str {
        match self.kind {
            Kind::Echo => "msg",
            Kind::Stream => "MiB",
        }
    }

    /// The heading of its column.
    pub(crate) fn title(&self) -> String {
        let size = if self.size < 1024 { format!("{} B", self.size) } else { format!("{} KiB", self.size / 1024) };
        format!("{} {size} x{}", self.kind, self.connections)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Stream => "stream",
        })
    }
}

/// The name on the command line, as in `echo-64x10` and `stream-64Kx1`.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, size, connections } = self;
        if *size < 1024 {
            return write!(f, "{kind}-{size}x{connections}");
        }
        write!(f, "{kind}-{}Kx{connections}", size / 1024)
    }
}

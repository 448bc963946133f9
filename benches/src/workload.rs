//! What the load generator does to a server.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// What the peers talk over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Net {
    Tcp,
    Unix,
    Udp,
}

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(u16),
    Unix(PathBuf),
    Udp(u16),
}

/// How the messages of one connection follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One message in flight: the next is sent when the last has come back.
    Echo,
    /// Sixteen messages in flight.
    Pipeline,
    /// As fast as the socket takes them.
    Stream,
    /// Connect, one message and its echo, close.
    Connect,
    /// Echo, answered by another thread of the server.
    Answer,
    /// One echo each millisecond, beside four other connections that stream. What counts is how long the echoes take.
    Beside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) net: Net,
    pub(crate) kind: Kind,
    /// Bytes of one message.
    pub(crate) size: usize,
    pub(crate) connections: usize,
}

const KIB: usize = 1024;
const MIB: f64 = 1024.0 * 1024.0;
/// Messages in flight of a pipeline, and of a datagram socket.
pub(crate) const WINDOW: usize = 16;

/// What is compared: the kinds, and for each the sizes and the numbers of connections.
const ALL: &[(Net, Kind, &[usize], &[usize])] = &[
    (Net::Tcp, Kind::Echo, &[64, KIB, 64 * KIB], &[1, 10, 100, 1000]),
    (Net::Tcp, Kind::Pipeline, &[64], &[10, 100]),
    (Net::Tcp, Kind::Stream, &[64 * KIB], &[1, 10, 100]),
    (Net::Tcp, Kind::Connect, &[64], &[1, 64]),
    (Net::Tcp, Kind::Beside, &[64], &[10]),
    (Net::Tcp, Kind::Answer, &[64], &[1, 20]),
    (Net::Unix, Kind::Echo, &[64, 64 * KIB], &[1, 10, 100]),
    (Net::Udp, Kind::Echo, &[64, KIB], &[1, 10]),
];

/// All workloads, in the order of the tables and their columns.
pub(crate) fn all() -> Vec<Workload> {
    let mut all = Vec::new();
    for (net, kind, sizes, numbers) in ALL {
        for size in *sizes {
            all.extend(numbers.iter().map(|n| Workload { net: *net, kind: *kind, size: *size, connections: *n }));
        }
    }
    all
}

impl Workload {
    /// Whether both belong into one table.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.net, self.kind) == (other.net, other.kind)
    }

    /// What is counted: messages, or MiB for streams. As a number of messages.
    pub(crate) fn unit(&self) -> f64 {
        match self.kind {
            Kind::Stream | Kind::Beside => MIB / self.size as f64,
            _ => 1.0,
        }
    }

    pub(crate) fn unit_name(&self) -> &'static str {
        match self.kind {
            Kind::Stream | Kind::Beside => "MiB",
            Kind::Connect => "conn",
            _ => "msg",
        }
    }

    /// The heading of its column.
    pub(crate) fn column(&self) -> String {
        let size = if self.size < KIB { format!("{} B", self.size) } else { format!("{} KiB", self.size / KIB) };
        format!("{size} x{}", self.connections)
    }

    /// The heading of its table.
    pub(crate) fn table(&self) -> String {
        let kind = match self.kind {
            Kind::Echo if self.net == Net::Udp => "echo, 16 datagrams in flight",
            Kind::Echo => "echo, one message in flight",
            Kind::Pipeline => "echo, 16 messages in flight",
            Kind::Stream => "echo of an endless stream",
            Kind::Connect => "connect, echo, close",
            Kind::Beside => "echo beside 4 endless streams",
            Kind::Answer => "echo, answered by a thread for each connection",
        };
        format!("{}: {kind}", self.net.title())
    }
}

impl Net {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Tcp, Self::Unix, Self::Udp].into_iter().find(|net| net.to_string() == word)
    }

    fn title(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Unix => "Unix stream sockets",
            Self::Udp => "UDP",
        }
    }
}

impl Address {
    /// Reads the line that a server prints.
    pub(crate) fn parse(line: &str) -> io::Result<Self> {
        let port = |text: &str| text.parse().map_err(|_| io::Error::other(format!("{line:?} has no port")));
        match line.trim().split_once(':') {
            Some(("tcp", text)) => port(text).map(Self::Tcp),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("udp", text)) => port(text).map(Self::Udp),
            _ => Err(io::Error::other(format!("{line:?} is no address: the server did not start"))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "tcp:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Udp(port) => write!(f, "udp:{port}"),
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Pipeline => "pipeline",
            Self::Stream => "stream",
            Self::Connect => "connect",
            Self::Beside => "beside",
            Self::Answer => "answer",
        })
    }
}

/// The name on the command line, as in `tcp-echo-64x10` and `tcp-stream-64Kx1`.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { net, kind, size, connections } = self;
        if *size < KIB {
            return write!(f, "{net}-{kind}-{size}x{connections}");
        }
        write!(f, "{net}-{kind}-{}Kx{connections}", size / KIB)
    }
}

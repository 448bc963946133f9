//! The scenario files as types.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::payload::Payload;

mod fields;
mod known;
mod parse;

/// One scenario file.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) options: Options,
    /// The types of the protocols, `main` among them.
    pub(crate) protocols: BTreeMap<String, ProtocolSpec>,
    pub(crate) reactions: Vec<Reaction>,
    pub(crate) steps: Vec<Step>,
    /// Whether the kernel decides on the order of pipe and exit callbacks.
    pub(crate) unordered: bool,
    pub(crate) python_only: bool,
    /// Fields that the runner does not know, and leaves out of account.
    pub(crate) unknown: Vec<String>,
    /// The good traces: the recorded one, then those that are as good.
    pub(crate) good: Vec<Vec<String>>,
}

/// What a scenario constructs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Accepted,
    ReadPipe,
    SocketPair,
    Subprocess,
    Tcp,
    TcpServer,
    Tls,
    TlsServer,
    Udp,
    UdpConnected,
    Unix,
    UnixDatagram,
    UnixServer,
    WritePipe,
}

/// Options of the construction.
#[derive(Debug)]
pub(crate) struct Options {
    /// The program of a child process and its arguments.
    pub(crate) argv: Vec<String>,
    /// Where a child process starts; `tmp` is the folder of the run.
    pub(crate) cwd: Option<String>,
    /// What a child process finds in its environment besides.
    pub(crate) env: Vec<(String, String)>,
    /// `SO_RCVBUF` of the driver's listening socket.
    pub(crate) peer_rcvbuf: Option<usize>,
    /// Whether the driver's listening socket is closed before connecting.
    pub(crate) refuse: bool,
    /// A line of shell to run as a child process, in the place of a program.
    pub(crate) shell: Option<String>,
    /// Whether a server accepts from the start.
    pub(crate) start_serving: bool,
    /// Where the standard input, output and error of a child process lead.
    pub(crate) stdio: [Redirect; 3],
    pub(crate) tls: TlsOptions,
}

/// What is special about the TLS of a scenario.
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "nothing is done with it"))]
#[derive(Debug)]
pub(crate) struct TlsOptions {
    pub(crate) server_hostname: Option<String>,
    /// Whether the library as a client trusts nobody.
    pub(crate) no_ca: bool,
    pub(crate) peer_mode: PeerMode,
    pub(crate) handshake_timeout: Option<Duration>,
    pub(crate) shutdown_timeout: Option<Duration>,
}

/// What the driver does in the place of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerMode {
    Close,
    Garbage,
    Silent,
    Tls,
}

/// Where a standard stream of a child process leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    Inherit,
    Null,
    Pipe,
    /// For standard error: to where standard output leads.
    Stdout,
}

/// The type of a protocol.
#[derive(Clone, Debug)]
pub(crate) struct ProtocolSpec {
    pub(crate) style: Style,
    /// The length of the buffer that a buffered protocol returns.
    pub(crate) buffer_size: usize,
}

/// Which trait a protocol implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Buffered,
    Datagram,
    Stream,
    Subprocess,
}

/// What a protocol does inside a callback.
#[derive(Debug)]
pub(crate) struct Reaction {
    pub(crate) on: String,
    pub(crate) protocol: String,
    pub(crate) conn: Option<String>,
    pub(crate) nth: Option<u64>,
    pub(crate) total: Option<u64>,
    pub(crate) fd: Option<i64>,
    /// The value of the callback.
    pub(crate) value: Option<bool>,
    pub(crate) actions: Vec<Action>,
}

/// Something done on the library side, with the connection it is done to if that is named.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) conn: Option<String>,
    pub(crate) op: Op,
}

/// The operation of an action.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Call(Call),
    Check(Vec<Check>, Option<i64>),
    Echo,
    Mark(String),
    Raise,
    Server(ServerCall),
    SetProtocol(String),
}

/// A method call on a transport.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The name of the method in the trace.
    pub(crate) name: String,
    pub(crate) method: Method,
    /// The pipe transport of a subprocess that is meant.
    pub(crate) pipe: Option<i64>,
    /// Whether the call stays out of the trace.
    pub(crate) quiet: bool,
}

/// A method of a transport with its arguments.
#[derive(Clone, Debug)]
pub(crate) enum Method {
    Abort,
    Close,
    Kill,
    PauseReading,
    ResumeReading,
    /// The name of the signal.
    SendSignal(String),
    /// The data and the name of the receiving peer.
    SendTo(Payload, Option<String>),
    /// The high and the low mark.
    SetWriteBufferLimits(Option<Mark>, Option<Mark>),
    Terminate,
    Write(Payload),
    WriteEof,
    WriteLines(Vec<Payload>),
}

/// A mark of the write buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// This many bytes.
    At(i64),
    /// This many more than the present size.
    Above(i64),
}

/// Something to be asked about a transport.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// The name in the trace.
    pub(crate) name: String,
    pub(crate) what: What,
}

/// The question of a check.
#[derive(Clone, Debug)]
pub(crate) enum What {
    BufferEmpty,
    BufferSize,
    CanWriteEof,
    Extra(String),
    HasPipe(i64),
    IsClosing,
    IsReading,
    Limits,
    PeernameMatches,
    PidPositive,
    Protocol,
    Returncode,
    SocknameMatches,
}

/// A method call on a server.
#[derive(Clone, Debug)]
pub(crate) enum ServerCall {
    AbortClients,
    Close,
    CloseClients,
    IsServing,
    PathExists,
    Sockets,
    StartServing,
    /// The name of the background operation.
    WaitClosed(String),
}

impl ServerCall {
    /// The name in the trace.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::AbortClients => "abort_clients",
            Self::Close => "close",
            Self::CloseClients => "close_clients",
            Self::IsServing => "is_serving",
            Self::PathExists => "path_exists",
            Self::Sockets => "sockets",
            Self::StartServing => "start_serving",
            Self::WaitClosed(_) => "wait_closed",
        }
    }
}

/// One step of the driver's script.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) settle: bool,
    pub(crate) what: StepKind,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum StepKind {
    /// Actions that run on the library side as one block.
    Block(Vec<Action>),
    Mark(String),
    /// The name of the peer and what it does.
    Peer(String, PeerStep),
    SendFile(SendFile),
    Settle(Option<Duration>),
    Sleep(Duration),
    StartServing,
    StartTls {
        conn: Option<String>,
        server_side: bool,
    },
    Wait {
        event: String,
        count: u64,
        timeout: Duration,
    },
}

/// The sending of a file.
#[derive(Debug)]
pub(crate) struct SendFile {
    pub(crate) conn: Option<String>,
    /// The name of the background operation.
    pub(crate) id: String,
    /// What the file contains.
    pub(crate) data: Payload,
    pub(crate) offset: u64,
    /// How many bytes to send; all if that is not said.
    pub(crate) count: Option<u64>,
}

/// What a peer does.
#[derive(Debug)]
pub(crate) enum PeerStep {
    Close,
    CloseNotify,
    Connect,
    Recv(usize),
    RecvAll {
        idle: Duration,
        /// Whether all ways of being gone are alike.
        gone: bool,
        less_than: Option<usize>,
    },
    RecvDatagrams {
        count: usize,
        /// How long to wait for each.
        idle: Duration,
        less_than: Option<usize>,
    },
    Reset,
    Send(Payload),
    ShutdownWrite,
}

impl Scenario {
    /// Whether the command of a child sleeps for a fixed time.
    pub(crate) fn sleeps(&self) -> bool {
        let words = self.options.argv.iter().chain(&self.options.shell);
        self.kind == Kind::Subprocess && words.into_iter().any(|word| word.contains("sleep"))
    }
}

impl Kind {
    /// The name in the files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::ReadPipe => "read-pipe",
            Self::SocketPair => "socketpair",
            Self::Subprocess => "subprocess",
            Self::Tcp => "tcp",
            Self::TcpServer => "tcp-server",
            Self::Tls => "tls",
            Self::TlsServer => "tls-server",
            Self::Udp => "udp",
            Self::UdpConnected => "udp-connected",
            Self::Unix => "unix",
            Self::UnixDatagram => "unix-dgram",
            Self::UnixServer => "unix-server",
            Self::WritePipe => "write-pipe",
        }
    }

    /// Whether the library listens.
    pub(crate) fn is_server(self) -> bool {
        matches!(self, Self::TcpServer | Self::TlsServer | Self::UnixServer)
    }
}

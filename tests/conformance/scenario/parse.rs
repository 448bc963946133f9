//! From JSON to scenarios. Whatever is unknown or malformed is an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::fields::{Fields, Parsed};
use super::known::unknown_fields;
use super::{
    Action, Call, Check, Kind, Mark, Method, Op, Options, PeerMode, PeerStep, ProtocolSpec, Reaction, Redirect,
    Scenario, SendFile, ServerCall, Step, StepKind, Style, TlsOptions, What,
};
use crate::trace;

/// How long a peer waits for more.
const IDLE: Duration = Duration::from_millis(400);

impl Kind {
    fn parse(name: &str) -> Parsed<Self> {
        Ok(match name {
            "accepted" => Self::Accepted,
            "read-pipe" => Self::ReadPipe,
            "socketpair" => Self::SocketPair,
            "subprocess" => Self::Subprocess,
            "tcp" => Self::Tcp,
            "tcp-server" => Self::TcpServer,
            "tls" => Self::Tls,
            "tls-server" => Self::TlsServer,
            "udp" => Self::Udp,
            "udp-connected" => Self::UdpConnected,
            "unix" => Self::Unix,
            "unix-dgram" => Self::UnixDatagram,
            "unix-server" => Self::UnixServer,
            "write-pipe" => Self::WritePipe,
            _ => return Err(format!("unknown kind {name:?}")),
        })
    }

    fn is_datagram(self) -> bool {
        matches!(self, Self::Udp | Self::UdpConnected | Self::UnixDatagram)
    }
}

impl Style {
    fn parse(name: &str) -> Parsed<Self> {
        Ok(match name {
            "buffered" => Self::Buffered,
            "datagram" => Self::Datagram,
            "stream" => Self::Stream,
            "subprocess" => Self::Subprocess,
            _ => return Err(format!("unknown protocol type {name:?}")),
        })
    }
}

impl Scenario {
    /// Reads a scenario file.
    pub(crate) fn read(path: &Path) -> Parsed<Self> {
        let text = fs::read_to_string(path).map_err(|err| err.to_string())?;
        let value = serde_json::from_str(&text).map_err(|err| err.to_string())?;
        let scenario = Self::parse(&Fields::of(&value)?)?;
        Ok(Self { unknown: unknown_fields(&value), ..scenario })
    }

    fn parse(file: &Fields<'_>) -> Parsed<Self> {
        let kind = Kind::parse(file.text("kind")?)?;
        let scenario = Self {
            name: file.text("name")?.to_owned(),
            kind,
            options: Options::parse(&file.object("options")?)?,
            protocols: parse_protocols(file)?,
            reactions: file.each("reactions", Reaction::parse)?,
            steps: file.required("steps", |step| Step::parse(step, kind))?,
            unordered: file.flag("unordered", false)?,
            python_only: file.flag("python_only", false)?,
            unknown: Vec::new(),
            good: parse_good(file)?,
        };
        scenario.check_names()?;
        scenario.check_command()?;
        Ok(scenario)
    }

    /// A child process runs a program or a line of shell.
    fn check_command(&self) -> Parsed<()> {
        let has_command = !self.options.argv.is_empty() || self.options.shell.is_some();
        if self.kind == Kind::Subprocess && !has_command { Err("no argv and no shell".to_owned()) } else { Ok(()) }
    }

    /// Every protocol that an action or a reaction names must exist.
    fn check_names(&self) -> Parsed<()> {
        let switched = self.actions().filter_map(|action| match &action.op {
            Op::SetProtocol(name) => Some(name),
            _ => None,
        });
        let reacting = self.reactions.iter().map(|reaction| &reaction.protocol);
        match reacting.chain(switched).find(|name| !self.protocols.contains_key(*name)) {
            Some(name) => Err(format!("unknown protocol {name:?}")),
            None => Ok(()),
        }
    }

    fn actions(&self) -> impl Iterator<Item = &Action> {
        let reactions = self.reactions.iter().flat_map(|reaction| &reaction.actions);
        let steps = self.steps.iter().filter_map(|step| match &step.what {
            StepKind::Block(actions) => Some(actions),
            _ => None,
        });
        reactions.chain(steps.flatten())
    }
}

fn parse_protocols(file: &Fields<'_>) -> Parsed<BTreeMap<String, ProtocolSpec>> {
    let options = file.object("options")?;
    let main = ProtocolSpec::parse(file.maybe_text("protocol")?.unwrap_or("stream"), &options)?;
    let mut protocols = BTreeMap::from([("main".to_owned(), main)]);
    for (name, value) in file.object("protocols")?.iter() {
        let fields = Fields::of(value)?;
        let spec = ProtocolSpec::parse(fields.text("type")?, &fields)?;
        protocols.insert(name.clone(), spec);
    }
    Ok(protocols)
}

/// The recorded trace and those that are as good, as lines.
fn parse_good(file: &Fields<'_>) -> Parsed<Vec<Vec<String>>> {
    let mut good = vec![file.required("expect", parse_entry)?];
    good.extend(file.each("also_accept", |also| Fields::of(also)?.required("trace", parse_entry))?);
    Ok(good)
}

fn parse_entry(entry: &Value) -> Parsed<String> {
    match entry.get(0) {
        Some(Value::String(_)) => Ok(trace::line(entry)),
        _ => Err(format!("not a trace entry: {entry}")),
    }
}

impl Options {
    fn parse(fields: &Fields<'_>) -> Parsed<Self> {
        let stdio = |name| Redirect::parse(fields.maybe_text(name)?.unwrap_or("pipe"));
        Ok(Self {
            argv: fields.each("argv", parse_argument)?,
            cwd: fields.maybe_text("cwd")?.map(str::to_owned),
            env: parse_env(&fields.object("env")?)?,
            peer_rcvbuf: fields.maybe_size("peer_rcvbuf")?,
            refuse: fields.flag("refuse", false)?,
            shell: fields.maybe_text("shell")?.map(str::to_owned),
            start_serving: fields.flag("start_serving", true)?,
            stdio: [stdio("stdin")?, stdio("stdout")?, stdio("stderr")?],
            tls: TlsOptions::parse(fields)?,
        })
    }
}

impl TlsOptions {
    fn parse(fields: &Fields<'_>) -> Parsed<Self> {
        Ok(Self {
            server_hostname: fields.maybe_text("server_hostname")?.map(str::to_owned),
            no_ca: fields.flag("no_ca", false)?,
            peer_mode: PeerMode::parse(fields.maybe_text("peer_mode")?.unwrap_or("tls"))?,
            handshake_timeout: fields.maybe_seconds("ssl_handshake_timeout")?,
            shutdown_timeout: fields.maybe_seconds("ssl_shutdown_timeout")?,
        })
    }
}

impl PeerMode {
    fn parse(name: &str) -> Parsed<Self> {
        Ok(match name {
            "close" => Self::Close,
            "garbage" => Self::Garbage,
            "silent" => Self::Silent,
            "tls" => Self::Tls,
            _ => return Err(format!("unknown peer mode {name:?}")),
        })
    }
}

impl Redirect {
    fn parse(name: &str) -> Parsed<Self> {
        Ok(match name {
            "inherit" => Self::Inherit,
            "null" => Self::Null,
            "pipe" => Self::Pipe,
            "stdout" => Self::Stdout,
            _ => return Err(format!("unknown redirection {name:?}")),
        })
    }
}

fn parse_env(fields: &Fields<'_>) -> Parsed<Vec<(String, String)>> {
    fields.iter().map(|(name, value)| Ok((name.clone(), parse_argument(value)?))).collect()
}

fn parse_argument(value: &Value) -> Parsed<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("not an argument: {value}"))
}

impl ProtocolSpec {
    fn parse(style: &str, fields: &Fields<'_>) -> Parsed<Self> {
        let empty = fields.flag("empty_buffer", false)?;
        let size = fields.maybe_size("buffer_size")?.unwrap_or(4096);
        Ok(Self { style: Style::parse(style)?, buffer_size: if empty { 0 } else { size } })
    }
}

impl Reaction {
    fn parse(value: &Value) -> Parsed<Self> {
        let fields = Fields::of(value)?;
        Ok(Self {
            on: callback(fields.text("on")?)?,
            protocol: fields.maybe_text("proto")?.unwrap_or("main").to_owned(),
            conn: fields.maybe_text("conn")?.map(str::to_owned),
            nth: fields.maybe_count("nth")?,
            total: fields.maybe_count("total")?,
            fd: fields.maybe_int("fd")?,
            value: fields.maybe_flag("return")?,
            actions: fields.each("do", Action::parse)?,
        })
    }
}

fn callback(name: &str) -> Parsed<String> {
    match name {
        "connection_made"
        | "connection_lost"
        | "data_received"
        | "buffer_updated"
        | "get_buffer"
        | "eof_received"
        | "pause_writing"
        | "resume_writing"
        | "datagram_received"
        | "error_received"
        | "pipe_data_received"
        | "pipe_connection_lost"
        | "process_exited" => Ok(name.to_owned()),
        _ => Err(format!("unknown callback {name:?}")),
    }
}

impl Action {
    fn parse(value: &Value) -> Parsed<Self> {
        let fields = Fields::of(value)?;
        let op = match fields.text("op")? {
            "call" => Op::Call(Call::parse(&fields)?),
            "check" => Op::Check(fields.required("what", Check::parse)?, fields.maybe_int("pipe")?),
            "echo" => Op::Echo,
            "mark" => Op::Mark(fields.text("text")?.to_owned()),
            "raise" => Op::Raise,
            "server" => Op::Server(ServerCall::parse(&fields)?),
            "set_protocol" => Op::SetProtocol(fields.text("to")?.to_owned()),
            op => return Err(format!("unknown action {op:?}")),
        };
        let conn = fields.maybe_text("conn")?.map(str::to_owned);
        Ok(Self { conn, op })
    }
}

impl Call {
    fn parse(fields: &Fields<'_>) -> Parsed<Self> {
        let name = fields.text("method")?;
        Ok(Self {
            name: name.to_owned(),
            method: Method::parse(name, fields)?,
            pipe: fields.maybe_int("pipe")?,
            quiet: fields.flag("quiet", false)?,
        })
    }
}

impl Method {
    fn parse(name: &str, fields: &Fields<'_>) -> Parsed<Self> {
        Ok(match name {
            "abort" => Self::Abort,
            "close" => Self::Close,
            "kill" => Self::Kill,
            "pause_reading" => Self::PauseReading,
            "resume_reading" => Self::ResumeReading,
            "send_signal" => Self::SendSignal(fields.text("signal")?.to_owned()),
            "sendto" => Self::parse_send_to(fields)?,
            "set_write_buffer_limits" => {
                Self::SetWriteBufferLimits(Mark::parse("high", fields)?, Mark::parse("low", fields)?)
            }
            "terminate" => Self::Terminate,
            "write" => Self::Write(fields.payload()?),
            "write_eof" => Self::WriteEof,
            "writelines" => Self::WriteLines(fields.required("list", |piece| Fields::of(piece)?.payload())?),
            _ => return Err(format!("unknown method {name:?}")),
        })
    }

    fn parse_send_to(fields: &Fields<'_>) -> Parsed<Self> {
        let to = fields.maybe_text("to")?.map(str::to_owned);
        Ok(Self::SendTo(fields.payload()?, to))
    }
}

impl Mark {
    fn parse(name: &str, fields: &Fields<'_>) -> Parsed<Option<Self>> {
        if let Some(above) = fields.maybe_int(&format!("{name}_rel"))? {
            return Ok(Some(Self::Above(above)));
        }
        Ok(fields.maybe_int(name)?.map(Self::At))
    }
}

impl Check {
    fn parse(value: &Value) -> Parsed<Self> {
        let name = value.as_str().ok_or_else(|| format!("not a check: {value}"))?;
        Ok(Self { name: name.to_owned(), what: What::parse(name)? })
    }
}

impl What {
    fn parse(name: &str) -> Parsed<Self> {
        let unknown = || format!("unknown check {name:?}");
        Ok(match name {
            "buffer_empty" => Self::BufferEmpty,
            "buffer_size" => Self::BufferSize,
            "can_write_eof" => Self::CanWriteEof,
            "is_closing" => Self::IsClosing,
            "is_reading" => Self::IsReading,
            "limits" => Self::Limits,
            "peername_matches" => Self::PeernameMatches,
            "pid_positive" => Self::PidPositive,
            "protocol" => Self::Protocol,
            "returncode" => Self::Returncode,
            "sockname_matches" => Self::SocknameMatches,
            _ => match name.split_once(':') {
                Some(("extra", info)) => Self::Extra(info.to_owned()),
                Some(("has_pipe", fd)) => Self::HasPipe(fd.parse().map_err(|_| unknown())?),
                _ => return Err(unknown()),
            },
        })
    }
}

impl ServerCall {
    fn parse(fields: &Fields<'_>) -> Parsed<Self> {
        Ok(match fields.text("method")? {
            "abort_clients" => Self::AbortClients,
            "close" => Self::Close,
            "close_clients" => Self::CloseClients,
            "is_serving" => Self::IsServing,
            "path_exists" => Self::PathExists,
            "sockets" => Self::Sockets,
            "start_serving" => Self::StartServing,
            "wait_closed" => Self::WaitClosed(fields.text("spawn")?.to_owned()),
            method => return Err(format!("unknown server method {method:?}")),
        })
    }
}

impl Step {
    fn parse(value: &Value, kind: Kind) -> Parsed<Self> {
        let fields = Fields::of(value)?;
        Ok(Self { settle: !fields.flag("nosettle", false)?, what: StepKind::parse(value, &fields, kind)? })
    }
}

impl StepKind {
    fn parse(value: &Value, fields: &Fields<'_>, kind: Kind) -> Parsed<Self> {
        Ok(match fields.text("op")? {
            "call" | "check" | "set_protocol" => Self::Block(vec![Action::parse(value)?]),
            "mark" => Self::Mark(fields.text("text")?.to_owned()),
            "sendfile" => Self::SendFile(SendFile::parse(fields)?),
            "server" => Self::parse_server(value, fields)?,
            "settle" => Self::Settle(fields.maybe_millis("ms")?),
            "sleep" => Self::Sleep(fields.millis("ms")?),
            "start_tls" => Self::StartTls {
                conn: fields.maybe_text("conn")?.map(str::to_owned),
                server_side: fields.flag("server_side", false)?,
            },
            "together" => Self::Block(fields.required("do", Action::parse)?),
            "wait" => Self::Wait {
                event: fields.text("event")?.to_owned(),
                count: fields.maybe_count("count")?.unwrap_or(1),
                timeout: fields.maybe_millis("timeout_ms")?.unwrap_or(Duration::from_secs(5)),
            },
            op => Self::Peer(fields.maybe_text("peer")?.unwrap_or("p1").to_owned(), PeerStep::parse(op, fields, kind)?),
        })
    }

    /// Starting to serve is the one server method whose result is recorded after settling.
    fn parse_server(value: &Value, fields: &Fields<'_>) -> Parsed<Self> {
        match ServerCall::parse(fields)? {
            ServerCall::StartServing => Ok(Self::StartServing),
            _ => Ok(Self::Block(vec![Action::parse(value)?])),
        }
    }
}

impl SendFile {
    fn parse(fields: &Fields<'_>) -> Parsed<Self> {
        Ok(Self {
            conn: fields.maybe_text("conn")?.map(str::to_owned),
            id: fields.text("spawn")?.to_owned(),
            data: fields.payload()?,
            offset: fields.maybe_count("offset")?.unwrap_or(0),
            count: fields.maybe_count("count")?,
        })
    }
}

impl PeerStep {
    fn parse(op: &str, fields: &Fields<'_>, kind: Kind) -> Parsed<Self> {
        Ok(match op {
            "peer_close" => Self::Close,
            "peer_close_notify" => Self::CloseNotify,
            "peer_connect" => Self::Connect,
            "peer_recv" if kind.is_datagram() => Self::RecvDatagrams {
                count: fields.maybe_size("count")?.unwrap_or(1),
                idle: fields.maybe_millis("idle_ms")?.unwrap_or(IDLE),
                less_than: fields.maybe_size("lt")?,
            },
            "peer_recv" => Self::Recv(fields.size("n")?),
            "peer_recv_all" => Self::RecvAll {
                idle: fields.maybe_millis("idle_ms")?.unwrap_or(IDLE),
                gone: fields.flag("gone", false)?,
                less_than: fields.maybe_size("lt")?,
            },
            "peer_reset" => Self::Reset,
            "peer_send" => Self::Send(fields.payload()?),
            "peer_shutdown_write" => Self::ShutdownWrite,
            _ => return Err(format!("unknown step {op:?}")),
        })
    }
}

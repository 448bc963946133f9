//! What blocks do on the library side.

use std::panic;
use std::sync::Arc;

use serde_json::{Value, json};
use smol_transports::{Addr, ServerHandle, WriteLimits};

use crate::endpoint::{Endpoint, Outcome};
use crate::kind::kind_of;
use crate::library;
use crate::recorder::Recorder;
use crate::run::{Conn, LIBRARY, Run};
use crate::scenario::{Action, Call, Check, Mark, Method, Op, ServerCall, What};

/// What the callback was given that an action belongs to.
#[derive(Default)]
pub(crate) struct Input<'a> {
    pub(crate) data: Option<&'a [u8]>,
    pub(crate) fd: Option<i64>,
    /// The sender of a datagram.
    pub(crate) from: Option<&'a Addr>,
}

/// Performs the actions of a step.
pub(crate) fn perform_step(run: &Arc<Run>, actions: &[Action]) {
    for action in actions {
        match (&action.op, run.conn(action.conn.as_deref())) {
            (Op::Server(call), _) => perform_server_call(run, call),
            (Op::Mark(text), _) => run.trace.add(json!(["mark", text])),
            (op, Some(conn)) => perform(run, &conn, op, &Input::default()),
            (op, None) => run.trace.add(json!(["harness_error", format!("no connection: {op:?}")])),
        }
    }
}

/// Performs an action on a connection.
pub(crate) fn perform(run: &Arc<Run>, conn: &Arc<Conn>, op: &Op, input: &Input<'_>) {
    match op {
        Op::Call(call) => perform_call(run, conn, call),
        Op::Check(checks, pipe) => perform_checks(run, conn, checks, *pipe),
        Op::Echo => echo(conn, input),
        Op::Mark(text) => run.trace.add(json!(["mark", text])),
        Op::Raise => panic::resume_unwind(Box::new("the scenario says so")),
        Op::Server(call) => perform_server_call(run, call),
        Op::SetProtocol(name) => set_protocol(run, conn, name),
    }
}

/// Echoes are not recorded: what becomes of them shows at the peer.
fn echo(conn: &Conn, input: &Input<'_>) {
    if let (Some(endpoint), Some(data)) = (conn.endpoint(), input.data) {
        let _ = match input.from {
            Some(sender) => endpoint.send_to(data, Some(sender)),
            None => endpoint.write(data),
        };
    }
}

fn set_protocol(run: &Arc<Run>, conn: &Arc<Conn>, name: &str) {
    let recorder = Recorder::new(run.clone(), conn.clone(), name);
    let outcome = match conn.endpoint() {
        Some(endpoint) => endpoint.set_protocol(recorder),
        None => Err("invalid_state"),
    };
    if outcome.is_ok() {
        conn.attach(name);
    }
    record_call(run, conn, "set_protocol", outcome);
}

fn record_call(run: &Run, conn: &Conn, name: &str, outcome: Outcome) {
    let result = outcome.err().unwrap_or("ok");
    run.trace.add(json!([conn.entry_name("call"), name, result]));
}

fn perform_call(run: &Run, conn: &Conn, call: &Call) {
    let outcome = match target(conn, call.pipe) {
        Some(endpoint) => call_method(run, &*endpoint, &call.method),
        None => Err("invalid_state"),
    };
    if !call.quiet {
        record_call(run, conn, &call.name, outcome);
    }
}

/// The transport of a connection, or of one of its pipes.
fn target(conn: &Conn, pipe: Option<i64>) -> Option<Arc<dyn Endpoint>> {
    let endpoint = conn.endpoint()?;
    match pipe {
        Some(fd) => endpoint.pipe(fd),
        None => Some(endpoint),
    }
}

fn call_method(run: &Run, endpoint: &dyn Endpoint, method: &Method) -> Outcome {
    match method {
        Method::Abort => endpoint.abort(),
        Method::Close => endpoint.close(),
        Method::Kill => endpoint.kill(),
        Method::PauseReading => endpoint.pause_reading(),
        Method::ResumeReading => endpoint.resume_reading(),
        Method::SendSignal(name) => endpoint.send_signal(name),
        Method::SendTo(data, to) => {
            let to = to.as_ref().map(|peer| run.peer_address(peer).ok_or("invalid_input")).transpose()?;
            endpoint.send_to(&data.bytes(), to.as_ref())
        }
        Method::SetWriteBufferLimits(high, low) => set_limits(endpoint, *high, *low),
        Method::Terminate => endpoint.terminate(),
        Method::Write(data) => endpoint.write(&data.bytes()),
        Method::WriteEof => endpoint.write_eof(),
        Method::WriteLines(pieces) => {
            let pieces: Vec<_> = pieces.iter().map(|piece| piece.bytes()).collect();
            endpoint.write_lines(&pieces)
        }
    }
}

fn set_limits(endpoint: &dyn Endpoint, high: Option<Mark>, low: Option<Mark>) -> Outcome {
    let size = endpoint.write_buffer_size();
    let high = high.map(|mark| mark.bytes(size)).transpose()?;
    let low = low.map(|mark| mark.bytes(size)).transpose()?;
    let limits = match (high, low) {
        (None, None) => WriteLimits::default(),
        (Some(high), None) => WriteLimits::high(high),
        (None, Some(low)) => WriteLimits::low(low),
        (Some(high), Some(low)) => WriteLimits::new(low, high).map_err(|err| kind_of(&err))?,
    };
    endpoint.set_write_buffer_limits(limits)
}

impl Mark {
    /// The number of bytes, given the present size. The types of the crate rule out negative ones.
    fn bytes(self, size: usize) -> Result<usize, &'static str> {
        let bytes = match self {
            Self::At(bytes) => Some(bytes),
            Self::Above(more) => i64::try_from(size).ok().and_then(|size| size.checked_add(more)),
        };
        bytes.and_then(|bytes| usize::try_from(bytes).ok()).ok_or("invalid_input")
    }
}

fn perform_checks(run: &Run, conn: &Conn, checks: &[Check], pipe: Option<i64>) {
    for check in checks {
        let value = match target(conn, pipe) {
            Some(endpoint) => answer(run, conn, &*endpoint, &check.what),
            None => json!("not_supported"),
        };
        let name = conn.entry_name("check");
        run.trace.add(json!([name, check.name, value]));
    }
}

fn answer(run: &Run, conn: &Conn, endpoint: &dyn Endpoint, what: &What) -> Value {
    let answer = match what {
        What::IsClosing => Some(json!(endpoint.is_closing())),
        What::PeernameMatches => Some(json!(endpoint.peername().is_some_and(|addr| run.is_peer(addr)))),
        What::Protocol => Some(json!(conn.attached())),
        What::SocknameMatches => Some(json!(endpoint.sockname().is_some_and(|addr| run.is_library(addr)))),
        what => endpoint.check(what),
    };
    answer.unwrap_or_else(|| json!("not_supported"))
}

fn perform_server_call(run: &Arc<Run>, call: &ServerCall) {
    let value = match run.server() {
        Some(server) => call_server(run, &server, call),
        None => Some(json!("invalid_state")),
    };
    if let Some(value) = value {
        run.trace.add(json!(["server", call.name(), value]));
    }
}

/// Calls a method of the server. A background operation gives no value here.
fn call_server(run: &Arc<Run>, server: &ServerHandle, call: &ServerCall) -> Option<Value> {
    match call {
        ServerCall::AbortClients => server.abort_clients(),
        ServerCall::Close => server.close(),
        ServerCall::CloseClients => server.close_clients(),
        ServerCall::IsServing => return Some(json!(server.is_serving())),
        ServerCall::PathExists => return Some(json!(run.path(LIBRARY).exists())),
        ServerCall::Sockets => return Some(json!(server.sockets().len())),
        ServerCall::StartServing => return Some(json!(library::start_serving(run, server))),
        ServerCall::WaitClosed(id) => {
            library::wait_closed(run, server.clone(), id.clone());
            return None;
        }
    }
    Some(json!("ok"))
}

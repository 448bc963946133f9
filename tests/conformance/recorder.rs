//! The protocols under test: they record their callbacks and perform the reactions to them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use smol_transports::{Addr, OnEof};

use crate::action::{self, Input};
use crate::endpoint::Endpoint;
use crate::kind::{kind_of, kind_of_loss};
use crate::payload::describe;
use crate::run::{Conn, Run, lock};
use crate::scenario::{ProtocolSpec, Reaction};

mod protocols;

pub(crate) use protocols::{Filling, Receiving, Streaming, Supervising};

/// One protocol of one connection, whatever object stands for it at the moment.
pub(crate) struct Seat {
    name: String,
    /// What comes before the names of its callbacks.
    prefix: String,
    spec: ProtocolSpec,
    seen: Mutex<Seen>,
}

/// What a protocol has seen so far, by callback.
#[derive(Default)]
struct Seen {
    calls: HashMap<&'static str, u64>,
    bytes: HashMap<&'static str, u64>,
    /// The reactions that were performed, by index.
    fired: HashSet<usize>,
}

/// What the protocol objects have in common.
#[derive(Clone)]
pub(crate) struct Recorder {
    run: Arc<Run>,
    conn: Arc<Conn>,
    seat: Arc<Seat>,
}

impl Recorder {
    /// The protocol of that name on a connection.
    pub(crate) fn new(run: Arc<Run>, conn: Arc<Conn>, name: &str) -> Self {
        let seat = conn.seat(name, || Seat::new(&run, &conn, name));
        Self { run, conn, seat }
    }

    pub(crate) fn spec(&self) -> &ProtocolSpec {
        &self.seat.spec
    }

    fn entry_name(&self, callback: &str) -> String {
        format!("{}{callback}", self.seat.prefix)
    }

    fn connection_made(&self, endpoint: Arc<dyn Endpoint>) {
        self.conn.set_endpoint(endpoint);
        self.run.set_made();
        self.record("connection_made");
    }

    fn data(&self, callback: &'static str, data: &[u8]) {
        self.run.trace.add_data(&self.entry_name(callback), None, data);
        self.react(callback, &Input { data: Some(data), ..Input::default() });
    }

    /// Nothing comes before the name of this callback in the recorded traces, whatever the protocol.
    fn pipe_data(&self, fd: i64, data: &[u8]) {
        self.run.trace.add_data("pipe_data_received", Some(fd), data);
        self.react("pipe_data_received", &Input { data: Some(data), fd: Some(fd), from: None });
    }

    fn pipe_lost(&self, fd: i64, exc: Option<&io::Error>) {
        let name = self.entry_name("pipe_connection_lost");
        self.run.trace.add(json!([name, fd, exc.map(kind_of_loss)]));
        self.react("pipe_connection_lost", &Input { fd: Some(fd), ..Input::default() });
    }

    fn datagram(&self, data: &[u8], from: &Addr) {
        let name = self.entry_name("datagram_received");
        let sender = self.run.peer_at(from);
        self.run.trace.add(json!([name, data.len(), describe(data), sender]));
        self.react("datagram_received", &Input { data: Some(data), from: Some(from), fd: None });
    }

    fn error_received(&self, exc: &io::Error) {
        let name = self.entry_name("error_received");
        self.hold("error_received", json!([name, kind_of(exc)]));
    }

    fn eof_received(&self) -> OnEof {
        match self.record("eof_received") {
            Some(true) => OnEof::KeepOpen,
            _ => OnEof::Close,
        }
    }

    fn pause_writing(&self) {
        self.hold("pause_writing", json!([self.entry_name("pause_writing")]));
    }

    /// Records a callback that may come from inside a method, and reacts to it.
    fn hold(&self, callback: &'static str, entry: Value) {
        self.run.trace.hold(|| {
            self.run.trace.add(entry);
            self.react(callback, &Input::default());
        });
    }

    fn connection_lost(&self, exc: Option<&io::Error>) {
        let name = self.entry_name("connection_lost");
        self.run.trace.add(json!([name, exc.map(kind_of_loss)]));
        self.react("connection_lost", &Input::default());
        self.conn.detach();
    }

    /// Records a callback without arguments and reacts to it.
    fn record(&self, callback: &'static str) -> Option<bool> {
        self.run.trace.add(json!([self.entry_name(callback)]));
        self.react(callback, &Input::default())
    }

    /// Performs the reactions to a callback. Returns the value that they give it.
    fn react(&self, callback: &'static str, input: &Input<'_>) -> Option<bool> {
        if self.run.trace.is_finished() {
            return None;
        }
        let len = input.data.map_or(0, |data| data.len() as u64);
        let (calls, bytes) = self.seat.count(callback, len);
        let mut value = None;
        for (index, reaction) in self.run.scenario.reactions.iter().enumerate() {
            if self.applies(index, reaction, callback, input, calls, bytes) {
                lock(&self.seat.seen).fired.insert(index);
                value = reaction.value.or(value);
                self.perform(reaction, input);
            }
        }
        value
    }

    fn applies(
        &self,
        index: usize,
        reaction: &Reaction,
        callback: &str,
        input: &Input<'_>,
        calls: u64,
        bytes: u64,
    ) -> bool {
        let fired = || lock(&self.seat.seen).fired.contains(&index);
        reaction.on == callback
            && reaction.protocol == self.seat.name
            && reaction.conn.as_ref().is_none_or(|conn| *conn == self.conn.label)
            && reaction.fd.is_none_or(|fd| input.fd == Some(fd))
            && reaction.nth.is_none_or(|nth| calls == nth)
            && reaction.total.is_none_or(|total| bytes >= total && !fired())
    }

    fn perform(&self, reaction: &Reaction, input: &Input<'_>) {
        self.run.trace.begin();
        for act in &reaction.actions {
            action::perform(&self.run, &self.conn, &act.op, input);
        }
        self.run.trace.end();
    }
}

impl Seat {
    fn new(run: &Run, conn: &Conn, name: &str) -> Self {
        let own = if name == "main" { "" } else { name };
        let parts = [conn.label.as_str(), own].into_iter();
        Self {
            name: name.to_owned(),
            prefix: parts.filter(|part| !part.is_empty()).flat_map(|part| [part, ":"]).collect(),
            spec: run.scenario.protocols[name].clone(),
            seen: Mutex::default(),
        }
    }

    /// Counts a callback and its bytes. Returns both numbers so far.
    fn count(&self, callback: &'static str, len: u64) -> (u64, u64) {
        let mut seen = lock(&self.seen);
        let calls = seen.calls.entry(callback).or_default();
        *calls += 1;
        let calls = *calls;
        let bytes = seen.bytes.entry(callback).or_default();
        *bytes += len;
        (calls, *bytes)
    }
}

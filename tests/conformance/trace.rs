//! What the protocols saw and the driver did, in order.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::payload::describe;

/// The trace of one run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    state: Mutex<State>,
    /// Notified at every change.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// Entries that are held back until the outermost block ends.
    late: Vec<Entry>,
    /// How many blocks are running, one inside the other.
    blocks: usize,
    /// How many held-back callbacks are running, one inside the other.
    holding: usize,
    changes: u64,
    /// How often each entry was made; data callbacks count each call.
    counts: HashMap<String, u64>,
    /// Whether the trace is over.
    finished: bool,
}

#[derive(Clone, Debug)]
enum Entry {
    Plain(Value),
    /// A data callback, which grows while the same one is repeated.
    Data {
        name: String,
        fd: Option<i64>,
        bytes: Vec<u8>,
    },
}

impl Trace {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry: an array that begins with a name.
    pub(crate) fn add(&self, entry: Value) {
        let mut state = self.state();
        if state.finished {
            return;
        }
        state.count(entry[0].as_str().unwrap_or_default());
        if state.holding > 0 {
            state.late.push(Entry::Plain(entry));
        } else {
            state.entries.push(Entry::Plain(entry));
        }
        self.changed.notify_all();
    }

    /// Adds a data callback, merging it with the same one right before.
    pub(crate) fn add_data(&self, name: &str, fd: Option<i64>, data: &[u8]) {
        let mut state = self.state();
        if state.finished {
            return;
        }
        state.count(name);
        push_data(&mut state.entries, name, fd, data);
        self.changed.notify_all();
    }

    /// Makes a change visible to those who wait for quiet, without an entry.
    pub(crate) fn touch(&self) {
        self.state().changes += 1;
    }

    /// Begins a block.
    pub(crate) fn begin(&self) {
        self.state().blocks += 1;
    }

    /// Ends a block. At the end of the outermost one what was held back is appended.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.blocks -= 1;
        if state.blocks == 0 {
            let late = mem::take(&mut state.late);
            state.entries.extend(late);
        }
    }

    /// Runs a callback that may come from inside a method. If a block is running, its entries
    /// are held back until the block ends.
    pub(crate) fn hold(&self, callback: impl FnOnce()) {
        let held = usize::from(self.state().blocks > 0);
        self.state().holding += held;
        callback();
        self.state().holding -= held;
    }

    /// A number that grows with every change.
    pub(crate) fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Whether the trace is over.
    pub(crate) fn is_finished(&self) -> bool {
        self.state().finished
    }

    /// Waits until an entry of this name was made that often. Returns whether it was in time.
    pub(crate) fn wait_for(&self, name: &str, count: u64, timeout: Duration) -> bool {
        let missing = |state: &mut State| state.counts.get(name).copied().unwrap_or(0) < count;
        let waited = self.changed.wait_timeout_while(self.state(), timeout, missing);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Ends the trace.
    pub(crate) fn finish(&self) {
        self.state().finished = true;
    }

    /// The trace so far, a line for each entry.
    pub(crate) fn lines(&self, unordered: bool) -> Vec<String> {
        let mut entries = self.state().entries.clone();
        if unordered {
            entries = sort(entries);
        }
        entries.iter().map(Entry::line).collect()
    }
}

impl State {
    fn count(&mut self, name: &str) {
        self.changes += 1;
        *self.counts.entry(name.to_owned()).or_default() += 1;
    }
}

fn push_data(entries: &mut Vec<Entry>, name: &str, fd: Option<i64>, data: &[u8]) {
    if let Some(bytes) = entries.last_mut().and_then(|last| last.data(name, fd)) {
        bytes.extend_from_slice(data);
        return;
    }
    entries.push(Entry::Data { name: name.to_owned(), fd, bytes: data.to_vec() });
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Plain(entry) => entry[0].as_str().unwrap_or_default(),
            Self::Data { name, .. } => name,
        }
    }

    /// The descriptor of a pipe callback, -1 if there is none.
    fn fd(&self) -> i64 {
        match self {
            Self::Plain(entry) => entry[1].as_i64().unwrap_or(-1),
            Self::Data { fd, .. } => fd.unwrap_or(-1),
        }
    }

    /// The bytes, if this is a data callback of that name and descriptor.
    fn data(&mut self, of: &str, at: Option<i64>) -> Option<&mut Vec<u8>> {
        match self {
            Self::Data { name, fd, bytes } if name == of && *fd == at => Some(bytes),
            _ => None,
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Plain(entry) => line(entry),
            Self::Data { name, fd, bytes } => line(&match fd {
                Some(fd) => json!([name, fd, bytes.len(), describe(bytes)]),
                None => json!([name, bytes.len(), describe(bytes)]),
            }),
        }
    }
}

/// Compact JSON in ASCII.
pub(crate) fn line(entry: &Value) -> String {
    let mut ascii = String::new();
    for unit in entry.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte @ b' '..=b'~') => ascii.push(char::from(byte)),
            _ => ascii.push_str(&format!("\\u{unit:04x}")),
        }
    }
    ascii
}

/// The place of a callback in a run of callbacks whose order the kernel decides.
fn rank(name: &str) -> Option<usize> {
    let names = ["pipe_data_received", "pipe_connection_lost", "process_exited"];
    names.iter().position(|ranked| *ranked == name)
}

/// Brings every run of callbacks whose order the kernel decides into one order.
fn sort(entries: Vec<Entry>) -> Vec<Entry> {
    let mut sorted = Vec::new();
    let mut run = Vec::new();
    for entry in entries {
        if rank(entry.name()).is_some() {
            run.push(entry);
        } else {
            sort_run(mem::take(&mut run), &mut sorted);
            sorted.push(entry);
        }
    }
    sort_run(run, &mut sorted);
    sorted
}

fn sort_run(mut run: Vec<Entry>, sorted: &mut Vec<Entry>) {
    let violations = data_after_loss(&run);
    run.sort_by_key(|entry| (rank(entry.name()), entry.fd()));
    let first = sorted.len();
    for entry in run {
        match entry {
            // What was there before the run does not grow.
            Entry::Data { name, fd, bytes } if sorted.len() > first => {
                push_data(sorted, &name, fd, &bytes);
            }
            entry => sorted.push(entry),
        }
    }
    sorted.extend(violations);
}

fn data_after_loss(run: &[Entry]) -> Vec<Entry> {
    let mut lost = HashSet::new();
    let mut violations = Vec::new();
    for entry in run {
        if entry.name() == "pipe_connection_lost" {
            lost.insert(entry.fd());
        } else if entry.name() == "pipe_data_received" && lost.contains(&entry.fd()) {
            let violation = json!(["violation", "data_after_pipe_lost", entry.fd()]);
            violations.push(Entry::Plain(violation));
        }
    }
    violations
}

/// Compares with what the recorder of the scenarios makes of the same entries.
pub(crate) fn self_check() {
    check_lines();
    check_merging_and_holding();
    check_sorting();
}

fn check_lines() {
    let entry = json!(["mark", "\u{e9}\u{7f}\u{1f600}\t\"\\/\u{1}", null, 1]);
    let expected = r#"["mark","\u00e9\u007f\ud83d\ude00\t\"\\/\u0001",null,1]"#;
    assert_eq!(line(&entry), expected);
}

fn check_merging_and_holding() {
    let trace = Trace::default();
    trace.begin();
    trace.hold(|| trace.add(json!(["pause_writing"])));
    trace.add_data("data_received", None, b"ab");
    trace.add_data("data_received", None, b"c");
    trace.add_data("B:data_received", None, b"d");
    trace.end();
    trace.hold(|| trace.add(json!(["pause_writing"])));
    trace.add(json!(["mark", "end"]));
    let expected = [
        r#"["data_received",3,"text:abc"]"#,
        r#"["B:data_received",1,"text:d"]"#,
        r#"["pause_writing"]"#,
        r#"["pause_writing"]"#,
        r#"["mark","end"]"#,
    ];
    assert_eq!(trace.lines(false), expected);
    assert!(trace.wait_for("data_received", 2, Duration::ZERO));
    assert!(!trace.wait_for("data_received", 3, Duration::ZERO));
}

fn check_sorting() {
    let trace = Trace::default();
    let data = |fd, bytes| trace.add_data("pipe_data_received", Some(fd), bytes);
    trace.add(json!(["connection_made"]));
    trace.add(json!(["process_exited"]));
    data(2, b"e");
    data(1, b"a");
    trace.add(json!(["pipe_connection_lost", 2, null]));
    data(1, b"b");
    trace.add(json!(["pipe_connection_lost", 1, null]));
    data(2, b"late");
    trace.add(json!(["connection_lost", null]));
    let expected = [
        r#"["connection_made"]"#,
        r#"["pipe_data_received",1,2,"text:ab"]"#,
        r#"["pipe_data_received",2,5,"text:elate"]"#,
        r#"["pipe_connection_lost",1,null]"#,
        r#"["pipe_connection_lost",2,null]"#,
        r#"["process_exited"]"#,
        r#"["violation","data_after_pipe_lost",2]"#,
        r#"["connection_lost",null]"#,
    ];
    assert_eq!(trace.lines(true), expected);
}

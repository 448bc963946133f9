//! What is shown of all that: lines, blocks, JSON, a progress line, a summary.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::json;
use smol_transports::Pipe;
use smol_transports::capture::{Captured, Line, LongLines, Run, Writer};

use crate::args::{Args, Show};
use crate::job::{Job, Outcome};

/// Lines longer than that are shown in parts.
const LONG: LongLines = LongLines::Split(16 * 1024);

const ESCAPE: u8 = 0x1b;

/// Ends all colours.
const RESET: &str = "\x1b[0m";

/// Puts the cursor to the begin of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

pub(crate) struct Report {
    out: Writer,
    show: Show,
    color: bool,
    progress: bool,
    /// Of the largest number.
    digits: usize,
}

impl Report {
    pub(crate) fn new(args: &Args) -> Self {
        let digits = args.commands.len().to_string().len();
        Self { out: Writer::stdout(), show: args.show, color: args.color, progress: args.progress, digits }
    }

    /// Shows the output of a run while it comes, if it is to be shown so. `since` is when it starts.
    pub(crate) fn watch(&self, run: Run, job: &Job, since: Duration) -> Run {
        let prefix = self.prefix(job);
        let clear = self.clear();
        let number = job.number;
        match self.show {
            Show::Lines => run.sink(self.out.lines(LONG, move |line, out| {
                prefix.line(clear, since + line.at, line, out);
            })),
            Show::Raw => run.sink(self.out.lines(LONG, move |line, out| {
                out.extend_from_slice(clear.as_bytes());
                out.extend_from_slice(line.data);
                out.push(b'\n');
            })),
            Show::Json => run.sink(self.out.lines(LONG, move |line, out| {
                let text = line.text();
                let pipe = if line.pipe == Pipe::Stderr { "stderr" } else { "stdout" };
                let event = json!({
                    "event": "line", "time": seconds(since + line.at), "number": number, "pipe": pipe, "text": text,
                    "complete": line.is_complete,
                });
                out.extend_from_slice(format!("{event}\n").as_bytes());
            })),
            Show::Blocks | Show::Failures => run,
        }
    }

    pub(crate) fn started(&self, job: &Job, at: Duration) {
        if self.show == Show::Json {
            self.event(&json!({
                "event": "start", "time": seconds(at), "number": job.number, "name": job.name, "command": job.command,
            }));
        }
    }

    pub(crate) async fn ended(&self, job: &Job, outcome: &Outcome) {
        match (self.show, &outcome.captured) {
            (Show::Json, _) => self.event(&json!({
                "event": "end", "number": job.number, "name": job.name, "code": outcome.code(),
                "status": outcome.text(), "duration": seconds(outcome.duration()), "bytes": outcome.bytes(),
                "held": outcome.captured.as_ref().is_ok_and(|captured| !captured.held_pipes().is_empty()),
            })),
            (Show::Blocks, Ok(captured)) => self.block(job, captured),
            (Show::Failures, Ok(captured)) if outcome.code() != 0 => self.block(job, captured),
            _ => {}
        }
        if outcome.code() != 0 && self.show != Show::Json {
            self.note(&format!("{} {}: {}", job.number, job.name, outcome.text()));
        }
        // A terminal that is slow holds up what comes next.
        let _ = self.out.flush().await;
    }

    /// All that was kept, at once.
    fn block(&self, job: &Job, captured: &Captured) {
        let prefix = self.prefix(job);
        let mut text = self.clear().as_bytes().to_vec();
        for chunk in [captured.stdout(), captured.stderr()] {
            let shown = chunk.to_string();
            for line in shown.lines() {
                text.extend_from_slice(prefix.text.as_bytes());
                text.extend_from_slice(line.as_bytes());
                text.push(b'\n');
            }
        }
        self.print(text);
    }

    /// A word of fanout itself.
    pub(crate) fn note(&self, text: &str) {
        if self.show == Show::Json {
            self.event(&json!({"event": "note", "text": text}));
        } else {
            self.print(format!("{}fanout: {text}\n", self.clear()));
        }
    }

    pub(crate) fn progress(&self, text: &str) {
        self.print(format!("{CLEAR}{text}"));
    }

    pub(crate) async fn summary(&self, commands: &[String], outcomes: &[Outcome], time: Duration) {
        let failed = outcomes.iter().filter(|outcome| outcome.code() != 0).count();
        let skipped = commands.len() - outcomes.len();
        if self.show == Show::Json {
            self.event(&json!({
                "event": "summary", "commands": commands.len(), "ok": outcomes.len() - failed, "failed": failed,
                "not_started": skipped, "duration": seconds(time),
            }));
        } else if commands.len() > 1 || failed > 0 {
            self.print(format!("{}{}", self.clear(), table(outcomes)));
            let skipped = if skipped > 0 { format!(", {skipped} not started") } else { String::new() };
            let good = outcomes.len() - failed;
            self.print(format!("{good} ok, {failed} failed{skipped}, {:.1} s\n", time.as_secs_f64()));
        } else {
            self.print(self.clear());
        }
        if let Err(err) = self.out.flush().await {
            eprintln!("fanout: standard output: {err}");
        }
    }

    fn event(&self, event: &serde_json::Value) {
        self.print(format!("{event}\n"));
    }

    /// Nobody may be there to read it; the runs that print are told so.
    fn print(&self, text: impl AsRef<[u8]>) {
        let _ = self.out.write(text);
    }

    const fn clear(&self) -> &'static str {
        if self.progress { CLEAR } else { "" }
    }

    fn prefix(&self, job: &Job) -> Prefix {
        const COLORS: [u8; 6] = [32, 33, 34, 35, 36, 31];
        let mut hasher = DefaultHasher::new();
        job.name.hash(&mut hasher);
        let color = COLORS[usize::try_from(hasher.finish() % 6).unwrap_or(0)];
        let (begin, reset) = if self.color { (format!("\x1b[{color}m"), RESET) } else { (String::new(), "") };
        Prefix { text: format!("{begin}[{:>width$} {}]{reset} ", job.number, job.name, width = self.digits), reset }
    }
}

/// What stands before the lines of a command.
struct Prefix {
    text: String,
    /// What ends a colour.
    reset: &'static str,
}

impl Prefix {
    fn line(&self, clear: &str, time: Duration, line: &Line<'_>, out: &mut Vec<u8>) {
        let head = format!("{clear}{:.3} {}", time.as_secs_f64(), self.text);
        out.extend_from_slice(head.as_bytes());
        let shown = overwritten(line.data);
        out.extend_from_slice(shown);
        if shown.contains(&ESCAPE) {
            // Whatever the command has left switched on must not go on in the lines of others.
            out.extend_from_slice(self.reset.as_bytes());
        }
        out.push(b'\n');
    }
}

/// What a terminal shows of a line in the end: a carriage return begins it anew, as progress bars have it.
fn overwritten(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line)
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn table(outcomes: &[Outcome]) -> String {
    let width = outcomes.iter().map(|outcome| outcome.name.len()).max().unwrap_or(0).max(7);
    let mut table = format!("  # {:width$} {:>9} {:>12}  status\n", "command", "time", "bytes");
    for outcome in outcomes {
        let time = format!("{:.3} s", outcome.duration().as_secs_f64());
        let (number, name, bytes, text) = (outcome.number, &outcome.name, outcome.bytes(), outcome.text());
        let _ = writeln!(table, "{number:>3} {name:width$} {time:>9} {bytes:>12}  {text}");
    }
    table
}

//! What is shown of all that: lines, blocks, JSON, a progress line, a summary.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::time::Duration;

use serde_json::json;
use smol_transports::Pipe;
use smol_transports::capture::{Captured, LongLines, Output, Run, Writer};

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
    /// For what fanout has to say itself.
    words: Writer,
    show: Show,
    color: bool,
    progress: bool,
    /// Of the largest number.
    digits: usize,
}

impl Report {
    pub(crate) fn new(args: &Args) -> Self {
        let out = Writer::stdout();
        let words = if args.show == Show::Raw { Writer::stderr() } else { out.clone() };
        let digits = args.commands.len().to_string().len();
        Self { out, words, show: args.show, color: args.color, progress: args.progress, digits }
    }

    /// Shows the output of a run while it comes, if it is to be shown so. `since` is when it starts.
    pub(crate) fn watch(&self, run: Run, job: &Job, since: Duration) -> Run {
        let prefix = self.prefix(job);
        let clear = self.clear();
        let number = job.number;
        match self.show {
            Show::Lines => run.sink(self.out.lines(LONG, move |line, out| {
                let time = (since + line.at).as_secs_f64();
                out.extend_from_slice(format!("{clear}{time:.3} ").as_bytes());
                prefix.line(line.data, out);
            })),
            Show::Raw => run.sink(self.out.lines(LONG, |line, out| {
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
                "event": "start", "time": seconds(at), "number": job.number, "name": job.name, "command": job.text(),
            }));
        }
    }

    /// Waits until all is shown that was said of it: a terminal that is slow holds up what comes next.
    pub(crate) async fn ended(&self, job: &Job, outcome: &Outcome) -> io::Result<()> {
        match (self.show, outcome.captured()) {
            (Show::Json, _) => self.event(&json!({
                "event": "end", "number": job.number, "name": job.name, "code": outcome.code(),
                "status": outcome.text(), "stopped": outcome.was_stopped(), "duration": seconds(outcome.duration()),
                "bytes": outcome.bytes(), "held": outcome.is_held(),
            })),
            (Show::Blocks, Some(captured)) => self.block(job, captured),
            (Show::Failures, Some(captured)) if outcome.code() != 0 => self.block(job, captured),
            _ => {}
        }
        if (outcome.code() != 0 || outcome.is_held()) && self.show != Show::Json {
            self.note(&format!("{} {}: {}", job.number, job.name, outcome.text()));
        }
        self.out.flush().await
    }

    /// All that was kept, at once.
    fn block(&self, job: &Job, captured: &Captured) {
        let prefix = self.prefix(job);
        let mut text = self.clear().as_bytes().to_vec();
        prefix.output(captured.stdout(), &mut text);
        prefix.output(captured.stderr(), &mut text);
        self.print(text);
    }

    /// A word of fanout itself.
    pub(crate) fn note(&self, text: &str) {
        if self.show == Show::Json {
            self.event(&json!({"event": "note", "text": text}));
        } else {
            self.say(format!("{}fanout: {text}\n", self.clear()));
        }
    }

    /// Comes back when it is shown: on a terminal that was stopped there is nothing newer to be shown either.
    pub(crate) async fn progress(&self, text: &str) {
        self.say(format!("{CLEAR}{text}"));
        let _ = self.words.flush().await;
    }

    /// What has come of so many commands; an error if not all of it could be shown.
    pub(crate) async fn summary(&self, commands: usize, outcomes: &[Outcome], time: Duration) -> io::Result<()> {
        let failed = outcomes.iter().filter(|outcome| outcome.has_failed()).count();
        let stopped = outcomes.iter().filter(|outcome| outcome.was_stopped()).count();
        let (ok, skipped) = (outcomes.len() - failed - stopped, commands - outcomes.len());
        if self.show == Show::Json {
            self.event(&json!({
                "event": "summary", "commands": commands, "ok": ok, "failed": failed, "stopped": stopped,
                "not_started": skipped, "duration": seconds(time),
            }));
        } else if commands > 1 || ok < commands {
            let more = |count: usize, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
            let (stopped, skipped) = (more(stopped, "stopped"), more(skipped, "not started"));
            let time = time.as_secs_f64();
            self.say(format!("{}{}", self.clear(), table(outcomes)));
            self.say(format!("{ok} ok, {failed} failed{stopped}{skipped}, {time:.1} s\n"));
        } else {
            self.say(self.clear());
        }
        // Standard error that nobody reads is no failure of the commands.
        let _ = self.words.flush().await;
        self.out.flush().await.inspect_err(|err| {
            if err.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("fanout: standard output: {err}");
            }
        })
    }

    fn event(&self, event: &serde_json::Value) {
        self.print(format!("{event}\n"));
    }

    /// Nobody may be there to read it: that is told by the next flush, and to the runs that print.
    fn print(&self, text: impl AsRef<[u8]>) {
        let _ = self.out.write(text);
    }

    fn say(&self, text: impl AsRef<[u8]>) {
        let _ = self.words.write(text);
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
    fn line(&self, line: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.text.as_bytes());
        let shown = overwritten(line);
        out.extend_from_slice(shown);
        if shown.contains(&ESCAPE) {
            // Whatever the command has left switched on must not go on in the lines of others.
            out.extend_from_slice(self.reset.as_bytes());
        }
        out.push(b'\n');
    }

    /// All lines that were kept.
    fn output(&self, output: &Output, out: &mut Vec<u8>) {
        self.lines(output.head(), out);
        if output.dropped() > 0 {
            self.line(format!("... {} bytes are not shown ...", output.dropped()).as_bytes(), out);
        }
        self.lines(output.tail(), out);
    }

    fn lines(&self, text: &[u8], out: &mut Vec<u8>) {
        text.split_inclusive(|byte| *byte == b'\n').for_each(|line| {
            self.line(line.strip_suffix(b"\n").unwrap_or(line), out);
        });
    }
}

/// What a terminal shows of a line in the end: a carriage return begins it anew, as progress bars have it.
fn overwritten(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    let line = &line[..end];
    line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line)
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn table(outcomes: &[Outcome]) -> String {
    const COMMAND: &str = "command";
    let commands: Vec<_> = outcomes.iter().map(|outcome| short(&outcome.command)).collect();
    let width = commands.iter().map(|command| command.chars().count()).max().unwrap_or(0).max(COMMAND.len());
    let mut table = format!("  # {COMMAND:width$} {:>9} {:>12}  status\n", "time", "bytes");
    for (outcome, command) in outcomes.iter().zip(commands) {
        let time = format!("{:.3} s", outcome.duration().as_secs_f64());
        let (number, bytes, text) = (outcome.number, outcome.bytes(), outcome.text());
        let _ = writeln!(table, "{number:>3} {command:width$} {time:>9} {bytes:>12}  {text}");
    }
    table
}

/// A command in a column of a table.
fn short(command: &str) -> String {
    const WIDTH: usize = 32;
    let words = command.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(WIDTH) {
        None => line,
        Some(_) => line.chars().take(WIDTH - 3).chain("...".chars()).collect(),
    }
}

//! One command: how it is run, and what came of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use smol_transports::capture::{self, Captured, End, Failure, Keep, Run, Writer};

use crate::args::Show;
use crate::crew::Crew;

pub(crate) struct Job {
    /// From 1 on.
    pub(crate) number: usize,
    command: OsString,
    /// The program, for prefixes and files.
    pub(crate) name: String,
}

/// What came of a command.
pub(crate) struct Outcome {
    pub(crate) number: usize,
    /// The command, for tables.
    pub(crate) command: String,
    pub(crate) captured: Result<Captured, Failed>,
}

/// Why there is no result.
pub(crate) enum Failed {
    NotStarted(String),
    /// Its output could not be shown or logged, or it could not be ended; what there is of it.
    NotCaptured(String, Option<Box<Captured>>),
}

impl Failed {
    pub(crate) fn not_captured(err: &io::Error) -> Self {
        Self::NotCaptured(err.to_string(), Failure::of(err).map(|failure| Box::new(failure.captured().clone())))
    }
}

impl Job {
    pub(crate) fn new(number: usize, command: &OsStr) -> Self {
        let text = command.to_string_lossy();
        let word = text.split_whitespace().find(|word| !word.contains('='));
        let program = word.and_then(|word| Path::new(word).file_name()).unwrap_or_default().to_string_lossy();
        let is_plain = |c: &char| c.is_alphanumeric() || "-_.".contains(*c);
        let name: String = program.chars().filter(is_plain).take(16).collect();
        let name = if name.is_empty() { "sh".to_owned() } else { name };
        Self { number, command: command.to_owned(), name }
    }

    /// The command as text.
    pub(crate) fn text(&self) -> String {
        self.command.to_string_lossy().into_owned()
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, crew: &Crew) -> Outcome {
        let captured = match self.start(crew) {
            Ok(capture) => {
                crew.started(self, capture.handle());
                crew.report.started(self, crew.start.elapsed());
                capture.await.map_err(|err| Failed::not_captured(&err))
            }
            Err(failed) => Err(failed),
        };
        Outcome { number: self.number, command: self.text(), captured }
    }

    fn start(&self, crew: &Crew) -> Result<capture::Capture, Failed> {
        let mut command = Command::new("sh");
        command.args(["-c", "--"]).arg(&self.command);
        let mut run = capture::run(command).grace(crew.args.grace).unchecked().keep(self.keep(crew));
        if let Some(limit) = crew.args.timeout {
            run = run.limit(limit);
        }
        if let Some(limit) = crew.args.idle {
            run = run.idle_limit(limit);
        }
        if !crew.args.split {
            run = run.merged();
        }
        if let Some(dir) = &crew.args.logs {
            run = self.log(run, dir, crew.args.split).map_err(|err| Failed::not_captured(&err))?;
        }
        let run = crew.report.watch(run, self, crew.start.elapsed());
        run.start().map_err(|err| Failed::NotStarted(err.to_string()))
    }

    /// What is shown in the end must be kept until then; it has to fit into the memory.
    fn keep(&self, crew: &Crew) -> Keep {
        const BLOCK: usize = 8 * 1024 * 1024;
        match crew.args.show {
            Show::Blocks => Keep::Ends { head: BLOCK, tail: BLOCK },
            Show::Failures => Keep::last(64 * 1024),
            Show::Lines | Show::Raw | Show::Json => Keep::Nothing,
        }
    }

    fn log(&self, run: Run, dir: &Path, split: bool) -> io::Result<Run> {
        let log = |extension: &str| {
            let path = dir.join(format!("{}-{}.{extension}", self.number, self.name));
            let file = File::create(&path);
            file.map_err(|err| io::Error::new(err.kind(), format!("{}: {err}", path.display()))).map(Writer::new)
        };
        if split {
            return Ok(run.stdout_sink(log("out")?.sink()).stderr_sink(log("err")?.sink()));
        }
        Ok(run.sink(log("log")?.sink()))
    }
}

/// The code of a command whose output did not arrive.
pub(crate) const NOT_CAPTURED: u8 = 125;

impl Outcome {
    /// What there is of it.
    pub(crate) fn captured(&self) -> Option<&Captured> {
        match &self.captured {
            Ok(captured) => Some(captured),
            Err(Failed::NotCaptured(_, captured)) => captured.as_deref(),
            Err(Failed::NotStarted(_)) => None,
        }
    }

    fn end(&self) -> Option<End> {
        self.captured().map(Captured::end)
    }

    /// Whether fanout has stopped it, for no fault of its own.
    pub(crate) fn was_stopped(&self) -> bool {
        self.end() == Some(End::Stopped)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.code() != 0 && !self.was_stopped()
    }

    /// Whether it has left something behind that holds its output.
    pub(crate) fn is_held(&self) -> bool {
        self.captured().is_some_and(|captured| !captured.held_pipes().is_empty())
    }

    /// As a shell counts, and `timeout` of the core utilities.
    pub(crate) fn code(&self) -> u8 {
        const TIMED_OUT: u8 = 124;
        const NOT_STARTED: u8 = 127;
        if matches!(self.end(), Some(End::Limit | End::IdleLimit | End::FirstOutputLimit)) {
            return TIMED_OUT;
        }
        let captured = match &self.captured {
            Ok(captured) => captured,
            Err(Failed::NotCaptured(..)) => return NOT_CAPTURED,
            Err(Failed::NotStarted(_)) => return NOT_STARTED,
        };
        let status = captured.status();
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
        if code == 0 && !captured.success() { 1 } else { code }
    }

    /// As a person would say it.
    pub(crate) fn text(&self) -> String {
        match &self.captured {
            Ok(captured) => captured.to_string(),
            Err(Failed::NotStarted(text) | Failed::NotCaptured(text, _)) => text.clone(),
        }
    }

    pub(crate) fn duration(&self) -> Duration {
        self.captured().map_or(Duration::ZERO, Captured::duration)
    }

    /// Bytes of output.
    pub(crate) fn bytes(&self) -> u64 {
        self.captured().map_or(0, |captured| captured.stdout().total() + captured.stderr().total())
    }
}

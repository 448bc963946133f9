//! The command line.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};
use std::num::NonZero;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

const HELP: &str = "\
Runs many commands at once, each by `sh -c`, and shows what they say, line by
line.

Usage: fanout [OPTIONS] [--] COMMAND...
       fanout [OPTIONS] < FILE-WITH-A-COMMAND-PER-LINE

Empty lines of the file and those that begin with # do not count. Quote a
command that has spaces. Commands have nothing to read, and none may ask on the
terminal.

Running:
  -j, --jobs N      at most N commands at a time [default: one per processor]
  -k, --keep-going  go on after a failure; else nothing more is started, and
                    what runs is stopped
  --timeout TIME    stop a command that takes longer
  --idle TIME       stop a command that says nothing for so long
  --grace TIME      from asking a command to end (SIGTERM) to killing it
                    [default: 3s]

Output:
  --group           show the output of each command in one block, when it is
                    over
  --quiet           show nothing but the end of what a command has said that
                    did not succeed
  --raw             lines only, as they are; what fanout has to say goes to
                    standard error
  --json            one JSON object per event on standard output, and nothing
                    else
  --logs DIR        write the output of command 2, `npm test`, to
                    DIR/2-npm.log as well
  --split           keep standard output and error apart: logs end in .out and
                    .err, and the order of two lines is no longer exactly that
                    of their writing
  --color WHEN      auto, always or never [default: auto: on a terminal, unless
                    NO_COLOR is set]
  --no-progress     no line with the progress, which is shown on a terminal

  -h, --help        this text

TIME is a number with a unit: 500ms, 30s, 5m, 1h. Without a unit it is seconds.
Lines of more than 16 KiB are shown in parts.

Ctrl-C asks all commands to end, with all that they have started. The second
one kills them, and so does Ctrl-\\. Ctrl-Z stops fanout alone: the commands
and their time limits go on. None of them may ask on the terminal: it would
be stopped by that.

The exit code is the worst of all commands:
  128 + N  signal N has ended it
  124      a time limit has
  125      its output could not be shown or logged, or it could not be ended
  127      it could not be started
A command that was stopped because another has failed does not count. After
Ctrl-C the exit code is 130, after another signal 128 + N, and for a wrong use
of fanout itself it is 2.
";

/// How the output is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    Lines,
    Raw,
    Blocks,
    Failures,
    Json,
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) commands: Vec<OsString>,
    pub(crate) jobs: usize,
    pub(crate) keep_going: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) show: Show,
    pub(crate) split: bool,
    pub(crate) logs: Option<PathBuf>,
    pub(crate) color: bool,
    pub(crate) progress: bool,
}

type Failed = Box<dyn Error>;

/// What is to be done; nothing if it was asked for help only.
pub(crate) fn parse() -> Result<Option<Args>, Failed> {
    let mut args = Args::new();
    let mut color = "auto".to_owned();
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('j') | Long("jobs") => args.jobs = value(&mut parser, "--jobs", jobs)?,
            Short('k') | Long("keep-going") => args.keep_going = true,
            Long("timeout") => args.timeout = Some(value(&mut parser, "--timeout", limit)?),
            Long("idle") => args.idle = Some(value(&mut parser, "--idle", limit)?),
            Long("grace") => args.grace = value(&mut parser, "--grace", time)?,
            Long("group") => args.show = Show::Blocks,
            Long("quiet") => args.show = Show::Failures,
            Long("raw") => args.show = Show::Raw,
            Long("json") => args.show = Show::Json,
            Long("logs") => args.logs = Some(parser.value()?.into()),
            Long("split") => args.split = true,
            Long("color") => color = value(&mut parser, "--color", |text| Ok(text.to_owned()))?,
            Long("no-progress") => args.progress = false,
            Short('h') | Long("help") => {
                help()?;
                return Ok(None);
            }
            Value(command) => args.commands.push(command),
            _ => return Err(arg.unexpected().into()),
        }
    }
    args.finish(&color)?;
    Ok(Some(args))
}

/// The value of an option; an error says of which.
fn value<T>(
    parser: &mut lexopt::Parser,
    option: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, Failed> {
    let text = parser.value()?.string()?;
    parse(&text).map_err(|why| format!("{option} {text}: {why}").into())
}

fn help() -> Result<(), Failed> {
    match io::stdout().write_all(HELP.as_bytes()) {
        // Whoever has read enough of it need not be told.
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {err}").into()),
        _ => Ok(()),
    }
}

impl Args {
    fn new() -> Self {
        Self {
            commands: Vec::new(),
            jobs: std::thread::available_parallelism().map_or(1, NonZero::get),
            keep_going: false,
            timeout: None,
            idle: None,
            grace: Duration::from_secs(3),
            show: Show::Lines,
            split: false,
            logs: None,
            color: false,
            progress: true,
        }
    }

    /// What depends on the rest.
    fn finish(&mut self, color: &str) -> Result<(), Failed> {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = io::stdout().is_terminal() && !is_dumb;
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        self.color = match color {
            "auto" => terminal && !no_color,
            "always" => true,
            "never" => false,
            _ => return Err(format!("--color {color}: it is auto, always or never").into()),
        };
        self.progress &= terminal && !matches!(self.show, Show::Json | Show::Raw);
        if self.commands.is_empty() {
            self.commands = from_stdin()?;
        }
        self.jobs = self.jobs.min(self.commands.len());
        if let Some(dir) = &self.logs {
            std::fs::create_dir_all(dir).map_err(|err| format!("--logs {}: {err}", dir.display()))?;
        }
        Ok(())
    }
}

fn from_stdin() -> Result<Vec<OsString>, Failed> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err("no commands".into());
    }
    let lines = stdin.lock().split(b'\n').map(|line| line.map(without_return)).collect::<Result<Vec<_>, _>>();
    let lines = lines.map_err(|err| format!("standard input: {err}"))?;
    let is_command = |line: &Vec<u8>| !matches!(line.trim_ascii_start().first(), None | Some(b'#'));
    Ok(lines.into_iter().filter(is_command).map(OsString::from_vec).collect())
}

/// A line of a file from elsewhere may end in a carriage return too.
fn without_return(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    line
}

fn jobs(text: &str) -> Result<usize, String> {
    text.parse::<NonZero<usize>>().map(NonZero::get).map_err(|_| "it is a number of commands, 1 or more".to_owned())
}

/// A time limit.
fn limit(text: &str) -> Result<Duration, String> {
    let limit = time(text)?;
    if limit.is_zero() { Err("that would stop every command at once".to_owned()) } else { Ok(limit) }
}

/// A time with a unit.
fn time(text: &str) -> Result<Duration, String> {
    const WHAT: &str = "it is a number with a unit (ms, s, m or h), as 1.5s";
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(WHAT.to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| WHAT.to_owned())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| "that is too long".to_owned())
}

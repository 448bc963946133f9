//! The command line.

use std::error::Error;
use std::io::{BufRead, IsTerminal};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

const HELP: &str = "\
Runs many commands at once, each by `sh -c`, and shows what they say, line by line.

Usage: fanout [OPTIONS] [--] COMMAND...
       fanout [OPTIONS] < FILE-WITH-A-COMMAND-PER-LINE

Empty lines of the file and those that begin with # do not count. Quote a command that has spaces.

Running:
  -j, --jobs N          at most N commands at a time [default: the number of processors]
  -k, --keep-going      go on after a failure; else nothing more is started and the rest is stopped
      --timeout TIME    stop a command that takes longer
      --idle TIME       stop a command that says nothing for so long
      --grace TIME      from asking a command to end (SIGTERM) to killing it [default: 3s]

Output:
      --group           show the output of each command in one block, when it is over
      --quiet           show nothing but the end of what a failed command has said
      --raw             no prefixes, lines only
      --json            one JSON object per event on standard output, and nothing else
      --logs DIR        write the output of command 2, `npm test`, to DIR/2-npm.log as well
      --split           keep standard output and error apart: logs end in .out and .err, and the order of two lines
                        is no longer exactly that of their writing
      --color WHEN      auto, always or never [default: auto: on a terminal, unless NO_COLOR is set]
      --no-progress     no line with the progress, which is shown on a terminal

  -h, --help            this text

TIME is a number with a unit: 500ms, 30s, 5m, 1h. Without a unit it is seconds.

Ctrl-C asks all commands to end, with all that they have started; the second one kills them.

The exit code is the worst of all commands: 128 + N for a command that signal N has ended, 124 for one that a time
limit has, 125 for one whose output could not be shown or logged, 127 for one that could not be started. It is 130
after Ctrl-C, and 2 for a wrong use of fanout itself.
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
    pub(crate) commands: Vec<String>,
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
            Short('j') | Long("jobs") => args.jobs = parser.value()?.parse::<NonZero<usize>>()?.get(),
            Short('k') | Long("keep-going") => args.keep_going = true,
            Long("timeout") => args.timeout = Some(parser.value()?.parse_with(time)?),
            Long("idle") => args.idle = Some(parser.value()?.parse_with(time)?),
            Long("grace") => args.grace = parser.value()?.parse_with(time)?,
            Long("group") => args.show = Show::Blocks,
            Long("quiet") => args.show = Show::Failures,
            Long("raw") => args.show = Show::Raw,
            Long("json") => args.show = Show::Json,
            Long("logs") => args.logs = Some(parser.value()?.into()),
            Long("split") => args.split = true,
            Long("color") => color = parser.value()?.string()?,
            Long("no-progress") => args.progress = false,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            Value(command) => args.commands.push(command.string()?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    args.finish(&color)?;
    Ok(Some(args))
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
        let terminal = std::io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        self.color = match color {
            "auto" => terminal && !no_color,
            "always" => true,
            "never" => false,
            _ => return Err(format!("--color is auto, always or never, not '{color}'").into()),
        };
        self.progress &= terminal && self.show != Show::Json;
        if self.commands.is_empty() {
            self.commands = from_stdin()?;
        }
        if let Some(dir) = &self.logs {
            std::fs::create_dir_all(dir).map_err(|err| format!("{}: {err}", dir.display()))?;
        }
        Ok(())
    }
}

fn from_stdin() -> Result<Vec<String>, Failed> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err("no commands".into());
    }
    let lines: Vec<String> = stdin.lock().lines().collect::<Result<_, _>>()?;
    let is_command = |line: &String| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    Ok(lines.into_iter().filter(is_command).collect())
}

/// A time with a unit.
fn time(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("'{unit}' is no unit of time: use ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{text}' is no time"))?;
    Duration::try_from_secs_f64(number * unit).map_err(|err| err.to_string())
}

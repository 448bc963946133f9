//! What can be started.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::iter::once;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::stdio::Streams;
#[cfg(target_os = "linux")]
use crate::io::child::pidfd;
use crate::io::child::{Spawned, system};
use crate::io::clock::Clock;
use crate::testing::Script;

/// A command of std or of async-process, or the script of a test. It cannot be implemented by hand.
pub trait IntoCommand: sealed::IntoCommand {}

mod sealed {
    pub trait IntoCommand {
        #[doc(hidden)]
        fn into_program(self) -> super::Program;
    }
}

/// A program with its arguments.
pub enum Program {
    Std(Command),
    /// It cannot be made a group leader.
    AsyncProcess(async_process::Command),
    Script(Script),
}

impl Program {
    /// What time limits go by.
    pub(crate) fn clock(&self) -> Clock {
        match self {
            Self::Script(script) => script.time(),
            Self::Std(_) | Self::AsyncProcess(_) => Clock::System,
        }
    }

    /// The command as one would type it.
    pub(crate) fn name(&self) -> String {
        let words: Vec<&OsStr> = match self {
            Self::Std(command) => once(command.get_program()).chain(command.get_args()).collect(),
            Self::AsyncProcess(command) => once(command.get_program()).chain(command.get_args()).collect(),
            Self::Script(_) => return "script".to_owned(),
        };
        let words: Vec<_> = words.into_iter().map(|word| quote(&word.to_string_lossy())).collect();
        words.join(" ")
    }

    pub(crate) fn spawn(self, streams: Streams, leads_group: bool) -> io::Result<Spawned> {
        match self {
            Self::Script(script) => script.spawn(streams.leads()?),
            Self::AsyncProcess(command) if !leads_group => spawn_by_async_process(command, streams),
            Self::AsyncProcess(_) => {
                let text = "a child with a process group of its own needs a command of std";
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
            Self::Std(mut command) => {
                if leads_group {
                    command.process_group(0);
                }
                spawn(command, streams)
            }
        }
    }
}

fn spawn(command: Command, streams: Streams) -> io::Result<Spawned> {
    #[cfg(target_os = "linux")]
    if let Some(place) = pidfd::Place::take()? {
        let mut command = command;
        let ([stdin, stdout, stderr], ends) = streams.open()?;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        return pidfd::spawn(command, ends, place);
    }
    spawn_by_async_process(command.into(), streams)
}

fn spawn_by_async_process(mut command: async_process::Command, streams: Streams) -> io::Result<Spawned> {
    let ([stdin, stdout, stderr], ends) = streams.open()?;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    system::spawn(command, ends)
}

/// A word as a shell reads it.
fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Std(command) => command.fmt(f),
            Self::AsyncProcess(command) => command.fmt(f),
            Self::Script(script) => script.fmt(f),
        }
    }
}

macro_rules! into_command {
    ($type:ty, |$command:ident| $convert:expr) => {
        impl sealed::IntoCommand for $type {
            fn into_program(self) -> Program {
                let $command = self;
                $convert
            }
        }

        impl IntoCommand for $type {}
    };
}

into_command!(Command, |command| Program::Std(command));
into_command!(&mut Command, |command| Program::Std(std::mem::replace(command, Command::new(""))));
into_command!(async_process::Command, |command| Program::AsyncProcess(command));
into_command!(&mut async_process::Command, |command| {
    Program::AsyncProcess(std::mem::replace(command, async_process::Command::new("")))
});
into_command!(Script, |script| Program::Script(script));

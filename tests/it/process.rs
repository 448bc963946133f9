//! Child processes.

mod command;
mod end;
mod group;
mod panics;
mod pipes;
pub(crate) mod recorder;
mod script;
mod signals;
mod stdio;

use std::process::Command;

use smol_transports::{Spawn, subprocess_exec, subprocess_shell};

use recorder::{Log, Recorder};

/// A child that runs until it is ended.
fn endless(recorder: Recorder) -> Spawn<Recorder> {
    subprocess_exec(recorder, Command::new("sleep").arg("1000"))
}

/// Runs a line of shell to its end.
async fn shell(line: &str) -> Log {
    finish(subprocess_shell(Recorder::new(), line)).await
}

/// Runs a child to its end.
async fn finish(spawn: Spawn<Recorder>) -> Log {
    let log = spawn.await.expect("it starts").await.log();
    log.complete();
    log
}

/// A process that is no child of ours, as it was told in `text`.
fn descendant(text: &str) -> rustix::process::Pid {
    let number = text.trim().parse().expect("a number of a process");
    rustix::process::Pid::from_raw(number).expect("not zero")
}

fn kill(process: rustix::process::Pid) {
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("it is there");
}

//! Output capture.

mod input;
mod limits;
mod results;
mod sinks;
#[cfg(target_os = "linux")]
mod system;

use std::process::Command;
use std::task::Poll;
use std::time::Duration;

use smol_transports::capture::{self, Capture, Captured, Run};
use smol_transports::testing::poll;

const SECOND: Duration = Duration::from_secs(1);

const TERM: i32 = 15;
const CONT: i32 = 18;
const KILL: i32 = 9;

/// A line of shell to be run.
fn shell(line: &str) -> Run {
    capture::run(Command::new("sh").args(["-c", line]))
}

/// Starts a script.
fn start(run: Run) -> Capture {
    crate::guard::watch();
    run.unchecked().start().expect("a script always starts")
}

/// What a run that has nothing to wait for comes to.
#[track_caller]
fn done(run: &mut Capture) -> Captured {
    match poll(run) {
        Poll::Ready(captured) => captured.expect("it is unchecked"),
        Poll::Pending => panic!("it waits for something"),
    }
}

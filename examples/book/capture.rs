//! The output of children, in one line and as a tool wants it.

use std::io;
use std::process::Command;
use std::time::Duration;

use smol_transports::capture::{self, Captured, LongLines};

// ANCHOR: line
async fn host_name() -> io::Result<String> {
    let captured = capture::run(Command::new("hostname")).await?;
    Ok(captured.stdout().text().trim().to_owned())
}
// ANCHOR_END: line

// ANCHOR: tool
/// Runs a line of shell as a tool does: what it prints is shown as it comes, and it may not take for ever.
async fn show(line: &str) -> io::Result<Captured> {
    let progress = capture::lines(LongLines::Split(1024), |line| println!("| {}", line.text()));
    capture::run(Command::new("sh").args(["-c", line]))
        .merged()
        .sink(progress)
        .limit(Duration::from_secs(600))
        .drain_limit(Duration::from_millis(100))
        .unchecked()
        .await
}
// ANCHOR_END: tool

// ANCHOR: main
pub fn main() -> io::Result<()> {
    smol::block_on(async {
        println!("{}", show("echo one; echo two >&2; exit 3").await?);
        println!("{}", show("sleep 1000 & echo started").await?);
        Ok(())
    })
}
// ANCHOR_END: main

#[cfg(test)]
mod tests {
    use smol_transports::capture::End;
    use smol_transports::testing::{Clock, Script, finish, poll};

    use super::*;

    #[test]
    fn one_line() {
        let expected = Command::new("hostname").output().map(|output| output.stdout);
        let found = smol::block_on(host_name());
        assert_eq!(found.ok(), expected.ok().map(|name| String::from_utf8(name).unwrap().trim().to_owned()));
    }

    // ANCHOR: test
    #[test]
    fn a_child_that_falls_silent_is_stopped() {
        const MINUTE: Duration = Duration::from_secs(60);
        let clock = Clock::new();
        let script = Script::new().clock(&clock).stdout("working").wait(10 * MINUTE).stdout("done").exit(0);
        let mut run = capture::run(script).idle_limit(MINUTE).unchecked().start().unwrap();
        assert!(poll(&mut run).is_pending());

        clock.advance(MINUTE);
        let captured = finish(run).unwrap();
        assert_eq!((captured.end(), captured.stdout().bytes()), (End::IdleLimit, &b"working"[..]));
    }
    // ANCHOR_END: test
}

//! What a run comes to, and how that is said.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::process::Command;
use std::time::Duration;

use smol_transports::capture::{self, Captured, End, Failure, Keep};
use smol_transports::testing::{Clock, Script};
use smol_transports::{Pipe, Stdio};

use super::{SECOND, done, shell, start};
use crate::common::guard;

#[test]
fn one_line_captures_all() {
    let captured = guard(async { shell("echo out; echo err >&2").await }).unwrap();
    assert_eq!((captured.stdout().bytes(), captured.stderr().bytes()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!((captured.code(), captured.end(), captured.held_pipes()), (Some(0), End::Exit, &[][..]));
    assert!(captured.success() && !captured.was_killed());
    assert_eq!(captured.to_string(), "exit 0");
    let (stdout, stderr) = captured.into_outputs();
    assert_eq!((stdout.into_bytes(), stderr.total()), (b"out\n".to_vec(), 4));
}

#[test]
fn a_code_is_an_error_with_all_that_was_captured() {
    let err = guard(async { shell("echo last words; exit 3").await }).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Other);
    assert_eq!(err.to_string(), "sh -c 'echo last words; exit 3': exit 3");
    assert_eq!(Failure::of(&err).unwrap().captured().code(), Some(3));
    let captured = Captured::from_error(err).unwrap();
    assert_eq!(captured.stdout().bytes(), b"last words\n");
    assert!(!captured.success());
}

#[test]
fn unchecked_makes_it_a_result() {
    let captured = guard(async { shell("exit 3").unchecked().await }).unwrap();
    assert_eq!((captured.code(), captured.to_string().as_str()), (Some(3), "exit 3"));
    let killed = guard(async { shell("kill -USR1 $$").unchecked().await }).unwrap();
    assert_eq!((killed.code(), killed.to_string().as_str()), (None, "SIGUSR1"));
}

#[test]
fn other_errors_hold_nothing_captured() {
    let err = guard(async { capture::run(Command::new("/no/such/program")).await }).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert!(err.to_string().starts_with("/no/such/program: "), "{err}");
    let cause = err.get_ref().unwrap().source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(cause.raw_os_error(), Some(rustix::io::Errno::NOENT.raw_os_error()));
    assert!(Failure::of(&err).is_none());
    assert_eq!(Captured::from_error(err).unwrap_err().kind(), ErrorKind::NotFound);
    let plain = io::Error::other("nothing of ours");
    assert_eq!(Captured::from_error(plain).unwrap_err().to_string(), "nothing of ours");
}

#[test]
fn a_failure_tells_its_cause() {
    let run = capture::run(Script::new().stdout("x"));
    let run = run.sink(capture::lines(capture::LongLines::Error(0), |_| {}));
    let err = guard(async { run.grace(Duration::ZERO).unchecked().await }).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidData);
    let failure = Failure::of(&err).unwrap();
    assert_eq!(failure.captured().end(), End::Failed);
    assert!(failure.source().is_some());
    assert!(err.to_string().ends_with("its input or output failed: a line of more than 0 bytes"), "{err}");
}

#[test]
fn programs_are_named_as_one_would_type_them() {
    let named = |command: &mut Command| {
        let err = guard(async { capture::run(command).await }).unwrap_err();
        err.to_string().rsplit_once(": exit").unwrap().0.to_owned()
    };
    assert_eq!(named(&mut Command::new("false")), "false");
    assert_eq!(named(Command::new("sh").args(["-c", "exit 1", "it's", ""])), r"sh -c 'exit 1' 'it'\''s' ''");
}

#[test]
fn the_ends_can_be_kept() {
    let run = capture::run(Script::new().stdout("beginning, middle, end").exit(0));
    let captured = done(&mut start(run.keep(Keep::Ends { head: 9, tail: 3 })));
    let stdout = captured.stdout();
    assert_eq!(
        (stdout.head(), stdout.tail(), stdout.total(), stdout.dropped()),
        (&b"beginning"[..], &b"end"[..], 22, 10)
    );
    assert_eq!(stdout.to_string(), "beginning[10 bytes dropped]end");
    assert_eq!(captured.to_string(), "exit 0; 10 bytes of stdout not kept");
}

#[test]
fn chunks_have_stamps_and_come_in_order() {
    let clock = Clock::new();
    let script = Script::new().clock(&clock).stdout("a").stderr("b").stdout("c").stdout("d").wait(SECOND);
    let mut run = start(capture::run(script.stdout("e").stderr("f").exit(0)));
    assert!(smol_transports::testing::poll(&mut run).is_pending());
    clock.advance(SECOND);
    let captured = done(&mut run);
    let chunks: Vec<_> = captured.chunks().map(|chunk| (chunk.pipe, chunk.at, chunk.data.into_owned())).collect();
    let now = Duration::ZERO;
    let expected = [
        (Pipe::Stdout, now, b"a".to_vec()),
        (Pipe::Stderr, now, b"b".to_vec()),
        (Pipe::Stdout, now, b"cd".to_vec()),
        (Pipe::Stdout, SECOND, b"e".to_vec()),
        (Pipe::Stderr, SECOND, b"f".to_vec()),
    ];
    assert_eq!(chunks, expected);
    assert_eq!(captured.duration(), SECOND);
}

#[test]
fn merged_output_is_one_pipe() {
    let script = Script::new().stdout("a").stderr("b").stdout("c").exit(0);
    let captured = done(&mut start(capture::run(script).merged()));
    assert_eq!((captured.stdout().bytes(), captured.stderr().total()), (&b"abc"[..], 0));
}

#[test]
fn output_may_go_elsewhere() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let run = shell("echo out; echo err >&2").stdout(file.reopen().unwrap()).stderr(Stdio::Null);
    let captured = guard(async { run.await }).unwrap();
    assert_eq!((captured.stdout().total(), captured.stderr().total()), (0, 0));
    assert_eq!(std::fs::read(file.path()).unwrap(), b"out\n");
    let both = tempfile::NamedTempFile::new().unwrap();
    guard(async { shell("echo out; echo err >&2").merged().stdout(both.reopen().unwrap()).await }).unwrap();
    assert_eq!(std::fs::read(both.path()).unwrap(), b"out\nerr\n");
}

#[test]
fn inherited_output_is_not_captured() {
    let captured = guard(async { shell(":").inherit().await }).unwrap();
    assert_eq!(captured.stdout().total(), 0);
}

#[test]
fn a_signal_that_is_none_is_refused_at_the_start() {
    let err = shell("true").stop_signal(1000).start().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidInput);
}

#[test]
fn commands_of_async_process_run_in_the_foreground_only() {
    let command = || async_process::Command::new("true");
    assert_eq!(capture::run(command()).start().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(guard(async { capture::run(command()).foreground().await }).is_ok());
}

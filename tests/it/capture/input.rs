//! What children are given to read.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll};

use futures_lite::AsyncRead;
use smol_transports::capture::{self, End};
use smol_transports::testing::{Script, poll};
use smol_transports::{Pipe, Stdio};

use super::{done, shell, start};
use crate::common::{assert_same, guard, pattern};

const MEGABYTES: usize = 10 * 1024 * 1024;

#[test]
fn there_is_nothing_to_read_by_default() {
    let captured = guard(async { shell("wc -c").await }).unwrap();
    assert_eq!(captured.stdout().text().trim(), "0");
}

#[test]
fn bytes_are_fed_while_both_outputs_are_read() {
    let input = pattern(MEGABYTES, 1);
    let run = shell("head -c 1000000 /dev/zero >&2; cat").input(input.clone());
    let captured = guard(async { run.await }).unwrap();
    assert_same(captured.stdout().bytes(), &input);
    assert_eq!(captured.stderr().total(), 1_000_000);
}

#[test]
fn a_reader_is_read_as_the_child_takes_it() {
    let input = pattern(MEGABYTES, 2);
    let reader = futures_lite::io::Cursor::new(input.clone());
    let captured = guard(async { capture::run(Command::new("cat")).input_from(reader).await }).unwrap();
    assert_same(captured.stdout().bytes(), &input);
}

#[test]
fn a_file_is_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file").unwrap();
    let captured = guard(async { shell("cat").stdin(file.reopen().unwrap()).await }).unwrap();
    assert_eq!(captured.stdout().bytes(), b"from a file");
}

#[test]
fn a_child_that_does_not_read_is_no_error() {
    for line in ["true", "exec <&-; sleep 0.05", "head -c 1 >/dev/null"] {
        let bytes = shell(line).input(vec![0; MEGABYTES]);
        assert!(guard(async { bytes.await }).unwrap().success());
        let reader = shell(line).input_from(futures_lite::io::repeat(0));
        assert!(guard(async { reader.await }).unwrap().success());
    }
}

#[test]
fn a_live_handle_writes_and_closes() {
    guard(async {
        let run = shell("read x; echo got $x; cat").stdin(Stdio::Piped).start().unwrap();
        let handle = run.handle();
        let stdin = handle.stdin().unwrap();
        stdin.write("one\n");
        stdin.write("two");
        stdin.close();
        assert_eq!(run.await.unwrap().stdout().bytes(), b"got one\ntwo");
        assert!(handle.stdin().unwrap().is_closing());
    });
}

#[test]
fn without_a_pipe_there_is_no_handle_for_it() {
    let run = start(capture::run(Script::new()));
    assert!(run.handle().stdin().is_none());
}

/// An input that breaks after a while.
struct Breaking(usize);

impl AsyncRead for Breaking {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.0 == 0 {
            return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
        }
        self.0 -= 1;
        buf[0] = b'x';
        Poll::Ready(Ok(1))
    }
}

#[test]
fn an_input_that_breaks_fails_the_run() {
    let script = Script::new();
    let child = script.child();
    let mut run = start(capture::run(script).input_from(Breaking(40)));
    let Poll::Ready(Err(err)) = poll(&mut run) else { panic!("no error") };
    assert_eq!(err.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(capture::Captured::from_error(err).unwrap().end(), End::Failed);
    assert_eq!(child.take_stdin(), [b'x'; 40]);
}

#[test]
fn a_child_that_reads_slowly_is_waited_for() {
    let script = Script::new();
    let child = script.child();
    child.set_room(1000);
    let mut run = start(capture::run(script).input_from(futures_lite::io::repeat(7)));
    assert!(poll(&mut run).is_pending(), "it reads without bounds");
    assert_eq!(child.take_stdin().len(), 1000);
    child.set_room(5000);
    assert!(poll(&mut run).is_pending());
    assert_eq!(child.take_stdin().len(), 5000);
    child.exit(0);
    assert!(done(&mut run).success());
    assert!(child.is_closed(Pipe::Stdin));
}

//! Where the standard streams of children lead.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

use smol_transports::{Pipe, Spawn, Stdio, subprocess_exec, subprocess_shell};

use super::finish;
use super::recorder::{Call, PIPES, Recorder};
use crate::guard::run;
use crate::pipe::pipe;

fn script(line: &str) -> Spawn<Recorder> {
    subprocess_shell(Recorder::new(), line)
}

/// Where a standard stream of this process leads.
#[cfg(target_os = "linux")]
fn own(pipe: Pipe) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", pipe.fd())).expect("it is open")
}

fn content(mut file: File) -> String {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("a file");
    text
}

/// A file twice: to hand over, and to look into.
fn file() -> (File, File) {
    let file = tempfile::tempfile().expect("a file");
    (file.try_clone().expect("a descriptor"), file)
}

#[test]
fn all_are_pipes_by_default() {
    run(async || {
        let child = script("exit 0").await.unwrap();
        assert_eq!(child.protocol().log().calls(), [Call::Made(PIPES.to_vec())]);
        child.await;
    });
}

#[test]
fn without_a_pipe_the_exit_is_the_end() {
    run(async || {
        let log = finish(script("exit 3").stdin(Stdio::Null).stdout(Stdio::Null).stderr(Stdio::Null)).await;
        assert_eq!(log.calls(), [Call::Made(vec![]), Call::Exited(3), Call::Lost(None)]);
    });
}

#[test]
fn only_pipes_have_transports() {
    run(async || {
        let child = script("exit 0").stdin(Stdio::Null).stderr(Stdio::Stdout).await.unwrap();
        let transport = child.transport();
        assert!(transport.stdin().is_none());
        assert!(transport.stdout().is_some());
        assert!(transport.stderr().is_none());
        assert!(transport.pipe(Pipe::Stdin).is_none());
        assert!(transport.pipe_fd(1).is_some());
        child.await;
    });
}

#[test]
fn null_input_is_at_its_end() {
    run(async || {
        let log = finish(script("cat; echo end").stdin(Stdio::Null)).await;
        assert_eq!(log.text(Pipe::Stdout), "end\n");
    });
}

#[test]
fn input_from_a_file() {
    run(async || {
        let (ours, mut theirs) = file();
        theirs.write_all(b"from a file").unwrap();
        theirs.rewind().unwrap();
        let log = finish(script("cat").stdin(ours)).await;
        assert_eq!(log.text(Pipe::Stdout), "from a file");
    });
}

#[test]
fn output_to_files() {
    run(async || {
        let ((out, out_content), (err, err_content)) = (file(), file());
        finish(script("echo out; echo err >&2").stdout(out).stderr(err)).await;
        assert_eq!(content(out_content), "out\n");
        assert_eq!(content(err_content), "err\n");
    });
}

#[test]
fn output_to_a_pipe_of_the_caller() {
    run(async || {
        let (mut read, write) = pipe();
        finish(script("echo out").stdout(OwnedFd::from(write))).await;
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "out\n");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn inherited_streams_are_those_of_this_process() {
    run(async || {
        let input = finish(script("readlink /proc/$$/fd/0").stdin(Stdio::Inherit)).await;
        assert_eq!(PathBuf::from(input.text(Pipe::Stdout).trim()), own(Pipe::Stdin));
        let output = finish(script("place=$(readlink /proc/$$/fd/1); echo $place >&2").stdout(Stdio::Inherit)).await;
        assert_eq!(PathBuf::from(output.text(Pipe::Stderr).trim()), own(Pipe::Stdout));
        let errors = finish(script("readlink /proc/$$/fd/2").stderr(Stdio::Inherit)).await;
        assert_eq!(PathBuf::from(errors.text(Pipe::Stdout).trim()), own(Pipe::Stderr));
    });
}

#[test]
fn errors_join_the_output_in_the_order_of_the_writes() {
    run(async || {
        let line = "i=0; while [ $i -lt 1000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
        let log = finish(script(line).stderr(Stdio::Stdout)).await;
        let expected: String = (0..1000).map(|i| format!("out {i}\nerr {i}\n")).collect();
        assert_eq!(log.text(Pipe::Stdout), expected);
    });
}

#[test]
fn errors_join_the_output_in_a_file() {
    run(async || {
        let (ours, theirs) = file();
        let log = finish(script("echo 1; echo 2 >&2; echo 3").stdout(ours).stderr(Stdio::Stdout)).await;
        assert_eq!(content(theirs), "1\n2\n3\n");
        assert_eq!(log.calls().first(), Some(&Call::Made(vec![Pipe::Stdin])));
    });
}

#[test]
fn errors_join_the_output_in_nowhere() {
    run(async || {
        let line = "echo out; echo err >&2; [ /dev/stdout -ef /dev/null ] && [ /dev/stderr -ef /dev/null ]";
        let log = finish(script(line).stdout(Stdio::Null).stderr(Stdio::Stdout)).await;
        assert_eq!(log.returncode(), Some(0));
        assert_eq!(log.calls().first(), Some(&Call::Made(vec![Pipe::Stdin])));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn errors_join_the_output_that_is_inherited() {
    run(async || {
        let place = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "readlink /proc/$$/fd/2 > \"$OUT\""]).env("OUT", place.path());
        let spawn = subprocess_exec(Recorder::new(), command).stdout(Stdio::Inherit).stderr(Stdio::Stdout);
        finish(spawn).await;
        let told = std::fs::read_to_string(place.path()).unwrap();
        assert_eq!(PathBuf::from(told.trim()), own(Pipe::Stdout));
    });
}

#[test]
fn only_errors_can_join_the_output() {
    run(async || {
        for spawn in [script("exit 0").stdin(Stdio::Stdout), script("exit 0").stdout(Stdio::Stdout)] {
            let err = spawn.await.unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidInput);
            assert!(err.to_string().contains("only standard error"), "{err}");
        }
    });
}

#[test]
fn the_settings_of_the_command_do_not_count() {
    run(async || {
        let mut command = Command::new("echo");
        command.arg("piped").stdout(std::process::Stdio::null());
        let log = finish(subprocess_exec(Recorder::new(), command)).await;
        assert_eq!(log.text(Pipe::Stdout), "piped\n");
    });
}

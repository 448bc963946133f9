//! What is run, and what it is given.

use std::io::ErrorKind;
use std::process::Command;

use smol_transports::{Pipe, subprocess_exec, subprocess_shell};

use super::recorder::Recorder;
use super::{finish, shell};
use crate::guard::run;

#[test]
fn every_form_of_a_command() {
    run(async || {
        let mut std = Command::new("echo");
        std.arg("text");
        let mut smol = async_process::Command::new("echo");
        smol.arg("text");
        let spawns = [
            subprocess_exec(Recorder::new(), &mut std),
            subprocess_exec(Recorder::new(), &mut smol),
            subprocess_exec(Recorder::new(), Command::new("echo").arg("text")),
            subprocess_exec(Recorder::new(), async_process::Command::new("echo").arg("text")),
            subprocess_exec(Recorder::new(), by_value(Command::new("echo"))),
            subprocess_exec(Recorder::new(), async_process::Command::from(by_value(Command::new("echo")))),
        ];
        for spawn in spawns {
            assert_eq!(finish(spawn).await.text(Pipe::Stdout), "text\n");
        }
    });
}

fn by_value(mut command: Command) -> Command {
    command.arg("text");
    command
}

#[test]
fn a_command_by_reference_is_left_empty() {
    let mut command = Command::new("echo");
    drop(subprocess_exec(Recorder::new(), &mut command));
    assert_eq!(command.get_program(), "");
}

#[test]
fn the_environment_and_the_directory_are_kept() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo $COLOUR$HOME; pwd"]).env("COLOUR", "blue").env_remove("HOME").current_dir(&dir);
        let log = finish(subprocess_exec(Recorder::new(), command)).await;
        assert_eq!(log.text(Pipe::Stdout), format!("blue\n{}\n", dir.display()));
    });
}

#[test]
fn arguments_are_not_interpreted() {
    run(async || {
        let arguments = ["two words", "$HOME", "'", "\"", "*", ";", "\\n", ""];
        let mut command = Command::new("printf");
        command.arg("%s|").args(arguments);
        let log = finish(subprocess_exec(Recorder::new(), command)).await;
        assert_eq!(log.text(Pipe::Stdout), arguments.join("|") + "|");
    });
}

#[test]
fn a_line_of_shell_is_interpreted() {
    run(async || {
        let log = shell("printf 'a b' | tr ' ' '_'; echo; echo \"$((6 * 7))\"; exit 9").await;
        assert_eq!(log.text(Pipe::Stdout), "a_b\n42\n");
        assert_eq!(log.returncode(), Some(9));
    });
}

#[test]
fn a_shell_that_misses_a_program_says_so() {
    run(async || {
        let log = shell("no-such-program-at-all").await;
        assert_eq!(log.returncode(), Some(127));
        assert!(log.text(Pipe::Stderr).contains("no-such-program-at-all"));
    });
}

#[test]
fn a_missing_program_fails_the_call_without_a_callback() {
    run(async || {
        let recorder = Recorder::new();
        let log = recorder.log();
        let err = subprocess_exec(recorder, Command::new("/no/such/program")).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotFound);
        assert_eq!(log.calls(), []);
    });
}

#[test]
fn what_cannot_be_run_fails_the_call() {
    run(async || {
        let err = subprocess_exec(Recorder::new(), Command::new("/dev/null")).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::PermissionDenied);
        let mut command = Command::new("true");
        command.current_dir("/no/such/directory");
        let err = subprocess_exec(Recorder::new(), command).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotFound);
        let err = subprocess_shell(Recorder::new(), "nul\0byte").await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn nothing_starts_before_it_is_awaited() {
    run(async || {
        let recorder = Recorder::new();
        let log = recorder.log();
        drop(subprocess_exec(recorder, Command::new("cat")));
        assert_eq!(log.calls(), []);
    });
}

#[test]
fn the_protocol_may_borrow() {
    run(async || {
        let mut recorder = Recorder::new().saying("borrowed");
        subprocess_exec(&mut recorder, Command::new("cat")).await.unwrap().await;
        recorder.log().complete();
        assert_eq!(recorder.log().text(Pipe::Stdout), "borrowed");
        let boxed: Box<dyn smol_transports::SubprocessProtocol> = Box::new(Recorder::new().saying(""));
        subprocess_exec(boxed, Command::new("cat")).await.unwrap().await;
    });
}

//! Children that play a script, in the place of a process.

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use futures_lite::StreamExt;
use smol_transports::testing::{Clock, Script, ScriptedChild, poll};
use smol_transports::{
    Pipe, ProcessEvent, Spawn, Stdio, Subprocess, SubprocessTransport, WriteLimits, Written, actor, subprocess_exec,
};

use super::recorder::{Call, Log, PIPES, Recorder, Step};
use crate::common::guard;

const SECOND: Duration = Duration::from_secs(1);

const TERM: i32 = 15;
const KILL: i32 = 9;

/// Starts a script.
fn start(recorder: Recorder, script: Script) -> (Subprocess<Recorder>, ScriptedChild) {
    let child = script.child();
    (started(subprocess_exec(recorder, script)), child)
}

fn started(spawn: Spawn<Recorder>) -> Subprocess<Recorder> {
    guard(async { spawn.await }).expect("a script always starts")
}

/// Plays a script to its end.
fn played(script: Script) -> Log {
    let (mut child, _) = start(Recorder::new(), script);
    let log = child.protocol().log();
    assert!(poll(&mut child).is_ready(), "it waits for something");
    log.complete();
    log
}

fn data(pipe: Pipe, data: &str) -> Call {
    Call::Data(pipe, data.into())
}

#[test]
fn a_script_is_told_in_its_order() {
    let script = Script::new().stdout("one").stderr("two").stdout("three").close(Pipe::Stderr).stdout("four").exit(7);
    let expected = [
        Call::Made(PIPES.to_vec()),
        data(Pipe::Stdout, "one"),
        data(Pipe::Stderr, "two"),
        data(Pipe::Stdout, "three"),
        Call::PipeLost(Pipe::Stderr, None),
        data(Pipe::Stdout, "four"),
    ];
    let log = played(script);
    assert_eq!(log.calls()[..expected.len()], expected);
    assert_eq!(log.returncode(), Some(7));
}

#[test]
fn a_child_without_a_script_does_what_it_is_told() {
    let (mut child, far) = start(Recorder::new(), Script::new());
    let log = child.protocol().log();
    assert!(poll(&mut child).is_pending());
    assert_eq!(log.calls(), [Call::Made(PIPES.to_vec())]);
    far.write(Pipe::Stdout, "hel");
    far.write(Pipe::Stdout, "lo");
    far.write(Pipe::Stderr, "");
    assert!(poll(&mut child).is_pending());
    assert_eq!(log.text(Pipe::Stdout), "hello");
    child.transport().stdin().unwrap().write("question");
    assert_eq!(far.take_stdin(), b"question");
    assert!(!far.has_exited());
    far.exit(3);
    assert!(far.has_exited() && !far.is_collected());
    assert!(poll(&mut child).is_ready());
    log.complete();
    assert_eq!(log.returncode(), Some(3));
    assert!(far.is_collected());
    PIPES.into_iter().for_each(|pipe| assert!(far.is_closed(pipe)));
}

#[test]
fn the_number_is_that_of_no_process() {
    let (child, far) = start(Recorder::new(), Script::new());
    let (other, _) = start(Recorder::new(), Script::new());
    assert_eq!(child.transport().pid(), far.pid());
    assert_ne!(child.transport().pid(), other.transport().pid());
    assert!(far.pid() > 1 << 22);
}

#[test]
fn a_script_waits_by_its_clock() {
    let clock = Clock::new();
    let script = Script::new().clock(&clock).stdout("now").wait(SECOND).stdout("later").wait(SECOND).exit(0);
    let (mut child, _) = start(Recorder::new(), script);
    let log = child.protocol().log();
    assert!(poll(&mut child).is_pending());
    clock.advance(SECOND / 2);
    assert!(poll(&mut child).is_pending());
    assert_eq!(log.text(Pipe::Stdout), "now");
    clock.advance(SECOND / 2);
    assert!(poll(&mut child).is_pending());
    assert_eq!(log.text(Pipe::Stdout), "nowlater");
    clock.advance(SECOND);
    assert!(poll(&mut child).is_ready());
    log.complete();
}

#[test]
fn without_a_clock_it_waits_by_the_time_of_the_system() {
    let (child, _) = start(Recorder::new(), Script::new().wait(SECOND / 1000).stdout("awake").exit(0));
    assert_eq!(guard(child).log().text(Pipe::Stdout), "awake");
}

#[test]
fn a_script_waits_for_its_reader() {
    let recorder = Recorder::new().on(Step::Made, |transport| transport.stdout().unwrap().pause_reading());
    let (mut child, far) = start(recorder, Script::new().stdout("first").stderr("second").exit(0));
    let log = child.protocol().log();
    assert!(poll(&mut child).is_pending());
    assert!(!far.has_exited() && !log.has(Step::Data(Pipe::Stderr)));
    child.transport().stdout().unwrap().resume_reading();
    assert!(poll(&mut child).is_ready());
    assert!(log.is_before(Step::Data(Pipe::Stdout), Step::Data(Pipe::Stderr)));
}

#[test]
fn what_it_holds_stays_open_beyond_the_exit() {
    let clock = Clock::new();
    let script = Script::new().clock(&clock).hold(Pipe::Stdout).exit(4).wait(SECOND).stdout("late").close(Pipe::Stdout);
    let (mut child, _) = start(Recorder::new(), script);
    let log = child.protocol().log();
    assert!(poll(&mut child).is_pending());
    assert_eq!(log.returncode(), Some(4));
    assert!(log.has(Step::PipeLost(Pipe::Stderr)) && !log.has(Step::PipeLost(Pipe::Stdout)));
    clock.advance(SECOND);
    assert!(poll(&mut child).is_ready());
    assert_eq!(log.text(Pipe::Stdout), "late");
    log.complete();
}

#[test]
fn close_ends_it_and_cuts_what_it_holds() {
    let (mut child, far) = start(Recorder::new(), Script::new().hold(Pipe::Stdout));
    let log = child.protocol().log();
    assert!(poll(&mut child).is_pending());
    child.transport().close();
    assert!(poll(&mut child).is_ready());
    log.complete();
    assert_eq!(log.returncode(), Some(-KILL));
    assert_eq!(far.take_signals(), [KILL]);
    assert!(far.is_collected());
}

#[test]
fn dropping_it_ends_it() {
    let (child, far) = start(Recorder::new(), Script::new());
    let log = child.protocol().log();
    drop(child);
    assert!(far.has_exited() && far.is_collected());
    assert_eq!(log.calls().last(), Some(&Call::Lost(None)));
}

#[test]
fn signals_do_what_they_do_to_processes() {
    for (signal, code) in [(KILL, Some(-KILL)), (TERM, Some(-TERM)), (2, Some(-2)), (18, None), (28, None)] {
        let (mut child, far) = start(Recorder::new(), Script::new());
        let log = child.protocol().log();
        child.transport().send_signal(signal).unwrap();
        assert_eq!(poll(&mut child).is_ready(), code.is_some(), "signal {signal}");
        assert_eq!(log.returncode(), code);
        assert_eq!(far.take_signals(), [signal]);
        assert_eq!(far.take_signals(), []);
    }
}

#[test]
fn an_ignored_signal_ends_nothing() {
    let (mut child, far) = start(Recorder::new(), Script::new().ignore(TERM));
    assert!(poll(&mut child).is_pending());
    child.transport().terminate().unwrap();
    assert!(poll(&mut child).is_pending());
    child.transport().kill().unwrap();
    assert!(poll(&mut child).is_ready());
    assert_eq!(far.take_signals(), [TERM, KILL]);
}

#[test]
fn a_signal_from_elsewhere_wakes_it() {
    guard(async {
        let (transport, running) = subprocess_exec(Recorder::new(), Script::new()).await.unwrap().spawn();
        transport.terminate().unwrap();
        assert_eq!(running.await.log().returncode(), Some(-TERM));
    });
}

#[test]
fn it_may_end_by_a_signal() {
    assert_eq!(played(Script::new().stdout("oh").exit_by(11)).returncode(), Some(-11));
}

#[test]
fn writing_is_paused_and_resumed() {
    let script = Script::new();
    let far = script.child();
    far.set_room(0);
    let recorder = Recorder::new().on(Step::Made, |transport| {
        assert_eq!(transport.stdin().unwrap().write([1; 100]), Written::Full);
    });
    let limits = WriteLimits::new(0, 10).unwrap();
    let mut child = started(subprocess_exec(recorder, script).write_limits(limits));
    let log = child.protocol().log();
    assert!(poll(&mut child).is_pending());
    assert!(log.has(Step::Pause) && !log.has(Step::Resume));
    far.set_room(usize::MAX);
    assert!(poll(&mut child).is_pending());
    assert!(log.has(Step::Resume));
    assert_eq!(far.take_stdin(), [1; 100]);
    child.transport().stdin().unwrap().close();
    assert!(poll(&mut child).is_pending());
    assert!(far.is_closed(Pipe::Stdin));
}

#[test]
fn a_child_that_does_not_read_breaks_the_pipe() {
    let (mut child, far) = start(Recorder::new(), Script::new());
    let log = child.protocol().log();
    far.set_room(2);
    child.transport().stdin().unwrap().write("unread");
    far.close(Pipe::Stdin);
    assert!(poll(&mut child).is_pending());
    assert_eq!(log.loss_of(Pipe::Stdin), Some(ErrorKind::BrokenPipe));
}

#[test]
fn pipes_may_break() {
    let (mut child, far) = start(Recorder::new(), Script::new());
    let log = child.protocol().log();
    far.break_pipe(Pipe::Stderr, io::Error::from(ErrorKind::InvalidData));
    far.break_pipe(Pipe::Stdin, io::Error::from(ErrorKind::StorageFull));
    child.transport().stdin().unwrap().write("lost");
    assert!(poll(&mut child).is_pending());
    assert_eq!(log.loss_of(Pipe::Stderr), Some(ErrorKind::InvalidData));
    assert_eq!(log.loss_of(Pipe::Stdin), Some(ErrorKind::StorageFull));
}

#[test]
fn streams_lead_where_they_are_told_to() {
    let spoken = || Script::new().stdout("out").stderr("err").stdout("out").exit(0);
    let run = |spawn: Spawn<Recorder>| {
        let mut child = started(spawn);
        let log = child.protocol().log();
        assert!(poll(&mut child).is_ready());
        log.complete();
        log
    };
    let merged = run(subprocess_exec(Recorder::new(), spoken()).stderr(Stdio::Stdout));
    assert_eq!(merged.text(Pipe::Stdout), "outerrout");
    let half = run(subprocess_exec(Recorder::new(), spoken()).stdout(Stdio::Null).stdin(Stdio::Inherit));
    assert_eq!(half.calls()[0], Call::Made(vec![Pipe::Stderr]));
    assert_eq!(half.text(Pipe::Stderr), "err");
    let none = run(subprocess_exec(Recorder::new(), spoken()).stdout(Stdio::Null).stderr(Stdio::Stdout));
    assert_eq!(none.calls()[0], Call::Made(vec![Pipe::Stdin]));
    let misplaced = guard(async { subprocess_exec(Recorder::new(), spoken()).stdout(Stdio::Stdout).await });
    assert_eq!(misplaced.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_merged_pipe_ends_with_the_second_of_its_streams() {
    let script = Script::new().close(Pipe::Stdout).stderr("still there").close(Pipe::Stderr);
    let mut child = started(subprocess_exec(Recorder::new(), script).stderr(Stdio::Stdout));
    let log = child.protocol().log();
    assert!(poll(&mut child).is_pending());
    assert!(log.is_before(Step::Data(Pipe::Stdout), Step::PipeLost(Pipe::Stdout)));
}

#[test]
fn a_signal_to_its_group_ends_what_holds_its_pipes() {
    let script = Script::new().hold(Pipe::Stdout).exit(5);
    let far = script.child();
    let mut child = started(subprocess_exec(Recorder::new(), script).own_group());
    let log = child.protocol().log();
    assert!(poll(&mut child).is_pending());
    assert_eq!(log.returncode(), Some(5));
    assert!(!far.is_collected(), "its number must stay its own");
    child.transport().kill().unwrap();
    assert!(poll(&mut child).is_pending());
    child.transport().signal_group(TERM).unwrap();
    assert!(poll(&mut child).is_ready());
    assert_eq!((far.take_signals(), far.take_group_signals()), (vec![], vec![TERM]));
    assert_eq!(log.returncode(), Some(5));
    assert!(far.is_collected());
}

#[test]
fn the_layer_without_protocols_takes_it_too() {
    guard(async {
        let (transport, events, actor) = actor::open_process(Script::new().stdout("text").exit(1)).unwrap();
        let task = smol::spawn(actor);
        let data = events.filter_map(|event| match event {
            ProcessEvent::PipeDataReceived(pipe, data) => Some((pipe, data.into_owned())),
            _ => None,
        });
        assert_eq!(data.collect::<Vec<_>>().await, [(Pipe::Stdout, b"text".to_vec())]);
        task.await;
        assert_eq!(transport.returncode(), Some(1));
    });
}

/// The same protocol sees the same of a process and of a script that says what it does.
#[test]
fn a_script_and_a_process_are_told_alike() {
    fn calls(spawn: Spawn<Recorder>) -> Vec<Call> {
        guard(async { spawn.await.unwrap().await }).log().complete()
    }
    let recorder = || Recorder::new().on(Step::Data(Pipe::Stdout), finish);
    let script = Script::new().stdout("out").close(Pipe::Stdout).close(Pipe::Stdin).close(Pipe::Stderr).exit(6);
    let mut command = Command::new("sh");
    command.args(["-c", "printf out; exec >&-; sleep 0.05; exec <&-; sleep 0.05; exec 2>&-; sleep 0.05; exit 6"]);
    let sorted = |mut calls: Vec<Call>| {
        // The ends of pipes of one poll come in the order of the pipes.
        calls.sort_by_key(|call| format!("{call:?}"));
        calls
    };
    assert_eq!(sorted(calls(subprocess_exec(recorder(), script))), sorted(calls(subprocess_exec(recorder(), command))));
}

fn finish(transport: &SubprocessTransport) {
    transport.stdin().unwrap().close();
}

#[test]
fn what_was_written_comes_before_the_ends_of_the_pipes() {
    let (mut child, hand) = start(Recorder::new(), Script::new());
    let log = child.protocol().log();
    hand.close(Pipe::Stdin);
    hand.close(Pipe::Stderr);
    hand.write(Pipe::Stdout, "out");
    hand.close(Pipe::Stdout);
    hand.exit(0);
    assert!(poll(&mut child).is_ready());
    let mut expected = vec![Call::Made(PIPES.to_vec()), data(Pipe::Stdout, "out")];
    expected.extend(PIPES.map(|pipe| Call::PipeLost(pipe, None)));
    expected.extend([Call::Exited(0), Call::Lost(None)]);
    assert_eq!(log.calls(), expected);
}

#[test]
fn nothing_is_said_after_a_panic_though_the_child_exits_at_the_same_moment() {
    let (mut child, hand) = start(Recorder::new().panicking_in(Step::Data(Pipe::Stdout)), Script::new());
    let log = child.protocol().log();
    hand.write(Pipe::Stdout, "out");
    hand.write(Pipe::Stderr, "err");
    hand.exit(0);
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut child))).is_err(), "no panic");
    assert!(!log.calls().contains(&data(Pipe::Stderr, "err")), "{:?}", log.calls());
}

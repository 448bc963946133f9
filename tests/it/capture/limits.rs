//! What ends a run, step by step: scripts and a clock that is moved by hand.

use std::io::ErrorKind;
use std::task::Poll;
use std::time::Duration;

use smol_transports::Pipe;
use smol_transports::capture::{self, Capture, Captured, End, Failure, Run};
use smol_transports::testing::{Clock, Script, ScriptedChild, poll};

use crate::common::guard;
use crate::guard::until;

use super::{CONT, KILL, SECOND, TERM, done, start};

/// A script on a clock.
struct Stage {
    clock: Clock,
    child: ScriptedChild,
    run: Capture,
}

impl Stage {
    fn new(script: Script, set: impl FnOnce(Run) -> Run) -> Self {
        let clock = Clock::new();
        let script = script.clock(&clock);
        let child = script.child();
        let run = start(set(capture::run(script).grace(3 * SECOND).drain_limit(SECOND)));
        Self { clock, child, run }
    }

    /// Lets time pass; the run is not over after it.
    #[track_caller]
    fn pass(&mut self, time: Duration) {
        assert!(poll(&mut self.run).is_pending());
        self.clock.advance(time);
        assert!(poll(&mut self.run).is_pending());
    }

    /// Lets time pass, and the run end.
    #[track_caller]
    fn end(&mut self, time: Duration) -> Captured {
        assert!(poll(&mut self.run).is_pending());
        self.clock.advance(time);
        done(&mut self.run)
    }
}

#[test]
fn the_time_limit_ends_it() {
    let mut stage = Stage::new(Script::new().stdout("kept"), |run| run.limit(30 * SECOND));
    stage.pass(29 * SECOND);
    assert_eq!(stage.child.take_group_signals(), []);
    let captured = stage.end(SECOND);
    assert_eq!(stage.child.take_group_signals(), [TERM, CONT, KILL]);
    assert_eq!((captured.end(), captured.was_killed()), (End::Limit, false));
    assert_eq!(captured.to_string(), "SIGTERM after 30.0 s: time limit");
    assert_eq!(captured.stdout().bytes(), b"kept");
    assert!(stage.child.is_collected());
}

#[test]
fn what_ignores_the_request_is_killed_after_its_grace() {
    let mut stage = Stage::new(Script::new().ignore(TERM), |run| run.limit(27 * SECOND));
    stage.pass(27 * SECOND);
    assert_eq!(stage.child.take_group_signals(), [TERM, CONT]);
    stage.pass(2 * SECOND);
    let captured = stage.end(SECOND);
    assert!(captured.was_killed());
    assert_eq!(captured.to_string(), "SIGKILL after 30.0 s: time limit, TERM ignored");
    assert_eq!(stage.child.take_group_signals(), [KILL, KILL]);
}

#[test]
fn silence_ends_it() {
    let script = Script::new().stdout("a").wait(9 * SECOND).stderr("b").wait(20 * SECOND).stdout("late");
    let mut stage = Stage::new(script, |run| run.idle_limit(10 * SECOND));
    stage.pass(9 * SECOND);
    stage.pass(9 * SECOND);
    let captured = stage.end(SECOND);
    assert_eq!(captured.end(), End::IdleLimit);
    assert_eq!((captured.stdout().bytes(), captured.stderr().bytes()), (&b"a"[..], &b"b"[..]));
}

#[test]
fn the_first_output_must_come_in_time() {
    let mut late = Stage::new(Script::new(), |run| run.first_output_limit(5 * SECOND));
    assert_eq!(late.end(5 * SECOND).to_string(), "SIGTERM after 5.0 s: no output");

    let mut early =
        Stage::new(Script::new().stdout("here").wait(100 * SECOND).exit(0), |run| run.first_output_limit(5 * SECOND));
    early.pass(50 * SECOND);
    assert!(early.end(50 * SECOND).success());
}

#[test]
fn a_limit_is_an_error_of_time() {
    let clock = Clock::new();
    let mut run = capture::run(Script::new().clock(&clock)).limit(SECOND).start().unwrap();
    assert!(poll(&mut run).is_pending());
    clock.advance(SECOND);
    let Poll::Ready(Err(err)) = poll(&mut run) else { panic!("no error") };
    assert_eq!(
        (err.kind(), err.to_string().as_str()),
        (ErrorKind::TimedOut, "script: SIGTERM after 1.0 s: time limit")
    );
}

#[test]
fn a_child_that_ends_well_when_asked_was_ended_all_the_same() {
    let mut stage = Stage::new(Script::new().ignore(TERM), |run| run.limit(SECOND));
    stage.pass(SECOND);
    stage.child.exit(0);
    let captured = done(&mut stage.run);
    assert_eq!((captured.to_string().as_str(), captured.success()), ("exit 0 after 1.0 s: time limit", false));
}

#[test]
fn its_handle_stops_it() {
    let mut stage = Stage::new(Script::new().stdout("so far"), |run| run);
    let handle = stage.run.handle();
    assert!(poll(&mut stage.run).is_pending());
    assert_eq!((handle.pid(), handle.status()), (stage.child.pid(), None));
    handle.stop();
    handle.stop();
    let captured = done(&mut stage.run);
    assert_eq!((captured.end(), captured.stdout().bytes()), (End::Stopped, &b"so far"[..]));
    assert_eq!(handle.status().map(|status| status.success()), Some(false));
    handle.stop();
    handle.kill();
    assert_eq!(handle.signal(TERM).unwrap_err().raw_os_error(), Some(3));
}

#[test]
fn its_handle_kills_it() {
    let mut stage = Stage::new(Script::new().ignore(TERM), |run| run);
    let handle = stage.run.handle();
    handle.stop();
    stage.pass(SECOND);
    handle.kill();
    assert_eq!(done(&mut stage.run).to_string(), "SIGKILL after 1.0 s: stopped, TERM ignored");
    assert_eq!(stage.child.take_group_signals(), [TERM, CONT, KILL, KILL]);
}

#[test]
fn its_handle_signals_the_group() {
    let mut stage = Stage::new(Script::new(), |run| run);
    stage.run.handle().signal(28).unwrap();
    assert!(poll(&mut stage.run).is_pending());
    assert_eq!((stage.child.take_group_signals(), stage.child.take_signals()), (vec![28], vec![]));
    assert_eq!(stage.run.handle().signal(-1).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn without_grace_it_is_killed_at_once() {
    let mut stage = Stage::new(Script::new(), |run| run.grace(Duration::ZERO).limit(SECOND));
    assert_eq!(stage.end(SECOND).to_string(), "SIGKILL after 1.0 s: time limit");
    assert_eq!(stage.child.take_group_signals(), [KILL, KILL]);
}

#[test]
fn another_signal_may_ask() {
    let mut stage = Stage::new(Script::new(), |run| run.stop_signal(2));
    stage.run.handle().stop();
    assert_eq!(done(&mut stage.run).to_string(), "SIGINT after 0.0 s: stopped");

    let mut stage = Stage::new(Script::new().ignore(2), |run| run.stop_signal(2));
    stage.run.handle().stop();
    assert_eq!(stage.end(3 * SECOND).to_string(), "SIGKILL after 3.0 s: stopped, INT ignored");
}

#[test]
fn a_held_pipe_is_read_for_some_time_and_told() {
    let script = Script::new().hold(Pipe::Stdout).stdout("before").exit(0).stdout("after").wait(SECOND).stdout("late");
    let mut stage = Stage::new(script, |run| run);
    let captured = stage.end(SECOND);
    assert_eq!((captured.code(), captured.held_pipes()), (Some(0), &[Pipe::Stdout][..]));
    assert!(captured.success(), "the status is true");
    assert_eq!(captured.to_string(), "exit 0; pipe held: stdout");
    assert!(captured.stdout().bytes().starts_with(b"beforeafter"));
    assert_eq!(captured.duration(), Duration::ZERO);
    // When the pipe is cut, and when all is over.
    assert_eq!(stage.child.take_group_signals(), [KILL, KILL]);
}

#[test]
fn a_pipe_that_is_let_go_in_time_is_not_held() {
    let script = Script::new().hold(Pipe::Stdout).exit(0).wait(SECOND / 2).stdout("tail").close(Pipe::Stdout);
    let captured = Stage::new(script, |run| run).end(SECOND / 2);
    assert_eq!((captured.stdout().bytes(), captured.held_pipes()), (&b"tail"[..], &[][..]));
}

#[test]
fn survivors_are_killed_unless_they_are_left() {
    for (leave, signals) in [(false, vec![KILL]), (true, vec![])] {
        let mut stage = Stage::new(Script::new().exit(0), |run| if leave { run.leave_survivors() } else { run });
        assert!(done(&mut stage.run).success());
        assert_eq!(stage.child.take_group_signals(), signals);
    }
}

#[test]
fn survivors_of_a_child_that_was_stopped_are_killed_in_any_case() {
    let mut stage = Stage::new(Script::new(), Run::leave_survivors);
    stage.run.handle().stop();
    assert_eq!(done(&mut stage.run).end(), End::Stopped);
    assert_eq!(stage.child.take_group_signals(), [TERM, CONT, KILL]);
}

#[test]
fn survivors_that_are_left_outlive_a_run_that_is_dropped_while_they_hold_a_pipe() {
    let Stage { child, mut run, .. } = Stage::new(Script::new().hold(Pipe::Stdout).exit(0), Run::leave_survivors);
    assert!(poll(&mut run).is_pending());
    drop(run);
    guard(until(|| child.is_collected()));
    assert_eq!(child.take_group_signals(), []);
}

#[test]
fn in_the_foreground_the_child_alone_is_signalled() {
    let mut stage = Stage::new(Script::new(), Run::foreground);
    stage.run.handle().stop();
    assert_eq!(done(&mut stage.run).to_string(), "SIGTERM after 0.0 s: stopped");
    assert_eq!((stage.child.take_signals(), stage.child.take_group_signals()), (vec![TERM, CONT], vec![]));
}

#[test]
fn dropping_it_asks_and_then_kills() {
    let Stage { clock, child, mut run } = Stage::new(Script::new().ignore(TERM), |run| run);
    assert!(poll(&mut run).is_pending());
    drop(run);
    assert_eq!(child.take_group_signals(), [TERM, CONT], "before the drop returns");
    guard(until(|| {
        clock.advance(SECOND);
        child.is_collected()
    }));
    assert!(child.take_group_signals().starts_with(&[KILL]));
}

#[test]
fn dropping_it_when_the_grace_is_over_kills_it() {
    let Stage { clock, child, mut run } = Stage::new(Script::new().ignore(TERM), |run| run);
    run.handle().stop();
    assert!(poll(&mut run).is_pending());
    assert_eq!(child.take_group_signals(), [TERM, CONT]);
    clock.advance(3 * SECOND);
    drop(run);
    assert!(child.take_group_signals().starts_with(&[KILL]), "before the drop returns");
    guard(until(|| child.is_collected()));
}

#[test]
fn dropping_it_before_it_was_polled_ends_it_too() {
    let Stage { child, run, .. } = Stage::new(Script::new(), |run| run);
    drop(run);
    guard(until(|| child.is_collected()));
    assert_eq!(child.take_group_signals(), [TERM, CONT, KILL]);
}

#[test]
fn dropping_what_has_not_started_starts_nothing() {
    let script = Script::new();
    let child = script.child();
    drop(IntoFuture::into_future(capture::run(script)));
    assert!(!child.has_exited());
}

/// As what sudo has started: nobody waits for ever for what cannot be killed.
#[test]
fn a_child_that_may_not_be_killed_is_left() {
    let script = || Script::new().stdout("begun").protect();
    let stage = Stage::new(script(), |run| run.limit(10 * SECOND));
    let failure = left(stage, 10 * SECOND, |_| ());
    assert_eq!(failure.end(), End::Limit);
    assert_eq!(failure.stdout().head(), b"begun");
    let failure = left(Stage::new(script(), |run| run), Duration::ZERO, |run| run.handle().stop());
    assert_eq!(failure.end(), End::Stopped);
    let failure = left(Stage::new(script(), |run| run.unchecked()), Duration::ZERO, |run| run.handle().kill());
    assert_eq!(failure.code(), Some(255));
}

/// What a run has come to that had no effect on its child.
fn left(mut stage: Stage, after: Duration, end: impl FnOnce(&Capture)) -> Captured {
    assert!(poll(&mut stage.run).is_pending());
    end(&stage.run);
    stage.clock.advance(after);
    let first = poll(&mut stage.run);
    stage.clock.advance(3 * SECOND);
    let result = if first.is_ready() { first } else { poll(&mut stage.run) };
    let Poll::Ready(Err(err)) = result else { panic!("it is not over, or was good") };
    assert_eq!(err.kind(), ErrorKind::PermissionDenied);
    assert!(!Failure::of(&err).is_some_and(|failure| failure.captured().was_killed()));
    assert!(err.to_string().contains("could not be killed"), "{err}");
    Failure::of(&err).expect("a failure").captured().clone()
}

/// What it has left behind holds its output, and is not waited for.
#[test]
fn a_child_that_has_exited_well_is_not_ended_by_a_limit_or_a_stop() {
    for stops in [false, true] {
        let script = Script::new().stdout("all").hold(Pipe::Stdout).exit(0);
        let mut stage = Stage::new(script, |run| run.limit(SECOND / 2));
        assert!(poll(&mut stage.run).is_pending());
        if stops {
            stage.run.handle().stop();
        } else {
            stage.clock.advance(SECOND / 2);
        }
        let Poll::Ready(Ok(captured)) = poll(&mut stage.run) else { panic!("it was no success") };
        assert!(captured.success());
        assert_eq!((captured.end(), captured.held_pipes()), (End::Exit, &[Pipe::Stdout][..]));
        assert_eq!(captured.stdout().bytes(), b"all");
    }
}

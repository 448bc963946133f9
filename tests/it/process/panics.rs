//! Callbacks that panic.

use std::future::Future;
use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::process::Command;

use smol::future::FutureExt;
use smol_transports::{Pipe, SubprocessTransport, subprocess_exec, subprocess_shell};

use super::recorder::{Call, Log, PIPES, Recorder, Step};
use super::{endless, finish};
use crate::guard::{run, until};

const LOST: Call = Call::Lost(Some(ErrorKind::Other));

async fn assert_panics(child: impl Future) {
    let payload = AssertUnwindSafe(child).catch_unwind().await.err().expect("a panic");
    let text = payload.downcast_ref::<String>().expect("the text of an assertion");
    assert!(text.contains("a panic on purpose"), "{text}");
}

/// What a protocol that panics in `step` is told of a child that says something everywhere and then ends.
async fn panicking(step: Step) -> (Log, SubprocessTransport) {
    let recorder = Recorder::new().panicking_in(step);
    let log = recorder.log();
    let child = subprocess_shell(recorder, "echo out; echo err >&2; cat; exit 0").await.unwrap();
    let transport = child.transport().clone();
    transport.stdin().unwrap().write(vec![b'x'; 1024 * 1024]);
    transport.stdin().unwrap().close();
    assert_panics(child).await;
    (log, transport)
}

const STEPS: [Step; 9] = [
    Step::Made,
    Step::Data(Pipe::Stdout),
    Step::Data(Pipe::Stderr),
    Step::PipeLost(Pipe::Stdin),
    Step::PipeLost(Pipe::Stdout),
    Step::PipeLost(Pipe::Stderr),
    Step::Exited,
    Step::Pause,
    Step::Resume,
];

#[test]
fn after_a_panic_only_losses_are_told() {
    run(async || {
        for step in STEPS {
            let (log, _) = panicking(step).await;
            let calls = log.calls();
            let panicked = calls.iter().position(|call| call.step() == step).unwrap();
            let after = &calls[panicked + 1..];
            let (last, pipes) = after.split_last().unwrap();
            assert_eq!(*last, LOST, "after a panic in {step:?}");
            let only_pipes = pipes.iter().all(|call| matches!(call, Call::PipeLost(..)));
            assert!(only_pipes, "{:?} after a panic in {step:?}", pipes.iter().map(Call::step).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_panic_is_told_to_all_who_wait_for_the_end() {
    run(async || {
        for step in STEPS {
            let (_, transport) = panicking(step).await;
            assert_eq!(transport.closed().await.unwrap_err().kind(), ErrorKind::Other);
        }
    });
}

#[test]
fn a_panic_in_connection_lost_comes_after_everything() {
    run(async || {
        let (log, transport) = panicking(Step::Lost).await;
        log.complete();
        assert_eq!(transport.returncode(), Some(0));
    });
}

#[test]
fn a_panic_closes_the_pipes() {
    run(async || {
        for step in STEPS {
            let (log, transport) = panicking(step).await;
            PIPES.into_iter().for_each(|pipe| assert!(log.has(Step::PipeLost(pipe))));
            assert!(transport.stdin().unwrap().with_pipe(|_| ()).is_none());
            assert!(transport.stdout().unwrap().with_pipe(|_| ()).is_none());
            assert!(transport.stderr().unwrap().with_pipe(|_| ()).is_none());
        }
    });
}

#[test]
fn a_panic_harms_nobody_else() {
    run(async || {
        let mut other = subprocess_exec(Recorder::new(), Command::new("cat")).await.unwrap();
        let log = other.protocol().log();
        for step in STEPS {
            other.run_until(panicking(step)).await;
        }
        other.transport().stdin().unwrap().write("unharmed");
        other.run_until(until(|| log.text(Pipe::Stdout) == "unharmed")).await;
        finish(subprocess_exec(Recorder::new().saying(""), Command::new("cat"))).await;
    });
}

#[test]
fn a_panic_in_a_drop_is_swallowed() {
    run(async || {
        for step in [Step::PipeLost(Pipe::Stdin), Step::Lost] {
            let recorder = Recorder::new().panicking_in(step);
            let log = recorder.log();
            drop(endless(recorder).await.unwrap());
            assert!(log.has(Step::Lost));
        }
    });
}

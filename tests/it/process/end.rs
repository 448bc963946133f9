//! How children end, and the order in which that is told.

use std::process::Command;

use smol::future::poll_once;
use smol_transports::{Pipe, SubprocessTransport, subprocess_exec, subprocess_shell};

use super::recorder::{Call, PIPES, Recorder, Step};
use super::{descendant, endless, finish, kill, shell};
use crate::guard::{run, until};
use crate::pipe::settle;

#[test]
fn the_first_callback_is_connection_made() {
    run(async || {
        let child = subprocess_shell(Recorder::new(), "echo early; exit 3").await.unwrap();
        assert_eq!(child.protocol().log().calls(), [Call::Made(PIPES.to_vec())]);
        let log = child.await.log();
        log.complete();
        assert_eq!(log.text(Pipe::Stdout), "early\n");
    });
}

#[test]
fn it_makes_progress_only_while_it_is_polled() {
    run(async || {
        let child = endless(Recorder::new()).await.unwrap();
        let log = child.protocol().log();
        child.transport().kill().unwrap();
        assert_eq!(child.transport().status(), None);
        assert_eq!(log.calls().len(), 1);
        child.await;
        assert_eq!(log.returncode(), Some(-9));
    });
}

#[test]
fn the_exit_code_is_told() {
    run(async || {
        for code in [0, 1, 7, 255] {
            assert_eq!(shell(&format!("exit {code}")).await.returncode(), Some(code));
        }
    });
}

#[test]
fn the_status_is_none_before_the_exit_and_stays_after_it() {
    run(async || {
        let recorder = Recorder::new().saying("").on(Step::Made, |transport| {
            assert_eq!(transport.status(), None);
            assert_eq!(transport.returncode(), None);
        });
        let child = subprocess_exec(recorder, Command::new("cat")).await.unwrap();
        let transport = child.transport().clone();
        let pid = transport.pid();
        assert_ne!(pid, 0);
        child.await.log().complete();
        assert_eq!(transport.returncode(), Some(0));
        assert!(transport.status().unwrap().success());
        assert_eq!(transport.pid(), pid);
    });
}

#[test]
fn the_exit_alone_is_not_closing() {
    run(async || {
        let recorder = Recorder::new().on(Step::Exited, |transport| assert!(!transport.is_closing()));
        let child = subprocess_shell(recorder, "exit 0").await.unwrap();
        let transport = child.transport().clone();
        assert!(!transport.is_closing());
        child.await.log().complete();
        assert!(!transport.is_closing());
    });
}

/// Whatever is told, `Log::complete` knows the order.
#[test]
fn all_data_come_before_the_end_of_their_pipe() {
    run(async || {
        let log = shell("echo out; echo err >&2; echo out; exit 5").await;
        assert_eq!(log.text(Pipe::Stdout), "out\nout\n");
        assert_eq!(log.text(Pipe::Stderr), "err\n");
        assert_eq!(log.returncode(), Some(5));
    });
}

#[test]
fn the_exit_is_told_while_a_descendant_holds_the_pipes() {
    run(async || {
        let recorder = Recorder::new();
        let log = recorder.log();
        let mut child = subprocess_shell(recorder, "sleep 3 & echo $!; exit 4").await.unwrap();
        child.run_until(until(|| log.has(Step::Exited) && log.has(Step::Data(Pipe::Stdout)))).await;
        assert_eq!(log.returncode(), Some(4));
        assert!(!log.has(Step::PipeLost(Pipe::Stdout)));
        assert!(!child.transport().stdout().unwrap().is_closing());
        kill(descendant(&log.text(Pipe::Stdout)));
        child.await;
        log.complete();
        assert!(log.is_before(Step::Exited, Step::PipeLost(Pipe::Stdout)));
    });
}

#[test]
fn close_cuts_the_pipes_that_a_descendant_holds() {
    run(async || {
        for line in ["sleep 1000 & echo $!; exit 0", "sleep 1000 & echo $!; wait"] {
            let recorder = Recorder::new();
            let log = recorder.log();
            let mut child = subprocess_shell(recorder, line).await.unwrap();
            child.run_until(until(|| log.text(Pipe::Stdout).ends_with('\n'))).await;
            child.transport().close();
            child.await;
            log.complete();
            kill(descendant(&log.text(Pipe::Stdout)));
        }
    });
}

#[test]
fn dropping_cuts_the_pipes_that_a_descendant_holds() {
    run(async || {
        let recorder = Recorder::new();
        let log = recorder.log();
        let mut child = subprocess_shell(recorder, "sleep 1000 & echo $!; exit 0").await.unwrap();
        child.run_until(until(|| log.has(Step::Exited) && log.has(Step::Data(Pipe::Stdout)))).await;
        drop(child);
        log.complete();
        kill(descendant(&log.text(Pipe::Stdout)));
    });
}

#[test]
fn close_kills_the_child() {
    run(async || {
        let child = endless(Recorder::new()).await.unwrap();
        let transport = child.transport().clone();
        transport.close();
        transport.close();
        assert!(transport.is_closing());
        assert_eq!(transport.returncode(), None);
        let log = child.await.log();
        log.complete();
        assert_eq!(log.returncode(), Some(-9));
        PIPES.into_iter().for_each(|pipe| assert_eq!(log.loss_of(pipe), None));
        transport.close();
    });
}

/// What reads its standard input to the end must not find that end before it is killed.
#[test]
fn close_kills_before_it_closes_the_pipes() {
    run(async || {
        for _ in 0..300 {
            let (transport, running) = subprocess_exec(Recorder::new(), Command::new("cat")).await.unwrap().spawn();
            transport.stdin().unwrap().write("x");
            transport.close();
            running.await.log().complete();
            assert_eq!(transport.returncode(), Some(-9));
        }
    });
}

#[test]
fn close_works_in_every_callback() {
    run(async || {
        let data = Step::Data(Pipe::Stdout);
        for step in [Step::Made, data, Step::Exited, Step::PipeLost(Pipe::Stdin), Step::PipeLost(Pipe::Stdout)] {
            let recorder = Recorder::new().saying("text").on(step, SubprocessTransport::close);
            let log = finish(subprocess_exec(recorder, Command::new("cat"))).await;
            assert!(matches!(log.returncode(), Some(0 | -9)), "{step:?}");
        }
    });
}

#[test]
fn close_after_the_exit_kills_nothing() {
    run(async || {
        let recorder = Recorder::new().on(Step::Exited, SubprocessTransport::close);
        let log = finish(subprocess_shell(recorder, "exit 6")).await;
        assert_eq!(log.returncode(), Some(6));
    });
}

#[test]
fn close_loses_what_is_unread() {
    run(async || {
        let recorder = Recorder::new().on(Step::Made, |transport| transport.stdout().unwrap().pause_reading());
        let log = recorder.log();
        let mut child = subprocess_shell(recorder, "echo unread; exec 1>&-; exec sleep 1000").await.unwrap();
        child.run_until(settle()).await;
        child.transport().close();
        child.await;
        assert_eq!(log.complete().len(), 6);
        assert_eq!(log.text(Pipe::Stdout), "");
    });
}

#[test]
fn close_from_another_thread_wakes_it() {
    run(async || {
        let (transport, running) = endless(Recorder::new()).await.unwrap().spawn();
        std::thread::spawn(move || transport.close()).join().unwrap();
        let log = running.await.log();
        log.complete();
        assert_eq!(log.returncode(), Some(-9));
    });
}

#[test]
fn dropping_the_child_ends_it_at_once() {
    run(async || {
        let recorder = Recorder::new();
        let log = recorder.log();
        let child = endless(recorder).await.unwrap();
        let transport = child.transport().clone();
        drop(child);
        let losses = PIPES.map(|pipe| Call::PipeLost(pipe, None));
        let expected = [vec![Call::Made(PIPES.to_vec())], losses.to_vec(), vec![Call::Lost(None)]].concat();
        assert_eq!(log.calls(), expected);
        assert!(transport.is_closing());
        transport.closed().await.unwrap();
    });
}

#[test]
fn dropping_what_was_spawned_ends_it() {
    run(async || {
        let recorder = Recorder::new();
        let log = recorder.log();
        let (transport, running) = endless(recorder).await.unwrap().spawn();
        drop(running);
        transport.closed().await.unwrap();
        assert_eq!(log.calls().last(), Some(&Call::Lost(None)));
    });
}

#[test]
fn what_is_detached_lives_on() {
    run(async || {
        let recorder = Recorder::new().saying("all of it");
        let log = recorder.log();
        let (transport, running) = subprocess_exec(recorder, Command::new("cat")).await.unwrap().spawn();
        running.detach();
        transport.closed().await.unwrap();
        log.complete();
        assert_eq!(log.text(Pipe::Stdout), "all of it");
    });
}

#[test]
fn it_runs_on_an_executor_of_the_caller() {
    run(async || {
        let executor = smol::Executor::new();
        let recorder = Recorder::new().saying("text");
        let (_, running) = subprocess_exec(recorder, Command::new("cat")).await.unwrap().spawn_on(&executor);
        let log = executor.run(running).await.log();
        log.complete();
        assert_eq!(log.text(Pipe::Stdout), "text");
    });
}

#[test]
fn the_pipes_keep_their_transports_after_the_end() {
    run(async || {
        let child = subprocess_exec(Recorder::new().saying(""), Command::new("cat")).await.unwrap();
        let transport = child.transport().clone();
        child.await;
        PIPES.into_iter().for_each(|pipe| assert!(transport.pipe_fd(pipe.fd()).is_some()));
        assert!(transport.pipe_fd(3).is_none());
        assert!(transport.pipe_fd(-1).is_none());
        assert!(transport.stdin().unwrap().is_closing());
        assert!(transport.stdout().unwrap().is_closing());
        assert!(transport.stderr().unwrap().with_pipe(|_| ()).is_none());
    });
}

#[test]
fn closed_waits_for_the_end() {
    run(async || {
        let recorder = Recorder::new();
        let log = recorder.log();
        let mut child = endless(recorder).await.unwrap();
        let transport = child.transport().clone();
        assert!(poll_once(transport.closed()).await.is_none());
        transport.kill().unwrap();
        child.run_until(transport.closed()).await.unwrap();
        assert_eq!(log.complete().last(), Some(&Call::Lost(None)));
    });
}

#[test]
fn a_new_protocol_gets_the_next_callback() {
    run(async || {
        let new = Recorder::successor();
        let new_log = new.log();
        let mut new = Some(new);
        let old = Recorder::new().on(Step::Data(Pipe::Stdout), move |transport| {
            transport.set_protocol(new.take().expect("it is called once"));
            transport.stdin().unwrap().write("new");
            transport.stdin().unwrap().close();
        });
        let old = old.on(Step::Made, |transport| transport.stdin().unwrap().write("old").ok().unwrap());
        let log = subprocess_exec(old, Command::new("cat")).await.unwrap().await.log();
        assert_eq!(log.calls(), [Call::Made(PIPES.to_vec()), Call::Data(Pipe::Stdout, b"old".to_vec())]);
        new_log.complete();
        assert_eq!(new_log.text(Pipe::Stdout), "new");
    });
}

#[test]
fn a_child_that_ends_by_itself_is_no_error() {
    run(async || {
        let child = subprocess_shell(Recorder::new(), "kill -SEGV $$").await.unwrap();
        let transport = child.transport().clone();
        let log = child.await.log();
        log.complete();
        assert_eq!(log.returncode(), Some(-11));
        transport.closed().await.unwrap();
        assert_eq!(transport.status().unwrap().code(), None);
    });
}

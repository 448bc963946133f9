//! Signals to children.

use std::io::ErrorKind;

use smol_transports::{Pipe, SubprocessTransport, subprocess_shell};

use super::recorder::{Recorder, Step};
use super::{endless, finish};
use crate::guard::run;

const NO_SUCH_PROCESS: Option<i32> = Some(3);

const STDOUT: Step = Step::Data(Pipe::Stdout);

#[test]
fn kill_ends_it() {
    run(async || {
        let recorder = Recorder::new().on(Step::Made, |transport| transport.kill().unwrap());
        assert_eq!(finish(endless(recorder)).await.returncode(), Some(-9));
    });
}

#[test]
fn terminate_asks_it_to_end() {
    run(async || {
        let recorder = Recorder::new().on(Step::Made, |transport| transport.terminate().unwrap());
        assert_eq!(finish(endless(recorder)).await.returncode(), Some(-15));
    });
}

#[test]
fn a_child_may_end_in_its_own_way_when_asked() {
    run(async || {
        let mut ready = false;
        let recorder = Recorder::new().on(STDOUT, move |transport| {
            if !std::mem::replace(&mut ready, true) {
                transport.terminate().unwrap();
            }
        });
        let line = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.01; done";
        let log = finish(subprocess_shell(recorder, line)).await;
        assert_eq!(log.text(Pipe::Stdout), "ready\nasked\n");
        assert_eq!(log.returncode(), Some(7));
    });
}

#[test]
fn a_signal_is_sent_by_its_number() {
    run(async || {
        // Those of a terminal may be ignored where the tests run: `nohup` and shells have their children inherit that.
        for signal in [10, 12, 14, 15] {
            let send = move |transport: &SubprocessTransport| transport.send_signal(signal).unwrap();
            let recorder = Recorder::new().on(Step::Made, send);
            assert_eq!(finish(endless(recorder)).await.returncode(), Some(-signal));
        }
    });
}

#[test]
fn a_stopped_child_is_not_an_ended_one() {
    run(async || {
        let recorder = Recorder::new().on(STDOUT, |transport| {
            assert_eq!(transport.returncode(), None);
            transport.send_signal(18).unwrap();
        });
        let log = finish(subprocess_shell(recorder, "(sleep 0.01; echo stopped) & kill -STOP $$; exit 8")).await;
        assert_eq!(log.returncode(), Some(8));
    });
}

#[test]
fn a_number_that_is_no_signal_is_refused() {
    run(async || {
        let child = endless(Recorder::new()).await.unwrap();
        for number in [-9, -1, 65, 1000, i32::MIN, i32::MAX] {
            assert_eq!(child.transport().send_signal(number).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(child.transport().returncode(), None);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn signals_without_a_name_are_refused() {
    run(async || {
        let child = endless(Recorder::new()).await.unwrap();
        for number in [0, 34, 40, 64] {
            assert_eq!(child.transport().send_signal(number).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn signals_after_the_exit_do_nothing() {
    run(async || {
        let recorder = Recorder::new().on(Step::Exited, |transport| {
            transport.kill().unwrap();
            transport.terminate().unwrap();
            transport.send_signal(10).unwrap();
        });
        assert_eq!(finish(subprocess_shell(recorder, "exit 2")).await.returncode(), Some(2));
    });
}

#[test]
fn there_is_no_such_process_after_the_loss() {
    run(async || {
        let child = subprocess_shell(Recorder::new(), "exit 0").await.unwrap();
        let transport = child.transport().clone();
        child.await;
        for answer in [transport.kill(), transport.terminate(), transport.send_signal(10)] {
            assert_eq!(answer.unwrap_err().raw_os_error(), NO_SUCH_PROCESS);
        }
    });
}

#[test]
fn there_is_no_such_process_after_a_drop() {
    run(async || {
        let child = endless(Recorder::new()).await.unwrap();
        let transport = child.transport().clone();
        drop(child);
        assert_eq!(transport.kill().unwrap_err().raw_os_error(), NO_SUCH_PROCESS);
    });
}

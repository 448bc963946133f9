//! Children of a host that has its own ideas: handlers of signals, and being the first process of a system.

use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use smol_transports::subprocess_shell;

use super::guard::{run, until};
use super::recorder::Recorder;
use super::{ALONE, as_thief, children, endless, sh};

/// Counts the `SIGCHLD` that a handler of the host is called for.
fn count_signals() -> Arc<AtomicUsize> {
    let mut signals = Signals::new([Signal::Child]).expect("a handler");
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    smol::spawn(async move {
        while signals.next().await.is_some() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    })
    .detach();
    count
}

#[test]
fn a_handler_of_the_host_is_called_whenever_it_was_set() {
    as_thief("host::a_handler_of_the_host_is_called_whenever_it_was_set", async || {
        let before = count_signals();
        sh("exit 1").await.unwrap().await;
        until(|| before.load(Ordering::SeqCst) > 0).await;
        let after = count_signals();
        for code in 0..20 {
            let log = sh(&format!("exit {code}")).await.unwrap().await.log();
            log.complete();
            assert_eq!(log.returncode(), Some(code));
            until(|| after.load(Ordering::SeqCst) > 0 && before.load(Ordering::SeqCst) > 1).await;
        }
        assert!(children().is_empty());
    });
}

const FIRST: &str = "SMOL_TRANSPORTS_FIRST";

/// Nobody else collects children there, so whatever is left behind stays.
#[test]
fn the_first_process_of_a_system_leaves_nothing_behind() {
    if env::var_os(FIRST).is_some() {
        return run(as_first);
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let first = |program: &str, args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", program]).args(args).env(FIRST, "1").output()
    };
    if !first("true", &[]).is_ok_and(|output| output.status.success()) {
        return println!("skipped: there is no unshare, or no private numbers of processes are allowed");
    }
    let program = env::current_exe().expect("a test is a program");
    let name = "host::the_first_process_of_a_system_leaves_nothing_behind";
    let output = first(program.to_str().expect("a path"), &["--exact", name, "--nocapture"]).expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

async fn as_first() {
    assert_eq!(std::process::id(), 1);
    for code in 0..50 {
        let log = subprocess_shell(Recorder::new(), format!("exit {code}")).await.unwrap().await.log();
        assert_eq!(log.returncode(), Some(code));
    }
    let (transport, running) = endless().await.unwrap().spawn();
    drop(endless().await.unwrap());
    drop(running);
    transport.closed().await.unwrap();
    until(|| children().is_empty()).await;
}

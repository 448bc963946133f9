//! Process groups of their own.

use std::io::ErrorKind;
use std::process::Command;

use smol_transports::{Pipe, Spawn, Subprocess, subprocess_exec};

use super::recorder::{Log, Recorder, Step};
use super::{descendant, endless, kill};
use crate::guard::{run, until};

const TERM: i32 = 15;
const KILL: i32 = 9;

fn group(line: &str) -> Spawn<Recorder> {
    subprocess_exec(Recorder::new(), Command::new("sh").args(["-c", line])).own_group()
}

/// Runs until the number of a descendant was told.
async fn descended(child: &mut Subprocess<Recorder>) -> (Log, rustix::process::Pid) {
    let log = child.protocol().log();
    child.run_until(until(|| log.text(Pipe::Stdout).ends_with('\n'))).await;
    let number = descendant(&log.text(Pipe::Stdout));
    (log, number)
}

/// Whether a process is there; one that has ended may still have to be collected by somebody else.
fn runs(process: rustix::process::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

#[test]
fn the_child_leads_a_group() {
    run(async || {
        let child = group("exec sleep 1000").await.unwrap();
        let pid = i32::try_from(child.transport().pid()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_reaches_all_of_it() {
    run(async || {
        let mut child = group("sleep 1000 & echo $!; wait").await.unwrap();
        let (log, number) = descended(&mut child).await;
        child.transport().signal_group(TERM).unwrap();
        child.await;
        log.complete();
        assert_eq!(log.returncode(), Some(-TERM));
        until(|| !runs(number)).await;
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_reaches_it_after_the_exit_of_its_leader() {
    run(async || {
        let mut child = group("sleep 1000 & echo $!; exit 3").await.unwrap();
        let (log, number) = descended(&mut child).await;
        child.run_until(until(|| log.has(Step::Exited))).await;
        assert_eq!(log.returncode(), Some(3));
        assert!(runs(number));
        child.transport().signal_group(KILL).unwrap();
        child.await;
        log.complete();
        until(|| !runs(number)).await;
    });
}

#[cfg(target_os = "linux")]
#[test]
fn closing_and_dropping_end_all_of_it() {
    run(async || {
        for line in ["sleep 1000 & echo $!; wait", "sleep 1000 & echo $!; exit 3"] {
            let mut child = group(line).await.unwrap();
            let (log, number) = descended(&mut child).await;
            child.transport().close();
            child.await;
            log.complete();
            until(|| !runs(number)).await;

            let mut child = group(line).await.unwrap();
            let (_, number) = descended(&mut child).await;
            drop(child);
            until(|| !runs(number)).await;
        }
    });
}

/// Nobody asked to end them.
#[cfg(target_os = "linux")]
#[test]
fn what_needs_no_pipe_survives() {
    run(async || {
        let mut child = group("sleep 1000 <&- >&- 2>&- & echo $!; exit 3").await.unwrap();
        let (log, number) = descended(&mut child).await;
        child.await;
        log.complete();
        assert!(runs(number));
        kill(number);
    });
}

#[test]
fn there_is_nobody_after_the_end() {
    run(async || {
        let child = group("exit 0").await.unwrap();
        let transport = child.transport().clone();
        child.await;
        assert_eq!(transport.signal_group(KILL).unwrap_err().raw_os_error(), Some(3));
    });
}

#[test]
fn a_child_without_a_group_has_none_to_signal() {
    run(async || {
        let child = endless(Recorder::new()).await.unwrap();
        assert_eq!(child.transport().signal_group(TERM).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(child.transport().returncode(), None);
    });
}

#[test]
fn a_command_of_async_process_cannot_lead() {
    run(async || {
        let spawn = subprocess_exec(Recorder::new(), async_process::Command::new("true")).own_group();
        assert_eq!(spawn.await.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

//! What tools rely on, with processes of the system.

use std::process::Command;
use std::time::Duration;

use futures_lite::{StreamExt, future};
use smol_transports::capture::{self, Captured, End, Keep, LongLines};
use smol_transports::{Pipe, Stdio};

use super::{SECOND, shell};
use crate::guard::{run, until};

/// Longer than any test; shorter than the limit that a test has.
const LONG: Duration = Duration::from_secs(30);

/// Whether there is a process of that group that has not ended.
fn has_members(group: u32) -> bool {
    let group = group.to_string();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    processes.filter(|name| name.parse::<u32>().is_ok()).any(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
        matches!(fields[..], [state, _, of, ..] if of == group && !matches!(state, "Z" | "X"))
    })
}

/// (a) of the list in `examples/fanout.rs`.
#[test]
fn a_descendant_that_holds_a_pipe_holds_nothing_up() {
    run(async || {
        let started = shell("sleep 1000 & echo hi").start().unwrap();
        let group = started.handle().pid();
        let captured = started.await.unwrap();
        assert_eq!((captured.code(), captured.stdout().bytes()), (Some(0), &b"hi\n"[..]));
        assert_eq!(captured.held_pipes(), [Pipe::Stdout, Pipe::Stderr]);
        assert_eq!(captured.to_string(), "exit 0; pipe held: stdout, stderr");
        until(|| !has_members(group)).await;
    });
}

/// (b)
#[test]
fn what_ignores_sigterm_dies_after_its_grace() {
    run(async || {
        let line = "trap '' TERM; echo ready; sleep 1000 & sleep 1000; echo no";
        let (sink, mut chunks) = capture::channel();
        let run = shell(line).grace(SECOND / 5).sink(sink).unchecked().start().unwrap();
        let handle = run.handle();
        let stop = async {
            chunks.next().await;
            handle.stop();
        };
        let (captured, ()) = future::zip(run, stop).await;
        let captured = captured.unwrap();
        assert_eq!((captured.end(), captured.was_killed()), (End::Stopped, true));
        let text = captured.to_string();
        assert!(text.starts_with("SIGKILL after ") && text.ends_with(" s: stopped, TERM ignored"), "{text}");
        assert_eq!(captured.stdout().bytes(), b"ready\n");
        until(|| !has_members(handle.pid())).await;
    });
}

#[test]
fn a_child_that_is_stopped_is_ended_by_its_grace() {
    run(async || {
        let captured = shell("kill -STOP $$; sleep 1000").limit(SECOND / 5).grace(LONG).unchecked().await.unwrap();
        assert_eq!((captured.end(), captured.was_killed()), (End::Limit, false));
    });
}

/// (d), as far as one process can see it.
#[test]
fn no_exit_leaves_anything_behind() {
    run(async || {
        let lines = [
            "sleep 1000 <&- >&- 2>&- & exit 0",
            "sleep 1000 & sleep 1000 & exit 3",
            "(trap '' TERM; while :; do sleep 1000; done) & echo x; exec sleep 1000",
            "sleep 1000 & kill -SEGV $$",
        ];
        for line in lines {
            let run = shell(line).limit(SECOND / 2).grace(SECOND / 10).unchecked().start().unwrap();
            let group = run.handle().pid();
            run.await.unwrap();
            until(|| !has_members(group)).await;
        }
    });
}

#[test]
fn a_panic_leaves_nothing_behind() {
    run(async || {
        let sink = |_: &capture::Chunk<'_>| panic!("a panic on purpose");
        let run = shell("sleep 1000 & echo x; sleep 1000").sink(sink).start().unwrap();
        let group = run.handle().pid();
        let task = smol::spawn(future::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(run)));
        assert!(task.await.is_err());
        until(|| !has_members(group)).await;
    });
}

/// (e)
#[test]
fn merged_output_is_in_the_order_of_the_writes() {
    const COUNT: usize = 10_000;
    run(async || {
        let program = "import os\nfor i in range(10000): os.write(1 + i % 2, b'%d\\n' % i)";
        let mut command = Command::new("python3");
        command.args(["-c", program]);
        let captured = match capture::run(command).merged().await {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return println!("skipped: no python3"),
            captured => captured.unwrap(),
        };
        let expected: String = (0..COUNT).map(|i| format!("{i}\n")).collect();
        assert!(captured.stdout().bytes() == expected.as_bytes());
    });
}

/// (h), and (d) for dropping.
#[test]
fn dropping_it_anywhere_leaves_nothing_behind() {
    run(async || {
        for polls in 0..40 {
            let line = "sleep 1000 & echo $$; read x; echo $x; sleep 0.01; sleep 1000";
            let mut run = shell(line).input("text\n").grace(SECOND / 10).start().unwrap();
            let group = run.handle().pid();
            let mut count = 0;
            future::poll_fn(|cx| {
                if count == polls {
                    return std::task::Poll::Ready(());
                }
                count += 1;
                let _ = std::pin::Pin::new(&mut run).poll(cx);
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
            drop(run);
            until(|| !has_members(group)).await;
        }
    });
}

#[test]
fn what_is_dropped_may_end_in_its_own_way() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cleaned");
        let line =
            format!("trap 'echo done > {}; exit' TERM; echo ready; while :; do sleep 0.01; done", file.display());
        let (sink, mut chunks) = capture::channel();
        let mut run = shell(&line).sink(sink).grace(LONG).start().unwrap();
        future::or(async { drop(chunks.next().await) }, async { drop((&mut run).await) }).await;
        drop(run);
        until(|| file.exists()).await;
    });
}

#[test]
fn what_left_the_group_is_left_alone() {
    run(async || {
        let captured = shell("setsid sleep 1000 >/dev/null 2>&1 <&- & sleep 0.1; echo $!").await.unwrap();
        let pid: i32 = captured.stdout().text().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
}

#[test]
fn survivors_can_be_left() {
    run(async || {
        let captured = shell("sleep 1000 >/dev/null 2>&1 & echo $!").leave_survivors().await.unwrap();
        let pid: i32 = captured.stdout().text().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        assert!(captured.held_pipes().is_empty());
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
}

/// All that was written before the exit is there, whoever holds the pipe.
#[test]
fn nothing_is_cut_that_was_written_before_the_exit() {
    run(async || {
        for _ in 0..20 {
            let line = "sleep 1000 & head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2";
            let captured = shell(line).drain_limit(Duration::ZERO).await.unwrap();
            assert_eq!((captured.stdout().total(), captured.stderr().total()), (60_000, 60_000));
        }
    });
}

#[test]
fn a_descendant_that_never_stops_talking_is_cut() {
    run(async || {
        let captured = shell("yes & exit 4").keep(Keep::last(10)).unchecked().await.unwrap();
        assert_eq!((captured.code(), captured.held_pipes()), (Some(4), &[Pipe::Stdout, Pipe::Stderr][..]));
    });
}

#[test]
fn a_long_line_takes_no_memory() {
    run(async || {
        let (sender, parts) = std::sync::mpsc::channel();
        let lines = capture::lines(LongLines::Split(1000), move |line| {
            let _ = sender.send(line.data.len());
        });
        let run = shell("head -c 10000000 /dev/zero").sink(lines).keep(Keep::Ends { head: 100, tail: 100 });
        let captured = run.await.unwrap();
        assert_eq!((captured.stdout().total(), captured.stdout().bytes().len()), (10_000_000, 200));
        let lengths: Vec<_> = parts.try_iter().collect();
        assert_eq!((lengths.iter().sum::<usize>(), lengths.iter().max()), (10_000_000, Some(&1000)));
    });
}

#[test]
fn it_runs_in_the_background_and_on_many_at_once() {
    run(async || {
        let runs: Vec<_> = (0..20).map(|code| shell(&format!("echo {code}; exit {code}")).unchecked()).collect();
        let tasks: Vec<_> = runs.into_iter().map(|run| smol::spawn(async { run.await })).collect();
        for (task, code) in tasks.into_iter().zip(0..) {
            let captured: Captured = task.await.unwrap();
            assert_eq!((captured.code(), captured.stdout().text().trim()), (Some(code), code.to_string().as_str()));
        }
    });
}

#[test]
fn a_run_without_pipes_ends_with_its_child() {
    run(async || {
        let run = shell("sleep 1000 & exit 5").stdout(Stdio::Null).stderr(Stdio::Null).unchecked().start().unwrap();
        let group = run.handle().pid();
        assert_eq!(run.await.unwrap().code(), Some(5));
        until(|| !has_members(group)).await;
    });
}

#[test]
fn a_handle_stops_it_from_another_thread() {
    run(async || {
        let run = shell("echo x; sleep 1000").unchecked().start().unwrap();
        let handle = run.handle();
        let stopper = std::thread::spawn(move || {
            handle.stop();
            handle
        });
        let captured = run.await.unwrap();
        assert_eq!(captured.end(), End::Stopped);
        let handle = stopper.join().unwrap();
        handle.closed().await;
        assert!(handle.status().is_some());
    });
}

//! What goes through the pipes of children.

use std::io::{self, ErrorKind};
use std::process::Command;

use smol_transports::{
    Pipe, SubprocessProtocol, SubprocessTransport, WriteLimits, Written, subprocess_exec, subprocess_shell,
};

use super::recorder::{Recorder, Step};
use super::{finish, shell};
use crate::guard::{run, until};
use crate::pipe::settle;

const MEGABYTE: usize = 1024 * 1024;

const STDOUT: Step = Step::Data(Pipe::Stdout);

#[test]
fn what_is_written_comes_back_from_cat() {
    run(async || {
        let log = finish(subprocess_exec(Recorder::new().saying("hello"), Command::new("cat"))).await;
        assert_eq!(log.text(Pipe::Stdout), "hello");
        assert_eq!(log.text(Pipe::Stderr), "");
        assert_eq!(log.returncode(), Some(0));
    });
}

#[test]
fn a_conversation() {
    run(async || {
        let mut turns = 0;
        let recorder =
            Recorder::new().on(Step::Made, |transport| transport.stdin().unwrap().write("0\n").ok().unwrap());
        let recorder = recorder.on(STDOUT, move |transport| {
            turns += 1;
            let stdin = transport.stdin().unwrap();
            if turns == 100 { stdin.close() } else { stdin.write(format!("{turns}\n")).ok().unwrap() }
        });
        let log = finish(subprocess_exec(recorder, Command::new("cat"))).await;
        let expected: String = (0..100).map(|turn| format!("{turn}\n")).collect();
        assert_eq!(log.text(Pipe::Stdout), expected);
    });
}

/// Writes ten megabytes and compares what comes back.
struct Bulk {
    block: Vec<u8>,
    written: usize,
    read: usize,
    errors: usize,
    pauses: usize,
    lost: Option<Option<io::Error>>,
}

impl Bulk {
    const BLOCKS: usize = 160;
    const TOTAL: usize = Self::BLOCKS * 65_521;

    fn new() -> Self {
        let block = (0..65_521_usize).map(|n| (n * n % 251) as u8).collect();
        Self { block, written: 0, read: 0, errors: 0, pauses: 0, lost: None }
    }

    fn write(&mut self, transport: &SubprocessTransport) {
        let stdin = transport.stdin().expect("a pipe");
        while self.written < Self::BLOCKS {
            self.written += 1;
            if stdin.write(&self.block) == Written::Full {
                return;
            }
        }
        stdin.close();
    }

    fn check(&mut self, data: &[u8]) {
        let expected = self.block.iter().cycle().skip(self.read % self.block.len());
        assert!(data.iter().eq(expected.take(data.len())), "other bytes after {}", self.read);
        self.read += data.len();
    }
}

impl SubprocessProtocol for Bulk {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        self.write(transport);
    }

    fn pipe_data_received(&mut self, _: &SubprocessTransport, pipe: Pipe, data: &[u8]) {
        match pipe {
            Pipe::Stdout => self.check(data),
            _ => self.errors += data.len(),
        }
    }

    fn pause_writing(&mut self, _: &SubprocessTransport, _: Pipe) {
        self.pauses += 1;
    }

    fn resume_writing(&mut self, transport: &SubprocessTransport, _: Pipe) {
        if !transport.stdin().expect("a pipe").is_closing() {
            self.write(transport);
        }
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.lost = Some(exc);
    }
}

#[test]
fn full_pipes_on_all_sides_do_not_lock_up() {
    run(async || {
        for line in ["head -c 1000000 /dev/zero >&2; exec cat", "head -c 1000000 /dev/zero >&2 & cat; wait"] {
            let bulk = subprocess_shell(Bulk::new(), line).await.unwrap().await;
            assert_eq!(bulk.read, Bulk::TOTAL);
            assert_eq!(bulk.errors, 1_000_000);
            assert!(bulk.pauses > 0);
            assert!(matches!(bulk.lost, Some(None)));
        }
    });
}

#[test]
fn a_child_that_never_reads_pauses_the_writer() {
    run(async || {
        let recorder = Recorder::new().on(Step::Made, |transport| {
            let stdin = transport.stdin().unwrap();
            assert_eq!(stdin.write(vec![0; MEGABYTE]), Written::Full);
            assert!(stdin.is_writing_paused());
        });
        let recorder = recorder.on(Step::Pause, |transport| transport.kill().unwrap());
        let log = finish(super::endless(recorder)).await;
        assert!(!log.has(Step::Resume));
        assert_eq!(log.loss_of(Pipe::Stdin), Some(ErrorKind::BrokenPipe));
    });
}

#[test]
fn the_writer_is_resumed_when_all_has_left() {
    run(async || {
        let recorder = Recorder::new().on(Step::Made, |transport| {
            transport.stdout().unwrap().pause_reading();
            transport.stdin().unwrap().write(vec![b'x'; MEGABYTE]);
        });
        let recorder = recorder.on(Step::Pause, |transport| transport.stdout().unwrap().resume_reading());
        let recorder = recorder.on(Step::Resume, |transport| {
            assert_eq!(transport.stdin().unwrap().write_buffer_size(), 0);
            transport.stdin().unwrap().close();
        });
        let log = finish(subprocess_exec(recorder, Command::new("cat"))).await;
        assert_eq!(log.output(Pipe::Stdout).len(), MEGABYTE);
        assert!(log.is_before(Step::Pause, Step::Resume));
    });
}

#[test]
fn the_marks_can_be_set() {
    run(async || {
        let limits = WriteLimits::high(2 * MEGABYTE);
        let recorder = Recorder::new().saying(vec![0; 2 * MEGABYTE]).on(Step::Made, move |transport| {
            assert_eq!(transport.stdin().unwrap().write_buffer_limits(), limits);
        });
        let log = finish(subprocess_shell(recorder, "wc -c").write_limits(limits)).await;
        assert_eq!(log.text(Pipe::Stdout).trim(), "2097152");
        assert!(!log.has(Step::Pause));
    });
}

#[test]
fn pausing_standard_output_holds_it_back() {
    run(async || {
        let pause = |transport: &SubprocessTransport| transport.stdout().unwrap().pause_reading();
        let recorder = Recorder::new().on(Step::Made, pause);
        let log = recorder.log();
        let mut child = subprocess_shell(recorder, "echo held; exit 0").await.unwrap();
        child.run_until(until(|| log.has(Step::Exited))).await;
        child.run_until(settle()).await;
        assert!(!log.has(STDOUT));
        assert!(!log.has(Step::PipeLost(Pipe::Stdout)));
        assert!(!child.transport().stdout().unwrap().is_reading());
        child.transport().stdout().unwrap().resume_reading();
        child.await;
        log.complete();
        assert_eq!(log.text(Pipe::Stdout), "held\n");
    });
}

#[test]
fn pausing_one_output_does_not_hold_the_other() {
    run(async || {
        let recorder = Recorder::new().on(Step::Made, |transport| transport.stdout().unwrap().pause_reading());
        let recorder = recorder.on(Step::PipeLost(Pipe::Stderr), |transport| {
            transport.stdout().unwrap().resume_reading();
        });
        let log = finish(subprocess_shell(recorder, "echo out; echo err >&2")).await;
        assert!(log.is_before(Step::Data(Pipe::Stderr), STDOUT));
    });
}

#[test]
fn closing_an_output_breaks_it_for_the_child() {
    run(async || {
        let recorder = Recorder::new().on(STDOUT, |transport| transport.stdout().unwrap().close());
        let log = finish(subprocess_exec(recorder, Command::new("yes"))).await;
        assert_eq!(log.returncode(), Some(-13));
        assert_eq!(log.loss_of(Pipe::Stdout), None);
    });
}

#[test]
fn a_child_that_closes_its_input_is_noticed_at_once() {
    run(async || {
        let recorder = Recorder::new().on(Step::PipeLost(Pipe::Stdin), |transport| {
            assert_eq!(transport.returncode(), None);
            transport.kill().unwrap();
        });
        let log = finish(subprocess_shell(recorder, "exec 0<&-; exec sleep 1000")).await;
        assert_eq!(log.loss_of(Pipe::Stdin), None);
        assert!(log.is_before(Step::PipeLost(Pipe::Stdin), Step::Exited));
    });
}

#[test]
fn a_child_that_closes_its_input_while_data_wait_breaks_the_pipe() {
    run(async || {
        let recorder = Recorder::new().saying(vec![0; MEGABYTE]).on(Step::PipeLost(Pipe::Stdin), |transport| {
            assert_eq!(transport.returncode(), None);
            transport.kill().unwrap();
        });
        let log = finish(subprocess_shell(recorder, "exec 0<&-; exec sleep 1000")).await;
        assert_eq!(log.loss_of(Pipe::Stdin), Some(ErrorKind::BrokenPipe));
    });
}

#[test]
fn a_child_that_closes_its_output_is_noticed_at_once() {
    run(async || {
        let recorder = Recorder::new().on(Step::PipeLost(Pipe::Stdout), |transport| transport.kill().unwrap());
        let log = finish(subprocess_shell(recorder, "echo last; exec 1>&-; exec sleep 1000")).await;
        assert_eq!(log.text(Pipe::Stdout), "last\n");
        assert!(log.is_before(Step::PipeLost(Pipe::Stdout), Step::Exited));
    });
}

#[test]
fn an_input_that_is_not_read_is_lost_at_the_exit() {
    run(async || {
        let log = shell("exit 0").await;
        assert_eq!(log.loss_of(Pipe::Stdin), None);
    });
}

#[test]
fn close_flushes_what_the_system_takes() {
    run(async || {
        let file = tempfile::NamedTempFile::new().unwrap();
        let recorder = Recorder::new().saying(vec![0; MEGABYTE]);
        let line = "cat > \"$OUT\"";
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("OUT", file.path());
        finish(subprocess_exec(recorder, command)).await;
        assert_eq!(file.as_file().metadata().unwrap().len() as usize, MEGABYTE);
    });
}

/// Only after some reads: a child that says little keeps the pipe that it has.
#[cfg(target_os = "linux")]
#[test]
fn the_pipe_of_a_child_that_says_much_is_made_larger() {
    use rustix::pipe::fcntl_getpipe_size;

    const USUAL: usize = 64 * 1024;
    run(async || {
        let recorder = Recorder::new().on(STDOUT, |transport| transport.stdout().unwrap().pause_reading());
        let log = recorder.log();
        let mut command = Command::new("head");
        command.args(["-c", "100000000", "/dev/zero"]);
        let child = subprocess_exec(recorder, &mut command).await.unwrap();
        let stdout = child.transport().stdout().unwrap().clone();
        let (_, running) = child.spawn();
        let size = || stdout.with_pipe(|pipe| fcntl_getpipe_size(pipe).unwrap()).unwrap();
        let waiting = || stdout.with_pipe(|pipe| rustix::io::ioctl_fionread(pipe).unwrap()).unwrap();
        assert_eq!(size(), USUAL);
        for _ in 0..20 {
            until(|| waiting() >= USUAL as u64).await;
            let before = log.output(Pipe::Stdout).len();
            stdout.resume_reading();
            until(|| log.output(Pipe::Stdout).len() > before).await;
        }
        assert_eq!(size(), 4 * USUAL);
        drop(running);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_large_pipe_holds_is_told_before_the_exit() {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    run(async || {
        let recorder = Recorder::new();
        let log = recorder.log();
        let known = log.clone();
        let recorder = recorder.on(Step::Exited, move |_| assert_eq!(known.output(Pipe::Stdout).len(), 1_000_000));
        let mut command = Command::new("sh");
        command.args(["-c", "read go; head -c 1000000 /dev/zero"]);
        let child = subprocess_exec(recorder, &mut command).await.unwrap();
        let stdout = child.transport().stdout().unwrap();
        if stdout.with_pipe(|pipe| rustix::pipe::fcntl_setpipe_size(pipe, MEGABYTE)).unwrap().is_err() {
            return eprintln!("skipped: this user may not have so large a pipe");
        }
        child.transport().stdin().unwrap().write("go\n");
        let pid = Pid::from_raw(i32::try_from(child.transport().pid()).unwrap()).unwrap();
        // It has exited when it is polled for the first time.
        let exited = move || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        smol::unblock(exited).await;
        child.await;
        assert_eq!(log.returncode(), Some(0));
    });
}

//! Where output goes while it comes.

use std::future::IntoFuture;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Waker};

use futures_lite::StreamExt;
use futures_lite::future::{poll_fn, zip};
use smol_transports::Pipe;
use smol_transports::capture::{self, Chunk, Chunks, End, Keep, LongLines, Sink, Writer};
use smol_transports::testing::{Clock, Script, poll};

use super::{SECOND, done, shell, start};
use crate::common::{assert_same, guard, pattern};

type Shared<T> = Arc<Mutex<T>>;

/// A sink that has room when it is told to.
#[derive(Clone, Default)]
struct Gate(Shared<GateState>);

#[derive(Default)]
struct GateState {
    taken: Vec<u8>,
    full: bool,
    broken: Option<ErrorKind>,
    unfinished: bool,
    waker: Option<Waker>,
}

impl Gate {
    fn set(&self, change: impl FnOnce(&mut GateState)) {
        let mut state = self.0.lock().unwrap();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    fn taken(&self) -> Vec<u8> {
        self.0.lock().unwrap().taken.clone()
    }
}

impl Sink for Gate {
    fn chunk(&mut self, chunk: &Chunk<'_>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.taken.extend_from_slice(&chunk.data);
        state.broken.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        state.waker = Some(cx.waker().clone());
        if state.full { Poll::Pending } else { Poll::Ready(()) }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap();
        state.waker = Some(cx.waker().clone());
        if state.unfinished { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

#[test]
fn sinks_stack_on_their_pipes() {
    type Seen = Shared<Vec<(Pipe, Vec<u8>)>>;
    let seen: [Seen; 3] = Default::default();
    let sink = |place: usize| {
        let seen = seen[place].clone();
        move |chunk: &Chunk<'_>| seen.lock().unwrap().push((chunk.pipe, chunk.data.to_vec()))
    };
    let run = capture::run(Script::new().stdout("out").stderr("err").exit(0));
    let captured = done(&mut start(run.sink(sink(0)).stdout_sink(sink(1)).stderr_sink(sink(2))));
    let (out, err) = ((Pipe::Stdout, b"out".to_vec()), (Pipe::Stderr, b"err".to_vec()));
    assert_eq!(*seen[0].lock().unwrap(), [out.clone(), err.clone()]);
    assert_eq!(*seen[1].lock().unwrap(), [out]);
    assert_eq!(*seen[2].lock().unwrap(), [err]);
    assert_eq!(captured.stdout().bytes(), b"out");
}

#[test]
fn a_full_sink_stops_the_reading_of_its_pipe() {
    let gate = Gate::default();
    let script = Script::new();
    let child = script.child();
    let mut run = start(capture::run(script).stdout_sink(gate.clone()));
    gate.set(|state| state.full = true);
    child.write(Pipe::Stdout, "one");
    child.write(Pipe::Stdout, "two");
    child.write(Pipe::Stderr, "err");
    assert!(poll(&mut run).is_pending());
    assert_eq!(gate.taken(), b"");
    gate.set(|state| state.full = false);
    assert!(poll(&mut run).is_pending());
    assert_eq!(gate.taken(), b"onetwo");
    gate.set(|state| state.full = true);
    child.write(Pipe::Stdout, "three");
    child.exit(0);
    assert!(poll(&mut run).is_pending());
    gate.set(|state| state.full = false);
    let captured = done(&mut run);
    assert_eq!((captured.stdout().bytes(), captured.stderr().bytes()), (&b"onetwothree"[..], &b"err"[..]));
}

#[test]
fn a_slow_sink_loses_nothing_after_the_exit() {
    let clock = Clock::new();
    let gate = Gate::default();
    gate.set(|state| state.full = true);
    let script = Script::new().clock(&clock);
    let child = script.child();
    let mut run = start(capture::run(script).sink(gate.clone()).drain_limit(SECOND).idle_limit(SECOND));
    assert!(poll(&mut run).is_pending());
    child.write(Pipe::Stdout, "unread at the exit");
    child.exit(0);
    for _ in 0..10 {
        assert!(poll(&mut run).is_pending());
        clock.advance(SECOND);
    }
    gate.set(|state| state.full = false);
    let captured = done(&mut run);
    assert_eq!((captured.stdout().bytes(), captured.held_pipes()), (&b"unread at the exit"[..], &[][..]));
    assert!(captured.success());
}

#[test]
fn a_sink_that_is_stuck_is_given_up_in_the_end() {
    let clock = Clock::new();
    let gate = Gate::default();
    gate.set(|state| state.unfinished = true);
    let script = Script::new().clock(&clock).stdout("text").exit(0);
    let mut run = start(capture::run(script).sink(gate).limit(10 * SECOND));
    assert!(poll(&mut run).is_pending());
    clock.advance(9 * SECOND);
    assert!(poll(&mut run).is_pending());
    clock.advance(SECOND);
    let Poll::Ready(Err(err)) = poll(&mut run) else { panic!("no error") };
    assert_eq!(err.kind(), ErrorKind::TimedOut);
    assert_eq!(capture::Captured::from_error(err).unwrap().stdout().bytes(), b"text");
}

#[test]
fn a_sink_that_is_stuck_is_given_up_when_that_is_asked_for() {
    for (kill, patience) in [(false, 3 * SECOND), (true, SECOND)] {
        let clock = Clock::new();
        let gate = Gate::default();
        gate.set(|state| state.unfinished = true);
        let script = Script::new().clock(&clock).stdout("text").exit(0);
        let mut run = start(capture::run(script).sink(gate).grace(3 * SECOND));
        let handle = run.handle();
        assert!(poll(&mut run).is_pending());
        if kill {
            handle.kill()
        } else {
            handle.stop()
        }
        assert!(poll(&mut run).is_pending());
        clock.advance(patience);
        let Poll::Ready(Err(err)) = poll(&mut run) else { panic!("no error") };
        assert_eq!(err.kind(), ErrorKind::TimedOut);
    }
}

#[test]
fn a_sink_that_is_done_after_it_was_asked_to_be_is_no_error() {
    let gate = Gate::default();
    gate.set(|state| state.unfinished = true);
    let mut run = start(capture::run(Script::new().stdout("text").exit(0)).sink(gate.clone()));
    assert!(poll(&mut run).is_pending());
    run.handle().stop();
    assert!(poll(&mut run).is_pending());
    gate.set(|state| state.unfinished = false);
    assert!(done(&mut run).success());
}

#[test]
fn a_sink_that_fails_ends_the_run() {
    let (good, bad) = (Gate::default(), Gate::default());
    bad.set(|state| state.broken = Some(ErrorKind::StorageFull));
    let script = Script::new().stdout("one").stdout("two");
    let child = script.child();
    let mut run = start(capture::run(script).sink(bad.clone()).sink(good.clone()));
    let Poll::Ready(Err(err)) = poll(&mut run) else { panic!("no error") };
    assert_eq!(err.kind(), ErrorKind::StorageFull);
    let captured = capture::Captured::from_error(err).unwrap();
    assert_eq!(captured.end(), End::Failed);
    assert!(child.is_collected());
    assert_eq!(bad.taken(), b"one");
    assert!(good.taken().starts_with(b"one"));
}

#[test]
fn a_sink_that_panics_ends_the_child() {
    let script = Script::new().stdout("text");
    let child = script.child();
    let mut run = start(capture::run(script).sink(|_: &Chunk<'_>| panic!("a panic on purpose")));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut run)));
    assert!(result.is_err());
    assert!(child.is_collected());
    assert!(child.take_group_signals().contains(&9));
}

#[test]
fn lines_are_told_while_they_come() {
    let seen: Shared<Vec<String>> = Arc::default();
    let told = seen.clone();
    let lines = capture::lines(LongLines::Unbounded, move |line| told.lock().unwrap().push(line.text().into_owned()));
    let script = Script::new().stdout("one\ntw").stdout("o\n").stdout("last");
    let child = script.child();
    let mut run = start(capture::run(script).sink(lines));
    assert!(poll(&mut run).is_pending());
    assert_eq!(*seen.lock().unwrap(), ["one", "two"]);
    child.exit(0);
    done(&mut run);
    assert_eq!(*seen.lock().unwrap(), ["one", "two", "last"]);
}

#[test]
fn a_channel_passes_on_and_holds_back() {
    let (sink, chunks) = capture::channel();
    let run = shell("head -c 3000000 /dev/zero").sink(sink).keep(Keep::Nothing);
    let count = |chunks: Chunks| chunks.fold(0, |count, chunk| count + chunk.data.len());
    let (captured, count) = guard(async { zip(async { run.await }, count(chunks)).await });
    assert_eq!((captured.unwrap().stdout().total(), count), (3_000_000, 3_000_000));
}

#[test]
fn a_channel_that_nobody_reads_holds_the_child() {
    let (sink, chunks) = capture::channel();
    let script = Script::new().stdout(vec![0; 300_000]).stdout("more").exit(0);
    let child = script.child();
    let mut run = start(capture::run(script).sink(sink));
    assert!(poll(&mut run).is_pending());
    assert!(!child.has_exited());
    drop(chunks);
    assert_eq!(done(&mut run).stdout().total(), 300_004);
}

/// Something to write to that blocks as long as it is told to.
#[derive(Clone, Default)]
struct Slow(Arc<(Mutex<Vec<u8>>, Condvar, AtomicBool)>);

impl Slow {
    fn open(&self) {
        let _written = self.0.0.lock().unwrap();
        self.0.2.store(true, Ordering::SeqCst);
        self.0.1.notify_all();
    }

    fn written(&self) -> Vec<u8> {
        self.0.0.lock().unwrap().clone()
    }
}

impl Write for Slow {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.0.0.lock().unwrap();
        let mut written = self.0.1.wait_while(written, |_| !self.0.2.load(Ordering::SeqCst)).unwrap();
        written.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_gets_all_in_order() {
    let slow = Slow::default();
    slow.open();
    let bytes = pattern(3_000_000, 3);
    let run = shell("cat").input(bytes.clone()).sink(Writer::new(slow.clone()).sink()).keep(Keep::Nothing);
    assert!(guard(async { run.await }).unwrap().success());
    assert_same(&slow.written(), &bytes);
}

#[test]
fn a_writer_that_blocks_holds_the_child_and_nobody_else() {
    let slow = Slow::default();
    let writer = Writer::new(slow.clone());
    let script = Script::new().stdout(vec![1; 300_000]).stdout("more").exit(0);
    let child = script.child();
    let mut run = start(capture::run(script).sink(writer.sink()));
    // A writer that is busy takes as much again before it is full.
    writer.write("first").unwrap();
    assert!(poll(&mut run).is_pending());
    slow.open();
    let captured = guard(&mut run).unwrap();
    assert!(child.is_collected());
    assert_eq!(captured.stdout().total(), 300_004);
    let written = slow.written();
    assert!(written.starts_with(b"first\x01") && written.ends_with(b"more"));
    assert_eq!(written.len(), 300_009);
}

/// A file to which somebody writes more while it is written, and which takes that when it is told to.
struct Busy {
    more: Shared<Option<Writer>>,
    may_go_on: mpsc::Receiver<()>,
}

impl Write for Busy {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let first = self.more.lock().unwrap().take();
        match first {
            Some(writer) => writer.write("more").unwrap(),
            None => self.may_go_on.recv().unwrap(),
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_flush_does_not_wait_for_what_comes_later() {
    let more = Shared::default();
    let (go_on, may_go_on) = mpsc::channel();
    let writer = Writer::new(Busy { more: more.clone(), may_go_on });
    *more.lock().unwrap() = Some(writer.clone());
    let mut run = start(capture::run(Script::new().stdout("text").exit(0)).sink(writer.sink()));
    assert!(guard(&mut run).unwrap().success());
    go_on.send(()).unwrap();
    guard(writer.flush()).unwrap();
}

#[test]
fn a_file_that_has_no_room_is_tried_again() {
    #[derive(Default)]
    struct Reluctant(Shared<Vec<u8>>, usize);
    impl Write for Reluctant {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 % 3 {
                0 => Err(ErrorKind::WouldBlock.into()),
                1 => Err(ErrorKind::Interrupted.into()),
                _ => self.0.lock().unwrap().write(&buf[..1]),
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            self.1 += 1;
            if self.1 % 2 == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        }
    }
    let written = Shared::default();
    let writer = Writer::new(Reluctant(written.clone(), 0));
    writer.write("text").unwrap();
    guard(writer.flush()).unwrap();
    assert_eq!(*written.lock().unwrap(), b"text");
}

#[test]
fn the_lines_before_one_that_is_too_long_are_written() {
    let slow = Slow::default();
    slow.open();
    let writer = Writer::new(slow.clone());
    let lines = writer.lines(LongLines::Error(4), |line, out| out.extend_from_slice(line.data));
    let mut run = start(capture::run(Script::new().stdout("ok\ntoo long\n")).sink(lines));
    assert!(guard(&mut run).is_err());
    guard(writer.flush()).unwrap();
    assert_eq!(slow.written(), b"ok");
}

#[test]
fn lines_of_many_children_never_tear() {
    let slow = Slow::default();
    slow.open();
    let writer = Writer::new(slow.clone());
    let line = "i=0; while [ $i -lt 300 ]; do printf 'some '; echo words $i; i=$((i+1)); done; printf end";
    guard(async {
        let runs = ["[a] ", "[b] ", "[c] "].map(|name| shell(line).sink(writer.prefixed(name)));
        let runs = runs.map(|run| run.start().unwrap());
        for run in runs {
            smol::spawn(run).await.unwrap();
        }
        writer.flush().await.unwrap();
    });
    let text = String::from_utf8(slow.written()).unwrap();
    for name in ["[a] ", "[b] ", "[c] "] {
        let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(name)).collect();
        let expected: Vec<_> = (0..300).map(|i| format!("some words {i}")).chain(["end".to_owned()]).collect();
        assert_eq!(lines, expected);
    }
    assert_eq!(text.lines().count(), 903);
}

#[test]
fn a_writer_that_fails_ends_its_runs() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let writer = Writer::new(Full);
    let run = shell("while :; do echo text; sleep 0.01; done").sink(writer.sink());
    let err = guard(async { run.await }).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::StorageFull);
    assert_eq!(guard(writer.flush()).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(writer.write("more").unwrap_err().kind(), ErrorKind::StorageFull);
}

#[test]
fn an_error_of_a_writer_may_use_the_writer_to_say_what_it_is() {
    #[derive(Debug)]
    struct Talkative(Writer);
    impl std::fmt::Display for Talkative {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let _ = self.0.write("an error");
            f.write_str("full")
        }
    }
    impl std::error::Error for Talkative {}
    struct Full(Shared<Option<Writer>>);
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other(Talkative(self.0.lock().unwrap().clone().unwrap())))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let own = Shared::default();
    let writer = Writer::new(Full(own.clone()));
    *own.lock().unwrap() = Some(writer.clone());
    writer.write("text").unwrap();
    assert_eq!(guard(writer.flush()).unwrap_err().to_string(), "full");
    // Or it would keep itself.
    own.lock().unwrap().take();
}

#[test]
fn a_writer_that_panics_ends_its_runs() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("a panic on purpose")
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let run = shell("echo text").sink(Writer::new(Broken).sink());
    let err = guard(async { run.await }).unwrap_err();
    assert!(err.to_string().ends_with(": the writer panicked: a panic on purpose"), "{err}");
}

/// A sink that has room again when it is asked a second time after a chunk, and wakes nobody then.
struct Fickle {
    waker: Shared<Option<Waker>>,
    is_full: bool,
}

impl Sink for Fickle {
    fn chunk(&mut self, _: &Chunk<'_>) -> io::Result<()> {
        self.is_full = true;
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_full = std::mem::take(&mut self.is_full);
        *self.waker.lock().unwrap() = is_full.then(|| cx.waker().clone());
        if is_full { Poll::Pending } else { Poll::Ready(()) }
    }
}

#[test]
fn a_sink_of_both_pipes_that_has_room_meanwhile_does_not_stop_the_run() {
    guard(async {
        let waker = Shared::default();
        let sink = Fickle { waker: waker.clone(), is_full: false };
        let mut run = Box::pin(shell("echo out; echo err >&2").sink(sink).into_future());
        let captured = poll_fn(|cx| {
            let polled = run.as_mut().poll(cx);
            let waker = waker.lock().unwrap().take();
            waker.into_iter().for_each(Waker::wake);
            polled
        });
        let captured = captured.await.unwrap();
        assert_eq!((captured.stdout().bytes(), captured.stderr().bytes()), (&b"out\n"[..], &b"err\n"[..]));
    });
}

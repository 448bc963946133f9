//! The protocol of a run: takes the output apart, and knows how far it has come.

use std::borrow::Cow;
use std::io;
use std::process::ExitStatus;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::captured::Captured;
use super::course::{Course, End};
use super::memory::{Keep, Memory};
use super::sink::{Chunk, Sink};
use super::stamps::Stamps;
use crate::io::child::unknown;
use crate::io::clock::Clock;
use crate::process::SubprocessTransport;
use crate::protocol::{Pipe, SubprocessProtocol};

const OUTPUTS: [Pipe; 2] = [Pipe::Stdout, Pipe::Stderr];

const KILL: i32 = 9;

/// The place of an output.
fn index(pipe: Pipe) -> usize {
    usize::from(pipe == Pipe::Stderr)
}

/// A sink, and the pipes that lead to it.
pub(super) struct Branch {
    pub(super) pipes: &'static [Pipe],
    pub(super) sink: Box<dyn Sink>,
}

impl Branch {
    pub(super) const ALL: &'static [Pipe] = &OUTPUTS;
    pub(super) const STDOUT: &'static [Pipe] = &[Pipe::Stdout];
    pub(super) const STDERR: &'static [Pipe] = &[Pipe::Stderr];
}

/// What one of the outputs has come to.
struct Stream {
    memory: Memory,
    /// It is a pipe, and its end has not come.
    open: bool,
    /// A sink has no room for it.
    paused: bool,
}

pub(super) struct Tap {
    pub(super) course: Course,
    clock: Clock,
    streams: [Stream; 2],
    branches: Vec<Branch>,
    /// Of whoever polls the run: sinks wake it when they have room.
    waker: Waker,
    stamps: Stamps,
    held: Vec<Pipe>,
    failure: Option<io::Error>,
    status: Option<ExitStatus>,
    exited_after: Duration,
    survivors: Survivors,
    /// The child has exited before anybody has asked it to.
    by_itself: bool,
    /// The child lives on.
    left: bool,
}

/// What becomes of the processes that a child has left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survivors {
    /// Nothing is known of them: it leads no group.
    Unknown,
    Killed,
    /// They are killed unless the child has exited by itself.
    Spared,
}

impl Tap {
    pub(super) fn new(clock: Clock, course: Course, keep: Keep, branches: Vec<Branch>, survivors: Survivors) -> Self {
        let stream = || Stream { memory: Memory::new(keep), open: false, paused: false };
        Self {
            course,
            clock,
            streams: [stream(), stream()],
            branches,
            waker: Waker::noop().clone(),
            stamps: Stamps::default(),
            held: Vec::new(),
            failure: None,
            status: None,
            exited_after: Duration::ZERO,
            survivors,
            by_itself: false,
            left: false,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn set_waker(&mut self, waker: &Waker) {
        self.waker.clone_from(waker);
    }

    fn stream(&mut self, pipe: Pipe) -> &mut Stream {
        &mut self.streams[index(pipe)]
    }

    /// Bytes that have come so far.
    pub(super) fn total(&self) -> u64 {
        self.streams.iter().map(|stream| stream.memory.total()).sum()
    }

    /// The run cannot come to a good end any more.
    pub(super) fn fail(&mut self, err: io::Error) {
        self.failure.get_or_insert(err);
        self.course.stop(End::Failed);
    }

    /// The child cannot be ended: it goes on without anybody.
    pub(super) fn give_up(&mut self, err: &io::Error) {
        self.fail(io::Error::new(err.kind(), format!("the child could not be killed: {err}")));
        self.status = Some(unknown());
        self.left = true;
        self.exited_after = self.now().saturating_duration_since(self.course.started());
    }

    /// Those that have not taken everything yet never will.
    pub(super) fn give_up_sinks(&mut self) {
        self.branches.clear();
    }

    /// Nobody wants the output any more.
    pub(super) fn forget(&mut self) {
        self.give_up_sinks();
        self.streams.iter_mut().for_each(|stream| stream.memory = Memory::new(Keep::Nothing));
    }

    fn pass_on(&mut self, chunk: &Chunk<'_>) {
        let mut failed = None;
        self.branches.retain_mut(|branch| {
            let passed = if branch.pipes.contains(&chunk.pipe) { branch.sink.chunk(chunk) } else { Ok(()) };
            passed.map_err(|err| failed = Some(err)).is_ok()
        });
        failed.into_iter().for_each(|err| self.fail(err));
    }

    /// Whose sinks have no room. Each sink is asked once: an answer holds for all of its pipes, and one that is asked
    /// again need not wake for the answer before.
    fn full(&mut self) -> [bool; 2] {
        let cx = &mut Context::from_waker(&self.waker);
        let mut full = [false; 2];
        for branch in &mut self.branches {
            if branch.sink.poll_ready(cx).is_pending() {
                branch.pipes.iter().for_each(|pipe| full[index(*pipe)] = true);
            }
        }
        full
    }

    /// Reads those pipes whose sinks have room, and no others.
    pub(super) fn set_reading(&mut self, transport: &SubprocessTransport) {
        let full = self.full();
        for pipe in OUTPUTS {
            let is_full = full[index(pipe)];
            let stream = self.stream(pipe);
            if stream.open && stream.paused != is_full {
                stream.paused = is_full;
                let handle = if pipe == Pipe::Stdout { transport.stdout() } else { transport.stderr() };
                match handle {
                    Some(handle) if is_full => handle.pause_reading(),
                    Some(handle) => handle.resume_reading(),
                    None => {}
                }
            }
        }
        let (paused, now) = (self.is_paused(), self.now());
        self.course.set_paused(paused, now);
    }

    /// Whether there is a pipe that is not read, because a sink has no room.
    pub(super) fn is_paused(&self) -> bool {
        self.streams.iter().any(|stream| stream.open && stream.paused)
    }

    /// Whoever holds pipes that long after the exit keeps them: no more is read.
    pub(super) fn cut(&mut self, transport: &SubprocessTransport) {
        let is_held = |stream: &Stream| stream.open && !stream.paused;
        self.held = OUTPUTS.into_iter().filter(|pipe| is_held(self.stream(*pipe))).collect();
        self.kill_survivors(transport);
        let handles = [transport.stdout(), transport.stderr()];
        handles.into_iter().flatten().for_each(|handle| handle.abort());
    }

    /// Ends what is left of the group; its number is still its own, since the leader is not collected yet.
    fn kill_survivors(&self, transport: &SubprocessTransport) {
        if self.survivors != Survivors::Unknown && !self.spares_survivors() {
            // There may be nobody left.
            let _ = transport.signal_group(KILL);
        }
    }

    /// Whether what the child has left behind lives on.
    pub(super) fn spares_survivors(&self) -> bool {
        self.survivors == Survivors::Spared && self.by_itself
    }

    /// The last callbacks before the end.
    fn close(&self, transport: &SubprocessTransport) {
        if self.course.has_exited() && self.streams.iter().all(|stream| !stream.open) {
            self.kill_survivors(transport);
        }
    }

    /// Ready when all sinks are done.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut failed = None;
        self.branches.retain_mut(|branch| match branch.sink.poll_finish(cx) {
            Poll::Pending => true,
            Poll::Ready(finished) => {
                failed = finished.err().or_else(|| failed.take());
                false
            }
        });
        failed.into_iter().for_each(|err| self.fail(err));
        if self.branches.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// What it has come to, and why that is an error.
    pub(super) fn into_captured(self, stop_signal: i32) -> (Captured, Option<io::Error>) {
        let [stdout, stderr] = self.streams.map(|stream| stream.memory.into_output());
        let was_killed = self.course.was_killed() && !self.left;
        let captured = Captured {
            status: self.status.unwrap_or_default(),
            end: self.course.end(),
            was_killed,
            ignored: (self.course.was_asked() && was_killed).then_some(stop_signal),
            duration: self.exited_after,
            stdout,
            stderr,
            held: self.held,
        };
        (captured, self.failure)
    }
}

impl SubprocessProtocol for Tap {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        self.streams[0].open = transport.stdout().is_some();
        self.streams[1].open = transport.stderr().is_some();
    }

    fn pipe_data_received(&mut self, transport: &SubprocessTransport, pipe: Pipe, data: &[u8]) {
        let now = self.now();
        let at = now.saturating_duration_since(self.course.started());
        self.course.output(now);
        let stamp = self.stamps.next(pipe, at);
        self.stream(pipe).memory.push(stamp, data);
        if !self.branches.is_empty() {
            self.pass_on(&Chunk { pipe, at, data: Cow::Borrowed(data) });
            self.set_reading(transport);
        }
    }

    fn pipe_connection_lost(&mut self, transport: &SubprocessTransport, pipe: Pipe, exc: Option<io::Error>) {
        // A child that does not read its input is no error.
        if pipe != Pipe::Stdin {
            self.stream(pipe).open = false;
            exc.into_iter().for_each(|exc| self.fail(exc));
            self.close(transport);
        }
    }

    fn process_exited(&mut self, transport: &SubprocessTransport, status: ExitStatus) {
        let now = self.now();
        self.status = Some(status);
        self.by_itself = self.course.end() == End::Exit;
        self.exited_after = now.saturating_duration_since(self.course.started());
        self.course.exit(now);
        if let Some(stdin) = transport.stdin() {
            stdin.abort();
        }
        self.close(transport);
    }
}

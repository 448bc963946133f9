//! Children that are no processes: they play a script, and do what they are told.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::process::Signal;
use socket2::Socket;

use super::{Child, Exit, Exited, Process, Spawned, Target, ended_by, exit_code};
use crate::io::clock::{Clock, Deadline};
use crate::io::{Endpoint, Flow, Halves, Recv, memory};
use crate::protocol::Pipe;

const PIPES: [Pipe; 3] = [Pipe::Stdin, Pipe::Stdout, Pipe::Stderr];

/// One thing that a script does.
#[derive(Debug)]
pub(crate) enum Step {
    Write(Pipe, Vec<u8>),
    Close(Pipe),
    Hold(Pipe),
    Wait(Duration),
    Ignore(Signal),
    Protect,
    Exit(i32),
    ExitBy(Signal),
}

/// Where a standard stream of a script leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    Pipe,
    Elsewhere,
    /// To the pipe of standard output.
    Stdout,
}

/// The child, seen from all sides.
#[derive(Debug)]
pub(crate) struct Stage {
    pid: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    steps: VecDeque<Step>,
    clock: Deadline,
    /// The far sides of the pipes, by their numbers in the child.
    streams: [Stream; 3],
    /// Pipes whose end is still to be seen.
    ending: Vec<Arc<memory::Pipe>>,
    status: Option<ExitStatus>,
    /// What has ended, but the script goes on.
    waiting: bool,
    ignored: Vec<Signal>,
    /// It is another user's.
    protected: bool,
    /// All that were sent.
    signals: Vec<(Target, Signal)>,
    /// Those that have not taken effect.
    arrived: VecDeque<(Target, Signal)>,
    collected: bool,
    waker: Option<Waker>,
}

/// One standard stream of the child. Standard output and error may share a pipe.
#[derive(Debug)]
struct Stream {
    /// None if it leads elsewhere.
    pipe: Option<Arc<memory::Pipe>>,
    /// Somebody else keeps it open beyond the exit.
    held: bool,
}

/// What is to be done without the lock.
#[derive(Debug)]
enum Deed {
    Write(Arc<memory::Pipe>, Vec<u8>),
    Close(Arc<memory::Pipe>),
}

impl Deed {
    fn carry_out(self) {
        match self {
            Self::Write(pipe, data) => pipe.feed(&data),
            Self::Close(pipe) => pipe.feed_eof(),
        }
    }
}

impl Stage {
    /// A child that has not started, with our halves of its pipes.
    pub(crate) fn new() -> (Arc<Self>, [Halves; 3]) {
        // Beyond the largest number that a process can have.
        static NEXT: AtomicU32 = AtomicU32::new(1 << 30);
        let ends = PIPES.map(|_| memory::halves());
        let streams = [0, 1, 2].map(|fd: usize| Stream { pipe: Some(ends[fd].1.clone()), held: false });
        let state = State {
            steps: VecDeque::new(),
            clock: Deadline::new(Clock::System),
            streams,
            ending: Vec::new(),
            status: None,
            waiting: false,
            ignored: Vec::new(),
            protected: false,
            signals: Vec::new(),
            arrived: VecDeque::new(),
            collected: false,
            waker: None,
        };
        let stage = Self { pid: NEXT.fetch_add(1, Ordering::Relaxed), state: Mutex::new(state) };
        (Arc::new(stage), ends.map(|(halves, _)| halves))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn set_clock(&self, clock: Clock) {
        self.lock().clock = Deadline::new(clock);
    }

    /// Adds a step to the script.
    pub(crate) fn push(&self, step: Step) {
        self.change(|state| {
            state.steps.push_back(step);
            Vec::new()
        });
    }

    /// Does a step now, whatever the script says.
    pub(crate) fn perform(&self, step: Step) {
        self.change(|state| state.perform(step));
    }

    fn change(&self, change: impl FnOnce(&mut State) -> Vec<Deed>) {
        let mut state = self.lock();
        let deeds = change(&mut state);
        let waker = state.waker.take();
        drop(state);
        deeds.into_iter().for_each(Deed::carry_out);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn pipe(&self, pipe: Pipe) -> Option<Arc<memory::Pipe>> {
        self.lock().stream(pipe).pipe.clone()
    }

    pub(crate) fn take_signals(&self, wanted: Target) -> Vec<Signal> {
        let mut state = self.lock();
        let (taken, left) = std::mem::take(&mut state.signals).into_iter().partition(|(target, _)| *target == wanted);
        state.signals = left;
        let taken: Vec<(Target, Signal)> = taken;
        taken.into_iter().map(|(_, signal)| signal).collect()
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.lock().status.is_some()
    }

    pub(crate) fn is_collected(&self) -> bool {
        self.lock().collected
    }

    /// Goes on with the script, as far as it goes without waiting. A step is taken when what was written before it has
    /// been read, so that the order of the script is that of the callbacks.
    fn play(&self, cx: &mut Context<'_>) {
        loop {
            let mut state = self.lock();
            let Some(deeds) = state.next(cx) else { return };
            drop(state);
            deeds.into_iter().for_each(Deed::carry_out);
        }
    }

    /// Starts the child: gives our halves of those pipes that there are.
    pub(crate) fn spawn(self: Arc<Self>, halves: [Halves; 3], leads: [Lead; 3]) -> Spawned {
        self.lock().lead(leads);
        let ends = PIPES.into_iter().zip(halves).zip(leads);
        let ends = ends.filter(|(_, lead)| *lead == Lead::Pipe);
        let ends = ends.map(|((pipe, (endpoint, outlet)), _)| {
            let stage = self.clone();
            let endpoint: Box<dyn Endpoint> = Box::new(Played { endpoint, stage });
            (pipe, (endpoint, outlet.filter(|_| pipe == Pipe::Stdin)))
        });
        let ends = ends.collect();
        Spawned { child: Box::new(ScriptChild(self.clone())), exit: Box::new(ScriptExit(self)), ends }
    }
}

impl State {
    fn stream(&mut self, pipe: Pipe) -> &mut Stream {
        match pipe {
            Pipe::Stdin => &mut self.streams[0],
            Pipe::Stdout => &mut self.streams[1],
            Pipe::Stderr => &mut self.streams[2],
        }
    }

    fn lead(&mut self, leads: [Lead; 3]) {
        let stdout = self.streams[1].pipe.clone();
        for (stream, lead) in self.streams.iter_mut().zip(leads) {
            match lead {
                Lead::Pipe => {}
                Lead::Elsewhere => stream.pipe = None,
                Lead::Stdout => stream.pipe.clone_from(&stdout),
            }
        }
        if leads[1] == Lead::Elsewhere && leads[2] == Lead::Stdout {
            self.streams[2].pipe = None;
        }
    }

    /// The next step, if it is due.
    fn next(&mut self, cx: &mut Context<'_>) -> Option<Vec<Deed>> {
        self.waker = Some(cx.waker().clone());
        if let Some((target, signal)) = self.arrived.pop_front() {
            return Some(self.receive(target, signal));
        }
        self.ending.retain(|pipe| pipe.has_unread());
        if !self.ending.is_empty() || self.streams.iter().any(Stream::has_unread) {
            return None;
        }
        if self.waiting {
            if !self.clock.has_passed(cx) {
                return None;
            }
            self.waiting = false;
            self.clock.disarm();
        }
        let step = self.steps.pop_front()?;
        Some(self.perform(step))
    }

    fn perform(&mut self, step: Step) -> Vec<Deed> {
        match step {
            Step::Write(pipe, data) => {
                let pipe = self.stream(pipe).pipe.clone().filter(|_| !data.is_empty());
                return pipe.map(|pipe| Deed::Write(pipe, data)).into_iter().collect();
            }
            Step::Close(pipe) => return self.close(pipe).into_iter().collect(),
            Step::Hold(pipe) => self.stream(pipe).held = true,
            Step::Wait(time) => {
                self.waiting = true;
                self.clock.arm(time);
            }
            Step::Ignore(signal) => self.ignored.push(signal),
            Step::Protect => self.protected = true,
            Step::Exit(code) => return self.exit(exit_code(code)),
            Step::ExitBy(signal) => return self.exit(ended_by(signal.as_raw(), false)),
        }
        Vec::new()
    }

    /// One of two streams on a pipe does not end it.
    fn close(&mut self, pipe: Pipe) -> Option<Deed> {
        let stream = self.stream(pipe);
        stream.held = false;
        let closed = stream.pipe.take()?;
        let shared =
            self.streams.iter().any(|stream| stream.pipe.as_ref().is_some_and(|pipe| Arc::ptr_eq(pipe, &closed)));
        if shared {
            return None;
        }
        self.ending.push(closed.clone());
        Some(Deed::Close(closed))
    }

    fn exit(&mut self, status: ExitStatus) -> Vec<Deed> {
        if self.status.is_some() {
            return Vec::new();
        }
        self.status = Some(status);
        let free: Vec<_> = PIPES.into_iter().filter(|pipe| !self.stream(*pipe).held).collect();
        free.into_iter().filter_map(|pipe| self.close(pipe)).collect()
    }

    /// What a signal does.
    fn receive(&mut self, target: Target, signal: Signal) -> Vec<Deed> {
        const HARMLESS: [Signal; 8] = [
            Signal::CHILD,
            Signal::CONT,
            Signal::STOP,
            Signal::TSTP,
            Signal::TTIN,
            Signal::TTOU,
            Signal::URG,
            Signal::WINCH,
        ];
        let is_deadly = signal == Signal::KILL || !(self.ignored.contains(&signal) || HARMLESS.contains(&signal));
        if !is_deadly {
            return Vec::new();
        }
        self.steps.clear();
        if target == Target::Group {
            // Whoever holds a pipe is in the group.
            self.streams.iter_mut().for_each(|stream| stream.held = false);
            if self.status.is_some() {
                return PIPES.into_iter().filter_map(|pipe| self.close(pipe)).collect();
            }
        }
        self.exit(ended_by(signal.as_raw(), false))
    }
}

impl Stream {
    fn has_unread(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| pipe.has_unread())
    }
}

#[derive(Debug)]
struct ScriptChild(Arc<Stage>);

impl Child for ScriptChild {
    fn pid(&self) -> u32 {
        self.0.pid()
    }

    fn signal(&mut self, target: Target, signal: Signal) -> io::Result<Option<Waker>> {
        let mut state = self.0.lock();
        if state.protected {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        state.signals.push((target, signal));
        state.arrived.push_back((target, signal));
        Ok(state.waker.take())
    }

    fn collect(&mut self) {
        self.0.lock().collected = true;
    }
}

impl Drop for ScriptChild {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.collected = true;
            state.exit(ended_by(Signal::KILL.as_raw(), false))
        });
    }
}

struct ScriptExit(Arc<Stage>);

impl Exit for ScriptExit {
    fn poll(&mut self, cx: &mut Context<'_>, _: &Process) -> Poll<Exited> {
        self.0.play(cx);
        let status = self.0.lock().status;
        status.map_or(Poll::Pending, |status| Poll::Ready(Exited { status, collected: false }))
    }
}

/// An end of a pipe that the script goes on behind.
#[derive(Debug)]
struct Played {
    endpoint: Box<dyn Endpoint>,
    stage: Arc<Stage>,
}

impl Endpoint for Played {
    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stage.play(cx);
        self.endpoint.poll_recv_ready(cx)
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        f: &mut dyn FnMut(&[u8]) -> Flow,
    ) -> Poll<io::Result<Recv>> {
        self.endpoint.poll_recv(cx, budget, f)
    }

    fn poll_recv_into(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.endpoint.poll_recv_into(cx, buf)
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.endpoint.poll_send_ready(cx)
    }

    fn set_reading(&mut self, on: bool) {
        self.endpoint.set_reading(on);
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.endpoint.poll_close(cx)
    }

    fn into_socket(self: Box<Self>) -> Option<Socket> {
        None
    }
}

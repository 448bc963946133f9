//! A protocol that writes down its callbacks and knows which may follow which.

use std::io::{self, ErrorKind};
use std::process::ExitStatus;

use smol_transports::{Pipe, SubprocessProtocol, SubprocessTransport};

use crate::grammar::{self, Callback};

pub(crate) const PIPES: [Pipe; 3] = [Pipe::Stdin, Pipe::Stdout, Pipe::Stderr];

/// A callback. Data of one pipe that follow each other are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// The pipes that there are.
    Made(Vec<Pipe>),
    Data(Pipe, Vec<u8>),
    PipeLost(Pipe, Option<ErrorKind>),
    /// The exit code, or minus the signal.
    Exited(i32),
    Pause(Pipe),
    Resume(Pipe),
    Lost(Option<ErrorKind>),
}

/// The name of a callback, and its pipe where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Made,
    Data(Pipe),
    PipeLost(Pipe),
    Exited,
    Pause,
    Resume,
    Lost,
}

impl Call {
    pub(crate) const fn step(&self) -> Step {
        match self {
            Self::Made(_) => Step::Made,
            Self::Data(pipe, _) => Step::Data(*pipe),
            Self::PipeLost(pipe, _) => Step::PipeLost(*pipe),
            Self::Exited(_) => Step::Exited,
            Self::Pause(_) => Step::Pause,
            Self::Resume(_) => Step::Resume,
            Self::Lost(_) => Step::Lost,
        }
    }
}

impl Callback for Call {
    fn may_follow(&self, before: &[Self]) -> bool {
        let has = |step| before.iter().any(|call| call.step() == step);
        let Some(Self::Made(made)) = before.first() else { return self.step() == Step::Made };
        let open = |pipe: &Pipe| made.contains(pipe) && !has(Step::PipeLost(*pipe));
        let paused = before.iter().rfind(|call| matches!(call.step(), Step::Pause | Step::Resume));
        let paused = paused.is_some_and(|call| call.step() == Step::Pause);
        let in_order = match self {
            Self::Made(_) => false,
            Self::Data(pipe, data) => *pipe != Pipe::Stdin && open(pipe) && !data.is_empty(),
            Self::PipeLost(pipe, _) => open(pipe),
            Self::Exited(_) => !has(Step::Exited),
            Self::Pause(pipe) => *pipe == Pipe::Stdin && open(pipe) && !paused,
            Self::Resume(pipe) => *pipe == Pipe::Stdin && open(pipe) && paused,
            Self::Lost(_) => made.iter().all(|pipe| !open(pipe)),
        };
        in_order && !has(Step::Lost)
    }

    fn join(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Data(pipe, data), Self::Data(from, more)) if *pipe == from => {
                data.extend(more);
                None
            }
            (_, next) => Some(next),
        }
    }
}

/// What a recorder has written down; clones share it.
pub(crate) type Log = grammar::Log<Call>;

impl Log {
    /// Those of a child that has come to its own end: exited, all pipes lost, and then all over in good order.
    pub(crate) fn complete(&self) -> Vec<Call> {
        let calls = self.calls();
        assert!(self.has(Step::Exited), "no exit: {:?}", self.steps());
        assert_eq!(calls.last(), Some(&Call::Lost(None)));
        calls
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.calls().iter().map(Call::step).collect()
    }

    pub(crate) fn has(&self, step: Step) -> bool {
        self.calls().iter().any(|call| call.step() == step)
    }

    pub(crate) fn is_before(&self, first: Step, second: Step) -> bool {
        let steps = self.steps();
        let place = |step| steps.iter().position(|known| *known == step).unwrap_or_else(|| panic!("no {step:?}"));
        place(first) < place(second)
    }

    pub(crate) fn output(&self, pipe: Pipe) -> Vec<u8> {
        let pieces = self.calls().into_iter().filter_map(|call| match call {
            Call::Data(from, data) if from == pipe => Some(data),
            _ => None,
        });
        pieces.flatten().collect()
    }

    pub(crate) fn text(&self, pipe: Pipe) -> String {
        String::from_utf8(self.output(pipe)).expect("text")
    }

    pub(crate) fn returncode(&self) -> Option<i32> {
        self.calls().into_iter().find_map(|call| match call {
            Call::Exited(code) => Some(code),
            _ => None,
        })
    }

    pub(crate) fn loss_of(&self, pipe: Pipe) -> Option<ErrorKind> {
        let loss = self.calls().into_iter().find_map(|call| match call {
            Call::PipeLost(lost, exc) if lost == pipe => Some(exc),
            _ => None,
        });
        loss.expect("the pipe is lost")
    }
}

type Hook = Box<dyn FnMut(&SubprocessTransport) + Send>;

#[derive(Default)]
pub(crate) struct Recorder {
    log: Log,
    hooks: Vec<(Step, Hook)>,
    panic_in: Option<Step>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One that takes over from another: it is not told that the child is running.
    pub(crate) fn successor() -> Self {
        let recorder = Self::new();
        recorder.log.push(Call::Made(PIPES.to_vec()));
        recorder
    }

    /// Does something in every callback of that name.
    pub(crate) fn on(mut self, step: Step, hook: impl FnMut(&SubprocessTransport) + Send + 'static) -> Self {
        self.hooks.push((step, Box::new(hook)));
        self
    }

    /// Writes once the child runs, and then finishes.
    pub(crate) fn saying(self, text: impl AsRef<[u8]> + Send + 'static) -> Self {
        self.on(Step::Made, move |transport| {
            let stdin = transport.stdin().expect("a pipe");
            stdin.write(text.as_ref());
            stdin.close();
        })
    }

    pub(crate) fn panicking_in(mut self, step: Step) -> Self {
        self.panic_in = Some(step);
        self
    }

    pub(crate) fn log(&self) -> Log {
        self.log.clone()
    }

    fn told(&mut self, call: Call, transport: Option<&SubprocessTransport>) {
        let step = call.step();
        self.log.push(call);
        if let Some(transport) = transport {
            let hooks = self.hooks.iter_mut().filter(|(wanted, _)| *wanted == step);
            hooks.for_each(|(_, hook)| hook(transport));
        }
        assert_ne!(self.panic_in, Some(step), "a panic on purpose");
    }
}

impl SubprocessProtocol for Recorder {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        let pipes = PIPES.into_iter().filter(|pipe| transport.pipe(*pipe).is_some()).collect();
        self.told(Call::Made(pipes), Some(transport));
    }

    fn pipe_data_received(&mut self, transport: &SubprocessTransport, pipe: Pipe, data: &[u8]) {
        self.told(Call::Data(pipe, data.to_vec()), Some(transport));
    }

    fn pipe_connection_lost(&mut self, transport: &SubprocessTransport, pipe: Pipe, exc: Option<io::Error>) {
        self.told(Call::PipeLost(pipe, exc.map(|exc| exc.kind())), Some(transport));
    }

    fn process_exited(&mut self, transport: &SubprocessTransport, status: ExitStatus) {
        assert_eq!(transport.status(), Some(status));
        self.told(Call::Exited(transport.returncode().expect("it has exited")), Some(transport));
    }

    fn pause_writing(&mut self, transport: &SubprocessTransport, pipe: Pipe) {
        self.told(Call::Pause(pipe), Some(transport));
    }

    fn resume_writing(&mut self, transport: &SubprocessTransport, pipe: Pipe) {
        self.told(Call::Resume(pipe), Some(transport));
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.told(Call::Lost(exc.map(|exc| exc.kind())), None);
    }
}

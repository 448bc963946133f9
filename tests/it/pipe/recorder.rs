//! A protocol that writes down its callbacks and knows which may follow which.

use std::io::{self, ErrorKind};

use smol_transports::{BufferedProtocol, OnEof, Protocol, ReadTransport, WriteTransport};

use crate::grammar::{self, Callback};

pub(crate) type Reader = Recorder<ReadTransport>;
pub(crate) type Writer = Recorder<WriteTransport>;

/// A callback. Data that follow each other are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Made,
    Data(Vec<u8>),
    Eof,
    Pause,
    Resume,
    Lost(Option<ErrorKind>),
}

/// The name of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Made,
    Data,
    Eof,
    Pause,
    Resume,
    Lost,
}

impl Call {
    pub(crate) fn data(data: &[u8]) -> Self {
        Self::Data(data.to_vec())
    }

    const fn step(&self) -> Step {
        match self {
            Self::Made => Step::Made,
            Self::Data(_) => Step::Data,
            Self::Eof => Step::Eof,
            Self::Pause => Step::Pause,
            Self::Resume => Step::Resume,
            Self::Lost(_) => Step::Lost,
        }
    }
}

impl Callback for Call {
    fn may_follow(&self, before: &[Self]) -> bool {
        let ended = before.iter().any(|call| matches!(call, Self::Lost(_)));
        let finished = before.contains(&Self::Eof);
        let paused = before.iter().rfind(|call| matches!(call, Self::Pause | Self::Resume)) == Some(&Self::Pause);
        let in_order = match self {
            Self::Made => return before.is_empty(),
            Self::Data(data) => !finished && !data.is_empty(),
            Self::Eof => !finished,
            Self::Pause => !paused,
            Self::Resume => paused,
            Self::Lost(_) => true,
        };
        !before.is_empty() && !ended && in_order
    }

    fn join(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Data(data), Self::Data(more)) => {
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
    pub(crate) fn has(&self, step: Step) -> bool {
        self.calls().iter().any(|call| call.step() == step)
    }

    pub(crate) fn received(&self) -> Vec<u8> {
        let pieces = self.calls().into_iter().filter_map(|call| match call {
            Call::Data(data) => Some(data),
            _ => None,
        });
        pieces.flatten().collect()
    }
}

type Hook<T> = Box<dyn FnMut(&T) + Send>;

pub(crate) struct Recorder<T> {
    log: Log,
    hooks: Vec<(Step, Hook<T>)>,
    panic_in: Option<Step>,
    on_eof: OnEof,
    buffer: Vec<u8>,
}

impl<T> Recorder<T> {
    pub(crate) fn new() -> Self {
        Self { log: Log::default(), hooks: Vec::new(), panic_in: None, on_eof: OnEof::Close, buffer: vec![0; 7] }
    }

    /// One that takes over from another: it is not told that the connection is made.
    pub(crate) fn successor() -> Self {
        let recorder = Self::new();
        recorder.log.push(Call::Made);
        recorder
    }

    /// The same, when the other one has heard `call` last.
    pub(crate) fn successor_in(call: Call) -> Self {
        let recorder = Self::successor();
        recorder.log.push(call);
        recorder
    }

    /// Does something in every callback of that name.
    pub(crate) fn on(mut self, step: Step, hook: impl FnMut(&T) + Send + 'static) -> Self {
        self.hooks.push((step, Box::new(hook)));
        self
    }

    pub(crate) fn panicking_in(mut self, step: Step) -> Self {
        self.panic_in = Some(step);
        self
    }

    pub(crate) fn answering_eof(mut self, answer: OnEof) -> Self {
        self.on_eof = answer;
        self
    }

    pub(crate) fn buffer_size(mut self, size: usize) -> Self {
        self.buffer = vec![0; size];
        self
    }

    pub(crate) fn log(&self) -> Log {
        self.log.clone()
    }

    fn told(&mut self, call: Call, transport: Option<&T>) {
        let step = call.step();
        self.log.push(call);
        if let Some(transport) = transport {
            let hooks = self.hooks.iter_mut().filter(|(wanted, _)| *wanted == step);
            hooks.for_each(|(_, hook)| hook(transport));
        }
        assert_ne!(self.panic_in, Some(step), "a panic on purpose");
    }
}

impl<T> Protocol<T> for Recorder<T> {
    fn connection_made(&mut self, transport: &T) {
        self.told(Call::Made, Some(transport));
    }

    fn data_received(&mut self, transport: &T, data: &[u8]) {
        self.told(Call::data(data), Some(transport));
    }

    fn eof_received(&mut self, transport: &T) -> OnEof {
        self.told(Call::Eof, Some(transport));
        self.on_eof
    }

    fn pause_writing(&mut self, transport: &T) {
        self.told(Call::Pause, Some(transport));
    }

    fn resume_writing(&mut self, transport: &T) {
        self.told(Call::Resume, Some(transport));
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.told(Call::Lost(exc.map(|exc| exc.kind())), None);
    }
}

impl<T> BufferedProtocol<T> for Recorder<T> {
    fn connection_made(&mut self, transport: &T) {
        Protocol::connection_made(self, transport);
    }

    fn get_buffer(&mut self, _size_hint: usize) -> &mut [u8] {
        &mut self.buffer
    }

    fn buffer_updated(&mut self, transport: &T, nbytes: usize) {
        let data = self.buffer[..nbytes].to_vec();
        self.told(Call::Data(data), Some(transport));
    }

    fn eof_received(&mut self, transport: &T) -> OnEof {
        Protocol::eof_received(self, transport)
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        Protocol::<T>::connection_lost(self, exc);
    }
}

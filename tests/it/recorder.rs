//! A protocol that records its callbacks and asserts the life cycle in each of them.

use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::Event as Notify;
use smol_transports::{BufferedProtocol, OnEof, Protocol, Transport};

/// A callback that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Made,
    /// Neighbours are joined, so that it does not matter how the bytes were cut.
    Data(Vec<u8>),
    Eof,
    Pause,
    Resume,
    Lost(Option<ErrorKind>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    Open,
    PeerEof,
    Lost,
}

/// What was recorded; shared between a recorder and its test.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    /// Bytes of all data, kept or not.
    bytes: usize,
    violations: Vec<String>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes were received.
    #[track_caller]
    pub(crate) fn bytes(&self) -> usize {
        drop(self.calls());
        self.lock().bytes
    }

    fn push(&self, call: Call) {
        let mut state = self.lock();
        match (state.calls.last_mut(), call) {
            (Some(Call::Data(known)), Call::Data(more)) => known.extend(more),
            (_, call) => state.calls.push(call),
        }
        drop(state);
        self.0.changed.notify(usize::MAX);
    }

    /// All callbacks so far. Fails if one of them broke the rules.
    #[track_caller]
    pub(crate) fn calls(&self) -> Vec<Call> {
        let state = self.lock();
        assert!(state.violations.is_empty(), "{:?}", state.violations);
        state.calls.clone()
    }

    /// All bytes that were received.
    #[track_caller]
    pub(crate) fn data(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for call in self.calls() {
            if let Call::Data(data) = call {
                all.extend(data);
            }
        }
        all
    }

    #[track_caller]
    pub(crate) fn count(&self, call: &Call) -> usize {
        self.calls().iter().filter(|known| *known == call).count()
    }

    /// The callbacks without those about writing.
    #[track_caller]
    pub(crate) fn without_marks(&self) -> Vec<Call> {
        let mut joined: Vec<Call> = Vec::new();
        for call in self.calls() {
            match (joined.last_mut(), call) {
                (_, Call::Pause | Call::Resume) => {}
                (Some(Call::Data(known)), Call::Data(more)) => known.extend(more),
                (_, call) => joined.push(call),
            }
        }
        joined
    }

    /// How the connection ended, which it must have done exactly once.
    #[track_caller]
    pub(crate) fn end(&self) -> Option<ErrorKind> {
        let calls = self.calls();
        let lost = |call: &Call| matches!(call, Call::Lost(_));
        assert_eq!(calls.iter().filter(|call| lost(call)).count(), 1, "{calls:?}");
        match calls.last() {
            Some(Call::Lost(kind)) => *kind,
            _ => panic!("the loss is not the last callback: {calls:?}"),
        }
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let listener = self.0.changed.listen();
            if condition(self) {
                return;
            }
            listener.await;
        }
    }

    pub(crate) async fn until_call(&self, call: Call) {
        self.until(|log| log.count(&call) > 0).await;
    }
}

type Hook = Box<dyn FnMut(&Transport) + Send>;
type DataHook = Box<dyn FnMut(&Transport, &[u8]) + Send>;
type EofHook = Box<dyn FnMut(&Transport) -> OnEof + Send>;
type LostHook = Box<dyn FnMut() + Send>;

/// Records, checks, then calls the hook of the callback.
pub(crate) struct Recorder {
    log: Log,
    stage: Stage,
    paused: bool,
    /// The bytes are logged, not only counted.
    keep: bool,
    /// Nothing else touches the transport while a callback runs, so more can be asserted.
    alone: bool,
    made: Hook,
    data: DataHook,
    eof: EofHook,
    pause: Hook,
    resume: Hook,
    lost: LostHook,
}

impl Recorder {
    pub(crate) fn new(log: &Log) -> Self {
        Self {
            log: log.clone(),
            stage: Stage::Start,
            paused: false,
            keep: true,
            alone: false,
            made: Box::new(|_| {}),
            data: Box::new(|_, _| {}),
            eof: Box::new(|_| OnEof::Close),
            pause: Box::new(|_| {}),
            resume: Box::new(|_| {}),
            lost: Box::new(|| {}),
        }
    }

    /// A recorder that counts bytes without keeping them.
    pub(crate) fn counting(log: &Log) -> Self {
        let mut recorder = Self::new(log);
        recorder.keep = false;
        recorder
    }

    /// A recorder that takes the place of another one on an open connection.
    pub(crate) fn taking_over(log: &Log) -> Self {
        let mut recorder = Self::new(log);
        recorder.stage = Stage::Open;
        recorder
    }

    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    pub(crate) fn on_made<R>(mut self, mut hook: impl FnMut(&Transport) -> R + Send + 'static) -> Self {
        self.made = Box::new(move |transport| {
            hook(transport);
        });
        self
    }

    pub(crate) fn on_data<R>(mut self, mut hook: impl FnMut(&Transport, &[u8]) -> R + Send + 'static) -> Self {
        self.data = Box::new(move |transport, data| {
            hook(transport, data);
        });
        self
    }

    pub(crate) fn on_eof(mut self, hook: impl FnMut(&Transport) -> OnEof + Send + 'static) -> Self {
        self.eof = Box::new(hook);
        self
    }

    pub(crate) fn on_pause<R>(mut self, mut hook: impl FnMut(&Transport) -> R + Send + 'static) -> Self {
        self.pause = Box::new(move |transport| {
            hook(transport);
        });
        self
    }

    pub(crate) fn on_resume<R>(mut self, mut hook: impl FnMut(&Transport) -> R + Send + 'static) -> Self {
        self.resume = Box::new(move |transport| {
            hook(transport);
        });
        self
    }

    pub(crate) fn on_lost(mut self, hook: impl FnMut() + Send + 'static) -> Self {
        self.lost = Box::new(hook);
        self
    }

    /// Answers the end of file with `KeepOpen`.
    pub(crate) fn keeping_open(self) -> Self {
        self.on_eof(|_| OnEof::KeepOpen)
    }

    pub(crate) fn echo(log: &Log) -> Self {
        Self::new(log).on_data(|transport, data| transport.write(data))
    }

    fn assert(&self, holds: bool, rule: &str) {
        if !holds {
            let text = format!("{rule}; stage {:?}, paused {}", self.stage, self.paused);
            self.log.lock().violations.push(text.clone());
            self.log.0.changed.notify(usize::MAX);
            panic!("{text}");
        }
    }

    fn enter_made(&mut self, transport: &Transport) {
        self.assert(self.stage == Stage::Start, "connection_made comes once and first");
        self.stage = Stage::Open;
        self.assert(!self.alone || !transport.is_closing(), "a new transport is not closing");
        self.log.push(Call::Made);
    }

    fn enter_data(&self, transport: &Transport, data: &[u8]) {
        self.assert(self.stage == Stage::Open, "data comes between connection_made and eof_received");
        self.assert(!data.is_empty(), "data is never empty");
        self.assert(!self.alone || transport.is_reading(), "data comes only while reading");
        self.log.lock().bytes += data.len();
        self.log.push(Call::Data(if self.keep { data.to_vec() } else { Vec::new() }));
    }

    fn enter_eof(&mut self, transport: &Transport) {
        self.assert(self.stage == Stage::Open, "eof_received comes once");
        self.stage = Stage::PeerEof;
        self.assert(!self.alone || transport.is_reading(), "the end of file comes only while reading");
        self.log.push(Call::Eof);
    }

    fn assert_connected(&self) {
        self.assert(matches!(self.stage, Stage::Open | Stage::PeerEof), "the marks speak between made and lost");
    }

    fn enter_pause(&mut self, transport: &Transport) {
        self.assert_connected();
        self.assert(!self.paused, "pause_writing comes only while writing is not paused");
        self.assert(!self.alone || transport.is_writing_paused(), "is_writing_paused is true from the pause on");
        self.paused = true;
        self.log.push(Call::Pause);
    }

    fn enter_resume(&mut self, transport: &Transport) {
        self.assert_connected();
        self.assert(self.paused, "resume_writing comes after pause_writing");
        self.assert(!self.alone || !transport.is_writing_paused(), "is_writing_paused is false from the resume on");
        self.paused = false;
        self.log.push(Call::Resume);
    }

    fn enter_lost(&mut self, exc: Option<&io::Error>) {
        self.assert(self.stage != Stage::Start, "connection_lost needs a connection_made");
        self.assert(self.stage != Stage::Lost, "connection_lost comes once");
        self.stage = Stage::Lost;
        self.log.push(Call::Lost(exc.map(io::Error::kind)));
    }
}

impl Protocol for Recorder {
    fn connection_made(&mut self, transport: &Transport) {
        self.enter_made(transport);
        (self.made)(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.enter_data(transport, data);
        (self.data)(transport, data);
    }

    fn eof_received(&mut self, transport: &Transport) -> OnEof {
        self.enter_eof(transport);
        (self.eof)(transport)
    }

    fn pause_writing(&mut self, transport: &Transport) {
        self.enter_pause(transport);
        (self.pause)(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.enter_resume(transport);
        (self.resume)(transport);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.enter_lost(exc.as_ref());
        (self.lost)();
    }
}

/// The same with a receive buffer of its own.
pub(crate) struct BufferedRecorder {
    inner: Recorder,
    buffer: Vec<u8>,
    /// The buffer was lent and not yet filled.
    lent: bool,
}

impl BufferedRecorder {
    pub(crate) fn new(inner: Recorder, size: usize) -> Self {
        Self { inner, buffer: vec![0; size], lent: false }
    }
}

impl BufferedProtocol for BufferedRecorder {
    fn connection_made(&mut self, transport: &Transport) {
        self.inner.connection_made(transport);
    }

    fn get_buffer(&mut self, size_hint: usize) -> &mut [u8] {
        self.inner.assert(self.inner.stage == Stage::Open, "a buffer is asked for while data may come");
        self.inner.assert(size_hint > 0, "the hint says something");
        self.lent = true;
        &mut self.buffer
    }

    fn buffer_updated(&mut self, transport: &Transport, nbytes: usize) {
        self.inner.assert(self.lent, "buffer_updated follows get_buffer");
        self.inner.assert(nbytes <= self.buffer.len(), "no more bytes than the buffer holds");
        self.lent = false;
        let data = self.buffer[..nbytes].to_vec();
        self.inner.data_received(transport, &data);
    }

    fn eof_received(&mut self, transport: &Transport) -> OnEof {
        self.inner.eof_received(transport)
    }

    fn pause_writing(&mut self, transport: &Transport) {
        self.inner.pause_writing(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.inner.resume_writing(transport);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.inner.connection_lost(exc);
    }
}

//! Spans and events for the `tracing` crate; without the feature of that name there is nothing here but empty functions.

use crate::actor::cause::Cause;
use crate::info::ExtraInfo;
#[cfg(unix)]
use crate::protocol::Pipe;
use crate::state::lifecycle::Input;
#[cfg(feature = "tracing")]
use tracing::field::Empty;

/// The span of one transport, from the time it is made.
#[derive(Debug)]
pub(crate) struct Trace {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

#[cfg(not(feature = "tracing"))]
impl Trace {
    pub(crate) const fn new(_kind: &str, _info: &ExtraInfo) -> Self {
        Self {}
    }

    #[cfg(unix)]
    pub(crate) const fn set_pid(&self, _pid: u32) {}

    #[cfg(unix)]
    pub(crate) const fn set_pipe(&self, _pipe: Pipe) {}

    pub(crate) fn within<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }

    pub(crate) const fn told(&self, _input: Input) {}

    pub(crate) const fn lost(&self, _cause: Option<&Cause>) {}
}

#[cfg(feature = "tracing")]
impl Trace {
    pub(crate) fn new(kind: &str, info: &ExtraInfo) -> Self {
        let peer = info.peername().map(tracing::field::display);
        let local = info.sockname().map(tracing::field::display);
        let span = tracing::debug_span!("transport", kind, peer, local, pid = Empty, pipe = Empty);
        Self { span }
    }

    /// It is that of the child with this number.
    #[cfg(unix)]
    pub(crate) fn set_pid(&self, pid: u32) {
        self.span.record("pid", pid);
    }

    /// It is that of this pipe of a child.
    #[cfg(unix)]
    pub(crate) fn set_pipe(&self, pipe: Pipe) {
        self.span.record("pipe", tracing::field::debug(pipe));
    }

    /// Runs a callback inside of the span, so that what it logs belongs to it.
    pub(crate) fn within<R>(&self, f: impl FnOnce() -> R) -> R {
        self.span.in_scope(f)
    }

    /// A callback is being made.
    pub(crate) fn told(&self, input: Input) {
        let span = &self.span;
        match input {
            Input::ConnectionMade => tracing::debug!(parent: span, "made"),
            Input::PauseWriting => tracing::debug!(parent: span, "writing is paused"),
            Input::ResumeWriting => tracing::debug!(parent: span, "writing is resumed"),
            Input::EofReceived => tracing::debug!(parent: span, "end of file"),
            Input::ErrorReceived => tracing::debug!(parent: span, "a datagram has failed"),
            _ => {}
        }
    }

    /// The end has come.
    pub(crate) fn lost(&self, cause: Option<&Cause>) {
        match cause {
            None => tracing::debug!(parent: &self.span, "lost"),
            Some(cause) => tracing::debug!(parent: &self.span, %cause, "lost"),
        }
    }
}

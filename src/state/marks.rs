//! The marks of a buffer: when a writer is paused, when it is resumed, and what it was told.

use super::lifecycle::Input;
use super::limits::WriteLimits;

/// What the protocol must be told about the marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Pause,
    Resume,
}

impl Mark {
    /// Its place in the life cycle.
    pub(crate) const fn input(self) -> Input {
        match self {
            Self::Pause => Input::PauseWriting,
            Self::Resume => Input::ResumeWriting,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Marks {
    limits: WriteLimits,
    /// The writer is resumed only when nothing waits any more, whatever the low mark.
    resume_when_empty: bool,
    /// The writer must stop: true from the latch on until it is resumed.
    paused: bool,
    /// What the protocol was told last.
    told: bool,
    /// A send has come down to the low mark while `paused`.
    resume_due: bool,
}

impl Marks {
    pub(crate) const fn new(limits: WriteLimits, resume_when_empty: bool) -> Self {
        Self { limits, resume_when_empty, paused: false, told: false, resume_due: false }
    }

    pub(crate) const fn limits(&self) -> WriteLimits {
        self.limits
    }

    /// Changes the marks. It never resumes: that is for the next send.
    pub(crate) const fn set_limits(&mut self, limits: WriteLimits) {
        self.limits = limits;
    }

    pub(crate) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Pauses if `size` is over the high mark: to be called when something was added or the marks have changed.
    pub(crate) const fn latch(&mut self, size: usize) {
        if size > self.limits.high_water() {
            self.paused = true;
            self.resume_due = false;
        }
    }

    /// Something was sent, `size` is left.
    pub(crate) const fn sent(&mut self, size: usize) {
        let low = if self.resume_when_empty { 0 } else { self.limits.low_water() };
        self.resume_due = self.paused && size <= low;
    }

    /// Whether the protocol does not know of the pause yet.
    pub(crate) const fn is_pause_due(&self) -> bool {
        self.paused && !self.told
    }

    /// Whether `tell` has something to say.
    pub(crate) const fn has_news(&self) -> bool {
        self.is_pause_due() || (self.paused && self.resume_due)
    }

    /// What the protocol must be told now, if anything; the next call tells what comes after it.
    ///
    /// A pause once latched is told even if the buffer has emptied since; the resume follows it.
    pub(crate) const fn tell(&mut self) -> Option<Mark> {
        if !self.has_news() {
            return None;
        }
        if !self.told {
            self.told = true;
            return Some(Mark::Pause);
        }
        self.forget();
        Some(Mark::Resume)
    }

    /// Nothing waits and nothing will resume any more. A pause once latched is told all the same.
    pub(crate) const fn cancel(&mut self) {
        self.resume_due = false;
        if self.told {
            self.forget();
        }
    }

    /// Nothing will be told any more.
    pub(crate) const fn forget(&mut self) {
        self.paused = false;
        self.told = false;
        self.resume_due = false;
    }
}

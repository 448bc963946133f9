//! When a run is to be ended, and how: rules without process, pipe or timer.

use std::time::{Duration, Instant};

/// What ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// The child has exited by itself, or somebody else has ended it.
    Exit,
    /// It has taken longer than [`limit`](super::Run::limit).
    Limit,
    /// It has been silent for longer than [`idle_limit`](super::Run::idle_limit).
    IdleLimit,
    /// Its first output has not come within [`first_output_limit`](super::Run::first_output_limit).
    FirstOutputLimit,
    /// It was stopped by its [`Handle`](super::Handle).
    Stopped,
    /// A sink has failed, or what feeds standard input.
    Failed,
}

/// The times of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) limit: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) first_output: Option<Duration>,
    /// From the polite signal to SIGKILL.
    pub(super) grace: Duration,
    /// From the exit to the cutting of pipes that are still open.
    pub(super) drain: Duration,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Terminate,
    Kill,
    /// Cut the pipes that somebody holds.
    Cut,
}

/// How far a run has come.
#[derive(Debug)]
pub(super) struct Course {
    plan: Plan,
    started: Instant,
    /// The last output, or the last time that a sink had no room; the start before.
    silent_since: Instant,
    /// There was output.
    begun: bool,
    /// Since when a sink has no room, so that silence is not the child's.
    paused: Option<Instant>,
    /// The first reason to end it.
    end: Option<End>,
    /// The child has exited, and what holds its pipes is not to be waited for any more.
    hurried: bool,
    stopping: Stopping,
    /// It was asked to end before it was killed.
    asked: bool,
    /// Moved on by the time in which nothing could be read.
    exited: Option<Instant>,
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    Terminated(Instant),
    Killed,
}

impl Course {
    pub(super) const fn new(plan: Plan, started: Instant) -> Self {
        Self {
            plan,
            started,
            silent_since: started,
            begun: false,
            paused: None,
            end: None,
            hurried: false,
            stopping: Stopping::No,
            asked: false,
            exited: None,
            cut: false,
        }
    }

    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn end(&self) -> End {
        self.end.unwrap_or(End::Exit)
    }

    pub(super) const fn was_asked(&self) -> bool {
        self.asked
    }

    pub(super) fn was_killed(&self) -> bool {
        self.stopping == Stopping::Killed
    }

    pub(super) const fn has_exited(&self) -> bool {
        self.exited.is_some()
    }

    /// Whether it is to be asked before it is killed.
    pub(super) const fn has_grace(&self) -> bool {
        !self.plan.grace.is_zero()
    }

    pub(super) const fn output(&mut self, now: Instant) {
        self.silent_since = now;
        self.begun = true;
    }

    pub(super) const fn exit(&mut self, now: Instant) {
        self.exited = Some(now);
    }

    /// Asks for the end, if nobody has. A child that has exited is not ended by a limit or a stop any more: there is
    /// only less to wait for. That is not so if a sink has no room, since what is in the pipes will be missing then.
    pub(super) fn stop(&mut self, end: End) {
        if self.exited.is_some() && self.paused.is_none() && end != End::Failed {
            self.hurried = true;
        } else {
            self.end.get_or_insert(end);
        }
    }

    /// Asks for the end without grace.
    pub(super) fn kill(&mut self) {
        self.stop(End::Stopped);
        self.withdraw_grace();
    }

    pub(super) const fn withdraw_grace(&mut self) {
        self.plan.grace = Duration::ZERO;
    }

    /// Whether the sinks have no room. The time of that is nobody's silence.
    pub(super) fn set_paused(&mut self, paused: bool, now: Instant) {
        match (self.paused, paused) {
            (None, true) => self.paused = Some(now),
            (Some(since), false) => {
                self.paused = None;
                self.silent_since = now;
                let lost = now.saturating_duration_since(since.max(self.exited.unwrap_or(since)));
                self.exited = self.exited.and_then(|exited| exited.checked_add(lost));
            }
            _ => {}
        }
    }

    /// Whether pipes are to be cut now.
    pub(super) fn is_cut_due(&self, now: Instant) -> bool {
        self.action().is_some_and(|(at, action)| action == Action::Cut && at <= now)
    }

    /// When sinks that are not done are to be given up, if the child is over now.
    pub(super) fn patience(&self, now: Instant) -> Option<Instant> {
        match (self.end, self.plan.limit) {
            (None, None) => None,
            (None, Some(limit)) => self.started.checked_add(limit),
            (Some(_), _) => self.rest(now),
        }
    }

    /// How long sinks have that are to come to an end.
    pub(super) fn rest(&self, now: Instant) -> Option<Instant> {
        const LEAST: Duration = Duration::from_secs(1);
        now.checked_add(self.plan.grace.max(self.plan.drain).max(LEAST))
    }

    /// What is due now; to be asked again after each action.
    pub(super) fn next(&mut self, now: Instant) -> Option<Action> {
        if let Some((_, end)) = self.limits().find(|(at, _)| *at <= now) {
            self.stop(end);
        }
        let action = self.action().filter(|(at, _)| *at <= now).map(|(_, action)| action)?;
        match action {
            Action::Terminate => {
                self.stopping = Stopping::Terminated(now);
                self.asked = true;
            }
            Action::Kill => self.stopping = Stopping::Killed,
            Action::Cut => self.cut = true,
        }
        Some(action)
    }

    /// When to ask again, if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let limit = self.limits().map(|(at, _)| at).min();
        let action = self.action().map(|(at, _)| at);
        limit.into_iter().chain(action).min()
    }

    /// The limits that still count, with the ends that they bring.
    fn limits(&self) -> impl Iterator<Item = (Instant, End)> + use<> {
        let is_silent = self.exited.is_none() && self.paused.is_none();
        let is_open = self.end.is_none() && !self.hurried;
        let after = |since: Instant, limit: Option<Duration>, counts: bool| {
            limit.filter(|_| is_open && counts).and_then(|limit| since.checked_add(limit))
        };
        let limit = after(self.started, self.plan.limit, true);
        let first = after(self.silent_since, self.plan.first_output, is_silent && !self.begun);
        let idle = after(self.silent_since, self.plan.idle, is_silent);
        let ends = [(limit, End::Limit), (first, End::FirstOutputLimit), (idle, End::IdleLimit)];
        ends.into_iter().filter_map(|(at, end)| Some((at?, end)))
    }

    /// The next thing to do about the child, and when.
    fn action(&self) -> Option<(Instant, Action)> {
        if let Some(exited) = self.exited {
            return self.cutting(exited).map(|at| (at, Action::Cut));
        }
        self.end?;
        match self.stopping {
            Stopping::No if self.has_grace() => Some((self.started, Action::Terminate)),
            Stopping::No => Some((self.started, Action::Kill)),
            Stopping::Terminated(at) => Some((at.checked_add(self.plan.grace)?, Action::Kill)),
            Stopping::Killed => None,
        }
    }

    /// When to cut what is still open after the exit.
    fn cutting(&self, exited: Instant) -> Option<Instant> {
        let drained = exited.checked_add(self.plan.drain);
        match self.stopping {
            _ if self.cut => None,
            // What was asked to end with the child may take as long as the child.
            Stopping::Terminated(at) => drained.max(at.checked_add(self.plan.grace)),
            Stopping::Killed => drained,
            Stopping::No if self.end.is_some() || self.hurried => Some(exited),
            Stopping::No if self.paused.is_some() => None,
            Stopping::No => drained,
        }
    }
}

#[cfg(test)]
mod tests;

//! Whether a loop looks for work for a while before it sleeps.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::stats;

/// How long it looks, unless somebody wants another time.
const TIME: Duration = Duration::from_micros(50);

/// To poll epoll once takes much less. Where it mostly does not, each system call is slow, because it is traced for example.
const SLOW: Duration = Duration::from_micros(4);

/// So many slow polls are no accident, nor is it if nothing was found so many times.
const MANY: u32 = 4;

/// Rounds that end without a task to run, and are judged together.
const WINDOW: u32 = 32;

/// Windows between two trials of the other way: at first, and at most.
const FIRST: u32 = 8;
const LAST: u32 = 128;

/// What a task counts for, as bytes. There are tasks that move none; but the same bytes in more pieces are not more work.
const TASK: u64 = 16;

/// Looking or sleeping: whichever takes less processor time for the same work.
///
/// To put an idle processor to sleep and to wake it can cost as much as a dozen messages, mostly on virtual machines, and
/// takes long. But where whoever sends shares the processor nothing can come as long as this thread looks, and where
/// little comes most looking is in vain. Nobody can know that beforehand, so both are tried.
#[derive(Debug)]
pub(super) struct Spin {
    /// How long somebody wants it to be, whatever it costs.
    wanted: Option<Duration>,
    choice: Choice,
    window: Window,
    /// As it was when the window began, if that is measured.
    used: Duration,
    moved: u64,
}

/// What has happened in a window.
#[derive(Debug, Default)]
struct Window {
    /// Rounds that have ended without a task to run.
    idle: u32,
    tasks: u32,
    /// Polls of epoll that have found nothing, and those of them that were slow.
    polls: u32,
    slow: u32,
    /// How often looking has found something in its time, and how often not.
    found: u32,
    vain: u32,
}

impl Window {
    const fn is_slow(&self) -> bool {
        self.slow >= MANY && self.slow > self.polls / 4
    }

    const fn is_in_vain(&self) -> bool {
        self.vain >= MANY && self.found == 0
    }
}

impl Spin {
    pub(super) fn new(wanted: Option<Duration>) -> Self {
        Self { wanted, choice: Choice::SLEEP, window: Window::default(), used: Duration::ZERO, moved: 0 }
    }

    /// A task was run.
    #[inline]
    pub(super) fn worked(&mut self) {
        self.window.tasks = self.window.tasks.saturating_add(1);
    }

    /// There is no task to run: how long to look for work. Zero is to sleep at once.
    pub(super) fn time(&mut self) -> Duration {
        if let Some(wanted) = self.wanted {
            return wanted;
        }
        self.window.idle += 1;
        if self.window.idle == WINDOW || self.window.is_slow() || self.window.is_in_vain() {
            self.end_window();
        }
        if self.choice.looks { TIME } else { Duration::ZERO }
    }

    /// One poll of epoll has taken so long, and found nothing.
    pub(super) fn polled(&mut self, time: Duration) {
        self.window.polls = self.window.polls.saturating_add(1);
        self.window.slow = self.window.slow.saturating_add(u32::from(time > SLOW));
    }

    /// Looking is over, and has found something or not.
    pub(super) const fn ended(&mut self, found: bool) {
        let count = if found { &mut self.window.found } else { &mut self.window.vain };
        *count = count.saturating_add(1);
    }

    /// How often looking was in vain in this window.
    #[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
    pub(super) const fn vain(&self) -> u32 {
        self.window.vain
    }

    fn end_window(&mut self) {
        let mut choice = self.choice;
        choice.end_window(|| self.cost());
        if choice.is_measured() {
            (self.used, self.moved) = (processor_time(), stats::moved());
        }
        self.choice = choice;
        self.window = Window::default();
    }

    /// What a piece of work has taken in this window.
    fn cost(&self) -> f64 {
        if self.window.is_slow() || (self.choice.is_trial() && self.window.is_in_vain()) {
            return f64::INFINITY;
        }
        let used = processor_time().saturating_sub(self.used);
        cost(used, self.window.tasks, stats::moved().wrapping_sub(self.moved))
    }
}

/// Seconds for a byte.
fn cost(used: Duration, tasks: u32, moved: u64) -> f64 {
    used.as_secs_f64() / (u64::from(tasks) * TASK + moved).max(1) as f64
}

/// What this thread has used so far.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// One of two ways, of which the other is tried now and then.
#[derive(Clone, Copy, Debug)]
struct Choice {
    looks: bool,
    phase: Phase,
    /// Windows between two trials. Doubled each time that one has changed nothing.
    interval: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// So many more windows are not measured.
    Rest(u32),
    /// The window before a trial.
    Before,
    /// The other way is tried; what the usual one has cost.
    Trial(f64),
}

impl Choice {
    const SLEEP: Self = Self { looks: false, phase: Phase::Rest(FIRST), interval: FIRST };

    const fn is_measured(&self) -> bool {
        !matches!(self.phase, Phase::Rest(_))
    }

    const fn is_trial(&self) -> bool {
        matches!(self.phase, Phase::Trial(_))
    }

    /// A window is over; `cost` is asked for if it was measured.
    fn end_window(&mut self, cost: impl FnOnce() -> f64) {
        self.phase = match self.phase {
            Phase::Rest(0) => Phase::Before,
            Phase::Rest(left) => Phase::Rest(left - 1),
            Phase::Before => {
                self.looks = !self.looks;
                Phase::Trial(cost())
            }
            Phase::Trial(usual) => {
                // In a short trial sleeping seems cheaper than it is: the processors do not fall asleep so soon.
                let share = if self.looks { 0.95 } else { 0.8 };
                self.end_trial(cost(), share * usual);
                Phase::Rest(self.interval)
            }
        };
    }

    /// Only what costs less than `limit` is kept.
    fn end_trial(&mut self, cost: f64, limit: f64) {
        if cost < limit {
            self.interval = FIRST.max(self.interval / 4);
        } else {
            self.looks = !self.looks;
            self.interval = LAST.min(2 * self.interval);
        }
    }
}

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use super::*;

    /// In how many of the windows it looks, if looking and sleeping cost as given.
    fn looks(choice: &mut Choice, windows: u32, looking: f64, sleeping: f64) -> u32 {
        let mut count = 0;
        for _ in 0..windows {
            count += u32::from(choice.looks);
            let cost = if choice.looks { looking } else { sleeping };
            choice.end_window(|| cost);
        }
        count
    }

    #[test]
    fn where_looking_is_dearer_it_is_tried_ever_more_seldom() {
        let mut choice = Choice::SLEEP;
        assert_eq!(looks(&mut choice, 2 * LAST, 2.0, 1.0), 4);
        assert_eq!(looks(&mut choice, 100 * (LAST + 3), 2.0, 1.0), 100);
    }

    #[test]
    fn where_looking_is_cheaper_sleeping_is_tried_ever_more_seldom() {
        let mut choice = Choice::SLEEP;
        assert_eq!(looks(&mut choice, FIRST + 2, 1.0, 2.0), 0);
        assert_eq!(looks(&mut choice, 2 * LAST, 1.0, 2.0), 2 * LAST - 4);
    }

    #[test]
    fn what_has_become_dear_is_given_up() {
        let mut choice = Choice::SLEEP;
        looks(&mut choice, 3 * LAST, 1.0, 2.0);
        assert!(looks(&mut choice, 20 * LAST, 9.0, 2.0) < 2 * LAST);
    }

    #[test]
    fn a_time_that_is_wanted_holds_whatever_it_costs() {
        for wanted in [Duration::ZERO, Duration::from_millis(1)] {
            let mut spin = Spin::new(Some(wanted));
            assert!((0..10 * WINDOW).all(|_| spin.time() == wanted));
        }
    }

    #[test]
    fn the_same_bytes_in_more_pieces_are_hardly_more_work() {
        let used = Duration::from_micros(100);
        assert!((0.9..1.0).contains(&(cost(used, 10, 2000) / cost(used, 1, 2000))));
        assert_eq!(cost(used, 3, 0) / cost(used, 1, 0), 1.0 / 3.0);
        assert!(cost(used, 0, 0).is_finite());
    }

    /// How often it looks if nothing is found, and each poll takes so long.
    fn looks_in_vain(spin: &mut Spin, sleeps: u32, time: Duration) -> u32 {
        let mut count = 0;
        for _ in 0..sleeps {
            if !spin.time().is_zero() {
                spin.polled(time);
                spin.ended(false);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_trial_that_finds_nothing_ends_soon() {
        assert_eq!(looks_in_vain(&mut Spin::new(None), 2 * LAST * WINDOW, Duration::ZERO), 4 * MANY);
    }

    #[test]
    fn both_ways_are_tried_at_length_where_something_is_found() {
        let mut spin = Spin::new(None);
        // Without the last, which goes on as the costs have it.
        let looks = (1..(FIRST + 3) * WINDOW).filter(|_| {
            spin.ended(true);
            !spin.time().is_zero()
        });
        assert_eq!(looks.count(), WINDOW as usize);
    }

    #[test]
    fn slow_polls_end_a_trial_though_something_is_found() {
        let mut spin = Spin::new(None);
        let looks = (0..(FIRST + 3) * WINDOW).filter(|_| {
            let is_look = !spin.time().is_zero();
            if is_look {
                spin.polled(2 * SLOW);
                spin.ended(true);
            }
            is_look
        });
        assert_eq!(looks.count(), MANY as usize);
    }
}

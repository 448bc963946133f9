//! Whether a loop looks for work for a while before it sleeps.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::stats;

/// How long it looks, unless somebody wants another time.
const TIME: Duration = Duration::from_micros(50);

/// Times without work that are judged together.
const WINDOW: u32 = 32;

/// Windows before the other way is tried again: at first, and at most.
const FIRST: u32 = 2;
const LAST: u32 = 512;

/// What a task counts for, as bytes: so the same work in smaller pieces does not look like more.
const TASK: u64 = 1024;

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
    /// Times without work that are left of this window.
    left: u32,
    tasks: u32,
    /// When the window began.
    used: Duration,
    moved: u64,
}

impl Spin {
    pub(super) fn new(wanted: Option<Duration>) -> Self {
        let (used, moved) = (processor_time(), stats::moved());
        Self { wanted, choice: Choice::SLEEP, left: WINDOW, tasks: 0, used, moved }
    }

    /// A task was run.
    #[inline]
    pub(super) fn worked(&mut self) {
        self.tasks = self.tasks.wrapping_add(1);
    }

    /// There is no work: how long to look for some.
    pub(super) fn time(&mut self) -> Duration {
        if let Some(wanted) = self.wanted {
            return wanted;
        }
        self.left -= 1;
        if self.left == 0 {
            self.end_window();
        }
        if self.choice.looks { TIME } else { Duration::ZERO }
    }

    fn end_window(&mut self) {
        let (used, moved) = (processor_time(), stats::moved());
        let work = u64::from(self.tasks) * TASK + moved.wrapping_sub(self.moved);
        self.choice.judge(used.saturating_sub(self.used).as_secs_f64() / work.max(1) as f64);
        (self.left, self.tasks, self.used, self.moved) = (WINDOW, 0, used, moved);
    }
}

/// What this thread has used so far.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// One of two ways, of which the other is tried now and then, for one window.
#[derive(Debug)]
struct Choice {
    looks: bool,
    is_trial: bool,
    /// The cost of the way that is kept, in the last window.
    cost: f64,
    /// Windows before the next trial.
    rest: u32,
    /// Doubled each time that a trial has changed nothing.
    interval: u32,
}

impl Choice {
    const SLEEP: Self = Self { looks: false, is_trial: false, cost: f64::INFINITY, rest: FIRST, interval: FIRST };

    /// A window is over; `cost` is what a piece of work has taken in it.
    fn judge(&mut self, cost: f64) {
        if self.is_trial {
            self.end_trial(cost);
            return;
        }
        self.rest -= 1;
        // What has become much dearer is not what was chosen any more.
        if self.rest == 0 || cost > 2.0 * self.cost {
            self.is_trial = true;
            self.looks = !self.looks;
        }
        self.cost = cost;
    }

    fn end_trial(&mut self, cost: f64) {
        self.is_trial = false;
        // About the same is no reason to change.
        if cost < 0.95 * self.cost {
            self.cost = cost;
            self.interval = FIRST;
        } else {
            self.looks = !self.looks;
            self.interval = LAST.min(2 * self.interval);
        }
        self.rest = self.interval;
    }
}

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use super::*;

    /// In how many of the windows it looks, if looking and sleeping cost as given.
    fn looks(choice: &mut Choice, windows: u32, costs: [f64; 2]) -> u32 {
        let [looking, sleeping] = costs;
        let mut count = 0;
        for _ in 0..windows {
            count += u32::from(choice.looks);
            choice.judge(if choice.looks { looking } else { sleeping });
        }
        count
    }

    #[test]
    fn where_looking_is_dearer_it_is_tried_ever_more_seldom() {
        let mut choice = Choice::SLEEP;
        assert_eq!(looks(&mut choice, 2 * LAST, [2.0, 1.0]), 8);
        assert_eq!(looks(&mut choice, 100 * LAST, [2.0, 1.0]), 100);
    }

    #[test]
    fn where_looking_is_cheaper_sleeping_is_tried_ever_more_seldom() {
        let mut choice = Choice::SLEEP;
        assert_eq!(looks(&mut choice, FIRST, [1.0, 2.0]), 0);
        assert_eq!(looks(&mut choice, 2 * LAST, [1.0, 2.0]), 2 * LAST - 8);
    }

    #[test]
    fn what_becomes_dear_is_given_up_at_once() {
        let mut choice = Choice::SLEEP;
        looks(&mut choice, 3 * LAST, [1.0, 2.0]);
        assert_eq!(looks(&mut choice, 10, [9.0, 2.0]), 3);
    }

    #[test]
    fn a_time_that_is_wanted_holds_whatever_it_costs() {
        for wanted in [Duration::ZERO, Duration::from_millis(1)] {
            let mut spin = Spin::new(Some(wanted));
            assert!((0..10 * WINDOW).all(|_| spin.time() == wanted));
        }
    }

    /// Without any work each window costs more than nothing, whichever way is taken.
    #[test]
    fn both_ways_are_tried() {
        let mut spin = Spin::new(None);
        let times: Vec<_> = (0..10 * WINDOW).map(|_| spin.time()).collect();
        assert!(times.contains(&TIME) && times.contains(&Duration::ZERO));
    }
}

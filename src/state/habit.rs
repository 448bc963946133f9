//! Whether callbacks write once each, or more.

/// So many callbacks in a row that have written once let one expect the same of the next. Models of threads have no time
/// for so many.
const ALONE: u8 = if cfg!(any(model = "loom", model = "shuttle")) { 0 } else { 8 };

/// The place of a write in its callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first, and expected to be the only one.
    Alone,
    First,
    Further,
}

/// What callbacks have written so far: whether it is worth while to wait for more.
#[derive(Debug, Default)]
pub(crate) struct Habit {
    /// The last one that has written.
    callback: u16,
    /// Callbacks up to that one that have written once, in a row.
    alone: u8,
}

impl Habit {
    /// The callback with this number writes. Numbers may come again: then it is taken for more of the same, which is only
    /// less good a guess.
    #[inline]
    pub(crate) const fn place(&mut self, callback: u16) -> Place {
        if callback == self.callback {
            self.alone = 0;
            return Place::Further;
        }
        self.callback = callback;
        if self.alone == ALONE {
            return Place::Alone;
        }
        self.alone += 1;
        Place::First
    }
}

#[cfg(all(test, not(any(model = "loom", model = "shuttle"))))]
mod tests {
    use std::ops::Range;

    use super::*;

    /// The places of the first writes of callbacks that write so often.
    fn places(habit: &mut Habit, callbacks: Range<u16>, writes: usize) -> Vec<Place> {
        callbacks
            .map(|callback| {
                let first = habit.place(callback);
                assert!((1..writes).all(|_| habit.place(callback) == Place::Further));
                first
            })
            .collect()
    }

    #[test]
    fn after_some_that_have_written_once_one_write_is_expected() {
        let expected = [[Place::First; 8].as_slice(), &[Place::Alone; 2]].concat();
        assert_eq!(places(&mut Habit::default(), 1..11, 1), expected);
    }

    #[test]
    fn those_that_write_more_are_waited_for() {
        assert_eq!(places(&mut Habit::default(), 1..100, 2), [Place::First; 99]);
    }

    #[test]
    fn one_that_writes_more_is_a_reason_to_wait_again() {
        let mut habit = Habit::default();
        places(&mut habit, 1..100, 1);
        assert_eq!(places(&mut habit, 100..101, 3), [Place::Alone]);
        assert_eq!(places(&mut habit, 101..110, 1), [[Place::First; 8].as_slice(), &[Place::Alone]].concat());
    }
}

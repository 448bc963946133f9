//! Whether callbacks write once each, or more.

/// So many callbacks in a row that have written once let one expect the same of the next.
const ALONE: u8 = 8;

/// What callbacks have written so far: whether it is worth while to wait for more.
#[derive(Debug, Default)]
pub(crate) struct Habit {
    /// The last one that has written.
    callback: u16,
    /// Those before it that have written once, in a row.
    alone: u8,
}

impl Habit {
    /// The callback with this number writes; whether that is expected to be all. Numbers may come again: then it is taken
    /// for more of the same, which is only less good a guess.
    #[inline]
    pub(crate) const fn expects_one(&mut self, callback: u16) -> bool {
        if callback == self.callback {
            self.alone = 0;
            return false;
        }
        self.callback = callback;
        if self.alone == ALONE {
            return true;
        }
        self.alone += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is expected of the first write of each callback.
    fn guesses(habit: &mut Habit, callbacks: std::ops::Range<u16>, writes: usize) -> Vec<bool> {
        callbacks
            .map(|callback| {
                let first = habit.expects_one(callback);
                assert!((1..writes).all(|_| !habit.expects_one(callback)));
                first
            })
            .collect()
    }

    #[test]
    fn after_some_that_have_written_once_one_write_is_expected() {
        assert_eq!(guesses(&mut Habit::default(), 1..11, 1), [[false; 8].as_slice(), &[true; 2]].concat());
    }

    #[test]
    fn those_that_write_more_are_waited_for() {
        assert_eq!(guesses(&mut Habit::default(), 1..100, 2), [false; 99]);
    }

    #[test]
    fn one_that_writes_more_is_a_reason_to_wait_again() {
        let mut habit = Habit::default();
        guesses(&mut habit, 1..100, 1);
        assert_eq!(guesses(&mut habit, 100..101, 3), [true]);
        assert_eq!(guesses(&mut habit, 101..110, 1), [[false; 8].as_slice(), &[true]].concat());
    }
}

//! Protocols that were set and have not had their turn.

use std::any::Any;
use std::mem;

/// A protocol on its way to the actor, which knows its type.
pub(crate) type Parcel = Box<dyn Any + Send>;

/// Who takes over after whom. What had come up when a protocol was set is told to those before it: an error of a
/// datagram, or a pause.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    /// Few transports ever need one.
    line: Option<Box<Line>>,
}

/// Never empty.
#[derive(Debug, Default)]
struct Line {
    heirs: Vec<Heir>,
    /// It is the turn of the first.
    due: bool,
}

#[derive(Debug)]
struct Heir {
    protocol: Parcel,
    /// News that came up after the one before was set and before this one was, and are not told yet.
    owed: usize,
}

impl Succession {
    pub(crate) const fn is_empty(&self) -> bool {
        self.line.is_none()
    }

    /// Sets a protocol, with all the news that are not told by now. One that was set since the last news is replaced, and
    /// given back: there is nothing it could be told.
    pub(crate) fn push(&mut self, protocol: Parcel, untold: usize) -> Option<Parcel> {
        let line = self.line.get_or_insert_default();
        let known: usize = line.heirs.iter().map(|heir| heir.owed).sum();
        let owed = untold.saturating_sub(known);
        if let Some(last) = line.heirs.last_mut().filter(|_| owed == 0) {
            return Some(mem::replace(&mut last.protocol, protocol));
        }
        line.heirs.push(Heir { protocol, owed });
        self.advance();
        None
    }

    /// From here on the first has its turn, if the one before it is owed nothing more.
    pub(crate) fn advance(&mut self) {
        if let Some(line) = &mut self.line {
            line.due |= line.heirs[0].owed == 0;
        }
    }

    /// One piece of news is about to be told, to whoever has its turn.
    pub(crate) fn pay(&mut self) {
        let mut heirs = self.line.iter_mut().flat_map(|line| &mut line.heirs);
        if let Some(heir) = heirs.find(|heir| heir.owed > 0) {
            heir.owed -= 1;
        }
    }

    /// The protocol that has its turn, if it has not taken over yet.
    pub(crate) fn take(&mut self) -> Option<Parcel> {
        let line = self.line.as_mut().filter(|line| line.due)?;
        line.due = false;
        let heir = line.heirs.remove(0);
        if line.heirs.is_empty() {
            self.line = None;
        }
        Some(heir.protocol)
    }

    /// Nothing but the end is told any more, and that to the last: the others are given back.
    pub(crate) fn finish(&mut self) -> Vec<Parcel> {
        let Some(line) = &mut self.line else { return Vec::new() };
        let last = line.heirs.len() - 1;
        let passed = line.heirs.drain(..last).map(|heir| heir.protocol).collect();
        line.due = true;
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of the protocol that takes over now, if one does.
    fn next(succession: &mut Succession) -> Option<&'static str> {
        succession.take().map(|parcel| *parcel.downcast().expect("a name"))
    }

    fn set(succession: &mut Succession, name: &'static str, untold: usize) -> bool {
        succession.push(Box::new(name), untold).is_some()
    }

    #[test]
    fn takes_over_at_once_when_nothing_is_owed() {
        let mut succession = Succession::default();
        assert_eq!(next(&mut succession), None);
        assert!(!set(&mut succession, "B", 0));
        assert_eq!(next(&mut succession), Some("B"));
        assert!(succession.is_empty());
        assert_eq!(next(&mut succession), None);
    }

    #[test]
    fn replaces_one_that_can_be_told_nothing() {
        let mut succession = Succession::default();
        assert!(!set(&mut succession, "B", 1));
        assert!(set(&mut succession, "C", 1));
        succession.advance();
        assert_eq!(next(&mut succession), None);
        succession.pay();
        succession.advance();
        assert_eq!(next(&mut succession), Some("C"));
    }

    #[test]
    fn each_is_told_what_came_up_in_its_time() {
        let mut succession = Succession::default();
        set(&mut succession, "B", 1);
        set(&mut succession, "C", 3);
        succession.pay();
        assert_eq!(next(&mut succession), None, "the first news go to the one before");
        for _ in 0..2 {
            succession.advance();
            succession.pay();
        }
        assert_eq!(next(&mut succession), Some("B"));
        assert_eq!(next(&mut succession), None);
        succession.advance();
        assert_eq!(next(&mut succession), Some("C"));
    }

    #[test]
    fn news_of_the_first_are_not_paid_by_the_second() {
        let mut succession = Succession::default();
        set(&mut succession, "B", 0);
        set(&mut succession, "C", 1);
        succession.pay();
        assert_eq!(next(&mut succession), Some("B"));
        succession.advance();
        assert_eq!(next(&mut succession), Some("C"));
    }

    #[test]
    fn the_end_is_for_the_last() {
        let mut succession = Succession::default();
        set(&mut succession, "B", 1);
        set(&mut succession, "C", 2);
        let passed = succession.finish();
        assert_eq!(passed.len(), 1);
        assert_eq!(next(&mut succession), Some("C"));
        assert!(succession.finish().is_empty());
    }
}

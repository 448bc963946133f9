//! What a queue of datagrams is meant to be, and the real one beside it.

use std::collections::VecDeque;

use crate::state::copied::Copied;
use crate::state::datagrams::{Datagram, Datagrams, Payload};
use crate::state::limits::WriteLimits;
use crate::state::marks::{Mark, Marks};

/// What may be done to the queue.
#[derive(Clone, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Op {
    Push { len: u8, shared: bool },
    Latch,
    Remove(u8),
    Tell,
    TakeSpent,
    Clear,
    Forget,
}

struct Pair {
    real: Datagrams<usize>,
    /// The lengths and numbers of those that wait, and whether they are shared.
    waiting: VecDeque<(usize, usize, bool)>,
    pushed: usize,
    spent: usize,
    high: usize,
    low: usize,
    /// Over the high mark since the last resume.
    over: bool,
    /// A send has come down to the low mark.
    under: bool,
    told: Vec<Mark>,
}

impl Pair {
    fn size(&self) -> usize {
        self.waiting.iter().map(|(len, ..)| len).sum()
    }

    fn is_told(&self) -> bool {
        self.told.len() % 2 == 1
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Push { len, shared } => self.push(len.into(), shared),
            Op::Latch => {
                let size = self.real.size();
                self.real.marks_mut().latch(size);
                self.over |= size > self.high;
                self.under &= size <= self.high;
            }
            Op::Remove(count) => self.remove(count.into()),
            Op::Tell => self.tell(),
            Op::TakeSpent => self.take_spent(),
            Op::Clear => {
                self.real.clear();
                self.spent += self.waiting.drain(..).filter(|(.., shared)| *shared).count();
                self.under = false;
                self.over &= !self.is_told();
                self.told.truncate(self.told.len() & !1);
            }
            Op::Forget => {
                self.real.marks_mut().forget();
                (self.over, self.under) = (false, false);
                self.told.clear();
            }
        }
    }

    fn push(&mut self, len: usize, shared: bool) {
        let bytes = vec![7; len];
        let data = if shared { Payload::Shared(bytes.into()) } else { Payload::Copied(Copied::new(&bytes)) };
        self.real.push(Datagram { data, to: Some(self.pushed) });
        self.waiting.push_back((len, self.pushed, shared));
        self.pushed += 1;
    }

    fn remove(&mut self, count: usize) {
        let gone: Vec<_> = self.waiting.drain(..count.min(self.waiting.len())).collect();
        assert_eq!(self.real.remove(count), gone.iter().map(|(len, ..)| len).sum());
        self.spent += gone.iter().filter(|(.., shared)| *shared).count();
        self.under = self.over && self.size() <= self.low;
    }

    fn tell(&mut self) {
        let expected = match (self.over, self.is_told(), self.under) {
            (true, false, _) => Some(Mark::Pause),
            (true, true, true) => Some(Mark::Resume),
            _ => None,
        };
        assert_eq!(self.real.marks().has_news(), expected.is_some());
        assert_eq!(self.real.marks_mut().tell(), expected);
        if expected == Some(Mark::Resume) {
            (self.over, self.under) = (false, false);
        }
        self.told.extend(expected);
    }

    fn take_spent(&mut self) {
        assert_eq!(self.real.take_spent().len(), std::mem::take(&mut self.spent));
    }

    fn check(&self) {
        let numbers: Vec<_> = self.waiting.iter().map(|(_, number, _)| Some(*number)).collect();
        assert_eq!(self.real.iter().map(|datagram| datagram.to).collect::<Vec<_>>(), numbers);
        assert_eq!((self.real.size(), self.real.len()), (self.size(), numbers.len()));
        assert_eq!(self.real.is_empty(), numbers.is_empty());
        assert_eq!(self.real.only().map(|datagram| datagram.to), (numbers.len() == 1).then(|| numbers[0]));
        assert_eq!(self.real.marks().is_paused(), self.over);
    }
}

/// Does the same to both, and compares them after each step. Panics if they differ.
pub(crate) fn run(low: usize, high: usize, ops: &[Op]) {
    let limits = WriteLimits::new(low, high).unwrap();
    let real = Datagrams::new(Marks::new(limits, false));
    let told = Vec::new();
    let waiting = VecDeque::new();
    let mut pair = Pair { real, waiting, pushed: 0, spent: 0, high, low, over: false, under: false, told };
    for op in ops {
        pair.apply(op);
        pair.check();
    }
    pair.remove(usize::MAX);
    (0..2).for_each(|_| pair.tell());
    pair.take_spent();
    assert!(!pair.real.marks().is_paused() && !pair.is_told(), "the last pause was never taken back");
}

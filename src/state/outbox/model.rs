//! What an outbox is meant to be, without any thought of speed, and the real one beside it.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::state::kind::Kind;
use crate::state::limits::WriteLimits;
use crate::state::marks::Mark;
use crate::state::outbox::{Front, Outbox};

/// What may be done to an outbox.
#[derive(Clone, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Op {
    Copy(Vec<u8>),
    Share(Vec<u8>),
    Latch,
    Finish,
    Job(u8),
    /// Sends this share, in 256ths, of what one vectored write offers.
    Send(u8),
    Done,
    Tell,
    Limits(u8, u8),
    Clear,
    Forget,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Item {
    Byte(u8),
    Eof,
    Job(u8),
}

/// What an outbox is meant to be, without any thought of speed.
#[derive(Debug)]
struct Model {
    items: VecDeque<Item>,
    low: usize,
    high: usize,
    paused: bool,
    told: bool,
    resume_due: bool,
    finished: bool,
    accepted: usize,
    gone: usize,
}

impl Model {
    fn new(low: usize, high: usize) -> Self {
        Self {
            items: VecDeque::new(),
            low,
            high,
            paused: false,
            told: false,
            resume_due: false,
            finished: false,
            accepted: 0,
            gone: 0,
        }
    }

    fn size(&self) -> usize {
        self.accepted - self.gone
    }

    fn due(&self) -> Vec<u8> {
        let bytes = self.items.iter().map_while(|item| match item {
            Item::Byte(byte) => Some(*byte),
            _ => None,
        });
        bytes.collect()
    }

    fn unsent(&self) -> Vec<u8> {
        let bytes = self.items.iter().filter_map(|item| match item {
            Item::Byte(byte) => Some(*byte),
            _ => None,
        });
        bytes.collect()
    }

    fn push(&mut self, data: &[u8]) {
        self.accepted += data.len();
        self.items.extend(data.iter().copied().map(Item::Byte));
    }

    fn latch(&mut self) {
        if self.size() > self.high {
            self.paused = true;
            self.resume_due = false;
        }
    }

    fn send(&mut self, count: usize) {
        self.gone += count;
        self.items.drain(..count);
        self.resume_due = self.paused && self.size() <= self.low;
    }

    fn tell(&mut self) -> Option<Mark> {
        if self.paused && !self.told {
            self.told = true;
            return Some(Mark::Pause);
        }
        if self.paused && self.resume_due {
            (self.paused, self.told, self.resume_due) = (false, false, false);
            return Some(Mark::Resume);
        }
        None
    }

    /// A pause that was not told yet outlives everything that is dropped.
    fn clear(&mut self) {
        self.items.clear();
        self.gone = self.accepted;
        self.resume_due = false;
        if self.told {
            self.forget();
        }
    }

    fn forget(&mut self) {
        (self.paused, self.told, self.resume_due) = (false, false, false);
    }
}

/// The real one and its model, moved in step.
struct Pair {
    real: Outbox<u8>,
    model: Model,
    told: Vec<Mark>,
}

impl Pair {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Copy(data) if !self.model.finished => {
                self.real.copy(&data);
                self.model.push(&data);
            }
            Op::Share(data) if !self.model.finished => {
                self.model.push(&data);
                self.real.share(&mut data.into());
            }
            Op::Copy(_) | Op::Share(_) => {}
            Op::Latch => {
                latch(&mut self.real);
                self.model.latch();
            }
            Op::Finish if !self.model.finished => {
                self.real.finish();
                self.model.finished = true;
                self.model.items.push_back(Item::Eof);
            }
            Op::Finish => {}
            Op::Job(job) => {
                self.real.job(job);
                self.model.items.push_back(Item::Job(job));
            }
            Op::Send(share) => self.send(usize::from(share)),
            Op::Done => self.done(),
            Op::Tell => self.tell(),
            Op::Limits(a, b) => {
                let (low, high) = (usize::from(a.min(b)), usize::from(a.max(b)));
                self.real.marks_mut().set_limits(WriteLimits::new(low, high).unwrap());
                (self.model.low, self.model.high) = (low, high);
            }
            Op::Clear => self.clear(),
            Op::Forget => {
                self.real.marks_mut().forget();
                self.model.forget();
                self.told.clear();
            }
        }
    }

    fn send(&mut self, share: usize) {
        let (_, bytes) = offered(&self.real, 3);
        let count = bytes.len() * share / 255;
        if !matches!(self.real.front(), Front::Bytes) {
            return;
        }
        assert_eq!(bytes[..count], self.model.due()[..count]);
        self.real.sent(count);
        self.model.send(count);
    }

    /// Finishes the work at the front that is not bytes.
    fn done(&mut self) {
        let front = self.model.items.front().copied();
        match (self.real.front(), front) {
            (Front::Job(job), Some(Item::Job(expected))) => assert_eq!(*job, expected),
            (Front::Eof, Some(Item::Eof)) => {}
            _ => return,
        }
        self.real.done();
        self.model.items.pop_front();
    }

    fn clear(&mut self) {
        if self.model.told {
            self.told.clear();
        }
        self.real.clear();
        self.model.clear();
    }

    fn tell(&mut self) {
        let mark = self.real.marks_mut().tell();
        assert_eq!(mark, self.model.tell());
        self.told.extend(mark);
    }

    fn check(&mut self) {
        let (real, model) = (&mut self.real, &self.model);
        assert_eq!(real.size(), model.size());
        assert_eq!(real.size(), model.unsent().len());
        assert_eq!(real.unsent(), model.unsent());
        assert_eq!(real.is_empty(), model.items.is_empty());
        assert_eq!(real.is_finished(), model.finished);
        assert_eq!(real.marks().is_paused(), model.paused);
        assert_eq!(real.marks().has_news(), model.paused && (!model.told || model.resume_due));
        match real.front() {
            Front::Bytes => {}
            Front::Empty => assert!(model.items.is_empty()),
            Front::Eof => assert_eq!(model.items[0], Item::Eof),
            Front::Job(job) => assert_eq!(model.items[0], Item::Job(*job)),
        }
        let (pieces, all) = offered(real, 1000);
        assert_eq!(all, model.due());
        // Work besides bytes lies in no piece.
        let others = model.items.iter().filter(|item| !matches!(item, Item::Byte(_))).count();
        assert!(real.len() >= pieces + others);
        assert_eq!(real.only(), (pieces == 1 && real.len() == 1).then_some(&all[..]));
        if others == 0 {
            assert_eq!(real.len(), pieces);
        }
        let wanted = |at: usize| if at % 2 == 0 { Mark::Pause } else { Mark::Resume };
        assert!(self.told.iter().enumerate().all(|(at, mark)| *mark == wanted(at)), "{:?}", self.told);
    }

    /// Lets everything leave: a pause that was told or latched must be followed by a resume.
    fn drain(&mut self) {
        for _ in 0..=self.model.items.len() {
            if self.real.is_empty() {
                break;
            }
            self.send(255);
            self.done();
            self.check();
        }
        assert!(self.real.is_empty(), "some work never leaves");
        self.real.sent(0);
        self.model.send(0);
        let was_paused = self.real.marks().is_paused();
        while self.real.marks().has_news() {
            self.tell();
        }
        self.check();
        assert_eq!(self.told.len() % 2, 0, "the last pause was never taken back: {:?}", self.told);
        assert!(!self.real.marks().is_paused(), "still paused; before the last news: {was_paused}");
    }
}

/// Does the same to both, and compares them after each step. Panics if they differ.
pub(crate) fn run(low: usize, high: usize, ops: impl IntoIterator<Item = Op>) {
    let mut pair = Pair { real: outbox(low, high), model: Model::new(low, high), told: Vec::new() };
    for op in ops {
        pair.apply(op);
        pair.check();
    }
    pair.drain();
}

pub(crate) fn outbox(low: usize, high: usize) -> Outbox<u8> {
    Outbox::new(Kind::Duplex.marks(WriteLimits::new(low, high).unwrap()))
}

/// The bytes of all slices of one vectored write.
pub(crate) fn offered(outbox: &Outbox<u8>, slots: usize) -> (usize, Vec<u8>) {
    let mut slices = vec![IoSlice::new(&[]); slots];
    let count = outbox.slices(&mut slices);
    (count, slices[..count].iter().flat_map(|slice| slice.to_vec()).collect())
}

pub(crate) fn latch(outbox: &mut Outbox<u8>) {
    let size = outbox.size();
    outbox.marks_mut().latch(size);
}

//! The outbox against a naive model, and its rules one by one.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Front, JOIN, Outbox, SHARE};
use crate::state::kind::Kind;
use crate::state::limits::WriteLimits;
use crate::state::marks::Mark;

type Box8 = Outbox<u8>;

fn outbox(low: usize, high: usize) -> Box8 {
    Outbox::new(Kind::Duplex.marks(WriteLimits::new(low, high).unwrap()))
}

/// The bytes of all slices of one vectored write.
fn offered(outbox: &Box8, slots: usize) -> (usize, Vec<u8>) {
    let mut slices = vec![IoSlice::new(&[]); slots];
    let count = outbox.slices(&mut slices);
    (count, slices[..count].iter().flat_map(|slice| slice.to_vec()).collect())
}

fn news(outbox: &mut Box8) -> Vec<Mark> {
    std::iter::from_fn(|| outbox.marks_mut().tell()).collect()
}

fn add(outbox: &mut Box8, len: usize) {
    outbox.copy(&vec![7; len]);
    latch(outbox);
}

#[test]
fn an_empty_outbox_has_nothing_to_say() {
    let mut outbox = outbox(1, 4);
    assert!(outbox.is_empty() && !outbox.marks().is_paused() && !outbox.is_finished() && !outbox.marks().has_news());
    assert_eq!((outbox.size(), outbox.marks_mut().tell()), (0, None));
    assert!(matches!(outbox.front(), Front::Empty));
    assert_eq!(offered(&outbox, 4).0, 0);
}

#[test]
fn exactly_the_high_mark_does_not_pause_and_one_more_does() {
    let mut outbox = outbox(1, 4);
    add(&mut outbox, 4);
    assert!(!outbox.marks().is_paused() && !is_over_high(&outbox));
    add(&mut outbox, 1);
    assert!(outbox.marks().is_paused() && is_over_high(&outbox));
    assert_eq!(news(&mut outbox), [Mark::Pause]);
}

#[test]
fn exactly_the_low_mark_resumes_and_one_more_does_not() {
    let mut outbox = outbox(2, 4);
    add(&mut outbox, 9);
    assert_eq!(news(&mut outbox), [Mark::Pause]);
    outbox.sent(6);
    assert_eq!(news(&mut outbox), []);
    outbox.sent(1);
    assert_eq!((outbox.size(), outbox.marks().is_paused()), (2, true));
    assert_eq!(news(&mut outbox), [Mark::Resume]);
    assert!(!outbox.marks().is_paused());
}

#[test]
fn a_latched_pause_is_told_though_the_buffer_has_emptied() {
    let mut outbox = outbox(0, 4);
    add(&mut outbox, 5);
    outbox.sent(5);
    assert!(outbox.marks().is_paused() && outbox.marks().has_news());
    assert_eq!(news(&mut outbox), [Mark::Pause, Mark::Resume]);
    assert!(!outbox.marks().has_news());
}

#[test]
fn a_new_excess_takes_back_a_resume_that_was_not_told() {
    let mut outbox = outbox(0, 4);
    add(&mut outbox, 5);
    assert_eq!(news(&mut outbox), [Mark::Pause]);
    outbox.sent(5);
    add(&mut outbox, 6);
    assert_eq!(news(&mut outbox), []);
    assert!(outbox.marks().is_paused());
}

#[test]
fn marks_of_zero_pause_on_the_first_byte() {
    let mut outbox = outbox(0, 0);
    add(&mut outbox, 0);
    assert_eq!(news(&mut outbox), []);
    add(&mut outbox, 1);
    assert_eq!(news(&mut outbox), [Mark::Pause]);
    outbox.sent(1);
    assert_eq!(news(&mut outbox), [Mark::Resume]);
}

#[test]
fn new_marks_pause_at_once_but_resume_on_the_next_send_only() {
    let mut outbox = outbox(0, 100);
    add(&mut outbox, 50);
    outbox.marks_mut().set_limits(WriteLimits::new(10, 40).unwrap());
    latch(&mut outbox);
    assert_eq!(news(&mut outbox), [Mark::Pause]);
    outbox.marks_mut().set_limits(WriteLimits::new(90, 100).unwrap());
    latch(&mut outbox);
    assert_eq!(news(&mut outbox), []);
    outbox.sent(1);
    assert_eq!(news(&mut outbox), [Mark::Resume]);
}

#[test]
fn lower_marks_do_not_pause_twice() {
    let mut outbox = outbox(0, 10);
    add(&mut outbox, 20);
    assert_eq!(news(&mut outbox), [Mark::Pause]);
    outbox.marks_mut().set_limits(WriteLimits::high(0));
    latch(&mut outbox);
    assert_eq!(news(&mut outbox), []);
}

#[test]
fn clear_drops_everything_but_a_pause_that_was_not_told() {
    let mut outbox = outbox(0, 4);
    add(&mut outbox, 5);
    outbox.job(1);
    outbox.finish();
    outbox.clear();
    assert!(outbox.is_empty());
    assert_eq!((outbox.size(), outbox.unsent()), (0, Bytes::new()));
    assert_eq!(news(&mut outbox), [Mark::Pause]);
    assert!(outbox.is_finished(), "nothing may follow the end of file");
}

#[test]
fn after_clear_the_marks_begin_with_a_pause_again() {
    let mut outbox = outbox(0, 4);
    add(&mut outbox, 5);
    assert_eq!(news(&mut outbox), [Mark::Pause]);
    outbox.clear();
    add(&mut outbox, 5);
    outbox.sent(5);
    assert_eq!(news(&mut outbox), [Mark::Pause, Mark::Resume]);
}

#[test]
fn empty_pieces_are_no_work() {
    let mut outbox = outbox(0, 4);
    outbox.copy(b"");
    outbox.share(Bytes::new());
    assert!(outbox.is_empty());
    outbox.job(1);
    outbox.copy(b"");
    outbox.done();
    assert!(outbox.is_empty());
}

#[test]
fn slices_end_at_other_work_and_at_the_room_for_them() {
    let mut outbox = outbox(0, 4);
    let large = vec![1; SHARE];
    (0..5).for_each(|_| outbox.share(large.clone().into()));
    outbox.job(9);
    outbox.share(large.into());
    assert_eq!(offered(&outbox, 3).0, 3);
    assert_eq!(offered(&outbox, 16), (5, vec![1; 5 * SHARE]));
    outbox.sent(5 * SHARE);
    assert!(matches!(outbox.front(), Front::Job(9)));
    assert_eq!(offered(&outbox, 16).0, 0);
    outbox.done();
    assert_eq!(offered(&outbox, 16).0, 1);
    assert_eq!(outbox.size(), SHARE);
}

#[test]
fn small_pieces_are_joined_and_large_ones_are_shared() {
    let mut outbox = outbox(0, 4);
    outbox.copy(&[1; 10]);
    outbox.share(Bytes::from(vec![2; SHARE - 1]));
    assert_eq!(offered(&outbox, 8).0, 1);
    let shared = Bytes::from(vec![3; SHARE]);
    outbox.share(shared.clone());
    let mut slices = [IoSlice::new(&[]); 8];
    assert_eq!(outbox.slices(&mut slices), 2);
    assert_eq!(slices[1].as_ptr(), shared.as_ptr());
}

#[test]
fn joining_stops_where_it_would_move_much_memory() {
    let mut outbox = outbox(0, 4);
    outbox.copy(&[1; JOIN]);
    outbox.copy(&[2]);
    assert_eq!(offered(&outbox, 8).0, 2);
    assert_eq!(outbox.size(), JOIN + 1);
}

#[test]
fn the_unsent_bytes_leave_other_work_out() {
    let mut outbox = outbox(0, 4);
    outbox.copy(b"one");
    outbox.job(1);
    outbox.copy(b"two");
    outbox.finish();
    outbox.sent(1);
    assert_eq!(outbox.unsent(), "netwo");
}

#[derive(Clone, Debug)]
enum Op {
    Copy(Vec<u8>),
    Share(Vec<u8>),
    Latch,
    Finish,
    Job(u8),
    /// Sends this share, in 256ths, of what one vectored write offers.
    Send(u8),
    Done,
    Tell,
    Limits(usize, usize),
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let small = prop::collection::vec(any::<u8>(), 0..50);
    let large = (0u8.., SHARE - 2..SHARE + 2).prop_map(|(byte, len)| vec![byte; len]);
    let limits = (0usize..200, 0usize..200).prop_map(|(a, b)| Op::Limits(a.min(b), a.max(b)));
    prop_oneof![
        6 => small.clone().prop_map(Op::Copy),
        2 => small.prop_map(Op::Share),
        1 => large.clone().prop_map(Op::Copy),
        2 => large.prop_map(Op::Share),
        3 => Just(Op::Latch),
        1 => Just(Op::Finish),
        1 => any::<u8>().prop_map(Op::Job),
        6 => any::<u8>().prop_map(Op::Send),
        3 => Just(Op::Done),
        4 => Just(Op::Tell),
        1 => limits,
        1 => Just(Op::Clear),
    ]
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

    fn clear(&mut self) {
        self.items.clear();
        self.gone = self.accepted;
        (self.paused, self.told, self.resume_due) = (false, false, false);
    }
}

/// The real one and its model, moved in step.
struct Pair {
    real: Box8,
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
                self.real.share(data.into());
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
            Op::Limits(low, high) => {
                self.real.marks_mut().set_limits(WriteLimits::new(low, high).unwrap());
                (self.model.low, self.model.high) = (low, high);
            }
            Op::Clear => {
                self.real.clear();
                self.real.marks_mut().forget();
                self.model.clear();
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
        assert_eq!(real.is_finished(), model.finished);
        assert_eq!(real.marks().is_paused(), model.paused);
        assert_eq!(real.marks().has_news(), model.paused && (!model.told || model.resume_due));
        match real.front() {
            Front::Bytes => {}
            Front::Empty => assert!(model.items.is_empty()),
            Front::Eof => assert_eq!(model.items[0], Item::Eof),
            Front::Job(job) => assert_eq!(model.items[0], Item::Job(*job)),
        }
        let all = offered(real, 1000).1;
        assert_eq!(all, model.due());
        let wanted = |at: usize| if at % 2 == 0 { Mark::Pause } else { Mark::Resume };
        assert!(self.told.iter().enumerate().all(|(at, mark)| *mark == wanted(at)), "{:?}", self.told);
    }

    /// Lets everything leave: a pause that was told or latched must be followed by a resume.
    fn drain(&mut self) {
        for _ in 0..100 {
            self.send(255);
            self.done();
            self.check();
        }
        assert!(self.real.is_empty(), "some work never leaves");
        let was_paused = self.real.marks().is_paused();
        while self.real.marks().has_news() {
            self.tell();
        }
        self.check();
        assert_eq!(self.told.len() % 2, 0, "the last pause was never taken back: {:?}", self.told);
        assert!(!self.real.marks().is_paused(), "still paused; before the last news: {was_paused}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_model_does(
        low in 0usize..100,
        more in 0usize..100,
        ops in prop::collection::vec(op(), 0..60),
    ) {
        let mut pair = Pair { real: outbox(low, low + more), model: Model::new(low, low + more), told: Vec::new() };
        for op in ops {
            pair.apply(op);
            pair.check();
        }
        pair.drain();
    }
}

fn latch(outbox: &mut Outbox<u8>) {
    let size = outbox.size();
    outbox.marks_mut().latch(size);
}

fn is_over_high(outbox: &Outbox<u8>) -> bool {
    outbox.size() > outbox.marks().limits().high_water()
}

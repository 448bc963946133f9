//! The outbox against a naive model, and its rules one by one.

use std::io::IoSlice;

use bytes::Bytes;
use proptest::prelude::*;

use super::model::{self, Op, latch, offered, outbox};
use super::{Front, Outbox, SHARE, Work};
use crate::state::copied::JOIN;
use crate::state::kind::Kind;
use crate::state::limits::WriteLimits;
use crate::state::marks::Mark;

type Box8 = Outbox<u8>;

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
    outbox.share(&mut Bytes::new());
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
    (0..5).for_each(|_| outbox.share(&mut large.clone().into()));
    outbox.job(9);
    outbox.share(&mut large.into());
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
    let mut small = Bytes::from(vec![2; SHARE - 1]);
    outbox.share(&mut small);
    assert_eq!(small.len(), SHARE - 1, "what was copied stays with its owner");
    assert_eq!(offered(&outbox, 8).0, 1);
    let shared = Bytes::from(vec![3; SHARE]);
    outbox.share(&mut shared.clone());
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

#[test]
fn what_may_run_foreign_code_is_kept_for_whoever_may_drop_it() {
    let mut outbox = outbox(0, 4);
    let large = || Bytes::from(vec![1; SHARE]);
    outbox.copy(&[1; SHARE]);
    outbox.share(&mut large());
    outbox.share(&mut large());
    outbox.job(1);
    outbox.sent(2 * SHARE - 1);
    assert!(outbox.take_spent().is_empty());
    outbox.sent(1);
    assert!(matches!(outbox.take_spent()[..], [Work::Shared(_)]));
    outbox.clear();
    assert!(matches!(outbox.take_spent()[..], [Work::Shared(_), Work::Job(1)]));
    assert!(outbox.take_spent().is_empty());
}

#[test]
fn the_writer_of_a_pipe_is_resumed_only_when_all_has_left() {
    let mut outbox: Box8 = Outbox::new(Kind::WritePipe.marks(WriteLimits::new(3, 4).unwrap()));
    add(&mut outbox, 5);
    outbox.sent(4);
    assert_eq!(news(&mut outbox), [Mark::Pause]);
    outbox.sent(1);
    assert_eq!(news(&mut outbox), [Mark::Resume]);
}

#[test]
fn the_kinds_differ_in_their_ends() {
    let of = |ask: fn(Kind) -> bool| [Kind::Duplex, Kind::ReadPipe, Kind::WritePipe].map(ask);
    assert_eq!(of(Kind::closes_for_eof), [false, false, true]);
    assert_eq!(of(Kind::sends_while_closing), [true, false, false]);
}

fn op() -> impl Strategy<Value = Op> {
    let small = prop::collection::vec(any::<u8>(), 0..50);
    let large = (0u8.., SHARE - 2..SHARE + 2).prop_map(|(byte, len)| vec![byte; len]);
    let limits = (0u8..200, 0u8..200).prop_map(|(a, b)| Op::Limits(a, b));
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
        1 => Just(Op::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_model_does(
        low in 0usize..100,
        more in 0usize..100,
        ops in prop::collection::vec(op(), 0..60),
    ) {
        model::run(low, low + more, ops);
    }
}

fn is_over_high(outbox: &Outbox<u8>) -> bool {
    outbox.size() > outbox.marks().limits().high_water()
}
